"""Cilium: pods' devices have the underlay's MTU, and their default routes less.

`mtu` of the ConfigMap cilium-config, or the smallest NIC where it is absent, is the base: the agent gives it to lxc*,
to eth0 in the pods, cilium_host and the tunnel's device, and takes off it what its headers need for the pods' routes
(cilium/cilium: pkg/mtu). So a device of 1500 is no fault here, and only the route says what a pod sends. An agent reads
the ConfigMap when it starts; from v1.17 it then changes the pods that run as well (pkg/mtu/endpoint_updater.go), older
ones leave those to whoever restarts them.
"""

from collections.abc import Mapping

from kubemtu.cni.cilium import config as cilium_config
from kubemtu.cni.cilium import edits, mtu, nodes
from kubemtu.cni.cilium.config import CiliumBase, CiliumParts
from kubemtu.cni.cilium.edits import CiliumParsed
from kubemtu.cni.cilium.mtu import Mode
from kubemtu.cni.knowledge import CalcKey, Knowledge
from kubemtu.cni.objects import chart, owners, reading, strays
from kubemtu.cni.programs import kubelet
from kubemtu.core import codes, net, places, rights
from kubemtu.core.change import plan
from kubemtu.core.cluster import attachments, cni_state, node_files
from kubemtu.core.codes import Finding
from kubemtu.core.objects import NODES, Want, config_map, daemonsets
from kubemtu.core.planning.values_key import ValuesKey
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text import wording

NAME = "cilium"
PREFIX = "lxc"  # pkg/datapath/connector: HostInterfacePrefix
CONFLIST = "/etc/cni/net.d/05-cilium.conflist"
PLUGIN = "cilium-cni"
PER_POOL = f"a {nodes.OVERRIDE} with spec.nodeSelector and spec.defaults.{cilium_config.KEY}"
NOT_READ = ""  # no member of its configuration is the pods' MTU: it asks the agent of its node
WANTS = (
    *(config_map(namespace, cilium_config.CONFIG_MAP) for namespace in cilium_config.NAMESPACES),
    *(daemonsets(namespace) for namespace in cilium_config.NAMESPACES),
    Want(
        kind=nodes.OVERRIDE,
        plural="ciliumnodeconfigs",
        api_versions=("cilium.io/v2", "cilium.io/v2alpha1"),
        namespace=cilium_config.NAMESPACES[0],
    ),
    cilium_config.CHART_WANT,
    NODES,
    kubelet.WANT,
)
_STACKS: tuple[tuple[str, ...], ...] = (
    ("vxlan",),
    ("geneve",),
    ("wireguard",),
    ("wireguard", "vxlan"),
    ("wireguard", "geneve"),
    ("ipip",),
    (),
)
_CONFIG_MAP = f"ConfigMap kube-system/{cilium_config.CONFIG_MAP}"
_CHART = f"HelmChartConfig kube-system/{cilium_config.CHART}"
KNOWLEDGE = Knowledge(
    recognised_by="Cilium (ConfigMap kube-system/cilium-config, or DaemonSet cilium)",
    ports=(net.PortRule(prefixes=(PREFIX,)),),
    calc_keys=(
        CalcKey("Cilium", _CONFIG_MAP, "mtu", "base", _STACKS, mtu.stack_subtracts, NAME),
        CalcKey("Cilium, RKE2", _CHART, "MTU", "base", _STACKS, mtu.stack_subtracts, NAME),
    ),
    values_keys=(
        ValuesKey(  # cilium/cilium: install/kubernetes/cilium/values.yaml, templates/cilium-configmap.yaml
            form="helm-values",
            path=("MTU",),
            counts="base",
            file="values of the chart cilium",
            owner="Helm",
            signs=(
                "ipam",
                "routingMode",
                "tunnelProtocol",
                "tunnel",
                "kubeProxyReplacement",
                "k8sServiceHost",
                "hubble",
            ),
        ),
        owners.by_chart(cilium_config.CHART, ("MTU",), "base", variant="RKE2"),
    ),
    words=("cilium",),
    edited=(
        rights.patch("configmaps", cilium_config.CONFIG_MAP),
        rights.patch("daemonsets", cilium_config.AGENT, group="apps"),
        chart.right(cilium_config.CHART),
    ),
)


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe Cilium, or return None when it is not there, or only chained behind the CNI that makes the pods' links.

    Where it is chained and told to limit routes (enable-route-mtu-for-cni-chaining), it is Cilium that is described.
    """
    parts = cilium_config.parts(snapshot)
    if parts is None or cilium_config.chained(parts):
        return None
    out: list[Finding] = list(kubelet.findings(snapshot))
    mode = cilium_config.mode(parts, snapshot, out)
    said = cilium_config.base(parts, snapshot, out)
    bases = cilium_config.bases(snapshot)
    overrides = nodes.overridden(parts, snapshot, out)
    out += nodes.findings(overrides, snapshot, said, mode)
    out += nodes.netkit(parts, snapshot)
    out += nodes.encryption(parts, snapshot, mode)
    out += strays.misplaced(parts.config, "data")
    out += _patch_or_strays(parts, snapshot)
    listed = any(True for _ in snapshot.each("Node"))
    own = frozenset(each.written for each in overrides if each.nodes or not listed)
    wanted = nodes.bases(overrides, said, bases)
    out += _behind(parts, wanted, bases if listed else {at: held for at, held in bases.items() if str(held) not in own})
    out += _detected(parts, wanted, said, bases, snapshot)
    owner, owned = _owner(parts, said, out)
    base = None if said.broken else said.mtu or _agreed(bases, snapshot)
    known = mode is not None and not mode.uncertain
    if mode is not None and mode.uncertain:
        out.append(_which_version(parts, mode))
    pod_mtu = base - mode.subtracts if base is not None and mode is not None and known else None
    by_node = _apart(bases, mode if known and own else None)
    version = mode.version if mode is not None else None
    key = f"{parts.config or parts.chart}, {'data.mtu' if parts.config is not None else 'spec.valuesContent'}"
    return cni_state.CniState(
        name=NAME,
        variant=_variant(parts, mode),
        encapsulation=mode.encapsulation if mode is not None else (),
        encapsulation_known=mode is not None,
        encapsulation_name=mode.name if mode is not None else "unknown",
        pod_mtu=pod_mtu if pod_mtu is not None and pod_mtu > 0 else None,
        by_route=True,
        device_mtu=base if version is not None and version >= mtu.FOLLOWS_SINCE and not by_node else None,
        subtracts=mode.subtracts if mode is not None and known and base is None and not said.broken else None,
        reserves=mode.reserves if mode is not None else 0,
        born_by_node=by_node,
        per_pool=PER_POOL,
        mtu_keys=_keys(parts, said, mode) if not said.shadow else (),
        source=said.shadow,
        daemonset=parts.daemonset,
        conflist=CONFLIST,
        ports=KNOWLEDGE.ports[0],
        plugin_mtus=_born(pod_mtu, key, bases, base),
        computed_by=_follows(said, mode if known else None, bases),
        pod_networks=cilium_config.pod_networks(parts.config),
        cautions=(*_cautions(version, snapshot), *_unpinned(parts)),
        owner=owner,
        ipv6=cilium_config.has_ipv6(parts.config),
        findings=tuple(dict.fromkeys((*out, *owned))),
        parsed=CiliumParsed(
            parts=parts,
            mode=mode,
            base=said,
            bases=tuple(bases.values()),
            observed=len(snapshot.nodes),
            overriding=own,
        ),
    )


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List the edit that gives pods' routes `target` bytes, which is of the base MTU, and the restart of the agents.

    Nothing is configured where every agent has found that base by itself. Raises UsageError where a flag or a variable
    of the DaemonSet decides, and Malformed when the chart's values cannot be edited.
    """
    found = state.parsed
    assert isinstance(found, CiliumParsed)
    return edits.of(found, target)


def _variant(parts: CiliumParts, mode: Mode | None) -> str:
    if mode is None or mode.version is None or parts.agent is None:
        return "RKE2" if parts.is_rke2 else "version not known"
    number = f"v{'.'.join(map(str, mode.version))}"
    return f"RKE2, {number}" if parts.is_rke2 else number


def _agreed(bases: dict[str, int], snapshot: Snapshot) -> int | None:
    """Return the base MTU that every observed node's agent has found by itself; None where they differ, or hide it."""
    found = set(bases.values())
    return found.pop() if len(found) == 1 and len(bases) == len(snapshot.nodes) else None


def _apart(bases: dict[str, int], mode: Mode | None) -> dict[str, int]:
    """Return what new pods get on each node, where agents work with different bases because they are told to."""
    if mode is None or len({*bases.values()}) < 2:
        return {}
    return {name: base - mode.subtracts for name, base in bases.items()}


def _follows(base: CiliumBase, mode: Mode | None, bases: dict[str, int]) -> str:
    """Say who gives new pods what their own node's NIC leaves: the agents, where they have found different bases."""
    return NAME if mode is not None and base.mtu is None and not base.broken and len({*bases.values()}) > 1 else ""


def _born(pod_mtu: int | None, key: str, bases: dict[str, int], base: int | None) -> tuple[node_files.PluginRule, ...]:
    """Say what a new pod gets, which the plugin asks of its agent; nothing while an agent works with another base."""
    if pod_mtu is None or any(held != base for held in bases.values()):
        return ()
    return (node_files.PluginRule(plugin=PLUGIN, member=(NOT_READ,), otherwise=pod_mtu, otherwise_by=key),)


def _keys(parts: CiliumParts, base: CiliumBase, mode: Mode | None) -> tuple[cni_state.MtuKey, ...]:
    taken = mode.subtracts if mode is not None else 0
    keys = []
    if parts.chart is not None:
        keys.append(
            cni_state.MtuKey(
                ref=reading.ref(parts.chart, "helmchartconfigs"),
                path=cilium_config.CHART_PATH,
                inside="MTU",
                means="base",
                value=base.in_chart,
                subtracts=taken,
            )
        )
    if parts.config is not None:
        keys.append(
            cni_state.MtuKey(
                ref=reading.ref(parts.config, "configmaps"),
                path=("data", cilium_config.KEY),
                means="base",
                value=base.in_config,
                subtracts=taken,
            )
        )
    return tuple(keys)


def _patch_or_strays(parts: CiliumParts, snapshot: Snapshot) -> list[Finding]:
    config = parts.config
    if config is None:
        return []
    if reading.is_patch(config, cilium_config.KNOWN_KEYS, snapshot):
        return [reading.patch(config)]
    held = config.get("data")
    return [
        reading.stray(f"{config}, data.{key}", key, cilium_config.KEY)
        for key in (held if isinstance(held, dict) else {})
        if isinstance(key, str) and "mtu" in key.lower() and key not in cilium_config.KNOWN_MTU_KEYS
    ]


def _behind(parts: CiliumParts, wanted: Mapping[str, int | None], bases: dict[str, int]) -> list[Finding]:
    """Return MTU103 for each node whose agent works with another base MTU than is configured for it."""
    namespace, name = parts.daemonset.namespace, parts.daemonset.name
    return [
        codes.finding(
            codes.MTU103,
            places.on(node, cilium_config.HOST),
            f"Its agent works with a base MTU of {held}, and {base} is configured: the agent reads the ConfigMap"
            " only when it starts.",
            f"kubectl -n {namespace} rollout restart daemonset/{name}, or `kubemtu apply`.",
            "error" if held > base else "warning",
        )
        for node, held in bases.items()
        if (base := wanted[node]) is not None and held != base
    ]


def _detected(
    parts: CiliumParts, wanted: Mapping[str, int | None], base: CiliumBase, bases: dict[str, int], snapshot: Snapshot
) -> list[Finding]:
    """Return MTU120 for each node whose agent has found its base MTU at another device than the way to the others."""
    out = []
    for node in snapshot.nodes if base.mtu is None and not base.broken else ():
        found, ways = bases.get(node.node), node.uplinks
        smallest = min(ways, key=lambda way: way.mtu, default=None)
        if found is None or smallest is None or found == smallest.mtu or wanted[node.node] is not None:
            continue
        at = [link.name for link in node.links if link.mtu == found and not link.name.startswith(("cilium_", PREFIX))]
        where = f" (as {', '.join(at[:3])} has)" if at else ""
        more = found > smallest.mtu
        out.append(
            codes.finding(
                codes.MTU120,
                places.on(node.node, smallest.device),
                f"Pods' packets leave through {smallest.device} ({smallest.mtu}), and the agent has found {found}"
                f"{where}: {'its pods send more than gets through' if more else 'its pods send less than they could'}.",
                f"Set {cilium_config.KEY} to {smallest.mtu} in {parts.config or cilium_config.CONFIG_MAP}; leave the"
                " agent's devices as they are, for its services need them.",
                "error" if more else "warning",
            )
        )
    return out


def _cautions(version: mtu.Version | None, snapshot: Snapshot) -> tuple[str, ...]:
    """Say where an agent that restarts resizes what is not Cilium's own (cilium/cilium#37824)."""
    if version is None or not mtu.resizes_others(version):
        return ()
    beside = any(port.others for node in snapshot.nodes for port in node.ports)
    used = attachments.uses(snapshot).uses if snapshot.of_kind(attachments.KIND) else ()
    pods = tuple(dict.fromkeys(use.pod for use in used))
    if not beside and not pods:
        return ()
    number = ".".join(map(str, version))
    whose = f"look at {wording.names(pods)}" if pods else "look at those pods"
    said = (
        f"Agents of Cilium {number} give every veth inside a pod the new MTU when they restart, those of secondary"
        f" networks as well (cilium/cilium#37824, mended in v1.18.11 and v1.19.5): {whose}"
        " afterwards, and start anew what has changed, or upgrade Cilium first."
    )
    return (said,)


def _unpinned(parts: CiliumParts) -> tuple[str, ...]:
    """Say that pods on netkit devices are not held back while agents restart."""
    if not nodes.hangs_on_netkit(parts):
        return ()
    said = (
        "Pods hang on netkit devices, which kubemtu neither sees nor pins: from v1.17 on Cilium's agents change them"
        " when they restart, before that new pods alone get the number; what is too large is lost until then."
    )
    return (said,)


def _which_version(parts: CiliumParts, mode: Mode) -> Finding:
    newest = mode.subtracts
    older = newest - mtu.PADDED + mtu.WIREGUARD
    return codes.finding(
        codes.MTU117,
        str(parts.daemonset),
        f"Cilium's version was not read, and with WireGuard it takes {newest} bytes off from v1.19.5 on, and {older}"
        " or less before: what pods get is unknown.",
        "Add the DaemonSet to the files, or allow `list` on daemonsets.",
    )


def _owner(parts: CiliumParts, base: CiliumBase, out: list[Finding]) -> tuple[str, list[Finding]]:
    """Return who writes the source of truth back, and what has drifted from it already."""
    if parts.config is None or not parts.is_rke2:
        return owners.of(parts.config or parts.chart or parts.agent, out), []
    place = f"{parts.config}, data.{cilium_config.KEY}"
    if parts.chart is None:
        note = chart.unwritten(parts.source, cilium_config.CHART_KEY, place)
        return owners.without_values(cilium_config.CHART), [note]
    owner = owners.of(parts.chart, out)
    drifted = chart.drift(parts.source, cilium_config.CHART_KEY, place, base.in_config)
    return owner, [drifted] if drifted is not None else []

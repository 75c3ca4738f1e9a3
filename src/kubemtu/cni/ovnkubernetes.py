"""OVN-Kubernetes as its own chart installs it: `mtu` of the ConfigMap ovn-config is the pods' own.

Every DaemonSet that runs ovnkube-node takes OVN_MTU from there and reads it when it starts; it gives ovn-k8s-mp0 and
new pods that number, and does not start where a NIC is smaller than it plus Geneve's 58 or 78
(ovn-kubernetes/ovn-kubernetes at 8871cd9c: helm/ovn-kubernetes, go-controller/pkg/node/
default_node_network_controller.go validateVTEPInterfaceMTU).
"""

import msgspec

from kubemtu.cni.knowledge import CalcKey, Knowledge
from kubemtu.cni.objects import daemonset, owners, reading, strays
from kubemtu.cni.programs import installer, kubelet, ovn, ovs
from kubemtu.core import encap, rights
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state
from kubemtu.core.codes import Finding
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import NODES, Object, config_map, daemonsets
from kubemtu.core.planning.values_key import ValuesKey
from kubemtu.core.snapshot import Snapshot

NAME = "ovn-kubernetes"
NAMESPACE = "ovn-kubernetes"
CONFIG_MAP = "ovn-config"
KEY = "mtu"
CONF_MAP = "ovnkube-config"
VARIABLE = "OVN_MTU"
AGENTS = ("ovnkube-node", "ovnkube-single-node-zone", "ovnkube-node-dpu-host", "ovnkube-single-node-zone-dpu")
IPSEC = "ovn-ipsec"
CONFLIST = "/etc/cni/net.d/10-ovn-kubernetes.conf"
DEFAULT = 1400  # bytes: dist/images/ovnkube.sh, where OVN_MTU is empty
WANTS = (
    config_map(NAMESPACE, CONFIG_MAP),
    config_map(NAMESPACE, CONF_MAP),
    daemonsets(NAMESPACE),
    *ovn.WANTS,
    NODES,
    kubelet.WANT,
)
KNOWLEDGE = Knowledge(
    recognised_by="OVN-Kubernetes (ConfigMap ovn-kubernetes/ovn-config, or DaemonSet ovnkube-node)",
    ports=(ovs.PORTS,),
    calc_keys=(CalcKey("OVN-Kubernetes", f"ConfigMap {NAMESPACE}/{CONFIG_MAP}", KEY, "pod", ovn.STACKS),),
    values_keys=(
        ValuesKey(  # ovn-kubernetes/ovn-kubernetes: helm/ovn-kubernetes/templates/ovn-setup.yaml
            form="helm-values",
            path=(KEY,),
            counts="pod",
            file="values of the chart ovn-kubernetes",
            owner="Helm",
            signs=("k8sAPIServer", "podNetwork", "serviceNetwork"),
        ),
    ),
    words=("ovn-kubernetes", "ovnkube"),
    edited=(rights.patch("configmaps", CONFIG_MAP), rights.patch("daemonsets", *AGENTS, group="apps")),
)


class OvnParsed(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of one OVN-Kubernetes: its ConfigMap, and the DaemonSets that take the number from it."""

    config: Object | None
    agents: tuple[Object, ...]


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe OVN-Kubernetes, or return None when its chart is not there."""
    config = snapshot.find("ConfigMap", CONFIG_MAP, NAMESPACE)
    agents = tuple(each for each in snapshot.each("DaemonSet", NAMESPACE) if each.get("metadata", "name") in AGENTS)
    if config is None and not agents:
        return None
    out: list[Finding] = list(kubelet.findings(snapshot))
    held = reading.value(config, out, "data", KEY) if config is not None else None
    mtu = reading.mtu(held, out, f"{config}, data.{KEY}")
    if config is None:
        effect = f"so the MTU that {agents[0]} is given is unknown"
        out.append(reading.unread(f"ConfigMap {NAMESPACE}/{CONFIG_MAP}", effect, snapshot))
    literal, by = _literal(agents, out)
    shadowed = literal is not None
    pod_mtu = literal if shadowed else mtu or (DEFAULT if config is not None and not _broken(held, mtu) else None)
    out += strays.in_config_map(config, agents[0] if agents else None, (KEY,), KEY)
    out += strays.misplaced(config, "data")
    ovn.networks(snapshot, pod_mtu, out)
    families = ovs.families(snapshot)
    ipsec = snapshot.find("DaemonSet", IPSEC, NAMESPACE) is not None
    overlay = not _no_overlay(snapshot, out)
    around = ovn.around(families, ipsec=ipsec) if overlay else ()
    cost = ovs.taken(around)
    ref = reading.ref(agents[0], "daemonsets") if agents else None
    own = reading.ref(config, "configmaps") if config is not None else None
    key = cni_state.MtuKey(ref=own, path=("data", KEY), means="pod", value=mtu, effective=not shadowed) if own else None
    return cni_state.CniState(
        name=NAME,
        variant="chart" + (" with ipsec" if ipsec else ""),
        encapsulation=around,
        encapsulation_name=("geneve in ipsec" if ipsec else "geneve") if overlay else "none",
        pod_mtu=pod_mtu,
        reserves=max(ovn.RESERVE - cost, 0) if overlay else 0,
        mtu_keys=(key,) if key is not None else (),
        source=by,
        computed_by="ovnkube-node",
        daemonset=ref,
        conflist=CONFLIST,
        ports=ovs.PORTS,
        bridge=ovn.GATEWAY,
        owner=owners.of(config or (agents[0] if agents else None), out),
        ipv6=":" in str(config.get("data", "net_cidr") or "") if config is not None else False,
        findings=tuple(dict.fromkeys(out)),
        parsed=OvnParsed(config=config, agents=agents),
    )


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List the edit of the ConfigMap's mtu, and the restart of every DaemonSet that reads it.

    Raises UsageError where a DaemonSet has a number of its own, or the ConfigMap was not read.
    """
    encap.check(target)
    found = state.parsed
    assert isinstance(found, OvnParsed)
    if found.config is None:
        raise UsageError(f"ConfigMap {NAMESPACE}/{CONFIG_MAP} was not read: allow `get` on it, then plan again.")
    if state.source:
        raise UsageError(f"{state.source} decides, and not {found.config}: set it to {target} where that is made from.")
    before = found.config.get("data", KEY)
    why = f"ovnkube-node gives {ovn.GATEWAY} and new pods {target}"
    edits = installer.edit(
        reading.ref(found.config, "configmaps"),
        ("data", KEY),
        before if isinstance(before, str | int) else None,
        str(target),
        why,
    )
    if not edits:
        return ()
    restarts = [
        plan.Rollout(ref=reading.ref(agent, "daemonsets"), why="ovnkube-node reads OVN_MTU only when it starts")
        for agent in found.agents
    ]
    return (*edits, *restarts)


def _literal(agents: tuple[Object, ...], out: list[Finding]) -> tuple[int | None, str]:
    """Return the number that a DaemonSet has of its own, and where; None where all take the ConfigMap's."""
    for agent in agents:
        variable = reading.attempt(lambda: daemonset.variable(agent, VARIABLE), None, out, str(agent))  # noqa: B023
        if variable is not None and variable.value and variable.key is None:
            place = f"{agent}, variable {VARIABLE}"
            return reading.mtu(variable.value, out, place), place
    return None, ""


def _broken(held: str | None, mtu: int | None) -> bool:
    return bool(held and held.strip() not in {"", "0"}) and mtu is None


def _no_overlay(snapshot: Snapshot, out: list[Finding]) -> bool:
    """Return True when packets between nodes are routed as they are (ovnkube.conf: transport = no-overlay)."""
    config = snapshot.find("ConfigMap", CONF_MAP, NAMESPACE)
    text = reading.value(config, out, "data", "ovnkube.conf") if config is not None else None
    return any(line.replace(" ", "") == "transport=no-overlay" for line in (text or "").splitlines())

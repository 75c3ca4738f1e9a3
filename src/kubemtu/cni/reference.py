"""The reference plugins as the pod network: bridge, ptp, macvlan, ipvlan by a file on each node, and no object at all.

Somebody's own installer, or a cloud's, has written the file. Its `mtu` is the pods'; without one bridge and ptp leave
the kernel's default, and macvlan and ipvlan take their master's (containernetworking/plugins: plugins/main/bridge,
ptp, macvlan, ipvlan). What carries packets between the nodes is the routes' affair: nothing goes around them as long
as no node has a tunnel.
"""

import json
from collections.abc import Iterator

import msgspec

from kubemtu.cni.knowledge import CalcKey, Knowledge
from kubemtu.cni.programs import kubelet
from kubemtu.core import codes, net, places
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state, node_files
from kubemtu.core.codes import Finding
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import NODES, Want
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text import wording

NAME = "reference-plugins"
BRIDGE = "cni0"  # plugins/main/bridge: defaultBrName
PORTS = {"ptp": net.PortRule(prefixes=("veth",)), "macvlan": net.PortRule(), "ipvlan": net.PortRule()}
KINDS = ("bridge", *PORTS)
TUNNELS = frozenset({"vxlan", "geneve", "gre", "gretap", "ip6gre", "ipip", "sit", "ip6tnl", "wireguard", "tun"})
WANTS: tuple[Want, ...] = (NODES, kubelet.WANT)
_DEFAULT = "no mtu in the file: the kernel's default"
KNOWLEDGE = Knowledge(
    recognised_by="a reference plugin (bridge, ptp, macvlan, ipvlan) in the CNI configuration of a node",
    ports=(net.PortRule(bridge=BRIDGE), PORTS["ptp"]),
    plugin_mtus=tuple(
        node_files.PluginRule(plugin=kind, otherwise=node_files.KERNEL_DEFAULT, otherwise_by=_DEFAULT)
        for kind in ("bridge", "ptp")
    ),
    calc_keys=(CalcKey("bridge, ptp", "/etc/cni/net.d on each node", "mtu", "pod", ((),)),),
)


class ReferenceParsed(msgspec.Struct, frozen=True, kw_only=True):
    """The files that make up such a network: what each gives new pods, in bytes, by node and path."""

    gives: tuple[tuple[str, str, int | None], ...]
    kind: str


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe the network that a reference plugin makes, or return None when no node has such a configuration.

    Where nodes have several kinds, the first node's is described, and the others are named.
    """
    found = [*_found(snapshot)]
    if not found:
        return None
    _, file, plugin = found[0]
    kind = str(plugin["type"])
    out: list[Finding] = list(kubelet.findings(snapshot))
    out += _others(found, kind)
    tunnels = sorted({link.name for node in snapshot.nodes for link in node.links if link.kind in TUNNELS})
    if tunnels:
        out.append(_carried(tunnels))
    gives = tuple((node.node, held.path, _gives(node, held)) for node, held, _ in found)
    named = plugin.get("bridge")
    bridge = (named if isinstance(named, str) and named else BRIDGE) if kind == "bridge" else None
    same = {number for _, _, number in gives}
    return cni_state.CniState(
        name=NAME,
        variant=kind,
        encapsulation_known=not tunnels,
        encapsulation_name="unknown" if tunnels else "none",
        pod_mtu=same.pop() if len(same) == 1 and len(gives) == len(snapshot.nodes) else None,
        source=f"mtu of the plugin {kind} in {file.path} on each node",
        conflist=file.path,
        ports=net.PortRule(bridge=bridge) if bridge is not None else PORTS[kind],
        bridge=bridge,
        findings=tuple(dict.fromkeys(out)),
        parsed=ReferenceParsed(gives=gives, kind=kind),
    )


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """Return nothing where every node's file gives new pods `target` bytes already: running pods are left to change.

    Raises UsageError elsewhere, naming the files: kubemtu writes no file of a node.
    """
    found = state.parsed
    assert isinstance(found, ReferenceParsed)
    if found.kind not in {"bridge", "ptp"}:
        raise UsageError(
            f"Pods of the plugin {found.kind} share the node's NIC and hang on no veth: kubemtu changes none of them;"
            f' write "mtu": {target} into {found.gives[0][1]} on each node, and start the pods anew.'
        )
    wrong = [f"{node}: {path}" for node, path, gives in found.gives if gives != target]
    if wrong:
        raise UsageError(
            f"New pods would not get {target}: {wording.names(wrong)} {'says' if len(wrong) == 1 else 'say'} else, and"
            f' no object of the API holds it. Write "mtu": {target} where those files are made'
            " from, or there; then plan again."
        )
    return ()


def _found(snapshot: Snapshot) -> Iterator[tuple[net.NodeObservation, net.NodeFile, dict[str, object]]]:
    """Yield the nodes whose first configuration, which the runtime takes, is of a reference plugin."""
    for node in snapshot.nodes:
        file = next(iter(node_files.listing(node, None)), None)
        plugins = node_files.plugins_of(file.text) if file is not None else None
        if file is not None and plugins is not None and plugins[0].get("type") in KINDS:
            yield node, file, plugins[0]


def _gives(node: net.NodeObservation, file: net.NodeFile) -> int | None:
    rendered = node_files.of(node, file.path, KNOWLEDGE.plugin_mtus)
    return rendered.gives if rendered is not None else None


def _others(found: list[tuple[net.NodeObservation, net.NodeFile, dict[str, object]]], kind: str) -> list[Finding]:
    return [
        codes.finding(
            codes.MTU117,
            places.on(node.node, file.path),
            f"New pods here are made by {json.dumps(plugin['type'])}, those of other nodes by {kind}; kubemtu"
            f" judges the network of {kind}.",
            "Give all nodes one kind of configuration, or look at this one by itself.",
        )
        for node, file, plugin in found
        if plugin["type"] != kind
    ]


def _carried(tunnels: list[str]) -> Finding:
    return codes.finding(
        codes.MTU117,
        wording.names(tunnels),
        f"Nodes have tunnels ({wording.names(tunnels)}), and no configuration says whether packets of pods take them:"
        " what goes around a packet is unknown.",
        "Measure it with `kubemtu probe`, or look at `ip route get` for a pod of another node; then give the MTU with"
        " --mtu.",
    )

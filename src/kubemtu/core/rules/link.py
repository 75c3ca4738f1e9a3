"""NICs: whether the nodes' agree with each other, and whether the configuration names ones that exist."""

from collections.abc import Iterable, Sequence

from kubemtu.core import codes
from kubemtu.core.cluster import goodput
from kubemtu.core.cluster.topology import Node, Topology
from kubemtu.core.codes import Finding
from kubemtu.core.text.wording import names


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report NICs that the configuration names and a node lacks (MTU109), unequal NICs that lose packets (MTU106)."""
    return (*_absent(topology), *_mixed(topology))


def _absent(topology: Topology) -> Iterable[Finding]:
    state = topology.state
    for node in topology.without_nic:
        # Each is tried in turn, so one that is there is enough (flannel-io/flannel: main.go, --iface).
        there = dict.fromkeys(way.device for way in node.seen.uplinks)
        there |= dict.fromkeys(link.name for link in node.seen.links if not link.kind and link.name != "lo")
        yield codes.finding(
            codes.MTU109,
            f"node {node.name}, {state.nic_key or state.name}",
            f"The configuration names {names(state.nic_names)}, and this node has only "
            f"{names(there) or 'other devices'}. What runs here keeps running; at its next start "
            f"{state.nic_reader or state.name} exits, and the node loses its pod network.",
            "Name a NIC that every node has, or leave the name out: then the default route decides.",
        )


def _mixed(topology: Topology) -> Iterable[Finding]:
    by_mtu: dict[int, list[Node]] = {}
    for node in topology.nodes:
        if node.nic_mtu is not None:
            by_mtu.setdefault(node.nic_mtu, []).append(node)
    if len(by_mtu) < 2 or topology.carries is None:
        return
    smallest = min(by_mtu)
    few = by_mtu[smallest]
    listing = "; ".join(
        f"{mtu}: {names(f'{node.name} ({node.nic})' for node in nodes)}" for mtu, nodes in sorted(by_mtu.items())
    )
    # A node with the smallest NIC that sends too much harms itself, and MTU107 or MTU101 say so.
    wide = [node for node in topology.nodes if node.nic_mtu != smallest and _may_send(node) > topology.carries]
    if not wide:
        return
    yield codes.finding(
        codes.MTU106,
        f"node {few[0].name}, {few[0].nic}" if len(few) == 1 else f"nodes {names(node.name for node in few)}",
        f"NICs between the nodes differ ({listing}). The smallest decides: pods can have {topology.carries}. Nodes "
        f"with a larger one ({names(node.name for node in wide)}) still send more than that: it vanishes in front of "
        f"the smaller NIC, without an ICMP error.{_price(wide, topology)}",
        "Give all nodes' NICs one MTU, or set the pods to what the smallest leaves: `kubemtu plan`.",
    )


def _price(wide: Sequence[Node], topology: Topology) -> str:
    """Say what the smallest size for everybody costs between those who could have more; empty where it is little."""
    possible = min((node.inner for node in wide if node.inner is not None), default=0)
    cost = max((one.cost for one in topology.state.encapsulation), default=0)
    if topology.carries is None or possible <= topology.carries or len(wide) < 2:
        return ""
    part, packets = goodput.lost(topology.carries, possible, cost), goodput.packets(topology.carries, possible)
    if part < goodput.WORTH_A_WARNING:
        return ""
    return (
        f" {topology.carries} for all costs those others {part:.1%} of a full link among themselves, and {packets:.1f}"
        " times as many packets for the same payload, which is what their CPUs pay."
    )


def _may_send(node: Node) -> int:
    """Return the largest packet of this node's pods, and of itself over the tunnel, that its own devices let out."""
    pods = max((port.sends or port.shown or 0 for port in node.ports), default=0)
    tunnel = node.tunnel.mtu if node.tunnel is not None else None
    return min(pods, tunnel) if tunnel is not None else pods

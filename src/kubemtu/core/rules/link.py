"""NICs: whether the nodes' agree with each other, and whether the configuration names ones that exist."""

from collections.abc import Iterable, Sequence

from kubemtu.core import codes, places
from kubemtu.core.cluster import goodput
from kubemtu.core.cluster.topology import Node, Topology
from kubemtu.core.codes import Finding, Severity
from kubemtu.core.places import NodePlace
from kubemtu.core.text.wording import count, has, names

POOLS_MOST = 3  # that are named by their counts


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
            places.on(node.name, state.nic_key or state.said),
            f"The configuration names {names(state.nic_names)}, and this node has only "
            f"{names(there) or 'other devices'}. What runs here keeps running; at its next start "
            f"{state.nic_reader or state.said} exits, and the node loses its pod network.",
            "Name a NIC that every node has, or leave the name out: then the default route decides.",
        )


def _mixed(topology: Topology) -> Iterable[Finding]:
    by_mtu: dict[int, list[Node]] = {}
    for node in topology.nodes:
        if node.nic_mtu is not None:
            by_mtu.setdefault(node.nic_mtu, []).append(node)
    if len(by_mtu) < 2 or topology.carries is None or topology.held_by:
        return  # what is in force says less towards the few: MTU132 tells where it does not
    if topology.narrowest is not None and topology.narrowest.path_mtu != min(by_mtu):
        return  # a policy, or who gave a number, says less than any NIC: that decides, and is told as such
    few = by_mtu[min(by_mtu)]
    listing = "; ".join(
        f"{mtu}: {names(f'{node.name} ({node.nic})' for node in nodes)}" for mtu, nodes in sorted(by_mtu.items())
    )
    # A node with the smallest NIC that sends too much harms itself, and MTU107 or MTU101 say so.
    larger = [node for mtu, nodes in by_mtu.items() if mtu != min(by_mtu) for node in nodes]
    wide = [node for node in larger if _may_send(node) > topology.carries]
    possible, price = _price(wide or larger, topology)
    if not wide and not price:
        return
    fact = f"NICs between the nodes differ ({listing}). {_pools(topology, few)}The smallest decides: pods can have"
    fact += f" {topology.carries}."
    if wide:
        fact += (
            f" Nodes with a larger one ({names(node.name for node in wide)}) still send more than that: it vanishes in"
            " front of the smaller NIC, without an ICMP error."
        )
    remedy = "Give all nodes' NICs one MTU"
    if wide:
        remedy += ", or set the pods to what the smallest leaves: `kubemtu plan`"
    if price:
        remedy += (
            f"; or {possible} for most, with routes of {topology.carries} towards the few: `kubemtu plan --per-node`"
        )
    severity: Severity = "warning" if wide else "note"
    yield codes.finding(codes.MTU106, _place(topology, few), f"{fact}{price}", f"{remedy}.", severity)


def _place(topology: Topology, few: Sequence[Node]) -> NodePlace:
    """Name the nodes with the smallest NICs, and their pool where that has no others."""
    if len(few) == 1:
        return places.on(few[0].name, few[0].nic)
    whole = few[0].api.pool
    alone = whole and {node.name for node in few} == {node.name for node in topology.nodes if node.api.pool == whole}
    return places.on((node.name for node in few), inside=whole if alone else "")


def _pools(topology: Topology, few: Sequence[Node]) -> str:
    """Say how many nodes of their pools those are: a whole pool was made so, one node of it was not."""
    said = []
    for pool in dict.fromkeys(node.api.pool for node in few if node.api.pool):
        members = [node for node in topology.nodes if node.api.pool == pool]
        small = [node for node in few if node.api.pool == pool]
        others = [node for node in topology.nodes if node.api.pool != pool] if len(small) == len(members) else members
        rest = sorted({node.nic_mtu for node in others if node.nic_mtu not in {None, small[0].nic_mtu}}, key=int)
        whose = "the others" if len(small) == len(members) else "the others of it"
        beside = f", {whose} {names(str(mtu) for mtu in rest)}" if rest else ""
        of = f"{len(small)} of {count(len(members), 'node')} {has(len(small))}"
        said.append(f"{pool[:1].upper()}{pool[1:]}: {of} {small[0].nic_mtu}{beside}. ")
    return "".join(said[:POOLS_MOST])


def _price(wide: Sequence[Node], topology: Topology) -> tuple[int, str]:
    """Say what the smallest size for everybody costs between those who could have more, and what they could have.

    Nothing where that is little, or there are no two of them.
    """
    possible = min((node.inner for node in wide if node.inner is not None), default=0)
    cost = topology.state.cost
    if topology.carries is None or possible <= topology.carries or len(wide) < 2:
        return 0, ""
    part, packets = goodput.lost(topology.carries, possible, cost), goodput.packets(topology.carries, possible)
    if part < goodput.WORTH_A_WARNING:
        return 0, ""
    more, fewer = goodput.rate(topology.carries), goodput.rate(possible)
    return possible, (
        f" {topology.carries} for all costs those others {part:.1%} of a full link among themselves, and {packets:.1f}"
        f" times as many packets for the same payload ({more:,.0f} a second instead of {fewer:,.0f} for each Gbit/s),"
        f" which is what their CPUs pay. {possible} for most costs nothing but a route in their pods for each of the"
        " few, and is kept by the agents."
    )


def _may_send(node: Node) -> int:
    """Return the largest packet of this node's pods that its own devices let out."""
    pods = max((port.sends or port.shown or 0 for port in node.ports), default=0)
    tunnel = node.tunnel.mtu if node.tunnel is not None else None
    return min(pods, tunnel) if tunnel is not None else pods

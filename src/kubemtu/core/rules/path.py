"""Running pods against the path between nodes: what is too large and how it fails, what is too small and its cost."""

from collections.abc import Iterable

from kubemtu.core import codes, net, places
from kubemtu.core.cluster import goodput, tunnels
from kubemtu.core.cluster.topology import Node, Port, Topology
from kubemtu.core.codes import Finding, Severity
from kubemtu.core.places import NodePlace
from kubemtu.core.text.wording import count, has, listed, sizes

BY_HOST_ENDS = ", as their host ends have (the pods' own ends were not seen)"


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report pods whose packets do not fit the path between nodes (MTU101), and pods that use less of it (MTU102)."""
    if topology.carries is None:
        return tuple(_above_tunnels(topology))
    return (*_above(topology, topology.carries), *_below(topology, topology.carries))


def _above(topology: Topology, carries: int) -> Iterable[Finding]:
    groups: dict[tuple[int, str, bool], list[tuple[Node, Port]]] = {}
    fits = min((node.fits for node in topology.nodes if node.fits is not None), default=carries)
    fits = min(fits, carries) if topology.beyond is not None else fits
    for pair in topology.ports:
        node, port = pair
        # What a smaller host end swallows never meets the path: MTU105 tells of it.
        largest = min(port.sends or port.at.host_mtu, port.at.host_mtu)
        if topology.by_destination(node, port):
            continue
        if largest > carries and port.shown is not None:
            fate = _fate(topology, node, largest, carries if node.tunnel is None else fits, _refused(port))
            groups.setdefault((largest, fate, port.seen), []).append(pair)
    alone = topology.listed == 1 and len(topology.nodes) + len(topology.silent) == 1
    severity: Severity = "warning" if alone else "error"
    for (largest, fate, seen), members in groups.items():
        yield codes.finding(
            codes.MTU101,
            _place(members),
            f"{count(len(members), 'pod')} may send {largest} bytes{'' if seen else BY_HOST_ENDS}, but the path "
            f"between nodes carries {carries}{_by(topology)}. "
            + ("There is one node, so no packet takes that path yet." if alone else fate),
            f"Run `kubemtu apply`: it takes running pods to {carries} without restarting one.",
            severity,
        )


def _above_tunnels(topology: Topology) -> Iterable[Finding]:
    """Report pods that are larger than the tunnel of their own node, where no NIC says what that should have."""
    groups: dict[tuple[int, str, int, bool], list[tuple[Node, Port]]] = {}
    for pair in topology.ports:
        node, port = pair
        largest = min(port.sends or port.at.host_mtu, port.at.host_mtu)
        if node.tunnel is not None and largest > node.tunnel.mtu and port.shown is not None:
            groups.setdefault((largest, node.tunnel.name, node.tunnel.mtu, port.seen), []).append(pair)
    for (largest, tunnel, mtu, seen), members in groups.items():
        yield codes.finding(
            codes.MTU101,
            _place(members),
            f"{count(len(members), 'pod')} may send {largest} bytes{'' if seen else BY_HOST_ENDS}, but {tunnel} of the "
            f"sender's own node takes {mtu}: packets of {sizes(mtu + 1, largest)} bytes to other nodes are refused, "
            "those with DF and of IPv6 by an ICMP error. What both should have follows from the NIC below, which was "
            "not seen.",
            "Say what the NICs of the nodes have: `kubemtu check --nic-mtu N`.",
        )


def _by(topology: Topology) -> str:
    return f", as {topology.origin.says} says" if topology.origin is not None else ""


def _refused(port: Port) -> str:
    """Say what a refusal at its own node costs a pod; a router cuts no packet of IPv6 (RFC 8200, section 4.5)."""
    hangs = (
        "which costs TCP a flight for each new peer and, where it is filtered, leaves connections hanging at the first "
        "full segment"
    )
    if port.at.addresses and all(":" in address for address in port.at.addresses):
        return f"with an ICMPv6 error, {hangs}; a datagram of that size is lost until its sender has heard it"
    return f"with DF by an ICMP error, {hangs}; without DF they are cut in fragments"


def _fate(topology: Topology, node: Node, largest: int, carries: int, refused: str) -> str:
    """Return what becomes of packets to other nodes that are too large, size by size.

    `carries` is for packets of this way: IPv4 over one tunnel may fit where IPv6 over its twin does not. `refused` says
    how their own node refuses them.
    """
    if node.tunnel is None:
        first, bound, outer = node.nic, node.nic_mtu or carries, largest
    else:
        first, bound, outer = node.tunnel.name, node.tunnel.mtu, node.fits or carries
    where = "on the way to a node with a smaller NIC"
    if topology.origin is not None:
        where = f"in the network between the nodes, as {topology.origin} says"
        outer = max(outer, min(bound, largest)) if node.bound is not None else outer
    said = []
    silent = min(bound, outer, largest)
    if silent > carries:
        said.append(
            f"those of {sizes(carries + 1, silent)} bytes fit this node's own devices and vanish {where}, without an "
            "ICMP error"
        )
    cut = min(bound, largest)
    if cut > outer:
        said.append(
            f"those of {sizes(max(outer, carries) + 1, cut)} bytes fit {first} ({bound}) but not {node.below} "
            f"around them: {_around(node.tunnel)}"
        )
    if largest > bound:
        said.append(
            f"those of {sizes(bound + 1, largest)} bytes are refused by {first} ({bound}) of the sender's own node: "
            f"{refused}"
        )
    other, beside = topology.state.other_tunnel, node.other_tunnel
    if other is not None and beside is not None and beside.mtu < largest:
        version = {4: "", 6: "v6"}[other.family]
        said.append(
            f"those of {sizes(beside.mtu + 1, largest)} bytes that are IPv{other.family} are refused by "
            f"{beside.name} ({beside.mtu}) of the sender's own node, with an ICMP{version} error"
        )
    told = "; ".join(said)
    return f"{told[:1].upper()}{told[1:]}."


def _around(tunnel: net.Link | None) -> str:
    """Say what the node does with a packet that fits its tunnel and not what is below."""
    if tunnels.loses(tunnel):
        return (
            "a tunnel does not cut IPv6, so the node drops the first of them to each pod and tells nobody, and refuses "
            "those after it"
        )
    return "the node sends each as two fragments, or drops it, DF or not"


def _below(topology: Topology, carries: int) -> Iterable[Finding]:
    groups: dict[tuple[int, bool], list[tuple[Node, Port]]] = {}
    for pair in topology.ports:
        node, port = pair
        if topology.due(node) is not None:
            continue  # MTU132 tells of one that has less than it is given
        if not port.at.differ and port.shown is not None and topology.wastes(port.shown):
            groups.setdefault((port.shown, port.seen), []).append(pair)
    cost = topology.state.cost
    for (mtu, seen), members in groups.items():
        lost = goodput.lost(mtu, carries, cost)
        severity: Severity = "warning" if lost >= goodput.WORTH_A_WARNING else "note"
        # What is no more than a note is told once: of the configured number (MTU119), where pods have that one.
        if lost < goodput.WORTH_A_NOTE or (severity == "note" and mtu == topology.born):
            continue
        yield codes.finding(
            codes.MTU102,
            _place(members),
            f"{count(len(members), 'pod')} {has(len(members))} {mtu}{'' if seen else BY_HOST_ENDS}, the path carries "
            f"{carries}: of a full link TCP "
            f"gets {goodput.share(mtu, cost):.1%} instead of {goodput.share(carries, cost):.1%}, which is {lost:.1%} "
            f"less, in {goodput.packets(mtu, carries):.2f} times as many packets.",
            f"Run `kubemtu apply`: it proves with full-size packets that the network carries this, then takes running "
            f"pods to {carries} without restarting one.",
            severity,
        )


def _place(members: list[tuple[Node, Port]]) -> NodePlace:
    pods = listed("pod", [port.pod for _, port in members])
    return places.on((node.name for node, _ in members), pods)

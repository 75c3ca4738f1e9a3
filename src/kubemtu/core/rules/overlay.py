"""Devices between pods and NIC: the tunnel against what is under and above it, the bridge against its ports."""

from collections.abc import Iterable, Sequence

from kubemtu.core import codes, net, places
from kubemtu.core.cluster import tunnels
from kubemtu.core.cluster.topology import Node, Topology
from kubemtu.core.codes import Finding, Severity
from kubemtu.core.net import VLAN_SLACK
from kubemtu.core.text.wording import count, has, names, sizes

_NICS = (
    "Give the NICs of this subnet one MTU: no key of the pod network reaches what goes past its tunnel. That also ends"
    " the same loss between the nodes' own addresses."
)


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report tunnel devices (MTU107, MTU145) and bridges (MTU121) whose MTU does not suit what they join."""
    found: list[Finding] = [*_beyond_others(topology)]
    for node in topology.nodes:
        found += _tunnel(node, topology, node.tunnel, node.fits, _wanted(node, topology))
        # No plan changes the other one, so a change leaves it as large as the NIC lets it be: where that loses, MTU145.
        found += _tunnel(node, topology, node.other_tunnel, node.other_fits, None)
        found += _companions(node, topology)
        found += _bridge(node, topology)
    return tuple(found)


def _wanted(node: Node, topology: Topology) -> int | None:
    """Return what the configuration gives the tunnel of a node; None too while a change in force gives it its own."""
    return topology.state.tunnel_mtu if topology.held(node) is None else None


def _tunnel(
    node: Node, topology: Topology, tunnel: net.Link | None, fits: int | None, wanted: int | None
) -> Iterable[Finding]:
    """Judge one tunnel device; `fits` is what the NIC leaves for it, `wanted` what the configuration gives it."""
    if tunnel is None:
        return
    place = places.on(node.name, tunnel.name)
    largest = max((port.sends or port.shown or 0 for port in node.ports), default=0)
    most = min((size for size in (wanted, fits) if size is not None), default=0)  # the kernel refuses more
    live = ", or `kubemtu apply`." if tunnel is node.tunnel else "."  # no plan changes the other one
    why = f" {topology.state.tunnel_stays}" if topology.state.tunnel_stays else ""
    if fits is not None and tunnel.mtu > fits:
        fate = (
            "the node cuts the outer packet in two, although the inner one has DF, or the underlay drops it. No error "
            "is reported; throughput falls by a factor"
        )
        if tunnels.loses(tunnel):
            fate = (
                "IPv6 is cut by its source alone, and a tunnel does not, so the node drops the first of them to each "
                "pod and tells nobody, and refuses those after it with an ICMP error"
            )
        if node.bound is not None:
            fate = "they vanish between the nodes, and no error is reported"
        severity: Severity = "error" if largest > fits else "warning"
        yield codes.finding(
            codes.MTU107,
            place,
            f"{tunnel.name} has {tunnel.mtu}, but {node.below} leaves {fits}. Packets of "
            f"{sizes(fits + 1, tunnel.mtu)} bytes fit the tunnel and not what is around them: {fate}.",
            f"ip link set dev {tunnel.name} mtu {fits} on this node{live}",
            severity,
        )
    elif wanted is not None and (tunnel.mtu > wanted or tunnel.mtu < min(most, largest)):
        yield codes.finding(
            codes.MTU107,
            place,
            f"{tunnel.name} has {tunnel.mtu}, the configuration gives it {wanted}.{why}",
            f"ip link set dev {tunnel.name} mtu {most} on this node{live}",
            "error" if tunnel.mtu < largest else "warning",
        )
    elif tunnel.mtu < (expected := _expected(node, topology, fits)):
        yield codes.finding(
            codes.MTU107,
            place,
            f"{tunnel.name} has {tunnel.mtu}, less than the {expected} that pods of this node have or will get, and "
            f"{node.below} leaves {fits}. The node refuses packets of "
            f"{sizes(tunnel.mtu + 1, expected)} bytes with an ICMP error.{why}",
            f"ip link set dev {tunnel.name} mtu {_useful(node, topology, fits)} on this node{live}",
        )


def _beyond_others(topology: Topology) -> Iterable[Finding]:
    """Report what nodes themselves send into tunnels that suit their own NIC and are too large for another's.

    Where pods send too much as well, a change of theirs takes the tunnels along; a node that is in no change that is
    in force is told of as such (MTU132), and a tunnel that has not what the configuration gives it as that (MTU107).
    """
    if _pods_send_more(topology):
        return
    alike: dict[tuple[str, int, tuple[str, ...], str, bool], list[tunnels.Overreach]] = {}
    for one in tunnels.overreaching(topology):
        wanted = _wanted(one.node, topology) if one.device == topology.state.tunnel else None
        outside = bool(topology.held_by) and topology.held(one.node) is None
        if outside or (wanted is not None and wanted < one.sends):
            continue
        far = tuple(node.name for node in one.far)
        alike.setdefault((one.device, one.sends, far, one.subnet, one.certain), []).append(one)
    together: dict[tuple[tuple[str, ...], tuple[str, ...], str, bool], list[tunnels.Overreach]] = {}
    for (_, _, far, _, _), members in alike.items():  # both devices of the same nodes are one thing to mend
        subnet, certain = members[0].subnet, members[0].certain
        together.setdefault((tuple(one.node.name for one in members), far, subnet, certain), []).append(members[0])
    for (nodes, far, subnet, certain), by_device in together.items():
        narrow = by_device[0].far[0]
        nic = f"{narrow.below} of {narrow.name}"
        if len(far) > 1:
            nic = f"the NICs of {names(far)}, the least of which is {narrow.below}"
        way = f" to pods of nodes of their own subnet ({subnet}), past the tunnel," if subnet else ""
        unseen = "" if certain else " Nodes of one subnet are reached past it, and which are in one was not seen."
        devices = [f"{one.device} ({one.sends})" for one in by_device]
        lost = [f"{sizes(one.takes + 1, one.sends)} bytes" for one in by_device]
        if len(by_device) > 1:
            lost = [f"{span} by {one.device}" for span, one in zip(lost, by_device, strict=True)]
        yield codes.finding(
            codes.MTU145,
            places.on(nodes, names(one.device for one in by_device)),
            f"What {_themselves(nodes)} network, send{way} by {names(devices)} does not fit {nic}: datagrams of"
            f" {names(lost)}, and pieces of larger ones, vanish in front of it, with DF or without, and no ICMP error"
            f" comes back. TCP agrees on less, and pods of the pod network have less.{unseen}",
            _narrowed(topology, by_device, narrow) if not subnet else _NICS,
            "warning" if certain else "note",
        )


def _themselves(nodes: Sequence[str]) -> str:
    """Name who sends by a node's own interfaces, up to the word "network"."""
    return "this node itself, and pods on its" if len(nodes) == 1 else "these nodes themselves, and pods on their"


def _pods_send_more(topology: Topology) -> bool:
    """Say whether some pod sends more than the path between nodes carries, and no change in force says where to."""
    return topology.carries is not None and any(
        (port.sends or port.shown or 0) > topology.carries and not topology.fits(node, port)
        for node, port in topology.ports
    )


def _narrowed(topology: Topology, by_device: Sequence[tunnels.Overreach], narrow: Node) -> str:
    """Say how a tunnel gets what the smallest NIC leaves of it everywhere, and what else ends it."""
    commands = " and ".join(f"ip link set dev {one.device} mtu {one.takes}" for one in by_device)
    said = f"{commands} on each of these nodes"
    if keys := _keys(topology, by_device):
        said = f"Set {keys} for devices that are made from now on, and {said} for those that are there"
    known = topology.api_nodes.values()
    if known and all(node.networks for node in known) and topology.state.ports.names_any:
        said += ". Or `kubemtu apply --per-node`: pods elsewhere get more, and all routes to the smaller nodes say less"
    if narrow.bound is not None:  # its NIC may be as large as any
        return f"{said}."
    return f"{said}. One MTU for all NICs also ends the same loss between the nodes' own addresses."


def _keys(topology: Topology, by_device: Sequence[tunnels.Overreach]) -> str:
    """Return the keys that give these devices their MTU, each with its number; one of both has the smaller one's."""
    other = topology.state.other_tunnel
    numbers: dict[str, int] = {}
    for one in by_device:
        key = other.key if other is not None and one.device == other.device else topology.state.tunnel_key
        if key is not None:
            number = one.takes + key.subtracts if key.means == "base" else one.takes
            numbers[str(key)] = min(number, numbers.get(str(key), number))
    return names(f"{key} to {number}" for key, number in numbers.items())


def _companions(node: Node, topology: Topology) -> Iterable[Finding]:
    """Devices that the CNI gives the pods' MTU when it starts: the node's own packets to Services pass through them."""
    expected = _expected(node, topology, node.fits)
    small: dict[int, list[str]] = {}
    for name in topology.state.companions:
        link = node.seen.link(name)
        if link is not None and link.up and link.mtu < expected:
            small.setdefault(link.mtu, []).append(name)
    for mtu, devices in small.items():
        commands = "; ".join(f"ip link set dev {name} mtu {expected}" for name in devices)
        yield codes.finding(
            codes.MTU107,
            places.on(node.name, names(devices)),
            f"{names(devices)} {has(len(devices))} {mtu}, and pods of this node {expected}: what the node itself sends"
            f" to Services goes in packets of at most {mtu} bytes.",
            f"{commands} on this node{f', or {by}' if (by := topology.state.companions_by) else ''}.",
            "warning",
        )


def _useful(node: Node, topology: Topology, fits: int | None) -> int:
    """Return what the tunnel can use: what its NIC leaves, and no more than pods of this node may send."""
    return min((size for size in (fits, topology.room(node)) if size is not None), default=0)


def _expected(node: Node, topology: Topology, fits: int | None) -> int:
    """Return what the tunnel must let through: what pods here use or will use, as far as the path carries it."""
    wanted = max([*(port.shown or 0 for port in node.ports), node.born or 0])
    return min(wanted, _useful(node, topology, fits))


def _bridge(node: Node, topology: Topology) -> Iterable[Finding]:
    bridge = node.bridge
    ports = [port for port in node.ports if bridge is not None and port.at.bridge == bridge.name]
    if bridge is None:
        return
    if not ports:
        yield from _gateway(node, bridge, topology.state.ports.bridge)
        return
    smallest, largest = min(port.at.host_mtu for port in ports), max(port.at.host_mtu for port in ports)
    place = places.on(node.name, bridge.name)
    if smallest != largest:
        small = [port.pod for port in ports if port.at.host_mtu == smallest]
        yield codes.finding(
            codes.MTU121,
            place,
            f"The ports of {bridge.name} differ: {count(len(small), 'pod')} {smallest} ({names(small)}), others up to "
            f"{largest}. Between pods of this node nothing routes, so packets of "
            f"{sizes(smallest + VLAN_SLACK + 1, largest)} bytes to the smaller ones vanish without an ICMP error; TCP "
            "agrees on less.",
            "Run `kubemtu apply`, which gives every pod the same, or restart the pods that differ.",
            "error" if largest > smallest + VLAN_SLACK else "warning",
        )
    elif bridge.mtu > smallest:
        above = smallest + VLAN_SLACK + 1
        yield codes.finding(
            codes.MTU121,
            place,
            f"{bridge.name} has {bridge.mtu}, its ports {smallest}: what the node sends or forwards to its pods in "
            f"packets of {sizes(above, bridge.mtu)} bytes vanishes at the port, without an ICMP error. "
            "A bridge that was once set by hand no longer follows its ports.",
            f"ip link set dev {bridge.name} mtu {smallest} on this node, or `kubemtu apply`.",
            "error" if bridge.mtu > smallest + VLAN_SLACK else "warning",
        )
    elif bridge.mtu < smallest:
        yield codes.finding(
            codes.MTU121,
            place,
            f"{bridge.name} has {bridge.mtu}, its ports {smallest}: what comes for the pods from outside this node in "
            f"packets of {sizes(bridge.mtu + 1, smallest)} bytes is refused with an ICMP error.",
            f"ip link set dev {bridge.name} mtu {smallest} on this node, or `kubemtu apply`.",
        )


def _gateway(node: Node, gateway: net.Link, switch: str | None) -> Iterable[Finding]:
    """Judge the node's own port of the switch that pods hang on: what pods send out of their node leaves through it."""
    largest = max((size for port in node.ports if (size := port.sends) is not None), default=0)
    if switch not in {None, gateway.name} and gateway.up and gateway.mtu < largest:
        yield codes.finding(
            codes.MTU121,
            places.on(node.name, gateway.name),
            f"{gateway.name} has {gateway.mtu}, and pods here send up to {largest}: packets of"
            f" {sizes(gateway.mtu + 1, largest)} bytes that leave their node through it are dropped by the switch,"
            " without an ICMP error.",
            f"ip link set dev {gateway.name} mtu {largest} on this node, or `kubemtu apply`.",
            "error",
        )

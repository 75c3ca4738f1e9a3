"""Devices between pods and NIC: the tunnel against what is under and above it, the bridge against its ports."""

from collections.abc import Iterable

from kubemtu.core import codes, net
from kubemtu.core.cluster.topology import Node, Topology
from kubemtu.core.codes import Finding, Severity
from kubemtu.core.net import VLAN_SLACK
from kubemtu.core.text.wording import count, has, names, sizes


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report tunnel devices (MTU107) and bridges (MTU121) whose MTU does not suit what they join."""
    found: list[Finding] = []
    for node in topology.nodes:
        found += _tunnel(node, topology)
        found += _companions(node, topology)
        found += _bridge(node, topology)
    return tuple(found)


def _tunnel(node: Node, topology: Topology) -> Iterable[Finding]:
    tunnel = node.tunnel
    if tunnel is None:
        return
    place = f"node {node.name}, {tunnel.name}"
    largest = max((port.sends or port.shown or 0 for port in node.ports), default=0)
    wanted = topology.state.tunnel_mtu
    most = min((size for size in (wanted, node.fits) if size is not None), default=0)  # the kernel refuses more
    why = f" {topology.state.tunnel_stays}" if topology.state.tunnel_stays else ""
    if node.fits is not None and tunnel.mtu > node.fits:
        fate = (
            "the node cuts the outer packet in two, although the inner one has DF, or the underlay drops it. No error "
            "is reported; throughput falls by a factor"
        )
        if node.bound is not None:
            fate = "they vanish between the nodes, and no error is reported"
        severity: Severity = "error" if largest > node.fits else "warning"
        yield codes.finding(
            codes.MTU107,
            place,
            f"{tunnel.name} has {tunnel.mtu}, but {node.below} leaves {node.fits}. Packets of "
            f"{sizes(node.fits + 1, tunnel.mtu)} bytes fit the tunnel and not what is around them: {fate}.",
            f"ip link set dev {tunnel.name} mtu {node.fits} on this node, or `kubemtu apply`.",
            severity,
        )
    elif wanted is not None and (tunnel.mtu > wanted or tunnel.mtu < min(most, largest)):
        yield codes.finding(
            codes.MTU107,
            place,
            f"{tunnel.name} has {tunnel.mtu}, the configuration gives it {wanted}.{why}",
            f"ip link set dev {tunnel.name} mtu {most} on this node, or `kubemtu apply`.",
            "error" if tunnel.mtu < largest else "warning",
        )
    elif tunnel.mtu < (expected := _expected(node, topology)):
        yield codes.finding(
            codes.MTU107,
            place,
            f"{tunnel.name} has {tunnel.mtu}, less than the {expected} that pods of this node have or will get, and "
            f"{node.below} leaves {node.fits}. The node refuses packets of "
            f"{sizes(tunnel.mtu + 1, expected)} bytes with an ICMP error.{why}",
            f"ip link set dev {tunnel.name} mtu {_useful(node, topology)} on this node, or `kubemtu apply`.",
        )


def _companions(node: Node, topology: Topology) -> Iterable[Finding]:
    """Devices that the CNI gives the pods' MTU when it starts: the node's own packets to Services pass through them."""
    expected = _expected(node, topology)
    small: dict[int, list[str]] = {}
    for name in topology.state.companions:
        link = node.seen.link(name)
        if link is not None and link.up and link.mtu < expected:
            small.setdefault(link.mtu, []).append(name)
    for mtu, devices in small.items():
        commands = "; ".join(f"ip link set dev {name} mtu {expected}" for name in devices)
        yield codes.finding(
            codes.MTU107,
            f"node {node.name}, {names(devices)}",
            f"{names(devices)} {has(len(devices))} {mtu}, and pods of this node {expected}: what the node itself sends"
            f" to Services goes in packets of at most {mtu} bytes.",
            f"{commands} on this node{f', or {by}' if (by := topology.state.companions_by) else ''}.",
            "warning",
        )


def _useful(node: Node, topology: Topology) -> int:
    """Return what the tunnel can use: what its NIC leaves, and no more than gets through to every other node."""
    return min((size for size in (node.fits, topology.carries) if size is not None), default=0)


def _expected(node: Node, topology: Topology) -> int:
    """Return what the tunnel must let through: what pods here use or will use, as far as the path carries it."""
    born = node.rendered.gives if node.rendered is not None else None
    wanted = max(*(port.shown or 0 for port in node.ports), born or 0, 0) if node.ports else born or 0
    return min(wanted, _useful(node, topology))


def _bridge(node: Node, topology: Topology) -> Iterable[Finding]:
    bridge = node.bridge
    ports = [port for port in node.ports if bridge is not None and port.at.bridge == bridge.name]
    if bridge is None:
        return
    if not ports:
        yield from _gateway(node, bridge, topology.state.ports.bridge)
        return
    smallest, largest = min(port.at.host_mtu for port in ports), max(port.at.host_mtu for port in ports)
    place = f"node {node.name}, {bridge.name}"
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
            f"node {node.name}, {gateway.name}",
            f"{gateway.name} has {gateway.mtu}, and pods here send up to {largest}: packets of"
            f" {sizes(gateway.mtu + 1, largest)} bytes that leave their node through it are dropped by the switch,"
            " without an ICMP error.",
            f"ip link set dev {gateway.name} mtu {largest} on this node, or `kubemtu apply`.",
            "error",
        )

"""A VPN under the nodes: what it puts around each packet, against the NIC below it."""

from collections.abc import Iterable

from kubemtu.core import codes, net, places, vpn
from kubemtu.core.cluster.topology import Node, Topology
from kubemtu.core.codes import Finding
from kubemtu.core.text.wording import sizes


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report VPNs that nodes reach each other by and that are larger than what is below them leaves (MTU136)."""
    return tuple(finding for node in topology.nodes for finding in _above(node))


def _above(node: Node) -> Iterable[Finding]:
    device = node.seen.link(node.nic) if node.nic else None
    name = vpn.called(device) if device is not None else ""
    below = _below(node.seen, node.nic)
    if device is None or not name or below is None:
        return
    link, carries = below
    size = min(device.mtu, node.nic_mtu or device.mtu)
    fits = carries - vpn.COST
    if size > fits:
        yield codes.finding(
            codes.MTU136,
            places.on(node.name, device.name),
            f"{device.name} leads to the other nodes and lets {size} through; {name} puts {vpn.COST} bytes around each"
            f" packet ({vpn.COST + vpn.IPV6_MORE} over IPv6), and {link} below it carries {carries}: packets of"
            f" {sizes(fits + 1, size)} bytes leave the node in two pieces, whatever is in them, or are dropped on the"
            " way. No device of the pod network shows it.",
            f"Give {device.name} {fits - vpn.IPV6_MORE} ({fits} where its peers are reached over IPv4 alone) on every"
            " node, in the configuration of the VPN; then `kubemtu plan`.",
        )


def _below(seen: net.NodeObservation, device: str) -> tuple[str, int] | None:
    """Return the NIC that the VPN's own packets leave by, and what it carries: the default route's, as far as is told.

    Where its peers are behind another NIC, nothing that is observed says so.
    """
    route = next((one for one in seen.routes if one.destination == "default" and one.device != device), None)
    link = seen.link(route.device) if route is not None else None
    if route is None or link is None or vpn.called(link):
        return None
    return link.name, min(link.mtu, route.mtu or link.mtu)

"""By which NIC the packets of a node's pods leave it, and with which MTU."""

from kubemtu.core import headers, net, networks
from kubemtu.core.cluster.cni_state import CniState


def narrowest(observation: net.NodeObservation, state: CniState, tunnel: net.Link | None) -> net.Uplink | None:
    """Return the narrowest way to a peer, of the families by which pods' packets leave the node, where there is one.

    A VXLAN device that is bound to a lower device sends by that one, whatever the routes say (drivers/net/vxlan: the
    lookup has oif set), unless a firewall marks its packets: then they are routed anew (net/ipv4/netfilter.c). A node
    without peers has only its default route, by which it would reach the first one.
    """
    families = _families(observation, state)
    ways = tuple(way for way in observation.uplinks if (":" in way.peer) in families) or observation.uplinks
    lower = tunnel.vxlan.lower if tunnel is not None and tunnel.vxlan is not None else None
    if lower is not None:
        link = observation.link(lower)
        bound = tuple(way for way in ways if way.device == lower or way.marked)
        if bound:
            ways = bound
        elif link is not None:
            ways = (net.Uplink(peer="", device=lower, mtu=link.mtu),)
    if not ways:
        defaults = [route for route in observation.routes if route.destination in networks.ANYWHERE]
        default = next((one for one in defaults if (one.family == 6) in families), next(iter(defaults), None))
        link = observation.link(default.device) if default is not None else None
        if default is not None and link is not None:
            ways = (net.Uplink(peer="", device=link.name, mtu=link.mtu, route_mtu=default.mtu),)
    return min(ways, key=lambda way: min(way.mtu, way.route_mtu or way.mtu), default=None)


def _families(observation: net.NodeObservation, state: CniState) -> frozenset[bool]:
    """Say whether packets of pods leave their node as IPv4 (False), as IPv6 (True), or as either."""
    either = frozenset({False, True})
    outer = {one.headers[0] if one.headers else None for one in state.encapsulation}
    if outer:
        return (
            frozenset(header == headers.IPV6 for header in outer) if outer <= {headers.IPV4, headers.IPV6} else either
        )
    addresses = (address for port in observation.ports for address in port.addresses)
    own = state.ipv6 or networks.has_ipv6(addresses)
    return either if own or not state.encapsulation_known else frozenset({False})

"""Which NIC leads to the other nodes, from routes and addresses that were printed, as the kernel would look it up."""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kubemtu.core import net, networks, vpn
from kubemtu.core.networks import Network
from kubemtu.core.printed.values import Address


class _Way:
    """A route with its destination as a network."""

    __slots__ = ("default", "device", "mtu")

    def __init__(self, device: str, mtu: int | None, *, default: bool = False) -> None:
        self.device, self.mtu, self.default = device, mtu, default


Ways = Mapping[tuple[int, int, int], _Way]  # by family, prefix length and the prefix as a number


def uplinks(
    links: Iterable[net.Link],
    routes: Iterable[net.Route],
    addresses: Sequence[Address],
    peers: Iterable[str],
    own: Iterable[str] = (),
    vpn_routes: Iterable[tuple[str, net.Route]] = (),
) -> tuple[net.Uplink, ...]:
    """Return the ways to `peers`, addresses of other nodes: of ways by one device and route MTU the first.

    The route of the longest prefix counts, of equal ones the first: they are printed in the order in which the kernel
    asks them (net/ipv4/fib_trie.c). Where no route was printed, the networks of addresses stand in; where those lead
    nowhere either, the NIC that has the node's `own` address.

    `vpn_routes` are those of the tables of VPNs (core.vpn): Tailscale's is asked first, KubeSpan's is a further way.
    """
    by_name = {link.name: link for link in links}
    listed = tuple(vpn_routes)
    ways = _ways(routes, addresses)
    first = _ways((route for table, route in listed if table == vpn.TAILSCALE_TABLE), ())
    marked = _ways((route for table, route in listed if table == vpn.KUBESPAN_TABLE), ())
    joined = _tailnet(addresses, own)
    found: dict[tuple[str, int | None, bool], net.Uplink] = {}
    for peer in peers:
        way = _led(peer, first, ways, joined)
        forced = _to(peer, marked) if way is None or way is _to(peer, ways) else None
        for each, by_mark in ((way, False), (forced, True)):
            link = by_name.get(each.device) if each is not None else None
            if each is None or link is None or (by_mark and not vpn.is_kubespan(link)):
                continue
            uplink = net.Uplink(peer=peer, device=link.name, mtu=link.mtu, route_mtu=each.mtu, marked=by_mark)
            found.setdefault((link.name, each.mtu, by_mark), uplink)
    return tuple(found.values()) or tuple(_own(by_name, addresses, own))


def _led(peer: str, first: Ways, ways: Ways, joined: str) -> _Way | None:
    """Return the way to a peer: by Tailscale's table, unless that leads back, then by the main one.

    Where that table was not printed, a node that is known by an address of Tailscale's reaches others that are by the
    same device: the main table has no more than a default route for them.
    """
    way = _to(peer, first)
    if way is not None and way.device:
        return way
    way = _to(peer, ways)
    if joined and not first and vpn.of_tailscale(peer) and (way is None or way.default):
        return _Way(joined, None)
    return way


def _tailnet(addresses: Iterable[Address], own: Iterable[str]) -> str:
    """Return the device that has the node's own address where that is one of Tailscale's; else nothing."""
    known = {address for address in own if vpn.of_tailscale(address)}
    return next((each.device for each in addresses if each.text in known), "")


def _own(links: Mapping[str, net.Link], addresses: Iterable[Address], own: Iterable[str]) -> Iterator[net.Uplink]:
    """Yield the NIC that has the address by which a node is known: its peers are reached from it."""
    known = set(own)
    device = next((each.device for each in addresses if each.text in known and each.device in links), None)
    if device is not None:
        yield net.Uplink(peer="", device=device, mtu=links[device].mtu)


def _ways(routes: Iterable[net.Route], addresses: Iterable[Address]) -> Ways:
    """Return the ways by family, prefix length and the prefix as a number."""
    ways: dict[tuple[int, int, int], _Way] = {}
    for route in routes:
        network = networks.parsed(route.destination, route.family)
        if network is not None:
            ways.setdefault(_key(network), _Way(route.device, route.mtu, default=network.prefixlen == 0))
    for each in addresses:
        network = networks.parsed(f"{each.text}/{each.length}", networks.family(each.text))
        if network is not None and each.routed:
            ways.setdefault(_key(network), _Way(each.device, None))
    return ways


def _key(network: Network) -> tuple[int, int, int]:
    return network.version, network.prefixlen, int(network.network_address)


def _to(address: str, ways: Ways) -> _Way | None:
    try:
        to = ipaddress.ip_address(address)
    except ValueError:
        return None
    bits, number = to.max_prefixlen, int(to)
    for length in range(bits, -1, -1):
        prefix = number >> (bits - length) << (bits - length)
        if (way := ways.get((to.version, length, prefix))) is not None:
            return way
    return None

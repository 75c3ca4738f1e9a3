"""Which NIC leads to the other nodes, from routes and addresses that were printed, as the kernel would look it up."""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kubemtu.core import net
from kubemtu.core.printed.values import Address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
DEFAULT = {4: ipaddress.ip_network("0.0.0.0/0"), 6: ipaddress.ip_network("::/0")}


def uplinks(
    links: Iterable[net.Link],
    routes: Iterable[net.Route],
    addresses: Sequence[Address],
    peers: Iterable[str],
    own: Iterable[str] = (),
) -> tuple[net.Uplink, ...]:
    """Return the ways to `peers`, addresses of other nodes: of ways by one device and route MTU the first.

    The route of the longest prefix counts, of equal ones the first: they are printed in the order in which the kernel
    asks them (net/ipv4/fib_trie.c). Where no route was printed, the networks of addresses stand in; where those lead
    nowhere either, the NIC that has the node's `own` address.
    """
    by_name = {link.name: link for link in links}
    ways = _ways(routes, addresses)
    found: dict[tuple[str, int | None], net.Uplink] = {}
    for peer in peers:
        way = _to(peer, ways)
        link = by_name.get(way.device) if way is not None else None
        if way is not None and link is not None:
            uplink = net.Uplink(peer=peer, device=link.name, mtu=link.mtu, route_mtu=way.mtu)
            found.setdefault((link.name, way.mtu), uplink)
    return tuple(found.values()) or tuple(_own(by_name, addresses, own))


def _own(links: Mapping[str, net.Link], addresses: Iterable[Address], own: Iterable[str]) -> Iterator[net.Uplink]:
    """Yield the NIC that has the address by which a node is known: its peers are reached from it."""
    known = set(own)
    device = next((each.device for each in addresses if each.text in known and each.device in links), None)
    if device is not None:
        yield net.Uplink(peer="", device=device, mtu=links[device].mtu)


class _Way:
    """A route with its destination as a network."""

    __slots__ = ("device", "mtu")

    def __init__(self, device: str, mtu: int | None) -> None:
        self.device, self.mtu = device, mtu


def _ways(routes: Iterable[net.Route], addresses: Iterable[Address]) -> Mapping[tuple[int, int, int], _Way]:
    """Return the ways by family, prefix length and the prefix as a number."""
    ways: dict[tuple[int, int, int], _Way] = {}
    for route in routes:
        network = _network(route.destination, route.family)
        if network is not None:
            ways.setdefault(_key(network), _Way(route.device, route.mtu))
    for each in addresses:
        network = _network(f"{each.text}/{each.length}", 6 if ":" in each.text else 4)
        if network is not None and each.routed:
            ways.setdefault(_key(network), _Way(each.device, None))
    return ways


def _network(text: str, family: int) -> Network | None:
    if text == "default":
        return DEFAULT[family]
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _key(network: Network) -> tuple[int, int, int]:
    return network.version, network.prefixlen, int(network.network_address)


def _to(address: str, ways: Mapping[tuple[int, int, int], _Way]) -> _Way | None:
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

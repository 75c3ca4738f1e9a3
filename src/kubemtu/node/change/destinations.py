"""What pods send at most depends on where to: routes that are added to them, and the MTU of those that are there.

The kernel takes the route with the longest prefix, so a network of its own size gets a route of its own, by the very
next hop that a packet to it takes anyway; all else goes by the default route, whose MTU may be another one. Nobody's
route is replaced: one that leads to the same network already, or to a part of it, keeps its next hop, and its MTU is
lowered where it lets more through.

Added routes have the protocol number 109 and a metric that no CNI uses. So they are told from all others, and a CNI
that adds a route to the same network later is not refused by the kernel, and its route is preferred to ours.

One that may carry all that the device takes has no MTU of its own: then it is pinned as the pod's other routes are,
which for IPv6 loses no segment (node.change.wanted).
"""

import contextlib
import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from kubemtu.core import encap, net
from kubemtu.core.change import migration
from kubemtu.node.change import hosts
from kubemtu.node.kernel import netlink, routes
from kubemtu.node.kernel.remembered import remembered

MOST: Final = 5000  # networks
METRIC: Final = 10900  # CNIs leave it at 0 for IPv4 and 1024 for IPv6, or use hundreds; the smallest one wins
SMALLEST: Final = {4: encap.IPV4_MINIMUM, 6: encap.IPV6_MINIMUM}
_CREATE: Final = 0x400  # NLM_F_CREATE


class Prefix(NamedTuple):
    """A destination as numbers: the first `length` bits of `number` are its prefix."""

    family: int
    number: int
    length: int

    def holds(self, other: "Prefix") -> bool:
        """Return True when the other one lies inside this one."""
        if self.family != other.family or self.length > other.length:
            return False
        shift = (32 if self.family == 4 else 128) - self.length
        return self.number >> shift == other.number >> shift


@remembered(16384)
def prefix(family: int, destination: str) -> Prefix:
    """Return the destination of a route as numbers. Raises ValueError for what is no network."""
    if destination == "default":
        return Prefix(family, 0, 0)
    parsed = ipaddress.ip_network(destination, strict=False)
    return Prefix(parsed.version, int(parsed.network_address), parsed.prefixlen)


def canonical(network: str) -> str:
    """Return a network as the kernel writes it. Raises ValueError for what is none."""
    return str(ipaddress.ip_network(network, strict=False))


class Limits:
    """What is sent at most by destination, as one Desired asks for it."""

    def __init__(self, networks: Iterable[net.NetworkMtu], default: int | None) -> None:
        """Take what is asked for; what is no network is left out, for it is refused before anything is changed.

        `default` is the MTU of default routes.
        """
        self.default = default
        self.by_network: dict[str, int] = {}
        for one in networks:
            with contextlib.suppress(ValueError):
                self.by_network[canonical(one.network)] = one.mtu
        self.prefixes = {text: prefix(6 if ":" in text else 4, text) for text in self.by_network}
        self._by_length: dict[int, dict[int, dict[int, int]]] = {4: {}, 6: {}}
        for text, where in self.prefixes.items():
            shift = (32 if where.family == 4 else 128) - where.length
            at = self._by_length[where.family].setdefault(where.length, {})
            at[where.number >> shift] = self.by_network[text]
        self._lengths = {family: sorted(found, reverse=True) for family, found in self._by_length.items()}

    def __bool__(self) -> bool:
        """Return True when anything depends on where to."""
        return bool(self.by_network) or self.default is not None

    def of(self, family: int, destination: str) -> int | None:
        """Return what is sent at most by a route to that destination; None: that does not depend on where to."""
        if destination == "default":
            return self.default
        if not self._lengths.get(family):
            return None
        where = prefix(family, destination)
        bits = 32 if family == 4 else 128
        for length in self._lengths[family]:
            if length <= where.length:
                found = self._by_length[family][length].get(where.number >> (bits - length))
                if found is not None:
                    return found
        return None


@remembered(32)
def limits(desired_networks: tuple[net.NetworkMtu, ...], default: int | None) -> Limits:
    """Return the limits of one Desired, made once."""
    return Limits(desired_networks, default)


def added(route: routes.Raw) -> bool:
    """Return True for a route that kubemtu has added to a pod."""
    return route.protocol == hosts.PROTOCOL


def refusals(desired: migration.Desired) -> list[str]:
    """Say why the sizes by destination are out of bounds, a sentence each; that all are networks is seen before."""
    if len(desired.network_mtus) > MOST:
        return [f"{len(desired.network_mtus)} networks are more than the {MOST} that a node takes"]
    found = []
    default = desired.default_route_mtu
    if default is not None and not encap.IPV4_MINIMUM <= default <= desired.pod_mtu:
        found.append(
            f"default route MTU {default} is out of range: it lies between {encap.IPV4_MINIMUM} and pod MTU "
            f"{desired.pod_mtu}"
        )
    known: set[str] = set()
    for one in desired.network_mtus:
        network = ipaddress.ip_network(one.network, strict=False)
        if not SMALLEST[network.version] <= one.mtu <= desired.pod_mtu:
            found.append(
                f"MTU {one.mtu} towards {network} is out of range: it lies between {SMALLEST[network.version]} and "
                f"pod MTU {desired.pod_mtu}"
            )
        if str(network) in known:
            found.append(f"{network} is named twice: name each network once")
        known.add(str(network))
    return found


class Way(NamedTuple):
    """How a packet to one network leaves a pod now: by the route at `place`, or `left` alone, and why."""

    network: str
    mtu: int
    place: int
    left: str = ""


Shape = tuple[tuple[int, str, str | None, int, bool, bool], ...]


def shape(own: Sequence[routes.Raw], others: Sequence[routes.Raw]) -> Shape:
    """Return what of a pod's routes decides which are added; the pods of a node mostly share it.

    `own` lead through the pod's link, without those that are added; `others` through other links of the pod.
    """
    return tuple(
        (seen.family, seen.destination, seen.gateway, routes.priority(seen), len(seen.devices) == 1, here)
        for here, group in ((True, own), (False, others))
        for seen in group
    )


def ways(asked: Limits, found: Shape) -> tuple[Way, ...]:
    """Return by which of its routes a pod of that shape reaches each network that none of them leads to exactly.

    The smallest sizes come first: while they are added, the network within a network is there before the one around.
    """
    there = {(family, destination) for family, destination, *_ in found}
    parsed = [prefix(family, destination) for family, destination, *_ in found]
    due = []
    for text, mtu in asked.by_network.items():
        where = asked.prefixes[text]
        if (where.family, text) in there:
            continue
        around = [place for place, one in enumerate(parsed) if one.holds(where)]
        if not around:
            continue  # nothing is sent there
        place = min(around, key=lambda each: (-parsed[each].length, found[each][3]))
        _family, destination, gateway, _metric, single, here = found[place]
        left = ""
        if not here:
            left = "another link of the pod leads there"
        elif not single:
            left = "several next hops lead there"
        elif gateway is None and destination != "default":
            left = f"it is on the link ({destination})"
        due.append(Way(text, mtu, place, left))
    return tuple(sorted(due, key=lambda one: (one.mtu, -asked.prefixes[one.network].length)))


def towards(way: routes.Raw, network: str, metrics: routes.Metrics) -> netlink.Request:
    """Return the request that adds a route to a network by the next hop of another route, or gives it that one."""
    family, _length, source, tos, table, _protocol, scope, kind, flags = routes.RTMSG.unpack_from(way.body)
    parsed = ipaddress.ip_network(network)
    body = routes.RTMSG.pack(
        family, parsed.prefixlen, source, tos, table, hosts.PROTOCOL, scope, kind, flags & routes.KEPT_FLAGS
    )
    body += netlink.attribute(routes.DESTINATION, parsed.network_address.packed)
    body += netlink.u32(routes.PRIORITY, METRIC)
    body += routes.same_way(way, metrics)
    return (netlink.RTM_NEWROUTE, netlink.ACK | netlink.ECHO | netlink.REPLACE | _CREATE, body)


def removal(route: routes.Raw) -> netlink.Request:
    """Return the request that takes an added route away."""
    return (netlink.RTM_DELROUTE, netlink.ACK, route.body)


def sizes(asked: Limits, found: Iterable[tuple[int, str, int]], most: dict[str, int]) -> None:
    """Note in `most` the largest packet that leaves one place towards each network.

    `found` are the routes there: family, destination, and what each lets through in bytes.
    """
    exact: dict[str, int] = {}
    parsed: list[tuple[Prefix, int]] = []
    for family, destination, size in found:
        if destination in asked.by_network:
            exact[destination] = max(size, exact.get(destination, 0))
        else:
            parsed.append((prefix(family, destination), size))
    for text, where in asked.prefixes.items():
        reached = [size for one, size in parsed if one.length > where.length and where.holds(one)]
        if text in exact:
            reached.append(exact[text])
        elif around := [(one.length, size) for one, size in parsed if one.holds(where)]:
            reached.append(max(around)[1])
        if reached:
            most[text] = max(*reached, most.get(text, 0))


def said(left: Iterable[tuple[str, Way, int]]) -> Iterator[str]:
    """Say which networks get no route of their own, and why, a sentence for each reason.

    `left` are pods, what is left alone in each, and what the pod's device takes in bytes.
    """
    by_reason: dict[str, tuple[set[str], dict[str, int]]] = {}
    for pod, way, size in left:
        if size > way.mtu:
            pods, networks = by_reason.setdefault(way.left, (set(), {}))
            pods.add(pod)
            networks[way.network] = way.mtu
    for reason, (pods, networks) in by_reason.items():
        network, mtu = next(iter(networks.items()))
        more = f" (and {len(networks) - 1} other networks)" if len(networks) > 1 else ""
        first = min(pods)
        others = f" (and {len(pods) - 1} other pods)" if len(pods) > 1 else ""
        yield (
            f"{first}{others} may send more than {mtu} bytes to {network}{more}: no route is added, because {reason}"
        )

"""Routes of one namespace: read, pinned, and put back byte for byte (RTM_*ROUTE).

A pin is an edit of RTA_METRICS inside the message that the kernel itself dumped, sent back with NLM_F_REPLACE and
without NLM_F_CREATE: a route that is gone meanwhile is not brought back, and a restored one is the very same message.
Everything that is not a metric is left as it came, save what the kernel shows but does not take (link state flags,
cache timers).
"""

import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from kubemtu.core import net, networks
from kubemtu.node import errors
from kubemtu.node.kernel import netlink
from kubemtu.node.kernel.remembered import remembered

MAIN: Final = 254
UNICAST: Final = 1
LOCAL: Final = 2
LOCKED: Final = 1 << 2  # in RTAX_LOCK: bit RTAX_MTU

LOCK: Final = 1  # RTAX_*
MTU: Final = 2
_ADVMSS: Final = 8
DESTINATION: Final = 1  # RTA_*
DEVICE: Final = 4
GATEWAY: Final = 5
PRIORITY: Final = 6
SOURCE: Final = 7
METRICS: Final = 8
_MULTIPATH: Final = 9
_CACHEINFO: Final = 12
_TABLE: Final = 15
_MARK: Final = 16
_VIA: Final = 18
_ENCAP_TYPE: Final = 21
_ENCAP: Final = 22
_EXPIRES: Final = 23
_PAD: Final = 24
_NH_ID: Final = 30
_CLONED: Final = 0x200  # RTM_F_*
_FIB_MATCH: Final = 0x2000
KEPT_FLAGS: Final = 0x4  # RTNH_F_ONLINK; the others are states that the kernel refuses as input
_VOLATILE: Final = frozenset({METRICS, _CACHEINFO, _EXPIRES, _PAD})
_BY_ID: Final = frozenset({DEVICE, GATEWAY, _MULTIPATH, _VIA, _ENCAP, _ENCAP_TYPE})  # shown with, refused beside NH_ID
_SLICE: Final = 256  # addresses that are asked for at once
HZ: Final = 100  # USER_HZ: the unit of rta_cacheinfo times
RTMSG = struct.Struct("=BBBBBBBBI")  # include/uapi/linux/rtnetlink.h, struct rtmsg
_NEXTHOP = struct.Struct("=HBBi")
_U32 = struct.Struct("=I")
_KEY = struct.Struct("=HH")
_FAMILIES: Final = {socket.AF_INET: 4, socket.AF_INET6: 6}

Metrics = tuple[tuple[int, bytes], ...]  # RTAX_* and its value, sorted as the kernel dumps them


class Raw(msgspec.Struct, frozen=True):
    """One route as its message tells it. `identity` is everything but its metrics and timers, so that it stays the
    same while pinned; `slot` is what NLM_F_REPLACE goes by; `devices` are the indexes of all its next hops' links.
    `steers` is true for a route of the main table that packets to others take: unicast, and neither multicast nor
    IPv6 link-local. fe80::/64 is left alone everywhere: IPv6 replaces by prefix and metric, not by device, so that
    replaying one link's fe80::/64 rewrites another's.
    """

    family: int
    destination: str
    kind: int
    protocol: int
    table: int
    devices: tuple[int, ...]
    gateway: str | None
    source: str | None
    metrics: Metrics
    slot: bytes
    identity: bytes
    body: bytes
    expires: int
    mtu: int | None  # RTAX_MTU
    locked: bool  # ICMP may not change it
    advmss: int | None  # RTAX_ADVMSS, bytes of TCP payload
    steers: bool


def metric(metrics: Metrics, kind: int) -> int | None:
    """Return one number among the metrics, or None."""
    for found, value in metrics:
        if found == kind:
            number: int = _U32.unpack(value)[0]
            return number
    return None


def with_mtu(metrics: Metrics, mtu: int | None, *, lock: bool, advmss: int | None = None) -> Metrics:
    """Return the metrics with another MTU (None: without), its lock bit on or off; `advmss` only where none is.

    Bytes of the IP packet; `advmss` in bytes of TCP payload.
    """
    kept = {kind: value for kind, value in metrics if kind not in (LOCK, MTU)}
    others = (metric(metrics, LOCK) or 0) & ~LOCKED
    if lock or others:
        kept[LOCK] = struct.pack("=I", others | (LOCKED if lock else 0))
    if mtu is not None:
        kept[MTU] = struct.pack("=I", mtu)
    if advmss is not None and _ADVMSS not in kept:
        kept[_ADVMSS] = struct.pack("=I", advmss)
    return tuple(sorted(kept.items()))


def without_advmss(metrics: Metrics) -> Metrics:
    """Return the same metrics without RTAX_ADVMSS."""
    return tuple((kind, value) for kind, value in metrics if kind != _ADVMSS)


@remembered(32768)
def raw(body: bytes) -> Raw:
    """Unpack the body of an RTM_NEWROUTE; remembered by its bytes, since the pods of a node mostly route alike."""
    return unpack(body)


def unpack(body: bytes) -> Raw:
    """Unpack the answer to a question, which is like no other and so is not remembered."""
    family, length, _source, tos, table, protocol, _scope, kind, flags = RTMSG.unpack_from(body)
    attributes = netlink.attributes(body, 12)
    table = netlink.number(attributes, _TABLE) or table
    metrics = tuple(sorted(netlink.attributes(attributes[METRICS]).items())) if METRICS in attributes else ()
    destination = attributes.get(DESTINATION)
    identity = [body[:8], _U32.pack(flags & KEPT_FLAGS)]
    for place, value in attributes.items():
        if place not in _VOLATILE:
            identity += (_KEY.pack(place, len(value)), _hops(value)[0] if place == _MULTIPATH else value)
    gateway, source = attributes.get(GATEWAY), attributes.get(SOURCE)
    to = f"{_text(family, destination)}/{length}" if destination else "default"
    return Raw(
        family=_FAMILIES.get(family, 0),
        destination=to,
        kind=kind,
        protocol=protocol,
        table=table,
        devices=_devices(attributes.get(DEVICE), attributes.get(_MULTIPATH)),
        gateway=_text(family, gateway) if gateway else None,
        source=_text(family, source) if source else None,
        metrics=metrics,
        slot=struct.pack("=BBBI", family, length, tos, table) + (destination or b"") + attributes.get(PRIORITY, b""),
        identity=b"".join(identity),
        body=body,
        expires=struct.unpack_from("=i", attributes[_CACHEINFO], 8)[0] if _CACHEINFO in attributes else 0,
        mtu=metric(metrics, MTU) if metrics else None,
        locked=bool((metric(metrics, LOCK) or 0) & LOCKED) if metrics else False,
        advmss=metric(metrics, _ADVMSS) if metrics else None,
        steers=kind == UNICAST and table == MAIN and networks.beyond_link(to),
    )


def _text(family: int, packed: bytes) -> str:
    return socket.inet_ntop(family, packed) if family in _FAMILIES else packed.hex()


def _devices(oif: bytes | None, multipath: bytes | None) -> tuple[int, ...]:
    if oif is not None:
        return (int(struct.unpack("=I", oif)[0]),)
    return _hops(multipath)[1] if multipath is not None else ()


def _hops(multipath: bytes) -> tuple[bytes, tuple[int, ...]]:
    """Return the next hops without their link-state flags, and the indexes of their devices."""
    cleaned, indexes = bytearray(multipath), []
    place = 0
    while place + _NEXTHOP.size <= len(cleaned):
        length, flags, hops, index = _NEXTHOP.unpack_from(cleaned, place)
        if length < _NEXTHOP.size:
            break
        _NEXTHOP.pack_into(cleaned, place, length, flags & KEPT_FLAGS, hops, index)
        indexes.append(index)
        place += (length + 3) & ~3
    return bytes(cleaned), tuple(indexes)


ASK: Final = (
    netlink.RTM_GETROUTE,
    RTMSG.pack(socket.AF_UNSPEC, 0, 0, 0, MAIN, 0, 0, 0, 0) + netlink.u32(_TABLE, MAIN),
)  # the dump of the main tables of IPv4 and IPv6 in one go


def main_table(bodies: Iterable[bytes]) -> list[Raw]:
    """Return the routes in such a dump; older kernels do not filter, so this does."""
    return [route for route in map(raw, bodies) if route.table == MAIN and route.family]


@remembered(4096)
def steering(bodies: tuple[bytes, ...]) -> tuple[tuple[Raw, ...], frozenset[bytes]]:
    """Return the routes in such a dump that steer packets, and the slots that more than one of them has."""
    found = tuple(seen for seen in main_table(bodies) if seen.steers)
    return found, shared(found)


def shared(routes: Sequence[Raw]) -> frozenset[bytes]:
    """Return the slots (table, prefix, metric) that more than one route has."""
    slots = [seen.slot for seen in routes]
    if len(set(slots)) == len(slots):
        return frozenset()
    return frozenset(slot for slot in slots if slots.count(slot) > 1)


def dump(sock: netlink.Socket) -> list[Raw]:
    """Return the IPv4 and IPv6 routes of the main table of the socket's namespace."""
    return main_table(sock.dump(*ASK, "reading the routes"))


def route(raw: Raw, device: str) -> net.Route:
    """Return the value that the rest of kubemtu works with."""
    return net.Route(
        family=raw.family,
        destination=raw.destination,
        device=device,
        gateway=raw.gateway,
        mtu=raw.mtu,
        locked=raw.locked,
        advmss=raw.advmss,
    )


def replay(raw: Raw, metrics: Metrics) -> netlink.Request:
    """Return the request that gives a route these metrics and leaves all else as it is.

    Its answer holds the route as the kernel has it afterwards (NLM_F_ECHO), which saves reading the table again.
    """
    return _replay(raw.body, raw.expires, metrics)


def priority(raw: Raw) -> int:
    """Return the metric of a route (RTA_PRIORITY), of which the smallest wins; absent, it is 0."""
    return netlink.number(netlink.attributes(raw.body, 12), PRIORITY) or 0


def _nest(metrics: Metrics, *, by_id: bool) -> bytes:
    """Return the attribute that holds the metrics.

    With a next hop object, IPv4 takes any route's data that has the same one, pinned or not, unless metrics are given
    (net/ipv4/fib_semantics.c, fib_create_info and fib_find_info_nh): then an empty nest says "none".
    """
    if not (metrics or by_id):
        return b""
    return netlink.attribute(METRICS, b"".join(netlink.attribute(*each) for each in metrics))


def same_way(raw: Raw, metrics: Metrics) -> bytes:
    """Return the attributes by which another route leads the same way as this one, with these metrics."""
    found = netlink.attributes(raw.body, 12)
    dropped = {*_VOLATILE, *(_BY_ID if _NH_ID in found else ()), DESTINATION, PRIORITY, _TABLE}
    body = netlink.u32(_TABLE, raw.table)
    for place, value in found.items():
        if place not in dropped:
            body += netlink.attribute(place, _hops(value)[0] if place == _MULTIPATH else value)
    return body + _nest(metrics, by_id=_NH_ID in found)


@remembered(4096)
def _replay(raw: bytes, expires: int, metrics: Metrics) -> netlink.Request:
    family, length, source, tos, table, protocol, scope, kind, flags = RTMSG.unpack_from(raw)
    body = RTMSG.pack(family, length, source, tos, table, protocol, scope, kind, flags & KEPT_FLAGS)
    found = netlink.attributes(raw, 12)
    dropped = _VOLATILE | _BY_ID if _NH_ID in found else _VOLATILE
    for place, value in found.items():
        if place not in dropped:
            body += netlink.attribute(place, _hops(value)[0] if place == _MULTIPATH else value)
    body += _nest(metrics, by_id=_NH_ID in found)
    if expires > 0:  # a router's advertisement: its remaining seconds go along
        body += netlink.u32(_EXPIRES, max(1, expires // HZ))
    return (netlink.RTM_NEWROUTE, netlink.ACK | netlink.ECHO | netlink.REPLACE, body)


class Lookup(msgspec.Struct, frozen=True):
    """Where the kernel sends packets to one address. `mtu` is the route's own, not a learned one."""

    device: int
    mtu: int | None
    source: str | None
    local: bool


def lookup(sock: netlink.Socket, addresses: Sequence[str], mark: int = 0) -> list[Lookup | errors.Refused]:
    """Ask the kernel for the way to each address; one that has none yields its Refused, with a sentence.

    `mark`: for packets that a firewall gave this mark, which rules may route otherwise.
    """
    ways: list[Lookup | errors.Refused] = []
    for start in range(0, len(addresses), _SLICE):
        some = addresses[start : start + _SLICE]
        answers = sock.exchange([request for address in some for request in _questions(address, mark)])
        ways += [_way(*each) for each in zip(some, answers[::2], answers[1::2], strict=True)]
    return ways


def _way(address: str, way: netlink.Reply, entry: netlink.Reply) -> Lookup | errors.Refused:
    try:
        way.check(f"asking for the route to {address}", "this node has no way to it")
    except errors.Refused as refused:
        return refused
    taken, written = unpack(way.bodies[0]), unpack(entry.bodies[0]) if entry.bodies else None
    device = taken.devices[0] if taken.devices else 0
    return Lookup(device, written.mtu if written else None, taken.source, taken.kind == LOCAL)


def way(sock: netlink.Socket, address: str) -> Raw | errors.Refused:
    """Ask the kernel for the whole way of a packet to one address; a Refused, with a sentence, where there is none."""
    (answer,) = sock.exchange([_questions(address)[0]])
    try:
        answer.check(f"asking for the route to {address}", "this node has no way to it")
    except errors.Refused as refused:
        return refused
    return raw(answer.bodies[0])


def _questions(address: str, mark: int = 0) -> tuple[netlink.Request, netlink.Request]:
    """Ask for the way a packet would go, and for the table entry that says so: that entry's MTU is no learned one."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    length = 128 if family == socket.AF_INET6 else 32
    where = netlink.attribute(DESTINATION, socket.inet_pton(family, address))
    if mark:
        where += netlink.attribute(_MARK, _U32.pack(mark))
    way, entry = (RTMSG.pack(family, length, 0, 0, 0, 0, 0, 0, flags) + where for flags in (0, _FIB_MATCH))
    return (netlink.RTM_GETROUTE, netlink.ACK, way), (netlink.RTM_GETROUTE, netlink.ACK, entry)


def learned(sock: netlink.Socket, family: int) -> list[Raw]:
    """Return the per-destination exceptions (path MTUs learned by ICMP, redirects) of one family, 4 or 6."""
    number = socket.AF_INET if family == 4 else socket.AF_INET6
    body = RTMSG.pack(number, 0, 0, 0, 0, 0, 0, 0, _CLONED)
    found = map(raw, sock.dump(netlink.RTM_GETROUTE, body, "reading the learned path MTUs"))
    return [seen for seen in found if RTMSG.unpack_from(seen.body)[8] & _CLONED]


def forget(sock: netlink.Socket, exceptions: Sequence[Raw]) -> None:
    """Delete learned IPv6 exceptions one by one, as `ip -6 route flush cache` does; the sysctl for IPv6 does nothing.

    One that has expired meanwhile is fine.
    """
    for answer in sock.exchange([(netlink.RTM_DELROUTE, netlink.ACK, seen.body) for seen in exceptions]):
        if answer.code not in errors.GONE:
            answer.check("forgetting a learned IPv6 path MTU")

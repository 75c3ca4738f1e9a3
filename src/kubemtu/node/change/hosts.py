"""Pins for the node's own traffic: routes to single hosts, added with a locked MTU and taken away again.

A node talks to other nodes and to the API server over its NIC, whose MTU is not kubemtu's to change, and often by its
default route, which leads everywhere. So no route that is there is touched: each host gets a route of its own, by the
way that the kernel takes to it anyway, with `mtu lock`. A TCP connection then announces the smaller segment in its SYN,
and the other side keeps to it. The address of a Service counts as a host: its route is looked up before the address is
translated (net/ipv4/tcp_ipv4.c, tcp_v4_connect; the NAT hook comes later), and so decides the segment.

All have a routing protocol number of their own, so that they are told from every other route, also without a journal.
IPv6 takes the lock as well: its sysctl would count for everything that the NIC sends.
"""

import errno
import ipaddress
import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from kubemtu.core import encap
from kubemtu.core.change import migration
from kubemtu.core.text import wording
from kubemtu.node import errors
from kubemtu.node.change import journal
from kubemtu.node.kernel import links, netlink, routes

PROTOCOL: Final = 0x6D  # 109: free in include/uapi/linux/rtnetlink.h (RTPROT_*) and in iproute2's rt_protos
SMALLEST: Final = {4: 576, 6: 1280}  # RFC 791 section 3.2; RFC 8200 section 5
MOST: Final = 5000  # hosts

_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_ADVICE = {errno.EEXIST: "somebody has made a route to that host meanwhile; it is looked at again"}
_LINK, _UNIVERSE = 253, 0  # RT_SCOPE_*
_NEW: Final = 0x600  # NLM_F_CREATE | NLM_F_EXCL: a route that somebody has made to that host is not replaced


def refusals(desired: migration.Desired) -> list[str]:
    """Say why nothing must be changed for the node's own traffic, a sentence each."""
    mtu = desired.host_mtu
    if mtu is None:
        return []
    if len(desired.host_addresses) > MOST:
        return [f"{len(desired.host_addresses)} hosts are more than the {MOST} that a node pins"]
    reasons = []
    for text in desired.host_addresses:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            reasons.append(f"{text!r:.60} is no address of a host")
            continue
        if address.is_multicast or address.is_loopback or address.is_unspecified or address.is_link_local:
            reasons.append(f"{text} is no address of another host")
        elif not SMALLEST[address.version] <= mtu <= encap.LARGEST_MTU:
            least = SMALLEST[address.version]
            reasons.append(
                f"host MTU {mtu} is out of range for {text}: it lies between {least} and {encap.LARGEST_MTU} bytes"
            )
    return reasons


def make_true(
    sock: netlink.Socket, recorded: journal.Journal, desired: migration.Desired, devices: Iterable[links.Device]
) -> tuple[int, list[str], tuple[str, ...]]:
    """Pin the routes to all hosts of the spec, or take all such routes away, as its row says.

    A route by one of the node's `devices` that sends no more anyway needs no pin, and gets none: IPv4 would not hold
    one above the device's MTU down to it (net/ipv4/route.c, ipv4_mtu). A route to one of the hosts that somebody else
    has made is theirs: it is left as it is, and named where it lets more through.

    Returns how many routes were changed, what could not be, and what was left, a sentence each. What is added is in the
    journal first.
    """
    mtu = desired.host_mtu
    if mtu is None or not desired.row.hosts:
        return 0, [], ()
    found = routes.dump(sock)
    present = {seen.destination: seen for seen in found if seen.protocol == PROTOCOL}
    if not desired.pins_hosts:
        return (*_remove(sock, present.values()), ())
    hosts = {_host(text): text for text in desired.host_addresses}
    theirs = {seen.destination: seen for seen in found if seen.protocol != PROTOCOL and seen.destination in hosts}
    strange = [seen for destination, seen in present.items() if destination not in hosts]
    changed, failures = _remove(sock, strange)
    due = {
        destination: text
        for destination, text in hosts.items()
        if destination not in theirs
        and ((seen := present.get(destination)) is None or seen.mtu != mtu or not seen.locked)
    }
    small = frozenset(device.index for device in devices if device.mtu <= mtu)
    added, refused = _add(sock, recorded, due, present, mtu, small)
    left = () if desired.restore else _left(theirs.values(), mtu, small)
    return changed + added, failures + refused, left


def _left(theirs: Iterable[routes.Raw], mtu: int, small: frozenset[int]) -> tuple[str, ...]:
    """Say which routes of somebody else let more than `mtu` bytes through to a host, in one sentence."""
    larger = [
        seen
        for seen in theirs
        if seen.kind == routes.UNICAST and (seen.mtu is None or seen.mtu > mtu) and not small.issuperset(seen.devices)
    ]
    if not larger:
        return ()
    to = wording.names(seen.destination for seen in larger)
    what = f"its route to {to} is" if len(larger) == 1 else f"its routes to {to} are"
    sentence = (
        f"{what} somebody else's and left alone, so packets of more than {mtu} bytes may still go there: lock the MTU "
        f"to {mtu} by hand"
    )
    return (sentence,)


def _add(
    sock: netlink.Socket,
    recorded: journal.Journal,
    due: Mapping[str, str],
    present: Mapping[str, routes.Raw],
    mtu: int,
    small: Collection[int],
) -> tuple[int, list[str]]:
    requests = []
    failures = []
    for destination, text in due.items():
        if (held := present.get(destination)) is not None:
            requests.append((destination, _with_mtu(held, mtu)))
            continue
        way = routes.way(sock, text)
        if isinstance(way, errors.Refused):
            failures.append(f"host {text} cannot be pinned: {way}")
        elif way.kind == routes.UNICAST and len(way.devices) == 1 and way.devices[0] not in small:
            requests.append((destination, _request(destination, way, mtu)))
    if not requests:
        return 0, failures
    recorded.append([journal.Hosts(destinations=tuple(destination for destination, _ in requests), mtu=mtu)])
    changed = 0
    answers = sock.exchange([request for _, request in requests])
    for (destination, _), answer in zip(requests, answers, strict=True):
        if answer.code:
            reason = errors.refusal(
                f"node: route {destination} with MTU {mtu}", answer.code, answer.said, _ADVICE.get(answer.code, "")
            )
            failures.append(str(reason))
        else:
            changed += 1
    return changed, failures


def _remove(sock: netlink.Socket, stale: Iterable[routes.Raw]) -> tuple[int, list[str]]:
    gone = list(stale)
    if not gone:
        return 0, []
    answers = sock.exchange([(netlink.RTM_DELROUTE, netlink.ACK, seen.body) for seen in gone])
    failures = [
        str(errors.refusal(f"node: taking away route {seen.destination}", answer.code, answer.said))
        for seen, answer in zip(gone, answers, strict=True)
        if answer.code and answer.code not in errors.GONE
    ]
    return sum(answer.code == 0 for answer in answers), failures


def _host(text: str) -> str:
    """Return an address as the destination of a route to it alone, as the kernel writes it."""
    address = ipaddress.ip_address(text)
    return f"{address}/{address.max_prefixlen}"


def _with_mtu(held: routes.Raw, mtu: int) -> netlink.Request:
    return routes.replay(held, routes.with_mtu(held.metrics, mtu, lock=True))


def _request(destination: str, way: routes.Raw, mtu: int) -> netlink.Request:
    """Return the route to one host by the way that a packet to it takes now."""
    address = ipaddress.ip_interface(destination).ip
    scope = _UNIVERSE if way.gateway is not None or address.version == 6 else _LINK
    family, length = _FAMILIES[address.version], address.max_prefixlen
    body = routes.RTMSG.pack(family, length, 0, 0, routes.MAIN, PROTOCOL, scope, routes.UNICAST, 0)
    body += b"".join(_attributes(address.packed, way))
    metrics = routes.with_mtu((), mtu, lock=True)
    body += netlink.attribute(routes.METRICS, b"".join(netlink.attribute(*each) for each in metrics))
    return (netlink.RTM_NEWROUTE, netlink.ACK | _NEW, body)


def _attributes(packed: bytes, way: routes.Raw) -> Iterator[bytes]:
    yield netlink.attribute(routes.DESTINATION, packed)
    yield netlink.attribute(routes.DEVICE, struct.pack("=I", way.devices[0]))
    if way.gateway is not None:
        yield netlink.attribute(routes.GATEWAY, ipaddress.ip_address(way.gateway).packed)
    if way.source is not None:
        yield netlink.attribute(routes.SOURCE, ipaddress.ip_address(way.source).packed)

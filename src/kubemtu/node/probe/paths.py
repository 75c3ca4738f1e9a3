"""What is measured, and what comes out of it, as values: targets in, paths out."""

import contextlib
import functools
import socket
from typing import Final

import msgspec

from kubemtu.core import errors
from kubemtu.core.path import known_sizes, search, verdict
from kubemtu.core.probe import request
from kubemtu.core.text import digits
from kubemtu.node.probe import channel, session, wire


class Target(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where to measure to: a numeric address, with a zone for a link-local one; sizes that the caller knows of."""

    address: str
    port: int = request.PORT
    via: str = ""  # the place of the station to measure from
    source: str = ""  # the address that packets will leave from, when the caller knows it
    expected: int | None = None  # bytes; the own interface's MTU when not given
    enough: bool = False  # nothing above what is expected is asked for
    also: tuple[int, ...] = ()  # MTUs of links that may be on the way
    both_ways: bool = False  # whether to ask the other end to measure its own direction


class Measured(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One direction of one path, measured.

    `path_mtu_before` and `path_mtu_after`: what the sender's kernel held, in bytes; `receiver_mtu`: the MTU of the
    interface that the other end receives by, 0 when it did not say; `seconds`: from the first packet to the verdict;
    `note`: why nothing could be heard, if anybody said.
    """

    search: search.SearchResult
    path_mtu_before: int
    path_mtu_after: int
    receiver_mtu: int = 0
    rtt: float = 0.0
    seconds: float = 0.0
    note: str = ""
    nat_address: str = ""  # the address under which the other end sees us, when it is another one
    source_port: int = 0  # the UDP port that the packets left from


class Path(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What was measured of one target: forwards, and backwards when that was asked for; `seconds` for all of it."""

    target: Target
    forward: Measured
    backward: wire.SearchReport | None = None
    seconds: float = 0.0


def judge(path: Path) -> verdict.Verdict:
    """Judge a measured path, by both directions when both were measured."""
    forward = direction(path.forward)
    back = (
        returned(path.backward)
        if path.backward is not None and path.backward.state not in {"running", "refused"}
        else None
    )
    return verdict.judge(forward, back, expected=path.target.expected)


def direction(measured: Measured) -> verdict.Direction:
    """Return what was measured forward, as the verdict wants it."""
    return verdict.Direction(
        search=measured.search,
        path_mtu_before=measured.path_mtu_before,
        path_mtu_after=measured.path_mtu_after,
        receiver_mtu=measured.receiver_mtu,
        note=measured.note,
        source_port=measured.source_port,
        nat_address=measured.nat_address,
    )


def returned(report: wire.SearchReport) -> verdict.Direction:
    """Return what the other end reported, as the verdict wants it; which router spoke does not travel."""
    assert report.state != "running"
    assert report.state != "refused"
    quotes = (
        (search.TooBig(mtu=report.too_big_mtu, router=None, refused_size=report.mtu + 1),) if report.too_big_mtu else ()
    )
    result = search.SearchResult(
        ending=report.state,
        mtu=report.mtu,
        limit=report.limit,
        next_size_losses=report.next_size_losses,
        fitting_packets=report.fitting_packets,
        fitting_lost=report.fitting_lost,
        rounds=report.rounds,
        packets=report.packets,
        interface_mtu=report.interface_mtu,
        too_big=quotes,
        full_size_vanishes=report.full_size_vanishes,
    )
    return verdict.Direction(search=result, path_mtu_after=report.path_mtu)


def endpoint(target: Target) -> channel.Address:
    """Return a target as the socket calls want it."""
    if ":" not in target.address:
        return (target.address, target.port)
    bare, _, zone = target.address.partition("%")
    index = 0 if not zone else digits.number(zone, 9) or socket.if_nametoindex(zone)
    return (bare, target.port, 0, index)


def smallest(family: channel.Family) -> int:
    """Return the size of packets that end a burst, in bytes: 68 over IPv4, which every path carries (RFC 791 3.2)."""
    return wire.LENGTH + wire.HEADERS[socket.AF_INET if family == 4 else socket.AF_INET6]


@functools.lru_cache(maxsize=64)
def question(
    top: int,
    expected: int | None,
    family: channel.Family,
    also: tuple[int, ...],
    *,
    enough: bool = False,
    suspected: tuple[int, ...] = (),
) -> search.Question:
    """Prepare the search on a path that begins at an interface of `top` bytes.

    With `enough`, nothing larger than what is expected is tried.
    """
    small = smallest(family)
    top = min(max(top, small + 1), wire.LARGEST)
    largest = min(max(expected or top, small + 1), top)
    if enough:
        top = largest
    links = {size for size in (*also, largest) if small < size < top}
    return search.Question(
        top=top,
        expected=largest,
        likely=tuple(size for size in known_sizes.likely(top, links) if size > small),
        hypotheses=tuple(size for size in known_sizes.hypotheses(top, sorted(links)) if size > small),
        suspected=tuple(size for size in suspected if small < size < largest),
        small=small,
    )


NOTHING: Final = search.SearchResult(
    ending="unreachable",
    mtu=0,
    limit=None,
    next_size_losses=0,
    fitting_packets=0,
    fitting_lost=0,
    rounds=0,
    packets=0,
    interface_mtu=0,
)


def nowhere(target: Target, note: str) -> Path:
    """Return the path to a target that nothing can be sent to."""
    return Path(target=target, forward=Measured(search=NOTHING, path_mtu_before=0, path_mtu_after=0, note=note))


def carried(target: Target, size: int, seconds: float) -> Path:
    """Return the path on which a packet of the expected size arrived, and no other was sent."""
    return Path(target=target, forward=_arrived(size), seconds=seconds)


@functools.lru_cache(maxsize=64)
def _arrived(size: int) -> Measured:
    """Return what all such paths have in common; five thousand of them share it."""
    result = search.SearchResult(
        ending="exact",
        mtu=size,
        limit="expected",
        next_size_losses=0,
        fitting_packets=1,
        fitting_lost=0,
        rounds=1,
        packets=1,
        interface_mtu=size,
    )
    return Measured(search=result, path_mtu_before=0, path_mtu_after=0)


def echoed(heard: channel.Heard) -> wire.ProbeAnswer:
    """Read an echo of our own packet as an answer: it says nothing about the other end's queue or interface."""
    if wire.kind(heard.head) != wire.PROBE:
        return wire.ProbeAnswer(0, 0, 0, 0, 0, 0)
    request = wire.read_request(heard.head)
    return wire.ProbeAnswer(request.nonce, request.number, request.size, 0, 0, 0)


def measured(ended: session.Session, before: channel.KernelRoute, seconds: float) -> Measured:
    """Return what an ended session found; `before` is what the kernel believed at its start."""
    assert ended.result is not None
    own_interface = ended.result.limit == "own interface"  # then there was nothing to learn
    result = ended.result
    if own_interface and result.interface_mtu < before.device and result.interface_mtu == ended.search.question.top:
        result = msgspec.structs.replace(result, limit="expected")
    return Measured(
        search=result,
        path_mtu_before=before.path_mtu,
        path_mtu_after=before.path_mtu if own_interface else believed(ended) or before.path_mtu,
        receiver_mtu=ended.peer_mtu,
        rtt=ended.rtt,
        seconds=seconds,
        note=ended.note,
        nat_address=ended.nat,
        source_port=ended.channel.port,
    )


def report(asker: int, ended: session.Session) -> wire.SearchReport:
    """Report what an ended session found to whoever asked for it."""
    result = ended.result
    assert result is not None
    return wire.SearchReport(
        asker,
        result.ending,
        result.limit,
        result.mtu,
        result.interface_mtu,
        believed(ended),
        next((quote.mtu for quote in result.too_big if quote.mtu), 0),
        result.next_size_losses,
        result.rounds,
        result.packets,
        result.fitting_packets,
        result.fitting_lost,
        full_size_vanishes=result.full_size_vanishes,
    )


def believed(ended: session.Session) -> int:
    """Return the path MTU that the kernel holds now, in bytes; 0 when it has no route any more."""
    with contextlib.suppress(OSError, errors.KubemtuError):
        return ended.channel.route(ended.address).path_mtu
    return 0

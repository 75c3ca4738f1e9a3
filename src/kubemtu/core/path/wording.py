"""How a verdict on a path speaks: a sentence, the evidence, who is at fault, and what to do, for each kind.

All sizes are of whole IP packets, in bytes, except where a maximum segment size (MSS) is meant.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal

import msgspec

from kubemtu.core.path.direction import Direction, Segments
from kubemtu.core.text import wording

Kind = Literal[
    "ok",
    "lower",
    "black hole",
    "masked",
    "receiver",
    "fragmented",
    "outer fragments",
    "asymmetric",
    "equal paths differ",
    "refused here",
    "stale path MTU",
    "unreachable",
    "loss",
    "overloaded",
]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to speak of; `here` and `there` are what the sender and the receiver are called."""

    kind: Kind
    one: Direction
    wanted: int
    here: str
    there: str

    @property
    def size(self) -> int:
        """The largest size that arrives."""
        return self.one.found.mtu

    @property
    def routers(self) -> str:
        """Those that said that something is too big, by address; empty when none did."""
        return wording.names(dict.fromkeys(quote.by for quote in self.one.found.quotes if quote.by))

    @property
    def clamp(self) -> Segments | None:
        """What TCP believes, when it is an MSS clamp that keeps it at packets that arrive."""
        found = self.one.segments
        return found if found is not None and found.clamped and self.one.spared else None


def _mask(told: Told) -> str:
    """What keeps TCP small, and what is not kept."""
    segments, probing = told.one.segments, told.one.probing
    rest = "UDP, QUIC and TCP from other places"
    if told.clamp is not None:
        keeps = f"an MSS clamp keeps TCP at packets of {told.clamp.allowed}"
        rest = "UDP, QUIC and TCP that the clamp does not reach"
    elif told.one.spared and segments is not None:
        keeps = f"{told.there} asks TCP for packets of at most {segments.allowed}"
    elif probing == 1:
        keeps = "TCP finds a size that arrives by itself, after seconds of silence (tcp_mtu_probing=1)"
    else:
        keeps = f"TCP begins small and finds a size that arrives by itself (tcp_mtu_probing={probing})"
    breaks = f"{rest} learn it from a router each time" if told.one.told else f"{rest} still break"
    return f"masked, not fixed: {told.size} bytes arrive, not {told.wanted}; {keeps}, but {breaks}"


def _hole(told: Told) -> str:
    """What vanishes, and whether all of it does."""
    if told.one.found.unheard:
        return (
            f"{told.size} bytes arrive; {told.routers or 'a router'} refuses what is a little larger, but packets of "
            "full size vanish before it, without a word: connections hang once they send them"
        )
    return (
        f"{told.size} bytes arrive, and everything larger, up to {told.wanted}, vanishes without a word: "
        "connections hang once they send full-size packets"
    )


_SENTENCES: Final[Mapping[Kind, Callable[[Told], str]]] = {
    "ok": lambda told: f"packets of {told.size} bytes arrive whole; nothing larger is expected",
    "lower": lambda told: (
        f"{told.size} bytes arrive, not {told.wanted}; {told.routers or 'a router'} says so, so senders adapt"
    ),
    "black hole": _hole,
    "masked": _mask,
    "receiver": lambda told: (
        f"{told.size} bytes arrive, not {told.wanted}: {told.there}'s own interface has an MTU of {told.one.peer_mtu} "
        "and drops what is larger without a word"
    ),
    "fragmented": lambda told: (
        f"{told.size} bytes arrive whole; what is larger arrives in pieces although DF is set: "
        "something on the way clears it"
    ),
    "outer fragments": lambda told: (
        f"{told.size} bytes arrive, but above {told.one.outer} the tunnel's packets around them are cut in pieces on "
        "the way: each becomes two or more, and is lost when any of them is"
    ),
    "refused here": lambda told: (
        f"{told.here}'s own interface carries {told.size}, not {told.wanted}: the path is not to blame"
    ),
    "stale path MTU": lambda told: (
        f"{told.size} bytes arrive, but {told.here}'s kernel holds {told.one.believed_before} for the path: "
        "a route sets it, or a router said so, of a time that is over or of another of several equal paths, or "
        "somebody forged that (`ip route flush cache` forgets what was learned)"
    ),
    "unreachable": lambda told: (
        f"nothing is answered, not even the smallest packet{': ' + told.one.note if told.one.note else ''}; "
        "this says nothing about the MTU"
    ),
    "loss": lambda told: f"too many packets that fit are lost to be certain: at least {told.size} bytes arrive",
    "overloaded": lambda told: (
        f"packets are dropped because they are not read in time: at least {told.size} bytes arrive; "
        "measure again when there is less load"
    ),
}


def _at(told: Told) -> str:
    """Who refuses, or before whom what is larger vanishes."""
    return f"before {told.routers}" if told.one.found.unheard and told.routers else told.routers


_PLACES: Final[Mapping[Kind, Callable[[Told], str]]] = {
    "lower": lambda told: told.routers,
    "black hole": _at,
    "masked": _at,
    "receiver": lambda told: f"{told.there}'s interface",
    "outer fragments": lambda told: f"the network below {told.here}'s tunnel",
    "refused here": lambda told: f"{told.here}'s interface",
    "stale path MTU": lambda told: f"{told.here}'s routes",
}


def _unfilter(told: Told) -> str:
    """What to do so that nothing vanishes in silence; RFC 1191 4 and RFC 4890 4.3.1 name the messages."""
    if told.one.found.unheard:
        who = told.routers or "that router"
        return f"{_smaller(told)}; give the two ends of the link before {who} the same MTU, such as both of a veth"
    return f"{_smaller(told)}; let ICMP type 3 code 4 pass as well, and ICMPv6 type 2"


def _smaller(told: Told) -> str:
    return f"use an MTU of {told.size} at both ends, or raise the link that is smaller to {told.wanted}"


def _nothing(told: Told) -> str:
    segments = told.one.segments
    if segments is not None and segments.clamped and segments.allowed < told.size:
        return f"nothing has to be done; without its MSS clamp TCP could send {told.size} instead of {segments.allowed}"
    return "nothing has to be done"


_ADVICES: Final[Mapping[Kind, Callable[[Told], str]]] = {
    "ok": _nothing,
    "lower": _smaller,
    "black hole": _unfilter,
    "masked": lambda told: f"{_smaller(told)}; leave what masks it in place until then",
    "receiver": lambda told: (
        f"give {told.there}'s interface an MTU of {told.wanted}, or {told.here}'s {told.one.peer_mtu}: "
        "they must be equal"
    ),
    "fragmented": lambda told: (
        f"use an MTU of {told.size} at both ends, and look for what clears DF: a rule that scrubs packets, "
        "or a tunnel that ignores DF"
    ),
    "outer fragments": lambda told: (
        f"use an MTU of {told.one.outer} inside the tunnel, or raise the network below it by "
        f"{told.wanted - (told.one.outer or 0)} bytes"
    ),
    "refused here": lambda told: f"raise {told.here}'s interface to {told.wanted}, or expect {told.size}",
    "stale path MTU": lambda told: (
        f"on {told.here} run `ip route flush cache`, or `ip -6 route flush cache` for IPv6; if `ip route get` then "
        f"still shows mtu {told.one.believed_before}, change the route that sets it"
    ),
    "unreachable": lambda _: (
        "make sure that `kubemtu node respond` runs there with the same key, and that no filter drops its UDP port"
    ),
    "loss": lambda _: "find the loss first: a smaller MTU does not cure it",
    "overloaded": lambda _: "measure again when there is less load",
}


def sentence(told: Told) -> str:
    """Say what was found, in words for somebody tired; not for what takes two directions or several flows."""
    return _SENTENCES[told.kind](told)


def place(told: Told) -> str:
    """Name who or where is at fault; empty when that is not known."""
    return _PLACES[told.kind](told) if told.kind in _PLACES else ""


def advice(told: Told) -> str:
    """Say what to do next, in one sentence."""
    return _ADVICES[told.kind](told)


def evidence(told: Told) -> tuple[str, ...]:
    """List what the verdict rests on, one fact a line."""
    return (*_counted(told), *_known(told.one))


def _counted(told: Told) -> Iterator[str]:
    found = told.one.found
    larger = found.mtu + 1
    if found.mtu:
        answered = f"{found.fitting - found.fitting_lost} of {found.fitting}"
        yield f"a packet of {found.mtu} bytes arrived; {answered} packets up to that size were answered"
    if found.limit == "own interface":
        yield f"the own interface sends no more than {found.top} bytes"
    if found.limit == "expected":
        yield f"larger than {found.mtu} bytes was not tried"
    if found.limit == "silence":
        yield f"{larger} bytes were lost {found.losses} times, in between those"
    if found.limit == "fragments":
        yield f"{larger} bytes arrived in fragments of at most {found.fragment} bytes"
    for by, mtu in dict.fromkeys((quote.by, quote.mtu) for quote in found.quotes):
        yield f"{by or 'a router'} said that it carries {mtu} bytes"
    if found.unheard:
        yield "larger packets than those that it refused were lost without a word, as often as a proof needs"


def _known(one: Direction) -> Iterator[str]:
    if one.believed_before or one.believed:
        yield f"the kernel held {one.believed_before or '?'} bytes for this path before, {one.believed or '?'} after"
    if one.peer_mtu:
        yield f"the interface at the other end has an MTU of {one.peer_mtu}"
    if one.segments is not None:
        yield from _believed(one.segments)
    if one.probing:
        yield f"net.ipv4.tcp_mtu_probing is {one.probing} at the sender"
    if one.outer is not None:
        packets, pieces = wording.count(one.outer_packets, "packet"), wording.count(one.outer_fragments, "piece")
        cut = f"{packets} of the tunnel left in {pieces}; " if one.outer_packets else ""
        yield f"{cut}up to {one.outer} bytes inside, none was cut"
    if one.nat:
        yield f"the receiver sees the sender as {one.nat}: the address is translated on the way"
    if one.note:
        yield one.note


def _believed(one: Segments) -> Iterator[str]:
    if one.relayed:
        yield "TCP comes from another port than it was sent from: something on the way translates or relays it"
    if one.clamped:
        yield f"the receiver announced an MSS of {one.announced}, and {one.arrived} arrived: something clamps it"
    elif one.arrived > one.announced:
        yield f"the receiver announced an MSS of {one.announced}, and {one.arrived} arrived: something raises it"
    if one.arrived:
        yield f"the MSS allows TCP packets of {one.allowed} bytes, and they are of up to {one.packet} now"
    else:
        yield f"TCP sends packets of up to {one.packet} bytes now"

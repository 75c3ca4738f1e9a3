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


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to speak of; `here` and `there` are what the sender and the receiver are called."""

    kind: Kind
    direction: Direction
    expected: int
    sender: str
    receiver: str

    @property
    def size(self) -> int:
        """The largest size that arrives."""
        return self.direction.search.mtu

    @property
    def routers(self) -> str:
        """Those that said that something is too big, by address; empty when none did."""
        return wording.names(dict.fromkeys(quote.router for quote in self.direction.search.too_big if quote.router))

    @property
    def clamp(self) -> Segments | None:
        """What TCP believes, when it is an MSS clamp that keeps it at packets that arrive."""
        found = self.direction.segments
        return found if found is not None and found.clamped and self.direction.tcp_spared else None


def _mask(context: Context) -> str:
    """Say what keeps TCP small, and what is not kept."""
    segments, probing = context.direction.segments, context.direction.probing
    rest = "UDP, QUIC and TCP from other places"
    if context.clamp is not None:
        keeps = f"an MSS clamp keeps TCP at packets of {context.clamp.allowed}"
        rest = "UDP, QUIC and TCP that the clamp does not reach"
    elif context.direction.tcp_spared and segments is not None:
        keeps = f"{context.receiver} asks TCP for packets of at most {segments.allowed}"
    elif probing == 1:
        keeps = "TCP finds a size that arrives by itself, after seconds of silence (tcp_mtu_probing=1)"
    else:
        keeps = f"TCP begins small and finds a size that arrives by itself (tcp_mtu_probing={probing})"
    breaks = f"{rest} learn it from a router each time" if context.direction.sender_informed else f"{rest} still break"
    return f"masked, not fixed: {context.size} bytes arrive, not {context.expected}; {keeps}, but {breaks}"


def _hole(context: Context) -> str:
    """Say what vanishes, and whether all of it does."""
    if context.direction.search.full_size_vanishes:
        return (
            f"{context.size} bytes arrive; {context.routers or 'a router'} refuses what is a little larger, but "
            "packets of "
            "full size vanish before it, without a word: connections hang once they send them"
        )
    return (
        f"{context.size} bytes arrive, and everything larger, up to {context.expected}, vanishes without a word: "
        "connections hang once they send full-size packets"
    )


_SENTENCES: Final[Mapping[Kind, Callable[[Context], str]]] = {
    "ok": lambda context: f"packets of {context.size} bytes arrive whole; nothing larger is expected",
    "lower": lambda context: (
        f"{context.size} bytes arrive, not {context.expected}; {context.routers or 'a router'} says so, so "
        "senders adapt"
    ),
    "black hole": _hole,
    "masked": _mask,
    "receiver": lambda context: (
        f"{context.size} bytes arrive, not {context.expected}: {context.receiver}'s own interface has an MTU of "
        f"{context.direction.receiver_mtu} "
        "and drops what is larger without a word"
    ),
    "fragmented": lambda context: (
        f"{context.size} bytes arrive whole; what is larger arrives in pieces although DF is set: "
        "something on the way clears it"
    ),
    "outer fragments": lambda context: (
        f"{context.size} bytes arrive, but above {context.direction.unfragmented_mtu} the tunnel's packets around "
        "them are cut in pieces on "
        "the way: each becomes two or more, and is lost when any of them is"
    ),
    "refused here": lambda context: (
        f"{context.sender}'s own interface carries {context.size}, not {context.expected}: the path is not to blame"
    ),
    "stale path MTU": lambda context: (
        f"{context.size} bytes arrive, but {context.sender}'s kernel holds {context.direction.path_mtu_before} "
        "for the path: "
        "a route sets it, or a router said so, of a time that is over or of another of several equal paths, or "
        "somebody forged that (`ip route flush cache` forgets what was learned)"
    ),
    "unreachable": lambda context: (
        "nothing is answered, not even the smallest "
        f"packet{': ' + context.direction.note if context.direction.note else ''}; "
        "this says nothing about the MTU"
    ),
    "loss": lambda context: f"too many packets that fit are lost to be certain: at least {context.size} bytes arrive",
    "overloaded": lambda context: (
        f"packets are dropped because they are not read in time: at least {context.size} bytes arrive; "
        "measure again when there is less load"
    ),
}


def _at(context: Context) -> str:
    """Name who refuses, or before whom what is larger vanishes."""
    return (
        f"before {context.routers}"
        if context.direction.search.full_size_vanishes and context.routers
        else context.routers
    )


_PLACES: Final[Mapping[Kind, Callable[[Context], str]]] = {
    "lower": lambda context: context.routers,
    "black hole": _at,
    "masked": _at,
    "receiver": lambda context: f"{context.receiver}'s interface",
    "outer fragments": lambda context: f"the network below {context.sender}'s tunnel",
    "refused here": lambda context: f"{context.sender}'s interface",
    "stale path MTU": lambda context: f"{context.sender}'s routes",
}


def _unfilter(context: Context) -> str:
    """Say what to do so that nothing vanishes in silence; RFC 1191 4 and RFC 4890 4.3.1 name the messages."""
    if context.direction.search.full_size_vanishes:
        who = context.routers or "that router"
        return f"{_smaller(context)}; give the two ends of the link before {who} the same MTU, such as both of a veth"
    return f"{_smaller(context)}; let ICMP type 3 code 4 pass as well, and ICMPv6 type 2"


def _smaller(context: Context) -> str:
    return f"use an MTU of {context.size} at both ends, or raise the link that is smaller to {context.expected}"


def _nothing(context: Context) -> str:
    segments = context.direction.segments
    if segments is not None and segments.clamped and segments.allowed < context.size:
        return (
            f"nothing has to be done; without its MSS clamp TCP could send {context.size} instead of {segments.allowed}"
        )
    return "nothing has to be done"


_ADVICES: Final[Mapping[Kind, Callable[[Context], str]]] = {
    "ok": _nothing,
    "lower": _smaller,
    "black hole": _unfilter,
    "masked": lambda context: f"{_smaller(context)}; leave what masks it in place until then",
    "receiver": lambda context: (
        f"give {context.receiver}'s interface an MTU of {context.expected}, or {context.sender}'s "
        f"{context.direction.receiver_mtu}: "
        "they must be equal"
    ),
    "fragmented": lambda context: (
        f"use an MTU of {context.size} at both ends, and look for what clears DF: a rule that scrubs packets, "
        "or a tunnel that ignores DF"
    ),
    "outer fragments": lambda context: (
        f"use an MTU of {context.direction.unfragmented_mtu} inside the tunnel, or raise the network below it by "
        f"{context.expected - (context.direction.unfragmented_mtu or 0)} bytes"
    ),
    "refused here": lambda context: (
        f"raise {context.sender}'s interface to {context.expected}, or expect {context.size}"
    ),
    "stale path MTU": lambda context: (
        f"on {context.sender} run `ip route flush cache`, or `ip -6 route flush cache` for IPv6; if `ip route "
        "get` then "
        f"still shows mtu {context.direction.path_mtu_before}, change the route that sets it"
    ),
    "unreachable": lambda _: (
        "make sure that `kubemtu node respond` runs there with the same key, and that no filter drops its UDP port"
    ),
    "loss": lambda _: "find the loss first: a smaller MTU does not cure it",
    "overloaded": lambda _: "measure again when there is less load",
}


_SHORT: Final[Mapping[Kind, str]] = {
    "ok": "ok",
    "lower": "refused, and the sender is told",
    "black hole": "black hole",
    "masked": "too small, hidden from TCP",
    "receiver": "{there}'s own interface is smaller",
    "fragmented": "arrives in pieces",
    "outer fragments": "cut in pieces by the tunnel",
    "asymmetric": "differs by direction",
    "equal paths differ": "equal paths differ",
    "refused here": "{here}'s own interface is smaller",
    "stale path MTU": "{here}'s kernel believes less",
    "unreachable": "no answer",
    "loss": "too much is lost to tell",
    "overloaded": "too busy to tell",
}


def short(kind: Kind, here: str, there: str) -> str:
    """Say in a few words what becomes of larger packets from `here` to `there`, for a table or the head of a line."""
    return _SHORT[kind].format(here=here, there=there)


def sentence(context: Context) -> str:
    """Say what was found, in words for somebody tired; not for what takes two directions or several flows."""
    return _SENTENCES[context.kind](context)


def place(context: Context) -> str:
    """Name who or where is at fault; empty when that is not known."""
    return _PLACES[context.kind](context) if context.kind in _PLACES else ""


def advice(context: Context) -> str:
    """Say what to do next, in one sentence."""
    return _ADVICES[context.kind](context)


def evidence(context: Context) -> tuple[str, ...]:
    """List what the verdict rests on, one fact a line."""
    return (*_counted(context), *_known(context.direction, context.receiver))


def _counted(context: Context) -> Iterator[str]:
    found = context.direction.search
    larger = found.mtu + 1
    if found.mtu:
        answered = f"{found.fitting_packets - found.fitting_lost} of {found.fitting_packets}"
        yield f"a packet of {found.mtu} bytes arrived; {answered} packets up to that size were answered"
    if found.limit == "own interface":
        yield f"the sender's own interface sends no more than {found.interface_mtu} bytes"
    if found.limit == "expected":
        yield f"larger than {found.mtu} bytes was not tried"
    if found.limit == "silence":
        yield f"{larger} bytes were lost {found.next_size_losses} times, in between those"
    if found.limit == "fragments":
        yield f"{larger} bytes arrived in fragments of at most {found.largest_fragment} bytes"
    for by, mtu in dict.fromkeys((quote.router, quote.mtu) for quote in found.too_big):
        yield f"{by or 'a router'} said that it carries {mtu} bytes"
    if found.full_size_vanishes:
        yield "larger packets than those that it refused were lost without a word, as often as a proof needs"


def _known(direction: Direction, receiver: str) -> Iterator[str]:
    if direction.path_mtu_before or direction.path_mtu_after:
        yield (
            f"the kernel held {direction.path_mtu_before or '?'} bytes for this path before, "
            f"{direction.path_mtu_after or '?'} after"
        )
    if direction.receiver_mtu:
        yield f"the interface at the other end has an MTU of {direction.receiver_mtu}"
    if direction.segments is not None:
        yield from _believed(direction.segments, receiver)
    if direction.probing:
        yield f"net.ipv4.tcp_mtu_probing is {direction.probing} at the sender"
    if direction.unfragmented_mtu is not None:
        packets, pieces = (
            wording.count(direction.fragmented_tunnel_packets, "packet"),
            wording.count(direction.tunnel_fragments, "piece"),
        )
        cut = f"{packets} of the tunnel left in {pieces}; " if direction.fragmented_tunnel_packets else ""
        yield f"{cut}up to {direction.unfragmented_mtu} bytes inside, none was cut"
    if direction.nat_address:
        yield f"{receiver} sees the sender as {direction.nat_address}: the address is translated on the way"
    if direction.note:
        yield direction.note


def _believed(segments: Segments, receiver: str) -> Iterator[str]:
    if segments.relayed:
        yield "TCP comes from another port than it was sent from: something on the way translates or relays it"
    if segments.clamped:
        yield (
            f"{receiver} announced an MSS of {segments.announced_mss}, and {segments.received_mss} arrived: "
            "something clamps it"
        )
    elif segments.received_mss > segments.announced_mss:
        yield (
            f"{receiver} announced an MSS of {segments.announced_mss}, and {segments.received_mss} arrived: "
            "something raises it"
        )
    if segments.received_mss:
        yield f"the MSS allows TCP packets of {segments.allowed} bytes, and they are of up to {segments.packet} now"
    else:
        yield f"TCP sends packets of up to {segments.packet} bytes now"

"""Finds the MTU of a path: sizes to send come out, what became of each packet goes in; no socket, no clock, no loop.

The ideas are those of RFC 8899 (probe with real packets, believe no ICMP message that a probe has not confirmed), but
not its timers: a size that needs a timeout to fail costs 15 seconds there (three probes, 5.1.1). Here a burst carries
many sizes at once and ends in small packets. Packets of one flow keep their order, so once a small one is answered,
whatever was sent before it and is not answered is lost; a round costs one round trip and a little grace.

    round 1    the expected size (and, if the interface takes more, its neighbour and the interface's own MTU)
    hint       what a router's "too big", or the fragments that arrived, quoted: that size and its upper neighbour
    ladder     sizes that real networks have (core.ladder); for the likeliest also the neighbour, as often as needed
    narrow     40 sizes spread over what is left, or all of them
    edge       the smallest size not known to arrive, as often as needed

What arrives is proof; what does not may be loss. So the largest size that arrived, `low`, only ever rises, and the
search ends when `low + 1` is refused by a router, arrives in fragments, exceeds the own interface, or is lost so often
that no rate of loss explains it (core.losses), among packets known to fit that were sent between its copies. Something
that polices bytes, and a queue that is nearly full, let small packets through where large ones are lost. So if any of
about the size of `low` is lost, those alone count; and a burst that loses all of them proves nothing.

A router's word counts for what it is said of. Where a veth of 1450 swallows all above 1454 in silence and a router
behind it refuses 1451 to 1454, whoever sends packets of 1500 is told nothing: `unheard`. So where a router refuses all
but the larger ones, those are lost as often as a proof needs, which may take one round more.

Bounds. Without loss of packets that fit: 1 + 3 hints + 1 ladder + 3 narrow + 1 edge = 9 rounds, 6 if no router or
fragment says anything, 2 to 4 in practice. A round that loses some of them, of no size more than one, costs at most 3
more; after ROUNDS_MOST rounds the search gives up. Fewer than losses.LEAST losses of what fits never make a wrong
answer, whichever they are. All sizes are of whole IP packets, in bytes.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from kubemtu.core import losses

ROUNDS_MOST: Final = 24
VOID_MOST: Final = 5  # rounds in a row that prove nothing
HINTS_MOST: Final = 3  # routers in a row, each with a smaller MTU than the one before it
WIDTH: Final = 40  # sizes of a round that narrows: three such rounds reach every size up to 65535
WITNESSES: Final = 3  # small packets between copies, and at the end; packets of the largest size that arrived
NEAR: Final = 12  # so few sizes left are all sent as often as the answer needs
ROOM: Final = 200  # packets of a burst, without the small ones

Ending = Literal["exact", "unreachable", "lossy", "overloaded"]
Limit = Literal["own interface", "router", "fragments", "silence", "expected"]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is known before the first packet.

    `top`: the MTU of the own interface, above which the kernel refuses. `expected`: what should arrive, at most `top`.
    `likely` and `hypotheses`: see core.ladder. `suspected`: what other paths of the same kind were found to carry, and
    so asked for at once. `small`: the size of the packets that end a burst, carried by any path. `risk`: the
    probability that is accepted for a wrong answer.
    """

    top: int
    expected: int
    likely: tuple[int, ...] = ()
    hypotheses: tuple[int, ...] = ()
    suspected: tuple[int, ...] = ()
    small: int = 88
    risk: float = 1e-6

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not 0 < self.small < self.expected <= self.top:
            raise ValueError(f"small {self.small} < expected {self.expected} <= top {self.top} must hold")


class Fate(msgspec.Struct, frozen=True):
    """What became of one packet.

    "fragmented": it arrived in pieces, the largest of `mtu` bytes. "too big": the router `by` refused it and carries
    `mtu`. "refused here": the own kernel did, for an interface of `mtu`. "unknown": nobody waited for it.
    """

    kind: Literal["arrived", "fragmented", "lost", "too big", "refused here", "unknown"]
    mtu: int = 0
    by: str | None = None


ARRIVED: Final = Fate("arrived")
LOST: Final = Fate("lost")
UNKNOWN: Final = Fate("unknown")


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """A router's "too big": who, what it claims to carry, and the size that it refused (above `top` when not said)."""

    mtu: int
    size: int
    by: str | None = None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """How a search ended, and what it rests on.

    `mtu`: the largest size that arrived, exact or not; 0 when nothing did. `limit`: what stops the next larger size;
    "expected" when none was asked for, because what is expected arrives.
    `losses`: how often that size was lost. `fitting` and `fitting_lost`: packets up to `mtu` sent, and lost.
    `unheard`: the router that refuses that size never sees the largest ones, because something before it swallows them.
    """

    ending: Ending
    mtu: int
    losses: int
    fitting: int
    fitting_lost: int
    rounds: int
    packets: int
    top: int
    limit: Limit | None = None
    quotes: tuple[Quote, ...] = ()
    fragment: int | None = None  # bytes of the largest fragment that arrived of the next larger size
    unheard: bool = False


class Search:
    """One search, from the first burst to its end.

    Call `burst` for the sizes to send, in order; `feed` with what became of each; until `found` is set.
    """

    def __init__(self, question: Question) -> None:
        """Starts with nothing known."""
        self.question = question
        self.found: Found | None = None
        self.low = 0
        self.top = question.top
        self.rounds = 0
        self.packets = 0
        self._sent: dict[int, int] = {}
        self._lost: dict[int, int] = {}
        self._refused: dict[int, list[Quote]] = {}
        self._claims: list[Quote] = []
        self._fragments: dict[int, int] = {}
        self._followed: set[int] = set()
        self._laddered = False
        self._doubt = 0  # the most losses of a size that was believed not to fit, and arrived
        self._void = 0
        self._overloaded = False
        self._room = ROOM

    def burst(self) -> tuple[int, ...]:
        """Give the sizes to send now, in this order, with small ones between and at the end."""
        wanted = self._wanted()
        if len(wanted) > self._room:  # an overloaded peer is asked for less at a time
            sizes = sorted(wanted)
            wanted = {sizes[place * len(sizes) // self._room]: 1 for place in range(self._room)}
        small = self.question.small
        sizes = [small]
        room, lap = self._room, 0
        while room > 0 and (due := sorted(size for size, copies in wanted.items() if copies > lap)):
            due = due[:room]
            sizes += (due[::-1] if lap % 2 else due) + [small] * WITNESSES  # neither of two neighbours is always first
            room -= len(due)
            lap += 1
        return tuple(sizes)

    def feed(self, sizes: Sequence[int], fates: Sequence[Fate], *, void: bool = False) -> None:
        """Learn what became of a burst, packet by packet; sets `found` when that ends the search.

        `void` when a queue at the other end, or at this one, has overflowed meanwhile: losses then prove nothing. A
        burst of which no small packet was answered proves nothing either, nor one of which none was that is known to
        fit and about the largest, if any such was sent.
        """
        self.rounds += 1
        self.packets += len(sizes)
        high = self._high()
        doubt = self._lost.get(high, 0)
        for size, fate in zip(sizes, fates, strict=True):
            self._learn(size, fate)
        if self.low >= high:
            self._doubt = max(self._doubt, doubt)
        if not void and self._witnessed(sizes, fates):
            self._void = 0
            self._count(sizes, fates)
        else:
            self._void += 1
        if void:
            self._room = max(self._room // 4, 2 * losses.LEAST)
        self._overloaded = void
        self.found = self._judge()

    def _witnessed(self, sizes: Sequence[int], fates: Sequence[Fate]) -> bool:
        small, near = False, []
        for size, fate in zip(sizes, fates, strict=True):
            arrived = fate.kind == "arrived"
            small |= arrived and size == self.question.small
            if self.low // 2 < size <= self.low:
                near.append(arrived)
        return small and (any(near) or not near)

    def _count(self, sizes: Sequence[int], fates: Sequence[Fate]) -> None:
        for size, fate in zip(sizes, fates, strict=True):
            self._sent[size] = self._sent.get(size, 0) + (fate.kind != "unknown")
            if fate.kind == "lost":
                self._lost[size] = self._lost.get(size, 0) + 1

    def late(self, size: int, fate: Fate) -> None:
        """Learn that a packet that was fed as lost was answered after all; this may end or reopen the search.

        It does not end it by silence: where one answer was late, others may be.
        """
        if self._lost.get(size, 0) > 0 and fate.kind != "lost":
            self._lost[size] -= 1
        self._learn(size, fate)
        if self._limit() != "silence":
            self.found = self._judge()
        elif self.found is not None and self.found.mtu < self.low:
            self.found = None

    def hint(self, mtu: int, by: str | None) -> None:
        """Learn that a router claims to carry no more than `mtu`, without a word about which packet it refused."""
        if len(self._claims) < HINTS_MOST and all(claim.mtu != mtu for claim in self._claims):
            self._claims.append(Quote(mtu=mtu, by=by, size=self.top + 1))

    def give_up(self) -> None:
        """End it without an answer, because the network or the peer says that nobody is there."""
        self.found = self._end("lossy" if self.low else "unreachable")

    def _learn(self, size: int, fate: Fate) -> None:
        if fate.kind == "arrived":
            self.low = max(self.low, size)
        elif fate.kind == "fragmented":
            self._fragments[size] = max(fate.mtu, self._fragments.get(size, 0))
        elif fate.kind == "too big":
            self._refused.setdefault(size, []).append(Quote(mtu=fate.mtu, by=fate.by, size=size))
        elif fate.kind == "refused here":
            self.top = max(min(self.top, fate.mtu if 0 < fate.mtu < size else size - 1), self.low)

    def _quotes(self) -> list[Quote]:
        return [quote for refused in self._refused.values() for quote in refused] + self._claims

    def _failures(self, size: int) -> int:
        return self._lost.get(size, 0) + len(self._refused.get(size, ()))

    def _high(self) -> int:
        """The smallest size believed not to fit, because it was lost, and more often than chance was seen to do it."""
        enough = self._enough()
        known = {size for size, lost in self._lost.items() if lost >= enough}
        return min({size for size in known.union(self._refused, self._fragments) if size > self.low} | {self.top + 1})

    def _enough(self) -> int:
        return 1 + max(self._doubt, self._fitting()[1] > 0)

    def _fitting(self, above: int = 0) -> tuple[int, int]:
        """Packets that fit, larger than `above`: how many were sent, and lost."""
        sent = sum(number for size, number in self._sent.items() if above < size <= self.low)
        lost = sum(number for size, number in self._lost.items() if above < size <= self.low)
        return sent, min(lost, sent)

    def _counted(self) -> list[tuple[int, int]]:
        """What losses are held against: all packets that fit, and if any of about the largest size was lost, those."""
        near = self._fitting(self.low // 2)
        return [self._fitting(), near] if near[1] else [self._fitting()]

    def _needed(self) -> int:
        """How often the next larger size must be lost."""
        return max(losses.needed(*count, self.question.risk) for count in self._counted())

    def _limit(self) -> Limit | None:
        """What is proven to stop the next larger size."""
        edge = self.low + 1
        if self.low >= self.top:
            return "own interface"
        if edge in self._fragments:
            return "fragments"
        if edge in self._refused and self._failures(edge) >= 2:
            return "router" if self._unheard() is not None else None
        return "silence" if self._failures(edge) >= self._needed() <= losses.MOST else None

    def _unheard(self) -> bool | None:
        """Whether what is larger than a router refuses is lost in silence; None while that may still be chance.

        Of a router that leaves unanswered more than it refuses, and more than loss explains, nothing can be told.
        """
        spoken, needed = max(self._refused, default=0), self._needed()
        refused, silent = sum(map(len, self._refused.values())), self._lost_between(self.low, spoken)
        larger = self._lost_between(spoken, self.top)
        if self._claims or not larger or silent >= max(refused, needed):
            return False
        return True if refused >= losses.LEAST and larger >= needed else None

    def _lost_between(self, low: int, high: int) -> int:
        return sum(lost for size, lost in self._lost.items() if low < size <= high)

    def _judge(self) -> Found | None:
        if limit := self._limit():
            return self._end("exact", limit)
        if self._void >= (2 if self.low == 0 and not self._overloaded else VOID_MOST):
            return self._end("overloaded" if self._overloaded else "lossy" if self.low else "unreachable")
        if any(losses.needed(*count, self.question.risk) > losses.MOST <= count[0] for count in self._counted()):
            return self._end("lossy")
        if self.rounds < ROUNDS_MOST:
            return None
        return self._end("overloaded" if self._overloaded else "lossy")

    def _end(self, ending: Ending, limit: Limit | None = None) -> Found:
        fitting, lost = self._fitting()
        return Found(
            ending=ending,
            mtu=self.low,
            limit=limit,
            losses=self._lost.get(self.low + 1, 0),
            fitting=fitting,
            fitting_lost=lost,
            rounds=self.rounds,
            packets=self.packets,
            top=self.top,
            quotes=tuple(dict.fromkeys(quote for quote in self._quotes() if quote.size > self.low)),
            fragment=self._fragments.get(self.low + 1),
            unheard=limit == "router" and self._unheard() is True,
        )

    def _wanted(self) -> dict[int, int]:
        """The sizes to send now, and how often each, without the small ones."""
        if self.low == 0:
            return self._first()
        high = self._high()
        wanted = self._hint(high)
        if not wanted and self.low + 1 in self._refused and self._unheard() is None:
            spoken, expected = max(self._refused), min(self.question.expected, self.top)
            wanted = {self.low + 1: losses.LEAST, expected if expected > spoken else self.top: self._needed()}
        if not wanted and not self._laddered and high > self.low + 1:
            self._laddered = True
            wanted = self._ladder(high)
        if not wanted:
            return self._narrow(high)
        return wanted if self.low == self.question.small else {self.low: WITNESSES} | wanted

    def _first(self) -> dict[int, int]:
        expected = min(self.question.expected, self.top)
        suspected = {*self.question.suspected, *(claim.mtu for claim in self._claims)}
        if suspected := {size for size in suspected if self.question.small < size < expected}:
            wanted = dict.fromkeys(suspected, 2) | {size + 1: losses.LEAST for size in suspected}
            return {expected: 2} | wanted
        if expected == self.top:
            return {expected: 1}
        return {expected: 1, expected + 1: losses.LEAST} | {self.top: losses.LEAST if self.top == expected + 1 else 1}

    def _hint(self, high: int) -> dict[int, int]:
        """What a router or the fragments quoted, if it may be the answer and was not followed yet."""
        if len(self._followed) >= HINTS_MOST:
            return {}
        quoted = [quote.mtu for quote in self._quotes()]
        fragments = [size for broken, size in self._fragments.items() if broken > self.low]
        for size in sorted({*quoted, *fragments} - self._followed):
            if not self.low < size < high:
                continue
            self._followed.add(size)
            if size in fragments:  # RFC 791 3.2: all fragments but the last are a multiple of 8 bytes long
                return dict.fromkeys(range(size, min(size + 8, high) + 1), 2)
            return {size: 2} | ({size + 1: losses.LEAST} if size < self.top else {})
        return {}

    def _ladder(self, high: int) -> dict[int, int]:
        wanted = dict.fromkeys((size for size in self.question.likely if self.low < size < high), self._copies())
        for size in self.question.hypotheses:
            if self.low <= size < high:
                wanted[size] = max(wanted.get(size, 0), 1)
                wanted[size + 1] = losses.LEAST
        if wanted and high <= self.top:  # the loss that began it may have been an accident
            wanted[high] = max(wanted.get(high, 0), 2)
        return self._without_known(wanted)

    def _narrow(self, high: int) -> dict[int, int]:
        copies = self._copies()
        between = range(self.low + 1, high)
        if len(between) <= NEAR:
            wanted = dict.fromkeys(between, losses.LEAST)
        elif len(between) <= WIDTH:
            wanted = dict.fromkeys(between, copies)
        else:
            width = min(WIDTH, self._room)
            wanted = {self.low + step * (high - self.low) // (width + 1): copies for step in range(1, width + 1)}
        if high > self.top:
            wanted[self.top] = max(wanted.get(self.top, 0), copies)
        elif high not in self._fragments:
            wanted[high] = max(copies, losses.LEAST if len(between) <= NEAR else 1)
        edge = self.low + 1
        failures = self._failures(edge)
        wanted[edge] = min(max(self._needed() - failures, losses.LEAST), max(failures, 2 * losses.LEAST))
        wanted[self.low] = wanted[edge]  # packets of nearly the same size are what its losses are held against
        return wanted

    def _copies(self) -> int:
        """How often a size is sent that is not expected to be the answer: once, unless what fits is being lost."""
        sent, lost = self._fitting()
        return min(max(self._enough(), 1 + (lost > 0) + (lost * 5 > sent)), losses.LEAST)

    def _without_known(self, wanted: dict[int, int]) -> dict[int, int]:
        """Leave out what is proven already, and what the interface refuses."""
        refused: Iterable[int] = self._refused.keys() | self._fragments.keys()
        return {size: copies for size, copies in wanted.items() if size <= self.top and size not in refused}

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
that no rate of loss explains it (`losses_needed`), among packets known to fit that were sent between its copies.

Bounds. Without loss of packets that fit: 1 + 3 hints + 1 ladder + 3 narrow + 1 edge = 9 rounds, 6 if no router answers,
2 to 4 in practice. A round that loses such packets costs at most 3 more; after ROUNDS_MOST rounds the search gives up.
All sizes are of whole IP packets, in bytes.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

ROUNDS_MOST: Final = 24
VOID_MOST: Final = 5  # rounds in a row that prove nothing
HINTS_MOST: Final = 3  # routers in a row, each with a smaller MTU than the one before it
WIDTH: Final = 40  # sizes of a round that narrows: three such rounds reach every size up to 65535
COPIES: Final = 6  # 1e-6 at 10 % loss; more when more is being lost
COPIES_MOST: Final = 64  # beyond that, loss is the trouble and not size
WITNESSES: Final = 3  # small packets between copies, and at the end
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


def losses_needed(fitting: int, lost: int, risk: float) -> int:
    """Say how many losses in a row prove that a size does not fit, when `lost` of `fitting` packets that do were lost.

    The smallest number for which no rate of loss makes everything that was seen likelier than `risk`; never below
    COPIES, and COPIES_MOST + 1 when loss alone could explain any number.
    """
    ways = math.lgamma(fitting + 1) - math.lgamma(lost + 1) - math.lgamma(fitting - lost + 1)
    for copies in range(COPIES, COPIES_MOST + 1):
        everything, gone = fitting + copies, lost + copies
        chance = ways + gone * math.log(gone / everything)
        if kept := fitting - lost:
            chance += kept * math.log(kept / everything)
        if chance <= math.log(risk):
            return copies
    return COPIES_MOST + 1


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
            sizes += due[:room] + [small] * WITNESSES
            room -= len(due)
            lap += 1
        return tuple(sizes)

    def feed(self, sizes: Sequence[int], fates: Sequence[Fate], *, void: bool = False) -> None:
        """Learn what became of a burst, packet by packet; sets `found` when that ends the search.

        `void` when a queue at the other end, or at this one, has overflowed meanwhile: losses then prove nothing.
        A burst of which no small packet was answered proves nothing either.
        """
        self.rounds += 1
        self.packets += len(sizes)
        silent = not any(
            fate.kind == "arrived" for size, fate in zip(sizes, fates, strict=True) if size == self.question.small
        )
        for size, fate in zip(sizes, fates, strict=True):
            self._learn(size, fate)
            if fate.kind != "unknown" and not void and not silent:
                self._sent[size] = self._sent.get(size, 0) + 1
                if fate.kind == "lost":
                    self._lost[size] = self._lost.get(size, 0) + 1
        if void:
            self._room = max(self._room // 4, 2 * COPIES)
        self._void = self._void + 1 if void or silent else 0
        self._overloaded = void
        self.found = self._judge()

    def late(self, size: int, fate: Fate) -> None:
        """Learn that a packet that was fed as lost was answered after all; this may end or reopen the search."""
        if self._lost.get(size, 0) > 0 and fate.kind != "lost":
            self._lost[size] -= 1
        self._learn(size, fate)
        self.found = self._judge()

    def hint(self, mtu: int, by: str | None) -> None:
        """Learn that a router claims to carry no more than `mtu`, without a word about which packet it refused."""
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
        """The smallest size believed not to fit: lost once, or twice where packets that fit have been lost as well."""
        enough = 2 if self._fitting()[1] else 1
        known = {size for size, lost in self._lost.items() if lost >= enough}
        return min({size for size in known.union(self._refused, self._fragments) if size > self.low} | {self.top + 1})

    def _fitting(self) -> tuple[int, int]:
        sent = sum(number for size, number in self._sent.items() if size <= self.low)
        lost = sum(number for size, number in self._lost.items() if size <= self.low)
        return sent, min(lost, sent)

    def _judge(self) -> Found | None:
        if self.low >= self.top:
            return self._end("exact", "own interface")
        if self._void >= (2 if self.low == 0 else VOID_MOST) and not self._overloaded:
            return self._end("lossy" if self.low else "unreachable")
        if self._void >= VOID_MOST:
            return self._end("overloaded")
        edge = self.low + 1
        if self.low:
            if edge in self._fragments:
                return self._end("exact", "fragments")
            if edge in self._refused and self._failures(edge) >= 2:
                return self._end("exact", "router")
            fitting, lost = self._fitting()
            needed = losses_needed(fitting, lost, self.question.risk)
            if needed <= COPIES_MOST and self._failures(edge) >= needed:
                return self._end("exact", "silence")
            if needed > COPIES_MOST and fitting >= COPIES_MOST:
                return self._end("lossy")
        return self._end("lossy") if self.rounds >= ROUNDS_MOST else None

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
        )

    def _wanted(self) -> dict[int, int]:
        """The sizes to send now, and how often each, without the small ones."""
        if self.low == 0:
            return self._first()
        high = self._high()
        if hint := self._hint(high):
            return hint
        if not self._laddered:
            self._laddered = True
            if ladder := self._ladder(high):
                return ladder
        return self._narrow(high)

    def _first(self) -> dict[int, int]:
        expected = min(self.question.expected, self.top)
        if suspected := [size for size in self.question.suspected if size < expected]:
            wanted = dict.fromkeys(suspected, 2) | {size + 1: COPIES for size in suspected}
            return {expected: 2} | wanted
        if expected == self.top:
            return {expected: 1}
        return {expected: 1, expected + 1: COPIES} | {self.top: COPIES if self.top == expected + 1 else 1}

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
            return {size: 2, size + 1: COPIES}
        return {}

    def _ladder(self, high: int) -> dict[int, int]:
        wanted = dict.fromkeys((size for size in self.question.likely if self.low < size < high), self._copies())
        for size in self.question.hypotheses:
            if self.low <= size < high:
                wanted[size] = max(wanted.get(size, 0), 1)
                wanted[size + 1] = COPIES
        if wanted and high <= self.top:  # the loss that began it may have been an accident
            wanted[high] = max(wanted.get(high, 0), 2)
        return self._without_known(wanted)

    def _narrow(self, high: int) -> dict[int, int]:
        copies = self._copies()
        between = range(self.low + 1, high)
        if len(between) <= NEAR:
            wanted = dict.fromkeys(between, COPIES)
        elif len(between) <= WIDTH:
            wanted = dict.fromkeys(between, copies)
        else:
            width = min(WIDTH, self._room)
            wanted = {self.low + step * (high - self.low) // (width + 1): copies for step in range(1, width + 1)}
        if high > self.top:
            wanted[self.top] = max(wanted.get(self.top, 0), copies)
        elif high not in self._fragments:
            wanted[high] = max(copies, COPIES if len(between) <= NEAR else 1)
        edge = self.low + 1
        needed = min(losses_needed(*self._fitting(), self.question.risk), COPIES_MOST)
        wanted[edge] = max(needed - self._failures(edge), COPIES)
        wanted[self.low] = WITNESSES  # packets of this very size are what the losses are held against
        return wanted

    def _copies(self) -> int:
        """How often a size is sent that is not expected to be the answer: once, unless what fits is being lost."""
        sent, lost = self._fitting()
        return 1 + (lost > 0) + (lost * 5 > sent)

    def _without_known(self, wanted: dict[int, int]) -> dict[int, int]:
        """Leave out what is proven already, and what the interface refuses."""
        refused: Iterable[int] = self._refused.keys() | self._fragments.keys()
        return {size: copies for size, copies in wanted.items() if size <= self.top and size not in refused}

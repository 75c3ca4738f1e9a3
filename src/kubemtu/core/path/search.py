"""Find the MTU of a path: sizes to send come out, what became of each packet goes in; no socket, no clock, no loop.

The ideas are those of RFC 8899 (probe with real packets, believe no ICMP message that a probe has not confirmed), but
not its timers: a size that needs a timeout to fail costs 15 seconds there (three probes, 5.1.1). Here a burst carries
many sizes at once and ends in small packets. Packets of one flow keep their order, so once a small one is answered,
whatever was sent before it and is not answered is lost; a round costs one round trip and a little grace.

    round 1    the expected size (and, if the interface takes more, its neighbour and the interface's own MTU)
    hint       what a router's "too big", or the fragments that arrived, quoted: that size and its upper neighbour
    known      sizes that real networks have (core.path.known_sizes); for the likeliest also the neighbour, as often as
               needed
    narrow     40 sizes spread over what is left, or all of them
    edge       the smallest size not known to arrive, as often as needed

It ends when it is proven (core.path.counts) what stops the size above the largest that arrived. A burst of which no
packet that is known to fit, and about the largest, was answered proves nothing.

A router's word counts for what it is said of. Where a veth of 1450 swallows all above 1454 in silence and a router
behind it refuses 1451 to 1454, whoever sends packets of 1500 is told nothing: `full_size_vanishes`. So where a router
refuses all but the larger ones, those must be lost as often as a proof needs: in a round more, where few were sent.

Bounds. Without loss of packets that fit: 1 + 3 hints + 1 known sizes + 3 narrow + 1 edge = 9 rounds, 6 if no router or
fragment says anything, 2 to 4 in practice. A round that loses some of them, of no size more than one, costs at most 3
more; after ROUNDS_MOST rounds the search gives up. Fewer than significance.LEAST losses of what fits never make a wrong
answer, whichever they are. All sizes are of whole IP packets, in bytes.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from kubemtu.core.path import counts, significance
from kubemtu.core.path.counts import ARRIVED, LOST, UNKNOWN, Fate, Limit, TooBig

__all__ = ["ARRIVED", "LOST", "UNKNOWN", "Ending", "Fate", "Limit", "Question", "Search", "SearchResult", "TooBig"]

ROUNDS_MOST: Final = 24
VOID_MOST: Final = 5  # rounds in a row that prove nothing
HINTS_MOST: Final = counts.CLAIMS_MOST
WIDTH: Final = 40  # sizes of a round that narrows: three such rounds reach every size up to 65535
WITNESSES: Final = 3  # small packets between copies, and at the end; packets of the largest size that arrived
NEAR: Final = 12  # so few sizes left are all sent as often as the answer needs
ROOM: Final = 200  # packets of a burst, without the small ones

Ending = Literal["exact", "unreachable", "lossy", "overloaded"]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is known before the first packet.

    `top`: the MTU of the own interface, above which the kernel refuses. `expected`: what should arrive, at most `top`.
    `likely` and `hypotheses`: see core.path.known_sizes. `suspected`: what other paths of the same kind were found to
    carry, and so asked for at once. `small`: the size of the packets that end a burst, carried by any path. `risk`: the
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


class SearchResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Say how a search ended, and what that rests on."""

    ending: Ending
    """"exact": proven; "unreachable": nothing was answered; "lossy", "overloaded": too much was lost to prove more."""
    mtu: int
    """The largest packet that arrived, in bytes, exact or not; 0 when none did."""
    next_size_losses: int
    """How often a packet one byte larger was lost."""
    fitting_packets: int
    """How many packets of up to `mtu` bytes were sent."""
    fitting_lost: int
    """How many of those were lost."""
    rounds: int
    """How many bursts it took."""
    packets: int
    """How many packets were sent in all."""
    interface_mtu: int
    """The MTU of the sender's own interface, in bytes: nothing larger can leave it."""
    limit: Limit | None = None
    """What stops the next larger size; "expected": none was tried, because what is expected arrives."""
    too_big: tuple[TooBig, ...] = ()
    """What routers said of packets larger than `mtu`."""
    largest_fragment: int | None = None
    """Where the next larger size arrives in fragments: the largest of them, in bytes."""
    full_size_vanishes: bool = False
    """True when a router refuses sizes just above `mtu`, and full-size packets vanish before they reach it."""


class Search:
    """One search, from the first burst to its end.

    Call `burst` for the sizes to send, in order; `feed` with what became of each; until `result` is set.
    """

    def __init__(self, question: Question) -> None:
        """Start with nothing known."""
        self.question = question
        self.result: SearchResult | None = None
        self.rounds = 0
        self.packets = 0
        self._counts = counts.PacketCounts(question.top, question.risk)
        self._followed: set[int] = set()
        self._known_sizes_sent = False
        self._void = 0
        self._overloaded = False
        self._room = ROOM

    @property
    def low(self) -> int:
        """The largest size that arrived; 0 when nothing did."""
        return self._counts.low

    @property
    def top(self) -> int:
        """The MTU of the own interface, as far as is known by now."""
        return self._counts.top

    def burst(self) -> tuple[int, ...]:
        """Give the sizes to send now, in this order, with small ones between and at the end."""
        copies_by_size = self._wanted()
        if len(copies_by_size) > self._room:  # an overloaded peer is asked for less at a time
            sizes = sorted(copies_by_size)
            copies_by_size = {sizes[place * len(sizes) // self._room]: 1 for place in range(self._room)}
        small = self.question.small
        sizes = [small]
        room, lap = self._room, 0
        while room > 0 and (due := sorted(size for size, copies in copies_by_size.items() if copies > lap)):
            due = due[:room]
            sizes += (due[::-1] if lap % 2 else due) + [small] * WITNESSES  # neither of two neighbours is always first
            room -= len(due)
            lap += 1
        return tuple(sizes)

    def feed(self, sizes: Sequence[int], fates: Sequence[Fate], *, void: bool = False) -> None:
        """Learn what became of a burst, packet by packet; sets `result` when that ends the search.

        `void` when a queue at the other end, or at this one, has overflowed meanwhile: losses then prove nothing. A
        burst of which no small packet was answered proves nothing either, nor one of which none was that is known to
        fit and about the largest, if any such was sent.
        """
        self.rounds += 1
        self.packets += len(sizes)
        self._counts.learn(sizes, fates)
        if not void and self._witnessed(sizes, fates):
            self._void = 0
            self._counts.count(sizes, fates)
        else:
            self._void += 1
        if void:
            self._room = max(self._room // 4, 2 * significance.LEAST)
        self._overloaded = void
        self.result = self._judge()

    def _witnessed(self, sizes: Sequence[int], fates: Sequence[Fate]) -> bool:
        small, near = False, []
        for size, fate in zip(sizes, fates, strict=True):
            arrived = fate.kind == "arrived"
            small |= arrived and size == self.question.small
            if self.low // 2 < size <= self.low:
                near.append(arrived)
        return small and (any(near) or not near)

    def late(self, size: int, fate: Fate) -> None:
        """Learn that a packet that was fed as lost was answered after all; this may end or reopen the search.

        It does not end it by silence: where one answer was late, others may be.
        """
        self._counts.late(size, fate)
        if self._counts.limit() != "silence":
            self.result = self._judge()
        elif self.result is not None and self.result.mtu < self.low:
            self.result = None

    def hint(self, mtu: int, by: str | None) -> None:
        """Learn that a router claims to carry no more than `mtu`, without a word about which packet it refused."""
        self._counts.claim(mtu, by)

    def give_up(self) -> None:
        """End it without an answer, because the network or the peer says that nobody is there."""
        self.result = self._end("lossy" if self.low else "unreachable")

    def _judge(self) -> SearchResult | None:
        if limit := self._counts.limit():
            return self._end("exact", limit)
        if self._void >= (2 if self.low == 0 and not self._overloaded else VOID_MOST):
            return self._end("overloaded" if self._overloaded else "lossy" if self.low else "unreachable")
        if self._counts.hopeless():
            return self._end("lossy")
        if self.rounds < ROUNDS_MOST:
            return None
        return self._end("overloaded" if self._overloaded else "lossy")

    def _end(self, ending: Ending, limit: Limit | None = None) -> SearchResult:
        counts = self._counts
        fitting, lost = counts.fitting()
        return SearchResult(
            ending=ending,
            mtu=counts.low,
            limit=limit,
            next_size_losses=counts.lost(counts.low + 1),
            fitting_packets=fitting,
            fitting_lost=lost,
            rounds=self.rounds,
            packets=self.packets,
            interface_mtu=counts.top,
            too_big=tuple(dict.fromkeys(quote for quote in counts.too_big if quote.refused_size > counts.low)),
            largest_fragment=counts.fragments.get(counts.low + 1),
            full_size_vanishes=limit == "router" and counts.full_size_vanishes() is True,
        )

    # What to send

    def _wanted(self) -> dict[int, int]:
        """Choose the sizes to send now, and how often each, without the small ones."""
        if self.low == 0:
            return self._first()
        high = self._counts.high()
        sizes = self._hint(high) or self._full()
        if not sizes and not self._known_sizes_sent and high > self.low + 1:
            self._known_sizes_sent = True
            sizes = self._known_sizes(high)
        if not sizes:
            return self._narrow(high)
        # Some of the largest size that arrived go along: what is lost now is held against packets of about that size.
        return sizes if self.low == self.question.small else {self.low: WITNESSES} | sizes

    def _first(self) -> dict[int, int]:
        """Ask for what is expected, and for what may prove in the same round that no more arrives."""
        expected = min(self.question.expected, self.top)
        suspected = {*self.question.suspected, *(claim.mtu for claim in self._counts.claims)}
        if suspected := {size for size in suspected if self.question.small < size < expected}:
            sizes = dict.fromkeys(suspected, 2) | {size + 1: significance.LEAST for size in suspected}
            return {expected: 2} | sizes
        if expected == self.top:  # the own interface is the limit: if that arrives, there is no more to ask
            return {expected: 1}
        return {expected: 1, expected + 1: significance.LEAST} | {
            self.top: significance.LEAST if self.top == expected + 1 else 1
        }

    def _hint(self, high: int) -> dict[int, int]:
        """Try what a router or the fragments quoted, if it may be the answer and was not followed yet."""
        if len(self._followed) >= HINTS_MOST:
            return {}
        claimed = [quote.mtu for quote in self._counts.too_big]
        fragments = [size for broken, size in self._counts.fragments.items() if broken > self.low]
        for size in sorted({*claimed, *fragments} - self._followed):
            if not self.low < size < high:
                continue
            self._followed.add(size)
            if size in fragments:  # RFC 791 3.2: all fragments but the last are a multiple of 8 bytes long
                return dict.fromkeys(range(size, min(size + 8, high) + 1), 2)
            return {size: 2} | ({size + 1: significance.LEAST} if size < self.top else {})
        return {}

    def _full(self) -> dict[int, int]:
        """Send packets of full size, where a router refuses smaller ones and may never see these."""
        refused, edge = self._counts.refused, self.low + 1
        if edge not in refused or self._counts.full_size_vanishes() is not None:
            return {}
        expected = min(self.question.expected, self.top)
        return {edge: significance.LEAST, expected if expected > max(refused) else self.top: self._counts.needed()}

    def _known_sizes(self, high: int) -> dict[int, int]:
        """Ask for the sizes that real networks have; for the likeliest also whether the next larger one is lost."""
        sizes = dict.fromkeys((size for size in self.question.likely if self.low < size < high), self._copies())
        for size in self.question.hypotheses:
            if self.low <= size < high:
                sizes[size] = max(sizes.get(size, 0), 1)
                sizes[size + 1] = significance.LEAST  # as often as a proof needs: then this round is the last
        if sizes and high <= self.top:  # the loss that began it may have been an accident
            sizes[high] = max(sizes.get(high, 0), 2)
        return self._without_known(sizes)

    def _narrow(self, high: int) -> dict[int, int]:
        """Spread sizes over what is left between the largest that arrived and the smallest believed not to fit.

        One round divides what is left by WIDTH + 1 = 41, so three reach every size up to 65535 (41^3 = 68921).
        """
        copies = self._copies()
        between = range(self.low + 1, high)
        if len(between) <= NEAR:  # each as often as a proof needs: whichever is the answer, this round ends it
            sizes = dict.fromkeys(between, significance.LEAST)
        elif len(between) <= WIDTH:  # all of them fit into one burst
            sizes = dict.fromkeys(between, copies)
        else:
            width = min(WIDTH, self._room)
            sizes = {self.low + step * (high - self.low) // (width + 1): copies for step in range(1, width + 1)}
        # The upper end again: where nothing is believed not to fit, `high` is one above the interface, which the kernel
        # would refuse. Elsewhere the belief rests on losses, which may have been chance: it is tried as well, except
        # where fragments arrived, which are proof.
        if high > self.top:
            sizes[self.top] = max(sizes.get(self.top, 0), copies)
        elif high not in self._counts.fragments:
            sizes[high] = max(copies, significance.LEAST if len(between) <= NEAR else 1)
        # The lower end: the size above the largest that arrived, whose loss is the proof if nothing in between arrives.
        # It is sent as often as the proof still needs, but at most as often as it was lost before, or twelve times: so
        # a path that loses much is not flooded at once, and the number still doubles from round to round.
        edge = self.low + 1
        failures = self._counts.failures(edge)
        sizes[edge] = min(
            max(self._counts.needed() - failures, significance.LEAST), max(failures, 2 * significance.LEAST)
        )
        sizes[self.low] = sizes[edge]  # packets of nearly the same size are what its losses are held against
        return sizes

    def _copies(self) -> int:
        """Return how often to send a size that is hardly the answer: once, unless what fits is being lost."""
        sent, lost = self._counts.fitting()
        return min(max(self._counts.enough(), 1 + (lost > 0) + (lost * 5 > sent)), significance.LEAST)

    def _without_known(self, sizes: dict[int, int]) -> dict[int, int]:
        """Leave out what is proven already, and what the interface refuses."""
        proven: Iterable[int] = self._counts.refused.keys() | self._counts.fragments.keys()
        return {size: copies for size, copies in sizes.items() if size <= self.top and size not in proven}

"""What was sent on a path and what became of it, by size, and what that proves: the books of core.path.search.

What arrives is proof; what does not may be loss. So the largest size that arrived, `low`, only ever rises, and the size
above it is proven not to fit when a router refuses it, it arrives in fragments, it exceeds the own interface, or it is
lost so often that no rate of loss explains it (core.path.significance), among packets known to fit that were sent
between its copies. Something that polices bytes, and a queue that is nearly full, let small packets through where large
ones are lost. So if any of about the size of `low` is lost, those alone count.
All sizes are of whole IP packets, in bytes.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from kubemtu.core.path import significance

CLAIMS_MOST: Final = 3  # routers in a row, each with a smaller MTU than the one before it

Limit = Literal["own interface", "router", "fragments", "silence", "expected"]


class Fate(msgspec.Struct, frozen=True):
    """What became of one packet.

    "fragmented": it arrived in pieces, the largest of `mtu` bytes. "too big": the router `by` refused it and carries
    `mtu`. "refused here": the own kernel did, for an interface of `mtu`. "unknown": nobody waited for it.
    """

    kind: Literal["arrived", "fragmented", "lost", "too big", "refused here", "unknown"]
    mtu: int = 0
    router: str | None = None


ARRIVED: Final = Fate("arrived")
LOST: Final = Fate("lost")
UNKNOWN: Final = Fate("unknown")


class TooBig(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Report a router's "too big": ICMP fragmentation needed (RFC 1191 4) or ICMPv6 packet too big (RFC 4443 3.2)."""

    mtu: int
    """The MTU that the router claims, in bytes."""
    refused_size: int
    """The size of the packet that it refused, in bytes; above the interface's MTU where the router did not say."""
    router: str | None = None
    """Its address; null when the other end only passed its word on."""


class PacketCounts:
    """All packets of one search, by size; `low` is the largest that arrived, `top` what the own interface takes."""

    def __init__(self, top: int, risk: float) -> None:
        """Begin with nothing sent; `risk` is the probability that is accepted for a wrong proof."""
        self.low = 0
        self.top = top
        self.refused: dict[int, list[TooBig]] = {}
        self.fragments: dict[int, int] = {}  # bytes of the largest fragment, by the size of what was sent
        self.claims: list[TooBig] = []  # what routers said without a word about which packet
        self._risk = risk
        self._sent: dict[int, int] = {}
        self._lost: dict[int, int] = {}
        self._doubt = 0  # the most losses of a size that was believed not to fit, and arrived

    def learn(self, sizes: Sequence[int], fates: Sequence[Fate]) -> None:
        """Take what was heard of a burst; what was not heard of is for `count`."""
        high = self.high()
        doubt = self._lost.get(high, 0)
        for size, fate in zip(sizes, fates, strict=True):
            self._learn(size, fate)
        if self.low >= high:
            self._doubt = max(self._doubt, doubt)

    def count(self, sizes: Sequence[int], fates: Sequence[Fate]) -> None:
        """Count what was sent and lost in a burst that proves something."""
        for size, fate in zip(sizes, fates, strict=True):
            self._sent[size] = self._sent.get(size, 0) + (fate.kind != "unknown")
            if fate.kind == "lost":
                self._lost[size] = self._lost.get(size, 0) + 1

    def late(self, size: int, fate: Fate) -> None:
        """Learn that a packet that was counted as lost was answered after all."""
        if self._lost.get(size, 0) > 0 and fate.kind != "lost":
            self._lost[size] -= 1
        self._learn(size, fate)

    def claim(self, mtu: int, by: str | None) -> None:
        """Learn that a router claims to carry no more than `mtu`, without a word about which packet it refused."""
        if len(self.claims) < CLAIMS_MOST and all(claim.mtu != mtu for claim in self.claims):
            self.claims.append(TooBig(mtu=mtu, router=by, refused_size=self.top + 1))

    def _learn(self, size: int, fate: Fate) -> None:
        if fate.kind == "arrived":
            self.low = max(self.low, size)
        elif fate.kind == "fragmented":
            self.fragments[size] = max(fate.mtu, self.fragments.get(size, 0))
        elif fate.kind == "too big":
            self.refused.setdefault(size, []).append(TooBig(mtu=fate.mtu, router=fate.router, refused_size=size))
        elif fate.kind == "refused here":
            self.top = max(min(self.top, fate.mtu if 0 < fate.mtu < size else size - 1), self.low)

    @property
    def too_big(self) -> list[TooBig]:
        """Everything that routers said."""
        return [quote for refused in self.refused.values() for quote in refused] + self.claims

    def lost(self, size: int) -> int:
        """Count how often a packet of that size was lost."""
        return self._lost.get(size, 0)

    def failures(self, size: int) -> int:
        """Count how often a packet of that size was lost or refused."""
        return self.lost(size) + len(self.refused.get(size, ()))

    def high(self) -> int:
        """Return the smallest size believed not to fit: it was lost more often than chance was seen to do it."""
        enough = self.enough()
        lost_sizes = {size for size, lost in self._lost.items() if lost >= enough}
        return min(
            {size for size in lost_sizes.union(self.refused, self.fragments) if size > self.low} | {self.top + 1}
        )

    def enough(self) -> int:
        """Return how many losses make that belief."""
        return 1 + max(self._doubt, self.fitting()[1] > 0)

    def fitting(self, above: int = 0) -> tuple[int, int]:
        """Count packets that fit, larger than `above`: how many were sent, and lost."""
        sent = sum(number for size, number in self._sent.items() if above < size <= self.low)
        return sent, min(self._lost_between(above, self.low), sent)

    def _lost_between(self, low: int, high: int) -> int:
        return sum(lost for size, lost in self._lost.items() if low < size <= high)

    def _counted(self) -> list[tuple[int, int]]:
        """Count what losses are held against: all that fit, and those near the largest size if any was lost."""
        near = self.fitting(self.low // 2)
        return [self.fitting(), near] if near[1] else [self.fitting()]

    def needed(self) -> int:
        """Return how often the next larger size must be lost; above MOST when loss could explain it all."""
        return max(significance.needed(*count, self._risk) for count in self._counted())

    def hopeless(self) -> bool:
        """Return whether so much is lost, of so many packets, that no number of losses will prove anything."""
        return any(significance.needed(*count, self._risk) > significance.MOST <= count[0] for count in self._counted())

    def limit(self) -> Limit | None:
        """Say what is proven to stop the next larger size, or None."""
        edge = self.low + 1
        if self.low >= self.top:
            return "own interface"
        if edge in self.fragments:
            return "fragments"
        if edge in self.refused and self.failures(edge) >= 2:  # a router's word, and a second packet that bears it out
            return "router" if self.full_size_vanishes() is not None else None
        return "silence" if self.failures(edge) >= self.needed() <= significance.MOST else None

    def full_size_vanishes(self) -> bool | None:
        """Return whether what is larger than a router refuses is lost in silence; None while that may still be chance.

        Of a router that leaves unanswered more than it refuses, and more than loss explains, nothing can be told.
        """
        # Three kinds of packets do not arrive: those that a router refuses, smaller ones of which it said nothing, and
        # those larger than any that it refused. Only where it answers for the former do the latter tell anything.
        largest_refused, needed = max(self.refused, default=0), self.needed()
        refused, smaller_lost = sum(map(len, self.refused.values())), self._lost_between(self.low, largest_refused)
        larger_lost = self._lost_between(largest_refused, self.top)
        if self.claims or not larger_lost or smaller_lost >= max(refused, needed):
            return False
        return True if refused >= significance.LEAST and larger_lost >= needed else None

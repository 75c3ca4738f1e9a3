"""The fewest regions that explain all pairs of one sort: faults, not symptoms.

What is minimised is the length of the telling, in units of what it takes to name one pair (minimum description length:
Rissanen, Automatica 14, 1978). Naming a region costs one unit. Where all its pairs went wrong that is the whole cost;
where only some did, saying which costs n H(share) bits, H being Shannon's entropy. So a region explains as many pairs
as went wrong in it, for that price, and the difference is its gain. The region that gains most is taken first, then
the next, of what is left (greedy cover: Chvatal, Math. Oper. Res. 4, 1979); a gain never grows as others are taken, so
a gain that was computed once is a bound for ever (Minoux, 1978). What gains nothing stays a list of pairs.

A wide region is not believed when the pairs that went wrong in it are told more shortly by its rows or its columns:
then they gather there, and the rest of it is innocent. Nor where its members have it with everybody: then it is they.
"""

import heapq
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from kubemtu.core.mesh.marks import Part
from kubemtu.core.mesh.planes import PairCount, Plane
from kubemtu.core.mesh.regions import LINES, RANK, Region, Shape, Zones, candidates, parts
from kubemtu.core.mesh.suspects import DIFFER, Confidence, Suspect, pairs, whole
from kubemtu.core.path import verdict
from kubemtu.core.path.verdict import Kind

SHARE_LEAST: Final = 0.03  # one of 32 equal paths
PARTLY_MOST: Final = 8  # of such faults; where there are more, it is something else
TIES_MOST: Final = 32
EPSILON: Final = 1e-9

Entry = tuple[float, int, Region]  # of a heap: the gain, negative; the rank; the region
ZONE: Final[frozenset[Shape]] = frozenset({"zone in", "zone out", "zone uplinks"})
SAME: Final = (LINES, ZONE)  # shapes that, with the same first, are about the same thing


def explain(plane: Plane, zones: Zones) -> tuple[Suspect, ...]:
    """Explain all pairs of a plane, which is used up by it."""
    return (*_Cover(plane, zones).regions(), *pairs(plane))


def bits(bad: int, good: int) -> float:
    """Return how many bits say which pairs of a region went wrong, once it is known how many."""
    if not bad or not good:
        return 0.0
    both = bad + good
    return bad * math.log2(both / bad) + good * math.log2(both / good)


def bits_by_line(lines: list[tuple[int, int]]) -> float:
    """Return the same, told line by line: which lines went wrong wholly, which in part, and of these how many pairs
    and which.

    A number of n takes half the logarithm of n, being known no better than that (Rissanen).
    """
    lines = [line for line in lines if line[0] or line[1]]
    partly = [line for line in lines if line[0] and line[1]]
    classes = (len(partly), sum(not bad for bad, _ in lines), sum(not good for _, good in lines))
    which = sum(number * math.log2(len(lines) / number) for number in classes if number)
    return which + sum(math.log2(bad + good) / 2 + bits(bad, good) for bad, good in partly)


class _Cover:
    """One plane, while regions are taken from it."""

    def __init__(self, plane: Plane, zones: Zones) -> None:
        self.plane = plane
        self.zones = zones
        self.measured = plane.measured
        self.price = math.log2(max(self.measured.size * self.measured.mesh.planned, 2))  # bits that name one pair
        self._parts: dict[Region, tuple[Part, ...]] = {}
        self._good: dict[Region, int] = {}  # does not change while regions are taken, unlike what is still open
        self._refused: dict[Region, int] = {}  # what was to be explained there when it was not believed
        self._partly = 0
        # The gain of a region never grows as pairs are explained, so a bound stays one (Minoux). What it may gain at
        # most, if none of its pairs contradicts, is all that went wrong in it less the price of its name.
        self._heap: list[Entry] = [
            (1.0 - bad, RANK[region.shape], region) for bad, region in candidates(plane, zones) if bad > 1
        ]
        heapq.heapify(self._heap)

    def regions(self) -> Iterator[Suspect]:
        """Take regions, the one that gains most first, until none gains anything."""
        while self.plane.open.rows:
            # One pass takes the region that gains most and, where that is whole, the other whole ones of its like, as
            # they stand. What it passes over is tried again afterwards.
            later: list[Entry] = []
            first: Entry | None = None  # a whole region: others like it are taken in the same pass
            while (taken := self._next(later, first)) is not None:
                entry, count = taken
                rivals = [] if first and count.bad > 3 else self._rivals(entry)
                suspect = self._suspect(entry[2], count)
                for part in self._of(entry[2]):
                    self.plane.explain(part)
                yield self._doubted(suspect, rivals)
                first = first or entry
                if not whole(count):  # it has changed what its neighbours gain: look at all of them again
                    self._partly += 1
                    break
            else:
                if first is None:  # a whole pass, and nothing was believed: the rest are single pairs
                    return
            self._heap = [*self._heap, *later]
            heapq.heapify(self._heap)

    def _next(self, later: list[Entry], first: Entry | None) -> tuple[Entry, PairCount] | None:
        """Take the region that gains most and is believed; once a whole one is taken, only more of its like."""
        while self.plane.open.rows and self._heap and self._heap[0][0] < -EPSILON:
            bound, rank, region = heapq.heappop(self._heap)
            # Gains are negative here. What gains less than half of the first, and is of another shape, is not its like.
            if first is not None and bound > first[0] / 2 and rank != first[1]:
                later.append((bound, rank, region))
                continue
            count = self._tally(region)
            gain = self._gain(count)
            if count.bad < 2 or gain <= 0:
                continue
            entry = (-gain, rank, region)
            more = first is not None and self._like(entry, count, first)
            if self._heap and entry > self._heap[0] and not more:
                heapq.heappush(self._heap, entry)  # its bound was too good, and another may gain more by now
                continue
            # What was refused once is asked about again only when less is open in it: else the answer is the same.
            if self._refused.get(region) != count.bad and (more or first is None):
                if self._believed(region, count, gain):
                    if not whole(count) and (other := self._instead(count)) is not None:
                        heapq.heappush(self._heap, entry)  # what it gains besides that one is seen next time
                        return other
                    return entry, count
                self._refused[region] = count.bad
            later.append(entry)
        return None

    def _like(self, entry: Entry, count: PairCount, first: Entry) -> bool:
        """Tell a whole region that gains as much as the first, or one more of the same shape, for certain."""
        return whole(count) and (entry[0] <= first[0] / 2 or (entry[1] == first[1] and not count.good))

    def _instead(self, partly: PairCount) -> tuple[Entry, PairCount] | None:
        """Find a region that went wrong as a whole, which by chance it would not have where only some pairs do.

        It has all of u pairs, of which each goes wrong with the share of the wider region: share^u. When that is less
        than the odds of naming it, 2^-price, it is a fault of its own.
        """
        surprise = math.log2((partly.bad + partly.good) / partly.bad)  # bits for each pair that went wrong by chance
        enough = self.price / surprise  # so many pairs, all of them wrong, are rarer than the name is long
        passed_over = []
        instead = None
        while self._heap and 1 - self._heap[0][0] >= enough and instead is None:  # 1 - (1 - bad): its pairs at most
            _, rank, region = entry = heapq.heappop(self._heap)
            count = self._tally(region)
            gain = self._gain(count)
            if count.bad >= enough and whole(count) and self._believed(region, count, gain):
                instead = (-gain, rank, region), count
            else:
                passed_over.append(entry)
        for entry in passed_over:
            heapq.heappush(self._heap, entry)
        return instead

    def _of(self, region: Region) -> tuple[Part, ...]:
        if region not in self._parts:
            self._parts[region] = parts(region, self.measured, self.zones)
        return self._parts[region]

    def _tally(self, region: Region) -> PairCount:
        parts_of_region = self._of(region)
        if region not in self._good:
            self._good[region] = sum(map(self.plane.good, parts_of_region))
        return PairCount(sum(map(self.plane.open.count, parts_of_region)), self._good[region])

    def _gain(self, count: PairCount) -> float:
        return count.bad - 1 - bits(*count) / self.price

    def _believed(self, region: Region, count: PairCount, gain: float) -> bool:
        """Return whether a region that gains something may be called the fault."""
        wholly = whole(count)
        if not wholly and not self._plainly(count, gain):
            return False
        if region.shape in {"column", "row"}:
            return True
        if region.shape == "node":
            # With one peer only it is that pair; with more it is the node, unless one direction alone tells it.
            return self._peers(region.first) > 1 and not self._gathered(region, count)
        if not self._spread(region):
            return False
        if not count.good:  # nothing in it is in order: a wide fault, unless its members have it everywhere
            return region.shape == "everywhere" or not self._members_themselves(region)
        return (not wholly or self._all_of_it(region)) and not self._gathered(region, count)

    def _plainly(self, count: PairCount, gain: float) -> bool:
        """Return whether pairs that went wrong only here and there are told much more shortly by their region."""
        paths_differ = self.plane.sort.kind in {"", *verdict.UNDECIDED} and self._partly < PARTLY_MOST
        share = count.bad / (count.bad + count.good)
        return paths_differ and count.bad > 2 and share >= SHARE_LEAST and gain >= count.bad / 2

    def _peers(self, member: int) -> int:
        """Count with how many others something went wrong, in either direction."""
        return (self.plane.open.rows.get(member, 0) | self.plane.open.columns.get(member, 0)).bit_count()

    def _touched(self, region: Region, *, by_sender: bool) -> Iterator[int]:
        """Yield the senders, or the receivers, of what went wrong in a region, explained or not; some perhaps twice."""
        lines = self.plane.bad.rows if by_sender else self.plane.bad.columns
        for part in self._of(region):
            yield from (member for member, mask in part.lines(by_sender=by_sender) if lines.get(member, 0) & mask)

    def _spread(self, region: Region) -> bool:
        """Return whether a wide region is more than one row or column, and more than one pair."""
        senders = set(itertools.islice(self._touched(region, by_sender=True), 3))
        receivers = set(itertools.islice(self._touched(region, by_sender=False), 3))
        return min(len(senders), len(receivers)) > 1 and len(senders | receivers) > 2

    def _gathered(self, region: Region, count: PairCount) -> bool:
        """Return whether parts of the region tell it more shortly than the whole does, or their rows or columns."""
        if not count.good:
            return False
        parts_of_region = self._of(region)
        at_once = self.price + bits(*count)  # the length of telling the region as one: its name, and which pairs
        counts = [self.plane.tally(part) for part in parts_of_region]
        if not whole(count) and any(whole(of_part) for of_part in counts):
            return True  # one part is wholly wrong and the region is not: it is that part
        # Along its shorter side first, which is cheaper to walk and often decides.
        lengths = [
            min(bits(*of_part), self._by_line(part, by_sender=part.by_sender))
            for of_part, part in zip(counts, parts_of_region, strict=True)
        ]
        if self.price * len(parts_of_region) + sum(lengths) < at_once:
            return True
        lengths = [
            min(length, self._by_line(part, by_sender=not part.by_sender))
            for length, part in zip(lengths, parts_of_region, strict=True)
        ]
        return self.price * len(parts_of_region) + sum(lengths) < at_once

    def _by_line(self, part: Part, *, by_sender: bool) -> float:
        return bits_by_line(self.plane.lines(part, by_sender=by_sender))

    def _all_of_it(self, region: Region) -> bool:
        """Return whether the few pairs in order are strays: no member's, and not those of some members among them."""
        sources = targets = 0
        for part in self._of(region):
            for by_sender in (True, False):
                members = (part.senders if by_sender else part.receivers).members
                lines = self.plane.lines(part, by_sender=by_sender)
                if any(bad < good for bad, good in lines):
                    return False
                mask = self.measured.mask(member for member, (_, good) in zip(members, lines, strict=True) if good)
                sources, targets = (sources | mask, targets) if by_sender else (sources, targets | mask)
        if (sources | targets).bit_count() < 3:  # two members at most: strays
            return True
        # Are the strays a group of its own, in order among themselves? Then the fault is not the whole region's.
        among = self.plane.tally(Part(self.measured.of_mask(sources), self.measured.of_mask(targets)))
        return among.bad >= among.good

    def _members_themselves(self, region: Region) -> bool:
        """Return whether the members have it with everybody, beyond the region too: they are at fault, not the zone."""
        lines: list[tuple[Shape, Iterable[int]]] = [
            ("column", {member for part in self._of(region) for member in part.receivers.members}),
            ("row", {member for part in self._of(region) for member in part.senders.members}),
        ]
        if region.shape in {"zone uplinks", "zones both"}:
            lines += [("node", self.zones.sides[zone].members) for zone in region[1:] if zone >= 0]
        return any(self._they_alone(region, shape, members) for shape, members in lines)

    def _they_alone(self, region: Region, shape: Shape, members: Iterable[int]) -> bool:
        bad = 0
        for member in members:
            count = self._tally(Region(shape, member))
            if count.good:
                return False
            bad += count.bad
        return bad > self._tally(region).bad

    def _rivals(self, winner: Entry) -> list[Region]:
        """List regions about something else that gain as much: to take one and not another of them may be a guess."""
        gain, region = -winner[0], winner[2]
        ties: list[Entry] = []
        while self._heap and -self._heap[0][0] >= gain - EPSILON and len(ties) < TIES_MOST:
            ties.append(heapq.heappop(self._heap))
        for entry in ties:
            heapq.heappush(self._heap, entry)
        return [
            rival
            for _, _, rival in ties
            if self._gain(self._tally(rival)) >= gain - EPSILON
            and not (rival.first == region.first and any({rival.shape, region.shape} <= alike for alike in SAME))
        ]

    def _area(self, region: Region) -> int:
        """Count the pairs of a region, measured or not, and members with themselves too."""
        return sum(mask.bit_count() for part in self._of(region) for _, mask in part.lines(by_sender=part.by_sender))

    def _doubted(self, suspect: Suspect, rivals: list[Region]) -> Suspect:
        """Believe it less when a rival that would have done as well, and says something else, has nothing left."""
        area = self._area(suspect.region)
        emptied = [
            rival
            for rival in rivals
            if (left := self._tally(rival).bad) < 2 and (left or self._area(rival) > area)  # else it is the same
        ]
        if not emptied or suspect.confidence == "possible":
            return suspect
        wide = all(rival.shape not in LINES and rival.shape != "everywhere" for rival in emptied)
        return msgspec.structs.replace(suspect, confidence="likely" if wide else "possible")

    def _suspect(self, region: Region, count: PairCount) -> Suspect:
        kinds = self.plane.counts(self._of(region))
        kind = max(kinds, key=lambda kind: (kinds[kind], kind))
        partly = not whole(count) or kind == DIFFER
        return Suspect(
            region=region,
            kind=kind,
            bad=count.bad,
            good=count.good,
            partly=partly,
            confidence=self._sure(region, count, kind),
        )

    def _only_line(self, region: Region, count: PairCount) -> bool:
        """Return whether, of three members, one is wrong in one direction to both others, and all else is in order."""
        if region.shape not in {"row", "column"} or self.measured.size != 3 or count.bad != 2:
            return False
        suspected = region.first
        others = [member for member in range(3) if member != suspected]
        good = [self.plane.good_row(member) for member in range(3)]
        if region.shape == "column":
            other_direction = good[suspected].bit_count() == 2
        else:
            other_direction = all(good[member] >> suspected & 1 for member in others)
        between_others = all(good[member] >> other & 1 for member in others for other in others if member != other)
        return other_direction and between_others

    def _sure(self, region: Region, count: PairCount, kind: Kind) -> Confidence:
        if kind == DIFFER:
            return "certain" if count.bad > 2 else "likely"
        if not whole(count):
            return "possible"
        if count.good or (count.bad < 3 and not self._only_line(region, count)):
            return "likely"
        if region.shape in LINES:
            return "certain"
        for by_sender in (True, False):
            touched = set(self._touched(region, by_sender=by_sender))
            members = {member for part in self._of(region) for member, _ in part.lines(by_sender=by_sender)}
            if 2 * len(touched) < len(members):
                return "likely"
        return "certain"

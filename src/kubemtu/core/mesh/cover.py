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
        self.known = plane.known
        self.price = math.log2(max(self.known.size * self.known.mesh.planned, 2))  # bits that name one pair
        self._parts: dict[Region, tuple[Part, ...]] = {}
        self._good: dict[Region, int] = {}
        self._refused: dict[Region, int] = {}  # what was to be explained there when it was not believed
        self._partly = 0
        self._heap: list[Entry] = [
            (1.0 - bad, RANK[place.shape], place) for bad, place in candidates(plane, zones) if bad > 1
        ]
        heapq.heapify(self._heap)

    def regions(self) -> Iterator[Suspect]:
        """Take regions, the one that gains most first, until none gains anything."""
        while self.plane.open.rows:
            later: list[Entry] = []
            first: Entry | None = None  # a whole region: others like it are taken in the same pass
            while (found := self._next(later, first)) is not None:
                entry, tally = found
                rivals = [] if first and tally.bad > 3 else self._rivals(entry)
                suspect = self._suspect(entry[2], tally)
                for part in self._of(entry[2]):
                    self.plane.explain(part)
                yield self._doubted(suspect, rivals)
                first = first or entry
                if not whole(tally):
                    self._partly += 1
                    break
            else:
                if first is None:
                    return
            self._heap = [*self._heap, *later]
            heapq.heapify(self._heap)

    def _next(self, later: list[Entry], first: Entry | None) -> tuple[Entry, PairCount] | None:
        """Take the region that gains most and is believed; once a whole one is taken, only more of its like."""
        while self.plane.open.rows and self._heap and self._heap[0][0] < -EPSILON:
            bound, rank, place = heapq.heappop(self._heap)
            if first is not None and bound > first[0] / 2 and rank != first[1]:
                later.append((bound, rank, place))
                continue
            tally = self._tally(place)
            gain = self._gain(tally)
            if tally.bad < 2 or gain <= 0:
                continue
            entry = (-gain, rank, place)
            more = first is not None and self._like(entry, tally, first)
            if self._heap and entry > self._heap[0] and not more:
                heapq.heappush(self._heap, entry)
                continue
            if self._refused.get(place) != tally.bad and (more or first is None):
                if self._believed(place, tally, gain):
                    if not whole(tally) and (other := self._instead(tally)) is not None:
                        heapq.heappush(self._heap, entry)
                        return other
                    return entry, tally
                self._refused[place] = tally.bad
            later.append(entry)
        return None

    def _like(self, entry: Entry, tally: PairCount, first: Entry) -> bool:
        """Tell a whole region that gains as much as the first, or one more of the same shape, for certain."""
        return whole(tally) and (entry[0] <= first[0] / 2 or (entry[1] == first[1] and not tally.good))

    def _instead(self, partly: PairCount) -> tuple[Entry, PairCount] | None:
        """Find a region that went wrong as a whole, which by chance it would not have where only some pairs do.

        It has all of u pairs, of which each goes wrong with the share of the wider region: share^u. When that is less
        than the odds of naming it, 2^-price, it is a fault of its own.
        """
        surprise = math.log2((partly.bad + partly.good) / partly.bad)
        enough = self.price / surprise
        waiting = []
        found = None
        while self._heap and 1 - self._heap[0][0] >= enough and found is None:
            _, rank, place = entry = heapq.heappop(self._heap)
            tally = self._tally(place)
            gain = self._gain(tally)
            if tally.bad >= enough and whole(tally) and self._believed(place, tally, gain):
                found = (-gain, rank, place), tally
            else:
                waiting.append(entry)
        for entry in waiting:
            heapq.heappush(self._heap, entry)
        return found

    def _of(self, place: Region) -> tuple[Part, ...]:
        if place not in self._parts:
            self._parts[place] = parts(place, self.known, self.zones)
        return self._parts[place]

    def _tally(self, place: Region) -> PairCount:
        here = self._of(place)
        if place not in self._good:
            self._good[place] = sum(map(self.plane.good, here))
        return PairCount(sum(map(self.plane.open.count, here)), self._good[place])

    def _gain(self, tally: PairCount) -> float:
        return tally.bad - 1 - bits(*tally) / self.price

    def _believed(self, place: Region, tally: PairCount, gain: float) -> bool:
        """Return whether a region that gains something may be called the fault."""
        wholly = whole(tally)
        if not wholly and not self._plainly(tally, gain):
            return False
        if place.shape in {"column", "row"}:
            return True
        if place.shape == "node":
            return self._peers(place.first) > 1 and not self._gathered(place, tally)
        if not self._spread(place):
            return False
        if not tally.good:
            return place.shape == "everywhere" or not self._members_themselves(place)
        return (not wholly or self._all_of_it(place)) and not self._gathered(place, tally)

    def _plainly(self, tally: PairCount, gain: float) -> bool:
        """Return whether pairs that went wrong only here and there are told much more shortly by their region."""
        paths_differ = self.plane.sort.kind in {"", *verdict.UNDECIDED} and self._partly < PARTLY_MOST
        share = tally.bad / (tally.bad + tally.good)
        return paths_differ and tally.bad > 2 and share >= SHARE_LEAST and gain >= tally.bad / 2

    def _peers(self, member: int) -> int:
        """Count with how many others something went wrong, in either direction."""
        return (self.plane.open.rows.get(member, 0) | self.plane.open.columns.get(member, 0)).bit_count()

    def _touched(self, place: Region, *, by_sender: bool) -> Iterator[int]:
        """Yield the senders, or the receivers, of what went wrong in a region, explained or not; some perhaps twice."""
        lines = self.plane.bad.rows if by_sender else self.plane.bad.columns
        for part in self._of(place):
            yield from (member for member, mask in part.lines(by_sender=by_sender) if lines.get(member, 0) & mask)

    def _spread(self, place: Region) -> bool:
        """Return whether a wide region is more than one row or column, and more than one pair."""
        senders = set(itertools.islice(self._touched(place, by_sender=True), 3))
        receivers = set(itertools.islice(self._touched(place, by_sender=False), 3))
        return min(len(senders), len(receivers)) > 1 and len(senders | receivers) > 2

    def _gathered(self, place: Region, tally: PairCount) -> bool:
        """Return whether parts of the region tell it more shortly than the whole does, or their rows or columns."""
        if not tally.good:
            return False
        here = self._of(place)
        at_once = self.price + bits(*tally)
        tallies = [self.plane.tally(part) for part in here]
        if not whole(tally) and any(whole(one) for one in tallies):
            return True
        told = [
            min(bits(*one), self._by_line(part, by_sender=part.by_sender))
            for one, part in zip(tallies, here, strict=True)
        ]
        if self.price * len(here) + sum(told) < at_once:
            return True
        told = [
            min(one, self._by_line(part, by_sender=not part.by_sender)) for one, part in zip(told, here, strict=True)
        ]
        return self.price * len(here) + sum(told) < at_once

    def _by_line(self, part: Part, *, by_sender: bool) -> float:
        return bits_by_line(self.plane.lines(part, by_sender=by_sender))

    def _all_of_it(self, place: Region) -> bool:
        """Return whether the few pairs in order are strays: no member's, and not those of some members among them."""
        sources = targets = 0
        for part in self._of(place):
            for by_sender in (True, False):
                members = (part.senders if by_sender else part.receivers).members
                lines = self.plane.lines(part, by_sender=by_sender)
                if any(bad < good for bad, good in lines):
                    return False
                mask = self.known.mask(member for member, (_, good) in zip(members, lines, strict=True) if good)
                sources, targets = (sources | mask, targets) if by_sender else (sources, targets | mask)
        if (sources | targets).bit_count() < 3:
            return True
        among = self.plane.tally(Part(self.known.of_mask(sources), self.known.of_mask(targets)))
        return among.bad >= among.good

    def _members_themselves(self, place: Region) -> bool:
        """Return whether the members have it with everybody, beyond the region too: they are at fault, not the zone."""
        lines: list[tuple[Shape, Iterable[int]]] = [
            ("column", {member for part in self._of(place) for member in part.receivers.members}),
            ("row", {member for part in self._of(place) for member in part.senders.members}),
        ]
        if place.shape in {"zone uplinks", "zones both"}:
            lines += [("node", self.zones.sides[zone].members) for zone in place[1:] if zone >= 0]
        return any(self._they_alone(place, shape, members) for shape, members in lines)

    def _they_alone(self, place: Region, shape: Shape, members: Iterable[int]) -> bool:
        bad = 0
        for member in members:
            tally = self._tally(Region(shape, member))
            if tally.good:
                return False
            bad += tally.bad
        return bad > self._tally(place).bad

    def _rivals(self, taken: Entry) -> list[Region]:
        """List regions about something else that gain as much: to take one and not another of them may be a guess."""
        gain, place = -taken[0], taken[2]
        found: list[Entry] = []
        while self._heap and -self._heap[0][0] >= gain - EPSILON and len(found) < TIES_MOST:
            found.append(heapq.heappop(self._heap))
        for entry in found:
            heapq.heappush(self._heap, entry)
        return [
            rival
            for _, _, rival in found
            if self._gain(self._tally(rival)) >= gain - EPSILON
            and not (rival.first == place.first and any({rival.shape, place.shape} <= alike for alike in SAME))
        ]

    def _area(self, place: Region) -> int:
        """Count the pairs of a region, measured or not, and members with themselves too."""
        return sum(mask.bit_count() for part in self._of(place) for _, mask in part.lines(by_sender=part.by_sender))

    def _doubted(self, suspect: Suspect, rivals: list[Region]) -> Suspect:
        """Believe it less when a rival that would have done as well, and says something else, has nothing left."""
        area = self._area(suspect.region)
        lost = [
            rival
            for rival in rivals
            if (left := self._tally(rival).bad) < 2 and (left or self._area(rival) > area)  # else it is the same
        ]
        if not lost or suspect.confidence == "possible":
            return suspect
        wide = all(rival.shape not in LINES and rival.shape != "everywhere" for rival in lost)
        return msgspec.structs.replace(suspect, confidence="likely" if wide else "possible")

    def _suspect(self, place: Region, tally: PairCount) -> Suspect:
        kinds = self.plane.counts(self._of(place))
        kind = max(kinds, key=lambda kind: (kinds[kind], kind))
        partly = not whole(tally) or kind == DIFFER
        return Suspect(
            region=place,
            kind=kind,
            bad=tally.bad,
            good=tally.good,
            partly=partly,
            confidence=self._sure(place, tally, kind),
        )

    def _only_line(self, place: Region, tally: PairCount) -> bool:
        """Return whether, of three members, one is wrong in one direction to both others, and all else is in order."""
        if place.shape not in {"row", "column"} or self.known.size != 3 or tally.bad != 2:
            return False
        one = place.first
        others = [member for member in range(3) if member != one]
        good = [self.plane.good_row(member) for member in range(3)]
        back = good[one].bit_count() == 2 if place.shape == "column" else all(good[each] >> one & 1 for each in others)
        return back and all(good[each] >> other & 1 for each in others for other in others if each != other)

    def _sure(self, place: Region, tally: PairCount, kind: Kind) -> Confidence:
        if kind == DIFFER:
            return "certain" if tally.bad > 2 else "likely"
        if not whole(tally):
            return "possible"
        if tally.good or (tally.bad < 3 and not self._only_line(place, tally)):
            return "likely"
        if place.shape in LINES:
            return "certain"
        for by_sender in (True, False):
            touched = set(self._touched(place, by_sender=by_sender))
            members = {member for part in self._of(place) for member, _ in part.lines(by_sender=by_sender)}
            if 2 * len(touched) < len(members):
                return "likely"
        return "certain"

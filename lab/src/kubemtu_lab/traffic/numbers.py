"""Sets of whole numbers, kept as runs: a book of datagrams is nearly always one run with a few holes."""

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence


class Numbers:
    """A growing set of whole numbers, stored as disjoint half-open runs [start, stop) in ascending order."""

    __slots__ = ("starts", "stops")

    def __init__(self, runs: Iterable[tuple[int, int]] = ()) -> None:
        self.starts: list[int] = []
        self.stops: list[int] = []
        for start, stop in runs:
            self._append(start, stop)

    def _append(self, start: int, stop: int) -> None:
        if start >= stop or (self.stops and start < self.stops[-1]):
            raise ValueError(f"runs must be ascending, disjoint and not empty: [{start}, {stop}) is not")
        if self.stops and start == self.stops[-1]:
            self.stops[-1] = stop
        else:
            self.starts.append(start)
            self.stops.append(stop)

    def add(self, number: int) -> bool:
        """Add a number; False when it was there already."""
        starts, stops = self.starts, self.stops
        if stops and number == stops[-1]:  # the common case: the next one, in order
            stops[-1] = number + 1
            return True
        if not stops or number > stops[-1]:
            starts.append(number)
            stops.append(number + 1)
            return True
        after = bisect_right(starts, number)  # the first run that starts beyond the number
        if after and number < stops[after - 1]:
            return False
        joins_before = after > 0 and stops[after - 1] == number
        joins_after = after < len(starts) and starts[after] == number + 1
        if joins_before and joins_after:
            stops[after - 1] = stops[after]
            del starts[after], stops[after]
        elif joins_before:
            stops[after - 1] = number + 1
        elif joins_after:
            starts[after] = number
        else:
            starts.insert(after, number)
            stops.insert(after, number + 1)
        return True

    def __iter__(self) -> Iterator[int]:
        for start, stop in self.runs():
            yield from range(start, stop)

    def __len__(self) -> int:
        return sum(self.stops) - sum(self.starts)

    def __contains__(self, number: int) -> bool:
        after = bisect_right(self.starts, number)
        return after > 0 and number < self.stops[after - 1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Numbers) and self.starts == other.starts and self.stops == other.stops

    def __hash__(self) -> int:
        raise TypeError("Numbers grow, so they cannot be a key")

    def __repr__(self) -> str:
        return f"Numbers({list(self.runs())})"

    def runs(self) -> Iterator[tuple[int, int]]:
        """Return the runs [start, stop), ascending, none touching the next."""
        return zip(self.starts, self.stops, strict=True)

    def below(self, bound: int) -> int:
        """Say how many of the numbers are smaller than `bound`."""
        whole = bisect_left(self.starts, bound)
        if whole == 0:
            return 0
        return sum(self.stops[: whole - 1]) - sum(self.starts[:whole]) + min(self.stops[whole - 1], bound)

    def minus(self, other: "Numbers") -> "Numbers":
        """Return the numbers that are here and not there."""
        left = Numbers()
        holes = list(other.runs())
        at = 0
        for begin, stop in self.runs():
            start = begin
            while at < len(holes) and holes[at][1] <= start:
                at += 1
            hole = at
            while hole < len(holes) and holes[hole][0] < stop:
                if start < holes[hole][0]:
                    left._append(start, holes[hole][0])
                start = max(start, holes[hole][1])
                hole += 1
            if start < stop:
                left._append(start, stop)
        return left

    def overlap(self, other: "Numbers") -> "Numbers":
        """Return the numbers that are both here and there."""
        return self.minus(self.minus(other))


def per_interval(times: Sequence[float], marks: Sequence[float]) -> tuple[int, ...]:
    """Say how many of the ascending `times` lie between each mark and the next; earlier ones belong to the first."""
    firsts = [0, *(bisect_left(times, mark) for mark in marks[1:]), len(times)]
    return tuple(after - before for before, after in itertools.pairwise(firsts))

"""The exceptions of a round, sorted by what one fault may explain: a size that still arrives, or a kind of its own."""

from typing import Final, NamedTuple

from kubemtu.core.mesh import rounds
from kubemtu.core.mesh.marks import Entries, Marks, MeasuredPairs, Part
from kubemtu.core.path import verdict
from kubemtu.core.path.verdict import Kind

# All other kinds say how large a packet may be; these are faults of their own, whatever size comes with them.
ALONE: Final[frozenset[str]] = verdict.UNDECIDED | {"stale path MTU", "outer fragments"}
OWN: Final = "refused here"


class Sort(NamedTuple):
    """What pairs have in common that one fault may explain; `kind` is empty where it is the size."""

    kind: str = ""
    mtu: int = 0


class PairCount(NamedTuple):
    """Of the pairs of a region: those that went wrong and are not explained yet, and those that speak against it."""

    bad: int
    good: int


class Plane:
    """All pairs of one sort, `bad`, of which those in `open` are still to be explained; others contradict.

    A pair contradicts a limit of m bytes when more than m arrive there. Where less arrives, or where nothing could be
    decided, the limit may be there as well: such a pair says nothing.
    """

    def __init__(self, sort: Sort, measured: MeasuredPairs, entries: Entries) -> None:
        """Take the groups of that sort."""
        self.sort = sort
        self.measured = measured
        self.entries = entries
        self.size = sum(len(group.receivers) for _, group in entries)
        by_kind: dict[Kind, list[tuple[int, rounds.PeerGroup]]] = {}
        for sender, group in entries:
            by_kind.setdefault(group.kind, []).append((sender, group))
        self.kinds = {kind: measured.marks(of_kind) for kind, of_kind in by_kind.items()}
        self.open = Marks()
        for marks in self.kinds.values():
            self.open.add(marks)
        self.bad = self.open.copy()
        self._silent = Marks()  # what does not contradict
        self._good = Marks()

    def agree(self, silent: Marks) -> None:
        """Take the pairs that do not contradict, its own among them."""
        self._silent = silent

    def good_row(self, sender: int) -> int:
        """Return the receivers at which packets of that sender contradict."""
        if sender not in self._good.rows:
            self._good.rows[sender] = self.measured.row(sender) & ~self._silent.rows.get(sender, 0)
        return self._good.rows[sender]

    def good_column(self, receiver: int) -> int:
        """Return the senders whose packets to that receiver contradict."""
        if receiver not in self._good.columns:
            self._good.columns[receiver] = self.measured.column(receiver) & ~self._silent.columns.get(receiver, 0)
        return self._good.columns[receiver]

    def lines(self, part: Part, *, by_sender: bool) -> list[tuple[int, int]]:
        """Count a part row by row, or column by column: what went wrong, and what contradicts."""
        good = self.good_row if by_sender else self.good_column
        bad = self.open.rows if by_sender else self.open.columns
        return [
            ((bad.get(member, 0) & mask).bit_count(), (good(member) & mask).bit_count())
            for member, mask in part.lines(by_sender=by_sender)
        ]

    def good(self, part: Part) -> int:
        """Count what contradicts in a part."""
        good = self.good_row if part.by_sender else self.good_column
        return sum((good(member) & mask).bit_count() for member, mask in part.lines(by_sender=part.by_sender))

    def tally(self, part: Part) -> PairCount:
        """Count both in a part."""
        return PairCount(self.open.count(part), self.good(part))

    def counts(self, parts: tuple[Part, ...]) -> dict[Kind, int]:
        """Count what is still to be explained in some parts, by kind."""
        if len(self.kinds) == 1:
            return {kind: sum(map(self.open.count, parts)) for kind in self.kinds}
        return {kind: sum(map(marks.count, parts)) for kind, marks in self.kinds.items()}

    def explain(self, part: Part) -> None:
        """Take a part as explained."""
        self.open.remove(part)
        if len(self.kinds) > 1:
            for marks in self.kinds.values():
                marks.remove(part)


def planes(measured: MeasuredPairs) -> tuple[Plane, ...]:
    """Sort the exceptions of a round: first those of a size, ascending, then the others."""
    entries: dict[Sort, list[tuple[int, rounds.PeerGroup]]] = {}
    for row in measured.mesh.rows:
        for group in row.groups:
            entries.setdefault(_sort(group), []).append((row.sender, group))
    sorted_planes = tuple(Plane(sort, measured, entries[sort]) for sort in sorted(entries))
    _compare(measured, sorted_planes)
    return sorted_planes


def _sort(group: rounds.PeerGroup) -> Sort:
    if group.kind in ALONE:
        return Sort(kind=group.kind)
    return Sort(kind=OWN, mtu=group.mtu) if group.kind == OWN else Sort(mtu=group.mtu)


def _compare(measured: MeasuredPairs, sorted_planes: tuple[Plane, ...]) -> None:
    """Tell each plane what does not contradict it: a smaller size hides a larger one, and so does silence."""
    # The planes of a size come first, ascending, and so do the exceptions by the size that arrived: one pass over both
    # merges, for each limit, all pairs that carry no more than it.
    hidden, undecided = Marks(), Marks()
    parts = sorted((part for plane in sorted_planes for part in _by_size(measured, plane)), key=lambda part: part[0])
    merged = 0
    for plane in sorted_planes:
        if plane.sort.kind:
            continue
        while merged < len(parts) and parts[merged][0] <= plane.sort.mtu:
            hidden.add(parts[merged][1])
            merged += 1
        plane.agree(hidden.copy())
    for plane in sorted_planes:
        if plane.sort.kind in verdict.UNDECIDED:
            undecided.add(plane.open)
    for plane in sorted_planes:
        if plane.sort.kind:
            silent = plane.open.copy()
            if plane.sort.kind != "unreachable":  # where too much is lost to tell, something was answered
                silent.add(undecided)
            plane.agree(silent)


def _by_size(measured: MeasuredPairs, plane: Plane) -> list[tuple[int, Marks]]:
    """Sort the exceptions of a plane by the size that arrived."""
    by_size: dict[int, list[tuple[int, rounds.PeerGroup]]] = {}
    for sender, group in plane.entries:
        by_size.setdefault(group.mtu, []).append((sender, group))
    if len(by_size) == 1:
        return [(next(iter(by_size)), plane.open)]
    return [(size, measured.marks(entries)) for size, entries in by_size.items()]

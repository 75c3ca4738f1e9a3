"""Pairs of a round as bit masks: one integer for each sender and one for each receiver, bit j for member j.

What is as expected takes no room, and what is asked of a thousand pairs is one operation on integers of that many bits.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import NamedTuple

from kubemtu.core.mesh import rounds

Entries = Sequence[tuple[int, rounds.PeerGroup]]  # groups, each with its sender


class Side(NamedTuple):
    """A set of members, as a mask and one by one."""

    mask: int
    members: Sequence[int]


class Part(NamedTuple):
    """A rectangle of pairs: all from some senders to some receivers, without those between members of one zone.

    `apart` has for each member the mask of its own zone, when such pairs are left out.
    """

    senders: Side
    receivers: Side
    apart: Sequence[int] | None = None

    @property
    def by_sender(self) -> bool:
        """Return whether it has fewer rows than columns, and is counted by them."""
        return len(self.senders.members) <= len(self.receivers.members)

    def lines(self, *, by_sender: bool) -> Iterator[tuple[int, int]]:
        """Yield its rows, each a sender and the mask of receivers; or its columns."""
        along, across = (self.senders, self.receivers) if by_sender else (self.receivers, self.senders)
        if self.apart is None:
            return zip(along.members, repeat(across.mask), strict=False)  # as long as there are members
        own = self.apart
        return ((member, across.mask & ~own[member]) for member in along.members)


class Marks:
    """A set of pairs, by sender and by receiver; who has none is not in it."""

    def __init__(self, rows: dict[int, int] | None = None, columns: dict[int, int] | None = None) -> None:
        """Take both views of the same pairs."""
        self.rows = {} if rows is None else rows
        self.columns = {} if columns is None else columns

    def copy(self) -> "Marks":
        """Return the same pairs, to be changed apart."""
        return Marks(dict(self.rows), dict(self.columns))

    def add(self, more: "Marks") -> None:
        """Take others in."""
        for lines, others in ((self.rows, more.rows), (self.columns, more.columns)):
            for member, mask in others.items():
                lines[member] = lines.get(member, 0) | mask

    def count(self, part: Part) -> int:
        """Count how many of them are in a part."""
        lines = self.rows if part.by_sender else self.columns
        return sum((lines.get(member, 0) & mask).bit_count() for member, mask in part.lines(by_sender=part.by_sender))

    def remove(self, part: Part) -> None:
        """Take out those of a part."""
        rows = list(self._lines(part, by_sender=True))
        columns = list(self._lines(part, by_sender=False))
        for lines, lines_of_part in ((self.rows, rows), (self.columns, columns)):
            for member, mask in lines_of_part:
                if remaining := lines[member] & ~mask:
                    lines[member] = remaining
                else:
                    del lines[member]

    def _lines(self, part: Part, *, by_sender: bool) -> Iterator[tuple[int, int]]:
        """Yield the lines of a part that have any of them; of many lines that cross few, only those that these name."""
        lines, crossing = (self.rows, self.columns) if by_sender else (self.columns, self.rows)
        along, across = (part.senders, part.receivers) if by_sender else (part.receivers, part.senders)
        if len(across.members) == 1 and part.apart is None:
            named = crossing.get(across.members[0], 0) & along.mask
            if named.bit_count() * 8 < len(along.members):
                return zip(members_of(named), repeat(across.mask), strict=False)
        return ((member, mask) for member, mask in part.lines(by_sender=by_sender) if lines.get(member, 0) & mask)

    def within(self, other: "Marks") -> "Marks":
        """Return those that are in another set as well."""
        return Marks(_both(self.rows, other.rows), _both(self.columns, other.columns))


class MeasuredPairs:
    """Which pairs of a round anything is known of."""

    def __init__(self, round_: rounds.Mesh) -> None:
        """Read the plan, and what is known beyond it: what was asked for later, what an unfinished row lists."""
        self.mesh = round_
        self.size = len(round_.members)
        self._bits = [1 << member for member in range(self.size)]
        self.everyone = Side((1 << self.size) - 1, range(self.size))
        # Who measures whom is the same for all but for a rotation: member i measures i + offset. So the plan is a mask,
        # which is rotated for each row, and the same backward for each column.
        offsets = range(1, self.size) if round_.offsets is None else round_.offsets
        self._forward = sum(self._bits[offset] for offset in offsets)
        self._back = sum(self._bits[self.size - offset] for offset in offsets)
        self._finished = sum(self._bits[row.sender] for row in round_.rows if round_.finished(row))
        self._more = Marks()
        for row in round_.rows:
            listed = [] if round_.finished(row) else [group.receivers for group in row.groups]
            for members in (row.beyond_plan, *listed):
                if members:
                    bit = self._bits[row.sender]
                    self._more.add(Marks({row.sender: self.mask(members)}, dict.fromkeys(members, bit)))

    def mask(self, members: Iterable[int]) -> int:
        """Return the mask of members that are each named once."""
        return sum(map(self._bits.__getitem__, members))

    def side(self, members: Sequence[int]) -> Side:
        """Return members, each named once, as a side of a part."""
        return Side(self.mask(members), members)

    def of_mask(self, mask: int) -> Side:
        """Return the members of a mask as a side of a part."""
        return Side(mask, [member for member, bit in enumerate(self._bits) if mask & bit])

    def one(self, member: int) -> Side:
        """Return one member as a side of a part."""
        return Side(self._bits[member], (member,))

    def marks(self, entries: Entries) -> Marks:
        """Return the pairs that are listed."""
        rows: dict[int, int] = defaultdict(int)
        columns: dict[int, int] = defaultdict(int)
        for sender, group in entries:
            rows[sender] |= self.mask(group.receivers)
            bit = self._bits[sender]
            for receiver in group.receivers:
                columns[receiver] |= bit
        return Marks(dict(rows), dict(columns))

    def row(self, sender: int) -> int:
        """Return the receivers of whom it is known what became of that sender's packets."""
        planned = self._turned(self._forward, sender) if self._finished >> sender & 1 else 0
        return planned | self._more.rows.get(sender, 0)

    def column(self, receiver: int) -> int:
        """Return the senders of whom it is known what became of their packets to that receiver."""
        return (self._turned(self._back, receiver) & self._finished) | self._more.columns.get(receiver, 0)

    def _turned(self, mask: int, by: int) -> int:
        """Raise each member's number by that much, modulo all of them."""
        return ((mask << by) | (mask >> (self.size - by))) & self.everyone.mask


def members_of(mask: int) -> Iterator[int]:
    """Yield the members of a mask, ascending; best for few of many."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def _both(lines: Mapping[int, int], others: Mapping[int, int]) -> dict[int, int]:
    shared = ((member, mask & others.get(member, 0)) for member, mask in lines.items())
    return {member: mask for member, mask in shared if mask}

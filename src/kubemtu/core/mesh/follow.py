"""What to measure next, to be surer of faults that are not certain."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Final

from kubemtu.core.mesh import rounds
from kubemtu.core.mesh.faults import Fault
from kubemtu.core.mesh.marks import MeasuredPairs
from kubemtu.core.mesh.suspects import DIFFER
from kubemtu.core.path import verdict

PAIRS_MOST: Final = 10_000  # the row and the column of one suspect among 5,000
WITNESSES: Final = 24  # of one fault, to be measured by several flows each

Pairs = Iterator[tuple[int, int]]


def follow_up(round_: rounds.Mesh, faults: Iterable[Fault], *, most: int = PAIRS_MOST) -> tuple[tuple[int, int], ...]:
    """List the ordered pairs worth measuring next, at most `most`: those that would make uncertain faults certain.

    First pairs of the faults themselves, to be measured by several flows, and where a pair is suspected its other
    direction; then what is not known of the suspects' rows and columns, or of what lies between two zones. Silent
    members are asked for nothing, and what is no matter of size is not asked about.
    """
    return tuple(itertools.islice(_Next(round_, faults).pairs(), most))


class _Next:
    """One round and what was inferred from it."""

    def __init__(self, round_: rounds.Mesh, faults: Iterable[Fault]) -> None:
        self.mesh = round_
        self.measured = MeasuredPairs(round_)
        self.silent = frozenset(round_.silent)
        self.index = {member.name: number for number, member in enumerate(round_.members)}
        self.zones: dict[str, list[int]] = {}
        for number, member in enumerate(round_.members):
            self.zones.setdefault(member.zone, []).append(number)
        sized = [fault for fault in faults if fault.kind not in {None, *verdict.UNDECIDED}]
        self.open = [fault for fault in sized if fault.confidence != "certain"]
        certain = [fault for fault in sized if fault.confidence == "certain"]
        self.senders = {
            self.index[name] for fault in certain if fault.where in {"sends", "link"} for name in fault.members
        }
        self.receivers = {
            self.index[name] for fault in certain if fault.where in {"receives", "link"} for name in fault.members
        }

    def pairs(self) -> Pairs:
        """Yield all of them, each once."""
        listed: set[tuple[int, int]] = set()
        for part in (self.themselves, self.rest):
            for fault in self.open:
                for pair in part(fault):
                    if pair not in listed and pair[0] not in self.silent:
                        listed.add(pair)
                        yield pair

    def themselves(self, fault: Fault) -> Pairs:
        """Yield pairs that a fault is about, where more flows would tell more."""
        if fault.where == "pair":
            for sender, receiver in zip(fault.members, fault.others, strict=True):
                yield self.index[sender], self.index[receiver]
                yield self.index[receiver], self.index[sender]
        elif fault.where == "equal paths" and fault.kind != DIFFER:
            inside = list(self._exceptions(fault))
            yield from inside[:: -(-len(inside) // WITNESSES) or 1]

    def _exceptions(self, fault: Fault) -> Pairs:
        """Yield what went wrong where equal paths differ, unless a member that is at fault itself explains it."""
        senders, receivers = self._members(fault, fault.members), self._members(fault, fault.others)
        for row in self.mesh.rows:
            listed = (receiver for group in row.groups if group.mtu == fault.mtu for receiver in group.receivers)
            for receiver in listed if row.sender not in self.senders else ():
                forward = row.sender in senders and receiver in receivers
                backward = fault.both_directions and row.sender in receivers and receiver in senders
                if (forward or backward) and receiver not in self.receivers:
                    yield row.sender, receiver

    def _members(self, fault: Fault, names: tuple[str, ...]) -> set[int]:
        if not names:
            return set(range(self.measured.size))
        if fault.scope == "node":
            return {self.index[name] for name in names}
        return {member for name in names for member in self.zones[name]}

    def rest(self, fault: Fault) -> Pairs:
        """Yield what is not known yet of the rows and columns of the suspects, or of what lies between two zones."""
        if fault.where == "zones":
            forward = (fault.members[0], fault.others[0])
            for sender_zone, receiver_zone in (forward, forward[::-1]):
                for sender in self.zones[sender_zone]:
                    row = self.measured.row(sender)
                    yield from ((sender, receiver) for receiver in self.zones[receiver_zone] if not row >> receiver & 1)
        elif fault.scope == "node" and fault.where in {"pair", "receives", "sends", "link"}:
            for name in dict.fromkeys(fault.members):
                yield from ((self.index[name], peer) for peer in self._unknown(self.index[name], by_sender=True))
            for name in dict.fromkeys(fault.others or fault.members):
                yield from ((peer, self.index[name]) for peer in self._unknown(self.index[name], by_sender=False))

    def _unknown(self, member: int, *, by_sender: bool) -> list[int]:
        """List the peers of whom nothing is known together with a member, in one direction."""
        known = self.measured.row(member) if by_sender else self.measured.column(member)
        mask = self.measured.everyone.mask & ~known & ~self.measured.one(member).mask
        return [other for other in range(self.measured.size) if mask >> other & 1] if mask else []

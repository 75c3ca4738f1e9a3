"""What every node measured to every other: one round, held as its exceptions only.

A healthy mesh of a thousand nodes has a million ordered pairs and nothing to say about them, so a row counts what is as
expected and lists only what is not. Directions are apart: row i, column j is what became of packets from i to j.
Members are known by their index. `core.mesh` reads a mesh and says what is at fault.
"""

import bisect
import operator
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from kubemtu.core.path.verdict import Kind


class MemberNode(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Name one node that takes part in a mesh."""

    name: str
    """The name of the node."""
    zone: str = ""
    """Its zone or rack; empty when not known."""


class PeerGroup(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """List the peers to whom one sender's packets met the same end, other than "ok".

    Raises ValueError for what cannot be.
    """

    kind: Kind
    """What became of larger packets."""
    mtu: int
    """The largest packet that arrived, in bytes."""
    receivers: tuple[int, ...]
    """The peers, by their index among the members, ascending."""
    flows: str = ""
    """How many flows carried what, where there were several."""

    def __post_init__(self) -> None:
        """Refuse what a bisection would be misled by."""
        if self.kind == "ok":
            raise ValueError("a group lists exceptions, and ok is none")
        if not all(map(operator.lt, self.receivers, self.receivers[1:])):
            raise ValueError("the members of a group must be in ascending order, each once")


class MeshRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Report what one member measured in one round, each direction by itself: the kind "asymmetric" has no place here.

    Raises ValueError when the numbers do not add up.
    """

    sender: int
    """The member that sent, by its index."""
    measured: int
    """To how many peers it was measured."""
    ok: int
    """To how many of them all is as expected; the others are in `groups`."""
    duration_seconds: float = 0.0
    """How long that took."""
    packets: int = 0
    """How many packets were sent."""
    groups: tuple[PeerGroup, ...] = ()
    """The peers to whom not all arrived, by what became of it."""
    beyond_plan: tuple[int, ...] = ()
    """The peers that were measured beside those that the round planned, by their index, ascending."""
    error: str = ""
    """Why the member could not measure, or not all; else empty."""

    def __post_init__(self) -> None:
        """Hold the counts against the lists."""
        listed = sum(len(group.receivers) for group in self.groups)
        if self.ok < 0 or self.ok + listed != self.measured or len(self.beyond_plan) > self.measured:
            raise ValueError(f"{self.measured} measured must be {self.ok} ok and {listed} listed")
        if not all(map(operator.lt, self.beyond_plan, self.beyond_plan[1:])):
            raise ValueError("peers beyond the plan must be in ascending order, each once")
        if len(self.groups) > 1 and len(set().union(*(group.receivers for group in self.groups))) < listed:
            raise ValueError("a peer can be in one group only")


class Mesh(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Hold one round: who takes part, the size that should arrive, and the rows that came in.

    Raises ValueError for a row or a peer that is not of this round.
    """

    members: tuple[MemberNode, ...]
    """Who takes part; all else names them by their index here."""
    expected: int
    """The size that should arrive, in bytes."""
    rows: tuple[MeshRow, ...] = ()
    """What each sender's packets met, ascending by sender."""
    offsets: tuple[int, ...] | None = None
    """Member i was to measure member (i + offset) modulo their number, for each offset; null: all others."""
    measured_by_others: tuple[int, ...] = ()
    """The members, by their index, that did not report: others measured what these send and receive."""

    def __post_init__(self) -> None:
        """Refuse what would let one member be taken for another."""
        size = len(self.members)
        if len({member.name for member in self.members}) < size:
            raise ValueError("every member needs a name of its own")
        senders = [row.sender for row in self.rows]
        if not all(map(operator.lt, senders, senders[1:])) or (senders and not 0 <= senders[0] <= senders[-1] < size):
            raise ValueError("rows must be in ascending order of their senders, one each, all of them members")
        for row in self.rows:
            for to in (*(group.receivers for group in row.groups), row.beyond_plan):
                if to and (not 0 <= to[0] <= to[-1] < size or _among(row.sender, to)):
                    raise ValueError(f"{self.members[row.sender].name} measured itself, or somebody who is no member")
        if self.offsets is not None and (
            len(set(self.offsets)) < len(self.offsets) or any(not 0 < offset < size for offset in self.offsets)
        ):
            raise ValueError(f"offsets must be different, from 1 to {size - 1}")

    @property
    def planned(self) -> int:
        """How many peers each member was to measure."""
        return len(self.members) - 1 if self.offsets is None else len(self.offsets)

    def row(self, sender: int) -> MeshRow | None:
        """Return the row of that member, or None when nothing came in."""
        place = bisect.bisect_left(self.rows, sender, key=lambda row: row.sender)
        return self.rows[place] if place < len(self.rows) and self.rows[place].sender == sender else None

    def finished(self, row: MeshRow) -> bool:
        """Return whether that row covers all that was planned for it, so that what it does not list was ok."""
        return row.measured - len(row.beyond_plan) >= self.planned

    @property
    def silent(self) -> tuple[int, ...]:
        """The members that did not report, or could not measure, whether others did it for them or not."""
        reported = {row.sender for row in self.rows if not row.error} - {*self.measured_by_others}
        return tuple(member for member in range(len(self.members)) if member not in reported)


class Summary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Sum up a round in ordered pairs."""

    members: int
    """How many nodes take part."""
    reported: int
    """How many of them reported."""
    planned: int
    """How many ordered pairs were to be measured."""
    measured: int
    """How many were."""
    ok: int
    """How many of those carry what is expected."""
    kinds: tuple[tuple[Kind, int], ...] = ()
    """How many do not, by kind, the commonest first."""
    packets: int = 0
    """How many packets that took."""
    longest_seconds: float = 0.0
    """How long the slowest member took."""


def summary(mesh: Mesh) -> Summary:
    """Count what was measured, what is as expected, and what is not, by kind."""
    kinds: Counter[Kind] = Counter()
    for row in mesh.rows:
        for group in row.groups:
            kinds[group.kind] += len(group.receivers)
    return Summary(
        members=len(mesh.members),
        reported=len(mesh.members) - len(mesh.silent),
        planned=len(mesh.members) * mesh.planned,
        measured=sum(row.measured for row in mesh.rows),
        ok=sum(row.ok for row in mesh.rows),
        kinds=tuple(sorted(kinds.items(), key=lambda item: (-item[1], item[0]))),
        packets=sum(row.packets for row in mesh.rows),
        longest_seconds=max((row.duration_seconds for row in mesh.rows), default=0.0),
    )


def cell(mesh: Mesh, sender: int, receiver: int) -> tuple[Kind, int] | None:
    """Say what became of packets from one member to another, and how large they could be; None when not measured.

    Takes time in the logarithm of the members for each group of the row.
    """
    row = mesh.row(sender)
    if row is None or sender == receiver:
        return None
    for group in row.groups:
        if _among(receiver, group.receivers):
            return group.kind, group.mtu
    known = _among(receiver, row.beyond_plan) or (mesh.finished(row) and _in_plan(mesh, sender, receiver))
    return ("ok", mesh.expected) if known else None


def merged(mesh: Mesh, later: Mesh) -> Mesh:
    """Return the round with what was measured afterwards: where both know of a pair, `later` is believed.

    Both have the same members. What `later` measured beyond the plan of `mesh` becomes `also` of its rows. What a row
    that was not finished counted as ok, without saying to whom, cannot be kept.
    """
    rows = {row.sender: row for row in mesh.rows}
    for row in later.rows:
        rows[row.sender] = _merged(mesh, rows.get(row.sender), later, row)
    return msgspec.structs.replace(
        mesh,
        rows=tuple(rows[sender] for sender in sorted(rows)),
        measured_by_others=tuple(sorted({*mesh.measured_by_others, *later.measured_by_others})),
    )


def _merged(mesh: Mesh, old: MeshRow | None, later: Mesh, new: MeshRow) -> MeshRow:
    """Return one sender's row, with what a later one adds to it."""
    sender = new.sender
    base = old or MeshRow(sender=sender, measured=0, ok=0)
    again = set(_known(later, new))
    groups: dict[tuple[Kind, int, str], set[int]] = {}
    for groups_of, told in ((base.groups, False), (new.groups, True)):
        for group in groups_of:
            to = set(group.receivers) if told else set(group.receivers) - again
            if to:
                groups.setdefault((group.kind, group.mtu, group.flows), set()).update(to)
    finished = old is not None and mesh.finished(old)
    before = (
        set(base.beyond_plan) if finished else set(base.beyond_plan).union(*(group.receivers for group in base.groups))
    )
    beyond = {peer for peer in again if not (finished and _in_plan(mesh, sender, peer))}
    also = tuple(sorted(before | beyond))
    measured = len(also) + (mesh.planned if finished else 0)
    return MeshRow(
        sender=sender,
        measured=measured,
        ok=measured - sum(map(len, groups.values())),
        duration_seconds=base.duration_seconds + new.duration_seconds,
        packets=base.packets + new.packets,
        groups=tuple(
            PeerGroup(kind=kind, mtu=mtu, receivers=tuple(sorted(to)), flows=flows)
            for (kind, mtu, flows), to in groups.items()
        ),
        beyond_plan=also,
        error=new.error,
    )


def _known(mesh: Mesh, row: MeshRow) -> Iterator[int]:
    """Yield the peers of which a row tells anything, in no order, perhaps twice."""
    yield from row.beyond_plan
    for group in row.groups:
        yield from group.receivers
    if mesh.finished(row):
        yield from planned_peers(mesh, row.sender)


def planned_peers(mesh: Mesh, sender: int) -> Iterable[int]:
    """List the peers that a member was to measure, in the order of the offsets."""
    size = len(mesh.members)
    offsets = range(1, size) if mesh.offsets is None else mesh.offsets
    return ((sender + offset) % size for offset in offsets)


def _in_plan(mesh: Mesh, sender: int, receiver: int) -> bool:
    return mesh.offsets is None or (receiver - sender) % len(mesh.members) in mesh.offsets


def _among(member: int, ascending: tuple[int, ...]) -> bool:
    place = bisect.bisect_left(ascending, member)
    return place < len(ascending) and ascending[place] == member

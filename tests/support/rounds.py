"""Rounds for tests of what is at fault: a rule says what becomes of packets from one member to another."""

from collections.abc import Callable, Collection

from kubemtu.core.mesh import rounds
from kubemtu.core.path.verdict import Kind

End = tuple[Kind, int]
Rule = Callable[[int, int], End | None]  # None: as expected
HOLE: End = ("black hole", 1450)


def measured(
    size: int,
    rule: Rule,
    *,
    zone: Callable[[int], str] = lambda _: "",
    offsets: tuple[int, ...] | None = None,
    silent: Collection[int] = (),
    expected: int = 1500,
) -> rounds.Mesh:
    """One round of members n0, n1, ...; those that are silent have no row."""
    members = tuple(rounds.MemberNode(name=f"n{member}", zone=zone(member)) for member in range(size))
    plan = rounds.Mesh(members=members, expected=expected, offsets=offsets)
    rows = []
    for sender in range(size):
        if sender in silent:
            continue
        groups: dict[End, list[int]] = {}
        peers = list(rounds.planned_peers(plan, sender))
        for receiver in peers:
            if (end := rule(sender, receiver)) is not None:
                groups.setdefault(end, []).append(receiver)
        listed = tuple(
            rounds.PeerGroup(kind=kind, mtu=mtu, receivers=tuple(sorted(to)))
            for (kind, mtu), to in sorted(groups.items())
        )
        bad = sum(len(group.receivers) for group in listed)
        rows.append(
            rounds.MeshRow(
                sender=sender,
                measured=len(peers),
                ok=len(peers) - bad,
                duration_seconds=0.5,
                packets=4 * len(peers),
                groups=listed,
            )
        )
    return rounds.Mesh(members=members, expected=expected, rows=tuple(rows), offsets=offsets)


def hole(where: Callable[[int, int], bool]) -> Rule:
    """Return a rule by which packets of more than 1450 bytes vanish where that holds."""
    return lambda sender, receiver: HOLE if where(sender, receiver) else None

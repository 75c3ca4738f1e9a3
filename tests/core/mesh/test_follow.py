"""What is measured next is what would make sure, and nothing that is sure already."""

from tests.support.rounds import hole, measured

from kubemtu.core.mesh import faults, follow, rounds, sampling


def wanted(round_: rounds.Mesh, **more: int) -> tuple[tuple[int, int], ...]:
    return follow.follow_up(round_, faults.infer(round_), **more)


def test_what_is_certain_or_in_order_is_not_measured_again() -> None:
    assert wanted(measured(20, lambda *_: None)) == ()
    assert wanted(measured(20, hole(lambda _, j: j == 3))) == ()
    assert wanted(measured(20, lambda _, j: ("unreachable", 0) if j == 3 else None)) == ()
    assert wanted(measured(20, lambda i, j: ("loss", 900) if (i, j) == (1, 3) else None)) == ()


def test_of_one_suspected_pair_both_directions_then_the_row_and_the_column() -> None:
    pairs = wanted(measured(10, hole(lambda i, j: (i, j) == (2, 3)), offsets=(1,)))
    assert pairs[:2] == ((2, 3), (3, 2))
    assert set(pairs[2:]) == {(2, other) for other in range(10) if other not in {2, 3}} | {
        (other, 3) for other in range(10) if other not in {2, 3}
    }
    assert len(pairs) == len(set(pairs)) == 18


def test_it_is_no_more_than_was_asked_for() -> None:
    round_ = measured(10, hole(lambda i, j: (i, j) == (2, 3)), offsets=(1,))
    assert wanted(round_, most=5) == wanted(round_)[:5]


def test_silent_members_are_asked_for_nothing() -> None:
    round_ = measured(10, hole(lambda i, j: (i, j) == (2, 3)), offsets=(1,), silent={3, 7})
    assert {sender for sender, _ in wanted(round_)} == set(range(10)) - {3, 7}


def test_equal_paths_are_looked_for_in_a_few_pairs_of_the_suspected_ones() -> None:
    round_ = measured(100, hole(lambda i, j: j == 9 and i % 2 == 0))
    assert [fault.where for fault in faults.infer(round_)] == ["equal paths"]
    pairs = wanted(round_)
    assert 0 < len(pairs) <= 24
    assert all(receiver == 9 and sender % 2 == 0 for sender, receiver in pairs)


def test_what_was_measured_next_makes_sure() -> None:
    size, bad = 50, hole(lambda _, j: j == 7)
    first = measured(size, bad, offsets=sampling.rotation(size, 1, 0))
    assert [(fault.where, fault.confidence) for fault in faults.infer(first)] == [("pair", "possible")]
    asked: dict[int, list[int]] = {}
    for sender, receiver in wanted(first):
        asked.setdefault(sender, []).append(receiver)
    rows = []
    for sender, to in sorted(asked.items()):
        holes = tuple(receiver for receiver in sorted(to) if bad(sender, receiver))
        rows.append(
            rounds.MeshRow(
                sender=sender,
                measured=len(to),
                ok=len(to) - len(holes),
                groups=(rounds.PeerGroup(kind="black hole", mtu=1450, receivers=holes),) if holes else (),
                beyond_plan=tuple(sorted(to)),
            )
        )
    later = rounds.Mesh(members=first.members, expected=1500, rows=tuple(rows), offsets=())
    (fault,) = faults.infer(rounds.merged(first, later))
    assert (fault.where, fault.members, fault.confidence, fault.pairs) == ("receives", ("n7",), "certain", 49)

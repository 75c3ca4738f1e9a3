"""A round is held as its exceptions, and every cell of it can be asked for."""

import msgspec
import pytest
from tests.support import rounds

from kubemtu.core.mesh import rounds as mesh_rounds

THREE = tuple(mesh_rounds.MemberNode(name=name) for name in ("a", "b", "c"))


def row(sender: int, *groups: mesh_rounds.PeerGroup, measured: int = 2, **more: object) -> mesh_rounds.MeshRow:
    bad = sum(len(group.receivers) for group in groups)
    return msgspec.convert(
        {"sender": sender, "measured": measured, "ok": measured - bad, "groups": msgspec.to_builtins(groups), **more},
        mesh_rounds.MeshRow,
    )


def test_cells_tell_directions_apart_and_what_was_not_measured() -> None:
    hole = mesh_rounds.PeerGroup(kind="black hole", mtu=1450, receivers=(1,))
    round_ = mesh_rounds.Mesh(members=THREE, expected=1500, rows=(row(0, hole), row(1)))
    assert mesh_rounds.cell(round_, 0, 1) == ("black hole", 1450)
    assert mesh_rounds.cell(round_, 1, 0) == ("ok", 1500)
    assert mesh_rounds.cell(round_, 0, 2) == ("ok", 1500)
    assert mesh_rounds.cell(round_, 2, 0) is None  # nothing came in from there
    assert mesh_rounds.cell(round_, 1, 1) is None


def test_a_plan_of_offsets_leaves_the_rest_unknown() -> None:
    round_ = rounds.measured(10, rounds.hole(lambda _, receiver: receiver == 2), offsets=(1, 4))
    assert mesh_rounds.cell(round_, 1, 2) == ("black hole", 1450)
    assert mesh_rounds.cell(round_, 8, 2) == ("black hole", 1450)
    assert mesh_rounds.cell(round_, 9, 0) == ("ok", 1500)
    assert mesh_rounds.cell(round_, 0, 2) is None
    assert tuple(mesh_rounds.planned_peers(round_, 8)) == (9, 2)


def test_a_row_that_was_not_finished_tells_only_what_it_lists() -> None:
    hole = mesh_rounds.PeerGroup(kind="black hole", mtu=1450, receivers=(1,))
    round_ = mesh_rounds.Mesh(members=THREE, expected=1500, rows=(row(0, hole, measured=1),))
    assert mesh_rounds.cell(round_, 0, 1) == ("black hole", 1450)
    assert mesh_rounds.cell(round_, 0, 2) is None
    assert round_.silent == (1, 2)


def test_a_summary_counts_pairs_by_kind() -> None:
    def rule(sender: int, receiver: int) -> rounds.End | None:
        return ("unreachable", 0) if receiver == 0 else rounds.HOLE if (sender, receiver) == (1, 2) else None

    told = mesh_rounds.summary(rounds.measured(5, rule, silent={0}))
    assert (told.members, told.reported, told.planned, told.measured, told.ok) == (5, 4, 20, 16, 11)
    assert told.kinds == (("unreachable", 4), ("black hole", 1))
    assert (told.packets, told.longest_seconds) == (64, 0.5)


def test_what_is_measured_later_is_believed() -> None:
    first = rounds.measured(
        6, rounds.hole(lambda sender, receiver: (sender, receiver) == (0, 1)), offsets=(1,), silent={4}
    )
    hole = mesh_rounds.PeerGroup(kind="black hole", mtu=1400, receivers=(3,))
    later = mesh_rounds.Mesh(
        members=first.members,
        expected=1500,
        offsets=(),
        rows=(row(0, hole, beyondPlan=[1, 3, 5], measured=3), row(4, beyondPlan=[0], measured=1)),
    )
    both = mesh_rounds.merged(first, later)
    assert mesh_rounds.cell(both, 0, 1) == ("ok", 1500)  # was a black hole
    assert mesh_rounds.cell(both, 0, 3) == ("black hole", 1400)
    assert mesh_rounds.cell(both, 0, 5) == ("ok", 1500)
    assert mesh_rounds.cell(both, 0, 2) is None
    assert mesh_rounds.cell(both, 4, 0) == ("ok", 1500)
    assert mesh_rounds.cell(both, 4, 5) is None  # planned, but only the later question was answered
    assert mesh_rounds.cell(both, 1, 2) == ("ok", 1500)
    assert both.row(0) == mesh_rounds.MeshRow(
        sender=0, measured=3, ok=2, duration_seconds=0.5, packets=4, groups=(hole,), beyond_plan=(3, 5)
    )


@pytest.mark.parametrize(
    ("kind", "to"),
    [("ok", (1,)), ("lower", (2, 1)), ("lower", (1, 1))],
)
def test_groups_that_cannot_be_are_refused(kind: str, to: tuple[int, ...]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": kind, "mtu": 1450, "receivers": to}, mesh_rounds.PeerGroup)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"measured": 3, "ok": 3, "groups": [{"kind": "lower", "mtu": 1, "receivers": [1]}]}, "3 ok and 1 listed"),
        ({"measured": 1, "ok": 1, "beyondPlan": [1, 2]}, "1 measured"),
        ({"measured": 2, "ok": 2, "beyondPlan": [2, 1]}, "ascending"),
        (
            {
                "measured": 2,
                "ok": 0,
                "groups": [
                    {"kind": "lower", "mtu": 1, "receivers": [1]},
                    {"kind": "lower", "mtu": 2, "receivers": [1]},
                ],
            },
            "one group only",
        ),
    ],
)
def test_rows_that_do_not_add_up_are_refused(fields: dict[str, object], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.convert({"sender": 0, **fields}, mesh_rounds.MeshRow)


@pytest.mark.parametrize(
    ("rows", "offsets", "says"),
    [
        ((row(1), row(0)), None, "ascending"),
        ((row(3),), None, "all of them members"),
        (
            (row(0, mesh_rounds.PeerGroup(kind="lower", mtu=1, receivers=(3,))),),
            None,
            "a measured itself, or somebody who is no member",
        ),
        ((row(0, mesh_rounds.PeerGroup(kind="lower", mtu=1, receivers=(0, 1))),), None, "a measured itself"),
        ((), (0,), "from 1 to 2"),
        ((), (1, 1), "different"),
    ],
)
def test_rounds_that_mix_members_up_are_refused(
    rows: tuple[mesh_rounds.MeshRow, ...], offsets: tuple[int, ...] | None, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        mesh_rounds.Mesh(members=THREE, expected=1500, rows=rows, offsets=offsets)


def test_two_members_cannot_have_one_name() -> None:
    with pytest.raises(ValueError, match="name of its own"):
        mesh_rounds.Mesh(members=(THREE[0], THREE[0]), expected=1500)


def test_a_round_survives_being_written_down() -> None:
    round_ = rounds.measured(5, rounds.hole(lambda sender, _: sender == 2), zone=lambda member: f"z{member % 2}")
    assert msgspec.json.decode(msgspec.json.encode(round_), type=mesh_rounds.Mesh) == round_

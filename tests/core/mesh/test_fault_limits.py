"""What is no MTU is not called one, and where too little was measured nobody is blamed for certain."""

from collections.abc import Callable

import msgspec
import pytest
from tests.support import rounds
from tests.support.rounds import End, hole, measured

from kubemtu.core.mesh import faults
from kubemtu.core.mesh import rounds as mesh_rounds


def only(round_: mesh_rounds.Mesh) -> faults.Fault:
    (fault,) = faults.infer(round_)
    return fault


# What is no MTU


def test_a_dead_node_is_no_mtu() -> None:
    fault = only(measured(9, lambda _, j: ("unreachable", 0) if j == 4 else None, silent={4}))
    assert (fault.where, fault.members, fault.mtu, fault.confidence) == ("node down", ("n4",), 0, "certain")
    assert fault.sentence == (
        "n4 answers nobody and reported nothing: it is down or cut off, or no prober runs there; "
        "this says nothing about the MTU"
    )


@pytest.mark.parametrize(
    ("where", "place", "says"),
    [
        (lambda i, j: 4 in {i, j}, "node down", "n4 answers nobody, and nobody answers its packets"),
        (lambda i, j: j == 4, "receives", "n4 answers nobody, although its own packets are answered"),
        (lambda i, j: i == 4, "sends", "nobody answers n4, although it answers others"),
        (lambda i, j: {i % 3, j % 3} == {0, 1}, "zones", "between zones z0 and z1 nothing is answered"),
    ],
)
def test_silence_is_told_where_it_is(where: Callable[[int, int], bool], place: str, says: str) -> None:
    fault = only(
        measured(12, lambda i, j: ("unreachable", 0) if where(i, j) else None, zone=lambda member: f"z{member % 3}")
    )
    assert (fault.where, fault.mtu) == (place, 0)
    assert fault.sentence.startswith(says)
    assert fault.sentence.endswith("this says nothing about the MTU")


@pytest.mark.parametrize("kind", ["loss", "overloaded"])
def test_loss_and_overload_are_never_called_an_mtu(kind: str) -> None:
    end = msgspec.convert((kind, 800), End)
    fault = only(measured(9, lambda _, j: end if j == 4 else None))
    assert (fault.where, fault.members, fault.kind, fault.mtu) == ("receives", ("n4",), kind, 0)
    assert fault.sentence.endswith("this says nothing about the MTU")
    assert "bytes" not in fault.sentence


def test_loss_does_not_hide_a_size() -> None:
    lost = {(1, 7), (5, 7), (9, 7)}
    found = faults.infer(
        measured(40, lambda i, j: ("loss", 400) if (i, j) in lost else rounds.HOLE if j == 7 else None)
    )
    assert (found[0].where, found[0].members, found[0].confidence) == ("receives", ("n7",), "certain")
    assert {fault.kind for fault in found[1:]} == {"loss"}


def test_members_that_tell_nothing_are_not_guessed_at() -> None:
    round_ = measured(5, lambda *_: None, silent={2, 3})
    round_ = msgspec.structs.replace(
        round_,
        rows=(
            mesh_rounds.MeshRow(sender=0, measured=2, ok=2),
            round_.rows[1],
            mesh_rounds.MeshRow(sender=3, measured=0, ok=0, error="no socket"),
            round_.rows[2],
        ),
    )
    told = {fault.where + " " + ",".join(fault.members): fault for fault in faults.infer(round_)}
    assert set(told) == {"prober silent n2", "prober silent n3", "unfinished n0"}
    assert told["prober silent n2"].sentence == "n2 reported nothing in this round: what it sends was not measured"
    assert told["prober silent n3"].sentence == "n3 could not measure (no socket): what it sends was not measured"
    assert told["unfinished n0"].sentence == "n0 measured 2 of 4 peers: the others are not known"
    assert all(fault.kind is None and fault.pairs == 0 for fault in told.values())


def test_what_a_silent_node_receives_is_judged_all_the_same() -> None:
    receives, silent = faults.infer(measured(9, hole(lambda _, j: j == 4), silent={4}))
    assert (receives.where, receives.members, receives.confidence) == ("receives", ("n4",), "certain")
    assert "own packets" not in receives.sentence
    assert (silent.where, silent.members) == ("prober silent", ("n4",))


# The own interface


def test_an_interface_that_is_too_small_is_the_node_s_own() -> None:
    fault = only(measured(6, lambda i, _: ("refused here", 1400) if i == 2 else None))
    assert (fault.where, fault.members, fault.pairs, fault.confidence) == ("sends", ("n2",), 5, "certain")
    assert fault.sentence == "n2's own interface carries 1400 bytes, not 1500: the paths are not to blame"


def test_a_small_interface_receives_no_more_either() -> None:
    # a veth takes four bytes more than its MTU: net/core/dev.c __is_skb_forwardable
    def rule(sender: int, receiver: int) -> End | None:
        return ("refused here", 1450) if sender == 2 else ("receiver", 1454) if receiver == 2 else None

    fault = only(measured(6, rule))
    assert (fault.where, fault.members, fault.pairs) == ("link", ("n2",), 10)
    assert fault.sentence == (
        "n2's own interface carries 1450 bytes, not 1500, and it receives no more: the paths are not to blame"
    )


def test_most_nodes_without_jumbo_frames_do_not_make_the_others_suspect() -> None:
    def rule(sender: int, receiver: int) -> End | None:
        return ("refused here", 1500) if sender > 1 else ("black hole", 1500) if receiver > 1 else None

    fault = only(measured(20, rule, expected=9000))
    assert (fault.where, fault.members) == ("link", tuple(f"n{member}" for member in range(2, 20)))
    assert fault.pairs == 18 * 19 + 2 * 18


def test_interfaces_that_are_all_too_small_are_an_expectation_too_high() -> None:
    fault = only(measured(6, lambda *_: ("refused here", 1450)))
    assert (fault.where, fault.mtu, fault.pairs) == ("everywhere", 1450, 30)


# Few witnesses


OFFSETS = (1, 210, 419, 628, 837)  # of a thousand members


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (lambda _, j: j == 7, ("receives", ("n7",), (), 5, "certain")),
        (lambda i, _: i == 7, ("sends", ("n7",), (), 5, "certain")),
        (lambda i, j: 7 in {i, j}, ("link", ("n7",), (), 10, "certain")),
        (lambda i, j: (i, j) == (7, 8), ("pair", ("n7",), ("n8",), 1, "possible")),
        (lambda *_: True, ("everywhere", (), (), 5000, "certain")),
    ],
)
def test_a_plan_of_a_few_offsets_is_judged_by_what_was_measured(
    where: Callable[[int, int], bool], expected: tuple[object, ...]
) -> None:
    fault = only(measured(1000, hole(where), offsets=OFFSETS, zone=lambda member: f"rack-{member // 10}"))
    assert (fault.where, fault.members, fault.others, fault.pairs, fault.confidence) == expected


def test_one_witness_is_not_enough_to_blame_a_node() -> None:
    fault = only(measured(50, hole(lambda _, j: j == 7), offsets=(1,)))
    assert (fault.where, fault.members, fault.others, fault.confidence) == ("pair", ("n6",), ("n7",), "possible")
    assert fault.advice.startswith("Measure the rest of the row and the column of each, and the pair itself by several")
    fault = only(measured(50, hole(lambda _, j: j == 7), offsets=(1, 20)))
    assert (fault.where, fault.members, fault.confidence) == ("receives", ("n7",), "likely")


def test_of_two_nodes_neither_is_blamed() -> None:
    fault = only(measured(2, hole(lambda *_: True)))
    assert (fault.where, fault.members, fault.others, fault.both_directions, fault.confidence) == (
        "pair",
        ("n0",),
        ("n1",),
        True,
        "possible",
    )


def test_of_three_nodes_a_choice_is_called_one() -> None:
    # n0 sends too little and n2 reaches not n1, or n1 receives too little and n0 reaches not n2
    found = faults.infer(measured(3, hole(lambda i, j: (i, j) in {(0, 1), (0, 2), (2, 1)})))
    assert {fault.confidence for fault in found} == {"possible"}


def test_one_reporter_is_not_sure_that_it_is_itself() -> None:
    suspected, silent = faults.infer(measured(10, hole(lambda *_: True), silent=set(range(1, 10))))
    assert (suspected.where, suspected.members, suspected.confidence) == ("sends", ("n0",), "possible")
    assert silent.where == "prober silent"

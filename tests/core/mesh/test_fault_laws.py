"""Whatever was measured: all of it is explained, once, and nobody is blamed whose packets arrive."""

from collections.abc import Callable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import rounds
from tests.support.rounds import End, measured

from kubemtu.core.mesh import faults
from kubemtu.core.mesh import rounds as mesh_rounds
from kubemtu.core.path import verdict

ENDS: tuple[End, ...] = tuple(
    msgspec.convert(one, End)
    for one in [
        ("black hole", 1400),
        ("black hole", 1450),
        ("lower", 1450),
        ("receiver", 1454),
        ("refused here", 1450),
        ("equal paths differ", 1450),
        ("stale path MTU", 1500),
        ("outer fragments", 1500),
        ("unreachable", 0),
        ("loss", 700),
        ("overloaded", 1500),
    ]
)
Here = Callable[[int, int], bool]
calm = settings(deadline=None)  # a busy machine is no fault


def zone(zones: int) -> Callable[[int], str]:
    return lambda member: f"z{member % zones}" if zones else ""


def covers(fault: faults.Fault, round_: mesh_rounds.Mesh, sender: int, receiver: int) -> bool:
    """Whether a fault is about the packets from one member to another."""
    one, other = round_.members[sender], round_.members[receiver]
    if fault.where in {"pair", "equal paths", "zones"}:
        at = [(one.name, other.name), (other.name, one.name)]
        if fault.scope == "zone":
            at = [(one.zone, other.zone), (other.zone, one.zone)]
        if fault.where == "pair":
            return bool({*zip(fault.members, fault.others, strict=True)} & {*at[: 1 + fault.both_directions]})
        if fault.scope == "zone" and not fault.members and not fault.others:
            return one.zone != other.zone
        return any(
            (not fault.members or there in fault.members) and (not fault.others or back in fault.others)
            for there, back in at[: 1 + fault.both_directions]
        )
    zones = (one.zone in fault.members, other.zone in fault.members)
    return {
        "receives": other.name in fault.members,
        "sends": one.name in fault.members,
        "link": bool({one.name, other.name} & {*fault.members}),
        "node down": other.name in fault.members or (fault.both_directions and one.name in fault.members),
        "zone receives": zones == (False, True),
        "zone sends": zones == (True, False),
        "zone link": zones[0] != zones[1],
        "in zone": zones == (True, True),
        "between zones": one.zone != other.zone,
        "everywhere": True,
    }.get(fault.where, False)


@st.composite
def anything(draw: st.DrawFn) -> mesh_rounds.Mesh:
    """A small round in which anything may have become of any packet."""
    size = draw(st.integers(2, 9))
    usual = draw(st.sampled_from((None, *ENDS)))
    odd = draw(
        st.dictionaries(
            st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), st.sampled_from((None, *ENDS)), max_size=20
        )
    )
    offsets = draw(st.none() | st.sets(st.integers(1, size - 1), min_size=1).map(sorted).map(tuple))
    return measured(
        size,
        lambda sender, receiver: odd.get((sender, receiver), usual),
        zone=zone(draw(st.integers(0, 4))),
        offsets=offsets,
        silent=draw(st.sets(st.integers(0, size - 1), max_size=2)),
    )


@calm
@given(anything())
def test_every_exception_is_explained_once(round_: mesh_rounds.Mesh) -> None:
    found = faults.infer(round_)
    bad = sum(len(group.receivers) for row in round_.rows for group in row.groups)
    assert sum(fault.pairs for fault in found) == bad
    for row in round_.rows:
        for group in row.groups:
            for receiver in group.receivers:
                assert any(covers(fault, round_, row.sender, receiver) for fault in found)


@calm
@given(anything())
def test_what_is_certain_is_contradicted_by_nothing_that_was_measured(round_: mesh_rounds.Mesh) -> None:
    for fault in faults.infer(round_):
        if (
            fault.confidence != "certain"
            or fault.where == "equal paths"
            or fault.kind is None
            or fault.kind == "refused here"
        ):
            continue
        for row in round_.rows:
            for receiver in range(len(round_.members)):
                cell = mesh_rounds.cell(round_, row.sender, receiver)
                if cell is None or not covers(fault, round_, row.sender, receiver):
                    continue
                if fault.kind in verdict.UNDECIDED | {"stale path MTU", "outer fragments"}:
                    assert cell[0] in verdict.UNDECIDED | {fault.kind}
                else:
                    assert cell[1] <= fault.mtu


@calm
@given(anything())
def test_every_sentence_is_one_and_names_what_it_is_about(round_: mesh_rounds.Mesh) -> None:
    for fault in faults.infer(round_):
        assert "\n" not in fault.sentence
        assert not fault.sentence.endswith(".")
        assert fault.advice.endswith(".")
        assert all(name in fault.sentence for name in (*fault.members, *fault.others)[:1])
        if fault.kind in verdict.UNDECIDED:
            assert fault.mtu == 0
            assert "this says nothing about the MTU" in fault.sentence


@calm
@given(
    st.integers(2, 60),
    st.integers(0, 5),
    st.none() | st.integers(1, 5),
    st.sets(st.integers(0, 1), max_size=1),
)
def test_where_all_is_in_order_nobody_is_blamed(size: int, zones: int, offsets: int | None, silent: set[int]) -> None:
    plan = None if offsets is None else tuple(range(1, min(offsets, size - 1) + 1))
    found = faults.infer(measured(size, lambda *_: None, zone=zone(zones), offsets=plan, silent=silent))
    assert [fault.where for fault in found] == ["prober silent"] * len(silent)


NODES: dict[str, Callable[[int], Here]] = {
    "receives": lambda one: lambda _, receiver: receiver == one,
    "sends": lambda one: lambda sender, _: sender == one,
    "link": lambda one: lambda sender, receiver: one in {sender, receiver},
}


@calm
@given(
    st.integers(6, 40),
    st.integers(0, 5),
    st.sampled_from(sorted(NODES)),
    st.integers(0, 5),
    st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=2),
)
def test_a_node_at_fault_is_found_among_lost_packets(
    size: int, zones: int, where: str, member: int, lost: set[tuple[int, int]]
) -> None:
    here = NODES[where](member)

    def rule(sender: int, receiver: int) -> End | None:
        if (sender, receiver) in lost:
            return ("loss", 600)
        return rounds.HOLE if here(sender, receiver) else None

    found = [fault for fault in faults.infer(measured(size, rule, zone=zone(zones))) if fault.kind != "loss"]
    assert [(fault.where, fault.members, fault.mtu) for fault in found] == [(where, (f"n{member}",), 1450)]
    assert found[0].confidence == "certain"


@calm
@given(
    st.integers(8, 40),
    st.tuples(st.sampled_from(sorted(NODES)), st.integers(0, 7), st.sampled_from((1400, 1450))),
    st.tuples(st.sampled_from(sorted(NODES)), st.integers(0, 7), st.sampled_from((1400, 1450))),
)
def test_two_nodes_at_fault_are_found_and_no_third(
    size: int, first: tuple[str, int, int], second: tuple[str, int, int]
) -> None:
    injected = {first, second}
    if len({member for _, member, _ in injected}) < len(injected):
        return  # one node with two faults is another fault

    def rule(sender: int, receiver: int) -> End | None:
        sizes = [size for where, member, size in injected if NODES[where](member)(sender, receiver)]
        return ("black hole", min(sizes)) if sizes else None

    found = faults.infer(measured(size, rule))
    assert {(fault.where, name, fault.mtu) for fault in found for name in fault.members} == {
        (where, f"n{member}", mtu) for where, member, mtu in injected
    }


@calm
@given(
    st.integers(3, 5),
    st.integers(3, 6),
    st.sampled_from(["zones", "zone receives", "zone sends", "zone link", "in zone"]),
)
def test_what_is_at_fault_between_zones_is_found_there(zones: int, inside: int, where: str) -> None:
    def rule(sender: int, receiver: int) -> End | None:
        there, back = sender % zones == 0, receiver % zones == 0
        here = {
            "zones": there and receiver % zones == 1,
            "zone receives": back and not there,
            "zone sends": there and not back,
            "zone link": there != back,
            "in zone": there and back,
        }[where]
        return rounds.HOLE if here else None

    (fault,) = faults.infer(measured(zones * inside, rule, zone=zone(zones)))
    assert (fault.where, fault.scope, fault.members, fault.confidence) == (where, "zone", ("z0",), "certain")
    assert fault.others == (("z1",) if where == "zones" else ())


@calm
@given(st.integers(30, 60), st.data())
def test_a_node_that_part_of_the_others_reach_is_not_called_bad(size: int, data: st.DataObject) -> None:
    some = data.draw(st.sets(st.integers(1, size - 1), min_size=size // 4, max_size=size * 3 // 4))
    found = faults.infer(measured(size, lambda i, j: rounds.HOLE if j == 0 and i in some else None))
    assert {fault.where for fault in found} <= {"equal paths", "pair"}
    assert all(fault.confidence != "certain" for fault in found)

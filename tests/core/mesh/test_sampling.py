"""A few peers each, chosen so that nothing is missed that need not be."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemtu.core.mesh import rounds, sampling


def arranged(nodes: Sequence[rounds.MemberNode]) -> list[rounds.MemberNode]:
    return sorted(nodes, key=lambda node: (node.zone, node.name))


def members(number: int, zones: int = 0) -> list[rounds.MemberNode]:
    return [
        rounds.MemberNode(name=f"n{place:04}", zone=f"z{place % zones:03}" if zones else "") for place in range(number)
    ]


@pytest.mark.parametrize(("paths", "flows"), [(1, 1), (2, 20), (4, 49), (8, 104), (16, 215)])
def test_so_many_flows_find_one_of_several_equal_paths(paths: int, flows: int) -> None:
    # (1 - 1/S)^m <= 1e-6: 2^-20 = 9.5e-7, 0.75^49 = 7.5e-7, (15/16)^215 = 9.4e-7
    assert sampling.flows_needed(paths) == flows
    if paths > 1:
        assert math.pow(1 - 1 / paths, flows) <= 1e-6 < math.pow(1 - 1 / paths, flows - 1)


@pytest.mark.parametrize(("one_of", "flows"), [(8, 104), (40, 546), (200, 2757), (4000, 55256)])
def test_so_many_flows_find_an_uplink(one_of: int, flows: int) -> None:
    # racks x spines: 4 x 2, 10 x 4, 50 x 4, 250 x 16; ln 1e-6 / ln(1 - f)
    assert sampling.flows_for(1 / one_of) == flows


def test_few_probes_of_a_rack_miss_a_spine_by_chance() -> None:
    # 20 members of a rack, one probe each of which 98 % leave it, over four spines
    assert sampling.missed(1 / 4, 20 * 0.98) == pytest.approx(0.0036, abs=5e-5)


def test_up_to_a_thousand_everybody_measures_everybody() -> None:
    plan = sampling.plan(members(1000))
    assert (plan.peers_per_member, plan.pairs, plan.rounds) == (999, 999_000, 1)
    assert plan.peers(998) == (999, *range(998))
    assert plan.least_seconds == pytest.approx(3.996)  # four packets a pair, 1,000 a second
    assert plan.sentence == "1,000 nodes: all 999 peers each, so every round measures every pair"
    assert [one.rounds for one in plan.detection if one.fault == "one broken pair"] == [1]


def test_above_a_thousand_a_few_offsets_rotate() -> None:
    plan = sampling.plan(members(5000))
    assert (plan.peers_per_member, plan.pairs, plan.rounds) == (24, 120_000, 209)
    assert plan.sentence == (
        "5,000 nodes: 24 of 4,999 peers each; a node that receives too little is found with probability 1 - 1e-24, "
        "one broken pair only with 0.5 % (all pairs after 209 rounds)"
    )


@pytest.mark.parametrize(
    ("degree", "silent", "missed"),
    [(6, 0.1, 1e-6), (3, 0.01, 1e-6), (24, 0.1, 1e-24), (1, 0.0, 0.0)],
)
def test_a_receiver_is_missed_only_when_all_its_senders_are_silent(degree: int, silent: float, missed: float) -> None:
    plan = sampling.plan(members(2000), offsets=degree, silent=silent)
    receives, sends, pair = plan.detection
    assert receives.miss_probability == pytest.approx(missed, rel=1e-6)
    assert receives.probability == pytest.approx(1 - missed)
    assert receives.rounds == 1
    assert sends.miss_probability == silent
    assert pair.probability == pytest.approx(degree / 1999)
    assert pair.rounds == math.ceil(1999 / degree)


def test_an_uplink_is_found_by_what_crosses_zones() -> None:
    plan = sampling.plan(arranged(members(5000, 250)), spines=16, silent=0.0)
    uplink = next(one for one in plan.detection if "16 uplinks" in one.fault)
    # 250 racks x 16 spines: f = 1/4000. Of 24 offsets only s = 1 stays in its rack, but for one member in 20 of each:
    # 23 x 5000 + 250 flows cross, and (1 - 1/4000)^115250 = e^-28.8.
    assert uplink.miss_probability == pytest.approx(3.06e-13, rel=0.01)
    assert uplink.rounds == 1


@settings(deadline=None)
@given(st.integers(2, 400), st.integers(1, 40))
def test_every_pair_has_its_turn(size: int, offsets: int) -> None:
    turn = sampling.rounds(size, offsets)
    seen: set[int] = set()
    for number in range(turn):
        chosen = sampling.rotation(size, offsets, number)
        assert len(chosen) == len(set(chosen)) <= offsets
        seen.update(chosen)
    assert seen == set(range(1, size))
    assert turn == math.ceil((size - 1) / offsets)
    assert sampling.rotation(size, offsets, turn) == sampling.rotation(size, offsets, 0)


@settings(deadline=None)
@given(st.integers(2, 300), st.integers(1, 24), st.integers(0, 1000))
def test_no_slot_sends_two_probes_to_one_member(size: int, offsets: int, number: int) -> None:
    plan = sampling.plan(members(size), full_up_to=0, offsets=offsets, round_number=number)
    peers = [plan.peers(member) for member in range(size)]
    for slot in range(plan.peers_per_member):
        assert {chosen[slot] for chosen in peers} == set(range(size))
    assert all(member not in chosen for member, chosen in enumerate(peers))


@settings(deadline=None)
@given(st.integers(2, 8), st.integers(0, 500))
def test_every_member_measures_into_every_zone_that_is_large_enough(zones: int, number: int) -> None:
    many = arranged(members(400, zones))
    plan = sampling.plan(many, full_up_to=100, offsets=12, round_number=number)
    assert plan.every_zone_reached  # the smallest zone has 50 members, more than 400 / 12
    for member in (0, 57, 399):
        reached = {many[peer].zone for peer in plan.peers(member)}
        assert reached | {many[member].zone} == {one.zone for one in many}


def test_a_zone_that_is_too_small_is_not_promised() -> None:
    one = [rounds.MemberNode(name="lonely", zone="small")]
    assert not sampling.plan(arranged([*members(2000, 2), *one])).every_zone_reached


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (0, "0 nodes: there is nobody to measure"),
        (1, "1 node: there is nobody to measure"),
        (2, "2 nodes: the other one each, so every round measures every pair"),
    ],
)
def test_small_clusters_are_told_in_their_number(number: int, says: str) -> None:
    assert sampling.plan(members(number)).sentence == says


@pytest.mark.parametrize("wrong", [{"offsets": 0}, {"most_pps": 0.0}, {"silent": 1.0}, {"spines": 0}])
def test_a_plan_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="impossible"):
        sampling.plan(members(10), **wrong)  # type: ignore[arg-type]  # numbers that are none of its own

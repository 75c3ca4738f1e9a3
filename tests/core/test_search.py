"""The search finds the MTU of every path, whatever the path does, within the rounds it promises."""

import random
from typing import Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemtu.core import ladder, search

Icmp = Literal["none", "honest", "rarely", "low", "zero", "absurd"]


class Path(msgspec.Struct):
    """A path of `mtu` bytes that loses, refuses and fragments as told; `bad` are rounds that lose packets that fit."""

    mtu: int
    icmp: Icmp = "none"
    loss: float = 0.0  # of a round trip
    fragments: bool = False
    slow: float = 0.0  # the share of answers that come only after their round was closed
    bad: frozenset[int] = frozenset()
    seed: int = 0

    def play(self, question: search.Question) -> search.Found:
        """Let a search loose on this path, deliver what comes late, and return its end."""
        chance = random.Random(self.seed)
        machine = search.Search(question)
        for number in range(search.ROUNDS_MOST + 1):
            sizes = machine.burst()
            assert all(size <= machine.top for size in sizes)
            assert sizes[-1] == question.small
            fates = self._fates(sizes, chance, number in self.bad)
            late = {
                place
                for place, fate in enumerate(fates)
                if fate.kind == "arrived" and sizes[place] != question.small and chance.random() < self.slow
            }
            machine.feed(sizes, [search.LOST if place in late else fate for place, fate in enumerate(fates)])
            for place in late:
                machine.late(sizes[place], fates[place])
            if machine.found is not None:
                return machine.found
        raise AssertionError("the search did not end")

    def _fates(self, sizes: tuple[int, ...], chance: random.Random, bad: bool) -> list[search.Fate]:
        seen: set[int] = set()
        fates = []
        for size in sizes:
            first = size not in seen
            seen.add(size)
            if size > self.mtu:
                fates.append(self._above(size, chance))
            elif (bad and first and size > 100) or chance.random() < self.loss:
                fates.append(search.LOST)
            else:
                fates.append(search.ARRIVED)
        return fates

    def _above(self, size: int, chance: random.Random) -> search.Fate:
        if self.fragments:
            return search.Fate("fragmented", 20 + (self.mtu - 20) // 8 * 8)
        if self.icmp == "none" or (self.icmp == "rarely" and chance.random() < 0.9) or chance.random() < self.loss:
            return search.LOST
        quoted = {"low": chance.randint(68, self.mtu), "zero": 0, "absurd": size + 7}.get(self.icmp, self.mtu)
        return search.Fate("too big", quoted, "192.0.2.1")


def ask(top: int, expected: int | None = None) -> search.Question:
    return search.Question(
        top=top, expected=expected or top, likely=ladder.likely(top), hypotheses=ladder.hypotheses(top)
    )


def ended(machine: search.Search) -> bool:
    return machine.found is not None


mtus = st.integers(576, 65535)


@given(
    mtu=mtus, above=st.integers(0, 65000), icmp=st.sampled_from(["none", "honest", "rarely", "low", "zero", "absurd"])
)
@settings(max_examples=150, deadline=None)
def test_every_mtu_is_found_exactly_and_soon(mtu: int, above: int, icmp: Icmp) -> None:
    top = min(mtu + above, 65535)
    found = Path(mtu=mtu, icmp=icmp).play(ask(top))
    assert (found.ending, found.mtu) == ("exact", mtu)
    assert found.rounds <= (6 if icmp == "none" else 9)


@given(mtu=mtus, below=st.integers(0, 65000), top=mtus)
@settings(max_examples=60, deadline=None)
def test_an_expectation_below_the_interface_hides_nothing(mtu: int, below: int, top: int) -> None:
    expected = max(top - below, 576)
    found = Path(mtu=mtu).play(ask(top, expected))
    assert (found.ending, found.mtu) == ("exact", min(mtu, top))
    assert found.rounds <= 6


@given(
    mtu=st.integers(576, 9001),
    top=st.sampled_from([1500, 9000, 9001, 65535]),
    loss=st.sampled_from([0.002, 0.02, 0.1, 0.2, 0.36, 0.6]),
    icmp=st.sampled_from(["none", "honest", "low"]),
    slow=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 1 << 32),
)
@settings(max_examples=150, deadline=None)
def test_loss_never_makes_a_wrong_answer(mtu: int, top: int, loss: float, icmp: Icmp, slow: float, seed: int) -> None:
    found = Path(mtu=mtu, icmp=icmp, loss=loss, slow=slow, seed=seed).play(ask(top))
    assert found.rounds <= 24
    if found.ending == "exact":
        assert found.mtu == min(mtu, top)
    else:
        assert found.ending in {"lossy", "unreachable"}
        assert loss >= 0.36
        assert found.mtu <= min(mtu, top)


@given(mtu=st.integers(576, 9001), bad=st.sets(st.integers(0, 8), max_size=3), seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_a_round_that_loses_what_fits_costs_three_more_at_most(mtu: int, bad: set[int], seed: int) -> None:
    found = Path(mtu=mtu, bad=frozenset(bad), seed=seed).play(ask(9001))
    assert (found.ending, found.mtu) == ("exact", mtu)
    assert found.rounds <= 6 + 3 * len(bad)


@given(mtu=st.integers(576, 8999))
@settings(max_examples=60, deadline=None)
def test_fragments_on_the_way_are_no_arrival(mtu: int) -> None:
    found = Path(mtu=mtu, fragments=True).play(ask(9000))
    assert (found.ending, found.mtu, found.limit) == ("exact", mtu, "fragments")
    assert found.rounds <= 3
    assert found.fragment == 20 + (mtu - 20) // 8 * 8


@pytest.mark.parametrize(
    ("mtu", "icmp", "rounds", "limit"),
    [
        (1500, "none", 1, "own interface"),
        (1450, "none", 2, "silence"),  # VXLAN over IPv4: 1500 - 20 - 8 - 8 - 14
        (1454, "none", 2, "silence"),  # a veth of 1450
        (1440, "none", 2, "silence"),  # WireGuard over IPv4
        (1450, "honest", 2, "router"),
        (1433, "honest", 2, "router"),
        (1433, "none", 3, "silence"),
    ],
)
def test_the_usual_sizes_are_found_in_two_rounds(mtu: int, icmp: Icmp, rounds: int, limit: str) -> None:
    found = Path(mtu=mtu, icmp=icmp).play(ask(1500))
    assert (found.mtu, found.rounds, found.limit) == (mtu, rounds, limit)
    assert found.packets <= 170


def test_a_healthy_path_takes_one_large_packet() -> None:
    machine = search.Search(ask(1500))
    assert machine.burst() == (88, 1500, 88, 88, 88)
    machine.feed(machine.burst(), [search.ARRIVED] * 5)
    assert machine.found is not None
    assert (machine.found.ending, machine.found.mtu, machine.found.limit) == ("exact", 1500, "own interface")


def test_two_silent_rounds_are_unreachable_and_not_an_mtu() -> None:
    machine = search.Search(ask(1500))
    for _ in range(2):
        assert machine.found is None
        sizes = machine.burst()
        machine.feed(sizes, [search.LOST] * len(sizes))
    assert machine.found is not None
    assert (machine.found.ending, machine.found.mtu) == ("unreachable", 0)


def test_a_local_refusal_lowers_the_interface_and_blames_no_path() -> None:
    machine = search.Search(ask(1600))
    sizes = machine.burst()
    machine.feed(sizes, [search.Fate("refused here", 1500) if size > 1500 else search.ARRIVED for size in sizes])
    sizes = machine.burst()
    assert max(sizes) == 1500
    machine.feed(sizes, [search.ARRIVED] * len(sizes))
    assert machine.found is not None
    assert (machine.found.mtu, machine.found.limit, machine.found.top) == (1500, "own interface", 1500)


def test_an_overflowing_queue_proves_nothing_and_is_asked_for_less() -> None:
    machine = search.Search(ask(9000))
    lengths = []
    while machine.found is None:
        sizes = machine.burst()
        lengths.append(len(sizes))
        machine.feed(sizes, [search.ARRIVED if size == 88 else search.LOST for size in sizes], void=True)
    assert (machine.found.ending, machine.found.mtu) == ("overloaded", 88)
    assert len(lengths) == 5
    assert lengths[-1] < lengths[1] / 2


def test_an_overflow_that_passes_does_no_harm() -> None:
    machine = search.Search(ask(9000))
    for number in range(10):
        sizes = machine.burst()
        void = number < 3
        fates = [search.ARRIVED if size <= (100 if void else 1500) else search.LOST for size in sizes]
        machine.feed(sizes, fates, void=void)
        if machine.found is not None:
            break
    assert machine.found is not None
    assert (machine.found.ending, machine.found.mtu) == ("exact", 1500)


def test_a_late_answer_reopens_the_search() -> None:
    machine = search.Search(ask(1500))
    while machine.found is None:
        sizes = machine.burst()
        machine.feed(sizes, [search.ARRIVED if size <= 1450 else search.LOST for size in sizes])
    assert machine.found.mtu == 1450
    machine.late(1460, search.ARRIVED)
    assert not ended(machine)
    sizes = machine.burst()
    assert min(size for size in sizes if size > 88) >= 1460


def test_a_claim_about_no_packet_in_particular_is_tried_and_not_believed() -> None:
    machine = search.Search(ask(9000))
    machine.hint(3333, "192.0.2.1")
    rounds = 0
    while machine.found is None:
        sizes = machine.burst()
        rounds += 1
        machine.feed(sizes, [search.ARRIVED if size <= 3333 else search.LOST for size in sizes])
    assert rounds == 2
    assert (machine.found.mtu, machine.found.limit) == (3333, "silence")
    doubted = search.Search(ask(9000))
    doubted.hint(3333, "192.0.2.1")
    sizes = doubted.burst()
    doubted.feed(sizes, [search.ARRIVED] * len(sizes))
    assert doubted.found is not None
    assert doubted.found.mtu == 9000


def test_giving_up_says_what_is_known() -> None:
    machine = search.Search(ask(1500))
    machine.give_up()
    assert machine.found is not None
    assert machine.found.ending == "unreachable"


@pytest.mark.parametrize(
    ("fitting", "lost", "needed"),
    [
        (20, 0, 6),  # max over p of (1-p)^20 p^6 = 8e-7, at p = 6/26
        (19, 0, 7),
        (1000, 0, 6),  # never fewer than six
        (2, 0, 65),  # two packets tell nothing about the rate
    ],
)
def test_losses_needed_are_those_that_no_rate_of_loss_explains(fitting: int, lost: int, needed: int) -> None:
    assert search.losses_needed(fitting, lost, 1e-6) == needed


@given(st.integers(1, 400), st.floats(0, 0.5))
def test_more_loss_needs_more_losses(fitting: int, share: float) -> None:
    lost = int(fitting * share)
    needed = search.losses_needed(fitting, lost, 1e-6)
    assert 6 <= needed <= 65
    if needed <= 64:  # at every rate of loss, seeing this by accident is rarer than one in a million
        from math import comb

        for rate in (0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7):
            assert comb(fitting, lost) * rate ** (lost + needed) * (1 - rate) ** (fitting - lost) <= 1.01e-6


def test_impossible_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="must hold"):
        search.Question(top=1500, expected=1600)

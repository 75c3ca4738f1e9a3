"""The search finds the MTU of every path, whatever the path does, within the rounds it promises."""

import random
from collections import Counter
from math import comb
from typing import Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemtu.core.path import known_sizes, search, significance

Icmp = Literal["none", "honest", "rarely", "once a round", "low", "zero", "absurd", "anything"]


class Path(msgspec.Struct):
    """A path of `mtu` bytes behind an interface of `top`, that loses, refuses and fragments as told."""

    mtu: int
    top: int = 65535
    icmp: Icmp = "none"
    loss: float = 0.0  # of a round trip
    fragments: bool = False
    swallow: int = 65535  # what is larger vanishes before any router sees it
    slow: float = 0.0  # the share of answers that come only after their round was closed
    bad: frozenset[int] = frozenset()  # rounds that lose packets that fit, of no size more than one
    budget: int = 0  # packets that fit that are lost where it hurts most
    seed: int = 0

    def play(self, question: search.Question, *hints: int) -> search.SearchResult:
        """Let a search loose on this path, deliver what comes late, and return its end."""
        chance = random.Random(self.seed)
        machine = search.Search(question)
        for hint in hints:
            machine.hint(hint, "192.0.2.1")
        for number in range(24):
            sizes = machine.burst()
            assert all(size <= machine.top for size in sizes)
            assert sizes[-1] == question.small
            assert Counter(sizes)[question.small] <= 300
            assert len(sizes) <= 500
            fates = self._fates(sizes, chance, machine.low, number in self.bad)
            late = {
                place
                for place, fate in enumerate(fates)
                if fate.kind == "arrived" and sizes[place] != question.small and chance.random() < self.slow
            }
            machine.feed(sizes, [search.LOST if place in late else fate for place, fate in enumerate(fates)])
            for place in late:
                machine.late(sizes[place], fates[place])
            if machine.result is not None:
                return machine.result
        raise AssertionError("the search did not end")

    def _fates(self, sizes: tuple[int, ...], chance: random.Random, low: int, bad: bool) -> list[search.Fate]:
        seen: set[int] = set()
        fates: list[search.Fate] = []
        told = False
        for size in sizes:
            first = size not in seen
            if size > self.top:
                fates.append(search.Fate("refused here", self.top if self.seed % 2 else 0))
            elif size > self.mtu:
                fates.append(self._above(size, chance, not told))
                told = True
            elif self.budget and low < size and size > 100:
                self.budget -= 1
                fates.append(search.LOST)
            elif (bad and first and size > 100) or chance.random() < self.loss:
                fates.append(search.LOST)
            else:
                fates.append(search.ARRIVED)
            seen.add(size)
        return fates

    def _above(self, size: int, chance: random.Random, first: bool) -> search.Fate:
        if self.fragments:
            return search.Fate("fragmented", 20 + (self.mtu - 20) // 8 * 8)
        if size > self.swallow:
            return search.LOST
        if self.icmp == "none" or (self.icmp == "rarely" and chance.random() < 0.9) or chance.random() < self.loss:
            return search.LOST
        if self.icmp == "once a round" and not first:
            return search.LOST
        lies = {
            "low": chance.randint(68, self.mtu),
            "zero": 0,
            "absurd": size + 7,
            "anything": chance.randint(0, 65535),
        }
        return search.Fate("too big", lies.get(self.icmp, self.mtu), "192.0.2.1")


def ask(top: int, expected: int | None = None, suspected: tuple[int, ...] = ()) -> search.Question:
    return search.Question(
        top=top,
        expected=expected or top,
        likely=known_sizes.likely(top),
        hypotheses=known_sizes.hypotheses(top),
        suspected=suspected,
    )


def ended(machine: search.Search) -> bool:
    return machine.result is not None


mtus = st.integers(576, 65535)
icmps = st.sampled_from(["none", "honest", "rarely", "once a round", "low", "zero", "absurd", "anything"])


@st.composite
def questions(draw: st.DrawFn, mtu: int) -> search.Question:
    """Anything that may be asked of a path of that many bytes: wrong, right and empty lists, and any expectation."""
    top = min(mtu + draw(st.integers(0, 3) | st.integers(0, 65000)), 65535)
    near = st.integers(mtu - 4, mtu + 4)
    few = st.lists(st.integers(-9, 70000) | near, max_size=7).map(tuple)
    return search.Question(
        top=top,
        expected=draw(st.just(top) | st.just(mtu) | st.integers(89, top)),
        likely=draw(st.just(known_sizes.likely(top)) | few | st.lists(st.integers(0, 70000), max_size=300).map(tuple)),
        hypotheses=draw(st.just(known_sizes.hypotheses(top)) | few),
        suspected=draw(st.just(()) | few),
    )


@given(data=st.data(), mtu=mtus, icmp=icmps, hints=st.lists(mtus, max_size=4), seed=st.integers(0, 99))
@settings(max_examples=300, deadline=None)
def test_every_mtu_is_found_exactly_and_soon_whatever_was_asked(
    data: st.DataObject, mtu: int, icmp: Icmp, hints: list[int], seed: int
) -> None:
    question = data.draw(questions(mtu))
    here = data.draw(st.just(65535) | st.integers(576, 65535))
    fragments = data.draw(st.booleans())
    swallow = data.draw(st.just(65535) | st.integers(mtu, mtu + 8) | st.integers(576, 65535))
    path = Path(mtu=mtu, top=here, icmp=icmp, fragments=fragments and swallow >= here, swallow=swallow, seed=seed)
    found = path.play(question, *hints)
    assert (found.ending, found.mtu) == ("exact", min(mtu, here))
    assert found.rounds <= (6 if icmp == "none" and not hints and not fragments else 9)


@given(
    mtu=st.integers(576, 8990),
    top=st.sampled_from([1500, 9000, 9001]),
    beyond=st.integers(1, 500),
    loss=st.sampled_from([0.0, 0.02, 0.1]),
    expected=st.integers(576, 9001),
    suspected=st.just(()) | st.tuples(st.integers(576, 9001)),
    seed=st.integers(0, 1 << 32),
)
@settings(max_examples=300, deadline=None)
def test_a_word_of_a_router_counts_for_what_it_can_be_said_of(
    mtu: int, top: int, beyond: int, loss: float, expected: int, suspected: tuple[int, ...], seed: int
) -> None:
    """What a veth swallows, the router behind it does not see: only what lies between them is refused."""
    mtu, expected = min(mtu, top - 2), min(expected, top)
    swallow = min(mtu + beyond, top - 1)
    question = ask(top, expected, suspected)
    swallowed = Path(mtu=mtu, icmp="honest", loss=loss, swallow=swallow, seed=seed).play(question)
    whole = Path(mtu=mtu, icmp="honest", loss=loss, seed=seed).play(question)
    assert (swallowed.ending, swallowed.mtu) == ("exact", mtu)
    assert (
        swallowed.full_size_vanishes == (swallowed.limit == "router") or expected <= swallow
    )  # then senders meet the router
    assert (whole.ending, whole.mtu, whole.full_size_vanishes) == ("exact", mtu, False)
    if not loss and not suspected and expected == top:
        assert swallowed.limit == "router"


@given(mtu=st.integers(576, 8990), top=st.sampled_from([1500, 9000, 9001]), suspected=st.tuples(st.integers(576, 9001)))
def test_a_router_that_seldom_speaks_is_believed(mtu: int, top: int, suspected: tuple[int, ...]) -> None:
    """As many do: one message a second, which may be about any of the packets of a burst."""
    for question in (ask(top), ask(top, 700), ask(top, suspected=suspected)):
        assert not Path(mtu=min(mtu, top - 1), icmp="once a round").play(question).full_size_vanishes


def test_the_bounds_are_met_and_so_not_too_wide() -> None:
    quiet = [Path(mtu=mtu).play(ask(65535)).rounds for mtu in range(577, 65536, 997)]
    lied_to = [
        Path(mtu=mtu, icmp="low", seed=mtu, swallow=swallow).play(ask(65535)).rounds
        for mtu in range(577, 65536, 397)
        for swallow in (65535, mtu + 4)
    ]
    assert (max(quiet), max(lied_to)) == (6, 9)


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


@given(data=st.data(), mtu=st.integers(576, 9001), bad=st.sets(st.integers(0, 8), max_size=3), seed=st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_a_round_that_loses_what_fits_costs_three_more_at_most(
    data: st.DataObject, mtu: int, bad: set[int], seed: int
) -> None:
    top = data.draw(st.integers(mtu, 9001))
    suspected = data.draw(st.just(()) | st.tuples(st.integers(576, 9001)))
    expected = data.draw(st.just(top) | st.integers(576, top))
    found = Path(mtu=mtu, bad=frozenset(bad), seed=seed).play(ask(top, expected, suspected))
    assert (found.ending, found.mtu) == ("exact", mtu)
    assert found.rounds <= 6 + 3 * len(bad)


@given(data=st.data(), mtu=mtus, icmp=st.sampled_from(["none", "honest"]))
@settings(max_examples=150, deadline=None)
def test_five_losses_make_no_wrong_answer_wherever_they_hurt_most(data: st.DataObject, mtu: int, icmp: Icmp) -> None:
    found = Path(mtu=mtu, icmp=icmp, budget=5).play(data.draw(questions(mtu)))
    assert (found.ending, found.mtu) == ("exact", mtu)


def test_a_round_that_loses_a_stretch_of_its_sizes_is_made_up_for_at_once() -> None:
    """Every copy of forty neighbours is lost, as in a short outage; they are not tried one by one then."""
    machine = search.Search(ask(1500))
    rounds = 0
    while machine.result is None:
        sizes = machine.burst()
        rounds += 1
        outage = set(sizes) - {88} if rounds == 3 else set()
        machine.feed(sizes, [search.LOST if size > 1437 or size in outage else search.ARRIVED for size in sizes])
    assert (machine.result.ending, machine.result.mtu) == ("exact", 1437)
    assert rounds <= 7


def policed(mtu: int, top: int, *, bucket: int, refill: int, seed: int) -> search.SearchResult:
    """A path that lets through so many bytes at once, and so many more a packet: small ones fit when none else do."""
    chance = random.Random(seed)
    machine = search.Search(ask(top))
    left = 0 if seed % 3 == 0 else bucket
    while machine.result is None:
        sizes = machine.burst()
        fates = []
        for size in sizes:
            left = min(left + refill, bucket)
            passes = size <= mtu and size <= left
            left -= size * passes
            fates.append(search.ARRIVED if passes else search.LOST)
        machine.feed(sizes, fates)
        left = min(left + chance.choice([20 * refill, bucket]), bucket)
    return machine.result


@pytest.mark.parametrize(
    ("bucket", "refill"),
    [(5000, 100), (5000, 300), (10_000, 100), (10_000, 300), (20_000, 300), (40_000, 0), (100_000, 0), (100_000, 300)],
)
def test_bytes_that_are_policed_make_no_mtu(bucket: int, refill: int) -> None:
    ends = set()
    for seed in range(40):
        for mtu, top in ((1500, 1500), (1450, 1500), (8950, 9000), (1377, 9000)):
            found = policed(mtu, top, bucket=bucket, refill=refill, seed=seed)
            ends.add(found.ending)
            assert found.mtu == mtu or found.ending != "exact", (found, mtu, seed)
    assert ends <= {"exact", "lossy", "unreachable"}
    assert "exact" in ends


@given(mtu=st.integers(576, 8999))
@settings(max_examples=60, deadline=None)
def test_fragments_on_the_way_are_no_arrival(mtu: int) -> None:
    found = Path(mtu=mtu, fragments=True).play(ask(9000))
    assert (found.ending, found.mtu, found.limit) == ("exact", mtu, "fragments")
    assert found.rounds <= 3
    assert found.largest_fragment == 20 + (mtu - 20) // 8 * 8


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
    assert machine.result is not None
    assert (machine.result.ending, machine.result.mtu, machine.result.limit) == ("exact", 1500, "own interface")


def test_two_silent_rounds_are_unreachable_and_not_an_mtu() -> None:
    machine = search.Search(ask(1500))
    for _ in range(2):
        assert machine.result is None
        sizes = machine.burst()
        machine.feed(sizes, [search.LOST] * len(sizes))
    assert machine.result is not None
    assert (machine.result.ending, machine.result.mtu) == ("unreachable", 0)


def test_a_local_refusal_lowers_the_interface_and_blames_no_path() -> None:
    machine = search.Search(ask(1600))
    sizes = machine.burst()
    machine.feed(sizes, [search.Fate("refused here", 1500) if size > 1500 else search.ARRIVED for size in sizes])
    sizes = machine.burst()
    assert max(sizes) == 1500
    machine.feed(sizes, [search.ARRIVED] * len(sizes))
    assert machine.result is not None
    assert (machine.result.mtu, machine.result.limit, machine.result.interface_mtu) == (1500, "own interface", 1500)


def test_an_overflowing_queue_proves_nothing_and_is_asked_for_less() -> None:
    machine = search.Search(ask(9000))
    lengths = []
    while machine.result is None:
        sizes = machine.burst()
        lengths.append(len(sizes))
        machine.feed(sizes, [search.ARRIVED if size == 88 else search.LOST for size in sizes], void=True)
    assert (machine.result.ending, machine.result.mtu) == ("overloaded", 88)
    assert len(lengths) == 5
    assert lengths[-1] < lengths[1] / 2


def test_an_overflow_that_passes_does_no_harm() -> None:
    machine = search.Search(ask(9000))
    for number in range(10):
        sizes = machine.burst()
        void = number < 3
        fates = [search.ARRIVED if size <= (100 if void else 1500) else search.LOST for size in sizes]
        machine.feed(sizes, fates, void=void)
        if machine.result is not None:
            break
    assert machine.result is not None
    assert (machine.result.ending, machine.result.mtu) == ("exact", 1500)


def test_a_late_answer_reopens_the_search() -> None:
    machine = search.Search(ask(1500))
    while machine.result is None:
        sizes = machine.burst()
        machine.feed(sizes, [search.ARRIVED if size <= 1450 else search.LOST for size in sizes])
    assert machine.result.mtu == 1450
    machine.late(1460, search.ARRIVED)
    assert not ended(machine)
    sizes = machine.burst()
    assert min(size for size in sizes if size > 88) >= 1460


def test_what_comes_late_ends_nothing_by_silence() -> None:
    """Answers that are late come one by one: while they do, the largest so far says nothing about the next."""
    machine = search.Search(ask(1500))
    for _ in range(2):
        sizes = machine.burst()
        machine.feed(sizes, [search.ARRIVED if size == 88 else search.LOST for size in sizes])
    for size in sorted(size for size in sizes if 88 < size <= 1450):
        machine.late(size, search.ARRIVED)
        assert not ended(machine)
    sizes = machine.burst()
    machine.feed(sizes, [search.ARRIVED if size <= 1450 else search.LOST for size in sizes])
    assert machine.result is not None
    assert (machine.result.mtu, machine.result.limit) == (1450, "silence")


def test_what_other_paths_carry_is_asked_for_at_once() -> None:
    assert Path(mtu=1377).play(ask(1500, suspected=(1377,))).rounds == 1
    assert Path(mtu=1500).play(ask(1500, suspected=(1377, 1450))).rounds == 1
    assert Path(mtu=1450).play(ask(1500, suspected=(1377,))).rounds == 2
    found = Path(mtu=1480).play(ask(1500, 1400, suspected=(1377,)))  # what is expected is below what arrives
    assert (found.mtu, found.ending) == (1480, "exact")
    assert found.rounds <= 4


def test_claims_without_a_packet_cannot_pile_up() -> None:
    machine = search.Search(ask(9000))
    for mtu in range(600, 8000):
        machine.hint(mtu, "192.0.2.1")
    assert len(machine.burst()) <= 100


def test_a_claim_about_no_packet_in_particular_is_tried_and_not_believed() -> None:
    machine = search.Search(ask(9000))
    machine.hint(3333, "192.0.2.1")
    rounds = 0
    while machine.result is None:
        sizes = machine.burst()
        rounds += 1
        machine.feed(sizes, [search.ARRIVED if size <= 3333 else search.LOST for size in sizes])
    assert rounds == 1  # it was known before the first packet, and asked for with it
    assert (machine.result.mtu, machine.result.limit) == (3333, "silence")
    doubted = search.Search(ask(9000))
    doubted.hint(3333, "192.0.2.1")
    sizes = doubted.burst()
    doubted.feed(sizes, [search.ARRIVED] * len(sizes))
    assert doubted.result is not None
    assert doubted.result.mtu == 9000


def test_giving_up_says_what_is_known() -> None:
    machine = search.Search(ask(1500))
    machine.give_up()
    assert machine.result is not None
    assert machine.result.ending == "unreachable"


@pytest.mark.parametrize(
    ("fitting", "lost", "needed"),
    [
        (20, 0, 6),  # max over p of (1-p)^20 p^6 = 8e-7, at p = 6/26
        (19, 0, 7),
        (1000, 0, 6),  # never fewer than six
        (2, 0, 65),  # two packets tell nothing about the rate
        (0, 0, 65),
        (10_000, 975, 6),  # 5 % each way: 0.0975^6 = 8.6e-7
        (10_000, 1900, 9),  # 10 % each way: 0.19^8 = 1.7e-6 is too much
        (10_000, 3600, 14),  # 20 % each way: 0.36^13 = 1.7e-6
        (1000, 100, 7),  # the true rate may be a little more than 10 %
        (100, 10, 7),
        (50, 5, 8),
        (100, 90, 65),
    ],
)
def test_losses_needed_are_those_that_no_rate_of_loss_explains(fitting: int, lost: int, needed: int) -> None:
    assert significance.needed(fitting, lost, 1e-6) == needed


@pytest.mark.parametrize("fitting", [10, 20, 50, 200, 1000])
def test_at_no_rate_of_loss_is_the_risk_more_than_was_accepted(fitting: int) -> None:
    """Over all that may become of what fits: how likely it is, times that of then losing as many as is needed."""
    needed = [significance.needed(fitting, lost, 1e-6) for lost in range(fitting + 1)]
    for rate in (percent / 100 for percent in range(1, 100, 3)):
        risk = sum(
            comb(fitting, lost) * rate ** (lost + more) * (1 - rate) ** (fitting - lost)
            for lost, more in enumerate(needed)
            if more <= 64
        )
        assert risk <= 1.05e-6, (rate, risk)


@given(st.integers(1, 400), st.floats(0, 1))
def test_more_loss_needs_more_losses(fitting: int, share: float) -> None:
    lost = int(fitting * share)
    needed = significance.needed(fitting, lost, 1e-6)
    assert 6 <= needed <= 65
    assert needed <= significance.needed(fitting, min(lost + 1, fitting), 1e-6)
    assert needed <= significance.needed(fitting, lost, 1e-7)


def test_impossible_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="must hold"):
        search.Question(top=1500, expected=1600)

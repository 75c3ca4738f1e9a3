"""A burst ends when its tail is answered, not when a clock says so, and forgives what was overtaken.

Then whole sessions in simulated time: bursts and searches together, over networks that lose, overtake and are silent.
"""

import heapq
import random
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemtu.core.path import burst, known_sizes, search

SIZES = (88, 1400, 1500, 88, 88, 88)


def begun(sizes: tuple[int, ...] = SIZES, *, enough: int = 9000, rtt: float = 0.0) -> burst.Burst:
    return burst.Burst(sizes, small=88, enough=enough, now=10.0, rtt=rtt)


def test_the_largest_size_that_can_be_asked_for_ends_it_at_once() -> None:
    one = begun(enough=1500)
    assert one.answered(2, search.ARRIVED, 10.0001)
    assert one.over(10.0001)
    assert [fate.kind for fate in one.fates()] == ["unknown", "unknown", "arrived", "unknown", "unknown", "unknown"]


def test_an_answered_tail_closes_after_a_grace() -> None:
    one = begun()
    one.answered(0, search.ARRIVED, 10.0001)
    one.answered(1, search.ARRIVED, 10.0001)
    assert not one.over(10.0101)
    one.answered(4, search.ARRIVED, 10.0002)
    assert not one.over(10.0021)
    assert one.over(10.0023)  # 2 ms after the tail
    assert [fate.kind for fate in one.fates()] == ["arrived", "arrived", "lost", "lost", "arrived", "unknown"]


def test_the_grace_is_a_quarter_of_a_long_round_trip() -> None:
    one = begun()
    one.answered(4, search.ARRIVED, 10.1)
    assert not one.over(10.1249)
    assert one.over(10.1251)


def test_what_comes_twice_counts_once() -> None:
    one = begun()
    assert one.answered(1, search.ARRIVED, 10.0001)
    assert not one.answered(1, search.ARRIVED, 10.0002)
    assert not one.answered(99, search.ARRIVED, 10.0002)


def test_what_arrives_although_a_router_refused_it_has_arrived() -> None:
    one = begun()
    assert one.answered(2, search.Fate("too big", 1400, "192.0.2.1"), 10.0001)
    assert one.answered(2, search.ARRIVED, 10.0002)
    assert not one.answered(2, search.Fate("too big", 1400, "192.0.2.1"), 10.0003)
    for place in (0, 1, 3, 4):
        assert not one.over(10.0004)
        one.answered(place, search.ARRIVED, 10.0004)
    one.answered(5, search.ARRIVED, 10.0004)
    assert one.over(10.0004)
    assert {fate.kind for fate in one.fates()} == {"arrived"}


def test_an_answer_that_came_later_than_that_is_waited_for_from_then_on() -> None:
    one = burst.Burst(SIZES, small=88, enough=9000, now=10.0, rtt=0.0002, slowest=0.008)
    one.answered(4, search.ARRIVED, 10.0002)
    assert not one.over(10.0099)  # 8 ms and a quarter
    assert one.over(10.0101)
    two = begun()
    two.answered(4, search.ARRIVED, 10.0002)
    two.overtaken(0.012)  # an answer to the burst before
    assert not two.over(10.0149)
    assert two.over(10.0151)
    three = burst.Burst(SIZES, small=88, enough=9000, now=10.0, slowest=1.5)  # a neighbour that was not known then
    three.answered(4, search.ARRIVED, 10.0002)
    assert three.over(11.0)


def test_small_packets_are_sent_again_until_one_is_answered() -> None:
    one = begun()
    assert one.again(10.01) == []
    assert one.wake() == 10.02
    assert one.again(10.0201) == [6]
    assert one.again(10.0202) == []
    assert one.again(10.0601) == [7]
    one.answered(6, search.ARRIVED, 10.061)
    assert one.again(10.15) == []
    assert one.over(10.09)
    assert one.sizes == [*SIZES, 88, 88]


def test_what_was_sent_again_is_not_waited_for_when_all_else_is_known() -> None:
    one = burst.Burst([68, 1500, 68, 68, 68], small=68, enough=1500, now=0.0)
    assert one.again(0.021) == [5]  # a path of 100 ms has not answered by then
    one.answered(1, search.Fate("too big", 1450, "192.0.2.1"), 0.0001)
    for place in (0, 2, 3, 4):
        assert not one.over(0.1)
        one.answered(place, search.ARRIVED, 0.1)
    assert one.over(0.1)


def test_a_dead_peer_is_given_a_second() -> None:
    one = begun()
    now, sent = 10.0, 0
    while not one.over(now):
        now = one.wake()
        sent += len(one.again(now))
    assert sent == 5
    assert now == 11.0
    assert {fate.kind for fate in one.fates()} == {"lost"}


def test_a_long_round_trip_is_not_asked_again_too_early() -> None:
    one = begun(rtt=0.1)
    assert one.again(10.14) == []
    assert one.again(10.31) == [6]


@given(seed=st.integers(0, 10_000), mtu=st.integers(576, 1600), loss=st.sampled_from([0.0, 0.05, 0.3]))
def test_whatever_order_answers_come_in_within_the_grace_nothing_that_arrived_is_called_lost(
    seed: int, mtu: int, loss: float
) -> None:
    chance = random.Random(seed)
    sizes = (88, *range(1400, 1500, 10), 88, 88, 88)
    one = begun(sizes)
    arriving = [place for place, size in enumerate(sizes) if size <= mtu and chance.random() >= loss]
    heard = sorted((10.0004 + chance.random() * 0.0015, place) for place in arriving)  # overtaking by up to 1.5 ms
    now = 10.0
    while not one.over(now):
        now = min(one.wake(), heard[0][0]) if heard else one.wake()
        one.again(now)
        while heard and heard[0][0] <= now:
            one.answered(heard.pop(0)[1], search.ARRIVED, now)
    fates = one.fates()[: len(sizes)]
    assert {place for place, fate in enumerate(fates) if fate.kind == "arrived"} == set(arriving)


class Air(msgspec.Struct):
    """A network in simulated time: what is sent into it comes back later, if at all; times are in seconds."""

    mtu: int
    rtt: float
    loss: float = 0.0  # each way
    run: float = 1.0  # how many packets in a row are lost, on average, when one is
    overtaking: float = 0.0  # by how much an answer may be late
    slow: float = 0.0  # how much longer large packets take
    icmp: bool = False
    seed: int = 0
    chance: random.Random = msgspec.field(default_factory=random.Random)
    heard: list[tuple[float, int, bool]] = []
    losing: list[bool] = msgspec.field(default_factory=lambda: [False, False])

    def play(self, question: search.Question) -> tuple[search.SearchResult, float]:
        """Measure through it as a session does; return what was found, and after how long."""
        self.chance.seed(self.seed)
        machine, now, number, rtt, slowest = search.Search(question), 0.0, 0, 0.0, 0.0
        past: dict[int, tuple[int, float]] = {}
        while machine.result is None:
            sizes = machine.burst()
            one = burst.Burst(sizes, small=88, enough=machine.top, now=now, rtt=rtt, slowest=slowest)
            for place, size in enumerate(sizes):
                self.send(now + place * 2e-6, number + place, size)
            while machine.result is None and not one.over(now):
                now = min([one.wake(), *(when for when, _, _ in self.heard[:1])])
                for place in one.again(now):
                    self.send(now, number + place, 88)
                while self.heard and self.heard[0][0] <= now:
                    _, answered, arrived = heapq.heappop(self.heard)
                    fate = search.ARRIVED if arrived else search.Fate("too big", self.mtu, "192.0.2.1")
                    if answered >= number:
                        one.answered(answered - number, fate, now)
                    elif answered in past:
                        size, sent = past.pop(answered)
                        machine.late(size, fate)
                        if size != 88:
                            slowest = max(slowest, now - sent)
                            one.overtaken(slowest)
            if machine.result is None:
                fates = one.fates()
                machine.feed(one.sizes, fates)
                lost = (place for place, fate in enumerate(fates) if fate.kind == "lost")
                past |= {number + place: (one.sizes[place], one.began) for place in lost}
                rtt, number = one.rtt, number + len(one.sizes)
        return machine.result, now

    def send(self, now: float, number: int, size: int) -> None:
        if self._lost(0) or self._lost(1) or (size > self.mtu and not self.icmp):
            return
        late = self.chance.random() * self.overtaking + self.slow * (size > 88)
        heapq.heappush(self.heard, (now + self.rtt + late, number, size <= self.mtu))

    def _lost(self, way: int) -> bool:
        stays = 1 - 1 / self.run if self.losing[way] else self.loss / (1 - self.loss) / self.run
        self.losing[way] = self.chance.random() < (self.loss if self.run == 1 else stays)
        return self.losing[way]


def sessions(number: int, **kinds: float) -> Counter[str]:
    """How so many sessions ended, over paths of all kinds that have this in common."""
    ends: Counter[str] = Counter()
    for seed in range(number):
        chance = random.Random(seed)
        top = chance.choice([1500, 1500, 9000])
        mtu = chance.choice([top, chance.randint(576, top), chance.choice(known_sizes.hypotheses(top))])
        question = search.Question(
            top=top,
            expected=chance.choice([top, top, mtu]),
            likely=known_sizes.likely(top),
            hypotheses=known_sizes.hypotheses(top),
            suspected=chance.choice([(), (), (mtu,), (1377, 1450)]),
        )
        air = Air(mtu=mtu, rtt=chance.choice([0.0001, 0.01, 0.1]), seed=seed, heard=[], **kinds)  # type: ignore[arg-type]  # icmp is a number, too
        found, _ = air.play(question)
        right = found.mtu == mtu if found.ending == "exact" else found.mtu <= mtu
        ends[found.ending if right else f"wrong: {air}"] += 1
    return ends


@pytest.mark.parametrize(
    ("number", "kinds"),
    [
        (2000, {"loss": 0.05}),
        (1000, {"loss": 0.05, "icmp": True}),
        (1000, {"loss": 0.2}),
        (500, {"loss": 0.2, "overtaking": 0.0015}),
        (500, {"overtaking": 0.005}),
        (500, {"slow": 0.003}),
        (500, {"slow": 0.003, "icmp": True}),
    ],
    ids=str,
)
def test_of_whole_sessions_none_is_wrong(number: int, kinds: dict[str, float]) -> None:
    assert sessions(number, **kinds) == {"exact": number}


@pytest.mark.parametrize(
    "kinds",
    [
        {"loss": 0.05, "run": 5},
        {"loss": 0.05, "run": 30},
        {"loss": 0.2, "run": 10},
        {"loss": 0.2, "overtaking": 0.02},
        {"loss": 0.5},
    ],
    ids=str,
)
def test_what_is_lost_in_runs_or_mostly_is_right_or_called_loss(kinds: dict[str, float]) -> None:
    ends = sessions(500, **kinds)
    assert ends.keys() <= {"exact", "lossy", "unreachable"}
    assert ends["exact"] >= 200


@given(
    mtu=st.integers(576, 9001),
    top=st.sampled_from([1500, 9000, 9001]),
    rtt=st.floats(0.00005, 0.5),
    loss=st.floats(0, 0.3),
    overtaking=st.floats(0, 0.002),
    icmp=st.booleans(),
    seed=st.integers(0, 1 << 32),
)
@settings(max_examples=100, deadline=None)
def test_any_session_ends_and_says_nothing_wrong(
    mtu: int, top: int, rtt: float, loss: float, overtaking: float, icmp: bool, seed: int
) -> None:
    question = search.Question(
        top=top, expected=top, likely=known_sizes.likely(top), hypotheses=known_sizes.hypotheses(top)
    )
    air = Air(mtu=mtu, rtt=rtt, loss=loss, overtaking=overtaking, icmp=icmp, seed=seed, heard=[])
    found, seconds = air.play(question)
    assert found.mtu == min(mtu, top) if found.ending == "exact" else found.ending in {"lossy", "unreachable"}
    assert seconds <= 24 * 4 * max(rtt + overtaking, 1)

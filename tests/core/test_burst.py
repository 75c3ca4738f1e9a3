"""A burst ends when its tail is answered, not when a clock says so, and forgives what was overtaken."""

import random

from hypothesis import given
from hypothesis import strategies as st

from kubemtu.core import burst, search

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

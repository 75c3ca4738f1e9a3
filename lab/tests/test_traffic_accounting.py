"""The books of traffic, and the plan: contradictions must raise, and everything else must be counted exactly once."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubemtu_lab.traffic import accounting, errors, plan, tally, wire
from kubemtu_lab.traffic.numbers import Numbers, per_interval

NODE = plan.FlowEnd(name="n", node="n", addresses=("192.0.2.1",), network="node")


def places(names: str, *, six: bool = False) -> list[plan.FlowEnd]:
    return [
        plan.FlowEnd(name=name, node="n", addresses=(f"192.0.2.{ord(name)}", f"2001:db8::{ord(name)}")[: 1 + six])
        for name in names
    ]


def talk(style: plan.Style) -> plan.TcpFlow:
    return plan.TcpFlow(id=101, source="a", target="b", address="192.0.2.98", per_second=1, style=style)


STREAM = plan.UdpFlow(id=1, source="a", target="b", address="192.0.2.98", per_second=200)
FATES: dict[str, type[wire.Received | wire.IcmpReported | wire.PortDropped]] = {
    "arrived": wire.Received,
    "told": wire.IcmpReported,
    "swallowed": wire.PortDropped,
}
ONE_FLOW = plan.Plan(places=tuple(places("ab")), udp=(STREAM,))


def as_runs(numbers: Iterable[int]) -> tuple[int, ...]:
    kept = Numbers()
    for number in numbers:
        kept.add(number)
    return tuple(itertools.chain.from_iterable(kept.runs()))


def sender_book(sent: int, firsts: tuple[int, ...] = (0,)) -> wire.UdpSent:
    nothing = (0,) * len(firsts)
    return wire.UdpSent(flow=1, sent=sent, firsts=firsts, refused=nothing, failed=nothing, sizes=(1500,) * len(firsts))


def balanced(
    *pages: wire.Books,
    flows: plan.Plan = ONE_FLOW,
    marks: int = 1,
    drops: Sequence[dict[str, tally.PortDrops]] = (),
    backlog_drops: int = 0,
) -> tally.Tally:
    moments = [tally.Moment(name=f"m{at}", at=float(at)) for at in range(marks)]
    return accounting.balance(flows, moments, float(marks), {"a": pages}, drops=drops, backlog_drops=backlog_drops)


@given(st.lists(st.sampled_from(["arrived", "told", "swallowed", "vanished"]), max_size=60), st.data())
def test_every_datagram_is_counted_once_and_in_its_interval(fates: list[str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(fates)), max_size=3)))
    pages: list[wire.Books] = [sender_book(len(fates), (0, *cuts))]
    for fate, kind in FATES.items():
        runs = as_runs(number for number, met in enumerate(fates) if met == fate)
        half = len(runs) // 4 * 2  # books may come in parts
        pages += [kind(flow=1, runs=part) for part in (runs[:half], runs[half:]) if part]
    result = balanced(*pages, marks=1 + len(cuts))
    for interval, (first, stop) in zip(result.intervals, itertools.pairwise((0, *cuts, len(fates))), strict=True):
        here = fates[first:stop]
        assert interval.udp_sent == len(here)
        assert interval.udp_received == here.count("arrived")
        assert interval.udp_told_icmp == here.count("told")
        assert interval.udp_lost_at_own_port == here.count("swallowed")
        assert interval.udp_lost_silently == here.count("swallowed") + here.count("vanished")
    assert result.udp_lost_silently == sum(one.lost for one in result.losses)
    assert result.udp_sent == result.udp_received + result.udp_told_icmp + result.udp_lost_silently == len(fates)


@pytest.mark.parametrize(
    ("pages", "sentence"),
    [
        ([], "the sender handed over no book"),
        ([sender_book(5), wire.Received(flow=1, runs=(3, 6))], "number 5 was received, but never sent"),
        ([sender_book(5), wire.IcmpReported(flow=1, runs=(9, 10))], "number 9 was told of, but never sent"),
        (
            [sender_book(5), wire.Received(flow=1, runs=(0, 3)), wire.IcmpReported(flow=1, runs=(2, 4))],
            "number 2 was both received and reported by ICMP",
        ),
        (
            [sender_book(5), wire.Received(flow=1, runs=(0, 3)), wire.PortDropped(flow=1, runs=(1, 2))],
            "number 1 was both received and dropped at the sender's port",
        ),
        ([sender_book(5), wire.Received(flow=7, runs=(0, 1))], "flow 7, which nobody planned"),
        ([sender_book(5), wire.Received(flow=1, runs=(4, 2))], "must be ascending"),
        ([sender_book(5, (1,))], "do not ascend from 0"),
        ([sender_book(5, (0, 2))], "2 intervals of sizes, but there were 1 marks"),
        (
            [sender_book(5), wire.KernelCounts(counts={}, retransmits=(0,), receiver_overflow=6)],
            "own buffers dropped 6 datagrams, but only 5 are missing",
        ),
    ],
)
def test_books_that_contradict_each_other_give_no_result(pages: list[wire.Books], sentence: str) -> None:
    with pytest.raises(errors.BooksDisagree, match=sentence):
        balanced(*pages)


def test_port_must_have_counted_what_its_pod_saw_dropped() -> None:
    pages = (sender_book(5), wire.PortDropped(flow=1, runs=(0, 3)), wire.Received(flow=1, runs=(3, 5)))
    none, two, three = ({"a": tally.PortDrops(pod_tx_dropped=count)} for count in (0, 2, 3))
    assert balanced(*pages, drops=[none, three]).veth_drops == 3
    with pytest.raises(
        errors.BooksDisagree, match="a: 3 datagrams were dropped at its port, but its tx_dropped counts 2"
    ):
        balanced(*pages, drops=[none, two])
    with pytest.raises(errors.BooksDisagree, match="ran backwards"):
        balanced(sender_book(0), drops=[three, two])
    with pytest.raises(errors.BooksDisagree, match="3 readings of the drop counters for 1 marks and an end"):
        balanced(*pages, drops=[none, two, three])


def asking(asked: int, answered: int, failed: int = 0, stuck: int = 0) -> wire.TcpAsked:
    return wire.TcpAsked(
        flow=101, longest_ms=(7.5,), asked=(asked,), answered=(answered,), failed=(failed,), stuck=(stuck,)
    )


@pytest.mark.parametrize(
    ("style", "book", "served"),
    [
        ("established", asking(asked=3, answered=3), 2),  # more answers came than were given
        ("established", asking(asked=3, answered=2), 3),  # one question has no fate
        ("established", asking(asked=1, answered=1, stuck=1), 3),
        ("connect", asking(asked=3, answered=3, failed=1), 3),  # a failure without an attempt
    ],
)
def test_questions_need_a_fate_each(style: plan.Style, book: wire.TcpAsked, served: int) -> None:
    flows = plan.Plan(places=tuple(places("ab")), tcp=(talk(style),))
    with pytest.raises(errors.BooksDisagree, match="TCP flow 101 from a to"):
        balanced(book, wire.TcpServed(flow=101, answers=served), flows=flows)


def test_lost_while_idle_is_a_reset_and_late_is_a_stall() -> None:
    flows = plan.Plan(places=tuple(places("ab")), tcp=(talk("established"),))
    book = asking(asked=2, answered=2, failed=1)
    result = balanced(book, wire.TcpServed(flow=101, answers=2), flows=flows)
    assert (result.tcp_questions, result.tcp_resets, result.tcp_stuck) == (2, 1, 0)
    assert result.tcp_longest_stall_ms == 7.5
    assert not result.harmless


def test_flaws_say_why_a_run_proves_nothing() -> None:
    kernel = wire.KernelCounts(counts={}, retransmits=(4, 5), receiver_overflow=2)
    pages = (sender_book(99, (0, 50)), wire.Received(flow=1, runs=(0, 97)), kernel)
    result = balanced(*pages, marks=2, backlog_drops=3)
    assert [flaw.split()[0] for flaw in result.flaws] == ["2", "The", "Only"]  # 99 of 400 that the plan wanted
    assert [interval.retransmits for interval in result.intervals] == [4, 5]


@given(st.lists(st.integers(0, 40)), st.lists(st.integers(0, 40)), st.integers(-1, 42))
def test_numbers_are_a_set(some: list[int], others: list[int], bound: int) -> None:
    kept, other = Numbers(), Numbers()
    fresh = [kept.add(number) for number in some]
    assert fresh == [number not in some[:at] for at, number in enumerate(some)]
    for number in others:
        other.add(number)
    assert list(kept) == sorted(set(some))
    assert len(kept) == len(set(some))
    assert kept.below(bound) == len([number for number in set(some) if number < bound])
    assert (bound in kept) == (bound in some)
    assert set(kept.minus(other)) == set(some) - set(others)
    assert set(kept.overlap(other)) == set(some) & set(others)
    assert Numbers(kept.runs()) == kept
    assert all(stop < start for stop, start in zip(kept.stops, kept.starts[1:], strict=False))


@given(st.lists(st.floats(0, 10)).map(sorted), st.lists(st.floats(0, 10), min_size=1).map(sorted))
def test_moments_fall_between_marks(times: list[float], marks: list[float]) -> None:
    spans = [*zip((-1.0, *marks[1:]), (*marks[1:], 11.0), strict=True)]
    expected = [sum(begin <= moment < end for moment in times) for begin, end in spans]
    assert list(per_interval(times, marks)) == expected


# The plan


def test_plan_joins_every_pair_in_both_directions_and_families() -> None:
    flows = plan.everyone([*places("abc", six=True), NODE])
    pairs = {(flow.source, flow.target, ":" in flow.address) for flow in flows.udp}
    assert pairs == {
        *((one, other, six) for one, other in itertools.permutations("abc", 2) for six in (False, True)),
        *(("n", pod, False) for pod in "abc"),  # the node has no IPv6 address here
    }
    assert all(flow.target != "n" for flow in flows.tcp)
    styles = Counter(flow.style for flow in flows.tcp if not flow.question)
    assert styles == {"established": 12, "connect": 12, "idle": 12}
    bulk = [(flow.source, flow.target) for flow in flows.tcp if flow.question and ":" not in flow.address]
    assert bulk == [("a", "b"), ("b", "c"), ("c", "a")]
    ids = [*(flow.id for flow in flows.udp), *(flow.id for flow in flows.tcp)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("pods", ["ab", "abc"])
def test_larger_lab_is_not_a_heavier_one(pods: str) -> None:
    flows = plan.everyone([*places(pods), NODE])
    assert 2000 < flows.packets_per_second < 4000
    assert sum(flow.per_second for flow in flows.udp) == pytest.approx(1500 + 300)


def test_plan_refuses_two_places_of_one_name() -> None:
    with pytest.raises(ValueError, match="same name"):
        plan.everyone(places("aa"))

"""Counts, settings, ports and learned path MTUs: state in, symptoms out."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import example

from kubemtu.core import net
from kubemtu.core.evidence import symptoms
from kubemtu.core.evidence.records import Counters, Evidence, Learned, Symptom, Sysctls, TcpConnection

SMALL = TcpConnection(
    local="10.9.1.1",
    local_port=1,
    remote="10.9.3.1",
    remote_port=2,
    snd_mss=1395,
    advmss=1448,
    pmtu=1500,
    timestamps=True,
    device_mtu=1500,
)


def only(*found: Symptom) -> Symptom:
    (one,) = found
    return one


def test_nothing_is_said_of_nothing() -> None:
    assert symptoms.symptoms(None, Evidence()) == ()
    assert symptoms.symptoms(Evidence(), Evidence()) == ()


def test_evidence_of_an_older_agent_is_evidence_of_what_it_has() -> None:
    old = msgspec.json.decode(b'{"connections":[{"remote":"10.9.3.1","of_later":1}],"counters":{}}', type=Evidence)
    assert symptoms.symptoms(old, old) == ()


@given(st.builds(Evidence, connections=st.lists(st.builds(TcpConnection), max_size=3).map(tuple)), st.builds(Evidence))
def test_whatever_was_read_can_be_judged(one: Evidence, other: Evidence) -> None:
    assert isinstance(symptoms.symptoms(one, other), tuple)
    assert isinstance(symptoms.symptoms(other, one), tuple)


def test_only_what_rose_between_two_readings_counts() -> None:
    before = Evidence(counters=Counters(ip_frag_fails=10, ip_frag_creates=5), at=100.0)
    now = Evidence(counters=Counters(ip_frag_fails=13, ip_frag_creates=5), at=102.5)
    one = only(*symptoms.symptoms(before, now))
    assert (one.kind, one.sure, one.says_mtu) == ("refused here", "proves", True)
    assert one.sentence.startswith("this host itself refused 3 packets within 2.5 s, ")


def test_counts_that_began_anew_are_all_new() -> None:
    before = Evidence(counters=Counters(ip_frag_fails=10))
    one = only(*symptoms.symptoms(before, Evidence(counters=Counters(ip_frag_fails=3))))
    assert "refused 3 packets" in one.sentence


def test_ipv6_counts_what_a_router_refuses_twice() -> None:
    """net/ipv6/ip6_output.c, ip6_forward: InTooBigErrors and FragFails for the same packet."""
    one = only(*symptoms.symptoms(None, Evidence(counters=Counters(ip6_frag_fails=4, ip6_in_too_big_errors=4))))
    assert "refused 4 packets since this namespace exists" in one.sentence


@pytest.mark.parametrize(
    ("counters", "kind", "sure", "says", "words"),
    [
        (Counters(ip_frag_creates=6), "fragmented here", "suggests", None, "made 6 fragments"),
        (Counters(ip6_reasm_oks=1, ip_reasm_fails=2), "reassembled here", "suggests", None, "1 packet for this host"),
        (Counters(icmp6_in_pkt_too_bigs=1), "path MTU learned", "proves", True, "said 1 time"),
        (Counters(tcp_abort_on_timeout=2), "connections given up", "suggests", None, "gave up 2 connections"),
    ],
)
def test_each_count_has_its_sentence(counters: Counters, kind: str, sure: str, says: bool | None, words: str) -> None:
    one = only(*symptoms.symptoms(None, Evidence(counters=counters)))
    assert (one.kind, one.sure, one.says_mtu) == (kind, sure, says)
    assert words in one.sentence


@pytest.mark.parametrize(
    ("mode", "failed", "arrived", "lost", "found", "sure", "says"),
    [
        pytest.param(1, 9, 9, 30, (SMALL,), "proves", True, id="as measured in a black hole, three connections"),
        pytest.param(1, 3, 3, 30, (SMALL,), "suggests", True, id="one connection alone"),
        pytest.param(1, 9, 9, 30, (), "suggests", True, id="none of them is left"),
        pytest.param(1, 9, 9, 2000, (SMALL,), "suggests", None, id="loss explains it"),
        pytest.param(1, 1, 7, 130, (SMALL,), "suggests", None, id="as measured after an outage on a lossy path"),
        pytest.param(1, 0, 8, 41, (), "suggests", None, id="as measured after an outage"),
        pytest.param(2, 0, 6, 0, (), "suggests", None, id="as measured on a clean path"),
        pytest.param(2, 9, 9, 20, (SMALL,), "suggests", True, id="too many sizes failed for a clean path"),
        pytest.param(0, 3, 3, 0, (), "suggests", True, id="it was on, and is off"),
    ],
)
def test_the_kernels_own_search(
    mode: int, failed: int, arrived: int, lost: int, found: tuple[TcpConnection, ...], sure: str, says: bool | None
) -> None:
    counters = Counters(tcp_mtup_fail=failed, tcp_mtup_success=arrived, tcp_out_segs=6000, tcp_retrans_segs=lost)
    now = Evidence(counters=counters, sysctls=Sysctls(tcp_mtu_probing=mode), connections=found)
    one = next(one for one in symptoms.symptoms(None, now) if one.kind == "black hole found by the kernel")
    assert (one.sure, one.says_mtu) == (sure, says)


def test_masks_are_named() -> None:
    found = symptoms.symptoms(None, Evidence(sysctls=Sysctls(tcp_mtu_probing=1, ip_no_pmtu_disc=1)))
    assert [one.kind for one in found] == ["masked", "discovery off"]
    assert found[0].sentence.endswith("the fault is masked, and still there")
    assert symptoms.symptoms(None, Evidence(sysctls=Sysctls(tcp_mtu_probing=0, ip_no_pmtu_disc=0))) == ()


LEARNED = Learned(destination="10.9.3.1", mtu=1450, expires=590, device="e0", device_mtu=1500)


@pytest.mark.parametrize(
    ("measured", "kind", "sure", "words"),
    [
        ({}, "path MTU learned", "suggests", "for 590 s more: a router said so, and senders adapt"),
        ({"10.9.3.1": 1450}, "path MTU learned", "proves", "and senders adapt; 1450 bytes arrive"),
        ({"10.9.3.1": 1400}, "path MTU learned", "proves", "but only 1400 bytes arrive: something beyond drops"),
        (
            {"10.9.3.1": 1500},
            "stale path MTU",
            "proves",
            "but 1500 bytes arrive: it is of a time that is over, or of another of several",
        ),
    ],
)
def test_a_learned_path_mtu_against_what_was_measured(
    measured: dict[str, int], kind: str, sure: str, words: str
) -> None:
    one = only(*symptoms.symptoms(None, Evidence(learned=(LEARNED,)), measured=measured))
    assert (one.kind, one.sure, one.says_mtu, one.peers) == (kind, sure, True, ("10.9.3.1",))
    assert one.sentence.startswith("the kernel holds 1450 bytes for the path to 10.9.3.1, where 1500 leave")
    assert words in one.sentence


def test_a_connection_and_the_exception_it_goes_by_are_one_symptom() -> None:
    adapted = msgspec.structs.replace(SMALL, pmtu=1450, snd_mss=1398)
    assert len(symptoms.symptoms(None, Evidence(learned=(LEARNED,), connections=(adapted,)))) == 1
    one = only(*symptoms.symptoms(None, Evidence(connections=(adapted,))))
    assert (one.kind, one.peers) == ("path MTU learned", ("10.9.3.1",))


def test_what_a_route_was_given_is_not_learned() -> None:
    pinned = msgspec.structs.replace(SMALL, pmtu=1450, snd_mss=1398, route_mtu=1450)
    assert symptoms.symptoms(None, Evidence(connections=(pinned,))) == ()


def port(host: int, pod: int, **drops: int) -> net.PodPort:
    return msgspec.structs.replace(example.port("a", "10.42.1.10", pod=pod, host=host), **drops)


@pytest.mark.parametrize(
    ("host", "pod", "drops", "words"),
    [
        (1450, 1500, {"host_rx_dropped": 999, "pod_tx_dropped": 999}, "999 packets that the pod sent vanished"),
        (1500, 1450, {"host_tx_dropped": 999, "pod_rx_dropped": 999}, "999 packets that the pod was sent vanished"),
    ],
)
def test_drops_of_both_ends_prove_that_one_is_too_small(host: int, pod: int, drops: dict[str, int], words: str) -> None:
    one = only(*symptoms.symptoms(None, Evidence(), ports=[port(host, pod, **drops)]))
    assert (one.kind, one.sure, one.says_mtu) == ("veth ends differ", "proves", True)
    assert one.sentence.startswith(f"{words} between the ends of its interface so far (")


def test_drops_count_from_the_earlier_reading_on() -> None:
    before = port(1450, 1500, host_rx_dropped=999, pod_tx_dropped=999)
    assert symptoms.symptoms(None, Evidence(), ports_before=[before], ports=[before]) == ()
    now = port(1450, 1500, host_rx_dropped=1006, pod_tx_dropped=1006)
    one = only(*symptoms.symptoms(None, Evidence(), ports_before=[before], ports=[now]))
    assert one.sentence.startswith("7 packets that the pod sent vanished between the ends of its interface (")


def test_drops_between_ends_that_agree() -> None:
    """It may have been put right; or the counts have nothing to do with each other."""
    one = only(*symptoms.symptoms(None, Evidence(), ports=[port(1450, 1450, host_rx_dropped=99, pod_tx_dropped=100)]))
    assert (one.sure, one.says_mtu) == ("suggests", None)
    unlike = port(1450, 1450, host_rx_dropped=9, pod_tx_dropped=100)
    assert symptoms.symptoms(None, Evidence(), ports=[unlike]) == ()
    wrong_way = port(1450, 1500, host_tx_dropped=5, pod_rx_dropped=100)
    assert symptoms.symptoms(None, Evidence(), ports=[wrong_way]) == ()


def test_what_is_proven_comes_first() -> None:
    found = symptoms.symptoms(None, Evidence(counters=Counters(ip_frag_creates=2, ip_frag_fails=1)))
    assert [one.sure for one in found] == ["proves", "suggests"]

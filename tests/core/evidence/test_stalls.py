"""Connections as the kernel showed them on real paths; state in, symptoms out."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubemtu.core.evidence import stalls
from kubemtu.core.evidence.records import Counters, Evidence, Symptom, Sysctls, TcpConnection

# Read from a sender into a path of 1450 that says nothing, 2.2 s after an answer of 5000 bytes; it went out four times.
HANGS = TcpConnection(
    local="10.9.1.1",
    local_port=8080,
    remote="10.9.3.1",
    remote_port=44846,
    snd_mss=1448,
    rcv_mss=536,
    advmss=1448,
    pmtu=1500,
    retransmits=3,
    backoff=3,
    unacked=4,
    sacked=1,
    lost=3,
    queued=5000,
    total_retrans=5,
    delivered=402,
    bytes_acked=40_000,
    last_data_sent=800,
    last_data_recv=2220,
    last_ack_recv=2210,
    rtt=0.1,
    snd_wnd=64512,
    timestamps=True,
    sacks=True,
    device="e0",
    device_mtu=1500,
)
EARLIER = msgspec.structs.replace(HANGS, retransmits=2, backoff=2, total_retrans=4, last_ack_recv=910)
TALKS = msgspec.structs.replace(
    HANGS,
    remote_port=55266,
    retransmits=0,
    backoff=0,
    unacked=0,
    sacked=0,
    lost=0,
    queued=0,
    total_retrans=0,
    last_data_sent=90,
    last_data_recv=2220,
    last_ack_recv=90,
)


def reading(*found: TcpConnection, at: float = 0.0, segments: int = 1000) -> Evidence:
    return Evidence(connections=found, counters=Counters(tcp_out_segs=segments), at=at)


def change(one: TcpConnection, **fields: object) -> TcpConnection:
    return msgspec.structs.replace(one, **fields)


def both(before: TcpConnection, now: TcpConnection, *others: TcpConnection, segments: int = 1000) -> Symptom:
    found = stalls.stalled(reading(before, TALKS, at=100.0), reading(now, *others, at=101.3, segments=segments))
    (symptom,) = found
    return symptom


def test_two_readings_prove_what_one_suggests() -> None:
    proof = both(EARLIER, HANGS, TALKS)
    assert (proof.kind, proof.sure, proof.says_mtu, proof.peers) == (
        "size-selective loss",
        "proves",
        True,
        ("10.9.3.1",),
    )
    assert proof.sentence == (
        "10.9.1.1:8080 ▸ 10.9.3.1:44846 hangs: a packet of 1500 bytes was lost all 4 times that it was sent, in 2.2 s, "
        "while 1 shorter one after it arrived. The other end was heard meanwhile, and no rate of loss explains it: "
        "something on the way drops large packets and does not say so"
    )
    (alone,) = stalls.stalled(None, reading(HANGS, TALKS))
    assert (alone.kind, alone.sure) == ("size-selective loss", "suggests")


@pytest.mark.parametrize(
    ("before", "now"),
    [
        pytest.param(change(EARLIER, bytes_acked=39_000), HANGS, id="it got on in between"),
        pytest.param(change(EARLIER, retransmits=3), HANGS, id="nothing was sent in between"),
        pytest.param(change(EARLIER, retransmits=0), HANGS, id="it did not hang before"),
        pytest.param(change(EARLIER, remote_port=1), HANGS, id="it was not there before"),
        pytest.param(change(EARLIER, last_ack_recv=80), HANGS, id="nothing was heard before"),
        pytest.param(EARLIER, change(HANGS, last_data_sent=3), id="the last one is under way"),
    ],
)
def test_what_is_missing_for_a_proof(before: TcpConnection, now: TcpConnection) -> None:
    symptom = both(before, now, TALKS)
    assert (symptom.kind, symptom.sure) == ("size-selective loss", "suggests")


def test_silence_of_the_other_end_is_no_proof() -> None:
    silent = change(TALKS, last_ack_recv=2500)
    assert both(EARLIER, HANGS, silent).sure == "suggests"
    assert both(EARLIER, HANGS).sure == "suggests"


def test_a_namespace_that_sends_much_is_asked_for_more() -> None:
    """Four of four lost beside 804 that arrived: 4^4 x 804^804 / 808^808 is about 1.1e-11."""
    assert both(EARLIER, HANGS, TALKS, segments=10_000).sure == "proves"  # 1e-6 / 1e4 = 1e-10
    assert both(EARLIER, HANGS, TALKS, segments=1_000_000).sure == "suggests"


def test_loss_on_the_same_path_is_the_likelier_reason() -> None:
    """Of 1,000 others 100 were lost, each way: four in a row have a chance of 0.2^4 = 0.0016, five of 0.0003."""
    lossy = change(TALKS, delivered=498, total_retrans=100)
    (symptom,) = stalls.stalled(None, reading(HANGS, lossy))
    assert (symptom.kind, symptom.says_mtu) == ("stalled connections", None)
    assert "10 % of the other packets to 10.9.3.1 were lost as well" in symptom.sentence
    for tries, kind in ((4, "stalled connections"), (5, "size-selective loss")):  # of 0.001, for two connections
        (symptom,) = stalls.stalled(None, reading(change(HANGS, retransmits=tries - 1, backoff=5), lossy))
        assert symptom.kind == kind


def test_segments_sent_again_for_nothing_are_not_lost() -> None:
    (symptom,) = stalls.stalled(None, reading(HANGS, change(TALKS, total_retrans=100, dsack_dups=100)))
    assert symptom.kind == "size-selective loss"


def test_full_segments_that_arrived_say_that_size_does_not_matter() -> None:
    """Bulk: 12 segments under way, one lost at random, the rest acknowledged, and then an outage."""
    bulk = change(HANGS, unacked=12, sacked=11, lost=1, queued=12 * 1448)
    (symptom,) = stalls.stalled(None, reading(bulk))
    assert (symptom.kind, symptom.says_mtu) == ("stalled connections", None)


def test_small_packets_that_are_lost_as_well_say_that_size_does_not_matter() -> None:
    small = change(HANGS, remote_port=1, unacked=1, sacked=0, lost=1, queued=100)
    (symptom,) = stalls.stalled(reading(EARLIER, TALKS, at=100), reading(HANGS, small, TALKS, at=101))
    assert (symptom.kind, symptom.says_mtu) == ("stalled connections", False)
    assert "packets of at most 152 bytes are lost as well" in symptom.sentence  # 100 + 12 + 20 + 20


def test_a_stall_without_sack_is_an_outage_or_not() -> None:
    plain = change(HANGS, sacked=0, lost=4)
    (symptom,) = stalls.stalled(None, reading(plain))
    assert (symptom.kind, symptom.sure, symptom.says_mtu) == ("stalled connections", "suggests", None)
    assert symptom.sentence.endswith("a probe tells which")
    (symptom,) = stalls.stalled(None, reading(plain, TALKS))
    assert "while 10.9.3.1 answers on another connection" in symptom.sentence


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"backoff": 1, "retransmits": 1}, id="once"),
        pytest.param({"retransmits": 0, "unacked": 0, "sacked": 0, "lost": 0}, id="a closed window"),
        pytest.param({"unacked": 0, "sacked": 0, "lost": 0}, id="nothing under way"),
    ],
)
def test_what_does_not_stand_still(fields: dict[str, int]) -> None:
    assert list(stalls.stalled(None, reading(change(HANGS, **fields)))) == []


def test_many_of_one_address_are_told_together() -> None:
    many = [change(HANGS, remote_port=port) for port in range(100)]
    (symptom,) = stalls.stalled(None, reading(*many))
    assert symptom.sentence.startswith(
        "100 connections (10.9.1.1:8080 ▸ 10.9.3.1:0, 10.9.1.1:8080 ▸ 10.9.3.1:1 and 98 "
    )


def test_fewer_losses_than_others_have_are_nothing_strange() -> None:
    assert stalls.chance(sent=1000, lost=300, tries=100, failed=0) == 1.0
    assert stalls.chance(sent=0, lost=0, tries=9, failed=9) == 1.0  # without others, that is how it is there
    assert stalls.chance(sent=1000, lost=500, tries=9, failed=9) == 1.0


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 60), st.integers(0, 60))
def test_a_chance_is_one(sent: int, lost: int, tries: int, failed: int) -> None:
    assert 0 <= stalls.chance(sent, min(lost, sent), tries, min(failed, tries)) <= 1 + 1e-9


@pytest.mark.parametrize(
    ("family", "mss", "timestamps", "packet"),
    [(4, 1398, True, 1450), (4, 1410, False, 1450), (6, 1378, True, 1450), (6, 1390, False, 1450)],
)
def test_segments_below_the_path_mtu_are_clamped(family: int, mss: int, timestamps: bool, packet: int) -> None:
    """1450 = 1398 + 12 + 20 + 20 and so on: RFC 7323 for the 12, RFC 8200 for another 20 of IPv6."""
    advmss = 1460 if family == 4 else 1440
    one = change(TALKS, family=family, snd_mss=mss, timestamps=timestamps, advmss=advmss)
    (symptom,) = stalls.clamped(reading(one))
    assert (symptom.kind, symptom.sure, symptom.says_mtu) == ("segments clamped", "suggests", None)
    assert f"packets of {packet} bytes, although the kernel holds 1500" in symptom.sentence


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"snd_mss": 1448}, id="full"),
        pytest.param({"signed": True}, id="signed"),
        pytest.param({"snd_wnd": 2000}, id="a small window"),
        pytest.param({"advmss": 1410}, id="its own wish"),
        pytest.param({"snd_mss": 524}, id="no MSS was given"),
        pytest.param({"pmtu": 1450}, id="the path is as small"),
    ],
)
def test_segments_that_are_small_for_a_reason_of_their_own(fields: dict[str, int]) -> None:
    assert list(stalls.clamped(reading(change(change(TALKS, snd_mss=1398, advmss=1448), **fields)))) == []


def test_the_kernels_own_search_makes_segments_small_too() -> None:
    one = change(TALKS, snd_mss=1024)
    assert list(stalls.clamped(Evidence(connections=(one,), sysctls=Sysctls(tcp_mtu_probing=1)))) == []
    assert stalls.small(reading(one)) == [one]

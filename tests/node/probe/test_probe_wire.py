"""Datagrams say what they mean, are forty bytes, and junk is never taken for one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubemtu.core import errors
from kubemtu.core.path import search
from kubemtu.node.probe import channel, mss, paths, wire

KEY = wire.Key(b"0123456789abcdef")
U16, U32, U64 = (st.integers(0, (1 << bits) - 1) for bits in (16, 32, 64))


@given(st.sampled_from([1, 3]), U64, U32, U16)
def test_requests_come_back_as_they_were(kind: int, nonce: int, number: int, size: int) -> None:
    request = wire.ProbePacket(1 if kind == 1 else 3, nonce, number, size)
    datagram = KEY.seal(wire.pack_request(request), b"\x0a\x00\x00\x01")
    assert len(datagram) == 40
    assert wire.kind(datagram) == kind
    assert wire.read_request(datagram) == request
    assert KEY.opens(datagram, b"\x0a\x00\x00\x01")
    assert not KEY.opens(datagram, b"\x0a\x00\x00\x02")
    assert not wire.Key(b"another key, as long").opens(datagram, b"\x0a\x00\x00\x01")


@given(U64, U32, U16, U16, U32, U16)
def test_answers_come_back_as_they_were(
    nonce: int, number: int, size: int, fragment: int, drops: int, mtu: int
) -> None:
    answer = wire.ProbeAnswer(nonce, number, size, fragment, drops, mtu)
    datagram = KEY.seal(wire.pack_answer(answer))
    assert len(datagram) == 40
    assert wire.kind(datagram) == wire.ANSWER
    assert wire.read_answer(datagram) == answer


@given(
    state=st.sampled_from(wire.STATES),
    limit=st.sampled_from(wire.LIMITS),
    size=st.integers(0, 65535),
    count=st.integers(0, 1 << 20),
    unheard=st.booleans(),
)
def test_reports_come_back_with_counts_cut_off(
    state: wire.State, limit: search.Limit | None, size: int, count: int, unheard: bool
) -> None:
    report = wire.SearchReport(7, state, limit, size, size, size, size, count, count, count, count, count, unheard)
    datagram = KEY.seal(wire.pack_report(report))
    assert len(datagram) == 40
    assert wire.kind(datagram) == wire.REPORT
    seen = wire.read_report(datagram)
    assert seen is not None
    assert (seen.state, seen.limit, seen.mtu, seen.full_size_vanishes) == (state, limit, size, unheard)
    assert (seen.next_size_losses, seen.packets) == (min(count, 255), min(count, 65535))


@given(st.binary(max_size=80))
@example(b"kMTU\x01\x04" + b"\xff" * 34)
def test_junk_is_read_without_an_error(junk: bytes) -> None:
    if wire.kind(junk) == wire.REPORT:
        wire.read_report(junk)
    wire.quoted(junk)
    assert not KEY.opens(junk)


@given(
    kind=st.integers(0, 255),
    rest=st.binary(max_size=120),
    cut=st.integers(0, 126),
)
def test_whatever_claims_to_be_ours_is_read_without_an_error(kind: int, rest: bytes, cut: int) -> None:
    junk = (b"kMTU\x01" + bytes([kind]) + rest)[:cut]
    found = wire.kind(junk)
    assert found in {0, kind}
    assert (found == 0) == (len(junk) < 40 or not 1 <= kind <= 6)
    assert (wire.asked(junk) is not None) == (found in {1, 3, 5})
    assert wire.replies(junk) or found not in {2, 4, 6}
    readers: dict[int, Callable[[bytes], object]] = {
        wire.ANSWER: wire.read_answer,
        wire.REPORT: wire.read_report,
        wire.SEEN: wire.read_seen,
    }
    if found in readers:
        readers[found](junk)
    if found == wire.SEEN:
        assert len(wire.read_seen(junk)[1]) <= 16
    wire.quoted(junk)
    paths.echoed(channel.Heard(junk, len(junk), ("192.0.2.1", 1), 0, 0, 0, b""))
    assert mss.unpack(mss.TELL, junk, KEY) is None
    assert not KEY.opens(junk)


@given(st.integers(0, 39), st.integers(0, 7))
def test_any_bit_changed_breaks_the_seal(place: int, bit: int) -> None:
    datagram = bytearray(KEY.seal(wire.pack_request(wire.ProbePacket(1, 5, 6, 1500)), b"here"))
    datagram[place] ^= 1 << bit
    assert not KEY.opens(bytes(datagram), b"here")


def test_a_router_that_quotes_enough_is_understood() -> None:
    datagram = KEY.seal(wire.pack_request(wire.ProbePacket(1, 77, 9, 1480)))
    assert wire.quoted(datagram) == (77, 9, 1480)
    assert wire.quoted(datagram[:22]) == (77, 9, 1480)
    assert wire.quoted(datagram[:21]) is None


def test_keys_are_read_without_the_white_space_around_them(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"  0123456789abcdef\n")
    datagram = wire.Key.read(tmp_path / "key").seal(b"x" * 32)
    assert wire.Key(b"0123456789abcdef").opens(datagram)


@pytest.mark.parametrize("content", [None, b"short\n", b"x" * 65537])
def test_what_cannot_be_a_key_is_refused_in_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(errors.UsageError, match="the key file"):
        wire.Key.read(tmp_path / "key")

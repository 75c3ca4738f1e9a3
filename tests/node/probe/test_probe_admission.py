"""Nobody is answered without the key, nothing twice, nothing damaged, and only so many a second."""

import random
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubemtu.node.probe import admission, wire

KEY = wire.Key(b"0123456789abcdef")
HERE = b"\x0a\x00\x00\x01"


def probe(number: int = 0, size: int = 1500, bound: bytes = HERE, key: wire.Key = KEY) -> bytes:
    return key.seal(wire.pack_request(wire.ProbePacket(1, 99, number, size)), bound)


def test_an_honest_request_is_admitted_once() -> None:
    door = admission.Admission(KEY, 0.0)
    assert door.admit(probe(), 1500, HERE, 0.0) == wire.ProbePacket(1, 99, 0, 1500)
    assert door.admit(probe(), 1500, HERE, 0.0) is None
    assert door.refused.repeated == 1
    assert door.admit(probe(1), 1500, HERE, 0.0) is not None


@pytest.mark.parametrize(
    ("datagram", "size", "bound", "counted"),
    [
        (b"", 28, HERE, "foreign"),
        (b"GET / HTTP/1.1\r\n" * 5, 108, HERE, "foreign"),
        (probe()[:39], 67, HERE, "foreign"),
        (KEY.seal(wire.pack_answer(wire.ProbeAnswer(1, 2, 3, 0, 0, 0))), 68, HERE, "foreign"),
        (probe(size=1500), 1499, HERE, "damaged"),
        (probe(size=1500), 9000, HERE, "damaged"),
        (probe(key=wire.Key(b"fedcba9876543210")), 1500, HERE, "forged"),
        (probe(key=wire.Key()), 1500, HERE, "forged"),
        (probe(), 1500, b"\x0a\x00\x00\x02", "forged"),  # captured, and sent again from elsewhere
    ],
)
def test_everything_else_is_met_with_silence_and_counted(
    datagram: bytes, size: int, bound: bytes, counted: str
) -> None:
    door = admission.Admission(KEY, 0.0)
    assert door.admit(datagram, size, bound, 0.0) is None
    assert getattr(door.refused, counted) == 1


@given(st.binary(max_size=64), st.integers(0, 70000))
def test_junk_is_never_admitted(junk: bytes, size: int) -> None:
    assert admission.Admission(KEY, 0.0).admit(junk, size, HERE, 0.0) is None


@given(place=st.integers(0, 39), bit=st.integers(0, 7), kind=st.sampled_from([1, 3, 5]), size=st.integers(68, 65535))
def test_nothing_damaged_on_its_way_is_admitted(place: int, bit: int, kind: Literal[1, 3, 5], size: int) -> None:
    bound = b"" if kind == 5 else HERE
    datagram = bytearray(KEY.seal(wire.pack_request(wire.ProbePacket(kind, 5, 6, size)), bound))
    assert admission.Admission(KEY, 0.0).admit(bytes(datagram), size, HERE, 0.0) is not None
    datagram[place] ^= 1 << bit
    assert admission.Admission(KEY, 0.0).admit(bytes(datagram), size, HERE, 0.0) is None


def test_a_hello_holds_from_anywhere_and_once() -> None:
    door = admission.Admission(KEY, 0.0)
    hello = KEY.seal(wire.pack_request(wire.ProbePacket(5, 7, 1, 0)))
    admitted = [door.admit(hello, 68, bytes([10, 0, 0, last]), 0.0) is not None for last in range(200)]
    assert admitted == [True] + [False] * 199
    assert door.refused.repeated == 199


def test_ten_thousand_captured_requests_gain_nothing_in_any_order_and_state_does_not_grow() -> None:
    door = admission.Admission(KEY, 0.0, rate=1_000_000, depth=1_000_000)
    captured = [probe(number) for number in range(10_000)]
    assert all(door.admit(one, 1500, HERE, 0.0) is not None for one in captured)
    for _ in range(3):
        random.Random(5).shuffle(captured)
        assert not any(door.admit(one, 1500, HERE, 0.0) is not None for one in captured)
    for number in range(10_000, 80_000):
        door.admit(probe(number), 1500, HERE, 0.0)
    assert len(door._seen) == 4096
    assert max(len(one) for one in door._seen) == 128


def test_only_so_many_a_second_are_answered() -> None:
    door = admission.Admission(KEY, 0.0, rate=100, depth=10)
    assert sum(door.admit(probe(number), 1500, HERE, 0.0) is not None for number in range(50)) == 10
    assert door.refused.limited == 40
    assert sum(door.admit(probe(100 + number), 1500, HERE, 0.5) is not None for number in range(50)) == 10
    assert door.admit(probe(200), 1500, HERE, 0.49) is None  # a clock that goes backwards fills nothing


def test_strangers_use_up_nothing_of_the_limit() -> None:
    door = admission.Admission(KEY, 0.0, rate=1, depth=1)
    for number in range(1000):
        door.admit(probe(number, key=wire.Key(b"fedcba9876543210")), 1500, HERE, 0.0)
    assert door.admit(probe(), 1500, HERE, 0.0) is not None

"""What an end of a connection says about its MSS: read from a SYN, packed, unpacked and compared."""

from hypothesis import given
from hypothesis import strategies as st

from kubemtu.node.probe import mss, wire

KEY = wire.Key(b"a secret that all stations of the cluster share")


def test_the_mss_among_the_options_of_a_syn() -> None:
    assert mss.option(bytes.fromhex("020405b40402080a0000000000000000 01030307")) == 1460
    assert mss.option(bytes.fromhex("0101020404b0")) == 1200
    assert mss.option(bytes.fromhex("0402000000")) == 0
    assert mss.option(bytes.fromhex("0204")) == 0
    assert mss.option(bytes.fromhex("0203050100020405b4")) == 0


@given(st.binary(max_size=44))
def test_no_options_are_too_strange(options: bytes) -> None:
    assert 0 <= mss.option(options) <= 65535


@given(st.binary(max_size=80))
def test_junk_is_never_taken(junk: bytes) -> None:
    assert mss.unpack(mss.ASK, junk, KEY) is None
    assert mss.unpack(mss.TELL, junk, KEY) is None


@given(*(st.integers(0, 65535) for _ in range(5)), st.booleans(), st.integers(0, 255), st.integers(0, 2**64 - 1))
def test_what_is_packed_is_unpacked(
    arrived: int, announced: int, sends: int, pmtu: int, port: int, timestamps: bool, probing: int, nonce: int
) -> None:
    seen = mss.ObservedMss(arrived, announced, sends, pmtu, port, timestamps, probing)
    message = KEY.seal(mss.pack(mss.TELL, nonce, seen))
    assert len(message) == 40
    assert mss.unpack(mss.TELL, message, KEY) == (nonce, seen)


def seen(arrived: int, announced: int, sends: int, port: int = 40000) -> mss.ObservedMss:
    return mss.ObservedMss(arrived, announced, sends, 1500, port, timestamps=True, probing=0)


def test_what_is_not_seen_but_sent_has_arrived() -> None:
    found = mss.compare(seen(0, 1460, 1448), seen(0, 1460, 1288), 4)
    assert (found.forward.received_mss, found.forward.clamped) == (1460, False)  # 1448 and 12 of timestamps are sent
    assert (found.backward.received_mss, found.backward.clamped, found.backward.packet) == (0, False, 1340)


def test_each_end_tells_what_the_other_is_made_to_believe() -> None:
    found = mss.compare(seen(1200, 1460, 1188), seen(1300, 8960, 1288, port=50000), 6)
    assert (found.forward.announced_mss, found.forward.received_mss, found.forward.allowed) == (8960, 1200, 1260)
    assert (found.backward.announced_mss, found.backward.received_mss, found.backward.allowed) == (1460, 1300, 1360)
    assert found.forward.relayed

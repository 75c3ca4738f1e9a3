"""The frames of SPDY/3.1: the dictionary that everybody must have, and pieces of any size."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubemtu_lab.streams import spdy


def syn_stream(compress: "zlib._Compress", stream: int, *headers: tuple[str, str], flags: int = 0) -> bytes:
    """Return what a client sends to open a stream (SPDY/3.1, section 2.6.1)."""
    plain = struct.pack("!I", len(headers))
    for pair in headers:
        for word in pair:
            plain += struct.pack("!I", len(word)) + word.encode()
    block = compress.compress(plain) + compress.flush(zlib.Z_SYNC_FLUSH)
    body = struct.pack("!IIH", stream, 0, 0) + block
    return struct.pack("!HHI", 0x8003, 1, flags << 24 | len(body)) + body


def test_the_dictionary_is_the_one_of_the_draft() -> None:
    # zlib writes the Adler-32 of a dictionary behind its header (RFC 1950, DICTID): e3c6a7c2 in every SPDY/3 capture.
    assert (len(spdy.DICTIONARY), zlib.adler32(spdy.DICTIONARY)) == (1423, 0xE3C6A7C2)


@given(cuts=st.lists(st.integers(1, 40), max_size=30), content=st.binary(max_size=200))
def test_frames_are_found_however_they_arrive(cuts: list[int], content: bytes) -> None:
    compress = zlib.compressobj(zdict=spdy.DICTIONARY)
    sent = syn_stream(compress, 1, ("streamtype", "error")) + syn_stream(
        compress, 3, ("streamtype", "stdin"), ("a", "")
    )
    sent += struct.pack("!II", 3, 1 << 24 | len(content)) + content
    sent += struct.pack("!HHII", 0x8003, 6, 4, 9) + struct.pack("!HHIII", 0x8003, 7, 8, 3, 0)
    reader = spdy.Reader()
    found: list[spdy.Frame] = []
    for size in [*cuts, len(sent)]:
        part, sent = sent[:size], sent[size:]
        found += reader.feed(part)
    kinds = [(each.kind, each.stream, each.is_last) for each in found]
    assert kinds == [(1, 1, False), (1, 3, False), (0, 3, True), (6, 0, False), (7, 0, False)]
    assert [each.headers for each in found[:2]] == [{"streamtype": "error"}, {"streamtype": "stdin", "a": ""}]
    assert found[2].content == content
    assert spdy.Writer().pong(found[3]) == bytes.fromhex("800300060000000400000009")


@given(content=st.binary(min_size=8, max_size=300))
def test_anything_else_is_malformed_or_passed_over(content: bytes) -> None:
    try:
        list(spdy.Reader().feed(content))
    except spdy.Malformed:
        return


def test_a_frame_without_end_is_malformed() -> None:
    with pytest.raises(spdy.Malformed, match="16777215 bytes"):
        list(spdy.Reader().feed(struct.pack("!II", 1, 0xFFFFFF)))

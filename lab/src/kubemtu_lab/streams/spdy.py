"""The frames of SPDY/3.1, as far as streams need them: what comes in is read, and what a server answers is made.

Headers are compressed by one zlib stream a direction, begun with a dictionary that both sides know. There is no flow
control, as github.com/moby/spdystream has none. Source: SPDY Protocol Draft 3.1 sections 2.2 and 2.6.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping

import msgspec

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY = 1, 2, 3, 4, 6, 7
FIN = 1
_VERSION = 0x8003  # the high bit says that this is a control frame
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _prefixed(content: bytes) -> bytes:
    return struct.pack("!I", len(content)) + content


DICTIONARY = b"".join(_prefixed(each.replace("_", " ").encode()) for each in _WORDS.split()) + _REST.encode()
"""Section 2.6.10.1."""
_MOST_HEADERS = 1 << 16
_MOST_FRAME = 1 << 20


class Malformed(Exception):
    """What came is no SPDY/3.1."""


class Frame(msgspec.Struct, frozen=True):
    """A frame that came: its `kind` (0 for data) and its stream."""

    kind: int
    stream: int = 0
    flags: int = 0
    content: bytes = b""
    headers: Mapping[str, str] = {}

    @property
    def is_last(self) -> bool:
        """Tell whether the other side sends no more on this stream."""
        return bool(self.flags & FIN)


class Reader:
    """What turns the bytes of one direction into frames."""

    def __init__(self) -> None:
        self._held = b""
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    def feed(self, content: bytes) -> Iterator[Frame]:
        """Return the frames that are whole now, in their order; those of no use here are passed over.

        Raises Malformed.
        """
        self._held += content
        while len(self._held) >= 8:
            first, rest = struct.unpack_from("!II", self._held)
            flags, length = rest >> 24, rest & 0xFFFFFF
            if length > _MOST_FRAME:
                raise Malformed(f"a frame of {length} bytes")
            if len(self._held) < 8 + length:
                return
            body, self._held = self._held[8 : 8 + length], self._held[8 + length :]
            if not first >> 31:
                yield Frame(0, first, flags, body)
            elif (found := self._control(first, flags, body)) is not None:
                yield found

    def _control(self, first: int, flags: int, body: bytes) -> Frame | None:
        if first >> 16 != _VERSION:
            raise Malformed(f"version {first >> 16 & 0x7FFF}")
        kind = first & 0xFFFF
        try:
            match kind:
                case 1:
                    return Frame(kind, struct.unpack_from("!I", body)[0], flags, headers=self._headers(body[10:]))
                case 2 | 8:
                    self._headers(body[4:])  # keeps the compression going
                    return None
                case 3:
                    return Frame(kind, struct.unpack_from("!I", body)[0])
                case 6 | 7:
                    return Frame(kind, content=body)
        except struct.error as short:
            raise Malformed(f"a frame of kind {kind} is too short") from short
        return None

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block, _MOST_HEADERS)
        except zlib.error as error:
            raise Malformed(f"headers: {error}") from None
        (count,) = struct.unpack_from("!I", plain)
        words, place = [], 4
        for _ in range(2 * min(count, 100)):
            (length,) = struct.unpack_from("!I", plain, place)
            words.append(plain[place + 4 : place + 4 + length].decode("latin-1"))
            place += 4 + length
        return dict(zip(words[::2], words[1::2], strict=True))


class Writer:
    """What makes the frames of the other direction."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def reply(self, stream: int) -> bytes:
        """Accept a stream, without a header."""
        block = self._deflate.compress(struct.pack("!I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _control(SYN_REPLY, struct.pack("!I", stream) + block)

    def data(self, stream: int, content: bytes, *, is_last: bool = False) -> bytes:
        """Send something on a stream."""
        return struct.pack("!II", stream, (FIN if is_last else 0) << 24 | len(content)) + content

    def pong(self, ping: Frame) -> bytes:
        """Answer a ping."""
        return _control(PING, ping.content)


def _control(kind: int, body: bytes) -> bytes:
    return struct.pack("!HHI", _VERSION, kind, len(body)) + body

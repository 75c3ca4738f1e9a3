"""Channels over SPDY/3.1: a stream of its own for each, which the client opens and names by a header.

Source: kubelet `pkg/cri/streaming/remotecommand/httpstream.go`, apimachinery `pkg/util/httpstream/httpstream.go`.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping

import msgspec
from starlette.requests import Request

from kubemtu_lab.streams import session, spdy, upgrade
from kubemtu_lab.streams.session import ERROR, RESIZE, STDERR, STDIN, STDOUT, Gone, Piece, Wanted

UPGRADE = "SPDY/3.1"
V4 = "v4.channel.k8s.io"
VERSION_HEADER = "x-stream-protocol-version"
_TYPE = "streamtype"
_CHANNELS = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": ERROR, "resize": RESIZE}
_CREATION_SECONDS = 30.0  # DefaultStreamCreationTimeout
_CLOSING_SECONDS = 5.0
_CHUNK = 1 << 16


def is_wanted(request: Request) -> bool:
    """Tell whether a client asks for SPDY."""
    return upgrade.wanted(request) == UPGRADE.lower()


def negotiated(request: Request) -> str:
    """Return the version of the channels, as the client has it; nothing where none of its is known here."""
    offered = [each.strip() for line in request.headers.getlist(VERSION_HEADER) for each in line.split(",")]
    return V4 if V4 in offered else ""


async def accept(request: Request, wanted: Wanted) -> "SpdySession":
    """Switch, and wait for the client's streams. Raises Gone where they do not come."""
    headers = [
        (b"connection", b"Upgrade"),
        (b"upgrade", UPGRADE.encode()),
        (VERSION_HEADER.encode(), V4.encode()),
    ]
    made = SpdySession(await upgrade.switch(request, headers))
    expected = {ERROR}
    expected |= {STDIN} if wanted.stdin else set()
    expected |= {STDOUT} if wanted.stdout else set()
    expected |= {STDERR} if wanted.stderr else set()
    expected |= {RESIZE} if wanted.tty else set()
    try:
        async with asyncio.timeout(_CREATION_SECONDS):
            await made.opened(expected)
    except (TimeoutError, Gone):
        made.close()
        raise Gone from None
    return made


class SpdySession:
    """The streams of one connection."""

    protocol, is_translated = UPGRADE, False

    def __init__(self, stream: upgrade.Stream) -> None:
        self._reader, self._out = stream.reader, session.Outgoing(stream.writer)
        self._frames, self._made = spdy.Reader(), spdy.Writer()
        self._streams: dict[int, int] = {}  # by channel
        self._pieces: deque[Piece] = deque()
        self._gone = False

    async def opened(self, channels: set[int]) -> None:
        """Wait until the client has opened a stream for each of these channels. Raises Gone."""
        while not channels <= self._streams.keys():
            await self._read()

    async def receive(self) -> Piece:
        """Return the next piece of what the client sends. Raises Gone."""
        while not self._pieces:
            await self._read()
        return self._pieces.popleft()

    async def _read(self) -> None:
        if self._gone:
            raise Gone
        try:
            content = await self._reader.read(_CHUNK)
            self._gone = not content
            for frame in self._frames.feed(content):
                await self._take(frame)
        except (OSError, spdy.Malformed):
            self._gone = True

    async def _take(self, frame: spdy.Frame) -> None:
        match frame.kind:
            case spdy.SYN_STREAM:
                channel = _CHANNELS.get(frame.headers.get(_TYPE, ""))
                if channel is not None:
                    self._streams[channel] = frame.stream
                await self._out.write(self._made.reply(frame.stream))
                if frame.is_last:
                    self._enter(frame)
            case spdy.PING:
                await self._out.write(self._made.pong(frame))
            case spdy.GOAWAY:
                self._gone = True
            case 0 | spdy.RST_STREAM:
                self._enter(frame)

    def _enter(self, frame: spdy.Frame) -> None:
        for channel, stream in self._streams.items():
            if stream == frame.stream and channel in (STDIN, RESIZE):
                self._pieces.append(Piece(channel, frame.content, last=frame.is_last or frame.kind == spdy.RST_STREAM))

    async def greet(self, channel: int) -> None:
        """Send nothing: the streams were answered."""

    async def send(self, channel: int, content: bytes) -> None:
        """Send a piece; waits while the client does not read. Raises Gone."""
        await self._out.write(self._made.data(self._streams[channel], content))

    async def finish(self, status: Mapping[str, object]) -> None:
        """Say how the command ended, end every stream, and wait a while for the client to close. Raises Gone."""
        await self.send(ERROR, msgspec.json.encode(status))
        for channel in (STDOUT, STDERR, ERROR):
            if channel in self._streams:
                await self._out.write(self._made.data(self._streams[channel], b"", is_last=True))
        # A connection that closes takes with it what github.com/moby/spdystream has read and not handed on.
        with contextlib.suppress(Gone, TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                while True:
                    await self.receive()

    def close(self) -> None:
        """Close the connection, once all that was sent is written."""
        self._out.close()

    def abort(self) -> None:
        """Break the connection."""
        self._out.abort()

"""The streams of one command, whatever carries them.

Source: kubernetes/apimachinery `pkg/util/remotecommand/constants.go`, kubelet `pkg/cri/streaming/remotecommand`.
"""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import msgspec

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
"""The channels of channel.k8s.io; the first three are the command's descriptors."""


class Gone(Exception):
    """The client has closed the connection, or broken it."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which streams the client asked for."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


class Piece(msgspec.Struct, frozen=True):
    """What the client sent on a channel; `last` where it sends no more there."""

    channel: int
    content: bytes = b""
    last: bool = False


class Session(Protocol):
    """One client that waits for a command."""

    protocol: str
    """What was negotiated, such as v5.channel.k8s.io."""
    is_translated: bool
    """Whether an API server makes SPDY of it on the way to a kubelet."""

    async def receive(self) -> Piece:
        """Return the next piece of what the client sends. Raises Gone."""
        ...

    async def send(self, channel: int, content: bytes) -> None:
        """Send a piece; waits while the client does not read. Raises Gone."""
        ...

    async def greet(self, channel: int) -> None:
        """Let the client know, by a channel that is open to it, that its command begins. Raises Gone."""
        ...

    async def finish(self, status: Mapping[str, object]) -> None:
        """Say how the command ended (a Status of meta/v1). Raises Gone."""
        ...

    def close(self) -> None:
        """Close the connection, once all that was sent is written."""
        ...

    def abort(self) -> None:
        """Break the connection."""
        ...


class Outgoing:
    """What is written to a connection, piece after piece, by several tasks."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def write(self, content: bytes) -> None:
        """Write, and wait while the other side does not read. Raises Gone."""
        # Neither of the two lets the loop run while there is room, and it is the loop that hears of a broken line.
        await asyncio.sleep(0)
        if self._writer.transport.is_closing():
            raise Gone
        try:
            self._writer.write(content)
            await self._writer.drain()
        except OSError as broken:
            raise Gone from broken

    def close(self) -> None:
        """Close once all is written."""
        self._writer.close()

    def abort(self) -> None:
        """Break the connection."""
        self._writer.transport.abort()

"""Channels over WebSocket (RFC 6455): each message begins with the number of its channel.

Source: kubernetes/apimachinery `pkg/util/httpstream/wsstream/conn.go`, `pkg/util/remotecommand/constants.go`.
"""

import base64
import contextlib
import hashlib
from collections import deque
from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from wsproto import connection, events, utilities

from kubemtu_lab.streams import session, upgrade
from kubemtu_lab.streams.session import Gone, Piece

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
PROTOCOLS = (V5, V4)
CLOSE = 255
"""The channel of v5 on which a client says of another that it sends no more there."""
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CHUNK = 1 << 16
_MOST = 1 << 25  # bytes of one message: golang.org/x/net/websocket, DefaultMaxPayloadBytes


def negotiated(request: Request) -> str:
    """Return the first subprotocol of the client's that is known here; nothing where there is none.

    Left out: v1 to v3, channel.k8s.io and base64.channel.k8s.io, which no kubectl asks for.
    """
    offered = [each.strip() for each in request.headers.get("sec-websocket-protocol", "").split(",")]
    return next((each for each in offered if each in PROTOCOLS), "")


async def accept(request: Request) -> session.Session:
    """Complete the handshake; `negotiated` must know a subprotocol of the request."""
    protocol = negotiated(request)
    key = request.headers.get("sec-websocket-key", "").encode()
    told = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    headers = [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-accept", told),
        (b"sec-websocket-protocol", protocol.encode()),
    ]
    return WebSocketSession(await upgrade.switch(request, headers), protocol)


class WebSocketSession:
    """The channels of one connection."""

    def __init__(self, stream: upgrade.Stream, protocol: str) -> None:
        self.protocol, self.is_translated = protocol, protocol == V5
        self._reader, self._out = stream.reader, session.Outgoing(stream.writer)
        self._frames = connection.Connection(connection.ConnectionType.SERVER)
        self._message = b""
        self._pieces: deque[Piece] = deque()
        self._gone = False

    async def receive(self) -> Piece:
        """Return the next piece of what the client sends. Raises Gone."""
        while not self._pieces:
            if self._gone:
                raise Gone
            try:
                self._frames.receive_data(await self._reader.read(_CHUNK) or None)
                await self._take()
            except (OSError, utilities.ProtocolError):
                self._gone = True
        return self._pieces.popleft()

    async def _take(self) -> None:
        for event in self._frames.events():
            match event:
                case events.Ping():
                    await self._out.write(self._frames.send(event.response()))
                case events.CloseConnection():
                    self._gone = True
                case events.BytesMessage() | events.TextMessage():
                    content = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
                    self._message += content
                    self._gone |= len(self._message) > _MOST
                    if event.message_finished and self._message:
                        self._pieces.append(self._piece(self._message))
                        self._message = b""

    def _piece(self, message: bytes) -> Piece:
        if message[0] == CLOSE and self.protocol == V5 and len(message) > 1:
            return Piece(message[1], last=True)
        return Piece(message[0], message[1:])

    async def send(self, channel: int, content: bytes) -> None:
        """Send a piece; waits while the client does not read. Raises Gone."""
        try:
            frame = self._frames.send(events.BytesMessage(data=bytes([channel]) + content))
        except utilities.LocalProtocolError as closed:
            raise Gone from closed
        await self._out.write(frame)

    async def greet(self, channel: int) -> None:
        """Send a message without content. Raises Gone."""
        await self.send(channel, b"")

    async def finish(self, status: Mapping[str, object]) -> None:
        """Say how the command ended. Raises Gone."""
        await self.send(session.ERROR, msgspec.json.encode(status))
        with contextlib.suppress(utilities.LocalProtocolError):  # the client has closed first
            await self._out.write(self._frames.send(events.CloseConnection(code=1000)))

    def close(self) -> None:
        """Close the connection, once all that was sent is written."""
        self._out.close()

    def abort(self) -> None:
        """Break the connection."""
        self._out.abort()

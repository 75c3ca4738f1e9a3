"""A connection that leaves HTTP (RFC 9110 section 7.8): its bytes, from where uvicorn has read on.

uvicorn itself knows WebSocket alone, and hands no bytes out.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import h11
from starlette.requests import Request
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

_CONNECTION = "connection"  # the key in the state of a request
Headers = list[tuple[bytes, bytes]]


class Stream(NamedTuple):
    """The two directions of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


def protocols(config: Config, state: ServerState) -> Callable[[], H11Protocol]:
    """Return what makes uvicorn's protocols, one a connection, for applications that may call `switch`."""

    def make() -> H11Protocol:
        kept: dict[str, Any] = {}
        kept[_CONNECTION] = H11Protocol(config, state, kept)
        return kept[_CONNECTION]  # type: ignore[no-any-return]

    return make


def wanted(request: Request) -> str:
    """Return the protocol that a request asks to be switched to, in small letters; nothing where it asks for none."""
    words = [each.strip().lower() for each in request.headers.get("connection", "").split(",")]
    return request.headers.get("upgrade", "").lower() if "upgrade" in words else ""


def has_certificate(request: Request) -> bool:
    """Tell whether the client has shown a certificate that the server trusts."""
    connection: H11Protocol = request.scope["state"][_CONNECTION]
    return bool(connection.transport.get_extra_info("peercert"))


async def switch(request: Request, headers: Headers) -> Stream:
    """Answer 101 with these headers and return the bytes from then on; nothing more may be answered to the request.

    The connection is the caller's to close.
    """
    await request.body()  # reads to the end of the request, which a POST has
    connection: H11Protocol = request.scope["state"][_CONNECTION]
    head = connection.conn.send(
        h11.InformationalResponse(status_code=101, reason=b"Switching Protocols", headers=headers)
    )
    connection.cycle.disconnected = True  # so that nothing is answered in HTTP any more
    connection.connections.discard(connection)
    reader = asyncio.StreamReader()
    receiving = asyncio.StreamReaderProtocol(reader)
    connection.transport.set_protocol(receiving)
    receiving.connection_made(connection.transport)
    writer = asyncio.StreamWriter(connection.transport, receiving, reader, asyncio.get_running_loop())
    writer.write(head)
    if early := connection.conn.trailing_data[0]:
        reader.feed_data(early)
    connection.flow.resume_reading()
    return Stream(reader, writer)

"""The sockets under an API connection: small segments from the SYN on, and what one shows while nothing comes.

kubemtu has to work where packets are lost for their size, so what it says to the API server goes in small ones:
TCP_MAXSEG is set before connect(), so that the SYN announces it and the other end keeps to it as well. Set later, as
`socket_options` of an HTTP library are, it changes nothing of what the other end sends.

Sources: tcp(7); RFC 9293 3.7.1.
"""

import asyncio
import select
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final, Literal, TypeVar

import anyio
import anyio.abc
import anyio.streams.tls
import httpcore2

from kubemtu.core.evidence import stalls
from kubemtu.kube import dialing, stalling

SEGMENT: Final = (
    stalls.API_SEGMENT
)  # packets of 1240 bytes over IPv4, 1260 over IPv6: below what IPv6 demands of a path
SMALLEST: Final = 536  # RFC 9293 3.7.1: what every IPv4 host takes
KEEPALIVE: Final = (  # a peer that is gone without a word is noticed after 30 + 3 x 10 s, watches included
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *((socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30) for _ in range(hasattr(socket, "TCP_KEEPIDLE"))),
    *((socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10) for _ in range(hasattr(socket, "TCP_KEEPINTVL"))),
    *((socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3) for _ in range(hasattr(socket, "TCP_KEEPCNT"))),
)
GLANCE: Final = 0.5  # seconds before the first look at a socket on which nothing comes, and while a packet is missing
SELDOM: Final = 16.0  # seconds between two looks at most, where nothing is missing: a watch may rest for minutes
HELD_UP: Final[dict[str, float]] = {
    "tls": 2.0,
    "read": 6.0,
}  # seconds that one packet may be missing while later ones arrive

Stage = Literal["resolve", "connect", "proxy tls", "tunnel", "tls", "write", "read"]
T = TypeVar("T")


class Stalled(Exception):
    """A wait that ended without what was waited for: at what stage, after how many seconds, and what the socket showed.

    `by_size`: "inbound" or "outbound" when later, shorter packets arrived that way and an earlier one did not, sent
    again or not; None when nothing points at its size.
    """

    def __init__(
        self,
        stage: Stage,
        seconds: float,
        state: stalling.SocketState | None = None,
        by_size: stalling.Direction | None = None,
    ) -> None:
        super().__init__(f"{stage}: nothing for {seconds:g} s")
        self.stage = stage
        self.seconds = seconds
        self.shown = state
        self.by_size = by_size


def causes(error: BaseException) -> Iterator[BaseException]:
    """Return the error and all that led to it, outermost first, groups opened."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        here = waiting.pop(0)
        if here is None or id(here) in seen or isinstance(here, asyncio.CancelledError):
            continue
        seen.add(id(here))
        yield here
        if isinstance(here, BaseExceptionGroup):
            waiting.extend(here.exceptions)
        waiting.extend((here.__cause__, here.__context__))


def stalled(error: BaseException) -> Stalled | None:
    """Return what the socket showed when the wait behind `error` ended; None when it was no wait on a socket."""
    return next((cause for cause in causes(error) if isinstance(cause, Stalled)), None)


class Answered(Exception):
    """A trial is over: the server answered in TLS."""


class SocketBackend(httpcore2.AsyncNetworkBackend):
    """Makes the sockets of one connection pool.

    `segment` says at each connect what to announce (None: what the kernel would). `handshakes` is how many TLS layers
    there are from the inside out, `tunnel` whether a proxy is asked for a way before the last of them. A `trial` ends
    with Answered as soon as the last handshake has been answered, before a request is sent.
    """

    def __init__(
        self,
        segment: Callable[[], int | None],
        *,
        handshakes: int = 1,
        tunnel: bool = False,
        trial: bool = False,
        held_up: Callable[[Stalled], None] | None = None,
    ) -> None:
        self.segment = segment
        self.handshakes = handshakes
        self.tunnel = tunnel
        self.trial = trial
        self.held_up = held_up or (lambda _: None)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[dialing.Option] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of `host` that accepts. Raises ConnectError, ConnectTimeout from a Stalled."""
        options: list[dialing.Option] = [*KEEPALIVE, *(socket_options or ())]
        if (segment := self.segment()) is not None and hasattr(socket, "TCP_MAXSEG"):
            options.append((socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment))
        stage: Stage = "resolve"
        try:
            with anyio.move_on_after(timeout):
                found = await dialing.resolve(host, port)
                stage = "connect"
                raw = await dialing.first(found, options)
                return Stream(await anyio.abc.SocketStream.from_socket(raw), raw, self)
        except OSError as error:
            raise httpcore2.ConnectError(error) from error
        raise httpcore2.ConnectTimeout(stage) from Stalled(stage, timeout or 0.0)

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await anyio.sleep(seconds)


class Stream(httpcore2.AsyncNetworkStream):
    """One connection: bytes in and out, `secured` by that many layers of TLS."""

    def __init__(
        self, stream: anyio.abc.ByteStream, raw: socket.socket, backend: SocketBackend, *, secured: int = 0
    ) -> None:
        self._stream = stream
        self._raw = raw
        self._backend = backend
        self._secured = secured

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Receive up to `max_bytes`; nothing at the end. Raises ReadTimeout from a Stalled, ReadError."""
        tunnelling = self._backend.tunnel and self._secured < self._backend.handshakes
        try:
            return await self._bounded(
                "tunnel" if tunnelling else "read", timeout, lambda: self._stream.receive(max_bytes)
            )
        except anyio.EndOfStream:
            return b""
        except Stalled as stalled:
            raise httpcore2.ReadTimeout(stalled) from stalled
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise httpcore2.ReadError(error) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it. Raises WriteTimeout from a Stalled, WriteError."""
        if not buffer:
            return
        try:
            await self._bounded("write", timeout, lambda: self._stream.send(buffer))
        except Stalled as stalled:
            raise httpcore2.WriteTimeout(stalled) from stalled
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream) as error:
            raise httpcore2.WriteError(error) from error

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Put one layer of TLS around. Raises ConnectTimeout from a Stalled, ConnectError; Answered in a trial."""
        last = self._secured + 1 >= self._backend.handshakes
        try:
            stream = await self._bounded(
                "tls" if last else "proxy tls",
                timeout,
                lambda: anyio.streams.tls.TLSStream.wrap(
                    self._stream,
                    server_side=False,
                    hostname=server_hostname,
                    ssl_context=ssl_context,
                    standard_compatible=False,
                ),
            )
        except Stalled as stalled:
            await self._abort()
            raise httpcore2.ConnectTimeout(stalled) from stalled
        except (anyio.BrokenResourceError, anyio.EndOfStream, ssl.SSLError) as error:
            await self._abort()
            if self._backend.trial and isinstance(error, ssl.SSLCertVerificationError):
                raise Answered from error
            raise httpcore2.ConnectError(error) from error
        except BaseException:
            await self._abort()
            raise
        if self._backend.trial and last:
            await anyio.aclose_forcefully(stream)
            raise Answered
        return Stream(stream, self._raw, self._backend, secured=self._secured + 1)

    def get_extra_info(self, info: str) -> Any:
        """Answer what httpcore2 asks of a stream."""
        match info:
            case "ssl_object":
                look_up = self._stream.extra
                return look_up(anyio.streams.tls.TLSAttribute.ssl_object, None)
            case "client_addr":
                return self._raw.getsockname()
            case "server_addr":
                return self._raw.getpeername()
            case "socket":
                return self._raw
            case "is_readable":
                return _readable(self._raw)
            case _:
                return None

    async def _abort(self) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self._stream)

    async def _bounded(self, stage: Stage, seconds: float | None, wait: Callable[[], Awaitable[T]]) -> T:
        """Wait at most that long, and no longer than a packet is seen to be lost for its size. Raises Stalled."""
        loop = asyncio.get_running_loop()
        watch = stalling.StallWatch(self._raw, HELD_UP.get(stage))
        begun = loop.time()
        with anyio.move_on_after(seconds) as scope:
            with _Glances(watch, scope):
                return await wait()
        seen = stalling.shown(self._raw)
        stalled = Stalled(stage, round(loop.time() - begun, 1), seen, stalling.missing(seen))
        if stalled.by_size and stage in {"read", "write"}:
            self._backend.held_up(stalled)
        raise stalled


class _Glances:
    """Looks at a socket now and then, and ends the wait on it when a packet has been missing for too long."""

    def __init__(self, watch: stalling.StallWatch, scope: anyio.CancelScope) -> None:
        self._watch = watch
        self._scope = scope
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        self._pause = GLANCE
        self._timer = self._loop.call_later(self._pause, self._glance)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _glance(self) -> None:
        if self._watch.held_up(self._loop.time()):
            self._scope.cancel()
        else:
            self._pause = GLANCE if self._watch.missing else min(2 * self._pause, SELDOM)
            self._timer = self._loop.call_later(self._pause, self._glance)


def _readable(raw: socket.socket) -> bool:
    """Say whether a read would return at once; so it would on a socket that is closed."""
    if raw.fileno() < 0:
        return True
    ready = select.poll()
    ready.register(raw, select.POLLIN)
    return bool(ready.poll(0))

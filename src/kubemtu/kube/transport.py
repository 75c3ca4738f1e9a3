"""HTTP over the sockets of kube.sockets, to a server or to a proxy, and what is done where TLS hangs.

A connection that is accepted, and on which TLS then hangs, is what a path looks like that drops large packets and says
nothing. Whether it is one is measured: handshakes with segments of several sizes are begun at once, each ends with the
server's answer, and no request is sent. Where the small ones are answered and the large ones are not, it is the size,
and all connections of this process to that address go on with 536 bytes.
"""

import asyncio
import contextlib
import importlib.util
import logging
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

import httpcore2
import httpx2

from kubemtu.kube import narrowing, sockets, stalling
from kubemtu.kube.connection import Connection

KEPT: Final = 20  # idle connections that are kept
KEPT_SECONDS: Final = 30.0  # kube-apiserver ends them after 90; an agent tells something every 20
RECEIVED: Final = 1 << 16  # bytes that are taken at once of a connection that is no HTTP any more
_ERRORS: Final = (
    *("ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout", "ConnectError", "ReadError", "WriteError"),
    *("ProxyError", "UnsupportedProtocol", "LocalProtocolError", "RemoteProtocolError"),
)
_SMALL: dict[tuple[str, int], int] = {}  # the segment that this process has come down to, by host and port

log = logging.getLogger("kubemtu.kube")


class Hanging(httpx2.ConnectTimeout):
    """TLS hangs on an accepted connection, and this was measured on the spot."""

    def __init__(self, stalled: sockets.Stalled, bracket: narrowing.Bracket) -> None:
        super().__init__(str(stalled))
        self.stalled = stalled
        self.bracket = bracket


class Transport(httpx2.AsyncBaseTransport):
    """Carries requests to the server of a connection, through its proxy where it has one.

    `segment` is the TCP MSS that each connection announces and keeps to; None leaves it to the kernel, and then nothing
    is made smaller where TLS hangs. Raises ImportError for a SOCKS proxy without socksio, ValueError for no address.
    """

    def __init__(self, connection: Connection, context: ssl.SSLContext, *, segment: int | None) -> None:
        self._connection = connection
        self._context = context
        self._proxy = httpx2.Proxy(connection.proxy_url) if connection.proxy_url else None
        if self._proxy and self._proxy.url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
            raise ImportError("socksio")
        self._segment = segment
        url = self._proxy.url if self._proxy else httpx2.URL(connection.server)
        self._to = (url.host, url.port or 0)
        self._pool = self._new_pool(self._backend())
        self._falling = asyncio.Lock()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request. Raises what httpx2 does, and Hanging."""
        announced = self._announced()
        try:
            return await self._sent(request)
        except httpx2.ConnectTimeout as error:
            stalled = sockets.stalled(error)
            if stalled is None or stalled.stage not in {"tls", "proxy tls"}:
                raise
            async with self._falling:
                if self._announced() == announced:
                    await self._fall(stalled)
        return await self._sent(request)  # nothing of it had been sent

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def _sent(self, request: httpx2.Request) -> httpx2.Response:
        try:
            with translated():
                answer = await self._pool.handle_async_request(_core(request))
        except httpx2.ReadTimeout as error:
            await self._judge(error)
            raise
        assert isinstance(answer.stream, AsyncIterable)
        return httpx2.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer.stream, self._judge),
            extensions=answer.extensions,
        )

    def _announced(self) -> int | None:
        return None if self._segment is None else min(self._segment, _SMALL.get(self._to, self._segment))

    def _backend(self, trial: int | None = None) -> sockets.SocketBackend:
        handshakes = (not self._connection.plain) + (self._proxy is not None and self._proxy.url.scheme == "https")
        return sockets.SocketBackend(
            self._announced if trial is None else lambda: trial,
            handshakes=handshakes,
            tunnel=self._proxy is not None and not self._connection.plain,
            trial=trial is not None,
            held_up=self._held_up,
        )

    def _new_pool(self, backend: sockets.SocketBackend) -> httpcore2.AsyncConnectionPool:
        proxy = self._proxy
        if proxy is None:
            return httpcore2.AsyncConnectionPool(
                ssl_context=self._context,
                max_connections=None,
                max_keepalive_connections=KEPT,
                keepalive_expiry=KEPT_SECONDS,
                network_backend=backend,
            )
        url = httpcore2.URL(
            scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=proxy.url.raw_path
        )
        kind = httpcore2.AsyncSOCKSProxy if proxy.url.scheme.startswith("socks") else httpcore2.AsyncHTTPProxy
        return kind(
            proxy_url=url,
            proxy_auth=proxy.raw_auth,
            ssl_context=self._context,
            max_connections=None,
            max_keepalive_connections=KEPT,
            keepalive_expiry=KEPT_SECONDS,
            network_backend=backend,
        )

    # Where something hangs

    async def _fall(self, stalled: sockets.Stalled) -> None:
        """Come down to a size with which TLS is answered. Raises Hanging where there is none, or none may be taken."""
        tried = self._announced() or (stalled.shown.segment if stalled.shown else 0)
        if tried <= sockets.SMALLEST:
            raise Hanging(stalled, narrowing.Bracket(hung=tried))
        rounds = narrowing.ROUNDS if self._segment is None else 1
        bracket = await narrowing.search(self._answers, sockets.SMALLEST, tried, rounds=rounds)
        if self._segment is None or bracket.answered is None:
            raise Hanging(stalled, bracket)
        self._take_smaller(stalled, bracket)

    async def _judge(self, error: httpx2.ReadTimeout) -> None:
        """Try whether what did not come was lost for its size, where the socket itself does not show it."""
        stalled, announced = sockets.stalled(error), self._announced()
        if stalled is None or stalled.stage != "read" or stalled.by_size or self._connection.plain:
            return
        if announced is None or announced <= sockets.SMALLEST:
            return
        bracket = await narrowing.search(self._answers, sockets.SMALLEST, announced, rounds=1)
        if bracket.by_size:
            stalled.by_size = "inbound"
            self._take_smaller(stalled, bracket)

    def _take_smaller(self, stalled: sockets.Stalled, bracket: narrowing.Bracket) -> None:
        if not bracket.by_size or bracket.answered is None or bracket.hung is None:
            return
        _SMALL[self._to] = sockets.SMALLEST
        family = stalled.shown.family if stalled.shown else 4
        log.warning(
            "TLS with %s is answered in packets of at most %d bytes and hangs in packets of %d, on connections that "
            "are accepted: something on the way drops large packets and does not say so, its MTU is the likely cause; "
            "going on in packets of %d bytes",
            self._connection.server,
            stalling.packet(bracket.answered, family),
            stalling.packet(bracket.hung, family),
            stalling.packet(sockets.SMALLEST, family),
        )

    def _held_up(self, stalled: sockets.Stalled) -> None:
        """Take smaller segments from now on, where one was missing on a connection while later ones arrived."""
        announced, state = self._announced(), stalled.shown
        if announced is not None and announced > sockets.SMALLEST and state is not None:
            _SMALL[self._to] = sockets.SMALLEST
            log.warning(
                "a packet of up to %d bytes did not arrive on a connection with %s, and later, shorter ones did: "
                "going on in packets of %d bytes",
                stalling.packet(state.segment if stalled.by_size == "inbound" else state.sends, state.family),
                self._connection.server,
                stalling.packet(sockets.SMALLEST, state.family),
            )

    async def _answers(self, segment: int) -> bool | None:
        """Say whether TLS is answered with segments of that size; None when the connection fails otherwise."""
        pool = self._new_pool(self._backend(segment))
        limits = dict.fromkeys(("connect", "read", "write", "pool"), narrowing.TRIED)
        try:
            extensions = _named(self._connection) | {"timeout": limits}
            await pool.request("GET", self._connection.server, extensions=extensions)
        except sockets.Answered:
            return True
        except httpcore2.TimeoutException:
            return False
        except Exception:  # what else can happen to it was said of the connection that hung
            return None
        finally:
            with contextlib.suppress(Exception):  # the answer is known, whatever ends with the connection
                await pool.aclose()
        return None


class _Body(httpx2.AsyncByteStream):
    """The body of an answer, its failures as httpx2's."""

    def __init__(self, body: AsyncIterable[bytes], judge: Callable[[httpx2.ReadTimeout], Awaitable[None]]) -> None:
        self._body = body
        self._judge = judge

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            with translated():
                async for part in self._body:
                    yield part
        except httpx2.ReadTimeout as error:
            await self._judge(error)
            raise

    async def aclose(self) -> None:
        if hasattr(self._body, "aclose"):
            await self._body.aclose()


class Upgraded:
    """A connection that has changed to another protocol: bytes in and out, failures as httpx2's."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, seconds: float) -> bytes:
        """Receive some bytes; none at the end. Raises ReadTimeout, ReadError."""
        with translated():
            return await self._stream.read(RECEIVED, seconds)

    async def write(self, content: bytes, seconds: float) -> None:
        """Send all of it. Raises WriteTimeout, WriteError."""
        with translated():
            await self._stream.write(content, seconds)


def _core(request: httpx2.Request) -> httpcore2.Request:
    url = request.url
    return httpcore2.Request(
        method=request.method,
        url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


def _named(connection: Connection) -> dict[str, object]:
    return {"sni_hostname": connection.tls_server_name} if connection.tls_server_name else {}


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn an error of httpcore2 into the httpx2 error of the same name."""
    try:
        yield
    except Exception as error:
        for kind in type(error).__mro__:
            if kind.__name__ in _ERRORS and kind.__module__.startswith("httpcore2"):
                raise getattr(httpx2, kind.__name__)(str(error)) from error
        raise

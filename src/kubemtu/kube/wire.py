"""One HTTP exchange with an API server: TLS, credentials, retries, and every failure as one of our errors.

Above this file there are only JSON objects; below it only httpx2, used directly: a client library would add to the
time that each command takes to start, and the sentences that failures become are made here in any case.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Callable
from typing import Self

import httpx2
import msgspec

import kubemtu
from kubemtu.core import errors
from kubemtu.core.text import json_values
from kubemtu.kube import sockets, trust
from kubemtu.kube.clock import ServerClock
from kubemtu.kube.connection import Connection
from kubemtu.kube.credentials import Credential, Credentials
from kubemtu.kube.errors import (
    BEGIN_SECONDS,
    CONNECT_SECONDS,
    READ_SECONDS,
    TOTAL_SECONDS,
    Action,
    NotAnApi,
    Unusable,
    from_answer,
    not_json,
    not_upgraded,
    speaks_socks,
    too_large,
    trickling,
    unusable,
)
from kubemtu.kube.failures import from_transport
from kubemtu.kube.requests import Request
from kubemtu.kube.transport import Transport, Upgraded

TRIES = 3  # of a read whose connection broke, and of anything that the server asked to send again later
PATIENCE = 10.0  # seconds: the longest Retry-After that is waited for
PATIENCE_TOTAL = 30.0  # seconds: all of them together, until something is answered
BODY_MOST = 24 << 20  # bytes of an answer, unpacked, and of a line of a watch; a page of 500 large pods has 10 MiB
LARGE = 2 << 20  # bytes of an answer from which on it is read alone


class Wire:
    """Requests to one server, with the credentials of one connection. Use as an async context."""

    def __init__(
        self,
        connection: Connection,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        segment: int | None = sockets.SEGMENT,
    ) -> None:
        """Begin without a client; `segment`: the TCP MSS of each connection, in bytes, None leaves it to the kernel."""
        self.connection = connection
        self._segment = segment
        self.clock = ServerClock()
        self._transport = transport
        self._credentials = Credentials(connection)
        self._shown: tuple[str | None, str | None] | None = None  # the certificate that the newest client shows
        self._client: httpx2.AsyncClient | None = None
        self._open = contextlib.AsyncExitStack()
        self._refused_since: float | None = None
        self._large = asyncio.Lock()  # of many requests at once, one at a time has a large answer in memory

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client = None
        await self._open.aclose()

    async def request(
        self, request: Request, decode: Callable[[bytearray], object] = json_values.decode
    ) -> dict[str, object]:
        """Send one request and decode the object it answers with. Raises what kube.errors draws."""
        action = request.action
        for tries_left in reversed(range(TRIES)):
            try:
                response, credential = await self._begun(request)
                answer = await self._whole(response, action)
            except (httpx2.RemoteProtocolError, httpx2.ReadError) as error:
                if not tries_left or action.writes:
                    raise from_transport(error, action, self.connection) from error
                continue
            except httpx2.HTTPError as error:
                stall = sockets.stalled(error)
                if tries_left and not action.writes and stall is not None and stall.by_size:
                    continue  # the next connection takes smaller segments
                raise from_transport(error, action, self.connection) from error
            if tries_left and response.status_code == 401 and await self._credentials.renew(credential):
                continue
            if tries_left and (pause := self._pause(response)) is not None:
                await asyncio.sleep(pause)
                continue
            break
        try:
            return self._decoded(response, answer, action, decode)
        finally:
            with contextlib.suppress(BufferError):  # what was raised shows a part of it
                answer.clear()  # an error keeps this frame for a while, and many may fail at once

    async def lines(self, request: Request) -> AsyncGenerator[bytes, None]:
        """Send one request and yield its answer line by line as it comes.

        Only a line feed ends a line: JSON text may hold U+0085 and other ends of lines of Unicode. Raises what
        kube.errors draws; a line that the end of the connection cut is dropped.
        """
        action = request.action
        try:
            response = await self._answered(request)
            async with contextlib.aclosing(response):
                if response.status_code != 200:
                    raise self._refusal(response, await self._whole(response, action), action)
                rest = b""
                async for chunk in response.aiter_bytes():
                    *whole, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
                    if len(rest) > BODY_MOST:
                        raise too_large(action, self.connection, f"a line of more than {BODY_MOST >> 20} MiB")
                    for line in whole:
                        yield line
        except httpx2.HTTPError as error:
            raise from_transport(error, action, self.connection) from error

    @contextlib.asynccontextmanager
    async def upgraded(self, request: Request) -> AsyncGenerator[tuple[httpx2.Headers, Upgraded], None]:
        """Send a request for another protocol, and give the server's headers and the connection that it changed to.

        It is closed at the end. Raises NotUpgraded when the server does something else, what kube.errors draws else.
        """
        action = request.action
        try:
            response = await self._answered(request)
            async with contextlib.aclosing(response):
                stream = response.extensions.get("network_stream")
                if response.status_code == 101 and stream is not None:
                    yield response.headers, Upgraded(stream)
                    return
                answer = await self._whole(response, action) if response.status_code != 101 else bytearray()
                if response.status_code < 300 or b"pgrade request required" in answer or response.status_code == 426:
                    raise not_upgraded(action, self.connection, response.status_code)
                raise self._refusal(response, answer, action)
        except httpx2.HTTPError as error:
            raise from_transport(error, action, self.connection) from error

    async def _begun(self, request: Request) -> tuple[httpx2.Response, Credential]:
        """Send a request and wait until its answer begins. Raises Unusable for what no request can be made of."""
        credential = await self._credentials.current()  # a plug-in may ask somebody, who takes his time
        try:
            async with asyncio.timeout(BEGIN_SECONDS):
                response = await self._send(request, credential)
        except TimeoutError as error:
            raise trickling(request.action, self.connection, f"began no answer within {BEGIN_SECONDS:g} s") from error
        except (ValueError, TypeError, OverflowError) as error:  # of host names, ports and the like, from below
            raise unusable(self.connection, error) from error
        return response, credential

    async def _answered(self, request: Request) -> httpx2.Response:
        """Begin a request, once more with a new credential where the one that it was begun with is refused."""
        response, credential = await self._begun(request)
        if response.status_code == 401 and await self._credentials.renew(credential):
            await response.aclose()
            response, _ = await self._begun(request)
        return response

    async def _whole(self, response: httpx2.Response, action: Action) -> bytearray:
        """Read an answer to its end, unpacked. Raises TooLarge when it has none, Unreachable when it trickles."""
        body = bytearray()
        large = contextlib.AsyncExitStack()
        try:
            async with (
                large,
                asyncio.timeout(TOTAL_SECONDS) as limit,
                contextlib.aclosing(response.aiter_bytes()) as chunks,
            ):
                async for chunk in chunks:
                    if len(body) <= LARGE < len(body) + len(chunk):
                        limit.reschedule(None)  # it waits for us now
                        await large.enter_async_context(self._large)
                        limit.reschedule(asyncio.get_running_loop().time() + TOTAL_SECONDS)
                    body += chunk
                    if len(body) > BODY_MOST:
                        break
        except BaseException as error:
            body.clear()  # what was raised is kept for a while, and this with it
            if not isinstance(error, TimeoutError):
                raise
            raise trickling(action, self.connection, f"did not end its answer within {TOTAL_SECONDS:g} s") from error
        finally:
            await response.aclose()
        if len(body) > BODY_MOST:
            body.clear()
            raise too_large(action, self.connection, f"more than {BODY_MOST >> 20} MiB")
        return body

    def _pause(self, response: httpx2.Response) -> float | None:
        """Return the seconds to wait before the same request, when the server says that it did nothing (429, 503).

        All requests together wait for PATIENCE_TOTAL at most until one is answered: a server may say so for ever.
        """
        if response.status_code not in {429, 503}:
            self._refused_since = None
            return None
        named = response.headers.get("Retry-After", "")
        if not (named.isascii() and named.isdigit() and len(named) < 5) or int(named) > PATIENCE:
            return None
        now = time.monotonic()
        self._refused_since = now if self._refused_since is None else self._refused_since
        pause = int(named) + random.random()
        return pause if now + pause - self._refused_since <= PATIENCE_TOTAL else None

    async def _send(self, request: Request, credential: Credential) -> httpx2.Response:
        client = await self._client_for(credential)
        headers = request.headers(self.connection, credential)
        extensions = {"sni_hostname": self.connection.tls_server_name} if self.connection.tls_server_name else {}
        try:
            prepared = client.build_request(
                request.method,
                _address(client.base_url, request),
                content=request.content(),
                headers=headers,
                timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, read=request.read_seconds),
                extensions=extensions,
            )
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise Unusable(f"{self.connection.who}: {request.path} is no address ({error}); correct it") from error
        response = await client.send(prepared, stream=True)
        self.clock.hear(response.headers.get("Date", ""))
        return response

    async def _client_for(self, credential: Credential) -> httpx2.AsyncClient:
        """Return the client that shows this certificate; a new one when a plugin has issued another."""
        shown = (credential.certificate, credential.key)
        if self._client is None or self._shown != shown:
            # Watches may still run on the client before: it stays open until the end.
            self._client = await self._open.enter_async_context(self._new_client(credential))
            self._shown = shown
        return self._client

    def _new_client(self, credential: Credential) -> httpx2.AsyncClient:
        connection = self.connection
        auth = None
        if connection.username and connection.password and not credential.token:
            auth = httpx2.BasicAuth(connection.username, connection.password)
        try:
            transport = self._transport or Transport(
                connection,
                httpx2.create_ssl_context(verify=False) if connection.plain else trust.context(connection, credential),
                segment=self._segment,
            )
            return httpx2.AsyncClient(
                base_url=connection.server,
                transport=transport,
                auth=auth,
                # The environment's proxies are settled in `connect`; a .netrc has no say here.
                trust_env=False,
                headers={"User-Agent": f"kubemtu/{kubemtu.__version__}"},
            )
        except ImportError as error:
            raise speaks_socks(connection.proxy) from error
        except (httpx2.InvalidURL, ValueError) as error:
            raise unusable(connection, error) from error

    def _decoded(
        self, response: httpx2.Response, answer: bytearray, action: Action, decode: Callable[[bytearray], object]
    ) -> dict[str, object]:
        if response.status_code >= 300:
            raise self._refusal(response, answer, action)
        try:
            value = decode(answer)
        except json_values.TooMuch as error:
            raise too_large(action, self.connection, f"more than {json_values.VALUES_MOST} values") from error
        except msgspec.DecodeError as error:
            raise self._no_object(response, answer, action) from error
        if not isinstance(value, dict):
            raise self._no_object(response, answer, action)
        return value

    def _no_object(self, response: httpx2.Response, answer: bytearray, action: Action) -> NotAnApi:
        return not_json(action, self.connection, response.headers.get("Content-Type", ""), answer)

    def _refusal(self, response: httpx2.Response, answer: bytearray, action: Action) -> errors.KubemtuError:
        content_type = response.headers.get("Content-Type", "")
        return from_answer(response.status_code, answer, content_type, action, self.connection)


def _address(server: httpx2.URL, request: Request) -> httpx2.URL | str:
    """Return where a request goes, which is so taken apart once; the client by itself would do it three times."""
    target = request.path
    if request.parameters:
        target += f"?{httpx2.QueryParams(dict(request.parameters))}"
    if not target.isascii():
        return target  # the client writes it as addresses are written
    return server.copy_with(raw_path=server.raw_path + target.lstrip("/").encode())

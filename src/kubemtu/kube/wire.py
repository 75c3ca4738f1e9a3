"""One HTTP exchange with an API server: TLS, credentials, retries, and every failure as one of our errors.

Above this file there are only JSON objects; below it only httpx2, used directly: lightkube's generic client wants a
class per resource and decodes metadata into models, which is what a sick cluster breaks first.
"""

import asyncio
import contextlib
import random
import ssl
import tempfile
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Self

import httpx2
import msgspec

import kubemtu
from kubemtu.core import errors
from kubemtu.kube import sockets
from kubemtu.kube.clock import ServerClock
from kubemtu.kube.connection import Connection
from kubemtu.kube.credentials import Credential, Credentials
from kubemtu.kube.errors import (
    CONNECT_SECONDS,
    READ_SECONDS,
    Action,
    NotAnApi,
    TlsFailure,
    from_answer,
    not_json,
)
from kubemtu.kube.failures import from_transport
from kubemtu.kube.transport import Transport

TRIES = 3  # of a read whose connection broke, and of anything that the server asked to send again later
PATIENCE = 10.0  # seconds: the longest Retry-After that is waited for
Parameters = Mapping[str, str | int]


class Wire:
    """Requests to one server, with the credentials of one connection. Use as an async context."""

    def __init__(
        self,
        connection: Connection,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        segment: int | None = sockets.SEGMENT,
    ) -> None:
        """`segment`: the TCP MSS of each connection, in bytes; None leaves it to the kernel."""
        self.connection = connection
        self._segment = segment
        self.clock = ServerClock()
        self._transport = transport
        self._credentials = Credentials(connection)
        self._shown: tuple[str | None, str | None] | None = None  # the certificate that the newest client shows
        self._client: httpx2.AsyncClient | None = None
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client = None
        await self._open.aclose()

    async def request(
        self,
        action: Action,
        method: str,
        path: str,
        *,
        parameters: Parameters | None = None,
        body: Mapping[str, object] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, object]:
        """Send one request and decode the object it answers with. Raises what kube.errors draws."""
        content = None if body is None else msgspec.json.encode(body)
        for left in reversed(range(TRIES)):
            try:
                response, credential = await self._send(
                    action, method, path, parameters=parameters, content=content, content_type=content_type
                )
                await response.aread()
            except (httpx2.RemoteProtocolError, httpx2.ReadError) as error:
                if not left or action.writes:
                    raise from_transport(error, action, self.connection) from error
                continue
            except httpx2.HTTPError as error:
                stall = sockets.stalled(error)
                if left and not action.writes and stall is not None and stall.by_size:
                    continue  # the next connection takes smaller segments
                raise from_transport(error, action, self.connection) from error
            if left and response.status_code == 401 and await self._credentials.renew(credential):
                continue
            if left and (pause := _asked_to_wait(response)) is not None:
                await asyncio.sleep(pause)
                continue
            break
        return self._decoded(response, action)

    async def lines(
        self, action: Action, path: str, parameters: Parameters, seconds: float
    ) -> AsyncGenerator[bytes, None]:
        """Send one GET and yield its answer line by line as it comes, for at most `seconds` between two lines.

        Only a line feed ends a line: JSON text may hold U+0085 and other ends of lines of Unicode. Raises what
        kube.errors draws; a line that the end of the connection cut is dropped.
        """
        try:
            response, credential = await self._send(action, "GET", path, parameters=parameters, read_seconds=seconds)
            if response.status_code == 401 and await self._credentials.renew(credential):
                await response.aclose()
                response, _ = await self._send(action, "GET", path, parameters=parameters, read_seconds=seconds)
            async with contextlib.aclosing(response):
                if response.status_code != 200:
                    await response.aread()
                    raise self._refusal(response, action)
                rest = b""
                async for chunk in response.aiter_bytes():
                    *whole, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
                    for line in whole:
                        yield line
        except httpx2.HTTPError as error:
            raise from_transport(error, action, self.connection) from error

    async def _send(
        self,
        action: Action,
        method: str,
        path: str,
        *,
        parameters: Parameters | None = None,
        content: bytes | None = None,
        content_type: str = "",
        read_seconds: float | None = None,
    ) -> tuple[httpx2.Response, Credential]:
        credential = await self._credentials.current()
        client = await self._client_for(credential)
        headers = [("Accept", "application/json")]
        if content is not None:
            headers.append(("Content-Type", content_type))
        if credential.token:
            headers.append(("Authorization", f"Bearer {credential.token}"))
        if self.connection.impersonation:
            headers += self.connection.impersonation.headers()
        extensions = {"sni_hostname": self.connection.tls_server_name} if self.connection.tls_server_name else {}
        try:
            request = client.build_request(
                method,
                path,
                params=dict(parameters or {}),
                content=content,
                headers=headers,
                timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, read=read_seconds or READ_SECONDS),
                extensions=extensions,
            )
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise errors.Malformed(f"{self.connection.who}: {path} is no address ({error})") from error
        response = await client.send(request, stream=True)
        self.clock.hear(response.headers.get("Date", ""))
        return response, credential

    async def _client_for(self, credential: Credential) -> httpx2.AsyncClient:
        """The client that shows this certificate; a new one when a plugin has issued another."""
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
                httpx2.create_ssl_context(verify=False) if connection.plain else tls(connection, credential),
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
            raise errors.UsageError(
                f"the proxy {connection.proxy} speaks SOCKS, for which kubemtu needs the package socksio; install "
                "it, or use an HTTP proxy"
            ) from error
        except (httpx2.InvalidURL, ValueError) as error:
            raise errors.Malformed(
                f"{connection.origin}: {connection.server} or the proxy {connection.proxy} is no address ({error})"
            ) from error

    def _decoded(self, response: httpx2.Response, action: Action) -> dict[str, object]:
        if response.status_code >= 300:
            raise self._refusal(response, action)
        try:
            found = msgspec.json.decode(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._no_object(response, action) from error
        if not isinstance(found, dict):
            raise self._no_object(response, action)
        return found

    def _no_object(self, response: httpx2.Response, action: Action) -> NotAnApi:
        return not_json(action, self.connection, response.headers.get("Content-Type", ""), response.content)

    def _refusal(self, response: httpx2.Response, action: Action) -> errors.KubemtuError:
        content_type = response.headers.get("Content-Type", "")
        return from_answer(response.status_code, response.content, content_type, action, self.connection)


def tls(connection: Connection, credential: Credential) -> ssl.SSLContext:
    """The TLS settings of a connection. Raises TlsFailure when a certificate or key cannot be used."""
    try:
        context = ssl.create_default_context(cafile=connection.ca_file, cadata=connection.ca)
    except (OSError, ssl.SSLError, ValueError) as error:
        named = connection.ca_file or "certificate-authority-data"
        raise TlsFailure(f"{connection.origin}: {named} holds no usable certificate ({error}); correct it") from error
    # Python 3.13 began to demand what many cluster CAs lack (an authority key identifier); Go does not.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if connection.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = credential.certificate or connection.certificate
    key = credential.key or connection.key
    with contextlib.ExitStack() as files:
        try:
            shown = _as_file(certificate, files) or connection.certificate_file
            secret = _as_file(key, files) or connection.key_file
            if shown:
                # A password callback, because OpenSSL would otherwise ask the terminal for an encrypted key's.
                context.load_cert_chain(shown, secret, password="")
        except (OSError, ssl.SSLError) as error:
            raise TlsFailure(
                f"the client certificate of {connection.who} cannot be used ({error}); log in again, then retry"
            ) from error
    return context


def _as_file(text: str | None, files: contextlib.ExitStack) -> str | None:
    """PEM text in a private file that lives as long as `files`: OpenSSL's loader takes nothing else."""
    if text is None:
        return None
    folder = files.enter_context(tempfile.TemporaryDirectory(prefix="kubemtu-"))
    path = Path(folder) / "pem"
    path.touch(mode=0o600)
    path.write_text(text, "ascii")
    return str(path)


def _asked_to_wait(response: httpx2.Response) -> float | None:
    """Seconds to wait before the same request, when the server did nothing and says so (429, 503 with Retry-After)."""
    named = response.headers.get("Retry-After", "")
    if response.status_code not in {429, 503} or not named.isdigit() or int(named) > PATIENCE:
        return None
    return int(named) + random.random()


def path(
    api_version: str,
    plural: str = "",
    *,
    namespace: str | None = None,
    name: str | None = None,
    subresource: str | None = None,
) -> str:
    """The address of a resource below the server: `/apis/apps/v1/namespaces/kube-system/daemonsets/canal`."""
    parts = ["apis" if "/" in api_version else "api", *api_version.split("/")]
    if namespace:
        parts += ["namespaces", namespace]
    parts += [part for part in (plural, name, subresource) if part]
    return "/" + "/".join(_quoted(part) for part in parts)


def _quoted(part: str) -> str:
    if not part or part in {".", ".."} or any(not (char.isalnum() or char in "-._:~") for char in part):
        raise errors.Malformed(f"{part!r:.60} cannot be part of an address of the API; correct the name")
    return part

"""What an API server does not answer itself but has the kubelet of a pod's node answer: exec and logs.

The way there is the cluster's own, by the node's address, from where the server stands: what a switch swallows between
them is missing here too. Source: kubernetes `pkg/registry/core/pod/strategy.go` (ExecLocation, LogLocation),
`pkg/kubelet/client/kubelet_client.go`, apimachinery `pkg/util/proxy/upgradeaware.go`, apiserver
`pkg/util/proxy/streamtranslator.go`.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import urllib.parse
from collections.abc import AsyncIterator, Callable, Sequence

import h11
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from kubemtu_lab import addressing
from kubemtu_lab.api import errors
from kubemtu_lab.api.paths import Target
from kubemtu_lab.api.resources import PODS, Object, Resource
from kubemtu_lab.api.store import Store
from kubemtu_lab.streams import spdy_session, upgrade, websocket
from kubemtu_lab.streams.session import Gone

PORT = 10250
USER = "x-lab-user"
"""The header by which a kubelet of the lab is told who asked; a real one does not hear it."""
DIAL_SECONDS = 30.0  # net/http, DefaultTransport
_CHUNK = 1 << 16
_PASSED = frozenset(
    {
        *("connection", "upgrade", spdy_session.VERSION_HEADER),
        *("sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol"),
    }
)
_LOGS = ("follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes")
_NODES = Resource(plural="nodes", kind="Node", namespaced=False)
Dial = Callable[[socket.AddressFamily], socket.socket]
"""Makes an unconnected TCP socket of a family where the API server stands."""


class Undialled(Exception):
    """A kubelet cannot be reached; the message is Go's."""


class Kubelets:
    """The kubelets of a cluster, as an API server reaches them."""

    def __init__(self, store: Store, dial: Dial, tls: ssl.SSLContext | None) -> None:
        self._store, self._dial, self._tls = store, dial, tls

    async def execute(self, target: Target, request: Request, user: str) -> Response | None:
        """Have a command executed. None: the connection left HTTP, and is closed by now. Raises Refusal."""
        query = request.query_params
        pod, container = self._container(target, query.get("container", ""))
        wanted = upgrade.wanted(request)
        if not wanted:
            raise errors.bad_request("Upgrade request required")
        told = [("command", each) for each in query.getlist("command")]
        for ours, theirs in (("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")):
            if is_true(query.get(ours, "")):
                told.append((theirs, "1"))
        path = f"/exec/{target.namespace}/{target.name}/{container}?{urllib.parse.urlencode(told)}"
        headers = [(name, value) for name, value in request.headers.items() if name in _PASSED]
        headers.append((USER, urllib.parse.quote(user)))
        translated = websocket.negotiated(request) == websocket.V5
        host, port = self._address(pod)
        try:
            answer = await self._ask(host, port, request.method, path, headers)
        except Undialled as failure:
            if translated:
                url = f"https://{host}:{port}{path}"
                await _tell(request, f'error sending request: Post "{url}": {failure}')
                return None
            raise errors.unforeseen(f"error dialing backend: {failure}") from None
        if answer.head.status_code == 101:
            await _join(request, answer)
            return None
        content = b"".join([part async for part in answer.body()])
        if translated:
            await _tell(request, f"unable to upgrade connection: {content.decode(errors='replace')}")
            return None
        return Response(content, answer.head.status_code, media_type="text/plain")

    async def logs(self, target: Target, request: Request, user: str) -> Response:
        """Return what a container wrote. Raises Refusal."""
        query = request.query_params
        pod, container = self._container(target, query.get("container", ""))
        told = [(name, query[name]) for name in _LOGS if query.get(name)]
        path = f"/containerLogs/{target.namespace}/{target.name}/{container}?{urllib.parse.urlencode(told)}"
        host, port = self._address(pod)
        try:
            answer = await self._ask(host, port, "GET", path, [(USER, urllib.parse.quote(user))])
        except Undialled as failure:
            raise errors.unforeseen(f'Get "https://{host}:{port}{path.rstrip("?")}": {failure}') from None
        if answer.head.status_code != 200:
            content = b"".join([part async for part in answer.body()]).decode(errors="replace")
            if answer.head.status_code == 400:
                raise errors.bad_request(content.strip())
            raise errors.unforeseen(content.strip())
        return StreamingResponse(answer.body(), media_type="text/plain")

    def _container(self, target: Target, container: str) -> tuple[Object, str]:
        """Return the pod, and which of its containers is meant. Raises Refusal."""
        pod = self._store.get(PODS, target.namespace, target.name)
        names = [
            each["name"]
            for part in ("initContainers", "containers", "ephemeralContainers")
            for each in pod["spec"].get(part) or ()
        ]
        mains = [each["name"] for each in pod["spec"].get("containers") or ()]
        if container:
            if container not in names:
                raise errors.bad_request(f"container {container} is not valid for pod {target.name}")
        elif len(mains) == 1:
            container = mains[0]
        else:
            told = f"a container name must be specified for pod {target.name}, choose one of: [{' '.join(names)}]"
            raise errors.bad_request(told)
        if not pod["spec"].get("nodeName"):
            raise errors.bad_request(f"pod {target.name} does not have a host assigned")
        return pod, container

    def _address(self, pod: Object) -> tuple[str, int]:
        """Return where the kubelet of a pod listens, with --kubelet-preferred-address-types=InternalIP."""
        node = self._store.get(_NODES, "", pod["spec"]["nodeName"])
        status = node.get("status") or {}
        found = [each["address"] for each in status.get("addresses") or () if each["type"] == "InternalIP"]
        if not found:
            known = " ".join(str(each) for each in status.get("addresses") or ())
            raise errors.unforeseen(f"no preferred addresses found; known addresses: [{known}]")
        endpoint = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
        return found[0], endpoint.get("Port") or PORT

    async def _ask(self, host: str, port: int, method: str, path: str, headers: Sequence[tuple[str, str]]) -> "_Answer":
        """Send a request without a body. Raises Undialled."""
        loop = asyncio.get_running_loop()
        sock = self._dial(addressing.kind(host))
        sock.setblocking(False)
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                await loop.sock_connect(sock, (host, port))
                reader, writer = await asyncio.open_connection(
                    sock=sock, ssl=self._tls, server_hostname=host if self._tls else None
                )
        except OSError as failure:
            sock.close()
            raise Undialled(f"dial tcp {addressing.host_port(host, port)}: {_go(failure)}") from None
        connection = h11.Connection(h11.CLIENT)
        told = [
            ("host", addressing.host_port(host, port)),
            *headers,
            *((("content-length", "0"),) if method == "POST" else ()),
        ]
        writer.write(connection.send(h11.Request(method=method, target=path, headers=told)))
        writer.write(connection.send(h11.EndOfMessage()))
        answer = _Answer(connection, upgrade.Stream(reader, writer))
        try:
            await answer.begin()
        except (OSError, h11.RemoteProtocolError):
            answer.close()
            raise Undialled("EOF") from None
        return answer


class _Answer:
    """What a kubelet answers."""

    head: h11.Response | h11.InformationalResponse

    def __init__(self, connection: h11.Connection, stream: upgrade.Stream) -> None:
        self._connection, self.stream = connection, stream

    async def begin(self) -> None:
        event = await self._next()
        if not isinstance(event, h11.Response | h11.InformationalResponse):
            raise h11.RemoteProtocolError("no answer")
        self.head = event

    async def _next(self) -> object:
        while (event := self._connection.next_event()) is h11.NEED_DATA:
            self._connection.receive_data(await self.stream.reader.read(_CHUNK))
        return event

    async def body(self) -> AsyncIterator[bytes]:
        """Return the body, part by part, and close."""
        try:
            while isinstance(event := await self._next(), h11.Data):
                yield bytes(event.data)
        finally:
            self.close()

    @property
    def early(self) -> bytes:
        """What came behind the head of a 101."""
        return self._connection.trailing_data[0]

    def close(self) -> None:
        self.stream.writer.close()


async def _join(request: Request, answer: _Answer) -> None:
    """Be nothing but a way for bytes between the client and the kubelet, until one of them closes."""
    client = await upgrade.switch(request, list(answer.head.headers.raw_items()))
    client.writer.write(answer.early)
    tasks = {
        asyncio.create_task(_pump(client.reader, answer.stream.writer)),
        asyncio.create_task(_pump(answer.stream.reader, client.writer)),
    }
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        answer.close()
        client.writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while content := await reader.read(_CHUNK):
            writer.write(content)
            await writer.drain()


async def _tell(request: Request, sentence: str) -> None:
    """Tell a client of v5 what went wrong, as it hears everything: by the channel for errors."""
    session = await websocket.accept(request)
    with contextlib.suppress(Gone):
        await session.finish(internal(sentence))
    session.close()


def internal(sentence: str) -> Object:
    """Return the Status of what went wrong inside (apimachinery `pkg/api/errors`, NewInternalError)."""
    told = {"causes": [{"message": sentence}]}
    return errors.Refusal(500, "InternalError", f"Internal error occurred: {sentence}", told).status


def is_true(written: str) -> bool:
    """Read a boolean of a query (apimachinery `pkg/runtime/converter.go`): what is not false or 0 is true."""
    return written.lower() not in ("", "false", "0")


def _go(failure: OSError) -> str:
    """Say what Go's net package says of a failed dial."""
    if isinstance(failure, TimeoutError) and failure.errno is None:
        return "i/o timeout"
    words = os.strerror(failure.errno).lower() if failure.errno else "EOF"
    return f"connect: {words}"

"""What a kubelet serves to the API server, on its node's address: commands in containers, and their logs.

    POST or GET /exec/NAMESPACE/POD/CONTAINER?command=...&input=1&output=1&error=1&tty=1
    GET         /containerLogs/NAMESPACE/POD/CONTAINER?follow=true&previous=true&tailLines=N&limitBytes=N

Whoever has no certificate of the cluster's authority is refused, as by a kubelet that knows nobody else. Every command
is recorded in the lab's folder before it is started. Source: kubernetes `pkg/kubelet/server/server.go`.
"""

import asyncio
import errno
import logging
import ssl
import tempfile
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from kubemtu.core.objects import Object
from kubemtu_lab import addressing, commands, containers, exec_faults, logs, pods, state
from kubemtu_lab.api import embedded
from kubemtu_lab.api.backend import NodeFiles
from kubemtu_lab.api.kubelets import PORT, USER
from kubemtu_lab.processes import File
from kubemtu_lab.streams import spdy_session, upgrade, websocket
from kubemtu_lab.streams.session import ERROR, STDERR, STDOUT, Gone, Session, Wanted

log = logging.getLogger(__name__)


class Runtime(Protocol):
    """What is needed of the kubelet."""

    node: str
    is_docker: bool
    """Docker runs the containers, by dockershim, which Kubernetes had before 1.24; otherwise containerd does."""

    def find(self, namespace: str, name: str) -> pods.Pod | None:
        """Return a pod of this node."""
        ...

    async def execute(
        self, pod: pods.Pod, container: containers.Container, argv: list[str], files: Mapping[int, File]
    ) -> commands.Child:
        """Start a program in a container that runs. Raises OSError, and what kube.errors draws."""
        ...


class KubeletApi:
    """The server of one kubelet, as an ASGI application; `folder` is the lab's."""

    def __init__(self, runtime: Runtime, folder: int) -> None:
        self._runtime, self._folder = runtime, folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Exception as bug:
            log.exception("%s %s", request.method, request.url.path)
            response = PlainTextResponse(f"Internal Error: {bug!r}", 500)
        if response is not None:
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response | None:
        if request.url.path == "/healthz":
            return PlainTextResponse("ok")
        if not upgrade.has_certificate(request):
            return PlainTextResponse("Unauthorized", 401)
        match request.url.path.strip("/").split("/"):
            case ["exec", namespace, name, container]:
                return await self._exec(request, namespace, name, container)
            case ["containerLogs", namespace, name, container]:
                return self._logs(request, namespace, name, container)
        return PlainTextResponse("404 page not found\n", 404)

    def _logs(self, request: Request, namespace: str, name: str, container: str) -> Response:
        try:
            options = msgspec.convert(dict(request.query_params), logs.LogOptions, strict=False)
        except msgspec.ValidationError as wrong:
            return PlainTextResponse(f"unable to decode the query: {wrong}", 400)
        pod = self._runtime.find(namespace, name)
        if pod is None:
            return PlainTextResponse(f'pod "{name}" not found', 404)
        found = pod.container(container)
        if found is None:
            return PlainTextResponse(f'container "{container}" not found in pod "{name}"', 404)
        if options.previous and not found.log.has_previous():
            return PlainTextResponse(f'previous terminated container "{container}" in pod "{name}" not found', 400)
        if "waiting" in found.state and not found.restarts and not found.last:
            why = Object.of(found.state).text("waiting", "reason")
            return PlainTextResponse(f'container "{container}" in pod "{name}" is waiting to start: {why}', 400)
        reading = found.log.read(options, lambda: "running" in found.state)
        return StreamingResponse(reading, media_type="text/plain")

    async def _exec(self, request: Request, namespace: str, name: str, container: str) -> Response | None:
        query = request.query_params
        tty = query.get("tty") == "1"
        wanted = Wanted(
            stdin=query.get("input") == "1",
            stdout=query.get("output") == "1",
            stderr=query.get("error") == "1" and not tty,
            tty=tty,
        )
        if not (wanted.stdin or wanted.stdout or wanted.stderr):
            return PlainTextResponse("you must specify at least 1 of stdin, stdout, stderr", 400)
        pod = self._runtime.find(namespace, name)
        if pod is None:
            return PlainTextResponse("pod does not exist", 404)
        found = pod.container(container)
        fault = exec_faults.noted(self._folder, self._runtime.node)
        how = fault.how if fault is not None and exec_faults.strikes(fault, container) else ""
        if found is None or "running" not in found.state or how == "not-running":
            return PlainTextResponse(f'container not found ("{container}")', 500)
        session: Session
        try:
            if spdy_session.is_wanted(request) and spdy_session.negotiated(request):
                session = await spdy_session.accept(request, wanted)
            elif websocket.negotiated(request):
                session = await websocket.accept(request)
            else:
                return PlainTextResponse("unable to upgrade: no protocol of the client's is known here", 403)
        except Gone:
            return None
        try:
            await self._execute(request, session, wanted, pod, found, how)
        except Gone:
            pass
        finally:
            session.close()
        return None

    async def _execute(
        self,
        request: Request,
        session: Session,
        wanted: Wanted,
        pod: pods.Pod,
        container: containers.Container,
        fault: str,
    ) -> None:
        argv = request.query_params.getlist("command")
        self._record(request, session, pod, container, argv)
        # Tells the client that it is connected, on the first channel that is open to it.
        await session.greet(STDOUT if wanted.stdout else STDERR if wanted.stderr else ERROR)
        outcome: int | str
        if fault and fault not in exec_faults.DIALLED:
            await session.finish(commands.status(await exec_faults.act(session, fault), session.is_translated))
            return
        try:
            outcome = await commands.run(
                session, wanted, lambda files: self._runtime.execute(pod, container, argv, files)
            )
        except OSError as error:
            outcome = f"{error.errno or errno.EIO} {error.strerror or error}"
        if isinstance(outcome, str) and self._runtime.is_docker:
            await session.send(STDOUT if wanted.stdout else STDERR, by_docker(argv, outcome))
            outcome = 126
        elif isinstance(outcome, str):
            outcome = f"failed to exec in container: failed to start exec: {not_started(argv, outcome)}"
        await session.finish(commands.status(outcome, session.is_translated))

    def _record(
        self, request: Request, session: Session, pod: pods.Pod, container: containers.Container, argv: list[str]
    ) -> None:
        entry = state.Executed(
            user=urllib.parse.unquote(request.headers.get(USER, "")),
            node=self._runtime.node,
            namespace=pod.body.namespace or "",
            pod=pod.body.name,
            container=container.name,
            command=tuple(argv),
            protocol=session.protocol,
        )
        state.append(self._folder, state.COMMANDS, msgspec.json.encode(entry) + b"\n")


def not_started(argv: list[str], why: str) -> str:
    """Return a runtime's sentence for a program that could not be executed; `why` is "ERRNO SENTENCE".

    Source: containerd `internal/cri/server/container_execsync.go`, runc `libcontainer/standard_init_linux.go`.
    """
    return f"OCI runtime exec failed: exec failed: unable to start container process: {_refused(argv, why)}: unknown"


def by_docker(argv: list[str], why: str) -> bytes:
    """Return what Docker writes in the program's place: runc's sentence of its time, quoted once more."""
    quoted = _refused(argv, why).replace('"', '\\"')
    head = "OCI runtime exec failed: exec failed: container_linux.go:348: starting container process caused"
    return f'{head} "{quoted}": unknown\r\n'.encode()


def _refused(argv: list[str], why: str) -> str:
    number, _, sentence = why.partition(" ")
    program = argv[0] if argv else ""
    said = sentence.lower()
    if number == str(errno.ENOENT):
        said = f"stat {program}: no such file or directory" if "/" in program else "executable file not found in $PATH"
    return f'exec: "{program}": {said}'


async def serve(application: KubeletApi, files: NodeFiles, families: addressing.Families) -> None:
    """Serve until cancelled; not at all where the API server is one that cannot reach kubelets."""
    if not files.chain:
        return
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory(prefix="kubelet-", dir="/run") as folder:  # the module reads files alone
        chain, key = Path(folder, "chain.pem"), Path(folder, "key.pem")
        key.touch(mode=0o600)
        chain.write_text(files.chain)
        key.write_text(files.key)
        tls.load_cert_chain(chain, key)
    tls.load_verify_locations(cadata=files.authority)
    tls.verify_mode = ssl.CERT_OPTIONAL
    async with embedded.serve(application, [addressing.listen(PORT, families)], tls):
        await asyncio.Event().wait()

"""The lab's own API server in this process: on loopback, and on any socket that somebody bound elsewhere."""

import asyncio
import base64
import contextlib
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from kubemtu.lab.api.access import MASTERS, Identity, Tokens
from kubemtu.lab.api.errors import BackendFailure
from kubemtu.lab.api.kubeconfig import ADMIN, kubeconfig
from kubemtu.lab.api.resources import Object
from kubemtu.lab.api.server import ApiServer
from kubemtu.lab.api.store import Store

_ENDING_SECONDS = 0.5
"""How long open answers may take to end before they are cut."""


@contextlib.asynccontextmanager
async def serve(application: ApiServer, sockets: Sequence[socket.socket], tls: ssl.SSLContext) -> AsyncIterator[None]:
    """Answer on all of these bound sockets until the block ends; closes them, and ends open watches at once.

    uvicorn's own server is not used: it takes the process's signals, and looks only every 0.1 s whether to end.
    """
    config = uvicorn.Config(application, log_config=None, access_log=False, lifespan="off", ws="none")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    for each in sockets:
        # asyncio does so only for sockets that name their protocol; without, small answers wait 40 ms for an ACK.
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    servers = [
        await loop.create_server(lambda: H11Protocol(config, state, {}), sock=each, ssl=tls, backlog=256)
        for each in sockets
    ]
    try:
        yield
    finally:
        for server in servers:
            server.close()
        application.stopping.stop()
        for connection in list(state.connections):
            connection.shutdown()
        if state.tasks:
            _, slow = await asyncio.wait(state.tasks, timeout=_ENDING_SECONDS)
            for task in slow:
                task.cancel()
        for connection in list(state.connections):
            connection.transport.abort()


async def certificate(folder: Path, addresses: Sequence[str]) -> tuple[Path, Path]:
    """Make a self-signed certificate and its key for loopback and these IP addresses, with the `openssl` command.

    Raises:
        BackendFailure: there is no such command, or it fails.
    """
    key, proof = folder / "key.pem", folder / "certificate.pem"
    names = ",".join(["DNS:localhost", *(f"IP:{each}" for each in dict.fromkeys(("127.0.0.1", "::1", *addresses)))])
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(key), "-out", str(proof), "-days", "30", "-subj", "/CN=kubemtu-lab"]
    command += ["-addext", f"subjectAltName={names}"]
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError:
        raise BackendFailure("the lab's API needs the openssl command for its certificate: install openssl") from None
    _, told = await process.communicate()
    if process.returncode:
        raise BackendFailure(f"openssl made no certificate for {names}: {told.decode(errors='replace')[-300:].strip()}")
    return proof, key


class EmbeddedApi:
    """An API server in memory, with the interface that `EnvtestApi` has too; use it with `async with`.

    Args:
        sockets: Bound TCP sockets to listen on besides loopback, such as one made inside a network namespace.
        addresses: IP addresses under which clients reach those sockets, where a socket does not say (0.0.0.0).
        users: More users than the administrator, and their groups; what they may do is up to RBAC objects.
        store: Objects to serve; by default a new store.
    """

    def __init__(
        self,
        *,
        sockets: Sequence[socket.socket] = (),
        addresses: Sequence[str] = (),
        users: Mapping[str, Sequence[str]] | None = None,
        store: Store | None = None,
    ) -> None:
        self.store = store or Store()
        self._tokens = Tokens()
        self._user_tokens = {ADMIN: self._tokens.add(Identity(ADMIN, (MASTERS,)))}
        for user, groups in (users or {}).items():
            self._user_tokens[user] = self._tokens.add(Identity(user, tuple(groups)))
        self._sockets = list(sockets)
        self._addresses = [*addresses, *(each.getsockname()[0] for each in sockets)]
        self._running = contextlib.AsyncExitStack()
        self._authority = ""
        self.url = ""

    async def start(self) -> None:
        """Listen; returns when requests are answered.

        Raises:
            BackendFailure: there is no openssl to make a certificate with.
        """
        home = socket.create_server(("127.0.0.1", 0), backlog=256)
        with contextlib.ExitStack() as undo:
            undo.callback(home.close)
            with tempfile.TemporaryDirectory(prefix="kubemtu-api-") as folder:
                proof, key = await certificate(Path(folder), self._addresses)
                tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                tls.load_cert_chain(proof, key)
                self._authority = base64.b64encode(proof.read_bytes()).decode()
            application = ApiServer(self.store, self._tokens)
            await self._running.enter_async_context(serve(application, [home, *self._sockets], tls))
            undo.pop_all()
        self.url = f"https://127.0.0.1:{home.getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening and end all watches, within half a second."""
        await self._running.aclose()

    def kubeconfig(self, url: str | None = None, user: str = ADMIN) -> Object:
        """Return the kubeconfig document of a user; `url` replaces the loopback one, for clients elsewhere."""
        token = self._user_tokens[user]
        return kubeconfig(url=url or self.url, token=token, authority=self._authority, user=user)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

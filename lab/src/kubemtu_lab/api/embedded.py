"""The lab's own API server in this process: on loopback, and on any socket that somebody bound elsewhere."""

import asyncio
import contextlib
import email.utils
import logging
import socket
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from kubemtu_lab.api.access import Tokens
from kubemtu_lab.api.backend import ApiBackend, certificates
from kubemtu_lab.api.kubelets import Kubelets
from kubemtu_lab.api.server import ApiServer
from kubemtu_lab.api.store import Store
from kubemtu_lab.streams import upgrade

_ENDING_SECONDS = 0.5
"""How long open answers may take to end before they are cut."""


class _Dated(ServerState):
    """What uvicorn's own server would keep: every answer has a Date, as kube-apiserver's have (Go, net/http)."""

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of an answer that begins now."""
        return [(b"date", email.utils.formatdate(time.time(), usegmt=True).encode())]

    @default_headers.setter
    def default_headers(self, _: list[tuple[bytes, bytes]]) -> None:
        pass


@contextlib.asynccontextmanager
async def serve(
    application: ASGIApp, sockets: Sequence[socket.socket], tls: ssl.SSLContext, stop: Callable[[], None] = lambda: None
) -> AsyncIterator[None]:
    """Answer on all of these bound sockets until the block ends; closes them, and ends open answers by `stop`.

    uvicorn's own server is not used: it takes the process's signals, and looks only every 0.1 s whether to end.
    """
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        log_level=logging.ERROR,  # below it, that uvicorn switches no protocols: `streams.upgrade` does
        # As kube-apiserver's (apiserver pkg/server/secure_serving.go): uvicorn's 5 s are also those after which HTTP
        # clients give up a connection, and a request that meets a closing one is lost.
        timeout_keep_alive=90,
    )
    config.load()
    state = _Dated()
    loop = asyncio.get_running_loop()
    for each in sockets:
        # asyncio does so only for sockets that name their protocol; without, small answers wait 40 ms for an ACK.
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    servers = [
        await loop.create_server(upgrade.protocols(config, state), sock=each, ssl=tls, backlog=256) for each in sockets
    ]
    try:
        yield
    finally:
        for server in servers:
            server.close()
        stop()
        for connection in list(state.connections):
            connection.shutdown()
        if state.tasks:
            _, slow = await asyncio.wait(state.tasks, timeout=_ENDING_SECONDS)
            for task in slow:
                task.cancel()
        for connection in list(state.connections):
            # A TLS transport that was closed twice, by its peer and by us, is on its way out; CPython before 3.11.4
            # says so by AttributeError, later ones pass over it.
            with contextlib.suppress(AttributeError):
                connection.transport.abort()


class EmbeddedApi(ApiBackend):
    """An API server in memory; `store` holds its objects, and may be given with objects in it."""

    def __init__(
        self,
        *,
        sockets: Sequence[socket.socket] = (),
        addresses: Sequence[str] = (),
        users: Mapping[str, Sequence[str]] | None = None,
        dial: Callable[[socket.AddressFamily], socket.socket] = socket.socket,
        store: Store | None = None,
    ) -> None:
        super().__init__(sockets=sockets, addresses=addresses, users=users, dial=dial)
        self.store = store or Store()
        self._running = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Listen; takes some 20 ms.

        Raises:
            BackendFailure: there is no openssl to make a certificate with.
        """
        with tempfile.TemporaryDirectory(prefix="kubemtu-api-") as folder:
            files = await certificates(Path(folder), self._addresses)
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(files.chain, files.key)
            self._authority = files.authority.read_bytes()
            self.node_files = files.read()
            shown = ssl.create_default_context(cadata=self._authority.decode())
            shown.check_hostname = False  # as without --kubelet-certificate-authority
            shown.load_cert_chain(files.chain, files.key)
        home = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"https://127.0.0.1:{home.getsockname()[1]}"
        application = ApiServer(self.store, Tokens(self._identities), kubelets=Kubelets(self.store, self._dial, shown))
        served = serve(application, [home, *self._sockets], tls, application.stopping.stop)
        await self._running.enter_async_context(served)

    async def stop(self) -> None:
        """Stop listening and end all watches, within half a second."""
        await self._running.aclose()

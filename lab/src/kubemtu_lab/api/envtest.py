"""A real control plane for the lab: etcd and kube-apiserver from the folder that $KUBEBUILDER_ASSETS names.

Source: controller-runtime `pkg/internal/testing/controlplane/{etcd,apiserver}.go`, whose settings these are.
"""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import httpx2

from kubemtu_lab import kernel
from kubemtu_lab.addressing import DUAL, Families
from kubemtu_lab.api import services
from kubemtu_lab.api.backend import ApiBackend, certificates, openssl
from kubemtu_lab.api.errors import BackendFailure, EnvtestMissing

ASSETS = "KUBEBUILDER_ASSETS"
_BINARIES = ("etcd", "kube-apiserver")
_START_SECONDS = 60.0
_POLL_SECONDS = 0.05


class Child:
    """One program of the control plane, with its output in a file; it dies with the process that started it."""

    def __init__(self, binary: Path, log: Path) -> None:
        self._binary = binary
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    async def start(self, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Run the program.

        Raises:
            BackendFailure: it cannot be run on this machine.
        """
        with self._log.open("wb") as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    self._binary,
                    *arguments,
                    env={**os.environ, **(environment or {})},
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=_die_with_us,  # one system call; there is no other way to make it in time
                )
            except OSError as refused:
                raise BackendFailure(f"{self._binary} cannot be run: {refused.strerror}") from None

    async def until(self, url: str, tls: ssl.SSLContext | None = None, token: str = "") -> None:
        """Wait until the program answers 200 at a URL.

        Raises:
            BackendFailure: it ended, or did not answer within a minute; with the end of what it said.
        """
        headers = {"authorization": f"Bearer {token}"} if token else {}
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(_START_SECONDS),
                httpx2.AsyncClient(verify=tls or False, trust_env=False, headers=headers) as client,
            ):
                while self._process is not None and self._process.returncode is None:
                    with contextlib.suppress(httpx2.TransportError):
                        if (await client.get(url)).status_code == 200:
                            return
                    await asyncio.sleep(_POLL_SECONDS)
        told = self._log.read_text(errors="replace").strip()[-600:]
        ended = self._process is not None and self._process.returncode is not None
        what = "ended at once" if ended else f"did not answer within {_START_SECONDS:.0f} s"
        raise BackendFailure(f"{self._binary} {what}; its last words: {told or '(none)'}")

    async def stop(self) -> None:
        """End the program and wait for its end; it keeps nothing that would deserve an orderly one."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class EnvtestApi(ApiBackend):
    """A real kube-apiserver with an etcd of its own; nothing else runs, no controller and no scheduler."""

    def __init__(
        self,
        *,
        assets: Path | None = None,
        sockets: Sequence[socket.socket] = (),
        addresses: Sequence[str] = (),
        users: Mapping[str, Sequence[str]] | None = None,
        families: Families = DUAL,
    ) -> None:
        super().__init__(sockets=sockets, addresses=addresses, users=users)
        self._families = families  # of Services
        self._assets = assets or Path(os.environ.get(ASSETS, ""))
        self._running = contextlib.AsyncExitStack()
        self.pids: tuple[int, ...] = ()

    async def start(self) -> None:
        """Start both programs; takes some seconds.

        Raises:
            EnvtestMissing: the folder lacks a program.
            BackendFailure: one of them ended, or does not answer.
        """
        check_assets(self._assets)
        async with contextlib.AsyncExitStack() as undo:
            folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="kubemtu-api-")))
            etcd_url = await self._start_etcd(undo, folder)
            await self._start_apiserver(undo, folder, etcd_url)
            for each in self._sockets:
                await undo.enter_async_context(_forwarding(each, self.url))
            self._running = undo.pop_all()

    async def stop(self) -> None:
        """End both programs and remove their folder."""
        await self._running.aclose()
        self.pids = ()

    async def _start_etcd(self, undo: contextlib.AsyncExitStack, folder: Path) -> str:
        client, peer = free_ports(2)
        etcd = Child(self._assets / "etcd", folder / "etcd.log")
        undo.push_async_callback(etcd.stop)
        # By environment, not by flag: a release that does not know the setting only says so in its log.
        await etcd.start(etcd_arguments(folder, client, peer), {"ETCD_UNSAFE_NO_FSYNC": "true"})
        self.pids += (etcd.pid,)
        url = f"http://127.0.0.1:{client}"
        await etcd.until(f"{url}/health")
        return url

    async def _start_apiserver(self, undo: contextlib.AsyncExitStack, folder: Path, etcd_url: str) -> None:
        files = await certificates(folder, self._addresses)
        self._authority = files.authority.read_bytes()
        await openssl("genrsa", "-out", str(folder / "service-accounts.pem"), "2048")
        lines = [
            ",".join([token, each.user, str(number), f'"{",".join(each.groups)}"'])
            for number, (token, each) in enumerate(self._identities.items())
        ]
        (folder / "tokens.csv").write_text("\n".join(lines) + "\n")
        (port,) = free_ports(1)
        apiserver = Child(self._assets / "kube-apiserver", folder / "kube-apiserver.log")
        undo.push_async_callback(apiserver.stop)
        await apiserver.start(apiserver_arguments(folder, port, etcd_url, files.chain, files.key, self._families))
        self.pids += (apiserver.pid,)
        self.url = f"https://127.0.0.1:{port}"
        tls = ssl.create_default_context(cadata=self._authority.decode())
        admin = next(iter(self._identities))
        await apiserver.until(f"{self.url}/readyz", tls, admin)
        # Loops of the server make these namespaces some time after the server calls itself ready.
        for namespace in ("kube-system", "default"):
            await apiserver.until(f"{self.url}/api/v1/namespaces/{namespace}", tls, admin)


def check_assets(folder: Path) -> None:
    """Make sure that a folder has both programs.

    Raises:
        EnvtestMissing: it lacks one.
    """
    for name in _BINARIES:
        if not os.access(folder / name, os.X_OK):
            raise EnvtestMissing(
                f"{ASSETS} names {folder}, which has no program {name}: "
                f"put etcd and kube-apiserver there (setup-envtest does), or unset {ASSETS} for the built-in API"
            )


def free_ports(count: int) -> list[int]:
    """Return TCP ports of loopback that nobody listens on at this moment."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def etcd_arguments(folder: Path, client: int, peer: int) -> list[str]:
    """Return the flags of an etcd alone, on these two ports of loopback."""
    client_url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={client_url}",
        f"--advertise-client-urls={client_url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=default={peer_url}",
    ]


def apiserver_arguments(
    folder: Path, port: int, etcd_url: str, proof: Path, key: Path, families: Families = DUAL
) -> list[str]:
    """Return the flags of a kube-apiserver that knows its users by token, asks RBAC, and lets pods be privileged."""
    accounts = folder / "service-accounts.pem"
    return [
        f"--etcd-servers={etcd_url}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'certificates'}",
        f"--tls-cert-file={proof}",
        f"--tls-private-key-file={key}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={accounts}",
        f"--service-account-signing-key-file={accounts}",
        f"--service-cluster-ip-range={','.join(services.NETWORKS[each] for each in families)}",
        "--disable-admission-plugins=ServiceAccount",
        "--endpoint-reconciler-type=none",
        "--allow-privileged=true",
    ]


@contextlib.asynccontextmanager
async def _forwarding(sock: socket.socket, url: str) -> AsyncIterator[None]:
    """Carry connections of a socket, such as one inside a namespace, to the server on loopback, byte for byte."""
    port = int(url.rpartition(":")[2])
    pairs: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        pairs.add(task)
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        except OSError:
            writer.close()
        finally:
            pairs.discard(task)

    server = await asyncio.start_server(connected, sock=sock)
    try:
        yield
    finally:
        server.close()
        for task in pairs:
            task.cancel()
        await asyncio.gather(*pairs, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()


def _die_with_us() -> None:
    kernel.die_with_parent(signal.SIGKILL)

"""What a lab may ask of its API server, whichever one it is, and the certificate with which that proves itself."""

import abc
import asyncio
import base64
import secrets
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from kubemtu.lab.api.access import MASTERS, Identity
from kubemtu.lab.api.errors import BackendFailure
from kubemtu.lab.api.resources import Object

ADMIN = "admin"
_NAME = "kubemtu-lab"


class Api(abc.ABC):
    """A Kubernetes API server that lives as long as its `async with` block.

    Args:
        sockets: Bound TCP sockets to answer on besides loopback, such as one made inside a network namespace.
        addresses: IP addresses under which clients reach those sockets, where a socket does not say (0.0.0.0).
        users: More users than the administrator, and their groups; what they may do is up to RBAC objects.
    """

    def __init__(
        self,
        *,
        sockets: Sequence[socket.socket] = (),
        addresses: Sequence[str] = (),
        users: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.url = ""
        """Where the server answers on loopback."""
        groups = {ADMIN: (MASTERS,)} | {user: tuple(groups) for user, groups in (users or {}).items()}
        self._identities = {secrets.token_urlsafe(24): Identity(user, of) for user, of in groups.items()}
        self._sockets = list(sockets)
        self._addresses = [*addresses, *(each.getsockname()[0] for each in sockets)]
        self._authority = b""

    @abc.abstractmethod
    async def start(self) -> None:
        """Start; returns when requests are answered.

        Raises:
            BackendFailure: something that the server needs is not there, or it ended at once.
        """

    @abc.abstractmethod
    async def stop(self) -> None:
        """Stop, ending open watches; leaves nothing behind."""

    def kubeconfig(self, url: str | None = None, user: str = ADMIN) -> Object:
        """Return the kubeconfig document (v1 Config) of a user; `url` replaces the loopback one, for clients elsewhere.

        The server has a certificate because kubectl sends a token over TLS only
        (client-go `tools/clientcmd/client_config.go`, ClientConfig).
        """
        token = next(token for token, identity in self._identities.items() if identity.user == user)
        cluster = {"server": url or self.url, "certificate-authority-data": base64.b64encode(self._authority).decode()}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": _NAME, "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": user, "namespace": "default"}}],
            "current-context": _NAME,
        }

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


async def certificate(folder: Path, addresses: Sequence[str]) -> tuple[Path, Path]:
    """Make a self-signed certificate and its key for loopback and these IP addresses, with the `openssl` command.

    Raises:
        BackendFailure: there is no such command, or it fails.
    """
    key, proof = folder / "key.pem", folder / "certificate.pem"
    names = ",".join(["DNS:localhost", *(f"IP:{each}" for each in dict.fromkeys(("127.0.0.1", "::1", *addresses)))])
    command = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(key), "-out", str(proof), "-days", "30", "-subj", f"/CN={_NAME}"]
    await openssl(*command, "-addext", f"subjectAltName={names}")
    return proof, key


async def openssl(*command: str) -> None:
    """Run the `openssl` command.

    Raises:
        BackendFailure: there is no such command, or it fails.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            "openssl", *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError:
        raise BackendFailure("the lab's API needs the openssl command for its certificate: install openssl") from None
    _, told = await process.communicate()
    if process.returncode:
        raise BackendFailure(f"openssl {command[0]} failed: {told.decode(errors='replace')[-300:].strip()}")

"""What a lab may ask of its API server, whichever one it is, and the certificate with which that proves itself."""

import abc
import asyncio
import base64
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from kubemtu_lab.api.access import MASTERS, Identity
from kubemtu_lab.api.errors import BackendFailure
from kubemtu_lab.api.resources import Object

ADMIN = "admin"
NAMES = (
    "localhost",
    "node-1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
"""For which the certificate holds besides addresses: kubeadm's (`app/util/pkiutil`), and loopback's."""
EVERY = ("0.0.0.0", "::")  # noqa: S104  # what a socket is bound to, and no address of a client's
_NAME = "kubemtu-lab"
_SETTINGS = """
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,digitalSignature,keyEncipherment,keyCertSign
subjectKeyIdentifier = hash
nsComment = {filler}
[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth,clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
nsComment = {filler}
"""
FILLER = 700
"""Characters; two RSA numbers of 256 bytes and their encoding, in each of the two certificates of the chain."""
_keys: list[bytes] = []
"""The one key of this process, for both, for many servers may live in one process."""


class NodeFiles(msgspec.Struct, frozen=True):
    """PEM texts with which a kubelet proves itself to the API server, and tells it from others."""

    chain: str = ""
    key: str = ""
    authority: str = ""


class ApiBackend(abc.ABC):
    """A Kubernetes API server that lives as long as its `async with` block.

    Args:
        sockets: Bound TCP sockets to answer on besides loopback, such as one made inside a network namespace.
        addresses: IP addresses under which clients reach those sockets, where a socket does not say (0.0.0.0, ::).
        users: More users than the administrator, and their groups; what they may do is up to RBAC objects.
        dial: Makes an unconnected TCP socket of a family where the server stands, by which it reaches kubelets.
    """

    def __init__(
        self,
        *,
        sockets: Sequence[socket.socket] = (),
        addresses: Sequence[str] = (),
        users: Mapping[str, Sequence[str]] | None = None,
        dial: Callable[[socket.AddressFamily], socket.socket] = socket.socket,
    ) -> None:
        self.url = ""
        """Where the server answers on loopback."""
        groups = {ADMIN: (MASTERS,)} | {user: tuple(groups) for user, groups in (users or {}).items()}
        self._identities = {secrets.token_urlsafe(24): Identity(user, of) for user, of in groups.items()}
        self._sockets = list(sockets)
        self._addresses = [*addresses, *(each.getsockname()[0] for each in sockets)]
        self._authority = b""
        self._dial = dial
        self.node_files = NodeFiles()
        """What a kubelet serves with, once the server has started."""

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


class Certificates(msgspec.Struct, frozen=True, kw_only=True):
    """PEM files: what the server shows (its own and the authority's), its key, and the authority alone."""

    chain: Path
    key: Path
    authority: Path

    def read(self) -> NodeFiles:
        """Return what is in them."""
        return NodeFiles(self.chain.read_text(), self.key.read_text(), self.authority.read_text())


async def certificates(folder: Path, addresses: Sequence[str]) -> Certificates:
    """Make an authority, and by it a certificate for loopback and these addresses, with the `openssl` command.

    They are as large as those of kubeadm (RSA of 2048 bits, all names of the API): what the server sends in a handshake
    fills more than one packet of 1500, and the size of packets is what this lab is about. The key itself is an elliptic
    one, which is made in a hundredth of the time, and a comment makes up for what it is shorter.

    Raises:
        BackendFailure: there is no such command, or it fails.
    """
    made = Certificates(chain=folder / "chain.pem", key=folder / "key.pem", authority=folder / "authority.pem")
    own = folder / "certificate.pem"
    made.key.touch(mode=0o600)
    if not _keys:
        await openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(made.key))
        _keys.append(made.key.read_bytes())
    made.key.write_bytes(_keys[0])
    known = [each for each in dict.fromkeys(("127.0.0.1", "::1", *addresses)) if each not in EVERY]
    names = ",".join([*(f"DNS:{each}" for each in NAMES), *(f"IP:{each}" for each in known)])
    settings = folder / "openssl.cnf"
    settings.write_text(_SETTINGS.format(names=names, filler="-" * FILLER))
    request = ["req", "-x509", "-config", str(settings), "-days", "30"]
    authority = ["-key", str(made.key), "-out", str(made.authority), "-subj", f"/CN={_NAME}-ca"]
    await openssl(*request, *authority, "-extensions", "authority")
    signed = ["-CA", str(made.authority), "-CAkey", str(made.key), "-extensions", "server"]
    await openssl(*request, "-key", str(made.key), "-out", str(own), "-subj", "/CN=kube-apiserver", *signed)
    made.chain.write_bytes(own.read_bytes() + made.authority.read_bytes())
    return made


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

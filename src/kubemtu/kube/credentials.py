"""What proves who we are, as it changes over time: tokens in files, exec plugins that are run again.

The protocol of exec plugins is client-go's (plugin/pkg/client/auth/exec; "client-go credential plugins" in the
Kubernetes documentation): the request goes in by KUBERNETES_EXEC_INFO, an ExecCredential comes out as JSON.
"""

import asyncio
import base64
import contextlib
import datetime as dt
import os
import sys
import time
from collections.abc import Callable, Mapping

import msgspec

from kubemtu import files
from kubemtu.core import errors
from kubemtu.core.objects import Object
from kubemtu.core.text import json_values
from kubemtu.kube import programs
from kubemtu.kube.connection import Connection, ExecPlugin
from kubemtu.kube.errors import Unauthenticated, capped

PLUGIN_SECONDS = 60.0  # for a plugin that may not ask anybody anything


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent, or shown in the TLS handshake: a bearer token, a client certificate (PEM), or neither."""

    token: str | None = None
    certificate: str | None = None
    key: str | None = None
    expires: float | None = None  # seconds since the epoch

    def __repr__(self) -> str:
        return f"Credential(expires={self.expires})"


class Credentials:
    """The credential of one connection, kept fresh."""

    def __init__(self, connection: Connection, *, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock
        self._kept: Credential | None = None
        self._lock = asyncio.Lock()
        self._failed: Unauthenticated | None = None
        self._failures = 0

    async def current(self) -> Credential:
        """Return the credential to use now. Raises Unauthenticated when a token file or a plugin gives none."""
        connection = self._connection
        if connection.token_file is not None:
            # Read each time: the kubelet rotates the tokens of pods, and a read of a small file costs nothing.
            self._kept = self._from_file(connection.token_file)
            return self._kept
        if connection.plugin is None:
            return Credential(token=connection.token)
        waited = self._failures
        async with self._lock:
            credential = self._kept
            if self._failed is not None and self._failures != waited:
                raise self._failed  # it failed while we waited for it: it is not run once more for each who waits
            if credential is None or (credential.expires is not None and credential.expires <= self._clock()):
                try:
                    credential = self._kept = await run(connection.plugin, connection)
                except Unauthenticated as failed:
                    self._failed, self._failures = failed, self._failures + 1
                    raise
            return credential

    async def renew(self, refused: Credential) -> bool:
        """Say whether there may be a better credential now that the server has refused this one."""
        if self._connection.token_file is not None:
            return (await self.current()).token != refused.token
        if self._connection.plugin is None:
            return False
        async with self._lock:
            if self._kept == refused:
                self._kept = None
        return True

    def _from_file(self, path: str) -> Credential:
        try:
            return Credential(token=files.text(path).strip())
        except (OSError, UnicodeDecodeError) as error:
            if self._kept is not None or self._connection.token is not None:
                return self._kept or Credential(token=self._connection.token)
            raise Unauthenticated(
                f"the token file {path} of {self._connection.who} cannot be read ({error}); log in again, then retry"
            ) from error


async def run(plugin: ExecPlugin, connection: Connection, environ: Mapping[str, str] | None = None) -> Credential:
    """Run an exec plugin and read the credential that it prints. Raises Unauthenticated in one sentence."""
    terminal = sys.stdin is not None and sys.stdin.isatty()
    if plugin.interactive == "Always" and not terminal:
        raise _refused(plugin, connection, "wants to ask something, but there is no terminal; run it from one")
    interactive = terminal and plugin.interactive != "Never"
    seconds = None if interactive else PLUGIN_SECONDS
    try:
        whole = {
            **(os.environ if environ is None else environ),
            **dict(plugin.environment),
            "KUBERNETES_EXEC_INFO": request(plugin, connection, interactive=interactive),
        }
        ended = await programs.run([plugin.command, *plugin.arguments], whole, seconds=seconds, interactive=interactive)
    except (OSError, ValueError) as error:  # ValueError: a NUL in a word, = in the name of a variable
        hint = f"; {capped(plugin.install_hint)}" if plugin.install_hint else "; install it, or log in another way"
        complaint = error.strerror if isinstance(error, OSError) else error
        raise _refused(plugin, connection, f"could not be started ({complaint}){hint}") from error
    if ended.code is None:
        why = "printed more than a credential has" if ended.overflowed else f"printed nothing within {seconds:g} s"
        raise _refused(plugin, connection, f"{why}; run it by hand")
    if ended.code:
        complaint = capped(ended.complaint.decode("utf-8", "replace"))
        why = f"ended with code {ended.code}{': ' if complaint else ''}{complaint}; log in again, then retry"
        raise _refused(plugin, connection, why)
    return parse(ended.printed, plugin, connection)


def request(plugin: ExecPlugin, connection: Connection, *, interactive: bool) -> str:
    """Return the ExecCredential that a plugin is given in KUBERNETES_EXEC_INFO, as JSON."""
    spec: dict[str, object] = {"interactive": interactive}
    if plugin.provide_cluster:
        ca = connection.ca
        if ca is None and connection.ca_file is not None:
            with contextlib.suppress(OSError, UnicodeDecodeError):
                ca = files.text(connection.ca_file, encoding="ascii")
        facts = {
            "server": connection.server,
            "tls-server-name": connection.tls_server_name,
            "insecure-skip-tls-verify": connection.insecure or None,
            "certificate-authority-data": base64.b64encode(ca.encode()).decode() if ca else None,
            "proxy-url": connection.proxy_url,
            "config": plugin.config,
        }
        spec["cluster"] = {key: value for key, value in facts.items() if value is not None}
    return msgspec.json.encode({"kind": "ExecCredential", "apiVersion": plugin.api_version, "spec": spec}).decode()


def parse(printed: bytes, plugin: ExecPlugin, connection: Connection) -> Credential:
    """Read the ExecCredential that a plugin printed. Raises Unauthenticated when it is none."""
    try:
        decoded = json_values.decode(printed)
    except msgspec.DecodeError as error:
        raise _refused(plugin, connection, "did not print JSON; run it by hand") from error
    if not isinstance(decoded, dict) or decoded.get("kind") != "ExecCredential":
        raise _refused(plugin, connection, "did not print an ExecCredential; run it by hand")
    if decoded.get("apiVersion") != plugin.api_version:
        said = decoded.get("apiVersion")
        raise _refused(
            plugin, connection, f"printed {said!r:.60}, the kubeconfig asks for {plugin.api_version}; update the plugin"
        )
    body = Object.of({"status": decoded.get("status")}, origin=plugin.command)
    try:
        token = body.text("status", "token") or None
        certificate = body.text("status", "clientCertificateData") or None
        key = body.text("status", "clientKeyData") or None
        expires = body.text("status", "expirationTimestamp")
        moment = dt.datetime.fromisoformat(expires).timestamp() if expires else None
    except (errors.Malformed, ValueError, OverflowError) as error:
        raise _refused(
            plugin, connection, f"printed a credential that cannot be read ({capped(str(error))})"
        ) from error
    if bool(certificate) != bool(key) or not (token or certificate):
        raise _refused(plugin, connection, "printed neither a token nor a client certificate with its key")
    return Credential(token=token, certificate=certificate, key=key, expires=moment)


def _refused(plugin: ExecPlugin, connection: Connection, why: str) -> Unauthenticated:
    return Unauthenticated(f"the credential plugin {plugin.command} of {connection.who} {why}")

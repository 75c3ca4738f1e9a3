"""Running one command in a pod that runs, and what it printed: pods/exec over a WebSocket, within bounds.

The connection is one of kube.sockets' own, as every other to the server: it has the same small segments, proxies, TLS
and credentials, so that it crosses the same networks. httpcore2 hands it over once the server has said 101. wsproto,
which does no I/O, reads and writes the frames: no message is put together, so that a bound is one on bytes.

The protocol: each message begins with the number of its channel; 1 and 2 are what the command printed, 3 carries one
Status that says how it ended. Sources: kubernetes/apimachinery, pkg/util/remotecommand/constants.go; RFC 6455.
"""

import asyncio
import base64
import hashlib
import os
import shlex
from collections.abc import Sequence
from typing import Final

import httpx2
import msgspec
from wsproto import ConnectionType
from wsproto import events as ws_events
from wsproto.connection import Connection as Frames
from wsproto.utilities import RemoteProtocolError

from kubemtu.core.objects import Object
from kubemtu.core.text import json_values
from kubemtu.kube import requests, sockets
from kubemtu.kube.errors import Action, CommandCutOff, NotUpgraded, capped, from_status, not_upgraded
from kubemtu.kube.failures import from_transport
from kubemtu.kube.requests import Request
from kubemtu.kube.transport import Upgraded
from kubemtu.kube.wire import Wire

PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
PRINTED_MOST: Final = 4 << 20  # bytes that a command may print; `ip -d -j link` of 250 pods has 200 kB
COMPLAINT_MOST: Final = 16 << 10  # bytes that are kept of what it complains
ENDING_MOST: Final = 64 << 10  # bytes of the Status
FRAMES_MOST: Final = 20_000  # a server that sends empty ones without an end
SECONDS: Final = 10.0  # for one command, from the first byte to the last
_ACCEPT: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A container that runs."""

    namespace: str
    pod: str
    container: str

    def __str__(self) -> str:
        return f"pod {self.namespace}/{self.pod} (container {self.container})"


class CommandOutput(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended: what it printed, and its exit code.

    None where it could not be started, and `failure` says why. `complaint` is what it wrote to its standard error, in
    part where that is long.
    """

    output: bytes
    complaint: bytes = b""
    code: int | None = 0
    failure: str = ""

    @property
    def missing(self) -> bool:
        """True when it looks as if the image had no such program: a shell's 127, or what a runtime says."""
        says = self.failure.lower()
        absent = "executable file" in says and "not found" in says  # runc; crun and others quote the C library
        return self.code in {126, 127} or (
            self.code is None and (absent or "no such file or directory" in says or "permission denied" in says)
        )


async def run(wire: Wire, place: Place, command: Sequence[str], *, seconds: float = SECONDS) -> CommandOutput:
    """Run a command without a shell, and wait for its end. Raises CommandCutOff, NotUpgraded, what kube.errors draws.

    What the server holds back for its size is asked for once more, in smaller packets.
    """
    said = f"`{shlex.join(command)}` in {place}"
    channels = _Channels(said)
    try:
        async with asyncio.timeout(seconds):
            try:
                return await _once(wire, place, command, seconds, channels)
            except _HeldUp:
                channels = _Channels(said)
                return await _once(wire, place, command, seconds, channels)
    except TimeoutError as error:
        hint = "see whether that node and its kubelet are well"
        if not channels.came:
            hint = (
                "nothing of it came, so the API server may not reach that node's kubelet (TCP port 10250), or what it "
                "says is lost for its size, as behind a port that takes less than the NICs send: if `kubectl logs` of "
                "a pod there hangs as well while the node is Ready, that is likely"
            )
        raise CommandCutOff(f"{said} did not end within {seconds:g} s; {hint}") from error


class _HeldUp(Exception):
    """A packet did not arrive for its size: the next connection takes smaller ones."""


async def _once(
    wire: Wire, place: Place, command: Sequence[str], seconds: float, channels: "_Channels"
) -> CommandOutput:
    key = base64.b64encode(os.urandom(16)).decode()
    action = Action(verb="get", plural="pods", namespace=place.namespace, name=place.pod, subresource="exec")
    address = requests.path("v1", "pods", namespace=place.namespace, name=place.pod, subresource="exec")
    request = Request(
        action=action,
        path=address,
        parameters={
            "command": tuple(command),
            "container": place.container,
            "stdout": "true",
            "stderr": "true",
        },
        read_seconds=seconds + 5,  # the whole has a limit of its own
        also=(
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", key),
            ("Sec-WebSocket-Protocol", ", ".join(PROTOCOLS)),
        ),
    )
    async with wire.upgraded(request) as (headers, connection):
        _agreed(headers, key, action, wire)
        try:
            return await _heard(connection, seconds, channels, action, wire)
        except httpx2.HTTPError as error:
            stalled = sockets.stalled(error)
            if stalled is not None and stalled.by_size:
                raise _HeldUp from error
            raise from_transport(error, action, wire.connection) from error


def _agreed(headers: httpx2.Headers, key: str, action: Action, wire: Wire) -> None:
    """See that it is a WebSocket with a protocol that we speak. Raises NotUpgraded."""
    accept = base64.b64encode(hashlib.sha1((key + _ACCEPT).encode(), usedforsecurity=False).digest()).decode()
    if headers.get("Upgrade", "").lower() != "websocket" or headers.get("Sec-WebSocket-Accept", "") != accept:
        raise not_upgraded(action, wire.connection, 101)
    chosen = headers.get("Sec-WebSocket-Protocol", "")
    if chosen not in PROTOCOLS:
        raise NotUpgraded(
            f"{wire.connection.server} chose {capped(chosen) or 'no protocol'} for the WebSocket to {action}, and "
            f"kubemtu speaks {' and '.join(PROTOCOLS)}; a proxy may stand in between"
        )


class _Channels:
    """What has come on each channel, as far as it is kept."""

    def __init__(self, said: str) -> None:
        self.said = said
        self.came = False
        self._kept = {1: bytearray(), 2: bytearray(), 3: bytearray()}
        self._channel: int | None = None

    def take(self, part: bytes, *, whole: bool) -> None:
        """Take a part of a message; `whole`: it ends with that. Raises CommandCutOff for more than is taken."""
        if self._channel is None and part:
            self._channel, part = part[0], part[1:]
        kept = self._kept.get(self._channel or 0)
        if kept is not None:
            kept += part
            self.came = self.came or bool(part)
        if whole:
            self._channel = None
        if len(self._kept[1]) > PRINTED_MOST or len(self._kept[3]) > ENDING_MOST:
            raise CommandCutOff(
                f"{self.said} printed more than {PRINTED_MOST >> 20} MiB, which no such command does; nothing of it "
                "is believed: see what runs in that pod"
            )
        del self._kept[2][COMPLAINT_MOST:]

    def ended(self) -> bytes:
        """Return the Status with which it ended; empty where none came."""
        return bytes(self._kept[3])

    def printed(self, code: int | None, failure: str = "") -> CommandOutput:
        """Return all of it."""
        return CommandOutput(output=bytes(self._kept[1]), complaint=bytes(self._kept[2]), code=code, failure=failure)


async def _heard(
    connection: Upgraded, seconds: float, channels: _Channels, action: Action, wire: Wire
) -> CommandOutput:
    """Read until the server closes, or has said how the command ended."""
    frames, said, count, closed = Frames(ConnectionType.CLIENT), channels.said, 0, False
    while not closed:
        received = await connection.read(seconds)
        try:
            frames.receive_data(received or None)
            for event in frames.events():
                count += 1
                if count > FRAMES_MOST:
                    raise CommandCutOff(
                        f"{said} brought more than {FRAMES_MOST:,} messages; see what answers for that node"
                    )
                match event:
                    case ws_events.BytesMessage():
                        channels.take(bytes(event.data), whole=event.message_finished)
                    case ws_events.TextMessage():
                        channels.take(event.data.encode(), whole=event.message_finished)
                    case ws_events.Ping():
                        await connection.write(frames.send(event.response()), seconds)
                    case ws_events.CloseConnection():
                        closed = True
                    case _:
                        pass
        except RemoteProtocolError as error:
            raise CommandCutOff(
                f"what came of {said} is no WebSocket ({capped(str(error))}); a proxy may stand in between: try again"
            ) from error
        closed = closed or not received
    return _outcome(channels, action, wire)


def _outcome(channels: _Channels, action: Action, wire: Wire) -> CommandOutput:
    text = channels.ended()
    if not text:
        raise CommandCutOff(
            f"the connection to {channels.said} ended before anybody said how the command did; what it printed is not "
            "believed: see whether that node and its kubelet are well, then try again"
        )
    try:
        status = json_values.decode(text)
    except msgspec.DecodeError:
        status = None
    if not isinstance(status, dict):
        return channels.printed(None, capped(text.decode("utf-8", "replace")))
    if status.get("status") == "Success":
        return channels.printed(0)
    if status.get("code") in {401, 403}:
        raise from_status(status, action, wire.connection)
    return channels.printed(
        _exit_code(status), capped(str(status.get("message") or status.get("reason") or "no reason"))
    )


def _exit_code(status: dict[str, object]) -> int | None:
    """Return the exit code that a Status holds; None where the command did not start."""
    if status.get("reason") != "NonZeroExitCode":
        return None
    causes = Object.of(status).get("details", "causes")
    for cause in causes if isinstance(causes, list) else ():
        if isinstance(cause, dict) and cause.get("reason") == "ExitCode":
            number = str(cause.get("message"))
            return int(number) if number.isascii() and number.isdigit() and len(number) < 4 else None
    return None

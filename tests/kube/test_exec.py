"""Commands in pods over a WebSocket: what a server may answer, over real sockets, and what becomes of it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.support.exec_frames import SUCCESS, failed, frame, status, upgraded

from kubemtu.core import errors
from kubemtu.kube import errors as kube_errors
from kubemtu.kube import exec as kube_exec
from kubemtu.kube import wire
from kubemtu.kube.connection import Connection

PLACE = kube_exec.Place(namespace="kube-system", pod="canal-x7", container="calico-node")
COMMAND = ("ip", "-d", "-j", "link")
Answer = Callable[[str, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def says(*frames: bytes, protocol: str = "v5.channel.k8s.io") -> Answer:
    async def answer(key: str, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(upgraded(key, protocol) + b"".join(frames))
        await writer.drain()

    return answer


def http(code: int, reason: str, body: bytes, content_type: str = "application/json") -> Answer:
    async def answer(_key: str, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {code} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return answer


def refusal(code: int, reason: str, message: str) -> Answer:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    return http(code, reason, json.dumps(body | {"message": message}).encode())


@contextlib.asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[tuple[wire.Wire, list[bytes]]]:
    """Serve one answer to every connection; the requests are kept."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            asked.append(head)
            fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
            named = {name.lower(): value.decode() for name, value in fields.items()}
            await answer(named.get(b"sec-websocket-key", ""), reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = Connection(server=f"http://127.0.0.1:{port}", origin="test", token="a-token")
    async with server, wire.Wire(connection) as open_wire:
        yield open_wire, asked


async def run(answer: Answer, seconds: float = 60.0) -> kube_exec.CommandOutput:
    async with serving(answer) as (open_wire, _):
        return await kube_exec.run(open_wire, PLACE, COMMAND, seconds=seconds)


async def test_what_a_command_prints_comes_back_channel_by_channel() -> None:
    printed = await run(says(frame(b"\x01[{}"), frame(b"\x02warn"), frame(b"\x01]"), status(SUCCESS), frame(b"", 8)))
    assert (printed.output, printed.complaint, printed.code) == (b"[{}]", b"warn", 0)


async def test_the_request_is_what_an_api_server_takes() -> None:
    async with serving(says(status(SUCCESS))) as (open_wire, asked):
        await kube_exec.run(open_wire, PLACE, COMMAND)
    head = asked[0].decode()
    line, *fields = head.split("\r\n")
    method, target, _ = line.split()
    url = urlsplit(target)
    assert (method, url.path) == ("GET", "/api/v1/namespaces/kube-system/pods/canal-x7/exec")
    assert parse_qs(url.query) == {
        "command": ["ip", "-d", "-j", "link"],
        "container": ["calico-node"],
        "stdout": ["true"],
        "stderr": ["true"],
    }
    named = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields if field)}
    assert (named["connection"], named["upgrade"]) == ("Upgrade", "websocket")
    assert named["sec-websocket-protocol"] == "v5.channel.k8s.io, v4.channel.k8s.io"
    assert named["authorization"] == "Bearer a-token"


async def test_an_older_protocol_fragments_pings_and_empty_messages() -> None:
    """A server begins with an empty message on each channel (kubernetes/apiserver, pkg/util/wsstream)."""
    printed = await run(
        says(
            frame(b"\x01"),
            frame(b""),
            frame(b"\x01one ", fin=False),
            frame(b"ping", 9),
            frame(b"two", 0),
            status(SUCCESS),
            protocol="v4.channel.k8s.io",
        )
    )
    assert (printed.output, printed.code) == (b"one two", 0)


async def test_an_exit_code_is_an_answer() -> None:
    printed = await run(says(frame(b"\x02Device does not exist."), status(failed(1))))
    assert (printed.code, printed.complaint, printed.missing) == (1, b"Device does not exist.", False)


@pytest.mark.parametrize(
    "body",
    [
        failed(127),
        {
            "status": "Failure",
            "reason": "InternalError",
            "code": 500,
            "message": 'OCI runtime exec failed: exec failed: unable to start container process: exec: "ip": executable'
            " file not found in $PATH: unknown",
        },
    ],
)
async def test_a_program_that_the_image_lacks_is_told_from_one_that_failed(body: object) -> None:
    assert (await run(says(status(body)))).missing


async def test_a_command_that_hangs_ends_with_its_time() -> None:
    async def hang(key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(upgraded(key) + frame(b"\x01[{"))
        await reader.read()

    with pytest.raises(kube_errors.CommandCutOff) as raised:
        await run(hang, seconds=3)
    assert str(raised.value) == (
        "`ip -d -j link` in pod kube-system/canal-x7 (container calico-node) did not end within 3 s; see whether "
        "that node and its kubelet are well"
    )


async def test_a_server_that_takes_the_request_and_says_nothing_ends_with_its_time() -> None:
    async def hang(_key: str, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    with pytest.raises(kube_errors.CommandCutOff, match=r"did not end within 0\.3 s; nothing of it came") as raised:
        await run(hang, seconds=0.3)
    assert "lost for its size" in str(raised.value)


@pytest.mark.parametrize(
    ("first", "more", "sentence"),
    [
        (b"", frame(b"\x01" + b"x" * 65535), "printed more than 4 MiB"),
        (frame(b"\x01", fin=False), frame(b"x" * 65536, 0, fin=False), "printed more than 4 MiB"),
        (b"", frame(b"\x03" + b"x" * 65535), "printed more than 4 MiB"),
        (b"", frame(b""), "brought more than 20,000 messages"),
        (b"", frame(b"", 9), "brought more than 20,000 messages"),
    ],
)
async def test_a_flood_ends(first: bytes, more: bytes, sentence: str) -> None:
    async def flood(key: str, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(upgraded(key) + first)
        while not writer.is_closing():
            writer.write(more * 50)
            await writer.drain()

    with pytest.raises(kube_errors.CommandCutOff) as raised:
        await run(flood, seconds=60)
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    "frames",
    [
        (frame(b"\x01[{}]"),),
        (frame(b"\x01[{}]"), frame(b"", 8)),
        (frame(b"\x01[{}]")[:3],),
        (),
    ],
)
async def test_a_connection_that_ends_early_is_not_believed(frames: tuple[bytes, ...]) -> None:
    with pytest.raises(kube_errors.CommandCutOff, match="ended before anybody said how the command did"):
        await run(says(*frames))


@pytest.mark.parametrize("junk", [b"\xff\xff\xff\xff", b"HTTP/1.1 200 OK\r\n\r\n", frame(b"\x01a", 3)])
async def test_frames_that_are_none(junk: bytes) -> None:
    with pytest.raises(kube_errors.CommandCutOff, match=r"is no WebSocket|ended before anybody"):
        await run(says(junk))


async def test_a_missing_right_is_named_as_a_rule() -> None:
    message = (
        'pods "canal-x7" is forbidden: User "dev" cannot get resource "pods/exec" in API group "" in the namespace'
    )
    with pytest.raises(errors.Forbidden) as raised:
        await run(refusal(403, "Forbidden", f'{message} namespace "kube-system"'))
    assert "dev may not get pods canal-x7 (exec) in namespace kube-system" in str(raised.value)
    assert '{apiGroups: [""], resources: [pods/exec], verbs: [create, get]}' in str(raised.value)
    assert "kubectl auth can-i get pods/canal-x7 --subresource=exec -n kube-system" in str(raised.value)


async def test_a_pod_that_is_gone_and_a_kubelet_that_is_not_reached() -> None:
    with pytest.raises(kube_errors.Absent):
        await run(refusal(404, "NotFound", 'pods "canal-x7" not found'))
    with pytest.raises(kube_errors.ServerFailing, match="error dialing backend"):
        await run(refusal(500, "InternalError", "error dialing backend: dial tcp 192.0.2.2:10250: i/o timeout"))


@pytest.mark.parametrize(
    "answer",
    [
        refusal(400, "BadRequest", "Upgrade request required"),
        http(200, "OK", b"<html>login</html>", "text/html"),
        http(426, "Upgrade Required", b"no", "text/plain"),
    ],
)
async def test_a_proxy_that_strips_the_upgrade(answer: Answer) -> None:
    with pytest.raises(kube_errors.NotUpgraded, match="takes the headers Connection and Upgrade off"):
        await run(answer)


async def test_a_protocol_that_nobody_asked_for() -> None:
    with pytest.raises(kube_errors.NotUpgraded, match=r"chose channel\.k8s\.io for the WebSocket"):
        await run(says(status(SUCCESS), protocol="channel.k8s.io"))


async def test_a_status_that_is_none_is_a_command_that_did_not_start() -> None:
    printed = await run(says(frame(b"\x03oops \x1b[31m")))
    assert (printed.code, printed.missing) == (None, False)
    printed = await run(says(status({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": 7}})))
    assert printed.code is None

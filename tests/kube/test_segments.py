"""Connections to a server behind a switch port that takes less than both ends' NICs, and says nothing of it.

[client, 192.168.91.1] ── port of 1500 ── [bridge] ── port of `mtu` ── [server, 192.168.91.2], NICs of 1500, no offloads
"""

import asyncio
import contextlib
import json
import logging
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TypeVar

import anyio
import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st
from tests.support import exec_frames

from kubemtu.core.evidence import records, stalls
from kubemtu.core.objects import Ref
from kubemtu.kube import dialing, narrowing, sockets, transport
from kubemtu.kube import errors as kube_errors
from kubemtu.kube import exec as kube_exec
from kubemtu.kube.api import Api
from kubemtu.kube.connection import Connection
from kubemtu.node.evidence import connections
from kubemtu.node.kernel import netlink, netns

T = TypeVar("T")
REF = Ref(api_version="v1", kind="ConfigMap", plural="configmaps", name="one", namespace="default")
OBJECT = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "one"}}
MSS_1200 = b"\x02\x04\x04\xb0"  # RFC 9293 3.2: kind 2, length 4, 1200
MSS_536 = b"\x02\x04\x02\x18"
MSS_1460 = b"\x02\x04\x05\xb4"


PRINTED = b"x" * 50_000  # what `ip -d -j link` prints of a node with 150 pods


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


class Server(threading.Thread):
    """Speaks TLS with a certificate of several kilobytes, and answers each request with `body`; or nothing but TCP."""

    def __init__(self, listening: socket.socket, context: ssl.SSLContext, body: bytes) -> None:
        super().__init__(daemon=True)
        self.listening = listening
        self.context = context
        self.body = body
        self.mute = False
        self.loop = asyncio.new_event_loop()
        self.over = asyncio.Event()

    def run(self) -> None:
        self.loop.run_until_complete(self._serve())
        self.loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, sock=self.listening)
        await self.over.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            if self.mute:
                await self.over.wait()
            await writer.start_tls(self.context, ssl_handshake_timeout=60)
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                words = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
                await reader.readexactly(int(words.get(b"content-length", b"0")))
                if (key := re.search(rb"(?i)sec-websocket-key: (\S+)", head)) is not None:
                    ended = exec_frames.status(exec_frames.SUCCESS) + exec_frames.frame(b"", 8)
                    writer.write(exec_frames.upgraded(key[1].decode()))
                    writer.write(exec_frames.frame(b"\x01" + PRINTED) + ended)
                    await reader.read()  # until the client has all of it
                    break
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(self.body), self.body))
        writer.transport.abort()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.over.set)
        self.join()


class Wired:
    """The two ends and the switch between them, and what is on the wire between client and switch."""

    def __init__(self, tag: str, certificate: Path) -> None:
        self.tag = tag
        self.certificate = certificate
        self.spaces = tuple(f"{tag}-{name}" for name in ("client", "switch", "server"))
        client, switch, server = self.spaces
        for space in self.spaces:
            run("ip", "netns", "add", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
        run("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", switch, "link", "set", "br0", "up")
        for number, space in ((1, client), (2, server)):
            run(*f"ip -n {space} link add eth0 type veth peer name port{number} netns {switch}".split())
            for where, device in ((space, "eth0"), (switch, f"port{number}")):
                run("ip", "-n", where, "link", "set", device, "gso_max_segs", "1")
                run("ip", "-n", where, "link", "set", device, "up")
            run("ip", "-n", switch, "link", "set", f"port{number}", "master", "br0")
            run("ip", "-n", space, "addr", "add", f"192.168.91.{number}/24", "dev", "eth0")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_name("key"))
        listening = self.inside(server, lambda: socket.create_server(("192.168.91.2", 6443)))
        self.server = Server(listening, context, json.dumps(OBJECT).encode())
        self.server.start()
        self.capture = self.inside(switch, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
        self.capture.bind(("port1", 3))
        self.capture.setblocking(False)

    def inside(self, space: str, work: Callable[[], T]) -> T:
        descriptor = os.open(f"/run/netns/{space}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return netns.inside(descriptor, work)
        finally:
            os.close(descriptor)

    def port(self, mtu: int, number: int = 1) -> None:
        """Has one port of the switch take no more than that: 1, at the client, swallows answers; 2 requests."""
        for port in (1, 2):
            size = mtu if port == number else 1500
            run(*f"ip -n {self.spaces[1]} link set port{port} mtu {size}".split())
        transport._SMALL.clear()
        self.syns()

    def connection(self, proxy: str | None = None) -> Connection:
        return Connection(
            server="https://192.168.91.2:6443", origin="/k", ca_file=str(self.certificate), proxy_url=proxy
        )

    def ask(self, *, segment: int | None = 1200, proxy: str | None = None) -> object:
        """What the client gets, as a new process would."""

        async def get() -> object:
            async with Api(self.connection(proxy), segment=segment) as api:
                found = await api.get(REF)
                return found and found.name

        return self.client(get())

    def execute(self, *, proxy: str | None = None) -> kube_exec.CommandOutput:
        """What a command in a pod prints for the client."""
        place = kube_exec.Place(namespace="kube-system", pod="a", container="b")

        async def printed() -> kube_exec.CommandOutput:
            async with Api(self.connection(proxy)) as api:
                return await api.run(place, ("ip", "-d", "-j", "link"), seconds=60)

        return self.client(printed())

    def client(self, work: Coroutine[None, None, T]) -> T:
        return self.inside(self.spaces[0], lambda: asyncio.run(work))

    def syns(self) -> list[bytes]:
        """The TCP options of each SYN that the client has sent since the last look."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, (_, _, kind, *_) = self.capture.recvfrom(2048)
                offset = 14 + 4 * (frame[14] & 15)
                tcp = frame[offset:]
                if frame[12:14] == b"\x08\x00" and frame[23] == 6 and tcp[13] == 2 and kind != 4:
                    found.append(tcp[20 : 4 * (tcp[12] >> 4)])
        return found

    def close(self) -> None:
        if hasattr(self, "server"):
            self.server.stop()
        if hasattr(self, "capture"):
            self.capture.close()
        for space in self.spaces:
            subprocess.run(("ip", "netns", "del", space), capture_output=True, check=False)


@pytest.fixture(scope="module")
def wired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    try:
        run("ip", "netns", "add", f"kmseg-{os.getpid()}-try")
        run("ip", "netns", "del", f"kmseg-{os.getpid()}-try")
    except AssertionError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"network namespaces cannot be made here: {error}")
    assert shutil.which("openssl")
    folder = tmp_path_factory.mktemp("certificate")
    names = ",".join(["IP:192.168.91.2", *(f"DNS:a-rather-long-name-{number:04}.example" for number in range(150))])
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=me -keyout key"
    subprocess.run(
        [*command.split(), "-out", "pem", "-addext", f"subjectAltName={names}"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    made = Wired(f"kmseg-{os.getpid()}", folder / "pem")
    yield made
    made.close()


def test_small_segments_cross_a_port_that_swallows_large_packets(wired: Wired) -> None:
    wired.port(1500)
    assert wired.ask(segment=None) == "one"
    assert [MSS_1460 in options for options in wired.syns()] == [True]
    wired.port(1400)
    assert wired.ask() == "one"
    assert [MSS_1200 in options for options in wired.syns()] == [True]
    assert transport._SMALL == {}


@pytest.mark.parametrize("mtu", [1400, 800])
def test_a_command_in_a_pod_crosses_it_as_well(wired: Wired, mtu: int) -> None:
    wired.port(mtu)
    assert wired.execute().output == PRINTED
    assert MSS_1200 in wired.syns()[0]


def test_without_them_tls_hangs_and_the_size_is_measured_on_the_spot(wired: Wired) -> None:
    wired.port(1400)
    with pytest.raises(kube_errors.TlsSilent) as caught:
        wired.ask(segment=None)
    assert caught.value.exit_code == 3
    said = str(caught.value)
    assert said.startswith("https://192.168.91.2:6443 (/k) accepted the TCP connection, but TLS was not answered on it")
    # A bridge hands on what its port's MTU takes, and four bytes more where a VLAN tag would be: is_skb_forwardable.
    assert "it is in packets of at most 1400 bytes, and hangs in packets of 1401; something on the way drops" in said
    assert "its MTU is the likely cause" in said


def test_a_port_below_them_is_crossed_in_packets_of_576(wired: Wired, caplog: pytest.LogCaptureFixture) -> None:
    wired.port(800)
    caplog.set_level(logging.WARNING, "kubemtu.kube")
    assert wired.ask() == "one"
    syns = wired.syns()
    assert MSS_1200 in syns[0]
    assert MSS_536 in syns[-1]
    assert wired.ask() == "one"
    assert [MSS_536 in options for options in wired.syns()] == [True]  # remembered by the process
    (line,) = caplog.messages
    assert line.startswith("TLS with https://192.168.91.2:6443 is answered in packets of at most ")
    assert line.endswith("going on in packets of 576 bytes")


@pytest.mark.parametrize("size", [6_000, 20_000])
def test_an_answer_that_stands_still_is_asked_for_again_in_small_packets(wired: Wired, size: int) -> None:
    """The fault comes while a connection stands, and only the answer is large.

    The end of a short one arrives and shows what is missing. Of a long one, ten full segments are sent at first (RFC
    6928) and none arrives, as from a server that does not answer: after half a minute new handshakes show which it is.
    """

    async def twice() -> list[object]:
        async with Api(wired.connection()) as api:
            first = await api.get(REF)
            wired.port(800)
            second = await api.get(REF)
            return [first and first.name, second and len(second.text("data", "much") or "")]

    wired.port(1500)
    wired.server.body = json.dumps(OBJECT | {"data": {"much": "x" * size}}).encode()
    try:
        assert wired.client(twice()) == ["one", size]
    finally:
        wired.server.body = json.dumps(OBJECT).encode()


def test_a_server_that_is_mute_is_not_called_a_matter_of_size(wired: Wired) -> None:
    wired.port(1500)
    wired.server.mute = True
    try:
        with pytest.raises(kube_errors.TlsSilent) as caught:
            wired.ask()
    finally:
        wired.server.mute = False
    assert "and not in packets of 576 bytes either, so this is no matter of packet size; check the load" in str(
        caught.value
    )
    assert "MTU" not in str(caught.value)
    assert transport._SMALL == {}


def test_the_way_to_a_proxy_is_small_as_well(wired: Wired) -> None:
    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        near = wired.inside(wired.spaces[2], lambda: socket.create_connection(("192.168.91.2", 6443)))
        there, onward = await asyncio.open_connection(sock=near)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pour(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while chunk := await source.read(1 << 16):
                    to.write(chunk)
            to.close()

        await asyncio.gather(pour(reader, onward), pour(there, writer))

    wired.port(1400)
    listening = wired.inside(wired.spaces[2], lambda: socket.create_server(("192.168.91.2", 3128)))
    proxy = asyncio.run_coroutine_threadsafe(asyncio.start_server(tunnel, sock=listening), wired.server.loop).result()
    assert wired.ask(proxy="http://192.168.91.2:3128") == "one"
    assert [MSS_1200 in options for options in wired.syns()] == [True]
    assert wired.execute(proxy="http://192.168.91.2:3128").output == PRINTED
    wired.server.loop.call_soon_threadsafe(proxy.close)


def test_what_connections_show_of_a_clamp_does_not_come_from_these(wired: Wired) -> None:
    def dumped() -> list[records.TcpConnection]:
        with netlink.Socket(connections.NETLINK_SOCK_DIAG) as diag:
            return list(connections.dump(diag))

    async def looked() -> None:
        async with Api(wired.connection()) as api:
            await api.get(REF)
            client, server = (wired.inside(space, dumped) for space in wired.spaces[::2])
        (near,) = [one for one in client if (one.remote_port, one.packet) == (6443, 1240) and not one.queued]
        (far,) = [one for one in server if one.remote_port == near.local_port]
        assert (near.packet, far.packet, far.pmtu) == (1240, 1240, 1500)
        assert stalls.small(records.Evidence(connections=(near, far))) == []
        wider = msgspec.structs.replace(far, snd_mss=far.snd_mss + 1)  # as a clamp to another size would look
        assert stalls.small(records.Evidence(connections=(wider,))) == [wider]

    wired.port(1500)
    wired.client(looked())


async def test_a_name_whose_first_address_is_dead_is_reached_by_its_second(monkeypatch: pytest.MonkeyPatch) -> None:
    async def named(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, 1, 6, "", ("127.0.0.9", port)), (socket.AF_INET6, 1, 6, "", ("::1", port, 0, 0))]

    monkeypatch.setattr(anyio, "getaddrinfo", named)
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        port = listening.getsockname()[1]
        found = await dialing.resolve("k8s.example", port)
        assert [address[0] for _, address in found] == ["::1", "127.0.0.9"]
        with await dialing.first(found[::-1], []) as raw:
            assert raw.getpeername()[:2] == ("::1", port)


@hypothesis.given(st.integers(536, 1460), st.integers(537, 1460))
def test_a_search_finds_the_size_at_which_it_hangs(largest: int, high: int) -> None:
    async def answers(size: int) -> bool:
        return size <= largest

    found = asyncio.run(narrowing.search(answers, 536, high, rounds=3))
    assert found == narrowing.Bracket(
        answered=min(largest, high) if largest < high else high, hung=largest + 1 if largest < high else None
    )


@hypothesis.given(st.integers(536, 1459), st.lists(st.integers(536, 1460), max_size=3))
def test_sizes_that_are_late_once_are_not_said_to_hang(largest: int, late: list[int]) -> None:
    """As on a busy machine: what is late the first time is answered the second."""
    tardy = set(late)

    async def answers(size: int) -> bool:
        if size in tardy:
            tardy.remove(size)
            return False
        return size <= largest

    found = asyncio.run(narrowing.search(answers, 536, 1460, rounds=3))
    assert not found.by_size or (found.answered, found.hung) == (largest, largest + 1)


async def test_the_rest_is_waited_for_after_the_last_answer_not_the_first() -> None:
    async def answers(size: int) -> bool:
        await asyncio.sleep((size - 536) / 231 * 0.5)  # five sizes, each half a second after the one before
        return True

    found = await narrowing.search(answers, 536, 1460, rounds=3, tries=3, last=1.5)
    assert found == narrowing.Bracket(answered=1460)


@pytest.mark.parametrize(
    ("outcome", "bracket"),
    [
        ({536: True, 1000: False, 1200: True}, (1200, None)),  # by chance, or by load
        ({536: False, 1200: False}, (None, 536)),
        ({}, (None, None)),
    ],
)
def test_what_size_does_not_divide_is_not_called_a_matter_of_size(
    outcome: dict[int, bool], bracket: tuple[int | None, int | None]
) -> None:
    found = narrowing.bracket(outcome)
    assert (found.answered, found.hung) == bracket
    assert not found.by_size


async def test_a_request_in_two_parts_does_not_wait_for_an_acknowledgement() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stream = await sockets.SocketBackend(lambda: 1200).connect_tcp("127.0.0.1", listening.getsockname()[1])
        raw = stream.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        await stream.aclose()

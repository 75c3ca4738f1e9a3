"""An MSS clamp is found by what it does, over both families; strangers get nothing, and cost nothing.

a [e] --- [l] r [m] --- [e] b        10.9.1.0/24, 10.9.2.0/24 and fd09:N::/64, all with an MTU of 1500
"""

import contextlib
import itertools
import os
import resource
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.rigs import run

from kubemtu.core import errors
from kubemtu.core.path.direction import BothDirections
from kubemtu.node.kernel import netns
from kubemtu.node.probe import channel, mss, segments, wire

_SERIAL = itertools.count()
PORT = 7843
SECRET = b"a secret that all stations of the cluster share"
KEY = wire.Key(SECRET)
TO: dict[channel.Family, channel.Address] = {4: ("10.9.2.1", PORT), 6: ("fd09:2::1", PORT, 0, 0)}
# RFC 9293 3.7.1, RFC 6691 2: the MTU without the headers of IP and TCP, whatever options there are
FULL: dict[channel.Family, int] = {4: 1460, 6: 1440}
both = pytest.mark.parametrize("family", [4, 6], ids=["v4", "v6"])


class Line:
    """The three namespaces."""

    def __init__(self) -> None:
        tag = f"kmtest-{os.getpid()}-seg{next(_SERIAL)}"
        self.spaces = {name: f"{tag}-{name}" for name in "arb"}
        self.descriptors: dict[str, int] = {}
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        for name, space in self.spaces.items():
            run("ip", "netns", "add", space)
            self.descriptors[name] = os.open(f"/run/netns/{space}", os.O_RDONLY | os.O_CLOEXEC)
            self.ip(name, "link set dev lo up")
            self.set(name, "net/ipv6/conf/default/accept_dad", 0)
            self.set(name, "net/ipv4/ip_forward", 1)
            self.set(name, "net/ipv6/conf/all/forwarding", 1)
        for left, other in (("a", "l"), ("b", "m")):
            self.ip(left, f"link add name e type veth peer name {other} netns {self.spaces['r']}")
        for place, device, number, host in (
            ("a", "e", 1, "1"),
            ("r", "l", 1, "fe"),
            ("r", "m", 2, "fe"),
            ("b", "e", 2, "1"),
        ):
            self.ip(place, f"link set dev {device} up", f"addr add 10.9.{number}.{int(host, 16)}/24 dev {device}")
            self.ip(place, f"addr add fd09:{number}::{host}/64 dev {device} nodad")
        for place, number in (("a", 1), ("b", 2)):
            self.ip(place, f"route add default via 10.9.{number}.254", f"route add default via fd09:{number}::fe")

    def ip(self, place: str, *lines: str) -> None:
        run("ip", "-n", self.spaces[place], "-batch", "-", stdin="\n".join(lines))

    def set(self, place: str, name: str, value: int) -> None:
        netns.inside(self.descriptors[place], lambda: Path(f"/proc/sys/{name}").write_text(f"{value}"))

    def nft(self, *rules: str, hook: str = "filter hook forward priority -300") -> None:
        chain = f"add table inet t; add chain inet t c {{ type {hook}; }}"
        run(
            *("ip", "netns", "exec", self.spaces["r"], "nft"),
            "; ".join((chain, *(f"add rule inet t c {rule}" for rule in rules))),
        )

    def clamp(self, mss_of_a: int, mss_of_b: int) -> None:
        """Lowers the MSS that a announces on its way to b, and the other way round."""
        syn = "tcp flags & syn == syn tcp option maxseg size set"
        self.nft(f"iifname l {syn} {mss_of_a}", f"iifname m {syn} {mss_of_b}")

    def open(self, place: str) -> segments.Open:
        return lambda family: netns.inside(self.descriptors[place], lambda: segments.open_socket(family))

    def probing(self, place: str) -> Callable[[], int]:
        return lambda: netns.inside(self.descriptors[place], mss.probing)

    def listener(self, port: int = PORT) -> segments.TcpListener:
        return segments.TcpListener(KEY, port, open_socket=self.open("b"), probing=self.probing("b"))

    def connect(self, family: channel.Family = 4) -> socket.socket:
        """A connection of a stranger's."""
        sock = self.open("a")(family)
        sock.settimeout(60)
        sock.connect(TO[family])
        return sock

    def ask(self, family: channel.Family, key: wire.Key = KEY, patience: float = 30.0) -> BothDirections | None:
        return segments.ask(TO[family], key, patience=patience, open_socket=self.open("a"), probing=self.probing("a"))

    def seen(self, family: channel.Family) -> BothDirections:
        found = self.ask(family)
        assert found is not None
        return found

    def close(self) -> None:
        for descriptor in self.descriptors.values():
            os.close(descriptor)
        for space in self.spaces.values():
            subprocess.run(("ip", "netns", "del", space), capture_output=True, check=False)


@pytest.fixture
def bare(namespaces: None) -> Iterator[Line]:
    """A line without a listener."""
    made = Line()
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def driven(listener: segments.TcpListener) -> Iterator[segments.TcpListener]:
    """A listener in a loop of its own, on another thread and in another namespace than its sockets."""
    over = threading.Event()

    def work() -> None:
        waiting = select.poll()
        waiting.register(listener.fileno(), select.POLLIN)
        while not over.is_set():
            waiting.poll(min(max(listener.wake() - time.monotonic(), 0) * 1000, 20))
            listener.step(time.monotonic())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield listener
    finally:
        over.set()
        thread.join()
        listener.close()


@pytest.fixture
def line(bare: Line) -> Iterator[Line]:
    """A line with a listener at b."""
    with driven(bare.listener()):
        yield bare


@pytest.fixture
def nft() -> None:
    """Skips where there is no nft to clamp with."""
    if shutil.which("nft") is None and not Path("/usr/sbin/nft").exists():
        assert not os.environ.get("CI"), "nft (nftables) must be there in CI"
        pytest.skip("nft (nftables) is not there")


def ordinary(line: Line, family: channel.Family) -> list[str]:
    """What an ordinary user at a is told."""
    script = (
        "import os, sys; from kubemtu.node.probe import segments, wire; "
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); "
        f"found = segments.ask({TO[family]!r}, wire.Key(bytes.fromhex(sys.argv[1])), patience=10); "
        "print(found.forward.received_mss, found.backward.received_mss, found.forward.packet)"
    )
    return run("ip", "netns", "exec", line.spaces["a"], sys.executable, "-c", script, SECRET.hex()).split()


pytestmark = pytest.mark.netns


@both
def test_without_a_clamp_what_was_announced_arrives(line: Line, family: channel.Family) -> None:
    found = line.seen(family)
    for one in (found.forward, found.backward):
        assert (one.announced_mss, one.received_mss, one.clamped, one.relayed) == (
            FULL[family],
            FULL[family],
            False,
            False,
        )
        assert (one.path_mtu, one.packet, one.allowed, one.timestamps, one.tcp_mtu_probing) == (
            1500,
            1500,
            1500,
            True,
            0,
        )
        assert one.segment_payload == FULL[family] - 12  # RFC 7323 3.2: ten bytes, and two to align them


@both
def test_each_direction_has_its_own_clamp(line: Line, nft: None, family: channel.Family) -> None:
    line.clamp(1300, 1200)
    found = line.seen(family)
    headers = {4: 40, 6: 60}[family]
    assert (found.forward.announced_mss, found.forward.received_mss, found.forward.clamped) == (
        FULL[family],
        1200,
        True,
    )
    assert (found.backward.announced_mss, found.backward.received_mss, found.backward.clamped) == (
        FULL[family],
        1300,
        True,
    )
    assert (found.forward.packet, found.backward.packet) == (1200 + headers, 1300 + headers)
    assert (found.forward.segment_payload, found.backward.segment_payload) == (1188, 1288)


@both
def test_without_timestamps_nothing_is_added(line: Line, nft: None, family: channel.Family) -> None:
    line.set("a", "net/ipv4/tcp_timestamps", 0)
    line.clamp(1300, 1200)
    found = line.seen(family)
    assert (found.forward.received_mss, found.forward.segment_payload, found.forward.announced_mss) == (
        1200,
        1200,
        FULL[family],
    )
    assert (found.backward.received_mss, found.backward.segment_payload, found.backward.announced_mss) == (
        1300,
        1300,
        FULL[family],
    )
    assert not found.forward.timestamps


@both
def test_a_clamp_to_what_the_kernel_has_learned_is_seen(line: Line, nft: None, family: channel.Family) -> None:
    gateway = "10.9.1.254" if family == 4 else "fd09:1::fe"
    line.ip("a", f"route change default via {gateway} mtu 1400")
    limit = {4: 1360, 6: 1340}[family]
    line.clamp(limit, limit)
    found = line.seen(family)
    assert (found.forward.announced_mss, found.forward.received_mss, found.forward.path_mtu) == (
        FULL[family],
        limit,
        1400,
    )
    assert (found.backward.announced_mss, found.backward.received_mss, found.backward.path_mtu) == (
        limit,
        limit,
        1500,
    )  # a announces less


@both
def test_without_the_option_the_least_of_the_family_is_what_arrives(
    line: Line, nft: None, family: channel.Family
) -> None:
    line.nft("tcp flags & syn == syn reset tcp option maxseg")
    found = line.seen(family)
    least = {4: 536, 6: 1220}[family]  # RFC 9293 3.7.1
    assert (found.forward.received_mss, found.backward.received_mss) == (least, least)


@both
def test_syn_cookies_keep_too_little_to_tell(line: Line, nft: None, family: channel.Family) -> None:
    line.set("b", "net/ipv4/tcp_syncookies", 2)
    line.clamp(1350, 1250)
    found = line.seen(family)
    assert (
        found.forward.received_mss,
        found.backward.received_mss,
        found.backward.clamped,
        found.backward.allowed,
    ) == (1250, 0, False, 0)


@both
def test_tcp_mtu_probing_is_told_and_is_no_clamp(line: Line, family: channel.Family) -> None:
    line.set("a", "net/ipv4/tcp_mtu_probing", 2)
    line.set("b", "net/ipv4/tcp_mtu_probing", 1)
    found = line.seen(family)
    assert (found.forward.tcp_mtu_probing, found.backward.tcp_mtu_probing) == (2, 1)
    assert (found.forward.received_mss, found.forward.clamped, found.forward.segment_payload) == (
        FULL[family],
        False,
        1024,
    )
    assert ordinary(line, family)[0] == "0"  # tcp_base_mss is what he sees, and 1024 would be a lie


@both
def test_an_ordinary_user_sees_what_the_path_mtu_does_not_hide(line: Line, nft: None, family: channel.Family) -> None:
    full = str(FULL[family])
    assert ordinary(line, family) == [full, full, "1500"]
    line.clamp(1300, 1200)
    assert ordinary(line, family) == ["1200", "1300", {4: "1240", 6: "1260"}[family]]
    gateway = "10.9.1.254" if family == 4 else "fd09:1::fe"
    line.ip("a", f"route change default via {gateway} mtu 1240")
    assert ordinary(line, family)[0] == "0"


@both
def test_another_port_at_the_other_end_is_told(line: Line, nft: None, family: channel.Family) -> None:
    source = "ip to 10.9.2.254:50000-50099" if family == 4 else "ip6 to [fd09:2::fe]:50000-50099"
    line.nft(f"meta l4proto tcp snat {source}", hook="nat hook postrouting priority 100")
    found = line.seen(family)
    assert (found.forward.relayed, found.backward.relayed) == (True, True)
    assert (found.forward.received_mss, found.backward.received_mss) == (FULL[family], FULL[family])


@both
def test_nobody_there_another_key_and_silence_are_nothing(bare: Line, nft: None, family: channel.Family) -> None:
    assert bare.ask(family) is None
    with driven(bare.listener()) as listener:
        assert bare.ask(family, wire.Key(b"another key altogether")) is None
        assert (listener.answered, listener.refused) == (0, 1)
        assert bare.ask(family) is not None
        bare.nft("meta l4proto tcp drop")
        assert bare.ask(family, patience=0.1) is None
        bare.ip("a", "route del default", "route del default via fd09:1::fe")
        assert bare.ask(family) is None


# Hostile answers


@pytest.mark.parametrize("lie", ["junk", "short", "nothing", "another nonce", "another key", "the question itself"])
def test_a_lie_is_no_answer(bare: Line, lie: str) -> None:
    seen = mss.ObservedMss(536, 1460, 524, 1500, 1, timestamps=True, probing=0)

    def answer(question: bytes) -> bytes:
        found = mss.unpack(mss.ASK, question, KEY)
        assert found is not None
        nonce = found[0]
        return {
            "junk": os.urandom(4000),
            "short": KEY.seal(mss.pack(mss.TELL, nonce, seen))[:39],
            "nothing": b"",
            "another nonce": KEY.seal(mss.pack(mss.TELL, nonce ^ 1, seen)),
            "another key": wire.Key(b"another key altogether").seal(mss.pack(mss.TELL, nonce, seen)),
            "the question itself": question,
        }[lie]

    listening = bare.open("b")(4)
    listening.bind(("", PORT))
    listening.listen(1)
    listening.settimeout(60)

    def work() -> None:
        sock, _ = listening.accept()
        with sock:
            sock.settimeout(60)
            sock.sendall(answer(sock.recv(64)))
            with contextlib.suppress(OSError):
                sock.recv(64)

    thread = threading.Thread(target=work)
    thread.start()
    assert bare.ask(4, patience=0.5) is None
    thread.join()
    listening.close()


# Hostile questions, on a clock of the test's own


def question(key: wire.Key = KEY, nonce: int = 7) -> bytes:
    return key.seal(mss.pack(mss.ASK, nonce, mss.ObservedMss(0, 1460, 1448, 1500, 1, timestamps=True, probing=0)))


@pytest.fixture
def still(bare: Line) -> Iterator[tuple[Line, segments.TcpListener]]:
    """A line and a listener that moves only when told."""
    listener = bare.listener()
    try:
        yield bare, listener
    finally:
        listener.close()


def turn(listener: segments.TcpListener, now: float) -> None:
    """Everything that is due at that moment, and what is still on its way over the veths."""
    for _ in range(50):
        listener.step(now)
        if not select.select([listener], [], [], 0.01)[0]:
            return


def ended(sock: socket.socket) -> bool:
    """Whether the other end has ended the connection without a byte."""
    sock.settimeout(60)
    try:
        return sock.recv(64) == b""
    except ConnectionResetError:
        return True


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


PROBE = KEY.seal(wire.pack_request(wire.ProbePacket(1, 9, 9, 1500)), b"\x0a\x09\x01\x01")
STRANGE = {
    "junk": os.urandom(40),
    "http": b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "another key": question(wire.Key(b"another key altogether")),
    "a datagram's": PROBE,
    "an answer": KEY.seal(mss.pack(mss.TELL, 7, mss.ObservedMss(0, 1460, 1448, 1500, 1, timestamps=True, probing=0))),
    "a byte too many": question() + b"x",
    "a flood": question() * 1000,
}


@both
@pytest.mark.parametrize("what", STRANGE)
def test_a_stranger_gets_no_byte(still: tuple[Line, segments.TcpListener], family: channel.Family, what: str) -> None:
    line, listener = still
    with line.connect(family) as sock:
        sock.send(STRANGE[what])
        turn(listener, 0.0)
        turn(listener, 1.0)
        assert ended(sock)
    assert (listener.answered, listener.refused) == (0, 1)
    assert listener.wake() == float("inf")


@both
def test_who_says_nothing_is_ended_after_a_second(
    still: tuple[Line, segments.TcpListener], family: channel.Family
) -> None:
    line, listener = still
    with line.connect(family) as sock:
        turn(listener, 10.0)
        assert listener.wake() == 11.0
        turn(listener, 10.9)
        assert listener.refused == 0
        turn(listener, 11.0)
        assert ended(sock)
    assert listener.refused == 1


def test_a_question_in_pieces_is_answered_within_its_second(still: tuple[Line, segments.TcpListener]) -> None:
    line, listener = still
    with line.connect() as sock:
        for number, byte in enumerate(question()):
            sock.send(bytes((byte,)))
            turn(listener, number / 100)
        assert len(sock.recv(64)) == 40
    turn(listener, 0.5)
    assert (listener.answered, listener.wake()) == (1, float("inf"))
    with line.connect() as sock:
        for number, byte in enumerate(question()):
            with contextlib.suppress(OSError):
                sock.send(bytes((byte,)))
            turn(listener, 10 + number / 10)
        assert ended(sock)


def test_a_captured_question_tells_forty_bytes_under_its_own_nonce(still: tuple[Line, segments.TcpListener]) -> None:
    line, listener = still
    captured = question(nonce=0x1122334455667788)
    for _ in range(3):
        with line.connect() as sock:
            sock.send(captured)
            turn(listener, 0.0)
            answer = sock.recv(64)
            assert len(answer) == len(captured) == 40
            told = mss.unpack(mss.TELL, answer, KEY)
            assert told is not None
            assert told[0] == 0x1122334455667788
            assert told[1].port == sock.getsockname()[1]
        turn(listener, 0.0)
    assert wire.kind(captured) == wire.kind(answer) == 0  # no datagram of a station's


def test_a_hundred_at_once_take_sixteen_places(still: tuple[Line, segments.TcpListener]) -> None:
    line, listener = still
    line.connect().close()  # neighbours are known from here on
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            sock = stack.enter_context(line.open("a")(4))
            sock.connect_ex(TO[4])
        clients = descriptors()
        waiting = select.poll()
        waiting.register(listener.fileno(), select.POLLIN)
        woken = 0
        while listener.refused < 17:  # one more than there are places
            woken += bool(waiting.poll(max(min(listener.wake() - time.monotonic(), 1), 0) * 1000))
            listener.step(time.monotonic())
            assert descriptors() <= clients + 16
        assert woken < 400  # those who wait in the queue make no busy loop
    with driven(listener):
        assert line.ask(4, patience=30) is not None


def test_those_who_leave_at_once_are_no_more_either(still: tuple[Line, segments.TcpListener]) -> None:
    line, listener = still
    for _ in range(20):
        line.connect().close()
        turn(listener, 0.0)
    assert listener.refused == 16
    assert listener.wake() == 1.0
    turn(listener, 1.0)
    assert listener.refused == 20


def test_a_friend_is_served_once_there_is_room(bare: Line) -> None:
    with driven(bare.listener()) as listener, contextlib.ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(bare.connect())
        assert bare.ask(4, patience=30) is not None
        assert listener.answered == 1
        assert 1 <= listener.refused <= 16


def test_friends_leave_no_place_taken_and_nothing_in_the_kernel(line: Line) -> None:
    for _ in range(50):
        assert line.ask(4) is not None
        assert line.ask(6) is not None
    for place in ("a", "b"):
        left = run("ip", "netns", "exec", line.spaces[place], "cat", "/proc/net/tcp", "/proc/net/tcp6").splitlines()
        states = [words[3] for words in map(str.split, left) if words[3] != "st"]
        assert set(states) <= {"0A", "01", "07"}, states  # include/net/tcp_states.h: listening, or still open


def test_without_a_descriptor_left_it_waits(still: tuple[Line, segments.TcpListener]) -> None:
    line, listener = still
    with line.connect() as sock:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = os.dup(0)
        os.close(highest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        try:
            listener.step(0.0)
            busy = select.select([listener], [], [], 0)[0]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert not busy
        assert listener.wake() == 1.0
        sock.send(question())
        turn(listener, 1.0)
        assert len(sock.recv(64)) == 40


def test_a_port_that_is_taken_is_told_and_leaves_no_descriptor(still: tuple[Line, segments.TcpListener]) -> None:
    line, _ = still
    before = descriptors()
    with pytest.raises(errors.UsageError, match="TCP port 7843 cannot be used: Address already in use"):
        line.listener()
    other = line.listener(port=0)
    assert other.port not in {0, PORT}
    other.close()
    assert descriptors() == before

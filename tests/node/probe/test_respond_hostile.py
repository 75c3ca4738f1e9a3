"""A station that is shouted at stays silent, stays small, and still tells the truth, or says that it cannot.

What it got and what it gave is counted by the kernel of its namespace, in whole packets.
"""

import contextlib
import itertools
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.support.labs import until

from kubemtu.node.probe import channel, segments, station, wire
from kubemtu_lab.line import network

if TYPE_CHECKING:
    from tests.support.lines import Net

pytestmark = pytest.mark.netns
B = ("10.9.3.1", 7843)
SECRET = b"a secret that all stations of the cluster share"
KEY = wire.Key(SECRET)
STRANGER = wire.Key(b"not the key of the cluster")
A = b"\x0a\x09\x01\x01"
PAGE = os.sysconf("SC_PAGE_SIZE")
FLOOD = """
import itertools, socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect(("10.9.3.1", 7843))
kinds = itertools.cycle(bytes.fromhex(one) for one in sys.argv[3:])
rate, most, sent = int(sys.argv[1]), int(sys.argv[2]), 0
began = time.perf_counter()
while sent < most:
    for _ in range(25):
        sock.send(next(kinds))
    sent += 25
    while sent > (time.perf_counter() - began) * rate:
        time.sleep(0.0001)
print(int(sent / (time.perf_counter() - began)))
"""


def sealed(kind: wire.ProbePacket, size: int = 40, bound: bytes = A, key: wire.Key = KEY) -> bytes:
    """A request as it is sent, `size` bytes without the headers."""
    return key.seal(wire.pack_request(kind), b"" if kind.kind == wire.HELLO else bound).ljust(size, b"x")


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def station_of(net: "Net") -> int:
    """The station's process: `ip netns exec` has become it."""
    return net.processes[0].pid


class Traffic(NamedTuple):
    """What came to b's port, and what left it."""

    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int


def counted(net: "Net") -> Callable[[], Traffic]:
    """Count from now on; gives a way to read it."""
    net.nft("b", "input", "meta l4proto udp udp dport 7843 counter")
    net.nft("b", "output", "meta l4proto udp udp sport 7843 counter")

    def read() -> Traffic:
        shown = json.loads(network.run(*net.command("b", "nft", "-j", "list", "table", "inet", "line")))
        counts: dict[str, dict[str, int]] = {}
        for one in (entry["rule"] for entry in shown["nftables"] if "rule" in entry):
            counts[one["chain"]] = next(part["counter"] for part in one["expr"] if "counter" in part)
        came, went = counts["filter_input"], counts["filter_output"]
        return Traffic(came["packets"], came["bytes"], went["packets"], went["bytes"])

    return read


def unread(net: "Net") -> int:
    """Return how many bytes wait for the station of b to read them, as /proc/net/udp says (udp(7): rx_queue)."""
    text = net.inside("b", lambda: "".join(Path(f"/proc/thread-self/net/{one}").read_text() for one in ("udp", "udp6")))
    rows = (line.split() for line in text.splitlines() if ":" in line)
    return sum(int(row[4].split(":")[1], 16) for row in rows if row[1].endswith(f":{B[1]:04X}"))


def is_idle(net: "Net") -> bool:
    """Tell whether the station waits for something, and so has answered what it read (proc(5), stat: S)."""
    return Path(f"/proc/{station_of(net)}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def shout(net: "Net", datagrams: Iterable[bytes], *, place: str = "a", port: int = 0) -> list[bytes]:
    """Send these to b from another place, and give what comes back."""
    heard: list[bytes] = []
    with net.inside(place, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, channel.SO_RCVBUFFORCE, 16 << 20)
        sock.bind(("", port))
        sock.setblocking(False)
        for datagram in datagrams:
            while True:
                try:
                    sock.sendto(datagram, B)
                    break
                except BlockingIOError:
                    time.sleep(0.001)
            with contextlib.suppress(BlockingIOError):
                heard.append(sock.recv(2048))
        until(lambda: unread(net) == 0 and is_idle(net))
        time.sleep(0.2)  # what it has sent may be on the way
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(sock.recv(2048))
    return heard


@contextlib.contextmanager
def flooded(net: "Net", rate: int, number: int, *kinds: bytes) -> Iterator[list[int]]:
    """Another process at a sends so many packets a second; the rate that it reached is in the list afterwards."""
    reached: list[int] = []
    words = (sys.executable, "-c", FLOOD, str(rate), str(number), *(kind.hex() for kind in kinds))
    with subprocess.Popen(net.command("a", *words), stdout=subprocess.PIPE, text=True) as process:
        try:
            yield reached
            reached.append(int(process.communicate()[0]))
        finally:
            process.kill()


def test_a_hundred_thousand_bad_datagrams_are_not_answered_and_cost_no_memory(net: "Net", nft: None) -> None:
    forged = sealed(wire.ProbePacket(1, 1, 1, 68), key=STRANGER)
    elsewhere = sealed(wire.ProbePacket(1, 1, 1, 68), bound=b"\x0a\x09\x01\x63")  # captured, and sent by another
    shorter, longer = sealed(wire.ProbePacket(1, 1, 1, 1400)), sealed(wire.ProbePacket(1, 1, 2, 500), 1400)
    truncated = (forged[:39], elsewhere[:20], b"k", b"")
    replayed = sealed(wire.ProbePacket(1, 2, 3, 68))
    oversized = (forged + bytes(1400), b"kMTU" * 360)
    kinds = (forged, elsewhere, shorter, longer, *truncated, replayed, *oversized, os.urandom(40))
    heard = shout(net, itertools.islice(itertools.cycle(kinds), 2000))
    assert [wire.read_answer(answer).number for answer in heard] == [3]  # what was replayed, the first time
    before, read = resident(station_of(net)), counted(net)
    assert shout(net, itertools.islice(itertools.cycle(kinds), 100_000)) == []
    assert shout(net, [forged + bytes(60_000)] * 50) == []  # in 42 fragments each
    traffic = read()
    assert traffic.packets_in >= 100_000, traffic
    assert traffic.packets_out == 0, traffic
    assert resident(station_of(net)) - before < 1 << 20
    assert net.measure().forward.search.mtu == 1500


def test_a_captured_request_is_answered_once_however_often_it_is_sent(net: "Net") -> None:
    for number, kind in enumerate((wire.PROBE, wire.HELLO)):
        captured = sealed(wire.ProbePacket(1 if kind == wire.PROBE else 5, 5, number, 68))
        heard = [answer for port in (40_000, 40_001) for answer in shout(net, [captured] * 1000, port=port)]
        assert [len(answer) for answer in heard] == [len(captured)] == [40]
    assert shout(net, [captured] * 1000, place="r1") == []  # nor from anywhere else


def test_an_answer_is_never_longer_than_its_request(net: "Net", nft: None) -> None:
    read = counted(net)
    for size in (68, 500, 1500):
        assert [len(one) for one in shout(net, [sealed(wire.ProbePacket(1, 6, size, size), size - 28)])] == [40]
    assert read() == (3, 2068, 3, 204)
    heard = shout(net, (sealed(wire.ProbePacket(5, number, 1, 0)) for number in range(10_000)))
    traffic = read()
    assert traffic.packets_in >= traffic.packets_out > 1000, traffic
    assert traffic.bytes_in >= traffic.bytes_out, traffic
    assert {wire.read_seen(seen)[1] for seen in heard} == {A}


@pytest.mark.parametrize("friend", [False, True], ids=["of a stranger", "of one with the key"])
def test_under_a_flood_the_truth_or_that_it_is_overloaded(net: "Net", nft: None, friend: bool) -> None:
    net.middle(1450)
    net.mute()
    kinds = [sealed(wire.ProbePacket(1, 1, 1, 68), key=STRANGER), os.urandom(40), b"kMTU" * 10]
    if friend:  # what was captured of one, and is sent again and again
        kinds = [sealed(wire.ProbePacket(1, 1, number, 68)) for number in range(3000)]
    net.measure()
    before, read = resident(station_of(net)), counted(net)
    with flooded(net, 50_000, 75_000, *kinds) as reached:
        found = [net.measure().forward.search for _ in range(10)]
    traffic = read()
    rate = f"{reached[0]} packets a second: {traffic}"
    ends = Counter((one.ending, one.mtu) for one in found)
    assert {end for end in ends if end[0] == "exact"} <= {("exact", 1450)}, (rate, ends)
    assert {ending for ending, _ in ends} <= {"exact", "overloaded", "lossy"}, (rate, ends)
    assert traffic.bytes_out <= traffic.bytes_in, rate
    assert traffic.packets_out <= 3000 * friend + 2 * sum(one.packets for one in found), rate
    assert resident(station_of(net)) - before < 2 << 20, rate
    until(lambda: unread(net) == 0)
    after = net.measure().forward.search
    assert (after.ending, after.mtu) == ("exact", 1450), rate


def test_whoever_asks_too_much_is_refused_and_others_are_served_afterwards(net: "Net", nft: None) -> None:
    """Each of 3000 requests to measure back is told how it stands; only sixteen are ever under way, 256 remembered."""
    pid = station_of(net)
    shout(net, (sealed(wire.ProbePacket(3, number, 1, 1500)) for number in range(300)))
    before, open_files = resident(pid), files(pid)
    heard = shout(net, (sealed(wire.ProbePacket(3, 1000 + number, 1, 1500)) for number in range(3000)))
    reports = [report for answer in heard if wire.kind(answer) == 4 and (report := wire.read_report(answer))]
    assert {len(answer) for answer in heard if wire.kind(answer) == 4} == {40}
    assert {report.state for report in reports} <= {"refused", "running", "unreachable"}
    states = Counter(report.state for report in reports)
    assert states["refused"] > 1000, states
    assert resident(pid) - before < 2 << 20
    assert files(pid) == open_files
    backs: list[wire.SearchReport] = []
    while not backs or (backs[-1].state == "refused" and len(backs) < 100):
        time.sleep(0.2 * len(backs[:1]))  # the last of the flood may still be measured towards: two seconds of silence
        back = net.measure(back=True).backward
        assert back is not None
        backs.append(back)
    assert (backs[-1].state, backs[-1].mtu) == ("exact", 1500)


def test_strangers_who_hold_every_connection_hold_up_no_datagram(bare: "Net") -> None:
    """Two places of one station: sixteen silent connections in one of them are nothing to the other, or to probes."""
    with station.Station(KEY, families=()) as serving:
        for place in ("b", "r2"):
            serving.open(place, bare.descriptors[place], port=7843)
            serving.listen(7843, place)
        going_on = threading.Event()
        thread = threading.Thread(target=lambda: serving.serve(lambda: not going_on.is_set()))
        thread.start()
        try:
            before = files(os.getpid())
            with contextlib.ExitStack() as held:
                for _ in range(60):
                    sock = bare.inside("a", lambda: socket.create_connection(B, timeout=60))
                    held.enter_context(sock)
                assert files(os.getpid()) <= before + 60 + 16
                assert bare.inside("a", lambda: segments.ask(B, KEY, patience=0.3)) is None
                found = [bare.measure().forward.search.mtu for _ in range(5)]
                other = bare.inside("a", lambda: segments.ask(("10.9.2.2", 7843), KEY, patience=60))
            assert found == [1500] * 5
            assert other is not None
        finally:
            going_on.set()
            serving.call_soon(lambda: None)
            thread.join()


def test_junk_at_any_size_is_met_with_silence(net: "Net", nft: None) -> None:
    read = counted(net)
    body = b"kMTU\x01\x01" + os.urandom(1466)
    assert shout(net, (body[:length] for length in range(1473))) == []
    assert read() == (1473, 1_125_372, 0, 0)  # 1473 headers of 28 bytes, and 0 + 1 + ... + 1472


def test_whatever_one_with_the_key_says_the_station_goes_on(net: "Net") -> None:
    """Random bodies of every kind, well sealed: for all senders, and for the one they come from."""
    chance = random.Random(3)
    bodies = [b"kMTU\x01" + bytes([kind]) + chance.randbytes(26) for kind in range(1, 7) for _ in range(1000)]
    chance.shuffle(bodies)
    shout(net, [KEY.seal(body, bound) for body in bodies for bound in (b"", A)])
    path = net.measure(expected=1500)
    assert (path.forward.search.ending, path.forward.search.mtu) == ("exact", 1500)
    assert net.processes[0].poll() is None

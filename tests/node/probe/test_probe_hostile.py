"""A prober that is lied to believes only what was sealed with its key, for what it sent."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from kubemtu.node.probe import paths, station, wire

if TYPE_CHECKING:
    from tests.support.lines import Net

SECRET = b"a secret that all stations of the cluster share"
KEY = wire.Key(SECRET)
STRANGER = wire.Key(b"not the key of the cluster")
pytestmark = pytest.mark.netns
Lie = Callable[[bytes, int], list[bytes]]  # a request and its length as a packet, to what is sent back


@contextmanager
def lying(net: "Net", lie: Lie) -> Iterator[None]:
    """Something at b's port that answers every datagram as told."""
    sock = net.inside("b", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("10.9.3.1", 7843))
    sock.settimeout(0.1)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                datagram, address = sock.recvfrom(65535)
            except TimeoutError:
                continue
            for answer in lie(datagram, len(datagram) + 28):
                sock.sendto(answer, address)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        sock.close()


def answer(datagram: bytes, size: int, key: wire.Key = KEY, drops: int = 0) -> bytes:
    request = wire.read_request(datagram)
    return key.seal(wire.pack_answer(wire.ProbeAnswer(request.nonce, request.number, size, 0, drops, 1500)))


LIES: dict[str, Lie] = {
    "sealed with another key": lambda datagram, size: [answer(datagram, size, STRANGER)],
    "the request itself": lambda datagram, _: [datagram],
    "junk": lambda _, __: [os.urandom(40), b"", b"kMTU\x01\x02", b"kMTU\x01\x04" + os.urandom(200)],
    "another size than was sent": lambda datagram, size: [answer(datagram, size - 1)],
    "another number": lambda datagram, size: [
        KEY.seal(wire.pack_answer(wire.ProbeAnswer(wire.read_request(datagram).nonce, 1 << 31, size, 0, 0, 0)))
    ],
    "another address each time": lambda datagram, _: [
        KEY.seal(wire.pack_seen(wire.read_request(datagram).nonce, os.urandom(length))) for length in (4, 16, 4)
    ],
}


@pytest.mark.parametrize("name", LIES)
def test_lies_are_no_answer(bare: "Net", name: str) -> None:
    with lying(bare, LIES[name]):
        found = bare.measure().forward.search
    assert (found.ending, found.mtu) == ("unreachable", 0)


def noise(datagram: bytes, size: int) -> list[bytes]:
    """The truth, in the middle of everything that it may be confused with."""
    request = wire.read_request(datagram)
    strange = wire.ProbeAnswer(request.nonce, request.number, size, 0, 9, 9)
    lies = [
        STRANGER.seal(wire.pack_answer(strange)),
        KEY.seal(wire.pack_answer(wire.ProbeAnswer(request.nonce ^ 1, request.number, size, 0, 9, 9))),
        KEY.seal(wire.pack_answer(wire.ProbeAnswer(request.nonce, request.number, size ^ 1, 0, 0, 9))),
        STRANGER.seal(wire.pack_seen(request.nonce, os.urandom(4))),
        KEY.seal(wire.pack_report(wire.SearchReport(request.nonce ^ 1, "exact", "silence", 600))),
        datagram,
        *(os.urandom(length) for length in (0, 39, 40, 1400)),
    ]
    truth = [answer(datagram, size)] if request.kind == wire.PROBE else []
    return [*lies, *truth, *lies]


@pytest.mark.parametrize("sweeps", [False, True])
def test_the_truth_is_heard_among_lies(bare: "Net", sweeps: bool) -> None:
    target = paths.Target(address="10.9.3.1", source="10.9.1.1", expected=1450, enough=True)

    def work() -> list[paths.Path]:
        with station.Station(KEY, answers=not sweeps) as asking:
            return asking.measure([target] * 12)

    with lying(bare, noise):
        found = [path.forward.search for path in bare.inside("a", work)]
    assert {(one.ending, one.mtu) for one in found} == {("exact", 1450)}


def test_answers_that_come_many_times_count_once(bare: "Net") -> None:
    bare.middle(1450)
    with lying(bare, lambda datagram, size: [answer(datagram, size)] * 5):
        found = bare.measure().forward.search
    assert (found.ending, found.mtu, found.fitting_lost) == ("exact", 1450, 0)


def test_a_queue_that_overflows_all_the_time_is_overloaded_and_not_an_mtu(bare: "Net") -> None:
    drops = iter(range(1, 1 << 20))

    def overflowing(datagram: bytes, size: int) -> list[bytes]:
        return [answer(datagram, size, drops=next(drops))] if size < 100 else []

    with lying(bare, overflowing):
        path = bare.measure()
    assert path.forward.search.ending == "overloaded"


ORDINARY = """
import os, sys
from kubemtu.node.probe import paths, station, wire
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with station.Station(wire.Key(bytes.fromhex(sys.argv[1]))) as asking:
    path = asking.measure([paths.Target(address="10.9.3.1", both_ways=True)])[0]
    print(path.forward.search.mtu, path.backward.mtu, paths.judge(path).kind)
"""


def test_an_ordinary_user_measures_as_well(net: "Net") -> None:
    net.middle(1450)
    net.mute()
    words = ("ip", "netns", "exec", net.spaces["a"], sys.executable, "-c", ORDINARY, SECRET.hex())
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout == "1450 1450 black hole\n", done.stderr

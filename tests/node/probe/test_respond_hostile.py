"""A station that is shouted at stays silent, stays small, and still tells the truth, or says that it cannot."""

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubemtu.node.probe import wire

if TYPE_CHECKING:
    from tests.node.probe.conftest import Net

pytestmark = pytest.mark.netns
B = ("10.9.3.1", 7843)
SECRET = b"a secret that all stations of the cluster share"
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def station_of(net: "Net") -> int:
    """The station's process: `ip netns exec` has become it."""
    return net.processes[0].pid


def shout(number: int, make: Callable[[int], bytes], heard: list[bytes]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        for count in range(number):
            try:
                sock.sendto(make(count), B)
            except BlockingIOError:
                time.sleep(0.001)
        time.sleep(0.3)
        try:
            while True:
                heard.append(sock.recv(2048))
        except BlockingIOError:
            return


def test_a_hundred_thousand_bad_datagrams_are_not_answered_and_cost_no_memory(net: "Net") -> None:
    forged = wire.Key(b"not the key of the cluster").seal(wire.pack_request(wire.Request(1, 1, 1, 68)))
    elsewhere = wire.Key(SECRET).seal(wire.pack_request(wire.Request(1, 1, 1, 68)), b"\x0a\x09\x01\x63")
    short = wire.Key(SECRET).seal(wire.pack_request(wire.Request(1, 1, 1, 1400)), b"\x0a\x09\x01\x01")
    kinds = (forged, elsewhere, short, forged[:39], b"", os.urandom(40), forged + bytes(1000), b"kMTU" * 100)
    heard: list[bytes] = []
    net.inside("a", lambda: shout(2000, lambda count: kinds[count % len(kinds)], heard))
    before = resident(station_of(net))
    net.inside("a", lambda: shout(100_000, lambda count: kinds[count % len(kinds)], heard))
    assert heard == []
    assert resident(station_of(net)) - before < 1 << 20
    assert net.measure().forward.found.mtu == 1500


def test_a_captured_request_is_answered_once_however_often_it_is_sent(net: "Net") -> None:
    key = wire.Key(SECRET)
    captured = key.seal(wire.pack_request(wire.Request(1, 5, 5, 68)), b"\x0a\x09\x01\x01")
    heard: list[bytes] = []
    net.inside("a", lambda: shout(1000, lambda _: captured, heard))
    assert len(heard) == 1
    assert len(heard[0]) == len(captured) == 40
    assert wire.read_answer(heard[0]).number == 5


def test_an_answer_is_never_longer_than_its_request(net: "Net") -> None:
    key, here = wire.Key(SECRET), b"\x0a\x09\x01\x01"
    for size in (68, 500, 1500):
        heard: list[bytes] = []
        body = key.seal(wire.pack_request(wire.Request(1, 6, size, size)), here).ljust(size - 28, b"x")
        net.inside("a", lambda body=body, heard=heard: shout(1, lambda _: body, heard))  # type: ignore[misc]  # bound above
        assert [len(answer) for answer in heard] == [40]


def test_under_a_flood_the_truth_or_that_it_is_overloaded(net: "Net") -> None:
    net.middle(1450)
    net.mute()
    forged = wire.Key(b"not the key of the cluster").seal(wire.pack_request(wire.Request(1, 1, 1, 68)))
    stop = threading.Event()

    def flood() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while not stop.is_set():
                for _ in range(100):
                    sock.sendto(forged, B)

    shouting = threading.Thread(target=lambda: net.inside("a", flood))
    shouting.start()
    try:
        ends = [(found.ending, found.mtu) for found in (net.measure().forward.found for _ in range(5))]
    finally:
        stop.set()
        shouting.join()
    assert all(mtu == 1450 for ending, mtu in ends if ending == "exact"), ends
    assert {ending for ending, _ in ends} <= {"exact", "overloaded", "lossy", "unreachable"}

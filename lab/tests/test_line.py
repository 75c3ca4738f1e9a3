"""A line holds packets for its round trip, keeps their order, and leaves nothing behind."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubemtu_lab import errors
from kubemtu_lab.line import faults, network, scenes, spoofed, stations
from kubemtu_lab.line.network import Line
from kubemtu_lab.line.scene import NEAR, LineScene

pytestmark = pytest.mark.netns
FAMILIES = pytest.mark.parametrize("family", [4, 6])
BURST = 200


@pytest.fixture(autouse=True)
def as_root() -> None:
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
        assert not os.environ.get("CI"), "root and /dev/net/tun must be there in CI"
        pytest.skip("a line needs root and /dev/net/tun")


def spaces(pid: int) -> set[str]:
    return {name.name for name in Path("/run/netns").iterdir() if name.name.startswith(f"kmtest-{pid}-line")}


@pytest.fixture(scope="module")
def far() -> Iterator[Line]:
    """Make a line with a round trip of 10 ms."""
    with Line(rtt=0.01) as line:
        yield line


def udp(line: Line, place: str, family: int) -> socket.socket:
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    made = line.inside(place, lambda: socket.socket(kind, socket.SOCK_DGRAM))
    made.settimeout(60)
    return made


@FAMILIES
def test_a_burst_arrives_whole_and_in_its_order_after_half_a_round_trip(far: Line, family: int) -> None:
    with udp(far, "a", family) as sender, udp(far, "b", family) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        receiver.bind((network.B[family], 9))
        sender.sendto(b"who has", receiver.getsockname()[:2])  # the neighbours' addresses are asked for once
        receiver.recv(2048)
        began = time.monotonic()
        for number in range(BURST):
            sender.sendto(struct.pack("!I1000x", number), receiver.getsockname()[:2])
        heard = [(struct.unpack_from("!I", receiver.recv(2048))[0], time.monotonic() - began) for _ in range(BURST)]
    assert [number for number, _ in heard] == list(range(BURST))
    assert heard[0][1] >= 0.005


@FAMILIES
def test_a_round_trip_takes_its_time_and_a_plain_line_takes_none(far: Line, family: int) -> None:
    command = ("ping", "-c", "3", "-i", "0.05", "-q", network.B[family])
    told = network.run(*far.command("a", *command))
    assert float(told.rsplit(" = ", 1)[1].split("/")[0]) >= 10.0
    with Line() as plain:
        assert " 0% packet loss" in network.run(*plain.command("a", *command))


@FAMILIES
def test_a_middle_with_a_round_trip_refuses_what_is_larger_than_its_mtu(far: Line, family: int) -> None:
    faults.Middle(1400).commit(far)
    try:
        told = subprocess.run(
            far.command("a", "ping", "-M", "do", "-c", "1", "-W", "2", "-s", "1432", network.B[family]),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        faults.Middle(1500).commit(far)
        far.forget()
    assert network.ROUTER[family] in told.stdout
    assert "1400" in told.stdout


def test_nothing_is_left_of_a_line_that_cannot_be_built() -> None:
    class Impossible(faults.Fault, frozen=True):
        def commit(self, line: Line) -> None:
            line.ip("a", "link set dev nothing up")

    broken = LineScene(name="broken", summary="", picture="", faults=(Impossible(),), kinds=(), mtu=0)
    before, open_before = spaces(os.getpid()), set(Path("/proc/self/fd").iterdir())
    for rtt in NEAR:
        with pytest.raises(errors.StartFailed, match="nothing"), contextlib.ExitStack() as stack:
            stack.enter_context(stations.stage(broken, rtt))
    assert (spaces(os.getpid()), set(Path("/proc/self/fd").iterdir())) == (before, open_before)


CHILD = """
import time
from kubemtu_lab.line import scenes, stations
with stations.stage(scenes.ALL["clean"], 10) as line:
    print(*line.spaces.values(), flush=True)
    time.sleep(60)
"""


def until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_everything_ends_with_its_parent_however_that_ends(number: signal.Signals) -> None:
    parent = subprocess.Popen((sys.executable, "-c", CHILD), stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    names = {Path("/run/netns", name) for name in parent.stdout.readline().split()}
    running = children(parent.pid)
    try:
        assert len(names) == 4
        assert len(running) == 3  # relay, station, and what deletes the namespaces
    finally:
        parent.send_signal(number)
        parent.communicate()
    assert until(lambda: not any(name.exists() for name in names))
    assert until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in running))


def test_a_message_that_says_too_big_is_as_the_rfcs_have_it() -> None:
    four, six = spoofed.too_big(4, 600, 4000), spoofed.too_big(6, 1280, 4000)
    assert four[:2] == b"\x03\x04"  # RFC 792: destination unreachable, fragmentation needed
    assert four[6:8] == b"\x02\x58"  # RFC 1191 4: the next-hop MTU, 600
    assert sum(struct.unpack(f"!{len(four) // 2}H", four)) % 0xFFFF == 0  # RFC 1071: with its checksum it sums up to 0
    assert six[:2] == b"\x02\x00"  # RFC 4443 3.2: packet too big
    assert six[4:8] == b"\x00\x00\x05\x00"  # 1280
    assert (len(four), len(six)) == (8 + 20 + 8, 8 + 40 + 8)


def test_every_scene_says_what_it_is_about() -> None:
    for name, scene in scenes.ALL.items():
        assert scene.name == name
        assert scene.summary
        assert scene.picture.startswith("a ")
        assert scene.kinds
        assert scene.rtts[0] == 0

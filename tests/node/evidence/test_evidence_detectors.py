"""The detectors on real paths, all at the same time: each line breaks in its own way, and its sender is read twice.

Linux sends again 0.2, 0.6, 1.4 and 3.0 s after the first time (RFC 6298 5.5; TCP_RTO_MIN in include/net/tcp.h).
"""

import re
import threading
import time
from collections.abc import Mapping

import msgspec
import pytest
from tests.support.tcp_lines import TcpLine, TcpLineMaker

from kubemtu.core.evidence import records, symptoms
from kubemtu_lab.line import faults

pytestmark = pytest.mark.netns
HOLE = (faults.Middle(1450), faults.Muted())
EARLY, LATE, HEALS, SEARCHED, PATIENCE = 0.9, 3.6, 4.5, 7.5, 60.0  # seconds after everything has begun
PAST = 800  # small answers that arrived before


class Seen(msgspec.Struct):
    """The later of two readings of one sender, and what they show."""

    tcp_line: TcpLine
    now: records.Evidence
    lone: tuple[records.Symptom, ...]  # what the later one shows by itself
    found: tuple[records.Symptom, ...]

    def kinds(self) -> set[str]:
        """The kinds of all that both show."""
        return {one.kind for one in self.found}

    def one(self, kind: str) -> records.Symptom:
        """The only symptom of that kind."""
        (symptom,) = (one for one in self.found if one.kind == kind)
        return symptom


class Scenes:
    """All lines, running at the same time."""

    def __init__(self, tcp_lines: TcpLineMaker) -> None:
        """Builds them, lets connections have a past, breaks what breaks later, and begins to send."""
        self.end = threading.Event()
        self.silent = {
            "black hole": tcp_lines(*HOLE),
            "black hole v6": tcp_lines(*HOLE),
            "fresh black hole": tcp_lines(*HOLE),
            "clean": tcp_lines(),
            "outage": tcp_lines(),
            "outage of everything": tcp_lines(),
        }
        for name, tcp_line in self.silent.items():
            tcp_line.pair(6 if name == "black hole v6" else 4)
            if "fresh" not in name:
                tcp_line.pairs[0].answer(100, times=PAST)
            if name not in {"fresh black hole", "outage"}:
                tcp_line.pair(6 if name == "black hole v6" else 4)
        lossy, masked, self.healed = tcp_lines(), tcp_lines(*HOLE, probing=1), tcp_lines(probing=1)
        self.tcp_lines = self.silent | {"loss": lossy, "masked": masked, "healed": self.healed}
        busy = [(lossy.pair(), 5000) for _ in range(10)]
        busy += [(tcp_line.pair(), 200_000) for tcp_line in (masked, masked, masked, self.healed)]
        for tcp_line in (self.silent["outage"], self.silent["outage of everything"], self.healed):
            tcp_line.rule("drop")
        lossy.rule("numgen random mod 100 < 30 drop")
        self.began = time.monotonic()
        self.threads = [pair.busy(size, self.end) for pair, size in busy]
        for tcp_line in self.silent.values():
            tcp_line.pairs[0].push(5000)

    def until(self, moment: float) -> None:
        """Lets the second connections send small answers until so many seconds have passed."""
        while time.monotonic() < self.began + moment:
            for tcp_line in self.silent.values():
                for pair in tcp_line.pairs[1:]:
                    pair.push(100)
            time.sleep(0.1)

    def read(self, *names: str) -> dict[str, records.Evidence]:
        """Reads the senders of some lines, or of all."""
        return {name: self.tcp_lines[name].read() for name in names or self.tcp_lines}

    @staticmethod
    def searched(now: Mapping[str, records.Evidence]) -> bool:
        """Whether the kernel's own searches, and loss, have gone as far as these tests need."""
        found = {name: one.counters for name, one in now.items()}
        searched = found["masked"].tcp_mtup_fail >= 6 and found["healed"].tcp_mtup_success > 0
        return searched and found["loss"].tcp_retrans_segs > 30

    def close(self) -> None:
        """Ends all that sends."""
        self.end.set()
        for tcp_line in self.tcp_lines.values():
            for pair in tcp_line.pairs:
                pair.close()
        for thread in self.threads:
            thread.join()


@pytest.fixture(scope="module")
def seen(tcp_lines: TcpLineMaker) -> Mapping[str, Seen]:
    scenes = Scenes(tcp_lines)
    try:
        scenes.until(EARLY)
        before = scenes.read()
        scenes.until(LATE)
        now = scenes.read()
        scenes.until(HEALS)
        scenes.healed.free()
        scenes.until(SEARCHED)
        while not scenes.searched(now) and time.monotonic() < scenes.began + PATIENCE:
            scenes.until(time.monotonic() - scenes.began + 0.1)
            now |= scenes.read("masked", "healed", "loss")
    finally:
        scenes.close()
    return {
        name: Seen(
            tcp_line,
            now[name],
            symptoms.symptoms(None, now[name]),
            symptoms.symptoms(before[name], now[name]),
        )
        for name, tcp_line in scenes.tcp_lines.items()
    }


@pytest.mark.parametrize("name", ["black hole", "black hole v6"])
def test_a_black_hole_is_proven_without_a_probe(seen: Mapping[str, Seen], name: str) -> None:
    shown = seen[name]
    loss = shown.one("size-selective loss")
    assert (loss.sure, loss.says_mtu) == ("proves", True)
    assert loss.peers == ("fd09:3::1" if name == "black hole v6" else "10.9.3.1",)
    # Sent at 0, 0.2, 0.6, 1.4 and 3.0 s, while the rest of 5000 - 3 x 1448 (IPv6: 1428) came through.
    assert re.search(r"a packet of 1500 bytes was lost all [5-7] times that it was sent, in \d", loss.sentence)
    assert "while 1 shorter one after it arrived" in loss.sentence
    assert loss.where.startswith(f"{'[fd09:1::1]' if name == 'black hole v6' else '10.9.1.1'}:")
    assert shown.kinds() == {"size-selective loss"}


def test_one_reading_suggests(seen: Mapping[str, Seen]) -> None:
    (loss,) = seen["black hole"].lone
    assert (loss.kind, loss.sure, loss.says_mtu) == ("size-selective loss", "suggests", True)


def test_a_connection_without_a_past_suggests(seen: Mapping[str, Seen]) -> None:
    loss = seen["fresh black hole"].one("size-selective loss")
    assert (loss.sure, loss.says_mtu) == ("suggests", True)


def test_what_the_kernel_says_of_the_stalled_connection(seen: Mapping[str, Seen]) -> None:
    shown = seen["black hole"]
    one = shown.tcp_line.pairs[0].seen(shown.now)
    assert (one.sacked, one.lost, one.unacked) == (1, 3, 4)
    assert one.backoff == one.retransmits >= 4
    assert (one.snd_mss, one.pmtu, one.device, one.device_mtu, one.packet) == (1448, 1500, "e0", 1500, 1500)
    assert (one.queued, one.unsent, one.bytes_acked) == (5000, 0, PAST * 100)


def test_nothing_is_said_of_a_clean_path(seen: Mapping[str, Seen]) -> None:
    assert seen["clean"].found == ()
    assert seen["clean"].lone == ()


def test_an_outage_only_suggests(seen: Mapping[str, Seen]) -> None:
    (stall,) = seen["outage"].found
    assert (stall.kind, stall.sure, stall.says_mtu) == ("stalled connections", "suggests", None)
    assert stall.sentence.endswith("an outage, or a path that drops large packets without a word; a probe tells which")


def test_an_outage_that_small_packets_meet_as_well_is_no_mtu(seen: Mapping[str, Seen]) -> None:
    (stall,) = seen["outage of everything"].found
    assert (stall.kind, stall.sure, stall.says_mtu) == ("stalled connections", "suggests", False)
    assert "2 connections (10.9.1.1:" in stall.sentence
    assert stall.sentence.endswith("this is not a matter of size")


def test_loss_of_30_percent_is_no_mtu(seen: Mapping[str, Seen]) -> None:
    assert seen["loss"].now.counters.tcp_retrans_segs > 30
    assert "size-selective loss" not in seen["loss"].kinds()


def test_the_kernels_own_search_proves_a_black_hole(seen: Mapping[str, Seen]) -> None:
    shown = seen["masked"]
    search = shown.one("black hole found by the kernel")
    assert (search.sure, search.says_mtu, search.peers) == ("proves", True, ("10.9.3.1",))
    assert "masked and still there" in search.sentence
    assert shown.one("masked").sure == "suggests"
    assert {one.packet <= 1450 for one in shown.now.connections} == {True}


def test_the_kernels_own_search_after_an_outage_proves_nothing(seen: Mapping[str, Seen]) -> None:
    """It succeeds on a path that carries everything, too, once a connection has been silent for long enough."""
    shown = seen["healed"]
    assert shown.now.counters.tcp_mtup_success > 0
    search = shown.one("black hole found by the kernel")
    assert (search.sure, search.says_mtu) == ("suggests", None)

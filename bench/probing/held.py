"""The figures of a run against what they should be."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from bench.probing.cells import Cell
from bench.probing.crowd import Lost, Round
from bench.probing.ours import COMMAND, RUNNING
from bench.probing.table import RTTS
from kubemtu_lab.line.scene import Rtt

LIKELY: Final[dict[Rtt, float]] = {0: 0.010, 10: 0.035, 100: 0.270}  # seconds; two round trips and two graces
ARBITRARY: Final[dict[Rtt, float]] = {0: 0.015, 10: 0.060, 100: 0.520}  # four of each
TIMES: Final = 100  # as fast as the fastest peer that is right
FRESH: Final = 0.25  # seconds of a whole command
ROUNDS: Final = {1000: 0.030, 5000: 0.120}  # seconds
MEMORY: Final = 25  # MB
PROCESSOR: Final = 10e-6  # seconds for each packet that is sent


class Line(msgspec.Struct, frozen=True):
    """One figure and its target."""

    what: str
    figure: str
    target: str
    held: bool

    def __str__(self) -> str:
        """For the terminal."""
        return f"{'held' if self.held else 'MISSED':8}{self.what:58}{self.figure:>24}   target {self.target}"


def lines(cells: Sequence[Cell], trips: Mapping[tuple[Rtt, int], float]) -> Iterator[Line]:
    """Everything that the cells show; `trips` are the round trips of a small packet, by nominal one and family."""
    for cell in cells:
        if cell.tool != RUNNING:
            continue
        where = f"{cell.scene}, RTT {RTTS[cell.rtt]}, IPv{cell.family}"
        trip = trips.get((cell.rtt, cell.family), cell.rtt / 1000)
        if cell.scene == "clean":
            yield _within(where, cell.median, trip + 0.001)
            yield Line(f"{where}: large packets", f"{cell.large:.2f}", "1", cell.large == 1)
        elif cell.scene == "lower":
            yield _within(where, cell.median, 2 * trip + 0.002)
        elif cell.scene == "black-hole-1450":
            yield _within(where, cell.median, LIKELY[cell.rtt])
        elif cell.scene == "black-hole-1433":
            yield _within(where, cell.median, ARBITRARY[cell.rtt])
    yield from _against_peers(cells)
    fresh = [cell.median for cell in cells if cell.tool == COMMAND and cell.scene == "clean" and cell.rtt == 0]
    if fresh:
        yield _within("clean, RTT 0.1 ms: a whole command", max(fresh), FRESH)
    ours = [cell for cell in cells if cell.tool in {RUNNING, COMMAND}]
    wrong = [f"{cell.scene} {cell.tool}" for cell in ours if cell.right < cell.rounds]
    runs = sum(cell.rounds for cell in ours)
    right = sum(cell.right for cell in ours)
    yield Line("right class and size in every run of every scene", f"{right} of {runs}", "all", not wrong)


def _against_peers(cells: Sequence[Cell]) -> Iterator[Line]:
    for scene in ("black-hole-1450", "black-hole-1433"):
        block = [cell for cell in cells if (cell.scene, cell.rtt, cell.family) == (scene, 0, 4)]
        ours = next((cell for cell in block if cell.tool == RUNNING), None)
        peers = [cell for cell in block if cell.tool not in {RUNNING, COMMAND} and cell.right == cell.rounds]
        if ours is None or not peers:
            continue
        fastest = min(peers, key=lambda cell: cell.median)
        times = fastest.median / ours.median
        what = f"{scene}: faster than the fastest that is right, {fastest.tool}"
        yield Line(what, f"{times:.0f} times", f"{TIMES} times", times >= TIMES)


def crowd(lost: Sequence[Lost], rounds: Sequence[Round]) -> Iterator[Line]:
    """Everything that many measurements at once show."""
    for one in lost:
        what = f"{one.scene}: {one.runs} runs, wrong ones"
        yield Line(what, f"{one.wrong} ({one.others or 'all exact'})", "0", one.wrong == 0)
    for each in rounds:
        what = f"one round of {each.peers} peers"
        middle = sorted(each.seconds)[len(each.seconds) // 2]
        spent = sorted(each.processor)[len(each.processor) // 2] / max(each.packets, 1)
        yield _within(what, middle, ROUNDS[each.peers])
        yield Line(f"{what}, right ones", str(each.right), str(each.peers), each.right == each.peers)
        memory = each.memory * 1024 / 1e6
        yield Line(f"{what}, memory at most", f"{memory:.0f} MB", f"{MEMORY} MB", memory <= MEMORY)
        what += ", processor for each packet"
        yield Line(what, f"{spent * 1e6:.1f} µs", f"{PROCESSOR * 1e6:.0f} µs", spent <= PROCESSOR)


def _within(what: str, figure: float, target: float) -> Line:
    return Line(what, f"{figure * 1000:.1f} ms", f"{target * 1000:.1f} ms", figure <= target)

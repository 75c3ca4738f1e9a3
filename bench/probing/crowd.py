"""Many measurements at once: two thousand with loss both ways, and one node's round of a thousand and of five thousand.

The peers of a round are as many addresses of b, which one station answers for; a and b share this machine's cores.
"""

import json
import subprocess
import sys
from collections import Counter
from typing import Final

import msgspec

from kubemtu.core.path import search
from kubemtu.node.probe import paths
from kubemtu_lab.line import scenes, stations
from kubemtu_lab.line.network import B, Line

RUNS: Final = 2000
AT_ONCE: Final = 20  # more of them in a black hole are more than one responder beside them reads in time
CROWDS: Final = (1000, 5000)
TIMES: Final = 5
ROUND: Final = """
import json, re, sys, time
from pathlib import Path
from kubemtu.node.probe import paths, station, wire
number, times = int(sys.argv[2]), int(sys.argv[3])
addresses = [f"10.10.{place >> 8}.{place & 255}" for place in range(1, number + 1)]
targets = [paths.Target(address=address, source="10.9.1.1", expected=1500) for address in addresses]
rounds = []
with station.Station(wire.Key(bytes.fromhex(sys.argv[1])), answers=False) as asking:
    for _ in range(times):
        began, worked = time.perf_counter(), time.process_time()
        found = asking.measure(targets)
        rounds.append([time.perf_counter() - began, time.process_time() - worked])
        right = sum(path.forward.search.mtu == 1500 and paths.judge(path).ok for path in found)
        packets = sum(path.forward.search.packets for path in found)
print(json.dumps({
    "seconds": [one[0] for one in rounds], "processor": [one[1] for one in rounds], "right": right, "packets": packets,
    "memory": int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]),
}))
"""


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """What became of many measurements on a lossy path: how many were exact, and how many of these were wrong."""

    scene: str
    runs: int
    exact: int
    wrong: int
    others: str


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One node's rounds towards many peers: seconds and seconds of processor for each, memory in KiB at the most."""

    peers: int
    seconds: tuple[float, ...]
    processor: tuple[float, ...]
    right: int  # of the last one
    packets: int  # of the last one, without those that were sent again
    memory: int


def lossy(name: str, runs: int = RUNS) -> Lost:
    """Measure one lossy scene many times, AT_ONCE together."""
    scene = scenes.ALL[name]
    found: list[search.SearchResult] = []
    with stations.stage(scene, 0, rate=1_000_000) as line:
        while len(found) < runs:
            targets = [paths.Target(address=B[4])] * min(AT_ONCE, runs - len(found))
            found += [path.forward.search for path in stations.measure(line, targets)]
    exact = [one for one in found if one.ending == "exact"]
    others = Counter(one.ending for one in found if one.ending != "exact")
    return Lost(
        scene=name,
        runs=runs,
        exact=len(exact),
        wrong=sum(one.mtu != scene.mtu for one in exact),
        others=", ".join(f"{number} {ending}" for ending, number in others.items()),
    )


def rounds(number: int, times: int = TIMES) -> Round:
    """Measure that many peers, some times, in a process of its own."""
    with stations.stage(scenes.ALL["clean"], 0, rate=1_000_000) as line:
        for place, way in (("r1", "via 10.9.2.2"), ("r2", "via 10.9.3.1"), ("b", "dev lo")):
            line.ip(place, f"route add {'local ' if place == 'b' else ''}10.10.0.0/16 {way}")
        words = line.command("a", sys.executable, "-c", ROUND, stations.SECRET.hex(), str(number), str(times))
        told = json.loads(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return msgspec.convert(told | {"peers": number}, Round)


def echo(line: Line, family: int, number: int = 12) -> float:
    """Return the round trip of a small packet on a line, in seconds, on average of some that `ping` sends.

    One at a time, on a line that is idle before, as a measurement meets it: packets that follow each other at once find
    everything awake, and are up to a millisecond faster.
    """
    words = ("ping", "-n", "-q", "-c", str(number), "-i", "0.25", "-s", "16", B[family])
    told = subprocess.run(line.command("a", *words), capture_output=True, text=True, check=True).stdout
    return float(told.rsplit(" = ", 1)[1].split("/")[1]) / 1000

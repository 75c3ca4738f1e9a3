"""Stations at the two ends of a line: one that answers at b, in a process of its own, and one that measures at a."""

import contextlib
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from kubemtu.core import pathverdict
from kubemtu.lab import errors
from kubemtu.lab.line.network import Line
from kubemtu.lab.line.scene import Family, Rtt, Scene
from kubemtu.node.probe import channel, paths, station, wire

SECRET: Final = b"a secret that all stations of the cluster share"
PATIENCE: Final = 20  # seconds for a program to start on a busy machine
READY: Final = "ready\n"
RESPONDER: Final = """
import sys
from kubemtu.node.probe import station, wire
with station.Station(wire.Key(bytes.fromhex(sys.argv[1])), port=7843) as serving:
    print("ready", flush=True)
    serving.serve(lambda: True)
"""


@contextlib.contextmanager
def stage(scene: Scene, rtt: Rtt) -> Iterator[Line]:
    """A line like that of the scene, with a station at its far end. Raises what `Line` does, and StartFailed."""
    with Line(rtt=rtt / 1000) as line:
        far = serve(line)  # it starts while the line becomes what it should be
        scene.commit(line)
        wait(far)
        yield line


def serve(line: Line, secret: bytes = SECRET, place: str = "b") -> subprocess.Popen[str]:
    """Start a station, at b mostly; `wait` until it listens. It ends with the line."""
    words = line.command(place, sys.executable, "-c", RESPONDER, secret.hex())
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    line.processes.append(process)
    return process


def wait(process: subprocess.Popen[str]) -> None:
    """Wait until a station listens. Raises StartFailed when it does not."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], PATIENCE)[0] or process.stdout.readline() != READY:
        raise errors.StartFailed("the station at the far end of the line did not start")


def measure(
    line: Line,
    targets: Sequence[paths.Target],
    *,
    secret: bytes = SECRET,
    over: type[channel.Channel] = channel.Channel,
) -> list[paths.Path]:
    """Measure from a, all targets with one station."""

    def work() -> list[paths.Path]:
        with station.Station(wire.Key(secret), over=over) as asking:
            return asking.measure(targets)

    return line.inside("a", work)


def judge(line: Line, scene: Scene, family: Family) -> tuple[pathverdict.Verdict, list[paths.Path]]:
    """Measure a scene from a as it wants to be measured, and judge; the paths are those of its flows."""
    target = paths.Target(address=scene.address[family], port=scene.port, back=scene.back is not None)
    if scene.flows == 1:
        (path,) = measure(line, [target])
        return paths.judge(path), [path]

    def work() -> list[paths.Path]:
        return flows(target, scene.flows)

    seen = line.inside("a", work)
    return pathverdict.judge_flows([paths.direction(path.forward) for path in seen]), seen


def flows(target: paths.Target, number: int, secret: bytes = SECRET) -> list[paths.Path]:
    """Measure one target by several flows from the calling thread's namespace; a flow is its port, thus a station."""
    found: list[paths.Path] = []
    for _ in range(number):
        known = tuple(dict.fromkeys(path.forward.found.mtu for path in found if path.forward.found.mtu))
        with station.Station(wire.Key(secret)) as asking:
            found += asking.measure([msgspec.structs.replace(target, also=known)])
    return found

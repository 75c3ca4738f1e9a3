"""Stations at the two ends of a line: one that answers at b, in a process of its own, and one that measures at a."""

import contextlib
import functools
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from kubemtu.core.probe import request
from kubemtu.node.kernel import netns
from kubemtu.node.probe import admission, channel, measuring, namespaces, paths, station, wire
from kubemtu_lab import errors
from kubemtu_lab.line.network import Line
from kubemtu_lab.line.scene import Family, LineScene, Rtt

SECRET: Final = b"a secret that all stations of the cluster share"
PATIENCE: Final = 60  # seconds for a program to start on a busy machine
READY: Final = "ready\n"
RESPONDER: Final = """
import os, sys
from kubemtu.node.probe import station, wire
parent = os.getppid()
with station.Station(wire.Key(bytes.fromhex(sys.argv[1])), port=7843, rate=int(sys.argv[2])) as serving:
    serving.listen(7843)
    print("ready", flush=True)
    serving.serve(lambda: os.getppid() == parent)
"""


@contextlib.contextmanager
def stage(scene: LineScene, rtt: Rtt, *, rate: int = admission.RATE) -> Iterator[Line]:
    """Return a line like that of the scene, with a station at its far end that answers up to `rate` requests a second.

    Raises what `Line` does, and StartFailed.
    """
    with Line(rtt=rtt / 1000, meanwhile=functools.partial(serve, rate=rate)) as line:
        scene.commit(line)
        wait(line.processes[0])
        yield line


def serve(line: Line, secret: bytes = SECRET, *, rate: int = admission.RATE) -> subprocess.Popen[str]:
    """Start a station at b; `wait` until it listens. It ends with the line."""
    words = line.command("b", sys.executable, "-c", RESPONDER, secret.hex(), str(rate))
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


def judge(line: Line, scene: LineScene, family: Family, *, deep: bool = True) -> request.PathResult:
    """Measure a scene from a as a bare host does, and judge; `deep`: also what TCP believes, and what tunnels cut."""
    way = request.PathRequest(
        name=scene.name,
        source=request.Namespace(node=""),
        address=scene.address[family],
        port=scene.port,
        both_ways=scene.back is not None,
        flows=scene.flows,
        icmp_fallback=False,
        detailed=deep,
    )
    work = measuring.Measuring("", namespaces.PodNamespaces(netns.Roots()), wire.Key(SECRET))
    (result,) = line.inside("a", lambda: work.measure([way]))
    return result

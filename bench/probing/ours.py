"""kubemtu in the scenes: inside a running process, as an agent measures, and as the command that people run."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from bench.probing import cells
from bench.probing.cells import Cell, Where
from bench.probing.peers import NONE, Answer
from kubemtu.node.probe import paths, station, wire
from kubemtu_lab.line import stations
from kubemtu_lab.line.scene import LineScene

RUNNING: Final = "kubemtu, running"
COMMAND: Final = "kubemtu, as a command"


def running(where: Where, rounds: int) -> Cell:
    """Measure some times: with one open station, or, where flows or TCP must be looked at, as an agent does then."""
    scene = where.scene
    if scene.flows > 1 or scene.deep:
        return cells.measure(where, RUNNING, lambda: _agent(where), rounds)
    target = paths.Target(address=scene.address[where.family], port=scene.port, both_ways="asymmetric" in scene.kinds)

    def work() -> Cell:
        with station.Station(wire.Key(stations.SECRET)) as asking:
            asking.measure([msgspec.structs.replace(target, both_ways=False)])  # neighbours are known from here on

            def once() -> Answer:
                verdict = paths.judge(asking.measure([target])[0])
                return _said(verdict.kind, verdict.mtu, scene)

            return cells.measure(where, RUNNING, once, rounds)

    return where.line.inside("a", work)


def _agent(where: Where) -> Answer:
    verdict = stations.judge(where.line, where.scene, where.family, deep=where.scene.deep).verdict
    return _said(verdict.kind, verdict.mtu, where.scene)


def command(where: Where, rounds: int) -> Cell:
    """Run `kubemtu node probe` some times."""
    scene = where.scene
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder, "key")
        key.write_bytes(stations.SECRET)
        options = ["--port", str(scene.port), "--key-file", str(key), "--flows", str(scene.flows), "-o", "json"]
        if "asymmetric" not in scene.kinds:
            options.append("--one-way")
        program = (sys.executable, "-m", "kubemtu", "node", "probe", scene.address[where.family])
        words = where.line.command("a", *program, *options)

        def once() -> Answer:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            try:
                told = json.loads(done.stdout)
            except ValueError:
                return NONE
            return _said(told["kind"], told["mtu"], scene)

        return cells.measure(where, COMMAND, once, rounds)


def _said(kind: str, mtu: int, scene: LineScene) -> Answer:
    """Return an answer of ours, of which the class counts as well as the size."""
    return Answer(f"{mtu} {kind}", mtu, right=mtu == scene.told and kind in scene.kinds)

"""A change that is killed after any line is finished by the next `apply`, or taken back by `rollback`: exactly.

Every line of output is a step; lines that come at one instant are one. After each the process is killed with SIGKILL,
sometimes at once and sometimes while what follows is under way; then everything that a change touches must be as after
a change that nobody disturbed, or as before it, byte for byte. Two labs are killed in side by side, each by a process
of its own. The two ways on take turns: after a line where a decrease is finished an increase is taken back, and the
other way round.
"""

import json
import os
import signal
import traceback
from collections.abc import Callable, Iterator

import pytest
from tests.support.change.cluster import Cluster, Picture, cluster
from tests.support.change.command import steps

from kubemtu_lab import scene as scenes
from kubemtu_lab.scenes import named

pytestmark = [pytest.mark.lab, pytest.mark.netns, pytest.mark.timeout(1800)]  # a hang, not a slow machine
SCENES = {"decrease": "canal-1500", "increase": "canal-jumbo"}


class Case:
    """One lab, what it looked like at first, and after a change that nobody disturbed."""

    def __init__(self, found: Cluster, turn: int) -> None:
        self.cluster = found
        self.turn = turn  # 0 or 1: of which lines it is finished
        self.before = found.picture()
        applied = found.start("apply", "--yes")
        assert applied.wait().code == 0, applied.lines
        self.after = found.picture()
        assert self.after.kernel != self.before.kernel
        assert self.after.config != self.before.config
        back = found.start("rollback", "--yes")
        assert back.wait().code == 0, back.lines
        self.is_at(self.before, "apply, then rollback")
        self.shown = next(place for place, line in enumerate(applied.lines) if "have written down" in line)
        self.steps, self.back_steps = steps(applied, self.shown), steps(back, 1)

    def is_at(self, picture: Picture, what: str) -> None:
        """Everything is as in that picture."""
        difference = picture.differs(self.cluster.picture())
        assert difference == "", f"{what}: {difference}"

    def then_applied_then_taken_back_with_kills_too(self) -> None:
        """Apply, killed at its lines in turn, then apply; rollback, killed at its lines, then rollback."""
        for place in range(self.turn, max(len(self.steps), len(self.back_steps)), 2):
            line, later = self.steps[place % len(self.steps)]
            self.cluster.killed("apply", "--yes", line=line, later=later)
            self.cluster.done("apply", "--yes")
            self.is_at(self.after, f"apply, killed {later} s after line {line}, then apply")
            back_line, back_later = self.back_steps[place % len(self.back_steps)]
            self.cluster.killed("rollback", "--yes", line=back_line, later=back_later)
            ended = self.cluster.run("rollback", "--yes")
            assert ended.code == 0 or "was taken back already" in ended.err, ended.err
            self.is_at(self.before, f"rollback, killed {back_later} s after line {back_line}, then rollback")
            self.cluster.forget_migrations()

    def then_taken_back(self) -> None:
        """Apply, killed at the other lines, then rollback."""
        for line, later in self.steps[1 - self.turn :: 2]:
            self.cluster.killed("apply", "--yes", line=line, later=later)
            ended = self.cluster.run("rollback", "--yes")
            begun = line > self.shown or ended.code == 0
            nothing = ("there is nothing to roll back", "no change is recorded any more")  # journals of forgotten ones
            assert ended.code == 0 if begun else any(said in ended.err for said in nothing), ended.err
            self.is_at(self.before, f"apply, killed {later} s after line {line}, then rollback")
            self.cluster.forget_migrations()

    def many_times_in_one_change(self) -> None:
        """Apply, killed again and again a little later, until it gets through."""
        for tenths in range(1, 13):
            self.cluster.killed("apply", "--yes", line=1, later=tenths / 20)
        self.cluster.done("apply", "--yes")
        self.is_at(self.after, "apply, killed many times")
        self.cluster.done("rollback", "--yes")
        self.is_at(self.before, "rollback")


WAYS: dict[str, Callable[[Case], None]] = {
    "then applied, then taken back with kills too": Case.then_applied_then_taken_back_with_kills_too,
    "then taken back": Case.then_taken_back,
    "many times in one change": Case.many_times_in_one_change,
}


@pytest.fixture(scope="module")
def outcomes(can_make_labs: None) -> Iterator[dict[str, dict[str, str]]]:
    """What came of every way to kill, for both scenes: nothing, or the sentence of what went wrong."""
    running = {}
    for scene in SCENES:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            with os.fdopen(write, "w") as told:
                json.dump(_all_ways(scene), told)
            os._exit(0)
        os.close(write)
        running[scene] = (pid, read)
    try:
        found = {}
        for scene, (_pid, read) in running.items():
            with os.fdopen(read) as told:
                found[scene] = json.loads(told.read() or '{"": "the process that kills has died"}')
        yield found
    finally:
        for pid, _read in running.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _all_ways(scene: str) -> dict[str, str]:
    """Two nodes with a pod each show everything that a barrier can get wrong."""
    found = {}
    try:
        with cluster(scenes.resized(named(SCENES[scene]), nodes=2, pods=1), f"kill-{scene}") as lab:
            case = Case(lab, list(SCENES).index(scene))
            for way, work in WAYS.items():
                try:
                    work(case)
                    found[way] = ""
                except AssertionError as wrong:
                    found[way] = str(wrong)
                    break
    except BaseException:
        found[""] = traceback.format_exc()
    return found


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("way", WAYS)
def test_killed_at_every_line(outcomes: dict[str, dict[str, str]], scene: str, way: str) -> None:
    assert outcomes[scene].get(way, outcomes[scene].get("", "not reached")) == ""

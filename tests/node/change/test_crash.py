"""kill -9 anywhere: the next process carries on, or takes everything back, from the journal alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from kubemtu.core.change import migration

if TYPE_CHECKING:
    from tests.support.rigs import Rig, RigMaker

pytestmark = pytest.mark.netns

# Runs phases in the namespace that it is started in, and is killed when it has exchanged so many messages.
DYING = """
import os, pathlib, signal, sys
import msgspec
from kubemtu.core.change import migration
from kubemtu.node.change import engine, journal
from kubemtu.node.kernel import netlink

left, directory, phases = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3].split(",")
desired = msgspec.json.decode(sys.argv[4].encode(), type=migration.Desired)
exchange = netlink.Socket.exchange

def counted(self, requests):
    global left
    if any(kind in (netlink.RTM_SETLINK, netlink.RTM_NEWROUTE) for kind, _flags, _body in requests):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return exchange(self, requests)

netlink.Socket.exchange = counted
known = journal.Journal.open("m1", directory)
with engine.Engine(known) as node:
    for phase in phases:
        node.make_true(msgspec.structs.replace(desired, phase=migration.Phase(phase)))
os.kill(os.getpid(), signal.SIGKILL)
"""


def die(rig: Rig, directory: Path, *, after: int, target: int, phases: tuple[migration.Phase, ...]) -> None:
    """A process that does those phases and is killed after so many writes, or at the end."""
    desired = msgspec.json.encode(rig.desired(migration.Phase.RECORD, target)).decode()
    arguments = (str(after), str(directory), ",".join(phases), desired)
    command = ("ip", "netns", "exec", rig.node, sys.executable, "-I", "-c", DYING, *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr


@pytest.mark.parametrize("restore", [False, True])
@pytest.mark.parametrize(("old", "new"), [(1500, 1450), (1450, 1500)])
def test_killed_after_every_phase(rigs: RigMaker, journals: Path, old: int, new: int, restore: bool) -> None:
    rig = rigs(2, mtu=old)
    before = rig.routes()
    for place in range(1, len(migration.ORDER) + 1):
        die(rig, journals, after=10_000, target=new, phases=migration.ORDER[:place])
        rest = migration.ORDER[1:] if restore else migration.ORDER[place - 1 :]
        rig.walk(new, journals, phases=rest, restore=restore)
        end = old if restore else new
        assert rig.mtus() == {(end, end)}
        assert rig.routes() == before
        rig.walk(new, journals, phases=migration.ORDER[1:], restore=True)


@pytest.mark.parametrize("bridged", [False, True])
@pytest.mark.parametrize("writes", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14])
def test_killed_in_the_middle(rigs: RigMaker, journals: Path, writes: int, bridged: bool) -> None:
    rig = rigs(2, bridged=bridged)
    before = rig.routes()
    die(rig, journals, after=writes, target=1450, phases=migration.ORDER)
    if writes % 2:
        rig.walk(1450, journals, phases=migration.ORDER[1:])
        assert rig.mtus() == {(1450, 1450)}
    else:
        rig.walk(1450, journals, phases=migration.ORDER[1:], restore=True)
        assert rig.mtus() == {(1500, 1500)}
    assert rig.routes() == before

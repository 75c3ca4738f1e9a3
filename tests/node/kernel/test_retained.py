"""What an agent remembers follows the pods that there are, and not those that there ever were.

An agent lives for months and meets thousands of pods: here some come and go, and what is kept is counted.
"""

from __future__ import annotations

import functools
import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubemtu.agent import kernel
from kubemtu.core.change.migration import Phase
from kubemtu.node.change import engine as change_engine
from kubemtu.node.kernel import netns, remembered

if TYPE_CHECKING:
    from tests.support.rigs import Rig, RigMaker

pytestmark = pytest.mark.netns

STANDING = 2
MANY = 10
NODE_SEEN, NODE_CHANGED = 128, 128  # messages that are kept of the node itself
POD_SEEN, POD_CHANGED = 3, 24  # of each pod that is there


def come_and_go(rig: Rig, numbers: range, meanwhile: Callable[[], object]) -> None:
    """Pods of these numbers, one after the other, each seen and gone; the kernel ends the link of a pod later."""
    for number in numbers:
        pod = rig.add_pod(number)
        meanwhile()
        rig.remove_pod(pod)
        meanwhile()


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 90
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def hands(rigs: RigMaker, tmp_path: Path) -> Iterator[tuple[Rig, kernel.NodeKernel]]:
    rig = rigs(STANDING)
    remembered.forget()
    made = rig.inside(lambda: kernel.NodeKernel("n1", tmp_path, netns.Roots(), kernel.PodNetwork(ports=rig.rule)))
    try:
        yield rig, made
    finally:
        made.close()


def test_looking_at_pods_that_come_and_go_keeps_nothing_of_them(hands: tuple[Rig, kernel.NodeKernel]) -> None:
    rig, mine = hands
    look = functools.partial(rig.inside, lambda: mine.look(("192.168.77.2",)))
    come_and_go(rig, range(100, 102), look)
    grown = []
    for first in (102, 102 + MANY):  # of two, since what ran before in this process may still be ending
        gc.collect()
        objects = len(gc.get_objects())
        come_and_go(rig, range(first, first + MANY), look)
        gc.collect()
        grown.append(len(gc.get_objects()) - objects)
    assert len(look().ports) == STANDING
    assert remembered.entries() <= NODE_SEEN + POD_SEEN * STANDING
    assert min(grown) < 20 * MANY  # a pod has some hundred


def test_a_change_that_stands_for_long_keeps_nothing_of_pods_that_are_gone(
    hands: tuple[Rig, kernel.NodeKernel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_engine, "_GONE_MOST", 4)
    rig, mine = hands
    pin = rig.desired(Phase.PIN_PODS, 1450)
    pinned = functools.partial(rig.inside, lambda: mine.make_true(pin))
    assert pinned().done
    before = rig.routes()
    come_and_go(rig, range(100, 100 + MANY), pinned)
    engine = mine._engine
    assert engine is not None
    # The kernel ends namespaces when it has the time, and their links with them.

    def only_the_standing() -> bool:
        mine.sweep()
        return pinned().pods == STANDING and len(engine.known.ports) <= STANDING + 4

    until(only_the_standing)
    assert len(engine.known.originals) <= STANDING + 4 + 1  # the node's own
    assert len(engine.state.pods) == STANDING
    assert remembered.entries() <= NODE_CHANGED + POD_CHANGED * STANDING
    # The journal on the disk keeps all, and those that are there are taken back as they were.
    assert (tmp_path / "m1.jsonl").read_text().count('"entry":"port"') == STANDING + MANY
    until(lambda: rig.routes() == before)
    back = rig.inside(lambda: mine.make_true(rig.desired(Phase.PIN_PORTS, 1450, restore=True)))
    assert back.failures == ()
    mine.close()
    rig.walk(1450, tmp_path, phases=(Phase.SETTLE,), restore=True)
    assert rig.mtus() == {(1500, 1500)}
    assert "lock" not in "".join(rig.routes().values())

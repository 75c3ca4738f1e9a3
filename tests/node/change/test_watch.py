"""The listener: what changes between two phases is corrected."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.rigs import ip

from kubemtu.core.change import migration
from kubemtu.core.change.migration import Phase
from kubemtu.node.change import engine as change_engine
from kubemtu.node.change import journal, watch
from kubemtu.node.kernel import netlink

if TYPE_CHECKING:
    from tests.support.rigs import Rig, RigMaker

pytestmark = pytest.mark.netns


@contextmanager
def watching(rig: Rig, directory: Path, phase: Phase, target: int = 1450) -> Iterator[watch.Watch]:
    """A watch on a node that has come as far as that phase."""
    rig.walk(target, directory, phases=migration.ORDER[: migration.ORDER.index(phase) + 1])
    known = journal.Journal.open("m1", directory)

    def start() -> watch.Watch:
        engine = change_engine.Engine(known)
        watched = watch.Watch(engine, rig.desired(phase, target))
        engine.make_true(watched.desired)
        return watched

    watched = rig.inside(start)
    try:
        yield watched
    finally:
        watched.close()
        watched.engine.close()
        known.close()


def until(watched: watch.Watch, true: Callable[[], bool]) -> list[migration.Applied]:
    """Drains as an event loop would, until something holds."""
    reached = []
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        if select.select([watched], [], [], 0.05)[0] and (one := watched.drain()) is not None:
            reached.append(one)
    return reached


def test_a_pod_created_meanwhile_gets_both_ends_and_its_pins(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1)
    with watching(rig, journals, Phase.DEVICES) as watched:
        late = rig.add_pod(2, mtu=1500)
        reached = until(watched, lambda: rig.mtus() == {(1450, 1450)} and "lock 1450" in ip(late, "route"))
        assert reached[-1].failures == ()
        assert "10.42.1.11 dev cali2 scope link mtu lock 1450" in ip(rig.node, "route")
    rig.walk(1450, journals, phases=migration.ORDER[5:])
    assert "lock" not in ip(late, "route")
    assert "lock" not in ip(rig.node, "route")


@pytest.mark.parametrize("end", ["host", "pod"])
def test_an_end_that_somebody_sets_is_set_back_every_time(rigs: RigMaker, journals: Path, end: str) -> None:
    rig = rigs(2)
    with watching(rig, journals, Phase.SETTLE) as watched:
        where = (rig.node, "cali1") if end == "host" else (rig.pods[0], "eth0")
        for _time in range(3):
            ip(where[0], "link", "set", where[1], "mtu", "1500")
            until(watched, lambda: rig.mtus() == {(1450, 1450)})


def test_routes_that_the_cni_writes_again_are_pinned_again(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1)
    with watching(rig, journals, Phase.PIN_PORTS) as watched:
        ip(rig.node, "route", "replace", "10.42.1.10", "dev", "cali1", "scope", "link")
        until(watched, lambda: "cali1 scope link mtu lock 1450" in ip(rig.node, "route"))
        ip(rig.pods[0], "route", "replace", "default", "via", "169.254.1.1", "dev", "eth0")
        until(watched, lambda: "default via 169.254.1.1 dev eth0 mtu lock 1450" in ip(rig.pods[0], "route"))


def test_its_own_changes_do_not_keep_it_busy(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(3)
    with watching(rig, journals, Phase.RECORD) as watched:
        for phase in migration.ORDER[1:]:
            watched.desired = rig.desired(phase, 1450)
            watched.engine.make_true(watched.desired)
            time.sleep(0.02)
            assert watched.drain() is None
            assert watched.drain() is None


def test_what_is_none_of_its_business_is_left_alone(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1)
    with watching(rig, journals, Phase.SETTLE) as watched:
        ip(rig.node, "link", "set", "eth0", "mtu", "1490")
        ip(rig.node, "link", "add", "other0", "mtu", "1400", "type", "veth", "peer", "name", "other1")
        ip(rig.node, "route", "add", "198.51.100.0/24", "via", "192.168.77.9")
        time.sleep(0.05)
        while (reached := watched.drain()) is not None:
            assert reached.settings_changed == 0
        assert rig.mtu_of(rig.node, "eth0") == 1490
        assert rig.mtu_of(rig.node, "other0") == 1400


def test_dropped_events_lead_to_a_full_pass(rigs: RigMaker, journals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink.Monitor.__init__, "__defaults__", (2048,))
    rig = rigs(2)
    with watching(rig, journals, Phase.SETTLE) as watched:
        for mtu in (1500, 1490, 1480, 1470, 1460, 1440, 1430, 1420):
            for number in (1, 2):
                ip(rig.node, "link", "set", f"cali{number}", "mtu", str(mtu))
        reached = watched.drain()
        assert reached is not None
        assert reached.pods == 2
        assert rig.mtus() == {(1450, 1450)}


def test_a_deleted_pod_is_let_go(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(2)
    with watching(rig, journals, Phase.SETTLE) as watched:
        rig.remove_pod(rig.pods[-1])  # only the name: our socket still holds the namespace, and with it the veth
        assert "cali2" in ip(rig.node, "link")
        watched.sweep()
        deadline = time.monotonic() + 60
        while "cali2" in ip(rig.node, "link") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert "cali2" not in ip(rig.node, "link")
        watched.drain()
        assert rig.mtus() == {(1450, 1450)}


def test_corrected_with_milliseconds_of_work(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(20)
    with watching(rig, journals, Phase.SETTLE) as watched:
        works = []
        for _time in range(10):
            ip(rig.node, "link", "set", "cali7", "mtu", "1500")
            started = time.thread_time()  # work, not time: what a busy machine makes of it is not ours
            reached = watched.drain()
            works.append(time.thread_time() - started)
            assert reached is not None
            assert reached.settings_changed == 1
        assert min(works) < 0.02

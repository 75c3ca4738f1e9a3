"""A journal that is gone: pins are known for pins by their lock alone, and nothing of ours is taken for an original."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.support.rigs import run

from kubemtu.core.change import migration
from kubemtu.core.change.migration import Phase
from kubemtu.node.change import journal

if TYPE_CHECKING:
    from tests.support.rigs import Rig, RigMaker

pytestmark = pytest.mark.netns
PINNED = "10.43.0.1"


def desired(
    rig: Rig, phase: Phase, target: int, *, restore: bool = False, tunnel: int | None = 1450
) -> migration.Desired:
    made = rig.desired(phase, target, restore=restore)
    hosts = {"host_mtu": 1404, "host_addresses": (PINNED,)}
    return msgspec.structs.replace(made, origin_tunnel_mtu=tunnel, **hosts)


def go(rig: Rig, journals: Path, target: int, last: Phase) -> None:
    """Forward from the beginning to a phase."""
    for phase in migration.span(Phase.RECORD, last):
        assert rig.make_true(desired(rig, phase, target), journals).done


def back(rig: Rig, journals: Path, target: int, last: Phase, **changes: int | None) -> migration.Applied:
    """Back from there, by processes that know nothing but the journal."""
    reached = None
    for phase in migration.span(migration.UNDO_FROM[last], Phase.SETTLE):
        reached = rig.make_true(msgspec.structs.replace(desired(rig, phase, target, restore=True), **changes), journals)
        assert (reached.done, reached.failures) == (True, ())
    assert reached is not None
    return reached


def lose(journals: Path) -> None:
    (journals / "m1.jsonl").unlink()


def sysctls(rig: Rig) -> dict[str, str]:
    """The IPv6 MTU of every pod and of every device of the node."""
    text = "for one in /proc/sys/net/ipv6/conf/*/mtu; do echo $one $(cat $one); done"
    return {space: run("ip", "netns", "exec", space, "sh", "-c", text) for space in (rig.node, *rig.pods)}


def seen(rig: Rig) -> tuple[object, ...]:
    """All that a change may touch."""
    devices = {link["ifname"]: link["mtu"] for link in json.loads(run("ip", "-n", rig.node, "-j", "link", "show"))}
    return rig.routes(), sysctls(rig), devices, rig.mtus()


@pytest.mark.parametrize("bridged", [False, True])
@pytest.mark.parametrize(("old", "new"), [(1450, 1400), (1400, 1450)])
def test_whatever_it_has_come_to_the_way_back_leaves_nothing_of_ours(
    rigs: RigMaker, journals: Path, old: int, new: int, bridged: bool
) -> None:
    rig = rigs(2, mtu=old, bridged=bridged)
    before = seen(rig)
    for last in migration.ORDER[1:]:
        go(rig, journals, new, last)
        lose(journals)
        reached = back(rig, journals, new, last)
        assert seen(rig) == before, last
        assert (reached.pods, reached.pods_restored, reached.not_restored) == (
            2,
            0,
            (),
        )  # of neither was anything recorded
        lose(journals)
    go(rig, journals, new, Phase.SETTLE)
    assert back(rig, journals, new, Phase.SETTLE).pods_restored == 2


def test_going_on_takes_the_pins_off(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(2, mtu=1450)
    go(rig, journals, 1400, Phase.PIN_PORTS)
    lose(journals)
    for phase in migration.span(Phase.PIN_PORTS, Phase.SETTLE):
        assert rig.make_true(desired(rig, phase, 1400), journals).done
    found = "\n".join(rig.routes().values())
    assert found.count("mtu lock") == 1
    assert f"{PINNED} via 192.168.77.254 dev eth0 proto 109 src 192.168.77.1 mtu lock 1404" in found  # meant to stay
    assert rig.mtus() == {(1400, 1400)}
    back(rig, journals, 1400, Phase.SETTLE)
    assert not any("mtu lock" in text for text in rig.routes().values())
    assert rig.mtus() == {(1450, 1450)}


@pytest.mark.parametrize(("first", "then"), [(1350, 1400), (1400, 1350)])
def test_pins_of_an_earlier_size_are_no_originals_either(rigs: RigMaker, journals: Path, first: int, then: int) -> None:
    """A relief that was given another size, as `kubemtu relieve --mtu` does; with the journal, and without."""
    rig = rigs(1, mtu=1450)
    before = seen(rig)
    for lost in (False, True):
        go(rig, journals, first, Phase.PIN_PORTS)
        if lost:
            lose(journals)
        for phase in migration.span(Phase.PIN_PODS, Phase.PIN_PORTS):
            assert rig.make_true(desired(rig, phase, then), journals).done
        back(rig, journals, then, Phase.PIN_PORTS)
        assert seen(rig) == before, lost
        lose(journals)


def test_a_tunnel_of_which_nothing_tells_what_it_had_stays_and_is_said_to(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1, mtu=1450)
    go(rig, journals, 1400, Phase.SETTLE)
    lose(journals)
    reached = back(rig, journals, 1400, Phase.SETTLE, origin_tunnel_mtu=None)
    assert rig.mtu_of(rig.node, "flannel.1") == 1400
    (said,) = reached.not_restored
    assert said == (
        "flannel.1 keeps 1400: the node's journal of this change is gone, and nothing else tells what it had; the CNI "
        "gives it its own when it makes it anew"
    )
    assert rig.mtus() == {(1450, 1450)}


def test_a_node_that_joined_keeps_what_it_had(rigs: RigMaker, journals: Path) -> None:
    """Its journal begins as late, with the originals there to see, a small route of the CNI's among them."""
    rig = rigs(1, mtu=1450)
    rig.ip_batch(rig.pods[0], ["route add 10.9.0.0/16 via 169.254.1.1 dev eth0 mtu 1300"])
    before = seen(rig)
    for phase in migration.span(Phase.PIN_PORTS, Phase.SETTLE):
        assert rig.make_true(desired(rig, phase, 1400), journals).done
    written = journal.Journal.open("m1", journals)
    assert written.late
    written.close()
    back(rig, journals, 1400, Phase.SETTLE)
    assert seen(rig) == before

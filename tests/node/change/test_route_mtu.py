"""A CNI that leaves its pods' devices at 1500 and limits by route what they send: only routes are touched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.support.rigs import ip

from kubemtu.core.change import migration
from kubemtu.core.change.migration import Phase

if TYPE_CHECKING:
    from tests.support.rigs import Rig, RigMaker

pytestmark = pytest.mark.netns


def limited(rig: Rig, pod: str, mtu: int) -> None:
    """Give a pod's way to others an MTU, as such a CNI does; the way to its own gateway keeps the device's."""
    ip(pod, "route", "change", "default", "via", "169.254.1.1", "dev", "eth0", "mtu", str(mtu))
    ip(pod, "-6", "route", "change", "default", "via", "fe80::ecee:eeff:feee:eeee", "dev", "eth0", "mtu", str(mtu))


def asked(rig: Rig, phase: Phase, old: int, new: int, *, restore: bool = False) -> migration.Desired:
    return msgspec.structs.replace(
        rig.desired(phase, new, restore=restore),
        pin_mtu=min(old, new),
        highest_mtu=max(old, new),
        origin_mtu=old,
        device_mtu=1500,
        origin_device_mtu=1500,
        tunnel_mtu=None,
    )


def walk(rig: Rig, journals: Path, old: int, new: int, *phases: Phase, restore: bool = False) -> None:
    for phase in phases:
        applied = rig.make_true(asked(rig, phase, old, new, restore=restore), journals)
        assert applied.failures == ()
        assert applied.done
        assert rig.mtus() == {(1500, 1500)}
        if migration.TABLE[phase].ports:
            assert applied.largest_sent == min(old, new)


@pytest.mark.parametrize(("old", "new"), [(1450, 1400), (1400, 1450)])
def test_the_routes_change_and_the_devices_stay(rigs: RigMaker, journals: Path, old: int, new: int) -> None:
    rig = rigs(2)
    for pod in rig.pods:
        limited(rig, pod, old)
    before = rig.routes()
    walk(rig, journals, old, new, *migration.ORDER)
    for pod in rig.pods:
        assert f"default via 169.254.1.1 dev eth0 mtu {new} \n" in ip(pod, "route")
        assert "169.254.1.1 dev eth0 scope link \n" in ip(pod, "route")
        assert f" mtu {new} " in ip(pod, "-6", "route", "show", "default")
    walk(rig, journals, old, new, *migration.ORDER[1:], restore=True)
    assert rig.routes() == before


@pytest.mark.parametrize("last", range(len(migration.ORDER)))
def test_an_undo_from_any_phase_gives_each_route_back(rigs: RigMaker, journals: Path, last: int) -> None:
    rig = rigs(1)
    limited(rig, rig.pods[0], 1450)
    before = rig.routes()
    walk(rig, journals, 1450, 1400, *migration.ORDER[: last + 1])
    walk(rig, journals, 1450, 1400, *migration.ORDER[1:], restore=True)
    assert rig.routes() == before


def test_a_pod_that_is_born_meanwhile_follows_and_goes_back(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1)
    limited(rig, rig.pods[0], 1450)
    walk(rig, journals, 1450, 1400, *migration.ORDER[:5])
    later = rig.add_pod(2)
    limited(rig, later, 1450)
    walk(rig, journals, 1450, 1400, *migration.ORDER[4:])
    assert "default via 169.254.1.1 dev eth0 mtu 1400 \n" in ip(later, "route")
    walk(rig, journals, 1450, 1400, *migration.ORDER[1:], restore=True)
    assert "default via 169.254.1.1 dev eth0 mtu 1450 \n" in ip(later, "route")


def test_a_route_above_the_device_is_refused(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1)
    wrong = msgspec.structs.replace(asked(rig, Phase.RECORD, 1450, 1400), device_mtu=1300)
    applied = rig.make_true(wrong, journals)
    assert applied.refused_reason == migration.OUT_OF_BOUNDS
    assert "device MTU 1300 is below pod MTU 1400" in applied.failures[0]

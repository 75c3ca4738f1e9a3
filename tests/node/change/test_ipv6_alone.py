"""The live change on a node and pods that have no IPv4 at all."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.rigs import run

from kubemtu.core.change import migration
from kubemtu.node import observe

if TYPE_CHECKING:
    from tests.support.rigs import Rig, RigMaker

pytestmark = pytest.mark.netns


@pytest.fixture
def rig(rigs: RigMaker) -> Rig:
    """Return a node with two pods from which every IPv4 address and route was taken."""
    made = rigs(2)
    for space in (made.node, *made.pods):
        run("ip", "-n", space, "-4", "route", "flush", "table", "main")
        for link in run("ip", "-n", space, "-br", "link").split("\n"):
            if name := link.partition(" ")[0].partition("@")[0]:
                run("ip", "-n", space, "-4", "addr", "flush", "dev", name)
        assert run("ip", "-n", space, "-4", "addr") == ""
    return made


def arrives(rig: Rig, size: int) -> bool:
    """Say whether an echo of IPv6 in one packet of that size comes from one pod to the other, and back."""
    ping = ("ping", "-6", "-M", "do", "-c", "1", "-W", "2", "-s", str(size - 48), rig.address6(2))
    return subprocess.run(("ip", "netns", "exec", rig.pods[0], *ping), capture_output=True, check=False).returncode == 0


def test_down_and_back_again(rig: Rig, tmp_path: Path) -> None:
    before = rig.routes()
    assert arrives(rig, 1500)
    reached = rig.walk(1430, tmp_path)
    assert [row.pods for row in reached] == [2] * len(reached)
    assert rig.mtus() == {(1430, 1430)}
    assert (arrives(rig, 1430), arrives(rig, 1431)) == (True, False)
    seen = rig.inside(lambda: observe.observe("n1", ports=rig.rule))
    assert [(port.ipv6_mtu, port.addresses) for port in seen.ports] == [
        (1430, ("fd42:0:0:1::a",)),
        (1430, ("fd42:0:0:1::b",)),
    ]
    assert not any(route.locked for port in seen.ports for route in port.routes)
    rig.walk(1430, tmp_path, phases=migration.ORDER[1:], restore=True)
    assert rig.mtus() == {(1500, 1500)}
    assert arrives(rig, 1500)
    assert rig.routes() == before


def test_senders_are_held_while_devices_are_as_they_were(rig: Rig, tmp_path: Path) -> None:
    rig.walk(1430, tmp_path, phases=migration.ORDER[:4])
    assert rig.mtus() == {(1500, 1500)}
    assert (arrives(rig, 1430), arrives(rig, 1431)) == (True, False)

"""What forwards for others inside a pod, as `ip` built it: told with its sizes, and never changed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubemtu.core import net
from kubemtu.node import observe

if TYPE_CHECKING:
    from tests.support.rigs import Rig, RigMaker

pytestmark = pytest.mark.netns


def ip(*words: str) -> str:
    return subprocess.run(("ip", *words), check=True, capture_output=True, text=True).stdout


def build(pod: str, *lines: str) -> None:
    for line in lines:
        ip("-n", pod, *line.split())


def inner(rig: Rig, number: int = 0) -> tuple[net.InnerDevice, ...]:
    seen = rig.inside(lambda: observe.observe("n1", ports=rig.rule))
    assert seen.errors == ()
    return seen.ports[number].inner


def dind(rig: Rig, number: int, mtu: int = 1500) -> str:
    """Build what dockerd makes in a pod that has one container; return the container's namespace."""
    pod, container = rig.pods[number], rig.pods[1 - number]  # any other namespace does for the container's
    build(
        pod,
        "link add docker0 type bridge",
        f"link set docker0 mtu {mtu} up",
        f"link add veth1 mtu {mtu} type veth peer name c0 mtu {mtu} netns {container}",
        "link set veth1 master docker0 up",
    )
    return container


def test_a_bridge_of_containers_is_told_with_what_they_send(rigs: RigMaker) -> None:
    rig = rigs(2, mtu=1450)
    dind(rig, 0)
    assert inner(rig) == (net.InnerDevice(name="docker0", kind="bridge", mtu=1500, ports=1, port_mtu=1500),)


def test_a_bridge_without_a_container_and_a_veth_into_a_namespace_within(rigs: RigMaker) -> None:
    rig = rigs(2, mtu=1450)
    build(
        rig.pods[0],
        "link add br-0123456789ab type bridge",
        f"link add vethc mtu 1480 type veth peer name c1 mtu 1480 netns {rig.pods[1]}",
    )
    assert inner(rig) == (
        net.InnerDevice(name="br-0123456789ab", kind="bridge", mtu=1500),
        net.InnerDevice(name="vethc", kind="veth", mtu=1480),
    )


def test_a_tap_on_the_bridge_that_the_pod_is_joined_to_is_a_virtual_machines(rigs: RigMaker) -> None:
    rig = rigs(1, mtu=1450)
    build(
        rig.pods[0],
        "link add k6t-eth0 type bridge",
        "tuntap add tap0 mode tap",
        "link set tap0 mtu 1500 master k6t-eth0",
        "link set eth0 master k6t-eth0",
        "link set k6t-eth0 mtu 1500",
    )
    assert inner(rig) == (
        net.InnerDevice(name="k6t-eth0", kind="bridge", mtu=1500, ports=1, taps=1, port_mtu=1500, joined=True),
    )


def test_a_second_network_of_the_pod_is_none_of_it(rigs: RigMaker) -> None:
    rig = rigs(1, mtu=1450)
    pod = rig.pods[0]
    ip("-n", rig.node, "link", "add", "second1", "mtu", "9000", "type", "veth", *f"peer name net1 netns {pod}".split())
    ip("-n", rig.node, "link", "add", "second2", "mtu", "9000", "type", "veth", *f"peer name net2 netns {pod}".split())
    build(
        pod,
        "link set net1 mtu 9000",
        "link set net2 mtu 9000",
        "link add k6t-net2 type bridge",
        "link set net2 master k6t-net2",
        "tuntap add tap2 mode tap",
        "link set tap2 mtu 9000 master k6t-net2",
        "tuntap add tun0 mode tun",  # a VPN's: it forwards for nobody
    )
    assert inner(rig) == ()


def test_of_many_the_largest_are_told(rigs: RigMaker) -> None:
    rig = rigs(1)
    build(rig.pods[0], *(f"link add b{n} mtu {1400 + n} type bridge" for n in range(12)))
    assert [one.name for one in inner(rig)] == ["b11", "b10", "b9", "b8", "b7", "b6", "b5", "b4"]


def test_a_change_leaves_everything_inside_a_pod_as_it_is(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(2)
    dind(rig, 0)
    assert rig.mtu_of(rig.pods[0], "eth0") == 1500
    rig.walk(1400, journals)
    assert rig.mtu_of(rig.pods[0], "eth0") == 1400
    inside = {name: rig.mtu_of(rig.pods[0], name) for name in ("docker0", "veth1")}
    assert (inside, rig.mtu_of(rig.pods[1], "c0")) == ({"docker0": 1500, "veth1": 1500}, 1500)
    assert [(one.name, one.sends) for one in inner(rig)] == [("docker0", 1500)]
    rig.walk(1500, journals, restore=True)
    assert rig.mtu_of(rig.pods[0], "docker0") == 1500

"""The arithmetic of pins and limits; numbers from RFC 791, 8200, 7348 and what Linux was measured to do."""

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubemtu.core import net
from kubemtu.core.change import migration
from kubemtu.node.change import state, wanted
from kubemtu.node.kernel import links, netlink, netns, routes

LOCK, MTU, ADVMSS = 1, 2, 8
DOWN = wanted.Aim(low=1450, high=1500, final=1450, pinned=True, moved=False)
UP = wanted.Aim(low=1450, high=1500, final=1500, pinned=True, moved=False)
DOWN_AFTER = wanted.Aim(low=1450, high=1500, final=1450, pinned=False, moved=True)
UP_AFTER = wanted.Aim(low=1450, high=1500, final=1500, pinned=False, moved=True)


def own(**numbers: int) -> routes.Metrics:
    kinds = {"lock": LOCK, "mtu": MTU, "advmss": ADVMSS}
    return tuple(sorted((kinds[name], struct.pack("=I", number)) for name, number in numbers.items()))


def device(
    name: str = "eth0", mtu: int = 1500, ipv6: int | None = 1500, *, kind: str = "veth", outer6: bool = False
) -> links.Device:
    vxlan = (1, 8472, 1, outer6) if kind == "vxlan" else None
    return links.Device(2, name, mtu, kind, True, None, None, None, ipv6, vxlan, links.Drops())


@pytest.mark.parametrize(
    ("family", "aim", "before", "after"),
    [
        (4, DOWN, own(), own(lock=4, mtu=1450)),
        (6, DOWN, own(), own()),  # the sysctl does it
        (4, UP, own(), own(lock=4, mtu=1450, advmss=1460)),
        (6, UP, own(), own(lock=4, mtu=1450, advmss=1440)),
        (4, UP, own(advmss=1200), own(lock=4, mtu=1450, advmss=1200)),
        (4, DOWN, own(mtu=1400), own(mtu=1400)),  # small enough already: raising it would lose packets
        (4, DOWN, own(mtu=1480), own(lock=4, mtu=1450)),
        (6, DOWN, own(mtu=1480), own(lock=4, mtu=1450)),  # a route's MTU beats the sysctl
        (4, DOWN_AFTER, own(), own()),
        (4, DOWN_AFTER, own(mtu=1480), own(mtu=1450)),  # IPv4 does not clamp it to the device
        (4, DOWN_AFTER, own(mtu=1480, lock=4), own(mtu=1450, lock=4)),
        (4, DOWN_AFTER, own(mtu=1400), own(mtu=1400)),
        (4, UP_AFTER, own(mtu=1400), own(mtu=1400)),
    ],
)
def test_metrics(family: int, aim: wanted.Aim, before: routes.Metrics, after: routes.Metrics) -> None:
    assert wanted.metrics(before, family, aim) == after


@given(
    st.one_of(st.none(), st.integers(68, 9000)),
    st.sampled_from([4, 6]),
    st.integers(1280, 9000),
    st.integers(1280, 9000),
    st.booleans(),
)
def test_a_pinned_route_never_sends_more_than_low(
    mtu: int | None, family: int, old: int, new: int, restored: bool
) -> None:
    low, high = min(old, new), max(old, new)
    before = own() if mtu is None else own(mtu=mtu)
    final = old if restored else new
    pinned = wanted.metrics(before, family, wanted.Aim(low, high, final, pinned=True, moved=True, restored=restored))
    size = routes.metric(pinned, MTU)
    assert size is None or size <= low
    if size is None:
        assert family == 6
        assert final == low
    back = wanted.metrics(before, family, wanted.Aim(low, high, final, pinned=False, moved=True, restored=True))
    assert back == before


def steering(mtu: int | None = None) -> list[routes.Raw]:
    head = struct.pack("=BBBBBBBBI", 10, 0, 0, 0, 254, 3, 0, 1, 0) + struct.pack("=HHI", 8, 4, 2)
    nest = struct.pack("=HHI", 8, MTU, mtu) if mtu else b""
    return [routes.raw(head + (struct.pack("=HH", 12, 8) + nest if mtu else b""))]


def test_the_sysctl_shrinks_first_and_is_left_alone_once_routes_are_locked() -> None:
    assert wanted.conf(device(), (1500, 1500), DOWN, steering()) == 1450
    assert wanted.conf(device(ipv6=1450), (1500, 1500), DOWN, steering()) is None
    assert wanted.conf(device(), (1500, 1500), UP, steering(1450)) is None
    assert wanted.conf(device(), (1450, 1450), UP, steering()) == 1450
    assert wanted.conf(device(), (1500, 1500), DOWN, []) is None  # nothing to pin
    assert wanted.conf(device(ipv6=None), (1500, None), DOWN, steering()) is None


def test_the_sysctl_ends_at_the_device_unless_it_was_smaller_on_purpose() -> None:
    assert wanted.conf(device(mtu=1500, ipv6=1450), (1500, 1500), UP_AFTER, steering()) == 1500
    assert wanted.conf(device(mtu=1450, ipv6=1450), (1500, 1300), DOWN_AFTER, steering()) == 1300
    assert wanted.conf(device(mtu=1450, ipv6=1450), (1500, 1480), DOWN_AFTER, steering()) is None  # does not fit
    assert wanted.conf(device(mtu=1500, ipv6=1450), (1500, 1500), DOWN_AFTER, steering()) is None  # the device first


def a_pod(end: links.Device) -> state.PodState:
    with netlink.Socket() as sock:  # any will do: nothing is asked here
        pod = state.PodState(end, netns.Netns("p1", 7, -1), sock)
    pod.pod = end
    return pod


def desired(pod: int, *, tunnel: int | None = None) -> migration.Desired:
    return migration.Desired(
        migration="m",
        phase=migration.Phase.RECORD,
        pin_mtu=min(pod, 1500),
        highest_mtu=max(pod, 1500),
        ports=net.PortRule(prefixes=("cali",)),
        pod_mtu=pod,
        origin_mtu=1500,
        tunnel="flannel.1" if tunnel else None,
        tunnel_mtu=tunnel,
    )


@pytest.mark.parametrize(("pod", "word"), [(67, "out of range"), (65536, "out of range"), (1279, "below 1280")])
def test_impossible_sizes_are_refused(pod: int, word: str) -> None:
    assert any(word in sentence for sentence in wanted.refusals(desired(pod), [a_pod(device())], {}))


def test_sizes_at_the_limits_are_not() -> None:
    assert wanted.refusals(desired(1280), [a_pod(device())], {}) == []
    assert wanted.refusals(desired(68), [a_pod(device(ipv6=None))], {}) == []
    assert wanted.refusals(desired(65535), [a_pod(device())], {}) == []


@pytest.mark.parametrize(("outer6", "most"), [(False, 1450), (True, 1430)])
def test_vxlan_leaves_50_or_70_bytes_less(outer6: bool, most: int) -> None:
    lower = links.Device(1, "nic", 1500, "", True, None, None, None, 1500, None, links.Drops())
    devices = {"flannel.1": device("flannel.1", 1400, kind="vxlan", outer6=outer6), "nic": lower}
    assert wanted.refusals(desired(1500, tunnel=most), [], devices) == []
    (sentence,) = wanted.refusals(desired(1500, tunnel=most + 1), [], devices)
    assert f"{most} is the most" in sentence
    assert wanted.refusals(desired(1500, tunnel=1450), [], {}) != []


@pytest.mark.parametrize("restore", [False, True])
@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"tunnel": "eth0", "tunnel_mtu": 1400}, "eth0 is a NIC, no tunnel"),
        ({"tunnel": "bond0", "tunnel_mtu": 1400}, "bond0 is a device of kind bond, no tunnel"),
        ({"tunnel": "cali1", "tunnel_mtu": 1400}, "cali1 is a device of kind veth, no tunnel"),
        ({"bridge": "eth0"}, "eth0 is a NIC, no bridge"),
        ({"ports": net.PortRule(bridge="eth0")}, "eth0 is a NIC, no bridge"),
        ({"ports": net.PortRule(prefixes=("",))}, "begins the names of far more links"),
        ({"ports": net.PortRule(prefixes=("cali", "v"))}, "begins the names of far more links"),
        ({"pod_networks": ("0.0.0.0/0",)}, "0.0.0.0/0 is no network of pods"),
        ({"pod_networks": ("::/0",)}, "::/0 is no network of pods"),
        ({"pod_networks": ("10.42.0.0/99",)}, "is no network of pods"),
        ({"origin_mtu": 0}, "origin MTU 0 is out of range"),
        ({"origin_mtu": 65536}, "origin MTU 65536 is out of range"),
    ],
)
def test_what_is_no_part_of_the_pod_network_is_never_changed(
    changes: dict[str, object], word: str, restore: bool
) -> None:
    devices = {
        each.name: each
        for each in (
            device("eth0", kind=""),
            device("bond0", kind="bond"),
            device("cali1"),
            device("cni0", kind="bridge"),
        )
    }
    asked = msgspec.structs.replace(desired(1450), restore=restore, **changes)
    assert any(word in sentence for sentence in wanted.refusals(asked, [], devices))
    assert wanted.beyond(msgspec.structs.replace(desired(1450), bridge="cni0"), devices) == []


@pytest.mark.parametrize("kind", ["bridge", "openvswitch"])
def test_a_bridge_that_is_the_nodes_own_way_out_is_never_changed(kind: str) -> None:
    """br0 with the NIC in it, OVN-Kubernetes' br-ex: whoever may write a NodeMTU might name it."""
    devices = {"br-ex": device("br-ex", kind=kind)}
    asked = msgspec.structs.replace(desired(1450), bridge="br-ex")
    (sentence,) = wanted.refusals(asked, [], devices, {devices["br-ex"].index})
    assert sentence.startswith("br-ex is the node's own way out, by its default route")
    assert wanted.beyond(asked, devices, {devices["br-ex"].index}) == [sentence]


@pytest.mark.parametrize("kind", ["bridge", "openvswitch"])
def test_a_port_of_a_switch_is_as_good_as_a_bridge(kind: str) -> None:
    devices = {"gw0": device("gw0", kind=kind), "ovs-system": device("ovs-system", kind="openvswitch")}
    asked = msgspec.structs.replace(desired(1450), bridge="gw0", ports=net.PortRule(bridge="ovs-system"))
    assert wanted.beyond(asked, devices) == []

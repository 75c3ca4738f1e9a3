"""What pods send by destination: routes that are added, a default route of its own size, and all of it taken back."""

from __future__ import annotations

import ipaddress
import select
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.rigs import ip

from kubemtu.core import net
from kubemtu.core.change import migration
from kubemtu.core.change.migration import Phase
from kubemtu.node.change import destinations, journal, watch
from kubemtu.node.change import engine as change_engine

if TYPE_CHECKING:
    from tests.support.rigs import Rig, RigMaker

OLD, JUMBO, OUTSIDE, FEW = 1450, 8900, 1500, 1450
OURS = "proto 109 metric 10900"  # as iproute2 prints it


def towards(**sizes: int) -> tuple[net.NetworkMtu, ...]:
    networks = {"all4": "10.42.0.0/16", "all6": "fd42::/48", "few4": "10.42.2.0/24", "few6": "fd42:0:0:2::/64"}
    return tuple(net.NetworkMtu(network=networks[name], mtu=mtu) for name, mtu in sizes.items())


def second_link(pod: str) -> None:
    """Give a pod another link, as Multus does."""
    ip(pod, "link", "add", "net1", "type", "veth", "peer", "name", "net1far")
    ip(pod, "link", "set", "net1far", "up")
    ip(pod, "link", "set", "net1", "up")


class Sizes(NamedTuple):
    """What is sent by destination."""

    networks: tuple[net.NetworkMtu, ...] = ()
    default: int | None = None


EAST_WEST = Sizes(towards(all4=JUMBO, all6=JUMBO), OUTSIDE)
FEWER = Sizes(towards(few4=FEW, few6=FEW))


def asked(rig: Rig, phase: Phase, sizes: Sizes, *, restore: bool = False) -> migration.Desired:
    wanted = rig.desired(phase, JUMBO, restore=restore)
    return msgspec.structs.replace(
        wanted, tunnel_mtu=None, network_mtus=sizes.networks, default_route_mtu=sizes.default
    )


def walk(
    rig: Rig, journals: Path, phases: tuple[Phase, ...], sizes: Sizes, *, restore: bool = False
) -> list[migration.Applied]:
    reached = []
    for phase in phases:
        applied = rig.make_true(asked(rig, phase, sizes, restore=restore), journals)
        assert applied.failures == ()
        assert applied.done
        if migration.TABLE[phase].ports:
            assert applied.largest_sent == OLD
        reached.append(applied)
    return reached


@pytest.mark.netns
@pytest.mark.parametrize("bridged", [False, True])
def test_the_cluster_gets_a_route_and_the_default_route_another_size(
    rigs: RigMaker, journals: Path, bridged: bool
) -> None:
    rig = rigs(2, mtu=OLD, bridged=bridged)
    before = rig.routes()
    last = walk(rig, journals, migration.ORDER, EAST_WEST)[-1]
    via = "10.42.1.1" if bridged else "169.254.1.1"
    for pod in rig.pods:
        assert f"default via {via} dev eth0 mtu 1500 \n" in ip(pod, "route")
        assert f"10.42.0.0/16 via {via} dev eth0 {OURS} \n" in ip(pod, "route")
        assert "mtu 1500 " in ip(pod, "-6", "route", "show", "default")
        assert f"dev eth0 {OURS} " in ip(pod, "-6", "route", "show", "fd42::/48")
        assert "mtu 8900" in ip(pod, "route", "get", "10.42.2.9") or "mtu" not in ip(pod, "route", "get", "10.42.2.9")
        assert "mtu 1500" in ip(pod, "route", "get", "203.0.113.1")
    assert set(last.sent_by_network) == set(towards(all4=JUMBO, all6=JUMBO))
    assert walk(rig, journals, (Phase.SETTLE,), EAST_WEST)[0].settings_changed == 0
    walk(rig, journals, migration.ORDER[1:], EAST_WEST, restore=True)
    assert rig.routes() == before


@pytest.mark.netns
def test_where_a_cni_limits_by_route_each_route_gets_its_own_size_and_goes_back(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1, mtu=JUMBO)
    (pod,) = rig.pods
    ip(pod, "route", "change", "default", "via", "169.254.1.1", "dev", "eth0", "mtu", str(OLD))
    before = rig.routes()
    networks = (net.NetworkMtu(network="10.42.0.0/16", mtu=8800),)

    def walked(phases: tuple[Phase, ...], *, restore: bool) -> None:
        for phase in phases:
            desired = msgspec.structs.replace(
                asked(rig, phase, Sizes(networks, OUTSIDE), restore=restore),
                pod_mtu=8800, pin_mtu=OLD, origin_mtu=OLD, device_mtu=JUMBO, origin_device_mtu=JUMBO,
            )  # fmt: skip
            assert rig.make_true(desired, journals).done

    walked(migration.ORDER, restore=False)
    assert f"10.42.0.0/16 via 169.254.1.1 dev eth0 {OURS} mtu 8800 \n" in ip(pod, "route")
    assert "default via 169.254.1.1 dev eth0 mtu 1500 \n" in ip(pod, "route")
    assert rig.mtus() == {(JUMBO, JUMBO)}
    walked(migration.ORDER[1:], restore=True)
    assert rig.routes() == before


@pytest.mark.netns
@pytest.mark.parametrize("last", [Phase.DEVICES, Phase.UNPIN_OVERLAY, Phase.UNPIN_PODS, Phase.SETTLE])
def test_an_undo_from_any_phase_takes_the_added_routes_away(rigs: RigMaker, journals: Path, last: Phase) -> None:
    rig = rigs(1, mtu=OLD)
    before = rig.routes()
    walk(rig, journals, migration.span(Phase.RECORD, last), EAST_WEST)
    walk(rig, journals, migration.span(migration.UNDO_FROM[last], Phase.SETTLE), EAST_WEST, restore=True)
    assert rig.routes() == before


@pytest.mark.netns
def test_towards_the_few_pods_and_the_node_itself_send_less(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(2, mtu=OLD)
    for space, device in ((rig.fabric, "up0"), (rig.node, "eth0"), (rig.node, "flannel.1")):
        ip(space, "link", "set", device, "mtu", "9000" if device != "flannel.1" else "8950")
    before = rig.routes()
    reached = walk(rig, journals, migration.ORDER, FEWER)
    for pod in rig.pods:
        assert f"10.42.2.0/24 via 169.254.1.1 dev eth0 {OURS} mtu 1450 \n" in ip(pod, "route")
        assert "mtu 1450" in ip(pod, "-6", "route", "show", "fd42:0:0:2::/64")
        assert "default via 169.254.1.1 dev eth0 \n" in ip(pod, "route")
    assert "10.42.2.0/24 via 10.42.2.0 dev flannel.1 onlink mtu 1450 \n" in ip(rig.node, "route")
    assert "10.42.3.0/24 via 10.42.3.0 dev flannel.1 onlink \n" in ip(rig.node, "route")
    assert set(reached[-1].sent_by_network) == set(towards(few4=FEW, few6=FEW))
    assert reached[-1].largest_sent == 8950
    walk(rig, journals, migration.ORDER[1:], FEWER, restore=True)
    assert rig.routes() == before


@pytest.mark.netns
def test_a_route_of_somebody_else_keeps_its_way_and_sends_no_more(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(2, mtu=OLD)
    first, second = rig.pods
    ip(first, "route", "add", "10.42.2.0/25", "via", "169.254.1.1", "dev", "eth0")  # a part of the network
    second_link(second)
    ip(second, "route", "add", "10.42.2.0/24", "dev", "net1")  # the network itself, by another link
    before = rig.routes()
    walk(rig, journals, migration.ORDER, FEWER)
    assert "10.42.2.0/25 via 169.254.1.1 dev eth0 mtu 1450 \n" in ip(first, "route")
    assert f"10.42.2.0/24 via 169.254.1.1 dev eth0 {OURS} mtu 1450 \n" in ip(first, "route")
    assert ip(second, "route", "show", "10.42.2.0/24") == "10.42.2.0/24 dev net1 scope link \n"
    # A CNI that names the network later is not refused by the kernel, and ours gives way to its own.
    ip(first, "route", "add", "10.42.2.0/24", "via", "169.254.1.1", "dev", "eth0")
    walk(rig, journals, (Phase.SETTLE,), FEWER)
    assert ip(first, "route", "show", "10.42.2.0/24") == "10.42.2.0/24 via 169.254.1.1 dev eth0 mtu 1450 \n"
    ip(first, "route", "del", "10.42.2.0/24")
    walk(rig, journals, migration.ORDER[1:], FEWER, restore=True)
    assert rig.routes() == before


@pytest.mark.netns
def test_what_another_link_of_the_pod_leads_to_is_left_and_said(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(2, mtu=OLD)
    pod = rig.pods[0]
    second_link(pod)
    ip(pod, "route", "add", "10.40.0.0/13", "dev", "net1")  # around the network
    before = rig.routes()
    last = walk(rig, journals, migration.ORDER, FEWER)[-1]
    assert "10.42.2.0/24" not in ip(pod, "route")
    said = (
        f"pod {pod} (cali1) may send more than 1450 bytes to 10.42.2.0/24: no route is added, because another link"
        " of the pod leads there"
    )
    assert last.notes == (said,)
    walk(rig, journals, migration.ORDER[1:], FEWER, restore=True)
    assert rig.routes() == before


@pytest.mark.netns
def test_under_a_held_spec_a_newborn_pod_and_a_rewritten_route_are_corrected(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1, mtu=OLD)
    both = Sizes(towards(all4=JUMBO, few4=FEW), OUTSIDE)
    walk(rig, journals, migration.ORDER, both)
    known = journal.Journal.open("m1", journals)

    def start() -> watch.Watch:
        watched = watch.Watch(change_engine.Engine(known), asked(rig, Phase.SETTLE, both))
        watched.engine.make_true(watched.desired)
        return watched

    watched = rig.inside(start)
    try:
        late = rig.add_pod(2, mtu=JUMBO)
        ip(rig.pods[0], "route", "del", "10.42.2.0/24")
        ip(rig.pods[0], "route", "replace", "default", "via", "169.254.1.1", "dev", "eth0")
        ip(rig.node, "route", "replace", "10.42.2.0/24", "via", "10.42.2.0", "dev", "flannel.1", "onlink")
        deadline = time.monotonic() + 60
        wanted = (
            "default via 169.254.1.1 dev eth0 mtu 1500",
            f"{OURS} mtu 1450",
            f"10.42.0.0/16 via 169.254.1.1 dev eth0 {OURS}",
        )
        while not all(text in ip(pod, "route") for pod in (rig.pods[0], late) for text in wanted):
            assert time.monotonic() < deadline, [ip(pod, "route") for pod in (rig.pods[0], late)]
            if select.select([watched], [], [], 0.05)[0]:
                watched.drain()
    finally:
        watched.close()
        watched.engine.close()
        known.close()
    walk(rig, journals, migration.ORDER[1:], both, restore=True)
    for pod in (rig.pods[0], late):
        assert "109" not in ip(pod, "route")
        assert "default via 169.254.1.1 dev eth0 \n" in ip(pod, "route")
    assert rig.mtus() == {(OLD, OLD)}


@pytest.mark.netns
def test_without_the_journal_the_added_routes_go_all_the_same(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1, mtu=OLD)
    before = rig.routes()
    walk(rig, journals, migration.ORDER, EAST_WEST)
    (journals / "m1.jsonl").unlink()
    last = walk(rig, journals, migration.ORDER[1:], EAST_WEST, restore=True)[-1]
    after = rig.routes()
    assert not [text for text in after.values() if "proto 109" in text]
    assert before.keys() == after.keys()
    # What the default routes had of their own is not known any more: it is said, and not taken for what was there.
    assert "mtu 1500" in ip(rig.pods[0], "route", "show", "default")
    (said,) = last.not_restored
    assert "the route default keeps mtu 1500: the node's journal of this change is gone" in said


@pytest.mark.netns
@pytest.mark.parametrize(
    ("sizes", "reason", "sentence"),
    [
        (Sizes((net.NetworkMtu(network="0.0.0.0/0", mtu=1450),)), "OutsidePodNetwork", "others too"),
        (Sizes((net.NetworkMtu(network="10.0.0.0/7", mtu=1450),)), "OutsidePodNetwork", "others too"),
        (Sizes((net.NetworkMtu(network="fd00::/15", mtu=1450),)), "OutsidePodNetwork", "others too"),
        (Sizes((net.NetworkMtu(network="::ffff:10.0.0.0/104", mtu=1450),)), "OutsidePodNetwork", "IPv4 in IPv6's"),
        (Sizes((net.NetworkMtu(network="ten", mtu=1450),)), "OutsidePodNetwork", "is no network"),
        (Sizes(towards(few4=8901)), "OutOfBounds", "between 68 and pod MTU 8900"),
        (Sizes(towards(few4=67)), "OutOfBounds", "between 68 and pod MTU 8900"),
        (Sizes(towards(few6=1279)), "OutOfBounds", "between 1280 and pod MTU 8900"),
        (Sizes(towards(few4=1450) * 2), "OutOfBounds", "10.42.2.0/24 is named twice"),
        (Sizes(default=8901), "OutOfBounds", "default route MTU 8901 is out of range"),
        (Sizes(default=1279), "OutOfBounds", "1279 is below 1280"),  # the pods have IPv6
    ],
)
def test_what_is_out_of_bounds_is_refused(
    rigs: RigMaker, journals: Path, sizes: Sizes, reason: str, sentence: str
) -> None:
    rig = rigs(1, mtu=OLD)
    applied = rig.make_true(asked(rig, Phase.RECORD, sizes), journals)
    assert applied.refused_reason == reason
    assert sentence in " ".join(applied.failures)


def test_more_networks_than_a_node_takes_are_refused(rigs: RigMaker) -> None:
    many = tuple(net.NetworkMtu(network=f"10.{n >> 8}.{n & 255}.0/24", mtu=1450) for n in range(5001))
    desired = migration.Desired(
        migration="m1", phase=Phase.RECORD, pin_mtu=1450, highest_mtu=8900, ports=net.PortRule(), pod_mtu=8900,
        origin_mtu=1450, network_mtus=many,
    )  # fmt: skip
    assert destinations.refusals(desired) == ["5001 networks are more than the 5000 that a node takes"]
    assert destinations.refusals(msgspec.structs.replace(desired, network_mtus=many[:5000])) == []


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(8, 32), st.integers(68, 9000)), max_size=6), st.integers(0, 255)
)
def test_the_longest_network_around_a_route_limits_it(entries: list[tuple[int, int, int]], octet: int) -> None:
    networks = {
        str(ipaddress.IPv4Network(f"10.{number}.0.0/{length}", strict=False)): mtu for number, length, mtu in entries
    }
    limits = destinations.Limits([net.NetworkMtu(network=text, mtu=mtu) for text, mtu in networks.items()], None)
    route = ipaddress.IPv4Network(f"10.{octet}.0.0/32")
    around = [ipaddress.IPv4Network(text) for text in networks if route.subnet_of(ipaddress.IPv4Network(text))]
    expected = networks[str(max(around, key=lambda one: one.prefixlen))] if around else None
    assert limits.of(4, str(route)) == expected

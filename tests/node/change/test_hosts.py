"""The node's own traffic: routes to single hosts come with the first pin, stay after a change, and go with its undo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.support.rigs import ip

from kubemtu.agent import kernel
from kubemtu.core.change import migration
from kubemtu.core.change.migration import Phase
from kubemtu.node import observe
from kubemtu.node.change import hosts, journal

if TYPE_CHECKING:
    from tests.support.rigs import Rig, RigMaker

pytestmark = pytest.mark.netns

# This node, another one, a Service's address (which goes by the default route), another node over IPv6.
ADDRESSES = ("192.168.77.1", "192.168.77.2", "10.43.0.1", "fd77::2")
PINNED = [
    "10.43.0.1 via 192.168.77.254 dev eth0 proto 109 src 192.168.77.1 mtu lock 1404",
    "192.168.77.2 dev eth0 proto 109 scope link src 192.168.77.1 mtu lock 1404",
]


def ours(rig: Rig) -> list[str]:
    found = ip(rig.node, "route", "show", "proto", "109")
    return sorted(" ".join(line.split()) for line in found.splitlines())


def with_hosts(rig: Rig, phase: Phase, *, restore: bool = False, mtu: int | None = 1404) -> migration.Desired:
    desired = rig.desired(phase, 1354, restore=restore)
    return msgspec.structs.replace(desired, host_mtu=mtu, host_addresses=ADDRESSES)


@pytest.fixture
def rig(rigs: RigMaker) -> Rig:
    made = rigs(1, mtu=1450)
    made.ip_batch(made.node, ["addr add fd77::1/64 dev eth0 nodad"])
    return made


def full(line: str) -> str:
    """As `ip route show proto` prints a route: without its protocol."""
    return line.replace(" proto 109", "")


def test_every_host_gets_a_route_by_the_way_it_has_and_nothing_else_changes(rig: Rig, journals: Path) -> None:
    before = rig.routes()
    rig.make_true(with_hosts(rig, Phase.RECORD), journals)
    assert rig.routes() == before
    for phase in migration.ORDER[1:]:
        reached = rig.make_true(with_hosts(rig, phase), journals)
        assert (reached.done, reached.failures) == (True, ())
        assert ours(rig) == [full(line) for line in PINNED]
        assert "fd77::2 dev eth0" in ip(rig.node, "-6", "route", "show", "proto", "109")
        assert "mtu lock 1404" in ip(rig.node, "-6", "route", "show", "proto", "109")
    assert rig.mtu_of(rig.node, "eth0") == 1500
    seen = rig.inside(lambda: observe.observe("n1", ports=rig.rule))
    assert {*seen.host_pins} == {"192.168.77.2/32", "10.43.0.1/32", "fd77::2/128"}
    assert "mtu lock 1404" in ip(rig.node, "route", "get", "10.43.0.1")
    assert rig.make_true(with_hosts(rig, Phase.SETTLE), journals).settings_changed == 0
    written = journal.Journal.open("m1", journals)
    assert written.hosts == {"192.168.77.2/32": 1404, "10.43.0.1/32": 1404, "fd77::2/128": 1404}
    written.close()

    for phase in migration.ORDER[1:]:
        assert rig.make_true(with_hosts(rig, phase, restore=True), journals).done
        assert (ours(rig) != []) is (phase in migration.ORDER[1:7])  # until UnpinOverlay
    assert rig.routes() == before


def test_what_somebody_takes_away_or_changes_is_put_back(rig: Rig, journals: Path) -> None:
    rig.make_true(with_hosts(rig, Phase.PIN_PORTS), journals)
    ip(rig.node, "route", "del", "10.43.0.1")
    ip(rig.node, "route", "change", "192.168.77.2", "dev", "eth0", "proto", "109", "src", "192.168.77.1")
    assert rig.make_true(with_hosts(rig, Phase.PIN_PORTS), journals).settings_changed == 2
    assert ours(rig) == [full(line) for line in PINNED]
    assert rig.make_true(with_hosts(rig, Phase.PIN_PORTS, mtu=1300), journals).settings_changed == 3
    assert all("mtu lock 1300" in line for line in ours(rig))


def test_a_host_that_is_no_longer_named_is_let_go_and_without_any_nothing_is_touched(rig: Rig, journals: Path) -> None:
    rig.make_true(with_hosts(rig, Phase.PIN_PORTS), journals)
    rig.make_true(rig.desired(Phase.PIN_PORTS, 1354), journals)
    assert len(ours(rig)) == 2
    fewer = msgspec.structs.replace(with_hosts(rig, Phase.PIN_PORTS), host_addresses=("10.43.0.1",))
    rig.make_true(fewer, journals)
    assert ours(rig) == [full(PINNED[0])]


def test_where_the_nic_sends_no_more_there_is_nothing_to_pin(rig: Rig, journals: Path) -> None:
    assert rig.make_true(with_hosts(rig, Phase.PIN_PODS, mtu=1500), journals).done
    assert ours(rig) == []


def test_a_route_of_the_users_own_is_left_and_said(rig: Rig, journals: Path) -> None:
    ip(rig.node, "route", "add", "192.168.77.2", "via", "192.168.77.254", "dev", "eth0")
    before = rig.routes()
    reached = rig.make_true(with_hosts(rig, Phase.PIN_PODS), journals)
    assert (reached.done, reached.failures) == (True, ())
    (note,) = reached.notes
    assert note.startswith("its route to 192.168.77.2/32 is somebody else's and left alone, so packets of more than")
    assert "192.168.77.2 via 192.168.77.254 dev eth0 \n" in ip(rig.node, "route")
    assert ours(rig) == [full(PINNED[0])]
    assert "fd77::2 dev eth0" in ip(rig.node, "-6", "route", "show", "proto", "109")
    ip(rig.node, "route", "change", "192.168.77.2", "via", "192.168.77.254", "dev", "eth0", "mtu", "lock", "1400")
    assert rig.make_true(with_hosts(rig, Phase.PIN_PODS), journals).notes == ()  # it does what a pin would
    ip(rig.node, "route", "change", "192.168.77.2", "via", "192.168.77.254", "dev", "eth0")
    assert rig.make_true(with_hosts(rig, Phase.SETTLE, restore=True), journals).done
    assert rig.routes() == before


@pytest.mark.parametrize(
    ("address", "mtu", "sentence"),
    [
        ("10.0.0.0/8", 1404, "'10.0.0.0/8' is no address of a host"),
        ("0.0.0.0", 1404, "0.0.0.0 is no address of another host"),
        ("224.0.0.1", 1404, "224.0.0.1 is no address of another host"),
        ("127.0.0.1", 1404, "127.0.0.1 is no address of another host"),
        ("fe80::1", 1404, "fe80::1 is no address of another host"),
        ("192.168.77.2", 575, "host MTU 575 is out of range for 192.168.77.2: it lies between 576 and 65535 bytes"),
        ("fd77::2", 1279, "host MTU 1279 is out of range for fd77::2: it lies between 1280 and 65535 bytes"),
    ],
)
def test_what_is_no_host_and_what_is_no_size_is_refused_whole(
    rig: Rig, journals: Path, address: str, mtu: int, sentence: str
) -> None:
    before = rig.routes()
    desired = with_hosts(rig, Phase.PIN_PODS, mtu=mtu)
    reached = rig.make_true(msgspec.structs.replace(desired, host_addresses=(address,)), journals)
    assert reached.failures == (sentence,)
    assert rig.routes() == before


def test_hosts_without_bounds_are_refused(rig: Rig) -> None:
    many = tuple(f"10.{number >> 8}.{number & 255}.1" for number in range(5001))
    (sentence,) = hosts.refusals(msgspec.structs.replace(with_hosts(rig, Phase.PIN_PODS), host_addresses=many))
    assert sentence == "5001 hosts are more than the 5000 that a node pins"


def test_an_agent_pins_only_to_the_cluster() -> None:
    desired = msgspec.convert(
        {
            "migration": "m", "phase": "PinPods", "pinMtu": 1354, "highestMtu": 1450, "ports": {}, "podMtu": 1354,
            "originMtu": 1450, "hostMtu": 1404, "hostAddresses": ["192.168.77.2", "8.8.8.8"],
        },
        migration.Desired,
    )  # fmt: skip
    assert kernel.strangers(desired, {"192.168.77.2"}) == [
        "'8.8.8.8' is no address of a node or of the API server that this agent knows: its route is not pinned"
    ]
    assert kernel.strangers(msgspec.structs.replace(desired, host_mtu=None), set()) == []

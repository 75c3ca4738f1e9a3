"""The engine against real namespaces: what `ip` shows before, while and after."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.support.labs import until
from tests.support.rigs import ip

from kubemtu.core.change import migration
from kubemtu.core.change.migration import Phase
from kubemtu.node.change import engine as change_engine
from kubemtu.node.change import journal
from kubemtu.node.kernel import links, netlink, netns

if TYPE_CHECKING:
    from tests.support.rigs import RigMaker

pytestmark = pytest.mark.netns


def sysctl(space: str, name: str) -> str:
    command = ("ip", "netns", "exec", space, "cat", f"/proc/sys/{name}")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("bridged", [False, True])
@pytest.mark.parametrize(("old", "new"), [(1500, 1450), (1450, 1500), (1450, 8950)])
def test_both_ends_change_and_every_route_is_as_before(
    rigs: RigMaker, journals: Path, old: int, new: int, bridged: bool
) -> None:
    rig = rigs(3, mtu=old, bridged=bridged)
    before = rig.routes()
    reached = rig.walk(new, journals)
    assert rig.mtus() == {(new, new)}
    assert rig.routes() == before
    assert [row.smallest_accepted for row in reached] == [old] * 4 + [new] * 5
    assert reached[3].largest_sent == min(old, new)  # PinPorts: no sender is left above
    assert reached[4].largest_sent == min(old, new)
    if bridged:
        assert rig.mtu_of(rig.node, "cni0") == new


@pytest.mark.parametrize("bridged", [False, True])
def test_a_pod_that_is_left_out_by_its_name_keeps_all_that_it_has(
    rigs: RigMaker, journals: Path, *, bridged: bool
) -> None:
    rig = rigs(3, bridged=bridged)
    left = rig.pods[0]
    before = ip(left, "route"), ip(left, "-6", "route")
    number = int(left.rpartition("-p")[2])
    ports = msgspec.structs.replace(rig.rule, without=(rig.host_link(number),))
    for phase in migration.ORDER:
        reached = rig.make_true(msgspec.structs.replace(rig.desired(phase, 1400), ports=ports), journals)
        assert (reached.done, reached.pods) == (True, 2)
        assert (ip(left, "route"), ip(left, "-6", "route")) == before
    assert (rig.mtu_of(left, "eth0"), rig.mtu_of(rig.node, rig.host_link(number))) == (1500, 1500)
    assert rig.mtus() == {(1400, 1400), (1500, 1500)}


@pytest.mark.parametrize(("old", "new"), [(1500, 1450), (1450, 1500)])
def test_restoring_from_any_phase_gives_everything_back(rigs: RigMaker, journals: Path, old: int, new: int) -> None:
    rig = rigs(2, mtu=old)
    before = rig.routes()
    for place in range(len(migration.ORDER)):
        rig.walk(new, journals, phases=migration.ORDER[: place + 1])
        rig.walk(new, journals, phases=migration.ORDER[1:], restore=True)
        assert rig.mtus() == {(old, old)}
        assert rig.mtu_of(rig.node, "flannel.1") == 1450
        assert rig.routes() == before


def test_a_second_call_changes_nothing(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(2)
    for phase in migration.ORDER:
        first = rig.make_true(rig.desired(phase, 1450), journals)
        second = rig.make_true(rig.desired(phase, 1450), journals)
        assert first.done
        assert second.done
        assert second.settings_changed == 0
        assert (second.largest_sent, second.smallest_accepted) == (first.largest_sent, first.smallest_accepted)


def test_a_decrease_pins_ipv4_by_lock_and_ipv6_by_sysctl(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1)
    pod = rig.pods[0]
    rig.walk(1450, journals, phases=migration.ORDER[:4])
    assert "default via 169.254.1.1 dev eth0 mtu lock 1450" in ip(pod, "route")
    assert "advmss" not in ip(pod, "route")
    assert "mtu" not in ip(pod, "-6", "route")
    assert sysctl(pod, "net/ipv6/conf/eth0/mtu") == "1450"
    assert sysctl(rig.node, "net/ipv6/conf/cali1/mtu") == "1450"
    assert rig.mtus() == {(1500, 1500)}
    assert "10.42.2.0/24 via 10.42.2.0 dev flannel.1 onlink mtu lock 1450" in ip(rig.node, "route")
    assert "10.42.1.10 dev cali1 scope link mtu lock 1450" in ip(rig.node, "route")
    assert "lock" not in ip(rig.node, "route", "show", "dev", "eth0")
    rig.walk(1450, journals, phases=migration.ORDER[4:])
    assert sysctl(pod, "net/ipv6/conf/eth0/mtu") == "1450"
    rig.walk(1450, journals, phases=migration.ORDER[1:], restore=True)
    assert sysctl(pod, "net/ipv6/conf/eth0/mtu") == "1500"
    assert sysctl(rig.node, "net/ipv6/conf/cali1/mtu") == "1500"


def test_an_increase_pins_both_families_by_lock_and_lets_new_connections_grow(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1, mtu=1450)
    pod = rig.pods[0]
    rig.walk(1500, journals, phases=migration.ORDER[:5])
    assert "default via 169.254.1.1 dev eth0 mtu lock 1450 advmss 1460" in ip(pod, "route")
    assert "default via fe80::ecee:eeff:feee:eeee dev eth0 metric 1024 mtu lock 1450 advmss 1440" in ip(
        pod, "-6", "route"
    )
    assert rig.mtus() == {(1500, 1500)}
    rig.walk(1500, journals, phases=migration.ORDER[5:])
    assert sysctl(pod, "net/ipv6/conf/eth0/mtu") == "1500"
    assert "lock" not in ip(pod, "-6", "route")


def test_link_local_routes_are_never_touched(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(2)
    rig.walk(1450, journals, phases=migration.ORDER[:5])
    for space in (rig.node, *rig.pods):
        link_local = [line for line in ip(space, "-6", "route").splitlines() if line.startswith("fe80::/64")]
        assert link_local
        assert all("mtu" not in line for line in link_local)


def test_the_popular_half_change_is_repaired(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(2)
    for number in (1, 2):
        ip(rig.node, "link", "set", f"cali{number}", "mtu", "1450")
    before = rig.routes()
    rig.walk(1450, journals)
    assert rig.mtus() == {(1450, 1450)}
    assert rig.routes() == before
    rig.walk(1450, journals, phases=migration.ORDER[1:], restore=True)
    assert rig.mtus() == {(1450, 1500)}


def test_route_mtus_of_the_cni_survive_or_shrink_with_the_device(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1)
    pod = rig.pods[0]
    ip(pod, "route", "replace", "default", "via", "169.254.1.1", "dev", "eth0", "mtu", "1480", "initcwnd", "20")
    ip(pod, "route", "add", "10.99.0.0/16", "via", "169.254.1.1", "dev", "eth0", "mtu", "1300", "advmss", "1200")
    before = rig.routes()

    def phases() -> tuple[str, ...]:
        known = journal.Journal.open("m1", journals)
        with change_engine.Engine(known) as engine:
            for phase in migration.ORDER:
                assert engine.make_true(rig.desired(phase, 1450)).done
            notes = engine.notes
        known.close()
        return notes

    notes = rig.inside(phases)
    assert len(notes) == 1
    assert "route default had MTU 1480" in notes[0]
    after = ip(pod, "route")
    assert "default via 169.254.1.1 dev eth0 mtu 1450 initcwnd 20" in after
    assert "10.99.0.0/16 via 169.254.1.1 dev eth0 mtu 1300 advmss 1200" in after
    rig.walk(1450, journals, phases=migration.ORDER[1:], restore=True)
    assert rig.routes() == before


def test_a_deliberately_small_ipv6_mtu_is_kept(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1)
    pod = rig.pods[0]
    rig.sysctl(pod, "net/ipv6/conf/eth0/mtu", "1300")
    rig.walk(1450, journals)
    assert sysctl(pod, "net/ipv6/conf/eth0/mtu") == "1300"
    rig.walk(1450, journals, phases=migration.ORDER[1:], restore=True)
    assert rig.mtus() == {(1500, 1500)}
    assert sysctl(pod, "net/ipv6/conf/eth0/mtu") == "1300"


def test_pods_that_vanish_are_no_failure(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(3)

    def phases() -> list[migration.Applied]:
        known = journal.Journal.open("m1", journals)
        reached = []
        with change_engine.Engine(known) as engine:
            for place, phase in enumerate(migration.ORDER):
                reached.append(engine.make_true(rig.desired(phase, 1450)))
                if place in (1, 3):
                    # a CNI deletes the veth first; without that our open socket would keep the namespace alive
                    ip(rig.pods[-1], "link", "del", "eth0")
                    rig.remove_pod(rig.pods[-1])
        known.close()
        return reached

    reached = rig.inside(phases)
    assert [row.failures for row in reached] == [()] * 9
    assert [row.pods for row in reached] == [3, 3, 2, 2, 1, 1, 1, 1, 1]
    assert rig.mtus() == {(1450, 1450)}


@pytest.mark.parametrize("kind", [netlink.RTM_SETLINK, netlink.RTM_NEWROUTE])
@pytest.mark.parametrize("end", ["host", "pod"])
def test_a_pod_that_vanishes_while_it_is_changed_is_no_failure(
    rigs: RigMaker, journals: Path, monkeypatch: pytest.MonkeyPatch, kind: int, end: str
) -> None:
    rig = rigs(3)
    exchange = netlink.Socket.exchange

    def phases() -> migration.Applied:
        known = journal.Journal.open("m1", journals)
        with change_engine.Engine(known) as engine:
            assert engine.make_true(rig.desired(Phase.RECORD, 1450)).done
            victim = engine.state.sock if end == "host" else list(engine.state.pods.values())[1].sock

            def deleting(self: netlink.Socket, requests: Sequence[netlink.Request]) -> list[netlink.Reply]:
                if self is victim and requests[0][0] == kind and "cali2" in ip(rig.node, "link"):
                    ip(rig.node, "link", "del", "cali2")
                return exchange(self, requests)

            monkeypatch.setattr(netlink.Socket, "exchange", deleting)
            reached = engine.make_true(rig.desired(Phase.DEVICES, 1450))
            monkeypatch.undo()
        known.close()
        return reached

    reached = rig.inside(phases)
    assert reached.failures == ()
    assert reached.pods == 2
    rig.remove_pod(rig.pods[1])
    assert rig.mtus() == {(1450, 1450)}


def test_pods_born_later_come_along_and_go_back_to_the_origin(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1)
    rig.walk(1450, journals, phases=migration.ORDER[:5])
    late = rig.add_pod(2, mtu=1500)
    before = ip(late, "route"), ip(late, "-6", "route")
    rig.walk(1450, journals, phases=[Phase.DEVICES])
    assert rig.mtus() == {(1450, 1450)}
    assert "mtu lock 1450" in ip(late, "route")
    rig.walk(1450, journals, phases=migration.ORDER[5:])
    assert (ip(late, "route"), ip(late, "-6", "route")) == before
    born_small = rig.add_pod(3, mtu=1450)  # the configuration has followed meanwhile
    rig.walk(1450, journals, phases=migration.ORDER[1:], restore=True)
    assert rig.mtus() == {(1500, 1500)}
    assert rig.mtu_of(born_small, "eth0") == 1500
    entries = journal.Journal.open("m1", journals)
    assert {port.host_link: port.born_later for port in entries.ports.values()} == {
        "cali1": False,
        "cali2": True,
        "cali3": True,
    }
    entries.close()


def test_a_second_network_of_a_pod_is_left_alone(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1)
    pod = rig.pods[0]
    ip(rig.node, "link", "add", "br-other", "type", "bridge")
    ip(pod, "link", "add", "net1", "type", "veth", "peer", "name", "vethother", "netns", rig.node)
    ip(rig.node, "link", "set", "vethother", "master", "br-other", "up")
    ip(pod, "link", "set", "net1", "up")
    ip(pod, "addr", "add", "172.20.0.5/24", "dev", "net1")
    ip(pod, "route", "add", "172.21.0.0/16", "via", "172.20.0.1", "dev", "net1")
    rig.walk(1450, journals, phases=migration.ORDER[:5])
    assert rig.mtu_of(pod, "net1") == 1500
    assert rig.mtu_of(rig.node, "vethother") == 1500
    assert "mtu" not in ip(pod, "route", "show", "dev", "net1")
    assert rig.mtus() == {(1450, 1450)}


def test_the_tunnel_is_checked_before_anything_changes(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1, mtu=1450)
    desired = msgspec.structs.replace(rig.desired(Phase.RECORD, 1500), tunnel_mtu=1451)
    reached = rig.make_true(desired, journals)
    assert not reached.done
    (sentence,) = reached.failures
    assert "flannel.1 cannot have MTU 1451" in sentence
    assert "1450 is the most" in sentence
    pinned = rig.make_true(msgspec.structs.replace(desired, phase=Phase.DEVICES), journals)
    assert not pinned.done
    assert pinned.settings_changed == 0
    assert rig.mtus() == {(1450, 1450)}


def test_below_1280_is_refused_while_ipv6_is_on(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(2)
    before = rig.routes()
    reached = rig.make_true(rig.desired(Phase.DEVICES, 1279), journals)
    assert not reached.done
    assert any("1279 is below 1280" in failure for failure in reached.failures)
    assert reached.settings_changed == 0
    assert rig.mtus() == {(1500, 1500)}
    assert rig.routes() == before


def test_an_ipv4_only_node_may_go_below_1280(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(2, ipv6=False)
    rig.sysctl(rig.node, "net/ipv6/conf/flannel.1/disable_ipv6", "1")
    rig.walk(1000, journals)
    assert rig.mtus() == {(1000, 1000)}


def test_the_tunnel_moves_and_comes_back(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1)
    rig.walk(1400, journals)
    assert rig.mtu_of(rig.node, "flannel.1") == 1400
    rig.walk(1400, journals, phases=migration.ORDER[1:], restore=True)
    assert rig.mtu_of(rig.node, "flannel.1") == 1450


def test_a_route_above_a_tunnel_that_stays_ends_at_it(rigs: RigMaker, journals: Path) -> None:
    """Felix gives the routes what it is told, and the kernel refuses its tunnel the same (felix: vxlan_mgr.go, route).

    Above its device IPv4 sends what the route says (net/ipv4/route.c, ipv4_mtu), so the node would exceed the pods'.
    """
    rig = rigs(1)
    ip(rig.node, "route", "change", "10.42.3.0/24", "via", "10.42.3.0", "dev", "flannel.1", "onlink", "mtu", "1500")
    before = rig.routes()
    for phase in migration.ORDER:
        applied = rig.make_true(msgspec.structs.replace(rig.desired(phase, 1450), tunnel_mtu=None), journals)
        assert applied.done
    assert applied.largest_sent == 1450
    assert "10.42.3.0/24 via 10.42.3.0 dev flannel.1 onlink mtu 1450 \n" in ip(rig.node, "route")
    for phase in migration.ORDER[1:]:
        desired = msgspec.structs.replace(rig.desired(phase, 1450, restore=True), tunnel_mtu=None)
        assert rig.make_true(desired, journals).done
    assert rig.routes() == before


@pytest.mark.parametrize(("own", "ends"), [(1400, 1450), (1380, 1380)], ids=["the tunnel's number", "a smaller one"])
def test_a_route_with_the_tunnels_number_grows_with_it(rigs: RigMaker, journals: Path, own: int, ends: int) -> None:
    """Felix gives both the same (felix: vxlan_mgr.go, route); what somebody made smaller stays as it is."""
    rig = rigs(1, mtu=1400)
    ip(rig.node, "link", "set", "flannel.1", "mtu", "1400")
    ip(rig.node, "route", "change", "10.42.3.0/24", "via", "10.42.3.0", "dev", "flannel.1", "onlink", "mtu", str(own))
    before = rig.routes()
    rig.walk(1450, journals)
    assert rig.mtu_of(rig.node, "flannel.1") == 1450
    assert f"10.42.3.0/24 via 10.42.3.0 dev flannel.1 onlink mtu {ends} \n" in ip(rig.node, "route")
    rig.walk(1450, journals, phases=migration.ORDER[1:], restore=True)
    assert rig.routes() == before


def test_a_bridge_set_by_hand_is_set_and_one_that_follows_is_left_following(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(2, bridged=True)
    rig.walk(1450, journals)
    assert rig.mtu_of(rig.node, "cni0") == 1450
    rig.add_pod(3, mtu=1400)
    assert rig.mtu_of(rig.node, "cni0") == 1400  # it still follows its lowest port

    by_hand = rigs(2, bridged=True)
    ip(by_hand.node, "link", "set", "cni0", "mtu", "1500")
    by_hand.walk(1450, journals / "by-hand")
    assert by_hand.mtu_of(by_hand.node, "cni0") == 1450
    by_hand.walk(1450, journals / "by-hand", phases=migration.ORDER[1:], restore=True)
    assert by_hand.mtu_of(by_hand.node, "cni0") == 1500


def test_a_cni_that_writes_its_routes_again_is_pinned_again(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1)
    before = rig.routes()
    rig.walk(1450, journals, phases=migration.ORDER[:4])
    ip(rig.node, "route", "replace", "10.42.1.10", "dev", "cali1", "scope", "link")
    ip(rig.node, "route", "replace", "10.42.3.0/24", "via", "10.42.3.0", "dev", "flannel.1", "onlink")
    again = rig.make_true(rig.desired(Phase.PIN_PORTS, 1450), journals)
    assert again.settings_changed == 2
    assert again.largest_sent == 1450
    rig.walk(1450, journals, phases=migration.ORDER[4:])
    assert rig.routes() == before


def test_a_route_that_went_away_is_not_brought_back(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1)
    rig.walk(1450, journals, phases=migration.ORDER[:5])
    ip(rig.node, "route", "del", "10.42.3.0/24")
    ip(rig.pods[0], "route", "del", "default")
    rig.walk(1450, journals, phases=migration.ORDER[5:])
    assert "10.42.3.0" not in ip(rig.node, "route")
    assert "default" not in ip(rig.pods[0], "route")


def test_a_changed_gateway_is_kept_and_its_pin_removed(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1)
    rig.walk(1450, journals, phases=migration.ORDER[:5])
    lock = ("mtu", "lock", "1450")
    ip(rig.node, "route", "replace", "10.42.3.0/24", "via", "10.42.3.9", "dev", "flannel.1", "onlink", *lock)
    rig.walk(1450, journals, phases=migration.ORDER[5:])
    assert "10.42.3.0/24 via 10.42.3.9 dev flannel.1 onlink" in ip(rig.node, "route")
    assert "lock" not in ip(rig.node, "route")


def test_routes_over_two_next_hops_are_pinned_and_restored(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1)
    hops = ("nexthop", "via", "192.168.77.8", "dev", "eth0", "nexthop", "via", "192.168.77.9", "dev", "eth0")
    ip(rig.node, "route", "add", "10.42.9.0/24", *hops)
    before = rig.routes()
    rig.walk(1450, journals, phases=migration.ORDER[:5])
    assert "10.42.9.0/24 mtu lock 1450" in ip(rig.node, "route")
    rig.walk(1450, journals, phases=migration.ORDER[5:])
    assert rig.routes() == before


def test_a_pod_whose_namespace_has_no_name_is_found_by_its_process(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(2)
    hidden = rig.pods[0]
    holder = subprocess.Popen(("ip", "netns", "exec", hidden, "sleep", "600"))
    try:
        until(lambda: Path(f"/proc/{holder.pid}/ns/net").stat().st_ino == Path(f"/run/netns/{hidden}").stat().st_ino)
        until(lambda: Path(f"/proc/{holder.pid}/comm").read_text() == "sleep\n")
        rig.remove_pod(hidden)
        reached = rig.walk(1450, journals)
        assert reached[-1].pods == 2
        inside = ("nsenter", f"--net=/proc/{holder.pid}/ns/net", "ip", "link", "show", "eth0")
        assert "mtu 1450" in subprocess.run(inside, capture_output=True, text=True, check=True).stdout
    finally:
        holder.kill()
        holder.wait()


def test_a_port_whose_pod_cannot_be_reached_is_a_failure_and_keeps_both_ends(
    rigs: RigMaker, journals: Path, tmp_path: Path
) -> None:
    rig = rigs(2)
    blind = netns.Roots(netns=(tmp_path,), proc=tmp_path)

    def phase() -> migration.Applied:
        return change_engine.make_true(rig.desired(Phase.DEVICES, 1450), directory=journals, roots=blind)

    reached = rig.inside(phase)
    assert not reached.done
    assert len(reached.failures) == 2
    assert "was found neither by name (/run/netns, /run/docker/netns) nor through /proc" in reached.failures[0]
    assert rig.mtus() == {(1500, 1500)}


def test_an_end_that_is_refused_takes_the_other_back_and_stops_no_other_pod(
    rigs: RigMaker, journals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = rigs(3, mtu=1450)
    exchange = netlink.Socket.exchange

    def phases() -> migration.Applied:
        known = journal.Journal.open("m1", journals)
        with change_engine.Engine(known) as engine:
            for phase in migration.ORDER[:4]:
                assert engine.make_true(rig.desired(phase, 1500)).done
            victim = next(pod.sock for pod in engine.state.pods.values() if pod.host.name == "cali2")

            def refusing(self: netlink.Socket, requests: Sequence[netlink.Request]) -> list[netlink.Reply]:
                if self is victim and requests[0][0] == netlink.RTM_SETLINK:
                    requests = [links.move(2, 70000), *requests[1:]]  # more than a veth takes
                return exchange(self, requests)

            monkeypatch.setattr(netlink.Socket, "exchange", refusing)
            reached = engine.make_true(rig.desired(Phase.DEVICES, 1500))
            monkeypatch.undo()
        known.close()
        return reached

    reached = rig.inside(phases)
    assert not reached.done
    (sentence,) = reached.failures
    assert rig.pods[1] in sentence
    assert "cali2" in sentence
    assert "EINVAL" in sentence
    assert [rig.mtu_of(rig.node, f"cali{number}") for number in (1, 2, 3)] == [1500, 1450, 1500]
    assert [rig.mtu_of(pod, "eth0") for pod in rig.pods] == [1500, 1450, 1500]
    rig.walk(1500, journals, phases=migration.ORDER[4:])
    assert rig.mtus() == {(1500, 1500)}


def test_two_routes_that_a_replace_cannot_tell_apart_are_refused_and_no_device_moves(
    rigs: RigMaker, journals: Path
) -> None:
    rig = rigs(1)
    pod = rig.pods[0]
    ip(pod, "link", "add", "net1", "type", "veth", "peer", "name", "net1peer")
    for link in ("net1", "net1peer"):
        ip(pod, "link", "set", link, "up")
    ip(pod, "route", "add", "10.77.0.0/24", "dev", "net1")
    ip(pod, "route", "append", "10.77.0.0/24", "dev", "eth0")
    before = rig.routes()
    assert rig.make_true(rig.desired(Phase.RECORD, 1450), journals).done
    reached = rig.make_true(rig.desired(Phase.DEVICES, 1450), journals)
    assert not reached.done
    (sentence,) = reached.failures
    assert "route 10.77.0.0/24" in sentence
    assert "two routes have this destination and metric" in sentence
    assert rig.mtus() == {(1500, 1500)}
    rig.walk(1450, journals, phases=migration.ORDER[5:], restore=True)
    assert rig.routes() == before


def test_routes_that_expire_go_on_expiring(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1, mtu=1450)
    pod = rig.pods[0]
    ip(pod, "-6", "route", "add", "fd77::/64", "dev", "eth0", "expires", "600")
    rig.walk(1500, journals, phases=migration.ORDER[:5])
    assert "mtu lock 1450" in ip(pod, "-6", "route", "show", "fd77::/64")
    rig.walk(1500, journals, phases=migration.ORDER[5:])
    (route,) = ip(pod, "-6", "route", "show", "fd77::/64").splitlines()
    assert "mtu" not in route
    assert 500 < int(route.split("expires ")[1].split("sec")[0]) <= 600


def test_routes_by_next_hop_object_are_pinned_and_restored(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1)
    ip(rig.node, "nexthop", "add", "id", "7", "via", "192.168.77.8", "dev", "eth0")
    ip(rig.node, "route", "add", "10.42.9.0/24", "nhid", "7")
    before = rig.routes()
    rig.walk(1450, journals, phases=migration.ORDER[:5])
    assert "10.42.9.0/24 nhid 7 via 192.168.77.8 dev eth0 mtu lock 1450" in " ".join(ip(rig.node, "route").split())
    rig.walk(1450, journals, phases=migration.ORDER[5:])
    assert rig.routes() == before


def test_a_host_gateway_is_pinned_on_a_nic_that_keeps_its_mtu(rigs: RigMaker, journals: Path) -> None:
    rig = rigs(1)
    ip(rig.node, "route", "replace", "10.42.2.0/24", "via", "192.168.77.2", "dev", "eth0")
    before = rig.routes()
    rig.walk(1450, journals, phases=migration.ORDER[:5])
    assert "10.42.2.0/24 via 192.168.77.2 dev eth0 mtu lock 1450" in ip(rig.node, "route")
    assert sysctl(rig.node, "net/ipv6/conf/eth0/mtu") == "1500"
    rig.walk(1450, journals, phases=migration.ORDER[5:])
    assert rig.mtu_of(rig.node, "eth0") == 1500
    assert rig.routes() == before

"""What one node does with an order: ways and rounds from inside its pods, and looks, in real namespaces."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.rigs import Rig, RigMaker, run

from kubemtu.core.mesh import rounds
from kubemtu.core.probe import request
from kubemtu.node import errors as node_errors
from kubemtu.node import observe
from kubemtu.node.kernel import netns
from kubemtu.node.probe import measuring, namespaces, station, wire

pytestmark = pytest.mark.netns

KEY = wire.Key(b"a key that all stations of the rig share")
TALK = """
import socket, sys
server = socket.create_server(("", 5000))
print("ready", flush=True)
held = [server.accept()[0]]
sys.stdin.read()
"""


SEND = """
import socket
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER = IP_PMTUDISC_DO
sender.sendto(bytes(1472), ("10.42.1.11", 9))
"""
FIRST = request.Namespace(node="n1", link="cali1")


class Node:
    """A rig as one node of a cluster: what it measures, and in which of its pods stations answer."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.places = namespaces.PodNamespaces(netns.Roots())
        self.look()

    def look(self) -> None:
        """Learn which pods there are, as an agent does."""
        self.places.learn(self.rig.inside(lambda: observe.observe("n1", ports=self.rig.rule)).ports)

    def told(self, asked: request.ProbeRequest) -> request.ProbeReport:
        """Carry an order out, as an agent of node n1 does on one of its threads."""
        work = measuring.Measuring("n1", self.places, KEY)
        return self.rig.inside(lambda: work.carry_out(asked))

    def measured(self, *ways: request.PathRequest) -> list[request.PathResult]:
        """What came of ways; nothing went wrong."""
        found = self.told(request.ProbeRequest(paths=ways))
        assert (found.done, found.errors) == (True, ())
        return list(found.results)

    @contextlib.contextmanager
    def answering(self, *numbers: int) -> Iterator[None]:
        """Have stations answer in these pods."""
        ready, stop = threading.Event(), threading.Event()

        def serve() -> None:
            with station.Station(KEY, port=7843) as serving:
                for number in numbers:
                    space = self.places.enter(self.rig.host_link(number))
                    serving.open(str(number), space, port=7843)
                    serving.listen(7843, str(number))
                ready.set()
                serving.serve(lambda: not stop.is_set())

        thread = threading.Thread(target=lambda: self.rig.inside(serve))
        thread.start()
        try:
            assert ready.wait(60)
            yield
        finally:
            stop.set()
            thread.join()


@pytest.fixture
def nodes(rigs: RigMaker) -> Callable[[int], Node]:
    """Makes a node with so many pods, whose veths take no more than their MTU."""

    def make(pods: int) -> Node:
        return Node(rigs(pods, gso=False))

    return make


def narrow(node: Node, number: int, mtu: int) -> None:
    """Give the node's end of a pod's veth another MTU than the pod's."""
    run("ip", "-n", node.rig.node, "link", "set", node.rig.host_link(number), "mtu", str(mtu))


def way(here: int, to: str, **changes: object) -> request.PathRequest:
    port = f"cali{here}" if here else ""
    found = request.PathRequest(name=f"{here} > {to}", source=request.Namespace(node="n1", link=port), address=to)
    return msgspec.structs.replace(found, **changes)


FAMILIES = pytest.mark.parametrize("address", [Rig.address, Rig.address6], ids=["IPv4", "IPv6"])


# Ways


@FAMILIES
def test_from_inside_a_pod_to_another_pod_and_back(nodes: Callable[[int], Node], address: Callable[[int], str]) -> None:
    node = nodes(2)
    with node.answering(2):
        (found,) = node.measured(way(1, address(2), both_ways=True))
    assert (found.verdict.kind, found.verdict.mtu, found.protocol, found.both_ways) == ("ok", 1500, "UDP", True)
    assert found.round_trip_seconds > 0
    assert found.forward is None


@FAMILIES
def test_each_direction_has_a_size_of_its_own(nodes: Callable[[int], Node], address: Callable[[int], str]) -> None:
    """Towards the pod the node refuses what its end of the veth does not take, and says so.

    From the pod that end drops what is larger by more than a VLAN tag, 4 bytes (__is_skb_forwardable).
    """
    node = nodes(2)
    narrow(node, 2, 1400)
    with node.answering(2):
        there, both = node.measured(way(1, address(2)), way(1, address(2), name="both", both_ways=True))
    assert (there.verdict.kind, there.verdict.mtu, there.verdict.expected) == ("lower", 1400, 1500)
    assert (both.verdict.kind, both.verdict.mtu, both.both_ways) == ("asymmetric", 1400, True)
    assert both.verdict.sentence.startswith("1400 bytes arrive there and 1404 come back: ")


def test_what_is_expected_is_enough_when_that_is_asked(nodes: Callable[[int], Node]) -> None:
    node = nodes(2)
    with node.answering(2):
        enough, whole = node.measured(
            way(1, Rig.address(2), expected=1400, cap_at_expected=True, detailed=True),
            way(1, Rig.address(2), name="whole", expected=1400, detailed=True),
        )
    assert (enough.verdict.kind, enough.verdict.mtu, enough.verdict.expected) == ("ok", 1400, 1400)
    assert (whole.verdict.kind, whole.verdict.mtu, whole.verdict.expected) == ("ok", 1500, 1400)
    assert enough.forward is not None
    assert enough.forward.search.limit == "expected"


def test_from_the_node_itself(nodes: Callable[[int], Node]) -> None:
    node = nodes(1)
    with node.answering(1):
        (found,) = node.measured(way(0, Rig.address(1)))
    assert (found.verdict.kind, found.verdict.mtu) == ("ok", 1500)


def test_ways_of_other_nodes_are_theirs(nodes: Callable[[int], Node]) -> None:
    there = request.PathRequest(name="theirs", source=request.Namespace(node="n2"), address=Rig.address(1))
    assert nodes(1).told(request.ProbeRequest(paths=(there,))) == request.ProbeReport(ready=True, done=True)


def test_many_pods_measure_in_one_order(nodes: Callable[[int], Node]) -> None:
    node = nodes(4)
    narrow(node, 3, 1400)
    asked = [way(here, Rig.address(to)) for here in range(1, 5) for to in range(1, 5) if here != to]
    with node.answering(1, 2, 3, 4):
        found = {one.path: (one.verdict.kind, one.verdict.mtu) for one in node.measured(*asked)}
    assert len(found) == 12
    assert {found[f"{here} > 10.42.1.12"] for here in (1, 2, 4)} == {("lower", 1400)}
    assert {found[f"3 > {Rig.address(to)}"] for to in (1, 2, 4)} == {("black hole", 1404)}
    assert sum(kind == ("ok", 1500) for kind in found.values()) == 6


def test_several_flows_leave_from_as_many_ports(nodes: Callable[[int], Node]) -> None:
    node = nodes(2)
    narrow(node, 2, 1400)
    with node.answering(2):
        one, more = node.measured(
            way(1, Rig.address(2), detailed=True), way(1, Rig.address(2), name="more", flows=6, both_ways=True)
        )
    assert one.forward is not None
    assert one.forward.source_port > 0
    assert (more.verdict.mtu, more.both_ways) == (1400, True)
    assert more.packets > 3 * one.packets


# Where no station answers


@FAMILIES
def test_where_no_station_answers_echo_does(nodes: Callable[[int], Node], address: Callable[[int], str]) -> None:
    node = nodes(2)
    (found,) = node.measured(way(1, address(2), flows=3, both_ways=True))
    assert (found.verdict.kind, found.verdict.mtu, found.protocol, found.both_ways) == ("ok", 1500, "ICMP echo", False)
    (note,) = found.notes
    assert note.startswith("measured with ICMP echo, because no station answers there: ")


def test_echo_finds_the_size_as_well(nodes: Callable[[int], Node]) -> None:
    node = nodes(2)
    narrow(node, 2, 1400)
    (found,) = node.measured(way(1, Rig.address(2)))
    assert (found.verdict.kind, found.verdict.mtu, found.protocol) == ("lower", 1400, "ICMP echo")


def test_echo_is_not_tried_where_nobody_wants_it(nodes: Callable[[int], Node]) -> None:
    (found,) = nodes(2).measured(way(1, Rig.address(2), icmp_fallback=False))
    assert (found.verdict.kind, found.verdict.mtu, found.protocol) == ("unreachable", 0, "UDP")


def test_a_mute_way_does_not_hold_up_the_others(nodes: Callable[[int], Node]) -> None:
    node = nodes(3)
    node.rig.sysctl(node.rig.pods[2], "net/ipv4/icmp_echo_ignore_all", "1")
    with node.answering(2):
        found = node.measured(way(1, Rig.address(3)), way(1, Rig.address(2)), way(1, "10.42.9.9"))
    assert [(one.verdict.kind, one.protocol) for one in found] == [
        ("unreachable", "UDP"),
        ("ok", "UDP"),
        ("unreachable", "UDP"),
    ]


def test_stations_of_another_key_answer_nothing(nodes: Callable[[int], Node]) -> None:
    node = nodes(2)
    work = measuring.Measuring("n1", node.places, wire.Key(b"the key of another cluster"))
    with node.answering(2):
        found = node.rig.inside(
            lambda: work.carry_out(request.ProbeRequest(paths=(way(1, Rig.address(2), icmp_fallback=False),)))
        )
    assert found.results[0].verdict.kind == "unreachable"


# Deeply


def test_deeply_what_tcp_believes_is_told_of_both_directions(nodes: Callable[[int], Node]) -> None:
    """An MSS of 1500 - 20 - 20 (RFC 9293, 3.7.1), announced in the pod and seen from inside the other one."""
    node = nodes(2)
    with node.answering(2):
        (found,) = node.measured(way(1, Rig.address(2), detailed=True, both_ways=True))
    assert found.forward is not None
    assert found.backward is not None
    assert (found.forward.search.mtu, found.backward.search.mtu) == (1500, 1500)
    for direction in (found.forward, found.backward):
        assert direction.segments is not None
        assert (direction.segments.announced_mss, direction.segments.received_mss) == (1460, 1460)
    assert found.forward.unfragmented_mtu is None


def test_deeply_where_tcp_is_not_answered_the_path_is_told_all_the_same(nodes: Callable[[int], Node]) -> None:
    (found,) = nodes(2).measured(way(1, Rig.address(2), detailed=True))
    assert (found.protocol, found.verdict.mtu) == ("ICMP echo", 1500)
    assert found.forward is not None
    assert found.forward.segments is None


# What is gone, and what makes no sense


def test_a_pod_that_is_gone_is_said_once(nodes: Callable[[int], Node]) -> None:
    node = nodes(2)
    node.rig.remove_pod(node.rig.pods[0])
    with node.answering(2):
        found = node.told(
            request.ProbeRequest(
                paths=(way(1, Rig.address(2)), way(1, Rig.address(2), name="again"), way(0, Rig.address(2))),
                inspect=(request.Namespace(node="n1", link="cali1"),),
            )
        )
    assert [one.verdict.kind for one in found.results] == ["unreachable", "unreachable", "ok"]
    assert found.errors == ("the pod behind cali1 is gone",)
    assert [(look.link, look.before, look.error) for look in found.readings] == [
        ("cali1", None, "the pod behind cali1 is gone")
    ]


def test_what_is_no_address_stops_nothing(nodes: Callable[[int], Node]) -> None:
    node = nodes(2)
    with node.answering(2):
        found = node.told(request.ProbeRequest(paths=(way(1, "999.1.1.1"), way(1, Rig.address(2)))))
    assert [one.verdict.kind for one in found.results] == ["unreachable", "ok"]
    assert found.done


# Rounds


def place(number: int) -> request.MeshMember:
    """A pod as one member, each on a node of its own as far as the round knows."""
    return request.MeshMember(node=f"n{number}", address=Rig.address(number), link=f"cali{number}")


def test_a_round_lists_only_what_is_not_as_it_should_be(nodes: Callable[[int], Node]) -> None:
    node = nodes(4)
    narrow(node, 3, 1400)
    node.rig.sysctl(node.rig.pods[3], "net/ipv4/icmp_echo_ignore_all", "1")
    asked = request.MeshRequest(members=tuple(map(place, range(1, 5))), expected=1500)
    with node.answering(2, 3):
        row = node.told(request.ProbeRequest(mesh=asked)).mesh_row
    assert row is not None
    assert (row.sender, row.measured, row.ok, row.error) == (0, 3, 1, "")
    assert row.groups == (
        rounds.PeerGroup(kind="lower", mtu=1400, receivers=(2,)),
        rounds.PeerGroup(kind="unreachable", mtu=0, receivers=(3,)),
    )


@pytest.mark.parametrize(("offsets", "measured", "bad"), [((1, 2), 2, ()), ((2, 5), 2, (5,)), ((), 11, (5,))])
def test_in_a_large_round_each_measures_those_so_many_places_further(
    nodes: Callable[[int], Node], offsets: tuple[int, ...], measured: int, bad: tuple[int, ...]
) -> None:
    """With eleven peers one packet is sent to each at first, and only those that do not answer are searched."""
    node = nodes(12)
    narrow(node, 6, 1400)
    asked = request.MeshRequest(
        members=tuple(map(place, range(1, 13))), expected=1500, offsets=offsets, packets_per_second=200.0
    )
    with node.answering(*range(2, 13)):
        row = node.told(request.ProbeRequest(mesh=asked)).mesh_row
    assert row is not None
    assert (row.measured, row.ok) == (measured, measured - len(bad))
    assert row.groups == ((rounds.PeerGroup(kind="lower", mtu=1400, receivers=bad),) if bad else ())


def test_who_is_no_member_has_no_row(nodes: Callable[[int], Node]) -> None:
    asked = request.MeshRequest(members=(place(2), place(3)), expected=1500)
    assert nodes(1).told(request.ProbeRequest(mesh=asked)) == request.ProbeReport(ready=True, done=True)


def test_a_member_whose_pod_is_gone_says_so(nodes: Callable[[int], Node]) -> None:
    node = nodes(2)
    node.rig.remove_pod(node.rig.pods[0])
    row = node.told(
        request.ProbeRequest(mesh=request.MeshRequest(members=(place(1), place(2)), expected=1500))
    ).mesh_row
    assert row == rounds.MeshRow(sender=0, measured=0, ok=0, error="the pod behind cali1 is gone")


# Evidence


@contextlib.contextmanager
def talking(rig: Rig) -> Iterator[None]:
    """A TCP connection from the first pod to the second, with nothing to say."""
    command = ["nsenter", f"--net=/run/netns/{rig.pods[1]}", sys.executable, "-I", "-S", "-c", TALK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        with Path(f"/run/netns/{rig.pods[0]}").open("rb") as space:
            held = netns.inside(space.fileno(), lambda: socket.create_connection((Rig.address(2), 5000), 5))
        with held:
            yield
        server.kill()


def test_a_look_tells_what_there_is_before_and_after(nodes: Callable[[int], Node]) -> None:
    node = nodes(3)
    spots = [
        request.Namespace(node="n1", link="cali1"),
        request.Namespace(node="n1"),
        request.Namespace(node="n2", link="cali3"),
    ]
    with talking(node.rig):
        found = node.told(request.ProbeRequest(inspect=tuple(spots)))
    assert [look.link for look in found.readings] == ["cali1", ""]
    pod, own = found.readings
    assert pod.before is not None
    assert pod.after is not None
    assert [(one.remote, one.remote_port) for one in pod.before.connections] == [("10.42.1.11", 5000)]
    assert pod.after.at >= pod.before.at
    assert own.before is not None
    assert own.before.established == 0
    assert (pod.flushed, pod.error) == (0, "")


@pytest.fixture
def taught(nodes: Callable[[int], Node]) -> Node:
    """The first pod's kernel has learned 1400 for the second from the node; the veth takes 1500 again."""
    node = nodes(2)
    narrow(node, 2, 1400)
    run("nsenter", f"--net=/run/netns/{node.rig.pods[0]}", sys.executable, "-I", "-S", "-c", SEND)
    narrow(node, 2, 1500)
    assert "mtu 1400" in run("ip", "-n", node.rig.pods[0], "route", "get", "10.42.1.11")
    return node


def test_what_was_learned_is_told_and_left_as_it_is(taught: Node) -> None:
    with taught.answering(2):
        found = taught.told(request.ProbeRequest(paths=(way(1, Rig.address(2)),), inspect=(FIRST,)))
    assert found.results[0].verdict.kind == "stale path MTU"
    (look,) = found.readings
    assert look.after is not None
    assert [(one.destination, one.mtu) for one in look.after.learned] == [("10.42.1.11", 1400)]
    assert look.flushed == 0


def test_what_was_learned_is_forgotten_before_it_is_measured(taught: Node) -> None:
    with taught.answering(2):
        found = taught.told(request.ProbeRequest(paths=(way(1, Rig.address(2)),), inspect=(FIRST,), flush=(FIRST,)))
    assert found.results[0].verdict.kind == "ok"
    (look,) = found.readings
    assert look.before is not None
    assert look.after is not None
    assert [(one.destination, one.mtu) for one in look.before.learned] == [("10.42.1.11", 1400)]
    assert (look.flushed, look.after.learned) == (1, ())
    assert "mtu" not in run("ip", "-n", taught.rig.pods[0], "route", "get", "10.42.1.11")


def test_forgetting_alone_is_told_as_well(taught: Node) -> None:
    (look,) = taught.told(request.ProbeRequest(flush=(FIRST,))).readings
    assert (look.link, look.flushed, look.after) == ("cali1", 1, None)


def test_what_nobody_wants_to_know_any_more_is_given_up(nodes: Callable[[int], Node]) -> None:
    node = nodes(1)
    ends = time.monotonic() + 0.1
    work = measuring.Measuring("n1", node.places, KEY, going_on=lambda: time.monotonic() < ends)
    silent = request.ProbeRequest(paths=tuple(way(1, f"10.42.1.{number}", flows=4) for number in range(100, 200)))
    with pytest.raises(node_errors.Stopped):
        node.rig.inside(lambda: work.carry_out(silent))


def test_one_question_costs_a_node_no_more_than_its_budget(nodes: Callable[[int], Node]) -> None:
    node = nodes(1)
    sent = node.rig.inside(lambda: Path("/proc/thread-self/net/snmp").read_text())
    found = node.told(request.ProbeRequest(paths=tuple(way(1, "10.42.1.99", flows=256) for _ in range(5))))
    assert (found.done, found.results) == (True, ())
    assert found.errors == (
        "node n1 was asked for 1280 flows at once and measured none of them: one MTUProbe may have a node measure 1024",
    )
    assert node.rig.inside(lambda: Path("/proc/thread-self/net/snmp").read_text()) == sent

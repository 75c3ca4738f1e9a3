"""Which ways are asked for, to answer for two ends; what cannot be asked for is said."""

import msgspec
from tests.support.known import N1, SNAPSHOT, find, node, pod, port
from tests.support.paths import OUTSIDE, PG, WEB, both, changed, direction, leg, nothing

from kubemtu.core import net
from kubemtu.core.probe import request
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.why import legs
from kubemtu.core.why.endpoints import Endpoint

N2 = net.NodeObservation(
    node="n2", uplinks=(net.Uplink(peer="192.0.2.1", device="eth0", mtu=1500),), ports=(port("calipg", "10.42.2.10"),)
)
BOTH = msgspec.structs.replace(SNAPSHOT, nodes=(N1, N2))


def ways(start: Endpoint, goal: Endpoint, snapshot: Snapshot = BOTH) -> list[tuple[str, str, str, str, bool]]:
    """Every way: its role, the node and the link that it begins at, where it leads, and whether it is asked back."""
    return [
        (role, way.source.node, way.source.link, way.address, way.both_ways)
        for task in legs.endpoint_pairs(start, goal, snapshot, "0", flows=20)
        for role, way in task.requests
    ]


def known(word: str) -> Endpoint:
    return find(word, snapshot=BOTH)


def test_two_pods_of_two_nodes_are_measured_whole_and_in_parts() -> None:
    assert ways(known("web-1"), known("db/pg-0")) == [
        ("whole", "n1", "cali1", "10.42.2.10", True),
        ("near", "n1", "cali1", "192.0.2.1", True),
        ("nodes", "n1", "", "192.0.2.2", True),
        ("overlay", "n1", "", "10.42.2.10", False),
        ("far", "n2", "", "10.42.2.10", True),
    ]


def test_several_source_ports_where_there_may_be_equal_paths() -> None:
    (task,) = legs.endpoint_pairs(known("web-1"), known("db/pg-0"), BOTH, "0", flows=20)
    assert {role: way.flows for role, way in task.requests} == {
        "whole": 20,
        "near": 1,
        "nodes": 20,
        "overlay": 1,
        "far": 1,
    }
    assert {role: way.expected for role, way in task.requests if way.expected} == {"overlay": 1450, "far": 1450}


def test_two_pods_of_one_node_meet_no_other() -> None:
    assert [one[0] for one in ways(known("web-1"), known("web-2"))] == ["whole", "near", "far"]


def test_two_nodes_have_no_parts() -> None:
    assert [one[0] for one in ways(known("n1"), known("node/n2"))] == ["whole"]


def test_without_an_agent_at_the_other_end_the_way_between_the_nodes_is_measured_from_here() -> None:
    assert ways(find("web-1"), find("db/pg-0"), SNAPSHOT) == [
        ("whole", "n1", "cali1", "10.42.2.10", True),
        ("near", "n1", "cali1", "192.0.2.1", True),
        ("nodes", "n1", "", "192.0.2.2", True),
    ]


def test_each_family_that_both_have_is_a_task_of_its_own() -> None:
    six = changed(PG, addresses=("10.42.2.10", "fd00:42:2::10"))
    found = list(legs.endpoint_pairs(known("web-1"), six, BOTH, "0", flows=1))
    assert [(task.family, task.requests[0][1].address) for task in found] == [
        ("IPv4", "10.42.2.10"),
        ("IPv6", "fd00:42:2::10"),
    ]
    (only,) = legs.endpoint_pairs(known("web-1"), changed(PG, addresses=("fd00:42:2::10",)), BOTH, "0", flows=1)
    assert (only.family, only.requests[0][1].address) == ("", "fd00:42:2::10")
    assert (
        list(legs.endpoint_pairs(known("web-2"), changed(PG, addresses=("fd00:42:2::10",)), BOTH, "0", flows=1)) == []
    )


def test_a_service_is_answered_by_its_endpoints_but_for_the_one_who_asks() -> None:
    found = list(legs.endpoint_pairs(known("web-1"), known("svc/web"), BOTH, "0", flows=1))
    assert [(task.source.name, task.destination.name) for task in found] == [("default/web-1", "db/pg-0")]
    (sentence,) = legs.limits(known("web-1"), known("svc/web"))
    assert sentence == (
        "nobody behind 10.43.0.7 answers probes, so its endpoints were measured, which is where its packets go; "
        "`kubemtu why default/web-1 svc/kubemtu/kubemtu-probe` goes through such an address"
    )


def test_a_node_port_is_answered_by_the_way_to_the_node_and_on_from_there() -> None:
    goal = known("192.0.2.2:30080")
    found = list(legs.endpoint_pairs(known("web-2"), goal, BOTH, "0", flows=1))
    assert [(task.source.name, task.destination.name) for task in found] == [
        ("default/web-2", "n2"),
        ("n2", "default/web-1"),
        ("n2", "db/pg-0"),
    ]
    (sentence,) = legs.limits(known("web-2"), goal)
    assert sentence == (
        "nobody behind svc default/web by port 30080 of n2 answers probes, so what the translation does was not "
        "measured: the ways from default/web-2 to n2 and from there to the endpoints were"
    )


def test_the_probes_own_service_is_gone_through() -> None:
    probe = Endpoint(
        kind="service", name="svc kubemtu/kubemtu-probe", addresses=("10.43.0.9",), members=(PG,), member_count=1
    )
    found = list(legs.endpoint_pairs(WEB, probe, BOTH, "0", flows=20))
    assert [(task.destination.name, task.requests[0][0], task.requests[0][1].address) for task in found] == [
        ("db/pg-0", "whole", "10.42.2.10"),
        ("svc kubemtu/kubemtu-probe", "service", "10.43.0.9"),
    ]
    assert list(legs.limits(WEB, probe)) == []


def test_endpoints_that_were_left_out_are_counted() -> None:
    many = Endpoint(kind="service", name="svc default/web", members=(PG,), member_count=20)
    assert list(legs.limits(WEB, many)) == ["svc default/web has 20 endpoints; 1 of them were measured"]


def test_one_end_alone_is_tried_to_a_pod_of_each_other_node_a_probe_first() -> None:
    objects = (
        *SNAPSHOT.objects,
        pod("kubemtu-probe-x", "n2", "10.42.2.20", namespace="kubemtu"),
        node("n3", "192.0.2.3"),
    )
    snapshot = msgspec.structs.replace(SNAPSHOT, objects=objects)
    assert [end.name for end in legs.other_ends(find("web-1"), snapshot)] == ["kubemtu/kubemtu-probe-x", "n3"]
    assert [end.name for end in legs.other_ends(find("n1"), snapshot)] == ["n2", "n3"]


def test_the_other_end_is_asked_for_the_same_path() -> None:
    (task,) = legs.endpoint_pairs(known("web-1"), known("db/pg-0"), BOTH, "0", flows=20)
    role, way = legs.return_request(task)
    assert (role, way.source, way.address, way.both_ways) == (
        "return",
        request.Namespace(node="n2", link="calipg"),
        "10.42.1.10",
        True,
    )


def test_who_is_looked_at_and_who_has_to_answer() -> None:
    (task,) = legs.endpoint_pairs(known("web-1"), known("db/pg-0"), BOTH, "0", flows=1)
    assert legs.inspected([task, task]) == [
        request.Namespace(node="n1", link="cali1"),
        request.Namespace(node="n1"),
        request.Namespace(node="n2", link="calipg"),
        request.Namespace(node="n2"),
    ]
    assert legs.responders([task.destination, known("n1"), OUTSIDE, task.destination]) == [
        request.Namespace(node="n2", link="calipg")
    ]


def test_what_is_told_of_one_direction_only_is_asked_for_again_and_the_fuller_answer_is_taken() -> None:
    way = request.PathRequest(
        name="nodes", source=request.Namespace(node="n1"), address="192.0.2.2", both_ways=True, detailed=True
    )
    full = both("nodes", 1500, 1500).result
    half = leg("nodes", direction(1500, 1500)).result
    lossy = leg("nodes", direction(1400, 1500, ending="lossy"), direction(1500, 1500)).result
    dead = leg("nodes", nothing(1500)).result
    echoed = leg("nodes", direction(1500, 1500), over="ICMP echo").result
    assert [legs.incomplete(way, one) for one in (full, half, lossy, dead, echoed, None)] == [
        False,
        True,
        True,
        *3 * [False],
    ]
    assert not legs.incomplete(msgspec.structs.replace(way, both_ways=False), half)
    assert (legs.fuller(half, full), legs.fuller(full, half), legs.fuller(half, lossy)) == (full, full, lossy)

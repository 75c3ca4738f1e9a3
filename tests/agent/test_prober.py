"""What agents make of an MTUProbe, in a lab: they answer it in their NodeMTUs, and forget it when it is gone."""

import contextlib
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.change.cluster import NODE_MTUS, PROBES, Cluster, agent_pid, cluster, kill_agent
from tests.support.labs import Body, until

from kubemtu.core.probe import request
from kubemtu_lab import scene as scenes
from kubemtu_lab.scenes import named

pytestmark = [pytest.mark.lab, pytest.mark.netns]

TCP = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 7843), 20).close()
except ConnectionRefusedError:
    print("refused")
else:
    print("open")
"""
"""Says whether anybody listens on the port that stations answer on."""


@pytest.fixture(scope="module")
def lab(can_make_labs: None) -> Iterator[Cluster]:
    with cluster(scenes.resized(named("canal-healthy"), nodes=2, pods=2), "prober") as found:
        yield found


@pytest.fixture(autouse=True)
def tidy(lab: Cluster) -> Iterator[None]:
    """Nothing is asked and nothing is told, before and afterwards."""
    yield
    assert lab.questions() == []


def put(lab: Cluster, asked: request.ProbeRequest | Body) -> str:
    """Ask; returns the question's name."""
    name = f"probe-{uuid.uuid4().hex[:8]}"
    spec = asked if isinstance(asked, dict) else msgspec.to_builtins(asked)
    lab.kube.create(
        PROBES, {"apiVersion": "kubemtu.io/v1alpha1", "kind": "MTUProbe", "metadata": {"name": name}, "spec": spec}
    )
    return name


def take_away(lab: Cluster, name: str) -> None:
    """Take a question away, and wait until nobody tells anything of it."""
    lab.kube.delete(f"{PROBES}/{name}")
    until(lambda: not told(lab, name))


@contextlib.contextmanager
def question(lab: Cluster, asked: request.ProbeRequest | Body) -> Iterator[str]:
    name = put(lab, asked)
    try:
        yield name
    finally:
        take_away(lab, name)


def told(lab: Cluster, name: str) -> dict[str, request.ProbeReport]:
    """What each node tells of a question, as it stands in the API."""
    found = {}
    for node in lab.nodes:
        status = lab.node_mtu(node).get("status")
        answers = (status.get("probes") if isinstance(status, dict) else None) or {}
        if name in answers:
            found[node] = msgspec.convert(answers[name], request.ProbeReport)
    return found


def done(lab: Cluster, name: str, *nodes: str) -> Callable[[], bool]:
    def holds() -> bool:
        found = told(lab, name)
        return all(node in found and found[node].done for node in nodes)

    return holds


def spot(lab: Cluster, pod: str) -> request.Namespace:
    place = lab.lab.pod(pod)
    return request.Namespace(node=place.node, link=place.host_link)


def way(lab: Cluster, here: str, there: str, **changes: object) -> request.PathRequest:
    found = request.PathRequest(
        name=f"{here} > {there}", source=spot(lab, here), address=lab.lab.address(there), icmp_fallback=False
    )
    return msgspec.structs.replace(found, **changes)


def port(lab: Cluster, here: str, there: str) -> str:
    return lab.lab.exec(here, ["python3", "-I", "-S", "-c", TCP, lab.lab.address(there)]).stdout.strip()


def internal(lab: Cluster, node: str) -> str:
    """The address of a node."""
    status = lab.kube.get(f"/api/v1/nodes/{node}")["status"]
    assert isinstance(status, dict)
    return next(str(one["address"]) for one in status["addresses"] if one["type"] == "InternalIP")


def held(lab: Cluster, node: str) -> set[int]:
    """The inodes of the files that the agent of a node holds open."""
    found = set()
    for descriptor in Path(f"/proc/{agent_pid(lab, node)}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(descriptor.stat().st_ino)
    return found


# Ways


def test_a_way_between_two_nodes_pods_is_measured_from_inside_and_back(lab: Cluster) -> None:
    with question(lab, request.ProbeRequest(responders=(spot(lab, "pod-2a"),))) as answering:
        until(done(lab, answering, "node-2"))
        assert told(lab, answering).keys() == {"node-2"}  # node-1 has nothing to tell
        with question(lab, request.ProbeRequest(paths=(way(lab, "pod-1a", "pod-2a", both_ways=True),))) as asked:
            until(done(lab, asked, "node-1"))
            found = told(lab, asked)
    assert found.keys() == {"node-1"}
    (result,) = found["node-1"].results
    assert (result.path, result.protocol, result.both_ways) == ("pod-1a > pod-2a", "UDP", True)
    assert (result.verdict.kind, result.verdict.mtu) == ("ok", 1450)


def test_where_nobody_asked_for_answers_nobody_answers(lab: Cluster) -> None:
    ways = way(lab, "pod-1a", "pod-2a"), way(lab, "pod-1b", "pod-2a", icmp_fallback=True)
    with question(lab, request.ProbeRequest(paths=ways)) as asked:
        until(done(lab, asked, "node-1"))
        mute, echoed = told(lab, asked)["node-1"].results
    assert (mute.verdict.kind, mute.protocol) == ("unreachable", "UDP")
    assert (echoed.verdict.mtu, echoed.protocol) == (1450, "ICMP echo")


def test_a_pod_answers_as_long_as_the_question_is_there(lab: Cluster) -> None:
    assert port(lab, "pod-1a", "pod-2a") == "refused"
    with question(lab, request.ProbeRequest(responders=(spot(lab, "pod-2a"),))) as asked:
        until(done(lab, asked, "node-2"))
        assert port(lab, "pod-1a", "pod-2a") == "open"
        assert port(lab, "pod-1a", "pod-2b") == "refused"
    until(lambda: port(lab, "pod-1a", "pod-2a") == "refused")


def test_a_pod_that_two_ask_for_answers_until_both_have_gone(lab: Cluster) -> None:
    asked = request.ProbeRequest(responders=(spot(lab, "pod-2a"),))
    with question(lab, asked) as first:
        second = put(lab, asked)
        until(lambda: done(lab, first, "node-2")() and done(lab, second, "node-2")())
        take_away(lab, second)
        time.sleep(0.3)
        assert port(lab, "pod-1a", "pod-2a") == "open"
    until(lambda: port(lab, "pod-1a", "pod-2a") == "refused")


def test_after_its_time_a_pod_answers_no_more_whether_it_was_taken_away_or_not(lab: Cluster) -> None:
    with question(lab, request.ProbeRequest(responders=(spot(lab, "pod-2a"),), timeout_seconds=8)) as asked:
        until(done(lab, asked, "node-2"))
        until(lambda: port(lab, "pod-1a", "pod-2a") == "refused")
        assert told(lab, asked)["node-2"].errors == ()


def test_two_questions_at_the_same_time(lab: Cluster) -> None:
    slow = request.ProbeRequest(mesh=silent_round("node-1"))
    quick = request.ProbeRequest(
        paths=(way(lab, "pod-1a", "pod-1b", icmp_fallback=True), way(lab, "pod-2a", "pod-2b", icmp_fallback=True))
    )
    with question(lab, slow) as first:
        time.sleep(0.5)
        with question(lab, quick) as second:
            until(done(lab, second, "node-1", "node-2"))
            assert not done(lab, first, "node-1")()
            results = [one for found in told(lab, second).values() for one in found.results]
    assert {(one.path, one.verdict.mtu) for one in results} == {("pod-1a > pod-1b", 1450), ("pod-2a > pod-2b", 1450)}


def silent_round(node: str) -> request.MeshRequest:
    """A round that takes this node minutes: a packet every ten seconds, and nobody there (RFC 5737)."""
    silent = tuple(request.MeshMember(node=f"away-{number}", address=f"198.51.100.{number}") for number in range(1, 17))
    return request.MeshRequest(
        members=(request.MeshMember(node=node, address="192.0.2.1"), *silent), expected=1450, packets_per_second=0.1
    )


# Rounds


def test_a_round_between_the_nodes(lab: Cluster) -> None:
    members = tuple(request.MeshMember(node=node, address=internal(lab, node)) for node in lab.nodes)
    with question(lab, request.ProbeRequest(mesh=request.MeshRequest(members=members, expected=1500))) as asked:
        until(done(lab, asked, *lab.nodes))
        rows = [found.mesh_row for found in told(lab, asked).values()]
    assert [(row.sender, row.measured, row.ok, row.groups) for row in rows if row is not None] == [
        (0, 1, 1, ()),
        (1, 1, 1, ()),
    ]


def test_a_round_between_pods_of_which_one_takes_less(lab: Cluster) -> None:
    """A veth whose end at the node has 1400: the node says so towards the pod, and drops what comes from it."""
    link = spot(lab, "pod-2b").link
    members = tuple(
        request.MeshMember(node=spot(lab, pod).node, address=lab.lab.address(pod), link=spot(lab, pod).link)
        for pod in ("pod-1a", "pod-2b")
    )
    lab.lab.set_mtu("node-2", link, 1400)
    try:
        with question(
            lab, request.ProbeRequest(responders=tuple(request.Namespace(node=p.node, link=p.link) for p in members))
        ) as one:
            until(done(lab, one, *lab.nodes))
            with question(lab, request.ProbeRequest(mesh=request.MeshRequest(members=members, expected=1450))) as asked:
                until(done(lab, asked, *lab.nodes))
                rows = {node: found.mesh_row for node, found in told(lab, asked).items()}
    finally:
        lab.lab.set_mtu("node-2", link, 1450)
    there, back = rows["node-1"], rows["node-2"]
    assert there is not None
    assert back is not None
    assert [(group.kind, group.mtu, group.receivers) for group in there.groups] == [("lower", 1400, (1,))]
    assert [(group.kind, group.mtu, group.receivers) for group in back.groups] == [("black hole", 1404, (0,))]


# What comes in between


def test_a_pod_that_vanishes_is_let_go_and_the_others_answer_on(lab: Cluster) -> None:
    lab.kube.run_pod("brief", "node-2")
    until(lambda: spot(lab, "brief").link in str(lab.observation("node-2")))
    inode = (lab.lab.node_root("node-2") / "run/netns" / lab.lab.pod("brief").netns).stat().st_ino
    with question(lab, request.ProbeRequest(responders=(spot(lab, "brief"), spot(lab, "pod-2a")))) as asked:
        until(done(lab, asked, "node-2"))
        assert told(lab, asked)["node-2"].errors == ()
        assert inode in held(lab, "node-2")
        lab.kube.remove_pod("brief")
        until(lambda: inode not in held(lab, "node-2"))
        assert port(lab, "pod-1a", "pod-2a") == "open"


def test_a_pod_that_is_gone_already_is_said_at_once(lab: Cluster) -> None:
    gone = request.Namespace(node="node-2", link="cali00000000000")
    nowhere = request.PathRequest(name="from nowhere", source=gone, address=lab.lab.address("pod-2a"))
    with question(lab, request.ProbeRequest(responders=(gone,), paths=(nowhere,))) as asked:
        until(lambda: "node-2" in told(lab, asked))
        sentence = "no station answers in the pod behind cali00000000000: it is gone"
        assert told(lab, asked)["node-2"].errors[0] == sentence
        until(done(lab, asked, "node-2"))
        found = told(lab, asked)["node-2"]
    assert found.errors == (sentence, "the pod behind cali00000000000 is gone")
    assert [(one.path, one.verdict.kind) for one in found.results] == [("from nowhere", "unreachable")]


def test_an_agent_that_starts_anew_answers_what_is_asked_still(lab: Cluster) -> None:
    with question(lab, request.ProbeRequest(responders=(spot(lab, "pod-2a"),))) as asked:
        until(done(lab, asked, "node-2"))
        first = kill_agent(lab, "node-2")
        until(lambda: agent_pid(lab, "node-2") not in {None, first})
        until(lambda: port(lab, "pod-1a", "pod-2a") == "open")
        until(done(lab, asked, "node-2"))


def test_what_an_earlier_agent_told_is_forgotten(lab: Cluster) -> None:
    """The question is taken away while nobody is there to hear it."""
    asked = put(lab, request.ProbeRequest(inspect=(request.Namespace(node="node-2"),)))
    until(done(lab, asked, "node-2"))
    first = kill_agent(lab, "node-2", signal.SIGSTOP)
    lab.kube.delete(f"{PROBES}/{asked}")
    time.sleep(0.3)
    assert told(lab, asked).keys() == {"node-2"}
    kill_agent(lab, "node-2")
    until(lambda: agent_pid(lab, "node-2") not in {None, first})
    until(lambda: not told(lab, asked))


def test_an_agent_that_is_told_to_end_waits_for_no_measurement(lab: Cluster) -> None:
    with question(lab, request.ProbeRequest(mesh=silent_round("node-2"), responders=(spot(lab, "pod-2a"),))) as asked:
        until(lambda: "node-2" in told(lab, asked))
        first = kill_agent(lab, "node-2", signal.SIGTERM)
        until(lambda: agent_pid(lab, "node-2") != first)
    until(lambda: agent_pid(lab, "node-2") not in {None, first})
    until(lambda: port(lab, "pod-1a", "pod-2a") == "refused")


def test_a_deleted_nodemtu_is_made_again_and_answered_in(lab: Cluster) -> None:
    lab.kube.delete(f"{NODE_MTUS}/node-2")
    until(lambda: lab.kube.http.get(f"{NODE_MTUS}/node-2").status_code == 200)
    with question(lab, request.ProbeRequest(inspect=(request.Namespace(node="node-2"),))) as asked:
        until(done(lab, asked, "node-2"))
        (look,) = told(lab, asked)["node-2"].readings
    assert look.before is not None

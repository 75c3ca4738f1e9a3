"""MTU117 and MTU118: what could not be seen."""

import msgspec
import pytest
from tests.support import example

from kubemtu.core import codes, objects
from kubemtu.core.cluster import layout, pods, topology
from kubemtu.core.rules import report as rules_report
from kubemtu.core.rules import unseen
from kubemtu.core.snapshot import Unread


def judge(*unread: Unread, silent: tuple[str, ...] = (), offline: bool = False) -> tuple[codes.Finding, ...]:
    snapshot = example.cluster(silent=silent, unread=unread, offline=offline)
    return unseen.find(layout.model(snapshot, example.state()))


def test_a_cluster_that_was_read_whole_has_none() -> None:
    assert judge() == ()


def test_an_object_that_rbac_hides() -> None:
    (hidden,) = judge(Unread(what="ConfigMap kube-system/canal-config", why="forbidden", message="RBAC says no."))
    assert (hidden.code, hidden.severity, hidden.place) == ("MTU117", "warning", "ConfigMap kube-system/canal-config")
    assert hidden.message == "RBAC says no. What is said about the rest may be incomplete."


def test_what_is_absent_is_not_unreadable() -> None:
    assert judge(Unread(what="ConfigMap kube-system/rke2-canal-config", why="absent", message="It is not there.")) == ()


def test_nodes_without_an_agent_are_counted_once() -> None:
    (silent,) = judge(
        Unread(what="node n8", why="no agent", message="No agent reports."),
        Unread(what="node n9", why="unreachable", message="The report is 300 seconds old."),
        silent=("n8", "n9"),
    )
    assert (silent.code, silent.severity, silent.place) == ("MTU118", "note", "nodes n8 and n9")
    assert silent.message.startswith("2 nodes of 5 told nothing")


def test_saved_manifests_have_no_nodes_to_miss() -> None:
    snapshot = example.cluster((), silent=("n8",), offline=True)
    assert unseen.find(layout.model(snapshot, example.state())) == ()


def test_saved_outputs_of_some_nodes_leave_the_others_open() -> None:
    first, *others = example.trio()
    files_alone = msgspec.structs.replace(others[0], links=(), ports=(), uplinks=(), routes=(), seen_by="files")
    snapshot = example.cluster((first, files_alone), silent=("n3",), offline=True)
    modelled = layout.model(snapshot, example.state())
    (found,) = unseen.find(modelled)
    assert (found.code, found.severity, found.place) == ("MTU118", "note", "nodes n3 and n2")
    assert rules_report.report(modelled).verdict == "incomplete"


def test_of_saved_outputs_the_pods_own_ends_are_missed() -> None:
    (first, *others) = example.cluster().nodes
    ports = tuple(msgspec.structs.replace(port, pod_mtu=None, pod_link="", routes=()) for port in first.ports)
    snapshot = example.cluster((msgspec.structs.replace(first, ports=ports), *others), offline=True)
    (own,) = unseen.find(layout.model(snapshot, example.state()))
    assert (own.code, own.place) == ("MTU118", "node n1, own ends of 3 pods")
    assert own.remedy == "Save what `ip -all netns exec ip -d addr` prints on the node as well."


def partly(*kept: int, unnamed: int = 0, **changed: object) -> topology.Topology:
    """A cluster whose first node shows only those of its ports, and some that are nobody's."""
    whole = example.cluster()
    first = whole.nodes[0]
    nobodys = [
        msgspec.structs.replace(first.ports[0], host_link=f"cali{number:011x}", inode=number, addresses=())
        for number in range(unnamed)
    ]
    ports = (*(first.ports[index] for index in kept), *nobodys)
    seen = msgspec.structs.replace(first, ports=ports, **changed)
    snapshot = msgspec.structs.replace(whole, nodes=(seen, *whole.nodes[1:]))
    return layout.model(snapshot, example.state())


def test_pods_of_the_api_that_show_no_interface() -> None:
    found = partly(0)
    missing = len(example.cluster().nodes[0].ports) - 1
    assert missing > 0
    (unseen_pods,) = unseen.find(found)
    assert (unseen_pods.code, unseen_pods.severity) == ("MTU118", "note")
    assert unseen_pods.place.startswith(f"node n1, {missing} pod")
    assert "of n1 " in unseen_pods.message
    assert "not seen" in unseen_pods.message
    report = rules_report.report(found)
    assert report.verdict == "incomplete"
    assert f"{missing} pod" in report.summary
    assert report.nodes[0].unseen == missing


@pytest.mark.parametrize(
    ("before", "soon"),
    [(-3600.0, True), (-1.0, True), (0.0, True), (9.9, True), (10.1, False), (3600.0, False)],
)
def test_pods_that_began_too_late_for_the_look_are_missed_all_the_same(before: float, soon: bool) -> None:
    """An agent looks at its node 20 seconds after the last time, unless the kernel tells it of something."""
    whole = example.cluster()
    lone = msgspec.structs.replace(whole, nodes=(example.unported(whole.nodes[0], 0, 1), *whole.nodes[1:]))
    modelled = layout.model(example.began(lone, before, "web-1-2"), example.state())
    (missed,) = unseen.find(modelled)
    assert (missed.code, missed.place) == ("MTU118", "node n1, 1 pod: default/web-1-2")
    assert missed.message.startswith("1 pod of n1 is not seen yet: " if soon else "1 pod of n1 is not seen: the API")
    assert missed.remedy.startswith("Check again in a minute" if soon else "See by `ip -d link`")
    report = rules_report.report(modelled)
    assert (report.verdict, report.nodes[0].pods, report.nodes[0].unseen) == ("incomplete", 2, 1)
    assert "1 pod of n1" in report.summary


def test_one_that_began_of_late_and_one_long_ago_are_told_apart() -> None:
    whole = example.cluster()
    lone = msgspec.structs.replace(whole, nodes=(example.unported(whole.nodes[0], 0), *whole.nodes[1:]))
    late, overdue = unseen.find(layout.model(example.began(lone, 5.0, "web-1-1"), example.state()))
    assert (late.place, overdue.place) == ("node n1, 1 pod: default/web-1-1", "node n1, 1 pod: default/web-1-2")
    assert late.message.startswith("1 pod of n1 is not seen yet: it began")
    assert overdue.message.startswith("1 pod of n1 is not seen: the API says that it runs there")


def test_a_pod_that_has_no_address_yet_is_missed() -> None:
    whole = example.cluster()
    bare = objects.Object.of(
        {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": "bare", "namespace": "default"},
            "spec": {"nodeName": "n1"},
            "status": {"phase": "Running"},
        }
    )
    (missed,) = unseen.find(
        layout.model(msgspec.structs.replace(whole, objects=(*whole.objects, bare)), example.state())
    )
    assert missed.message.startswith("1 pod of n1 is not seen yet: ")


def test_one_of_several_containers_that_restarts_makes_no_pod_young() -> None:
    states = [{"running": {"startedAt": moment}} for moment in ("2026-11-01T10:00:00Z", "2026-11-01T10:59:59Z")]
    one = pods.one(
        objects.Object.of(
            {
                "kind": "Pod",
                "apiVersion": "v1",
                "metadata": {"name": "a", "namespace": "default"},
                "spec": {"nodeName": "n1"},
                "status": {"phase": "Running", "containerStatuses": [{"name": "a", "state": each} for each in states]},
            }
        )
    )
    assert one is not None
    assert one.started == 1793527200.0  # date -u -d 2026-11-01T10:00:00Z +%s


def test_ports_that_are_nobodys_may_be_theirs() -> None:
    missing = len(example.cluster().nodes[0].ports) - 1
    assert unseen.find(partly(0, unnamed=missing)) == ()


def test_files_of_a_node_show_no_pods() -> None:
    assert unseen.find(partly(0, links=())) == ()


def test_without_agents_the_flag_that_shows_the_nodes_is_named_with_its_right() -> None:
    (silent,) = judge(Unread(what="node n8", why="no agent", message="it has no NodeMTU."), silent=("n8",))
    assert "`kubemtu check --exec` looks at them by read-only commands" in silent.remedy
    assert '{apiGroups: [""], resources: [pods/exec], verbs: [create, get]}' in silent.remedy


def test_a_node_that_was_looked_at_in_vain_is_not_sent_to_the_same_flag() -> None:
    (silent,) = judge(Unread(what="node n8", why="unreachable", message="it hung."), silent=("n8",))
    assert "--exec" not in silent.remedy
    assert "Mend what kept them from being looked at" in silent.remedy


def test_what_may_not_be_executed_is_named_as_any_other_right() -> None:
    (missing, _) = judge(
        Unread(what="pods/exec in namespace kube-system", why="forbidden", message="dev may not."), silent=("n8",)
    )
    assert (missing.code, missing.place) == ("MTU117", "pods/exec in namespace kube-system")

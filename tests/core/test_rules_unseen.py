"""MTU117 and MTU118: what could not be seen."""

from kubemtu.core import example, findings, topology
from kubemtu.core.rules import unseen
from kubemtu.core.snapshot import Unread


def judge(*unread: Unread, silent: tuple[str, ...] = (), offline: bool = False) -> tuple[findings.Finding, ...]:
    snapshot = example.cluster(silent=silent, unread=unread, offline=offline)
    return unseen.find(topology.model(snapshot, example.state()))


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
    assert judge(silent=("n8",), offline=True) == ()

"""Pods of which only the host end was seen: what that end shows is judged, and the pod's own end is "?"."""

import msgspec
from tests.support import example

from kubemtu.cli import nodetable
from kubemtu.core import net
from kubemtu.core.cluster import layout
from kubemtu.core.rules import report as rules_report
from kubemtu.core.snapshot import Snapshot


def half(port: net.PodPort) -> net.PodPort:
    """Take away what nobody sees who has not looked into the pod."""
    return msgspec.structs.replace(
        port, netns="", inode=0, pod_link="", pod_mtu=None, ipv6_mtu=None, routes=(), addresses=()
    )


def seen_from_outside(snapshot: Snapshot) -> Snapshot:
    nodes = tuple(
        msgspec.structs.replace(node, ports=tuple(map(half, node.ports)), seen_by="exec") for node in snapshot.nodes
    )
    return msgspec.structs.replace(snapshot, nodes=nodes)


def judged(snapshot: Snapshot) -> rules_report.Report:
    return rules_report.report(layout.model(seen_from_outside(snapshot), example.state()))


def codes_of(report: rules_report.Report) -> list[str]:
    return [finding.code for finding in report.findings]


def test_a_healthy_cluster_is_not_called_right_while_nobody_looked_into_the_pods() -> None:
    report = judged(example.cluster())
    assert report.verdict == "incomplete"
    assert codes_of(report) == ["MTU118"]
    (unseen,) = report.findings
    assert unseen.place == "nodes n1, n2 and n3, own ends of 9 pods"
    assert unseen.message.startswith("Of 9 pods only the host end was seen (1450)")
    assert report.summary == ("Nothing wrong was found, but not everything could be read: the own ends of 9 pods.")
    assert report.current == ()
    assert [(line.pod_mtus, line.host_mtus, line.host_ends_only) for line in report.nodes] == [((), (1450,), 3)] * 3


def test_host_ends_above_the_path_are_an_error_whatever_the_pods_own_ends_have() -> None:
    nodes = tuple(example.node(f"n{number}", pod=1500, conflist=1500) for number in (1, 2, 3))
    report = judged(example.cluster(nodes=nodes))
    assert report.verdict == "broken"
    above = next(finding for finding in report.findings if finding.code == "MTU101")
    assert above.severity == "error"
    assert "9 pods may send 1500 bytes, as their host ends have (the pods' own ends were not seen)" in above.message
    assert report.summary == (
        "The MTU breaks traffic: 9 pods of 9 may send 1500 bytes by their host ends, but the path between nodes "
        "carries 1450."
    )


def test_host_ends_below_the_path_are_told_as_what_they_are() -> None:
    nodes = tuple(example.node(f"n{number}", pod=1400, conflist=1400) for number in (1, 2, 3))
    below = next(finding for finding in judged(example.cluster(nodes=nodes)).findings if finding.code == "MTU102")
    assert "9 pods have 1400, as their host ends have (the pods' own ends were not seen)" in below.message


def test_a_host_end_unlike_what_new_pods_get_is_found() -> None:
    nodes = (example.node("n1", pod=1400), example.node("n2"), example.node("n3"))
    older = next(finding for finding in judged(example.cluster(nodes=nodes)).findings if finding.code == "MTU104")
    assert older.message.startswith(
        "3 of 3 pods have 1400 at the host end (the own end was not seen), but a pod created now gets 1450"
    )


def test_ends_that_differ_are_not_claimed_of_a_pod_that_nobody_looked_into() -> None:
    nodes = (example.node("n1", pod=1450, host=1500), example.node("n2"), example.node("n3"))
    whole = rules_report.report(layout.model(example.cluster(nodes=nodes), example.state()))
    assert "MTU105" in codes_of(whole)
    report = judged(example.cluster(nodes=nodes))
    assert "MTU105" not in codes_of(report)
    assert report.verdict == whole.verdict == "broken"  # one end of those pods is wrong, whichever it is


def test_where_only_routes_would_tell_a_host_end_says_nothing_of_the_pods_mtu() -> None:
    state = msgspec.structs.replace(example.state(), by_route=True)
    nodes = tuple(example.node(f"n{number}", pod=1500) for number in (1, 2, 3))
    report = rules_report.report(layout.model(seen_from_outside(example.cluster(nodes=nodes)), state))
    assert {"MTU101", "MTU102", "MTU104"}.isdisjoint(codes_of(report))
    assert report.verdict == "incomplete"


def test_the_table_shows_a_question_mark() -> None:
    (line,) = nodetable.lines(judged(example.cluster(nodes=(example.node("n1"),))).nodes, None)[1:]
    assert line.endswith("? (host ends 1450)")


def test_a_port_without_its_own_end_has_no_limit_and_no_difference() -> None:
    whole = example.port("web", "10.42.0.2", pod=1400, host=1450)
    assert (whole.limit, whole.differ, whole.ends) == (1400, True, (1450, 1400))
    assert (half(whole).limit, half(whole).differ, half(whole).ends) == (None, False, (1450,))


def test_a_configuration_that_no_container_shows_is_not_called_absent() -> None:
    nodes = (msgspec.structs.replace(example.node("n1"), files=()),)
    whole = rules_report.report(layout.model(example.cluster(nodes=nodes), example.state()))
    assert f"node n1: no CNI configuration at {example.CONFLIST}" in whole.missing
    assert f"node n1: {example.CONFLIST} was not seen" in judged(example.cluster(nodes=nodes)).missing

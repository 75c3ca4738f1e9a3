"""The word, the sentence, and the order of what it rests on."""

import msgspec
import pytest
from tests.support import example

from kubemtu.core import codes, encap, net
from kubemtu.core.cluster import layout
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.headers import IPV6
from kubemtu.core.rules import report as rules_report
from kubemtu.core.snapshot import Snapshot, Unread


def report(snapshot: Snapshot, state: CniState | None = None, nic_mtu: int | None = None) -> rules_report.Report:
    return rules_report.report(layout.model(snapshot, state or example.state(), nic_mtu))


def nodes(**changed: object) -> tuple[net.NodeObservation, ...]:
    return tuple(example.node(name, **changed) for name in ("n1", "n2", "n3"))  # type: ignore[arg-type]  # node's fields


def test_a_healthy_cluster() -> None:
    found = report(example.cluster())
    assert (found.verdict, found.findings, found.missing) == ("healthy", (), ())
    assert found.summary == (
        "The pod network's MTU is right: 9 pods on 3 nodes, and every packet that they can send fits the path between "
        "nodes, which carries 1450 by what the NICs say."
    )
    assert (found.cni, found.recommended_mtu, found.current) == ("canal", 1450, (1450,))
    assert found.nodes[0] == rules_report.NodeLine(
        name="n1",
        nic="eth0",
        nic_mtu=1500,
        tunnel="flannel.1",
        tunnel_mtu=1450,
        conflist_mtu=1450,
        pods=3,
        pod_mtus=(1450,),
        host_mtus=(1450,),
    )


@pytest.mark.parametrize(
    ("seen", "state", "codes_found", "summary"),
    [
        (
            nodes(pod=1500, conflist=1500),
            example.state(1500),
            ["MTU119", "MTU101"],
            "9 pods of 9 may send 1500 bytes, but the path between nodes carries 1450.",
        ),
        (
            nodes(pod=1500, conflist=1500),
            example.state(1450),
            ["MTU103", "MTU103", "MTU103", "MTU101"],
            "9 pods of 9 may send 1500 bytes, but the path between nodes carries 1450.",
        ),
        (
            nodes(pod=1500),
            example.state(1450),
            ["MTU104", "MTU104", "MTU104", "MTU101"],
            "9 pods of 9 may send 1500 bytes, but the path between nodes carries 1450.",
        ),
        (
            nodes(pod=1500, host=1450),
            example.state(1450),
            ["MTU105", "MTU104"] * 3,
            "9 pods of 9 lose large packets without an ICMP error, because the two ends of their interfaces differ.",
        ),
    ],
    ids=["as deployed", "configured", "rolled out", "the popular cure"],
)
def test_the_story_step_by_step(
    seen: tuple[net.NodeObservation, ...], state: CniState, codes_found: list[str], summary: str
) -> None:
    found = report(example.cluster(seen), state)
    assert found.verdict == "broken"
    assert [one.code for one in found.findings] == codes_found
    assert found.summary == f"The MTU breaks traffic: {summary}"


def test_jumbo_nics_under_small_pods_are_suboptimal() -> None:
    found = report(example.cluster(nodes(nic=9000)))
    assert found.verdict == "suboptimal"
    assert found.summary == "Nothing is lost, but pods have 1450 where the path between nodes carries 8950."


def test_a_sentence_too_short_to_say_anything_brings_the_next() -> None:
    short = codes.Finding(
        code="MTU113",
        severity="warning",
        place="x",
        message="RKE owns it. An upgrade puts it back. So mind.",
        remedy="Y.",
    )
    found = report(example.cluster(), example.state(findings=(short,)))
    assert found.summary == "Nothing is lost now, but mind x: RKE owns it. An upgrade puts it back."


@pytest.mark.parametrize("snapshot", [example.cluster((), offline=True), example.cluster(silent=("n9",))])
def test_of_nodes_that_nobody_saw_it_is_not_said_that_they_lose_nothing(snapshot: Snapshot) -> None:
    owned = codes.Finding(code="MTU113", severity="warning", place="x", message="RKE keeps what it has.", remedy="Y.")
    found = report(snapshot, example.state(findings=(owned,)), nic_mtu=1500)
    assert found.summary == "No error was found, but mind x: RKE keeps what it has."


def test_notes_do_not_spoil_a_healthy_cluster() -> None:
    found = report(example.cluster(nodes(pod=1400, conflist=1400)), example.state(1400))
    assert found.verdict == "healthy"
    assert {one.severity for one in found.findings} == {"note"}


def test_without_agents_nothing_can_be_said_of_the_path() -> None:
    found = report(example.cluster((), silent=("n1", "n2")))
    assert found.verdict == "incomplete"
    assert found.summary == (
        "New pods get 1450; whether that is right cannot be said without the NICs' MTU: no node was observed; look at "
        "them with --exec, run the agent, or give --nic-mtu."
    )


def test_one_node_that_keeps_silent_makes_a_clean_bill_incomplete() -> None:
    found = report(example.cluster(silent=("n9",)))
    assert found.verdict == "incomplete"
    assert found.missing == ("node n9: not observed",)


def test_a_hidden_object_makes_it_incomplete_not_suboptimal() -> None:
    hidden = Unread(what="DaemonSet kube-system/canal", why="forbidden", message="RBAC says no.")
    found = report(example.cluster(unread=(hidden,)))
    assert found.verdict == "incomplete"
    assert found.missing == ("DaemonSet kube-system/canal: RBAC says no.",)


def test_saved_manifests_are_judged_against_an_assumed_nic() -> None:
    found = report(example.cluster((), offline=True), nic_mtu=1500)
    assert (found.verdict, found.recommended_mtu) == ("healthy", 1450)
    assert found.summary.startswith("The configuration suits NICs of 1500: new pods get 1450")


def test_a_change_under_way_is_said() -> None:
    seen = layout.model(example.cluster(), example.state())
    found = rules_report.report(msgspec.structs.replace(seen, under_way=("canal-1450-1",)))
    assert found.summary.endswith("A change is under way (canal-1450-1): part of this is its passing state.")


def test_what_could_not_be_read_on_a_node_is_missing() -> None:
    seen = msgspec.structs.replace(example.node("n1"), files=(), errors=("3 namespaces vanished meanwhile",))
    found = report(example.cluster((seen,)))
    assert found.missing == (
        "node n1: 3 namespaces vanished meanwhile",
        "node n1: no CNI configuration at /etc/cni/net.d/10-canal.conflist",
    )


def test_the_configurations_own_finding_gives_way_to_one_that_knows_the_nodes() -> None:
    place = "ConfigMap kube-system/canal-config, data.veth_mtu"
    read_at = "ConfigMap kube-system/canal-config (canal.yaml:3), data.veth_mtu"
    vague = codes.Finding(
        code="MTU119", severity="error", place=read_at, message="No MTU is configured.", remedy="Set it."
    )
    other = codes.Finding(
        code="MTU113", severity="warning", place=place, message="RKE writes it.", remedy="Set it there."
    )
    seen = example.cluster(nodes(pod=1500, conflist=1500))
    found = report(seen, example.state(1500, findings=(vague, other)))
    assert [(one.code, one.message[:18]) for one in found.findings[:2]] == [
        ("MTU113", "RKE writes it."),
        ("MTU119", "New pods get 1500,"),
    ]


def test_every_code_that_is_found_is_in_the_catalogue() -> None:
    seen = nodes(pod=1500, host=1450, tunnel=1500, conflist=1400)
    assert {one.code for one in report(example.cluster(seen)).findings} <= {code.code for code in codes.CODES}


def test_the_json_names_are_the_contract() -> None:
    decoded = msgspec.json.decode(msgspec.json.encode(report(example.cluster())))
    assert decoded["schema"] == "kubemtu.io/check/v1"
    assert {"verdict", "summary", "cni", "variant", "encapsulation", "recommendedMtu", "current"} <= decoded.keys()
    assert decoded["layers"][0] == {"name": "NIC", "size": 1500}


def test_where_no_pod_mtu_suits_nobody_is_sent_to_a_plan_that_is_refused() -> None:
    """Of 1300 VXLAN over IPv6 leaves 1230, and IPv6 needs 1280 (RFC 8200, section 5)."""
    state = example.state(1430, encapsulation=(encap.vxlan(IPV6),), ipv6=True)
    seen = nodes(nic=1300, tunnel=1430, pod=1430, conflist=1430, host=1400)
    found = report(example.cluster(seen), state)
    assert {"MTU101", "MTU105", "MTU107", "MTU114"} <= {one.code for one in found.findings}
    assert [one.remedy for one in found.findings if "kubemtu apply" in one.remedy or "mtu 1230" in one.remedy] == []
    first = (
        "Raise what the path between nodes carries first: IPv6 needs 1280 on every link (RFC 8200, section 5), so no"
    )
    remedies = {one.remedy for one in found.findings if one.code in {"MTU101", "MTU107"}}
    assert remedies == {f"{first} pod MTU suits it."}
    assert found.remedy is not None
    assert (found.remedy.mtu, found.remedy.least, found.recommended_mtu) == (0, 1280, None)

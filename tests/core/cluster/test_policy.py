"""What is known of the path and no interface shows: 1404 of the network leaves 1354 of VXLAN (RFC 7348: 50 bytes)."""

import msgspec
import pytest
from tests.support import example

from kubemtu.core import codes, errors
from kubemtu.core.cluster import layout, policy, topology
from kubemtu.core.objects import Object
from kubemtu.core.planning import planner
from kubemtu.core.rules import report as rules_report
from kubemtu.core.snapshot import Snapshot

NOW = 1793527200.0  # date -u -d 2026-11-01T10:00:00Z +%s
REASON = "the provider's overlay, measured"


def known(name: str = "path", /, **spec: object) -> Object:
    """An MTUPolicy that says 1404, but for what is given."""
    fields = {"pathMtu": 1404, "reason": REASON} | spec
    return Object.of(
        {
            "apiVersion": "kubemtu.io/v1alpha1",
            "kind": "MTUPolicy",
            "metadata": {"name": name},
            "spec": {key: held for key, held in fields.items() if held is not None},
        }
    )


def cluster(*policies: Object, mtu: int = 1450) -> Snapshot:
    """Three nodes with NICs of 1500 and pods of `mtu`, and those policies."""
    there = example.story(mtu, example.trio(pod=mtu, conflist=mtu, tunnel=mtu))
    return msgspec.structs.replace(there, objects=(*there.objects, *policies), taken_at=NOW)


def modelled(*policies: Object, mtu: int = 1450) -> topology.Topology:
    return layout.model(cluster(*policies, mtu=mtu), example.state(mtu))


def told(found: topology.Topology) -> list[tuple[str, str]]:
    return [(one.code, one.severity) for one in rules_report.judge(found)]


def test_what_is_known_decides_and_is_named() -> None:
    found = modelled(known())
    assert (found.carries, found.recommended) == (1354, 1354)
    assert [(one.name, one.size) for one in found.layers][0::5] == [("path", 1404), ("pod", 1354)]
    assert [(node.nic_mtu, node.path_mtu) for node in found.nodes] == [(1500, 1404)] * 3
    report = rules_report.report(found)
    assert report.verdict == "broken"
    by_code = {one.code: one for one in report.findings}
    assert by_code["MTU119"].message.startswith("New pods get 1450, but the path between nodes carries 1354 (path 1404")
    assert f"MTUPolicy path ({REASON}) says" in by_code["MTU119"].message
    assert by_code["MTU101"].remedy.startswith("Run `kubemtu apply`: it takes running pods to 1354")
    assert "1500" not in by_code["MTU119"].remedy
    assert report.nodes[0].nic_mtu == 1500


def test_a_healed_cluster_is_right_and_says_why() -> None:
    found = modelled(known(), mtu=1354)
    report = rules_report.report(found)
    assert report.verdict == "healthy"
    assert report.summary.endswith(f"which carries 1354 by what MTUPolicy path ({REASON}) says.")
    assert told(found) == [("MTU126", "note")]
    assert "1450" not in str(report.findings)
    assert planner.make(found, planner.target(found, None), ()).steps == ()


def test_without_the_policy_the_same_cluster_could_have_more() -> None:
    assert told(modelled(mtu=1354)) == [("MTU119", "note")]


def test_a_wish_above_it_is_refused_with_its_reason() -> None:
    with pytest.raises(errors.UsageError, match=r"carries 1404, as MTUPolicy path .* says.*give --mtu 1354 or less"):
        planner.target(modelled(known()), 1450)


def test_only_the_nodes_that_it_names_are_bound() -> None:
    found = modelled(known(nodes=["n2"]))
    assert [node.path_mtu for node in found.nodes] == [1500, 1404, 1500]
    assert found.carries == 1354  # a pod cannot know to which node it will talk next


def test_the_smallest_of_several_decides_and_a_larger_one_is_no_news() -> None:
    found = modelled(known(), known("tunnel", pathMtu=1390), known("wide", pathMtu=9000))
    assert (found.carries, str(found.origin)) == (1340, "MTUPolicy tunnel")
    assert told(found).count(("MTU126", "note")) == 3


@pytest.mark.parametrize(
    ("claimed", "mixed", "leaves"),
    [
        (1404, True, "leaves 1354 for a pod's packet, whatever the NICs say; others leave 1350."),
        (1390, False, "leaves 1340 for a pod's packet, whatever the NICs say."),
    ],
)
def test_beside_smaller_nics_it_says_its_own_and_decides_where_they_are_larger(
    claimed: int, *, mixed: bool, leaves: str
) -> None:
    """NICs of 1400, 1500 and 9000: where the policy says less than the smallest, no NIC is to blame (MTU106)."""
    there = example.story(1450, (example.node("n1"), example.node("n2", nic=9000), example.node("n3", nic=1400)))
    made = msgspec.structs.replace(there, objects=(*there.objects, known(pathMtu=claimed)), taken_at=NOW)
    findings = {one.code: one for one in rules_report.judge(layout.model(made, example.state(1450)))}
    assert findings["MTU126"].message.endswith(f" That {leaves}")
    assert ("MTU106" in findings) is mixed


def test_nodes_that_are_not_there_are_a_finding() -> None:
    found = modelled(known(nodes=["n2", "n9"]))
    said = next(one for one in rules_report.judge(found) if one.code == "MTU127")
    assert "n9" in said.message
    assert found.carries == 1354


@pytest.mark.parametrize(
    ("expires", "used"),
    [
        ("2026-11-01T10:00:01Z", True),
        ("2026-11-01T10:00:00Z", False),
        ("2026-11-01T11:00:00+02:00", False),  # 09:00 in UTC
        ("2026-11-01T09:30:00-01:00", True),  # 10:30 in UTC
        ("2026-09-01T00:00:00Z", False),
    ],
)
def test_an_expired_one_is_a_finding_and_is_not_used(expires: str, used: bool) -> None:
    found = modelled(known(expires=expires))
    assert found.carries == (1354 if used else 1450)
    assert [one.code for one in rules_report.judge(found) if one.code == "MTU127"] == ([] if used else ["MTU127"])
    if not used:
        (said,) = [one for one in rules_report.judge(found) if one.code == "MTU127"]
        assert expires in said.message
        assert "kubectl delete mtupolicy path" in said.remedy
        assert rules_report.report(found).verdict != "healthy"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"pathMtu": "1404"}, "pathMtu"),
        ({"pathMtu": None}, "pathMtu"),
        ({"pathMtu": 67}, "pathMtu"),
        ({"pathMtu": 65536}, "pathMtu"),
        ({"pathMtu": True}, "pathMtu"),
        ({"reason": " "}, "reason"),
        ({"nodes": "n1"}, "nodes"),
        ({"nodes": [1]}, "nodes"),
        ({"expires": "tomorrow"}, "expires"),
        ({"expires": "2026-11-01T10:00:00"}, "expires"),
        ({"expires": "2026-11-01"}, "expires"),
    ],
)
def test_what_cannot_be_read_is_a_finding_and_is_not_used(spec: dict[str, object], field: str) -> None:
    found = modelled(known(**spec))
    assert found.carries == 1450
    (said,) = [one for one in rules_report.judge(found) if one.code == "MTU127"]
    assert (said.place, field in said.message) == ("MTUPolicy path", True)


def test_offline_it_stands_in_for_the_nics() -> None:
    offline = msgspec.structs.replace(cluster(known()), nodes=(), offline=True)
    found = layout.model(offline, example.state(1354))
    assert (found.carries, found.layers[0].name) == (1354, "path")
    assert rules_report.report(found).summary.startswith(
        f"The configuration suits the 1404 that MTUPolicy path ({REASON})"
    )


def test_what_was_measured_now_feeds_the_recommendation() -> None:
    bound = policy.Bound(path_mtu=1404, by="the measurement of this run")
    found = layout.model(cluster(), example.state(), measured=(bound,))
    assert found.recommended == 1354
    assert codes.MTU119.code in dict(told(found))


@pytest.mark.parametrize("node", ["", "Node 1", "-"])
def test_what_can_be_no_node_is_refused(node: str) -> None:
    """As `--node "$NODE"` gives where NODE is not set."""
    made = policy.Policy(name="path", path_mtu=1404, reason=REASON, nodes=("n1", node))
    with pytest.raises(errors.UsageError, match=r"--node: .* is no name of a node"):
        policy.checked(made, NOW)


def test_body_and_read_are_each_others_inverse() -> None:
    one = policy.Policy(name="path", path_mtu=1404, reason="x", nodes=("n1",), expires="2027-01-31T00:00:00Z")
    assert policy.read(Object.of(policy.body(one))) == one


@pytest.mark.parametrize("claimed", [1500, 9000])
def test_one_that_claims_more_than_interfaces_have_decides_nothing_and_is_not_said_to(claimed: int) -> None:
    found = modelled(known(pathMtu=claimed))
    assert (found.carries, rules_report.report(found).verdict) == (1450, "healthy")
    (said,) = [one for one in rules_report.judge(found) if one.code == "MTU126"]
    assert said.message.endswith("Interfaces, or another policy, say no more than that.")
    assert "whatever the NICs say" not in said.message


@pytest.mark.parametrize("measured", [True, False])
def test_commands_in_remedies_go_by_the_path_that_was_measured_or_given(*, measured: bool) -> None:
    bounds = (policy.Bound(path_mtu=1404, by="the measurement of this run"),) if measured else ()
    found = layout.model(cluster(), example.state(1450), None if measured else 1404, bounds)
    remedies = {one.code: one.remedy for one in rules_report.judge(found)}
    assert remedies["MTU101"].startswith("Run `kubemtu apply --nic-mtu 1404`: it takes running pods to 1354")
    assert "`kubemtu plan --nic-mtu 1404` shows the edit, `kubemtu apply --nic-mtu 1404` makes it" in remedies["MTU119"]
    assert not [said for said in remedies.values() if "`kubemtu apply`" in said or "`kubemtu plan`" in said]


def test_commands_in_remedies_name_no_number_that_every_command_knows() -> None:
    for found in (modelled(mtu=1500), modelled(known())):
        remedies = [one.remedy for one in rules_report.judge(found)]
        assert any("`kubemtu apply`" in said for said in remedies)
        assert not [said for said in remedies if "--nic-mtu" in said]


def test_the_number_is_named_where_no_nic_was_seen_too() -> None:
    saved = msgspec.structs.replace(cluster(mtu=1500), nodes=())
    remedies = [one.remedy for one in rules_report.judge(layout.model(saved, example.state(1500), 1500))]
    assert any("`kubemtu plan --nic-mtu 1500` shows the edit" in said for said in remedies), remedies

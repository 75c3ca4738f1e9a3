"""`kubemtu plan` as a user meets it: diffs, steps in order, what they touch, and the way back."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.support import example
from tests.support.pools import networked

from kubemtu.cli import main, planning
from kubemtu.cli.terminal import unstyle
from kubemtu.core import net
from kubemtu.core.change import plan
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide

Golden = Callable[[str, str], None]
Saved = Callable[[Snapshot], str]
trio, story = example.trio, example.story


def text(snapshot: Snapshot, columns: int | None, mtu: int | None = None) -> str:
    """What `plan` prints, as plain text."""
    made, topology = decide.plan(snapshot, mtu)
    return unstyle(planning.text(made, topology, columns)) + "\n"


def test_the_story(golden: Golden) -> None:
    golden("plan-as-deployed", text(story(1500, trio(pod=1500, conflist=1500)), 100))


def test_jumbo_frames_the_other_way_round(golden: Golden) -> None:
    golden("plan-jumbo", text(story(1450, trio(nic=9000)), 100))


def test_nothing_to_do(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["plan", "--from", saved(story(1450))]) == 0
    assert capsys.readouterr().out == "✓ Nothing to do: every pod has 1450, and new ones get it.\n"


@pytest.mark.parametrize("offline", [False, True])
def test_what_was_not_seen_is_named_and_no_check_mark(
    offline: bool, saved: Saved, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of n1 the nodes' ends of pods alone are known, as outputs of `ip` show them, and of n2 nothing."""
    seen = example.node("n1")
    ports = tuple(msgspec.structs.replace(one, pod_mtu=None, routes=()) for one in seen.ports)
    made = story(1450, (msgspec.structs.replace(seen, ports=ports),))
    lone = Object.of({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n2"}})
    path = saved(msgspec.structs.replace(made, objects=(*made.objects, lone), offline=offline))
    assert main.run(["plan", "--from", path]) == 0
    assert capsys.readouterr().out == (
        "? Nothing to do: every pod that was seen has 1450, and new ones there get it; not seen: the own ends of 3 pods"
        " and node n2.\n"
    )
    assert main.run(["check", "--from", path]) == 1
    said = "Nothing wrong was found, but not everything could be read: node n2 and the own ends of 3 pods."
    assert said in capsys.readouterr().out


def test_pods_that_began_of_late_are_no_check_mark(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    made = example.began(story(1450), 3.0, "web-1-2")
    path = saved(msgspec.structs.replace(made, nodes=(example.unported(made.nodes[0], 0, 1), *made.nodes[1:])))
    assert main.run(["plan", "--from", path]) == 0
    assert capsys.readouterr().out == (
        "? Nothing to do: every pod that was seen has 1450, and new ones there get it; not seen: 1 pod of n1.\n"
    )
    assert main.run(["plan", "--from", path, "--mtu", "1400"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "1 pod of n1 (default/web-1-2) began too late to have been seen: what is found of them by then is changed with"
        " the others."
    ) in said


@pytest.mark.parametrize(
    "taken",
    [
        '{"name": "old", "type": "bridge"}',
        '{"type": "multus-shim", "clusterNetwork": "/host/run/multus/cni/net.d/10-other.conf"}',
    ],
)
def test_another_file_that_the_runtime_takes_is_never_called_right(
    saved: Saved, capsys: pytest.CaptureFixture[str], taken: str
) -> None:
    first = example.node("n1", files=(net.NodeFile(path="/etc/cni/net.d/00-x.conf", text=taken),))
    assert main.run(["plan", "--from", saved(story(1450, (first, example.node("n2"))))]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "! Nothing to do: every pod has 1450, and new ones get it; but on n1 the runtime takes another file than the "
        "CNI's own, and new pods are made by that."
    )
    assert "MTU130" in out


@pytest.mark.parametrize(
    ("direction", "ways"),
    [
        ("forward", "`kubemtu apply` carries on from here"),
        ("relief", "`kubemtu apply` "),
        ("back", "`kubemtu rollback` "),
    ],
)
def test_what_is_under_way_is_no_fault_that_a_plan_cannot_mend(direction: str, ways: str) -> None:
    change = Object.of(
        {
            "kind": "MTUMigration",
            "metadata": {"name": "canal-1354-1", "creationTimestamp": "2026-11-01T09:00:00Z"},
            "spec": {"direction": direction, "plan": {"target": 1354, "steps": [{"type": "live"}, {"type": "edit"}]}},
            "status": {"progress": {"begun": True, "direction": direction}},
        }
    )
    there = story(1450)
    found = text(msgspec.structs.replace(there, objects=(*there.objects, change), taken_at=1793527200.0), None)
    first, second = found.splitlines()
    assert first == "! Nothing else to do: every pod has 1450, and new ones get it."
    assert second.startswith("MTUMigration canal-1354-1 has not ended. ")
    assert ways in second


def test_json_is_the_plan(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(story(1500, trio(pod=1500, conflist=1500)))
    assert main.run(["plan", "--from", path, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["target"], found["current"]) == ("kubemtu.io/plan/v1", 1450, 1500)
    assert [step["type"] for step in found["steps"]] == ["live", "edit", "rollout", "live"]


def test_a_saved_plan_is_the_plan_that_was_shown(
    saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = saved(story(1500, trio(pod=1500, conflist=1500))), tmp_path / "plan.json"
    assert main.run(["plan", "--from", path, "--mtu", "1400", "--out", str(out)]) == 0
    assert "Pods of canal: from 1500 to 1400" in capsys.readouterr().out
    made = msgspec.json.decode(out.read_bytes(), type=plan.Plan)
    assert made.target == 1400
    assert [type(step).__name__ for step in made.steps] == ["Live", "EditValue", "Rollout", "Live"]


def test_saved_manifests_show_what_would_be_edited(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(Snapshot(source="a folder", offline=True, objects=example.canal(1500)))
    assert main.run(["plan", "--from", path, "--nic-mtu", "1500"]) == 0
    out = capsys.readouterr().out
    assert "-1500\n+1450\n" in out
    assert "Running pods and tunnel devices keep the MTU that they have, because no node was observed" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--mtu", "1451"], "an MTU of 1451 does not fit"),
        (["--mtu", "lots"], "--mtu takes a number of bytes or auto, not 'lots'"),
        (["--egress-mtu", "some"], "--egress-mtu takes a number of bytes or auto, not 'some'"),
        (["--egress-mtu", "auto"], "--egress-mtu auto: what the way out of this cluster carries is not known"),
        (["--egress-mtu", "100"], "--egress-mtu 100 is less than 576"),
        (["--egress-mtu", "65536"], "--egress-mtu 65536 is more than 65535, the largest that a packet can be"),
        (["--mtu", "1400", "--out", "/nowhere/plan.json"], "/nowhere/plan.json cannot be written"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(
    arguments: list[str], sentence: str, saved: Saved, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["plan", "--from", saved(story(1450)), *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"error: {sentence}")


def test_by_pools_of_nodes(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    big = tuple(example.node(name, nic=9000) for name in ("n1", "n2"))
    found = networked(story(1450, (*big, example.node("n3"))), {"n1": "apps", "n2": "apps", "n3": "db"})
    assert main.run(["plan", "--from", saved(found), "--per-node", "--egress-mtu", "1500"]) == 0
    lines = [line.strip("- ") for line in unstyle(capsys.readouterr().out).splitlines()]
    assert lines[0] == "Pods of canal: from 1450 to 1450 and 8950"
    assert (
        "pool apps (n1 and n2, NIC 9000): pods send at most 8950, 1450 towards pods of pool db, 1500 out of the cluster"
        in lines
    )
    assert "pool db (n3, NIC 1500): pods send at most 1450" in lines
    assert main.run(["plan", "--from", saved(found), "--per-node", "-o", "json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert [(pool["pool"], pool["podMtu"]) for pool in made["pools"]] == [("pool apps", 8950), ("pool db", 1450)]


def test_a_nic_keeps_its_number_where_somebody_says_that_less_gets_through(
    saved: Saved, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two nodes with NICs of 9000 a policy bounds one; of the third a route lets less through than its NIC has."""
    seen = (example.node("n1", nic=9000), example.node("n2", nic=9000), example.node("n3", nic=9000))
    routed = tuple(msgspec.structs.replace(each, route_mtu=1390) for each in seen[2].uplinks)
    spec = {"pathMtu": 1404, "reason": "measured", "nodes": ["n1"]}
    policy = Object.of(
        {"apiVersion": "kubemtu.io/v1alpha1", "kind": "MTUPolicy", "metadata": {"name": "fabric"}, "spec": spec}
    )
    made = story(1450, (*seen[:2], msgspec.structs.replace(seen[2], uplinks=routed)))
    found = networked(msgspec.structs.replace(made, objects=(*made.objects, policy)), {"n1": "apps", "n2": "apps"})
    path = saved(found)
    assert main.run(["plan", "--from", path, "--per-node"]) == 0
    lines = [line.strip("- ") for line in unstyle(capsys.readouterr().out).splitlines()]
    assert (
        "pool apps (n2, NIC 9000): pods send at most 8950, 1354 towards pods of smaller nodes of pool apps, 1340"
        " towards pods of n3"
    ) in lines
    assert (
        "pool apps (n1, NIC 9000, path 1404 as MTUPolicy fabric says): pods send at most 1354, 1340 towards pods of n3"
        in lines
    )
    assert "n3 (NIC 9000, path 1390 by its route): pods send at most 1340" in lines
    assert main.run(["plan", "--from", path, "--per-node", "-o", "json"]) == 0
    pools = json.loads(capsys.readouterr().out)["pools"]
    assert [(pool["nicMtu"], pool["pathMtu"], pool["pathBy"], pool["podMtu"]) for pool in pools] == [
        (9000, None, "", 8950),
        (9000, 1404, "as MTUPolicy fabric says", 1354),
        (9000, 1390, "by its route", 1340),
    ]


def test_nodes_without_a_pool_are_named_and_not_their_lack(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    big = tuple(example.node(name, nic=9000) for name in ("n1", "n2"))
    found = networked(story(1450, (*big, example.node("n3"))), {})
    assert main.run(["plan", "--from", saved(found), "--per-node"]) == 0
    out = capsys.readouterr().out
    assert "n1 and n2 (NIC 9000): pods send at most 8950, 1450 towards pods of n3\n" in out
    assert "with up to 2 routes by destination in each pod, live" in out
    assert "everything else uses 8950 at once" in out

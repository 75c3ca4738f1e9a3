"""What an operator saves by hand, judged as agents judge the same cluster: outputs of `ip`, node files, objects."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.scenes import faults
from tests.support.scenes.cluster import Cluster, Told, run, told

from kubemtu_lab.scene import Canal, Flannel, Scene, nodes

pytestmark = pytest.mark.lab

CANAL = Scene(name="canal-by-hand", summary="", nodes=nodes(2, 2), cni=Canal(mtu=1450))
FLANNEL = Scene(name="flannel-by-hand", summary="", nodes=nodes(2, 1), cni=Flannel(), version="v1.30.4")
LISTS = ("/api/v1/nodes", "/api/v1/pods", "/api/v1/configmaps", "/apis/apps/v1/daemonsets")


class Row(NamedTuple):
    """A fault, and the codes that agents find."""

    name: str
    fault: faults.Fault
    codes: tuple[str, ...]


@pytest.mark.parametrize("cluster", [CANAL], indirect=True, ids=["canal"])
@pytest.mark.parametrize(
    "row",
    [
        Row("healthy", faults.none, ()),
        Row("new pods too large", faults.inline("1450", "1500", restarted=True), ("MTU119",)),
        Row("a small tunnel", faults.links({"node-1 flannel.1": 1400}), ("MTU107",)),
        Row("ends that differ", faults.links({"node-1 cali*": 1500}), ("MTU105",)),
    ],
    ids=lambda row: row.name,
)
@pytest.mark.parametrize("tools", ["ip -d -j link", "ip -d a", "ip a"])
def test_the_verdict_is_that_of_agents(cluster: Cluster, row: Row, tools: str, tmp_path: Path) -> None:
    cluster.healthy()
    with row.fault(cluster):
        cluster.until(lambda now: tuple(each.code for each in now.findings) == row.codes, str(row.codes))
        whole = f"{tools}; ip -all netns exec {tools}"
        by_hand = told(run("check", "-o", "json", "--from", saved(cluster, whole, tmp_path)))
        # Agents may have looked while the fault was made: they are waited for.
        by_agents = cluster.until(lambda now: now.marks == by_hand.marks, str(by_hand.marks))
    same(by_hand, by_agents)
    assert tuple(each.code for each in by_hand.findings) == row.codes


@pytest.mark.parametrize("cluster", [CANAL], indirect=True, ids=["canal"])
def test_of_a_pod_whose_host_end_alone_is_wrong_the_host_end_is_said(cluster: Cluster, tmp_path: Path) -> None:
    cluster.healthy()
    with faults.links({"node-1 cali*": 1500})(cluster):
        by_agents = cluster.until(lambda now: {each.code for each in now.findings} == {"MTU105"}, "ends that differ")
        by_hand = told(run("check", "-o", "json", "--from", saved(cluster, "ip -d a", tmp_path)))
    # Agents see that the ends differ; who sees the host's ends alone can say no more than what follows from these.
    assert {each.code for each in by_agents.findings} == {"MTU105"}
    assert [each.code for each in by_hand.findings] == ["MTU104", "MTU101", "MTU118"]
    assert all("not seen" in each.message for each in by_hand.findings[:2])
    assert by_hand.findings[2].place == "nodes node-1 and node-2, own ends of 4 pods"


@pytest.mark.parametrize("cluster", [FLANNEL], indirect=True, ids=["flannel"])
@pytest.mark.parametrize("tools", ["ip -d -j link", "ip a", "busybox ip a"])
def test_pods_of_a_bridge_are_seen_and_not_named(cluster: Cluster, tools: str, tmp_path: Path) -> None:
    by_agents = cluster.healthy()
    with faults.links({"node-1 cni0": 1500})(cluster):
        by_hand = told(run("check", "-o", "json", "--from", saved(cluster, tools, tmp_path)))
    assert (by_hand.cni, by_hand.encapsulation) == (by_agents.cni, by_agents.encapsulation)
    assert by_hand.recommended_mtu == by_agents.recommended_mtu


def same(by_hand: Told, by_agents: Told) -> None:
    facts = [
        (now.verdict, now.cni, now.variant, now.encapsulation, now.recommended_mtu, now.layers)
        for now in (by_hand, by_agents)
    ]
    assert facts[0] == facts[1]


def saved(cluster: Cluster, tools: str, folder: Path) -> Path:
    """Save what an operator would, without a word about the file names that kubemtu would like."""
    for path in LISTS:
        (folder / f"{path.rpartition('/')[2]}.json").write_text(json.dumps(cluster.kube.get(path)))
    for node in cluster.lab.record.nodes:
        printed = cluster.lab.exec(node, ["sh", "-c", f"{tools}; ip route; ip -6 route"]).stdout
        (folder / f"{node}.txt").write_text(printed)
        listed = cluster.lab.exec(node, ["find", "/etc/cni/net.d", "/run/flannel", "-type", "f"], check=False).stdout
        for place in listed.split():
            copy = folder / node / place.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(cluster.lab.exec(node, ["cat", place]).stdout)
    return folder

"""Two nodes with jumbo NICs and one with 1500: jumbo for most, less towards the few and out of the cluster.

node-1  pods 8950 -- flannel.1 8950 -- eth0 9000 ====+
node-2  pods 8950 -- flannel.1 8950 -- eth0 9000 ====+== switch == the way out, which takes 1500 without a word
node-3  pods 1450 -- flannel.1 1450 -- eth0 1500 ====+
"""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.labs import echo, until
from tests.support.scenes import faults, situations
from tests.support.scenes.cluster import NODE_MTUS, Cluster
from tests.support.scenes.datagrams import send, send_to
from tests.support.scenes.traffic import tally_of_apply

from kubemtu_lab.scene import Canal, Nic, Scene, nodes

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600), pytest.mark.usefixtures("has_nft")]

MIXED = Scene(
    name="apart", summary="", nodes=nodes(3, 2, Nic(mtu=9000)), cni=Canal(era="C", mtu=1450), version="v1.28.12"
).with_nics("node-3", Nic(mtu=1500))
BETWEEN = Scene(
    name="between", summary="", nodes=nodes(3, 2, Nic(mtu=9000)), cni=Canal(era="C", mtu=1450), version="v1.28.12"
).with_nics("node-2", Nic(mtu=4000))
BETWEEN = BETWEEN.with_nics("node-3", Nic(mtu=1500))
PODS = {"pod-1a": 8950, "pod-1b": 8950, "pod-2a": 8950, "pod-2b": 8950, "pod-3a": 1450, "pod-3b": 1450}
COULD_HAVE_MORE = "MTU106 note: node node-3, eth0"
LOSE_THEIR_OWN = "MTU145 warning: nodes node-1 and node-2, flannel.1"
AS_IT_WAS = [COULD_HAVE_MORE, LOSE_THEIR_OWN]
OUTSIDE = "192.168.77.254"


def sizes(cluster: Cluster) -> dict[str, int]:
    return {pod: cluster.links(pod)["eth0"] for pod in PODS}


def applied(cluster: Cluster, node: str) -> bool:
    """Say whether the agent of a node tells of a change that is asked of it."""
    found: Any = cluster.kube.get(f"{NODE_MTUS}/{node}")
    return bool(found.get("status", {}).get("applied"))


def outwards(cluster: Cluster, pod: str, low: int, high: int) -> dict[str, int]:
    """Send a datagram of every size, with DF, out of the cluster by a way that drops what is above 1500."""
    for number in (1, 2, 3):
        cluster.ip("fabric", "route", "replace", f"10.244.{number}.0/24", "via", f"192.168.77.{number}")
    drop = f"ip daddr {OUTSIDE} udp dport 7007 meta length > 1500 drop"
    with echo(cluster.lab, "fabric"), situations.rules(cluster, "fabric", "input", drop):
        return send_to(cluster, pod, OUTSIDE, low, high)


@pytest.mark.parametrize("cluster", [MIXED], indirect=True)
def test_jumbo_for_most_and_routes_towards_the_few(cluster: Cluster) -> None:
    assert cluster.settle(AS_IT_WAS).verdict == "suboptimal"
    planned = cluster.plan("--per-node")
    assert (planned.target, planned.lines) == (8950, ["live"])
    tally = tally_of_apply(cluster, "--per-node")
    # What the nodes themselves send by their own tunnel of 8950 vanished before; the first pin ends it, for good.
    assert {one.source for one in tally.losses} == {"node-1", "node-2"}
    during, after = tally.interval("change"), tally.interval("after")
    assert (after.udp_sent > 0, after.udp_lost_silently) == (True, 0)
    for counted in (during, after):
        assert (counted.tcp_resets, counted.tcp_stuck, counted.connect_failures, counted.veth_drops) == (0, 0, 0, 0)
    assert cluster.healthy().current == [1450, 8950]
    assert sizes(cluster) == PODS
    assert "10.244.3.0/24 via 169.254.1.1 dev eth0 proto 109 metric 10900 mtu 1450" in cluster.ip("pod-1a", "route")
    # Of every size there is: what goes to the few is told by the sender's own kernel, and nothing vanishes.
    assert send(cluster, "pod-1a", "pod-2a", 8901, 8950) == {"sent": 50, "refused": 0, "answered": 50}
    assert send(cluster, "pod-1a", "pod-3a", 1401, 1500) == {"sent": 50, "refused": 50, "answered": 50}
    assert cluster.plan().lines == []
    assert cluster.plan("--per-node").lines == []

    cluster.kube.run_pod("newborn", "node-1")
    try:
        until(lambda: "dev eth0 proto 109 metric 10900 mtu 1450" in cluster.ip("newborn", "route"))
        until(lambda: cluster.links("newborn")["eth0"] == 8950)  # once its node's agent has seen it
        assert cluster.healthy().current == [1450, 8950]
        assert send(cluster, "newborn", "pod-3a", 1451, 1500) == {"sent": 0, "refused": 50, "answered": 0}
        # The way out takes 1500, and nobody says so.
        assert outwards(cluster, "newborn", 1491, 1510) == {"sent": 20, "refused": 0, "answered": 10}
    finally:
        cluster.kube.remove_pod("newborn")

    other = cluster.apply("--mtu", "1400")
    assert other.code == 2
    assert "kubemtu rollback" in other.err
    cluster.rollback()
    cluster.settle(AS_IT_WAS)
    assert set(sizes(cluster).values()) == {1450}
    assert "proto 109" not in "".join(cluster.ip(pod, "route") for pod in PODS)


def by_the_node(cluster: Cluster, low: int, high: int, *, df: bool = True) -> dict[str, int]:
    """Send a datagram of every size from node-1 itself to a pod of the small node, to which nothing was learned."""
    cluster.ip("node-1", "route", "flush", "cache")
    return send(cluster, "node-1", "pod-3a", low, high, df=df)


@pytest.mark.parametrize("cluster", [MIXED], indirect=True)
def test_what_nodes_themselves_lose_by_their_tunnel_and_what_ends_it(cluster: Cluster) -> None:
    """A node's own way to the tunnel has that one's MTU: 8950 in 9000, where the other NIC has 1500."""
    found = cluster.settle(AS_IT_WAS)
    assert found.summary.startswith("Pods lose nothing, but mind nodes node-1 and node-2, flannel.1: What these nodes")
    lost = found.one("MTU145")
    assert "datagrams of 1451-8950 bytes, and pieces of larger ones, vanish in front of it" in lost.message
    # A veth takes four bytes more than its MTU, and what passes by those, node-3 refuses with an ICMP error.
    assert by_the_node(cluster, 1455, 1474) == {"sent": 20, "refused": 0, "answered": 0}
    assert by_the_node(cluster, 1455, 1474, df=False) == {"sent": 20, "refused": 0, "answered": 0}
    assert by_the_node(cluster, 8941, 8960) == {"sent": 10, "refused": 10, "answered": 0}
    assert by_the_node(cluster, 8941, 8960, df=False) == {"sent": 20, "refused": 0, "answered": 0}

    assert lost.remedy.startswith(
        'Set ConfigMap kube-system/canal-config, data["net-conf.json"], Backend.MTU to 1500 for devices that are made'
        " from now on, and ip link set dev flannel.1 mtu 1450 on each of these nodes"
    )
    with faults.net_conf(MTU=1500)(cluster):
        left = [f"MTU107 warning: node node-{number}, flannel.1" for number in (1, 2)]
        cluster.settle([COULD_HAVE_MORE, *left])
        assert cluster.plan().lines == ["live"]
        ended = cluster.apply()  # or `ip link`, as the remedy says; both are the same change of a device
        assert ended.code == 0, ended.err
        assert [cluster.links(f"node-{number}")["flannel.1"] for number in (1, 2, 3)] == [1450, 1450, 1450]
        assert cluster.settle([COULD_HAVE_MORE]).verdict == "healthy"
        assert by_the_node(cluster, 1441, 1460) == {"sent": 10, "refused": 10, "answered": 10}
        assert by_the_node(cluster, 1455, 1474, df=False) == {"sent": 20, "refused": 0, "answered": 20}
        assert by_the_node(cluster, 8941, 8960) == {"sent": 0, "refused": 20, "answered": 0}
        assert by_the_node(cluster, 8941, 8960, df=False) == {"sent": 20, "refused": 0, "answered": 20}
        ended = cluster.run("rollback", "--yes")
        assert ended.code == 0, ended.err
        cluster.settle([COULD_HAVE_MORE, *left])
    cluster.settle(AS_IT_WAS)


@pytest.mark.parametrize("cluster", [MIXED], indirect=True)
def test_the_way_out_apart(cluster: Cluster) -> None:
    ended = cluster.apply("--per-node", "--egress-mtu", "1500")
    assert ended.code == 0, ended.err
    assert cluster.healthy().current == [1450, 8950]
    assert "default via 169.254.1.1 dev eth0 proto static mtu 1500" in cluster.ip("pod-1a", "route")
    assert outwards(cluster, "pod-1a", 1491, 1510) == {"sent": 10, "refused": 10, "answered": 10}
    assert send(cluster, "pod-1a", "pod-2a", 8901, 8950) == {"sent": 50, "refused": 0, "answered": 50}
    assert "10.244.3.0/24 via 10.244.3.0 dev flannel.1 proto static onlink mtu 1450" in cluster.ip("node-1", "route")
    for ends in (("pod-1a", "pod-3a"), ("pod-1a", "pod-2a"), ("pod-3a", "pod-1a"), ("pod-1a", OUTSIDE)):
        why = cluster.run("why", *ends)
        assert why.code == 0, why.out
    assert cluster.plan().lines == []
    again = cluster.run("apply", "--yes", "--per-node", "--egress-mtu", "1500")
    assert (again.code, again.err) == (0, "")
    # 1500 between all six ordered pairs, 9000 between the two that have it.
    assert again.out.startswith("✓ Nothing to do: every pod has what MTUMigration canal-1450-to-8950-")
    assert "8 of 8 full packets between the nodes arrived" in again.out

    # node-2 as one that joined now: nothing is asked of it, and its pods are as they were born.
    cluster.kube.merge(f"{NODE_MTUS}/node-2", {"spec": None})
    until(lambda: not applied(cluster, "node-2"))
    for pod in ("pod-2a", "pod-2b"):
        for route in ("10.244.0.0/16", "10.244.3.0/24"):
            cluster.ip(pod, "route", "del", route)
        cluster.ip(pod, "route", "replace", "default", "via", "169.254.1.1", "dev", "eth0", "proto", "static")
    joined = cluster.settle(["MTU132 error: node node-2"])
    assert "that pods there send to those of node-3 (10.244.3.0/24) vanish on the way" in joined.one("MTU132").message
    assert "it joined later" in joined.one("MTU132").message
    assert "`kubemtu apply --per-node --egress-mtu 1500`" in joined.one("MTU132").remedy
    extended = cluster.run("apply", "--yes", "--per-node", "--egress-mtu", "1500")
    assert extended.code == 0, extended.err
    assert cluster.healthy().current == [1450, 8950]

    # Somebody deletes its NodeMTU: its pods have all of it, so there is nothing to plan, and yet new ones would not.
    cluster.kube.delete(f"{NODE_MTUS}/node-2")
    until(lambda: '"node-2"' in json.dumps(cluster.kube.get(NODE_MTUS)))  # its agent tells of it anew
    until(lambda: len(situations.seen_ends(cluster, "node-2")) == 2)
    whole = cluster.settle(["MTU132 warning: node node-2"])
    assert "Pods born there keep what the configuration gives them." in whole.one("MTU132").message
    assert cluster.run("why-not", "node-2").out.startswith("✓ On node-2 it has come all the way")
    once_more = cluster.run("apply", "--yes", "--per-node", "--egress-mtu", "1500")
    assert (once_more.code, "is carried out once more" in once_more.out) == (0, True), once_more.err
    assert cluster.healthy().current == [1450, 8950]

    cluster.rollback()
    cluster.settle(AS_IT_WAS)


def without_node_2(plan: Path) -> Path:
    """Take node-2 out of a saved plan: to whoever carries it out, that node has joined meanwhile."""
    whole = json.loads(plan.read_text())
    for live in (step for step in whole["steps"] if step["type"] == "live"):
        live["nodes"] = [to for to in live["nodes"] if to["node"] != "node-2"]
        for to in live["nodes"]:
            to["networkMtus"] = [one for one in to["networkMtus"] if one["mtu"] < 3950]
    plan.write_text(json.dumps(whole))
    return plan


@pytest.mark.parametrize("cluster", [BETWEEN], indirect=True)
def test_a_node_that_joins_between_two_sizes_has_its_own(cluster: Cluster, tmp_path: Path) -> None:
    """A NIC of 4000, which VXLAN leaves 3950 of, between pods of 8950 and of 1450."""
    saved = tmp_path / "plan.json"
    until(lambda: len(json.loads(cluster.run("plan", "--per-node", "-o", "json").out)["pools"]) == 3)
    assert cluster.run("plan", "--per-node", "--out", saved).code == 0
    ended = cluster.apply(str(without_node_2(saved)))  # which takes it in while it is carried out
    assert ended.code == 0, ended.err
    assert cluster.healthy().current == [1450, 3950, 8950]
    assert cluster.plan().lines == []
    assert send(cluster, "pod-1a", "pod-2a", 3941, 3960) == {"sent": 10, "refused": 10, "answered": 10}
    assert send(cluster, "pod-2a", "pod-3a", 1441, 1460) == {"sent": 10, "refused": 10, "answered": 10}

    # As one that joins afterwards: nothing is asked of it, and its pods are as they were born.
    cluster.kube.merge(f"{NODE_MTUS}/node-2", {"spec": None})
    until(lambda: not applied(cluster, "node-2"))
    for pod in ("pod-2a", "pod-2b"):
        cluster.ip(pod, "route", "flush", "proto", "109")
    cluster.settle(["MTU132 error: node node-2"])
    assert cluster.plan().lines == ["live"]
    extended = cluster.run("apply", "--yes")
    assert extended.code == 0, extended.err
    assert cluster.healthy().current == [1450, 3950, 8950]
    assert cluster.plan().lines == []
    again = cluster.run("apply", saved, "--yes")  # of which more is in force by now
    assert (again.code, again.out.startswith("✓ Nothing to do")) == (0, True), again.err

    # A NIC that says more than its switch carries: what is measured first, stops it, and nothing is changed.
    cluster.ip("node-3", "link", "set", "eth0", "mtu", "9000")
    until(lambda: "live" in cluster.plan().lines)
    refused = cluster.run("apply", "--yes")
    assert (refused.code, "does not carry this plan" in refused.err) == (8, True), refused.err
    assert [cluster.links(f"pod-{number}a")["eth0"] for number in (1, 2, 3)] == [8950, 3950, 1450]
    cluster.ip("node-3", "link", "set", "eth0", "mtu", "1500")
    assert cluster.healthy().current == [1450, 3950, 8950]
    cluster.rollback()
    assert {cluster.links(f"pod-{number}a")["eth0"] for number in (1, 2, 3)} == {1450}

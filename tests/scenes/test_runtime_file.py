"""Multus on every node, with a copy of the CNI's configuration that was made once: what new pods get, and `apply`."""

import json
from pathlib import Path

import pytest
from tests.support.labs import Body, until
from tests.support.scenes.cluster import Cluster

from kubemtu_lab.scene import Canal, Scene, nodes

pytestmark = pytest.mark.lab

SCENE = Scene(name="multus", summary="", nodes=nodes(2, 1), cni=Canal(era="C", mtu=1500), version="v1.28.12")
COPY = "/etc/cni/net.d/00-multus.conf"
SETS = "/apis/apps/v1/namespaces/kube-system/daemonsets"
MULTUS: Body = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "kube-multus-ds"},
    "spec": {
        "selector": {"matchLabels": {"name": "multus"}},
        "template": {
            "metadata": {"labels": {"name": "multus"}},
            "spec": {
                "hostNetwork": True,
                "terminationGracePeriodSeconds": 0,
                "tolerations": [{"operator": "Exists"}],
                "containers": [
                    {
                        "name": "kube-multus",
                        "image": "ghcr.io/k8snetworkplumbingwg/multus-cni:v4.1.0",
                        "command": ["/thin_entrypoint"],
                        "args": ["--multus-conf-file=auto"],
                    }
                ],
            },
        },
    },
}


@pytest.fixture
def with_multus(cluster: Cluster) -> Cluster:
    cluster.kube.create(SETS, MULTUS)
    until(lambda: all(copied(cluster, node) is not None for node in cluster.lab.record.nodes))
    return cluster


def file(cluster: Cluster, node: str) -> Path:
    return cluster.lab.node_root(node) / COPY.lstrip("/")


def copied(cluster: Cluster, node: str) -> object:
    """The MTU in the copy of a node; None without one, or while it is being written."""
    try:
        whole = json.loads(file(cluster, node).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return whole["delegates"][0]["plugins"][0]["mtu"]


def born(cluster: Cluster, name: str) -> int:
    """The MTU of a pod that is made now."""
    cluster.kube.run_pod(name, "node-1")
    return cluster.links(name)["eth0"]


@pytest.mark.parametrize("cluster", [SCENE], indirect=True)
def test_new_pods_follow_the_copy_and_apply_has_it_made_anew_or_refuses(with_multus: Cluster) -> None:
    cluster = with_multus
    assert [copied(cluster, node) for node in ("node-1", "node-2")] == [1500, 1500]
    cluster.until(lambda now: "MTU119" in {one.code for one in now.findings}, "a number that is too large")
    wanted = ["veth_mtu: 1500 -> 1450", "rollout", "rollout"]  # once the agents have told of the copies
    until(lambda: [str(step) for step in cluster.plan().steps if step.type != "live"] == wanted)

    ended = cluster.apply()
    assert ended.code == 0, ended.err
    assert [copied(cluster, node) for node in ("node-1", "node-2")] == [1450, 1450]
    assert cluster.healthy().verdict == "healthy"
    assert born(cluster, "newborn") == 1450

    old = file(cluster, "node-1").read_text().replace('"mtu":1450', '"mtu":1500')
    file(cluster, "node-1").write_text(old)
    now = cluster.settle([f"MTU130 error: node node-1, {COPY}"])
    assert "new pods here get 1500; /etc/cni/net.d/10-canal.conflist says 1450" in now.one("MTU130").message
    assert born(cluster, "too-large") == 1500
    cluster.kube.remove_pod("too-large")
    until(lambda: cluster.plan().lines == ["rollout"])  # once the agent has told that this pod is gone
    ended = cluster.apply()
    assert ended.code == 0, ended.err
    assert copied(cluster, "node-1") == 1450
    assert cluster.healthy().verdict == "healthy"

    cluster.kube.delete(f"{SETS}/kube-multus-ds")
    file(cluster, "node-1").write_text(old)
    cluster.settle([f"MTU130 error: node node-1, {COPY}"])
    refused = cluster.run("apply", "--yes")
    assert refused.code == 2
    assert "new pods would not follow: /etc/cni/net.d/00-multus.conf of node-1 holds a copy" in refused.err
    assert copied(cluster, "node-1") == 1500

"""Pods that are ports of a bridge: by the plugin alone, of kube-router and of Weave; changed while they talk.

The bridge has the node's own address among its pods, and drops without a word what is larger than a port.
"""

import json
import os
from collections.abc import Iterator

import pytest
from tests.support import declared
from tests.support.scenes.cluster import Cluster
from tests.support.scenes.datagrams import send
from tests.support.scenes.places import ALL_PODS, BOTH_OF
from tests.support.scenes.traffic import apply_under_traffic, lossless

from kubemtu_lab.cluster import Lab
from kubemtu_lab.scene import Declared, HandSet, Nic, Scene, nodes

pytestmark = pytest.mark.lab
PODS = ("pod-1a", "pod-1b", "pod-2a", "pod-2b")
NODES = ("node-1", "node-2")
TOO_LARGE = f"MTU101 error: nodes node-1 and node-2, 4 pods: {ALL_PODS}"
# Once both nodes' files have been written: what runs is as it was born, and what is born now is right.
FILES_ARE_RIGHT = [
    f"MTU104 error: node node-1, 2 pods: {BOTH_OF.format(1)}",
    f"MTU104 error: node node-2, 2 pods: {BOTH_OF.format(2)}",
    TOO_LARGE,
]


def scene(cni: Declared, nic: int = 1500, later: int | None = None) -> Scene:
    faults = tuple(HandSet(node=node, links="eth0", mtu=later) for node in NODES if later is not None)
    return Scene(name=cni.name, summary=cni.name, nodes=nodes(2, 2, Nic(mtu=nic)), cni=cni, faults=faults, agents=True)


@pytest.fixture
def cluster(request: pytest.FixtureRequest, can_make_labs: None) -> Iterator[Cluster]:
    with Lab.up(request.param, f"kmtest-{os.getpid()}-{request.param.name}") as lab:
        found = Cluster(lab)
        yield found
        found.close()


def ports(cluster: Cluster, node: str, bridge: str) -> set[int]:
    """Return the MTUs of a bridge's ports, as `ip` shows them."""
    return {port["mtu"] for port in json.loads(cluster.ip(node, "-json", "link", "show", "master", bridge))}


@pytest.mark.parametrize("cluster", [scene(declared.BRIDGE, later=1450)], indirect=True)
def test_the_bridge_plugin_by_files_alone(cluster: Cluster) -> None:
    """Somebody's installer writes each node's file; kubemtu leads the bridge and the running pods to what it says."""
    place = "mtu of the plugin bridge in /etc/cni/net.d/10-bridge-net.conflist on each node"
    now = cluster.settle([f"MTU119 error: {place}", TOO_LARGE])
    assert (now.cni, now.variant, now.recommended_mtu) == ("reference-plugins", "bridge", 1450)
    assert "via 192.168.77.2 dev eth0" in cluster.ip("node-1", "route", "show", "10.244.2.0/24")
    refused = cluster.run("plan")
    assert refused.code == 2
    assert 'Write "mtu": 1450' in refused.err
    restart = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
    template: dict[str, object] = {"spec": {"template": {"metadata": {"annotations": restart}}}}
    cluster.kube.merge("/apis/apps/v1/namespaces/kube-system/daemonsets/node-setup", template)
    cluster.settle(FILES_ARE_RIGHT)
    assert cluster.plan().lines == ["live", "live"]
    assert lossless(apply_under_traffic(cluster))
    assert cluster.healthy().current == [1450]
    for node in NODES:
        assert cluster.links(node)["cni0"] == 1450
        assert ports(cluster, node, "cni0") == {1450}
    assert send(cluster, "pod-1a", "pod-2a", 1401, 1500) == {"sent": 50, "refused": 50, "answered": 50}
    cluster.kube.run_pod("late", "node-1")
    assert cluster.lab.mtu("late") == 1450
    cluster.kube.remove_pod("late")
    ended = cluster.run("rollback", "--yes")
    assert ended.code == 0, ended.err
    cluster.settle(FILES_ARE_RIGHT)
    assert {cluster.links(pod)["eth0"] for pod in PODS} == {1500}
    assert [cluster.links(node)["cni0"] for node in NODES] == [1500, 1500]


@pytest.mark.parametrize("cluster", [scene(declared.KUBE_ROUTER, nic=1450)], indirect=True)
def test_kube_router_without_auto_mtu(cluster: Cluster) -> None:
    place = 'ConfigMap kube-system/kube-router-cfg, data["cni-conf.json"], plugins[0].mtu'
    as_deployed = [f"MTU119 error: {place}", TOO_LARGE]
    now = cluster.settle(as_deployed)
    assert (now.cni, now.variant, now.recommended_mtu) == ("kube-router", "mtu of the CNI configuration", 1450)
    assert cluster.plan().lines == ["live", "cni-conf.json: 1500 -> 1450", "rollout", "live"]
    assert lossless(apply_under_traffic(cluster))
    assert cluster.healthy().current == [1450]
    for node in NODES:
        assert cluster.links(node)["kube-bridge"] == 1450
        assert ports(cluster, node, "kube-bridge") == {1450}
        written = cluster.lab.exec(node, ["cat", "/etc/cni/net.d/10-kuberouter.conflist"]).stdout
        assert '"mtu": 1450' in written
    assert cluster.plan().lines == []
    ended = cluster.run("rollback", "--yes")
    assert ended.code == 0, ended.err
    cluster.settle(as_deployed)
    assert {cluster.links(pod)["eth0"] for pod in PODS} == {1500}


@pytest.mark.parametrize("cluster", [scene(declared.WEAVE)], indirect=True)
def test_weave(cluster: Cluster) -> None:
    """Its bridge never learns a new WEAVE_MTU by itself, and vethwe-bridge keeps the old one for good."""
    as_deployed = [
        "MTU119 error: DaemonSet kube-system/weave-net, spec.template.spec.containers[0].env[0].value, WEAVE_MTU",
        TOO_LARGE,
    ]
    now = cluster.settle(as_deployed)
    assert (now.cni, now.encapsulation, now.recommended_mtu, now.current) == ("weave", "vxlan", 1450, [1500])
    assert [line for line in cluster.plan().lines if line in ("live", "rollout")] == ["live", "rollout", "live"]
    assert lossless(apply_under_traffic(cluster))
    assert cluster.healthy().current == [1450]
    for node in NODES:
        links = cluster.links(node)
        assert (links["weave"], links["datapath"], links["vethwe-bridge"]) == (1450, 1450, 1500)
    cluster.kube.run_pod("late", "node-1")
    assert cluster.lab.mtu("late") == 1450  # as the bridge has it
    cluster.kube.remove_pod("late")
    ended = cluster.run("rollback", "--yes")
    assert ended.code == 0, ended.err
    cluster.settle(as_deployed)
    assert {cluster.links(pod)["eth0"] for pod in PODS} == {1500}
    assert [cluster.links(node)["weave"] for node in NODES] == [1500, 1500]

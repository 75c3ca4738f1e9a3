"""Pods that are ports of a bridge: by the plugin alone, of kube-router and of Weave; changed while they talk.

The bridge has the node's own address among its pods, and drops without a word what is larger than a port.
"""

import json

import pytest
from tests.support import declared
from tests.support.scenes.cluster import Cluster
from tests.support.scenes.datagrams import send
from tests.support.scenes.four_pods import FILES_ARE_RIGHT, NODES, TOO_LARGE, scene, sizes, write_files
from tests.support.scenes.traffic import apply_under_traffic, lossless

pytestmark = pytest.mark.lab


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
    write_files(cluster)
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
    cluster.rollback()
    cluster.settle(FILES_ARE_RIGHT)
    assert sizes(cluster) == {1500}
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
    cluster.rollback()
    cluster.settle(as_deployed)
    assert sizes(cluster) == {1500}


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
    cluster.rollback()
    cluster.settle(as_deployed)
    assert sizes(cluster) == {1500}
    assert [cluster.links(node)["weave"] for node in NODES] == [1500, 1500]

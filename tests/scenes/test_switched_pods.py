"""Pod networks on a switch, with the names of Antrea's and Kube-OVN's devices: changed while their pods talk.

A bridge stands for Open vSwitch, which this kernel need not have; both drop at a port what is larger than its device.
"""

import pytest
from tests.support import declared
from tests.support.scenes.cluster import Cluster
from tests.support.scenes.datagrams import send
from tests.support.scenes.four_pods import NODES, TOO_LARGE, scene, sizes
from tests.support.scenes.traffic import apply_under_traffic, lossless

from kubemtu_lab.scene import Declared

pytestmark = pytest.mark.lab
CASES = [
    pytest.param(
        scene(declared.ANTREA),
        declared.ANTREA,
        'ConfigMap kube-system/antrea-config, data["antrea-agent.conf"], defaultMTU',
        id="antrea",
    ),
    pytest.param(
        scene(declared.KUBE_OVN),
        declared.KUBE_OVN,
        "DaemonSet kube-system/kube-ovn-cni, spec.template.spec.containers[0].args[6], --mtu",
        id="kube-ovn",
    ),
]


@pytest.mark.parametrize(("cluster", "cni", "place"), CASES, indirect=["cluster"])
def test_pods_and_the_nodes_own_port_go_down_and_up_together(cluster: Cluster, cni: Declared, place: str) -> None:
    as_deployed = [f"MTU119 error: {place}", TOO_LARGE]
    now = cluster.settle(as_deployed)
    assert (now.cni, now.encapsulation, now.recommended_mtu, now.current) == (cni.name, "vxlan", 1450, [1500])
    lines = cluster.plan().lines
    assert (lines[0], lines[-2:]) == ("live", ["rollout", "live"])

    assert lossless(apply_under_traffic(cluster, "--mtu", "1300"))
    assert sizes(cluster) == {1300}
    assert cluster.links("node-1")[cni.gateway] == 1300

    assert lossless(apply_under_traffic(cluster))
    assert cluster.healthy().current == [1450]
    for node in NODES:
        links = cluster.links(node)
        assert links[cni.gateway] == 1450
        ports = {mtu for name, mtu in links.items() if name.endswith("_h") or name.startswith(("web-", "pod-"))}
        assert ports <= {1450}
    assert cluster.plan().lines == []
    assert send(cluster, "pod-1a", "pod-2a", 1401, 1500) == {"sent": 50, "refused": 50, "answered": 50}

    cluster.rollback()
    cluster.until(lambda told: told.current == [1300], "pods of 1300")
    assert sizes(cluster) == {1300}
    assert cluster.links("node-2")[cni.gateway] == 1300


# 1420 less what installers leave for Geneve, 100 (openshift/cluster-network-operator: getOVNEncapOverhead), and less
# VXLAN's 50 (RFC 7348). Both give ports and the node's own way the number when they start, and running pods nothing.
SMALLER_NICS = [
    pytest.param(
        scene(declared.OVN_KUBERNETES, later=1420),
        declared.OVN_KUBERNETES,
        ("ovn-kubernetes", "geneve", 1320),
        "ConfigMap ovn-kubernetes/ovn-config, data.mtu",
        id="ovn-kubernetes",
    ),
    pytest.param(
        scene(declared.OPENSHIFT_3, later=1420),
        declared.OPENSHIFT_3,
        ("openshift", "vxlan", 1370),
        'ConfigMap openshift-node/node-config-compute, data["node-config.yaml"], networkConfig.mtu',
        id="openshift-3",
    ),
]


@pytest.mark.parametrize(("cluster", "cni", "network", "place"), SMALLER_NICS, indirect=["cluster"])
def test_nics_that_were_made_smaller_under_a_switch(
    cluster: Cluster, cni: Declared, network: tuple[str, str, int], place: str
) -> None:
    as_deployed = [f"MTU119 error: {place}", TOO_LARGE]
    now = cluster.settle(as_deployed)
    assert (now.cni, now.encapsulation, now.recommended_mtu) == network
    assert now.current == [cni.mtu]
    target = network[2]
    assert lossless(apply_under_traffic(cluster))
    assert cluster.healthy().current == [target]
    for node in NODES:
        assert cluster.links(node)[cni.gateway] == target
    assert cluster.plan().lines == []
    cluster.rollback()
    cluster.settle(as_deployed)
    assert sizes(cluster) == {cni.mtu}
    assert cluster.links("node-2")[cni.gateway] == cni.mtu

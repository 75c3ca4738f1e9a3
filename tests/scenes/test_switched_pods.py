"""Pod networks on a switch, with the names of Antrea's and Kube-OVN's devices: changed while their pods talk.

A bridge stands for Open vSwitch, which this kernel need not have; both drop at a port what is larger than its device.
"""

import os
from collections.abc import Iterator

import pytest
from tests.support import declared
from tests.support.scenes.cluster import Cluster
from tests.support.scenes.datagrams import send
from tests.support.scenes.places import ALL_PODS
from tests.support.scenes.traffic import apply_under_traffic, lossless

from kubemtu_lab.cluster import Lab
from kubemtu_lab.scene import Declared, HandSet, Nic, Scene, nodes

pytestmark = pytest.mark.lab
PODS = ("pod-1a", "pod-1b", "pod-2a", "pod-2b")
TOO_LARGE = f"MTU101 error: nodes node-1 and node-2, 4 pods: {ALL_PODS}"
CASES = [
    pytest.param(
        declared.ANTREA, 'ConfigMap kube-system/antrea-config, data["antrea-agent.conf"], defaultMTU', id="antrea"
    ),
    pytest.param(
        declared.KUBE_OVN,
        "DaemonSet kube-system/kube-ovn-cni, spec.template.spec.containers[0].args[6], --mtu",
        id="kube-ovn",
    ),
]


@pytest.fixture
def later(request: pytest.FixtureRequest) -> int | None:
    """What somebody makes of the NICs when all is up; None leaves them."""
    return getattr(request, "param", None)


@pytest.fixture
def cluster(request: pytest.FixtureRequest, later: int | None, can_make_labs: None) -> Iterator[Cluster]:
    cni: Declared = request.getfixturevalue("cni")
    scene = Scene(
        name=cni.name,
        summary=cni.name,
        nodes=nodes(2, 2, Nic(mtu=1500)),
        cni=cni,
        faults=tuple(HandSet(node=node, links="eth0", mtu=later) for node in ("node-1", "node-2") if later),
        agents=True,
    )
    with Lab.up(scene, f"kmtest-{os.getpid()}-{cni.name}") as lab:
        found = Cluster(lab)
        yield found
        found.close()


@pytest.mark.parametrize(("cni", "place"), CASES)
def test_pods_and_the_nodes_own_port_go_down_and_up_together(cluster: Cluster, cni: Declared, place: str) -> None:
    as_deployed = [f"MTU119 error: {place}", TOO_LARGE]
    now = cluster.settle(as_deployed)
    assert (now.cni, now.encapsulation, now.recommended_mtu, now.current) == (cni.name, "vxlan", 1450, [1500])
    lines = cluster.plan().lines
    assert (lines[0], lines[-2:]) == ("live", ["rollout", "live"])

    assert lossless(apply_under_traffic(cluster, "--mtu", "1300"))
    assert {cluster.links(pod)["eth0"] for pod in PODS} == {1300}
    assert cluster.links("node-1")[cni.gateway] == 1300

    assert lossless(apply_under_traffic(cluster))
    assert cluster.healthy().current == [1450]
    for node in ("node-1", "node-2"):
        links = cluster.links(node)
        assert links[cni.gateway] == 1450
        ports = {mtu for name, mtu in links.items() if name.endswith("_h") or name.startswith(("web-", "pod-"))}
        assert ports <= {1450}
    assert cluster.plan().lines == []
    assert send(cluster, "pod-1a", "pod-2a", 1401, 1500) == {"sent": 50, "refused": 50, "answered": 50}

    ended = cluster.run("rollback", "--yes")
    assert ended.code == 0, ended.err
    cluster.until(lambda told: told.current == [1300], "pods of 1300")
    assert {cluster.links(pod)["eth0"] for pod in PODS} == {1300}
    assert cluster.links("node-2")[cni.gateway] == 1300


# 1420 less what installers leave for Geneve, 100 (openshift/cluster-network-operator: getOVNEncapOverhead), and less
# VXLAN's 50 (RFC 7348). Both give ports and the node's own way the number when they start, and running pods nothing.
SMALLER_NICS = [
    pytest.param(
        declared.OVN_KUBERNETES,
        ("ovn-kubernetes", "geneve", 1320),
        "ConfigMap ovn-kubernetes/ovn-config, data.mtu",
        id="ovn-kubernetes",
    ),
    pytest.param(
        declared.OPENSHIFT_3,
        ("openshift", "vxlan", 1370),
        'ConfigMap openshift-node/node-config-compute, data["node-config.yaml"], networkConfig.mtu',
        id="openshift-3",
    ),
]


@pytest.mark.parametrize("later", [1420], indirect=True)
@pytest.mark.parametrize(("cni", "network", "place"), SMALLER_NICS)
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
    for node in ("node-1", "node-2"):
        assert cluster.links(node)[cni.gateway] == target
    assert cluster.plan().lines == []
    ended = cluster.run("rollback", "--yes")
    assert ended.code == 0, ended.err
    cluster.settle(as_deployed)
    assert {cluster.links(pod)["eth0"] for pod in PODS} == {cni.mtu}
    assert cluster.links("node-2")[cni.gateway] == cni.mtu

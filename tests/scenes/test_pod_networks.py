"""Pod networks of others, put together in the lab with too large an MTU, changed while their pods talk, and taken back.

Cilium's pods are limited by their routes: before v1.17 only those are changed, from then on its own agents change
devices and routes when they restart, while the pods are pinned. The AWS VPC CNI holds its number as
text. Pods of kindnet follow their node's NIC, which was made smaller under them.
"""

import msgspec
import pytest
from tests.support import declared
from tests.support.scenes.cluster import Cluster
from tests.support.scenes.datagrams import send
from tests.support.scenes.four_pods import PODS, TOO_LARGE, scene, sizes, write_files
from tests.support.scenes.traffic import apply_under_traffic, lossless

pytestmark = pytest.mark.lab
CILIUM_CASES = [
    pytest.param(scene(declared.CILIUM, nic=1450), 1500, id="v1.16"),
    pytest.param(scene(declared.CILIUM_THAT_UPDATES, nic=1450), 1450, id="v1.18"),
]


@pytest.mark.parametrize(("cluster", "device"), CILIUM_CASES, indirect=["cluster"])
def test_cilium(cluster: Cluster, device: int) -> None:
    as_deployed = ["MTU119 error: ConfigMap kube-system/cilium-config, data.mtu", TOO_LARGE]
    now = cluster.settle(as_deployed)
    assert (now.cni, now.encapsulation, now.recommended_mtu, now.current) == ("cilium", "vxlan", 1400, [1450])
    assert cluster.plan().lines == ["live", "mtu: 1500 -> 1450", "rollout", "live"]
    assert lossless(apply_under_traffic(cluster))
    assert cluster.healthy().current == [1400]
    for pod in PODS:
        assert cluster.links(pod)["eth0"] == device
        assert "mtu 1400" in cluster.ip(pod, "route", "show", "default")
    assert {mtu for name, mtu in cluster.links("node-1").items() if name.startswith("lxc")} == {device}
    assert cluster.plan().lines == []
    assert send(cluster, "pod-1a", "pod-2a", 1351, 1450) == {"sent": 50, "refused": 50, "answered": 50}
    cluster.rollback()
    cluster.settle(as_deployed)
    assert sizes(cluster) == {1500}


HAVE_ROOM = ["MTU119 note: ConfigMap kube-system/cilium-config, data.mtu"]
UP_CASES = [
    pytest.param(scene(msgspec.structs.replace(declared.CILIUM, mtu=1400)), 1450, id="v1.16"),
    pytest.param(scene(msgspec.structs.replace(declared.CILIUM_THAT_UPDATES, mtu=1400)), 1500, id="v1.18"),
]


@pytest.mark.parametrize(("cluster", "device"), UP_CASES, indirect=["cluster"])
def test_cilium_that_has_room(cluster: Cluster, device: int) -> None:
    """A base of 1400 on NICs of 1500: devices are raised as far as routes need, or as the agents raise them."""
    now = cluster.settle(HAVE_ROOM)
    assert (now.recommended_mtu, now.current) == (1450, [1350])
    assert cluster.plan().lines == ["live", "mtu: 1400 -> 1500", "rollout"]
    assert lossless(apply_under_traffic(cluster))
    assert cluster.healthy().current == [1450]
    assert sizes(cluster) == {device}
    assert cluster.plan().lines == []


@pytest.mark.parametrize("cluster", [scene(declared.AWS)], indirect=True)
def test_aws(cluster: Cluster) -> None:
    place = "DaemonSet kube-system/aws-node, spec.template.spec.containers[0].env, POD_MTU"
    as_deployed = [f"MTU119 error: {place}", TOO_LARGE]
    now = cluster.settle(as_deployed)
    assert (now.cni, now.variant, now.recommended_mtu, now.current) == ("aws-vpc-cni", "v1.19.2", 1500, [9001])
    assert cluster.plan().lines[0] == cluster.plan().lines[-1] == "live"
    assert lossless(apply_under_traffic(cluster))
    assert cluster.healthy().current == [1500]
    assert '"mtu": "1500"' in cluster.lab.exec("node-1", ["cat", "/etc/cni/net.d/10-aws.conflist"]).stdout
    assert cluster.plan().lines == []
    cluster.rollback()
    cluster.settle(as_deployed)
    assert '"mtu": "9001"' in cluster.lab.exec("node-1", ["cat", "/etc/cni/net.d/10-aws.conflist"]).stdout


@pytest.mark.parametrize("cluster", [scene(declared.KINDNET, later=1450)], indirect=True)
def test_kindnet(cluster: Cluster) -> None:
    born = "MTU119 error: nodes node-1 and node-2, /etc/cni/net.d/10-kindnet.conflist"
    as_deployed = [born, TOO_LARGE]
    now = cluster.settle(as_deployed)
    assert (now.cni, now.recommended_mtu, now.current) == ("kindnet", 1450, [1500])
    assert cluster.plan().lines == ["live", "rollout", "live"]
    assert lossless(apply_under_traffic(cluster))
    assert cluster.healthy().current == [1450]
    assert '"mtu": 1450' in cluster.lab.exec("node-1", ["cat", "/etc/cni/net.d/10-kindnet.conflist"]).stdout
    assert cluster.plan().lines == []


@pytest.mark.parametrize("cluster", [scene(declared.PTP, later=1450)], indirect=True)
def test_a_reference_plugin_by_files_alone(cluster: Cluster) -> None:
    """New pods follow a file of each node that somebody's own installer writes; running pods are kubemtu's."""
    place = "mtu of the plugin ptp in /etc/cni/net.d/10-ptp-net.conflist on each node"
    now = cluster.settle([f"MTU119 error: {place}", TOO_LARGE])
    assert (now.cni, now.variant, now.recommended_mtu) == ("reference-plugins", "ptp", 1450)
    refused = cluster.run("plan")
    assert refused.code == 2
    assert 'Write "mtu": 1450' in refused.err
    write_files(cluster)
    assert cluster.plan().lines == ["live", "live"]
    assert lossless(apply_under_traffic(cluster))
    assert cluster.healthy().current == [1450]

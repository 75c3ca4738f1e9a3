"""Nodes of Windows in a cluster of Linux: who makes their pods' network, what is known, and what a policy decides."""

from collections.abc import Iterable

import msgspec
import pytest
from tests.support import example

from kubemtu.cni import registry
from kubemtu.core import errors
from kubemtu.core.change.plan import Live
from kubemtu.core.objects import Object
from kubemtu.core.rules.report import Report
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide
from kubemtu.flows.agentless import sources
from kubemtu.flows.change import preconditions
from kubemtu.flows.measure import members
from kubemtu.kube import shipped

UNSEEN = "1 node runs Windows, for which there is no agent: what MTU its NIC and pods have was not seen"
BY_HNS = "on NICs of 1500 its pods have 1450, whatever network is on them"  # Azure/AKS#2873, microsoft/SDN#517


def node(name: str = "w1", *, tells: bool = True, label: str = "a") -> Object:
    """Make a Node of Windows, with one more label; one that tells nothing has the label of its kubelet alone."""
    status = {"nodeInfo": {"operatingSystem": "windows"}} if tells else {}
    metadata = {"name": name, "labels": {"kubernetes.io/os": "windows", label: "b"}}
    return Object.of({"kind": "Node", "apiVersion": "v1", "metadata": metadata, "status": status})


def daemonset(name: str, namespace: str = "kube-system", **variables: str) -> Object:
    env = [{"name": key, "value": value} for key, value in variables.items()]
    spec = {"template": {"spec": {"containers": [{"name": "node", "env": env}]}}}
    metadata = {"name": name, "namespace": namespace}
    return Object.of({"kind": "DaemonSet", "apiVersion": "apps/v1", "metadata": metadata, "spec": spec})


def config(name: str, namespace: str = "kube-system", **data: str) -> Object:
    metadata = {"name": name, "namespace": namespace}
    held = {key.replace("_conf", ".conf"): value for key, value in data.items()}
    return Object.of({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": held})


def policy(mtu: int, *nodes: str) -> Object:
    spec: dict[str, object] = {"pathMtu": mtu, "reason": "the provider says so"}
    if nodes:
        spec["nodes"] = list(nodes)
    return Object.of(
        {"kind": "MTUPolicy", "apiVersion": "kubemtu.io/v1alpha1", "metadata": {"name": "path"}, "spec": spec}
    )


def mixed(*objects: Object, pods: int = 1450) -> Snapshot:
    """Canal on three nodes of Linux, of 1500, and what is given beside."""
    made = example.story(pods, example.trio(pod=pods, conflist=pods))
    return msgspec.structs.replace(made, objects=(*made.objects, *objects))


def found(report: Report) -> list[tuple[str, str, str]]:
    return [(one.code, one.severity, one.place) for one in report.findings]


def text(report: Report) -> str:
    return next(one.message for one in report.findings if one.code == "MTU141")


@pytest.mark.parametrize("tells", [True, False])
def test_they_are_no_silent_nodes_and_named_as_what_they_are(tells: bool) -> None:
    report = decide.check(mixed(node(tells=tells)))
    assert found(report) == [("MTU141", "note", "node w1, Windows")]
    assert text(report).startswith(UNSEEN)
    assert BY_HNS in text(report)
    assert (report.verdict, report.recommended_mtu) == ("incomplete", 1450)
    assert report.missing == ("node w1: it runs Windows, for which there is no agent",)


def test_a_label_of_windows_counts_for_nothing_where_the_kubelet_tells_of_linux() -> None:
    told = node().body | {"status": {"nodeInfo": {"operatingSystem": "linux"}}}
    report = decide.check(mixed(Object.of(told)))
    assert found(report) == [("MTU118", "note", "node w1")]


ANTREA = {"antrea-agent_conf": "#tunnelType: geneve\ndefaultMTU: 1400\n"}
CALICO = ("calico-node-windows", "calico-system")
SETTINGS = "calico-windows-config"
MAKERS: tuple[tuple[str, tuple[Object, ...], str], ...] = (
    # node/windows-packaging/CalicoWindows/config-hpc.ps1: vxlan where nothing is said
    ("calico", (daemonset(*CALICO),), "by an overlay of VXLAN, which takes 50. It reads no MTU"),
    # manifests/calico-windows-bgp.yaml of v3.26
    (
        "calico-bgp",
        (daemonset(*CALICO), config(SETTINGS, "calico-system", CALICO_NETWORKING_BACKEND="windows-bgp")),
        "by BGP and an l2bridge on the NIC, which takes nothing",
    ),
    (
        "calico-adapter",
        (daemonset(*CALICO), config(SETTINGS, "calico-system", VXLAN_ADAPTER="Ethernet 2")),
        "by an overlay of VXLAN, which takes 50 on the NIC Ethernet 2",
    ),
    # tigera/operator: pkg/render/windows.go getWindowsBackend, as a variable of the DaemonSet
    ("tigera", (daemonset(*CALICO, CALICO_NETWORKING_BACKEND="none"),), "by another plugin, as it only adds policy"),
    # kubernetes-sigs/sig-windows-tools: hostprocess/flannel/flanneld/flannel-overlay.yml
    ("flannel", (daemonset("kube-flannel-ds-windows-amd64"),), "flanneld (DaemonSet kube-system/kube-flannel-ds-win"),
    # antrea-io/antrea: build/yamls/antrea-windows.yml, its ConfigMap with a hash in its name
    (
        "antrea",
        (
            daemonset("antrea-agent-windows"),
            config("antrea-windows-config-kf2tt95f47", **ANTREA),
        ),
        "which takes 50; ConfigMap kube-system/antrea-windows-config-kf2tt95f47, defaultMTU gives them 1400",
    ),
    ("aws", (config("amazon-vpc-cni", **{"enable-windows-ipam": "true"}),), "AWS' plugin vpc-bridge (ConfigMap kube"),
    ("azure", (node(label="kubernetes.azure.com/cluster"),), "Azure's CNI (label kubernetes.azure.com/clus"),
)  # fmt: skip


@pytest.mark.parametrize(("objects", "said"), [row[1:] for row in MAKERS], ids=[row[0] for row in MAKERS])
def test_who_makes_their_pods_network(objects: tuple[Object, ...], said: str) -> None:
    there = objects if any(one.kind == "Node" for one in objects) else (*objects, node())
    assert said in text(decide.check(mixed(*there)))


def test_openshifts_hybrid_overlay() -> None:
    """openshift/api: operator/v1 types_network.go, HybridOverlayConfig; a VXLAN whatever the others have."""
    hybrid = {"hybridClusterNetwork": [{"cidr": "10.132.0.0/14", "hostPrefix": 23}]}
    spec = {"defaultNetwork": {"type": "OVNKubernetes", "ovnKubernetesConfig": {"hybridOverlayConfig": hybrid}}}
    network: dict[str, object] = {
        "kind": "Network",
        "apiVersion": "operator.openshift.io/v1",
        "metadata": {"name": "cluster"},
    }
    snapshot = Snapshot(source="a test", objects=(Object.of(network | {"spec": spec}), node()))
    (part,) = registry.recognise(snapshot).windows
    assert (part.name, part.takes) == ("OVN-Kubernetes' hybrid overlay", 50)


def test_an_installation_whose_daemonset_was_not_read() -> None:
    """tigera/operator: api/v1/installation_types.go, windowsDataplane and windowsNodes.vxlanAdapter."""
    spec = {"calicoNetwork": {"windowsDataplane": "HNS"}, "windowsNodes": {"vxlanAdapter": "Ethernet"}}
    made: dict[str, object] = {
        "kind": "Installation",
        "apiVersion": "operator.tigera.io/v1",
        "metadata": {"name": "default"},
        "spec": spec,
    }
    snapshot = Snapshot(source="a test", offline=True, objects=(Object.of(made), node()))
    (part,) = registry.recognise(snapshot).windows
    assert (part.name, part.nic, part.takes) == ("Calico for Windows", "Ethernet", None)


def test_flannels_own_number_is_not_read_there() -> None:
    conf = '{"Network": "10.42.0.0/16", "Backend": {"Type": "vxlan", "VNI": 4096, "Port": 4789, "MTU": 1400}}'
    parts = (node(), daemonset("kube-flannel-ds-windows"), config("flannel", **{"net-conf.json": conf}))
    plain = [one for one in mixed().objects if one.kind != "ConfigMap"]
    snapshot = msgspec.structs.replace(mixed(), objects=(*parts, *plain))
    assert "It does not read Backend.MTU (1400) there." in [
        part.ignores for part in registry.recognise(snapshot).windows
    ]


def test_a_policy_says_what_nobody_sees() -> None:
    report = decide.check(mixed(node(), policy(1500, "w1")))
    assert found(report) == [("MTU126", "note", "MTUPolicy path"), ("MTU141", "note", "node w1, Windows")]
    assert (report.verdict, report.recommended_mtu) == ("healthy", 1450)


def test_a_policy_about_them_alone_decides_for_all() -> None:
    """What any pod sends may go there: 1400 less VXLAN's 50."""
    report = decide.check(mixed(node(), daemonset("kube-flannel-ds-windows"), policy(1400, "w1")))
    assert ("MTU101", "error") in [(code, severity) for code, severity, _ in found(report)]
    assert found(report)[-1] == ("MTU141", "warning", "node w1, Windows")
    assert report.recommended_mtu == 1350
    assert [(layer.name, layer.size) for layer in report.layers][:: len(report.layers) - 1] == [
        ("path", 1400), ("pod", 1350)
    ]  # fmt: skip
    (large,) = [one for one in report.findings if one.code == "MTU101"]
    assert "Those of 1351-1450 bytes fit this node's own devices and vanish in the network between the nodes" in (
        large.message
    )


def test_a_fabric_of_1400_is_too_small_for_what_windows_gives() -> None:
    """kubernetes-sigs/cluster-api-provider-azure#1335: Linux was made smaller, and Windows was not."""
    report = decide.check(mixed(node(), daemonset("kube-flannel-ds-windows"), policy(1400), pods=1350))
    assert "Those of 1450 on NICs of 1500 are larger than the 1350 that MTUPolicy path" in text(report)
    assert found(report)[-1] == ("MTU141", "warning", "node w1, Windows")


def test_pods_of_linux_that_are_larger_than_windows() -> None:
    """Without anything around a packet, as on Azure: 1500 here, 1450 there."""
    made = example.story(1500, example.trio(nic=9000, tunnel=8950, pod=1500, conflist=1500))
    snapshot = msgspec.structs.replace(made, objects=(*made.objects, node()))
    assert "Pods of the other nodes send up to 1500: TCP agrees on the smaller of two" in text(decide.check(snapshot))


def test_a_change_leaves_them_and_says_so() -> None:
    snapshot = mixed(node(), pods=1500)
    preconditions.observed(snapshot)  # it is not waited for
    planned, _ = decide.plan(snapshot)
    assert planned.target == 1450
    assert {one.node for step in planned.steps if isinstance(step, Live) for one in step.nodes} == {"n1", "n2", "n3"}
    assert any(said.startswith("Pods on w1 (Windows) keep what Windows gives them") for said in planned.remains)


@pytest.mark.parametrize(("nic", "more"), [(9000, True), (1500, False)])
def test_a_change_to_more_than_windows_gives_says_what_is_not_known(*, nic: int, more: bool) -> None:
    """Linux' pods go to 8950, and those of Windows have 1450 on NICs of 1500 (Azure/AKS#2873)."""
    made = example.story(1400, example.trio(nic=nic, pod=1400, conflist=1400))
    planned, _ = decide.plan(msgspec.structs.replace(made, objects=(*made.objects, node())))
    (said,) = (said for said in planned.remains if "(Windows)" in said)
    assert ("8950 is more than the 1450 that Windows gives on NICs of 1500: TCP agrees" in said) is more


def test_a_silent_node_of_linux_is_still_refused() -> None:
    silent = Object.of({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n4"}})
    with pytest.raises(errors.Unreachable, match="node n4 cannot be held back"):
        preconditions.observed(mixed(node(), silent))


def test_no_source_is_asked_for_them() -> None:
    assert sources.silent(mixed(node())) == ()


def test_what_is_installed_asks_for_linux() -> None:
    daemonsets = [one for one in shipped.objects("image") if one["kind"] == "DaemonSet"]
    chosen = [Object.of(dict(one)).get("spec", "template", "spec", "nodeSelector") for one in daemonsets]
    assert chosen == [{"kubernetes.io/os": "linux"}] * 2


def test_a_cluster_of_linux_alone_says_nothing() -> None:
    report = decide.check(mixed(daemonset(*CALICO)))
    assert (report.verdict, found(report)) == ("healthy", [])


@pytest.mark.parametrize(
    "held", [{}, {"antrea-agent_conf": "defaultMTU: none"}, {"antrea-agent_conf": "defaultMTU: 0"}]
)
def test_an_antrea_without_a_number_of_its_own(held: dict[str, str]) -> None:
    parts: Iterable[Object] = (node(), daemonset("antrea-agent-windows"), config("antrea-windows-config", **held))
    assert [part.mtu for part in registry.recognise(mixed(*parts)).windows] == [None]


def test_a_mesh_leaves_them_out_and_says_so() -> None:
    """Nobody measures there, and Windows' own firewall answers no echo: a fault must not be made of that."""

    def at(number: int, one: Object) -> Object:
        addresses = [{"type": "InternalIP", "address": f"192.0.2.{number}"}]
        return Object.of(one.body | {"status": {**one.mapping("status"), "addresses": addresses}})

    there = [node(), *(each for each in mixed().objects if each.kind == "Node")]
    addressed = [at(number, one) for number, one in enumerate(there)]
    rest = [one for one in mixed().objects if one.kind != "Node"]
    snapshot = msgspec.structs.replace(mixed(), objects=(*rest, *addressed))
    layers = members.of(snapshot)
    assert [sorted(member.node for member in layer.members) for layer in layers] == [["n1", "n2", "n3"]]
    left = members.left_out(snapshot, layers, ("nodes",))
    assert (left.nodes, left.notes) == ((), ("node w1 runs Windows, for which there is no agent: not measured",))

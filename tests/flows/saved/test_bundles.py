"""Support bundles: small ones of the layouts that the tools make, which are read with what is of use in them."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import msgspec
import pytest

from kubemtu.core.errors import Malformed, NotRecognised
from kubemtu.core.net import Link, NodeObservation
from kubemtu.core.objects import Object
from kubemtu.core.printed.values import Output
from kubemtu.core.snapshot import UNUSED, Snapshot
from kubemtu.flows import decide
from kubemtu.flows.saved import assembling, manifests, nodes
from kubemtu.flows.saved.facts import Facts, Printed


def body(kind: str, name: str, namespace: str = "", **more: object) -> dict[str, object]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    versions = {"DaemonSet": "apps/v1", "Network": "config.openshift.io/v1"}
    return {"apiVersion": versions.get(kind, "v1"), "kind": kind, "metadata": metadata, **more}


def node(name: str, address: str) -> dict[str, object]:
    return body("Node", name, status={"addresses": [{"type": "InternalIP", "address": address}]})


def items(kind: str, *bodies: dict[str, object]) -> dict[str, object]:
    return {"kind": f"{kind}List", "apiVersion": "v1", "items": list(bodies)}


NODES = items("Node", node("n1", "10.0.0.1"), node("n2", "10.0.0.2"))
CONFIG = body("ConfigMap", "canal-config", "kube-system", data={"veth_mtu": "1450"})
NET = '{"Network": "10.42.0.0/16", "Backend": {"Type": "vxlan"}}'
CNI = '{"cniVersion": "0.3.1", "name": "cbr0", "plugins": [{"type": "flannel"}]}'


def tarred(path: Path, files: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def named(snapshot: Snapshot) -> list[str]:
    return sorted(f"{each.kind} {each.name}" for each in snapshot.objects)


def unused(snapshot: Snapshot) -> dict[str, str]:
    return {each.what: each.message for each in snapshot.unread if each.why == UNUSED}


def test_cluster_info_dump_on_standard_output(tmp_path: Path) -> None:
    log = 'line\n{"level": "info"}\napiVersion: v1\n'
    text = "".join(
        [
            json.dumps(NODES, indent=4) + "\n",
            json.dumps(items("Event", body("Event", "e", "kube-system"))) + "\n",
            json.dumps({**items("DaemonSet", {"metadata": {"name": "canal", "namespace": "kube-system"}})}) + "\n",
            f"==== START logs for container a of pod kube-system/p ====\n{log}",
            "==== END logs for container a of pod kube-system/p ====\n",
            "==== START logs for container b of pod kube-system/p ====\n",
            "==== END logs for container b of pod kube-system/p ====\n",
            json.dumps(items("Pod", body("Pod", "p", "kube-system"))) + "\n",
        ]
    )
    (tmp_path / "dump.txt").write_text(text)
    found = manifests.load(tmp_path / "dump.txt")
    assert named(found) == ["DaemonSet canal", "Node n1", "Node n2", "Pod p"]
    pod = found.find("Pod", "p")
    assert pod is not None
    assert pod.origin == f"dump.txt:{text[: text.index('PodList')].count(chr(10)) + 1}, items[0]"
    assert {each.why for each in found.unread} == {UNUSED}


def test_cluster_info_dump_into_a_folder(tmp_path: Path) -> None:
    for name, value in {
        "nodes.json": NODES,
        "kube-system/daemonsets.json": items("DaemonSet", body("DaemonSet", "canal", "kube-system")),
        "kube-system/events.json": items("Event", body("Event", "e", "kube-system")),
        "kube-system/services.json": items("Service"),
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(value))
    (tmp_path / "kube-system" / "p").mkdir()
    (tmp_path / "kube-system" / "p" / "logs.txt").write_text("a: b\n")
    found = manifests.load(tmp_path)
    assert named(found) == ["DaemonSet canal", "Node n1", "Node n2"]
    assert unused(found) == {
        "kube-system/p/logs.txt": "is a log",
        "kube-system/events.json:1": "is a list of Event, of which no rule reads any",
        "kube-system/services.json:1": "is a list of Service, of which no rule reads any",
    }


def test_a_must_gather_of_two_images(tmp_path: Path) -> None:
    top = "must-gather.local.1"
    pod = "pods/ovnkube-node-x/ovnkube-node/ovnkube-node"
    first, second = f"{top}/quay-io-a-sha256-1", f"{top}/registry-b-sha256-2"
    pods = items("Pod", body("Pod", "ovnkube-node-x", "openshift-ovn-kubernetes", spec={"nodeName": "n1"}))
    path = tarred(
        tmp_path / "must-gather.tar.gz",
        {
            f"{top}/event-filter.html": "<html>",
            f"{first}/version": "openshift/must-gather\n4.14\n",
            f"{first}/cluster-scoped-resources/core/nodes/n1.yaml": json.dumps(node("n1", "10.0.0.1")),
            f"{first}/cluster-scoped-resources/core/persistentvolumes/pv.yaml": json.dumps(
                body("PersistentVolume", "p")
            ),
            f"{first}/namespaces/openshift-ovn-kubernetes/core/pods.yaml": json.dumps(pods),
            f"{first}/namespaces/openshift-ovn-kubernetes/core/events.yaml": "{" * 9,
            f"{first}/namespaces/openshift-ovn-kubernetes/core/secrets.yaml": json.dumps(items("Secret")),
            f"{first}/namespaces/openshift-ovn-kubernetes/core/configmaps.yaml": json.dumps(items("ConfigMap", CONFIG)),
            f"{first}/namespaces/openshift-ovn-kubernetes/{pod}/logs/current.log": "x",
            f"{second}/cluster-scoped-resources/core/nodes/n1.yaml": json.dumps(node("n1", "10.0.0.1")),
            f"{second}/cluster-scoped-resources/core/nodes/n2.yaml": json.dumps(node("n2", "10.0.0.2")),
        },
    )
    found = manifests.load(path)
    assert named(found) == ["ConfigMap canal-config", "Node n1", "Node n2", "Pod ovnkube-node-x"]
    assert {each.why for each in found.unread} == {UNUSED}
    assert set(unused(found).values()) == {
        "ends in .html, as nothing does that is of use here",
        "holds nothing that is known here",
        "holds persistentvolumes, of which no rule reads any",
        "holds events, of which no rule reads any",
        "may hold credentials, and nothing of them is needed",
        "is a log",
    }


def test_an_insights_archive_says_by_its_paths_what_its_files_are(tmp_path: Path) -> None:
    path = tarred(
        tmp_path / "insights-2026.tar.gz",
        {
            "config/network.json": '{"metadata": {"name": "cluster"}, "status": {"clusterNetworkMTU": 1450}}',
            "config/clusteroperator/operator.openshift.io/network/cluster.json": json.dumps(
                {"apiVersion": "operator.openshift.io/v1", "kind": "Network", "name": "cluster", "spec": {}}
            ),
            "config/node/n1.json": '{"metadata": {"name": "n1"}}',
            "config/node/logs/n1.log": "x",
            "config/alerts.json": "[]",
        },
    )
    found = manifests.load(path)
    assert [(each.api_version, each.kind, each.name) for each in found.objects] == [
        ("config.openshift.io/v1", "Network", "cluster"),
        ("operator.openshift.io/v1", "Network", "cluster"),
        ("v1", "Node", "n1"),
    ]


def test_a_sysdump_names_the_node_by_its_pod(tmp_path: Path) -> None:
    time = "20260101-101010"
    pod = body("Pod", "cilium-x7k2q", "kube-system", spec={"nodeName": "n2", "hostNetwork": True})
    with zipfile.ZipFile(tmp_path / "cilium-sysdump.zip", "w") as archive:
        top = f"cilium-sysdump-{time}"
        archive.writestr(f"{top}/k8s-nodes-{time}.yaml", json.dumps(NODES))
        archive.writestr(f"{top}/k8s-pods-{time}.yaml", json.dumps(items("Pod", pod)))
        archive.writestr(f"{top}/k8s-events-{time}.yaml", json.dumps(items("Event")))
        archive.writestr(f"{top}/cniconf-cilium-x7k2q-05-cilium.conflist-{time}.txt", CNI)
        archive.writestr(f"{top}/cilium-etcd-secrets-secret-{time}.yaml", json.dumps(items("Secret")))
        archive.writestr(f"{top}/logs-cilium-x7k2q-cilium-agent-{time}.log", "x")
    found = manifests.load(tmp_path / "cilium-sysdump.zip")
    assert named(found) == ["Node n1", "Node n2", "Pod cilium-x7k2q"]
    assert [(each.node, [file.path for file in each.files]) for each in found.nodes] == [
        ("n2", ["/etc/cni/net.d/05-cilium.conflist"])
    ]


@pytest.mark.parametrize("host", ["n1", "n1.example.org"])
def test_a_rancher_bundle_names_the_node_by_its_host(tmp_path: Path, host: str) -> None:
    top = f"./{host}-2026-01-02_03_04_05"
    path = tarred(
        tmp_path / "x.tar.gz",
        {
            f"{top}/networking/cni/10-canal.conflist": CNI,
            f"{top}/systeminfo/hostname": f"{host}\n",
            f"{top}/systeminfo/hostnamefqdn": f"{host}\n",
            f"{top}/rke2/kubectl/nodes.json": json.dumps(NODES),
            f"{top}/rke2/kubectl/nodes": "NAME STATUS ROLES AGE VERSION\nn1 Ready <none> 1d v1.30\n",
            f"{top}/rke2/kubectl/secrets": "NAMESPACE NAME\n",
            f"{top}/journald/rke2-server": "apiVersion: v1\nkind: Pod\n",
        },
    )
    found = manifests.load(path)
    assert [(each.node, [file.path for file in each.files]) for each in found.nodes] == [
        ("n1", ["/etc/cni/net.d/10-canal.conflist"])
    ]
    assert named(found) == ["Node n1", "Node n2"]


def test_copies_of_a_nodes_tree_are_that_nodes(tmp_path: Path) -> None:
    for name, text in {
        "worker-7/etc/cni/net.d/10-flannel.conflist": CNI,
        "worker-7/run/flannel/subnet.env": "FLANNEL_MTU=1450\n",
        "worker-8/10-flannel.conflist": CNI,
        "worker-8/subnet.env": "FLANNEL_MTU=1450\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert {each.node: len(each.files) for each in manifests.load(tmp_path).nodes} == {"worker-7": 2, "worker-8": 2}


SHOWN = {
    "nic": "eth0",
    "nic_mtu": 1500,
    "tunnels": [{"index": 5, "name": "flannel.1", "mtu": 1450, "kind": "vxlan", "vxlan": {"vni": 1, "port": 8472}}],
    "bridge": None,
    "ports": [
        {
            "host_link": "cali1",
            "host_mtu": 1500,
            "netns": "cni-1",
            "pod_link": "eth0",
            "pod_mtu": 1450,
            "addresses": ["10.42.1.2"],
            "lost": "1451-1500",
            "lost_direction": "",
            "pins": ["default"],
            "others": [],
        }
    ],
    "pins": [],
    "journals": [],
    "troubles": ["x could not be read"],
}


def test_what_node_show_printed_is_an_observation(tmp_path: Path) -> None:
    (tmp_path / "node-1-show.json").write_text(json.dumps(SHOWN))
    (seen,) = manifests.load(tmp_path / "node-1-show.json").nodes
    assert (seen.node, seen.seen_by) == ("node-1", "files")
    assert [(link.name, link.mtu, link.kind) for link in seen.links] == [
        ("flannel.1", 1450, "vxlan"),
        ("eth0", 1500, ""),
        ("cali1", 1500, "veth"),
    ]
    assert [(route.destination, route.device) for route in seen.routes] == [("default", "eth0")]
    assert [(port.host_link, port.host_mtu, port.pod_mtu, port.addresses) for port in seen.ports] == [
        ("cali1", 1500, 1450, ("10.42.1.2",))
    ]
    assert seen.errors == (
        "node-1-show.json: x could not be read",
        "node-1-show.json: a pin is left in the pod at cali1: default",
    )


def saved(name: str, taken_at: float, mtu: str, *, nic: int = 1500) -> Snapshot:
    return Snapshot(
        source=f"cluster {name}",
        objects=(
            Object.of(body("ConfigMap", "c", "kube-system", data={"veth_mtu": mtu})),
            Object.of(body("Node", name)),
        ),
        nodes=(NodeObservation(node="n1", links=(Link(index=1, name="eth0", mtu=nic),), observed_at=taken_at),),
        taken_at=taken_at,
    )


def test_of_several_snapshots_the_newer_is_taken_and_said(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(msgspec.json.encode(saved("a", 1000.0, "1440")))
    (tmp_path / "b.json").write_bytes(msgspec.json.encode(saved("b", 2000.0, "1450", nic=1400)))
    (tmp_path / "net-conf.json").write_text(NET)
    (tmp_path / "n1").mkdir()
    (tmp_path / "n1" / "subnet.env").write_text("FLANNEL_MTU=1450\n")
    found = manifests.load(tmp_path)
    kept = found.find("ConfigMap", "c")
    assert kept is not None
    assert kept.get("data", "veth_mtu") == "1450"
    assert named(found) == ["ConfigMap c", "Node a", "Node b"]
    assert (found.offline, found.taken_at) == (False, 2000.0)
    assert ("ConfigMap kube-system/c", "stands in b.json and again in a.json: the former is newer") in [
        (each.what, each.message) for each in found.unread
    ]
    first = found.observation("n1")
    assert first is not None
    assert [link.mtu for link in first.links] == [1400]
    assert first.errors == ("eth0 has 1400 in one file and 1500 in another: the former is taken",)
    assert [file.path for file in first.files] == ["/run/flannel/subnet.env"]


def test_an_object_with_the_larger_version_is_newer(tmp_path: Path) -> None:
    for name, version in (("a", "9"), ("b", "10")):
        made = body("ConfigMap", "c", data={"mtu": name})
        made["metadata"] = {"name": "c", "uid": "u", "resourceVersion": version}
        (tmp_path / f"{name}.json").write_text(json.dumps(made))
    found = manifests.load(tmp_path)
    assert [each.get("data", "mtu") for each in found.objects] == ["b"]
    assert [each.message for each in found.unread] == [
        "stands in a.json:1 and again in b.json:1: the latter is newer and is taken"
    ]


@pytest.mark.parametrize(
    ("name", "node_name"),
    [
        ("node-1-ip-a.txt", "node-1"),
        ("node-10_iplink.json", "node-10"),
        ("worker.example.org/ip-route.txt", "worker.example.org"),
        ("host7-2026-01-02_03_04_05/networking/ipaddrshow", "host7"),
        ("ip-a.txt", "given"),
        ("web-1.ifconfig", "web-1"),
        ("node-1/ifconfig-a.out", "node-1"),
    ],
)
def test_the_node_of_an_output_is_told_by_its_name(name: str, node_name: str) -> None:
    output = Output(links=(Link(index=2, name="eth0", mtu=1500),))
    facts = Facts(printed=[Printed(name=name, output=output)])
    assert [each.node for each in assembling.snapshot(facts, "folder x", "given", 1.0).nodes] == [node_name]


def test_beside_a_snapshot_that_is_all_what_was_not_used_is_said(tmp_path: Path) -> None:
    only = saved("a", 1000.0, "1440")
    (tmp_path / "a.json").write_bytes(msgspec.json.encode(only))
    assert manifests.load(tmp_path) == only
    (tmp_path / "notes.txt").write_text("hello\nworld\n")
    found = manifests.load(tmp_path)
    assert unused(found) == {"notes.txt": "holds nothing that is known here"}
    assert (named(found), found.nodes, found.taken_at) == (["ConfigMap c", "Node a"], only.nodes, 1000.0)


def test_a_report_is_no_snapshot_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"schema": "kubemtu.io/check/v1", "verdict": "healthy"}')
    with pytest.raises(Malformed, match=r"is what kubemtu said \(kubemtu.io/check/v1\), not what that rests on"):
        manifests.load(tmp_path / "report.json")


@pytest.mark.parametrize(
    ("path", "node_name"),
    [
        ("dump/node-10-ip.txt", "node-10"),
        ("dump/ip_node-1.txt", "node-1"),
        ("-", "node"),
        ("node-1.corp/ip.txt", "node-1.corp"),
        ("cilium-bugtool-cilium-x7k2q-2026/cmd/ip-a.md", "node-10"),
        ("xnode-1/ip.txt", "xnode-1"),
        (f"{'a-' * 500}/node-1/ip.txt", "node-1"),
    ],
)
def test_a_name_in_a_path_is_a_whole_one_and_the_longest(path: str, node_name: str) -> None:
    places = nodes.Places(
        nodes=frozenset({"node-1", "node-10", "node-1.corp"}),
        hosts={},
        pods={"cilium-x7k2q": "node-10"},
        folder="given",
    )
    assert nodes.of_output(path, places) == node_name


def test_outputs_alone_say_what_tells_the_pod_network(tmp_path: Path) -> None:
    (tmp_path / "n1.txt").write_text("2: eth0: <BROADCAST,UP> mtu 1450 qdisc mq state UP group default qlen 1000\n")
    with pytest.raises(NotRecognised, match="Add what tells it: `kubectl get daemonsets,configmaps -A -o yaml`"):
        decide.check(manifests.load(tmp_path))

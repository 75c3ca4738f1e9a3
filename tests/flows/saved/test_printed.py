"""What people have without agents: outputs of `ip` under any name, beside manifests; judged as what an agent tells."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from kubemtu.core import net
from kubemtu.core.errors import Malformed
from kubemtu.core.rules.report import Report
from kubemtu.core.snapshot import UNUSED
from kubemtu.flows import decide
from kubemtu.flows.saved import manifests

CONFIG = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "canal-config", "namespace": "kube-system"},
    "data": {
        "cni_network_config": json.dumps(
            {"name": "k8s-pod-network", "cniVersion": "0.3.0", "plugins": [{"type": "calico"}]}
        ),
        "net-conf.json": json.dumps({"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}),
    },
}
DAEMONSET = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "canal", "namespace": "kube-system"},
    "spec": {
        "selector": {"matchLabels": {"k8s-app": "canal"}},
        "template": {
            "metadata": {"labels": {"k8s-app": "canal"}},
            "spec": {
                "containers": [
                    {"name": "calico-node", "image": "calico/node:v3.26.1"},
                    {"name": "kube-flannel", "image": "flannel/flannel:v0.24.0"},
                ]
            },
        },
    },
}
ADDRESSES = """\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
2: ens192: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc mq state UP group default qlen 1000
    link/ether 00:50:56:00:00:01 brd ff:ff:ff:ff:ff:ff
    inet 10.20.0.11/24 brd 10.20.0.255 scope global ens192
7: cali0a1b2c3d4e5@if3: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group default
    link/ether ee:ee:ee:ee:ee:ee brd ff:ff:ff:ff:ff:ff link-netns cni-1
9: flannel.1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UNKNOWN group default
    link/ether 0a:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff
"""
DETAILS = [
    {
        "ifindex": 7,
        "link_index": 3,
        "ifname": "cali0a1b2c3d4e5",
        "flags": ["UP"],
        "mtu": 1500,
        "link_netnsid": 1,
        "promiscuity": 0,
        "linkinfo": {"info_kind": "veth"},
    },
    {
        "ifindex": 9,
        "ifname": "flannel.1",
        "flags": ["UP"],
        "mtu": 1450,
        "promiscuity": 0,
        "linkinfo": {"info_kind": "vxlan", "info_data": {"id": 1, "link": "ens192", "port": 8472}},
    },
]
SHOWN = {
    "nic": "ens192",
    "nic_mtu": 1500,
    "tunnels": [{"index": 9, "name": "flannel.1", "mtu": 1450, "kind": "vxlan", "vxlan": {"vni": 1, "port": 8472}}],
    "bridge": None,
    "ports": [
        {
            "host_link": "cali0a1b2c3d4e5",
            "host_mtu": 1500,
            "netns": "cni-1",
            "pod_link": "eth0",
            "pod_mtu": 1500,
            "addresses": ["10.244.1.2"],
        }
    ],
    "pins": [],
    "journals": [],
    "troubles": [],
}
NODES = [
    {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }
    for name, address in (("node-1", "10.20.0.11"), ("node-2", "10.20.0.12"))
]


def folder(path: Path, files: Mapping[str, object]) -> Path:
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".yaml") and isinstance(content, list):
            file.write_text(yaml.safe_dump_all(content))
        else:
            file.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def judged(path: Path) -> Report:
    return decide.check(manifests.load(path))


def test_all_that_an_operator_has_in_hand_is_used(tmp_path: Path) -> None:
    path = folder(
        tmp_path,
        {
            "cluster.yaml": [CONFIG, DAEMONSET],
            "node-1-ip-a.txt": ADDRESSES,
            "node-1-iplink.json": DETAILS,
            "node-1-show.json": SHOWN,
        },
    )
    snapshot = manifests.load(path)
    assert snapshot.unread == ()
    (node,) = snapshot.nodes
    assert (node.node, node.errors) == ("node-1", ())
    assert {link.name: link.mtu for link in node.links} == {
        "lo": 65536,
        "ens192": 1500,
        "cali0a1b2c3d4e5": 1500,
        "flannel.1": 1450,
    }
    assert [(port.host_mtu, port.pod_mtu) for port in node.ports] == [(1500, 1500)]
    report = judged(path)
    assert [(each.code, each.severity) for each in report.findings] == [("MTU119", "error"), ("MTU101", "error")]
    assert report.recommended_mtu == 1450
    (line,) = report.nodes
    assert (line.name, line.nic, line.nic_mtu, line.tunnel_mtu, line.pod_mtus) == (
        "node-1",
        "ens192",
        1500,
        1450,
        (1500,),
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("node-1.txt", ADDRESSES),
        ("node-1/ip_a", ADDRESSES),
        ("output.txt", f"root@node-1:~# ip a\n{ADDRESSES}"),
        ("paste", f"core@node-1:~$ ip -4 a\r\n{ADDRESSES}"),
        ("node-1_ip_addr.out", ADDRESSES.replace("ens192:", "\x1b[36mens192: \x1b[0m").replace("0m <", "0m<")),
    ],
)
def test_an_output_is_found_under_any_name_and_given_to_its_node(tmp_path: Path, name: str, text: str) -> None:
    (node,) = manifests.load(folder(tmp_path, {name: text, "nodes.yaml": NODES})).nodes
    assert node.node == "node-1"
    assert node.uplinks == (net.Uplink(peer="10.20.0.12", device="ens192", mtu=1500),)
    assert [(port.host_link, port.pod_mtu) for port in node.ports] == [("cali0a1b2c3d4e5", None)]
    assert node.errors == ()


def test_outputs_of_one_node_are_joined_and_its_ways_follow_from_its_routes(tmp_path: Path) -> None:
    path = folder(
        tmp_path,
        {
            "nodes.yaml": NODES,
            "node-1-ip-a.txt": ADDRESSES,
            "node-1/ip-d-link.json": DETAILS,
            "dump/route_node-1.txt": "default via 10.20.0.1 dev ens192\n10.20.0.0/24 dev ens192 mtu 1380\n",
            "node-1/subnet.env": "FLANNEL_MTU=1350\n",
        },
    )
    (node,) = manifests.load(path).nodes
    assert node.uplinks == (net.Uplink(peer="10.20.0.12", device="ens192", mtu=1500, route_mtu=1380),)
    assert [file.path for file in node.files] == ["/run/flannel/subnet.env"]
    tunnel = node.link("flannel.1")
    assert tunnel is not None
    assert tunnel.vxlan == net.Vxlan(vni=1, port=8472, lower="ens192")


def test_what_tells_no_mtu_is_left_with_its_reason(tmp_path: Path) -> None:
    path = folder(
        tmp_path,
        {
            "cluster.yaml": [CONFIG, DAEMONSET],
            "a.txt": "lo               UNKNOWN        127.0.0.1/8\nens192           UP             10.20.0.11/24\n",
            "b.json": [{"ifname": "ens192", "operstate": "UP", "addr_info": []}],
            "c.json": {"nic": "x", "nic_mtu": 1, "tunnels": 3, "ports": []},
        },
    )
    found = [(each.what, each.why, each.message) for each in manifests.load(path).unread]
    assert ("a.txt", UNUSED, "tells nothing of a node: `ip -br` shows no MTUs: `ip -d link` does") in found
    assert any(what == "b.json" and "has no MTU in it" in message for what, _, message in found)
    assert any(what == "c.json:1" and "no output of `kubemtu node show`" in message for what, _, message in found)


def test_an_output_alone_is_a_snapshot_and_an_empty_one_is_said(tmp_path: Path) -> None:
    folder(tmp_path, {"node-3.txt": ADDRESSES, "node-4.txt": "lo               UNKNOWN        127.0.0.1/8\n"})
    (node,) = manifests.load(tmp_path / "node-3.txt").nodes
    assert node.node == "node-3"
    with pytest.raises(Malformed):
        manifests.load(tmp_path / "node-4.txt")


def test_manifests_and_logs_with_outputs_in_them_stay_what_they_are(tmp_path: Path) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "notes"},
        "data": {"ip-a": ADDRESSES, "routes": "default via 10.0.0.1 dev eth0\n"},
    }
    path = folder(tmp_path, {"a.yaml": [config], "hosts.txt": "127.0.0.1 localhost\n10.20.0.11 node-1\n"})
    snapshot = manifests.load(path)
    assert [found.name for found in snapshot.objects] == ["notes"]
    assert snapshot.nodes == ()


def test_one_node_is_alone_only_where_the_api_lists_no_other(tmp_path: Path) -> None:
    files: dict[str, object] = {
        "cluster.yaml": [CONFIG, DAEMONSET],
        "node-1-ip-a.txt": ADDRESSES,
        "node-1-show.json": SHOWN,
    }
    severity = {each.code: each.severity for each in judged(folder(tmp_path / "a", files)).findings}
    assert severity["MTU101"] == "error"
    severity = {
        each.code: each.severity for each in judged(folder(tmp_path / "b", files | {"nodes.yaml": NODES[:1]})).findings
    }
    assert severity["MTU101"] == "warning"


def test_a_snapshot_whose_members_have_underscores_is_read(tmp_path: Path) -> None:
    port = SHOWN["ports"][0] | {"inode": 7, "host_index": 7, "pod_index": 3}  # type: ignore[index]
    saved = {
        "schema": "kubemtu.io/snapshot/v1",
        "source": "cluster x",
        "objects": [{"body": CONFIG | {"data": {"a_key": "stays"}}, "origin": "x"}],
        "nodes": [
            {
                "node": "n1",
                "links": [{"index": 9, "name": "flannel.1", "mtu": 1450, "vxlan": {"vni": 1, "ipv6_outer": True}}],
                "ports": [port],
            }
        ],
        "unread": [],
    }
    snapshot = manifests.load(folder(tmp_path, {"snapshot.json": saved}) / "snapshot.json")
    (node,) = snapshot.nodes
    assert [(each.host_link, each.host_mtu, each.pod_mtu) for each in node.ports] == [("cali0a1b2c3d4e5", 1500, 1500)]
    assert node.links[0].vxlan == net.Vxlan(vni=1, ipv6_outer=True)
    assert snapshot.objects[0].get("data", "a_key") == "stays"


@pytest.mark.parametrize("name", ["links.yaml", "talos.txt", "links.json"])
def test_resources_of_talosctl_are_given_to_the_nodes_that_they_name(tmp_path: Path, name: str) -> None:
    listed = [
        {
            "node": address,
            "metadata": {"namespace": "network", "type": "LinkStatuses.net.talos.dev", "id": "eth0"},
            "spec": {"index": 8, "type": "ether", "flags": "UP", "mtu": mtu, "kind": ""},
        }
        for address, mtu in (("10.20.0.11", 1450), ("10.20.0.12", 1500), ("node-9", 1400))
    ]
    text = "\n".join(map(json.dumps, listed)) if name.endswith(".json") else yaml.safe_dump_all(listed)
    snapshot = manifests.load(folder(tmp_path, {name: text, "nodes.yaml": NODES}))
    assert {node.node: [link.mtu for link in node.links] for node in snapshot.nodes} == {
        "node-1": [1450],
        "node-2": [1500],
        "node-9": [1400],
    }
    assert snapshot.unread == ()


def test_a_file_of_a_namespace_is_no_nodes(tmp_path: Path) -> None:
    inside = (
        "3: eth0@if7: <BROADCAST,UP> mtu 1320 qdisc noqueue state UP group default\n"
        "    link/ether 0e:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff link-netnsid 0\n"
    )
    path = folder(
        tmp_path,
        {
            "hostname": "node-1\n",
            "sos_commands/networking/ip_-d_address": ADDRESSES,
            "sos_commands/networking/namespaces/cni-1/ip_netns_exec_cni-1_ip_-d_address_show": inside,
            "nodes.yaml": NODES,
        },
    )
    (node,) = manifests.load(path).nodes
    assert node.node == "node-1"
    assert {link.name: link.mtu for link in node.links}["ens192"] == 1500
    assert node.link("eth0") is None
    assert [(port.netns, port.host_mtu, port.pod_mtu) for port in node.ports] == [("cni-1", 1500, 1320)]

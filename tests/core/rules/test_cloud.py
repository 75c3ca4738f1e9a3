"""MTU135: what a cloud documents, against NICs and pods: numbers of the providers' pages (core.cluster.clouds)."""

import msgspec
import pytest
from tests.support import example

from kubemtu.core import codes, encap, net
from kubemtu.core.cluster import layout, topology
from kubemtu.core.objects import Object
from kubemtu.core.rules import cloud
from kubemtu.core.snapshot import Snapshot


def placed(snapshot: Snapshot, provider: str) -> Snapshot:
    """Return the same cluster, its nodes in a cloud."""
    objects = tuple(
        Object.of({**one.body, "spec": {"providerID": provider}}) if one.kind == "Node" else one
        for one in snapshot.objects
    )
    return msgspec.structs.replace(snapshot, objects=objects)


def judge(provider: str, *seen: net.NodeObservation, **state: object) -> tuple[codes.Finding, ...]:
    return cloud.find(modelled(provider, *seen, **state))


def modelled(provider: str, *seen: net.NodeObservation, **state: object) -> topology.Topology:
    return layout.model(placed(example.cluster(seen), provider), example.state(**state))  # type: ignore[arg-type]


NATIVE: dict[str, object] = {"encapsulation": (), "encapsulation_name": "none", "tunnel": None}


@pytest.mark.parametrize(
    ("provider", "nic", "pod"),
    [
        ("aws:///z/i", 9001, 8951),  # a VPC's own; towards the internet TCP agrees on 1460
        ("gce://p/z/n", 1460, 1410),
        ("gce://p/z/n", 1500, 1450),
        ("oci://x", 9000, 8950),
        ("hcloud://1", 1450, 1400),
        ("azure:///x", 1500, 1350),  # what cluster-api-provider-azure gives pods over VXLAN
        ("openstack:///x", 1450, 1400),
        ("alicloud://x", 8500, 8450),
        ("k3s://n1", 9000, 8950),
    ],
)
def test_what_a_cloud_gives_by_itself_is_left_alone(provider: str, nic: int, pod: int) -> None:
    assert judge(provider, example.node("n1", nic=nic, pod=pod, conflist=pod)) == ()


@pytest.mark.parametrize(("provider", "nic"), [("aws:///z/i", 9001), ("azure:///x", 1500), ("gce://p/z/n", 1460)])
def test_pods_as_large_as_their_nics_are_healthy_where_nothing_is_around_them(provider: str, nic: int) -> None:
    assert judge(provider, example.node("n1", nic=nic, pod=nic, conflist=nic), **NATIVE) == ()


def test_a_private_nic_of_1500_at_hetzner() -> None:
    """A setting of the node takes the 1450 away that DHCP gives (hcloud-k8s/terraform-hcloud-kubernetes#450)."""
    (one,) = judge("hcloud://1", example.node("n1"), example.node("n2"))
    assert (one.code, one.severity, one.place) == ("MTU135", "warning", "nodes n1 and n2")
    assert one.message.startswith(
        "Their NICs say 1500, and Hetzner Cloud documents 1450 in a private network (Architecture,"
        " cloud/networks/technical-concepts/architecture). That is somebody's word, not a measurement."
        " Pods here fill packets of 1500; those above 1450 may be dropped"
    )
    assert "`kubemtu plan --nic-mtu 1450`" in one.remedy


def test_the_same_nic_under_pods_that_fit_is_a_note() -> None:
    (one,) = judge("hcloud://1", example.node("n1", pod=1400, conflist=1400))
    assert (one.severity, one.place) == ("note", "node n1, eth0")


def test_what_was_measured_needs_no_document() -> None:
    made = modelled("hcloud://1", example.node("n1"))
    assert cloud.find(msgspec.structs.replace(made, measured=True)) == ()


def test_the_vlan_of_a_vswitch() -> None:
    seen = example.node("n1")
    vlan = msgspec.structs.replace(seen.links[1], kind="vlan")
    tagged = msgspec.structs.replace(seen, links=(seen.links[0], vlan, *seen.links[2:]))
    (one,) = judge("hrobot://1", tagged)
    assert "Hetzner documents 1400 on the VLAN of a vSwitch" in one.message
    assert judge("hrobot://1", seen) == ()


def test_azure_cuts_tunnel_packets_above_1400() -> None:
    """kubernetes-sigs/cluster-api-provider-azure#1353."""
    (one,) = judge("azure:///x", example.node("n1"))
    assert (one.severity, one.place) == ("note", "node n1, eth0")
    assert "Tunnel packets of up to 1500 bytes leave these nodes, and Azure documents 1400" in one.message


@pytest.mark.parametrize(
    ("provider", "nic", "limit"), [("gce://p/z/n", 8896, "1500 towards the internet"), ("azure:///x", 9000, "1500 thr")]
)
def test_jumbo_frames_that_somebody_chose_meet_a_smaller_way_out(provider: str, nic: int, limit: str) -> None:
    (one,) = judge(provider, example.node("n1", nic=nic, pod=nic, conflist=nic), **NATIVE)
    assert (one.severity, one.place) == ("note", "node n1, eth0, the way out")
    assert f"3 pods here may send up to {nic} bytes to anybody" in one.message
    assert limit in one.message
    assert one.remedy == "Measure the way out: `kubemtu why POD HOST`."


def test_a_default_route_that_is_smaller_is_what_goes_out() -> None:
    routes = (net.Route(family=4, destination="default", device="eth0", gateway="169.254.1.1", mtu=1500),)
    ports = (example.port("web-1-0", "10.42.1.10", pod=8896, routes=routes),)
    assert judge("gce://p/z/n", example.node("n1", nic=8896, ports=ports, conflist=8896), **NATIVE) == ()


def test_a_vpn_under_the_nodes_is_not_the_cloud_s() -> None:
    seen = example.node("n1")
    wire = msgspec.structs.replace(seen.links[1], kind="wireguard")
    assert judge("hcloud://1", msgspec.structs.replace(seen, links=(seen.links[0], wire, *seen.links[2:]))) == ()


def test_esp_counts_around_a_pod_s_packet() -> None:
    """ESP in tunnel mode puts 54 bytes around a packet, and pads it to a multiple of 4 (RFC 4303)."""
    ipsec = {**NATIVE, "encapsulation": (encap.parse("esp-tunnel"),)}
    (one,) = judge("azure:///x", example.node("n1", pod=1400, conflist=1400), **ipsec)
    assert "Tunnel packets of up to 1456 bytes" in one.message

"""A lab of IPv6 alone: nobody has an address of IPv4; the API, its kubelets and the overlay are reached all the same.

Around a pod's packet go 40 bytes of IPv6, 8 of UDP, 8 of VXLAN and 14 of Ethernet (RFC 8200, 768, 7348): of 1500, 1430
are left.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.lab_api import Kubectl
from tests.support.labs import Kube, Probes, until

from kubemtu_lab import scenes
from kubemtu_lab.cluster import Lab
from kubemtu_lab.scene import IN_CLUSTER, KUBECONFIG, IcmpFiltered, nodes

pytestmark = pytest.mark.lab
GET = """
import sys, httpx2, ssl, base64, yaml
config = yaml.safe_load(open(sys.argv[1]))
cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
with httpx2.Client(verify=context, trust_env=False, timeout=60) as client:
    answer = client.get(cluster["server"] + "/readyz", headers={"Authorization": "Bearer " + user["token"]})
print(cluster["server"], answer.status_code)
"""
"""Asks the API by a kubeconfig of the node, with the certificate checked."""


@pytest.fixture(scope="module")
def lab(start: Callable[..., Lab]) -> Lab:
    return start(scenes.named("ipv6").replace(name="lab-ipv6", nodes=nodes(2, 1)))


def test_nobody_has_an_address_of_ipv4(lab: Lab) -> None:
    for place in ("node-1", "node-2", "pod-1a", "pod-2a", "fabric"):
        shown = json.loads(lab.exec(place, ["ip", "-json", "-4", "addr"]).stdout)
        held = [each["local"] for link in shown for each in link.get("addr_info", ())]
        assert held in ([], ["127.0.0.1"]), place
        assert lab.exec(place, ["ip", "-4", "route"]).stdout == ""


def test_what_fits_arrives_and_the_overlay_takes_70_bytes(lab: Lab) -> None:
    assert [lab.mtu("node-1", each) for each in ("eth0", "flannel-v6.1", "cni0")] == [1500, 1430, 1430]
    assert lab.pod("pod-2a").addresses[0].startswith("fd00:10:244:2:")
    with Probes(lab) as probe:
        told = probe("pod-1a", "pod-2a", 1280, 1430, 1431)
    assert told == {1280: "arrived", 1430: "arrived", 1431: "EMSGSIZE"}


@pytest.mark.parametrize(
    ("place", "kubeconfig", "server"),
    [
        ("node-2", KUBECONFIG, "https://[fd00:77::1]:6443"),
        ("node-2", IN_CLUSTER, "https://[fd00:10:43::1]:443"),
        ("pod-2a", IN_CLUSTER, "https://[fd00:10:43::1]:443"),
    ],
)
def test_the_api_is_reached_and_proves_itself(
    has_nft: None, lab: Lab, place: str, kubeconfig: str, server: str
) -> None:
    assert lab.python(place, GET, kubeconfig).split() == [server, "200"]


def test_kubelets_are_reached_by_the_api(lab: Lab, kubectl: Kubectl) -> None:
    with Kube(lab.kubeconfig) as kube:
        node: Any = kube.get("/api/v1/nodes/node-2")
        pod: Any = kube.pods()["pod-2a"]
    told = {each["type"]: each["address"] for each in node["status"]["addresses"]}
    assert told == {"InternalIP": "fd00:77::2", "Hostname": "node-2"}
    assert (pod["status"]["hostIP"], len(pod["status"]["podIPs"])) == ("fd00:77::2", 1)
    ended = kubectl("exec", "pod-2a", "--", "cat", "/sys/class/net/eth0/mtu")
    assert (ended.stdout, ended.returncode) == (b"1430\n", 0)


def test_subnet_env_is_flannels(lab: Lab) -> None:
    """flannel-io/flannel: pkg/subnet/subnet.go, WriteSubnetFile."""
    assert (lab.node_root("node-2") / "run/flannel/subnet.env").read_text() == (
        "FLANNEL_IPV6_NETWORK=fd00:10:244::/48\n"
        "FLANNEL_IPV6_SUBNET=fd00:10:244:2::1/64\n"
        "FLANNEL_MTU=1430\n"
        "FLANNEL_IPMASQ=true\n"
    )
    with Kube(lab.kubeconfig) as kube:
        node: Any = kube.get("/api/v1/nodes/node-2")
    prefix = "flannel.alpha.coreos.com/"
    notes = {key.removeprefix(prefix): text for key, text in node["metadata"]["annotations"].items() if prefix in key}
    assert sorted(notes) == ["backend-type", "backend-v6-data", "kube-subnet-manager", "public-ipv6"]
    assert notes["public-ipv6"] == "fd00:77::2"


def test_a_node_that_comes_back_is_reached_again(lab: Lab) -> None:
    """Who restarts its daemon is told the others' ways anew."""
    with Kube(lab.kubeconfig) as kube:
        kube.restart_daemon("node-2", "kube-flannel")
        kube.run_pod("late", "node-2")
    with Probes(lab) as probe:
        until(lambda: probe("pod-1a", "late", 1430) == {1430: "arrived"})


def test_a_router_cuts_nothing_and_says_so_unless_it_is_filtered(start: Callable[..., Lab]) -> None:
    """Packet Too Big (RFC 8201, section 3) comes from the sender's own node, which is a router for its pods."""
    lab = start(scenes.named("ipv6-1450").replace(name="lab-too-big", nodes=nodes(2, 1)))
    assert [lab.mtu("node-1", "flannel-v6.1"), lab.mtu("pod-1a")] == [1430, 1450]
    with Probes(lab) as probe:
        assert probe("pod-1a", "pod-2a", 1430, 1431, 1450) == {1430: "arrived", 1431: "icmp 1430", 1450: "icmp 1430"}
    silent = scenes.named("ipv6-1450").with_fault(IcmpFiltered(node="node-1"))
    lab = start(silent.replace(name="lab-silent", nodes=nodes(2, 1)))
    with Probes(lab) as probe:  # neighbours are found all the same
        assert probe("pod-1a", "pod-2a", 1430, 1431, 1450) == {1430: "arrived", 1431: "lost", 1450: "lost"}


def test_a_tunnel_over_ipv6_loses_what_the_nic_cannot_carry_and_then_says_so(lab: Lab) -> None:
    """The NIC is made smaller than what its tunnel was made for: 1400 less 70 are 1330."""
    for node in ("node-1", "node-2"):
        lab.set_mtu(node, "eth0", 1400)
    try:
        with Probes(lab) as probe:
            assert probe("pod-1a", "pod-2a", 1330) == {1330: "arrived"}
            assert probe("pod-1a", "pod-2a", 1331) == {1331: "lost"}
            assert probe("pod-1a", "pod-2a", 1331, 1430) == {1331: "icmp 1330", 1430: "icmp 1330"}
    finally:
        for node in ("node-1", "node-2"):
            lab.set_mtu(node, "eth0", 1500)

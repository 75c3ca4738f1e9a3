"""From observations to the number that decides: expected sizes are RFC header sums, written out."""

import pytest
from tests.support import example

from kubemtu.core import encap, errors, net, objects
from kubemtu.core.cluster import layout
from kubemtu.core.headers import IPV6
from kubemtu.core.planning import planner
from kubemtu.core.rules import report as rules_report


def test_three_equal_nodes_leave_1450_of_1500() -> None:
    found = layout.model(example.cluster(), example.state())
    assert (found.carries, found.recommended) == (1450, 1450)
    assert [(layer.name, layer.size) for layer in found.layers] == [
        ("NIC", 1500),
        ("IPv4", 20),
        ("UDP", 8),
        ("VXLAN", 8),
        ("Ethernet", 14),
        ("pod", 1450),
    ]
    assert [(node.name, node.nic, node.nic_mtu, node.inner, node.usual) for node in found.nodes] == [
        ("n1", "eth0", 1500, 1450, 1450),
        ("n2", "eth0", 1500, 1450, 1450),
        ("n3", "eth0", 1500, 1450, 1450),
    ]


def test_the_smallest_node_decides() -> None:
    found = layout.model(
        example.cluster((example.node("n1", nic=9000), example.node("n2", nic=1400, pod=1350, conflist=1350))),
        example.state(),
    )
    assert found.carries == 1350
    assert found.narrowest is not None
    assert found.narrowest.name == "n2"


def test_a_route_to_a_peer_may_carry_less_than_its_nic() -> None:
    found = layout.model(example.cluster((example.node("n1", route_mtu=1400), example.node("n2"))), example.state())
    assert found.carries == 1350
    assert [(layer.name, layer.size) for layer in found.layers][:1] == [("route", 1400)]
    assert [(node.nic_mtu, node.link_mtu, node.routed) for node in found.nodes] == [
        (1400, 1500, True),
        (1500, 1500, False),
    ]
    assert found.option == ""  # whoever looks sees the route


def test_a_route_is_not_called_a_nic() -> None:
    """As after `apply --hosts`, which pins the nodes' own routes and changes no NIC."""
    two = tuple(example.node(name, pod=1354, conflist=1354, tunnel=1354, route_mtu=1404) for name in ("n1", "n2"))
    found = layout.model(example.cluster(two), example.state(1354))
    report = rules_report.report(found)
    assert report.verdict == "healthy"
    assert report.summary.endswith(
        "which carries 1354 by what the routes between the nodes say (that of n1: 1404; its eth0 has 1500)."
    )
    assert [line.nic_mtu for line in report.nodes] == [1500, 1500]
    with pytest.raises(errors.UsageError, match="the route of node n1 to the others lets 1404 bytes through"):
        planner.target(found, 1400)


def test_a_vxlan_device_sends_by_its_lower_device_whatever_the_routes_say() -> None:
    seen = example.node("n1")
    links = (*seen.links, net.Link(index=9, name="eth1", mtu=1400))
    bound = tuple(
        net.Link(index=3, name="flannel.1", mtu=1350, kind="vxlan", vxlan=net.Vxlan(vni=1, lower="eth1"))
        if link.name == "flannel.1"
        else link
        for link in links
    )
    moved = net.NodeObservation(node="n1", links=bound, uplinks=seen.uplinks)
    found = layout.model(example.cluster((moved,)), example.state())
    assert (found.nodes[0].nic, found.nodes[0].inner) == ("eth1", 1350)


def test_a_single_node_is_judged_by_its_default_route() -> None:
    seen = example.node("n1")
    alone = net.NodeObservation(node="n1", links=(seen.links[1],), routes=seen.routes)
    found = layout.model(example.cluster((alone,)), example.state(tunnel=None))
    assert (found.nodes[0].nic, found.carries) == ("eth0", 1450)


@pytest.mark.parametrize("destination", ["default", "::/0"])
def test_a_single_node_is_judged_by_the_default_route_of_the_family_that_carries_its_pods(destination: str) -> None:
    links = (net.Link(index=1, name="eth0", mtu=9000), net.Link(index=2, name="eth1", mtu=1500))
    ways = (
        net.Route(family=4, destination="default", device="eth1", gateway="192.0.2.254"),
        net.Route(family=6, destination=destination, device="eth0", gateway="fe80::1"),
    )
    alone = net.NodeObservation(node="n1", links=links, routes=ways)
    state = example.state(tunnel=None, encapsulation=(encap.vxlan(IPV6),))
    found = layout.model(example.cluster((alone,)), state)
    assert (found.nodes[0].nic, found.carries) == ("eth0", 8930)  # 9000 - 40 - 8 - 8 - 14
    six_alone = net.NodeObservation(node="n1", links=links, routes=ways[1:])
    assert layout.model(example.cluster((six_alone,)), state).nodes[0].nic == "eth0"


def test_the_costliest_of_several_encapsulations_counts() -> None:
    both = example.state(encapsulation=(encap.ipip(), encap.vxlan(IPV6)))
    assert layout.model(example.cluster(), both).carries == 1430


def test_without_encapsulation_a_pod_has_what_the_nic_has() -> None:
    found = layout.model(example.cluster(), example.state(encapsulation=()))
    assert found.carries == 1500
    assert [layer.name for layer in found.layers] == ["NIC", "pod"]


def test_offline_nothing_is_guessed() -> None:
    found = layout.model(example.cluster((), offline=True), example.state())
    assert (found.carries, found.recommended, found.layers) == (None, None, ())


def test_offline_an_assumed_nic_decides() -> None:
    assert layout.model(example.cluster((), offline=True), example.state(), 9000).recommended == 8950


def test_what_somebody_knows_of_the_fabric_bounds_what_the_nics_say() -> None:
    assert layout.model(example.cluster(), example.state(), 1400).carries == 1350


def test_an_assumption_without_room_is_refused() -> None:
    with pytest.raises(errors.UsageError, match="too small for vxlan"):
        layout.model(example.cluster(), example.state(), 50)


def test_nothing_is_recommended_that_would_take_ipv6_away() -> None:
    seen = tuple(example.node(name, nic=1300, pod=1250, conflist=1250) for name in ("n1", "n2"))
    found = layout.model(example.cluster(seen), example.state(1250, ipv6=True))
    assert (found.carries, found.recommended) == (1250, None)


def test_a_port_is_named_after_its_pod_by_calicos_hash() -> None:
    # The vector of projectcalico/calico, libcalico-go/lib/backend/k8s/conversion/conversion_test.go.
    assert example.link_name("default", "podA") == "cali7f94ce7c295"
    found = layout.model(example.cluster(), example.state())
    assert [port.pod for port in found.nodes[0].ports] == ["default/web-1-0", "default/web-1-1", "default/web-1-2"]


def test_a_port_without_such_a_name_is_named_by_its_address() -> None:
    seen = (example.node("n1", bridge=1450),)
    found = layout.model(example.cluster(seen), example.state(bridge="cni0", ports=net.PortRule(bridge="cni0")))
    assert found.nodes[0].ports[0].pod == "default/web-1-0"


def test_a_port_of_nobody_is_named_by_its_namespace() -> None:
    snapshot = example.cluster()
    nobody = tuple(found for found in snapshot.objects if found.kind != "Pod")
    found = layout.model(example.cluster(objects=nobody), example.state())
    assert found.nodes[0].ports[0].pod == "netns cni-web-1-0"


def test_host_network_pods_are_no_pods_of_the_pod_network() -> None:
    found = layout.model(example.cluster(), example.state())
    assert found.running == 9  # the three CNI pods are on the host's network
    assert [pod.name for pod in found.cni_pods] == ["canal-n1", "canal-n2", "canal-n3"]
    assert found.cni_pods[0].installed == 1793527200.0


def test_nodes_of_the_api_that_were_not_observed_are_silent() -> None:
    found = layout.model(example.cluster(silent=("n8", "n9")), example.state())
    assert found.silent == ("n8", "n9")


def test_pod_networks_come_from_the_nodes_where_the_cni_names_none() -> None:
    node = objects.Object.of(
        {"kind": "Node", "metadata": {"name": "n1"}, "spec": {"podCIDR": "10.42.1.0/24", "podCIDRs": ["10.42.1.0/24"]}}
    )
    snapshot = example.cluster(objects=(node,))
    assert layout.model(snapshot, example.state(pod_networks=())).pod_networks == ("10.42.1.0/24",)


def test_an_impossible_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match="observed twice"):
        example.cluster((example.node("n1"), example.node("n1")))


@pytest.mark.parametrize(
    ("encapsulation", "ipv6", "carries"),
    [
        ((encap.vxlan(),), True, 1450),  # IPv6 of pods travels in IPv4 as well
        ((encap.vxlan(IPV6),), True, 1330),
        ((encap.vxlan(), encap.vxlan(IPV6)), True, 1330),
        ((), False, 1500),
        ((), True, 1400),  # each family goes as it is
        ((encap.esp_transport(),), True, 1366),  # the packet lends its own header, of whichever family: 34 around it
    ],
)
def test_nodes_of_both_families_count_by_that_which_pods_packets_have(
    encapsulation: tuple[encap.Encapsulation, ...], ipv6: bool, carries: int
) -> None:
    """A router has advertised an MTU of 1400, which bounds IPv6 alone (RFC 4861, section 4.6.4)."""
    seen = example.node("n1")
    six = net.Uplink(peer="2001:db8::2", device="eth0", mtu=1500, route_mtu=1400)
    nodes = (net.NodeObservation(node="n1", links=seen.links, uplinks=(*seen.uplinks, six)),)
    state = example.state(encapsulation=encapsulation, ipv6=ipv6, tunnel=None)
    assert layout.model(example.cluster(nodes), state).carries == carries

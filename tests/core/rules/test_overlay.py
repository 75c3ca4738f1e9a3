"""MTU107, MTU145 and MTU121: tunnel devices and bridges."""

import msgspec
import pytest
from tests.support import example
from tests.support.pools import networked

from kubemtu.cni.programs import felix
from kubemtu.core import codes, encap, net
from kubemtu.core.cluster import layout, policy
from kubemtu.core.cluster.cni_state import MtuKey, OtherTunnel
from kubemtu.core.headers import IPV6
from kubemtu.core.objects import Object, placed
from kubemtu.core.rules import overlay

BACKEND_MTU = MtuKey(
    ref=example.CONFIG_MAP,
    path=("data", "net-conf.json"),
    inside="Backend.MTU",
    means="base",
    value=None,
    subtracts=50,
)
BRIDGED = {"bridge": "cni0", "ports": net.PortRule(bridge="cni0")}


def judge(*seen: net.NodeObservation, **state: object) -> tuple[codes.Finding, ...]:
    return overlay.find(layout.model(example.cluster(seen), example.state(**state)))  # type: ignore[arg-type]  # fields


def test_a_healthy_cluster_has_none() -> None:
    assert judge(example.node("n1"), example.node("n2")) == ()
    assert judge(example.node("n1", bridge=1450), example.node("n2", bridge=1450), **BRIDGED) == ()


def test_a_tunnel_that_the_nic_cannot_carry_fragments_outside() -> None:
    (wrong,) = judge(example.node("n1", tunnel=1500, pod=1500))
    assert (wrong.code, wrong.severity, wrong.place) == ("MTU107", "error", "node n1, flannel.1")
    assert wrong.message.startswith("flannel.1 has 1500, but eth0 (1500) leaves 1450. Packets of 1451-1500 bytes")


def test_the_same_tunnel_under_small_pods_only_waits_to_break() -> None:
    (wrong,) = judge(example.node("n1", tunnel=1500))
    assert wrong.severity == "warning"


def test_a_tunnel_over_ipv4_may_have_more_than_its_twin_over_ipv6() -> None:
    both = (encap.vxlan(), encap.vxlan(IPV6))
    assert judge(example.node("n1", tunnel=1450, pod=1430, conflist=1430), encapsulation=both) == ()
    (wrong,) = judge(example.node("n1", tunnel=1451, pod=1430, conflist=1430), encapsulation=both)
    assert wrong.message.startswith("flannel.1 has 1451, but eth0 (1500) leaves 1450.")


def test_flannel_keeps_the_device_of_an_older_configuration() -> None:
    (wrong,) = judge(example.node("n1", nic=9000, tunnel=8950), tunnel_mtu=1450)
    assert (wrong.code, wrong.severity) == ("MTU107", "warning")
    assert wrong.message.startswith("flannel.1 has 8950, the configuration gives it 1450. Flannel takes over a device")


def test_a_tunnel_smaller_than_its_pods_while_the_nic_has_room() -> None:
    (wrong,) = judge(example.node("n1", tunnel=1400))
    assert (wrong.code, wrong.severity) == ("MTU107", "error")
    assert "less than the 1450 that pods of this node have or will get" in wrong.message
    assert "refuses packets of 1401-1450 bytes with an ICMP error" in wrong.message


def test_a_tunnel_smaller_than_configured_but_large_enough_for_all_is_left_alone() -> None:
    assert judge(example.node("n1", tunnel=1400, pod=1400, conflist=1400), tunnel_mtu=1450) == ()


def test_a_tunnel_as_large_as_its_nic_leaves_is_not_told_to_be_larger() -> None:
    """The kernel refuses 1500, which is more with VXLAN's 50 bytes than the NIC has: the pods are too large then."""
    assert judge(example.node("n1", pod=1500, conflist=1500), tunnel_mtu=1500) == ()
    (wrong,) = judge(example.node("n1", tunnel=1400, pod=1500, conflist=1500), tunnel_mtu=1500)
    assert wrong.message.startswith("flannel.1 has 1400, the configuration gives it 1500.")
    assert wrong.remedy.startswith("ip link set dev flannel.1 mtu 1450 ")


def test_a_configured_tunnel_that_is_too_small_for_the_pods() -> None:
    (wrong,) = judge(example.node("n1", tunnel=1400), tunnel_mtu=1450)
    assert (wrong.severity, wrong.message[:56]) == ("error", "flannel.1 has 1400, the configuration gives it 1450. Fla")


def test_felix_sets_its_own_devices_again() -> None:
    seen = example.node("n1", tunnel=1400)
    links = tuple(
        net.Link(index=one.index, name="tunl0", mtu=1400, kind="ipip") if one.name == "flannel.1" else one
        for one in seen.links
    )
    renamed = net.NodeObservation(node="n1", links=links, uplinks=seen.uplinks, ports=seen.ports, files=seen.files)
    (wrong,) = judge(renamed, tunnel="tunl0", tunnel_stays=felix.STAYS)
    assert "Felix sets it again" in wrong.message


@pytest.mark.parametrize(
    ("bridge", "severity", "sizes"), [(1500, "error", "1455-1500"), (1400, "warning", "1401-1450")]
)
def test_a_bridge_unlike_its_ports(bridge: int, severity: str, sizes: str) -> None:
    (wrong,) = judge(example.node("n1", bridge=bridge), **BRIDGED)
    assert (wrong.code, wrong.severity, wrong.place) == ("MTU121", severity, "node n1, cni0")
    assert f"{sizes} bytes" in wrong.message


def test_ports_of_one_bridge_that_differ_lose_packets_without_a_word() -> None:
    ports = (
        example.port("old", "10.42.1.10", pod=1500, bridge="cni0"),
        example.port("new", "10.42.1.11", pod=1450, bridge="cni0"),
    )
    (wrong,) = judge(example.node("n1", bridge=1450, ports=ports), **BRIDGED)
    assert (wrong.code, wrong.severity) == ("MTU121", "error")
    assert "1 pod 1450 (default/new), others up to 1500" in wrong.message
    assert "packets of 1455-1500 bytes to the smaller ones vanish" in wrong.message


def test_a_bridge_without_pods_is_not_judged() -> None:
    assert judge(example.node("n1", bridge=1500, pods=0), **BRIDGED) == ()


def test_a_tunnel_that_suits_the_smallest_nic_is_right_on_a_larger_one() -> None:
    big = example.node("n1", nic=9000, pod=1500, conflist=1500, tunnel=1450)
    assert judge(big, example.node("n2", pod=1500, conflist=1500)) == ()


@pytest.mark.parametrize(("gateway", "found"), [(1450, []), (1500, []), (1400, [("MTU121", "error")])])
def test_the_nodes_own_port_of_a_switch(gateway: int, found: list[tuple[str, str]]) -> None:
    """Open vSwitch drops what is larger than a port's device (net/openvswitch/vport.c ovs_vport_send)."""
    seen = example.node("n1")
    own = net.Link(index=90, name="gw0", mtu=gateway, kind="openvswitch")
    datapath = net.Link(index=91, name="ovs-system", mtu=1500, kind="openvswitch")
    ports = tuple(msgspec.structs.replace(port, bridge="ovs-system") for port in seen.ports)
    seen = msgspec.structs.replace(seen, links=(*seen.links, own, datapath), ports=ports)
    held = judge(seen, bridge="gw0", ports=net.PortRule(bridge="ovs-system"))
    assert [(one.code, one.severity) for one in held] == found
    if found:
        assert held[0].place == "node n1, gw0"
        assert "packets of 1401-1450 bytes" in held[0].message


# What nodes themselves send by a tunnel that another's NIC does not take: lost one by one in tests/scenes/test_apart.py


def into(destination: str, mtu: int) -> net.Route:
    return net.Route(family=4, destination=destination, device="flannel.1", gateway="10.42.3.0", mtu=mtu)


def test_a_tunnel_that_is_larger_than_the_nic_of_another_node_leaves() -> None:
    """9000 - 50 of VXLAN is 8950, and 1500 - 50 is 1450."""
    big = tuple(example.node(name, nic=9000) for name in ("n1", "n2"))
    (lost,) = judge(*big, example.node("n3"))
    assert (lost.code, lost.severity, lost.place) == ("MTU145", "warning", "nodes n1 and n2, flannel.1")
    assert lost.message == (
        "What these nodes themselves, and pods on their network, send by flannel.1 (8950) does not fit eth0 (1500) of"
        " n3: datagrams of 1451-8950 bytes, and pieces of larger ones, vanish in front of it, with DF or without, and"
        " no ICMP error comes back. TCP agrees on less, and pods of the pod network have less."
    )
    assert lost.remedy == (
        "ip link set dev flannel.1 mtu 1450 on each of these nodes. One MTU for all NICs also ends the same loss"
        " between the nodes' own addresses."
    )


# Of dual stack, which flannel and Calico carry by a device for each family: 50 bytes around IPv4, 70 around IPv6

BOTH = (encap.vxlan(), encap.vxlan(IPV6))
BESIDE = OtherTunnel(device="flannel-v6.1", encapsulation=encap.vxlan(IPV6))


def two(name: str, nic: int, first: int, other: int, *routes: net.Route) -> net.NodeObservation:
    """A node of small pods with a tunnel for each family."""
    seen = example.node(name, nic=nic, tunnel=first, pod=1330, conflist=1330, routes=routes)
    beside = net.Link(
        index=9,
        name="flannel-v6.1",
        mtu=other,
        kind="vxlan",
        vxlan=net.Vxlan(vni=1, port=8472, lower="eth0", ipv6_outer=True),
    )
    return msgspec.structs.replace(seen, links=(*seen.links, beside))


def both(*seen: net.NodeObservation, **state: object) -> list[tuple[str, str]]:
    return [(one.code, one.place) for one in judge(*seen, encapsulation=BOTH, other_tunnel=BESIDE, **state)]


@pytest.mark.parametrize(
    ("first", "other", "expected"),
    [
        (1350, 1330, []),
        (1450, 1330, [("MTU145", "node n1, flannel.1")]),
        (1350, 1430, [("MTU145", "node n1, flannel-v6.1")]),
        (1450, 1430, [("MTU145", "node n1, flannel.1 and flannel-v6.1")]),
        (1450, 1431, [("MTU145", "node n1, flannel.1 and flannel-v6.1"), ("MTU107", "node n1, flannel-v6.1")]),
        (1350, 1329, [("MTU107", "node n1, flannel-v6.1")]),
    ],
)
def test_each_of_two_tunnels_is_held_against_the_far_nic(
    first: int, other: int, expected: list[tuple[str, str]]
) -> None:
    """1400 - 50 is 1350 and 1400 - 70 is 1330; 1500 leaves 1450 and 1430."""
    assert both(two("n1", 1500, first, other), two("n2", 1400, 1350, 1330)) == expected


def test_two_tunnels_are_one_finding_with_both_numbers_and_one_for_the_key_of_both() -> None:
    """1330 and the 50 that flannel takes off for both is 1380: with 1400 the device for IPv6 would have 1350."""
    beside = msgspec.structs.replace(BESIDE, key=BACKEND_MTU)
    seen = (two("n1", 9000, 8950, 8930), two("n2", 9000, 8950, 8930), two("n3", 1400, 1350, 1330))
    (lost,) = judge(*seen, encapsulation=BOTH, other_tunnel=beside, tunnel_key=BACKEND_MTU)
    assert (lost.code, lost.place) == ("MTU145", "nodes n1 and n2, flannel.1 and flannel-v6.1")
    assert lost.nodes == ("n1", "n2")
    assert lost.message == (
        "What these nodes themselves, and pods on their network, send by flannel.1 (8950) and flannel-v6.1 (8930) does"
        " not fit eth0 (1400) of n3: datagrams of 1351-8950 bytes by flannel.1 and 1331-8930 bytes by flannel-v6.1, and"
        " pieces of larger ones, vanish in front of it, with DF or without, and no ICMP error comes back. TCP agrees on"
        " less, and pods of the pod network have less."
    )
    assert lost.remedy.startswith(
        'Set ConfigMap kube-system/canal-config, data["net-conf.json"], Backend.MTU to 1380 for devices that are made'
        " from now on, and ip link set dev flannel.1 mtu 1350 and ip link set dev flannel-v6.1 mtu 1330 on each of"
        " these nodes for those that are there."
    )


def test_two_keys_have_a_number_each() -> None:
    """Calico's vxlanMTU and vxlanMTUV6."""

    def key(field: str) -> MtuKey:
        return MtuKey(ref=example.CONFIG_MAP, path=("spec", field), means="tunnel", value=None)

    beside = msgspec.structs.replace(BESIDE, key=key("vxlanMTUV6"))
    seen = (two("n1", 9000, 8950, 8930), two("n3", 1400, 1350, 1330))
    (lost,) = judge(*seen, encapsulation=BOTH, other_tunnel=beside, tunnel_key=key("vxlanMTU"))
    place = "ConfigMap kube-system/canal-config, spec"
    assert lost.remedy.startswith(f"Set {place}.vxlanMTU to 1350 and {place}.vxlanMTUV6 to 1330 for devices")


@pytest.mark.parametrize(
    ("networks", "place"),
    [
        ((), "node n1, flannel.1 and flannel-v6.1"),
        (("10.42.3.0/24",), "node n1, flannel-v6.1"),
        (("fd00:10:42:3::/64",), "node n1, flannel.1"),
        (("10.42.3.0/24", "fd00:10:42:3::/64"), ""),
    ],
)
def test_a_route_of_one_family_spares_the_tunnel_of_that_one(networks: tuple[str, ...], place: str) -> None:
    routes = tuple(
        net.Route(family=6 if ":" in each else 4, destination=each, device="flannel.1", mtu=1330) for each in networks
    )
    seen = (two("n1", 1500, 1450, 1430, *routes), two("n3", 1400, 1350, 1330))
    made = networked(example.cluster(seen), {})
    objects = [
        Object.of(placed(each.body, ("spec", "podCIDRs"), ["10.42.3.0/24", "fd00:10:42:3::/64"]))
        if (each.kind, each.name) == ("Node", "n3")
        else each
        for each in made.objects
    ]
    state = example.state(encapsulation=BOTH, other_tunnel=BESIDE)
    found = overlay.find(layout.model(msgspec.structs.replace(made, objects=tuple(objects)), state))
    assert [one.place for one in found] == ([place] if place else [])


# Past the tunnel, as Calico's CrossSubnet and flannel's DirectRouting go within a subnet

PASSED = {"passed_by": frozenset({"flannel.1"})}
ONE, TWO = "192.168.77.0/24", "192.168.78.0/24"


def test_within_a_subnet_the_nics_themselves_are_held_against_each_other() -> None:
    seen = (example.node("n1", nic=9000), example.node("n2", nic=9000), example.node("n3"))
    (lost,) = judge(*seen, **PASSED, subnets={"n1": ONE, "n2": ONE, "n3": ONE})
    assert (lost.code, lost.severity, lost.place) == ("MTU145", "warning", "nodes n1 and n2, eth0")
    assert lost.message == (
        "What these nodes themselves, and pods on their network, send to pods of nodes of their own subnet"
        " (192.168.77.0/24), past the tunnel, by eth0 (9000) does not fit eth0 (1500) of n3: datagrams of 1501-9000"
        " bytes, and pieces of larger ones, vanish in front of it, with DF or without, and no ICMP error comes back."
        " TCP agrees on less, and pods of the pod network have less."
    )
    assert lost.remedy == (
        "Give the NICs of this subnet one MTU: no key of the pod network reaches what goes past its tunnel. That also"
        " ends the same loss between the nodes' own addresses."
    )


def test_each_pair_goes_its_own_way() -> None:
    """n1 reaches n2 by its NIC, and n3 by its tunnel."""
    seen = (example.node("n1", nic=9000), example.node("n2"), example.node("n3"))
    by_tunnel, by_nic = judge(*seen, **PASSED, subnets={"n1": ONE, "n2": ONE, "n3": TWO})
    assert (by_tunnel.place, by_nic.place) == ("node n1, flannel.1", "node n1, eth0")
    assert "send by flannel.1 (8950) does not fit eth0 (1500) of n3: datagrams of 1451-8950 bytes" in by_tunnel.message
    assert "by eth0 (9000) does not fit eth0 (1500) of n2: datagrams of 1501-9000 bytes" in by_nic.message
    assert (by_tunnel.severity, by_nic.severity) == ("warning", "warning")


@pytest.mark.parametrize("subnets", [{}, {"n1": ONE}, {"n3": ONE}])
def test_which_way_a_pair_goes_is_a_question_where_no_subnet_was_seen(subnets: dict[str, str]) -> None:
    (asked,) = judge(example.node("n1", nic=9000), example.node("n3"), **PASSED, subnets=subnets)
    assert (asked.code, asked.severity, asked.place) == ("MTU145", "note", "node n1, flannel.1")
    assert asked.message.endswith(" Nodes of one subnet are reached past it, and which are in one was not seen.")


def test_equal_nics_lose_nothing_past_the_tunnel_and_a_tunnel_always_taken_has_no_subnets() -> None:
    subnets = {"n1": ONE, "n2": ONE}
    assert judge(example.node("n1"), example.node("n2"), **PASSED, subnets=subnets) == ()
    (lost,) = judge(example.node("n1", nic=9000), example.node("n2"), subnets=subnets)
    assert (lost.place, lost.severity) == ("node n1, flannel.1", "warning")


def test_a_route_past_the_tunnel_that_says_less_is_what_the_node_goes_by() -> None:
    route = net.Route(family=4, destination="10.42.2.0/24", device="eth0", gateway="192.168.77.2", mtu=1500)
    seen = (example.node("n1", nic=9000, routes=(route,)), example.node("n2"))
    state = example.state(passed_by=frozenset({"flannel.1"}), subnets={"n1": ONE, "n2": ONE})
    for snapshot in (example.cluster(seen), networked(example.cluster(seen), {})):
        assert overlay.find(layout.model(snapshot, state)) == ()


def test_in_dual_stack_the_other_family_keeps_its_own_way() -> None:
    """Only the tunnel of IPv4 is passed by, and the one for IPv6 always taken."""
    seen = (two("n1", 1500, 1450, 1430), two("n2", 1400, 1350, 1330))
    assert both(*seen, **PASSED, subnets={"n1": ONE, "n2": ONE}) == [
        ("MTU145", "node n1, flannel-v6.1"),
        ("MTU145", "node n1, eth0"),
    ]


def test_the_smallest_of_several_nics_is_named_and_each_size_of_tunnel_by_itself() -> None:
    first, other = judge(
        example.node("n1", nic=9000, pod=1350), example.node("n2", pod=1350), example.node("n3", nic=1400, pod=1350)
    )
    assert (first.place, other.place) == ("node n1, flannel.1", "node n2, flannel.1")
    assert "fit the NICs of n3 and n2, the least of which is eth0 (1400): datagrams of 1351-8950" in first.message
    assert "What this node itself, and pods on its network, send by flannel.1 (1450)" in other.message


def test_tunnels_that_all_have_what_the_smallest_nic_leaves_lose_nothing() -> None:
    assert judge(example.node("n1", nic=9000, tunnel=1450), example.node("n2")) == ()


@pytest.mark.parametrize(
    ("routes", "codes_found"),
    [
        ((into("10.42.3.0/24", 1450),), []),
        ((into("10.42.0.0/16", 1400),), []),
        ((into("10.42.3.0/24", 1454),), ["MTU145"]),
        ((into("10.42.2.0/24", 1450),), ["MTU145"]),
        ((net.Route(family=4, destination="default", device="eth0", gateway="192.168.77.254", mtu=1400),), ["MTU145"]),
    ],
    ids=["as much", "less for all", "more than the NIC leaves", "towards another node", "not into the tunnel"],
)
def test_a_route_that_says_less_is_what_the_node_goes_by(routes: tuple[net.Route, ...], codes_found: list[str]) -> None:
    seen = (example.node("n1", nic=9000, routes=routes), example.node("n3"))
    for snapshot in (example.cluster(seen), networked(example.cluster(seen), {})):
        assert [one.code for one in overlay.find(layout.model(snapshot, example.state()))] == codes_found


def test_a_path_that_somebody_says_to_carry_less_to_one_node_is_no_matter_of_nics() -> None:
    """1404 - 50 of VXLAN is 1354."""
    bound = policy.Bound(path_mtu=1404, by="MTUPolicy vpn", nodes=("n2",))
    seen = tuple(example.node(name, pod=1354) for name in ("n1", "n2", "n3"))
    lost, own = overlay.find(layout.model(example.cluster(seen), example.state(), measured=(bound,)))
    assert (lost.code, lost.place) == ("MTU145", "nodes n1 and n3, flannel.1")
    assert "send by flannel.1 (1450) does not fit eth0 (1404, as MTUPolicy vpn says) of n2" in lost.message
    assert lost.remedy == "ip link set dev flannel.1 mtu 1354 on each of these nodes."
    assert (own.code, own.place) == ("MTU107", "node n2, flannel.1")


def test_where_pods_send_too_much_as_well_their_change_takes_the_tunnels_along() -> None:
    assert judge(example.node("n1", nic=9000, pod=8950), example.node("n2", nic=9000), example.node("n3")) == ()


def test_a_tunnel_that_has_not_what_it_is_given_is_told_of_as_that() -> None:
    found = judge(example.node("n1", nic=9000), example.node("n3"), tunnel_mtu=1450)
    assert [(one.code, one.place) for one in found] == [("MTU107", "node n1, flannel.1")]


def test_the_key_that_gives_the_tunnel_its_mtu_is_named_with_its_own_number() -> None:
    """flannel's number is the underlay's: 1450 and the 50 that it takes off."""
    seen = (example.node("n1", nic=9000), example.node("n3"))
    (lost,) = overlay.find(layout.model(networked(example.cluster(seen), {}), example.state(tunnel_key=BACKEND_MTU)))
    assert lost.remedy.startswith(
        'Set ConfigMap kube-system/canal-config, data["net-conf.json"], Backend.MTU to 1500 for devices that are made'
        " from now on, and ip link set dev flannel.1 mtu 1450 on each of these nodes for those that are there. Or"
        " `kubemtu apply --per-node`: "
    )


def test_a_tunnel_over_ipv6_that_the_nic_cannot_carry_loses_and_cuts_nothing() -> None:
    """RFC 8200, section 4.5: IPv6 is cut by its source alone. 1400 less 70 are 1330."""
    seen = example.node("n1", nic=1400, tunnel=1430, pod=1430, conflist=1430)
    over = net.Vxlan(vni=1, port=8472, lower="eth0", ipv6_outer=True)
    links = tuple(
        msgspec.structs.replace(link, vxlan=over) if link.name == "flannel.1" else link for link in seen.links
    )
    six = msgspec.structs.replace(seen, links=links)
    (wrong,) = judge(six, encapsulation=(encap.vxlan(IPV6),))
    assert (wrong.code, wrong.severity) == ("MTU107", "error")
    assert "Packets of 1331-1430 bytes fit the tunnel and not what is around them: IPv6 is cut by its source alone" in (
        wrong.message
    )
    assert "in two" not in wrong.message
    assert "refuses those after it with an ICMP error" in wrong.message

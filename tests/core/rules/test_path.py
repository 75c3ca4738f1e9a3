"""MTU101 and MTU102: which sizes fail and how, and what smaller packets cost."""

import msgspec
import pytest
from tests.support import example

from kubemtu.core import codes, encap, headers, net
from kubemtu.core.cluster import goodput, layout
from kubemtu.core.cluster.cni_state import OtherTunnel
from kubemtu.core.headers import IPV6
from kubemtu.core.rules import path, report


def judge(*seen: net.NodeObservation, nic_mtu: int | None = None, **state: object) -> tuple[codes.Finding, ...]:
    snapshot = example.cluster(seen)
    return path.find(layout.model(snapshot, example.state(**state), nic_mtu))  # type: ignore[arg-type]  # fields


def nodes(**changed: object) -> tuple[net.NodeObservation, ...]:
    return tuple(example.node(name, **changed) for name in ("n1", "n2"))  # type: ignore[arg-type]  # fields of node


def test_a_healthy_cluster_has_none() -> None:
    assert judge(*nodes()) == ()


def test_pods_of_1500_over_vxlan_on_1500() -> None:
    (above,) = judge(*nodes(pod=1500))
    assert (above.code, above.severity) == ("MTU101", "error")
    assert above.place == "nodes n1 and n2, 6 pods: default/web-1-0, default/web-1-1, default/web-1-2 and 3 more"
    assert "6 pods may send 1500 bytes, but the path between nodes carries 1450." in above.message
    assert "Those of 1451-1500 bytes are refused by flannel.1 (1450) of the sender's own node" in above.message
    assert "vanish on the way" not in above.message


def test_a_tunnel_as_large_as_the_nic_hides_it_by_fragmenting_the_outside() -> None:
    (above,) = judge(*nodes(pod=1500, tunnel=1500))
    assert "Those of 1451-1500 bytes fit flannel.1 (1500) but not eth0 (1500) around them" in above.message
    assert "two fragments" in above.message
    assert "refused by" not in above.message


def test_towards_a_smaller_nic_packets_vanish() -> None:
    (above,) = judge(example.node("n1", nic=9000, pod=8950), example.node("n2"))
    assert above.place == "node n1, 3 pods: default/web-1-0, default/web-1-1 and default/web-1-2"
    assert "Those of 1451-8950 bytes fit this node's own devices and vanish" in above.message


def test_all_three_fates_of_one_node_are_told_size_by_size() -> None:
    (above,) = judge(example.node("n1", nic=1600, tunnel=1580, pod=1600), example.node("n2"))
    assert "Those of 1451-1550 bytes fit this node's own devices" in above.message
    assert "; those of 1551-1580 bytes fit flannel.1 (1580) but not eth0 (1600)" in above.message
    assert "; those of 1581-1600 bytes are refused by flannel.1 (1580)" in above.message


@pytest.mark.parametrize(
    ("around", "refused"),
    [
        (encap.vxlan(IPV6), ("IPv6", "an ICMPv6 error")),
        (encap.vxlan(), ("IPv4", "an ICMP error")),
    ],
)
def test_of_two_tunnels_the_other_one_refuses_its_own_family(
    around: encap.Encapsulation, refused: tuple[str, str]
) -> None:
    node = example.node("n1", pod=1500)
    beside = net.Link(index=9, name="beside", mtu=1430, kind="vxlan")
    seen = msgspec.structs.replace(node, links=(*node.links, beside))
    state = example.state(other_tunnel=OtherTunnel(device="beside", encapsulation=around))
    (above,) = path.find(layout.model(example.cluster((seen, example.node("n2"))), state))
    family, error = refused
    said = f"bytes that are {family} are refused by beside (1430) of the sender's own node, with {error}"
    assert f"; those of 1431-1500 {said}." in above.message


def test_what_a_smaller_host_end_swallows_never_meets_the_path() -> None:
    assert judge(*nodes(pod=1500, host=1450)) == ()


def test_a_pod_whose_routes_all_hold_it_back_sends_no_more_than_they_say() -> None:
    routes = (net.Route(family=4, destination="default", device="eth0", mtu=1450),)
    ports = (example.port("a", "10.42.1.10", pod=1500, routes=routes),)
    assert judge(example.node("n1", ports=ports), example.node("n2")) == ()


def test_one_node_alone_has_no_path_yet() -> None:
    (above,) = judge(example.node("n1", pod=1500))
    assert (above.code, above.severity) == ("MTU101", "warning")
    assert "no packet takes that path yet" in above.message


def test_a_fabric_that_carries_less_than_the_nics_say_is_believed() -> None:
    (above,) = judge(*nodes(), nic_mtu=1400)
    assert above.code == "MTU101"
    assert "may send 1450 bytes, but the path between nodes carries 1350" in above.message


def test_without_encapsulation_the_nic_itself_refuses() -> None:
    (above,) = judge(*nodes(pod=9000, nic=1500), encapsulation=(), tunnel=None)
    assert "Those of 1501-9000 bytes are refused by eth0 (1500)" in above.message


def test_small_pods_on_jumbo_nics_cost_a_share_of_the_link() -> None:
    (below,) = judge(*nodes(nic=9000))
    assert (below.code, below.severity) == ("MTU102", "warning")
    # (1450-52)/(1450+50+38) = 90.9 %, (8950-52)/(8950+50+38) = 98.5 %, 1 - 0.909/0.985 = 7.7 %, 8898/1398 = 6.36
    assert "TCP gets 90.9% instead of 98.5%, which is 7.7% less, in 6.36 times as many packets." in below.message


def test_a_few_bytes_too_few_are_only_noted() -> None:
    (below,) = judge(*nodes(pod=1400, conflist=1400))
    assert (below.code, below.severity) == ("MTU102", "note")


def test_a_note_on_the_configured_number_is_not_told_again_of_the_pods_that_have_it() -> None:
    seen, state = nodes(pod=1400, conflist=1400), example.state(1400)
    found = report.judge(layout.model(example.cluster(seen), state))
    assert [(one.code, one.severity) for one in found] == [("MTU119", "note")]


@pytest.mark.parametrize(("mtu", "told"), [(8000, []), (7000, ["MTU119"]), (6000, ["MTU119"])])
def test_room_that_somebody_left_below_jumbo_frames_is_no_finding(mtu: int, told: list[str]) -> None:
    """(8000-52)/(8000+38) = 98.88 %, (9000-52)/(9000+38) = 99.00 %: 0.13 %; of 7000 0.28 %, of 6000 0.50 %."""
    state = example.state(mtu, encapsulation=(), encapsulation_name="none", tunnel=None)
    found = report.judge(layout.model(example.cluster(nodes(nic=9000, pod=mtu, conflist=mtu)), state))
    assert [one.code for one in found] == told


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert path.find(layout.model(example.cluster((), offline=True), example.state())) == ()


@pytest.mark.parametrize(("mtu", "cost", "expected"), [(1500, 0, 0.9415), (1450, 50, 0.9090), (8950, 50, 0.9845)])
def test_goodput_counts_every_byte_on_the_wire(mtu: int, cost: int, expected: float) -> None:
    # 1500: 1448 of 1538 bytes, the well-known 94.1 % of gigabit Ethernet with timestamps.
    assert goodput.share(mtu, cost) == pytest.approx(expected, abs=5e-5)


def test_the_costliest_encapsulation_is_reckoned_with() -> None:
    (below,) = judge(*nodes(nic=9000, tunnel=8940), encapsulation=(encap.wireguard(), encap.vxlan()))
    assert "the path carries 8940" in below.message


@pytest.mark.parametrize(("pod", "codes"), [(1400, []), (1442, []), (1443, ["MTU101"]), (1399, ["MTU102"])])
def test_what_a_cni_leaves_free_by_design_is_not_wasted(pod: int, codes: list[str]) -> None:
    found = judge(*nodes(pod=pod), encapsulation=(encap.geneve(options=8),), reserves=42, tunnel=None)
    assert [one.code for one in found] == codes


@pytest.mark.parametrize(
    ("configured", "recommended"), [(None, 1400), (1450, 1400), (1442, 1442), (1400, 1400), (1420, 1420), (1300, 1400)]
)
def test_what_a_cni_leaves_free_by_design_is_left_to_it(configured: int | None, recommended: int) -> None:
    state = example.state(configured, encapsulation=(encap.geneve(options=8),), reserves=42, tunnel=None)
    assert layout.model(example.cluster(nodes()), state).recommended == recommended


def nicless(node: net.NodeObservation) -> net.NodeObservation:
    """Take away what tells the NIC: as where a tool shows names and MTUs alone."""
    links = tuple(
        msgspec.structs.replace(link, vxlan=None) if link.name == "flannel.1" else link
        for link in node.links
        if link.name != "eth0"
    )
    return msgspec.structs.replace(node, links=links, uplinks=(), routes=())


def test_where_no_nic_was_seen_pods_above_their_own_tunnel_are_told() -> None:
    assert judge(*map(nicless, nodes(pod=1450, tunnel=1450))) == ()
    (above,) = judge(*map(nicless, nodes(pod=1450, tunnel=1400)))
    assert (above.code, above.severity) == ("MTU101", "error")
    assert above.message.startswith(
        "6 pods may send 1450 bytes, but flannel.1 of the sender's own node takes 1400: packets of 1401-1450 bytes to "
        "other nodes are refused"
    )
    assert "--nic-mtu N" in above.remedy


OVER_IPV6 = (encap.vxlan(headers.IPV6),)


def of_ipv6(nic: int, tunnel: int, pod: int) -> tuple[net.NodeObservation, ...]:
    """Two nodes of IPv6 alone; VXLAN over IPv6 takes 40 + 8 + 8 + 14 = 70 bytes."""
    ports = (example.port("a", "10.42.1.10", pod=pod, addresses=("fd42::a",)),)
    over = net.Vxlan(vni=1, port=8472, lower="eth0", ipv6_outer=True)
    made = []
    for seen in nodes(nic=nic, tunnel=tunnel, ports=ports):
        links = (msgspec.structs.replace(one, vxlan=over) if one.name == "flannel.1" else one for one in seen.links)
        made.append(msgspec.structs.replace(seen, links=tuple(links)))
    return tuple(made)


def test_no_router_is_said_to_cut_what_pods_of_ipv6_alone_send() -> None:
    """IPv6 is cut by its source alone (RFC 8200, section 4.5)."""
    (above,) = judge(*of_ipv6(1500, 1430, 1450), encapsulation=OVER_IPV6, ipv6=True)
    refused = "Those of 1431-1450 bytes are refused by flannel.1 (1430) of the sender's own node"
    assert f"{refused}: with an ICMPv6 error, which costs TCP a flight" in above.message
    assert "a datagram of that size is lost until its sender has heard it" in above.message
    assert "DF" not in above.message
    assert "fragments" not in above.message


def test_a_tunnel_over_ipv6_cuts_nothing_that_does_not_fit_the_nic() -> None:
    (above,) = judge(*of_ipv6(1400, 1430, 1430), encapsulation=OVER_IPV6, ipv6=True)
    around = "Those of 1331-1430 bytes fit flannel.1 (1430) but not eth0 (1400) around them"
    assert f"{around}: a tunnel does not cut IPv6" in above.message
    assert "fragments" not in above.message

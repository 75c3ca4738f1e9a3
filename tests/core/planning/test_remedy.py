"""One remedy of what interfaces show and what arrives; VXLAN over IPv4 takes 50 bytes (RFC 7348)."""

import msgspec
import pytest
from tests.support import example

from kubemtu.core import encap, headers, net
from kubemtu.core.cluster import layout, policy
from kubemtu.core.net import NodeObservation
from kubemtu.core.planning import remedy
from kubemtu.core.remedy import Remedy


def of(*nodes: NodeObservation, mtu: int | None = 1450, between_nodes: int = 0, between_pods: int = 0) -> Remedy:
    found = layout.model(example.cluster(nodes), example.state(mtu))
    return remedy.of(found, between_nodes=between_nodes, between_pods=between_pods)


TWO = (example.node("n1"), example.node("n2"))
BY_HAND = tuple(example.node(name, nic=9000, tunnel=1500, pod=8950, conflist=8950) for name in ("n1", "n2"))


def test_nothing_is_wrong() -> None:
    assert of(*TWO) == Remedy(cause="none", mtu=1450)


@pytest.mark.parametrize("between_pods", [0, 1500])
def test_a_tunnel_that_was_set_by_hand_goes_back_whatever_arrives(between_pods: int) -> None:
    found = of(*BY_HAND, mtu=8950, between_pods=between_pods)
    assert found == Remedy(cause="tunnel", mtu=8950, devices="flannel.1 on n1 and n2")
    assert found.command == "plan"
    assert found.words.startswith("flannel.1 on n1 and n2 goes back to 8950: `kubemtu apply` sets it, live")


def test_what_gets_through_between_nodes_decides() -> None:
    found = of(*TWO, between_nodes=1404, between_pods=1354)
    assert (found.cause, found.mtu, found.path_mtu, found.command) == ("network", 1354, 1404, "plan --nic-mtu 1404")


def test_a_measurement_that_nics_explain_is_theirs() -> None:
    pods = (example.node("n1"), example.node("n2", nic=1400, tunnel=1350))
    assert of(*pods, between_nodes=1400) == Remedy(cause="nics", mtu=1350)


def test_what_nothing_explains_is_what_arrives() -> None:
    found = of(*TWO, between_pods=1300)
    assert (found.cause, found.mtu, found.command) == ("overlay", 1300, "plan --mtu 1300")


def test_pods_above_their_path_are_led_to_it() -> None:
    pods = tuple(example.node(name, pod=1500, conflist=1500) for name in ("n1", "n2"))
    assert of(*pods, mtu=1500, between_pods=1450) == Remedy(cause="pods", mtu=1450)


def test_ends_that_differ_are_made_equal() -> None:
    assert of(example.node("n1"), example.node("n2", host=1400), between_pods=1400).cause == "veth"


def test_what_is_known_is_named_and_needs_no_number_again() -> None:
    bound = policy.Bound(path_mtu=1404, by="MTUPolicy path", reason="measured")
    known = layout.model(example.cluster(TWO), example.state(), measured=(bound,))
    found = remedy.of(known, between_nodes=1408)
    assert found == Remedy(cause="network", mtu=1354, path_mtu=1404, stated_by="MTUPolicy path")
    assert found.command == "plan"
    now = msgspec.structs.replace(bound, reason="")  # of this run: the next command does not know of it
    again = remedy.of(layout.model(example.cluster(TWO), example.state(), measured=(now,)))
    assert (again.stated_by, again.command) == ("", "plan --nic-mtu 1404")


@pytest.mark.parametrize("mtu", [1400, 1500])
def test_a_bridge_that_has_not_what_its_ports_have_is_named_and_gets_it(mtu: int) -> None:
    nodes = (example.node("n1", bridge=1450), example.node("n2", bridge=mtu))
    found = remedy.of(
        layout.model(example.cluster(nodes), example.state(bridge="cni0", ports=net.PortRule(bridge="cni0")))
    )
    assert found == Remedy(cause="bridge", mtu=1450, devices="cni0 on n2")
    assert found.words == "cni0 on n2 gets the 1450 of its ports: `kubemtu apply` sets it, live"


def of_ipv6(*nodes: NodeObservation, between_nodes: int = 0, between_pods: int = 0) -> Remedy:
    """Pods with IPv6, over VXLAN over IPv6: 40 + 8 + 8 + 14 = 70 bytes."""
    state = example.state(1430, encapsulation=(encap.vxlan(headers.IPV6),), ipv6=True)
    return remedy.of(
        layout.model(example.cluster(nodes), state), between_nodes=between_nodes, between_pods=between_pods
    )


SIX = tuple(example.node(name, tunnel=1430, pod=1430, conflist=1430) for name in ("n1", "n2"))


@pytest.mark.parametrize(
    ("between_nodes", "mtu"),
    [(1350, 1280), (1349, 0)],  # 1350 less 70 are the 1280 of RFC 8200, section 5
)
def test_nobody_is_led_to_less_than_ipv6_needs(between_nodes: int, mtu: int) -> None:
    found = of_ipv6(*SIX, between_nodes=between_nodes, between_pods=between_nodes - 70)
    assert (found.cause, found.mtu, found.path_mtu, found.least) == ("network", mtu, between_nodes, 0 if mtu else 1280)
    if mtu:
        assert found.command == "plan --nic-mtu 1350"
    else:
        assert (found.command, "kubemtu" in found.words) == ("", False)
        assert found.words == (
            "raise what the network carries: of 1349 bytes too little is left for pods, and IPv6 needs 1280 on every "
            "link (RFC 8200, section 5), so no pod MTU suits it"
        )


def test_less_between_pods_than_ipv6_needs_is_no_mtu_of_theirs() -> None:
    found = of_ipv6(*SIX, between_pods=1279)
    assert (found.cause, found.mtu, found.least, found.command) == ("overlay", 0, 1280, "")
    assert of_ipv6(*SIX, between_pods=1280).command == "plan --mtu 1280"


def test_nics_that_leave_ipv6_too_little_are_raised() -> None:
    small = tuple(example.node(name, nic=1300, tunnel=1230, pod=1430, conflist=1430) for name in ("n1", "n2"))
    found = of_ipv6(*small)
    assert (found.mtu, found.least) == (0, 1280)
    assert "`" not in found.words

"""MTU104, MTU105, MTU114, MTU115: state in, findings out."""

import pytest
from tests.support import example

from kubemtu.core import codes, net
from kubemtu.core.cluster import layout
from kubemtu.core.rules import pods


def judge(*seen: net.NodeObservation, **state: object) -> tuple[codes.Finding, ...]:
    return pods.find(layout.model(example.cluster(seen), example.state(**state)))  # type: ignore[arg-type]  # fields


def test_a_healthy_cluster_has_none() -> None:
    assert judge(example.node("n1"), example.node("n2"), ipv6=True) == ()


def test_only_the_host_end_lowered_is_a_black_hole_for_what_the_pod_sends() -> None:
    ports = (
        example.port("a", "10.42.1.10", pod=1500, host=1450, drops=999),
        example.port("b", "10.42.1.11", pod=1500, host=1450, drops=1),
    )
    ends, _older = judge(example.node("n1", ports=ports))
    assert (ends.code, ends.severity) == ("MTU105", "error")
    assert ends.place == "node n1, 2 pods: default/a and default/b"
    # live-mtu: 1451..1454 pass the veth thanks to the VLAN slack, 1455..1500 vanish.
    assert "Every packet of 1455-1500 bytes that they send, to anywhere, vanishes at the host end" in ends.message
    assert "(1000 so far: rx_dropped of the host end = tx_dropped in the pod)" in ends.message


def test_only_the_pods_end_lowered_is_a_black_hole_for_what_is_sent_to_it() -> None:
    (ends,) = judge(example.node("n1", ports=(example.port("a", "10.42.1.10", pod=1450, host=1500, drops=7),)))
    assert (ends.code, ends.severity) == ("MTU105", "error")
    assert "Every packet of 1455-1500 bytes that is sent to them vanishes at their own end" in ends.message
    assert "(7 so far: tx_dropped of the host end = rx_dropped in the pod)" in ends.message


def test_ends_that_differ_within_the_vlan_slack_lose_nothing_yet() -> None:
    (ends,) = judge(example.node("n1", ports=(example.port("a", "10.42.1.10", pod=1450, host=1454),)))
    assert (ends.code, ends.severity) == ("MTU105", "warning")
    assert "nothing is lost yet" in ends.message


def test_one_size_is_named_as_one() -> None:
    (ends,) = judge(example.node("n1", ports=(example.port("a", "10.42.1.10", pod=1450, host=1455),)))
    assert "packet of 1455 bytes" in ends.message


def test_pods_older_than_the_configuration_are_counted_not_listed() -> None:
    old, other = judge(example.node("n1", pods=250, pod=1500), example.node("n2", pods=1, pod=1400))
    assert (old.code, old.severity) == ("MTU104", "error")
    assert old.place == "node n1, 250 pods: default/web-1-0, default/web-1-1, default/web-1-2 and 247 more"
    assert old.message.startswith(
        "250 of 250 pods have 1500, but a pod created now gets 1450 (/etc/cni/net.d/10-canal.conflist)."
    )
    assert (other.code, other.severity) == ("MTU104", "warning")
    assert other.message.startswith("1 of 1 pod has 1400")


def test_an_ipv4_route_above_its_device_is_found_on_every_pod_that_has_it() -> None:
    routes = (net.Route(family=4, destination="default", device="eth0", mtu=1500),)
    ports = tuple(example.port(name, f"10.42.1.{n}", routes=routes) for n, name in enumerate("ab", 10))
    (route,) = judge(example.node("n1", ports=ports))
    assert (route.code, route.severity) == ("MTU115", "error")
    assert route.place == "node n1, 2 pods: default/a and default/b, route default"
    assert "packets of 1451-1500 bytes are sent, and from 1455 on they vanish" in route.message


@pytest.mark.parametrize("mtu", [1450, 1280])
def test_a_route_at_or_below_its_device_is_fine(mtu: int) -> None:
    routes = (net.Route(family=4, destination="default", device="eth0", mtu=mtu),)
    assert judge(example.node("n1", ports=(example.port("a", "10.42.1.10", routes=routes),))) == ()


def test_a_route_by_another_device_of_the_pod_is_not_ours() -> None:
    routes = (net.Route(family=4, destination="192.168.5.0/24", device="net1", mtu=9000),)
    assert judge(example.node("n1", ports=(example.port("a", "10.42.1.10", routes=routes),))) == ()


def test_a_pod_below_1280_loses_ipv6() -> None:
    both = ("10.42.1.10", "fd00::10")
    (low,) = judge(
        example.node("n1", ports=(example.port("a", "10.42.1.10", pod=1200, addresses=both),), conflist=1200)
    )
    assert (low.code, low.severity, low.place) == ("MTU114", "error", "node n1, 1 pod: default/a")


def test_a_pod_whose_ipv6_is_gone_already_is_found_by_the_configuration() -> None:
    (low,) = judge(example.node("n1", pods=1, pod=1200, conflist=1200), ipv6=True)
    assert low.code == "MTU114"


def test_without_ipv6_1200_is_only_small() -> None:
    assert judge(example.node("n1", pod=1200, conflist=1200)) == ()

"""MTU116: pins that nobody took away."""

import msgspec
from tests.support import example

from kubemtu.core import codes, net, objects
from kubemtu.core.cluster import layout
from kubemtu.core.rules import drift

LOCKED = net.Route(family=4, destination="default", device="eth0", mtu=1450, locked=True)


def judge(*seen: net.NodeObservation, extra: tuple[objects.Object, ...] = ()) -> tuple[codes.Finding, ...]:
    snapshot = example.cluster(seen)
    whole = example.cluster(seen, objects=(*snapshot.objects, *extra))
    return drift.find(layout.model(whole, example.state()))


def migration(finished: object) -> objects.Object:
    status = {"progress": {"finished": finished}}
    return objects.Object.of({"kind": "MTUMigration", "metadata": {"name": "canal-1450-1"}, "status": status})


def pinned() -> net.NodeObservation:
    return example.node("n1", ports=(example.port("a", "10.42.1.10", routes=(LOCKED,)),))


def test_a_healthy_cluster_has_none() -> None:
    assert judge(example.node("n1")) == ()


def test_a_pin_of_a_pod() -> None:
    (left,) = judge(pinned())
    assert (left.code, left.severity, left.place) == ("MTU116", "warning", "node n1, 1 pod: default/a")
    assert left.message.startswith("A route of this pod holds it at 1450 (mtu lock), and no migration is under way.")
    assert left.remedy == "In the pod's network namespace: ip route change default dev eth0; ip route flush cache"


def test_pins_of_a_change_that_is_over_were_left_behind() -> None:
    (left,) = judge(pinned(), extra=(migration(finished=True),))
    assert left.code == "MTU116"


def test_pins_of_a_change_under_way_are_its_work() -> None:
    assert judge(pinned(), extra=(migration(finished=False),)) == ()


def test_a_pin_of_the_node_towards_its_pods() -> None:
    routes = (
        net.Route(family=4, destination="10.42.2.0/24", device="flannel.1", mtu=1450, locked=True),
        net.Route(family=4, destination="10.8.0.0/24", device="wg0", mtu=1300, locked=True),  # an admin's own
    )
    (left,) = judge(example.node("n1", routes=routes))
    assert left.place == "node n1, 1 route: 10.42.2.0/24"


def test_an_ipv6_pin_is_a_sysctl() -> None:
    port = example.port("a", "10.42.1.10", addresses=("10.42.1.10", "fd00::10"), ipv6_mtu=1400)
    (left,) = judge(example.node("n1", ports=(port,)))
    assert "(net.ipv6.conf.eth0.mtu)" in left.message
    assert left.remedy == "In the pod's network namespace: sysctl -w net.ipv6.conf.eth0.mtu=1450"


def test_pins_of_the_nodes_own_traffic_stay_as_long_as_there_is_a_record_to_take_them_back_by() -> None:
    seen = msgspec.structs.replace(example.node("n1"), host_pins=("10.43.0.1/32", "192.168.77.2/32"))
    assert judge(seen, extra=(migration(finished=True),)) == ()
    (left,) = judge(seen)
    assert (left.code, left.place) == ("MTU116", "node n1, 2 routes: 10.43.0.1/32 and 192.168.77.2/32")
    assert left.remedy == "On this node: ip route flush proto 109; ip -6 route flush proto 109"

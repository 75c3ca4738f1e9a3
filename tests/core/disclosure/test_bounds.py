"""One node within one object of the API."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kubemtu.core import net
from kubemtu.core.disclosure import bounds


def port(number: int, routes: int = 2) -> net.PodPort:
    return net.PodPort(
        netns=f"cni-{number:08}",
        inode=number,
        host_link=f"cali{number:011}",
        host_index=number,
        host_mtu=1500,
        pod_link="eth0",
        pod_index=3,
        pod_mtu=1500,
        routes=tuple(
            net.Route(family=4, destination=f"10.0.{each}.0/24", device="eth0", mtu=1450 if each == 0 else None)
            for each in range(routes)
        ),
    )


def node(ports: int, *, routes: int = 2, files: int = 0, troubles: int = 0) -> net.NodeObservation:
    return net.NodeObservation(
        node="n",
        ports=tuple(port(number, routes) for number in range(ports)),
        routes=tuple(net.Route(family=4, destination=f"10.1.{each}.1/32", device="cali") for each in range(ports)),
        files=tuple(net.NodeFile(path=f"/etc/cni/net.d/{each}.conf", text="x" * 60_000) for each in range(files)),
        errors=tuple(f"trouble {each}" for each in range(troubles)),
    )


def size(seen: net.NodeObservation) -> int:
    return len(msgspec.json.encode(seen))


def test_a_usual_node_is_told_whole() -> None:
    seen = node(250, files=2)
    assert bounds.bounded(seen) == seen


def test_routes_without_an_mtu_go_first_and_pins_stay() -> None:
    found = bounds.bounded(node(250, routes=60))
    assert size(found) <= 900_000
    assert len(found.ports) == 250
    assert all([route.mtu for route in each.routes] == [1450] for each in found.ports)
    assert len(found.errors) == 1
    assert found.errors[0].startswith("routes of pods that limit no MTU are left out: this node has more than ")


def test_what_is_left_out_is_said() -> None:
    found = bounds.bounded(node(5000, files=20, troubles=100))
    assert size(found) <= 900_000
    assert 0 < len(found.ports) < 5000
    assert any(each.startswith("some pods are left out") for each in found.errors)
    assert "36 more troubles of this node are not told one by one" in found.errors


@given(st.integers(0, 300), st.integers(0, 20), st.integers(0, 10), st.integers(6000, 200_000))
def test_it_always_fits(ports: int, routes: int, files: int, most: int) -> None:
    seen = node(ports, routes=routes, files=files)
    found = bounds.bounded(seen, most)
    assert size(found) <= most
    assert (found == seen) == (size(seen) <= most)

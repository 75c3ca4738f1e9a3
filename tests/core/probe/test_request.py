"""Whom an order concerns, and how it looks as the `spec` of an MTUProbe."""

import msgspec
import pytest

from kubemtu.core.probe import request

A, B = request.Namespace(node="a"), request.Namespace(node="b", link="cali1")
WAY = request.PathRequest(name="b > a", source=B, address="192.0.2.1")
ROUND = request.MeshRequest(
    members=(request.MeshMember(node="a", address="192.0.2.1"), request.MeshMember(node="b", address="192.0.2.2")),
    expected=1500,
)


@pytest.mark.parametrize(
    ("asked", "nodes"),
    [
        (request.ProbeRequest(), ()),
        (request.ProbeRequest(responders=(B,)), ("b",)),
        (request.ProbeRequest(inspect=(A,), flush=(B,)), ("a", "b")),
        (request.ProbeRequest(paths=(WAY, WAY)), ("b",)),  # whoever is measured to has nothing to tell
        (request.ProbeRequest(mesh=ROUND), ("a", "b")),
        (request.ProbeRequest(paths=(WAY,), mesh=ROUND), ("b", "a")),
    ],
)
def test_who_has_something_to_tell(asked: request.ProbeRequest, nodes: tuple[str, ...]) -> None:
    assert request.nodes(asked) == nodes
    assert {name for name in "abc" if request.concerns(asked, name)} == set(nodes)


def test_an_order_is_short_and_comes_back_as_it_went() -> None:
    asked = request.ProbeRequest(responders=(B,), paths=(WAY,), mesh=ROUND)
    body = msgspec.json.decode(msgspec.json.encode(asked))
    assert body["paths"] == [{"name": "b > a", "from": {"node": "b", "link": "cali1"}, "address": "192.0.2.1"}]
    assert msgspec.convert(body, request.ProbeRequest) == asked


def test_the_port_is_the_one_that_the_probe_pods_have() -> None:
    assert WAY.port == ROUND.port == 7843

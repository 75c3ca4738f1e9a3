"""Whom an order concerns, and how it looks as the `spec` of an MTUProbe."""

import msgspec
import pytest

from kubemtu.core.probe import request

A, B = request.Spot(node="a"), request.Spot(node="b", port="cali1")
WAY = request.Way(name="b > a", here=B, to="192.0.2.1")
ROUND = request.Round(
    members=(request.Place(node="a", address="192.0.2.1"), request.Place(node="b", address="192.0.2.2")), expected=1500
)


@pytest.mark.parametrize(
    ("asked", "nodes"),
    [
        (request.Order(), ()),
        (request.Order(answering=(B,)), ("b",)),
        (request.Order(look=(A,), forget=(B,)), ("a", "b")),
        (request.Order(ways=(WAY, WAY)), ("b",)),  # whoever is measured to has nothing to tell
        (request.Order(round=ROUND), ("a", "b")),
        (request.Order(ways=(WAY,), round=ROUND), ("b", "a")),
    ],
)
def test_who_has_something_to_tell(asked: request.Order, nodes: tuple[str, ...]) -> None:
    assert request.nodes(asked) == nodes
    assert {name for name in "abc" if request.concerns(asked, name)} == set(nodes)


def test_an_order_is_short_and_comes_back_as_it_went() -> None:
    asked = request.Order(answering=(B,), ways=(WAY,), round=ROUND)
    body = msgspec.json.decode(msgspec.json.encode(asked))
    assert body["ways"] == [{"name": "b > a", "here": {"node": "b", "port": "cali1"}, "to": "192.0.2.1"}]
    assert msgspec.convert(body, request.Order) == asked


def test_the_port_is_the_one_that_the_probe_pods_have() -> None:
    assert WAY.at == ROUND.at == 7843

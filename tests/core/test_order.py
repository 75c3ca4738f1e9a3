"""Whom an order concerns, and how it looks as the `spec` of an MTUProbe."""

import msgspec
import pytest

from kubemtu.core import order

A, B = order.Spot(node="a"), order.Spot(node="b", port="cali1")
WAY = order.Way(name="b > a", here=B, to="192.0.2.1")
ROUND = order.Round(
    members=(order.Place(node="a", address="192.0.2.1"), order.Place(node="b", address="192.0.2.2")), expected=1500
)


@pytest.mark.parametrize(
    ("asked", "nodes"),
    [
        (order.Order(), ()),
        (order.Order(answering=(B,)), ("b",)),
        (order.Order(look=(A,), forget=(B,)), ("a", "b")),
        (order.Order(ways=(WAY, WAY)), ("b",)),  # whoever is measured to has nothing to tell
        (order.Order(round=ROUND), ("a", "b")),
        (order.Order(ways=(WAY,), round=ROUND), ("b", "a")),
    ],
)
def test_who_has_something_to_tell(asked: order.Order, nodes: tuple[str, ...]) -> None:
    assert order.nodes(asked) == nodes
    assert {name for name in "abc" if order.concerns(asked, name)} == set(nodes)


def test_an_order_is_short_and_comes_back_as_it_went() -> None:
    asked = order.Order(answering=(B,), ways=(WAY,), round=ROUND)
    body = msgspec.json.decode(msgspec.json.encode(asked))
    assert body["ways"] == [{"name": "b > a", "here": {"node": "b", "port": "cali1"}, "to": "192.0.2.1"}]
    assert msgspec.convert(body, order.Order) == asked


def test_the_port_is_the_one_that_the_probe_pods_have() -> None:
    assert WAY.at == ROUND.at == 7843

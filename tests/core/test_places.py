"""Where findings are: one node or several, in one grammar over all codes, and all of them by name in JSON."""

import ast
import json
from pathlib import Path

import msgspec
import pytest
from tests.support import example

import kubemtu
from kubemtu.core import codes, places
from kubemtu.core.cluster import layout
from kubemtu.core.mesh.faults import Fault
from kubemtu.core.rules import measured, report

ROOT = Path(kubemtu.__file__).parent


@pytest.mark.parametrize(
    ("nodes", "what", "said"),
    [
        ("n1", "", "node n1"),
        ("n1", "eth0", "node n1, eth0"),
        (("n1",), "eth0", "node n1, eth0"),
        (("n1", "n2"), "flannel.1", "nodes n1 and n2, flannel.1"),
        (("n2", "n1", "n2"), "", "nodes n2 and n1"),
        (("n1", "n2", "n3", "n4"), "", "nodes n1, n2, n3 and n4"),
        (tuple(f"n{number}" for number in range(9)), "cni0", "nodes n0, n1, n2 and 6 more, cni0"),
    ],
)
def test_one_node_and_several(nodes: str | tuple[str, ...], what: str, said: str) -> None:
    assert str(places.on(nodes, what)) == said


def test_what_of_the_cluster_they_are_comes_first() -> None:
    assert str(places.on(("n1", "n2"), inside="pool db")) == "pool db, nodes n1 and n2"


def test_a_finding_names_all_its_nodes_however_many_its_place_does() -> None:
    many = tuple(f"n{number}" for number in range(9))
    one = codes.finding(codes.MTU145, places.on(many, "flannel.1"), "It is so.", "Do that.")
    assert one.place == "nodes n0, n1, n2 and 6 more, flannel.1"
    assert json.loads(msgspec.json.encode(one))["nodes"] == list(many)
    assert codes.finding(codes.MTU117, "ConfigMap a/b", "It is so.", "Do that.").nodes == ()


def test_nodes_of_a_cluster_are_named_in_json_with_each_finding() -> None:
    """A pod of 1500 on each node, and n2's tunnel as large: one finding about all, and one about one node."""
    seen = (example.node("n1", pod=1500), example.node("n2", pod=1500, tunnel=1500), example.node("n3", pod=1500))
    found = report.report(layout.model(example.cluster(seen), example.state()))
    nodes = {(one["code"], tuple(one["nodes"])) for one in json.loads(msgspec.json.encode(found))["findings"]}
    assert {("MTU107", ("n2",)), ("MTU101", ("n1", "n3"))} <= nodes


def _fault(scope: str, *members: str, others: tuple[str, ...] = ()) -> Fault:
    return Fault(
        where="pair",
        scope=scope,  # type: ignore[arg-type]  # one of the three
        members=members,
        others=others,
        kind="black hole",
        mtu=1400,
        pairs=2,
        sentence="packets above 1400 vanish",
        advice="look there",
        confidence="certain",
        both_directions=True,
    )


@pytest.mark.parametrize(
    ("fault", "place", "nodes"),
    [
        (_fault("node", "n1"), "node n1, measured between pods", ("n1",)),
        (_fault("node", "n1", others=("n2",)), "nodes n1 and n2, measured between pods", ("n1", "n2")),
        (_fault("zone", "a", others=("b",)), "zones a and b, measured between pods", ()),
        (_fault("zone", "a", others=("a",)), "zone a, measured between pods", ()),
        (_fault("all"), "all nodes, measured between pods", ()),
    ],
)
def test_what_was_measured_between_several(fault: Fault, place: str, nodes: tuple[str, ...]) -> None:
    (one,) = measured.find("pods", (fault,), ())
    assert (one.code, one.place, one.nodes) == ("MTU123", place, nodes)


def test_what_was_cut_and_what_was_not_measured() -> None:
    (cut,) = measured.find("pods", (), ("n1", "n2"))
    assert (cut.code, cut.place, cut.nodes) == ("MTU124", "nodes n1 and n2, measured between pods", ("n1", "n2"))
    (left,) = measured.missing(("n1", "n2"), ())
    assert (left.code, left.place, left.nodes) == ("MTU125", "nodes n1 and n2", ("n1", "n2"))


def test_no_rule_writes_nodes_into_a_place_by_itself() -> None:
    """Whoever does gives JSON no names, and has to think of the plural: `places.on` does both."""
    by_hand = []
    for file in (*ROOT.glob("core/rules/*.py"), *ROOT.glob("cni/**/*.py")):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "codes.finding":
                place = ast.unparse(call.args[1]).lstrip("f")[1:]
                if place.startswith(("node ", "nodes ", "{'node'", "{these(")):
                    by_hand.append(f"{file.name}:{call.lineno}")
    assert by_hand == []

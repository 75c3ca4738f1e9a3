"""Objects that are kept as text come back as they went in, one by one, by number, and sorted by kind."""

from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubemtu.core.objects import Object
from kubemtu.core.packed import Objects, Packed, by_kind
from kubemtu.core.snapshot import Snapshot

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
BODIES = st.dictionaries(TEXT, VALUES, max_size=4)


def pod(name: str, **more: object) -> Object:
    return Object(body={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, **more})


def packed(*objects: Object) -> Packed:
    out = Packed("v1", "Pod")
    for each in objects:
        out.append(each)
    return out


@given(st.lists(BODIES, max_size=5))
def test_whatever_json_holds_comes_back(bodies: list[dict[str, object]]) -> None:
    objects = [pod(str(number), spec=body) for number, body in enumerate(bodies)]
    assert [*packed(*objects)] == objects


@pytest.mark.parametrize("body", [{"n": 2**64}, {"t": "\ud800"}, {"kind": "Other"}, {"apiVersion": "v2", "kind": None}])
def test_what_is_odd_comes_back(body: Mapping[str, object]) -> None:
    odd = Object(body={"apiVersion": "v1", "kind": "Pod", **body})
    assert [*packed(pod("a"), odd, pod("b"))] == [pod("a"), odd, pod("b")]


def test_each_has_its_number() -> None:
    three = packed(pod("a"), pod("b"), pod("c"))
    assert (three[0].name, three[-1].name, len(three)) == ("a", "c", 3)
    assert [each.name for each in three[1:]] == ["b", "c"]
    for beyond in (3, -4):
        with pytest.raises(IndexError):
            three[beyond]


def test_what_is_changed_outside_stays_as_it_was_inside() -> None:
    three = packed(pod("a"))
    three[0].body["metadata"] = "changed"
    assert three[0].name == "a"


def test_several_sequences_are_one() -> None:
    node = Object(body={"kind": "Node", "metadata": {"name": "n"}})
    whole = Objects([(node,), packed(pod("a"), pod("b")), ()])
    assert [each.name for each in whole] == ["n", "a", "b"]
    assert [whole[number].name for number in (0, 1, 2, -1)] == ["n", "a", "b", "b"]
    assert whole == (node, pod("a"), pod("b"))
    assert whole != (node, pod("a"))
    with pytest.raises(IndexError):
        whole[3]


def test_a_kind_is_found_however_it_is_kept() -> None:
    node, later = Object(body={"kind": "Node", "metadata": {"name": "n"}}), pod("z")
    kinds = by_kind(
        Objects(
            [(node, later, Object(body={"kind": 7}))],
        )
    )
    assert {kind: [each.name for each in found] for kind, found in kinds.items()} == {"Node": ["n"], "Pod": ["z"]}
    mixed = by_kind(Objects([(node, later), packed(pod("a"))]))
    assert [each.name for each in mixed["Pod"]] == ["a", "z"]


def test_a_snapshot_says_in_a_line_what_it_is() -> None:
    snapshot = Snapshot(source="a cluster", objects=Objects([packed(pod("a"), pod("b"))]))
    assert repr(snapshot) == "<Snapshot of 'a cluster': 2 objects, 0 nodes, 0 unread>"
    assert snapshot.find("Pod", "b") == pod("b")


def test_a_saved_snapshot_is_the_same_again() -> None:
    snapshot = Snapshot(source="a cluster", objects=(pod("a"),))
    assert msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot) == snapshot

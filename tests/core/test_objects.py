"""What is read of an object, whatever else stands in its place."""

import pytest

from kubemtu.core.objects import Object


@pytest.mark.parametrize("field", ["labels", "annotations"])
@pytest.mark.parametrize(
    ("held", "read"),
    [
        ({"a": "1", "b": "", "c": 2, "d": None, "e": {"f": "g"}}, {"a": "1", "b": ""}),
        ({}, {}),
        (None, {}),
        (["a"], {}),
        ("a", {}),
    ],
)
def test_labels_and_annotations_as_far_as_they_are_text(field: str, held: object, read: dict[str, str]) -> None:
    assert getattr(Object.of({"metadata": {field: held}}), field) == read
    assert getattr(Object.of({"metadata": held}), field) == {}
    assert getattr(Object.of({}), field) == {}

"""The published schemas of what programs read: every field says what it is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCHEMAS = Path(__file__).resolve().parents[1] / "docs/schemas"


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, definition in schema["$defs"].items():
        for field, described in definition.get("properties", {}).items():
            yield name, field, described


@pytest.mark.parametrize("name", sorted(path.stem for path in SCHEMAS.glob("*.json")))
def test_every_field_is_described_in_camel_case(name: str) -> None:
    found = list(fields(json.loads((SCHEMAS / f"{name}.json").read_text("utf-8"))))
    assert len(found) >= 12
    assert [(of, field) for of, field, described in found if not described.get("description", "").endswith(".")] == []
    assert [(of, field) for of, field, _ in found if "_" in field] == []


def test_a_direction_has_one_name() -> None:
    schema = json.loads((SCHEMAS / "why.json").read_text("utf-8"))
    names = {field for _, field, _ in fields(schema)}
    assert {"forward", "backward", "confidence", "location"} <= names
    assert not names & {"forth", "back", "there", "home", "here", "sure", "place"}

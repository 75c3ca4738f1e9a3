"""What `kubemtu check --save` wrote, alone or beside other files."""

import re

import msgspec

from kubemtu.core.errors import Malformed
from kubemtu.core.snapshot import SCHEMA, Snapshot
from kubemtu.flows.saved.facts import Document, Facts

_SNAKE = re.compile(r"(?<=[a-z0-9])_([a-z])")


def take(document: Document, facts: Facts) -> bool:
    """Take a saved snapshot. Raises Malformed for one that cannot be read and is all that was given."""
    value = document.value
    schema = str(value.get("schema")) if isinstance(value, dict) else ""
    if not isinstance(value, dict) or not schema.startswith(f"{SCHEMA.partition('/')[0]}/"):
        return False
    if not schema.startswith(SCHEMA.rpartition("/")[0]):
        facts.skip(document.place, f"is what kubemtu said ({schema:.60}), not what that rests on: --save writes this")
        return True
    try:
        facts.snapshots.append((document.of.name, _read(value)))
    except ValueError as why:
        if document.of.alone:
            raise Malformed(f"{document.of.name} {why}.") from why
        facts.skip(document.place, str(why))
    return True


def _read(value: dict[str, object]) -> Snapshot:
    if value["schema"] != SCHEMA:
        raise ValueError(f"is a snapshot of another version ({value['schema']}); this kubemtu reads {SCHEMA}")
    try:
        return msgspec.convert(value, Snapshot)
    except msgspec.ValidationError as why:
        try:
            return msgspec.convert(_camel(value), Snapshot)
        except msgspec.ValidationError:
            raise ValueError(f"is no snapshot that can be read: {why}") from why


def _camel(value: dict[str, object]) -> dict[str, object]:
    """Name members as they are named today; the first snapshots had _ between words, but not in the API's objects."""
    return {_SNAKE.sub(_capital, key): held if key == "objects" else _renamed(held) for key, held in value.items()}


def _renamed(value: object) -> object:
    if isinstance(value, dict):
        return {_SNAKE.sub(_capital, key): _renamed(held) for key, held in value.items()}
    return [_renamed(each) for each in value] if isinstance(value, list) else value


def _capital(found: re.Match[str]) -> str:
    return found[1].upper()

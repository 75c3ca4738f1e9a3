"""What `kubemtu check --save` wrote, alone or beside other files."""

import msgspec

from kubemtu.core.errors import Malformed
from kubemtu.core.snapshot import SCHEMA, Snapshot
from kubemtu.flows.saved.facts import Document, Facts


def take(document: Document, facts: Facts) -> bool:
    """Take a saved snapshot. Raises Malformed for one that cannot be read and is all that was given."""
    value = document.value
    if not isinstance(value, dict) or not str(value.get("schema")).startswith(SCHEMA.rpartition("/")[0]):
        return False
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
        raise ValueError(f"is no snapshot that can be read: {why}") from why

"""Who wrote one value of an object last: what the API server notes of each manager and field.

Source: structured-merge-diff/v6/value and fieldpath (the keys of fieldsV1: `f:NAME` a member, `k:{...}` and `i:N` an
item, `.` the thing itself), and apimachinery's ManagedFieldsEntry. The time is that of the manager's last write of any
of its fields, so it is "not later than" for one of them.
"""

from collections.abc import Mapping, Sequence

import msgspec

from kubemtu.core import errors
from kubemtu.core.objects import Object


class Writer(msgspec.Struct, frozen=True, kw_only=True):
    """A manager, as the server knows it (`kubectl-edit`, `argocd-controller`), and its last write (RFC 3339)."""

    manager: str
    time: str = ""

    def __str__(self) -> str:
        return f"{self.manager}, {self.time}" if self.time else self.manager


def last(resource: Object, path: Sequence[str | int]) -> Writer | None:
    """Return who wrote the value at a path last; None where the server notes nobody, or nothing that can be read."""
    found: list[Writer] = []
    try:
        for entry in resource.each("metadata", "managedFields"):
            manager = entry.text("manager") or ""
            if manager and entry.text("subresource") is None and _owns(entry.get("fieldsV1"), path):
                found.append(Writer(manager=manager, time=entry.text("time") or ""))
    except errors.Malformed:
        return None
    return max(found, key=lambda writer: writer.time, default=None)


def _owns(fields: object, path: Sequence[str | int]) -> bool:
    """Say whether fields hold that path, or end on the way to it at a value that is owned whole."""
    here = fields
    if not isinstance(here, Mapping):
        return False
    for place, key in enumerate(path):
        inner = here.get(f"f:{key}" if isinstance(key, str) else f"i:{key}")
        if not isinstance(inner, Mapping):
            return False
        if not inner:  # a leaf: the value, or a list or map that is one value to the server
            return True
        here = inner
        if isinstance(path[min(place + 1, len(path) - 1)], int):
            return True  # items are noted by their keys, which a path does not have
    return True

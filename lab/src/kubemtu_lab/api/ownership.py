"""Who wrote which field: `metadata.managedFields`, and what an applied configuration may change by it.

A set of fields is a set of paths. Objects have paths to every leaf; a list is one leaf, but where its elements have
keys (built-in kinds only) each element is a path of its own. Source: Kubernetes "Server-Side Apply";
kubernetes-sigs/structured-merge-diff `fieldpath/`, `merge/update.go`.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from kubemtu_lab.api import strategic
from kubemtu_lab.api.admission import timestamp
from kubemtu_lab.api.errors import apply_conflict
from kubemtu_lab.api.resources import Object, Resource, copied

Path = tuple[str, ...]
"""Steps as managedFields writes them: `f:<field>`, and `k:{"name":"node"}` for an element."""
Json = Any
_OWN_METADATA = frozenset({"f:labels", "f:annotations", "f:finalizers", "f:ownerReferences"})
_MAPS = frozenset({"annotations", "binaryData", "data", "labels", "matchLabels", "nodeSelector"})
"""The fields of built-in kinds that hold words by words; all other objects in these have fields of their own."""
_DROPPED_EMPTY = frozenset({"finalizers", "ownerReferences"})
_ABSENT = object()


class Writer(msgspec.Struct, frozen=True, kw_only=True):
    """Who writes, and through what: an entry of managedFields without its fields."""

    manager: str
    operation: str = "Update"
    subresource: str = ""


def write(resource: Resource, before: Object | None, after: Object, writer: Writer, now: datetime) -> None:
    """Note in an object, in place, that a writer made it of `before`: it owns what it changed, and nobody what is gone.

    Entries that the object brings along count instead of those of `before`, as clients may move fields from one
    manager to another. Where all of them are taken away nothing is noted any more until something is applied.
    """
    metadata = after["metadata"]
    given = metadata.get("managedFields")
    if given is not None and not [entry for entry in given if entry]:
        metadata.pop("managedFields")
        return
    entries = _entries({"metadata": metadata} if given and all(map(_is_entry, given)) else before)
    if before is not None and not entries:
        metadata.pop("managedFields", None)
        return
    old, new = leaves(resource, before or {}, maps=True), leaves(resource, after, maps=True)
    changed = {path for path, value in new.items() if old.get(path, _ABSENT) != value}
    mine = next((fields for entry, fields in entries if _writer_of(entry) == writer), set())
    left = [
        (entry, fields & new.keys() - (set() if _writer_of(entry) == writer else changed)) for entry, fields in entries
    ]
    own = _entry(resource, writer, mine & new.keys() | changed, now) if changed else None
    metadata["managedFields"] = _replaced(left, writer, own)
    if not metadata["managedFields"]:
        del metadata["managedFields"]


def applied(
    resource: Resource, live: Object | None, configuration: Object, writer: Writer, *, force: bool, now: datetime
) -> Object:
    """Return what an object becomes when a manager applies its configuration.

    What the manager applied before and does not any more goes away, unless somebody else owns it too.

    Raises:
        Refusal: 409, when others own fields that would change, and `force` is not set.
    """
    wanted, held = leaves(resource, configuration), leaves(resource, live or {})
    contested = {path for path, value in wanted.items() if path in held and held[path] != value}
    entries = _entries(live) or _nobodys(resource, live, now)
    others = [(entry, fields) for entry, fields in entries if _writer_of(entry) != writer]
    mine = next((fields for entry, fields in entries if _writer_of(entry) == writer), set())
    clashes = [(_shown_writer(each), _shown(path)) for each, held in others for path in sorted(held & contested)]
    if clashes and not force:
        raise apply_conflict(clashes)
    fresh = copied(live or {})
    theirs = {path[:length] for _, fields in others for path in fields for length in range(1, len(path) + 1)}
    for path in sorted(mine - wanted.keys() - theirs, key=len):
        _remove(fresh, path)
    metadata = {key: value for key, value in (configuration.get("metadata") or {}).items() if key != "managedFields"}
    fresh = strategic.apply(fresh, configuration | {"metadata": metadata}, keyed=not resource.custom)
    unchanged = mine == wanted.keys() and not contested
    own = None if unchanged or not wanted else _entry(resource, writer, set(wanted), now)
    left = [
        (entry, fields & wanted.keys() if _writer_of(entry) == writer else fields - contested)
        for entry, fields in entries
    ]
    fresh["metadata"]["managedFields"] = _replaced(left, writer, own)
    return fresh


def _nobodys(resource: Resource, live: Object | None, now: datetime) -> list[tuple[Object, set[Path]]]:
    """Return who owns the fields of an object of which nothing is noted, when something is applied to it."""
    fields = set(leaves(resource, live or {}, maps=True))
    return [(_entry(resource, Writer(manager="before-first-apply"), fields, now), fields)] if fields else []


def _replaced(left: list[tuple[Object, set[Path]]], writer: Writer, own: Object | None) -> list[Object]:
    """Return entries with what is left to each, in their places; a new one of the writer replaces its old one."""
    entries: list[Object] = []
    for entry, fields in left:
        if own is not None and _writer_of(entry) == writer:
            entries.append(own)
            own = None
        elif fields:
            packed = _packed(fields)
            entries.append(entry if packed == entry["fieldsV1"] else entry | {"fieldsV1": packed})
    return entries if own is None else [*entries, own]


def leaves(resource: Resource, item: Object, *, maps: bool = False) -> dict[Path, Json]:
    """Return every field of an object that somebody can own, with its value; elements have the value of their key.

    With `maps`, maps that hold something are fields too: an update owns those that it made, an applied configuration
    does not.
    """
    found: dict[Path, Json] = {}
    for field, value in item.items():
        if field == "metadata":
            inner = dict(_walk({"metadata": value}, (), keyed=not resource.custom, maps=maps, is_map=False))
            found |= {path: each for path, each in inner.items() if path[1:2] and path[1] in _OWN_METADATA}
        elif field not in ("apiVersion", "kind"):
            is_map = resource.custom and resource.schema is not None
            found |= dict(_walk({field: value}, (), keyed=not resource.custom, maps=maps, is_map=is_map))
    return found


def _walk(
    item: Mapping[str, Json], path: Path, *, keyed: bool, maps: bool, is_map: bool
) -> Iterator[tuple[Path, Json]]:
    """Walk the fields of an object; `is_map` says that all objects in it are maps, as in custom resources."""
    for field, value in item.items():
        here = (*path, f"f:{field}")
        if isinstance(value, dict) and value:
            if maps and (is_map or field in _MAPS):
                yield here, True
            yield from _walk(value, here, keyed=keyed, maps=maps, is_map=is_map)
        elif keyed and isinstance(value, list) and (keys := strategic.set_keys(field, value)):
            for element in value:
                name = f"k:{msgspec.json.encode({key: element[key] for key in keys}).decode()}"
                yield (*here, name), element[keys[0]]
                yield from _walk(element, (*here, name), keyed=keyed, maps=maps, is_map=is_map)
        elif value != [] or field not in _DROPPED_EMPTY:
            yield here, value


def _is_entry(given: object) -> bool:
    return (
        isinstance(given, dict)
        and isinstance(given.get("fieldsV1"), dict)
        and all(isinstance(given.get(field), str) for field in ("manager", "operation", "apiVersion"))
    )


def _entries(item: Object | None) -> list[tuple[Object, set[Path]]]:
    entries = (item or {}).get("metadata", {}).get("managedFields") or ()
    return [(entry, set(_unpacked(entry["fieldsV1"], ()))) for entry in entries]


def _entry(resource: Resource, writer: Writer, fields: set[Path], now: datetime) -> Object:
    entry: Object = {"manager": writer.manager, "operation": writer.operation, "apiVersion": resource.api_version}
    entry |= {"time": timestamp(now), "fieldsType": "FieldsV1", "fieldsV1": _packed(fields)}
    return entry | {"subresource": writer.subresource} if writer.subresource else entry


def _writer_of(entry: Object) -> Writer:
    return Writer(manager=entry["manager"], operation=entry["operation"], subresource=entry.get("subresource", ""))


def _packed(fields: set[Path]) -> Object:
    """Write a set of paths as FieldsV1: nested objects, where `.` marks an element that is a member itself."""
    packed: Object = {}
    for path in sorted(fields):
        inner = packed
        for step in path:
            inner = inner.setdefault(step, {})
        if path[-1].startswith("k:"):
            inner["."] = {}
    for path in fields:
        inner = packed
        for step in path:
            inner = inner[step]
        if inner:
            inner["."] = {}
    return packed


def _unpacked(packed: Object, path: Path) -> Iterator[Path]:
    for step, inner in packed.items():
        if step == ".":
            yield path
        elif inner:
            yield from _unpacked(inner, (*path, step))
        else:
            yield (*path, step)


def _remove(item: Object, path: Path) -> None:
    """Take a field, or a whole element, out of an object in place, and what held it if that is empty then.

    The field that an element is known by goes only with the element.
    """
    last = path[-1]
    if len(path) > 1 and path[-2].startswith("k:") and last.removeprefix("f:") in msgspec.json.decode(path[-2][2:]):
        return
    inner: Json = item
    for step in path[:-1]:
        inner = _inner(inner, step)
    if last.startswith("f:") and isinstance(inner, dict):
        inner.pop(last[2:], None)
    elif isinstance(inner, list) and (element := _inner(inner, last)) is not None:
        inner.remove(element)
    if inner in ({}, []) and len(path) > 1:
        _remove(item, path[:-1])


def _inner(value: Json, step: str) -> Json:
    if step.startswith("f:"):
        return value.get(step[2:]) if isinstance(value, dict) else None
    wanted = msgspec.json.decode(step[2:])
    elements = value if isinstance(value, list) else []
    return next((each for each in elements if isinstance(each, dict) and wanted.items() <= each.items()), None)


def _shown_writer(entry: Object) -> str:
    shown = f'"{entry["manager"]}"'
    if entry.get("subresource"):
        shown += f' with subresource "{entry["subresource"]}"'
    return f"{shown} using {entry['apiVersion']}" if entry["operation"] == "Update" else shown


def _shown(path: Path) -> str:
    steps = []
    for step in path:
        if step.startswith("f:"):
            steps.append(f".{step[2:]}")
        else:
            key = msgspec.json.decode(step[2:])
            steps.append("[" + ",".join(f'{field}="{value}"' for field, value in key.items()) + "]")
    return "".join(steps)

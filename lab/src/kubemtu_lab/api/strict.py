"""Fields that nobody declared, and fields that are given twice: dropped, warned of, or refused (`fieldValidation`).

Of built-in kinds the fields of the object itself and of its metadata are known here, of custom ones all.
Source: Kubernetes API concepts, "Validation for unrecognized or duplicate fields"; kubernetes-sigs/json.
"""

import json
from collections.abc import Iterator

from kubemtu_lab.api.resources import Object, Resource

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_TYPE = frozenset({"apiVersion", "kind", "metadata"})
_METADATA = frozenset(
    {"name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp"}
    | {"deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers"}
    | {"managedFields"}
)
_USUAL = frozenset({"spec", "status"})
_FIELDS: dict[str, frozenset[str]] = {
    "ClusterRole": frozenset({"rules", "aggregationRule"}),
    "ClusterRoleBinding": frozenset({"subjects", "roleRef"}),
    "ConfigMap": frozenset({"data", "binaryData", "immutable"}),
    "ControllerRevision": frozenset({"data", "revision"}),
    "Endpoints": frozenset({"subsets"}),
    "EndpointSlice": frozenset({"addressType", "endpoints", "ports"}),
    "Event": frozenset(
        {"involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "type"}
        | {"eventTime", "series", "action", "related", "reportingComponent", "reportingInstance"}
    ),
    "Role": frozenset({"rules"}),
    "RoleBinding": frozenset({"subjects", "roleRef"}),
    "Secret": frozenset({"data", "stringData", "type", "immutable"}),
    "ServiceAccount": frozenset({"secrets", "imagePullSecrets", "automountServiceAccountToken"}),
}


def unknown(resource: Resource, body: Object) -> list[str]:
    """Return the paths of the fields that the kind does not have."""
    metadata = body.get("metadata")
    found = [f"metadata.{each}" for each in metadata if each not in _METADATA] if isinstance(metadata, dict) else []
    if not resource.custom:
        known = _TYPE | _FIELDS.get(resource.kind, _USUAL)
        return [*(each for each in body if each not in known), *found]
    if resource.schema is None or resource.schema.get(_PRESERVE):
        return found
    rest = {field: value for field, value in body.items() if field not in _TYPE}
    return sorted([*_undeclared(resource.schema, rest, ""), *found])


def without(resource: Resource, body: Object) -> Object:
    """Return the body without the fields of itself and its metadata that a built-in kind does not have."""
    known = set(body) - set(unknown(resource, body)) if not resource.custom else set(body)
    kept = {field: value for field, value in body.items() if field in known}
    if isinstance(metadata := kept.get("metadata"), dict):
        kept["metadata"] = {field: value for field, value in metadata.items() if field in _METADATA}
    return kept


def duplicates(body: bytes) -> list[str]:
    """Return the paths of the members that a JSON text has twice; none where it is no JSON."""
    try:
        decoded = json.loads(body, object_pairs_hook=_Members)
    except (ValueError, RecursionError):
        return []
    return list(_twice(decoded, ""))


class _Members:
    """An object of JSON with all of its members, those of one name too."""

    def __init__(self, members: list[tuple[str, object]]) -> None:
        self.members = members


def _twice(value: object, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for place, each in enumerate(value):
            yield from _twice(each, f"{path}[{place}]")
    if not isinstance(value, _Members):
        return
    seen = set()
    for name, each in value.members:
        here = f"{path}.{name}" if path else name
        if name in seen:
            yield here
        seen.add(name)
        yield from _twice(each, here)


def _undeclared(schema: Object, value: object, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for place, each in enumerate(value):
            yield from _undeclared(schema.get("items") or {}, each, f"{path}[{place}]")
    if not isinstance(value, dict):
        return
    properties, rest = schema.get("properties") or {}, schema.get("additionalProperties")
    for field, each in value.items():
        here = f"{path}.{field}" if path else field
        if field in properties:
            yield from _undeclared(properties[field], each, here)
        elif isinstance(rest, dict):
            yield from _undeclared(rest, each, here)
        elif not (rest or schema.get(_PRESERVE) or schema.get("x-kubernetes-embedded-resource")):
            yield here

"""Structural schemas of custom resources: unknown fields are pruned, defaults filled in, and the rest is checked.

The part of OpenAPI v3 that Kubernetes calls structural, without CEL rules.
Source: kubernetes/apiextensions-apiserver `pkg/apiserver/schema/{pruning,defaulting}`, kube-openapi `pkg/validation`.
"""

import re
from collections.abc import Callable, Iterator
from datetime import datetime

import msgspec

from kubemtu_lab.api.errors import Cause, invalid
from kubemtu_lab.api.resources import Object, Resource, copied

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_EMBEDDED = "x-kubernetes-embedded-resource"
_IDENTITY = ("apiVersion", "kind", "metadata")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)")  # RFC 3339 5.6


def _is_integer(value: object) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())


_TYPES: dict[str, Callable[[object], bool]] = {
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
}


def admit(resource: Resource, name: str, candidate: Object) -> None:
    """Prune and default an object in place, then refuse it if it breaks its schema.

    Raises:
        Refusal: 422, with every cause.
    """
    if resource.schema is None:
        return
    properties = resource.schema.get("properties") or {}
    if not resource.schema.get(_PRESERVE):
        for field in [field for field in candidate if field not in properties and field not in _IDENTITY]:
            del candidate[field]
    for field, schema in properties.items():
        if field in _IDENTITY:
            continue
        if field not in candidate and "default" in schema:
            candidate[field] = copied(schema["default"])
        if field in candidate:
            _prune(schema, candidate[field])
            _default(schema, candidate[field])
    causes = list(_causes(resource.schema, candidate, ""))
    if causes:
        raise invalid(resource, name, causes)


def causes(schema: Object, value: object) -> Iterator[Cause]:
    """Tell what is wrong with a value by its schema, each place from the value on."""
    yield from _causes(schema, value, "", nested=True)


def _prune(schema: Object, value: object) -> None:
    if isinstance(value, list):
        for each in value:
            _prune(schema.get("items") or {}, each)
    if not isinstance(value, dict):
        return
    properties, rest = schema.get("properties") or {}, schema.get("additionalProperties")
    keeps = schema.get(_PRESERVE) or rest is True or isinstance(rest, dict)
    for field in list(value):
        if field in properties:
            # A null where the schema has none is as if nothing had been said.
            if value[field] is None and not properties[field].get("nullable"):
                del value[field]
                continue
            _prune(properties[field], value[field])
        elif isinstance(rest, dict):
            _prune(rest, value[field])
        elif not keeps and not (schema.get(_EMBEDDED) and field in _IDENTITY):
            del value[field]


def _default(schema: Object, value: object) -> None:
    if isinstance(value, list):
        for each in value:
            _default(schema.get("items") or {}, each)
    if not isinstance(value, dict):
        return
    for field, inner in (schema.get("properties") or {}).items():
        if "default" in inner and (field not in value or (value[field] is None and not inner.get("nullable"))):
            value[field] = copied(inner["default"])
        if field in value:
            _default(inner, value[field])
    if isinstance(rest := schema.get("additionalProperties"), dict):
        for field in value.keys() - (schema.get("properties") or {}).keys():
            _default(rest, value[field])


def _causes(schema: Object, value: object, path: str, *, nested: bool = False) -> Iterator[Cause]:
    if value is None and (schema.get("nullable") or not (path or nested)):
        return
    if schema.get(_INT_OR_STRING):
        if not (_is_integer(value) or isinstance(value, str)):
            found = _type_of(value)
            yield path, f'Invalid value: "{found}": {path} in body must be of type integer,string: "{found}"'
        return
    wanted = schema.get("type")
    if wanted and not _TYPES[wanted](value):
        found = _type_of(value)
        yield path, f'Invalid value: "{found}": {path} in body must be of type {wanted}: "{found}"'
        return
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(_shown(each) for each in schema["enum"])
        yield path, f"Unsupported value: {_shown(value)}: supported values: {allowed}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _number_causes(schema, value, path)
    elif isinstance(value, str):
        yield from _string_causes(schema, value, path)
    elif isinstance(value, list):
        yield from _list_causes(schema, value, path)
    elif isinstance(value, dict):
        yield from _object_causes(schema, value, path)


def _number_causes(schema: Object, value: float, path: str) -> Iterator[Cause]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value < low or (schema.get("exclusiveMinimum") and value == low)):
        least = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        yield path, f"Invalid value: {value}: {path} in body should be {least} {low}"
    if high is not None and (value > high or (schema.get("exclusiveMaximum") and value == high)):
        most = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        yield path, f"Invalid value: {value}: {path} in body should be {most} {high}"
    if schema.get("multipleOf") and value % schema["multipleOf"]:
        yield path, f"Invalid value: {value}: {path} in body should be a multiple of {schema['multipleOf']}"


def _string_causes(schema: Object, value: str, path: str) -> Iterator[Cause]:
    if len(value) < schema.get("minLength", 0):
        yield (
            path,
            f"Invalid value: {_shown(value)}: {path} in body should be at least {schema['minLength']} chars long",
        )
    if len(value) > schema.get("maxLength", len(value)):
        yield path, f"Too long: may not be more than {schema['maxLength']} bytes"
    if schema.get("format") == "date-time" and not _is_moment(value):
        yield path, f"Invalid value: {_shown(value)}: {path} in body must be of type date-time: {_shown(value)}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield path, f"Invalid value: {_shown(value)}: {path} in body should match '{schema['pattern']}'"


def _is_moment(value: str) -> bool:
    """Say whether a text is a time that there is: no 31st of February, and no leap second, which Go does not know."""
    found = _MOMENT.fullmatch(value)
    if found is None:
        return False
    try:
        datetime.fromisoformat(f"{found[1]}T{found[2]}")
    except ValueError:
        return False
    return True


def _list_causes(schema: Object, value: list[object], path: str) -> Iterator[Cause]:
    if len(value) < schema.get("minItems", 0):
        yield path, f"Invalid value: {len(value)}: {path} in body should have at least {schema['minItems']} items"
    if len(value) > schema.get("maxItems", len(value)):
        yield path, f"Too many: {len(value)}: must have at most {schema['maxItems']} items"
    seen: list[object] = []
    for index, each in enumerate(value):
        yield from _causes(schema.get("items") or {}, each, f"{path}[{index}]")
        if schema.get("x-kubernetes-list-type") == "map" and isinstance(each, dict):
            key = {field: each.get(field) for field in schema.get("x-kubernetes-list-map-keys") or ()}
            if key in seen:
                yield f"{path}[{index}]", f"Duplicate value: {msgspec.json.encode(key).decode()}"
            seen.append(key)
        elif schema.get("x-kubernetes-list-type") == "set":
            if each in seen:
                yield f"{path}[{index}]", f"Duplicate value: {msgspec.json.encode(each).decode()}"
            seen.append(each)


def _object_causes(schema: Object, value: dict[str, object], path: str) -> Iterator[Cause]:
    properties, rest = schema.get("properties") or {}, schema.get("additionalProperties")
    for field in schema.get("required") or ():
        if field not in value:
            yield _join(path, field), "Required value"
    for field, each in value.items():
        if not path and field in _IDENTITY:
            continue
        if field in properties:
            yield from _causes(properties[field], each, _join(path, field))
        elif isinstance(rest, dict):
            yield from _causes(rest, each, f"{path}.{field}")


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field


def _type_of(value: object) -> str:
    if value is None:
        return "null"
    return next((name for name in ("boolean", "integer", "number", *_TYPES) if _TYPES[name](value)), "null")


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)

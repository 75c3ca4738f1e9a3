"""What must be true of a CustomResourceDefinition so that it can be served: names, versions, and structural schemas.

Source: kubernetes/apiextensions-apiserver `pkg/apis/apiextensions/validation/validation.go`,
`pkg/apiserver/schema/{structural,validation}.go`.
"""

import re
from collections.abc import Iterator

from kubemtu_lab.api import names, schema
from kubemtu_lab.api.errors import Cause, invalid
from kubemtu_lab.api.resources import Object, Resource

_SCOPES = ("Cluster", "Namespaced")
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_VERSION = re.compile("[a-z]([-a-z0-9]*[a-z0-9])?")
_VERSION_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_AT = "spec.validation.openAPIV3Schema"
_OBJECT_META = "must not specify anything other than name and generateName, but metadata is implicitly specified"


def check(resource: Resource, name: str, definition: Object, before: Object | None) -> None:
    """Refuse a CustomResourceDefinition that could not be served; it replaces `before`, or is new.

    Raises:
        Refusal: 422, with every cause.
    """
    spec = definition.get("spec")
    if not isinstance(spec, dict):
        spec = {}
    causes = [*_names(name, spec, new=before is None), *_versions(spec)]
    if before is not None:
        causes += _changed(spec, before["spec"])
    if causes:
        raise invalid(resource, name, causes)


def _names(name: str, spec: Object, *, new: bool) -> Iterator[Cause]:
    called, group = spec.get("names") or {}, spec.get("group")
    for field in ("group", "scope"):
        if not spec.get(field):
            yield f"spec.{field}", "Required value"
    for field in ("plural", "kind"):
        if not called.get(field):
            yield f"spec.names.{field}", "Required value"
    if not called.get("kind"):  # of which the others are made
        yield from ((f"spec.names.{field}", "Required value") for field in ("listKind", "singular"))
    if spec.get("scope") and spec["scope"] not in _SCOPES:
        yield "spec.scope", f'Unsupported value: "{spec["scope"]}": supported values: "Cluster", "Namespaced"'
    for why in names.subdomain(group) if group else ():
        yield "spec.group", f'Invalid value: "{group}": {why}'
    if new and name != f"{called.get('plural')}.{group}":
        yield "metadata.name", f'Invalid value: "{name}": must be spec.names.plural+"."+spec.group'


def _versions(spec: Object) -> Iterator[Cause]:
    versions = spec.get("versions") or []
    if sum(1 for version in versions if version.get("storage")) != 1:
        yield "spec.versions", "Invalid value: []: must have exactly one version marked as storage version"
        yield "status.storedVersions", "Invalid value: []: must have at least one stored version"
    for place, version in enumerate(versions):
        if not _VERSION.fullmatch(version.get("name") or ""):
            if not place:
                yield "spec.version", f'Invalid value: "{version.get("name")}": {_VERSION_RULE}'
            yield f"spec.versions[{place}].name", f'Invalid value: "{version.get("name")}": {_VERSION_RULE}'
        found = (version.get("schema") or {}).get("openAPIV3Schema")
        if not found:
            yield f"spec.versions[{place}].schema.openAPIV3Schema", "Required value"
            continue
        at = _AT if len(versions) == 1 else f"spec.versions[{place}].schema.openAPIV3Schema"
        if not found.get("type"):
            yield f"{at}.type", "Required value: must not be empty at the root"
        yield from _object_meta(found, at)
        yield from _structural(found, at, root=True)


def _object_meta(root: Object, at: str) -> Iterator[Cause]:
    """Refuse what a definition says of the fields that every object has; even a description is refused."""
    properties = root.get("properties")
    if not isinstance(properties, dict):
        return
    for field in ("apiVersion", "kind"):
        kind = (properties.get(field) or {}).get("type", "string")
        if kind != "string":
            yield f"{at}.properties[{field}].type", f'Invalid value: "{kind}": must be string'
    if not isinstance(metadata := properties.get("metadata"), dict):
        return
    said = {field: value for field, value in metadata.items() if field not in {"type", "default"} and value}
    if said.keys() == {"properties"} and said["properties"].keys() <= {"name", "generateName"}:
        said = {}
    if said:
        yield f"{at}.properties[metadata]", f"Forbidden: {_OBJECT_META}"


def _structural(part: object, at: str, *, root: bool = False) -> Iterator[Cause]:
    if not isinstance(part, dict):
        return
    kind = part.get("type")
    free = part.get("x-kubernetes-preserve-unknown-fields") or part.get("x-kubernetes-int-or-string")
    if kind and kind not in _TYPES:
        listed = ", ".join(f'"{each}"' for each in _TYPES)
        yield f"{at}.type", f'Unsupported value: "{kind}": supported values: {listed}'
        return
    if not kind and not free and not root:
        yield f"{at}.type", "Required value: must not be empty for specified object fields"
    if kind == "array" and not part.get("items"):
        yield f"{at}.items", "Required value: must be specified"
    if (pattern := part.get("pattern")) is not None:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as wrong:
            told = f"must be a valid regular expression, but isn't: error parsing regexp: {wrong}"
            yield f"{at}.pattern", f'Invalid value: "{pattern}": {told}'
    if "default" in part and (kind or free):
        for field, told in schema.causes(part, part["default"]):
            yield f"{at}.default{field and f'.{field}'}", told
    inner = part.get("properties")
    for field, each in inner.items() if isinstance(inner, dict) else ():
        yield from _structural(each, f"{at}.properties[{field}]")
    for field in ("items", "additionalProperties"):
        yield from _structural(part.get(field), f"{at}.{field}")


def _changed(spec: Object, before: Object) -> Iterator[Cause]:
    named = spec.get("names") or {}
    pairs = [(f"spec.{field}", spec.get(field), before.get(field)) for field in ("group", "scope")]
    pairs += [(f"spec.names.{field}", named.get(field), before["names"].get(field)) for field in ("plural", "kind")]
    for at, now, then in pairs:
        if now != then:
            yield at, f'Invalid value: "{now}": field is immutable'

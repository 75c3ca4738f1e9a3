"""Strategic merge patch, the form in which kubectl changes built-in kinds, and the merge behind server-side apply.

A merge patch replaces lists as a whole. Here a list whose elements have a key merges element by element.
Source: kubernetes/apimachinery `pkg/util/strategicpatch/patch.go`; the keys are the `patchMergeKey` tags in
kubernetes/api `core/v1/types.go`. Lists that have no such tag there (tolerations, taints, args) are replaced.
"""

from collections.abc import Mapping
from typing import Any

from kubemtu_lab.api.errors import bad_request
from kubemtu_lab.api.resources import Object, copied

MERGE_KEYS: Mapping[str, tuple[str, ...]] = {
    "addresses": ("type",),
    "conditions": ("type",),
    "containers": ("name",),
    "env": ("name",),
    "ephemeralContainers": ("name",),
    "hostAliases": ("ip",),
    "hostIPs": ("ip",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "podIPs": ("ip",),
    "ports": ("containerPort", "port"),
    "resourceClaims": ("name",),
    "secrets": ("name",),
    "topologySpreadConstraints": ("topologyKey",),
    "volumeDevices": ("devicePath",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
_MERGED_WORDS = frozenset({"finalizers", "podCIDRs"})
_PATCH, _RETAIN = "$patch", "$retainKeys"
_ORDER, _DELETE_WORDS = "$setElementOrder/", "$deleteFromPrimitiveList/"

Json = Any


def merge(target: Object, patch: Object) -> Object:
    """Apply a strategic merge patch to an object of a built-in kind; neither argument changes.

    Raises:
        Refusal: 400 for a directive that does not exist, or an element without its key.
    """
    directive = patch.get(_PATCH, "merge")
    if directive == "delete":
        return {}
    if directive not in ("merge", "replace"):
        raise bad_request(f'unknown patch type found in patch: "{directive}"')
    merged = {} if directive == "replace" else copied(target)
    if _RETAIN in patch:
        merged = {field: value for field, value in merged.items() if field in patch[_RETAIN]}
    for field, value in patch.items():
        if not field.startswith("$"):
            _merge_field(merged, field, value)
    for field, words in patch.items():
        if field.startswith(_DELETE_WORDS) and (name := field.removeprefix(_DELETE_WORDS)) in merged:
            merged[name] = [word for word in merged[name] if word not in words]
    for field, order in patch.items():
        if field.startswith(_ORDER) and (name := field.removeprefix(_ORDER)) in merged:
            merged[name] = _ordered(name, merged[name], order, target.get(name) or [])
    return merged


def apply(target: Object, applied: Object, *, keyed: bool) -> Object:
    """Merge an applied configuration in: it adds and changes; if `keyed`, the lists that have keys merge too."""
    merged = copied(target)
    for field, value in applied.items():
        held = merged.get(field)
        if isinstance(value, dict) and isinstance(held, dict):
            merged[field] = apply(held, value, keyed=keyed)
        elif keyed and isinstance(value, list) and isinstance(held, list) and (keys := set_keys(field, held + value)):
            merged[field] = _apply_elements(keys, held, value)
        else:
            merged[field] = copied({"": value})[""]
    return merged


def _apply_elements(keys: tuple[str, ...], elements: list[Json], applied: list[Json]) -> list[Json]:
    def known_by(element: Json) -> tuple[Json, ...]:
        return tuple(element.get(key) for key in keys)

    mine = {known_by(each): each for each in applied}
    result = [
        apply(each, mine.pop(known_by(each)), keyed=True) if known_by(each) in mine else each for each in elements
    ]
    return [*result, *(copied(each) for each in mine.values())]


def merge_key(field: str, elements: list[Json]) -> str:
    """Return the field by which the elements of a list are told apart; nothing where a list is replaced whole."""
    for key in MERGE_KEYS.get(field, ()):
        if elements and all(isinstance(each, dict) and (key in each or each.keys() == {_PATCH}) for each in elements):
            return key
    return ""


def set_keys(field: str, elements: list[Json]) -> tuple[str, ...]:
    """Return the fields by which server-side apply tells the elements of a list apart; none where it is one value.

    One port may be there for UDP and for TCP, which a strategic merge patch cannot tell apart and this can (listMapKey
    in kubernetes/api `core/v1/types.go`).
    """
    key = merge_key(field, elements)
    if field == "ports" and key and all("protocol" in each for each in elements):
        return key, "protocol"
    return (key,) if key else ()


def _merge_field(merged: Object, field: str, value: Json) -> None:
    held = merged.get(field)
    match value:
        case None:
            merged.pop(field, None)
        case dict():
            if value.get(_PATCH) == "delete":
                merged.pop(field, None)
            else:
                merged[field] = merge(held if isinstance(held, dict) else {}, value)
        case list() if field in MERGE_KEYS:
            merged[field] = _merge_elements(field, held if isinstance(held, list) else [], value)
        case list() if field in _MERGED_WORDS:
            words = list(held or [])
            merged[field] = words + [word for word in value if word not in words]
        case _:
            merged[field] = copied({"": value})[""]


def _merge_elements(field: str, elements: list[Json], patch: list[Json]) -> list[Json]:
    if not patch:
        return elements
    if {_PATCH: "replace"} in patch:
        return [merge({}, each) for each in patch if each != {_PATCH: "replace"}]
    key = merge_key(field, patch)
    if not key:
        raise bad_request(f"map does not contain declared merge key: {' or '.join(MERGE_KEYS[field])}, in {field}")
    merged = list(elements)
    for change in patch:
        at = next((index for index, each in enumerate(merged) if each.get(key) == change[key]), None)
        directive = change.get(_PATCH)
        if directive == "delete":
            merged = [each for each in merged if each.get(key) != change[key]]
        elif at is None:
            merged.append(merge({}, change))
        else:
            merged[at] = merge(merged[at], change)
    return merged


def _ordered(field: str, merged: list[Json], order: list[Json], before: list[Json]) -> list[Json]:
    """Put elements in the order that the patch names; those that it does not name stay near their old neighbours."""
    key = next((key for key in MERGE_KEYS.get(field, ()) if all(isinstance(e, dict) and key in e for e in order)), "")
    wanted = [_identity(each, key) for each in order]
    old = [_identity(each, key) for each in before]
    named = sorted(
        (each for each in merged if _identity(each, key) in wanted), key=lambda each: wanted.index(_identity(each, key))
    )
    others = [each for each in merged if _identity(each, key) not in wanted]
    result: list[Json] = []
    while named and others:
        left, right = _identity(named[0], key), _identity(others[0], key)
        other_first = left in old and right in old and old.index(right) < old.index(left)
        result.append(others.pop(0) if other_first else named.pop(0))
    return result + named + others


def _identity(element: Json, key: str) -> Json:
    return element.get(key) if key and isinstance(element, dict) else element

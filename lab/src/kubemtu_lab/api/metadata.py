"""What must be true of every object's metadata, whatever its kind.

Source: kubernetes/apimachinery `pkg/api/validation/objectmeta.go`, kubernetes `pkg/apis/core/validation/validation.go`.
"""

from collections.abc import Iterator

from kubemtu_lab.api import names
from kubemtu_lab.api.errors import Cause
from kubemtu_lab.api.resources import Object, Resource, shown

ANNOTATION_BYTES = 256 * 1024
_STANDARD_FINALIZERS = frozenset({"kubernetes", "foregroundDeletion", "orphan"})
_PATH_NAMED = frozenset({"roles", "rolebindings", "clusterroles", "clusterrolebindings"})
_LABEL_NAMED = frozenset({"namespaces", "services"})


def causes(resource: Resource, metadata: Object, before: Object | None) -> Iterator[Cause]:
    """Tell what is wrong with the metadata of an object that replaces one with the metadata `before`, or is new."""
    if before is None:
        yield from _name(resource, metadata)
    for field, check in (("labels", names.qualified), ("annotations", lambda key: names.qualified(key.lower()))):
        for key in metadata.get(field) or {}:
            yield from ((f"metadata.{field}", f'Invalid value: "{key}": {why}') for why in check(key))
    for value in (metadata.get("labels") or {}).values():
        yield from (("metadata.labels", f'Invalid value: "{value}": {why}') for why in names.label_value(value))
    annotations = metadata.get("annotations") or {}
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > ANNOTATION_BYTES:
        yield "metadata.annotations", f"Too long: may not be more than {ANNOTATION_BYTES} bytes"
    yield from _finalizers(resource, metadata, before or {})
    yield from _owners(metadata.get("ownerReferences") or [])


def _name(resource: Resource, metadata: Object) -> Iterator[Cause]:
    check = names.subdomain
    if resource.plural in _PATH_NAMED:
        check = names.path_segment
    elif not resource.custom and resource.plural in _LABEL_NAMED:
        check = names.label_with_dots_told
    if prefix := metadata.get("generateName"):
        # What comes after it is made of letters, so a hyphen may end it.
        for why in check(prefix.removesuffix("-") or prefix):
            yield "metadata.generateName", f'Invalid value: "{prefix}": {why}'
    if not (name := metadata.get("name")):
        yield "metadata.name", "Required value: name or generateName is required"
        return
    for why in check(name):
        yield "metadata.name", f'Invalid value: "{name}": {why}'


def _finalizers(resource: Resource, metadata: Object, before: Object) -> Iterator[Cause]:
    finalizers = metadata.get("finalizers") or []
    for place, each in enumerate(finalizers):
        yield from (("metadata.finalizers", f'Invalid value: "{each}": {why}') for why in names.qualified(each))
        if not resource.custom and "/" not in each and each not in _STANDARD_FINALIZERS:
            told = "name is neither a standard finalizer name nor is it fully qualified"
            yield f"metadata.finalizers[{place}]", f'Invalid value: "{each}": {told}'
    added = sorted(set(finalizers) - set(before.get("finalizers") or ()))
    if before.get("deletionTimestamp") and added:
        listed = ", ".join(f'"{each}"' for each in added)
        told = "no new finalizers can be added if the object is being deleted, found new finalizers"
        yield "metadata.finalizers", f"Forbidden: {told} []string{{{listed}}}"


def _owners(owners: list[Object]) -> Iterator[Cause]:
    at = "metadata.ownerReferences"
    for owner in owners:
        group, _, version = (owner.get("apiVersion") or "").rpartition("/")
        if not version:
            yield f"{at}.apiVersion", 'Invalid value: "": version must not be empty'
        for field in ("kind", "name", "uid"):
            if not owner.get(field):
                yield f"{at}.{field}", 'Invalid value: "": must not be empty'
        if (group, owner.get("kind")) == ("", "Event"):
            told = f"/{version}, Kind=Event is disallowed from being an owner"
            yield at, f"Invalid value: {shown(owner)}: {told}"
    held = [f"{owner.get('kind')}/{owner.get('name')}" for owner in owners if owner.get("controller")]
    if len(held) > 1:
        told = 'Only one reference can have Controller set to true. Found "true" in references for'
        yield at, f"Invalid value: {shown(owners)}: {told} {held[0]} and {held[1]}"

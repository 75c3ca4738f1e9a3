"""A base and its patches, as kustomize joins them: by kind and name, mappings member by member, lists by name.

Only what a kustomization.yaml names as a patch is one (kubectl.docs.kubernetes.io, references/kustomize/kustomization:
patches, patchesStrategicMerge). JSON 6902 patches are lists of operations and are left out.
"""

import os
from collections.abc import Iterable

from kubemtu.core.objects import Object
from kubemtu.flows.saved.facts import Document, Facts

FILES = frozenset({"kustomization.yaml", "kustomization.yml", "Kustomization"})


def take(document: Document, facts: Facts) -> bool:
    """Take a kustomization.yaml: which files of its folder are patches."""
    path = document.of.path
    if path.name not in FILES or not isinstance(document.value, dict):
        return False
    facts.patches |= {os.path.normpath(path.parent / each) for each in patches(document.value)}
    return True


def patches(kustomization: dict[str, object]) -> set[str]:
    """Return the files that a kustomization names as patches, each by its path from the kustomization's folder."""
    found = []
    for key in ("patches", "patchesStrategicMerge"):
        listed = kustomization.get(key)
        found += listed if isinstance(listed, list) else []
    named = {each for each in found if isinstance(each, str) and "\n" not in each}
    return named | {path for each in found if isinstance(each, dict) and isinstance(path := each.get("path"), str)}


def joined(objects: Iterable[Object], named: set[str]) -> list[Object]:
    """Return the objects with those of the files in `named` merged into what they patch; one without a base stays."""
    held = list(objects)
    out = [each for each in held if _file(each) not in named]
    for patch in (each for each in held if _file(each) in named):
        index = next((place for place, base in enumerate(out) if _is_of(patch, base)), None)
        if index is None:
            out.append(patch)
            continue
        base = out[index]
        out[index] = Object.of(merged(base.body, patch.body), f"{base.origin}, patched by {patch.origin}")
    return out


def merged(base: dict[str, object], patch: dict[str, object]) -> dict[str, object]:
    """Return a strategic merge: null removes, mappings merge, lists whose items have names merge by these."""
    out = dict(base)
    for key, new in patch.items():
        old = out.get(key)
        if new is None:
            out.pop(key, None)
        elif isinstance(new, dict) and isinstance(old, dict):
            out[key] = merged(old, new)
        elif isinstance(new, list) and isinstance(old, list) and all(map(_name, [*old, *new])):
            by_name = {_name(item): item for item in old}
            for item in new:
                here = by_name.get(_name(item))
                by_name[_name(item)] = merged(here, item) if here is not None else item
            out[key] = list(by_name.values())
        else:
            out[key] = new
    return out


def _name(item: object) -> str:
    name = item.get("name") if isinstance(item, dict) else None
    return name if isinstance(name, str) else ""


def _file(found: Object) -> str:
    return found.origin.rpartition(":")[0]


def _is_of(patch: Object, base: Object) -> bool:
    same = (patch.kind, patch.name) == (base.kind, base.name)
    return same and (patch.namespace is None or patch.namespace == base.namespace)

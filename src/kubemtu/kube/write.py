"""Carry out the steps of a plan that are edits of API objects; `rollout` restarts pods.

An edit touches one key. The object is read first, what stands there is compared byte for byte, the patch is guarded by
the resourceVersion that was read, and what the server made of it is compared with what was asked for, key by key.
"""

import itertools

from kubemtu.core import errors
from kubemtu.core.change import plan
from kubemtu.core.objects import Object, dotted, placed
from kubemtu.kube import creation, read
from kubemtu.kube.api import Api
from kubemtu.kube.errors import Rejected
from kubemtu.kube.rollout import rollout

__all__ = ["edit", "rollout"]

TRIES = 5  # of a write that meets somebody else's at the same moment, while our value is untouched
_SERVER_KEYS = frozenset({"managedFields", "resourceVersion", "generation"})  # of metadata: change with each write
# Counted by the server with each change of a DaemonSet's template (kubernetes pkg/registry/apps/daemonset/strategy.go).
_TEMPLATES = ("metadata", "annotations", "deprecated.daemonset.template.generation")


async def edit(api: Api, step: plan.EditValue) -> str:
    """Change the one value that `step` names, and say what was done; nothing is done when it is so already.

    Raises Conflict when something else than `before` stands there, Surprise when the server changed more or less than
    that key, Malformed when the path leads through what is no mapping.
    """
    if step.creates:
        return await creation.edit(api, step)
    for tries_left in reversed(range(TRIES)):
        present = await read.existing(api, step.ref)
        now = _value(present, step)
        if _same(now, step.after):
            return f"{step.ref}: {dotted(step.path)} is {_shown(now)} already"
        if not _same(now, step.before):
            raise errors.Conflict(
                f"{step.ref}: {dotted(step.path)} is {_shown(now)} but was {_shown(step.before)} when the plan was "
                f"made{_last_writer(present)}; see whether that change is wanted, then make a new plan"
            )
        try:
            written = await api.patch(step.ref, _nested(present, step), resource_version=present.resource_version)
        except Rejected as refused:
            raise _refused(present, step, refused) from refused
        except errors.Conflict:
            if not tries_left:
                raise
            continue  # another key may have changed: read again, and hold our value against `before` again
        _verify(present, written, step)
        kept = await read.existing(api, step.ref)
        if not _same(_value(kept, step), step.after):
            raise errors.Surprise(
                f"{step.ref}: {dotted(step.path)} was set to {_shown(step.after)} and is {_shown(_value(kept, step))} "
                f"again{_last_writer(kept)}; something owns this object (GitOps, an operator): make the change there"
            )
        return f"{step.ref}: {dotted(step.path)} is {_shown(step.after)}, was {_shown(now)}"
    raise AssertionError("unreachable: the last round returns or raises")


def _value(present: Object, step: plan.EditValue) -> object:
    """Return the value at the step's path, or None; every part on the way must be a mapping or absent."""
    for length, key in enumerate(step.path[1:], start=1):
        if isinstance(key, str):
            present.mapping(*step.path[:length])
        elif not isinstance(held := present.get(*step.path[:length]), list) and (held is not None or key):
            raise errors.Malformed(
                f"{step.ref}: {dotted(step.path[:length])} is no list any more; see who changed it, then make a new "
                "plan"
            )
    return present.get(*step.path)


def _verify(before: Object, written: Object, step: plan.EditValue) -> None:
    """Compare what the server stored with what was asked for. Raises Surprise that names the first difference."""
    wanted = placed(before.body, step.path, step.after)
    differences = [path for path in _differences(wanted, written.body, ()) if not _served(path)]
    if differences:
        path = differences[0]
        was, is_now = before.get(*path), written.get(*path)
        more = f" and {len(differences) - 1} more" if len(differences) > 1 else ""
        raise errors.Surprise(
            f"{step.ref}: after the edit of {dotted(step.path)}, {dotted(path)} is {_shown(is_now)}, not "
            f"{_shown(step.after if path == step.path else was)}{more}; an admission webhook may rewrite this object: "
            "look at it, then take the edit back with `kubemtu rollback`"
        )


def _served(path: tuple[str, ...]) -> bool:
    if path[0] == "status" or path == _TEMPLATES:
        return True
    return path[0] == "metadata" and len(path) > 1 and path[1] in _SERVER_KEYS


def _differences(wanted: object, present: object, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the paths at which two values differ, keys that only one has included."""
    if isinstance(wanted, dict) and isinstance(present, dict):
        keys = sorted(wanted.keys() | present.keys())
        return [
            deeper
            for key in keys
            for deeper in (
                _differences(wanted[key], present[key], (*path, key))
                if key in wanted and key in present
                else [(*path, key)]
            )
        ]
    return [] if _same(wanted, present) else [path]


def _same(one: object, other: object) -> bool:
    """Say whether two values are equal and of one type: 1450 is not "1450", and 1 is not true."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


def _nested(present: Object, step: plan.EditValue) -> dict[str, object]:
    """Return what is merged into the object; a list on the way is given whole, as a merge replaces it (RFC 7396)."""
    keys = tuple(itertools.takewhile(lambda key: isinstance(key, str), step.path))
    nested: object = step.after
    if len(keys) < len(step.path):
        nested = Object(body=placed(present.body, step.path, step.after)).get(*keys)
    for key in reversed(keys):
        nested = {key: nested}
    assert isinstance(nested, dict)
    return nested


def _refused(present: Object, step: plan.EditValue, refused: Rejected) -> errors.KubemtuError:
    if present.get("immutable") is True:
        return errors.Conflict(
            f"{step.ref} is marked immutable, so no key of it can change; replace it by one that is not, then make a "
            "new plan"
        )
    return Rejected(f"{step.ref}: {dotted(step.path)} cannot become {_shown(step.after)}: {refused}")


def _last_writer(present: Object) -> str:
    """Say who wrote the object last, from metadata.managedFields; nothing when the server does not say."""
    newest: tuple[str, str] = ("", "")
    try:
        for entry in present.each("metadata", "managedFields"):
            if entry.text("subresource") is None:
                newest = max(newest, (entry.text("time") or "", entry.text("manager") or ""))
    except errors.Malformed:
        return ""
    when, manager = newest
    return f" (last written by {manager} at {when})" if manager else ""


def _shown(value: object) -> str:
    return "absent" if value is None else f"{value!r:.80}"

"""Two forms of a patch as values: strategic merge, and JSON 6902 (RFC 6902 with pointers of RFC 6901)."""

import copy
import re
from typing import Any, Final, TypeGuard

import msgspec

from kubemtu.core.objects import Object

# Groups whose lists are merged by the names of their items; of other kinds no schema says how, and they are replaced.
_BUILT_IN: Final = frozenset({"", "apps", "batch", "autoscaling", "policy", "extensions"})
_OPERATIONS: Final = ("add", "replace", "remove", "test", "copy", "move")
_SAID_MOST = 3
_NUMBER: Final = re.compile(r"\d{1,6}", re.ASCII)


class PatchTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a patch is for; None: any. Names are patterns where a kustomization gives them."""

    kind: str | None = None
    name: str | None = None
    namespace: str | None = None
    group: str | None = None
    pattern: bool = False


def target(given: object, body: object = None) -> PatchTarget:
    """Return whom a patch is for: whom its kustomization names, else the object that it is a part of."""
    if isinstance(given, dict):
        kind, name, namespace, group = (_text(given.get(key)) for key in ("kind", "name", "namespace", "group"))
        return PatchTarget(kind=kind, name=name, namespace=namespace, group=group, pattern=True)
    found = Object.of(body if isinstance(body, dict) else {})
    name, namespace = _text(found.get("metadata", "name")), _text(found.get("metadata", "namespace"))
    return PatchTarget(kind=_text(found.get("kind")), name=name, namespace=namespace)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def fits(to: PatchTarget, resource: Object) -> bool:
    """Say whether an object is one of those that a patch is for. A patch that names nobody is for nobody."""
    if to.kind is None and to.name is None:
        return False
    group = str(resource.get("apiVersion")).rpartition("/")[0]
    wanted = ((to.kind, resource.get("kind")), (to.name, resource.get("metadata", "name")), (to.group, group))
    if not all(said is None or _is(said, held, pattern=to.pattern) for said, held in wanted):
        return False
    namespace = resource.get("metadata", "namespace")
    return to.namespace is None or namespace is None or _is(to.namespace, namespace, pattern=to.pattern)


def _is(said: str, held: object, *, pattern: bool) -> bool:
    if not isinstance(held, str):
        return False
    if said == held or not pattern or len(said) > 256:
        return said == held
    # kustomize anchors it (api/types/selector.go). Only what a name and `.*` are made of is tried as a pattern.
    if not re.fullmatch(r"[\w.*|()-]*", said) or said.count("*") > 4:
        return False
    return re.fullmatch("|".join(_glob(part) for part in said.strip("()").split("|")), held) is not None


def _glob(text: str) -> str:
    return ".*".join(re.escape(part) for part in text.split(".*"))


def are_operations(value: object) -> TypeGuard[list[dict[str, object]]]:
    """Say whether a value is a list of JSON 6902 operations."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(each, dict) and each.get("op") in _OPERATIONS and isinstance(each.get("path"), str)
            for each in value
        )
    )


def said(operations: list[dict[str, object]]) -> str:
    """Say in a few words what a JSON 6902 patch does."""
    told = []
    for each in operations[:_SAID_MOST]:
        value = each.get("value")
        shown = f" {value!r}" if _NUMBER.fullmatch(str(value)[:20]) else ""  # of any other nobody knows what it is
        told.append(f"{each['op']} {each['path']:.60}{shown}")
    more = len(operations) - _SAID_MOST
    return "; ".join(told) + (f" and {more} more" if more > 0 else "")


def applied(resource: Object, patch: object) -> dict[str, object] | str:
    """Return the object's body with a patch applied, or why it cannot be, to be put after a colon."""
    if are_operations(patch):
        return _operated(resource.body, patch)
    if not isinstance(patch, dict):
        return "it is neither a part of an object nor a list of operations"
    group = str(resource.get("apiVersion")).rpartition("/")[0]
    made = merged(resource.body, patch, named=group in _BUILT_IN or group.endswith(".k8s.io"))
    own, metadata = resource.get("metadata"), made.get("metadata")
    if isinstance(own, dict) and isinstance(metadata, dict):  # what a patch for a target is called itself is no change
        made["metadata"] = metadata | {key: own[key] for key in ("name", "namespace") if key in own}
    return made | {key: resource.body[key] for key in ("apiVersion", "kind") if key in resource.body}


def merged(base: dict[str, object], patch: dict[str, object], *, named: bool = True) -> dict[str, object]:
    """Return a strategic merge: null removes, mappings merge, lists whose items have names merge by these if `named`.

    `$patch` replaces or deletes what it stands in (kubernetes/community, sig-api-machinery/strategic-merge-patch.md).
    """
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    out = dict(base)
    for key, new in patch.items():
        old = out.get(key)
        if key.startswith("$"):
            continue
        if new is None or (isinstance(new, dict) and new.get("$patch") == "delete"):
            out.pop(key, None)
        elif isinstance(new, dict) and isinstance(old, dict):
            out[key] = merged(old, new, named=named)
        elif named and isinstance(new, list) and isinstance(old, list) and all(map(_name, [*old, *new])):
            out[key] = _by_name(old, new)
        else:
            out[key] = new
    return out


def _by_name(old: list[Any], new: list[Any]) -> list[object]:
    by_name: dict[str, Any] = {_name(item): item for item in old}
    for item in new:
        here = by_name.get(_name(item))
        if item.get("$patch") == "delete":
            by_name.pop(_name(item), None)
        else:
            by_name[_name(item)] = merged(here, item) if here is not None else item
    return list(by_name.values())


def _name(item: object) -> str:
    name = item.get("name") if isinstance(item, dict) else None
    return name if isinstance(name, str) else ""


def _operated(body: dict[str, object], operations: list[dict[str, Any]]) -> dict[str, object] | str:
    made: Any = copy.deepcopy(body)
    for each in operations:
        pointer, do = each["path"], each["op"]
        parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
        if not parts or do in {"copy", "move"}:
            return f"{do} {pointer:.60} is not done here"
        here = made
        for part in parts[:-1]:
            here = here.get(part) if isinstance(here, dict) else _item(here, part)
        if not isinstance(here, dict | list):
            return f"nothing stands at {pointer:.60}"
        if (problem := _operate(here, parts[-1], do, each.get("value"))) is not None:
            return f"{problem} at {pointer:.60}"
    return made if isinstance(made, dict) else "nothing is left of it"


def _operate(here: dict[str, Any] | list[Any], key: str, do: str, value: object) -> str | None:
    """Do one operation in place; return what is wrong with it."""
    if isinstance(here, dict):
        if do != "add" and key not in here:
            return "nothing stands"
        if do == "test":
            return None if here[key] == value else "another value stands"
        if do == "remove":
            del here[key]
        else:
            here[key] = copy.deepcopy(value)
        return None
    at = len(here) if key == "-" else int(key) if key.isascii() and key.isdecimal() and len(key) < 6 else None
    if at is None or at > len(here) or (do != "add" and at == len(here)):
        return "no item stands"
    if do == "test":
        return None if here[at] == value else "another value stands"
    if do == "add":
        here.insert(at, copy.deepcopy(value))
    elif do == "remove":
        del here[at]
    else:
        here[at] = copy.deepcopy(value)
    return None


def _item(here: object, part: str) -> object:
    if isinstance(here, list) and part.isascii() and part.isdecimal() and len(part) < 6 and int(part) < len(here):
        return here[int(part)]
    return None

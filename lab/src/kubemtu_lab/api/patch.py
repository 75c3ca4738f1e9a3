"""The ways to change a part of a JSON document: RFC 7386 merge patch and RFC 6902 JSON patch.

Pure functions: none changes its arguments. Strategic merge, which knows Kubernetes' lists, is in `strategic`.
"""

import logging
from typing import Any

from kubemtu_lab.api.errors import Refusal, bad_request
from kubemtu_lab.api.resources import Object, copied

log = logging.getLogger(__name__)
Json = Any
"""Any JSON value: what a patch may put anywhere."""


class _Missing(Exception):
    """The path of a JSON patch leads nowhere."""


def merge(target: Json, patch: Json) -> Json:
    """Apply a merge patch (RFC 7386 section 2): null removes, objects merge, everything else replaces.

    Objects in lists lose their nulls too, whatever the RFC says: so does the library of kube-apiserver
    (github.com/evanphx/json-patch v4, pruneNils). What the patch leaves as it is may be the target's own.
    """
    if isinstance(patch, list):
        return [merge(None, each) for each in patch]
    if not isinstance(patch, dict):
        return copied(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for field, value in patch.items():
        if value is None:
            merged.pop(field, None)
        else:
            merged[field] = merge(merged.get(field), value)
    return merged


def json_patch(target: Json, operations: Json) -> Json:
    """Apply a JSON patch (RFC 6902): all of its operations in order, or none.

    Raises:
        Refusal: 400 when it is no patch; 422 when an operation does not apply, or a test fails.
    """
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    document = copied(target)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise bad_request(f"error decoding patch: an operation needs a path: {operation}")
        try:
            document = _operate(document, operation)
        except _Missing as missing:
            raise _inapplicable(
                f"{operation.get('op')} operation does not apply: doc is missing path: {missing}"
            ) from None
    return document


def _inapplicable(why: str) -> Refusal:
    # Kubernetes keeps it to itself what was wrong.
    log.debug("a JSON patch does not apply: %s", why)
    return Refusal(422, "Invalid", "the server rejected our request due to an error in our request", {})


def _operate(document: Json, operation: Object) -> Json:
    path = _pointer(operation["path"])
    match operation.get("op"):
        case "add" if "value" in operation:
            return _added(document, path, copied(operation["value"]))
        case "replace" if "value" in operation:
            # A member that is not there is added, whatever the RFC says: so does the library of kube-apiserver
            # (github.com/evanphx/json-patch v4).
            if path and not (isinstance(parent := _value_at(document, path[:-1]), dict) and path[-1] not in parent):
                document = _removed(document, path)
            return _added(document, path, copied(operation["value"]))
        case "remove":
            return _removed(document, path)
        case "move" if "from" in operation:
            origin = _pointer(operation["from"])
            if path[: len(origin)] == origin and path != origin:
                raise _inapplicable("move operation does not apply: a value cannot be moved into itself")
            value = _value_at(document, origin)
            return _added(_removed(document, origin), path, value)
        case "copy" if "from" in operation:
            return _added(document, path, copied(_value_at(document, _pointer(operation["from"]))))
        case "test" if "value" in operation:
            if not same(_value_at(document, path), operation["value"]):
                raise _inapplicable(f"testing path {operation['path']} failed")
            return document
        case _:
            raise _inapplicable(f"unknown or incomplete operation: {operation}")


def same(left: Json, right: Json) -> bool:
    """Compare as RFC 6902 section 4.6 wants: numbers by value, and true is no number."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[field], right[field]) for field in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def _pointer(text: str) -> list[str]:
    """Split a JSON pointer (RFC 6901 section 4)."""
    if text and not text.startswith("/"):
        raise bad_request(f'error decoding patch: "{text}" is no JSON pointer, which starts with /')
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _index(container: list[Json], step: str, limit: int) -> int:
    if not step.isascii() or not step.isdecimal() or (step.startswith("0") and step != "0"):
        raise _Missing(step)
    if int(step) >= limit:
        raise _Missing(step)
    return int(step)


def _value_at(document: Json, path: list[str]) -> Json:
    for step in path:
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list):
            document = document[_index(document, step, len(document))]
        else:
            raise _Missing(step)
    return document


def _added(document: Json, path: list[str], value: Json) -> Json:
    if not path:
        return value
    parent, last = _value_at(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(parent, last, len(parent) + 1), value)
    else:
        raise _Missing(last)
    return document


def _removed(document: Json, path: list[str]) -> Json:
    if not path:
        return None
    parent, last = _value_at(document, path[:-1]), path[-1]
    _value_at(parent, [last])
    if isinstance(parent, list):
        del parent[int(last)]
    else:
        del parent[last]
    return document

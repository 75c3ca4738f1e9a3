"""What the query of a request, or the body of a DELETE, may say besides what is asked for.

Source: kubernetes/apimachinery `pkg/apis/meta/v1/validation/validation.go`,
`pkg/apis/meta/internalversion/validation/validation.go`.
"""

from collections.abc import Mapping, Sequence

import msgspec

from kubemtu_lab.api.errors import APPLY_PATCH, Refusal, bad_request, invalid_options

_MANAGER_BYTES = 128
_VALIDATIONS = ("", "Ignore", "Strict", "Warn")
_MATCHES = ("", "Exact", "NotOlderThan")
_PROPAGATIONS = ("Foreground", "Background", "Orphan")
_KINDS = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions", "delete": "DeleteOptions"}


def check_write(verb: str, query: Mapping[str, str], content_type: str = "") -> None:
    """Refuse a write whose query says what no server knows.

    Raises:
        Refusal: 422.
    """
    kind = _KINDS[verb]
    if "dryRun" in query:
        check_dry_run(kind, [query["dryRun"]])
    manager = query.get("fieldManager", "")
    if len(manager.encode()) > _MANAGER_BYTES:
        raise invalid_options(kind, "fieldManager", f"Too long: may not be more than {_MANAGER_BYTES} bytes")
    if not manager.isprintable():
        raise invalid_options(
            kind, "fieldManager", f'Invalid value: "{manager!a}": should only contain printable characters'
        )
    if (asked := query.get("fieldValidation", "")) not in _VALIDATIONS:
        raise invalid_options(kind, "fieldValidation", _unsupported(asked, _VALIDATIONS))
    if verb != "patch":
        return
    if content_type == APPLY_PATCH and not manager:
        raise invalid_options(kind, "fieldManager", "Required value: is required for apply patch")
    if "force" in query and content_type != APPLY_PATCH:
        raise invalid_options(kind, "force", "Forbidden: may not be specified for non-apply patch")


def check_dry_run(kind: str, stages: Sequence[str]) -> None:
    """Refuse a dry run of some other kind than `All`.

    Raises:
        Refusal: 422.
    """
    if any(each != "All" for each in stages):
        shown = msgspec.json.encode(list(stages)).decode()
        raise invalid_options(kind, "dryRun", f'Unsupported value: {shown}: supported values: "All"')


def check_propagation(policy: str | None) -> None:
    """Refuse a propagation policy that there is not.

    Raises:
        Refusal: 422.
    """
    if policy is not None and policy not in _PROPAGATIONS:
        told = _unsupported(policy, (*_PROPAGATIONS, "nil"))
        raise invalid_options("DeleteOptions", "propagationPolicy", told)


def check_list(query: Mapping[str, str], *, watch: bool) -> None:
    """Refuse a list or a watch whose query contradicts itself.

    Raises:
        Refusal: 400 and 422.
    """
    if watch:
        _check_watch(query)
        return
    if "sendInitialEvents" in query:
        raise invalid_options("ListOptions", "sendInitialEvents", "Forbidden: sendInitialEvents is forbidden for list")
    match, version = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
    if match not in _MATCHES:
        told = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
        raise invalid_options("ListOptions", "resourceVersionMatch", told)
    if match and not version:
        raise _of_match("is forbidden unless resourceVersion is provided")
    if match == "Exact" and version == "0":
        raise _of_match('"exact" is forbidden for resourceVersion "0"')
    if version and version != "0" and query.get("continue"):
        raise bad_request("specifying resource version is not allowed when using continue")
    read_version(query)


def _check_watch(query: Mapping[str, str]) -> None:
    match = query.get("resourceVersionMatch", "")
    if match and "sendInitialEvents" not in query:
        raise _of_match("is forbidden for watch unless sendInitialEvents is provided")
    if "sendInitialEvents" in query and match != "NotOlderThan":
        told = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        raise invalid_options("ListOptions", "resourceVersionMatch", told)


def read_version(query: Mapping[str, str]) -> int:
    """Return the resourceVersion of a query; 0 where there is none.

    Raises:
        Refusal: 400.
    """
    text = query.get("resourceVersion", "") or "0"
    if not (text.isascii() and text.isdecimal()):
        told = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise bad_request(f"invalid resource version: {told}")
    return int(text)


def _of_match(why: str) -> Refusal:
    return invalid_options("ListOptions", "resourceVersionMatch", f"Forbidden: resourceVersionMatch {why}")


def _unsupported(value: str, supported: Sequence[str]) -> str:
    listed = ", ".join(f'"{each}"' for each in supported)
    return f'Unsupported value: "{value}": supported values: {listed}'

"""What must be true of the fields of the smaller built-in kinds.

Source: kubernetes `pkg/apis/{core,coordination,discovery,rbac}/validation/validation.go`,
`staging/src/k8s.io/pod-security-admission/admission/admission.go`.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping

import msgspec

from kubemtu_lab.api import names
from kubemtu_lab.api.errors import Cause
from kubemtu_lab.api.resources import Object, Resource

_IMMUTABLE = "field is immutable when `immutable` is set"
_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_MOST_BYTES = 1024 * 1024
_ROLES = ("Role", "ClusterRole")
_SECURITY = "pod-security.kubernetes.io/"
_LEVELS = ("privileged", "baseline", "restricted")


def causes(resource: Resource, item: Object, before: Object | None) -> Iterator[Cause]:
    """Tell what is wrong with an object of a built-in kind that replaces `before`, or is new."""
    check = _CHECKS.get(resource.kind)
    return iter(()) if check is None or resource.custom else check(item, before)


def undecodable(resource: Resource, item: Object) -> str:
    """Return what a decoder says about the first text that is not what its field's type needs."""
    match resource.kind:
        case "Secret" | "ConfigMap" if not resource.group:
            for value in (item.get("data" if resource.kind == "Secret" else "binaryData") or {}).values():
                try:
                    base64.b64decode(value or "", validate=True)
                except (binascii.Error, ValueError):
                    return "illegal base64 data at input byte 0"
        case "Lease" if not resource.custom:
            for field in ("renewTime", "acquireTime"):
                value = (item.get("spec") or {}).get(field)
                if value is not None and not (isinstance(value, str) and _MICRO_TIME.fullmatch(value)):
                    return f'parsing time "{value}" as "2006-01-02T15:04:05.000000Z07:00": cannot parse'
    return ""


def _texts(item: Object, before: Object | None) -> Iterator[Cause]:
    data, binary = item.get("data") or {}, item.get("binaryData") or {}
    for field, values in (("data", data), ("binaryData", binary)):
        for key in values:
            yield from ((f"{field}[{key}]", f'Invalid value: "{key}": {why}') for why in names.config_key(key))
    for key in data.keys() & binary.keys():
        yield f"data[{key}]", f'Invalid value: "{key}": duplicate of key present in binaryData'
    if sum(len(value.encode()) for value in [*data.values(), *binary.values()]) > _MOST_BYTES:
        yield "[]", f"Too long: may not be more than {_MOST_BYTES} bytes"
    held = before or {}
    if held.get("immutable"):
        if not item.get("immutable"):
            yield "immutable", f"Forbidden: {_IMMUTABLE}"
        for field in ("data", "binaryData"):
            if (item.get(field) or {}) != (held.get(field) or {}):
                yield field, f"Forbidden: {_IMMUTABLE}"


def _secret(item: Object, before: Object | None) -> Iterator[Cause]:
    yield from _texts(item, before)
    if before is not None and item.get("type") != before.get("type"):
        yield "type", f'Invalid value: "{item.get("type")}": field is immutable'


def _node(item: Object, before: Object | None) -> Iterator[Cause]:
    now, then = ((each.get("spec") or {}).get("podCIDR") or "" for each in (item, before or {}))
    if now:
        yield from (("spec.podCIDRs[0]", f'Invalid value: "{now}": {why}') for why in names.network(now))
    if then and now != then:
        yield "spec.podCIDRs", 'Forbidden: node updates may not change podCIDR except from "" to valid'


def _lease(item: Object, _before: Object | None) -> Iterator[Cause]:
    spec = item.get("spec") or {}
    lasting, changes = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if lasting is not None and lasting <= 0:
        yield "spec.leaseDurationSeconds", f"Invalid value: {lasting}: must be greater than 0"
    if changes is not None and changes < 0:
        yield "spec.leaseTransitions", f"Invalid value: {changes}: must be greater than or equal to 0"


def _slice(item: Object, before: Object | None) -> Iterator[Cause]:
    family = item.get("addressType")
    if not family:
        yield "addressType", "Required value"
    elif before is not None and family != before.get("addressType"):
        yield "addressType", f'Invalid value: "{family}": field is immutable'
        return
    for place, endpoint in enumerate(item.get("endpoints") or ()):
        addresses = endpoint.get("addresses") or ()
        if not addresses:
            yield f"endpoints[{place}].addresses", "Required value: must contain at least 1 address"
        for number, each in enumerate(addresses if family in ("IPv4", "IPv6") else ()):
            at = f"endpoints[{place}].addresses[{number}]"
            yield from ((at, f'Invalid value: "{each}": {why}') for why in names.address(each))


def _role(item: Object, _before: Object | None) -> Iterator[Cause]:
    for place, rule in enumerate(item.get("rules") or ()):
        at = f"rules[{place}]"
        if not rule.get("verbs"):
            yield f"{at}.verbs", "Required value: verbs must contain at least one value"
        if rule.get("nonResourceURLs"):
            continue
        if not rule.get("apiGroups"):
            yield f"{at}.apiGroups", "Required value: resource rules must supply at least one api group"
        if not rule.get("resources"):
            yield f"{at}.resources", "Required value: resource rules must supply at least one resource"


def _binding(item: Object, before: Object | None) -> Iterator[Cause]:
    role = item.get("roleRef") or {}
    kinds = _ROLES if item.get("kind") == "RoleBinding" else _ROLES[1:]
    if role.get("kind") not in kinds:
        listed = ", ".join(f'"{each}"' for each in kinds)
        yield "roleRef.kind", f'Unsupported value: "{role.get("kind", "")}": supported values: {listed}'
    if not role.get("name"):
        yield "roleRef.name", "Required value"
    if before is not None and role != before.get("roleRef"):
        shown = {"APIGroup": role.get("apiGroup", ""), "Kind": role.get("kind", ""), "Name": role.get("name", "")}
        yield "roleRef", f"Invalid value: {msgspec.json.encode(shown).decode()}: cannot change roleRef"
    for place, subject in enumerate(item.get("subjects") or ()):
        if not subject.get("name"):
            yield f"subjects[{place}].name", "Required value"
        of_cluster = item.get("kind") == "ClusterRoleBinding"
        if of_cluster and subject.get("kind") == "ServiceAccount" and not subject.get("namespace"):
            yield f"subjects[{place}].namespace", "Required value"


def _namespace(item: Object, _before: Object | None) -> Iterator[Cause]:
    for key, value in (item["metadata"].get("labels") or {}).items():
        if key in {f"{_SECURITY}{mode}" for mode in ("enforce", "warn", "audit")} and value not in _LEVELS:
            yield f"metadata.labels[{key}]", f'Invalid value: "{value}": must be one of {", ".join(_LEVELS)}'


_CHECKS: Mapping[str, Callable[[Object, Object | None], Iterator[Cause]]] = {
    "ClusterRole": _role,
    "ClusterRoleBinding": _binding,
    "ConfigMap": _texts,
    "EndpointSlice": _slice,
    "Lease": _lease,
    "Namespace": _namespace,
    "Node": _node,
    "Role": _role,
    "RoleBinding": _binding,
    "Secret": _secret,
}

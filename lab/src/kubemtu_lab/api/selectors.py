"""Label and field selectors, from the text of a query to a test of an object.

Source: kubernetes/apimachinery `pkg/labels/selector.go` (grammar), `pkg/fields/selector.go`;
which fields a kind offers: kubernetes `pkg/apis/core/v1/conversion.go`.
"""

import re
from collections.abc import Callable, Iterable

import msgspec

from kubemtu_lab.api import names
from kubemtu_lab.api.errors import bad_request
from kubemtu_lab.api.resources import Object, Resource

_LABEL = r"[A-Za-z0-9./_-]+"
_SET = re.compile(rf"\s*(?P<key>{_LABEL})\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)\s*\Z")
_EQUAL = re.compile(rf"\s*(?P<key>{_LABEL})\s*(?P<operator>==|!=|=)\s*(?P<value>[A-Za-z0-9._-]*)\s*\Z")
_ORDERED = re.compile(rf"\s*(?P<key>{_LABEL})\s*(?P<operator>[<>])\s*(?P<value>[0-9]+)\s*\Z")
_EXISTS = re.compile(rf"\s*(?P<absent>!?)\s*(?P<key>{_LABEL})\s*\Z")
_COMMA_OUTSIDE_PARENTHESES = re.compile(r",(?![^()]*\))")
_FIELD = re.compile(r"\s*(?P<key>[A-Za-z0-9.\[\]_-]+)\s*(?P<operator>==|!=|=)\s*(?P<value>.*?)\s*\Z")

_EVERY_KIND = frozenset({"metadata.name", "metadata.namespace"})
_FIELDS: dict[tuple[str, str], frozenset[str]] = {
    ("", "pods"): frozenset(
        {"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork"}
        | {"status.phase", "status.podIP", "status.nominatedNodeName"}
    ),
    ("", "nodes"): frozenset({"spec.unschedulable"}),
    ("", "namespaces"): frozenset({"status.phase"}),
    ("", "secrets"): frozenset({"type"}),
    ("", "events"): frozenset(
        {f"involvedObject.{each}" for each in ("kind", "namespace", "name", "uid", "apiVersion", "fieldPath")}
        | {"involvedObject.resourceVersion", "reason", "reportingComponent", "source", "type"}
    ),
}

Test = Callable[[Object], bool]


class Selector(msgspec.Struct, frozen=True):
    """A conjunction of tests; without any it selects everything."""

    tests: tuple[Test, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tests)

    def matches(self, candidate: Object) -> bool:
        """Tell whether the object passes every test."""
        return all(test(candidate) for test in self.tests)


def parse(resource: Resource, labels: str = "", fields: str = "") -> Selector:
    """Read the two selectors of a list or watch query.

    Raises:
        Refusal: 400, when the text is not a selector, or names a field that the kind does not offer.
    """
    label_tests = [_label_test(each) for each in _COMMA_OUTSIDE_PARENTHESES.split(labels)] if labels.strip() else []
    field_tests = [_field_test(resource, each) for each in fields.split(",")] if fields.strip() else []
    return Selector((*label_tests, *field_tests))


def _labels(candidate: Object) -> dict[str, str]:
    return candidate["metadata"].get("labels") or {}


def _label_test(requirement: str) -> Test:
    if found := _SET.match(requirement):
        key, values = found["key"], frozenset(each.strip() for each in found["values"].split(","))
        if found["operator"] == "in":
            return lambda candidate: _labels(candidate).get(key) in values
        return lambda candidate: _labels(candidate).get(key) not in values
    if found := _ORDERED.match(requirement):
        key, greater, bound = found["key"], found["operator"] == ">", int(found["value"])
        return lambda candidate: _is_beyond(_labels(candidate).get(key, ""), bound, greater=greater)
    if found := _EQUAL.match(requirement):
        key, value = found["key"], found["value"]
        if found["operator"] == "!=":
            return lambda candidate: _labels(candidate).get(key) != value
        return lambda candidate: _labels(candidate).get(key) == value
    if (found := _EXISTS.match(requirement)) and not names.qualified(found["key"]):
        key, absent = found["key"], bool(found["absent"])
        return lambda candidate: (key in _labels(candidate)) is not absent
    raise bad_request(f'unable to parse requirement: found "{requirement.strip()}", expected a label selector')


def _is_beyond(text: str, bound: int, *, greater: bool) -> bool:
    if not (text.isascii() and text.isdecimal()):
        return False
    return int(text) > bound if greater else int(text) < bound


def _field_test(resource: Resource, requirement: str) -> Test:
    found = _FIELD.match(requirement)
    if found is None:
        raise bad_request(f'invalid selector: "{requirement}"; can\'t understand "{requirement}"')
    key, value = found["key"], found["value"]
    if key not in _EVERY_KIND | _FIELDS.get(resource.key, frozenset()):
        raise bad_request(f"field label not supported: {key}")
    path = tuple(key.split("."))
    if found["operator"] == "!=":
        return lambda candidate: _text_at(candidate, path) != value
    return lambda candidate: _text_at(candidate, path) == value


def _text_at(candidate: Object, path: Iterable[str]) -> str:
    """Return the value as the field selectors of Kubernetes see it: absent is empty, booleans are words."""
    value: object = candidate
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    match value:
        case None:
            return "false" if path == ("spec", "hostNetwork") else ""
        case bool():
            return str(value).lower()
        case _:
            return str(value)

"""Structural schemas: what is pruned, filled in and refused, in the words of a Kubernetes API server."""

import pytest

from kubemtu_lab.api import definitions, schema
from kubemtu_lab.api.errors import Refusal
from kubemtu_lab.api.resources import DEFINITIONS, Object, Resource

PORT: Object = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
SPEC: Object = {
    "type": "object",
    "required": ["mtu"],
    "properties": {
        "mtu": {"type": "integer", "minimum": 68, "maximum": 65535},
        "mode": {"type": "string", "enum": ["Live", "Rollout"], "default": "Live"},
        "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 5},
        "ports": {"type": "array", "minItems": 1, "maxItems": 2, "items": PORT},
        "most": {"x-kubernetes-int-or-string": True},
        "note": {"type": "string", "nullable": True},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "on": {"type": "boolean"},
        "since": {"type": "string", "format": "date-time"},
        "share": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
    },
}
WIDGET = Resource(
    group="lab.example",
    plural="widgets",
    kind="Widget",
    custom=True,
    schema={"type": "object", "required": ["spec"], "properties": {"spec": SPEC}},
)


def admitted(**spec: object) -> Object:
    candidate: Object = {"apiVersion": "lab.example/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}
    schema.admit(WIDGET, "w", candidate)
    found: Object = candidate["spec"]
    return found


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "spec.mtu: Required value"),
        ({"mtu": "1450"}, 'spec.mtu: Invalid value: "string": spec.mtu in body must be of type integer: "string"'),
        ({"mtu": True}, 'spec.mtu: Invalid value: "boolean": spec.mtu in body must be of type integer: "boolean"'),
        ({"mtu": 1450.5}, 'spec.mtu: Invalid value: "number": spec.mtu in body must be of type integer: "number"'),
        ({"mtu": None}, "spec.mtu: Required value"),
        ({"mtu": 67}, "spec.mtu: Invalid value: 67: spec.mtu in body should be greater than or equal to 68"),
        ({"mtu": 65536}, "spec.mtu: Invalid value: 65536: spec.mtu in body should be less than or equal to 65535"),
        ({"mtu": 68, "mode": "x"}, 'spec.mode: Unsupported value: "x": supported values: "Live", "Rollout"'),
        ({"mtu": 68, "name": "AB"}, "spec.name in body should match '^[a-z]+$'"),
        ({"mtu": 68, "name": "a"}, "spec.name in body should be at least 2 chars long"),
        ({"mtu": 68, "name": "abcdef"}, "spec.name: Too long: may not be more than 5 bytes"),
        ({"mtu": 68, "since": ""}, 'spec.since: Invalid value: "": spec.since in body must be of type date-time: ""'),
        ({"mtu": 68, "since": "2026-11-26"}, "spec.since in body must be of type date-time"),
        ({"mtu": 68, "ports": []}, "spec.ports in body should have at least 1 items"),
        ({"mtu": 68, "ports": [{"name": "a"}] * 3}, "spec.ports: Too many: 3: must have at most 2 items"),
        ({"mtu": 68, "ports": [{"name": "a"}, {}]}, "spec.ports[1].name: Required value"),
        ({"mtu": 68, "most": [1]}, "spec.most in body must be of type integer,string"),
        ({"mtu": 68, "labels": {"a": 1}}, "spec.labels.a in body must be of type string"),
        ({"mtu": 68, "share": 0}, "spec.share in body should be greater than 0"),
    ],
)
def test_what_breaks_the_schema_is_refused(spec: Object, message: str) -> None:
    with pytest.raises(Refusal) as refused:
        admitted(**spec)
    assert (refused.value.code, refused.value.reason) == (422, "Invalid")
    assert refused.value.message.startswith('Widget.lab.example "w" is invalid: ')
    assert message in refused.value.message


def test_all_causes_are_told_at_once() -> None:
    with pytest.raises(Refusal) as refused:
        admitted(mtu=1, mode="x")
    causes = refused.value.status["details"]["causes"]
    assert [(each["field"], each["reason"]) for each in causes] == [
        ("spec.mtu", "FieldValueInvalid"),
        ("spec.mode", "FieldValueNotSupported"),
    ]


@pytest.mark.parametrize("most", [1, "34%"])
def test_what_keeps_to_the_schema_passes(most: object) -> None:
    spec = {"mtu": 9000, "mode": "Rollout", "name": "abc", "ports": [{"name": "a"}], "most": most, "on": False}
    moment = "2026-11-26T12:00:00.5+01:00"
    assert admitted(**spec, note=None, share=0.5, labels={"a": "b"}, since=moment) == spec | {
        "since": moment,
        "note": None,
        "share": 0.5,
        "labels": {"a": "b"},
    }


def test_unknown_fields_are_pruned_and_defaults_filled_in() -> None:
    assert admitted(mtu=1450, surprise=1, free={"kept": [1, {"too": True}]}) == {
        "mtu": 1450,
        "mode": "Live",
        "free": {"kept": [1, {"too": True}]},
    }


def test_a_missing_part_is_named() -> None:
    with pytest.raises(Refusal, match="spec: Required value"):
        schema.admit(WIDGET, "w", {"metadata": {"name": "w"}})


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({}, "spec.group: Required value"),
        ({"spec": {}}, "spec.names.plural: Required value"),
        (
            {"spec": {"group": "lab.example", "scope": "Cluster", "names": {"plural": "others", "kind": "Other"}}},
            'must be spec.names.plural+"."+spec.group',
        ),
        (
            {
                "spec": {
                    "group": "lab.example",
                    "scope": "Cluster",
                    "names": {"plural": "widgets", "kind": "Widget"},
                    "versions": [{"name": "v1", "served": True, "storage": True}],
                }
            },
            "spec.versions[0].schema.openAPIV3Schema: Required value",
        ),
        ({"spec": {"versions": []}}, "must have exactly one version marked as storage version"),
    ],
)
def test_a_definition_that_cannot_be_served_is_refused(definition: Object, message: str) -> None:
    with pytest.raises(Refusal) as refused:
        definitions.check(DEFINITIONS, "widgets.lab.example", definition, None)
    assert refused.value.code == 422
    assert message in refused.value.message


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        (
            {"metadata": {"type": "object", "description": "Standard object metadata."}},
            "[metadata]: Forbidden: must not",
        ),
        (
            {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}},
            "[metadata]: Forbidden: must not",
        ),
        ({"kind": {"type": "integer"}}, '[kind].type: Invalid value: "integer": must be string'),
        ({"metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 63}}}}, None),
        ({"kind": {"type": "string", "description": "The kind."}, "metadata": {"type": "object"}}, None),
    ],
)
def test_what_every_object_has_is_not_the_definitions_to_describe(properties: Object, message: str | None) -> None:
    """A kube-apiserver refuses even a description there (pkg/apiserver/schema/validation.go)."""
    definition: Object = {
        "spec": {
            "group": "lab.example",
            "scope": "Cluster",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
                }
            ],
        }
    }
    if message is None:
        definitions.check(DEFINITIONS, "widgets.lab.example", definition, None)
        return
    with pytest.raises(Refusal) as refused:
        definitions.check(DEFINITIONS, "widgets.lab.example", definition, None)
    assert refused.value.code == 422
    assert message in refused.value.message

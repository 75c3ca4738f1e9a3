"""The types of the fields of built-in kinds, as far as the lab or its tools read them, and what a wrong one is told.

A number in a ConfigMap's data is the mistake that people make here: `veth_mtu: 1450` without quotes.
Source: kubernetes/api `core/v1/types.go`, `apps/v1/types.go`, `apiextensions/v1/types.go`; the words are
encoding/json's.
"""

import re
from collections.abc import Mapping

import msgspec

from kubemtu_lab.api.resources import Object, Resource, copied

_TOLD = re.compile(r"Expected `(?P<expected>[^`]*)`, got `(?P<got>\w+)`(?: - at `\$\.?(?P<path>.*)`)?")
_LACKING = re.compile(r"Object missing required field `(?P<field>\w+)`(?: - at `\$\.?(?P<path>.*)`)?")
_GO_TYPES = {"str": "string", "int": "int64", "object": "map[string]interface {}", "array": "[]interface {}"}
_JSON_NAMES = {"str": "string", "int": "number", "float": "number"}

Words = dict[str, str | None]


class Shape(msgspec.Struct, rename="camel"):
    """What any of these objects may have; unknown fields are let be."""


class _OwnerReference(Shape):
    uid: str = ""
    kind: str = ""
    name: str = ""
    controller: bool | None = None


class _ObjectMeta(Shape):
    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    labels: Words | None = None
    annotations: Words | None = None
    finalizers: list[str] | None = None
    owner_references: list[_OwnerReference] | None = None


class _Anything(Shape):
    metadata: _ObjectMeta | None = None
    spec: dict[str, object] | None = None
    status: dict[str, object] | None = None


class _Texts(Shape):
    metadata: _ObjectMeta | None = None
    data: Words | None = None
    string_data: Words | None = None
    binary_data: Words | None = None


class _Env(Shape):
    name: str = ""
    value: str | None = None


class _Container(Shape):
    name: str = ""
    image: str | None = None
    env: list[_Env] | None = None
    command: list[str] | None = None
    args: list[str] | None = None


class _PodSpec(Shape):
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None
    node_name: str | None = None
    node_selector: Words | None = None
    host_network: bool | None = None
    termination_grace_period_seconds: int | None = None
    volumes: list[dict[str, object]] | None = None


class _Condition(Shape):
    type: str = ""
    status: str = ""


class _PodStatus(Shape):
    phase: str | None = None
    conditions: list[_Condition] | None = None


class _Pod(Shape):
    metadata: _ObjectMeta | None = None
    spec: _PodSpec | None = None
    status: _PodStatus | None = None


class _NodeSpec(Shape):
    unschedulable: bool | None = None
    # "podCIDR" is what camel case of the field would not give.
    pod_cidr: str | None = msgspec.field(name="podCIDR", default=None)


class _NodeStatus(Shape):
    conditions: list[_Condition] | None = None
    addresses: list[dict[str, str]] | None = None


class _Node(Shape):
    metadata: _ObjectMeta | None = None
    spec: _NodeSpec | None = None
    status: _NodeStatus | None = None


class _Template(Shape):
    metadata: _ObjectMeta | None = None
    spec: _PodSpec | None = None


class _Selector(Shape):
    match_labels: Words | None = None


class _RollingUpdate(Shape):
    max_unavailable: int | str | None = None
    max_surge: int | str | None = None


class _UpdateStrategy(Shape):
    type: str | None = None
    rolling_update: _RollingUpdate | None = None


class _WorkloadSpec(Shape):
    selector: _Selector | None = None
    template: _Template | None = None
    update_strategy: _UpdateStrategy | None = None
    replicas: int | None = None


class _Workload(Shape):
    metadata: _ObjectMeta | None = None
    spec: _WorkloadSpec | None = None
    status: dict[str, object] | None = None


class _Names(Shape):
    plural: str = ""
    kind: str = ""
    singular: str | None = None
    list_kind: str | None = None
    short_names: list[str] | None = None
    categories: list[str] | None = None


class _Validation(Shape):
    open_api_v3_schema: dict[str, object] | None = msgspec.field(name="openAPIV3Schema", default=None)


class _PrinterColumn(Shape):
    name: str
    json_path: str
    type: str = "string"
    priority: int = 0


class _Version(Shape):
    name: str
    served: bool = False
    storage: bool = False
    schema: _Validation | None = None
    subresources: dict[str, object] | None = None
    additional_printer_columns: list[_PrinterColumn] | None = None


class _DefinitionSpec(Shape):
    group: str = ""
    scope: str = ""
    names: _Names | None = None
    versions: list[_Version] | None = None


class _Definition(Shape):
    metadata: _ObjectMeta | None = None
    spec: _DefinitionSpec | None = None


class _Subject(Shape):
    kind: str = ""
    name: str = ""
    namespace: str | None = None


class _RoleRef(Shape):
    kind: str = ""
    name: str = ""


class _Rule(Shape):
    verbs: list[str] | None = None
    api_groups: list[str] | None = None
    resources: list[str] | None = None
    resource_names: list[str] | None = None


class _Rbac(Shape):
    metadata: _ObjectMeta | None = None
    subjects: list[_Subject] | None = None
    role_ref: _RoleRef | None = None
    rules: list[_Rule] | None = None


class _ServicePort(Shape):
    port: int
    name: str | None = None
    protocol: str | None = None
    target_port: int | str | None = None
    node_port: int | None = None


class _ServiceSpec(Shape):
    # "clusterIP" is what camel case of the field would not give.
    cluster_ip: str | None = msgspec.field(name="clusterIP", default=None)
    cluster_ips: list[str] | None = msgspec.field(name="clusterIPs", default=None)
    selector: Words | None = None
    ports: list[_ServicePort] | None = None
    type: str | None = None


class _Service(Shape):
    metadata: _ObjectMeta | None = None
    spec: _ServiceSpec | None = None


_SHAPES: Mapping[str, type[Shape]] = {
    "ConfigMap": _Texts,
    "CustomResourceDefinition": _Definition,
    "DaemonSet": _Workload,
    "Deployment": _Workload,
    "Node": _Node,
    "Pod": _Pod,
    "ReplicaSet": _Workload,
    "Secret": _Texts,
    "Service": _Service,
    "StatefulSet": _Workload,
}


def mistyped(resource: Resource, body: Object) -> str:
    """Return what a typed decoder says about the first field of the wrong type, or nothing."""
    shape = _SHAPES.get(resource.kind, _Rbac if resource.group.startswith("rbac.") else _Anything)
    if resource.custom:
        body, shape = {"metadata": body.get("metadata")}, _Anything
    try:
        msgspec.convert(body, shape)
    except msgspec.ValidationError as wrong:
        return _in_go_words(resource, str(wrong))
    return ""


def decoded(resource: Resource, body: Object) -> Object:
    """Return a copy of a well-typed body in which null means what it means to Go: absent, and in a text map empty."""
    fresh = copied(body)
    if resource.custom:
        if fresh.get("metadata") is None:
            fresh.pop("metadata", None)
    else:
        for texts in (fresh.get(field) for field in ("data", "stringData")):
            if isinstance(texts, dict):
                texts.update({key: "" for key, text in texts.items() if text is None})
        _drop_nulls(fresh)
    return {"apiVersion": resource.api_version, "kind": resource.kind} | fresh


def _drop_nulls(item: Object) -> None:
    for field in [field for field, value in item.items() if value is None]:
        del item[field]
    for value in item.values():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                _drop_nulls(each)


def _in_go_words(resource: Resource, message: str) -> str:
    head = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
    if found := _TOLD.match(message):
        expected = found["expected"].removesuffix(" | null")
        path = f"{resource.kind}.{_plain(found['path'])}".rstrip(".")
        got = _JSON_NAMES.get(found["got"], found["got"])
        expected = _GO_TYPES.get(expected, expected)
        return f"{head}json: cannot unmarshal {got} into Go struct field {path} of type {expected}"
    if found := _LACKING.match(message):
        return f"{head}{_plain(found['path'])}: required field {found['field']} is missing"
    return head + message


def _plain(path: str | None) -> str:
    return (path or "").replace("[...]", "")

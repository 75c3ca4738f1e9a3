"""The definitions: one source, every field of the records in the schema, and installed until they are served."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

import kubemtu
from kubemtu.core import errors, net
from kubemtu.core.change import migration, plan, undo
from kubemtu.core.objects import Object
from kubemtu.core.probe import request
from kubemtu.kube import crd
from kubemtu.kube import errors as kube_errors
from kubemtu.kube.api import Api
from kubemtu.kube.records import AgentIdentity, Condition, Entry

Scripted = Callable[..., tuple[Api, list[httpx2.Request]]]
As = Callable[[str], AbstractAsyncContextManager[Api]]

DEPLOY = Path(__file__).parents[2] / "deploy" / "crds"
GROUP = "/apis/apiextensions.k8s.io/v1"
ONE = f"{GROUP}/customresourcedefinitions/mtumigrations.kubemtu.io"
DISCOVERY = {
    f"GET {GROUP}": {
        "resources": [{"kind": "CustomResourceDefinition", "name": "customresourcedefinitions", "namespaced": False}]
    }
}


def schema(plural: str, *path: str) -> Object:
    """The schema of one field of one definition."""
    definition = dict(zip(crd.plurals(), crd.definitions(), strict=True))[plural]
    version = next(Object.of(definition).each("spec", "versions"))
    here: tuple[str, ...] = ("schema", "openAPIV3Schema")
    for key in path:
        here = (*here, "items") if key == "[]" else (*here, "properties", key)
    return Object.of(version.mapping(*here), origin=".".join(path))


@pytest.mark.parametrize(
    ("plural", "path", "record"),
    [
        ("nodemtus", ("spec",), migration.Desired),
        ("nodemtus", ("spec", "ports"), net.PortRule),
        ("nodemtus", ("status", "applied"), migration.Applied),
        ("nodemtus", ("status", "agent"), AgentIdentity),
        ("nodemtus", ("status", "observation"), net.NodeObservation),
        ("mtumigrations", ("spec", "plan"), plan.Plan),
        ("nodemtus", ("status", "conditions", "[]"), Condition),
        ("mtumigrations", ("status", "progress"), undo.Progress),
        ("mtumigrations", ("status", "conditions", "[]"), Condition),
        ("mtumigrations", ("status", "journal", "[]"), Entry),
        ("mtuprobes", ("spec",), request.ProbeRequest),
        ("mtuprobes", ("spec", "responders", "[]"), request.Namespace),
        ("mtuprobes", ("spec", "inspect", "[]"), request.Namespace),
        ("mtuprobes", ("spec", "flush", "[]"), request.Namespace),
        ("mtuprobes", ("spec", "paths", "[]"), request.PathRequest),
        ("mtuprobes", ("spec", "paths", "[]", "from"), request.Namespace),
        ("mtuprobes", ("spec", "mesh"), request.MeshRequest),
        ("mtuprobes", ("spec", "mesh", "members", "[]"), request.MeshMember),
    ],
)
def test_the_schema_has_every_field_of_the_record_and_no_other(
    plural: str, path: tuple[str, ...], record: type[msgspec.Struct]
) -> None:
    fields = msgspec.structs.fields(record)
    found = schema(plural, *path)
    assert set(found.mapping("properties")) == {field.encode_name for field in fields}
    required = found.get("required") or []
    assert isinstance(required, list)
    assert set(required) <= {field.encode_name for field in fields if field.required}


def test_a_report_of_an_mtuprobe_is_in_the_schema_too() -> None:
    found = schema("nodemtus", "status", "probes").get("additionalProperties", "properties")
    assert isinstance(found, dict)
    assert found.keys() == {field.encode_name for field in msgspec.structs.fields(request.ProbeReport)}


def test_the_phases_of_the_schema_are_those_of_the_table() -> None:
    assert schema("nodemtus", "spec", "phase").get("enum") == [
        "Record", "PinPods", "PinOverlay", "PinPorts", "Devices", "UnpinPorts", "UnpinOverlay", "UnpinPods", "Settle",
    ]  # fmt: skip
    assert schema("nodemtus", "spec", "phase").get("enum") == [str(phase) for phase in migration.ORDER]


def _schemas(node: object) -> Iterator[dict[str, object]]:
    if isinstance(node, dict):
        yield node
        for key in ("properties", "items", "additionalProperties"):
            inner = node.get(key)
            for one in inner.values() if key == "properties" and isinstance(inner, dict) else [inner]:
                yield from _schemas(one)


def test_the_schemas_are_structural() -> None:
    """Every node has a type (Kubernetes documentation, "Specifying a structural schema")."""
    for plural in crd.plurals():
        assert all(node.get("type") for node in _schemas(schema(plural).body))


def fields(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every schema below one, by its path."""
    yield path, node
    for name, field in node.get("properties", {}).items():
        yield from fields(field, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from fields(node[key], f"{path}.{key}")


@pytest.mark.parametrize("plural", ["mtumigrations", "mtupolicies", "mtuprobes", "nodemtus"])
def test_every_field_is_described_in_plain_sentences(plural: str) -> None:
    """A sentence that ends, in words: `kubectl explain` has nothing else to say of a field."""
    described = {path: str(field.get("description", "")) for path, field in fields(schema(plural).body)}
    assert len(described) > 8
    assert {path: text for path, text in described.items() if len(text) < 5 or not text.endswith(".")} == {}
    names = [name for path in described for name in path.split(".") if name not in {"items", "additionalProperties"}]
    assert [name for name in names if not re.fullmatch(r"([a-z][a-zA-Z]*)?", name)] == []


@pytest.mark.parametrize("plural", ["mtumigrations", "mtupolicies", "mtuprobes", "nodemtus"])
def test_lists_of_what_people_write_have_an_end(plural: str) -> None:
    """And so do texts and numbers: nobody's mistake fills etcd. But a plan, which is kubemtu's own."""
    for path, field in fields(schema(plural, "spec").body):
        if path.startswith(".plan"):
            continue
        match field["type"]:
            case "array":
                assert "maxItems" in field, path
            case "string":
                assert "maxLength" in field or "enum" in field, path
            case "integer" | "number":
                assert "minimum" in field, path


@pytest.mark.parametrize("plural", ["mtumigrations", "nodemtus"])
def test_conditions_have_the_form_of_kubernetes(plural: str) -> None:
    """As in `k8s.io/apimachinery/pkg/apis/meta/v1/types.go`, Condition, and its bounds there."""
    conditions = schema(plural, "status", "conditions").body
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    one = schema(plural, "status", "conditions", "[]")
    assert one.get("required") == ["type", "status", "reason", "message", "lastTransitionTime"]
    lengths = {name: one.integer("properties", name, "maxLength") for name in ("type", "reason", "message")}
    assert lengths == {"type": 316, "reason": 1024, "message": 32768}
    assert one.get("properties", "status", "enum") == ["True", "False", "Unknown"]


@pytest.mark.parametrize("definition", crd.definitions())
def test_a_definition_is_one_that_a_server_takes(definition: dict[str, object]) -> None:
    """Kube-apiserver 1.36 refuses a schema that says anything of `metadata`, which is implied, but bounds of a name."""
    (version,) = Object.of(definition).each("spec", "versions")
    assert "metadata" not in version.mapping("schema", "openAPIV3Schema", "properties")
    columns = list(version.each("additionalPrinterColumns"))
    assert all((column.text("description") or "").endswith(".") for column in columns)
    assert all((column.text("jsonPath") or "").startswith(".") for column in columns)


def test_every_kind_is_deployed_with_its_version_and_nothing_else_is() -> None:
    assert set(crd.plurals()) >= {"mtumigrations", "mtuprobes", "nodemtus"}
    assert sorted(path.name for path in DEPLOY.iterdir()) == [f"{plural}.yaml" for plural in crd.plurals()]
    for definition in crd.definitions():
        metadata = Object.of(definition).mapping("metadata")
        assert metadata["annotations"] == {"kubemtu.io/version": kubemtu.__version__}
        assert metadata["labels"] == {"app.kubernetes.io/name": "kubemtu"}


async def test_install_twice(api: Api) -> None:
    await crd.install(api)
    await crd.install(api)
    assert await api.serves("kubemtu.io/v1alpha1", "nodemtus")
    assert await api.serves("kubemtu.io/v1alpha1", "mtumigrations")
    assert await api.serves("kubemtu.io/v1alpha1", "mtuprobes")


async def test_the_schema_refuses_what_no_node_can_be(api: Api) -> None:
    await crd.install(api)
    body = {"apiVersion": "kubemtu.io/v1alpha1", "kind": "NodeMTU", "metadata": {"name": "n1"}}
    spec = {
        "migration": "m",
        "phase": "Record",
        "pinMtu": 67,
        "highestMtu": 1450,
        "podMtu": 1400,
        "originMtu": 1450,
        "ports": {},
    }
    with pytest.raises(kube_errors.Rejected, match=r"spec\.pinMtu"):
        await api.create({**body, "spec": spec})
    with pytest.raises(kube_errors.Rejected, match=r"spec\.phase"):
        await api.create({**body, "spec": {**spec, "pinMtu": 1400, "phase": "Later"}})
    await api.create({**body, "spec": {**spec, "pinMtu": 1400}})


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"responders": [{"link": "cali1"}]}, r"spec\.responders(\[0\])?\.node"),
        ({"paths": [{"name": "a", "from": {"node": "n1"}}]}, r"spec\.paths(\[0\])?\.address"),
        ({"paths": [{"name": "a", "from": {"node": "n1"}, "address": "x", "flows": 0}]}, r"spec\.paths(\[0\])?\.flows"),
        (
            {"paths": [{"name": "a", "from": {"node": "n1"}, "address": "x", "port": 65536}]},
            r"spec\.paths(\[0\])?\.port",
        ),
        ({"mesh": {"members": [], "expected": 67}}, r"spec\.mesh\.expected"),
        ({"mesh": {"members": [], "expected": 1500, "offsets": [0]}}, r"spec\.mesh\.offsets(\[0\])?"),
        ({"timeoutSeconds": 0}, r"spec\.timeoutSeconds"),
        ({"timeoutSeconds": 3601}, r"spec\.timeoutSeconds"),
    ],
)
async def test_the_schema_refuses_what_nobody_can_measure(api: Api, spec: dict[str, object], where: str) -> None:
    """Which place of a list it was, old servers do not say (1.20)."""
    await crd.install(api)
    body = {"apiVersion": "kubemtu.io/v1alpha1", "kind": "MTUProbe", "metadata": {"name": "p1"}}
    with pytest.raises(kube_errors.Rejected, match=where):
        await api.create({**body, "spec": spec})


async def test_without_the_right(as_user: As) -> None:
    async with as_user("reader") as api:
        with pytest.raises(errors.Forbidden, match="reader may not get customresourcedefinitions") as caught:
            await crd.install(api)
    assert caught.value.exit_code == 4
    assert "`kubectl auth can-i get customresourcedefinitions.apiextensions.k8s.io/mtumigrations.kubemtu.io" in str(
        caught.value
    )


def defined(*conditions: dict[str, str]) -> dict[str, object]:
    return {**crd.definitions()[0], "status": {"conditions": list(conditions)}}


async def test_names_that_are_taken(scripted: Scripted) -> None:
    taken = {"type": "NamesAccepted", "status": "False", "message": "MTUMigration is already in use"}
    api, _ = scripted({**DISCOVERY, f"PATCH {ONE}": defined(taken)})
    async with api:
        with pytest.raises(
            errors.Surprise, match="is not accepted: MTUMigration is already in use; another def"
        ) as caught:
            await crd.install(api)
    assert caught.value.exit_code == 8


async def test_a_kind_that_never_comes(scripted: Scripted) -> None:
    established = {"type": "Established", "status": "True"}
    api, _ = scripted({**DISCOVERY, f"PATCH {ONE}": defined(), f"GET {ONE}": defined(established)})
    async with api:
        with pytest.raises(errors.Surprise) as caught:
            await crd.install(api, seconds=0.2)
    assert str(caught.value) == (
        "https://k8s.example:6443 did not serve mtumigrations.kubemtu.io within 0.2 s; look at its conditions with "
        "`kubectl describe crd mtumigrations.kubemtu.io`, then run the same command again"
    )


async def test_a_definition_that_is_deleted_meanwhile(scripted: Scripted) -> None:
    api, _ = scripted({**DISCOVERY, f"PATCH {ONE}": defined()})
    async with api:
        with pytest.raises(errors.Conflict, match="was deleted while kubemtu installed it; run the same") as caught:
            await crd.install(api)
    assert caught.value.exit_code == 7

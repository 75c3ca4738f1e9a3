"""The API through lightkube, a client that is none of ours, and through bare HTTP where that hides too much."""

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator

import httpx2
import pytest
from lightkube import ApiError, AsyncClient, Client, KubeConfig
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.operators import BinaryOperator, SequenceOperator
from lightkube.resources.apps_v1 import DaemonSet
from lightkube.resources.core_v1 import ConfigMap, Namespace, Node, Pod
from lightkube.types import PatchType
from tests.support.lab_api import connect

from kubemtu_lab.api import ApiBackend, EmbeddedApi, embedded
from kubemtu_lab.api.resources import Object

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
Widget = create_namespaced_resource("lab.example", "v1", "Widget", "widgets")


@pytest.fixture
async def client(api: ApiBackend) -> AsyncIterator[AsyncClient]:
    lightkube = AsyncClient(KubeConfig.from_dict(api.kubeconfig()))
    yield lightkube
    await lightkube.close()


def configmap(name: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="default"), data=data)


def widgets() -> Object:
    spec = {"type": "object", "properties": {"mtu": {"type": "integer", "minimum": 68}}}
    status = {"type": "object", "properties": {"phase": {"type": "string"}}}
    schema = {"type": "object", "properties": {"spec": spec, "status": status}}
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.lab.example"},
        "spec": {
            "group": "lab.example",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [version | {"schema": {"openAPIV3Schema": schema}}],
        },
    }


async def define_widgets(http: httpx2.AsyncClient) -> None:
    await http.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json=widgets())
    async with asyncio.timeout(60):
        while (await http.get("/apis/lab.example/v1/widgets")).status_code != 200:
            await asyncio.sleep(0.02)


async def test_the_synchronous_client_reads_pages(api: ApiBackend, client: AsyncClient) -> None:
    for number in range(7):
        await client.create(configmap(f"x{number}"))

    def read() -> list[str]:
        synchronous = Client(KubeConfig.from_dict(api.kubeconfig()))
        found = list(synchronous.list(ConfigMap, namespace="default", chunk_size=3))
        synchronous.close()
        return [each.metadata.name for each in found if each.metadata and each.metadata.name]

    names = [name for name in await asyncio.to_thread(read) if name != "kube-root-ca.crt"]
    assert names == [f"x{number}" for number in range(7)]


async def test_an_object_lives_and_dies(client: AsyncClient) -> None:
    made = await client.create(configmap("x", a="1"))
    assert made.metadata is not None
    made.data = {"a": "2"}
    replaced = await client.replace(made)
    patched = await client.patch(ConfigMap, "x", {"data": {"a": None, "b": "3"}}, patch_type=PatchType.MERGE)
    assert replaced.data == {"a": "2"}
    assert patched.data == {"b": "3"}
    await client.delete(ConfigMap, "x")
    with pytest.raises(ApiError) as refused:
        await client.get(ConfigMap, "x")
    assert (refused.value.status.code, refused.value.status.reason) == (404, "NotFound")


async def test_a_stale_write_is_a_conflict(client: AsyncClient) -> None:
    stale = await client.create(configmap("x", a="1"))
    await client.patch(ConfigMap, "x", {"data": {"a": "2"}})
    stale.data = {"a": "3"}
    with pytest.raises(ApiError) as refused:
        await client.replace(stale)
    assert refused.value.status.code == 409
    assert refused.value.status.message == (
        'Operation cannot be fulfilled on configmaps "x": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert stale.metadata is not None
    version = {"metadata": {"resourceVersion": stale.metadata.resourceVersion}, "data": {"a": "4"}}
    with pytest.raises(ApiError, match="the object has been modified"):
        await client.patch(ConfigMap, "x", version)


async def test_a_watch_reports_changes_in_order(client: AsyncClient) -> None:
    made = await client.create(configmap("x", a="1"))
    assert made.metadata is not None
    seen: list[tuple[str, dict[str, str] | None]] = []

    async def watch() -> None:
        assert made.metadata is not None
        version = made.metadata.resourceVersion
        async for kind, item in client.watch(ConfigMap, namespace="default", resource_version=version):
            seen.append((kind, item.data))
            if kind == "DELETED":
                return

    watching = asyncio.create_task(watch())
    await client.patch(ConfigMap, "x", {"data": {"a": "2"}})
    await client.delete(ConfigMap, "x")
    await asyncio.wait_for(watching, 60)
    assert seen == [("MODIFIED", {"a": "2"}), ("DELETED", {"a": "2"})]


async def test_a_watch_without_a_version_begins_with_what_is_there(client: AsyncClient) -> None:
    await client.create(configmap("x", a="1"))
    fields: dict[str, str | BinaryOperator | SequenceOperator] = {"metadata.name": "x"}
    async for kind, item in client.watch(ConfigMap, namespace="default", fields=fields):
        assert item.metadata is not None
        assert (kind, item.metadata.name) == ("ADDED", "x")
        break


async def test_a_watch_from_a_forgotten_version_is_gone() -> None:
    async with EmbeddedApi() as api:
        client = AsyncClient(KubeConfig.from_dict(api.kubeconfig()))
        made = await client.create(configmap("x"))
        await client.patch(ConfigMap, "x", {"data": {"a": "1"}})
        api.store.compact()
        assert made.metadata is not None
        events = aiter(client.watch(ConfigMap, resource_version=made.metadata.resourceVersion))
        with pytest.raises(ApiError) as refused:
            await anext(events)
        assert refused.value.status.code == 410
        await client.close()


async def test_a_page_of_a_forgotten_list_is_gone() -> None:
    async with EmbeddedApi() as api, connect(api.kubeconfig()) as http:
        first = (await http.get("/api/v1/namespaces", params={"limit": "2"})).json()
        assert first["metadata"]["remainingItemCount"] == 2
        await http.post("/api/v1/namespaces", json={"metadata": {"name": "new"}})
        api.store.compact()
        query = {"limit": "2", "continue": first["metadata"]["continue"]}
        answer = await http.get("/api/v1/namespaces", params=query)
        assert (answer.status_code, answer.json()["reason"]) == (410, "Expired")


async def test_bookmarks_carry_the_version_on() -> None:
    async with EmbeddedApi() as api, connect(api.kubeconfig()) as http:
        await http.post(CONFIGMAPS, json={"metadata": {"name": "x"}})
        query = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": "0.1"}
        version = str(api.store.version)
        answer = await http.get("/api/v1/nodes", params=query | {"resourceVersion": version})
        assert [event["type"] for event in map(_decoded, answer.text.splitlines())] == ["BOOKMARK"]
        assert _decoded(answer.text)["object"] == {
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": version},
        }


def _decoded(line: str) -> Object:
    event: Object = httpx2.Response(200, text=line).json()
    return event


async def test_a_streamed_list_ends_with_its_bookmark() -> None:
    async with EmbeddedApi() as api, connect(api.kubeconfig()) as http:
        query = {"watch": "1", "allowWatchBookmarks": "true", "sendInitialEvents": "true", "timeoutSeconds": "0"}
        query |= {"resourceVersionMatch": "NotOlderThan"}
        lines = (await http.get("/api/v1/namespaces", params=query)).text.splitlines()
        events = [_decoded(line) for line in lines]
        assert [event["type"] for event in events[:5]] == ["ADDED"] * 4 + ["BOOKMARK"]
        assert events[4]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_apply_creates_then_changes(client: AsyncClient) -> None:
    wanted = configmap("x", a="1")
    made = await client.apply(wanted, field_manager="lab", force=True)
    assert made.data == {"a": "1"}
    wanted = configmap("x", b="2", a="3")
    changed = await client.apply(wanted, field_manager="lab", force=True)
    assert changed.data == {"a": "3", "b": "2"}
    assert made.metadata is not None
    assert changed.metadata is not None
    assert made.metadata.uid == changed.metadata.uid


async def test_kinds_are_served_as_soon_as_they_are_defined(client: AsyncClient, http: httpx2.AsyncClient) -> None:
    assert (await http.get("/apis/lab.example/v1/widgets")).status_code == 404
    await define_widgets(http)
    made = await client.create(Widget(metadata=ObjectMeta(name="w", namespace="default"), spec={"mtu": 1450}))
    assert made.metadata is not None
    assert made.metadata.generation == 1
    status = await client.patch(
        Widget.Status, "w", {"status": {"phase": "Ready"}, "spec": {"mtu": 99}}, patch_type=PatchType.MERGE
    )
    assert (status["status"], status["spec"]) == ({"phase": "Ready"}, {"mtu": 1450})
    changed = await client.patch(
        Widget, "w", {"spec": {"mtu": 1400}, "status": {"phase": "Lost"}}, patch_type=PatchType.MERGE
    )
    assert (changed["status"], changed["spec"]) == ({"phase": "Ready"}, {"mtu": 1400})
    assert changed.metadata is not None
    assert changed.metadata.generation == 2
    with pytest.raises(ApiError, match="should be greater than or equal to 68"):
        await client.patch(Widget, "w", {"spec": {"mtu": 67}}, patch_type=PatchType.MERGE)
    resources = (await http.get("/apis/lab.example/v1")).json()["resources"]
    assert [each["name"] for each in resources] == ["widgets", "widgets/status"]


async def test_a_strategic_patch_is_for_built_in_kinds_only(client: AsyncClient, http: httpx2.AsyncClient) -> None:
    await define_widgets(http)
    await client.create(Widget(metadata=ObjectMeta(name="w", namespace="default"), spec={"mtu": 1450}))
    with pytest.raises(ApiError) as refused:
        await client.patch(Widget, "w", {"spec": {"mtu": 1400}}, patch_type=PatchType.STRATEGIC)
    assert refused.value.status.code == 415


async def test_selectors_and_namespaces_narrow_a_list(client: AsyncClient) -> None:
    await client.create(Namespace(metadata=ObjectMeta(name="other")))
    spec = PodSpec(nodeName="n1", containers=[Container(name="c", image="i")])
    for namespace, name, app in (("default", "a", "canal"), ("default", "b", "x"), ("other", "c", "canal")):
        metadata = ObjectMeta(name=name, namespace=namespace, labels={"app": app})
        await client.create(Pod(metadata=metadata, spec=spec if name != "b" else PodSpec(containers=spec.containers)))

    async def names(found: AsyncIterable[Pod]) -> list[str | None]:
        return [pod.metadata.name async for pod in found if pod.metadata]

    assert await names(client.list(Pod, namespace="*", labels={"app": "canal"})) == ["a", "c"]
    assert await names(client.list(Pod, namespace="default", labels={"app": "canal"})) == ["a"]
    assert await names(client.list(Pod, namespace="*", fields={"spec.nodeName": "n1"})) == ["a", "c"]
    assert await names(client.list(Pod, namespace="*", fields={"status.phase": "Running"})) == []


async def test_a_collection_is_not_deleted_at_once(api: ApiBackend, http: httpx2.AsyncClient) -> None:
    if isinstance(api, EmbeddedApi):  # a real server does; nothing of the lab asks for it
        answer = await http.delete(CONFIGMAPS, params={"labelSelector": "app=canal"})
        assert (answer.status_code, answer.json()["reason"]) == (405, "MethodNotAllowed")


async def test_a_cordon_is_a_patch_of_a_node(client: AsyncClient) -> None:
    await client.create(Node(metadata=ObjectMeta(name="n1")))
    node = await client.patch(Node, "n1", {"spec": {"unschedulable": True}})
    assert node.spec is not None
    assert node.spec.unschedulable is True


async def test_a_daemonset_keeps_its_shape(client: AsyncClient, http: httpx2.AsyncClient) -> None:
    labels = {"k8s-app": "canal"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "node", "image": "node:1"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    await http.post("/apis/apps/v1/namespaces/default/daemonsets", json={"metadata": {"name": "canal"}, "spec": spec})
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "node:2"}]
    changed = await client.patch(DaemonSet, "canal", patch, patch_type=PatchType.JSON)
    assert changed.spec is not None
    assert changed.spec.template.spec is not None
    assert changed.spec.template.spec.containers[0].image == "node:2"
    assert changed.metadata is not None
    assert changed.metadata.generation == 2


@pytest.mark.parametrize(
    "case",
    [
        ("POST", CONFIGMAPS, "application/json", "{nonsense", 400, "BadRequest"),
        ("POST", CONFIGMAPS, "application/json", "[]", 400, "BadRequest"),
        ("POST", CONFIGMAPS, "application/yaml", "a: [", 400, "BadRequest"),
        ("PUT", CONFIGMAPS, "application/json", "{}", 405, "MethodNotAllowed"),
        ("GET", "/api/v1/nothings", "", "", 404, "NotFound"),
        ("GET", f"{CONFIGMAPS}?limit=many", "", "", 400, "BadRequest"),
        ("GET", "/api/v1/pods?fieldSelector=spec.color%3Dred", "", "", 400, "BadRequest"),
        ("PATCH", f"{CONFIGMAPS}/x", "text/plain", "{}", 415, "UnsupportedMediaType"),
    ],
)
async def test_what_makes_no_sense_is_answered_with_a_status(
    http: httpx2.AsyncClient, case: tuple[str, str, str, str, int, str]
) -> None:
    method, path, content_type, body, code, reason = case
    await http.post(CONFIGMAPS, json={"metadata": {"name": "x"}})
    answer = await http.request(method, path, content=body, headers={"content-type": content_type})
    assert answer.status_code == code
    told = answer.json()
    assert (told["kind"], told["status"], told["reason"], told["code"]) == ("Status", "Failure", reason, code)


async def test_a_group_that_nobody_knows_is_not_found(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/apis/no.group")).status_code == 404  # kube-apiserver says so in plain text


async def test_yaml_bodies_are_read_as_kubernetes_does(http: httpx2.AsyncClient) -> None:
    body = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n  annotations: {day: 2026-11-23}\ndata: {mtu: '1450'}\n"
    )
    answer = await http.post(CONFIGMAPS, content=body, headers={"content-type": "application/yaml"})
    assert answer.status_code == 201
    assert answer.json()["metadata"]["annotations"] == {"day": "2026-11-23"}


async def test_health_needs_no_token_and_everything_else_does(api: ApiBackend, http: httpx2.AsyncClient) -> None:
    strange = {"authorization": "Bearer nobody"}
    for path in ("/healthz", "/livez", "/readyz"):
        answer = await http.get(path, headers={"authorization": ""})
        assert (answer.status_code, answer.text) == (200, "ok")
    answer = await http.get("/api/v1/nodes", headers=strange)
    assert (answer.status_code, answer.json()["message"]) == (401, "Unauthorized")
    assert (await http.get("/version")).json()["gitVersion"].startswith("v1.")


async def test_the_server_brings_open_watches_to_their_end_when_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_ENDING_SECONDS", 60.0)
    api = EmbeddedApi()
    await api.start()
    query = {"watch": "1", "resourceVersion": str(api.store.version)}
    async with connect(api.kubeconfig()) as http, contextlib.AsyncExitStack() as watches, asyncio.timeout(60):
        answers = [
            await watches.enter_async_context(http.stream("GET", CONFIGMAPS, params=query, timeout=None))
            for _ in range(5)
        ]
        await api.stop()
        # An answer that is cut off, as slow ones are in the end, would raise here.
        assert [[line async for line in answer.aiter_lines()] for answer in answers] == [[]] * 5

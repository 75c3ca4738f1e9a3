"""The DaemonSet controller, with a kubelet that does nothing but mark pods Ready."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2
import pytest
from tests.support.lab_api import call

from kubemtu.core import objects
from kubemtu.core.objects import Ref
from kubemtu.kube.api import Api as Client
from kubemtu.kube.errors import Absent
from kubemtu_lab import controllers, informer, namespaces
from kubemtu_lab.api import ApiBackend
from kubemtu_lab.api.errors import STRATEGIC_PATCH
from kubemtu_lab.api.resources import Object

DAEMONSETS = "/apis/apps/v1/namespaces/kube-system/daemonsets"
PODS = "/api/v1/namespaces/kube-system/pods"
NODES = ("n1", "n2", "n3")
READY = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
MakeDaemonSet = Callable[..., Object]


class Kubelets:
    """All nodes' kubelets in one: pods become Ready, except those of an image called broken."""

    def __init__(self, api: Client) -> None:
        self.api = api
        self._changed = asyncio.Event()
        self.pods = informer.Informer(api, objects.PODS, self._changed)
        self.remove_ending = True

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.pods.run())
            while True:
                await self._changed.wait()
                self._changed.clear()
                for pod in list(self.pods.objects.values()):
                    await self._act(informer.ref(objects.PODS, pod), pod.body)

    async def _act(self, ref: Ref, pod: Object) -> None:
        with contextlib.suppress(Absent):
            if "deletionTimestamp" in pod["metadata"]:
                if self.remove_ending:
                    await self.api.delete(ref, grace_seconds=0)
                return
            if pod["spec"]["containers"][0]["image"] != "broken" and not pod["status"].get("conditions"):
                await self.api.patch(ref, READY, subresource="status")


@pytest.fixture
async def kubelets(api: ApiBackend, http: httpx2.AsyncClient) -> AsyncIterator[Kubelets]:
    for name in NODES:
        node: Object = {"metadata": {"name": name, "labels": {"pool": "b" if name == "n3" else "a"}}}
        await call(http, "POST", "/api/v1/nodes", node)
    synced = asyncio.Event()
    async with informer.connect(api.kubeconfig()) as client:
        running = Kubelets(client)
        tasks = [
            asyncio.create_task(controllers.run(client, synced=synced)),
            asyncio.create_task(running.run()),
        ]
        await asyncio.wait_for(synced.wait(), 30)
        yield running
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pods_of(http: httpx2.AsyncClient) -> list[Object]:
    found: list[Object] = (await call(http, "GET", PODS))["items"]
    return sorted(found, key=lambda pod: str(pod["spec"]["nodeName"]))


async def status_of(http: httpx2.AsyncClient, name: str = "canal") -> Object:
    found: Object = (await call(http, "GET", f"{DAEMONSETS}/{name}")).get("status", {})
    return found


async def is_rolled_out(http: httpx2.AsyncClient) -> bool:
    """Return what `kubectl rollout status` waits for."""
    daemonset = await call(http, "GET", f"{DAEMONSETS}/canal")
    status = daemonset.get("status", {})
    return bool(
        status.get("observedGeneration", 0) >= daemonset["metadata"]["generation"]
        and status.get("updatedNumberScheduled", 0) == status.get("desiredNumberScheduled") == len(NODES)
        and status.get("numberAvailable", 0) == len(NODES)
    )


async def set_image(http: httpx2.AsyncClient, image: str) -> None:
    containers = [{"name": "node", "image": image}]
    patch: Object = {"spec": {"template": {"spec": {"containers": containers}}}}
    await call(http, "PATCH", f"{DAEMONSETS}/canal", patch, content_type=STRATEGIC_PATCH)


async def images(http: httpx2.AsyncClient) -> list[str]:
    return [pod["spec"]["containers"][0]["image"] for pod in await pods_of(http)]


async def test_every_node_gets_one_pod_with_its_owner_and_labels(
    http: httpx2.AsyncClient, kubelets: Kubelets, eventually: Eventually, daemonset: MakeDaemonSet
) -> None:
    made = await call(http, "POST", DAEMONSETS, daemonset())
    await eventually(lambda: is_rolled_out(http))
    pods = await pods_of(http)
    assert [pod["spec"]["nodeName"] for pod in pods] == ["n1", "n2", "n3"]
    for pod in pods:
        assert pod["metadata"]["name"].startswith("canal-")
        assert len(pod["metadata"]["name"]) == len("canal-") + 5
        assert pod["metadata"]["labels"]["k8s-app"] == "canal"
        assert pod["metadata"]["labels"]["pod-template-generation"] == "1"
        assert pod["metadata"]["ownerReferences"] == [
            {
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "name": "canal",
                "uid": made["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
    assert len({pod["metadata"]["labels"]["controller-revision-hash"] for pod in pods}) == 1
    status = await status_of(http)
    assert status["desiredNumberScheduled"] == status["currentNumberScheduled"] == status["numberReady"] == 3
    assert "numberUnavailable" not in status


async def test_a_deleted_pod_comes_back_under_another_name(
    http: httpx2.AsyncClient, kubelets: Kubelets, eventually: Eventually, daemonset: MakeDaemonSet
) -> None:
    await call(http, "POST", DAEMONSETS, daemonset())
    await eventually(lambda: is_rolled_out(http))
    victim = (await pods_of(http))[1]["metadata"]["name"]
    await call(http, "DELETE", f"{PODS}/{victim}")

    async def replaced() -> bool:
        names = [pod["metadata"]["name"] for pod in await pods_of(http)]
        return len(names) == 3 and victim not in names and await is_rolled_out(http)

    await eventually(replaced)


async def test_a_pod_that_takes_its_time_is_replaced_only_when_it_is_gone(
    http: httpx2.AsyncClient, kubelets: Kubelets, eventually: Eventually, daemonset: MakeDaemonSet
) -> None:
    await call(http, "POST", DAEMONSETS, daemonset(grace=30))
    await eventually(lambda: is_rolled_out(http))
    kubelets.remove_ending = False
    victim = (await pods_of(http))[0]["metadata"]["name"]
    answer = await call(http, "DELETE", f"{PODS}/{victim}")
    assert answer["metadata"]["deletionGracePeriodSeconds"] == 30
    await eventually(lambda: _is(http, "numberUnavailable", 1))
    assert victim in [pod["metadata"]["name"] for pod in await pods_of(http)]
    await call(http, "DELETE", f"{PODS}/{victim}", {"gracePeriodSeconds": 0})
    await eventually(lambda: is_rolled_out(http))
    assert victim not in [pod["metadata"]["name"] for pod in await pods_of(http)]


async def _is(http: httpx2.AsyncClient, field: str, value: int) -> bool:
    return bool((await status_of(http)).get(field) == value)


async def test_a_rolling_update_takes_one_node_at_a_time(
    http: httpx2.AsyncClient, kubelets: Kubelets, eventually: Eventually, daemonset: MakeDaemonSet
) -> None:
    await call(http, "POST", DAEMONSETS, daemonset())
    await eventually(lambda: is_rolled_out(http))
    least_ready = 3

    async def watch() -> None:
        nonlocal least_ready
        following = informer.Informer(kubelets.api, objects.PODS, changed := asyncio.Event())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(following.run())
            while True:
                await changed.wait()
                changed.clear()
                ready = sum(1 for pod in following.objects.values() if pod.get("status", "conditions"))
                least_ready = min(least_ready, ready)

    watcher = asyncio.create_task(watch())
    await set_image(http, "node:2")
    await eventually(lambda: is_rolled_out(http))
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    assert await images(http) == ["node:2"] * 3
    assert least_ready >= 2


async def test_a_rollout_that_fails_stops_at_the_first_node(
    http: httpx2.AsyncClient, kubelets: Kubelets, eventually: Eventually, daemonset: MakeDaemonSet
) -> None:
    await call(http, "POST", DAEMONSETS, daemonset())
    await eventually(lambda: is_rolled_out(http))
    await set_image(http, "broken")
    await eventually(lambda: _is(http, "numberUnavailable", 1))
    await eventually(lambda: _is(http, "updatedNumberScheduled", 1))
    await asyncio.sleep(0.1)
    assert sorted(await images(http)) == ["broken", "node:1", "node:1"]
    await set_image(http, "node:3")
    await eventually(lambda: is_rolled_out(http))
    assert await images(http) == ["node:3"] * 3


async def test_a_percentage_of_nodes_rounds_up(
    http: httpx2.AsyncClient, kubelets: Kubelets, eventually: Eventually, daemonset: MakeDaemonSet
) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "34%"}}
    await call(http, "POST", DAEMONSETS, daemonset(updateStrategy=strategy))
    await eventually(lambda: is_rolled_out(http))
    await set_image(http, "broken")
    await eventually(lambda: _is(http, "updatedNumberScheduled", 2))
    await asyncio.sleep(0.1)
    assert sorted(await images(http)) == ["broken", "broken", "node:1"]


async def test_on_delete_leaves_old_pods_alone_until_somebody_deletes_them(
    http: httpx2.AsyncClient, kubelets: Kubelets, eventually: Eventually, daemonset: MakeDaemonSet
) -> None:
    await call(http, "POST", DAEMONSETS, daemonset(updateStrategy={"type": "OnDelete"}))
    await eventually(lambda: is_rolled_out(http))
    await set_image(http, "node:2")
    await eventually(lambda: _is(http, "observedGeneration", 2))
    assert await images(http) == ["node:1"] * 3
    await call(http, "DELETE", f"{PODS}/{(await pods_of(http))[0]['metadata']['name']}")
    await eventually(lambda: _is(http, "updatedNumberScheduled", 1))
    assert await images(http) == ["node:2", "node:1", "node:1"]


async def test_pods_follow_their_daemonset_and_their_nodes(
    http: httpx2.AsyncClient, kubelets: Kubelets, eventually: Eventually, daemonset: MakeDaemonSet
) -> None:
    await call(http, "POST", DAEMONSETS, daemonset())
    await eventually(lambda: is_rolled_out(http))

    async def names(*wanted: str) -> bool:
        return [pod["spec"]["nodeName"] for pod in await pods_of(http)] == list(wanted)

    await call(http, "DELETE", "/api/v1/nodes/n2")
    await eventually(lambda: names("n1", "n3"))
    await call(http, "POST", "/api/v1/nodes", {"metadata": {"name": "n4"}})
    await eventually(lambda: names("n1", "n3", "n4"))
    await call(http, "DELETE", f"{DAEMONSETS}/canal")
    await eventually(names)


async def test_a_node_selector_is_heeded(
    http: httpx2.AsyncClient, kubelets: Kubelets, eventually: Eventually, daemonset: MakeDaemonSet
) -> None:
    wanted = daemonset()
    wanted["spec"]["template"]["spec"]["nodeSelector"] = {"pool": "a"}
    await call(http, "POST", DAEMONSETS, wanted)
    await eventually(lambda: _is(http, "numberReady", 2))
    assert [pod["spec"]["nodeName"] for pod in await pods_of(http)] == ["n1", "n2"]


async def test_pods_of_others_are_left_alone(
    http: httpx2.AsyncClient, kubelets: Kubelets, eventually: Eventually, daemonset: MakeDaemonSet
) -> None:
    lonely = {"metadata": {"name": "lonely", "labels": {"k8s-app": "canal"}}}
    spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}
    await call(http, "POST", PODS, lonely | {"spec": spec})
    await call(http, "POST", DAEMONSETS, daemonset())
    await eventually(lambda: is_rolled_out(http))
    await call(http, "DELETE", f"{DAEMONSETS}/canal")

    async def only_the_lonely() -> bool:
        return [pod["metadata"]["name"] for pod in await pods_of(http)] == ["lonely"]

    await eventually(only_the_lonely)


def test_revisions_differ_by_content_and_not_by_order() -> None:
    first = {"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {}}
    second = {"spec": {}, "metadata": {"labels": {"b": "2", "a": "1"}}}
    other = {"spec": {}, "metadata": {"labels": {"b": "3", "a": "1"}}}
    assert controllers.revision_hash(first) == controllers.revision_hash(second)
    assert controllers.revision_hash(first) != controllers.revision_hash(other)


async def test_a_daemonset_that_waits_for_its_pods_goes_after_them(
    http: httpx2.AsyncClient, kubelets: Kubelets, eventually: Eventually, daemonset: MakeDaemonSet
) -> None:
    await call(http, "POST", DAEMONSETS, daemonset())
    await eventually(lambda: is_rolled_out(http))
    await call(http, "DELETE", f"{DAEMONSETS}/canal", {"kind": "DeleteOptions", "propagationPolicy": "Foreground"})

    async def is_gone() -> bool:
        return not (await call(http, "GET", DAEMONSETS))["items"] and not await pods_of(http)

    await eventually(is_gone)


async def test_a_namespace_is_emptied_and_goes(
    http: httpx2.AsyncClient, api: ApiBackend, eventually: Eventually
) -> None:
    await call(http, "POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
    await call(http, "POST", "/api/v1/namespaces/shop/configmaps", {"metadata": {"name": "prices"}})
    await call(http, "POST", "/api/v1/namespaces/shop/secrets", {"metadata": {"name": "till"}})

    async def is_gone() -> bool:
        return (await http.get("/api/v1/namespaces/shop")).status_code == httpx2.codes.NOT_FOUND

    async with informer.connect(api.kubeconfig()) as client:
        keeping = asyncio.create_task(namespaces.run(client))
        try:
            await call(http, "DELETE", "/api/v1/namespaces/shop")
            await eventually(is_gone)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
    for plural in ("configmaps", "secrets"):
        found = (await call(http, "GET", f"/api/v1/{plural}"))["items"]
        assert "shop" not in {one["metadata"]["namespace"] for one in found}

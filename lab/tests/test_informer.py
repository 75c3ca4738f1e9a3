"""Informers of a lab's API: true across a lost history, and never older than what was written."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from kubemtu.core.objects import Want
from kubemtu.kube.api import Api
from kubemtu_lab import informer
from kubemtu_lab.api import EmbeddedApi
from kubemtu_lab.api.store import DeleteOptions

CONFIGMAPS = Want(kind="ConfigMap", plural="configmaps", api_versions=("v1",), namespace="default")


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedApi]:
    async with EmbeddedApi() as server:
        yield server


@pytest.fixture
async def api(server: EmbeddedApi) -> AsyncIterator[Api]:
    async with informer.connect(server.kubeconfig()) as api:
        yield api


@contextlib.asynccontextmanager
async def following(api: Api) -> AsyncIterator[tuple[informer.Informer, Callable[..., Awaitable[None]]]]:
    """Return an informer of the ConfigMaps, and a wait for it to hold these names and no others."""
    changed = asyncio.Event()
    found = informer.Informer(api, CONFIGMAPS, changed)

    async def names(*wanted: str) -> None:
        async with asyncio.timeout(60):
            while not found.synced or sorted(each.name for each in found.objects.values()) != list(wanted):
                changed.clear()
                await changed.wait()

    task = asyncio.create_task(found.run())
    try:
        yield found, names
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def configmap(name: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": {"x": "1"},
    }


async def test_a_mirror_follows_across_a_compaction(server: EmbeddedApi, api: Api) -> None:
    async with following(api) as (_, names):
        await names()
        await api.create(configmap("a"))
        await names("a")
        server.store.compact()
        await api.create(configmap("b"))
        await names("a", "b")
        await api.delete(informer.at(CONFIGMAPS, "a", "default"))
        await names("b")


async def test_what_was_written_is_held_at_once_and_what_is_gone_stays_gone(api: Api) -> None:
    made = await api.create(configmap("a"))
    unwatched = informer.Informer(api, CONFIGMAPS, asyncio.Event())
    unwatched.enter(made)
    assert list(unwatched.objects) == [informer.uid(made)]
    async with following(api) as (found, names):
        await names("a")
        await api.delete(informer.at(CONFIGMAPS, "a", "default"))
        await names()
        found.enter(made)
        assert found.objects == {}


async def test_a_deletion_that_nobody_watched_is_told_later(server: EmbeddedApi, api: Api) -> None:
    resource = next(each for each in server.store.resources if each.plural == "configmaps")
    for name in ("a", "b"):
        await api.create(configmap(name))
    told = []
    async with asyncio.timeout(60), contextlib.aclosing(informer.changes(api, CONFIGMAPS)) as changes:
        async for body, is_there in changes:
            told.append((body.name, is_there))
            if len(told) == 2:
                server.store.delete(resource, "default", "a", DeleteOptions())
                server.store.compact()
            if told[-1] == ("b", True) and len(told) > 2:
                break
    assert told == [("a", True), ("b", True), ("a", False), ("b", True)]


async def test_only_the_objects_of_the_selector_are_told(api: Api) -> None:
    for name in ("a", "b"):
        await api.create(configmap(name))
    async with (
        asyncio.timeout(60),
        contextlib.aclosing(informer.changes(api, CONFIGMAPS, "metadata.name=b")) as changes,
    ):
        assert (await anext(changes))[0].name == "b"
        await api.create(configmap("c"))
        await api.delete(informer.at(CONFIGMAPS, "b", "default"))
        assert [(body.name, is_there) for body, is_there in [await anext(changes)]] == [("b", False)]


async def test_the_lab_writes_under_a_name_of_its_own(api: Api) -> None:
    made = await api.create(configmap("a"))
    assert [each.text("manager") for each in made.each("metadata", "managedFields")] == ["kubemtu-lab"]

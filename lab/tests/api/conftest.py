"""An API server for each test, the ways to talk to it, and the objects that many tests begin with."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import msgspec
import pytest
from tests.support.lab_api import connect

from kubemtu_lab.api import ApiBackend, api
from kubemtu_lab.api.resources import Object, Resource
from kubemtu_lab.api.store import Store

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
MakeDaemonSet = Callable[..., Object]


@pytest.fixture(name="api")
async def api_() -> AsyncIterator[ApiBackend]:
    """Return the real one when KUBEBUILDER_ASSETS is set; `viewer` is a user whom no rule knows."""
    async with api(users={"viewer": ["lab:viewers"]}) as server:
        yield server


@pytest.fixture
async def http(api: ApiBackend) -> AsyncIterator[httpx2.AsyncClient]:
    async with connect(api.kubeconfig()) as client:
        yield client


@pytest.fixture
def store() -> Store:
    return Store(clock=lambda: datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC))


@pytest.fixture
def configmaps(store: Store) -> Resource:
    return store.resource("", "v1", "configmaps")


@pytest.fixture
def pods(store: Store) -> Resource:
    return store.resource("", "v1", "pods")


@pytest.fixture
def kubeconfig_file(api: ApiBackend, tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_bytes(msgspec.json.encode(api.kubeconfig()))
    return path


@pytest.fixture
def eventually() -> Eventually:
    async def wait(holds: Callable[[], Awaitable[bool]]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                while not await holds():
                    await asyncio.sleep(0.005)
        assert await holds()

    return wait


@pytest.fixture
def daemonset() -> MakeDaemonSet:
    def make(name: str = "canal", image: str = "node:1", grace: int = 0, **spec: object) -> Object:
        labels = {"k8s-app": name}
        pod: Object = {"hostNetwork": True, "terminationGracePeriodSeconds": grace}
        pod["containers"] = [{"name": "node", "image": image}, {"name": "flannel", "image": "flannel:1"}]
        return {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": name, "namespace": "kube-system"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
                **spec,
            },
        }

    return make

"""The EndpointSlice controller, with pods whose status the test writes as a kubelet would."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.lab_api import call

from kubemtu.kube.api import Api as Client
from kubemtu_lab import endpoints, errors, informer, nft, proxy
from kubemtu_lab.api import ApiBackend
from kubemtu_lab.api.resources import Object

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
DEFAULT = "/api/v1/namespaces/default"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
MERGE = "application/merge-patch+json"


@pytest.fixture
async def client(api: ApiBackend) -> AsyncIterator[Client]:
    async with informer.connect(api.kubeconfig()) as found:
        task = asyncio.create_task(endpoints.run(found))
        yield found
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def make_pod(http: httpx2.AsyncClient, name: str, *addresses: str, app: str = "web", ready: bool = True) -> None:
    port = {"name": "named", "containerPort": 8080 if "old" in name else 8081}
    spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "i", "ports": [port]}]}
    await call(http, "POST", f"{DEFAULT}/pods", {"metadata": {"name": name, "labels": {"app": app}}, "spec": spec})
    await report(http, name, *addresses, ready=ready)


async def report(http: httpx2.AsyncClient, name: str, *addresses: str, ready: bool, phase: str = "Running") -> None:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    status = {"phase": phase, "conditions": conditions, "podIPs": [{"ip": each} for each in addresses]}
    status |= {"podIP": addresses[0]} if addresses else {}
    await call(http, "PATCH", f"{DEFAULT}/pods/{name}/status", {"status": status}, content_type=MERGE)


async def make_service(http: httpx2.AsyncClient, **spec: object) -> Object:
    whole = {"selector": {"app": "web"}, "ports": [{"name": "main", "port": 80}]} | spec
    return await call(http, "POST", f"{DEFAULT}/services", {"metadata": {"name": "web"}, "spec": whole})


async def held(http: httpx2.AsyncClient) -> list[Any]:
    found: list[Any] = (await call(http, "GET", SLICES))["items"]
    return found


async def ready_at(http: httpx2.AsyncClient) -> list[str]:
    """Return the addresses that may be sent to, in all slices."""
    every = [each for found in await held(http) for each in found.get("endpoints") or ()]
    return [each["addresses"][0] for each in every if each["conditions"]["ready"]]


async def test_endpoints_follow_readiness_and_deletion(
    client: Client, http: httpx2.AsyncClient, eventually: Eventually
) -> None:
    async def are(*addresses: str) -> bool:
        return await ready_at(http) == [*addresses]

    await make_pod(http, "a", "10.244.1.2")
    await make_pod(http, "b", "10.244.1.3", ready=False)
    await make_pod(http, "c", "10.244.1.4", app="other")
    service = await make_service(http)
    await eventually(lambda: are("10.244.1.2"))
    (found,) = await held(http)
    assert found["metadata"]["name"] == "web-ipv4"
    assert found["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
    assert found["metadata"]["ownerReferences"][0]["uid"] == service["metadata"]["uid"]
    assert found["ports"] == [{"name": "main", "protocol": "TCP", "port": 80}]
    conditions = {each["targetRef"]["name"]: each["conditions"] for each in found["endpoints"]}
    assert conditions["b"] == {"ready": False, "serving": False, "terminating": False}

    await report(http, "b", "10.244.1.3", ready=True)
    await eventually(lambda: are("10.244.1.2", "10.244.1.3"))
    await call(http, "DELETE", f"{DEFAULT}/pods/a")  # a kubelet would take its time: it ends, and is sent nothing more
    await eventually(lambda: are("10.244.1.3"))
    (found,) = await held(http)
    assert found["endpoints"][0]["conditions"] == {"ready": False, "serving": True, "terminating": True}
    await report(http, "b", "10.244.1.3", ready=True, phase="Succeeded")
    await eventually(are)
    assert len(await held(http)) == 1  # a Service without pods keeps a slice that says so


async def test_slices_go_with_their_service_and_come_with_the_next_of_its_name(
    client: Client, http: httpx2.AsyncClient, eventually: Eventually
) -> None:
    async def owned_by(uid: str) -> bool:
        return [each["metadata"]["ownerReferences"][0]["uid"] for each in await held(http)] == [uid]

    async def are_gone() -> bool:
        return not await held(http)

    await make_pod(http, "a", "10.244.1.2")
    first = await make_service(http)
    await eventually(lambda: owned_by(first["metadata"]["uid"]))
    await call(http, "DELETE", f"{DEFAULT}/services/web")
    second = await make_service(http)
    await eventually(lambda: owned_by(second["metadata"]["uid"]))
    await call(http, "DELETE", f"{DEFAULT}/services/web")
    await eventually(are_gone)


async def test_named_ports_and_families_make_more_slices(
    client: Client, http: httpx2.AsyncClient, eventually: Eventually
) -> None:
    async def shown() -> bool:
        found = {each["metadata"]["name"]: (each["addressType"], each["ports"][0]["port"]) for each in await held(http)}
        return found == {"web-ipv4": ("IPv4", 8080), "web-ipv4-2": ("IPv4", 8081), "web-ipv6": ("IPv6", 8081)}

    await make_pod(http, "new", "10.244.1.2", "fd00:10:244:1::2")
    await make_pod(http, "old", "10.244.1.3")
    await make_service(http, ipFamilyPolicy="RequireDualStack", ports=[{"port": 80, "targetPort": "named"}])
    await eventually(shown)


async def test_without_nft_the_log_says_so_in_one_sentence(
    client: Client,
    http: httpx2.AsyncClient,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    async def is_told() -> bool:
        return bool(caplog.messages)

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nft, "_FOLDERS", str(tmp_path))
    with pytest.raises(errors.Impossible):
        nft.load("")
    node = proxy.ProxyNode(name="n1", addresses=("192.168.77.1",), networks=("10.244.1.0/24",))
    caplog.set_level(logging.WARNING, "kubemtu_lab.proxy")
    task = asyncio.create_task(proxy.run(client, node))
    await make_pod(http, "a", "10.244.1.2")
    await make_service(http)
    await eventually(is_told)
    await make_pod(http, "b", "10.244.1.3")
    await asyncio.sleep(0.1)
    task.cancel()
    assert caplog.messages == [
        "Services lead nowhere in this lab: there is no nft command on this machine; install nftables"
    ]

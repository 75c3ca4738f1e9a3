"""What the parts of a lab do where an answer is lost, a request does not arrive, or a program cannot be begun yet.

They look again at what is there, as the parts of Kubernetes do that they stand for.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from pathlib import Path

import httpx2
import pytest
from tests.support.lab_api import Losing, by, call

from kubemtu.core.errors import Unreachable
from kubemtu.core.objects import Object as CoreObject
from kubemtu.kube.api import Api as Client
from kubemtu_lab import (
    attach,
    containers,
    heartbeat,
    images,
    lifecycle,
    logs,
    manifests,
    owners,
    pods,
    proxy,
    scenes,
    waits,
)
from kubemtu_lab.api import ApiBackend
from kubemtu_lab.api.resources import Object
from kubemtu_lab.scene import Canal, Owner, nodes

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
PODS = "/api/v1/namespaces/default/pods"
MERGE = "application/merge-patch+json"
READY = {"conditions": [{"type": "Ready", "status": "True"}]}


@pytest.fixture
async def losing(api: ApiBackend) -> AsyncIterator[Losing]:
    async with Losing(api.kubeconfig()) as transport:
        yield transport


@pytest.fixture
async def client(api: ApiBackend, losing: Losing) -> AsyncIterator[Client]:
    async with by(api.kubeconfig(), losing) as found:
        yield found


@contextlib.asynccontextmanager
async def running(part: Coroutine[None, None, object]) -> AsyncIterator[None]:
    """Have a part of a lab run for a block."""
    task = asyncio.create_task(part)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def made_pod(http: httpx2.AsyncClient, name: str, **spec: object) -> CoreObject:
    whole = {"nodeName": "n1", "containers": [{"name": "main", "image": "i"}]} | spec
    return CoreObject.of(await call(http, "POST", PODS, {"metadata": {"name": name}, "spec": whole}))


async def status(http: httpx2.AsyncClient, path: str, body: Mapping[str, object]) -> None:
    await call(http, "PATCH", f"{path}/status", {"status": dict(body)}, content_type=MERGE)


def ready(body: Object) -> str | None:
    return heartbeat.ready_condition(CoreObject.of(body)).text("status")


async def test_pods_of_a_silent_node_are_unready_though_the_answer_about_the_node_is_lost(
    client: Client, losing: Losing, http: httpx2.AsyncClient, eventually: Eventually
) -> None:
    await call(http, "POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
    await status(http, "/api/v1/nodes/n1", READY)
    await made_pod(http, "a")
    await status(http, f"{PODS}/a", READY)
    lease = {"metadata": {"name": "n1"}, "spec": {"renewTime": "2026-11-29T11:32:16.000000Z"}}
    await call(http, "POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", lease)
    losing.lose("PATCH", "/nodes/n1/status")

    async def is_unready() -> bool:
        return ready(await call(http, "GET", f"{PODS}/a")) == "False"

    async with running(lifecycle.run(client, 0.2)):
        await eventually(is_unready)
    assert losing.all_lost
    assert ready(await call(http, "GET", "/api/v1/nodes/n1")) == "Unknown"


@pytest.mark.parametrize("carried_out", [True, False], ids=["its answer is lost", "it is lost itself"])
async def test_a_chart_is_rendered_again_where_a_write_is_lost(
    client: Client, losing: Losing, http: httpx2.AsyncClient, eventually: Eventually, tmp_path: Path, carried_out: bool
) -> None:
    owner = Owner(kind="helm-chart-config")
    scene = scenes.named("canal-1500").replace(cni=Canal(era="C", mtu=1500, rke2=True), owner=owner, nodes=nodes(1, 0))
    bodies = [body for body in manifests.objects(scene) if body["kind"] != "DaemonSet"]
    for body in (body for body in bodies if body["kind"] == "CustomResourceDefinition"):
        await waits.created(client, body)
    keeper = owners.Keeper(owner, client, tuple(body for body in bodies if owners.is_kept(owner, body)))
    losing.lose("POST", "/configmaps", carried_out=carried_out)  # nor does the lab fail to come up
    await keeper.make()
    config = "/api/v1/namespaces/kube-system/configmaps/rke2-canal-config"
    chart = "/apis/helm.cattle.io/v1/namespaces/kube-system/helmchartconfigs/rke2-canal"
    losing.lose("PATCH", config, carried_out=carried_out)

    async def is_rendered() -> bool:
        return bool((await call(http, "GET", config))["data"]["veth_mtu"] == "1400") and losing.all_lost

    async def is_read() -> bool:
        return losing.carried.count(chart) > 1  # it looks again only when it has taken in what it read

    folder = os.open(tmp_path, os.O_RDONLY)
    async with running(keeper.run(folder)):
        assert (await call(http, "GET", config))["data"]["veth_mtu"] == "1500"
        await eventually(is_read)
        values = {"spec": {"valuesContent": "calico:\n  vethuMTU: 1400\n"}}
        await call(http, "PATCH", chart, values, content_type=MERGE)
        await eventually(is_rendered)
    os.close(folder)


async def test_rules_that_the_kernel_did_not_take_are_loaded_again(
    client: Client, http: httpx2.AsyncClient, eventually: Eventually, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A command nft that fails once, as one does that the kernel tells to come back; what it is then given is kept."""
    program, given = tmp_path / "nft", tmp_path / "given"
    program.write_text(f"#!/bin/sh\n[ -e {tmp_path}/busy ] || {{ : >{tmp_path}/busy; exit 1; }}\nexec cat >{given}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    node = proxy.ProxyNode(name="n1", addresses=("192.168.77.1",), networks=("10.244.1.0/24",))

    web = {"metadata": {"name": "web"}, "spec": {"clusterIP": "10.43.1.1", "ports": [{"port": 80}]}}
    await call(http, "POST", "/api/v1/namespaces/default/services", web)

    async def are_loaded() -> bool:
        return given.exists() and "ip daddr 10.43.1.1 tcp dport 80 reject" in given.read_text()

    async with running(proxy.run(client, node)):
        await eventually(are_loaded)


class SlowTransport(httpx2.AsyncBaseTransport):
    """Carries requests, and each answer takes its time."""

    def __init__(self, way: Losing, seconds: float) -> None:
        self._way, self._seconds = way, seconds

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request (httpx2)."""
        answer = await self._way.handle_async_request(request)
        await asyncio.sleep(self._seconds)
        return answer


async def test_a_node_is_heard_that_gets_its_answers_late_and_whose_lease_somebody_took(
    api: ApiBackend,
    losing: Losing,
    http: httpx2.AsyncClient,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three answers of 0.7 s each take longer than a quarter of four seconds, in which the next Lease is due."""
    monkeypatch.setattr(attach, "load_chain", lambda: None)  # this machine's own folder is nobody's
    await call(http, "POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

    async def is_renewed() -> bool:
        return bool((await call(http, "GET", path))["items"])

    async with by(api.kubeconfig(), SlowTransport(losing, 0.7)) as slow:
        beat = heartbeat.Heartbeat(
            slow, "n1", addresses=("192.168.77.1",), version="v1.28.12", grace_seconds=4.0, wait=asyncio.sleep
        )
        async with running(beat.run()):
            await eventually(is_renewed)
            await call(http, "DELETE", f"{path}/n1")
            await eventually(is_renewed)
            assert ready(await call(http, "GET", "/api/v1/nodes/n1")) == "False"


class Node:
    """A node with pods in its own network, whose programs are real, and where some things do not work at first."""

    node = "n1"
    image: images.Image | None = None
    addresses: tuple[str, ...] = ("192.168.77.1",)

    def __init__(self, api: Client, folder: Path) -> None:
        self.api, self.path, self.folder = api, folder, os.open(folder, os.O_RDONLY)
        self.fails: dict[str, list[Exception]] = {"attach": [], "detach": [], "play": [], "run": []}
        self.done: list[str] = []

    def _do(self, what: str) -> None:
        if self.fails[what]:
            raise self.fails[what].pop()
        self.done.append(what)

    def log(self, pod: CoreObject, spec: CoreObject) -> logs.LogFile:
        return logs.LogFile(self.folder, pod.namespace or "", pod.name, spec.text("name") or "")

    async def play(self, pod: CoreObject, spec: CoreObject, env: Mapping[str, str]) -> float:
        self._do("play")
        return 0.0

    async def run(
        self, pod: CoreObject, spec: CoreObject, argv: list[str], env: Mapping[str, str]
    ) -> containers.Running:
        self._do("run")
        process = await asyncio.create_subprocess_exec(*argv)

        async def stop() -> None:
            process.kill()
            await process.wait()

        return containers.Running(process.wait(), stop)

    def address(self, pod: CoreObject) -> str:
        return "127.0.0.1"

    async def attach(self, pod: CoreObject) -> attach.Attachment:
        self._do("attach")
        return attach.Attachment(netns="cni-1", host_link="cali1", addresses=("10.244.1.2",))

    async def detach(self, pod: CoreObject) -> None:
        self._do("detach")

    async def config_changed(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.fixture
def node(client: Client, tmp_path: Path) -> Node:
    (tmp_path / "pods").mkdir()
    return Node(client, tmp_path)


async def test_a_pod_waits_for_whatever_fails_at_first_and_has_restarted_nothing_then(
    node: Node, http: httpx2.AsyncClient, eventually: Eventually
) -> None:
    """A plugin whose file is not written yet, and what a program or the files of its account need of a busy API."""
    node.fails["attach"].append(FileNotFoundError(2, "No such file or directory", "/run/cni/mtu"))
    node.fails["play"].append(Unreachable("it began no answer within 90 s"))
    node.fails["run"] += [Unreachable("it began no answer within 90 s"), Unreachable("it answered 429")]
    main = {"name": "main", "image": "lab/exec", "command": ["sleep", "600"]}
    installs = {"name": "install-cni", "image": "i"}
    pod = pods.Pod(node, await made_pod(http, "a", initContainers=[installs], containers=[main]))

    async def is_ready() -> bool:
        return ready(await call(http, "GET", f"{PODS}/a")) == "True"

    await eventually(is_ready)
    said = (await call(http, "GET", f"{PODS}/a"))["status"]
    for told in (*said["initContainerStatuses"], *said["containerStatuses"]):
        assert (told["restartCount"], told["lastState"]) == (0, {})
    node.fails["detach"].append(OSError(16, "Device or resource busy"))
    await pod.end(gone=False)
    assert node.done == ["attach", "play", "run", "detach"]
    assert (await http.get(f"{PODS}/a")).status_code == httpx2.codes.NOT_FOUND


async def test_a_pod_whose_volume_the_api_is_too_busy_to_give_says_nothing_of_it(
    node: Node, losing: Losing, http: httpx2.AsyncClient, eventually: Eventually
) -> None:
    """A lab that comes up takes what says why it waits for stuck, and waits no longer for it."""
    await call(http, "POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "c"}})
    said: list[object] = []

    async def look() -> None:
        said.extend(each.state for each in pod.mains)

    for _ in range(3):  # as often as a read is tried
        losing.lose("GET", "/configmaps/c")
    losing.lose("GET", "/configmaps/c", meanwhile=look)
    pod = pods.Pod(node, await made_pod(http, "a", volumes=[{"name": "v", "configMap": {"name": "c"}}]))

    async def is_played() -> bool:
        return "play" in node.done

    await eventually(is_played)
    assert said == [{"waiting": {"reason": "ContainerCreating"}}]
    await pod.end(gone=False)


async def test_a_pod_that_ends_takes_none_with_it_that_has_its_name(
    client: Client, losing: Losing, http: httpx2.AsyncClient
) -> None:
    """Its deletion is carried out, the answer is lost, and another pod has the name when the kubelet asks again."""
    first = await made_pod(http, "a")
    losing.lose("DELETE", f"{PODS}/a", meanwhile=lambda: made_pod(http, "a"))
    await pods.remove(client, first)
    assert losing.all_lost
    assert (await call(http, "GET", f"{PODS}/a"))["metadata"]["uid"] != first.text("metadata", "uid")


async def test_a_pod_that_is_gone_tells_nothing_of_one_that_has_its_name(node: Node, http: httpx2.AsyncClient) -> None:
    first = await made_pod(http, "a")
    await call(http, "DELETE", f"{PODS}/a", {"gracePeriodSeconds": 0})
    await made_pod(http, "a")
    pod = pods.Pod(node, first)
    await asyncio.sleep(2)  # four times as long as it waits before it tells again
    assert ready(await call(http, "GET", f"{PODS}/a")) is None
    await pod.end(gone=True)

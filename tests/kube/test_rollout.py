"""Restarts of a DaemonSet, with the lab's controller and kubelets that do to pods what each test says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import cast

import httpx2
import pytest

from kubemtu.core import errors
from kubemtu.core.change.plan import Rollout
from kubemtu.core.objects import Object, Ref, Want
from kubemtu.kube import write
from kubemtu.kube.api import Api
from kubemtu.kube.daemon_pods import RESTARTED
from kubemtu.kube.rollout import MARK, Waiting
from kubemtu_lab import api as lab_api
from kubemtu_lab import controllers

Scripted = Callable[..., tuple[Api, list[httpx2.Request]]]
State = Callable[[Object], dict[str, object]]

REF = Ref(api_version="apps/v1", kind="DaemonSet", plural="daemonsets", name="canal", namespace="kube-system")
STEP = Rollout(ref=REF, why="test")
PODS = Want(kind="Pod", plural="pods", api_versions=("v1",), namespace="kube-system")
QUICK = Waiting(stall=60.0, grace=0.1, crashes=0.2, pause=0.02)
READY: dict[str, object] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
MISSING_KEY = "couldn't find key veth_mtu in ConfigMap kube-system/canal-config"


def waits(reason: str, message: str = "", **more: object) -> dict[str, object]:
    """The status of a pod whose install-cni container waits."""
    container = {"name": "install-cni", "state": {"waiting": {"reason": reason, "message": message}}, **more}
    return {
        "phase": "Pending",
        "conditions": [{"type": "Ready", "status": "False", "message": "containers with unready status"}],
        "initContainerStatuses": [container],
    }


class Kubelets:
    """The kubelets of all nodes; `state` says what becomes of a pod."""

    def __init__(self, api: Api) -> None:
        self.state: State = lambda _: READY
        self.deleted: list[str] = []
        self._api = api

    async def run(self) -> None:
        async with contextlib.aclosing(self._api.watch(PODS)) as events:
            async for event in events:
                for pod in event.objects if event.type != "DELETED" else ():
                    await self._act(pod)

    async def _act(self, pod: Object) -> None:
        ref = await self._api.ref(pod.body)
        with contextlib.suppress(errors.Conflict):
            if pod.get("metadata", "deletionTimestamp"):
                self.deleted.append(str(pod.text("spec", "nodeName")))
                await self._api.delete(ref, grace_seconds=0)
            elif pod.get("status", "phase") != self.state(pod)["phase"] or not pod.get("status", "conditions"):
                await self._api.patch(ref, {"status": self.state(pod)}, subresource="status")


@pytest.fixture
async def kubelets(server: lab_api.ApiBackend, api: Api) -> AsyncIterator[Kubelets]:
    for name in ("n1", "n2", "n3"):
        await api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    running = Kubelets(api)
    tasks = [asyncio.create_task(controllers.run(api)), asyncio.create_task(running.run())]
    yield running
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def start(api: Api, strategy: str = "RollingUpdate") -> None:
    """Make the DaemonSet, and wait until the controller has made its pods."""
    body = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "canal", "namespace": "kube-system"},
        "spec": {
            "selector": {"matchLabels": {"k8s-app": "canal"}},
            "updateStrategy": {"type": strategy},
            "template": {
                "metadata": {"labels": {"k8s-app": "canal"}},
                "spec": {"containers": [{"name": "node", "image": "canal"}]},
            },
        },
    }
    await api.create(body)
    async with asyncio.timeout(60):
        while len([pod for pod in await api.list(PODS) if pod.get("status", "conditions")]) < 3:
            await asyncio.sleep(0.02)


async def annotations(api: Api) -> dict[str, object]:
    found = await api.get(REF)
    assert found is not None
    return found.mapping("spec", "template", "metadata", "annotations")


async def uids(api: Api) -> set[object]:
    return {pod.get("metadata", "uid") for pod in await api.list(PODS)}


async def refusal(api: Api, waiting: Waiting = QUICK, marker: str = "m-forward") -> errors.KubemtuError:
    with pytest.raises(errors.KubemtuError) as caught:
        async with asyncio.timeout(60):
            await write.rollout(api, STEP, marker=marker, waiting=waiting)
    return caught.value


@pytest.mark.parametrize("strategy", ["RollingUpdate", "OnDelete"])
async def test_every_pod_is_new_and_ready(api: Api, kubelets: Kubelets, strategy: str) -> None:
    await start(api, strategy)
    before = await uids(api)
    told: list[tuple[str, str]] = []
    said = await write.rollout(
        api, STEP, marker="m-forward", waiting=QUICK, tell=lambda node, text: told.append((node, text))
    )
    assert said == "DaemonSet kube-system/canal: 3 pods restarted, all are ready"
    assert not before & await uids(api)
    for node in ("n1", "n2", "n3"):
        assert any(text.startswith("new pod canal-") and text.endswith("is ready") for on, text in told if on == node)
    assert (await annotations(api))[MARK] == "m-forward"


async def test_on_delete_takes_one_node_after_the_other(api: Api, kubelets: Kubelets) -> None:
    await start(api, "OnDelete")
    most_missing = 0

    async def count() -> None:
        nonlocal most_missing
        while True:
            ready = [pod for pod in await api.list(PODS) if pod.get("status", "phase") == "Running"]
            living = [pod for pod in ready if not pod.get("metadata", "deletionTimestamp")]
            most_missing = max(most_missing, 3 - len(living))
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await write.rollout(api, STEP, marker="m-forward", waiting=QUICK)
    counting.cancel()
    assert list(dict.fromkeys(kubelets.deleted)) == ["n1", "n2", "n3"]
    assert most_missing <= 1


async def test_a_resumed_rollout_does_not_restart_again(api: Api, kubelets: Kubelets) -> None:
    await start(api)
    await write.rollout(api, STEP, marker="m-forward", waiting=QUICK)
    after, stamp = await uids(api), (await annotations(api))[RESTARTED]
    said = await write.rollout(api, STEP, marker="m-forward", waiting=QUICK)
    assert said == "DaemonSet kube-system/canal: 3 pods had been restarted already, all are ready"
    assert (await uids(api), (await annotations(api))[RESTARTED]) == (after, stamp)


async def test_another_marker_restarts_again_within_the_same_second(api: Api, kubelets: Kubelets) -> None:
    await start(api)
    await write.rollout(api, STEP, marker="m-forward", waiting=QUICK)
    before = await uids(api)
    assert "restarted, all are ready" in await write.rollout(api, STEP, marker="m-back", waiting=QUICK)
    assert not before & await uids(api)


async def test_a_restart_by_somebody_else_after_the_edit_is_enough(api: Api, kubelets: Kubelets) -> None:
    await start(api)
    stamp = "2026-11-23T12:00:00Z"  # 1795435200
    await api.patch(REF, {"spec": {"template": {"metadata": {"annotations": {RESTARTED: stamp}}}}})
    said = await write.rollout(api, STEP, marker="m-forward", since=1795435200.0, waiting=QUICK)
    assert "had been restarted already" in said
    assert await annotations(api) == {RESTARTED: stamp}
    assert "3 pods restarted" in await write.rollout(api, STEP, marker="m-forward", since=1795435201.0, waiting=QUICK)


async def test_pods_that_crash_before_are_no_obstacle(api: Api, kubelets: Kubelets) -> None:
    """The old pods cannot start; the edit that went before lets the new ones."""
    crashing = waits("CrashLoopBackOff", lastState={"terminated": {"exitCode": 1}})
    kubelets.state = lambda pod: READY if pod.mapping("metadata", "annotations").get(RESTARTED) else crashing
    await start(api)
    said = await write.rollout(api, STEP, marker="m-forward", waiting=QUICK)
    assert said == "DaemonSet kube-system/canal: 3 pods restarted, all are ready"


def new_pods(status: dict[str, object]) -> State:
    return lambda pod: status if pod.mapping("metadata", "annotations").get(RESTARTED) else READY


async def test_a_new_pod_without_its_key_is_told_at_once(api: Api, kubelets: Kubelets) -> None:
    await start(api)
    kubelets.state = new_pods(waits("CreateContainerConfigError", MISSING_KEY))
    error = await refusal(api, Waiting(stall=600, grace=0.1, crashes=600, pause=0.02))
    assert (type(error), error.exit_code) == (errors.Surprise, 8)
    assert "the new pod canal-" in str(error)
    assert (
        f"cannot start: container install-cni: CreateContainerConfigError, {MISSING_KEY}; correct that and run the "
        "same command again, or take everything back with `kubemtu rollback`"
    ) in str(error)
    running = [pod for pod in await api.list(PODS) if pod.get("status", "phase") == "Running"]
    assert len(running) == 2  # the other nodes keep what they had


async def test_a_new_pod_that_crashes_says_how_it_ended(api: Api, kubelets: Kubelets) -> None:
    await start(api)
    last = {"terminated": {"exitCode": 137, "message": "no such\ndevice"}}
    kubelets.state = new_pods(waits("CrashLoopBackOff", "back-off 10s", lastState=last))
    error = await refusal(api, Waiting(stall=600, grace=600, crashes=0.1, pause=0.02))
    assert error.exit_code == 8
    assert "container install-cni: CrashLoopBackOff, it ended with code 137: no such device; correct that" in str(error)


async def test_a_state_that_passes_is_waited_for(api: Api, kubelets: Kubelets) -> None:
    await start(api)
    seen: set[str] = set()

    def slow(pod: Object) -> dict[str, object]:
        fresh = pod.name in seen or not pod.mapping("metadata", "annotations").get(RESTARTED)
        seen.add(pod.name)
        return READY if fresh else waits("ErrImagePull", "timeout")

    kubelets.state = slow
    said = await write.rollout(api, STEP, marker="m-forward", waiting=Waiting(stall=60, grace=30, pause=0.02))
    assert "all are ready" in said


async def test_somebody_restarts_meanwhile(api: Api, kubelets: Kubelets) -> None:
    await start(api)
    kubelets.state = new_pods(waits("ContainerCreating"))
    rolling = asyncio.create_task(refusal(api, Waiting(stall=60, pause=0.02)))
    while MARK not in await annotations(api):
        await asyncio.sleep(0.02)
    await api.patch(REF, {"spec": {"template": {"metadata": {"annotations": {RESTARTED: "2031-01-01T00:00:00Z"}}}}})
    error = await rolling
    assert (type(error), error.exit_code) == (errors.Conflict, 7)
    assert "was restarted by somebody else meanwhile (at 2031-01-01T00:00:00Z); wait until" in str(error)


async def test_the_daemon_set_is_gone(api: Api) -> None:
    error = await refusal(api)
    assert error.exit_code == 7
    assert str(error).startswith("DaemonSet kube-system/canal is gone from https://")


async def test_only_daemon_sets(api: Api) -> None:
    step = Rollout(ref=Ref(api_version="apps/v1", kind="Deployment", plural="deployments", name="x"), why="test")
    with pytest.raises(errors.UsageError, match="Deployment x is no DaemonSet; kubemtu restarts only those"):
        await write.rollout(api, step, marker="m")


STAMP = "2026-11-23T12:00:00Z"
TERMS = [
    {"key": "a", "operator": "In", "values": ["x", "y"]},
    {"key": "b", "operator": "Exists"},
    {"key": "c", "operator": "DoesNotExist"},
]
RESTARTED_ALREADY = {
    "kind": "DaemonSet",
    "metadata": {"name": "canal", "uid": "u", "generation": 2},
    "spec": {
        "template": {"metadata": {"annotations": {RESTARTED: STAMP, MARK: "m-forward"}}},
        "selector": {"matchLabels": {"k": "v"}, "matchExpressions": TERMS},
    },
    "status": {"observedGeneration": 2, "desiredNumberScheduled": 3},
}


def pod(node: str, status: object, stamp: str = STAMP, owner: str = "u") -> dict[str, object]:
    owners = [{"kind": "DaemonSet", "uid": owner, "controller": True}]
    metadata = {"name": f"canal-{node}", "uid": node, "annotations": {RESTARTED: stamp}, "ownerReferences": owners}
    return {"metadata": metadata, "spec": {"nodeName": node}, "status": status}


async def stalled(scripted: Scripted, *pods: object) -> tuple[str, list[httpx2.Request]]:
    """How a rollout ends in which nothing moves any more."""
    api, asked = scripted(
        {
            "GET /apis/apps/v1/namespaces/kube-system/daemonsets/canal": RESTARTED_ALREADY,
            "GET /api/v1/namespaces/kube-system/pods": {"kind": "PodList", "items": list(pods)},
        }
    )
    async with api:
        error = await refusal(api, Waiting(stall=0.05, pause=0.01))
    assert (type(error), error.exit_code) == (errors.Surprise, 8)
    return str(error), asked


async def test_nothing_moves(scripted: Scripted) -> None:
    unscheduled = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes have memory"}]}
    said, _ = await stalled(
        scripted,
        pod("n1", READY),
        pod("n2", waits("ContainerCreating")),
        pod("n3", READY, stamp="2020-01-01T00:00:00Z"),
        pod("n4", READY, owner="another DaemonSet with the same labels"),
        pod("n5", unscheduled),
    )
    assert said == (
        "DaemonSet kube-system/canal: 1 of 3 new pods are ready and nothing moved for 0.05 s; node n2: new pod "
        "canal-n2 is not ready: containers with unready status (and 2 more); see `kubectl -n kube-system get pods "
        "-o wide`, then run the same command again"
    )


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"conditions": [{"type": "Ready", "status": True}]}, "status must be a string but is true or false"),
        ({"phase": "Unknown"}, "is not ready: phase Unknown"),
        (None, "is not ready: phase unknown"),
        (waits("SomethingNew", "of a later kubelet"), "container install-cni: SomethingNew, of a later kubelet"),
    ],
)
async def test_why_a_pod_is_not_ready(scripted: Scripted, status: object, why: str) -> None:
    said, _ = await stalled(scripted, pod("n1", status))
    assert why in said


async def test_no_controller_makes_pods(scripted: Scripted) -> None:
    said, asked = await stalled(scripted)
    assert "the DaemonSet controller makes no pod: is it running?" in said
    selectors = {cast("str", request.url.params.get("labelSelector")) for request in asked}
    assert "k=v,a in (x,y),b,!c" in selectors


async def test_a_pod_that_crashes_runs_in_between(scripted: Scripted) -> None:
    crashing = {"kind": "PodList", "items": [pod("n1", waits("CrashLoopBackOff"))]}
    running = {"kind": "PodList", "items": [pod("n1", {"phase": "Running"})]}
    quiet, _ = scripted(
        {
            "GET /apis/apps/v1/namespaces/kube-system/daemonsets/canal": RESTARTED_ALREADY,
            "GET /api/v1/namespaces/kube-system/pods": [crashing, running] * 1000,
        }
    )
    async with quiet:
        error = await refusal(quiet, Waiting(stall=60, crashes=0.2, pause=0.01))
    assert "cannot start: container install-cni: CrashLoopBackOff" in str(error)

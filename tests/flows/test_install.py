"""Put kubemtu into a cluster that is not alone, and take it out again: what is others' stays, what stands refuses."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import yaml

from kubemtu.core import errors
from kubemtu.core.objects import Object, Ref
from kubemtu.flows import install, uninstall
from kubemtu.kube import connect, crd, mtu, shipped
from kubemtu.kube.api import Api
from kubemtu_lab import api as lab_api

IMAGE = "registry.example/kubemtu:1"
SETTINGS = install.Settings(image=IMAGE, probes=False)
AGENTS = Ref(api_version="apps/v1", kind="DaemonSet", plural="daemonsets", namespace="kubemtu", name="kubemtu-agent")
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """The administrator's connection to a server of the lab's, with one node and no kubelet."""
    async with lab_api.api() as server:
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(server.kubeconfig(user="admin")), "utf-8")
        async with Api(connect.settings(str(path), environ={})) as found:
            await found.create(NODE)
            yield found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long: what is tried here never comes."""
    short = {"STALL": 2.0, "STUCK": 0.0, "SECONDS": 1.0, "AGENTS": 1.0}
    for name, seconds in short.items():
        monkeypatch.setattr(install if name.startswith("ST") else uninstall, name, seconds)


async def written(api: Api, **changed: object) -> None:
    """Write all that is installed, and wait for nothing."""
    for body in shipped.everything(IMAGE, probes=False):
        await api.apply(body)
    await crd.install(api)


def agent(image: str) -> dict[str, object]:
    """The DaemonSet of the agents, as `install` writes it."""
    return next(body for body in shipped.objects(image, probes=False) if body["kind"] == "DaemonSet")


async def image_of(api: Api) -> str | None:
    """The image that the agents' DaemonSet has."""
    found = await api.get(AGENTS)
    assert found is not None
    (container,) = found.each("spec", "template", "spec", "containers")
    return container.text("image")


async def versions(api: Api) -> dict[str, str | None]:
    """The resourceVersion of everything that is installed: nothing was written where none has changed."""
    refs = [await api.ref(body) for body in shipped.everything(IMAGE, probes=False)]
    return {str(ref): found.resource_version if (found := await api.get(ref)) else None for ref in refs}


async def test_what_another_manages_is_said_before_anything_is_written_and_taken_over_only_when_asked(
    api: Api,
) -> None:
    for body in shipped.everything(IMAGE, probes=False):
        await api.apply(body, field_manager="argocd")
    newer = msgspec.structs.replace(SETTINGS, image="registry.example/kubemtu:2")
    before = await versions(api)
    with pytest.raises(errors.Conflict) as refused:
        await install.survey(api, newer)
    assert "DaemonSet kubemtu/kubemtu-agent has fields that argocd manages, and they stay so" in str(refused.value)
    assert "--force-conflicts; nothing was changed" in str(refused.value)
    assert refused.value.exit_code == 7
    assert await versions(api) == before
    forced = msgspec.structs.replace(newer, force=True)
    assert [piece.kind for piece in await install.survey(api, forced) if piece.what == "change"] == ["DaemonSet"]
    assert await versions(api) == before
    work = asyncio.create_task(install.carry_out(api, forced, print_nothing))
    try:
        # The same version under two managers is no conflict, and is left as it is.
        async with asyncio.timeout(60):
            while {piece.what for piece in await install.survey(api, forced)} != {"leave"}:
                await asyncio.sleep(0.05)
        assert not work.done()  # there are no agents, for which it waits
    finally:
        work.cancel()
        await asyncio.wait([work])
    assert await image_of(api) == "registry.example/kubemtu:2"


def print_nothing(_text: str) -> None:
    """Hear nothing."""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"annotations": {crd.VERSION: "99.0.0"}}, "is of kubemtu 99.0.0, and this is"),
        ({"labels": {"app.kubernetes.io/name": "somebodys"}}, "is there and is not kubemtu's"),
    ],
    ids=["newer", "foreign"],
)
async def test_kinds_of_a_newer_kubemtu_and_of_somebody_else_are_not_written_over(
    api: Api, change: dict[str, object], said: str
) -> None:
    await written(api)
    ours = next(body for body in crd.definitions() if shipped.name_of(body) == "mtuprobes.kubemtu.io")
    metadata = {**Object.of(ours).mapping("metadata"), **change}
    await api.apply({**ours, "metadata": metadata})
    before = await versions(api)
    for attempt in (install.survey(api, SETTINGS), install.carry_out(api, SETTINGS, print_nothing)):
        with pytest.raises(errors.Conflict) as refused:
            await attempt
        assert said in str(refused.value)
        assert "nothing was changed" in str(refused.value)
    assert await versions(api) == before
    if "annotations" in change:
        asked = msgspec.structs.replace(SETTINGS, downgrade=True)
        (piece,) = [one for one in await install.survey(api, asked) if one.what == "change"]
        assert str(piece) == "CustomResourceDefinition mtuprobes.kubemtu.io: is of 99.0.0"


async def pod(api: Api, **status: object) -> None:
    """An agent's pod, as kubelet would tell of it."""
    spec = {"nodeName": "node-1", "containers": [{"name": "agent", "image": IMAGE}]}
    labels = {"app.kubernetes.io/name": "kubemtu-agent"}
    metadata = {"name": "kubemtu-agent-x", "namespace": "kubemtu", "labels": labels}
    await api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    ref = Ref(api_version="v1", kind="Pod", plural="pods", namespace="kubemtu", name="kubemtu-agent-x")
    await api.patch(ref, {"status": status}, subresource="status")


async def scheduled(api: Api, ready: int) -> None:
    """The DaemonSet, as its controller would tell of it."""
    found = await api.get(AGENTS)
    assert found is not None
    status = {
        "desiredNumberScheduled": 1, "currentNumberScheduled": 1, "updatedNumberScheduled": 1, "numberMisscheduled": 0,
        "numberReady": ready, "observedGeneration": found.integer("metadata", "generation"),
    }  # fmt: skip
    await api.patch(AGENTS, {"status": status}, subresource="status")


async def test_agents_that_never_come_up_end_the_wait_with_what_keeps_them(api: Api, quick: None) -> None:
    told: list[str] = []
    with pytest.raises(errors.Surprise) as stalled:
        await install.carry_out(api, SETTINGS, told.append)
    assert "nothing has moved for 2 s (kubemtu-agent: 0 of 0 ready; 0 of 0 nodes seen)" in str(stalled.value)
    assert stalled.value.exit_code == 8
    assert told[-1] == "kubemtu-agent: 0 of 0 ready; 0 of 0 nodes seen"
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "registry.example/kubemtu:1"'}
    container: dict[str, object] = {"name": "agent", "image": IMAGE, "imageID": "", "ready": False, "restartCount": 0}
    container["state"] = {"waiting": waiting}
    await pod(api, phase="Pending", containerStatuses=[container])
    await scheduled(api, 0)
    with pytest.raises(errors.Surprise) as stuck:
        await install.carry_out(api, SETTINGS, told.append)
    assert "pod kubemtu/kubemtu-agent-x on node node-1 cannot start: ImagePullBackOff Back-off pulling" in str(
        stuck.value
    )
    assert "run the same command again, or take everything away with `kubemtu uninstall`" in str(stuck.value)


async def test_an_agent_that_runs_and_tells_nothing_is_not_taken_for_one_that_works(api: Api, quick: None) -> None:
    await written(api)
    await pod(api, phase="Running", conditions=[{"type": "Ready", "status": "True"}])
    await scheduled(api, 1)
    told: list[str] = []
    with pytest.raises(errors.Surprise) as stalled:
        await install.carry_out(api, SETTINGS, told.append)
    assert "(kubemtu-agent: 1 of 1 ready; 0 of 1 nodes seen)" in str(stalled.value)


async def migration(api: Api, *, finished: bool, **step: object) -> None:
    """A change on record, of one live step."""
    live = {"type": "live", "nodes": [], "pinMtu": 1450, "highestMtu": 1500, "underlay": 1500, "why": "", **step}
    plan = {"cni": "canal", "target": 1450, "current": 1500, "steps": [live]}
    await api.create(
        {"apiVersion": mtu.API_VERSION, "kind": "MTUMigration", "metadata": {"name": "m"}, "spec": {"plan": plan}}
    )
    ref = Ref(api_version=mtu.API_VERSION, kind="MTUMigration", plural="mtumigrations", name="m")
    await api.patch(ref, {"status": {"progress": {"step": 1, "finished": finished}}}, subresource="status")


async def node_mtu(api: Api, status: dict[str, object] | None = None, spec: dict[str, object] | None = None) -> None:
    """What a node is asked for, and shows."""
    body = {"apiVersion": mtu.API_VERSION, "kind": "NodeMTU", "metadata": {"name": "node-1"}}
    await api.create(body | ({"spec": spec} if spec else {}))
    if status:
        ref = Ref(api_version=mtu.API_VERSION, kind="NodeMTU", plural="nodemtus", name="node-1")
        await api.patch(ref, {"status": status}, subresource="status")


SPEC = {
    "migration": "m", "phase": "PinPods", "pinMtu": 1450, "highestMtu": 1500, "ports": {"prefixes": ["cali"]},
    "podMtu": 1450, "originMtu": 1500,
}  # fmt: skip


async def unfinished(api: Api) -> None:
    await migration(api, finished=False)


async def asked(api: Api) -> None:
    await node_mtu(api, spec=SPEC)


async def pinned_hosts(api: Api) -> None:
    await node_mtu(api, status={"observation": {"node": "node-1", "hostPins": ["10.0.0.2/32"]}})


@pytest.mark.parametrize(
    ("stands", "said"),
    [
        (unfinished, "nothing was removed: MTUMigration m has not come to its end"),
        (asked, "nothing was removed: node node-1 still holds what kubemtu asked of it"),
        (pinned_hosts, "routes of node node-1 to other nodes and the API server are pinned, by --hosts"),
    ],
)
async def test_nothing_goes_while_something_stands(
    api: Api, stands: Callable[[Api], contextlib.AbstractAsyncContextManager[None]], said: str
) -> None:
    await written(api)
    await stands(api)  # type: ignore[misc]  # a coroutine
    before = await versions(api)
    with pytest.raises(errors.Conflict) as refused:
        await uninstall.survey(api)
    assert said in str(refused.value)
    assert await versions(api) == before
    assert None not in before.values()


async def test_a_namespace_that_does_not_go_is_told_of_with_what_keeps_it(api: Api, quick: None) -> None:
    await written(api)
    await api.patch(uninstall.NAMESPACE, {"metadata": {"finalizers": ["example.com/hold"]}})
    found = await uninstall.survey(api)
    with pytest.raises(errors.Surprise) as kept:
        await uninstall.carry_out(api, found, print_nothing)
    assert "Namespace kubemtu is not gone after 1 s (it has finalizers of its own, example.com/hold)" in str(kept.value)
    assert "run the same command again: it goes on from there" in str(kept.value)
    with pytest.raises(errors.Conflict) as refused:  # and what is going is not installed into
        await install.survey(api, SETTINGS)
    assert "Namespace kubemtu is being deleted; wait until it is gone" in str(refused.value)
    await api.patch(uninstall.NAMESPACE, {"metadata": {"finalizers": None}})
    if os.environ.get("KUBEBUILDER_ASSETS"):
        return  # there is no controller that empties a namespace
    again = await uninstall.survey(api)
    assert again.ours == ()
    await uninstall.carry_out(api, again, print_nothing)
    assert await api.get(uninstall.NAMESPACE) is None
    assert isinstance(await api.find("v1", "nodes", "node-1"), Object)

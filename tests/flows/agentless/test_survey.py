"""Nodes seen by pods that are made for it, on the lab's own API: what is made, what is read, and that nothing stays."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import pytest
from tests.support import commanded
from tests.support.commanded import cluster, pod
from tests.support.scripted_api import As

from kubemtu.core import errors
from kubemtu.core.objects import PODS, Object, Ref
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows.agentless import commands, sources, survey, survey_pods
from kubemtu.kube.api import Api
from kubemtu.kube.exec import CommandOutput, Place

BUSYBOX = "docker.io/library/busybox:1.36"
MOUNTS = {
    "containers": [
        {
            "name": "agent",
            "image": "cni:1",
            "volumeMounts": [
                {"name": "net", "mountPath": "/host/net"},
                {"name": "run", "mountPath": "/run/flannel"},
                {"name": "root", "mountPath": "/root"},
            ],
        }
    ],
    "volumes": [
        {"name": "net", "hostPath": {"path": "/etc/cni/net.d"}},
        {"name": "run", "hostPath": {"path": "/run/flannel"}},
        {"name": "root", "hostPath": {"path": "/"}},
    ],
}
CONFLIST = '1793527200 /host/etc/cni/net.d/10-x.conflist\n/host/etc/cni/net.d/10-x.conflist:{"name": "x"}\n'
Answer = Callable[[Place, tuple[str, ...]], "CommandOutput | Exception | None"]


async def approved(_: str) -> None:
    """Agree to whatever is to be made."""


class Kubelet:
    """Answers for the survey's pods as a kubelet does; `answer` says what a command prints in the pod's image."""

    def __init__(self, api: Api, answer: Answer = commanded.with_ip) -> None:
        self.bodies: list[Object] = []
        self._api, self._answer = api, answer
        self.states: Mapping[str, object] | None = None  # of every container, where none is to run
        api.log = self._log  # type: ignore[method-assign]  # the lab's kubelets are not here

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            for one in await self._api.list(PODS):
                if one.text("metadata", "deletionTimestamp"):
                    ref = Ref(api_version="v1", kind="Pod", plural="pods", name=one.name, namespace=one.namespace)
                    await self._api.delete(ref, grace_seconds=0)
                elif survey_pods.NAME in one.name and one.name not in {each.name for each in self.bodies}:
                    self.bodies.append(one)
                    await self._status(one)
            await asyncio.sleep(0.02)

    async def _status(self, body: Object) -> None:
        statuses = []
        for each in body.each("spec", "containers"):
            command = _command(each)
            output = self._output(body.name, each.text("name") or "", command)
            missing = output is None or output.missing
            ended = {"reason": "StartError", "exitCode": 128} if missing else {"reason": "Completed", "exitCode": 0}
            statuses.append({"name": each.text("name"), "state": self.states or {"terminated": ended}})
        ref = Ref(api_version="v1", kind="Pod", plural="pods", name=body.name, namespace=body.namespace)
        await self._api.patch(ref, {"status": {"containerStatuses": statuses}}, subresource="status")

    def _output(self, name: str, container: str, command: tuple[str, ...]) -> CommandOutput | None:
        if not command:
            return None
        if "-exec" in command and "stat" in command:
            return CommandOutput(output=CONFLIST.encode())
        found = self._answer(Place(namespace="kube-system", pod=name, container=container), command)
        return found if isinstance(found, CommandOutput) else None

    async def _log(self, namespace: str, pod: str, container: str, most: int) -> bytes:
        assert most <= 4 << 20
        (body,) = (each for each in self.bodies if (each.name, each.namespace) == (pod, namespace))
        (spec,) = (each for each in body.each("spec", "containers") if each.text("name") == container)
        output = self._output(pod, container, _command(spec))
        assert output is not None
        return output.output


def _command(container: Object) -> tuple[str, ...]:
    words = container.get("command")
    return tuple(map(str, words)) if isinstance(words, list) else ()


@pytest.fixture
async def api(as_user: As, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setattr(survey_pods, "LOOK", 0.05)
    async with as_user("admin") as open_api:
        yield open_api


async def made(
    api: Api,
    nodes: int = 1,
    *,
    images: Sequence[str] = (),
    ready: str = "True",
    labels: Mapping[str, str] | None = None,
) -> Snapshot:
    """Put nodes n1, n2 ... with a pod of the CNI each into the API, and return what is known of them."""
    pods = [pod(f"canal-{number}", f"n{number}", spec=MOUNTS) for number in range(1, nodes + 1)]
    snapshot = cluster(pods, nodes)
    for node in snapshot.each("Node"):
        name = await api.create({**node.body, "metadata": {"name": node.name, "labels": dict(labels or {})}})
        status = {
            "conditions": [{"type": "Ready", "status": ready}],
            "images": [{"names": [f"{image}@sha256:0", image]} for image in images],
        }
        ref = Ref(api_version="v1", kind="Node", plural="nodes", name=name.name)
        await api.patch(ref, {"status": status}, subresource="status")
    return Snapshot(source="test", objects=(*snapshot.each("Node"), *pods), unread=snapshot.unread)


def knowing(api: Api, other: Api, snapshot: Snapshot) -> None:
    """Let an Api find the pods of a snapshot, which no kubelet runs here, and all else as another one does."""
    with_pods = {f"{one.namespace}/{one.name}": one for one in snapshot.each("Pod")}
    find = other.find

    async def found(api_version: str, plural: str, name: str, namespace: str | None = None) -> Object | None:
        return with_pods.get(f"{namespace}/{name}") if plural == "pods" else await find(api_version, plural, name)

    api.find = found  # type: ignore[method-assign]


async def looked(
    api: Api, snapshot: Snapshot, kubelet: Kubelet | None = None, approve: survey.Approve = approved
) -> Snapshot:
    """Look at all nodes while a kubelet runs."""
    knowing(api, api, snapshot)
    running = asyncio.create_task((kubelet or Kubelet(api)).run())
    try:
        return await sources.filled(snapshot, [lambda known, names: survey.observe(api, known, names, approve)])
    finally:
        running.cancel()


async def left(api: Api) -> list[str]:
    """Name the pods that nobody has deleted; a kubelet takes its time to end those that are."""
    pods = [one for one in await api.list(PODS) if survey_pods.NAME in one.name]
    return [one.name for one in pods if not one.text("metadata", "deletionTimestamp")]


async def test_nodes_are_seen_and_nothing_stays(api: Api) -> None:
    snapshot = await looked(api, await made(api, 3))
    assert [(one.node, one.seen_by) for one in snapshot.nodes] == [("n1", "survey"), ("n2", "survey"), ("n3", "survey")]
    (port,) = snapshot.nodes[0].ports
    assert (port.host_link, port.host_mtu, port.pod_mtu) == ("cali1234567890a", 1450, None)
    assert [file.path for file in snapshot.nodes[0].files] == ["/etc/cni/net.d/10-x.conflist"]
    assert snapshot.unread == ()
    assert await left(api) == []


@pytest.mark.parametrize("answer", [commanded.with_busybox, commanded.with_grep])
async def test_whichever_tools_an_image_has(api: Api, answer: Answer) -> None:
    snapshot = await looked(api, await made(api), Kubelet(api, answer))
    assert {link.name: link.mtu for link in snapshot.nodes[0].links}["flannel.1"] == 1450


async def test_what_is_made_may_do_nothing_but_look(api: Api) -> None:
    kubelet = Kubelet(api)
    await looked(api, await made(api), kubelet)
    (body,) = kubelet.bodies
    spec = body.get("spec")
    assert isinstance(spec, dict)
    assert (body.namespace, spec["nodeName"], spec["hostNetwork"]) == ("kube-system", "n1", True)
    assert (spec["restartPolicy"], spec["automountServiceAccountToken"]) == ("Never", False)
    assert spec["activeDeadlineSeconds"] == 90
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not spec.get("hostPID")
    assert not spec.get("hostIPC")
    assert {volume["hostPath"]["path"] for volume in spec["volumes"]} == {"/etc/cni/net.d", "/run/flannel"}  # not /
    allowed = {argv for _, forms in commands.FORMS for argv in forms}
    listing = commands.listed(["/host/etc/cni/net.d"], ["/host/run/flannel/subnet.env"])
    for container in spec["containers"]:
        assert tuple(container["command"]) in {*allowed, listing}
        assert (container["image"], container["imagePullPolicy"]) == ("cni:1", "Never")
        security = container["securityContext"]
        assert (security["allowPrivilegeEscalation"], security["readOnlyRootFilesystem"]) == (False, True)
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert not security.get("privileged")
        assert all(mount["readOnly"] for mount in container["volumeMounts"])


async def test_an_image_with_tools_is_taken_before_the_cnis(api: Api) -> None:
    kubelet, shown = Kubelet(api), []

    async def approve(text: str) -> None:
        shown.append(text)
        assert await left(api) == []

    await looked(api, await made(api, images=("registry/pause:3", BUSYBOX)), kubelet, approve)
    (body,) = kubelet.bodies
    assert {each.text("image") for each in body.each("spec", "containers")} == {f"{BUSYBOX}@sha256:0"}
    for words in ("1 pod in namespace kube-system", "n1", BUSYBOX, "which has the tools", "/etc/cni/net.d", "90 s"):
        assert words in shown[0]


async def test_who_says_no_gets_no_pod(api: Api) -> None:
    async def refuse(_: str) -> None:
        raise errors.Interrupted("nothing was done")

    kubelet = Kubelet(api)
    with pytest.raises(errors.Interrupted):
        await looked(api, await made(api), kubelet, refuse)
    assert kubelet.bodies == []


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ({"waiting": {"reason": "ErrImageNeverPull"}}, "ErrImageNeverPull"),
        ({"terminated": {"reason": "StartError", "exitCode": 128}}, "no tools"),
        ({"waiting": {"reason": "ContainerCreating"}}, "did not end within 0.3 s"),
    ],
)
async def test_a_pod_that_shows_nothing_is_said_and_removed(
    api: Api, monkeypatch: pytest.MonkeyPatch, states: Mapping[str, object], words: str
) -> None:
    monkeypatch.setattr(survey_pods, "WAIT", 0.3)
    monkeypatch.setattr(survey, "WAIT", 0.3)
    kubelet = Kubelet(api)
    kubelet.states = states
    snapshot = await looked(api, await made(api), kubelet)
    assert snapshot.nodes == ()
    assert words in snapshot.unread[0].message
    assert await left(api) == []


async def test_nodes_where_no_pod_would_run_are_left_alone(api: Api) -> None:
    kubelet = Kubelet(api)
    snapshot = await looked(api, await made(api, ready="Unknown"), kubelet)
    assert "not Ready" in snapshot.unread[0].message
    assert kubelet.bodies == []
    windows = Object.of({"kind": "Node", "metadata": {"labels": {"kubernetes.io/os": "windows"}}})
    fargate = Object.of({"kind": "Node", "metadata": {"labels": {"eks.amazonaws.com/compute-type": "fargate"}}})
    assert "Linux" in survey.unfit(windows)
    assert "no machine of its own" in survey.unfit(fargate)


async def test_nothing_stays_when_it_is_interrupted(api: Api) -> None:
    kubelet = Kubelet(api)
    kubelet.states = {"waiting": {"reason": "ContainerCreating"}}
    task = asyncio.create_task(looked(api, await made(api, 3), kubelet))
    while len(kubelet.bodies) < 3:
        await asyncio.sleep(0.02)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert await left(api) == []


async def test_what_a_killed_one_left_goes_and_one_that_goes_on_stays(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = await made(api, 2)
    body = {
        "apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": "n1", "containers": [{"name": "a", "image": "a"}]},
    }  # fmt: skip
    first = survey_pods.Surveyor(node="n1", namespace="kube-system", images=())
    await api.create(
        {**body, "metadata": {"name": first.name, "namespace": "kube-system", "labels": survey_pods.LABELS}}
    )
    await api.create({**body, "metadata": {"name": "other", "namespace": "default"}})
    looked_at = await looked(api, snapshot)
    assert [one.node for one in looked_at.nodes] == ["n1", "n2"]
    assert await left(api) == [first.name]  # a minute old: somebody may be waiting for it
    later = dt.datetime.now(dt.UTC).timestamp() + 151
    monkeypatch.setattr(api, "now", lambda: later)
    await looked(api, snapshot)
    assert await left(api) == []
    assert "other" in [one.name for one in await api.list(PODS)]


async def test_without_the_right_it_is_named(api: Api, as_user: As) -> None:
    snapshot = await made(api)
    async with as_user("reader") as reader:
        knowing(reader, api, snapshot)
        shown = await survey.observe(reader, snapshot, ["n1"], approved)
    refused = [entry for entry in shown[1] if entry.why == "forbidden"]
    assert "kind: Role" in refused[0].message
    assert "resources: [pods/log], verbs: [get]" in refused[0].message
    assert await left(api) == []

"""The pods of a survey: what each is, and their life from before they are made until they are gone."""

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from kubemtu.core import errors
from kubemtu.core.cluster import pods as pod_times
from kubemtu.core.objects import Object, Ref, Want
from kubemtu.core.text.wording import names as listed
from kubemtu.flows.agentless import commands
from kubemtu.kube import api as kube_api
from kubemtu.kube import errors as kube_errors
from kubemtu.kube import together

NAME: Final = "kubemtu-survey"
LABELS: Final = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/managed-by": "kubemtu"}
DEADLINE: Final = 90  # seconds after which a kubelet ends such a pod by itself
WAIT: Final = 60.0  # seconds that all pods get to print what they print
LEFT: Final = DEADLINE + 60  # seconds after which a pod of ours is nobody's any more
PARALLEL: Final = 20  # requests
LOOK: Final = 0.5  # seconds between two looks at the pods
LOG_MOST: Final = 4 << 20
NOBODY: Final = 65534
FAILED: Final = frozenset(
    {"ErrImageNeverPull", "InvalidImageName", "CreateContainerError", "RunContainerError", "CreateContainerConfigError"}
)
"""Reasons for which a container waits that no waiting mends (kubernetes: pkg/kubelet/images/types.go, kuberuntime)."""


class Surveyor(msgspec.Struct, frozen=True, kw_only=True):
    """One pod to be made: on which node, from which images, and what each of its containers runs."""

    node: str
    namespace: str
    run: str = "0"
    """A word that is another one in each run."""
    images: tuple[tuple[str, str], ...]
    """Each image with the reason why it was chosen."""
    folders: Mapping[str, str] = {}
    """Paths of the node that it gets to read, with where they are in it."""
    files: Mapping[str, str] = {}

    @property
    def name(self) -> str:
        """Name of the pod: another one in each run, so that of two neither takes the other's."""
        return f"{NAME}-{self.run}-{hashlib.sha1(self.node.encode(), usedforsecurity=False).hexdigest()[:10]}"

    @property
    def runs(self) -> dict[str, tuple[str, commands.Command]]:
        """The containers by name, each with its image and its command."""
        found: dict[str, tuple[str, commands.Command]] = {}
        inside = {**self.folders, **self.files}
        for number, (image, _) in enumerate(self.images):
            argvs = dict.fromkeys(argv for _, forms in commands.FORMS for argv in forms)
            if inside:
                argvs[commands.listed(tuple(self.folders.values()), tuple(self.files.values()))] = None
            found.update({f"image-{number}-command-{place}": (image, argv) for place, argv in enumerate(argvs)})
        return found

    def body(self) -> dict[str, object]:
        """Return the pod: it may do what any program may that nobody trusts, but that it sees the node's network."""
        mounts = {host: f"/host{host}" for host in mounted(self)}
        security = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        volumes = [
            {"name": f"node-{number}", "hostPath": {"path": host, "type": "Directory"}}
            for number, host in enumerate(mounts)
        ]
        places_ = [
            {"name": f"node-{number}", "mountPath": inside, "readOnly": True}
            for number, inside in enumerate(mounts.values())
        ]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": dict(LABELS)},
            "spec": {
                "nodeName": self.node,
                "hostNetwork": True,
                "dnsPolicy": "Default",
                "restartPolicy": "Never",
                "activeDeadlineSeconds": DEADLINE,
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "tolerations": [{"operator": "Exists"}],
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": NOBODY,
                    "runAsGroup": NOBODY,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": name,
                        "image": image,
                        "imagePullPolicy": "Never",
                        "command": [*argv],
                        "securityContext": security,
                        "volumeMounts": places_,
                        "resources": {
                            "requests": {"cpu": "1m", "memory": "8Mi"},
                            "limits": {"cpu": "200m", "memory": "64Mi"},
                        },
                    }
                    for name, (image, argv) in self.runs.items()
                ],
                "volumes": volumes,
            },
        }


def mounted(surveyor: Surveyor) -> tuple[str, ...]:
    """Return the folders of the node that a pod mounts: those of files too, for a file may be replaced."""
    return tuple(dict.fromkeys((*surveyor.folders, *(path.rpartition("/")[0] for path in surveyor.files))))


class SurveyPods:
    """The pods of one survey, from before they are made until they are gone."""

    def __init__(self, api: kube_api.Api, namespace: str) -> None:
        self._want = Want(
            kind="Pod",
            plural="pods",
            api_versions=("v1",),
            namespace=namespace,
            label_selector=f"app.kubernetes.io/name={NAME}",
        )
        self._api = api
        self.tried: dict[str, Surveyor] = {}  # by the names of the pods: these are ours to remove
        self.ended: dict[str, Object] = {}  # the pods that have printed what they print, by their names
        self.why: dict[str, str] = {}  # why a node has no pod

    async def tidy(self) -> None:
        """Remove what a survey that was killed has left; one that goes on is left alone."""
        everywhere = msgspec.structs.replace(self._want, namespace=None)
        for pod in await self._api.list(everywhere):
            made = pod_times.seconds(pod.text("metadata", "creationTimestamp") or "")
            if made is not None and self._api.now() - made > LEFT:
                with contextlib.suppress(errors.KubemtuError):
                    await self._delete(pod.name, pod.namespace)

    async def make(self, surveyors: Sequence[Surveyor]) -> None:
        """Make them. Raises what is in the way of all; what is in the way of one is kept for `read`."""
        turn = asyncio.Semaphore(PARALLEL)

        async def one(surveyor: Surveyor) -> None:
            async with turn:
                self.tried[surveyor.name] = surveyor
                try:
                    await self._api.create(surveyor.body())
                except kube_errors.Rejected as error:
                    self.why[surveyor.node] = str(error).rstrip(".")

        await one(surveyors[0])  # what all lack is said once
        await together.gathered(map(one, surveyors[1:]))

    async def wait(self) -> None:
        """Wait until all have printed what they print, or their time is over."""
        loop = asyncio.get_running_loop()
        late = loop.time() + WAIT
        while self.tried.keys() - self.ended.keys() and loop.time() < late:
            with contextlib.suppress(errors.Unreachable):  # it may be back in time
                for pod in await self._api.list(self._want):
                    if pod.name in self.tried and ended(pod):
                        self.ended[pod.name] = pod
            await asyncio.sleep(LOOK)

    async def remove(self) -> None:
        """Remove all that were made, or may have been: an answer that was not waited for is no proof of none."""
        turn = asyncio.Semaphore(PARALLEL)

        async def one(name: str) -> None:
            async with turn:
                with contextlib.suppress(errors.KubemtuError):  # then its own deadline ends it
                    await self._delete(name, self._want.namespace)

        await asyncio.gather(*map(one, self.tried))

    async def _delete(self, name: str, namespace: str | None) -> None:
        await self._api.delete(Ref(api_version="v1", kind="Pod", plural="pods", name=name, namespace=namespace))


def ended(pod: Object) -> bool:
    """Say whether nothing more will come of a pod: all its containers have ended, or cannot begin."""
    if pod.get("status", "phase") in {"Succeeded", "Failed"}:
        return True
    statuses = [*pod.each("status", "containerStatuses")]
    return bool(statuses) and all(
        isinstance(each.get("state", "terminated"), dict) or each.get("state", "waiting", "reason") in FAILED
        for each in statuses
    )


def codes(pod: Object) -> dict[str, int | None]:
    """Return how the containers ended that had begun; None for those that could not begin."""
    found: dict[str, int | None] = {}
    for each in pod.each("status", "containerStatuses"):
        state = each.get("state", "terminated")
        if isinstance(state, dict):
            began = state.get("reason") not in {"StartError", "ContainerCannotRun"}
            code = state.get("exitCode")
            found[each.text("name") or ""] = code if began and isinstance(code, int) else None
    return found


def failure(pod: Object) -> str:
    """Say what its kubelet says of a pod that could not begin."""
    if reason := pod.text("status", "reason"):
        return f"its kubelet says of the pod: {reason}, {pod.text('status', 'message') or ''}".rstrip(", ")
    reasons = {each.get("state", "waiting", "reason") for each in pod.each("status", "containerStatuses")}
    named = sorted(str(reason) for reason in reasons if reason in FAILED)
    return f"its kubelet says of the containers: {listed(named)}" if named else ""

"""One pod on one node: volumes, network, then init containers in their order, then containers, until it is deleted."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

from kubemtu.core.errors import KubemtuError, Unreachable
from kubemtu.core.objects import PODS, Object
from kubemtu.kube.api import Api
from kubemtu_lab import attach, heartbeat, informer, volumes
from kubemtu_lab.containers import RETRY_SECONDS, Container, Host, now

log = logging.getLogger(__name__)


class PodHost(Host, Protocol):
    """What a pod needs of its node."""

    async def attach(self, pod: Object) -> attach.Attachment:
        """CNI ADD. Raises AttachFailed."""
        ...

    async def detach(self, pod: Object) -> None:
        """CNI DEL."""
        ...

    async def config_changed(self, seconds: float) -> None:
        """Wait until the CNI configuration may have changed, at most so long."""
        ...


class Pod:
    """The life of one pod, as a task; `end` makes it stop and leave."""

    def __init__(self, kubelet: PodHost, body: Object) -> None:
        self.kubelet, self.body = kubelet, body
        self._ref = informer.ref(PODS, body)
        self.host_network = bool(body.flag("spec", "hostNetwork"))
        self.inits = [Container(kubelet, body, spec, self._changed) for spec in body.each("spec", "initContainers")]
        self.mains = [Container(kubelet, body, spec, self._changed) for spec in body.each("spec", "containers")]
        self.attachment: attach.Attachment | None = None
        self._since = now()
        self._dirty = asyncio.Event()
        self._told: Mapping[str, object] = {}
        self._told_version = 0
        self._differs = False  # what the API holds, by somebody else's doing
        self._ready_since = self._since
        self._task = asyncio.create_task(self._live(), name=f"pod {body.name}")
        self._task.add_done_callback(_log_failure)

    async def end(self, *, gone: bool) -> None:
        """Stop everything in the pod and take its network away; tell the API, unless the object is gone already."""
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._detach()
        if not gone:
            await remove(self.kubelet.api, self.body)

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish())
            await self._set_up()
            if not self.host_network:
                self.attachment = await self._attach()
            for container in self.inits:
                await container.complete()
            for container in self.mains:
                group.create_task(container.live())

    async def _set_up(self) -> None:
        while True:
            try:
                return await volumes.set_up(self.kubelet.api, self.body)
            except Unreachable as answer:  # nothing is known to be missing, so nobody is told that anything is
                log.warning("pod %s: %s", self.body.name, answer)
            except (KubemtuError, OSError) as failure:
                self._wait(failure)
            await asyncio.sleep(RETRY_SECONDS)

    async def _attach(self) -> attach.Attachment:
        while True:
            try:
                return await self.kubelet.attach(self.body)
            except (KubemtuError, OSError, ValueError) as failure:
                # Whatever a plugin fails with: the file that it reads may be written in a moment.
                self._wait(failure)
            await self.kubelet.config_changed(RETRY_SECONDS)

    async def _detach(self) -> None:
        while True:
            try:
                return await self.kubelet.detach(self.body)
            except (KubemtuError, OSError) as failure:
                log.warning("pod %s: %s; again", self.body.name, failure)
            await asyncio.sleep(RETRY_SECONDS)

    def _wait(self, failure: Exception) -> None:
        """Tell why no container is made yet."""
        told: dict[str, object] = {"waiting": {"reason": "ContainerCreating", "message": str(failure)}}
        for container in self.mains:
            container.state = told
        self._changed()

    def container(self, name: str) -> Container | None:
        """Return the container of that name."""
        return next((each for each in (*self.inits, *self.mains) if each.name == name), None)

    def host_name(self) -> str:
        """Return the host name that the pod's programs see."""
        return (self.body.text("spec", "nodeName") if self.host_network else self.body.name) or ""

    def _changed(self) -> None:
        self._dirty.set()

    def reconcile(self, held: Object) -> None:
        """Tell once more when the API holds another Ready of this pod than it was told, whoever wrote that.

        The node-lifecycle controller does, for a node that is silent, and at any moment of the node's return. Source:
        kubernetes `pkg/kubelet/status/status_manager.go` (needsReconcile).
        """
        newer = int(held.resource_version or 0) > self._told_version
        if newer and heartbeat.ready_condition(held).text("status") != _ready(self.status()):
            self._differs = True
            self._changed()

    async def _publish(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            status, differs, self._differs = self.status(), self._differs, False
            if status == self._told and not differs:
                continue
            try:
                body = {"metadata": {"uid": informer.uid(self.body)}, "status": status}  # never another's of its name
                written = await self.kubelet.api.patch(self._ref, body, subresource="status")
                self._told, self._told_version = status, int(written.resource_version or 0)
            except KubemtuError:
                # Deleted meanwhile, or the API is away: the next change, or the deletion, tells.
                self._differs = self._differs or differs
                await asyncio.sleep(RETRY_SECONDS)
                if not await _is_there(self.kubelet.api, self.body):
                    return
                self._dirty.set()

    def status(self) -> dict[str, object]:
        """Return the pod's status as kubelet reports it."""
        initialized = all(container.ready for container in self.inits)
        ready = initialized and all(container.ready for container in self.mains)
        running = initialized and any("running" in c.state or c.restarts or c.last for c in self.mains)
        own = self.kubelet.addresses if self.host_network else self.attachment.addresses if self.attachment else ()
        if _ready(self._told) != _truth(ready):
            self._ready_since = now()
        conditions = [
            {"type": "Initialized", "status": _truth(initialized), "lastTransitionTime": self._since},
            {"type": "Ready", "status": _truth(ready), "lastTransitionTime": self._ready_since},
            {"type": "ContainersReady", "status": _truth(ready), "lastTransitionTime": self._ready_since},
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": self._since},
        ]
        status: dict[str, object] = {
            "phase": "Running" if running else "Pending",
            "hostIP": self.kubelet.addresses[0],
            "startTime": self._since,
            "conditions": conditions,
            "initContainerStatuses": [container.status() for container in self.inits],
            "containerStatuses": [container.status() for container in self.mains],
        }
        if own:
            status |= {"podIP": own[0], "podIPs": [{"ip": each} for each in own]}
        return status


async def remove(api: Api, body: Object) -> None:
    """Take a pod that has ended out of the API, however often that takes; never another one of its name.

    Where an answer is lost nobody knows whether it is gone, and whether another has its name by now. Source: kubernetes
    `pkg/kubelet/status/status_manager.go` (syncPod: a deletion under the pod's UID).
    """
    while True:
        try:
            await api.delete(informer.ref(PODS, body), uid=informer.uid(body), grace_seconds=0)
        except KubemtuError as failure:
            log.debug("pod %s: %s; again", body.name, failure)
        else:
            return
        await asyncio.sleep(RETRY_SECONDS)
        if not await _is_there(api, body):
            return


async def _is_there(api: Api, body: Object) -> bool:
    """Tell whether the API holds this very pod, as far as it answers."""
    try:
        found = await api.get(informer.ref(PODS, body))
    except KubemtuError:
        return True
    return found is not None and informer.uid(found) == informer.uid(body)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s ended", task.get_name(), exc_info=error)


def _truth(value: bool) -> str:
    return "True" if value else "False"


def _ready(status: Mapping[str, object]) -> str | None:
    return heartbeat.ready_condition(Object.of({"status": status})).text("status")

"""The node-lifecycle controller of a lab: a node whose kubelet is silent is Ready=Unknown, and its pods are not ready.

When a Lease was renewed is told by the clock of whoever looks at it, never by the time that is written in it. Source:
kubernetes `pkg/controller/nodelifecycle/node_lifecycle_controller.go`. Left out: taints, and evictions after minutes.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import Iterator, Mapping

from kubemtu.core.objects import NODES, PODS, Object
from kubemtu.kube.api import Api
from kubemtu.kube.errors import Absent
from kubemtu_lab import containers, heartbeat, informer

MESSAGE = "Kubelet stopped posting node status."


async def run(api: Api, grace_seconds: float) -> None:
    """Watch over the nodes of an API until cancelled."""
    await _NodeLifecycleController(api, grace_seconds).run()


class _NodeLifecycleController:
    def __init__(self, api: Api, grace_seconds: float) -> None:
        self._api, self._grace = api, grace_seconds
        self._changed = asyncio.Event()
        self._nodes = informer.Informer(api, NODES, self._changed)
        self._leases = informer.Informer(api, informer.LEASES, self._changed)
        self._heard: dict[str, tuple[str, float]] = {}  # by node: the Lease's renewTime, and when that was seen first
        self._pods_due: set[str] = set()  # nodes given up whose pods are not all told to be unready

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for each in (self._nodes, self._leases):
                tasks.create_task(each.run())
            while True:
                await asyncio.sleep(min(1.0, self._grace / 8))
                self._listen(time.monotonic())
                await asyncio.gather(*(informer.once_more(each, self._changed) for each in self._writes()))

    def _listen(self, now: float) -> None:
        for each in self._leases.objects.values():
            renewed = each.text("spec", "renewTime") or ""
            if each.namespace == heartbeat.NAMESPACE and self._heard.get(each.name, ("", 0))[0] != renewed:
                self._heard[each.name] = renewed, now

    def _writes(self) -> Iterator[informer.Write]:
        now = time.monotonic()
        for node in self._nodes.objects.values():
            _, since = self._heard.get(node.name, ("", now))
            is_known = heartbeat.ready_condition(node).text("status") in ("True", "False")
            if now - since <= self._grace:
                self._pods_due.discard(node.name)
            elif is_known or node.name in self._pods_due:
                yield functools.partial(self._give_up, node, is_known=is_known)

    async def _give_up(self, node: Object, *, is_known: bool) -> None:
        if is_known:
            told = {"status": "Unknown", "reason": "NodeStatusUnknown", "message": MESSAGE}
            body = {"status": {"conditions": _with_ready(node, told)}}
            self._pods_due.add(node.name)  # also where it is written and the answer is lost: nothing else tells then
            self._nodes.enter(await self._api.patch(informer.at(NODES, node.name), body, subresource="status"))
        for pod in await self._api.list(PODS, field_selector=f"spec.nodeName={node.name}"):
            if heartbeat.ready_condition(pod).text("status") == "True":
                unready = {"status": {"conditions": _with_ready(pod, {"status": "False"})}}
                with contextlib.suppress(Absent):
                    await self._api.patch(informer.ref(PODS, pod), unready, subresource="status")
        self._pods_due.discard(node.name)


def _with_ready(body: Object, condition: Mapping[str, str]) -> list[dict[str, object]]:
    """Return the conditions of a node or a pod, with another Ready among them."""
    changed = dict(condition) | {"lastTransitionTime": containers.now()}
    return [
        dict(each.body) | (changed if each.text("type") == "Ready" else {})
        for each in body.each("status", "conditions")
    ]

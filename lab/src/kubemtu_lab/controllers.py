"""The DaemonSet controller of a lab, where the API stands alone: one pod a node, replaced node by node.

Level-triggered: whatever happened, the present nodes, DaemonSets and pods decide what is done next.
Source: kubernetes `pkg/controller/daemon/{daemon_controller,update}.go`. Unlike there, pods are bound to their node at
once (a lab has no scheduler); `nodeSelector` is heeded, affinity, taints, `maxSurge` and `minReadySeconds` are not.
"""

import asyncio
import functools
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from kubemtu.core import objects
from kubemtu.core.objects import NODES, PODS
from kubemtu.kube.api import Api
from kubemtu_lab import informer, state
from kubemtu_lab.api.resources import Object, copied
from kubemtu_lab.api.store import suffix

_HASH, _GENERATION = "controller-revision-hash", "pod-template-generation"
_FOREGROUND = "foregroundDeletion"
_HASH_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at a DaemonSet decides: pods to make and to delete, and the status to write."""

    create: tuple[Object, ...] = ()
    delete: tuple[Object, ...] = ()
    status: Object


async def run(api: Api, *, synced: asyncio.Event | None = None) -> None:
    """Control the DaemonSets of an API until cancelled; sets `synced` when everything was read once."""
    await _DaemonSetController(api).run(synced or asyncio.Event())


class _DaemonSetController:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._changed = asyncio.Event()
        self._daemonsets = informer.Informer(api, informer.DAEMONSETS, self._changed)
        self._pods = informer.Informer(api, PODS, self._changed)
        self._nodes = informer.Informer(api, NODES, self._changed)

    async def run(self, synced: asyncio.Event) -> None:
        mirrors = (self._daemonsets, self._pods, self._nodes)
        async with asyncio.TaskGroup() as tasks:
            for each in mirrors:
                tasks.create_task(each.run())
            while True:
                await self._changed.wait()
                self._changed.clear()
                if all(each.synced for each in mirrors):
                    synced.set()
                    await asyncio.gather(*(informer.once_more(each, self._changed) for each in self._writes()))

    def _writes(self) -> list[informer.Write]:
        """Decide everything by one state of the mirrors; returns the requests that are due."""
        owned: dict[str, list[Object]] = defaultdict(list)
        for pod in self._pods.objects.values():
            if owner := _owner(pod.body):
                owned[owner].append(pod.body)
        nodes = {node.name: node.body for node in self._nodes.objects.values()}
        due: list[informer.Write] = [
            functools.partial(self._delete, pod, nodes)
            for uid in owned.keys() - self._daemonsets.objects.keys()
            for pod in owned[uid]
            if not _is_ending(pod) or _node(pod) not in nodes
        ]
        for uid, found in self._daemonsets.objects.items():
            daemonset: Object = found.body
            if _is_ending(daemonset):
                due += self._ends(daemonset, owned[uid], nodes)
                continue
            change = decide(daemonset, owned[uid], nodes)
            due += [functools.partial(self._create, pod) for pod in change.create]
            due += [functools.partial(self._delete, pod, nodes) for pod in change.delete]
            held = daemonset.get("status") or {}
            if any(held.get(field) != value for field, value in change.status.items()):
                due.append(functools.partial(self._write_status, daemonset, change.status))
        return due

    def _ends(self, daemonset: Object, pods: Sequence[Object], nodes: Mapping[str, Object]) -> Iterable[informer.Write]:
        """Take the pods of a DaemonSet whose deletion waits for them, and then that: the garbage collector's part.

        Source: kubernetes `pkg/controller/garbagecollector/garbagecollector.go`, attemptToDeleteItem.
        """
        finalizers = daemonset["metadata"].get("finalizers") or []
        if _FOREGROUND not in finalizers:
            return
        for pod in pods:
            if not _is_ending(pod) or _node(pod) not in nodes:
                yield functools.partial(self._delete, pod, nodes)
        if not pods:
            yield functools.partial(self._let_go, daemonset, [each for each in finalizers if each != _FOREGROUND])

    async def _let_go(self, daemonset: Object, finalizers: list[str]) -> None:
        metadata = daemonset["metadata"]
        where = informer.at(informer.DAEMONSETS, metadata["name"], metadata["namespace"])
        await self._api.patch(where, {"metadata": {"finalizers": finalizers or None, "uid": metadata["uid"]}})

    async def _create(self, pod: Object) -> None:
        self._pods.enter(await self._api.create(pod))

    async def _delete(self, pod: Object, nodes: Mapping[str, Object]) -> None:
        metadata = pod["metadata"]
        where = informer.at(PODS, metadata["name"], metadata["namespace"])
        # Without its node no kubelet is left that would end it.
        await self._api.delete(where, uid=metadata["uid"], grace_seconds=None if _node(pod) in nodes else 0)

    async def _write_status(self, daemonset: Object, status: Object) -> None:
        metadata = daemonset["metadata"]
        where = informer.at(informer.DAEMONSETS, metadata["name"], metadata["namespace"])
        self._daemonsets.enter(await self._api.patch(where, {"status": status}, subresource="status"))


def decide(daemonset: Object, pods: Sequence[Object], nodes: Mapping[str, Object]) -> Change:
    """Tell what a DaemonSet needs now, from the pods that it owns and the nodes by name; nothing is read or written."""
    spec = daemonset["spec"]
    revision = revision_hash(spec["template"])
    wanted = sorted(name for name, node in nodes.items() if _fits(spec["template"], node))
    on_node: dict[str, list[Object]] = defaultdict(list)
    for pod in sorted(pods, key=_age):
        on_node[_node(pod)].append(pod)

    create = [_pod(daemonset, revision, name) for name in wanted if not on_node[name]]
    delete = [pod for name in on_node.keys() - set(wanted) for pod in on_node[name]]
    kept: dict[str, list[Object]] = {}
    for name in wanted:
        alive = [pod for pod in on_node[name] if not _is_ending(pod)]
        ended = [pod for pod in alive if pod.get("status", {}).get("phase") in ("Failed", "Succeeded")]
        living = [pod for pod in alive if pod not in ended]
        kept[name] = living[:1]
        delete += [*ended, *living[1:]]
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") == "RollingUpdate":
        most = _most_unavailable((strategy.get("rollingUpdate") or {}).get("maxUnavailable", 1), len(wanted))
        delete += _outdated(kept, revision, most)
    return Change(
        create=tuple(create),
        delete=tuple(pod for pod in delete if not _is_ending(pod) or _node(pod) not in nodes),
        status=_status(daemonset, revision, kept),
    )


def revision_hash(template: Object) -> str:
    """Return the ten letters that tell a pod template from all others; equal templates have equal letters."""
    digest = hashlib.sha256(msgspec.json.encode(template, order="sorted")).digest()
    return "".join(_HASH_LETTERS[each % len(_HASH_LETTERS)] for each in digest[:10])


def _outdated(kept: Mapping[str, Sequence[Object]], revision: str, most: int) -> list[Object]:
    """Choose old pods to replace: those that are not available at once, of the others as many as may be missing."""
    old = [pod for pods in kept.values() for pod in pods if _revision(pod) != revision]
    unavailable = sum(1 for pods in kept.values() if not any(map(_is_ready, pods)))
    broken = [pod for pod in old if not _is_ready(pod)]
    return broken + [pod for pod in old if _is_ready(pod)][: max(0, most - unavailable)]


def _status(daemonset: Object, revision: str, kept: Mapping[str, Sequence[Object]]) -> Object:
    pods = [pod for each in kept.values() for pod in each]
    ready = sum(map(_is_ready, pods))
    return {
        "currentNumberScheduled": len(pods),
        "desiredNumberScheduled": len(kept),
        "numberAvailable": ready or None,
        "numberMisscheduled": 0,
        "numberReady": ready,
        "numberUnavailable": (len(kept) - ready) or None,
        "observedGeneration": daemonset["metadata"].get("generation", 1),
        "updatedNumberScheduled": sum(1 for pod in pods if _revision(pod) == revision) or None,
    }


def _most_unavailable(limit: int | str, nodes: int) -> int:
    """Return how many nodes may be without a ready pod; a percentage rounds up, and at least one may."""
    if isinstance(limit, str) and limit.endswith("%"):
        return max(1, math.ceil(int(limit.removesuffix("%")) * nodes / 100))
    return max(1, int(limit))


def _pod(daemonset: Object, revision: str, node: str) -> Object:
    template, owner = copied(daemonset["spec"]["template"]), daemonset["metadata"]
    metadata = template.get("metadata") or {}
    labels = (metadata.get("labels") or {}) | {_HASH: revision, _GENERATION: str(owner.get("generation", 1))}
    reference = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": owner["name"], "uid": owner["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{owner['name']}-{suffix()}",
            "namespace": owner["namespace"],
            "labels": labels,
            "annotations": metadata.get("annotations") or {},
            "ownerReferences": [reference | {"controller": True, "blockOwnerDeletion": True}],
        },
        "spec": template["spec"] | {"nodeName": node},
    }


def _fits(template: Object, node: Object) -> bool:
    labels = node["metadata"].get("labels") or {}
    return (template["spec"].get("nodeSelector") or {}).items() <= labels.items()


def _owner(pod: Object) -> str:
    """Return the uid of the DaemonSet that controls a pod; nothing for other pods."""
    references: Iterable[Object] = pod["metadata"].get("ownerReferences") or ()
    return next((each["uid"] for each in references if each.get("controller") and each["kind"] == "DaemonSet"), "")


def _node(pod: Object) -> str:
    name: str = pod["spec"].get("nodeName", "")
    return name


def _revision(pod: Object) -> str:
    found: str = (pod["metadata"].get("labels") or {}).get(_HASH, "")
    return found


def _age(pod: Object) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]


def _is_ending(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _is_ready(pod: Object) -> bool:
    return state.is_ready(objects.Object.of(pod))

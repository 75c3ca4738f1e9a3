"""The namespace controller of a lab: a namespace that is deleted is emptied, and then it is gone.

The lab's own server does that by itself; a real kube-apiserver leaves it to this controller. Source: kubernetes
`pkg/controller/namespace/deletion/namespaced_resources_deleter.go`.
"""

import asyncio
import functools
from collections.abc import Iterator

from kubemtu.core.objects import Object, Want
from kubemtu.kube.api import Api
from kubemtu_lab import informer

NAMESPACES = Want(kind="Namespace", plural="namespaces", api_versions=("v1",))
FINALIZER = "kubernetes"
PAUSE_SECONDS = 0.2  # between two looks at what a kubelet still has to end


async def run(api: Api) -> None:
    """Watch over the namespaces of an API until cancelled."""
    changed = asyncio.Event()
    namespaces = informer.Informer(api, NAMESPACES, changed)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(namespaces.run())
        while True:
            await changed.wait()
            changed.clear()
            for ending in _ending(namespaces):
                await informer.once_more(functools.partial(_empty, api, ending, changed), changed)


def _ending(namespaces: informer.Informer) -> Iterator[Object]:
    for each in list(namespaces.objects.values()):
        finalizers = each.get("spec", "finalizers")
        if each.text("metadata", "deletionTimestamp") and isinstance(finalizers, list) and FINALIZER in finalizers:
            yield each


async def _empty(api: Api, ending: Object, changed: asyncio.Event) -> None:
    """Delete all that is in a namespace, and once nothing is, let it go."""
    left = 0
    for want in await api.namespaced(ending.name):
        for found in await api.list(want):
            left += 1
            if not found.text("metadata", "deletionTimestamp"):
                await informer.once_more(functools.partial(_delete, api, want, found), changed)
    if left:
        asyncio.get_running_loop().call_later(PAUSE_SECONDS, changed.set)
        return
    spec = {**ending.mapping("spec"), "finalizers": []}
    await api.replace({**ending.body, "spec": spec}, subresource="finalize")


async def _delete(api: Api, want: Want, namespace: Object) -> None:
    await api.delete(informer.ref(want, namespace), uid=informer.uid(namespace))

"""The EndpointSlice controller of a lab, where the API stands alone: which pods are behind each Service.

Level-triggered as `controllers` is. Pods are followed only once there is a Service that chooses any.
Source: kubernetes `pkg/controller/endpointslice`, `staging/src/k8s.io/endpointslice/{reconciler,utils}.go`. Unlike
there, a slice is named after its Service and family instead of by chance, and holds all endpoints, however many.
"""

import asyncio
import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator

from kubemtu.core import objects
from kubemtu.core.objects import PODS
from kubemtu.kube.api import Api
from kubemtu_lab import informer, state
from kubemtu_lab.api.resources import Object

OF_SERVICE = "kubernetes.io/service-name"
"""The label that names the Service of a slice."""
_KEPT_BY = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}


async def run(api: Api) -> None:
    """Keep the EndpointSlices of an API until cancelled."""
    await _EndpointSliceController(api).run()


class _EndpointSliceController:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._changed = asyncio.Event()
        self._services = informer.Informer(api, informer.SERVICES, self._changed)
        self._pods = informer.Informer(api, PODS, self._changed)
        self._slices = informer.Informer(api, informer.ENDPOINT_SLICES, self._changed)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._services.run())
            while not any(map(_chooses, self._bodies(self._services))):
                await self._change()
            for each in (self._pods, self._slices):
                tasks.create_task(each.run())
            while True:
                await self._change()
                if self._pods.synced and self._slices.synced:
                    await asyncio.gather(*(informer.once_more(each, self._changed) for each in self._writes()))

    async def _change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def _bodies(self, followed: informer.Informer) -> list[Object]:
        return [each.body for each in followed.objects.values()]

    def _writes(self) -> Iterator[informer.Write]:
        """Decide everything by one state of the mirrors; yields the requests that are due."""
        pods: dict[str, list[Object]] = defaultdict(list)
        for pod in self._bodies(self._pods):
            pods[pod["metadata"]["namespace"]].append(pod)
        wanted: dict[tuple[str, str], Object] = {}
        for service in filter(_chooses, self._bodies(self._services)):
            for each in slices(service, pods[service["metadata"]["namespace"]]):
                wanted[_key(each)] = each
        held = {_key(each): each for each in self._bodies(self._slices) if _is_ours(each)}
        for key, each in held.items():
            # A Service of the same name is another one when its uid is: then the slice goes, and comes again.
            if key not in wanted or _owner(each) != _owner(wanted[key]):
                yield functools.partial(self._delete, each)
            elif any(_plain(each, part) != wanted[key][part] for part in ("endpoints", "ports")):
                yield functools.partial(self._write, wanted[key])
        for key in wanted.keys() - held.keys():
            yield functools.partial(self._create, wanted[key])

    async def _create(self, fresh: Object) -> None:
        self._slices.enter(await self._api.create(fresh))

    async def _write(self, fresh: Object) -> None:
        change = {part: fresh[part] for part in ("endpoints", "ports")}
        self._slices.enter(await self._api.patch(_where(fresh), change))

    async def _delete(self, endpoint_slice: Object) -> None:
        await self._api.delete(_where(endpoint_slice), uid=endpoint_slice["metadata"]["uid"])


def slices(service: Object, pods: Iterable[Object]) -> Iterator[Object]:
    """Yield the EndpointSlices that a Service has now, from the pods of its namespace; nothing is read or written.

    One for each family, and more only where a named port is another number in some pods.
    """
    metadata, spec = service["metadata"], service["spec"]
    chosen = sorted(
        (pod for pod in pods if _is_chosen(spec["selector"], pod)), key=lambda pod: str(pod["metadata"]["name"])
    )
    owner = {"apiVersion": "v1", "kind": "Service", "name": metadata["name"], "uid": metadata["uid"]}
    for family in spec.get("ipFamilies") or ["IPv4"]:
        groups: dict[tuple[tuple[str, str, int], ...], list[Object]] = defaultdict(list)
        for pod in chosen:
            if address := _address(pod, family):
                groups[tuple(_ports(spec, pod))].append(_endpoint(pod, address, spec))
        for place, (ports, endpoints) in enumerate(sorted(groups.items()) or [((), [])]):
            name = f"{metadata['name']}-{family.lower()}" + (f"-{place + 1}" if place else "")
            yield {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": name,
                    "namespace": metadata["namespace"],
                    "labels": _KEPT_BY | {OF_SERVICE: metadata["name"]},
                    "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}],
                },
                "addressType": family,
                "endpoints": endpoints,
                "ports": [{"name": name, "protocol": protocol, "port": port} for name, protocol, port in ports],
            }


def _endpoint(pod: Object, address: str, spec: Object) -> Object:
    metadata = pod["metadata"]
    ending, serving = "deletionTimestamp" in metadata, state.is_ready(objects.Object.of(pod))
    ready = bool(spec.get("publishNotReadyAddresses")) or (serving and not ending)
    return {
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": ending},
        "nodeName": pod["spec"].get("nodeName", ""),
        "targetRef": {
            "kind": "Pod",
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
    }


def _ports(spec: Object, pod: Object) -> Iterator[tuple[str, str, int]]:
    """Yield name, protocol and number of the ports that a Service means in one pod; a name that it lacks has none."""
    for port in spec.get("ports") or ():
        told, protocol = port.get("targetPort") or port["port"], port.get("protocol", "TCP")
        number = told if isinstance(told, int) else _named(pod, told, protocol)
        if number:
            yield port.get("name", ""), protocol, number


def _named(pod: Object, name: str, protocol: str) -> int:
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if (port.get("name"), port.get("protocol", "TCP")) == (name, protocol):
                return int(port["containerPort"])
    return 0


def _address(pod: Object, family: str) -> str:
    addresses = [str(each["ip"]) for each in (pod.get("status") or {}).get("podIPs") or ()]
    return next((each for each in addresses if (":" in each) == (family == "IPv6")), "")


def _is_chosen(selector: Object, pod: Object) -> bool:
    is_over = (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")
    return not is_over and selector.items() <= (pod["metadata"].get("labels") or {}).items()


def _chooses(service: Object) -> bool:
    return bool(service["spec"].get("selector")) and service["spec"].get("type") != "ExternalName"


def _is_ours(endpoint_slice: Object) -> bool:
    return _KEPT_BY.items() <= (endpoint_slice["metadata"].get("labels") or {}).items()


def _owner(endpoint_slice: Object) -> str:
    return next((str(each["uid"]) for each in endpoint_slice["metadata"].get("ownerReferences") or ()), "")


def _key(endpoint_slice: Object) -> tuple[str, str]:
    return endpoint_slice["metadata"]["namespace"], endpoint_slice["metadata"]["name"]


def _plain(endpoint_slice: Object, part: str) -> list[Object]:
    return endpoint_slice.get(part) or []


def _where(endpoint_slice: Object) -> objects.Ref:
    return informer.at(
        informer.ENDPOINT_SLICES, endpoint_slice["metadata"]["name"], endpoint_slice["metadata"]["namespace"]
    )

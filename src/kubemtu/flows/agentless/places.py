"""Where on a node a command can be run: containers that run there already, the likeliest first.

A pod on its node's own network shows that node's devices. The CNI's pod comes first, for it also has the folders of
the CNI; then kube-proxy, what exports the node's metrics, and any other. How a container is called, and where it has a
folder of its node, is what its pod says.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TypeAlias

import msgspec

from kubemtu.core import errors
from kubemtu.core.disclosure import files as disclosure
from kubemtu.core.objects import Object, Ref
from kubemtu.core.snapshot import Snapshot
from kubemtu.kube.exec import Place

Key: TypeAlias = tuple[str, str, str]
"""Namespace, owner and name of a container: what all those have in common that are of one image."""
LIKELY = ("kube-proxy", "node-exporter")
OURS = "kubemtu"


class HostPod(msgspec.Struct, frozen=True, kw_only=True):
    """A pod that runs on its node's own network; `owner` is its DaemonSet, or its own name: pods of one are alike."""

    namespace: str
    name: str
    owner: str
    rank: int


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """A container that runs, and where it has what the CNI keeps on the node: paths in it, by paths on the node."""

    place: Place
    owner: str
    folders: Mapping[str, str] = {}
    files: Mapping[str, str] = {}

    @property
    def has(self) -> int:
        """Return how many of the CNI's folders and files it has."""
        return len(self.folders) + len(self.files)

    @property
    def key(self) -> Key:
        """Return what tells its image."""
        return self.place.namespace, self.owner, self.place.container


def host_pods(
    snapshot: Snapshot, daemonset: Ref | None, named: Collection[tuple[str, str]]
) -> dict[str, list[HostPod]]:
    """Return the pods on each node's own network, the likeliest first; `daemonset` is the CNI's.

    `named` are namespace and name of DaemonSets that any CNI has: another one's are better than nobody's.
    """
    found: dict[str, list[HostPod]] = {}
    for pod in snapshot.each("Pod"):
        try:
            node = pod.text("spec", "nodeName")
            runs = pod.text("status", "phase") == "Running" and pod.get("metadata", "deletionTimestamp") is None
            if not node or not runs or not pod.flag("spec", "hostNetwork"):
                continue
            owner = next((each.text("name") or "" for each in pod.each("metadata", "ownerReferences")), "") or pod.name
        except errors.Malformed:
            continue
        at = (pod.namespace or "", owner)
        own = daemonset is not None and at == (daemonset.namespace, daemonset.name)
        rank = 0 if own else 1 if at in named else 2 + _likely(owner)
        found.setdefault(node, []).append(HostPod(namespace=at[0], name=pod.name, owner=owner, rank=rank))
    return {node: sorted(pods, key=lambda one: (one.rank, one.namespace, one.name)) for node, pods in found.items()}


def _likely(owner: str) -> int:
    if owner.startswith(OURS):
        return len(LIKELY) + 1  # an agent that tells nothing has no tools either
    return next((place for place, word in enumerate(LIKELY) if word in owner), len(LIKELY))


def containers(pod: Object, owner: str, wanted: Iterable[str]) -> list[Container]:
    """Return the containers of a pod that run, in its own order.

    `wanted` are files of the node beside the CNI's own folder. Raises Malformed for a pod that cannot be read.
    """
    volumes = dict(_host_paths(pod))
    running = {
        status.text("name")
        for status in pod.each("status", "containerStatuses")
        if isinstance(status.get("state", "running"), dict)
    }
    found = []
    for each in pod.each("spec", "containers"):
        name = each.text("name") or ""
        if name in running:
            mounts = dict(_mounts(each, volumes))
            place = Place(namespace=pod.namespace or "", pod=pod.name, container=name)
            folders = {path: inside for path, inside in mounts.items() if path.endswith("/cni/net.d")}
            above = {path: inside for path, inside in mounts.items() if path not in folders}
            cni = disclosure.CNI_FOLDER.rstrip("/")
            if (inside := _inside(cni, above)) is not None:
                folders.setdefault(cni, inside)
            files = {path: inside for path in wanted if (inside := _inside(path, mounts)) is not None}
            found.append(Container(place=place, owner=owner, folders=folders, files=files))
    return found


def _host_paths(pod: Object) -> Iterator[tuple[str, str]]:
    for volume in pod.each("spec", "volumes"):
        name, path = volume.text("name"), volume.get("hostPath", "path")
        if name and isinstance(path, str) and path.startswith("/"):
            yield name, path.rstrip("/") or "/"


def _mounts(container: Object, volumes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each folder of the node that a container has, and where."""
    for mount in container.each("volumeMounts"):
        name, inside, below = mount.text("name"), mount.text("mountPath"), mount.get("subPath")
        if (
            name
            and name in volumes
            and inside
            and inside.startswith("/")
            and not below
            and mount.get("subPathExpr") is None
        ):
            yield volumes[name], inside.rstrip("/") or "/"


def _inside(path: str, mounts: Mapping[str, str]) -> str | None:
    """Return where a container has a path of its node, by the deepest of its mounts above it; None where it has not."""
    above = [host for host in mounts if host in {"/", path} or path.startswith(f"{host}/")]
    if not above:
        return None
    host = max(above, key=len)
    return f"{mounts[host].rstrip('/')}{path if host == '/' else path[len(host) :]}" or "/"

"""Pods of the API: which run in the pod network, which of them are the CNI's own, and whose port a veth is."""

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec

from kubemtu.core import errors, net, objects
from kubemtu.core.snapshot import Snapshot

STARTING = 10.0  # seconds; clocks differ, times of the API are whole seconds, and a pod is seen only after it was made
WORKLOADS = frozenset({"ReplicaSet", "StatefulSet", "Job", "ReplicationController", "Node"})
"""Kinds that pods belong to whatever they do: as an owner they tell nothing, and of thousands they are left out."""
NETWORKS = "k8s.v1.cni.cncf.io/networks"
"""Annotation of a pod: the networks that it is attached to besides its own (multi-net-spec, section 4.1)."""
STATUS = ("k8s.v1.cni.cncf.io/network-status", "k8s.v1.cni.cncf.io/networks-status")
"""Annotations of a pod: what it was attached to, by the name of today and the one before."""
PRIMARY = "v1.multus-cni.io/default-network"
"""Annotation of a pod: its own network is this one, and not the cluster's."""
RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?[Zz]")


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """One running pod that has an interface of its own; `addresses` without prefix lengths."""

    namespace: str
    name: str
    node: str
    addresses: tuple[str, ...] = ()
    ending: bool = False  # it is being deleted, and its interface may be gone already
    started: float | None = None  # when the first of its running containers did, in seconds since the epoch
    owner: str = ""  # kind of what it belongs to, where that is none of WORKLOADS
    elsewhere: bool = False  # its own network is another than the cluster's
    images: tuple[str, ...] = ()  # of its running containers, those that are `telling`

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Unseen(msgspec.Struct, frozen=True, kw_only=True):
    """Pods of one node whose ports were not found there, as "namespace/name".

    `late` are those of them, the last ones, that have no address yet, or began too late for that look.
    """

    pods: tuple[str, ...] = ()
    late: tuple[str, ...] = ()


class CniPod(msgspec.Struct, frozen=True, kw_only=True):
    """One pod of the CNI's DaemonSet.

    `installed` is when its install-cni container had written the node's conflist, in seconds since the epoch: when it
    finished, or, where it writes once and then sleeps (`lingers`, RKE before 2019), when it started. `refused` is what
    the kubelet says of a container that it cannot even create, because its configuration lacks something.
    """

    name: str
    node: str
    installed: float | None = None
    lingers: bool = False
    refused: str = ""


def running(snapshot: Snapshot) -> tuple[Pod, ...]:
    """Return all running pods of the pod network; pods on the host's network have no port and are left out."""
    return tuple(pod for found in snapshot.each("Pod") if (pod := one(found)) is not None)


class ByNode:
    """Running pods by their nodes: each is made when its node is asked for, for there are many.

    `count` has those of the pod network alone; pods whose own network is another one are handed out, and say so.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._objects = snapshot.of_kind("Pod")
        self._places: dict[str, array[int]] = {}
        self.count = 0
        for place, found in enumerate(self._objects):
            node = runs_on(found)
            if node is not None:
                self._places.setdefault(node, array("I")).append(place)
                self.count += not elsewhere(found)

    def on(self, node: str) -> tuple[Pod, ...]:
        """Return those of one node."""
        here = (one(self._objects[place]) for place in self._places.get(node, ()))
        return tuple(pod for pod in here if pod is not None)


def cni_pods(snapshot: Snapshot, daemonset: objects.Ref | None) -> tuple[CniPod, ...]:
    """Return the pods of the CNI's DaemonSet, one a node; empty when it is unknown."""
    if daemonset is None:
        return ()
    return tuple(pod for found in snapshot.each("Pod", daemonset.namespace) if (pod := _of_cni(found, daemonset)))


def owners(ports: tuple[net.PodPort, ...], prefixes: tuple[str, ...], pods: tuple[Pod, ...]) -> dict[str, str]:
    """Map the host-side link of each port of one node to "namespace/name" of its pod, where that can be told.

    By a name of the link that tells it first: the prefix and 11 hex digits of SHA-1 over "namespace.name"
    (projectcalico/calico: libcalico-go/lib/backend/k8s/conversion/workload_endpoint_default.go); else by address.
    """
    by_link = {prefix + link_suffix(pod): str(pod) for prefix in prefixes for pod in pods}
    by_address = {address: str(pod) for pod in pods for address in pod.addresses}
    found: dict[str, str] = {}
    for port in ports:
        owner = by_link.get(port.host_link) or next(
            (by_address[address] for address in port.addresses if address in by_address), None
        )
        if owner is not None:
            found[port.host_link] = owner
    return found


def unseen(observation: net.NodeObservation, here: Iterable[Pod], named: Iterable[str]) -> Unseen:
    """Name the pods of a node whose ports were not found; `named` are those whose ports were.

    Ports whose pods are not known may be theirs: so many are not spoken of, of those that began of late first.
    """
    if not observation.links:
        return Unseen()
    found = set(named)
    missing = [pod for pod in here if not pod.ending and str(pod) not in found]
    overdue = [str(pod) for pod in missing if not _too_late(observation, pod)]
    late = [str(pod) for pod in missing if _too_late(observation, pod)]
    unnamed = len(observation.ports) - len(found)
    listed = (*overdue, *late)[: max(len(missing) - unnamed, 0)]
    return Unseen(pods=listed, late=listed[len(overdue) :])


def _too_late(observation: net.NodeObservation, pod: Pod) -> bool:
    """Say whether a pod began after its node was looked at, or so little before that nobody can have seen it yet."""
    return not pod.addresses or 0 < observation.observed_at < (pod.started or 0) + STARTING


def link_suffix(pod: Pod) -> str:
    """Return what follows the prefix in the name of a host-side link that is made of the pod's own."""
    return hashlib.sha1(f"{pod.namespace}.{pod.name}".encode(), usedforsecurity=False).hexdigest()[:11]


def seconds(moment: str) -> float | None:
    """Read a time of the API (RFC 3339, UTC) as seconds since the epoch; None when it is none."""
    if RFC3339.fullmatch(moment) is None:
        return None
    try:
        return datetime.fromisoformat(moment.upper()).timestamp()
    except ValueError:  # as of the 31st of June
        return None


def one(resource: objects.Object) -> Pod | None:
    """Return a running pod of the pod network, None for any other, and for one that cannot be read."""
    node = runs_on(resource)
    if node is None:
        return None
    try:
        return Pod(
            namespace=resource.namespace or "",
            name=resource.name,
            node=node,
            addresses=tuple(dict.fromkeys(objects.pod_addresses(resource))),
            ending=resource.get("metadata", "deletionTimestamp") is not None,
            started=_started(resource),
            owner=_owner(resource),
            elsewhere=elsewhere(resource),
            images=tuple(dict.fromkeys(_images(resource))),
        )
    except errors.Malformed:
        return None  # a pod that cannot be read still has its port: it is only not named


def telling(image: str) -> bool:
    """Say whether an image tells what a pod runs inside itself, where nothing else does: those of kind, and none else.

    It is asked for every container of a cluster, so no regular expression is searched for.
    """
    return "kindest/" in image or "/krte" in image or "kubekins" in image


def _owner(resource: objects.Object) -> str:
    kinds = (owner.get("kind") for owner in resource.each("metadata", "ownerReferences"))
    return next((kind for kind in kinds if isinstance(kind, str) and kind not in WORKLOADS), "")


def _images(resource: objects.Object) -> Iterator[str]:
    for status in _statuses(resource):
        image = status.get("image")
        if isinstance(image, str) and telling(image) and isinstance(status.get("state", "running"), dict):
            yield image


def elsewhere(resource: objects.Object) -> bool:
    """Say whether a pod's own network is another than the cluster's, which nothing of the pod network concerns."""
    named = resource.get("metadata", "annotations", PRIMARY)
    return isinstance(named, str) and bool(named.strip())


def runs_on(resource: objects.Object) -> str | None:
    """Return the node of a running pod that has an interface of its own; None of any other."""
    try:
        node = resource.text("spec", "nodeName")
        if not node or resource.flag("spec", "hostNetwork") or resource.text("status", "phase") != "Running":
            return None
    except errors.Malformed:
        return None
    return node


def _started(resource: objects.Object) -> float | None:
    moments = (seconds(each.text("state", "running", "startedAt") or "") for each in _statuses(resource))
    return min((moment for moment in moments if moment is not None), default=None)


def _of_cni(resource: objects.Object, daemonset: objects.Ref) -> CniPod | None:
    try:
        owned = any(
            owner.text("kind") == "DaemonSet" and owner.text("name") == daemonset.name
            for owner in resource.each("metadata", "ownerReferences")
        )
        node = resource.text("spec", "nodeName")
        if not owned or not node:
            return None
        finished, started = _install_times(resource)
        refused = _refused(resource)
    except errors.Malformed:
        return None
    installed = finished if finished is not None else started
    return CniPod(
        name=resource.name,
        node=node,
        installed=installed,
        lingers=finished is None and started is not None,
        refused=refused,
    )


def _install_times(resource: objects.Object) -> tuple[float | None, float | None]:
    for container in _statuses(resource):
        if "install-cni" in (container.text("name") or "") and "plugin" not in (container.text("name") or ""):
            finished = container.text("state", "terminated", "finishedAt")
            started = container.text("state", "running", "startedAt")
            return seconds(finished or ""), seconds(started or "")
    return None, None


def _refused(resource: objects.Object) -> str:
    for container in _statuses(resource):
        if container.text("state", "waiting", "reason") == "CreateContainerConfigError":
            said = container.text("state", "waiting", "message") or "its configuration lacks something"
            return f"container {container.text('name')}: {said}"
    return ""


def _statuses(resource: objects.Object) -> Iterator[objects.Object]:
    yield from resource.each("status", "initContainerStatuses")
    yield from resource.each("status", "containerStatuses")

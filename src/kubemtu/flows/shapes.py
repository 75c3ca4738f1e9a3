"""What is wanted of the objects that there are many of: pods, nodes, and what the agents tell of their nodes.

Of 2,000 nodes and 30,000 pods the API server sends some 500 MB, and the rules read a fiftieth of it. `slim` takes the
same from an object that was read in another way.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from kubemtu.core import net
from kubemtu.core.change import migration
from kubemtu.core.cluster import pods
from kubemtu.core.objects import Object
from kubemtu.kube import pages, records

_TEXT: Final = 50  # NodeMTUs of a page: each has 20 to 900 kB

FIELDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Pod": {
        "metadata": ("name", "namespace", "ownerReferences", "labels", "annotations", "deletionTimestamp"),
        "spec": ("nodeName", "hostNetwork"),
        "status": ("phase", "podIP", "podIPs", "initContainerStatuses", "containerStatuses"),
    },
    "Node": {
        "metadata": ("name", "labels", "annotations"),
        "spec": ("podCIDR", "podCIDRs", "providerID"),
        "status": ("addresses", "nodeInfo"),
    },
    records.MIGRATIONS.kind: {
        "metadata": ("name", "creationTimestamp"),
        "spec": ("direction",),
        "status": ("progress", "driver"),
    },
}
"""What `slim` keeps of an object of a kind, part by part."""


def slim(item: Object) -> Object:
    """Return an object with no more than is needed: a snapshot is handed around, and pods are many."""
    fields = FIELDS.get(item.kind)
    if fields is None:
        return item
    body: dict[str, object] = {"kind": item.kind, "apiVersion": item.api_version}
    for part, keys in fields.items():
        held = item.get(part)
        if isinstance(held, dict):
            body[part] = {key: held[key] for key in keys if key in held}
    if item.kind == records.MIGRATIONS.kind:
        _told_of(item, body)
    metadata = body.get("metadata")
    if item.kind == "Pod" and isinstance(metadata, dict) and "annotations" in metadata:
        notes = metadata.pop("annotations")
        if kept := _networks(notes if isinstance(notes, dict) else {}):
            metadata["annotations"] = kept
    return Object(body=body, origin=item.origin)


def _told_of(item: Object, body: dict[str, object]) -> None:
    """Keep of a change also what it leads to, in how many steps, and who drove it when; no text of a configuration."""
    plan, status = item.get("spec", "plan"), body.get("status")
    steps = plan.get("steps") if isinstance(plan, dict) else None
    kept = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    kinds = [{key: step[key] for key in ("type", "without") if step.get(key)} for step in kept]
    spec = body.get("spec")
    if isinstance(plan, dict) and isinstance(spec, dict):
        spec["plan"] = {key: plan.get(key) for key in ("target", "perNode", "most")} | {
            "steps": kinds,
            "pools": _ways_out(plan.get("pools")),
        }
    journal = item.get("status", "journal")
    if isinstance(journal, list) and isinstance(status, dict):
        status["journal"] = [
            {"time": line.get("time"), "what": line.get("what")} for line in journal if isinstance(line, dict)
        ]


def _ways_out(pools: object) -> list[dict[str, object]]:
    """Keep of the pools of a plan what their pods send out of the cluster at most, once each."""
    listed = [one.get("defaultRouteMtu") for one in pools if isinstance(one, dict)] if isinstance(pools, list) else []
    return [{"defaultRouteMtu": mtu} for mtu in dict.fromkeys(mtu for mtu in listed if isinstance(mtu, int))]


def _networks(notes: Mapping[str, object]) -> dict[str, object]:
    """Keep what a pod's annotations say of other networks; a status that names its own alone is on every pod."""
    selected = {key: notes[key] for key in (pods.NETWORKS, pods.PRIMARY) if key in notes}
    status = {key: held for key in pods.STATUS if isinstance(held := notes.get(key), str)}
    return selected | {key: held for key, held in status.items() if selected or _tells(held)}


def _tells(status: str) -> bool:
    """Say whether a network-status names more than the one network that every pod has."""
    return status.count('"name"') > 1 or '"default"' not in status


# Members as the server writes them. A leaf is taken whatever it is: who reads it says what it should be.


class _Owner(msgspec.Struct):
    kind: Any = UNSET
    name: Any = UNSET


class _PodMetadata(msgspec.Struct, rename="camel"):
    name: Any = UNSET
    namespace: Any = UNSET
    owner_references: list[_Owner] | msgspec.UnsetType | None = UNSET
    labels: "_Labels | msgspec.UnsetType | None" = UNSET
    annotations: "_Annotations | msgspec.UnsetType | None" = UNSET
    deletion_timestamp: Any = UNSET


class _Labels(msgspec.Struct, rename={"part": "app.kubernetes.io/name"}):
    part: Any = UNSET


_NETWORKS: Final = {
    "networks": pods.NETWORKS,
    "primary": pods.PRIMARY,
    "status": pods.STATUS[0],
    "older_status": pods.STATUS[1],
}


class _Annotations(msgspec.Struct, rename=_NETWORKS):
    networks: Any = UNSET
    primary: Any = UNSET
    status: Any = UNSET
    older_status: Any = UNSET


class _PodSpec(msgspec.Struct, rename="camel"):
    node_name: Any = UNSET
    host_network: Any = UNSET


class _Moment(msgspec.Struct, rename="camel"):
    started_at: Any = UNSET
    finished_at: Any = UNSET


class _Waiting(msgspec.Struct):
    reason: Any = UNSET
    message: Any = UNSET


class _State(msgspec.Struct):
    running: _Moment | msgspec.UnsetType | None = UNSET
    terminated: _Moment | msgspec.UnsetType | None = UNSET
    waiting: _Waiting | msgspec.UnsetType | None = UNSET


class _Container(msgspec.Struct):
    name: Any = UNSET
    image: Any = UNSET
    state: _State | msgspec.UnsetType | None = UNSET


_POD_STATUS: Final = {
    "pod_ip": "podIP",
    "pod_ips": "podIPs",
    "initial": "initContainerStatuses",
    "containers": "containerStatuses",
}


class _PodStatus(msgspec.Struct, rename=_POD_STATUS):
    phase: Any = UNSET
    pod_ip: Any = UNSET
    pod_ips: Any = UNSET
    initial: list[_Container] | msgspec.UnsetType | None = UNSET
    containers: list[_Container] | msgspec.UnsetType | None = UNSET


class _PodShape(msgspec.Struct):
    metadata: _PodMetadata | msgspec.UnsetType = UNSET
    spec: _PodSpec | msgspec.UnsetType = UNSET
    status: _PodStatus | msgspec.UnsetType = UNSET


def _pod(item: msgspec.Raw) -> dict[str, object]:
    """Decode a pod: as a mapping with the members that the rules read.

    What nobody asks for is left out here: owners other than DaemonSets, labels but for the probes' own, an only address
    that is told twice, and all containers but those that say when the pod began, what install-cni and the kubelet say,
    or what the pod runs inside itself.
    """
    found = _PODS(item)
    body: dict[str, object] = {}
    if found.metadata is not UNSET:
        body["metadata"] = _pod_metadata(found.metadata)
    if found.spec is not UNSET:
        body["spec"] = _plain(found.spec)
    if found.status is not UNSET:
        probe = "labels" in body.get("metadata", {})  # type: ignore[operator]  # a mapping, if it is there
        body["status"] = _pod_status(found.status, probe=probe)
    return body


def _pod_metadata(decoded: _PodMetadata) -> dict[str, object]:
    members = (("name", decoded.name), ("namespace", decoded.namespace))
    made: dict[str, object] = {name: value for name, value in members if value is not UNSET}
    if isinstance(decoded.owner_references, list):
        owners = [_plain(one) for one in decoded.owner_references if str(one.kind) not in pods.WORKLOADS]
        if owners:
            made["ownerReferences"] = owners
    if isinstance(decoded.labels, _Labels) and decoded.labels.part is not UNSET:
        made["labels"] = _plain(decoded.labels)
    if isinstance(decoded.annotations, _Annotations) and (kept := _networks(_plain(decoded.annotations))):
        made["annotations"] = kept
    if decoded.deletion_timestamp is not UNSET:
        made["deletionTimestamp"] = decoded.deletion_timestamp
    return made


def _pod_status(decoded: _PodStatus, *, probe: bool) -> dict[str, object]:
    twice = decoded.pod_ips == [{"ip": decoded.pod_ip}] and not probe
    members = (("phase", decoded.phase), ("podIP", decoded.pod_ip), ("podIPs", decoded.pod_ips))
    made: dict[str, object] = {name: value for name, value in members[: 2 if twice else 3] if value is not UNSET}
    for name, listed in (("initContainerStatuses", decoded.initial), ("containerStatuses", decoded.containers)):
        if isinstance(listed, list) and (kept := _containers(listed)):
            made[name] = kept
    return made


def _containers(statuses: list[_Container]) -> list[object]:
    kept: list[object] = []
    for one in statuses:
        state = one.state if isinstance(one.state, _State) else _State()
        named = not isinstance(one.name, str) or "install-cni" in one.name
        if named or isinstance(state.waiting, _Waiting):
            part = _plain(one)
        elif isinstance(state.running, _Moment):
            told = isinstance(one.image, str) and pods.telling(one.image)
            part = _plain(_Container(image=one.image if told else UNSET, state=_State(running=state.running)))
        else:
            continue
        if part not in kept:
            kept.append(part)
    return kept


_PODS: Final = msgspec.json.Decoder(_PodShape).decode
_plain: Final = msgspec.to_builtins


class _NodeMetadata(msgspec.Struct):
    name: Any = UNSET
    labels: Any = UNSET
    annotations: Any = UNSET


class _NodeSpec(msgspec.Struct, rename={"pod_cidr": "podCIDR", "pod_cidrs": "podCIDRs", "provider_id": "providerID"}):
    pod_cidr: Any = UNSET
    pod_cidrs: Any = UNSET
    provider_id: Any = UNSET


class _NodeStatus(msgspec.Struct, rename="camel"):
    addresses: Any = UNSET
    node_info: Any = UNSET


class _NodeShape(msgspec.Struct):
    metadata: _NodeMetadata | msgspec.UnsetType = UNSET
    spec: _NodeSpec | msgspec.UnsetType = UNSET
    status: _NodeStatus | msgspec.UnsetType = UNSET


class _Named(msgspec.Struct):
    name: str


class _Told(msgspec.Struct, rename="camel"):
    observed_at: str
    observation: net.NodeObservation
    conditions: Any = UNSET


class _NodeMtu(msgspec.Struct):
    metadata: _Named
    status: _Told
    spec: migration.Desired | None = None


_NODE_MTUS: Final = msgspec.json.Decoder(_NodeMtu)
_OF_PORTS: Final = ("routes", "others", "bridge", "pod_link", "host_index", "host_mtu", "pod_mtu", "ipv6_mtu")
_OF_LINKS: Final = ("kind", "master", "name", "mtu")
_OF_UPLINKS: Final = ("device", "mtu", "source")
_OF_FILES: Final = ("path", "text")
_OF_SPECS: Final = ("network_mtus", "host_addresses", "pod_networks")


class _NodeMtus:
    """Decodes NodeMTUs, with what the agent saw as the value that it is; equal parts of all of them are kept once."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def __call__(self, item: msgspec.Raw) -> dict[str, object]:
        found = _NODE_MTUS.decode(item)
        seen = found.status.observation
        for port in seen.ports:
            self._share(port, _OF_PORTS)
        for link in seen.links:
            self._share(link, _OF_LINKS)
        for uplink in seen.uplinks:
            self._share(uplink, _OF_UPLINKS)
        for file in seen.files:
            self._share(file, _OF_FILES)
        routes = tuple(self._known.setdefault(route, route) for route in seen.routes if route.tells)
        status = {
            "observedAt": found.status.observed_at,
            "observation": msgspec.structs.replace(seen, routes=routes),
        }
        if found.status.conditions is not UNSET:
            status["conditions"] = found.status.conditions
        body: dict[str, object] = {"metadata": {"name": found.metadata.name}, "status": status}
        if found.spec is not None:
            self._share(found.spec, _OF_SPECS)
            body["spec"] = found.spec
        return body

    def _share(self, part: msgspec.Struct, fields: Iterable[str]) -> None:
        for field in fields:
            value = getattr(part, field)
            msgspec.structs.force_setattr(part, field, self._known.setdefault(value, value))


def _whole(kind: str, body: dict[str, object]) -> dict[str, object]:
    if not isinstance(body.get("metadata"), dict):
        return body
    return slim(Object(body={"kind": kind, "apiVersion": "v1"} | body)).body


def shapes() -> dict[str, pages.Shape]:
    """Return the shape of each kind that there may be thousands of, for one reading."""
    return {
        "Pod": pages.Shape(wanted=_pod, whole=lambda body: _whole("Pod", body), packed=True),
        "Node": pages.Shape(wanted=pages.of(_NodeShape), whole=lambda body: _whole("Node", body), packed=True),
        records.NODES.kind: pages.Shape(wanted=_NodeMtus(), whole=lambda body: body, limit=_TEXT),
    }

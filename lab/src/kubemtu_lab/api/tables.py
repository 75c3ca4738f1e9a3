"""What `kubectl get` prints: lists as tables that the server fills (meta/v1 Table).

Source: kubernetes `pkg/printers/internalversion/printers.go` for the columns of built-in kinds; for custom ones their
`additionalPrinterColumns`, of whose JSONPath the part is understood that definitions use: fields, indices, filters.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from kubemtu_lab.api.resources import Column, Object, Resource

_STEP = re.compile(
    r"\.(?P<field>(?:\\.|[^.\[\\])+)"
    r"|\[(?P<index>\d+)\]"
    r"|\['(?P<quoted>[^']+)'\]"
    r"|\[\?\(@\.(?P<key>\w+)\s*==\s*[\"'](?P<value>[^\"']*)[\"']\)\]"
)
_NONE = "<none>"
_UNKNOWN = "<unknown>"
Cell = Callable[[Object, datetime], object]
Head = tuple[str, str, int]
"""Name, type and priority of a column; above 0 it is shown by `-o wide` only."""


def wants_table(accept: str) -> bool:
    """Tell whether an Accept header asks for a table."""
    return "as=Table" in accept and "g=meta.k8s.io" in accept


def table(resource: Resource, items: Sequence[Object], metadata: Object, *, include: str, now: datetime) -> Object:
    """Return objects as a table; `include` is what each row carries besides: None, Metadata (the default) or Object."""
    columns = _columns(resource)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [
            {"name": name, "type": kind, "format": "name" if name == "Name" else "", "description": ""}
            | {"priority": priority}
            for (name, kind, priority), _ in columns
        ],
        "rows": [
            {"cells": [cell(item, now) for _, cell in columns]} | _carried(item, include or "Metadata")
            for item in items
        ],
    }


def duration(seconds: float) -> str:
    """Write an age as kubectl does: 59s, 4m3s, 25m, 2h5m, 3d4h, 12d, 2y10d (apimachinery `pkg/util/duration`)."""
    seconds = int(seconds)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{max(0, seconds)}s"
    if minutes < 10:
        return f"{minutes}m" + (f"{seconds % 60}s" if seconds % 60 else "")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h" + (f"{minutes % 60}m" if minutes % 60 else "")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d" + (f"{hours % 24}h" if hours % 24 else "")
    if days < 730:
        return f"{days}d"
    years, rest = divmod(days, 365)
    return f"{years}y" + (f"{rest}d" if years < 8 and rest else "")


def found(item: Object, path: str) -> list[object]:
    """Return the values at a JSONPath (without braces)."""
    values: list[object] = [item]
    for step in _STEP.finditer(path):
        values = [inner for value in values for inner in _inner(value, step)]
    return values


def _inner(value: object, step: re.Match[str]) -> Iterable[object]:
    name = step["quoted"] or (step["field"] or "").replace("\\", "")
    if name and isinstance(value, dict):
        return [value[name]] if value.get(name) is not None else []
    if isinstance(value, list):
        if step["index"]:
            return value[int(step["index"]) :][:1]
        return [each for each in value if isinstance(each, dict) and str(each.get(step["key"])) == step["value"]]
    return []


def _carried(item: Object, include: str) -> Object:
    match include:
        case "None":
            return {}
        case "Object":
            return {"object": item}
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}
    return {"object": partial}


def _columns(resource: Resource) -> Sequence[tuple[Head, Cell]]:
    name: tuple[Head, Cell] = (("Name", "string", 0), _at(".metadata.name"))
    if resource.custom:
        return [name, *(_custom(column) for column in resource.columns or (_CREATED,))]
    return [name, *_BUILT_IN.get(resource.key, (_AGE,))]


def _custom(column: Column) -> tuple[Head, Cell]:
    head = (column.name, column.type, column.priority)
    if column.type == "date":
        return head, lambda item, now: _since(found(item, column.path), now)
    return head, _at(column.path, missing=None)


def _at(path: str, missing: object = _NONE) -> Cell:
    """Return a cell that shows what is at a path, several values with commas."""

    def cell(item: Object, _: datetime) -> object:
        values = found(item, path)
        if len(values) > 1:
            return ",".join(map(str, values))
        return values[0] if values else missing

    return cell


def _since(values: Sequence[object], now: datetime) -> str:
    try:
        moment = datetime.fromisoformat(str(values[0]))
    except (IndexError, ValueError):
        return _UNKNOWN
    return duration((now - moment.replace(tzinfo=moment.tzinfo or UTC)).total_seconds())


def _age(item: Object, now: datetime) -> str:
    return _since(found(item, ".metadata.creationTimestamp"), now)


def _pod_ready(item: Object, _: datetime) -> str:
    ready = sum(1 for each in found(item, ".status.containerStatuses") for status in _list(each) if status.get("ready"))
    return f"{ready}/{len(_list(item['spec'].get('containers')))}"


def _pod_status(item: Object, _: datetime) -> object:
    if item["metadata"].get("deletionTimestamp"):
        return "Terminating"
    waiting = [reason for path in _WAITING for reason in _each(item, ".status.containerStatuses", path)]
    return waiting[0] if waiting else item.get("status", {}).get("reason") or item.get("status", {}).get("phase", "")


_WAITING = (".state.waiting.reason", ".state.terminated.reason")


def _restarts(item: Object, _: datetime) -> str:
    return str(sum(int(str(each)) for each in _each(item, ".status.containerStatuses", ".restartCount")))


def _node_status(item: Object, _: datetime) -> str:
    ready = found(item, '.status.conditions[?(@.type=="Ready")].status')
    words = ["Unknown" if not ready else "Ready" if ready == ["True"] else "NotReady"]
    return ",".join(words + ["SchedulingDisabled"] * bool(item.get("spec", {}).get("unschedulable")))


def _node_roles(item: Object, _: datetime) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = item["metadata"].get("labels") or {}
    return ",".join(sorted(label.removeprefix(prefix) for label in labels if label.startswith(prefix))) or _NONE


def _labels(path: str) -> Cell:
    def cell(item: Object, _: datetime) -> str:
        chosen = found(item, path)
        pairs = chosen[0] if chosen and isinstance(chosen[0], dict) else {}
        return ",".join(f"{key}={value}" for key, value in sorted(pairs.items())) or _NONE

    return cell


def _containers(field: str) -> Cell:
    def cell(item: Object, _: datetime) -> str:
        return ",".join(map(str, _each(item, ".spec.template.spec.containers", f".{field}")))

    return cell


def _each(item: Object, path: str, inner: str) -> list[object]:
    return [value for group in found(item, path) for each in _list(group) for value in found(each, inner)]


def _list(value: object) -> list[Object]:
    return value if isinstance(value, list) else []


def _size(item: Object, _: datetime) -> int:
    return len(item.get("data") or {}) + len(item.get("binaryData") or {})


def _involved(item: Object, _: datetime) -> str:
    involved = item.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _last_seen(item: Object, now: datetime) -> str:
    return _since(found(item, ".lastTimestamp") or found(item, ".eventTime"), now)


def _addresses(kind: str) -> Cell:
    return _at(f'.status.addresses[?(@.type=="{kind}")].address')


def _service_ports(item: Object, _: datetime) -> str:
    ports = _list(item["spec"].get("ports"))
    told = [f"{each['port']}:{each['nodePort']}" if each.get("nodePort") else each["port"] for each in ports]
    return ",".join(f"{port}/{each['protocol']}" for port, each in zip(told, ports, strict=True)) or _NONE


def _endpoints(item: Object, _: datetime) -> str:
    addresses = [str(address) for each in _list(item.get("endpoints")) for address in _list(each.get("addresses"))]
    more = f" + {len(addresses) - 3} more..." if len(addresses) > 3 else ""
    return ",".join(addresses[:3]) + more or "<unset>"


def _integer(name: str, path: str) -> tuple[Head, Cell]:
    return (name, "integer", 0), _at(path, missing=0)


def _text(name: str, cell: Cell, priority: int = 0) -> tuple[Head, Cell]:
    return (name, "string", priority), cell


_AGE = _text("Age", _age)
_CREATED = Column(name="Age", path=".metadata.creationTimestamp", type="date")
_BUILT_IN: Mapping[tuple[str, str], Sequence[tuple[Head, Cell]]] = {
    ("", "configmaps"): ((("Data", "integer", 0), _size), _AGE),
    ("", "events"): (
        _text("Last Seen", _last_seen),
        _text("Type", _at(".type")),
        _text("Reason", _at(".reason")),
        _text("Object", _involved),
        _text("Message", _at(".message")),
    ),
    ("", "namespaces"): (_text("Status", _at(".status.phase")), _AGE),
    ("", "nodes"): (
        _text("Status", _node_status),
        _text("Roles", _node_roles),
        _AGE,
        _text("Version", _at(".status.nodeInfo.kubeletVersion")),
        _text("Internal-IP", _addresses("InternalIP"), 1),
        _text("External-IP", _addresses("ExternalIP"), 1),
        _text("OS-Image", _at(".status.nodeInfo.osImage", _UNKNOWN), 1),
        _text("Kernel-Version", _at(".status.nodeInfo.kernelVersion", _UNKNOWN), 1),
        _text("Container-Runtime", _at(".status.nodeInfo.containerRuntimeVersion", _UNKNOWN), 1),
    ),
    ("", "pods"): (
        _text("Ready", _pod_ready),
        _text("Status", _pod_status),
        _text("Restarts", _restarts),
        _AGE,
        _text("IP", _at(".status.podIP"), 1),
        _text("Node", _at(".spec.nodeName"), 1),
        _text("Nominated Node", _at(".status.nominatedNodeName"), 1),
        _text("Readiness Gates", _at(".spec.readinessGates[0].conditionType"), 1),
    ),
    ("", "services"): (
        _text("Type", _at(".spec.type")),
        _text("Cluster-IP", _at(".spec.clusterIP")),
        _text("External-IP", _at(".spec.externalName")),
        _text("Port(s)", _service_ports),
        _AGE,
        _text("Selector", _labels(".spec.selector"), 1),
    ),
    ("apps", "daemonsets"): (
        _integer("Desired", ".status.desiredNumberScheduled"),
        _integer("Current", ".status.currentNumberScheduled"),
        _integer("Ready", ".status.numberReady"),
        _integer("Up-to-date", ".status.updatedNumberScheduled"),
        _integer("Available", ".status.numberAvailable"),
        _text("Node Selector", _labels(".spec.template.spec.nodeSelector")),
        _AGE,
        _text("Containers", _containers("name"), 1),
        _text("Images", _containers("image"), 1),
        _text("Selector", _labels(".spec.selector.matchLabels"), 1),
    ),
    ("discovery.k8s.io", "endpointslices"): (
        _text("AddressType", _at(".addressType")),
        _text("Ports", _at(".ports[0].port", "<unset>")),
        _text("Endpoints", _endpoints),
        _AGE,
    ),
}

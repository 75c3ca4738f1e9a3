"""What people name when they ask about a path: a pod, a node, a Service, an address; and where that is.

web-1, pod/web-1, default/web-1      a pod, in the namespace that is chosen unless it says another
n1, node/n1                          a node
svc/pg, svc/db/pg, db/pg             a Service
192.0.2.1, fd00::1, 192.0.2.1:5432   an address: a pod's, a node's, a Service's, or one that is nobody's here

A port says nothing of the path, unless it is the node port of a Service. What two things are called is refused.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from kubemtu.core import errors
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text import digits
from kubemtu.core.text.wording import names
from kubemtu.core.why import endpoints
from kubemtu.core.why.endpoints import Endpoint, Inventory

SERVICE_WORDS = frozenset({"svc", "service", "services"})
POD_WORDS = frozenset({"pod", "pods", "po"})
_EVERYBODY: Final = ipaddress.ip_address("255.255.255.255")  # RFC 919, section 7
NODE_WORDS = frozenset({"node", "nodes", "no"})
OWNERS: Final[Mapping[str, str]] = {  # what has pods and no address; with kubectl's short names
    word: kind
    for kind, words in {
        "Deployment": "deploy deployment deployments",
        "DaemonSet": "ds daemonset daemonsets",
        "StatefulSet": "sts statefulset statefulsets",
        "ReplicaSet": "rs replicaset replicasets",
        "Job": "job jobs",
    }.items()
    for word in words.split()
}


def find(word: str, inventory: Inventory) -> Endpoint:
    """Say what a word means.

    Raises UsageError, with what is there instead, when it means nothing here or two things, Forbidden when what it may
    mean cannot be read.
    """
    if not all(part.strip() for part in word.split("/")):
        raise errors.UsageError("an end has no name: write a pod, a node, a Service or an address")
    if (literal := _address(word)) is not None:
        return _at(*literal, inventory)
    parts = word.split("/")
    if len(parts) > 1 and (kind := _kind(parts[0])) is not None:
        return _named(kind, parts[1:], word, inventory)
    namespace, name = (parts[0], parts[1]) if len(parts) == 2 else (inventory.namespace, word)
    meant: dict[str, Endpoint] = {}
    if len(parts) == 1 and inventory.snapshot.find("Node", word) is not None:
        meant[f"node/{word}"] = endpoints.node(word, inventory.snapshot)
    if len(parts) <= 2:
        if (pod := inventory.snapshot.find("Pod", name, namespace)) is not None:
            meant[f"pod/{namespace}/{name}"] = endpoints.of_pod(pod, inventory.snapshot)
        if (service := endpoints.service(name, namespace, inventory)) is not None:
            meant[f"svc/{namespace}/{name}"] = endpoints.of_service(service, inventory)
    if len(meant) > 1:
        raise errors.UsageError(f"{word} is more than one thing here; write {' or '.join(meant)}")
    if not meant and len(parts) > 1 and parts[0] in OWNERS:
        raise _owner(OWNERS[parts[0]], parts[1:], inventory)
    if not meant:
        raise _unknown(word, name, namespace, inventory)
    return next(iter(meant.values()))


# By kind and name


def _kind(word: str) -> endpoints.Kind | None:
    if word in SERVICE_WORDS:
        return "service"
    return "pod" if word in POD_WORDS else "node" if word in NODE_WORDS else None


def _named(kind: endpoints.Kind, rest: Sequence[str], word: str, inventory: Inventory) -> Endpoint:
    snapshot = inventory.snapshot
    where, name = (rest[0], rest[1]) if len(rest) == 2 else (inventory.namespace, rest[0])
    if kind == "node" and len(rest) == 1 and snapshot.find("Node", name) is not None:
        return endpoints.node(name, snapshot)
    if kind == "pod" and len(rest) <= 2 and (pod := snapshot.find("Pod", name, where)) is not None:
        return endpoints.of_pod(pod, snapshot)
    if kind == "service" and len(rest) <= 2:
        if inventory.services is None:
            raise errors.Forbidden(f"{word} cannot be looked up: Services and EndpointSlices may not be read")
        if (service := endpoints.service(name, where, inventory)) is not None:
            return endpoints.of_service(service, inventory)
    _readable(word, snapshot)
    place = "" if kind == "node" else f" in namespace {where}"
    near = _near(name, where, inventory, kind)
    raise errors.UsageError(
        f"there is no {kind} {name}{place}{near or f'; `kubectl get {kind}s -A` lists what there is'}"
    )


def _unknown(word: str, name: str, namespace: str, inventory: Inventory) -> errors.KubemtuError:
    _readable(word, inventory.snapshot)
    hidden = " (Services may not be read)" if inventory.services is None else ""
    near = _near(name, namespace, inventory)
    return errors.UsageError(
        f"{word} is neither a node, nor a pod or Service in namespace {namespace}, nor an address{hidden}"
        + (near or "; `kubectl get nodes,pods,services -A` lists what there is, as NAMESPACE/NAME")
    )


def _readable(word: str, snapshot: Snapshot) -> None:
    """Raise Forbidden when what a word may mean was not read at all."""
    hidden = [entry for entry in snapshot.unread if entry.why == "forbidden" and entry.what in {"nodes", "pods"}]
    if hidden:
        what = names(entry.what for entry in hidden)
        raise errors.Forbidden(f"{word} cannot be looked up: {what} may not be read: {hidden[0].message}")


def _near(name: str, namespace: str, inventory: Inventory, kind: endpoints.Kind | None = None) -> str:
    """Suggest what the word may have been meant for: the pods of that owner, or the same name in another namespace."""
    suggestions: list[str] = []
    if kind in {"pod", None}:
        pods = [(pod.namespace or "", pod.name) for pod in inventory.snapshot.each("Pod")]
        suggestions += [
            f"{space}/{candidate}"
            for space, candidate in pods
            if space == namespace and candidate.startswith(f"{name}-")
        ]
        suggestions += [f"{space}/{candidate}" for space, candidate in pods if space != namespace and candidate == name]
    if kind in {"service", None}:
        suggestions += [
            f"svc/{candidate.namespace}/{candidate.name}"
            for candidate in endpoints.services(inventory)
            if candidate.name == name
        ]
    return f"; did you mean {' or '.join(suggestions[:3])}?" if suggestions else ""


def _owner(kind: str, rest: Sequence[str], inventory: Inventory) -> errors.UsageError:
    namespace, name = (rest[0], rest[1]) if len(rest) == 2 else (inventory.namespace, rest[0])
    near = _near(name, namespace, inventory, "pod")
    return errors.UsageError(f"a {kind} has no address of its own: name one of its pods{near}")


# By address


def _address(word: str) -> tuple[str, int] | None:
    """Read a word as an address and its port, 0 without one."""
    host, _, port = word.rpartition(":")
    for text, number in ((word.strip("[]"), "0"), (host.strip("[]"), port)):
        try:
            parsed = ipaddress.ip_address(text)
        except ValueError:
            continue
        written = digits.number(number)
        if written is not None and written < 1 << 16:
            return str(parsed), written
    return None


def _at(address: str, port: int, inventory: Inventory) -> Endpoint:
    """Find the Service, node or pod that has that address; an end of several addresses is meant by that one."""
    parsed = ipaddress.ip_address(address)
    if parsed.is_loopback or parsed.is_unspecified or parsed.is_multicast or parsed == _EVERYBODY:
        raise errors.UsageError(f"{address} is nobody's in particular: name a pod, a node, a Service or their address")
    for service in endpoints.services(inventory):
        if address in endpoints.virtual(service):
            return endpoints.of_service(service, inventory)
        if port and any(each.integer("nodePort") == port for each in service.each("spec", "ports")):
            for node in inventory.snapshot.each("Node"):
                if address in endpoints.node_addresses(node):
                    return endpoints.of_service(service, inventory, endpoints.node(node.name, inventory.snapshot), port)
    return msgspec.structs.replace(endpoints.holder(address, inventory.snapshot), addresses=(address,), tcp_port=port)

"""What people name when they ask about a path: a pod, a node, a Service, an address; and where that is.

web-1, pod/web-1, default/web-1      a pod, in the namespace that is chosen unless it says another
n1, node/n1                          a node
svc/pg, svc/db/pg, db/pg             a Service; `db/pg` is a pod of that name first
192.0.2.1, fd00::1, 192.0.2.1:5432   an address; the port is not measured, but connections to it are looked at
"""

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from kubemtu.core import errors, net
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot

Kind = Literal["pod", "node", "service", "address"]
SERVICE_WORDS = frozenset({"svc", "service", "services"})
POD_WORDS = frozenset({"pod", "pods", "po"})
NODE_WORDS = frozenset({"node", "nodes", "no"})
MEMBERS_MOST = 8  # endpoints of a Service that are measured


class End(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a path.

    `name` is what people call it. `node` and `port` say where it is, when an agent can measure from there: `port` is
    the host-side link of a pod's veth, empty for a node, or for a pod on its node's own network. `mtu` is that of its
    own interface, in bytes, 0 when unknown. `members` are the endpoints of a Service.
    """

    kind: Kind
    name: str
    addresses: tuple[str, ...] = ()
    node: str = ""
    port: str = ""
    mtu: int = 0
    members: tuple["End", ...] = ()

    @property
    def known(self) -> bool:
        """Whether an agent stands there."""
        return bool(self.node)

    def address(self, ipv6: bool = False) -> str | None:
        """Its first address of that family, or None."""
        return next((one for one in self.addresses if (":" in one) is ipv6), None)


def find(word: str, snapshot: Snapshot, extra: Sequence[Object], namespace: str) -> End:
    """Say what a word means. `extra` are the Services and EndpointSlices; `namespace` is that of bare names.

    Raises UsageError, with what is there instead, when it means nothing here.
    """
    if (literal := _address(word)) is not None:
        return _at(literal, snapshot)
    parts = word.split("/")
    if len(parts) > 1 and (kind := _kind(parts[0])) is not None:
        return _named(kind, parts[1:], word, snapshot, extra, namespace)
    if len(parts) == 1 and snapshot.find("Node", word) is not None:
        return _node(word, snapshot)
    where, name = (parts[0], parts[1]) if len(parts) == 2 else (namespace, word)
    if len(parts) <= 2:
        if (pod := snapshot.find("Pod", name, where)) is not None:
            return _pod(pod, snapshot)
        if (service := _service(name, where, extra)) is not None:
            return _of_service(service, snapshot, extra)
    raise errors.UsageError(
        f"{word} is neither a node, nor a pod or Service in namespace {where}, nor an address; write NAMESPACE/NAME, "
        "node/NAME or svc/NAME, as `kubectl get nodes,pods,services -A` lists them"
    )


def _kind(word: str) -> Kind | None:
    if word in SERVICE_WORDS:
        return "service"
    return "pod" if word in POD_WORDS else "node" if word in NODE_WORDS else None


def _named(
    kind: Kind, rest: Sequence[str], word: str, snapshot: Snapshot, extra: Sequence[Object], namespace: str
) -> End:
    where, name = (rest[0], rest[1]) if len(rest) == 2 else (namespace, rest[0])
    if kind == "node" and len(rest) == 1 and snapshot.find("Node", name) is not None:
        return _node(name, snapshot)
    if kind == "pod" and len(rest) <= 2 and (pod := snapshot.find("Pod", name, where)) is not None:
        return _pod(pod, snapshot)
    if kind == "service" and len(rest) <= 2 and (service := _service(name, where, extra)) is not None:
        return _of_service(service, snapshot, extra)
    place = "" if kind == "node" else f" in namespace {where}"
    raise errors.UsageError(
        f"there is no {kind} {name}{place}, as {word} says; `kubectl get {kind}s -A` lists what there is"
    )


def _address(word: str) -> str | None:
    """The address that a word is, without a port."""
    for text in (word, word.rpartition(":")[0], word.strip("[]"), word.partition("]")[0].lstrip("[")):
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            continue
    return None


def _at(address: str, snapshot: Snapshot) -> End:
    """The pod or node that has that address, or the bare address."""
    for node in snapshot.each("Node"):
        if address in _node_addresses(node):
            return _node(node.name, snapshot)
    for pod in snapshot.each("Pod"):
        if address in _pod_addresses(pod) and not pod.flag("spec", "hostNetwork"):
            return _pod(pod, snapshot)
    for seen in snapshot.nodes:
        for port in seen.ports:
            if address in port.addresses:
                return _behind(port, seen.node, f"netns {port.netns}")
    return End(kind="address", name=address, addresses=(address,))


def _node(name: str, snapshot: Snapshot) -> End:
    found = snapshot.find("Node", name)
    assert found is not None
    seen = snapshot.observation(name)
    mtus = [uplink.mtu for uplink in seen.uplinks if uplink.mtu] if seen is not None else []
    return End(
        kind="node",
        name=name,
        addresses=_node_addresses(found),
        node=name if seen is not None else "",
        mtu=min(mtus, default=0),
    )


def _pod(found: Object, snapshot: Snapshot) -> End:
    name, node = f"{found.namespace}/{found.name}", found.text("spec", "nodeName") or ""
    addresses = _pod_addresses(found)
    if found.flag("spec", "hostNetwork"):
        host = _node(node, snapshot) if snapshot.find("Node", node) is not None else None
        seen = host is not None and host.known
        return End(
            kind="pod",
            name=name,
            addresses=addresses,
            node=node if seen else "",
            mtu=host.mtu if host is not None else 0,
        )
    if (found.text("status", "phase") or "") != "Running" or not addresses:
        raise errors.UsageError(
            f"pod {name} is {found.text('status', 'phase') or 'not running'} and has no address yet; wait until it runs"
        )
    seen_node = snapshot.observation(node)
    for port in seen_node.ports if seen_node is not None else ():
        if set(addresses) & set(port.addresses):
            behind = _behind(port, node, name)
            return msgspec.structs.replace(behind, addresses=addresses)
    return End(kind="pod", name=name, addresses=addresses)


def _behind(port: net.PodPort, node: str, name: str) -> End:
    addresses = tuple(one for one in port.addresses if not one.lower().startswith("fe80:"))
    return End(kind="pod", name=name, addresses=addresses, node=node, port=port.host_link, mtu=port.pod_mtu)


def _service(name: str, namespace: str, extra: Sequence[Object]) -> Object | None:
    return next(
        (one for one in extra if one.kind == "Service" and (one.name, one.namespace) == (name, namespace)), None
    )


def _of_service(service: Object, snapshot: Snapshot, extra: Sequence[Object]) -> End:
    listed = service.get("spec", "clusterIPs")
    virtual = [str(one) for one in listed] if isinstance(listed, list) else [service.text("spec", "clusterIP") or ""]
    members = tuple(_at(address, snapshot) for address in list(_endpoints(service, extra))[:MEMBERS_MOST])
    return End(
        kind="service",
        name=f"svc {service.namespace}/{service.name}",
        addresses=tuple(one for one in virtual if one and one != "None"),
        members=members,
    )


def _endpoints(service: Object, extra: Sequence[Object]) -> Iterator[str]:
    for one in extra:
        if one.kind != "EndpointSlice" or one.namespace != service.namespace:
            continue
        if one.text("metadata", "labels", "kubernetes.io/service-name") != service.name:
            continue
        for endpoint in one.each("endpoints"):
            if endpoint.flag("conditions", "ready") is False:
                continue
            addresses = endpoint.get("addresses")
            yield from (str(address) for address in addresses) if isinstance(addresses, list) else ()


def _node_addresses(node: Object) -> tuple[str, ...]:
    return tuple(
        text
        for one in node.each("status", "addresses")
        if one.text("type") in {"InternalIP", "ExternalIP"} and (text := one.text("address"))
    )


def _pod_addresses(pod: Object) -> tuple[str, ...]:
    many = tuple(text for one in pod.each("status", "podIPs") if (text := one.text("ip")))
    single = pod.text("status", "podIP")
    return many or ((single,) if single else ())

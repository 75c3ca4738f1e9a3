"""The ends of a path: pods, nodes, Services and addresses; where each is, and whether an agent stands there."""

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from kubemtu.core import errors, net
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot

Kind = Literal["pod", "node", "service", "address"]
TUNNELS = frozenset({"vxlan", "ipip", "ip6tnl", "sit", "gre", "gretap", "geneve", "wireguard"})
MEMBERS_MOST = 8  # endpoints of a Service that are measured
ENDED = frozenset({"Succeeded", "Failed"})


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a path.

    `name` is what people call it, `on` the node that it is on. `node` and `port` say from where an agent can measure:
    `node` is empty when none tells of it, `port` is the host-side link of a pod's veth, empty for a node, or for a pod
    on its node's own network. `mtu` is that of its own interface and `host_mtu` that of the node's end of its veth, in
    bytes, 0 when unknown. `listens`: the TCP port that was named with an address. `tunnel`: its node has one, and
    `fits` is what the node's NIC leaves for a packet inside it where the tunnel takes more, else 0; `overlay` is the
    name of its VXLAN device, and `overlay_port` that one's UDP port. `members` are the endpoints of a Service,
    `all_members` how many it has; `through` is the node whose port leads there.
    """

    kind: Kind
    name: str
    addresses: tuple[str, ...] = ()
    on: str = ""
    node: str = ""
    port: str = ""
    mtu: int = 0
    host_mtu: int = 0
    tunnel: bool = False
    listens: int = 0
    overlay: str = ""
    overlay_port: int = 0
    fits: int = 0
    members: tuple["Endpoint", ...] = ()
    all_members: int = 0
    through: "Endpoint | None" = None

    @property
    def known(self) -> bool:
        """Return whether an agent stands there."""
        return bool(self.node)

    @property
    def unseen(self) -> bool:
        """Return whether it is a pod of which only the API tells."""
        return self.kind == "pod" and not self.node

    @property
    def veth_differs(self) -> bool:
        """Return whether the two ends of its veth have different MTUs."""
        return 0 < self.host_mtu != self.mtu > 0

    def address(self, ipv6: bool = False) -> str | None:
        """Its first address of that family, or None."""
        return next((one for one in self.addresses if (":" in one) is ipv6), None)


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What ends are looked up in. `services` are the Services and EndpointSlices, None when they may not be read."""

    snapshot: Snapshot
    services: Sequence[Object] | None = ()
    namespace: str = "default"  # of bare names


def node(name: str, snapshot: Snapshot) -> Endpoint:
    """Return a node as an endpoint; the node must be in the snapshot."""
    found = snapshot.find("Node", name)
    assert found is not None
    seen = snapshot.observation(name)
    mtus = [uplink.mtu for uplink in seen.uplinks if uplink.mtu] if seen is not None else []
    return Endpoint(
        kind="node",
        name=name,
        addresses=node_addresses(found),
        on=name,
        node=name if seen is not None else "",
        mtu=min(mtus, default=0),
        tunnel=_tunnels(seen),
        overlay=_overlay(seen)[0],
        overlay_port=_overlay(seen)[1],
    )


def holder(address: str, snapshot: Snapshot) -> Endpoint:
    """Return the node or pod that has that address, or the bare address."""
    for found in snapshot.each("Node"):
        if address in node_addresses(found):
            return node(found.name, snapshot)
    for pod in snapshot.each("Pod"):
        if address in pod_addresses(pod) and not pod.flag("spec", "hostNetwork") and not _ended(pod):
            return of_pod(pod, snapshot)
    for seen in snapshot.nodes:
        for port in seen.ports:
            if address in port.addresses:
                return _behind(port, seen, f"netns {port.netns}")
    return Endpoint(kind="address", name=address, addresses=(address,))


def of_pod(found: Object, snapshot: Snapshot) -> Endpoint:
    """Return a pod as an endpoint. Raises UsageError for one without an address."""
    name, on = f"{found.namespace}/{found.name}", found.text("spec", "nodeName") or ""
    addresses = pod_addresses(found)
    if found.flag("spec", "hostNetwork") and snapshot.find("Node", on) is not None:
        host = node(on, snapshot)
        return msgspec.structs.replace(host, kind="pod", name=name, addresses=addresses or host.addresses)
    if _ended(found) or not addresses:
        raise errors.UsageError(_without_network(found, name))
    seen = snapshot.observation(on)
    for port in seen.ports if seen is not None else ():
        if set(addresses) & set(port.addresses):
            assert seen is not None
            return msgspec.structs.replace(_behind(port, seen, name), addresses=addresses)
    return Endpoint(kind="pod", name=name, addresses=addresses, on=on)


def _without_network(found: Object, name: str) -> str:
    phase = found.text("status", "phase") or "not running"
    if phase in ENDED:
        return f"pod {name} is {phase}: it has no network any more; name one that runs"
    return f"pod {name} is {phase} and has no address yet; wait until it runs"


def _ended(found: Object) -> bool:
    return (found.text("status", "phase") or "") in ENDED


def _behind(port: net.PodPort, seen: net.NodeObservation, name: str) -> Endpoint:
    addresses = tuple(one for one in port.addresses if not one.lower().startswith("fe80:"))
    return Endpoint(
        kind="pod",
        name=name,
        addresses=addresses,
        on=seen.node,
        node=seen.node,
        port=port.host_link,
        mtu=port.pod_mtu,
        host_mtu=port.host_mtu,
        tunnel=_tunnels(seen),
        overlay=_overlay(seen)[0],
        overlay_port=_overlay(seen)[1],
    )


def _overlay(seen: net.NodeObservation | None) -> tuple[str, int]:
    """Return the VXLAN device of a node and its UDP port; empty and 0 without one."""
    links = seen.links if seen is not None else ()
    return next(((link.name, link.vxlan.port) for link in links if link.up and link.vxlan is not None), ("", 0))


def _tunnels(seen: net.NodeObservation | None) -> bool:
    return seen is not None and any(link.up and link.kind in TUNNELS for link in seen.links)


def services(known: Inventory) -> Iterator[Object]:
    """All Services that may be read."""
    return (one for one in known.services or () if one.kind == "Service")


def service(name: str, namespace: str, known: Inventory) -> Object | None:
    """Return the Service of that name, or None."""
    return next((one for one in services(known) if (one.name, one.namespace) == (name, namespace)), None)


def of_service(found: Object, known: Inventory, through: Endpoint | None = None, port: int = 0) -> Endpoint:
    """Return a Service as an endpoint; by the port of a node, when that is named."""
    endpoints = list(dict.fromkeys(_endpoints(found, known)))
    members = tuple(holder(address, known.snapshot) for address in endpoints[:MEMBERS_MOST])
    by = f" by port {port} of {through.name}" if through is not None else ""
    return Endpoint(
        kind="service",
        name=f"svc {found.namespace}/{found.name}{by}",
        addresses=virtual(found) if through is None else (),
        members=members,
        all_members=len(endpoints),
        through=through,
    )


def virtual(found: Object) -> tuple[str, ...]:
    """List the addresses that kube-proxy translates: the cluster's, external ones, a load balancer's."""
    listed: list[object] = []
    for path in (("spec", "clusterIPs"), ("spec", "externalIPs")):
        many = found.get(*path)
        listed += many if isinstance(many, list) else []
    listed += [found.get("spec", "clusterIP")]
    listed += [each.get("ip") for each in found.each("status", "loadBalancer", "ingress")]
    return tuple(dict.fromkeys(str(one) for one in listed if one and one != "None"))


def _endpoints(found: Object, known: Inventory) -> Iterator[str]:
    for one in known.services or ():
        if one.kind != "EndpointSlice" or one.namespace != found.namespace:
            continue
        if one.text("metadata", "labels", "kubernetes.io/service-name") != found.name:
            continue
        for endpoint in one.each("endpoints"):
            if endpoint.flag("conditions", "ready") is False:
                continue
            addresses = endpoint.get("addresses")
            yield from (str(address) for address in addresses) if isinstance(addresses, list) else ()


def node_addresses(found: Object) -> tuple[str, ...]:
    """Return the addresses of a node of the API."""
    return tuple(
        text
        for one in found.each("status", "addresses")
        if one.text("type") in {"InternalIP", "ExternalIP"} and (text := one.text("address"))
    )


def pod_addresses(pod: Object) -> tuple[str, ...]:
    """Return the addresses of a pod of the API."""
    many = tuple(text for one in pod.each("status", "podIPs") if (text := one.text("ip")))
    single = pod.text("status", "podIP")
    return many or ((single,) if single else ())

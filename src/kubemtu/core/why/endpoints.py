"""The ends of a path: pods, nodes, Services and addresses; where each is, and whether an agent stands there."""

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from kubemtu.core import errors, net, networks, objects
from kubemtu.core.cluster import nesting, pods, reach, unfinished, windows
from kubemtu.core.cluster.nesting import Nested
from kubemtu.core.objects import Object, pod_addresses
from kubemtu.core.snapshot import Snapshot

Kind = Literal["pod", "node", "service", "address"]
MEMBERS_MOST = 8  # endpoints of a Service that are measured
ENDED = frozenset({"Succeeded", "Failed"})


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a path.

    `name` is what people call it, `node` the node that it is on. An agent can measure from there where `agent_node` is
    not empty, in the namespace behind the host-side `link` of a pod's veth; that is empty for a node, or for a pod on
    its node's own network. `mtu` is that of its own interface and `host_mtu` that of the node's end of its veth, in
    bytes, 0 when unknown. `tcp_port`: the one that was named with an address. `has_tunnel`: its node has one, and
    `tunnel_room` is what the node's NIC leaves for a packet inside it where the tunnel takes more, else 0;
    `vxlan_device` is the name of its VXLAN device, and `vxlan_port` that one's UDP port. `members` are the endpoints of
    a Service, `member_count` how many it has; `via_node` is the node whose port leads there. `nested` are the devices
    inside a pod by which containers or virtual machines send more than the pod takes. `by_destination` is the port of a
    pod where a change in force makes what it sends depend on where to. `nic` is the NIC by which its node reaches the
    others, where that has `nic_mtu`, in bytes. `windows`: its node runs Windows, for which there is no agent.
    """

    kind: Kind
    name: str
    addresses: tuple[str, ...] = ()
    node: str = ""
    agent_node: str = ""
    link: str = ""
    mtu: int = 0
    host_mtu: int = 0
    has_tunnel: bool = False
    tcp_port: int = 0
    vxlan_device: str = ""
    vxlan_port: int = 0
    tunnel_room: int = 0
    members: tuple["Endpoint", ...] = ()
    member_count: int = 0
    via_node: "Endpoint | None" = None
    nested: tuple[Nested, ...] = ()
    by_destination: net.PodPort | None = None
    nic: str = ""
    nic_mtu: int = 0
    windows: bool = False

    def sends(self, to: str) -> int | None:
        """Return what it sends at most to an address, in bytes, where that depends on the address; None elsewhere."""
        if self.by_destination is None:
            return None
        return reach.sends(self.by_destination, ipaddress.ip_network(to))

    @property
    def has_agent(self) -> bool:
        """Return whether an agent stands there."""
        return bool(self.agent_node)

    @property
    def unreported(self) -> bool:
        """Return whether it is a pod of which only the API tells."""
        return self.kind == "pod" and not self.agent_node

    @property
    def veth_differs(self) -> bool:
        """Return whether the two ends of its veth have different MTUs."""
        return 0 < self.host_mtu != self.mtu > 0

    def address(self, ipv6: bool = False) -> str | None:
        """Return its first address of that family, or None."""
        return next((one for one in self.addresses if (":" in one) is ipv6), None)


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What ends are looked up in. `services` are the Services and EndpointSlices, None when they may not be read."""

    snapshot: Snapshot
    services: Sequence[Object] | None = ()
    namespace: str = "default"  # of bare names


def node(name: str, snapshot: Snapshot) -> Endpoint:
    """Return a node as an endpoint; the node must be in the snapshot."""
    api_node = snapshot.find("Node", name)
    assert api_node is not None
    observation = snapshot.observation(name)
    nic, nic_mtu = _nic(observation)
    return Endpoint(
        kind="node",
        name=name,
        addresses=node_addresses(api_node),
        node=name,
        agent_node=_agent(observation),
        mtu=nic_mtu,
        has_tunnel=_tunnels(observation),
        vxlan_device=_overlay(observation)[0],
        vxlan_port=_overlay(observation)[1],
        nic=nic,
        nic_mtu=nic_mtu,
        windows=windows.runs(api_node),
    )


def holder(address: str, snapshot: Snapshot) -> Endpoint:
    """Return the node or pod that has that address, or the bare address."""
    for api_node in snapshot.each("Node"):
        if address in node_addresses(api_node):
            return node(api_node.name, snapshot)
    for pod in snapshot.each("Pod"):
        if address in pod_addresses(pod) and not pod.flag("spec", "hostNetwork") and not _ended(pod):
            return of_pod(pod, snapshot)
    for observation in snapshot.nodes:
        for port in observation.ports:
            if address in port.addresses:
                return _behind(port, observation, f"netns {port.netns}" if port.netns else port.host_link, snapshot)
    return Endpoint(kind="address", name=address, addresses=(address,))


def of_pod(pod: Object, snapshot: Snapshot) -> Endpoint:
    """Return a pod as an endpoint. Raises UsageError for one without an address."""
    name, node_name = f"{pod.namespace}/{pod.name}", pod.text("spec", "nodeName") or ""
    addresses = pod_addresses(pod)
    if pod.flag("spec", "hostNetwork") and snapshot.find("Node", node_name) is not None:
        host = node(node_name, snapshot)
        return msgspec.structs.replace(host, kind="pod", name=name, addresses=addresses or host.addresses)
    if _ended(pod) or not addresses:
        raise errors.UsageError(_without_network(pod, name))
    observation = snapshot.observation(node_name)
    for port in observation.ports if observation is not None else ():
        if set(addresses) & set(port.addresses):
            assert observation is not None
            nested = nesting.larger(port, pods.one(pod))
            return msgspec.structs.replace(
                _behind(port, observation, name, snapshot), addresses=addresses, nested=nested
            )
    api_node = snapshot.find("Node", node_name)
    foreign = api_node is not None and windows.runs(api_node)
    return Endpoint(kind="pod", name=name, addresses=addresses, node=node_name, windows=foreign)


def _without_network(pod: Object, name: str) -> str:
    phase = pod.text("status", "phase") or "not running"
    if phase in ENDED:
        return f"pod {name} is {phase}: it has no network any more; name one that runs"
    return f"pod {name} is {phase} and has no address yet; wait until it runs"


def _ended(pod: Object) -> bool:
    return (pod.text("status", "phase") or "") in ENDED


def by_hand(to: str) -> str:
    """Say how one size is tried on Windows: its -l counts what follows the headers of IPv4 (20) and ICMP (8)."""
    return f"try a size on it: `ping -f -l 1422 {to}` sends 1450 bytes with DF, the 28 of its headers included"


def _behind(port: net.PodPort, observation: net.NodeObservation, name: str, snapshot: Snapshot) -> Endpoint:
    addresses = tuple(address for address in port.addresses if networks.beyond_link(address))
    return Endpoint(
        kind="pod",
        name=name,
        addresses=addresses,
        node=observation.node,
        agent_node=_agent(observation),
        link=port.host_link,
        mtu=port.pod_mtu or 0,
        host_mtu=port.host_mtu,
        has_tunnel=_tunnels(observation),
        vxlan_device=_overlay(observation)[0],
        vxlan_port=_overlay(observation)[1],
        nested=nesting.larger(port, None),
        by_destination=port if observation.held is not None or unfinished.held(snapshot) else None,
        nic=_nic(observation)[0],
        nic_mtu=_nic(observation)[1],
    )


def _agent(observation: net.NodeObservation | None) -> str:
    """Return the node that an agent can measure from; empty where none stands there, whoever else saw the node."""
    return observation.node if observation is not None and observation.seen_by == "agent" else ""


def _nic(observation: net.NodeObservation | None) -> tuple[str, int]:
    """Return the NIC by which a node reaches others, the narrowest of several, and its MTU; empty and 0: not known."""
    ways = [uplink for uplink in observation.uplinks if uplink.mtu] if observation is not None else []
    found = min(ways, key=lambda uplink: uplink.mtu, default=None)
    return (found.device, found.mtu) if found is not None else ("", 0)


def _overlay(observation: net.NodeObservation | None) -> tuple[str, int]:
    """Return the VXLAN device of a node and its UDP port; empty and 0 without one."""
    links = observation.links if observation is not None else ()
    return next(((link.name, link.vxlan.port) for link in links if link.up and link.vxlan is not None), ("", 0))


def _tunnels(observation: net.NodeObservation | None) -> bool:
    return observation is not None and any(link.up and link.kind in net.TUNNEL_KINDS for link in observation.links)


def services(inventory: Inventory) -> Iterator[Object]:
    """Yield all Services that may be read."""
    return (service for service in inventory.services or () if service.kind == "Service")


def service(name: str, namespace: str, inventory: Inventory) -> Object | None:
    """Return the Service of that name, or None."""
    return next(
        (candidate for candidate in services(inventory) if (candidate.name, candidate.namespace) == (name, namespace)),
        None,
    )


def of_service(service: Object, inventory: Inventory, through: Endpoint | None = None, port: int = 0) -> Endpoint:
    """Return a Service as an endpoint; by the port of a node, when that is named."""
    endpoints = list(dict.fromkeys(_endpoints(service, inventory)))
    members = tuple(holder(address, inventory.snapshot) for address in endpoints[:MEMBERS_MOST])
    by = f" by port {port} of {through.name}" if through is not None else ""
    return Endpoint(
        kind="service",
        name=f"svc {service.namespace}/{service.name}{by}",
        addresses=virtual(service) if through is None else (),
        members=members,
        member_count=len(endpoints),
        via_node=through,
    )


def virtual(service: Object) -> tuple[str, ...]:
    """List the addresses that kube-proxy translates: the cluster's, external ones, a load balancer's."""
    addresses: list[object] = []
    for path in (("spec", "clusterIPs"), ("spec", "externalIPs")):
        many = service.get(*path)
        addresses += many if isinstance(many, list) else []
    addresses += [service.get("spec", "clusterIP")]
    addresses += [each.get("ip") for each in service.each("status", "loadBalancer", "ingress")]
    return tuple(dict.fromkeys(str(address) for address in addresses if address and address != "None"))


def _endpoints(service: Object, inventory: Inventory) -> Iterator[str]:
    for endpoint_slice in inventory.services or ():
        if endpoint_slice.kind != "EndpointSlice" or endpoint_slice.namespace != service.namespace:
            continue
        if endpoint_slice.text("metadata", "labels", "kubernetes.io/service-name") != service.name:
            continue
        for endpoint in endpoint_slice.each("endpoints"):
            if endpoint.flag("conditions", "ready") is False:
                continue
            addresses = endpoint.get("addresses")
            yield from (str(address) for address in addresses) if isinstance(addresses, list) else ()


def node_addresses(node: Object) -> tuple[str, ...]:
    """Return the addresses by which people may name a node, those from outside included."""
    return objects.node_addresses(node, ("InternalIP", "ExternalIP"))

"""From what was observed to what must hold: the path of a pod's packet, layer by layer, and the MTU of each.

        pod eth0 ──veth── cali… ──route── flannel.1 ══╗                 ╔══ flannel.1 ── cali… ── eth0 pod
                          (or cni0)                   ╠═ NIC ══ fabric ═╣
        node's own packets ───────────────────────────╝                 ╚═ ...

The number that decides is the smallest over all nodes of what the encapsulation leaves of the NIC that routes to the
other nodes: a pod cannot know to which node it will talk next.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

from kubemtu.core import encap, errors, headers, net, pods
from kubemtu.core import rendered as node_files
from kubemtu.core.cnistate import CniState
from kubemtu.core.rendered import Rendered
from kubemtu.core.snapshot import Snapshot, Unread


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the picture: "NIC" and "pod" with an MTU, a header in between with its size, in bytes."""

    name: str
    size: int


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A pod port and whose it is: `pod` is "namespace/name", or the namespace's file where the pod is not known."""

    at: net.PodPort
    pod: str

    @property
    def sends(self) -> int:
        """The largest packet that leaves the pod: its device, unless every route of it says less. Bytes."""
        routed = [route.mtu or self.at.pod_mtu for route in self.at.routes if route.family == 4]
        return min(self.at.pod_mtu, max(routed, default=self.at.pod_mtu))

    @property
    def ipv6(self) -> bool:
        """True when the pod has an IPv6 address of more than its link."""
        return any(":" in address and not address.lower().startswith("fe80:") for address in self.at.addresses)


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One observed node. `nic_mtu` is the smallest over its ways to its peers, `inner` what is left of it for a pod.

    `fits` is what the NIC leaves for the tunnel device itself, which knows only its own encapsulation: flannel.1 over
    IPv4 may have more than its twin over IPv6, and more than pods may have that use both.
    """

    name: str
    seen: net.NodeObservation
    nic: str = ""
    nic_mtu: int | None = None
    inner: int | None = None
    fits: int | None = None
    tunnel: net.Link | None = None
    bridge: net.Link | None = None
    rendered: Rendered | None = None
    ports: tuple[Port, ...] = ()
    cni_pod: pods.CniPod | None = None

    @property
    def usual(self) -> int | None:
        """The MTU that most pods of this node have; None without pods."""
        counted = Counter(port.at.pod_mtu for port in self.ports)
        return max(counted, key=lambda mtu: (counted[mtu], mtu)) if counted else None


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """The whole pod network, as far as it was seen. MTUs in bytes of the IP packet.

    `carries` is what a packet of any pod to any other may have; `recommended` is the same, or None when nothing is
    known or when IPv6 could not live on it. `silent` names nodes of the API that were not observed.
    """

    state: CniState
    nodes: tuple[Node, ...] = ()
    silent: tuple[str, ...] = ()
    carries: int | None = None
    recommended: int | None = None
    layers: tuple[Layer, ...] = ()
    assumed_nic: int | None = None
    offline: bool = False
    ipv6: bool = False
    under_way: tuple[str, ...] = ()  # names of the MTUMigrations that have not ended
    pod_networks: tuple[str, ...] = ()
    cni_pods: tuple[pods.CniPod, ...] = ()
    running: int = 0  # pods of the pod network that the API knows
    unread: tuple[Unread, ...] = ()

    @property
    def ports(self) -> tuple[tuple[Node, Port], ...]:
        """Every port with its node."""
        return tuple((node, port) for node in self.nodes for port in node.ports)

    @property
    def narrowest(self) -> Node | None:
        """The node whose NIC decides; the first of equals."""
        known = [node for node in self.nodes if node.inner is not None]
        return min(known, key=lambda node: (node.inner, node.name), default=None)


def model(snapshot: Snapshot, state: CniState, nic_mtu: int | None = None) -> Topology:
    """Lay out the pod network that `state` describes over the nodes of the snapshot.

    `nic_mtu` is what somebody knows about the path between the nodes and the nodes do not show: it bounds every NIC,
    and stands in where no node was observed. Raises UsageError when it leaves no room for the encapsulation.
    """
    if nic_mtu is not None:
        for one in state.encapsulation:
            one.inner(nic_mtu)
    running = pods.running(snapshot)
    of_cni = pods.cni_pods(snapshot, state.daemonset)
    here: dict[str, list[pods.Pod]] = {}
    for pod in running:
        here.setdefault(pod.node, []).append(pod)
    agents = {pod.node: pod for pod in of_cni}
    nodes = tuple(
        _node(seen, state, tuple(here.get(seen.node, ())), agents.get(seen.node), nic_mtu)
        for seen in sorted(snapshot.nodes, key=lambda one: one.node)
    )
    ipv6 = state.ipv6 or any(port.ipv6 for node in nodes for port in node.ports)
    carries = _carries(nodes, state, nic_mtu)
    observed = {node.name for node in nodes}
    return Topology(
        state=state,
        nodes=nodes,
        silent=tuple(name for found in snapshot.each("Node") if (name := found.name) not in observed),
        carries=carries,
        recommended=None if carries is None or (ipv6 and carries < encap.IPV6_MINIMUM) else carries,
        layers=_layers(nodes, state, nic_mtu),
        assumed_nic=nic_mtu,
        offline=snapshot.offline,
        ipv6=ipv6,
        under_way=_under_way(snapshot),
        pod_networks=state.pod_networks or _pod_networks(snapshot),
        cni_pods=of_cni,
        running=len(running),
        unread=snapshot.unread,
    )


def inner(encapsulations: Iterable[encap.Encapsulation], nic_mtu: int) -> int | None:
    """What the costliest of the encapsulations leaves of a NIC's MTU; None when it leaves nothing."""
    try:
        left = min((one.inner(nic_mtu) for one in encapsulations), default=nic_mtu)
    except errors.UsageError:
        return None
    return min(left, encap.LARGEST_MTU)


def only(found: Topology, namespace: str) -> Topology:
    """The same network, saying nothing of pods of other namespaces; what the path carries stays what it is."""
    nodes = tuple(
        msgspec.structs.replace(node, ports=tuple(port for port in node.ports if port.pod.startswith(f"{namespace}/")))
        for node in found.nodes
    )
    return msgspec.structs.replace(found, nodes=nodes)


def _node(
    seen: net.NodeObservation,
    state: CniState,
    here: tuple[pods.Pod, ...],
    cni_pod: pods.CniPod | None,
    bound: int | None,
) -> Node:
    owners = pods.owners(seen.ports, state.ports.prefixes, here)
    tunnel = seen.link(state.tunnel) if state.tunnel else None
    uplink = _uplink(seen, tunnel)
    mtus = [mtu for mtu in (uplink.mtu, uplink.route_mtu, bound) if mtu] if uplink else []
    nic_mtu = min(mtus, default=bound)
    return Node(
        name=seen.node,
        seen=seen,
        nic=uplink.device if uplink else "",
        nic_mtu=nic_mtu,
        inner=_inner(state, nic_mtu) if nic_mtu is not None else None,
        fits=inner(_own(state, tunnel), nic_mtu) if nic_mtu is not None and tunnel is not None else None,
        tunnel=tunnel,
        bridge=seen.link(state.bridge) if state.bridge else None,
        rendered=node_files.of(seen, state.conflist),
        ports=tuple(Port(at=port, pod=owners.get(port.host_link, f"netns {port.netns}")) for port in seen.ports),
        cni_pod=cni_pod,
    )


def _own(state: CniState, tunnel: net.Link | None) -> tuple[encap.Encapsulation, ...]:
    """The encapsulations that this device does; all of them where it cannot be told."""
    if tunnel is None or tunnel.vxlan is None:
        return state.encapsulation
    outer = headers.IPV6 if tunnel.vxlan.ipv6_outer else headers.IPV4
    own = tuple(one for one in state.encapsulation if one.kind == "vxlan" and one.headers[0] == outer)
    return own or state.encapsulation


def _uplink(seen: net.NodeObservation, tunnel: net.Link | None) -> net.Uplink | None:
    """The narrowest way to a peer.

    A VXLAN device that is bound to a lower device sends by that one, whatever the routes say (drivers/net/vxlan: the
    lookup has oif set). A node without peers has only its default route, by which it would reach the first one.
    """
    ways = seen.uplinks
    lower = tunnel.vxlan.lower if tunnel is not None and tunnel.vxlan is not None else None
    if lower is not None:
        link = seen.link(lower)
        bound = tuple(way for way in ways if way.device == lower)
        if bound:
            ways = bound
        elif link is not None:
            ways = (net.Uplink(peer="", device=lower, mtu=link.mtu),)
    if not ways:
        default = next((route for route in seen.routes if route.destination in {"default", "0.0.0.0/0"}), None)
        link = seen.link(default.device) if default is not None else None
        if default is not None and link is not None:
            ways = (net.Uplink(peer="", device=link.name, mtu=link.mtu, route_mtu=default.mtu),)
    return min(ways, key=lambda way: min(way.mtu, way.route_mtu or way.mtu), default=None)


def _carries(nodes: Iterable[Node], state: CniState, bound: int | None) -> int | None:
    known = [node.inner for node in nodes if node.inner is not None]
    if known:
        return min(known)
    return _inner(state, bound) if bound is not None else None


def _inner(state: CniState, nic_mtu: int) -> int | None:
    return inner(state.encapsulation, nic_mtu) if state.encapsulation_known else None


def _layers(nodes: tuple[Node, ...], state: CniState, bound: int | None) -> tuple[Layer, ...]:
    narrow = min((node.nic_mtu for node in nodes if node.nic_mtu is not None), default=bound)
    if narrow is None or _inner(state, narrow) is None:
        return ()
    costly = max(state.encapsulation, key=lambda one: narrow - one.inner(narrow), default=None)
    taken = costly.working(narrow) if costly is not None else ()
    return (
        Layer(name="NIC", size=narrow),
        *(Layer(name=header.name, size=header.size) for header in taken),
        Layer(name="pod", size=narrow - sum(header.size for header in taken)),
    )


def _under_way(snapshot: Snapshot) -> tuple[str, ...]:
    return tuple(
        found.name for found in snapshot.each("MTUMigration") if found.get("status", "progress", "finished") is not True
    )


def _pod_networks(snapshot: Snapshot) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for node in snapshot.each("Node"):
        listed = node.get("spec", "podCIDRs")
        for cidr in (*(listed if isinstance(listed, list) else ()), node.get("spec", "podCIDR")):
            if isinstance(cidr, str) and cidr:
                found[cidr] = None
    return tuple(found)

"""From what was observed to what must hold: the path of a pod's packet, layer by layer, and the MTU of each.

        pod eth0 ──veth── port ──route── tunnel ══╗                 ╔══ tunnel ── port ── eth0 pod
                     (or bridge)                  ╠═ NIC ══ fabric ═╣
        node's own packets ───────────────────────╝                 ╚═ ...

The number that decides is the smallest over all nodes of what the encapsulation leaves of the NIC that routes to the
other nodes: a pod cannot know to which node it will talk next.
"""

import functools
import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from kubemtu.core import encap, errors, headers, net
from kubemtu.core.cluster import attachments, clouds, node_files, pods, policy, pools, reach, windows
from kubemtu.core.cluster import unfinished as changes
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.cluster.node_files import Rendered
from kubemtu.core.cluster.windows import WindowsNode
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot, Unread


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the picture: a header with its size, in bytes, between two MTUs: "pod", and "NIC", or "path" where
    less than the NICs say is known to get through.
    """

    name: str
    """A header; "pod" and "NIC" (or "path", where less than the NICs say gets through) at the ends."""
    size: int
    """Bytes of the header; at the ends the MTU."""


class Port(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A pod port and whose it is: `pod` is "namespace/name", or the namespace's file where the pod is not known."""

    at: net.PodPort
    pod: str
    by_route: bool = False  # the CNI limits what the pod sends by its routes, and leaves more to its device
    about: pods.Pod | None = None  # what the API has of it, where the pod is known and something runs inside it

    @property
    def mtu(self) -> int | None:
        """The MTU that the CNI gives the pod, in bytes: its device's, or its routes'; None where nobody looked."""
        return self.at.limit if self.by_route else self.at.pod_mtu

    @property
    def sends(self) -> int | None:
        """The largest packet that leaves the pod, in bytes: its device, unless every route says less; None: unknown."""
        own = self.at.pod_mtu
        if self.by_route or own is None:
            return self.at.limit
        routed = [route.mtu or own for route in self.at.routes if route.family == 4]
        if routed:
            return min(own, max(routed))
        beyond = (route for route in self.at.routes if not route.destination.lower().startswith(("fe80:", "ff")))
        return min(own, max((route.mtu or own for route in beyond), default=own), self.at.ipv6_mtu or own)

    @property
    def shown(self) -> int | None:
        """The pod's MTU as far as an end shows it, in bytes: its own, or that of the host end where only that was seen.

        A CNI makes both ends alike, so a host end that is wrong is wrong whatever the pod's own end has: either that
        has the same, or the two differ. Who uses this says which end was seen. None: only the pod's routes would tell.
        """
        if self.mtu is not None:
            return self.mtu
        return None if self.by_route else self.at.host_mtu

    @property
    def seen(self) -> bool:
        """True when the pod's own end was seen, and not its host end alone."""
        return self.at.pod_mtu is not None

    @property
    def ipv6(self) -> bool:
        """True when the pod has an IPv6 address of more than its link."""
        return any(":" in address and not address.lower().startswith("fe80:") for address in self.at.addresses)


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One observed node. `nic_mtu` is the smallest over its ways to its peers, and `path_mtu` what gets through there
    as far as it is known: the same, or less where somebody says so (`bound`). `inner` is what is left of it for a pod.
    `link_mtu` is the NIC's own, of which a route may let less through.

    `fits` is what the NIC leaves for the tunnel device itself, which knows only its own encapsulation: one over
    IPv4 may have more than its twin over IPv6, and more than pods may have that use both.
    """

    name: str
    seen: net.NodeObservation
    nic: str = ""
    nic_mtu: int | None = None
    link_mtu: int | None = None
    path_mtu: int | None = None
    bound: policy.Bound | None = None
    inner: int | None = None
    fits: int | None = None
    tunnel: net.Link | None = None
    bridge: net.Link | None = None
    rendered: Rendered | None = None
    ports: tuple[Port, ...] = ()
    unseen: tuple[str, ...] = ()  # pods that run here, as the API says, and whose interfaces were not found
    cni_pod: pods.CniPod | None = None
    api: pools.ApiNode = pools.NOTHING  # what the API says of it
    cloud: clouds.Cloud | None = None  # that it is in, where its Node says so
    elsewhere: tuple[str, ...] = ()  # pods whose own network is another than this one
    alike: tuple[tuple[str, str], ...] = ()  # those of them whose host ends, the second, are called as this network's

    @property
    def below(self) -> str:
        """What is below the pod network here, as a sentence names it: the NIC with its MTU, or who says less."""
        if self.bound is not None:
            return f"{self.nic or 'the path'} ({self.path_mtu}, as {self.bound} says)"
        if self.path_mtu != self.nic_mtu:
            return f"{self.nic or 'the path'} ({self.path_mtu}, as was given)"
        return f"{self.nic} ({self.nic_mtu}{' by its route' if self.routed else ''})"

    @property
    def routed(self) -> bool:
        """Return whether a route lets less through than the NIC behind it, as pins of the nodes' own traffic do."""
        return self.nic_mtu is not None and self.link_mtu is not None and self.nic_mtu < self.link_mtu

    @property
    def usual(self) -> int | None:
        """The MTU that most pods of this node have, by the ends that were seen; None without pods."""
        counted = Counter(port.shown for port in self.ports if port.shown is not None)
        return max(counted, key=lambda mtu: (counted[mtu], mtu)) if counted else None

    @property
    def usual_device(self) -> int | None:
        """The MTU that most pods' devices have here; None without pods."""
        counted = Counter(port.at.ends[-1] for port in self.ports)
        return max(counted, key=lambda mtu: (counted[mtu], mtu)) if counted else None


class Topology(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The whole pod network, as far as it was seen. MTUs in bytes of the IP packet.

    `carries` is what a packet of any pod to any other may have; `recommended` is the same, or less where a tunnel is
    held below it or the CNI leaves some free by design, or None when nothing is known or when IPv6 could not live on
    it. `silent` names nodes of the API that were not observed, but for those of Windows.
    """

    state: CniState
    nodes: tuple[Node, ...] = ()
    silent: tuple[str, ...] = ()
    windows: tuple[WindowsNode, ...] = ()
    listed: int = 0  # nodes that the API lists; of saved files it may be none
    carries: int | None = None
    recommended: int | None = None
    layers: tuple[Layer, ...] = ()
    assumed_nic: int | None = None
    assumed_by: policy.Bound | None = None  # who says so, where no NIC was seen
    born: int | None = None  # what new pods get by the configuration and the assumed NIC; None: each node decides
    offline: bool = False
    ipv6: bool = False
    policies: policy.Known = policy.Known()
    unfinished: tuple[changes.Unfinished, ...] = ()
    recorded: bool = False  # whether there is any MTUMigration, ended or not, that could be taken back
    held_by: str = ""  # name of the MTUMigration that is in force: agents keep sizes by destination
    under_way: tuple[str, ...] = ()  # names of the MTUMigrations that have not ended
    pod_networks: tuple[str, ...] = ()
    service_networks: tuple[str, ...] = ()  # of ClusterIPs, as far as somebody says them
    api_nodes: dict[str, pools.ApiNode] = {}  # of every node of the API, observed or not, by name
    cni_pods: tuple[pods.CniPod, ...] = ()
    running: int = 0  # pods of the pod network that the API knows
    beside: attachments.AttachedNetworks = attachments.AttachedNetworks()
    unread: tuple[Unread, ...] = ()
    measured: bool = False  # all ways between nodes were, just now, and carry what their NICs say

    @functools.cached_property
    def ports(self) -> tuple[tuple[Node, Port], ...]:
        """Every port with its node."""
        return tuple((node, port) for node in self.nodes for port in node.ports)

    def held(self, node: Node) -> net.HeldSizes | None:
        """Return what the change that is in force asks of a node's pods; None: there is none, or not of that node."""
        asked = node.seen.held
        return asked if asked is not None and asked.migration == self.held_by else None

    @functools.cached_property
    def apart(self) -> dict[tuple[str, str], reach.Excess | None]:
        """Where pods send more than is carried there, by node and host end; None: nowhere, all of it fits.

        Only pods that were looked into, of nodes in a change that is in force; those with the same routes once.
        """
        peers = {
            node.name: reach.FarNode(
                node=node.name, networks=tuple(map(ipaddress.ip_network, node.api.networks)), takes=node.inner
            )
            for node in self.nodes
            if node.inner is not None
        }
        found: dict[tuple[str, str], reach.Excess | None] = {}
        known: dict[object, reach.Excess | None] = {}
        for node, port in self.ports:
            if self.held(node) is None or node.inner is None or not port.seen:
                continue
            # What a pod sends fits its own node, or that is another's fate than of pods elsewhere with the same routes.
            own = "" if (port.at.limit or 0) <= node.inner else node.name
            alike = (own, node.inner, port.at.routes, port.at.pod_mtu, port.at.host_mtu)
            if alike not in known:
                others = (peer for name, peer in peers.items() if name != node.name)
                known[alike] = reach.too_much(port.at, node.inner, others)
            found[node.name, port.at.host_link] = known[alike]
        return found

    def bears(self, node: Node) -> bool:
        """Say whether pods are born here with no more than the change that is in force gives them at once."""
        held, rendered = self.held(node), node.rendered
        return held is not None and rendered is not None and (rendered.gives or 0) <= held.pod_mtu

    def fits(self, node: Node, port: Port) -> bool:
        """Say whether a change that is in force made a pod's sizes, and what it sends fits wherever it goes."""
        place = (node.name, port.at.host_link)
        return place in self.apart and self.apart[place] is None

    @functools.cached_property  # rules ask for it pod by pod
    def narrowest(self) -> Node | None:
        """The node whose NIC decides; the first of equals."""
        known = [node for node in self.nodes if node.inner is not None]
        return min(known, key=lambda node: (node.inner, node.name), default=None)

    @functools.cached_property
    def carriers(self) -> attachments.Carriers:
        """What carries networks beside the pod network on the observed nodes."""
        return attachments.Carriers(node.seen for node in self.nodes)

    @functools.cached_property
    def without_nic(self) -> tuple[Node, ...]:
        """The nodes that have none of the NICs that the configuration names; none where it names addresses, or none."""
        names = self.state.nic_names
        if not names or any(":" in name or name.replace(".", "").isdecimal() for name in names):
            return ()
        return tuple(node for node in self.nodes if node.seen.links and not any(map(node.seen.link, names)))

    @functools.cached_property
    def beyond(self) -> policy.Bound | None:
        """Who says of nodes of Windows that their paths carry less than those of all observed nodes; None: nobody."""
        return _beyond(self.nodes, self.windows, self.assumed_nic)

    def wastes(self, mtu: int) -> bool:
        """Return whether pods of that MTU, in bytes, use less of the path than the CNI means them to."""
        return self.carries is not None and mtu < self.carries - self.state.reserves

    @property
    def origin(self) -> policy.Bound | None:
        """Say who decides what the path carries, where neither interfaces do nor a number that was given."""
        if self.beyond is not None:
            return self.beyond
        return self.narrowest.bound if self.narrowest is not None else self.assumed_by

    @property
    def option(self) -> str:
        """What `plan` and `apply` must be given to go by the same path, as ` --nic-mtu N`; empty where they do anyway.

        They find what interfaces and policies say, but neither a number that was given nor what one run has measured.
        """
        narrow = self.narrowest
        if self.origin is not None:
            return "" if self.origin.reason else f" --nic-mtu {self.origin.path_mtu}"
        given = self.assumed_nic if narrow is None else narrow.path_mtu if narrow.path_mtu != narrow.nic_mtu else None
        return f" --nic-mtu {given}" if given is not None else ""


def model(
    snapshot: Snapshot, state: CniState, nic_mtu: int | None = None, measured: Sequence[policy.Bound] = ()
) -> Topology:
    """Lay out the pod network that `state` describes over the nodes of the snapshot.

    `nic_mtu` is what somebody knows about the path between the nodes and the nodes do not show, and so is what
    MTUPolicy objects say, and what was `measured` just now: they bound every NIC, and stand in where no node was
    observed. Raises UsageError when `nic_mtu` leaves no room for the encapsulation.
    """
    if nic_mtu is not None:
        for one in state.encapsulation:
            one.inner(nic_mtu)
    policies = policy.known(snapshot)
    bounds = (*policies.bounds, *state.bounds, *measured)
    anywhere = policy.smallest(bounds)
    assumed_by = anywhere if anywhere is not None and anywhere.path_mtu < (nic_mtu or encap.LARGEST_MTU + 1) else None
    assumed = assumed_by.path_mtu if assumed_by is not None else nic_mtu
    running = pods.ByNode(snapshot)
    of_cni = pods.cni_pods(snapshot, state.daemonset)
    agents = {pod.node: pod for pod in of_cni}
    runtimes = {found.name: _runtime(found) for found in snapshot.each("Node")}
    told = pools.of(snapshot)
    placed = clouds.of(snapshot)
    nodes = tuple(
        _node(
            seen,
            state,
            running.on(seen.node),
            agents.get(seen.node),
            nic_mtu,
            policy.smallest(bounds, seen.node),
            runtimes.get(seen.node, ""),
            told.get(seen.node, pools.NOTHING),
            placed.get(seen.node),
        )
        for seen in sorted(snapshot.nodes, key=lambda one: one.node)
    )
    ipv6 = state.ipv6 or any(port.ipv6 for node in nodes for port in node.ports)
    foreign = windows.of(snapshot, bounds)
    beyond = _beyond(nodes, foreign, assumed)
    least = _inner(state, beyond.path_mtu) if beyond is not None else None
    carries = least if least is not None else _carries(nodes, state, assumed)
    standing = changes.of(snapshot)
    observed = {node.name for node in nodes} | {node.name for node in foreign}
    return Topology(
        state=state,
        nodes=nodes,
        silent=tuple(name for found in snapshot.each("Node") if (name := found.name) not in observed),
        windows=foreign,
        listed=sum(1 for _ in snapshot.each("Node")),
        carries=carries,
        recommended=recommended(carries, state, ipv6=ipv6),
        layers=_layers(nodes, state, assumed, assumed_by, beyond),
        assumed_nic=assumed,
        assumed_by=assumed_by,
        born=_born(nodes, state, nic_mtu),
        offline=snapshot.offline,
        ipv6=ipv6,
        policies=policies,
        unfinished=standing,
        recorded=any(True for _ in snapshot.each(changes.KIND)),
        held_by=changes.held(snapshot),
        under_way=tuple(one.name for one in standing),
        pod_networks=state.pod_networks or tuple(dict.fromkeys(cidr for one in told.values() for cidr in one.networks)),
        service_networks=snapshot.service_networks,
        api_nodes=told,
        cni_pods=of_cni,
        running=running.count,
        unread=snapshot.unread,
    )


def inner(encapsulations: Iterable[encap.Encapsulation], nic_mtu: int) -> int | None:
    """Return what the costliest of the encapsulations leaves of a NIC's MTU; None when it leaves nothing."""
    try:
        left = min((one.inner(nic_mtu) for one in encapsulations), default=nic_mtu)
    except errors.UsageError:
        return None
    return min(left, encap.LARGEST_MTU)


def only(topology: Topology, namespace: str) -> Topology:
    """Return the same network, saying nothing of pods of other namespaces; what the path carries stays what it is."""
    own = f"{namespace}/"
    nodes = tuple(
        msgspec.structs.replace(
            node,
            ports=tuple(port for port in node.ports if port.pod.startswith(own)),
            unseen=tuple(pod for pod in node.unseen if pod.startswith(own)),
            elsewhere=tuple(pod for pod in node.elsewhere if pod.startswith(own)),
        )
        for node in topology.nodes
    )
    return msgspec.structs.replace(topology, nodes=nodes, beside=topology.beside.only(namespace))


def _node(
    observation: net.NodeObservation,
    state: CniState,
    here: tuple[pods.Pod, ...],
    cni_pod: pods.CniPod | None,
    given: int | None,
    said: policy.Bound | None,
    runtime: str,
    api: pools.ApiNode,
    cloud: clouds.Cloud | None,
) -> Node:
    own = tuple(port for port in observation.ports if _own_port(port, state))
    owners = pods.owners(own, state.ports.prefixes, here)
    elsewhere = {str(pod) for pod in here if pod.elsewhere}
    alike = {link: owners.pop(link) for link in tuple(owners) if owners[link] in elsewhere} if elsewhere else {}
    own = tuple(port for port in own if port.host_link not in alike) if alike else own
    here = tuple(pod for pod in here if not pod.elsewhere) if elsewhere else here
    if len(own) < len(observation.ports):
        observation = msgspec.structs.replace(observation, ports=own)
    known = {str(pod): pod for pod in here} if any(port.inner for port in observation.ports) else {}
    tunnel = observation.link(state.tunnel) if state.tunnel else None
    uplink = _uplink(observation, tunnel, _families(observation, state))
    nic_mtu = min(uplink.mtu, uplink.route_mtu or uplink.mtu) if uplink is not None else None
    ports = (
        Port(
            at=port,
            pod=owners.get(port.host_link) or _unnamed(port),
            by_route=state.by_route,
            about=known.get(owners.get(port.host_link, "")) if port.inner else None,
        )
        for port in observation.ports
    )
    sizes = [size for size in (nic_mtu, given) if size]
    bound = said if said is not None and said.path_mtu < min(sizes, default=encap.LARGEST_MTU + 1) else None
    path_mtu = bound.path_mtu if bound is not None else min(sizes, default=None)
    return Node(
        name=observation.node,
        seen=observation,
        nic=uplink.device if uplink else "",
        nic_mtu=nic_mtu,
        link_mtu=uplink.mtu if uplink is not None else None,
        path_mtu=path_mtu,
        bound=bound,
        inner=_inner(state, path_mtu) if path_mtu is not None else None,
        fits=inner(_own(state, tunnel), path_mtu) if path_mtu is not None and tunnel is not None else None,
        tunnel=tunnel,
        bridge=observation.link(state.bridge) if state.bridge else None,
        rendered=_rendered(observation, state, uplink, runtime),
        ports=tuple(sorted(ports, key=_in_order)),  # whatever the kernel's order is, the same is said at every look
        unseen=pods.unseen(observation, here, owners.values()),
        cni_pod=cni_pod,
        api=api,
        cloud=cloud,
        elsewhere=tuple(sorted(elsewhere)),
        alike=tuple(sorted((pod, link) for link, pod in alike.items())),
    )


def _unnamed(port: net.PodPort) -> str:
    return f"netns {port.netns}" if port.netns else f"the pod behind {port.host_link}"


def _rendered(
    observation: net.NodeObservation, state: CniState, uplink: net.Uplink | None, runtime: str
) -> Rendered | None:
    found = node_files.of(observation, state.conflist, state.plugin_mtus, runtime=runtime)
    if (born := state.born_by_node.get(observation.node)) is not None:
        return node_files.computed(found, state.conflist, born, state.per_pool)
    if not state.computed_by:
        return found
    named = next((link for name in state.nic_names if (link := observation.link(name)) is not None), None)
    nic = named.mtu if named is not None else uplink.mtu if uplink is not None else None
    computed = nic - state.subtracts if nic is not None and state.subtracts is not None else None
    if state.pod_mtu is not None:
        return node_files.computed(found, state.conflist, state.pod_mtu, f"{state.computed_by}, by its configuration")
    return node_files.computed(
        found, state.conflist, computed, f"{state.computed_by}, the NIC's {nic} less {state.subtracts}"
    )


def _own_port(port: net.PodPort, state: CniState) -> bool:
    """Return False for a port that is not this network's: agents look for those of every CNI, and plans reach none.

    Whose it is otherwise is said of its pod, which is one that is not seen.
    """
    rule = state.ports
    if not rule.names_any or (rule.bridge is not None and port.bridge == rule.bridge):
        return True
    named = bool(rule.prefixes) and port.host_link.startswith(rule.prefixes)
    return named and (port.bridge is None or not port.host_link.startswith(net.ANYBODYS))


def _in_order(port: Port) -> list[tuple[str, int]]:
    """Return what orders pods as people count: web-2 before web-10."""
    return [(text, int(number or 0)) for text, number in re.findall(r"([^0-9]*)([0-9]{0,18})", port.pod)]


def _own(state: CniState, tunnel: net.Link | None) -> tuple[encap.Encapsulation, ...]:
    """Return the encapsulations that this device does; all of them where it cannot be told."""
    if tunnel is None or tunnel.vxlan is None:
        return state.encapsulation
    outer = headers.IPV6 if tunnel.vxlan.ipv6_outer else headers.IPV4
    own = tuple(one for one in state.encapsulation if one.kind == "vxlan" and one.headers[0] == outer)
    return own or state.encapsulation


def _families(observation: net.NodeObservation, state: CniState) -> frozenset[bool]:
    """Say whether packets of pods leave their node as IPv4 (False), as IPv6 (True), or as either."""
    either = frozenset({False, True})
    outer = {one.headers[0] if one.headers else None for one in state.encapsulation}
    if outer:
        return (
            frozenset(header == headers.IPV6 for header in outer) if outer <= {headers.IPV4, headers.IPV6} else either
        )
    addresses = (address for port in observation.ports for address in port.addresses)
    own = state.ipv6 or any(":" in each and not each.lower().startswith("fe80:") for each in addresses)
    return either if own or not state.encapsulation_known else frozenset({False})


def _uplink(observation: net.NodeObservation, tunnel: net.Link | None, families: frozenset[bool]) -> net.Uplink | None:
    """Return the narrowest way to a peer, of the families by which pods' packets leave the node, where there is one.

    A VXLAN device that is bound to a lower device sends by that one, whatever the routes say (drivers/net/vxlan: the
    lookup has oif set), unless a firewall marks its packets: then they are routed anew (net/ipv4/netfilter.c). A node
    without peers has only its default route, by which it would reach the first one.
    """
    ways = tuple(way for way in observation.uplinks if (":" in way.peer) in families) or observation.uplinks
    lower = tunnel.vxlan.lower if tunnel is not None and tunnel.vxlan is not None else None
    if lower is not None:
        link = observation.link(lower)
        bound = tuple(way for way in ways if way.device == lower or way.marked)
        if bound:
            ways = bound
        elif link is not None:
            ways = (net.Uplink(peer="", device=lower, mtu=link.mtu),)
    if not ways:
        default = next((route for route in observation.routes if route.destination in {"default", "0.0.0.0/0"}), None)
        link = observation.link(default.device) if default is not None else None
        if default is not None and link is not None:
            ways = (net.Uplink(peer="", device=link.name, mtu=link.mtu, route_mtu=default.mtu),)
    return min(ways, key=lambda way: min(way.mtu, way.route_mtu or way.mtu), default=None)


def _beyond(nodes: Iterable[Node], foreign: Iterable[WindowsNode], assumed: int | None) -> policy.Bound | None:
    said = (node.bound for node in foreign if node.bound is not None)
    bound = min(said, key=lambda one: one.path_mtu, default=None)
    least = min((node.path_mtu for node in nodes if node.path_mtu is not None), default=assumed)
    return bound if bound is not None and least is not None and bound.path_mtu < least else None


def _carries(nodes: Iterable[Node], state: CniState, bound: int | None) -> int | None:
    known = [node.inner for node in nodes if node.inner is not None]
    if known:
        return min(known)
    return _inner(state, bound) if bound is not None else None


def recommended(carries: int | None, state: CniState, *, ipv6: bool) -> int | None:
    """Return what pods should have where the path carries `carries` bytes of theirs: what the CNI means them to.

    None where nothing is known, or where IPv6 could not live on it.
    """
    if carries is None:
        return None
    best = min(carries, state.fixed) if state.fixed is not None else carries
    left = best - state.reserves
    best = state.pod_mtu if state.pod_mtu is not None and left <= state.pod_mtu <= best else left
    return None if ipv6 and best < encap.IPV6_MINIMUM else best


def _born(nodes: Iterable[Node], state: CniState, nic_mtu: int | None) -> int | None:
    if state.pod_mtu is not None or nic_mtu is None or state.subtracts is None or any(node.nic for node in nodes):
        return state.pod_mtu
    return nic_mtu - state.subtracts if nic_mtu > state.subtracts else None


def _inner(state: CniState, nic_mtu: int) -> int | None:
    return inner(state.encapsulation, nic_mtu) if state.encapsulation_known else None


def _layers(
    nodes: tuple[Node, ...],
    state: CniState,
    assumed: int | None,
    by: policy.Bound | None,
    beyond: policy.Bound | None,
) -> tuple[Layer, ...]:
    narrow = min((node.path_mtu for node in nodes if node.path_mtu is not None), default=assumed)
    if beyond is not None:
        narrow, by, nodes = beyond.path_mtu, beyond, ()
    if narrow is None or _inner(state, narrow) is None:
        return ()
    costly = max(state.encapsulation, key=lambda one: narrow - one.inner(narrow), default=None)
    there = [node for node in nodes if node.path_mtu == narrow]
    deciding = [node.bound for node in there] or [by]
    name = "NIC" if any(one is None for one in deciding) else "path"
    if there and all(node.routed and node.nic_mtu == narrow for node in there):
        name = "route"
    taken = costly.working(narrow) if costly is not None else ()
    return (
        Layer(name=name, size=narrow),
        *(Layer(name=header.name, size=header.size) for header in taken),
        Layer(name="pod", size=narrow - sum(header.size for header in taken)),
    )


def _runtime(node: Object) -> str:
    said = node.get("status", "nodeInfo", "containerRuntimeVersion")
    return said if isinstance(said, str) else ""

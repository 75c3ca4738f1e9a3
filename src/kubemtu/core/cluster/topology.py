"""The pod network of a cluster as a value: the path of a pod's packet, layer by layer, and the MTU of each.

        pod eth0 ──veth── port ──route── tunnel ══╗                 ╔══ tunnel ── port ── eth0 pod
                     (or bridge)                  ╠═ NIC ══ fabric ═╣
        node's own packets ───────────────────────╝                 ╚═ ...

The number that decides is the smallest over all nodes of what the encapsulation leaves of the NIC that routes to the
other nodes: a pod cannot know to which node it will talk next.
"""

import functools
import ipaddress
from collections import Counter
from collections.abc import Iterable

import msgspec

from kubemtu.core import encap, net, networks
from kubemtu.core.cluster import attachments, capacity, clouds, pods, policy, pools, reach, windows
from kubemtu.core.cluster import unfinished as changes
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.cluster.node_files import Rendered
from kubemtu.core.cluster.windows import WindowsNode
from kubemtu.core.snapshot import Unread


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

    at: net.PodPort  # its two ends and the pod's routes, as the node shows them
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
        beyond = (route for route in self.at.routes if networks.beyond_link(route.destination))
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
        return networks.has_ipv6(self.at.addresses)


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One observed node. `nic_mtu` is the smallest over its ways to its peers, and `path_mtu` what gets through there
    as far as it is known: the same, or less where somebody says so (`bound`). `inner` is what is left of it for a pod.
    `link_mtu` is the NIC's own, of which a route may let less through.

    `fits` is what the NIC leaves for the tunnel device itself, which knows only its own encapsulation: one over
    IPv4 may have more than its twin over IPv6, and more than pods may have that use both.
    """

    name: str
    seen: net.NodeObservation  # what was observed there, its pods' ports those of this network alone
    nic: str = ""  # by which it reaches its peers; empty where that is not known
    nic_mtu: int | None = None
    link_mtu: int | None = None
    path_mtu: int | None = None
    bound: policy.Bound | None = None
    inner: int | None = None
    fits: int | None = None
    tunnel: net.Link | None = None  # the overlay's device, where the CNI has one and it was seen
    other_tunnel: net.Link | None = None  # the one beside it, for the other family of addresses
    other_fits: int | None = None  # what the NIC leaves for that one
    bridge: net.Link | None = None  # that its pods hang on
    rendered: Rendered | None = None  # what new pods get here; None: not seen
    ports: tuple[Port, ...] = ()
    unseen: tuple[str, ...] = ()  # pods that run here, as the API says, and whose interfaces were not found
    late: tuple[str, ...] = ()  # those of them that began too late for the look that found none
    cni_pod: pods.CniPod | None = None  # the CNI's own on this node
    api: pools.ApiNode = pools.NOTHING  # what the API says of it
    cloud: clouds.Cloud | None = None  # that it is in, where its Node says so
    elsewhere: tuple[str, ...] = ()  # pods whose own network is another than this one
    alike: tuple[tuple[str, str], ...] = ()  # those of them whose host ends, the second, are called as this network's

    @property
    def below(self) -> str:
        """What is below the pod network here, as a sentence names it: the NIC with its MTU, or who says less."""
        if self.path_mtu == self.nic_mtu and self.bound is None:
            return f"{self.nic} ({self.nic_mtu}{' by its route' if self.routed else ''})"
        return f"{self.nic or 'the path'} ({self.path_mtu}, {self.bounded_by})"

    @property
    def bounded_by(self) -> str:
        """Who says that less gets through than the NIC itself has, as a clause; empty where nobody does."""
        if self.bound is not None:
            return f"as {self.bound} says"
        if self.path_mtu != self.nic_mtu:
            return "as was given"
        return "by its route" if self.routed else ""

    @property
    def routed(self) -> bool:
        """Return whether a route lets less through than the NIC behind it, as pins of the nodes' own traffic do."""
        return self.nic_mtu is not None and self.link_mtu is not None and self.nic_mtu < self.link_mtu

    @property
    def born(self) -> int | None:
        """The MTU that new pods get here, in bytes; None where that was not seen, or nothing says a number."""
        return self.rendered.gives if self.rendered is not None else None

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


def narrowest_path(nodes: Iterable[Node], otherwise: int | None) -> int | None:
    """Return the least that the way of any node to its peers carries, in bytes; `otherwise` where none is known."""
    return min((node.path_mtu for node in nodes if node.path_mtu is not None), default=otherwise)


class Topology(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The whole pod network, as far as it was seen. MTUs in bytes of the IP packet.

    `carries` is what a packet of any pod to any other may have; `recommended` is the same, or less where a tunnel is
    held below it or the CNI leaves some free by design, or None when nothing is known or when IPv6 could not live on
    it. `silent` names nodes of the API that were not observed, but for those of Windows.
    """

    state: CniState
    nodes: tuple[Node, ...] = ()
    silent: tuple[str, ...] = ()
    windows: tuple[WindowsNode, ...] = ()  # nodes that run Windows, which no agent observes
    listed: int = 0  # nodes that the API lists; of saved files it may be none
    carries: int | None = None
    recommended: int | None = None
    layers: tuple[Layer, ...] = ()  # from the NIC's MTU to the pod's, header by header, where the path is narrowest
    assumed_nic: int | None = None  # what the path is held to have where no NIC was seen, or a policy says less
    assumed_by: policy.Bound | None = None  # who says so, where no NIC was seen
    born: int | None = None  # what new pods get by the configuration and the assumed NIC; None: each node decides
    offline: bool = False  # from files: there is no node to be looked at
    ipv6: bool = False  # pods have IPv6, by the configuration or by an address that was seen
    policies: policy.Known = policy.Known()
    unfinished: tuple[changes.Unfinished, ...] = ()  # changes that have not ended
    recorded: bool = False  # whether there is any MTUMigration, ended or not, that could be taken back
    held_by: str = ""  # name of the MTUMigration that is in force: agents keep sizes by destination
    held_record: changes.HeldRecord = changes.HeldRecord()  # what its record says that it was asked for
    held_without: tuple[str, ...] = ()  # nodes that it was to leave as they are
    under_way: tuple[str, ...] = ()  # names of the MTUMigrations that have not ended
    pod_networks: tuple[str, ...] = ()  # by the configuration, else by the Nodes
    service_networks: tuple[str, ...] = ()  # of ClusterIPs, as far as somebody says them
    api_nodes: dict[str, pools.ApiNode] = {}  # of every node of the API, observed or not, by name
    cni_pods: tuple[pods.CniPod, ...] = ()  # of the CNI's own DaemonSet
    running: int = 0  # pods of the pod network that the API knows
    beside: attachments.AttachedNetworks = attachments.AttachedNetworks()  # networks beside the pod network
    unread: tuple[Unread, ...] = ()  # what could not be read, and why
    measured: bool = False  # all ways between nodes were, just now, and carry what their NICs say

    @property
    def least(self) -> int:
        """The smallest MTU that pods can have here, in bytes."""
        return encap.least(ipv6=self.ipv6)

    @functools.cached_property
    def ports(self) -> tuple[tuple[Node, Port], ...]:
        """Every port with its node."""
        return tuple((node, port) for node in self.nodes for port in node.ports)

    def held(self, node: Node) -> net.HeldSizes | None:
        """Return what the change that is in force asks of a node's pods; None: there is none, or not of that node."""
        asked = node.seen.held
        return asked if asked is not None and asked.migration == self.held_by else None

    def outside(self, node: Node) -> bool:
        """Say whether an agent is on a node, and yet a change is in force that asks nothing of it."""
        return bool(self.held_by) and self.held(node) is None and node.seen.seen_by == "agent"

    def due(self, node: Node) -> net.HeldSizes | None:
        """Return what the change in force asks of a node's pods, or will once it has taken the node in.

        That is the largest of the sizes there are which its NIC carries, or, where each node has its own, what that
        leaves (flows.change.targets). None: there is no such change, it leaves the node out, or the NIC carries none.
        """
        held = self.held(node)
        if held is not None or not self.outside(node) or node.name in self.held_without or node.inner is None:
            return held
        ordered = sorted(self._held, key=lambda one: one.pod_mtu)
        fits = max((one for one in ordered if one.pod_mtu <= node.inner), key=lambda one: one.pod_mtu, default=None)
        above = next((one for one in ordered if one.pod_mtu > node.inner), None)
        own = capacity.recommended(node.inner, self.state, ipv6=self.ipv6)
        if fits is None or above is None or own is None or own <= fits.pod_mtu or not self.held_record.per_node:
            return fits
        limits, out = reach.lowered(above.network_mtus, above.default_route_mtu, above.pod_mtu, own)
        return msgspec.structs.replace(above, pod_mtu=own, network_mtus=limits, default_route_mtu=out)

    @functools.cached_property
    def _held(self) -> tuple[net.HeldSizes, ...]:
        """What the change in force asks, once of each size."""
        found = {one.pod_mtu: one for node in self.nodes if (one := self.held(node)) is not None}
        return tuple(found.values())

    @functools.cached_property
    def led_further(self) -> bool:
        """True when `kubemtu apply` carries out what is due on every node, also while a change is in force."""
        if not self.held_by:
            return True
        return all(
            node.inner is None or ((due := self.due(node)) is not None and due.pod_mtu <= node.inner)
            for node in self.nodes
        )

    def room(self, node: Node) -> int | None:
        """Return what packets of a node's pods may have, in bytes: as much as the path between all nodes carries.

        A change in force tells nodes apart, so there it is what the node's own NIC leaves.
        """
        return self.carries if self.due(node) is None or node.inner is None else node.inner

    @functools.cached_property
    def apart(self) -> dict[tuple[str, str], reach.Excess | None]:
        """Where pods send more than is carried there, by node and host end; None: nowhere, all of it fits.

        Only pods that were looked into, while a change is in force; those with the same routes once.
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
            if not self.held_by or node.inner is None or not port.seen:
                continue
            if self.held(node) is None and not port.at.routes:
                continue  # nobody saw them
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

    def by_destination(self, node: Node, port: Port) -> bool:
        """Say whether a change in force makes what a pod sends depend on where to: then MTU132 judges it, if anything.

        Of a node without an agent nothing is said by that, so only what fits is right there.
        """
        if not self.held_by or not port.seen:
            return bool(self.held_by)
        told = self.held(node) is not None or self.outside(node)
        return self.fits(node, port) or (told and (node.name, port.at.host_link) in self.apart)

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
        return windows.beyond(self.windows, narrowest_path(self.nodes, self.assumed_nic))

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


def only(topology: Topology, namespace: str) -> Topology:
    """Return the same network, saying nothing of pods of other namespaces; what the path carries stays what it is."""
    own = f"{namespace}/"
    nodes = tuple(
        msgspec.structs.replace(
            node,
            ports=tuple(port for port in node.ports if port.pod.startswith(own)),
            unseen=tuple(pod for pod in node.unseen if pod.startswith(own)),
            late=tuple(pod for pod in node.late if pod.startswith(own)),
            elsewhere=tuple(pod for pod in node.elsewhere if pod.startswith(own)),
        )
        for node in topology.nodes
    )
    return msgspec.structs.replace(topology, nodes=nodes, beside=topology.beside.only(namespace))

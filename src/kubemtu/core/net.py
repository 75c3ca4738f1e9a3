"""What a node has: links, routes, the ports where pods meet it. Values only; `node` fills them from the kernel."""

from typing import Protocol

import msgspec

VLAN_SLACK = 4
"""Bytes that a veth or bridge port takes above its MTU: room for one VLAN tag, tag or no tag.

Source: include/linux/netdevice.h, __is_skb_forwardable.
"""
TUNNEL_KINDS = frozenset(
    {"vxlan", "geneve", "ipip", "sit", "ip6tnl", "gre", "gretap", "ip6gre", "ip6gretap", "wireguard", "tun"}
)
"""IFLA_INFO_KIND of tunnels, in drivers/net and net/ipv{4,6}; a backend that is a program has a tun."""


class Vxlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The parts of a VXLAN device that decide what it carries (kernel: drivers/net/vxlan, IFLA_VXLAN_*)."""

    vni: int
    port: int = 4789
    lower: str | None = None  # name of the device it is bound to; None: unbound, the kernel checks nothing
    ipv6_outer: bool = False


class Link(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One network device of one namespace. `mtu` in bytes, of the IP packet (layer 3), as the kernel keeps it."""

    index: int
    name: str
    mtu: int
    kind: str = ""  # IFLA_INFO_KIND: "veth", "bridge", "vxlan", ...; empty for hardware
    up: bool = True
    master: str | None = None  # the bridge it is a port of
    peer_index: int | None = None  # veth: index of the other end, in the other end's namespace
    peer_netnsid: int | None = None  # veth: the other end's namespace, as this namespace numbers it
    vxlan: Vxlan | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One route of a main table. `mtu` is RTAX_MTU in bytes (None: the device's), `locked` its lock bit."""

    family: int  # 4 or 6
    destination: str  # "10.42.1.0/24", "10.42.0.7/32", "default"
    device: str
    gateway: str | None = None
    mtu: int | None = None
    locked: bool = False
    advmss: int | None = None

    @property
    def tells(self) -> bool:
        """True when it limits what is sent, or is the default: of a node's other routes, one a node, no rule asks."""
        limits = self.mtu is not None or self.locked or self.advmss is not None
        return limits or self.destination in {"default", "0.0.0.0/0", "::/0"}


class PodPort(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The place where a pod meets its node: the two ends of the veth of the pod network, and what the pod routes.

    Only the pod network's own interface is described; `others` names what else is in the namespace (Multus, macvlan,
    SR-IOV, docker0 ...), which kubemtu reads and never changes. MTUs in bytes of the IP packet. Drop counters as the
    kernel's: a packet that one end sent and the other end's smaller MTU refused counts on both.
    """

    netns: str  # name under /run/netns, or "pid:N"
    inode: int  # of the namespace: the same number is the same namespace
    host_link: str
    host_index: int
    host_mtu: int
    pod_link: str
    pod_index: int
    pod_mtu: int
    bridge: str | None = None  # the bridge the host end is a port of
    addresses: tuple[str, ...] = ()  # of the pod's end, without prefix length
    ipv6_mtu: int | None = None  # net.ipv6.conf.<pod_link>.mtu; None: no IPv6
    routes: tuple[Route, ...] = ()
    others: tuple[str, ...] = ()
    host_rx_dropped: int = 0
    host_tx_dropped: int = 0
    pod_rx_dropped: int = 0
    pod_tx_dropped: int = 0

    @property
    def limit(self) -> int:
        """The largest packet in bytes that the pod sends to others: its device's MTU, or less where its routes say so.

        Routes without a gateway are to its own link; a locked MTU is a pin, and will go.
        """
        routed = [
            self.pod_mtu if route.mtu is None or route.locked else route.mtu for route in self.routes if route.gateway
        ]
        return min(self.pod_mtu, max(routed, default=self.pod_mtu))


class Uplink(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The NIC by which a node reaches a peer, and all others in the same way, asked from the kernel's routing, never
    guessed from a name.
    """

    peer: str  # the address of the first such peer
    device: str
    mtu: int  # of the device
    route_mtu: int | None = None  # RTAX_MTU of the route, when it has one: the smaller of both counts
    source: str | None = None


class NodeFile(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A file of the node that a CNI reads or writes."""

    path: str
    text: str
    modified: float = 0.0  # seconds since the epoch


class JournalStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a node has written down of a change of this boot: its name, and whether it came to its end."""

    name: str
    ended: bool


class NodeObservation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All that one node shows: its links and main-table routes, pod ports, NICs to its peers, CNI files."""

    node: str
    links: tuple[Link, ...] = ()
    routes: tuple[Route, ...] = ()
    uplinks: tuple[Uplink, ...] = ()
    ports: tuple[PodPort, ...] = ()
    files: tuple[NodeFile, ...] = ()
    errors: tuple[str, ...] = ()  # what could not be read, a sentence each
    journals: tuple[JournalStatus, ...] = ()
    host_pins: tuple[str, ...] = ()  # where routes of kubemtu for the node's own traffic lead to
    kernel: str = ""
    observed_at: float = 0.0  # seconds since the epoch, on the node's clock; from a cluster, on the server's
    refused: str = ""  # why its agent does not obey what its NodeMTU asks; empty: it does, or nothing is asked

    def link(self, name: str) -> Link | None:
        """Return the link of that name, or None."""
        return next((link for link in self.links if link.name == name), None)

    def file(self, path: str) -> NodeFile | None:
        """Return the file at that path, or None when it was absent or unreadable."""
        return next((file for file in self.files if file.path == path), None)


class PortRule(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which veths are the pod network's own, told from the host's side.

    A host end is a port of the pod network when its name starts with one of `prefixes` or when it is
    enslaved to `bridge`. Anything else in a pod (Multus, macvlan, SR-IOV) is not ours to touch.
    """

    prefixes: tuple[str, ...] = ()
    bridge: str | None = None

    @property
    def names_any(self) -> bool:
        """False when no link at all can be a port by this rule."""
        return bool(self.prefixes or self.bridge)

    def covers(self, link: Link) -> bool:
        """Return True when that host-side link is the host end of a pod port."""
        if link.kind != "veth" or link.peer_netnsid is None:
            return False
        by_name = bool(self.prefixes) and link.name.startswith(self.prefixes)
        return by_name or (self.bridge is not None and link.master == self.bridge)


class PortRules(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Several rules together: a link is the host end of a pod port when any of them covers it."""

    rules: tuple[PortRule, ...] = ()

    @property
    def prefixes(self) -> tuple[str, ...]:
        """All prefixes, each once."""
        return tuple(dict.fromkeys(prefix for rule in self.rules for prefix in rule.prefixes))

    @property
    def bridges(self) -> tuple[str, ...]:
        """All bridges, each once."""
        return tuple(dict.fromkeys(rule.bridge for rule in self.rules if rule.bridge))

    def covers(self, link: Link) -> bool:
        """Return True when any of the rules covers that link."""
        return any(rule.covers(link) for rule in self.rules)


class Ports(Protocol):
    """One rule, or several: what tells the host ends of pod ports from other links of a node."""

    def covers(self, link: Link) -> bool:
        """Return True when that host-side link is the host end of a pod port."""
        ...

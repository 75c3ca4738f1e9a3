"""What a node has: links, routes, the ports where pods meet it. Values only; `node` fills them from the kernel.

Those that there are many of hold nothing that could lead back to them, so the garbage collector leaves them out (gc).
"""

from typing import Literal, Protocol

import msgspec

from kubemtu.core import networks

VLAN_SLACK = 4
"""Bytes that a veth or bridge port takes above its MTU: room for one VLAN tag, tag or no tag.

Source: include/linux/netdevice.h, __is_skb_forwardable.
"""
TUNNEL_KINDS = frozenset(
    {"vxlan", "geneve", "ipip", "sit", "ip6tnl", "gre", "gretap", "ip6gre", "ip6gretap", "wireguard", "tun"}
)
"""IFLA_INFO_KIND of tunnels, in drivers/net and net/ipv{4,6}; a backend that is a program has a tun."""


SeenBy = Literal["agent", "exec", "prometheus", "survey", "files"]

BRIDGE_KINDS = frozenset({"bridge", "openvswitch"})
"""IFLA_INFO_KIND of bridges, and of Open vSwitch's own ports (net/openvswitch/vport-internal_dev.c)."""


class Vxlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The parts of a VXLAN device that decide what it carries (kernel: drivers/net/vxlan, IFLA_VXLAN_*)."""

    vni: int
    """VXLAN network identifier."""
    port: int = 4789
    """UDP port."""
    lower: str | None = None
    """Device it is bound to; null: none, and the kernel does not compare their MTUs."""
    ipv6_outer: bool = False
    """True when the outer header is IPv6."""


class Link(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One network device of one namespace. `mtu` in bytes, of the IP packet (layer 3), as the kernel keeps it."""

    index: int
    """Index of the interface in its namespace."""
    name: str
    """Name of the interface."""
    mtu: int
    """Its MTU, in bytes of the IP packet."""
    kind: str = ""
    """Kind of the device as `ip -d link` shows it (veth, bridge, vxlan); empty for hardware."""
    up: bool = True
    """True when it is set up."""
    master: str | None = None
    """The bridge it is a port of."""
    peer_index: int | None = None
    """Of a veth: index of the other end, in that end's namespace."""
    peer_netnsid: int | None = None
    """Of a veth: the other end's namespace, as this one numbers it."""
    vxlan: Vxlan | None = None
    """What makes it a VXLAN device; else null."""


class Route(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One route of a main table. `mtu` is RTAX_MTU in bytes (None: the device's), `locked` its lock bit."""

    family: int
    """4 or 6."""
    destination: str
    """Where to: a prefix, or "default"."""
    device: str
    """Device it leads through."""
    gateway: str | None = None
    """Next hop; null when the destination is on the link."""
    mtu: int | None = None
    """MTU of the route, in bytes (RTAX_MTU); null: the device's counts."""
    locked: bool = False
    """True when the kernel may not learn a smaller path MTU for it (`mtu lock`)."""
    advmss: int | None = None
    """Largest TCP segment that is announced, in bytes; null: the kernel's own."""

    @property
    def tells(self) -> bool:
        """True when it limits what is sent, or is the default: of a node's other routes, one a node, no rule asks."""
        limits = self.mtu is not None or self.locked or self.advmss is not None
        return limits or self.destination in networks.ANYWHERE


class NetworkMtu(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """What pods send at most towards one network, in bytes of the IP packet."""

    network: str
    """The network, as a CIDR, IPv4 or IPv6."""
    mtu: int
    """What is sent at most towards it, in bytes."""


class HeldSizes(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """What a change that is held asks of the pods of one node: sizes by destination, in bytes of the IP packet."""

    migration: str
    """Name of the MTUMigration."""
    pod_mtu: int
    """What pods send to anybody at most."""
    device_mtu: int | None = None
    """What their devices have, where only routes have `podMtu`; null: the devices have it."""
    network_mtus: tuple[NetworkMtu, ...] = ()
    """What they send at most towards single networks, by routes of their own."""
    default_route_mtu: int | None = None
    """What they send at most by their default routes; null: nothing but `podMtu` limits those."""


class InnerDevice(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A device inside a pod by which others send than the pod itself: a bridge of containers or of virtual machines, or
    the near end of a veth into a namespace within the pod's. It is read and never changed.
    """

    name: str
    """Its name in the pod."""
    kind: str
    """Its kind: bridge or veth."""
    mtu: int
    """Its own MTU, in bytes."""
    ports: int = 0
    """How many ends of containers and taps of virtual machines are ports of a bridge."""
    taps: int = 0
    """How many of those are taps."""
    port_mtu: int | None = None
    """The largest MTU of those, in bytes; null without any."""
    joined: bool = False
    """True when the pod's own interface is a port of the same bridge."""

    @property
    def sends(self) -> int:
        """The largest packet in bytes that comes by it: what its ports have, or itself where it has none."""
        return self.mtu if self.port_mtu is None else self.port_mtu


class PodPort(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The place where a pod meets its node: the two ends of the veth of the pod network, and what the pod routes.

    Only the pod network's own interface is described; `others` names what else is in the namespace (Multus, macvlan,
    SR-IOV, docker0 ...), which kubemtu reads and never changes. MTUs in bytes of the IP packet. Drop counters as the
    kernel's: a packet that one end sent and the other end's smaller MTU refused counts on both.
    """

    netns: str
    """Name of the pod's namespace under /run/netns, or "pid:N"; empty where nobody looked into the pod."""
    inode: int
    """Inode of that namespace: the same number is the same namespace; 0 where nobody looked into the pod."""
    host_link: str
    """The host end."""
    host_index: int
    """Its index."""
    host_mtu: int
    """Its MTU, in bytes."""
    pod_link: str
    """The pod's end; empty where nobody looked into the pod."""
    pod_index: int
    """Its index in the pod."""
    pod_mtu: int | None
    """Its MTU, in bytes; null where nobody looked into the pod. An agent always knows it."""
    bridge: str | None = None
    """Bridge that the host end is a port of."""
    addresses: tuple[str, ...] = ()
    """Addresses of the pod's end, without prefix length."""
    ipv6_mtu: int | None = None
    """What the pod's end sends by IPv6 at most, in bytes (net.ipv6.conf.*.mtu); null without IPv6."""
    routes: tuple[Route, ...] = ()
    """Routes of the pod."""
    others: tuple[str, ...] = ()
    """Other interfaces of the pod, which are read and never changed."""
    host_rx_dropped: int = 0
    """Packets that the host end dropped when it received."""
    host_tx_dropped: int = 0
    """Packets that the host end dropped when it sent."""
    pod_rx_dropped: int = 0
    """Packets that the pod's end dropped when it received."""
    pod_tx_dropped: int = 0
    """Packets that the pod's end dropped when it sent."""
    inner: tuple[InnerDevice, ...] = ()
    """Devices of the pod by which containers or virtual machines inside it send, the largest first, eight at most."""

    @property
    def limit(self) -> int | None:
        """The largest packet in bytes that the pod sends to others: its device's MTU, or less where its routes say so.

        Routes without a gateway are to its own link; a locked MTU is a pin, and will go. None: nobody looked into it.
        """
        own = self.pod_mtu
        if own is None:
            return None
        routed = [own if route.mtu is None or route.locked else route.mtu for route in self.routes if route.gateway]
        return min(own, max(routed, default=own))

    @property
    def ends(self) -> tuple[int, ...]:
        """The MTUs of its ends that were seen: of the host end, and of the pod's own where somebody looked."""
        return (self.host_mtu,) if self.pod_mtu is None else (self.host_mtu, self.pod_mtu)

    @property
    def differ(self) -> bool:
        """True when both ends were seen, and have different MTUs."""
        return self.pod_mtu is not None and self.pod_mtu != self.host_mtu


class Uplink(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The NIC by which a node reaches a peer, and all others in the same way, asked from the kernel's routing, never
    guessed from a name.
    """

    peer: str
    """Address of the first node that is reached this way."""
    device: str
    """The NIC, as the kernel's routing has it."""
    mtu: int
    """MTU of the NIC, in bytes."""
    route_mtu: int | None = None
    """MTU of the route, in bytes, where it has one: the smaller of both counts."""
    source: str | None = None
    """Address that is sent from."""
    marked: bool = False
    """True when only packets that the node's own firewall marks go this way: all to its peers, a tunnel's as well."""


class NodeFile(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A file of the node that a CNI reads or writes."""

    path: str
    """Its path on the node."""
    text: str
    """What stands in it, as far as the rules need it."""
    modified: float = 0.0
    """When it was written, in seconds since the epoch."""


class JournalStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a node has written down of a change of this boot: its name, and whether it came to its end."""

    name: str
    """Name of the change."""
    ended: bool
    """True when it came to its end."""


class NodeObservation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All that one node shows: its links and main-table routes, pod ports, NICs to its peers, CNI files."""

    node: str
    """Name of the node."""
    links: tuple[Link, ...] = ()
    """Interfaces of the node."""
    routes: tuple[Route, ...] = ()
    """Routes of its main tables that limit what is sent, and the default ones."""
    uplinks: tuple[Uplink, ...] = ()
    """NICs by which it reaches other nodes."""
    ports: tuple[PodPort, ...] = ()
    """Where pods meet it."""
    files: tuple[NodeFile, ...] = ()
    """Files of the CNI."""
    errors: tuple[str, ...] = ()
    """What could not be read, a sentence each."""
    journals: tuple[JournalStatus, ...] = ()
    """Changes that it has written down since it booted."""
    host_pins: tuple[str, ...] = ()
    """Where routes that kubemtu made for the node's own traffic lead to."""
    kernel: str = ""
    """Release of its kernel."""
    observed_at: float = 0.0
    """When, in seconds since the epoch: by the node's clock, and in a cluster by the API server's."""
    refused: str = ""
    """Why its agent does not obey what its NodeMTU asks; empty: it does, or nothing is asked."""
    held: HeldSizes | None = None
    """What its NodeMTU asks of its pods after the last phase of a change: held, if that change is; null: nothing."""
    seen_by: SeenBy = "agent"
    """Who looked: the node's agent, a command in a pod that ran there, a metric, a pod made for it, or saved text."""

    def link(self, name: str) -> Link | None:
        """Return the link of that name, or None."""
        return next((link for link in self.links if link.name == name), None)

    def file(self, path: str) -> NodeFile | None:
        """Return the file at that path, or None when it was absent or unreadable."""
        return next((file for file in self.files if file.path == path), None)


ANYBODYS = "veth"  # how the names begin that the bridge and ptp plugins give, and docker, podman and LXD


class PortRule(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which veths are the pod network's own, told from the host's side.

    A host end is a port of the pod network when its name starts with one of `prefixes` or when it is
    enslaved to `bridge`. Anything else in a pod (Multus, macvlan, SR-IOV) is not ours to touch.
    """

    prefixes: tuple[str, ...] = ()
    """Beginnings of the host ends' names."""
    bridge: str | None = None
    """Bridge that host ends are ports of."""
    without: tuple[str, ...] = ()
    """Names of host ends that are none of them all the same: pods whose own network is another one."""

    @property
    def names_any(self) -> bool:
        """False when no link at all can be a port by this rule."""
        return bool(self.prefixes or self.bridge)

    def covers(self, link: Link) -> bool:
        """Return True when that host-side link is the host end of a pod port."""
        if link.kind != "veth" or link.peer_netnsid is None or link.name in self.without:
            return False
        by_name = bool(self.prefixes) and link.name.startswith(self.prefixes)
        if by_name and link.master is not None and link.name.startswith(ANYBODYS):
            by_name = False  # a container's of docker, or of a CNI that names its bridge
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

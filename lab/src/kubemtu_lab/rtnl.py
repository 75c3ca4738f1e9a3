"""What a lab makes in the kernel, over the netlink of `node`: links, addresses, routes, neighbours, rules.

A lab makes about thirty settings per node and eight per pod, at 20-50 µs each. Reading, and setting an MTU, are those
of `node.kernel.links` and `node.kernel.routes`.
"""

import ctypes
import errno
import fcntl
import ipaddress
import socket
import struct

from kubemtu.node import errors
from kubemtu.node.kernel import links, netlink, routes
from kubemtu.node.kernel.netlink import attribute, u32
from kubemtu_lab.addressing import Family

# include/uapi/linux/{netlink,rtnetlink}.h
EXCL, CREATE, NESTED = 0x200, 0x400, 0x8000
NEWNEIGH, NEWRULE, DELRULE = 28, 32, 33
IFF_UP = 1
# include/uapi/linux/if_link.h
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_FD = 1, 3, 4, 10, 18, 28
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_PROTINFO, IFLA_BRPORT_MODE = 12, 4
VETH_INFO_PEER = 1
VXLAN_ID, VXLAN_LINK, VXLAN_LOCAL, VXLAN_LEARNING, VXLAN_PORT, VXLAN_LOCAL6 = 1, 3, 4, 7, 15, 17
# include/uapi/linux/{if_addr,neighbour,fib_rules}.h
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS, IFA_F_NODAD = 1, 2, 8, 2
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC, RTA_METRICS = 1, 4, 5, 7, 8
RTNH_ONLINK, SCOPE_UNIVERSE, SCOPE_LINK, PROTO_STATIC = 4, 0, 253, 4
NDA_DST, NDA_LLADDR, NUD_PERMANENT, NTF_SELF = 1, 2, 0x80, 2
FRA_IIFNAME, FRA_PRIORITY, FRA_IP_PROTO, FR_BLACKHOLE = 3, 6, 22, 6
# include/uapi/linux/{sockios,ethtool}.h
SIOCETHTOOL = 0x8946
SEGMENTATION_OFFLOADS = (0x1F, 0x24, 0x2C)  # ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO


class Rtnl(netlink.Socket):
    """What a lab asks of the kernel, in one network namespace. Every method raises Refused, Gone or Denied."""

    def _ask(self, kind: int, flags: int, body: bytes, what: str) -> netlink.Reply:
        """Send one message; `what` says what is being done, for the error."""
        (answer,) = self.exchange([(kind, flags | netlink.ACK, body)])
        answer.check(what)
        return answer

    # -- links

    def add_veth(
        self,
        name: str,
        peer: str,
        *,
        peer_netns: int | None = None,
        mtu: int = 1500,
        peer_mtu: int | None = None,
        mac: str | None = None,
        peer_mac: str | None = None,
    ) -> None:
        """Make a pair of links: this end up, the other down, in the namespace behind the descriptor `peer_netns`."""
        other = _link() + _text(IFLA_IFNAME, peer) + u32(IFLA_MTU, peer_mtu or mtu)
        if peer_mac:
            other += attribute(IFLA_ADDRESS, _lladdr(peer_mac))
        if peer_netns is not None:
            other += u32(IFLA_NET_NS_FD, peer_netns)
        specific = attribute(VETH_INFO_PEER | NESTED, other)
        self._add_link(name, "veth", specific, mtu=mtu, mac=mac)

    def add_bridge(self, name: str, *, mtu: int | None = None, mac: str | None = None) -> None:
        """Make a bridge, up. A bridge whose MTU was never set follows the smallest of its ports."""
        self._add_link(name, "bridge", b"", mtu=mtu, mac=mac)

    def add_vxlan(self, name: str, *, vni: int, port: int, lower: int, local: str, mtu: int | None, mac: str) -> None:
        """Make a VXLAN device on the link with index `lower`, without learning, up; without `mtu`, the kernel's own."""
        outer = ipaddress.ip_address(local)
        specific = (
            u32(VXLAN_ID, vni)
            + u32(VXLAN_LINK, lower)
            + attribute(VXLAN_LOCAL if outer.version == 4 else VXLAN_LOCAL6, outer.packed)
            + attribute(VXLAN_LEARNING, b"\0")
            + attribute(VXLAN_PORT, struct.pack("!H", port))
        )
        self._add_link(name, "vxlan", specific, mtu=mtu, mac=mac)

    def _add_link(self, name: str, kind: str, specific: bytes, *, mtu: int | None, mac: str | None) -> None:
        body = _link(up=True) + _text(IFLA_IFNAME, name)
        if mtu is not None:
            body += u32(IFLA_MTU, mtu)
        if mac:
            body += attribute(IFLA_ADDRESS, _lladdr(mac))
        inner = _text(IFLA_INFO_KIND, kind)
        if specific:
            inner += attribute(IFLA_INFO_DATA | NESTED, specific)
        body += attribute(IFLA_LINKINFO | NESTED, inner)
        self._ask(netlink.RTM_NEWLINK, CREATE | EXCL, body, f"making {kind} {name}")

    def bring_up(self, name: str, *, master: str | None = None) -> None:
        """Set a link up, as a port of the bridge `master` if there is one."""
        body = _link(self.device(name).index, up=True)
        if master is not None:
            body += u32(IFLA_MASTER, self.device(master).index)
        self._ask(netlink.RTM_SETLINK, 0, body, f"setting {name} up")

    def set_hairpin(self, name: str) -> None:
        """Let a bridge send out by this port what came in by it, as a pod needs that reaches itself by a Service."""
        body = struct.pack("=BxHiII", socket.AF_BRIDGE, 0, self.device(name).index, 0, 0)
        body += attribute(IFLA_PROTINFO | NESTED, attribute(IFLA_BRPORT_MODE, b"\x01"))
        self._ask(netlink.RTM_SETLINK, 0, body, f"setting hairpin mode of {name}")

    def set_mtu(self, name: str, mtu: int) -> None:
        """Set the MTU of a link, bytes of the IP packet."""
        links.set_mtu(self, self.device(name), mtu)

    def delete_link(self, name: str) -> None:
        """Delete a link; of a pair, both ends."""
        self._ask(netlink.RTM_DELLINK, 0, _link(self.device(name).index), f"deleting {name}")

    def find(self, name: str) -> links.Device | None:
        """Return the link of that name, or None."""
        try:
            return self.device(name)
        except errors.Gone:
            return None

    def device(self, name: str) -> links.Device:
        """Return the link of that name. Raises Gone when there is none."""
        return links.unpack(self._read(name))

    def mac(self, name: str) -> str:
        """Return the MAC address of a link."""
        return netlink.attributes(self._read(name), 16)[IFLA_ADDRESS].hex(":")

    def _read(self, name: str) -> bytes:
        return self._ask(netlink.RTM_GETLINK, 0, _link() + _text(IFLA_IFNAME, name), f"reading {name}").bodies[0]

    def no_segmentation_offload(self, name: str) -> None:
        """Switch TSO, GSO and GRO of a link off, so that no packet larger than an MTU slips through (ethtool ioctl)."""
        for command in SEGMENTATION_OFFLOADS:
            value = bytearray(struct.pack("=II", command, 0))
            memory = (ctypes.c_char * len(value)).from_buffer(value)
            request = struct.pack("16sP16x", name.encode(), ctypes.addressof(memory))
            try:
                fcntl.ioctl(self._socket.fileno(), SIOCETHTOOL, request)  # it acts in the namespace of the socket
            except OSError as error:
                raise errors.refusal(f"switching the offloads of {name} off", error.errno or errno.EIO) from error

    # -- addresses, routes, neighbours, rules

    def add_address(self, name: str, address: str) -> None:
        """Give a link an address with its prefix length, "192.168.77.1/24"; IPv6 without duplicate detection."""
        interface = ipaddress.ip_interface(address)
        packed = interface.ip.packed
        index = self.device(name).index
        body = struct.pack("=BBBBi", _family(interface.version), interface.network.prefixlen, 0, 0, index)
        body += attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
        if interface.version == 6:
            body += u32(IFA_FLAGS, IFA_F_NODAD)
        self._ask(netlink.RTM_NEWADDR, CREATE | netlink.REPLACE, body, f"giving {name} the address {address}")

    def add_route(
        self,
        destination: str,
        device: str,
        *,
        via: str | None = None,
        onlink: bool = False,
        source: str | None = None,
        mtu: int | None = None,
    ) -> None:
        """Route a prefix, in CIDR form, by a device; replaces the route of the same prefix. `mtu` is its own."""
        body = _route(destination, via=via, onlink=onlink)
        body += u32(RTA_OIF, self.device(device).index)
        if via:
            body += attribute(RTA_GATEWAY, ipaddress.ip_address(via).packed)
        if mtu:
            body += attribute(RTA_METRICS, u32(routes.MTU, mtu))
        if source:
            body += attribute(RTA_PREFSRC, ipaddress.ip_address(source).packed)
        self._ask(netlink.RTM_NEWROUTE, CREATE | netlink.REPLACE, body, f"routing {destination} by {device}")

    def delete_route(self, destination: str) -> None:
        """Delete the route of a prefix; none is fine."""
        try:
            self._ask(netlink.RTM_DELROUTE, 0, _route(destination), f"deleting the route to {destination}")
        except errors.Gone:
            return

    def default_device(self, family: Family = 4) -> int | None:
        """Return the index of the link by which the default route of a family goes, or None."""
        ways = (each for each in routes.dump(self) if each.family == family and each.destination == "default")
        return next((way.devices[0] for way in ways if way.devices), None)

    def add_neighbour(self, device: str, address: str, mac: str) -> None:
        """Tell which MAC address an IP address has, for good."""
        parsed = ipaddress.ip_address(address)
        self._neighbour(_family(parsed.version), device, parsed.packed, mac, 0)

    def add_forwarding(self, device: str, mac: str, remote: str) -> None:
        """Tell a VXLAN device behind which underlay address a MAC address is."""
        self._neighbour(socket.AF_BRIDGE, device, ipaddress.ip_address(remote).packed, mac, NTF_SELF)

    def _neighbour(self, family: int, device: str, packed: bytes, mac: str, flags: int) -> None:
        body = struct.pack("=BxxxiHBB", family, self.device(device).index, NUD_PERMANENT, flags, 0)
        body += attribute(NDA_DST, packed) + attribute(NDA_LLADDR, _lladdr(mac))
        self._ask(NEWNEIGH, CREATE | netlink.REPLACE, body, f"telling {device} about {mac}")

    def swallow_own_icmp(self, family: Family = 4, *, swallow: bool) -> None:
        """Drop the ICMP that this namespace itself originates, as a firewall would; or stop dropping it.

        A policy rule does it, because nft and iptables may be missing: what comes from the machine itself (iif lo) and
        is ICMP goes to a black hole. Forwarded ICMP passes, and so does neighbour discovery, which is routed by no
        table (net/ipv6/ndisc.c, ndisc_send_skb).
        """
        protocol = socket.IPPROTO_ICMP if family == 4 else socket.IPPROTO_ICMPV6
        body = struct.pack("=BBBBBBBBI", _family(family), 0, 0, 0, 0, 0, 0, FR_BLACKHOLE, 0)
        body += u32(FRA_PRIORITY, 1) + _text(FRA_IIFNAME, "lo") + attribute(FRA_IP_PROTO, bytes([protocol]))
        try:
            self._ask(NEWRULE if swallow else DELRULE, CREATE | EXCL if swallow else 0, body, "filtering ICMP")
        except errors.Refused as refusal:
            if refusal.code not in (errno.EEXIST, errno.ENOENT):
                raise


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def _lladdr(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _family(version: int) -> int:
    return socket.AF_INET if version == 4 else socket.AF_INET6


def _link(index: int = 0, *, up: bool = False) -> bytes:
    flags = IFF_UP if up else 0
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, flags)


def _route(destination: str, *, via: str | None = None, onlink: bool = False) -> bytes:
    network = ipaddress.ip_network(destination)
    scope = SCOPE_LINK if via is None and network.version == 4 else SCOPE_UNIVERSE
    flags = RTNH_ONLINK if onlink else 0
    family, length = _family(network.version), network.prefixlen
    header = struct.pack("=BBBBBBBBI", family, length, 0, 0, routes.MAIN, PROTO_STATIC, scope, routes.UNICAST, flags)
    return header + attribute(RTA_DST, network.network_address.packed) if length else header

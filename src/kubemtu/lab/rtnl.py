"""The kernel's links, addresses, routes, neighbours and rules, written by raw rtnetlink (rtnetlink(7)).

A lab makes about thirty settings per node and eight per pod. One message and its answer take 20-50 us here; loading a
general netlink library would take longer than building the whole underlay.
"""

import ctypes
import errno
import fcntl
import ipaddress
import socket
import struct

import msgspec

from kubemtu.lab import netlink
from kubemtu.lab.errors import Refused
from kubemtu.lab.netlink import NESTED, attribute, attributes, lladdr, native, number, text

# include/uapi/linux/rtnetlink.h
NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWADDR, NEWROUTE, DELROUTE, GETROUTE, NEWNEIGH, NEWRULE, DELRULE = 20, 24, 25, 26, 28, 32, 33
IFF_UP = 1
# include/uapi/linux/if_link.h
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_FD = 1, 3, 4, 5, 10, 18, 28
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
VETH_INFO_PEER = 1
VXLAN_ID, VXLAN_LINK, VXLAN_LOCAL, VXLAN_LEARNING, VXLAN_PORT, VXLAN_LOCAL6 = 1, 3, 4, 7, 15, 17
# include/uapi/linux/{if_addr,neighbour,fib_rules}.h
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS, IFA_F_NODAD = 1, 2, 8, 2
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC = 1, 4, 5, 7
RTNH_ONLINK, RT_MAIN, SCOPE_UNIVERSE, SCOPE_LINK, UNICAST, PROTO_STATIC = 4, 254, 0, 253, 1, 4
NDA_DST, NDA_LLADDR, NUD_PERMANENT, NTF_SELF = 1, 2, 0x80, 2
FRA_IIFNAME, FRA_PRIORITY, FRA_IP_PROTO, FR_BLACKHOLE = 3, 6, 22, 6
# include/uapi/linux/{sockios,ethtool}.h
SIOCETHTOOL = 0x8946
SEGMENTATION_OFFLOADS = (0x1F, 0x24, 0x2C)  # ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """What the lab asks of a link. `mtu` in bytes of the IP packet; `lower` is the index of the link below it."""

    index: int
    name: str
    mtu: int
    mac: str
    kind: str
    up: bool
    lower: int | None
    vni: int | None = None
    port: int | None = None


class Rtnl(netlink.Socket):
    """What a lab asks of the kernel, in one network namespace. Every method raises Refused when the kernel says no."""

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
        other = self._link_body(0) + text(IFLA_IFNAME, peer) + number(IFLA_MTU, peer_mtu or mtu)
        if peer_mac:
            other += attribute(IFLA_ADDRESS, lladdr(peer_mac))
        if peer_netns is not None:
            other += number(IFLA_NET_NS_FD, peer_netns)
        specific = attribute(VETH_INFO_PEER | NESTED, other)
        self._add_link(name, "veth", specific, mtu=mtu, mac=mac)

    def add_bridge(self, name: str, *, mtu: int | None = None, mac: str | None = None) -> None:
        """Make a bridge, up. A bridge whose MTU was never set follows the smallest of its ports."""
        self._add_link(name, "bridge", b"", mtu=mtu, mac=mac)

    def add_vxlan(self, name: str, *, vni: int, port: int, lower: int, local: str, mtu: int, mac: str) -> None:
        """Make a VXLAN device on the link with index `lower`, without learning, up."""
        outer = ipaddress.ip_address(local)
        specific = (
            number(VXLAN_ID, vni)
            + number(VXLAN_LINK, lower)
            + attribute(VXLAN_LOCAL if outer.version == 4 else VXLAN_LOCAL6, outer.packed)
            + attribute(VXLAN_LEARNING, b"\0")
            + attribute(VXLAN_PORT, struct.pack("!H", port))
        )
        self._add_link(name, "vxlan", specific, mtu=mtu, mac=mac)

    def _add_link(self, name: str, kind: str, specific: bytes, *, mtu: int | None, mac: str | None) -> None:
        body = self._link_body(0, up=True) + text(IFLA_IFNAME, name)
        if mtu is not None:
            body += number(IFLA_MTU, mtu)
        if mac:
            body += attribute(IFLA_ADDRESS, lladdr(mac))
        inner = text(IFLA_INFO_KIND, kind)
        if specific:
            inner += attribute(IFLA_INFO_DATA | NESTED, specific)
        body += attribute(IFLA_LINKINFO | NESTED, inner)
        self.ask(NEWLINK, netlink.CREATE | netlink.EXCL, body, f"making {kind} {name}")

    def set_link(
        self,
        name: str,
        *,
        up: bool | None = None,
        mtu: int | None = None,
        master: str | None = None,
    ) -> None:
        """Change a link: up or down, its MTU, the bridge it is a port of."""
        body = self._link_body(self.device(name).index, up=up)
        if mtu is not None:
            body += number(IFLA_MTU, mtu)
        if master is not None:
            body += number(IFLA_MASTER, self.device(master).index)
        self.ask(SETLINK, 0, body, f"setting {name}" + (f" to MTU {mtu}" if mtu is not None else ""))

    def delete_link(self, name: str) -> None:
        """Delete a link; of a pair, both ends."""
        self.ask(DELLINK, 0, self._link_body(self.device(name).index), f"deleting {name}")

    def find(self, name: str) -> Device | None:
        """Return the link of that name, or None."""
        try:
            return self.device(name)
        except Refused as refusal:
            if refusal.errno == errno.ENODEV:
                return None
            raise

    def device(self, name: str) -> Device:
        """Return the link of that name. Raises Refused with ENODEV when there is none."""
        answers = self.ask(GETLINK, 0, self._link_body(0) + text(IFLA_IFNAME, name), f"reading {name}", ack=False)
        return _device(answers[0][1])

    def devices(self) -> list[Device]:
        """Return all links of the namespace."""
        return [
            _device(body)
            for kind, body in self.ask(GETLINK, netlink.DUMP, self._link_body(0), "reading links")
            if kind == NEWLINK
        ]

    def _link_body(self, index: int, *, up: bool | None = None) -> bytes:
        flags, change = (IFF_UP if up else 0, IFF_UP) if up is not None else (0, 0)
        return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, change)

    def no_segmentation_offload(self, name: str) -> None:
        """Switch TSO, GSO and GRO of a link off, so that no packet larger than an MTU slips through (ethtool ioctl)."""
        for command in SEGMENTATION_OFFLOADS:
            value = bytearray(struct.pack("=II", command, 0))
            _ethtool(self.fileno(), name, value)

    # -- addresses, routes, neighbours, rules

    def add_address(self, name: str, address: str) -> None:
        """Give a link an address with its prefix length, "192.168.77.1/24"; IPv6 without duplicate detection."""
        interface = ipaddress.ip_interface(address)
        packed = interface.ip.packed
        family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
        body = struct.pack("=BBBBi", family, interface.network.prefixlen, 0, 0, self.device(name).index)
        body += attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
        if interface.version == 6:
            body += number(IFA_FLAGS, IFA_F_NODAD)
        self.ask(NEWADDR, netlink.CREATE | netlink.REPLACE, body, f"giving {name} the address {address}")

    def add_route(
        self, destination: str, device: str, *, via: str | None = None, onlink: bool = False, source: str | None = None
    ) -> None:
        """Route a prefix, in CIDR form, by a device; replaces the route of the same prefix."""
        body = self._route_body(destination, via=via, onlink=onlink)
        body += number(RTA_OIF, self.device(device).index)
        if via:
            body += attribute(RTA_GATEWAY, ipaddress.ip_address(via).packed)
        if source:
            body += attribute(RTA_PREFSRC, ipaddress.ip_address(source).packed)
        self.ask(NEWROUTE, netlink.CREATE | netlink.REPLACE, body, f"routing {destination} by {device}")

    def delete_route(self, destination: str) -> None:
        """Delete the route of a prefix; none is fine."""
        try:
            self.ask(DELROUTE, 0, self._route_body(destination), f"deleting the route to {destination}")
        except Refused as refusal:
            if refusal.errno != errno.ESRCH:
                raise

    def default_device(self) -> int | None:
        """Return the index of the link by which the IPv4 default route goes, or None."""
        header = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        for kind, body in self.ask(GETROUTE, netlink.DUMP, header, "reading routes"):
            if kind == NEWROUTE and body[0] == socket.AF_INET and body[1] == 0 and body[4] == RT_MAIN:
                found = dict(attributes(body[12:]))
                if RTA_OIF in found:
                    return native(found[RTA_OIF])
        return None

    def destinations(self) -> set[str]:
        """Return the IPv4 prefixes of the main table, in CIDR form."""
        header = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        found = set()
        for kind, body in self.ask(GETROUTE, netlink.DUMP, header, "reading routes"):
            if kind == NEWROUTE and body[0] == socket.AF_INET and body[4] == RT_MAIN:
                packed = dict(attributes(body[12:])).get(RTA_DST, bytes(4))
                found.add(f"{ipaddress.ip_address(packed)}/{body[1]}")
        return found

    def _route_body(self, destination: str, *, via: str | None = None, onlink: bool = False) -> bytes:
        network = ipaddress.ip_network(destination)
        family = socket.AF_INET if network.version == 4 else socket.AF_INET6
        scope = SCOPE_LINK if via is None and network.version == 4 else SCOPE_UNIVERSE
        flags = RTNH_ONLINK if onlink else 0
        header = struct.pack(
            "=BBBBBBBBI", family, network.prefixlen, 0, 0, RT_MAIN, PROTO_STATIC, scope, UNICAST, flags
        )
        return header + attribute(RTA_DST, network.network_address.packed) if network.prefixlen else header

    def add_neighbour(self, device: str, address: str, mac: str) -> None:
        """Tell which MAC address an IP address has, for good."""
        parsed = ipaddress.ip_address(address)
        family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
        self._neighbour(family, device, parsed.packed, mac, 0)

    def add_forwarding(self, device: str, mac: str, remote: str) -> None:
        """Tell a VXLAN device behind which underlay address a MAC address is."""
        self._neighbour(socket.AF_BRIDGE, device, ipaddress.ip_address(remote).packed, mac, NTF_SELF)

    def _neighbour(self, family: int, device: str, packed: bytes, mac: str, flags: int) -> None:
        body = struct.pack("=BxxxiHBB", family, self.device(device).index, NUD_PERMANENT, flags, 0)
        body += attribute(NDA_DST, packed) + attribute(NDA_LLADDR, lladdr(mac))
        self.ask(NEWNEIGH, netlink.CREATE | netlink.REPLACE, body, f"telling {device} about {mac}")

    def swallow_own_icmp(self, *, swallow: bool) -> None:
        """Drop the ICMP that this namespace itself originates, as a firewall would; or stop dropping it.

        A policy rule does it, because nft and iptables may be missing: what comes from the machine itself (iif lo) and
        is ICMP goes to a black hole. Forwarded ICMP passes.
        """
        body = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, FR_BLACKHOLE, 0)
        body += number(FRA_PRIORITY, 1) + text(FRA_IIFNAME, "lo") + attribute(FRA_IP_PROTO, b"\x01")
        try:
            self.ask(
                NEWRULE if swallow else DELRULE, netlink.CREATE | netlink.EXCL if swallow else 0, body, "filtering ICMP"
            )
        except Refused as refusal:
            if refusal.errno not in (errno.EEXIST, errno.ENOENT):
                raise


def _device(body: bytes) -> Device:
    _, _, index, flags, _ = struct.unpack_from("=BxHiII", body)
    found = dict(attributes(body[16:]))
    link = dict(attributes(found.get(IFLA_LINKINFO, b"")))
    kind = link.get(IFLA_INFO_KIND, b"").rstrip(b"\0").decode()
    own = dict(attributes(link.get(IFLA_INFO_DATA, b""))) if kind == "vxlan" else {}
    lower = own.get(VXLAN_LINK) or found.get(IFLA_LINK)
    return Device(
        index=index,
        name=found[IFLA_IFNAME].rstrip(b"\0").decode(),
        mtu=native(found[IFLA_MTU]),
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
        kind=kind,
        up=bool(flags & IFF_UP),
        lower=native(lower) if lower else None,
        vni=native(own[VXLAN_ID]) if VXLAN_ID in own else None,
        port=int.from_bytes(own[VXLAN_PORT], "big") if VXLAN_PORT in own else None,
    )


def _ethtool(control: int, name: str, value: bytearray) -> None:
    memory = (ctypes.c_char * len(value)).from_buffer(value)
    request = struct.pack("16sP16x", name.encode(), ctypes.addressof(memory))
    try:
        fcntl.ioctl(control, SIOCETHTOOL, request)
    except OSError as error:
        raise Refused(f"switching the offloads of {name} off: {error.strerror}", error.errno or 0) from error

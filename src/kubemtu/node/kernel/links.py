"""Links and addresses of one namespace, read and set over rtnetlink (RTM_*LINK, RTM_GETADDR)."""

import errno
import socket
import struct
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from kubemtu.core import net
from kubemtu.node import errors
from kubemtu.node.kernel import netlink
from kubemtu.node.kernel.remembered import remembered

_IFNAME: Final = 3
_MTU: Final = 4
_LINK: Final = 5
_MASTER: Final = 10
_LINKINFO: Final = 18
_STATS64: Final = 23
_AF_SPEC: Final = 26
_EXT_MASK: Final = 29
_LINK_NETNSID: Final = 37
_INFO_KIND: Final = 1
_INFO_DATA: Final = 2
_VXLAN_ID: Final = 1
_VXLAN_LINK: Final = 3
_VXLAN_PORT: Final = 15
_VXLAN_GROUP6: Final = 16
_VXLAN_LOCAL6: Final = 17
_INET6_CONF: Final = 2
_DEVCONF_MTU6: Final = 2
_DEVCONF_DISABLE_IPV6: Final = 26
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFF_UP: Final = 1
_SKIP_STATS: Final = 8
_READ: Final = frozenset({_IFNAME, _MTU, _LINK, _MASTER, _LINKINFO, _STATS64, _AF_SPEC, _LINK_NETNSID})
_IPV6: Final = frozenset({int(socket.AF_INET6)})
_CONF: Final = frozenset({_INET6_CONF})
_IFINFOMSG = struct.Struct("=BxHiII")
_IFADDRMSG = struct.Struct("=BBBBI")


class Drops(msgspec.Struct, frozen=True):
    """Packets that a link dropped since it exists, as rtnl_link_stats64 counts them."""

    received: int = 0
    sent: int = 0


class Device(msgspec.Struct, frozen=True):
    """One link as its message tells it: other links by index. MTUs in bytes of the IP packet.

    `ipv6_mtu` is net.ipv6.conf.<name>.mtu, or None where IPv6 is off on the link.
    """

    index: int
    name: str
    mtu: int
    kind: str
    up: bool
    master: int | None
    peer_index: int | None
    peer_netnsid: int | None
    ipv6_mtu: int | None
    vxlan: tuple[int, int, int | None, bool] | None  # VNI, UDP port, index of the lower device, IPv6 outside
    drops: Drops


def devices(sock: netlink.Socket, *, counters: bool = False) -> list[Device]:
    """Return all links of the socket's namespace. Drop counters cost a third more, so they are read on demand."""
    body = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + (b"" if counters else _WITHOUT_STATISTICS)
    read = unpack if counters else device  # counters move, so that such a message never comes again
    return [read(message) for message in sock.dump(netlink.RTM_GETLINK, body, "reading the links")]


_WITHOUT_STATISTICS: Final = netlink.u32(_EXT_MASK, _SKIP_STATS)


@remembered(1024)
def ask(index: int) -> netlink.Request:
    """Return the request that reads one link."""
    body = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, index, 0, 0) + _WITHOUT_STATISTICS
    return (netlink.RTM_GETLINK, 0, body)


def read(sock: netlink.Socket, index: int) -> Device | None:
    """Return the link of that index, or None when it is gone."""
    (answer,) = sock.exchange([ask(index)])
    if answer.code in errors.GONE:
        return None
    answer.check(f"reading link {index}")
    return device(answer.bodies[0])


@remembered(8192)
def device(message: bytes) -> Device:
    """Unpack the body of an RTM_NEWLINK; remembered by its bytes, since a level-triggered engine reads them often."""
    return unpack(message)


def unpack(message: bytes) -> Device:
    """Unpack an event, whose counters make it unlike any other, so that it is not remembered."""
    _family, _kind, index, flags, _change = _IFINFOMSG.unpack_from(message)
    attributes = netlink.pick(message, 16, _READ)
    about = netlink.attributes(attributes[_LINKINFO]) if _LINKINFO in attributes else {}
    kind = _text(about.get(_INFO_KIND, b""))
    netnsid = attributes.get(_LINK_NETNSID)
    counted = attributes.get(_STATS64)
    return Device(
        index=index,
        name=_text(attributes.get(_IFNAME, b"")),
        mtu=netlink.number(attributes, _MTU) or 0,
        kind=kind,
        up=bool(flags & _IFF_UP),
        master=netlink.number(attributes, _MASTER),
        peer_index=netlink.number(attributes, _LINK) if kind == "veth" else None,
        peer_netnsid=struct.unpack("=i", netnsid)[0] if netnsid is not None and kind == "veth" else None,
        ipv6_mtu=_ipv6_mtu(attributes),
        vxlan=_vxlan(netlink.attributes(about.get(_INFO_DATA, b""))) if kind == "vxlan" else None,
        drops=Drops(*struct.unpack_from("=QQ", counted, 48)) if counted else Drops(),
    )


def _text(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode(errors="replace")


def _ipv6_mtu(attributes: Mapping[int, bytes]) -> int | None:
    if _AF_SPEC not in attributes:
        return None
    ipv6 = netlink.pick(attributes[_AF_SPEC], 0, _IPV6).get(socket.AF_INET6)
    if ipv6 is None:
        return None
    conf = netlink.pick(ipv6, 0, _CONF).get(_INET6_CONF, b"")
    if len(conf) < 4 * (_DEVCONF_DISABLE_IPV6 + 1) or struct.unpack_from("=i", conf, 4 * _DEVCONF_DISABLE_IPV6)[0]:
        return None
    mtu: int = struct.unpack_from("=i", conf, 4 * _DEVCONF_MTU6)[0]
    return mtu


def _vxlan(attributes: Mapping[int, bytes]) -> tuple[int, int, int | None, bool]:
    port = int.from_bytes(attributes.get(_VXLAN_PORT, b"\x12\xb5"), "big")
    lower = netlink.number(attributes, _VXLAN_LINK) or None
    return (
        netlink.number(attributes, _VXLAN_ID) or 0,
        port,
        lower,
        _VXLAN_GROUP6 in attributes or _VXLAN_LOCAL6 in attributes,
    )


def link(device: Device, names: Mapping[int, str]) -> net.Link:
    """Return the value that the rest of kubemtu works with; `names` are those of the same namespace, by index."""
    vxlan = None
    if device.vxlan is not None:
        vni, port, lower, outer = device.vxlan
        vxlan = net.Vxlan(vni=vni, port=port, lower=names.get(lower) if lower else None, ipv6_outer=outer)
    return net.Link(
        index=device.index,
        name=device.name,
        mtu=device.mtu,
        kind=device.kind,
        up=device.up,
        master=names.get(device.master) if device.master else None,
        peer_index=device.peer_index,
        peer_netnsid=device.peer_netnsid,
        vxlan=vxlan,
    )


def links(devices: Iterable[Device]) -> tuple[net.Link, ...]:
    """Return the values for all links of one namespace."""
    kept = list(devices)
    names = {each.index: each.name for each in kept}
    return tuple(link(each, names) for each in kept)


def addresses(sock: netlink.Socket) -> dict[int, tuple[str, ...]]:
    """Return the addresses of each link, by its index, without prefix length; link-local IPv6 ones are left out."""
    found: dict[int, list[str]] = {}
    for message in sock.dump(netlink.RTM_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0), "reading the addresses"):
        index, address = _address(message)
        if address is not None:
            found.setdefault(index, []).append(address)
    return {index: tuple(texts) for index, texts in found.items()}


def _address(message: bytes) -> tuple[int, str | None]:
    family, _length, _flags, scope, index = _IFADDRMSG.unpack_from(message)
    attributes = netlink.attributes(message, 8)
    packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
    if packed is None or family not in (socket.AF_INET, socket.AF_INET6) or (family == socket.AF_INET6 and scope):
        return index, None
    return index, socket.inet_ntop(family, packed)


def move(index: int, mtu: int) -> netlink.Request:
    """Return the request that sets a link's MTU, in bytes of the IP packet."""
    return (netlink.RTM_SETLINK, netlink.ACK, _IFINFOMSG.pack(socket.AF_UNSPEC, 0, index, 0, 0) + _mtu(mtu))


@remembered(64)
def _mtu(mtu: int) -> bytes:
    return netlink.u32(_MTU, mtu)


def set_mtu(sock: netlink.Socket, device: Device, mtu: int) -> None:
    """Set the MTU of one link, in bytes of the IP packet. Raises Refused, Gone or Denied with a sentence."""
    (answer,) = sock.exchange([move(device.index, mtu)])
    answer.check(f"setting {device.name} from MTU {device.mtu} to {mtu}", advice(answer.code))


def advice(code: int) -> str:
    """Return the advice for an MTU that the kernel refuses with that errno."""
    if code in (errno.EINVAL, errno.ERANGE):
        return "the device, or the one that it is bound to, does not take so large or so small a packet"
    return "nothing else was changed on this link"

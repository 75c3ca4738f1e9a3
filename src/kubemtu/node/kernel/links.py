"""Links and addresses of one namespace, read and set over rtnetlink (RTM_*LINK, RTM_GETADDR)."""

import errno
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
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
    """Unpacks the body of an RTM_NEWLINK; remembered by its bytes, since a level-triggered engine reads them often."""
    return unpack(message)


def unpack(message: bytes) -> Device:
    """Unpack an event, whose counters make it unlike any other, so that it is not remembered."""
    for shape in _shapes.get(len(message), ()):
        if shape.fits(message):
            return shape.device(message)
    return _walk(message)


def forget_shapes() -> None:
    """Forgets the shapes of earlier messages: for measurements and tests, since nothing depends on them but time."""
    _shapes.clear()


def _walk(message: bytes) -> Device:
    """Unpacks any link, attribute by attribute, and remembers the shape of a veth for the next one."""
    _family, _kind, index, flags, _change = _IFINFOMSG.unpack_from(message)
    attributes = netlink.pick(message, 16, _READ)
    about = netlink.attributes(attributes[_LINKINFO]) if _LINKINFO in attributes else {}
    kind = _text(about.get(_INFO_KIND, b""))
    netnsid = attributes.get(_LINK_NETNSID)
    counted = attributes.get(_STATS64)
    if kind == "veth" and attributes.keys() >= {_IFNAME, _MTU}:
        alike = _shapes.setdefault(len(message), [])
        alike.insert(0, _Shape(message))
        del alike[_ALIKE:]
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


class _Shape:
    """Where the message of a veth has what. The next veth mostly has it at the same places: two calls of `struct`
    find all of it, where walking takes 45 steps (16 µs, and changing 250 pods takes 1,000 of them).

    All headers are compared, the outermost too, so that whatever fits is a message that the walk would cut alike.
    """

    __slots__ = ("_expected", "_fields", "_headers", "_values")

    def __init__(self, message: bytes) -> None:
        """Note the places in a message that is known to be a veth's."""
        headers: list[tuple[int, str]] = []
        values = {"index": (4, "i"), "flags": (8, "I")}
        for place, length, kind in _headers(message, 16, len(message), headers):
            start, end = place + 4, place + length
            if kind in _NUMBERS:
                values[_NUMBERS[kind][0]] = (start, _NUMBERS[kind][1])
            elif kind == _IFNAME:
                values["name"] = (start, f"{length - 4}s")
            elif kind == _STATS64 and length >= 4 + 64:
                values |= {"received": (start + 48, "Q"), "sent": (start + 56, "Q")}
            elif kind == _LINKINFO:
                for inner, size, about in _headers(message, start, end, headers):
                    headers += [(inner + 4, f"{size - 4}s")] if about == _INFO_KIND else []
            elif kind == _AF_SPEC:
                for family, size, number in _headers(message, start, end, headers):
                    if number == socket.AF_INET6:
                        for conf, room, about in _headers(message, family + 4, family + size, headers):
                            if about == _INET6_CONF and room >= 4 * (_DEVCONF_DISABLE_IPV6 + 2):
                                values["ipv6_mtu"] = (conf + 4 + 4 * _DEVCONF_MTU6, "i")
                                values["ipv6_off"] = (conf + 4 + 4 * _DEVCONF_DISABLE_IPV6, "i")
        ordered = sorted(values, key=lambda name: values[name][0])
        self._headers, self._values = _picker(headers), _picker(values.values())
        self._expected = self._headers.unpack_from(message)
        self._fields = {name: ordered.index(name) for name in values}

    def fits(self, message: bytes) -> bool:
        """Return True when another message of the same length has the same attributes at the same places."""
        return self._headers.unpack_from(message) == self._expected

    def device(self, message: bytes) -> Device:
        """Return the veth in a message that fits."""
        values, fields = self._values.unpack_from(message), self._fields
        return Device(
            index=values[fields["index"]],
            name=_text(values[fields["name"]]),
            mtu=values[fields["mtu"]],
            kind="veth",
            up=bool(values[fields["flags"]] & _IFF_UP),
            master=values[fields["master"]] if "master" in fields else None,
            peer_index=values[fields["peer_index"]] if "peer_index" in fields else None,
            peer_netnsid=values[fields["peer_netnsid"]] if "peer_netnsid" in fields else None,
            ipv6_mtu=values[fields["ipv6_mtu"]] if "ipv6_mtu" in fields and not values[fields["ipv6_off"]] else None,
            vxlan=None,
            drops=Drops(values[fields["received"]], values[fields["sent"]]) if "sent" in fields else Drops(),
        )


_shapes: dict[int, list[_Shape]] = {}  # by the length of the message
_ALIKE: Final = 4  # shapes of the same length that are remembered
_NUMBERS: Final = {
    _MTU: ("mtu", "I"),
    _LINK: ("peer_index", "I"),
    _MASTER: ("master", "I"),
    _LINK_NETNSID: ("peer_netnsid", "i"),
}


def _headers(message: bytes, place: int, end: int, into: list[tuple[int, str]]) -> Iterator[tuple[int, int, int]]:
    """Walk over attributes (place, length, type), and note the place of each header."""
    while place + 4 <= end:
        into.append((place, "I"))
        length, kind = struct.unpack_from("=HH", message, place)
        if length < 4:
            break
        yield place, length, kind & 0x3FFF
        place += (length + 3) & ~3


def _picker(parts: Iterable[tuple[int, str]]) -> struct.Struct:
    """Return a Struct that unpacks the parts (place, format) in the order of their places and skips the rest."""
    packed, reached = "=", 0
    for place, kind in sorted(parts):
        packed += f"{place - reached}x{kind}"
        reached = place + struct.calcsize(f"={kind}")
    return struct.Struct(packed)


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

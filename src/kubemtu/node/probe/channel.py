"""One UDP socket that sends whole or not at all, and tells all that the kernel knows about what came and what did not.

IP_PMTUDISC_PROBE sets DF and ignores what the kernel believes about the path; only the device's own MTU bounds it
(net/ipv4/ip_output.c ip_setup_cork). Sources: ip(7), ipv6(7), socket(7); include/uapi/linux/{in,in6,errqueue}.h.
"""

import contextlib
import errno
import fcntl
import functools
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec

from kubemtu.core import errors
from kubemtu.node.kernel import netlink, netns, routes
from kubemtu.node.probe import wire

IP_MTU_DISCOVER, IP_RECVERR, IP_PKTINFO, IP_MTU, IP_RECVFRAGSIZE, IP_PMTUDISC_PROBE = 10, 11, 8, 14, 25, 3
IPV6_MTU_DISCOVER, IPV6_RECVERR, IPV6_MTU, IPV6_RECVFRAGSIZE = 23, 25, 24, 77
SO_RXQ_OVFL, SO_SNDBUFFORCE, SO_RCVBUFFORCE, SO_MEMINFO = 40, 32, 33, 55
MSG_ERRQUEUE: Final = 0x2000
SIOCGIFMTU: Final = 0x8921
ORIGIN_LOCAL: Final = 1
EXTENDED_ERROR = struct.Struct("=IBBBBII")  # struct sock_extended_err
PKTINFO = struct.Struct("=I4s4s")  # struct in_pktinfo
PKTINFO6 = struct.Struct("=16sI")  # struct in6_pktinfo
_U32 = struct.Struct("=I")
_DROPS = 8  # SK_MEMINFO_DROPS
_BUFFER: Final = 4 << 20  # bytes: the default holds twelve datagrams of 9000, or ninety that wait for a neighbour
_TOLD = {
    4: (IP_PKTINFO, IP_RECVFRAGSIZE, struct.Struct("=I4s4x").unpack),
    6: (socket.IPV6_PKTINFO, IPV6_RECVFRAGSIZE, PKTINFO6.unpack),
}
_HEAD: Final = 128  # bytes that are read of a datagram; its length is told by MSG_TRUNC
_SEND_PATIENCE: Final = 20  # ms
_TRIES: Final = 4  # of one packet
_REFUSALS: Final = 256
_FROMS_MOST: Final = 64
_SIOCGIFNAME: Final = 0x8910

T = TypeVar("T")
Family = Literal[4, 6]
Address = tuple[str, int] | tuple[str, int, int, int]


class Heard(NamedTuple):
    """The beginning of one datagram, its whole length, and what the kernel says about it."""

    head: bytes
    length: int
    address: Address
    fragment: int  # bytes of the largest fragment, 0 when it came whole
    drops: int  # what the queue had lost until then
    interface: int
    local: bytes  # the address it was sent to


_HEARD = functools.partial(tuple.__new__, Heard)  # a third of the time


class Refusal(NamedTuple):
    """One entry of the error queue: what was refused, with which errno, by whom."""

    payload: bytes  # what is quoted of the datagram
    address: Address
    code: int
    local: bool
    mtu: int
    by: str | None


class KernelRoute(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel would do with a packet to an address: the source it takes, the MTUs it knows (bytes)."""

    source: str
    path_mtu: int
    device: int


class Channel:
    """One socket, for one family; `echoes` when what comes back is what was sent, and no answer of a station."""

    echoes = False

    def __init__(self, family: Family, port: int = 0) -> None:
        """Open it in the calling thread's network namespace, on any address. Raises Unreachable or UsageError."""
        self.family = family
        self._kind = socket.AF_INET if family == 4 else socket.AF_INET6
        self.headers = wire.HEADERS[self._kind]
        self.socket = self._open()
        try:
            self._prepare()
            self.socket.bind(("", port) if family == 4 else ("::", port))
        except OSError as error:
            self.socket.close()
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                raise errors.UsageError(f"UDP port {port} cannot be used: {error.strerror}; choose another") from error
            raise errors.Unreachable(f"no IPv{family} socket can be opened here: {error.strerror}") from error
        self.view = memoryview(bytearray(_HEAD))  # the beginning of the last datagram
        self.awaited = 0  # answers that somebody waits for here
        self._into = [self.view]
        self._room = socket.CMSG_SPACE(PKTINFO6.size) + 2 * socket.CMSG_SPACE(4)
        self._packet = bytearray(wire.FILLER)
        self._packet_view = memoryview(self._packet)
        self._cut = self._packet_view  # of the last size, which many in a row have
        self._interfaces: dict[int, int] = {}
        self._froms: dict[bytes, list[tuple[int, int, bytes]]] = {}
        self._space: int | None = None

    def _open(self) -> socket.socket:
        try:
            return socket.socket(self._kind, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        except OSError as error:
            raise errors.Unreachable(f"this machine has no IPv{self.family}: {error.strerror}") from error

    def _prepare(self) -> None:
        sock = self.socket
        if self.family == 4:
            level = socket.IPPROTO_IP
            options = {IP_MTU_DISCOVER: IP_PMTUDISC_PROBE, IP_RECVERR: 1, IP_PKTINFO: 1, IP_RECVFRAGSIZE: 1}
        else:
            level = socket.IPPROTO_IPV6
            options = {IPV6_MTU_DISCOVER: IP_PMTUDISC_PROBE, IPV6_RECVERR: 1, IPV6_RECVFRAGSIZE: 1}
            options[socket.IPV6_RECVPKTINFO] = 1
            if not self.echoes:  # a raw socket is of one family anyway, and says EINVAL
                options[socket.IPV6_V6ONLY] = 1
        for option, value in options.items():
            sock.setsockopt(level, option, value)
        sock.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
        for forced, asked in ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)):
            try:
                sock.setsockopt(socket.SOL_SOCKET, forced, _BUFFER)
            except PermissionError:  # as much as net.core.{r,w}mem_max give; what overflows is noticed
                sock.setsockopt(socket.SOL_SOCKET, asked, _BUFFER)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self.socket.fileno()

    def close(self) -> None:
        """Close its sockets."""
        self.socket.close()
        if self._space is not None:
            os.close(self._space)
            self._space = None

    @property
    def port(self) -> int:
        """The local UDP port."""
        return int(self.socket.getsockname()[1])

    def drops(self) -> int:
        """Count how many datagrams this socket's own queue has lost so far (modulo 2^32)."""
        counts = self.socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36)
        return int(struct.unpack_from("=9I", counts)[_DROPS])

    def send(self, body: bytes, size: int, address: Address, local: bytes = b"") -> OSError | None:
        """Send one packet of `size` bytes with filler behind the body; return why the kernel refused, or None.

        `local` is the address to send from, when it matters.
        """
        packet: bytes | memoryview = body
        length, headers = len(body), self.headers
        if size - headers > length:
            self._packet[:length] = body
            if len(self._cut) != size - headers:
                self._cut = self._packet_view[: size - headers]
            packet = self._cut
        try:
            if local:
                self.socket.sendmsg((packet,), self._froms.get(local) or self._from(local), 0, address)
            else:
                self.socket.sendto(packet, address)
        except OSError as refused:
            return self._send_again(refused, packet, address, local)
        return None

    def _send_again(
        self, refused: OSError, packet: bytes | memoryview, address: Address, local: bytes
    ) -> OSError | None:
        """Send what was refused again, unless a device has dropped it: then it was sent (net/core/dev.c, ENOBUFS).

        An error that waits for another peer is delivered on the next send, whoever that is for; where many are on
        their way, on the one after that as well.
        """
        for _ in range(_TRIES - 1):
            if refused.errno == errno.ENOBUFS:
                break
            if isinstance(refused, BlockingIOError) and not self._wait():
                break
            try:
                self.socket.sendmsg((packet,), self._from(local) if local else (), 0, address)
            except OSError as error:
                refused = error
            else:
                return None
        return refused

    def _wait(self) -> bool:
        """Wait a moment for room in the queue; say whether there is any."""
        writable = select.poll()
        writable.register(self.socket, select.POLLOUT)
        return bool(writable.poll(_SEND_PATIENCE))

    def _from(self, local: bytes) -> list[tuple[int, int, bytes]]:
        if self.family == 4:
            made = [(socket.IPPROTO_IP, IP_PKTINFO, PKTINFO.pack(0, local, b""))]
        else:
            made = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, PKTINFO6.pack(local, 0))]
        if len(self._froms) < _FROMS_MOST:
            self._froms[local] = made
        return made

    def receive(self, most: int = 64) -> Iterator[Heard]:
        """Give what has come, without waiting, `most` datagrams at a time so that others get their turn."""
        receive, into, room, view = self.socket.recvmsg_into, self._into, self._room, self.view
        pktinfo, fragsize, unpack = _TOLD[self.family]
        for _ in range(most):
            try:
                length, ancillary, _, address = receive(into, room, socket.MSG_TRUNC)
            except BlockingIOError:
                return
            except OSError:  # an error that waits here is in the error queue as well
                continue
            fragment = drops = interface = 0
            local = b""
            for level, kind, content in ancillary:
                if level == socket.SOL_SOCKET:
                    if kind == SO_RXQ_OVFL:
                        (drops,) = _U32.unpack(content)
                elif kind == pktinfo:
                    interface, local = unpack(content) if self.family == 4 else unpack(content)[::-1]
                elif kind == fragsize:
                    (fragment,) = _U32.unpack(content)
            head = bytes(view if length >= _HEAD else view[:length])
            yield _HEARD((head, length, address, fragment, drops, interface, local))

    def refusals(self) -> Iterator[Refusal]:
        """Give what the error queue holds, without waiting, so many at a time that others get their turn."""
        for _ in range(_REFUSALS):
            try:
                payload, ancillary, _, address = self.socket.recvmsg(_HEAD, 512, MSG_ERRQUEUE)
            except OSError:
                return
            for _, kind, content in ancillary:
                if kind in {IP_RECVERR, IPV6_RECVERR} and len(content) >= EXTENDED_ERROR.size:
                    code, origin, _, _, _, mtu, _ = EXTENDED_ERROR.unpack_from(content)
                    by = self._offender(content[EXTENDED_ERROR.size :])
                    yield Refusal(payload, address, code, origin == ORIGIN_LOCAL, mtu, by)

    def _offender(self, address: bytes) -> str | None:
        """Return who sent the ICMP message: SO_EE_OFFENDER, a struct sockaddr_in or sockaddr_in6."""
        if self.family == 4 and len(address) >= 8 and address[:2] != b"\0\0":
            return socket.inet_ntop(socket.AF_INET, address[4:8])
        if self.family == 6 and len(address) >= 24 and address[:2] != b"\0\0":
            return socket.inet_ntop(socket.AF_INET6, address[8:24])
        return None

    def pack(self, address: str) -> bytes:
        """Pack an address into bytes, without the zone of a link-local one."""
        return socket.inet_pton(self._kind, address.partition("%")[0] if "%" in address else address)

    def mtu(self, interface: int) -> int:
        """Return the MTU of one of this machine's interfaces by its index, asked once; 0 when it cannot be told."""
        if interface not in self._interfaces:
            self._interfaces[interface] = self._ask_mtu(interface)
        return self._interfaces[interface]

    def _ask_mtu(self, interface: int) -> int:
        """Ask the socket's own namespace, whichever the calling thread is in (netdevice(7))."""
        with contextlib.suppress(OSError):
            named = fcntl.ioctl(self.socket, _SIOCGIFNAME, struct.pack("16si20x", b"", interface))
            answer = fcntl.ioctl(self.socket, SIOCGIFMTU, named[:16] + bytes(24))
            return min(int(struct.unpack_from("16si", answer)[1]), wire.LARGEST)
        return 0

    def forget(self) -> None:
        """Ask for the MTUs of interfaces again, next time: they may change while a station runs."""
        self._interfaces.clear()

    def route(self, address: Address) -> KernelRoute:
        """Ask the kernel of this socket's namespace where packets to an address would go, without sending any.

        The device's MTU is what the kernel says when it refuses the largest packet there is; the path MTU includes
        what routes and learned path MTUs say. Raises OSError when there is no route.
        """
        with self._sibling() as sock:
            level = socket.IPPROTO_IP if self.family == 4 else socket.IPPROTO_IPV6
            sock.setsockopt(level, IP_MTU_DISCOVER if self.family == 4 else IPV6_MTU_DISCOVER, IP_PMTUDISC_PROBE)
            sock.setsockopt(level, IP_RECVERR if self.family == 4 else IPV6_RECVERR, 1)
            sock.connect(address)
            source = str(sock.getsockname()[0])
            believed = min(sock.getsockopt(level, IP_MTU if self.family == 4 else IPV6_MTU), wire.LARGEST)
            return KernelRoute(source=source, path_mtu=believed, device=_device_mtu(sock, believed))

    def learned(self) -> frozenset[str]:
        """List the destinations of this socket's namespace that a path MTU was learned of (`ip route show cache`)."""
        with self.inside(netlink.Socket) as sock:
            return frozenset(seen.destination.partition("/")[0] for seen in routes.learned(sock, self.family))

    def inside(self, work: Callable[[], T]) -> T:
        """Do something in this socket's network namespace.

        Raises what `work` raises, NodeFailure, and OSError when the channel is closed: then nobody knows which it was.
        """
        if self.socket.fileno() < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return work() if self._space is None else netns.inside(self._space, work)

    def within(self, space: int) -> None:
        """Note that this channel's namespace is that one and not the calling thread's; takes the descriptor over."""
        self._space = space

    def _sibling(self) -> socket.socket:
        """Open another UDP socket of the same family in the same namespace."""

        def made() -> socket.socket:
            return socket.socket(self._kind, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

        return self.inside(made)


def _device_mtu(sock: socket.socket, believed: int) -> int:
    if believed >= wire.LARGEST:  # loopback takes any packet there is
        return believed
    with contextlib.suppress(OSError):
        sock.send(wire.FILLER[: wire.LARGEST - 48])
        return wire.LARGEST
    with contextlib.suppress(OSError):
        _, ancillary, _, _ = sock.recvmsg(_HEAD, 512, MSG_ERRQUEUE)
        for _, _, content in ancillary:
            if len(content) >= EXTENDED_ERROR.size:
                code, origin, _, _, _, mtu, _ = EXTENDED_ERROR.unpack_from(content)
                if code == errno.EMSGSIZE and origin == ORIGIN_LOCAL and mtu >= believed:
                    return int(mtu)
    return believed


def nonce() -> int:
    """Return a number that nobody can guess."""
    return int.from_bytes(os.urandom(8), "big")

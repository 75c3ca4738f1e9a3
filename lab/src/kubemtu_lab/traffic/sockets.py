"""The socket options of Linux that Python does not name, typed. Numbers from include/uapi/linux of the kernel."""

import array
import errno
import fcntl
import socket
import struct
from collections.abc import Iterator

import msgspec

_IP_MTU_DISCOVER, _IP_RECVERR, _IP_MTU = 10, 11, 14  # in.h
_IPV6_MTU_DISCOVER, _IPV6_MTU, _IPV6_RECVERR = 23, 24, 25  # in6.h
_PMTUDISC_DO = 2
_SO_RCVBUFFORCE, _SO_MEMINFO = 33, 55  # asm-generic/socket.h
_SK_MEMINFO = struct.Struct("9I")  # sock_diag.h; the last one is SK_MEMINFO_DROPS
_EXTENDED_ERROR = struct.Struct("=IBBBBII")  # errqueue.h, struct sock_extended_err
_TCP_CONGESTION = 13  # tcp.h
_TCP_INFO_BYTES = struct.Struct("=8B24I")  # tcp.h, struct tcp_info up to tcpi_total_retrans
LOCAL, ICMP, ICMP6 = 1, 2, 3  # errqueue.h, SO_EE_ORIGIN_*

RECEIVE_BUFFER = 8 << 20  # bytes; the kernel counts truesize, about 1.5 times the packet's size
_SIOCETHTOOL = 0x8946  # sockios.h
_OFFLOADS = {"tso": (0x1E, 0x1F), "gso": (0x23, 0x24), "gro": (0x2B, 0x2C)}  # ethtool.h: ETHTOOL_G*, ETHTOOL_S*


class QueuedError(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a socket's error queue (ip(7), IP_RECVERR). `quoted` is the start of the datagram's payload."""

    origin: int
    errno: int
    type: int
    code: int
    mtu: int  # of the hop that refused, bytes; only frag-needed, packet-too-big and EMSGSIZE fill it
    quoted: bytes

    @property
    def name(self) -> str:
        """How the books call it."""
        protocol = {ICMP: "ICMP", ICMP6: "ICMPv6"}.get(self.origin, "local")
        return f"{protocol} {self.type}/{self.code}" if self.origin != LOCAL else errno.errorcode.get(self.errno, "?")


class TcpInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The part of TCP_INFO that speaks of sizes and of segments sent again (tcp.h, struct tcp_info)."""

    state: int
    retransmits: int  # of the segment that is due, now
    backoff: int
    snd_mss: int
    unacked: int
    lost: int
    last_data_sent_ms: int
    pmtu: int
    advmss: int
    total_retrans: int


def family(address: str) -> socket.AddressFamily:
    """Return AF_INET or AF_INET6, by the address's looks."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def udp_headers(kind: int) -> int:
    """Return the bytes of IP and UDP headers (RFC 791, RFC 8200, RFC 768)."""
    return 48 if kind == socket.AF_INET6 else 28


def datagrams_to(address: str, port: int) -> socket.socket:
    """Return a connected UDP socket that sets DF, never fragments, and queues every error."""
    kind = family(address)
    made = socket.socket(kind, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    if kind == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DO)
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    else:
        made.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DO)
        made.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    try:
        made.connect((address, port))
    except OSError as error:
        made.close()
        raise OSError(error.errno, f"{error.strerror}: {address}") from error
    return made


def path_mtu(connected: socket.socket) -> int:
    """Read the MTU that the kernel uses towards the peer, bytes of the IP packet: of route, device, or as learned.

    After a change of a route the answer is the old one until the next send (measured on Linux 6.18).
    """
    if connected.family == socket.AF_INET6:
        return connected.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
    return connected.getsockopt(socket.IPPROTO_IP, _IP_MTU)


def queued_errors(connected: socket.socket) -> Iterator[QueuedError]:
    """Take all entries out of the error queue."""
    while True:
        try:
            quoted, ancillary, _, _ = connected.recvmsg(64, 256, socket.MSG_ERRQUEUE)
        except BlockingIOError:
            return
        for level, kind, content in ancillary:
            if (level, kind) in ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)):
                number, origin, sort, code, _, mtu, _ = _EXTENDED_ERROR.unpack_from(content)
                yield QueuedError(origin=origin, errno=number, type=sort, code=code, mtu=mtu, quoted=quoted)


def datagrams_at(kind: socket.AddressFamily, port: int, buffer: int = RECEIVE_BUFFER) -> socket.socket:
    """Bind a UDP socket to all addresses of one family, with `buffer` bytes where CAP_NET_ADMIN allows that."""
    made = socket.socket(kind, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    _only_its_family(made)
    try:
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
    except PermissionError:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    made.bind(("", port))
    return made


def overflow(bound: socket.socket) -> int:
    """Count datagrams that did not fit the socket's buffer since it was made.

    SO_MEMINFO reads the counter that SO_RXQ_OVFL attaches to the *next* datagram, so it also knows of the last ones.
    """
    return int(_SK_MEMINFO.unpack(bound.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _SK_MEMINFO.size))[-1])


def listening(kind: socket.AddressFamily, port: int) -> socket.socket:
    """Return a TCP socket that accepts at all addresses of one family."""
    made = socket.socket(kind, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    _only_its_family(made)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _cubic(made)
    made.bind(("", port))
    made.listen(512)
    return made


def connection(kind: socket.AddressFamily) -> socket.socket:
    """Return a TCP socket that is to connect."""
    made = socket.socket(kind, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _cubic(made)
    return made


def abort_on_close(connection: socket.socket) -> None:
    """Make close() send RST and forget all: what is not yet acknowledged must not be sent again after the run."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def full_segment(connected: socket.socket) -> int:
    """Return the payload of one full segment towards the peer, in bytes: the MSS after options, as it is now."""
    return connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)


def tcp_info(connected: socket.socket) -> TcpInfo:
    """Read TCP_INFO."""
    raw = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES.size)
    values = _TCP_INFO_BYTES.unpack(raw)
    small, words = values[:8], values[8:]
    return TcpInfo(
        state=small[0],
        retransmits=small[2],
        backoff=small[4],
        snd_mss=words[2],
        unacked=words[4],
        lost=words[6],
        last_data_sent_ms=words[9],
        pmtu=words[13],
        advmss=words[19],
        total_retrans=words[23],
    )


def offloads(device: str, wanted: dict[str, bool]) -> dict[str, bool]:
    """Switch TSO, GSO and GRO of a device on or off, and return what they were before.

    A GSO packet of many segments slips past the size check of a veth (Linux net/core/dev.c, is_skb_forwardable), so
    with offloads on, one-segment and many-segment writes meet different networks. Raises OSError.
    """
    before = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for name, on in wanted.items():
            get, put = _OFFLOADS[name]
            before[name] = bool(_ethtool(any_socket, device, get, 0))
            if before[name] != on:
                _ethtool(any_socket, device, put, int(on))
    return before


def _ethtool(any_socket: socket.socket, device: str, command: int, value: int) -> int:
    arguments = array.array("I", (command, value))  # struct ethtool_value
    address, _ = arguments.buffer_info()
    fcntl.ioctl(any_socket, _SIOCETHTOOL, struct.pack("16sP16x", device.encode(), address))
    return arguments[1]


def _only_its_family(sock: socket.socket) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


def _cubic(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_CONGESTION, b"cubic")
    except OSError:
        return  # not built into this kernel; its default serves as well

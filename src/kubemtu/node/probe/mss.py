"""What one end of a TCP connection sees of the MSS of both, and how it says so in forty bytes.

What the kernel lets see (linux/tcp.h, net/ipv4/tcp.c, tcp(7); measured on 6.18):
    announced   tcpi_advmss, plus 12 where timestamps are in use: they are taken off once the connection stands
                (net/ipv4/tcp_input.c tcp_rcv_state_process)
    arrived     to the one that is asked: TCP_SAVED_SYN, the SYN itself; none where SYN cookies were used, which keep
                one of four sizes (net/ipv4/syncookies.c msstab)
                to the one that asks: TCP_MAXSEG under TCP_REPAIR, which needs CAP_NET_ADMIN; else tcpi_snd_mss plus 12,
                as far as neither the path MTU, nor half the window, nor tcp_mtu_probing=2 is smaller
                (net/ipv4/tcp_output.c tcp_sync_mss)
    no option   RFC 9293 3.7.1: 536 bytes over IPv4, 1220 over IPv6
"""

import contextlib
import socket
import struct
from pathlib import Path
from typing import Final, NamedTuple

from kubemtu.core.headers import IPV4, IPV6, TCP
from kubemtu.core.path.direction import TIMESTAMPS, BothDirections, Segments
from kubemtu.node.probe import channel, wire

ASK, TELL = 1, 2

_TCP_INFO, _TCP_REPAIR, _TCP_SAVE_SYN, _TCP_SAVED_SYN = 11, 19, 27, 28
_REPAIR_ON, _REPAIR_OFF_SILENTLY = 1, -1  # TCP_REPAIR_OFF_NO_WP: without a window probe
_TIMESTAMPS_IN_USE: Final = 1  # TCPI_OPT_TIMESTAMPS
_FIELDS = struct.Struct("=5xB10xI40xI20xI")  # struct tcp_info: tcpi_options, tcpi_snd_mss, tcpi_pmtu, tcpi_advmss
_SYN_MOST: Final = 256  # two headers with all their options
_BODY = struct.Struct("!4sBBBBQHHHHH6x")  # ..., kind, tcp_mtu_probing, timestamps, nonce, four sizes, a port
_MAGIC: Final = b"kTCP"  # not a datagram's: neither can be taken for the other
_HALF_WINDOW: Final = 30_000  # from here on half a window may be what limits (include/net/tcp.h tcp_bound_to_half_wnd)
_PROBING_ALWAYS: Final = 2
_HEADERS: Final = {4: IPV4.size + TCP.size, 6: IPV6.size + TCP.size}
_NO_OPTION: Final = {4: 536, 6: 1220}


class ObservedMss(NamedTuple):
    """What one end sees of its own side; `port` is the asker's, the rest as in pathfacts.Segments."""

    arrived: int
    announced: int
    sends: int
    pmtu: int
    port: int
    timestamps: bool
    probing: int


def probing() -> int:
    """Read net.ipv4.tcp_mtu_probing, for both families, of the calling thread's network namespace; 0 if it cannot."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/proc/sys/net/ipv4/tcp_mtu_probing").read_text())
    return 0


def keep_syn(listening: socket.socket) -> None:
    """Have the kernel keep the SYN of each connection that comes to this socket. Raises OSError."""
    listening.setsockopt(socket.IPPROTO_TCP, _TCP_SAVE_SYN, 1)


def asker(sock: socket.socket, family: channel.Family, tcp_mtu_probing: int) -> ObservedMss:
    """Read what the end that has opened a connection sees. Raises OSError."""
    observed = _look(sock, int(sock.getsockname()[1]), tcp_mtu_probing)
    return observed._replace(arrived=_of_answer(sock, observed, family))


def asked(sock: socket.socket, family: channel.Family, port: int, tcp_mtu_probing: int) -> ObservedMss:
    """Read what the end that accepted a connection from `port` sees, once: a SYN is read once. Raises OSError."""
    return _look(sock, port, tcp_mtu_probing)._replace(arrived=_of_syn(sock, family))


def _look(sock: socket.socket, port: int, tcp_mtu_probing: int) -> ObservedMss:
    options, sends, pmtu, announced = _FIELDS.unpack(sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _FIELDS.size))
    timestamps = bool(options & _TIMESTAMPS_IN_USE)
    announced += TIMESTAMPS if timestamps else 0
    return ObservedMss(0, announced, sends, min(pmtu, wire.LARGEST), port, timestamps, tcp_mtu_probing)


def _of_answer(sock: socket.socket, observed: ObservedMss, family: channel.Family) -> int:
    """Return the MSS that arrived in the answer to our SYN; 0 when something smaller hides it."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, _REPAIR_ON)
        try:
            return int(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))
        finally:
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, _REPAIR_OFF_SILENTLY)
    mss = observed.sends + (TIMESTAMPS if observed.timestamps else 0)
    hidden = mss >= min(observed.pmtu - _HEADERS[family], _HALF_WINDOW) or observed.probing >= _PROBING_ALWAYS
    return 0 if hidden else mss


def _of_syn(sock: socket.socket, family: channel.Family) -> int:
    """Return the MSS that arrived in the SYN; 0 when the kernel has not kept it, or it has IPv6 extension headers."""
    packet = b""
    with contextlib.suppress(OSError):  # it is longer than what we ask for, or this kernel keeps none
        packet = sock.getsockopt(socket.IPPROTO_TCP, _TCP_SAVED_SYN, _SYN_MOST)
    if family == 4:
        start = (packet[0] & 0x0F) * 4 if packet else 0
    else:
        start = IPV6.size if len(packet) > IPV6.size and packet[6] == socket.IPPROTO_TCP else 0
    head = packet[start:]
    if not start or len(head) < TCP.size:
        return 0
    return option(head[TCP.size : (head[12] >> 4) * 4]) or _NO_OPTION[family]


def option(options: bytes) -> int:
    """Find the MSS among the options of a TCP header (RFC 9293 3.1), 0 when there is none."""
    place = 0
    while place < len(options) and (kind := options[place]):
        if kind == 1:  # no operation, the only one without a length
            place += 1
            continue
        length = options[place + 1] if place + 1 < len(options) else 0
        if kind == 2 and length == 4 and place + 4 <= len(options):
            return int.from_bytes(options[place + 2 : place + 4], "big")
        place += max(length, 2)
    return 0


def pack(kind: int, nonce: int, observed: ObservedMss) -> bytes:
    """Pack the body of a question or an answer, to be sealed."""
    sizes = (observed.arrived, observed.announced, observed.sends, observed.pmtu, observed.port)
    head = (_MAGIC, wire.VERSION, kind, min(observed.probing, 0xFF), observed.timestamps, nonce)
    return _BODY.pack(*head, *(min(size, 0xFFFF) for size in sizes))


def unpack(kind: int, message: bytes, key: wire.Key) -> tuple[int, ObservedMss] | None:
    """Read the nonce and what the other end sees; None when it is not sealed with this key, or something else."""
    if len(message) != wire.LENGTH or not key.opens(message):
        return None
    magic, version, kind_found, probed, timestamps, nonce, *sizes = _BODY.unpack_from(message)
    if (magic, version, kind_found) != (_MAGIC, wire.VERSION, kind):
        return None
    arrived, announced, sends, pmtu, port = sizes
    return nonce, ObservedMss(arrived, announced, sends, pmtu, port, bool(timestamps), probed)


def compare(ours: ObservedMss, theirs: ObservedMss, family: channel.Family) -> BothDirections:
    """Join what both ends of a connection see into what each of them is made to believe."""
    relayed = ours.port != theirs.port

    def one(sender: ObservedMss, receiver: ObservedMss) -> Segments:
        at_least = sender.sends + (TIMESTAMPS if sender.timestamps else 0)
        return Segments(
            announced_mss=receiver.announced,
            received_mss=sender.arrived or (receiver.announced if at_least >= receiver.announced else 0),
            segment_payload=sender.sends,
            path_mtu=sender.pmtu,
            header_bytes=_HEADERS[family],
            timestamps=sender.timestamps,
            tcp_mtu_probing=sender.probing,
            relayed=relayed,
        )

    return BothDirections(forward=one(ours, theirs), backward=one(theirs, ours))

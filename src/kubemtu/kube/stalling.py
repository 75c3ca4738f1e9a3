"""What the kernel shows of a TCP connection on which nothing comes: whether a packet is missing, and for its size.

Sources: tcp(7); include/uapi/linux/tcp.h struct tcp_info; RFC 9293 3.7.1.
"""

import fcntl
import socket
import sys
import termios
from typing import Final, Literal

import msgspec

_TIMESTAMPS: Final = 1  # TCPI_OPT_TIMESTAMPS
_SO_MEMINFO: Final = 55  # include/uapi/asm-generic/socket.h; its first word is what received data takes

Direction = Literal["inbound", "outbound"]


class SocketState(msgspec.Struct, frozen=True, kw_only=True):
    """What a socket shows. `segment` is what it announces, `sends` what it may send, both as an MSS counts: without
    IP and TCP headers (RFC 9293 3.7.1). `received` and `acked` count bytes, `unacked` and `sacked` segments,
    `retransmits` timeouts in a row. `overtaken`: segments have arrived that one before them is missing to.
    """

    family: int = 4
    segment: int = 0
    sends: int = 0
    received: int = 0
    acked: int = 0
    overtaken: bool = False
    unacked: int = 0
    sacked: int = 0
    retransmits: int = 0


class StallWatch:
    """Tells whether a connection stands still for the size of one packet, from several looks at its socket."""

    def __init__(self, raw: socket.socket, patience: float | None) -> None:
        self._raw = raw
        self._patience = patience
        self._since: tuple[float, int, int] | None = None  # when a packet was first missing, and what had arrived then

    @property
    def missing(self) -> bool:
        """Whether a packet was missing at the last look."""
        return self._since is not None

    def held_up(self, now: float) -> bool:
        """Look once more; whether the same packet has been missing for too long."""
        seen = shown(self._raw)
        if seen is None or self._patience is None or missing(seen) is None:
            self._since = None
            return False
        if self._since is None or self._since[1:] != (seen.received, seen.acked):
            self._since = (now, seen.received, seen.acked)
        return now - self._since[0] >= self._patience


def missing(state: SocketState | None) -> Direction | None:
    """Say which way a packet is missing that later ones have overtaken, sent again twice or more where we can know."""
    if state is None:
        return None
    if state.overtaken:
        return "inbound"
    return "outbound" if state.unacked and state.sacked and state.retransmits >= 2 else None


def shown(raw: socket.socket) -> SocketState | None:
    """Read struct tcp_info of a socket, and what waits in it; None where the kernel has none, or it is closed.

    Received memory that is in use while nothing can be read is that of later segments: they are charged as they come,
    and wait for the one before them (net/ipv4/tcp_input.c tcp_data_queue_ofo).
    """
    try:
        tcp_info = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        memory = int.from_bytes(raw.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4), sys.byteorder)
        readable = int.from_bytes(fcntl.ioctl(raw, termios.FIONREAD, bytes(4)), sys.byteorder)
    except (OSError, AttributeError, ValueError):
        return None

    def number(place: int, size: int = 4) -> int:
        return int.from_bytes(tcp_info[place : place + size], sys.byteorder) if len(tcp_info) >= place + size else 0

    stamps = 12 if len(tcp_info) > 5 and tcp_info[5] & _TIMESTAMPS else 0
    return SocketState(
        family=6 if raw.family == socket.AF_INET6 else 4,
        segment=number(84) + stamps,
        sends=number(16) + stamps,
        received=number(128, 8),
        acked=number(120, 8),
        overtaken=memory > 0 and readable == 0,
        unacked=number(24),
        sacked=number(28),
        retransmits=number(2, 1),
    )


def packet(segment: int, family: int) -> int:
    """Return the size of the packet that a segment of that MSS makes, in bytes (RFC 791, 8200, 9293)."""
    return segment + 20 + (20 if family == 4 else 40)

"""The largest packet that arrives at a TCP port, told by the other end's own TCP: for hosts that answer nothing else.

A connection is opened as any client does. Then segments are sent that the other end has had already, as far as it can
tell: their sequence numbers end where its next one begins. It must acknowledge each at once and hand nothing of it to
its application (RFC 9293 3.10.7.4; net/ipv4/tcp_input.c tcp_data_queue), and the acknowledgement is small. So nothing
is said to the service, and whether a segment of some size arrives shows in tcpi_segs_in.

Sequence numbers are read in TCP_REPAIR, which needs CAP_NET_ADMIN, and segments go out by a raw socket with DF, which
needs CAP_NET_RAW. Only this direction is measured. All sizes are of whole IP packets, in bytes.
"""

import contextlib
import errno
import select
import socket
import struct
import time
from typing import Final

import msgspec

from kubemtu.core import headers
from kubemtu.core.path import search
from kubemtu.core.path.direction import TIMESTAMPS
from kubemtu.node.probe import channel, checksum

LIMITS: Final = (
    "measured with TCP segments to port {port} that its application never sees, because nothing else is answered there:"
    " forwards only"
)
CONTROL: Final = 100  # bytes: every path carries it, so where it is not acknowledged nothing can be told
TRIES: Final = 3  # of each size
PATIENCE: Final = 0.35  # seconds for an acknowledgement, where the round trip is not longer
CONNECTING: Final = 1.5  # seconds
QUIET: Final = 0.1  # seconds in which the other end sends nothing by itself, before anything is counted
REOPENED_MOST: Final = 4
_GLANCE: Final = 0.005
_TCP_REPAIR, _TCP_REPAIR_QUEUE, _TCP_QUEUE_SEQ, _TCP_TIMESTAMP = 19, 20, 21, 24
_RECEIVING, _SENDING = 1, 2
_ON, _OFF_SILENTLY = 1, -1
_INFO_LENGTH: Final = 144  # struct tcp_info up to tcpi_segs_in
_ESTABLISHED: Final = 1
_ACK: Final = 0x10


class Sized(msgspec.Struct, frozen=True, kw_only=True):
    """What was found; `believed` the path MTU that the kernel held before, and `after` now, 0 when unknown."""

    search: search.SearchResult
    path_mtu_before: int
    path_mtu_after: int


class _Gone(Exception):
    """The other end has closed, or does not acknowledge any more."""


class _OpenConnection:
    """One connection, and the raw socket beside it."""

    def __init__(self, address: channel.Address) -> None:
        """Connect. Raises OSError."""
        self.family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.address = address
        self.sock = socket.socket(self.family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.raw: socket.socket | None = None
        self.quoted = 0  # the smallest MTU that a router has claimed
        try:
            self.sock.settimeout(CONNECTING)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
            self.sock.connect(address)
            self.sock.setblocking(False)
            self.raw = socket.socket(self.family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_TCP)
            level, option, errors = (
                (socket.IPPROTO_IP, channel.IP_MTU_DISCOVER, channel.IP_RECVERR)
                if self.family == socket.AF_INET
                else (socket.IPPROTO_IPV6, channel.IPV6_MTU_DISCOVER, channel.IPV6_RECVERR)
            )
            self.raw.setsockopt(level, option, channel.IP_PMTUDISC_PROBE)
            self.raw.setsockopt(level, errors, 1)
            self.raw.connect((address[0], 0))  # it hears of no other host's packets
            self.raw.setblocking(False)
            self._settle()
            self.sent, self.got = self._numbers()
            self.timestamps = bool(self._info()[5] & 1)  # TCPI_OPT_TIMESTAMPS
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Reset the connection, and leave nothing behind."""
        self.sock.close()
        if self.raw is not None:
            self.raw.close()

    @property
    def overhead(self) -> int:
        """What of a packet is not payload."""
        ip = headers.IPV4.size if self.family == socket.AF_INET else headers.IPV6.size
        return ip + headers.TCP.size + (TIMESTAMPS if self.timestamps else 0)

    def arrives(self, size: int, patience: float) -> bool:
        """Send one packet of that size; say whether the other end has answered. Raises _Gone, OSError."""
        before = self._counted()
        self._send(size)
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if self._counted() != before:
                return True
            time.sleep(_GLANCE)
        self._hear()
        return False

    def _hear(self) -> None:
        """Note what routers say. TCP itself believes none of it: the segments it is about are not under way."""
        assert self.raw is not None
        with contextlib.suppress(OSError):
            while True:
                _, ancillary, _, _ = self.raw.recvmsg(0, 512, channel.MSG_ERRQUEUE)
                for _, _, content in ancillary:
                    if len(content) >= channel.EXTENDED_ERROR.size:
                        code, origin, _, _, _, mtu, _ = channel.EXTENDED_ERROR.unpack_from(content)
                        if code == errno.EMSGSIZE and origin != channel.ORIGIN_LOCAL and mtu:
                            self.quoted = min(self.quoted or mtu, mtu)

    def rtt(self) -> float:
        """Return the round trip that the kernel has measured, in seconds."""
        return float(struct.unpack_from("=I", self._info(), 68)[0]) / 1e6

    def _settle(self) -> None:
        """Wait until the other end has said what it says by itself, such as a greeting."""
        until = time.monotonic() + 1
        waiting = select.poll()
        waiting.register(self.sock, select.POLLIN)
        while time.monotonic() < until and waiting.poll(QUIET * 1000):
            with contextlib.suppress(BlockingIOError):
                if not self.sock.recv(65536):
                    raise OSError(errno.ECONNRESET, "closed")

    def _numbers(self) -> tuple[int, int]:
        """Read the next sequence numbers of both directions."""
        self.sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, _ON)
        try:
            found = []
            for queue in (_SENDING, _RECEIVING):
                self.sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_QUEUE, queue)
                held = self.sock.getsockopt(socket.IPPROTO_TCP, _TCP_QUEUE_SEQ, 4)
                found.append(int.from_bytes(held, "little") if isinstance(held, bytes) else held)
            return found[0], found[1]
        finally:
            self.sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, _OFF_SILENTLY)

    def _info(self) -> bytes:
        return self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_LENGTH)

    def _counted(self) -> int:
        info = self._info()
        if info[0] != _ESTABLISHED or len(info) < _INFO_LENGTH:
            raise _Gone
        return int(struct.unpack_from("=I", info, 140)[0])

    def _send(self, size: int) -> None:
        assert self.raw is not None
        payload = size - self.overhead
        options = b""
        if self.timestamps:
            stamp = self.sock.getsockopt(socket.IPPROTO_TCP, _TCP_TIMESTAMP)
            options = struct.pack("!BBBBII", 1, 1, 8, 10, stamp & 0xFFFFFFFF, 0)
        ports = (self.sock.getsockname()[1], self.sock.getpeername()[1])
        offset = (headers.TCP.size + len(options)) // 4 << 4
        seq = (self.sent - payload) & 0xFFFFFFFF
        head = struct.pack("!HHIIBBHHH", *ports, seq, self.got, offset, _ACK, 1024, 0, 0) + options
        segment = head + bytes(payload)
        total = checksum.of(self._pseudo(len(segment)) + segment)
        segment = segment[:16] + struct.pack("!H", total) + segment[18:]
        for attempt in (1, 2):
            try:
                self.raw.send(segment)
            except BlockingIOError:
                return
            except OSError as error:  # what a router said of the one before is told here
                if attempt == 2 or error.errno != errno.EMSGSIZE:
                    raise
                self._hear()
            else:
                return

    def _pseudo(self, length: int) -> bytes:
        """Return the pseudo header of the checksum: RFC 9293 3.1, RFC 8200 8.1."""
        source, there = self.sock.getsockname()[0], self.address[0]
        both = socket.inet_pton(self.family, source) + socket.inet_pton(self.family, there)
        if self.family == socket.AF_INET:
            return both + struct.pack("!BBH", 0, socket.IPPROTO_TCP, length)
        return both + struct.pack("!IHBB", length, 0, 0, socket.IPPROTO_TCP)


def largest(address: channel.Address) -> Sized | None:
    """Find the largest packet that arrives at that TCP port, in the calling thread's network namespace.

    None when nobody listens there, or its TCP does not acknowledge what it has had. Raises OSError without the right
    to look at sequence numbers or to send.
    """
    try:
        opened = _OpenConnection(address)
    except (TimeoutError, ConnectionError):
        return None
    except OSError as error:
        if error.errno in {errno.EPERM, errno.EACCES}:
            raise
        return None
    try:
        return _Search(opened).run()
    finally:
        opened.close()


class _Search:
    """The sizes that were tried on one connection, and on those after it, when it was closed meanwhile."""

    def __init__(self, opened: _OpenConnection) -> None:
        self._opened = opened
        self._reopened = 0
        self._patience = max(PATIENCE, 3 * opened.rtt())
        self.packets = self.arrived = self.losses = self.quoted = 0

    def run(self) -> Sized | None:
        """Search between what every path carries and what is believed to fit."""
        believed = self._believed()
        try:
            if believed <= CONTROL or not self._fits(CONTROL):
                return None
            low, high = CONTROL, believed + 1
            if self._fits(believed):
                low = believed
            else:
                high = believed
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if self._fits(middle) else (low, middle)
            if low < believed and not self._fits(low):
                return None  # it changes, or is lost for another reason
        except (_Gone, TimeoutError, ConnectionError):
            return None
        finally:
            after = self._believed()
            self._opened.close()
        quotes = (
            (search.TooBig(mtu=self.quoted, router=None, refused_size=believed),) if 0 < self.quoted < believed else ()
        )
        whole = low >= believed
        found = search.SearchResult(
            ending="exact",
            mtu=low,
            limit="own interface" if whole else "router" if quotes else "silence",
            next_size_losses=self.losses,
            fitting_packets=self.arrived,
            fitting_lost=0,
            rounds=1,
            packets=self.packets,
            interface_mtu=believed,
            too_big=quotes,
        )
        return Sized(search=found, path_mtu_before=believed, path_mtu_after=self.quoted or after or believed)

    def _fits(self, size: int) -> bool:
        for _ in range(TRIES):
            self.packets += 1
            try:
                if self._opened.arrives(size, self._patience):
                    self.arrived += 1
                    return True
            except _Gone:
                self._again()
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    return False
                raise
        self.losses += TRIES
        self.quoted = self._opened.quoted or self.quoted
        return False

    def _again(self) -> None:
        self._reopened += 1
        address = self._opened.address
        self._opened.close()
        if self._reopened > REOPENED_MOST:
            raise _Gone
        self._opened = _OpenConnection(address)

    def _believed(self) -> int:
        level, option = (
            (socket.IPPROTO_IP, channel.IP_MTU)
            if self._opened.family == socket.AF_INET
            else (socket.IPPROTO_IPV6, channel.IPV6_MTU)
        )
        with contextlib.suppress(OSError):
            return int(self._opened.sock.getsockopt(level, option))
        return 0

"""Datagrams with DF at the limit, each numbered, each accounted for.

What a sender may be told, and what the books make of it:

    send() says EMSGSIZE       refused here; the datagram is made smaller and sent under the same number
    error queue, origin ICMP   that very number was dropped on the way, and its sender knows: told
    send() says ENOBUFS        that very number was dropped by the other end of the sender's own veth. Only sockets
                               with IP_RECVERR hear of it; to all others send() reports success (Linux net/ipv4/udp.c,
                               udp_send_skb). We listen to know the number, and count it as ordinary programs live it:
                               sent, and lost silently
"""

import errno
import math
import socket
import time
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

from kubemtu_lab.traffic import plan, sockets, wire
from kubemtu_lab.traffic.loop import Loop
from kubemtu_lab.traffic.numbers import Numbers, per_interval

_LOOK_AGAIN = 0.25  # seconds between looks whether the path takes more by now
_LATE = 0.05  # seconds of delay that are made up for; beyond, the machine is too slow and bursts would not mend it
_ATTEMPTS = 4  # sends of one number within one turn
_LARGEST = 65_535  # bytes, RFC 791 total length; loopback claims one more
_BATCH = 256  # datagrams taken before other descriptors get their turn
_RUNS_A_LINE = 4000  # entries; keeps a line below the 64 KiB that pipes and stream readers hold


class Sender:
    """The sending end of one flow, and its book."""

    def __init__(self, loop: Loop, flow: plan.UdpFlow) -> None:
        self.flow = flow
        self._loop = loop
        self._socket = sockets.datagrams_to(flow.address, plan.PORT)
        self._headers = sockets.udp_headers(self._socket.family)
        self._packet = bytearray(_LARGEST)
        self._view = memoryview(self._packet)
        self._size = 0
        self._resting = False
        self._due = 0.0
        self._look_again = 0.0
        self._sent_at = array("d")
        self._refused_at = array("d")
        self._failed_at = array("d")
        self._errors: Counter[str] = Counter()
        self._sizes: list[tuple[float, int]] = []  # since when, which size
        self.told = Numbers()
        self._swallowed = Numbers()

    @property
    def sent(self) -> int:
        """How many datagrams have left."""
        return len(self._sent_at)

    def start(self, at: float) -> None:
        """Begin to send."""
        self._resize(sockets.path_mtu(self._socket))
        self._loop.watch(self._socket.fileno(), self._heard, mask=0)  # epoll always tells of errors
        # Flows of one pod are spread over their period, or they would all leave in one burst.
        self._due = at + (self.flow.id * 0.618 % 1) / self.flow.per_second
        self._loop.at(self._due, self._turn)

    def rest(self) -> None:
        """Send no more; news of what is under way is still taken in."""
        self._resting = True

    def _turn(self) -> None:
        if self._resting:
            return
        now = time.monotonic()
        if now >= self._look_again:
            self._look_again = now + _LOOK_AGAIN
            self._resize(max(self._size, sockets.path_mtu(self._socket)))
        self._send()
        self._due = max(self._due + 1 / self.flow.per_second, now - _LATE)
        self._loop.at(self._due, self._turn)

    def _send(self) -> None:
        number = len(self._sent_at)
        for _ in range(_ATTEMPTS):
            wire.DATAGRAM.pack_into(self._packet, 0, wire.MAGIC, self.flow.id, number, self._size)
            now = time.monotonic()
            try:
                self._socket.send(self._view[: self._size - self._headers])
            except BlockingIOError:
                return  # its own queue is full; nothing was sent and nothing lost
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    self._swallowed.add(number)
                    self._sent_at.append(now)
                    return
                icmp, refused = self._listen()
                if refused:
                    self._refused_at.append(now)
                elif not icmp:  # an ICMP error is reported a second time, by the next send; that is not another one
                    self._failed_at.append(now)
                    self._errors[errno.errorcode.get(error.errno or 0, "?")] += 1
                    return
                continue
            self._sent_at.append(now)
            return

    def _heard(self, _: int) -> None:
        self._listen()
        # An error whose entry found no room in the queue would wake us again and again.
        self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def _listen(self) -> tuple[int, int]:
        """Take in the error queue: how many ICMP errors came, and how many refusals of our own kernel."""
        icmp = refused = 0
        for error in sockets.queued_errors(self._socket):
            if error.origin == sockets.LOCAL:
                refused += error.errno == errno.EMSGSIZE
                continue
            icmp += 1
            self._errors[error.name] += 1
            number = self._number(error.quoted)
            if number is None:
                self._errors[f"{error.name}, not saying for which datagram"] += 1
            else:
                self.told.add(number)
        if icmp or refused:
            self._resize(min(self._size, sockets.path_mtu(self._socket)))
        return icmp, refused

    def _number(self, quoted: bytes) -> int | None:
        if len(quoted) < wire.DATAGRAM.size:
            return None
        magic, flow, number, _ = wire.DATAGRAM.unpack_from(quoted)
        return int(number) if (magic, flow) == (wire.MAGIC, self.flow.id) else None

    def _resize(self, size: int) -> None:
        size = min(max(size, self._headers + wire.DATAGRAM.size), _LARGEST)
        if size != self._size:
            self._size = size
            self._sizes.append((time.monotonic(), size))

    def _size_at(self, moment: float) -> int:
        return next((size for since, size in reversed(self._sizes) if since < moment), self._sizes[0][1])

    def books(self, marks: Sequence[float]) -> Iterator[wire.Books]:
        """Return what this end knows, by the intervals that `marks` open."""
        self._listen()
        yield wire.UdpSent(
            flow=self.flow.id,
            sent=len(self._sent_at),
            # What was sent is at or after the first mark by definition, whatever the clock's last digit says.
            firsts=(0, *(bisect_left(self._sent_at, mark) for mark in marks[1:])),
            refused=per_interval(self._refused_at, marks),
            failed=per_interval(self._failed_at, marks),
            sizes=tuple(self._size_at(end) for end in (*marks[1:], math.inf)),
            errors=dict(self._errors),
        )
        for runs in _lines(self.told):
            yield wire.IcmpReported(flow=self.flow.id, runs=runs)
        for runs in _lines(self._swallowed):
            yield wire.PortDropped(flow=self.flow.id, runs=runs)


class Receiver:
    """One bound socket for all flows that arrive in one address family, and their books."""

    def __init__(self, loop: Loop, family: socket.AddressFamily) -> None:
        self._socket = sockets.datagrams_at(family, plan.PORT)
        self._headers = sockets.udp_headers(family)
        self._packet = bytearray(1 << 16)
        self._books: dict[int, Numbers] = {}
        self._last: dict[int, int] = {}
        self._duplicates: Counter[int] = Counter()
        self._reordered: Counter[int] = Counter()
        self.received = 0
        loop.watch(self._socket.fileno(), self._arrived)

    @property
    def overflow(self) -> int:
        """Datagrams that did not fit the socket's buffer."""
        return sockets.overflow(self._socket)

    def _arrived(self, _: int) -> None:
        self._take(_BATCH)

    def _take(self, most: int) -> int:
        for taken in range(most):
            try:
                length = self._socket.recv_into(self._packet)
            except BlockingIOError:
                return taken
            if length < wire.DATAGRAM.size:
                continue
            magic, flow, number, size = wire.DATAGRAM.unpack_from(self._packet)
            if magic == wire.MAGIC and size == length + self._headers:
                self._enter(flow, number)
        return most

    def _enter(self, flow: int, number: int) -> None:
        book = self._books.get(flow)
        if book is None:
            book = self._books[flow] = Numbers()
        if not book.add(number):
            self._duplicates[flow] += 1
            return
        self.received += 1
        last = self._last.get(flow, -1)
        if number < last:
            self._reordered[flow] += 1
        else:
            self._last[flow] = number

    def books(self) -> Iterator[wire.Books]:
        """Return what arrived here, after taking what still waits in the buffer."""
        while self._take(_BATCH):
            pass
        for flow, book in self._books.items():
            for runs in _lines(book):
                yield wire.Received(flow=flow, runs=runs)
            yield wire.UdpArrivals(flow=flow, duplicates=self._duplicates[flow], reordered=self._reordered[flow])


def _lines(numbers: Numbers) -> Iterator[tuple[int, ...]]:
    flat: list[int] = []
    for start, stop in numbers.runs():
        flat += (start, stop)
        if len(flat) >= _RUNS_A_LINE:
            yield tuple(flat)
            flat = []
    if flat:
        yield tuple(flat)

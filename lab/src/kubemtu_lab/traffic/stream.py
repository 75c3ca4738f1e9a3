"""TCP connections that ask and that answer, over one epoll loop.

Every answer carries the CRC-32 of its question, so an answer proves that all of the question arrived as it was sent.
"""

import errno
import functools
import select
import socket
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from kubemtu_lab.traffic import plan, sockets, wire
from kubemtu_lab.traffic.loop import READABLE, WRITABLE, Loop

_PATTERN = bytes(range(256))


class ByteStream:
    """A connected TCP socket: what waits to be sent, what has come, and how it ended."""

    def __init__(
        self, loop: Loop, made: socket.socket, heard: Callable[[bytearray], None], ended: Callable[[str], None]
    ) -> None:
        self.socket = made
        self._loop = loop
        self._heard = heard
        self._ended = ended
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._retransmits = 0
        self.open = True
        loop.watch(made.fileno(), self._ready)

    @property
    def retransmits(self) -> int:
        """Segments sent again so far (tcpi_total_retrans)."""
        return sockets.tcp_info(self.socket).total_retrans if self.open else self._retransmits

    def send(self, content: bytes) -> None:
        """Send now what fits the socket's buffer, and the rest when it can."""
        self._outgoing += content
        self._flush()

    def close(self, *, abort: bool = False) -> None:
        """Close the connection, if it is not closed; `abort`: with RST, forgetting what is still unacknowledged."""
        if self.open:
            if abort:
                sockets.abort_on_close(self.socket)
            self._retransmits = sockets.tcp_info(self.socket).total_retrans
            self.open = False
            self._loop.forget(self.socket.fileno())
            self.socket.close()

    def _flush(self) -> None:
        try:
            while self._outgoing:
                del self._outgoing[: self.socket.send(self._outgoing)]
        except BlockingIOError:
            self._loop.watch(self.socket.fileno(), self._ready, READABLE | WRITABLE)
        except OSError as error:
            self._end(error_name(error.errno))
        else:
            self._loop.watch(self.socket.fileno(), self._ready)

    def _ready(self, mask: int) -> None:
        if mask & WRITABLE and self._outgoing:
            self._flush()
        if self.open and mask & ~WRITABLE:
            self._read()

    def _read(self) -> None:
        try:
            content = self.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error_name(error.errno))
            return
        if not content:
            self._end("closed by the peer")
            return
        self._incoming += content
        self._heard(self._incoming)

    def _end(self, why: str) -> None:
        self.close()
        self._ended(why)


class Server:
    """Answers every question that comes, in all address families of the pod."""

    def __init__(self, loop: Loop, families: Sequence[socket.AddressFamily]) -> None:
        self._loop = loop
        self._answering: set[_Answering] = set()
        self._served: Counter[int] = Counter()
        self._retransmits = 0  # of connections that have ended
        for family in families:
            listening = sockets.listening(family, plan.PORT)
            loop.watch(listening.fileno(), functools.partial(self._accept, listening))

    @property
    def retransmits(self) -> int:
        """Segments that this side has sent again, on all connections."""
        return self._retransmits + sum(one.stream.retransmits for one in self._answering)

    def books(self) -> Iterator[wire.Books]:
        """Say how many questions of each flow were answered."""
        for flow, answers in self._served.items():
            yield wire.TcpServed(flow=flow, answers=answers)

    def abort(self) -> None:
        """End all connections at once."""
        for one in self._answering:
            one.stream.close(abort=True)

    def _accept(self, listening: socket.socket, _: int) -> None:
        while True:
            try:
                made, _address = listening.accept()
            except BlockingIOError:
                return
            made.setblocking(False)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._answering.add(_Answering(self._loop, made, self._served, self._ended))

    def _ended(self, exchange: "_Answering") -> None:
        self._retransmits += exchange.stream.retransmits
        self._answering.discard(exchange)


class _Answering:
    """One accepted connection."""

    def __init__(
        self, loop: Loop, made: socket.socket, served: Counter[int], ended: Callable[["_Answering"], None]
    ) -> None:
        self._served = served
        self._ended = ended
        self.stream = ByteStream(loop, made, self._heard, self._lost)

    def _heard(self, incoming: bytearray) -> None:
        while self.stream.open and len(incoming) >= wire.QUESTION.size:
            magic, flow, number, length, wanted = wire.QUESTION.unpack_from(incoming)
            if magic != wire.MAGIC:
                self.stream.close()
                self._lost("not a question")
                return
            if len(incoming) < length:
                return
            size = max(wanted or sockets.full_segment(self.stream.socket), wire.ANSWER.size)
            head = wire.ANSWER.pack(wire.MAGIC, number, size, zlib.crc32(incoming[:length]))
            del incoming[:length]
            self._served[flow] += 1
            self.stream.send(head + bytes(size - len(head)))

    def _lost(self, _: str) -> None:
        self._ended(self)


class Exchange:
    """One connection that asks: from connect() to the last answer."""

    def __init__(
        self,
        loop: Loop,
        flow: plan.TcpFlow,
        connected: Callable[[], None],
        answered: Callable[[bool], None],
        ended: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._flow = flow
        self._connected = connected
        self._answered = answered
        self._ended = ended
        self._number = 0
        self._expected = 0
        self._stream: ByteStream | None = None
        self._socket = sockets.connection(sockets.family(flow.address))
        code = self._socket.connect_ex((flow.address, plan.PORT))
        if code in (0, errno.EINPROGRESS):
            loop.watch(self._socket.fileno(), self._decided, WRITABLE)
        else:
            # Told in a moment, so that whoever makes an exchange has it in hand before it can end.
            loop.at(0.0, lambda: self._broke(error_name(code)))

    @property
    def retransmits(self) -> int:
        """Segments that this side has sent again."""
        return self._stream.retransmits if self._stream else 0

    def ask(self) -> None:
        """Send a question; the connection must be up and its last question answered."""
        assert self._stream is not None
        self._number += 1
        length = max(self._flow.question or sockets.full_segment(self._stream.socket), wire.QUESTION.size)
        head = wire.QUESTION.pack(wire.MAGIC, self._flow.id, self._number, length, self._flow.answer)
        start = self._number % len(_PATTERN)
        body = (_PATTERN * (length // len(_PATTERN) + 2))[start : start + length - len(head)]
        question = head + body
        self._expected = zlib.crc32(question)
        self._stream.send(question)

    def tcp_info(self) -> sockets.TcpInfo | None:
        """Return TCP_INFO, while the connection is up."""
        return sockets.tcp_info(self._stream.socket) if self._stream and self._stream.open else None

    def close(self, *, abort: bool = False) -> None:
        """End it, whatever its state; `abort` as in ByteStream.close."""
        if self._stream:
            self._stream.close(abort=abort)
        elif self._socket.fileno() >= 0:
            self._loop.forget(self._socket.fileno())
            self._socket.close()

    def _decided(self, mask: int) -> None:
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code or mask & select.EPOLLHUP:
            self._broke(error_name(code))
            return
        self._stream = ByteStream(self._loop, self._socket, self._heard, self._ended)
        self._connected()

    def _broke(self, why: str) -> None:
        self.close()
        self._ended(why)

    def _heard(self, incoming: bytearray) -> None:
        if len(incoming) < wire.ANSWER.size:
            return
        magic, number, length, checksum = wire.ANSWER.unpack_from(incoming)
        if len(incoming) < length:
            return
        right = (magic, number, checksum) == (wire.MAGIC, self._number, self._expected) and len(incoming) == length
        incoming.clear()
        self._answered(right)


def error_name(code: int | None) -> str:
    """Return the kernel's name of an error number."""
    return errno.errorcode.get(code or 0, f"error {code}")

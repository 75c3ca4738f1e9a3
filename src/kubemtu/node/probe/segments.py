"""What TCP is made to believe on a path: an MSS clamp is found by what it does, whatever does it.

Both ends are ours. Each tells the other which MSS it announced in its SYN and which MSS of the other one arrived
(`mss`); what differs was changed on the way, by iptables, nftables, eBPF or a middlebox. TCP may take another of
several equal paths than the datagrams of a station do.

One exchange is forty bytes each way, sealed with the key, under a nonce of the asker. A captured question can be sent
again: whoever completes a TCP handshake for that learns in forty bytes what the handshake has told already, and cannot
pass it on, because every asker believes only its own nonce. So no address is sealed in, and NAT is no obstacle.
"""

import contextlib
import errno
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from kubemtu.core import errors, networks
from kubemtu.core.path.direction import BothDirections
from kubemtu.node.probe import channel, mss, wire

PATIENCE: Final = 2.0  # seconds for all of an exchange; a lost SYN is sent again after one (RFC 6298 2)
AT_ONCE: Final = 16  # connections, of friends and strangers together
SECONDS: Final = 1.0  # that a connection may last; a stranger's place stays taken for as long
BYTES: Final = 64  # read of a connection

_LINGER = struct.pack("=ii", 1, 0)  # closing resets, and leaves nothing behind in the kernel (socket(7))

Open = Callable[[channel.Family], socket.socket]


def open_socket(family: channel.Family) -> socket.socket:
    """Open a TCP socket in the calling thread's network namespace. Raises OSError."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    return socket.socket(kind, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.IPPROTO_TCP)


# Asking


def ask(
    address: channel.Address,
    key: wire.Key,
    *,
    patience: float = PATIENCE,
    open_socket: Open = open_socket,
    probing: Callable[[], int] = mss.probing,
) -> BothDirections | None:
    """Open a connection to a Listener and compare what both ends believe; None when there is none, or no other key.

    `address` is as socket calls want it. It takes two round trips and at most `patience` seconds. `open_socket` and
    `probing` are called once each, and may do their work in another network namespace.
    """
    until = time.monotonic() + patience
    family = networks.family(address[0])
    with contextlib.suppress(OSError), open_socket(family) as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        if sock.connect_ex(address) not in {0, errno.EINPROGRESS} or not _ready(sock, select.POLLOUT, until):
            return None
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return None
        here = mss.asker(sock, family, probing())
        nonce = channel.nonce()
        sock.send(key.seal(mss.pack(mss.ASK, nonce, here)))
        answer = b""
        while len(answer) < wire.LENGTH and _ready(sock, select.POLLIN, until):
            got = sock.recv(wire.LENGTH - len(answer))
            if not got:
                return None
            answer += got
        told = mss.unpack(mss.TELL, answer, key)
        return mss.compare(here, told[1], family) if told is not None and told[0] == nonce else None
    return None


def _ready(sock: socket.socket, event: int, until: float) -> bool:
    waiting = select.poll()
    waiting.register(sock, event)
    return bool(waiting.poll(max(until - time.monotonic(), 0) * 1000))


# Answering


class _Connection(msgspec.Struct, gc=False):
    """One connection: who it is with does not matter before it has shown the key."""

    sock: socket.socket
    family: channel.Family
    port: int
    until: float
    got: bytes = b""
    answered: bool = False


class TcpListener:
    """Answers `ask` on one TCP port of each family; strangers get nothing, and no more than AT_ONCE places.

    It is driven from outside: `fileno` becomes readable when there is something to do for `step`, and `wake` says when
    to call `step` if it does not. A place is free again when its connection is answered and ended, or after SECONDS; as
    long as all are taken, others wait in the kernel's queue, so a flood costs AT_ONCE turns a second and no more.
    """

    def __init__(
        self,
        key: wire.Key,
        port: int,
        *,
        families: Iterable[channel.Family] = (4, 6),
        open_socket: Open = open_socket,
        probing: Callable[[], int] = mss.probing,
    ) -> None:
        """Open its sockets by `open_socket`; `probing` is asked for each answer. Raises UsageError or Unreachable.

        `port` 0 takes any, the same for all families.
        """
        self.key = key
        self.port = port
        self.answered = 0
        self.refused = 0
        self._probing = probing
        self._epoll = select.epoll()
        self._listening: dict[int, tuple[socket.socket, channel.Family]] = {}
        self._connections: dict[int, _Connection] = {}
        self._taken: list[float] = []  # until when a place stays taken whose stranger is gone
        self._open = True
        try:
            for family in families:
                self._listen(family, open_socket)
        except BaseException:
            self.close()
            raise

    def _listen(self, family: channel.Family, opened: Open) -> None:
        try:
            sock = opened(family)
        except OSError as error:
            raise errors.Unreachable(f"this machine has no IPv{family} for TCP: {error.strerror}") from error
        self._listening[sock.fileno()] = (sock, family)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            mss.keep_syn(sock)
            if family == 6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(("", self.port) if family == 4 else ("::", self.port))
            sock.listen(AT_ONCE)
        except OSError as error:
            raise errors.UsageError(f"TCP port {self.port} cannot be used: {error.strerror}; choose another") from error
        self.port = int(sock.getsockname()[1])
        self._epoll.register(sock, select.EPOLLIN)

    def fileno(self) -> int:
        """Return the descriptor to poll for reading: it stands for all of its sockets."""
        return self._epoll.fileno()

    def wake(self) -> float:
        """Return when to call `step` next if nothing comes, on its clock; infinite when nothing is waited for."""
        return min((*self._taken, *(one.until for one in self._connections.values())), default=float("inf"))

    def close(self) -> None:
        """End all of its connections, and listening."""
        for one in self._connections.values():
            one.sock.close()
        for sock, _ in self._listening.values():
            sock.close()
        self._connections.clear()
        self._listening.clear()
        self._epoll.close()

    def step(self, now: float) -> None:
        """Do what is due, without waiting; `now` is in seconds on any clock that the caller keeps to."""
        for descriptor, _ in self._epoll.poll(0):
            if descriptor in self._listening:
                self._accept(*self._listening[descriptor], now)
            elif descriptor in self._connections:
                self._hear(descriptor, now)
        for descriptor in [place for place, one in self._connections.items() if one.until <= now]:
            self._end(descriptor, now)
        self._taken = [until for until in self._taken if until > now]
        self._admit()

    def _admit(self) -> None:
        """Listen, or leave newcomers in the queue, by whether there is room."""
        if (room := self._room() > 0) is not self._open:
            self._open = room
            for sock, _ in self._listening.values():
                self._epoll.modify(sock, select.EPOLLIN if room else 0)

    def _room(self) -> int:
        return AT_ONCE - len(self._connections) - len(self._taken)

    def _accept(self, listening: socket.socket, family: channel.Family, now: float) -> None:
        while self._room() > 0:
            try:
                sock, address = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # no descriptor is left: ask again when all places would be free
                self._taken += [now + SECONDS] * self._room()
                return
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            self._epoll.register(sock, select.EPOLLIN)
            self._connections[sock.fileno()] = _Connection(sock, family, int(address[1]), now + SECONDS)

    def _hear(self, descriptor: int, now: float) -> None:
        one = self._connections[descriptor]
        try:
            got = one.sock.recv(BYTES - len(one.got))
        except BlockingIOError:
            return
        except OSError:
            got = b""
        one.got += got
        if not got or one.answered or len(one.got) > wire.LENGTH:
            self._end(descriptor, now)
        elif len(one.got) == wire.LENGTH:
            self._answer(descriptor, one, now)

    def _answer(self, descriptor: int, one: _Connection, now: float) -> None:
        question = mss.unpack(mss.ASK, one.got, self.key)
        if question is None:
            self._end(descriptor, now)
            return
        try:
            seen = mss.asked(one.sock, one.family, one.port, self._probing())
            one.answered = True
            self.answered += 1
            one.sock.send(self.key.seal(mss.pack(mss.TELL, question[0], seen)))
        except OSError:
            self._end(descriptor, now)

    def _end(self, descriptor: int, now: float) -> None:
        """End a connection; the place of one that was not answered stays taken until it would have ended anyway."""
        one = self._connections.pop(descriptor)
        if not one.answered:
            self.refused += 1
            if one.until > now:
                self._taken.append(one.until)
        one.sock.close()

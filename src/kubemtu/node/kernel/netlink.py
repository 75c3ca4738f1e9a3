"""Speaks rtnetlink, raw: packs messages, collects acks and dumps, listens to events.

Our own 300 lines over `struct` and `socket` instead of pyroute2, because the change of one MTU is the product's inner
loop: measured with 250 and 1000 veth pairs on one machine, pyroute2 takes 366-509 µs a change and 226-301 ms to
import, this takes 42 µs (of which the kernel itself needs 17-20). It also keeps the routes' bytes, and only a message
that goes back to the kernel as it came restores a route exactly.

Formats: RFC 3549; include/uapi/linux/netlink.h, rtnetlink.h. All integers are in host byte order.

A message is never sent with IFLA_TARGET_NETNSID except to read: RTM_SETLINK with it *moves* the device into that
namespace. To change a link, open the socket inside the link's namespace (see node.kernel.netns).
"""

import array
import contextlib
import errno
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from kubemtu.node import errors
from kubemtu.node.kernel.remembered import remembered

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_SETLINK: Final = 19
RTM_NEWADDR: Final = 20
RTM_GETADDR: Final = 22
RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_GETROUTE: Final = 26
RTM_GETNSID: Final = 90

REQUEST: Final = 0x1
ACK: Final = 0x4
ECHO: Final = 0x8
DUMP_INTR: Final = 0x10
DUMP: Final = 0x300
REPLACE: Final = 0x100
ACK_TLVS: Final = 0x200

GROUP_LINK: Final = 1
GROUP_IPV4_ROUTE: Final = 7
GROUP_IPV6_ROUTE: Final = 11

_SOL_NETLINK: Final = 270
_ADD_MEMBERSHIP: Final = 1
_LISTEN_ALL_NSID: Final = 8
_CAP_ACK: Final = 10
_EXT_ACK: Final = 11
_GET_STRICT_CHK: Final = 12
_SIOCGSKNS: Final = 0x894C
_NLMSGERR_ATTR_MSG: Final = 1
_SO_RCVBUFFORCE: Final = 33
_NETNSA_NSID: Final = 1
_NETNSA_FD: Final = 3

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_U32 = struct.Struct("=I")
_I32 = struct.Struct("=i")

_CHUNK: Final = 32768  # what netlink_recvmsg() makes the most of (net/netlink/af_netlink.c)
_SHORT: Final = 1024  # bytes of an answer that is worth remembering
_BATCH: Final = 64  # acks of one batch: far below the smallest default receive buffer
_TRIES: Final = 8  # dumps that the kernel says were inconsistent are asked again
_PATIENCE: Final = struct.pack("@ll", 10, 0)  # seconds that an answer may take; rtnl is held by others, too

Request = tuple[int, int, bytes]  # type, flags, body


def attribute(kind: int, payload: bytes) -> bytes:
    """Pack one attribute, padded to 4 bytes."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def u32(kind: int, value: int) -> bytes:
    """Pack an attribute that holds one unsigned 32-bit number."""
    return _ATTRIBUTE.pack(8, kind) + _U32.pack(value)


def attributes(payload: bytes, start: int = 0) -> dict[int, bytes]:
    """Unpack attributes from `start` on; of two with the same type the last counts, as in the kernel's own parser."""
    values: dict[int, bytes] = {}
    unpack = _ATTRIBUTE.unpack_from
    end = len(payload)
    while start + 4 <= end:
        length, kind = unpack(payload, start)
        if length < 4:
            break
        values[kind & 0x3FFF] = payload[start + 4 : start + length]  # NLA_F_NESTED, NLA_F_NET_BYTEORDER cut off
        start += (length + 3) & ~3
    return values


def pick(payload: bytes, start: int, wanted: frozenset[int]) -> dict[int, bytes]:
    """Return a few of many attributes by their type: a link has about 45, and cutting out each costs."""
    values: dict[int, bytes] = {}
    halves = array.array("H", payload[: len(payload) & ~1])
    end = len(halves) - 1
    start //= 2
    while start < end:
        length = halves[start]
        if length < 4:
            break
        kind = halves[start + 1] & 0x3FFF
        if kind in wanted:
            values[kind] = payload[2 * start + 4 : 2 * start + length]
        start += (length + 3 & ~3) >> 1
    return values


def number(attributes: Mapping[int, bytes], kind: int) -> int | None:
    """Return the unsigned number in an attribute (1, 2, 4 or 8 bytes), or None when the attribute is absent."""
    payload = attributes.get(kind)
    return None if payload is None else int.from_bytes(payload, _ORDER)


_ORDER: Final = "little" if struct.pack("=H", 1) == b"\1\0" else "big"


class Reply:
    """What came back for one request: an errno (0: fine), the kernel's own words, and the bodies of its messages."""

    __slots__ = ("bodies", "code", "interrupted", "said")

    def __init__(self) -> None:
        """Start as a success without content."""
        self.code = 0
        self.said = ""
        self.interrupted = False
        self.bodies: list[bytes] = []

    def check(self, what: str, advice: str = "") -> None:
        """Raise Refused, Gone or Denied, with a sentence about `what`, unless the kernel agreed."""
        if self.code:
            raise errors.refusal(what, self.code, self.said, advice)


class Socket:
    """One rtnetlink socket, in the namespace of the thread that opened it, for one thread at a time.

    It keeps its namespace alive as long as it is open: close it when the namespace's pod is gone.
    """

    __slots__ = ("_socket",)

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        """Open; the kernel binds with the first message. `protocol` is another than rtnetlink for sock_diag(7).

        Raises OSError, which callers that open many turn into a sentence.
        """
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            for option in (_CAP_ACK, _EXT_ACK, _GET_STRICT_CHK):  # in the order in which Linux learned them
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
        except OSError:
            pass  # strict checking (dump filters) came with Linux 4.20; whoever filters does it again here
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)

    @property
    def port(self) -> int:
        """The number that events bear which this socket has caused; 0 before its first message."""
        number: int = self._socket.getsockname()[0]
        return number

    def __enter__(self) -> Self:
        """Return the socket itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the socket."""
        self.close()

    def close(self) -> None:
        """Close the socket, and let go of the namespace."""
        self._socket.close()

    def namespace(self) -> int:
        """Return a new descriptor of the socket's network namespace (ioctl SIOCGSKNS); the caller closes it."""
        import fcntl  # noqa: PLC0415  only those who enter need it

        return fcntl.ioctl(self._socket.fileno(), _SIOCGSKNS)

    def exchange(self, requests: Sequence[Request]) -> list[Reply]:
        """Send requests in batches and return one Reply each, in their order; errors are in the replies.

        A request ends with its ACK or the end of its DUMP, and one that carries neither flag with its first message;
        at most one DUMP, as the last. Raises Refused when the kernel does not answer at all.

        The kernel works in order, so what it answers to the last of a batch ends all before it. Only that one asks
        for its ACK, therefore: refusals come without asking, and each ACK less is a system call less (3 µs here).
        """
        answers = [Reply() for _ in requests]
        for start in range(0, len(requests), _BATCH):
            batch = requests[start : start + _BATCH]
            packed, single = _packed(tuple(batch))
            self._socket.send(packed)
            self._collect(answers[start : start + len(batch)], single)
        return answers

    def _collect(self, answers: Sequence[Reply], single: bool) -> None:
        """Read until the last request is answered; `single`: one message is its whole answer."""
        receive, last, waiting = self._socket.recv, len(answers) - 1, True
        while waiting:
            try:
                chunk = receive(_CHUNK)
            except OSError as error:
                what = "reading an answer over netlink"
                raise errors.refusal(what, error.errno or errno.EIO, advice="run the command again") from error
            for place, interrupted, body, end in _split(chunk) if len(chunk) > _SHORT else _split_short(chunk):
                answer = answers[place]
                if interrupted:
                    answer.interrupted = True
                if end is not None:
                    answer.code, answer.said = end
                else:
                    answer.bodies.append(body)
                if place == last and (single or end is not None):
                    waiting = False

    def dump(self, kind: int, body: bytes, what: str) -> list[bytes]:
        """Return the bodies of a whole dump; ask again while the kernel says that it changed underneath.

        Raises Refused, Gone or Denied with a sentence about `what`.
        """
        for _attempt in range(_TRIES):
            (answer,) = self.exchange([(kind, DUMP, body)])
            answer.check(what)
            if not answer.interrupted:
                return answer.bodies
        raise errors.Refused(f"{what}: it changed during each of {_TRIES} readings; try again later", errno.EINTR)

    def nsids(self, descriptors: Sequence[int]) -> list[int | None]:
        """Say how this namespace numbers the namespaces behind the descriptors; None where it has given no number."""
        requests = [(RTM_GETNSID, ACK, b"\0\0\0\0" + u32(_NETNSA_FD, descriptor)) for descriptor in descriptors]
        numbers: list[int | None] = []
        for answer in self.exchange(requests):
            found = attributes(answer.bodies[0], 4) if answer.bodies else {}
            given = _I32.unpack(found[_NETNSA_NSID])[0] if _NETNSA_NSID in found else -1
            numbers.append(None if given < 0 else given)
        return numbers


@remembered(1024)
def _packed(batch: tuple[Request, ...]) -> tuple[bytes, bool]:
    """Return the bytes of one batch, and whether one message is the whole answer to its last request.

    Remembered, since pods that are wired alike are asked alike.
    """
    packed, last = [], len(batch) - 1
    for place, (kind, flags, body) in enumerate(batch):
        asked = (flags if place == last else flags & ~ACK) | REQUEST
        packed.append(_HEADER.pack(16 + len(body), kind, asked, place, 0) + body)
    return b"".join(packed), batch[last][1] & (ACK | DUMP) == 0


Part = tuple[int, int, bytes, tuple[int, str] | None]  # sequence, interrupted, body, how the answer ended


def _split(chunk: bytes) -> tuple[Part, ...]:
    """Return the messages of one piece of an answer."""
    parts: list[Part] = []
    place = 0
    while place < len(chunk):
        length, kind, flags, sequence, _port = _HEADER.unpack_from(chunk, place)
        end = None
        if kind in (NLMSG_ERROR, NLMSG_DONE):
            code = -_I32.unpack_from(chunk, place + 16)[0] if length >= 20 else 0
            end = (code, _words(chunk[place : place + length], kind) if flags & ACK_TLVS else "")
        parts.append((sequence, flags & DUMP_INTR, chunk[place + 16 : place + length], end))
        place += (length + 3) & ~3
    return tuple(parts)


_split_short = remembered(4096)(_split)  # acks, and what pods that route alike answer


def _words(message: bytes, kind: int) -> str:
    """Return the text of an extended ack (NLMSGERR_ATTR_MSG), which follows the error and the capped request header."""
    start = 16 + 4 + (16 if kind == NLMSG_ERROR else 0)
    return attributes(message, start).get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")


class Notification:
    """One notification: its type, its body, the port of who caused it, and in which namespace.

    `nsid` is None for the listener's own namespace, else the number that this gives to the other one.
    """

    __slots__ = ("body", "kind", "nsid", "port")

    def __init__(self, kind: int, body: bytes, port: int, nsid: int | None) -> None:
        """Keep the parts."""
        self.kind = kind
        self.body = body
        self.port = port
        self.nsid = nsid


class Monitor:
    """Hears changes of links and routes, in its own namespace and in all that this one has a number for.

    NETLINK_LISTEN_ALL_NSID brings the pods' own events, so that a pod end that somebody changes, or a route that a
    CNI adds late, is seen without a socket in each pod (net/netlink/af_netlink.c, do_one_broadcast).
    """

    def __init__(self, size: int = 4 << 20) -> None:
        """Open and subscribe in the calling thread's namespace; `size` is the receive buffer in bytes.

        Raises Denied or Refused. 998 changes of links overflow the default buffer; 4 MiB keep them all.
        """
        self.everywhere = False  # whether the pods' own events are heard as well
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
                socket.NETLINK_ROUTE,
            )
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
            except PermissionError:  # root of a user namespace only: as much as net.core.rmem_max gives
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
            with contextlib.suppress(PermissionError):  # without it the pods' own events are missed, not the node's
                self._socket.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)  # takes CAP_NET_BROADCAST
                self.everywhere = True
            self._socket.bind((0, 0))
            for group in (GROUP_LINK, GROUP_IPV4_ROUTE, GROUP_IPV6_ROUTE):
                self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except OSError as error:
            raise errors.refusal("listening to the kernel's events", error.errno or errno.EIO) from error

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when something happened."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def events(self) -> Iterator[Notification]:
        """Everything that has happened since the last call, without waiting.

        Raises Overrun when the kernel had to drop events; the buffer is emptied first, and all must be read again.
        """
        lost = False
        while True:
            try:
                chunk, ancillary, _flags, _address = self._socket.recvmsg(_CHUNK, 64)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise errors.refusal("listening to the kernel's events", error.errno or errno.EIO) from error
                lost = True
                continue
            if not lost:
                yield from _events(chunk, ancillary)
        if lost:
            raise errors.Overrun("the kernel dropped events because they were read too late; everything is read again")


def _events(chunk: bytes, ancillary: Sequence[tuple[int, int, bytes]]) -> Iterator[Notification]:
    nsid: int | None = None
    for level, kind, payload in ancillary:
        if level == _SOL_NETLINK and kind == _LISTEN_ALL_NSID:
            nsid = _I32.unpack_from(payload)[0]
    place = 0
    while place + 16 <= len(chunk):
        length, kind, _flags, _sequence, port = _HEADER.unpack_from(chunk, place)
        yield Notification(kind, chunk[place + 16 : place + length], port, nsid)
        place += (length + 3) & ~3

"""What a datagram of the prober says: forty bytes, then filler up to the size that is probed.

A request (PROBE, ASK, HELLO) and what answers it (ANSWER, REPORT, SEEN) have the same length, so that nobody gains by
making others answer. The last eight of the forty bytes are a keyed BLAKE2s (RFC 7693) over the rest; for PROBE and ASK
also over the address they were sent from, so that a captured one answers nobody else. Who sits behind a NAT does not
know that address: a HELLO, which holds from anywhere and is answered once, asks for it. 0.7 µs each; HMAC-SHA256 takes
1.6.
Sizes are of whole IP packets, in bytes; integers are in network byte order.
"""

import copy
import hashlib
import hmac
import os
import socket
import struct
from pathlib import Path
from typing import Final, Literal

import msgspec

from kubemtu import files
from kubemtu.core import errors
from kubemtu.core.path import search

MAGIC: Final = b"kMTU"
VERSION: Final = 1
PROBE: Final = 1
ANSWER: Final = 2
ASK: Final = 3
REPORT: Final = 4
HELLO: Final = 5
SEEN: Final = 6
REQUESTS: Final = frozenset({PROBE, ASK, HELLO})
REPLIES: Final = frozenset({ANSWER, REPORT, SEEN})
HEADERS: Final = {socket.AF_INET: 20 + 8, socket.AF_INET6: 40 + 8}  # RFC 791 3.1, RFC 8200 3; RFC 768
LARGEST: Final = 65535
LENGTH: Final = 40
SHORTEST_KEY: Final = 16  # bytes
LARGEST_KEY: Final = 65536
PIPE_SECONDS = 10.0  # in which whoever writes into `--key-file <(...)` must say something

_MAC: Final = 8
_FIRST: Final = b"\0"  # before all else: it makes the key's own block be hashed once, and not for every datagram
_BODY: Final = LENGTH - _MAC
_HEAD = struct.Struct("!4sBBH")  # magic, version, kind, flags
_KIND: Final = 5  # the place of the kind
_REQUEST = struct.Struct("!4sBBHQIH10x")  # ..., nonce, number, size of the packet or own MTU
_ANSWER = struct.Struct("!4sBBHQIHHIH2x")  # ..., nonce, number, size, largest fragment, drops, MTU of the interface
_REPORT = struct.Struct("!4sBBBBQHHHHBBHHH")  # ..., ending, limit and UNHEARD, nonce, four sizes, five counts
_UNHEARD: Final = 0x80
_SEEN = struct.Struct("!4sBBHQ16s")  # ..., length of the address, nonce, the address

FILLER: Final = memoryview(os.urandom(LARGEST))  # never constant: a broken checksum offload shows up with it

State = Literal[search.Ending, "running", "refused"]
STATES: Final[tuple[State, ...]] = ("exact", "unreachable", "lossy", "overloaded", "running", "refused")
LIMITS: Final[tuple[search.Limit | None, ...]] = (
    None,
    "own interface",
    "router",
    "fragments",
    "silence",
    "expected",
)


class ProbePacket(msgspec.Struct, frozen=True, gc=False):
    """A PROBE, whose `size` is the packet's, an ASK to measure back, with the asker's own MTU as `size`, or a HELLO."""

    kind: Literal[1, 3, 5]
    nonce: int
    number: int
    size: int


class ProbeAnswer(msgspec.Struct, frozen=True, gc=False):
    """What the other end saw of one PROBE.

    `size`: as received; `fragment`: bytes of the largest fragment, 0 when it came whole; `drops`: how many datagrams
    its queue has lost so far; `mtu`: that of the interface it came in by, 0 when unknown.
    """

    nonce: int
    number: int
    size: int
    fragment: int
    drops: int
    mtu: int


class SearchReport(msgspec.Struct, frozen=True, gc=False):
    """What the other end found in its own direction; `state` is "running", "refused" or how the search ended.

    `believed`: the path MTU its kernel holds afterwards; `quoted`: what a router claimed, 0 when none did, and
    `unheard` when nobody claims anything of packets of full size.
    """

    nonce: int
    state: State
    limit: search.Limit | None = None
    mtu: int = 0
    interface_mtu: int = 0
    path_mtu: int = 0
    too_big_mtu: int = 0
    next_size_losses: int = 0
    rounds: int = 0
    packets: int = 0
    fitting_packets: int = 0
    fitting_lost: int = 0
    full_size_vanishes: bool = False


class Key:
    """What all stations of a cluster share; without any, datagrams are only protected against accidents."""

    def __init__(self, secret: bytes = b"") -> None:
        """Derive the key from a secret of any length, or from none."""
        self.secret = bool(secret)
        derived = hashlib.blake2s(secret, person=b"kubemtu").digest() if secret else b""
        self._keyed = hashlib.blake2s(key=derived, digest_size=_MAC, person=b"kubemtu1")
        self._keyed.update(_FIRST)

    @classmethod
    def read(cls, path: Path) -> "Key":
        """Read it from a file, white space around it left out. Raises UsageError when it cannot serve."""
        try:
            secret = files.read(path, pipes=PIPE_SECONDS).strip()
        except OSError as error:
            raise errors.UsageError(f"the key file {path} cannot be read: {error.strerror or error}") from error
        if not SHORTEST_KEY <= len(secret) <= LARGEST_KEY:
            raise errors.UsageError(
                f"the key file {path} holds {len(secret)} bytes, and must hold {SHORTEST_KEY} to {LARGEST_KEY}: "
                f"make one with `head -c 32 /dev/urandom | base64 > {path}`"
            )
        return cls(secret)

    def bound(self, bound: bytes) -> "Key":
        """Return the same key for what holds only together with `bound`, such as the sender's address."""
        made = copy.copy(self)
        made._keyed = self._keyed.copy()  # noqa: SLF001  its own twin
        made._keyed.update(bound)  # noqa: SLF001
        return made

    def seal(self, body: bytes, bound: bytes = b"") -> bytes:
        """Give the body with its MAC; `bound` is what else it holds for, such as the sender's address."""
        keyed = self._keyed.copy()
        if bound:
            keyed.update(bound)
        keyed.update(body)
        return body + keyed.digest()

    def opens(self, datagram: bytes | memoryview, bound: bytes = b"") -> bool:
        """Say whether the first forty bytes were sealed with this key, in a time that tells nothing about it."""
        keyed = self._keyed.copy()
        if bound:
            keyed.update(bound)
        keyed.update(datagram[:_BODY])
        return hmac.compare_digest(keyed.digest(), datagram[_BODY:LENGTH])


def kind(datagram: bytes) -> int:
    """Return what a datagram claims to be: PROBE, ANSWER, ASK, REPORT, HELLO or SEEN; 0 for what is not ours."""
    if len(datagram) < LENGTH:
        return 0
    magic, version, found, _ = _HEAD.unpack_from(datagram)
    return int(found) if magic == MAGIC and version == VERSION and PROBE <= found <= SEEN else 0


def replies(datagram: bytes) -> bool:
    """Return whether this may be a reply to something; `kind` looks closer."""
    return len(datagram) > _KIND and datagram[_KIND] in REPLIES


def mac(datagram: bytes) -> bytes:
    """Return the MAC of a datagram, which no two requests share."""
    return datagram[_BODY:LENGTH]


def pack_request(request: ProbePacket) -> bytes:
    """Pack the body of a request, to be sealed."""
    return _REQUEST.pack(MAGIC, VERSION, request.kind, 0, request.nonce, request.number, request.size)


def asked(datagram: bytes) -> ProbePacket | None:
    """Read a request; None for anything else."""
    if len(datagram) < LENGTH:
        return None
    magic, version, found, _, nonce, number, size = _REQUEST.unpack_from(datagram)
    if magic != MAGIC or version != VERSION or found not in REQUESTS:
        return None
    return ProbePacket(found, nonce, number, size)


def read_request(datagram: bytes) -> ProbePacket:
    """Read a request whose kind is known."""
    _, _, found, _, nonce, number, size = _REQUEST.unpack_from(datagram)
    return ProbePacket(found, nonce, number, size)


def pack_answer(answer: ProbeAnswer) -> bytes:
    """Pack the body of an answer, to be sealed."""
    return _ANSWER.pack(
        MAGIC,
        VERSION,
        ANSWER,
        0,
        answer.nonce,
        answer.number,
        answer.size,
        answer.fragment,
        answer.drops & 0xFFFFFFFF,
        answer.mtu,
    )


def read_answer(datagram: bytes) -> ProbeAnswer:
    """Read an answer whose kind is known."""
    return ProbeAnswer(*_ANSWER.unpack_from(datagram)[4:])


def pack_report(report: SearchReport) -> bytes:
    """Pack the body of a report, to be sealed; counts that do not fit are cut off at the largest that does."""
    return _REPORT.pack(
        MAGIC,
        VERSION,
        REPORT,
        STATES.index(report.state),
        LIMITS.index(report.limit) | (_UNHEARD if report.full_size_vanishes else 0),
        report.nonce,
        report.mtu,
        report.interface_mtu,
        report.path_mtu,
        report.too_big_mtu,
        min(report.next_size_losses, 0xFF),
        min(report.rounds, 0xFF),
        min(report.packets, 0xFFFF),
        min(report.fitting_packets, 0xFFFF),
        min(report.fitting_lost, 0xFFFF),
    )


def read_report(datagram: bytes) -> SearchReport | None:
    """Read a report whose kind is known; None when it says what this version does not know."""
    fields = _REPORT.unpack_from(datagram)
    state, limit = fields[3], fields[4] & ~_UNHEARD
    if state >= len(STATES) or limit >= len(LIMITS):
        return None
    rest = (*fields[6:], bool(fields[4] & _UNHEARD))
    return SearchReport(fields[5], STATES[state], LIMITS[limit], *rest)


def pack_seen(nonce: int, address: bytes) -> bytes:
    """Pack the body that tells who said HELLO under which address it was heard, to be sealed."""
    return _SEEN.pack(MAGIC, VERSION, SEEN, len(address), nonce, address)


def read_seen(datagram: bytes) -> tuple[int, bytes]:
    """Read the nonce and the address of a SEEN."""
    _, _, _, length, nonce, address = _SEEN.unpack_from(datagram)
    return nonce, address[: min(length, 16)]


def quoted(payload: bytes) -> tuple[int, int, int] | None:
    """Read nonce, number and size of our PROBE that a router quotes; None when too little, or another's."""
    if len(payload) < _REQUEST.size - 10 or payload[:6] != _HEAD.pack(MAGIC, VERSION, PROBE, 0)[:6]:
        return None
    _, _, _, _, nonce, number, size = struct.unpack_from("!4sBBHQIH", payload)
    return nonce, number, size

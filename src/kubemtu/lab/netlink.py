"""Netlink messages as bytes, and a socket that sends them and reads what the kernel answers (RFC 3549, netlink(7))."""

import os
import socket
import struct
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from kubemtu.lab.errors import Refused

# include/uapi/linux/netlink.h
REQUEST, ACK, DUMP, REPLACE, EXCL, CREATE = 1, 4, 0x300, 0x100, 0x200, 0x400
ERROR, DONE = 2, 3
SOL_NETLINK, EXT_ACK = 270, 11
ERROR_TEXT = 1  # NLMSGERR_ATTR_MSG
NESTED = 0x8000
_HEADER = struct.Struct("=IHHII")


def attribute(kind: int, payload: bytes) -> bytes:
    """Encode one attribute, padded to four bytes."""
    return struct.pack("=HH", len(payload) + 4, kind) + payload + bytes(-len(payload) % 4)


def number(kind: int, value: int) -> bytes:
    """Encode an unsigned 32 bit attribute."""
    return attribute(kind, struct.pack("=I", value))


def text(kind: int, value: str) -> bytes:
    """Encode a string attribute."""
    return attribute(kind, value.encode() + b"\0")


def lladdr(mac: str) -> bytes:
    """Encode a MAC address."""
    return bytes.fromhex(mac.replace(":", ""))


def native(payload: bytes) -> int:
    """Decode a number of any width in the machine's own byte order."""
    return int.from_bytes(payload, sys.byteorder)


def attributes(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Decode a run of attributes; nested ones come as their payload."""
    at = 0
    while at + 4 <= len(payload):
        length, kind = struct.unpack_from("=HH", payload, at)
        if length < 4:
            return
        yield kind & ~NESTED, payload[at + 4 : at + length]
        at += (length + 3) & ~3


class Socket:
    """One rtnetlink socket, bound to the network namespace of the thread that opens it, wherever that thread goes."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setsockopt(SOL_NETLINK, EXT_ACK, 1)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor, for ioctls: those of a socket act in the namespace of that socket."""
        return self._socket.fileno()

    def ask(self, kind: int, flags: int, body: bytes, what: str, *, ack: bool = True) -> list[tuple[int, bytes]]:
        """Send one message and return what answers it, as (type, payload).

        `what` says what is being done, for the error; `ack` False: the kernel answers with a message, not with an ACK.
        Raises Refused.
        """
        self._sequence += 1
        flags |= REQUEST | (ACK if ack and flags & DUMP != DUMP else 0)
        header = _HEADER.pack(16 + len(body), kind, flags, self._sequence, 0)
        self._socket.send(header + body)
        answers: list[tuple[int, bytes]] = []
        while True:
            for answer, content in self._receive():
                if answer == DONE:
                    return answers
                if answer == ERROR:
                    self._raise_unless_fine(content, what)
                    return answers
                answers.append((answer, content))
            if answers and not ack:
                return answers

    def _receive(self) -> Iterator[tuple[int, bytes]]:
        block = self._socket.recv(1 << 18)
        at = 0
        while at + 16 <= len(block):
            length, kind, _, sequence, _ = _HEADER.unpack_from(block, at)
            if sequence == self._sequence:
                yield kind, block[at + 16 : at + length]
            at += (length + 3) & ~3

    def _raise_unless_fine(self, content: bytes, what: str) -> None:
        (code,) = struct.unpack_from("=i", content)
        if code == 0:
            return
        (original,) = struct.unpack_from("=I", content, 4)
        reason = next(
            (value.rstrip(b"\0").decode() for key, value in _extended(content, original) if key == ERROR_TEXT), ""
        )
        told = os.strerror(-code) + (f" ({reason})" if reason else "")
        raise Refused(f"the kernel refused {what}: {told}", -code)


def _extended(content: bytes, original: int) -> Iterator[tuple[int, bytes]]:
    # The text follows the echoed request, of which only the header comes with a capped answer.
    return attributes(content[4 + 16 :]) if original <= 16 else attributes(content[4 + ((original + 3) & ~3) :])

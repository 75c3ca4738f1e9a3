"""The same searches over ICMP echo, for hosts where no station runs: any host answers, but less can be told.

The answer is as large as the request, and so what is lost without a word may have been lost on either way: routers may
cut an answer in pieces (a kernel sends it without DF on IPv4), but a switch cuts none. What is answered has arrived,
and what a router refuses was on its way there. It goes one way of several equal ones, a filter that drops echo looks
like a dead host, and one that limits it looks like loss.

Sources: RFC 792 and RFC 4443 (echo), RFC 1071 (checksum), icmp(7) (ping_group_range).
"""

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator
from typing import Final

from kubemtu.node import errors
from kubemtu.node.probe import channel, checksum, wire

LIMITS: Final = (
    "measured with ICMP echo, because no station answers there: the answer is as large as the question, so what is "
    "lost without a word may be lost on the way back; and on one of several equal paths"
)
_HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_IDENTIFIER: Final = 0x4D54


class EchoChannel(channel.Channel):
    """One socket for echo requests: unprivileged where net.ipv4.ping_group_range allows it, else raw."""

    echoes = True

    def _open(self) -> socket.socket:
        protocol = socket.IPPROTO_ICMP if self.family == 4 else socket.IPPROTO_ICMPV6
        self._raw = False
        with contextlib.suppress(PermissionError):
            return socket.socket(self._kind, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
        try:
            self._raw = True
            return socket.socket(self._kind, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
        except OSError as error:
            code = error.errno or errno.EPERM
            advice = "run as root, or with CAP_NET_RAW, or start `kubemtu node respond` there"
            raise errors.refusal("sending ICMP echo", code, advice=advice) from error

    def send(self, body: bytes, size: int, address: channel.Address, local: bytes = b"") -> OSError | None:
        """Send one echo request of `size` bytes that carries the body; return why the kernel refused, or None."""
        head = _HEADER.pack(_REQUEST[self.family], 0, 0, _IDENTIFIER, 0)
        if self._raw and self.family == 4:  # the kernel computes it for the other three kinds of socket
            begins = len(head) + len(body)
            own_sum = checksum.of(head + body + self._packet[begins : size - self.headers + len(head)])
            head = _HEADER.pack(_REQUEST[self.family], 0, own_sum, _IDENTIFIER, 0)
        return super().send(head + body, size + _HEADER.size, (address[0], 0, *address[2:]), local)

    def receive(self, most: int = 64) -> Iterator[channel.Heard]:
        """Give the echo replies that have come, as if each were a datagram."""
        for heard in super().receive(most):
            head, length = heard.head, heard.length
            if self._raw and self.family == 4 and head:
                skipped = (head[0] & 0x0F) * 4
                head, length = head[skipped:], length - skipped
            if len(head) >= _HEADER.size and head[0] == _REPLY[self.family]:
                yield heard._replace(head=head[_HEADER.size :], length=length - _HEADER.size)

    def refusals(self) -> Iterator[channel.Refusal]:
        """Give what the error queue holds, from our own part on: which headers are before it differs by socket."""
        for refusal in super().refusals():
            yield refusal._replace(payload=refusal.payload[max(refusal.payload.find(wire.MAGIC), 0) :])

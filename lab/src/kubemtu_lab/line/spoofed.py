"""A "too big" that is not true: the fault of a host that was told a smaller path MTU, by accident or on purpose.

A kernel believes whoever quotes a datagram of a socket that it has (net/ipv4/udp.c __udp4_lib_err), for ten minutes
(RFC 1191 6.3, RFC 8201 4).
"""

import ipaddress
import socket
import struct
import time
from typing import ClassVar, Final, Literal

from kubemtu_lab import errors
from kubemtu_lab.line import faults, network
from kubemtu_lab.line.network import Line

# include/uapi/linux/{in,in6}.h
IP_MTU, IPV6_MTU = 14, 24
PATIENCE: Final = 20.0  # seconds until the kernel has learned what it is told
Family = Literal[4, 6]


class Poisoned(faults.Fault, frozen=True):
    """a was told that the path to b carries less than it does."""

    mtu4: int  # bytes; Linux takes 552 as the least (net.ipv4.route.min_pmtu)
    mtu6: int  # bytes; 1280 at least (RFC 8200 5)
    fleeting: ClassVar[bool] = True

    def commit(self, line: Line) -> None:
        """Tell it of both families."""
        _tell(line, 4, self.mtu4)
        _tell(line, 6, self.mtu6)


def _tell(line: Line, family: Family, mtu: int) -> None:
    """Send the message from r1, about a datagram that a could have sent, and wait until a believes it."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    protocol = socket.IPPROTO_ICMP if family == 4 else socket.IPPROTO_ICMPV6
    option = (socket.IPPROTO_IP, IP_MTU) if family == 4 else (socket.IPPROTO_IPV6, IPV6_MTU)
    with (
        line.inside("a", lambda: socket.socket(kind, socket.SOCK_DGRAM)) as told,
        line.inside("r1", lambda: socket.socket(kind, socket.SOCK_RAW, protocol)) as router,
    ):
        told.bind((network.A[family], 0))
        router.sendto(too_big(family, mtu, told.getsockname()[1]), (network.A[family], 0))
        deadline = time.monotonic() + PATIENCE
        while True:
            told.connect((network.B[family], faults.PORT))  # asks for the route anew
            if told.getsockopt(*option) == mtu:
                return
            if time.monotonic() > deadline:
                raise errors.StartFailed(f"a does not believe that the IPv{family} path to b carries {mtu} bytes")
            time.sleep(0.001)


def too_big(family: Family, mtu: int, port: int) -> bytes:
    """Make an ICMP message that refuses a packet of 1500 bytes, from that port of a to b: RFC 1191 4, RFC 4443 3.2."""
    datagram = struct.pack("!HHHH", port, faults.PORT, 1500 - 20 if family == 4 else 1500 - 40, 0)
    ends = ipaddress.ip_address(network.A[family]).packed + ipaddress.ip_address(network.B[family]).packed
    if family == 6:  # the kernel computes the checksum (RFC 3542 3.1)
        return struct.pack("!BBHI", 2, 0, 0, mtu) + struct.pack("!IHBB", 6 << 28, 1460, 17, 64) + ends + datagram
    quoted = struct.pack("!BBHHHBBH", 0x45, 0, 1500, 0, 0x4000, 64, 17, 0) + ends + datagram
    words = struct.unpack(f"!{(8 + len(quoted)) // 2}H", struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + quoted)
    checksum = ~(sum(words) % 0xFFFF) & 0xFFFF  # RFC 1071
    return struct.pack("!BBHHH", 3, 4, checksum, 0, mtu) + quoted

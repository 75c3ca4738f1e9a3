"""Established TCP connections of the socket's namespace, by NETLINK_SOCK_DIAG; addresses and counts, never payload.

Sources: sock_diag(7); include/uapi/linux/inet_diag.h, tcp.h; net/ipv4/tcp_diag.c. struct tcp_info has grown at its end
only, so an older kernel's is shorter, and what it lacks is 0.
"""

import socket
import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from kubemtu.core import networks
from kubemtu.core.evidence import records
from kubemtu.node.kernel import netlink

BY_FAMILY: Final = 20  # SOCK_DIAG_BY_FAMILY
NETLINK_SOCK_DIAG: Final = 4
_INFO: Final = 2  # INET_DIAG_INFO
_MD5SIG: Final = 18  # INET_DIAG_MD5SIG, shown to those with CAP_NET_ADMIN
_STATES: Final = 1 << 1 | 1 << 4 | 1 << 8 | 1 << 9 | 1 << 11  # those that still send: net/tcp_states.h ESTABLISHED,
# FIN_WAIT1, CLOSE_WAIT, LAST_ACK, CLOSING
_TIMESTAMPS, _SACK = 1, 2  # TCPI_OPT_*
_REQUEST = struct.Struct("=BBBxI48s")  # struct inet_diag_req_v2
_MESSAGE = struct.Struct("=BBBB2s2s16s16s12xIIIII")  # struct inet_diag_msg
_HEAD = struct.Struct("=6B2x24I")  # struct tcp_info up to tcpi_total_retrans
_MAPPED: Final = b"\0" * 10 + b"\xff\xff"  # RFC 4291 2.5.5.2: an IPv4 connection of an IPv6 socket


def dump(sock: netlink.Socket) -> Iterator[records.TcpConnection]:
    """Return every established connection, loopback left out; `sock` speaks NETLINK_SOCK_DIAG.

    Raises Refused where the kernel has no tcp_diag, or Denied.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        body = _REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (_INFO - 1), _STATES, b"")
        for message in sock.dump(BY_FAMILY, body, "reading the TCP connections"):
            found = connection(message)
            if found is not None:
                yield found


def connection(message: bytes) -> records.TcpConnection | None:
    """Unpack one struct inet_diag_msg and its attributes; None for loopback, and for one without a struct tcp_info."""
    if len(message) < _MESSAGE.size:
        return None
    family, _state, _timer, _retrans, sport, dport, source, destination, *counts = _MESSAGE.unpack_from(message)
    attributes = netlink.attributes(message, _MESSAGE.size)
    tcp_info = attributes.get(_INFO, b"")
    local, remote = _address(family, source), _address(family, destination)
    if len(tcp_info) < _HEAD.size or local == remote or remote.startswith("127.") or remote == "::1":
        return None
    head = _HEAD.unpack_from(tcp_info)
    (_, _, retransmits, _, backoff, options), words = head[:6], head[6:]
    _rto, _ato, snd_mss, rcv_mss, unacked, sacked, lost, _retrans, _fackets, *rest = words
    sent, _, received, acked, pmtu, _, rtt, _, _, _, advmss, _, _, _, total = rest
    return records.TcpConnection(
        family=networks.family(remote),
        local=local,
        local_port=int.from_bytes(sport, "big"),
        remote=remote,
        remote_port=int.from_bytes(dport, "big"),
        snd_mss=snd_mss,
        rcv_mss=rcv_mss,
        advmss=advmss,
        pmtu=pmtu,
        retransmits=retransmits,
        backoff=backoff,
        unacked=unacked,
        sacked=sacked,
        lost=lost,
        queued=counts[2],  # idiag_wqueue
        total_retrans=total,
        last_data_sent=sent,
        last_data_recv=received,
        last_ack_recv=acked,
        rtt=rtt / 1000,
        timestamps=bool(options & _TIMESTAMPS),
        sacks=bool(options & _SACK),
        signed=_MD5SIG in attributes,
        unsent=_later(tcp_info, 144, 4),
        delivered=_later(tcp_info, 192, 4),
        dsack_dups=_later(tcp_info, 216, 4),
        rcv_ooopack=_later(tcp_info, 224, 4),
        bytes_acked=_later(tcp_info, 120, 8),
        snd_wnd=_later(tcp_info, 228, 4),
    )


def placed(connection: records.TcpConnection, device: str, device_mtu: int, route_mtu: int) -> records.TcpConnection:
    """Return the same connection, with the way that its packets take."""
    return msgspec.structs.replace(connection, device=device, device_mtu=device_mtu, route_mtu=route_mtu)


def _later(tcp_info: bytes, place: int, length: int) -> int:
    """Return what a later kernel added, by its place in the struct; 0 where it is not there."""
    chunk = tcp_info[place : place + length]
    return netlink.number({0: chunk}, 0) or 0 if len(chunk) == length else 0


def _address(family: int, packed: bytes) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, packed[:4])
    if packed[:12] == _MAPPED:
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed)

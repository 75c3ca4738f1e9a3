"""Send echo requests of exact sizes with DF set, many at once, and say what became of each.

This is the plain proof that needs no second program: every Linux host answers an echo. Its limits are those of ICMP
echo: it tests one path of several equal ones, the answer comes back at full size (IPv4 may fragment it, IPv6 not), and
a filter that drops echo looks like silence. Sizes are those of the whole IP packet, in bytes.

Sources: RFC 792 and RFC 4443 (echo), ip(7) and ipv6(7) (IP_MTU_DISCOVER, IP_RECVERR), linux/errqueue.h.
"""

import errno
import ipaddress
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from kubemtu.core import proof

IP_MTU_DISCOVER, IP_RECVERR, IP_PMTUDISC_PROBE = 10, 11, 3
IPV6_MTU_DISCOVER, IPV6_RECVERR = 23, 25
MSG_ERRQUEUE = 0x2000
ORIGIN_LOCAL = 1
EXTENDED_ERROR = struct.Struct("=IBBBBII")  # linux/errqueue.h, struct sock_extended_err
ICMP_HEADER = struct.Struct("!BBHHH")
NONCE = 8
HEADERS = {4: 20 + 8, 6: 40 + 8}
TRIES = 3
PATIENCE = 0.25  # seconds for one try: cluster networks answer in a few milliseconds

Opener = Callable[[str, Sequence[tuple[int, int]]], list[socket.socket]]


class Sent(msgspec.Struct):
    """One probe under way."""

    probe: proof.Probe
    number: int
    family: int
    answer: proof.Answer | None = None
    tries: int = 0


class Mouth(msgspec.Struct):
    """One raw socket in one namespace, for one family, and the probes that go through it."""

    sock: socket.socket
    family: int
    sent: dict[int, Sent] = {}


def measure(probes: Iterable[proof.Probe], open_in: Opener) -> tuple[proof.Answer, ...]:
    """Send all probes, up to three times each, and return an answer for every one, in their order.

    `open_in(port, ((family, protocol), ...))` opens raw sockets inside the namespace of the pod behind that host-side
    link, or of the node for an empty name; it raises OSError or LookupError when that is gone, which counts as silence.
    """
    nonce = os.urandom(NONCE)
    sent = [
        Sent(probe=probe, number=number, family=ipaddress.ip_address(probe.to).version)
        for number, probe in enumerate(probes)
    ]
    mouths = _open(sent, open_in)
    try:
        for _ in range(TRIES):
            waiting = [one for mouth in mouths for one in mouth.sent.values() if one.answer is None]
            if not waiting:
                break
            _one_try(mouths, nonce)
    finally:
        for mouth in mouths:
            mouth.sock.close()
    return tuple(one.answer or proof.Answer(probe=one.probe, outcome="silence", tries=one.tries) for one in sent)


def _open(sent: list[Sent], open_in: Opener) -> list[Mouth]:
    mouths: dict[tuple[str, int], Mouth] = {}
    for one in sent:
        place = (one.probe.port, one.family)
        if place not in mouths:
            kind = (
                (socket.AF_INET, socket.IPPROTO_ICMP) if one.family == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
            )
            try:
                (sock,) = open_in(one.probe.port, (kind,))
            except (OSError, LookupError):
                continue
            _prepare(sock, one.family)
            mouths[place] = Mouth(sock=sock, family=one.family, sent={})
        mouths[place].sent[one.number] = one
    return list(mouths.values())


def _prepare(sock: socket.socket, family: int) -> None:
    sock.setblocking(False)
    if family == 4:
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_PROBE)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)


def _one_try(mouths: list[Mouth], nonce: bytes) -> None:
    poller = select.poll()
    by_fd = {mouth.sock.fileno(): mouth for mouth in mouths}
    for mouth in mouths:
        poller.register(mouth.sock, select.POLLIN | select.POLLERR)
        for one in mouth.sent.values():
            if one.answer is None:
                _send(mouth, one, nonce)
    end = time.monotonic() + PATIENCE
    while any(one.answer is None for mouth in mouths for one in mouth.sent.values()):
        left = end - time.monotonic()
        if left <= 0:
            return
        for fd, event in poller.poll(left * 1000):
            if event & select.POLLERR:
                _drain_errors(by_fd[fd])
            if event & select.POLLIN:
                _drain_replies(by_fd[fd], nonce)


def _send(mouth: Mouth, one: Sent, nonce: bytes) -> None:
    one.tries += 1
    packet = _echo(one, nonce)
    for _ in range(2):
        try:
            mouth.sock.sendto(packet, (one.probe.to, 0))
        except OSError as refused:
            # A pending error of another probe is delivered on the next send, whoever it is for: drain, send again.
            limit = _drain_errors(mouth)
            if refused.errno == errno.EMSGSIZE and limit is not None:
                one.answer = proof.Answer(probe=one.probe, outcome="refused here", mtu=limit, tries=one.tries)
                return
        else:
            return


def _echo(one: Sent, nonce: bytes) -> bytes:
    size = max(one.probe.size - HEADERS[one.family], NONCE)
    payload = nonce + bytes(index & 0xFF for index in range(size - NONCE))
    kind = 8 if one.family == 4 else 128
    identity, sequence = (one.number >> 16) ^ 0x4D54, one.number & 0xFFFF
    if one.family == 6:  # the kernel fills in the checksum of ICMPv6
        return ICMP_HEADER.pack(kind, 0, 0, identity, sequence) + payload
    bare = ICMP_HEADER.pack(kind, 0, 0, identity, sequence) + payload
    return ICMP_HEADER.pack(kind, 0, _checksum(bare), identity, sequence) + payload


def _checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _number(identity: int, sequence: int) -> int:
    return ((identity ^ 0x4D54) << 16) | sequence


def _drain_replies(mouth: Mouth, nonce: bytes) -> None:
    while True:
        try:
            packet = mouth.sock.recv(65535)
        except BlockingIOError:
            return
        except OSError:
            _drain_errors(mouth)
            continue
        icmp = packet[(packet[0] & 0x0F) * 4 :] if mouth.family == 4 else packet
        if len(icmp) < ICMP_HEADER.size + NONCE:
            continue
        kind, _, _, identity, sequence = ICMP_HEADER.unpack_from(icmp)
        if kind != (0 if mouth.family == 4 else 129) or icmp[ICMP_HEADER.size :][:NONCE] != nonce:
            continue
        one = mouth.sent.get(_number(identity, sequence))
        whole = len(icmp) + HEADERS[mouth.family] - ICMP_HEADER.size
        if one is not None and one.answer is None and whole == max(one.probe.size, HEADERS[mouth.family] + NONCE):
            one.answer = proof.Answer(probe=one.probe, outcome="arrived", tries=one.tries)


def _drain_errors(mouth: Mouth) -> int | None:
    """Read the error queue; answer probes that a router refused; return the MTU of a local refusal, if there is one."""
    local: int | None = None
    while True:
        try:
            quoted, ancillary, _, _ = mouth.sock.recvmsg(2048, 512, MSG_ERRQUEUE)
        except OSError:
            return local
        for _, kind, content in ancillary:
            if kind not in {IP_RECVERR, IPV6_RECVERR} or len(content) < EXTENDED_ERROR.size:
                continue
            number, origin, _, _, _, mtu, _ = EXTENDED_ERROR.unpack_from(content)
            if number != errno.EMSGSIZE:
                continue
            if origin == ORIGIN_LOCAL:
                local = mtu
            else:
                _too_big(mouth, quoted, mtu, _offender(content, mouth.family))


def _offender(content: bytes, family: int) -> str | None:
    address = content[EXTENDED_ERROR.size :]
    if family == 4 and len(address) >= 8:
        return str(ipaddress.IPv4Address(address[4:8]))
    if family == 6 and len(address) >= 24:
        return str(ipaddress.IPv6Address(address[8:24]))
    return None


def _too_big(mouth: Mouth, quoted: bytes, mtu: int, router: str | None) -> None:
    if len(quoted) < ICMP_HEADER.size:
        return
    _, _, _, identity, sequence = ICMP_HEADER.unpack_from(quoted)
    one = mouth.sent.get(_number(identity, sequence))
    if one is not None and one.answer is None:
        one.answer = proof.Answer(probe=one.probe, outcome="too big", mtu=mtu, by=router, tries=one.tries)

"""What one network namespace shows without a packet being sent, and what is read out of it. Values only; `node` fills
them from the kernel, `core.evidence.symptoms` reads them.

Nothing here tells what a connection carries: addresses, ports and the kernel's own counts, never payload. Every field
has a default, so that evidence from an older agent, or an older kernel, is evidence of what it has.
"""

from typing import Literal

import msgspec


class TcpConnection(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One established TCP connection, seen from its sender (include/uapi/linux/tcp.h, struct tcp_info).

    `snd_mss`, `rcv_mss` and `advmss` count payload, the first without the timestamps that are sent with it; `pmtu` is
    of the whole packet. Segments: `unacked` are on their way, of which the other end has `sacked` and `lost` are given
    up. `retransmits` and `backoff` count timeouts in a row. `queued` bytes are not acknowledged, `unsent` of them not
    sent. `last_...` are milliseconds since then, `rtt` is in milliseconds. `device_mtu` and `route_mtu` are of the way
    to the remote address, 0 when unknown or not set.
    """

    family: int = 4
    local: str = ""
    local_port: int = 0
    remote: str = ""
    remote_port: int = 0
    snd_mss: int = 0
    rcv_mss: int = 0
    advmss: int = 0
    pmtu: int = 0
    retransmits: int = 0
    backoff: int = 0
    unacked: int = 0
    sacked: int = 0
    lost: int = 0
    queued: int = 0
    unsent: int = 0
    total_retrans: int = 0
    delivered: int = 0  # segments that arrived, since Linux 4.18
    dsack_dups: int = 0  # segments that were sent again and had arrived
    rcv_ooopack: int = 0
    bytes_acked: int = 0
    last_data_sent: int = 0
    last_data_recv: int = 0
    last_ack_recv: int = 0
    rtt: float = 0.0
    snd_wnd: int = 0  # since Linux 6.2
    timestamps: bool = False
    sacks: bool = False
    signed: bool = False  # RFC 2385 or 5925: an option that makes every segment smaller
    device: str = ""
    device_mtu: int = 0
    route_mtu: int = 0

    def __str__(self) -> str:
        """Write both ends, the sender's first: "10.9.1.1:8080 ▸ 10.9.3.1:51000"."""
        local, remote = (
            f"[{address}]" if ":" in address and port else address
            for address, port in ((self.local, self.local_port), (self.remote, self.remote_port))
        )
        return f"{local}:{self.local_port} ▸ {remote}:{self.remote_port}"

    @property
    def key(self) -> tuple[str, int, str, int]:
        """What the same connection has in another reading."""
        return self.local, self.local_port, self.remote, self.remote_port

    @property
    def packet(self) -> int:
        """The size of a packet with a full segment, in bytes: IP and TCP headers (RFC 791, 8200, 9293) and RFC 7323's
        timestamps, which take 12 bytes with their padding.
        """
        return self.snd_mss + (12 if self.timestamps else 0) + 20 + (20 if self.family == 4 else 40)


class Counters(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The namespace's own counts since it exists, of the names in /proc/net/snmp, snmp6 and netstat."""

    ip_frag_fails: int = 0  # too large for the next device, with DF: refused, and the sender told
    ip_frag_oks: int = 0
    ip_frag_creates: int = 0  # fragments made, at least two of each packet
    ip_reasm_oks: int = 0
    ip_reasm_fails: int = 0
    ip_out_discards: int = 0
    icmp_in_dest_unreachs: int = 0
    icmp_in_type3: int = 0
    icmp_out_type3: int = 0
    ip6_in_too_big_errors: int = 0  # too large for the next device: refused, and the sender told
    ip6_frag_fails: int = 0
    ip6_frag_oks: int = 0
    ip6_frag_creates: int = 0
    ip6_reasm_oks: int = 0
    ip6_reasm_fails: int = 0
    ip6_out_discards: int = 0
    icmp6_in_pkt_too_bigs: int = 0
    icmp6_out_pkt_too_bigs: int = 0
    tcp_out_segs: int = 0
    tcp_retrans_segs: int = 0
    tcp_timeouts: int = 0
    tcp_retrans_fail: int = 0  # the own device or queue refused
    tcp_abort_on_timeout: int = 0
    tcp_mtup_fail: int = 0
    tcp_mtup_success: int = 0


class Sysctls(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The settings that decide what a wrong MTU looks like; None where this kernel has none of the name."""

    tcp_mtu_probing: int | None = None
    tcp_base_mss: int | None = None
    ip_no_pmtu_disc: int | None = None
    route_min_pmtu: int | None = None  # net.ipv4.route.min_pmtu
    ipv6_accept_ra_mtu: int | None = None  # net.ipv6.conf.default.accept_ra_mtu


class Learned(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A path MTU that the kernel holds for one address, because an ICMP message said so.

    `expires` in seconds; `locked`: the message said less than net.ipv4.route.min_pmtu, so that this is held instead
    and packets go out without DF (net/ipv4/route.c, __ip_rt_update_pmtu). Linux lists one of IPv4 only once packets
    have gone by it (fnhe_dump_bucket).
    """

    destination: str
    mtu: int
    expires: int = 0
    locked: bool = False
    device: str = ""
    device_mtu: int = 0


class Evidence(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All of it, of one namespace at one time.

    `connections` are those in trouble and as many others as were asked for, of `established` in all; loopback and what
    is local otherwise are left out. `at`: seconds since the epoch.
    """

    connections: tuple[TcpConnection, ...] = ()
    established: int = 0
    counters: Counters = Counters()
    sysctls: Sysctls = Sysctls()
    learned: tuple[Learned, ...] = ()
    errors: tuple[str, ...] = ()  # what could not be read, a sentence each
    at: float = 0.0


Kind = Literal[
    "size-selective loss",
    "stalled connections",
    "black hole found by the kernel",
    "path MTU learned",
    "stale path MTU",
    "refused here",
    "fragmented here",
    "reassembled here",
    "veth ends differ",
    "masked",
    "segments clamped",
    "discovery off",
    "connections given up",
]


class Symptom(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing that the evidence shows.

    `sure`: it proves what the sentence says, or suggests it. `says_mtu`: the cause is an MTU, is none, or (None) may be
    either. `where`: the connection, the port or the namespace it was seen at. `peers`: the addresses that are worth a
    probe, to know more.
    """

    kind: Kind
    sentence: str
    sure: Literal["proves", "suggests"]
    says_mtu: bool | None = None
    where: str = ""
    peers: tuple[str, ...] = ()

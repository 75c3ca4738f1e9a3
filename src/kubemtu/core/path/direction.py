"""What was measured of a path, before anybody judges it: one direction, and what TCP believes in it.

All sizes are of whole IP packets, in bytes, except where a maximum segment size (MSS) is meant: that counts the bytes
of a TCP segment without its header and without options (RFC 9293 3.7.1, RFC 6691 2).
"""

from typing import Final, Literal

import msgspec

from kubemtu.core.path import search

TIMESTAMPS: Final = 12  # RFC 7323 3.2, padded: include/net/tcp.h TCPOLEN_TSTAMP_ALIGNED


class Segments(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Report what one end of a connection, the sender, makes of TCP segment sizes."""

    announced_mss: int
    """The MSS that the receiver put into its SYN, in bytes of payload."""
    received_mss: int
    """That MSS as it arrived at the sender; 0 when it could not be seen."""
    segment_payload: int
    """How many bytes of payload the sender puts into one segment now."""
    path_mtu: int
    """The path MTU that the sender's connection holds, in bytes."""
    header_bytes: int
    """The bytes of the IP and TCP headers, without options."""
    timestamps: bool = True
    """True when each segment carries the timestamp option of RFC 7323."""
    tcp_mtu_probing: int = 0
    """net.ipv4.tcp_mtu_probing of the sender."""
    relayed: bool = False
    """True when the connection came from another port than it was opened from: something translates or relays it."""

    @property
    def clamped(self) -> bool:
        """Return whether something on the way has lowered the MSS."""
        return 0 < self.received_mss < self.announced_mss

    @property
    def allowed(self) -> int:
        """The largest packet that the MSS lets the sender send; 0 when that could not be seen."""
        return self.received_mss + self.header_bytes if self.received_mss else 0

    @property
    def packet(self) -> int:
        """The largest packet that the sender sends now."""
        return self.segment_payload + self.header_bytes + (TIMESTAMPS if self.timestamps else 0)


class BothDirections(msgspec.Struct, frozen=True, kw_only=True):
    """What the two ends of one connection believe: `forward` is what this end sends by, `back` the other."""

    forward: Segments
    backward: Segments


class Direction(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Report what was measured in one direction of a path."""

    search: search.SearchResult
    """How the search for the largest size that arrives ended."""
    path_mtu_before: int = 0
    """The path MTU that the sender's kernel held before, in bytes; 0 when not known."""
    path_mtu_after: int = 0
    """The path MTU that the sender's kernel held afterwards, in bytes; 0 when not known."""
    receiver_mtu: int = 0
    """The MTU of the interface by which the receiver receives, in bytes; 0 when not known."""
    note: str = ""
    """What else is to be said of it; mostly empty."""
    source_port: int = 0
    """The source port of the flow; 0 when it does not matter."""
    segments: Segments | None = None
    """What the sender's TCP is made to believe; null when that was not looked at."""
    tcp_mtu_probing: int = 0
    """net.ipv4.tcp_mtu_probing of the sender; 0 when off or not known."""
    unfragmented_mtu: int | None = None
    """The largest packet around which the tunnel's packet leaves the sender's node whole, in bytes; null when not
    known, or when all do."""
    fragmented_tunnel_packets: int = 0
    """How many packets of the tunnel were seen to be fragmented."""
    tunnel_fragments: int = 0
    """How many fragments those became."""
    fragmented_datagrams: Literal["", "arrive", "vanish"] = ""
    """What became of datagrams that their sender had fragmented; empty when not known."""
    nat_address: str = ""
    """The address under which the receiver sees the sender, where that is another."""

    @property
    def probing(self) -> int:
        """net.ipv4.tcp_mtu_probing of the sender, 0 when it is off or not known."""
        return self.tcp_mtu_probing or (self.segments.tcp_mtu_probing if self.segments is not None else 0)

    @property
    def expected(self) -> int:
        """What should arrive when nobody says: the sender's interface, or what was expected if no more was tried."""
        return self.search.mtu if self.search.limit == "expected" else self.search.interface_mtu

    @property
    def kernel_informed(self) -> bool:
        """Return whether the sender's kernel was told, now or before, that larger packets do not fit."""
        found = self.search
        quoted = any(quote.mtu == found.mtu for quote in found.too_big)
        return found.limit == "router" or quoted or self.path_mtu_after == found.mtu

    @property
    def sender_informed(self) -> bool:
        """Return whether senders of full-size packets are told: what routers say of smaller ones, only probes hear."""
        return self.kernel_informed and not self.search.full_size_vanishes

    @property
    def tcp_spared(self) -> bool:
        """Return whether the MSS keeps TCP at packets that arrive."""
        return self.segments is not None and 0 < self.segments.allowed <= self.search.mtu

    def without_learned_mss(self, other: "Direction | None") -> "Direction":
        """Leave out what the receiver asks of TCP only because it has been told of a smaller path itself.

        A kernel that has learned a path MTU announces a smaller MSS (net/ipv4/route.c ipv4_default_advmss), and
        measuring the `other` direction has just made it learn that.
        """
        if other is None or not other.kernel_informed or self.segments is None or self.segments.clamped:
            return self
        return msgspec.structs.replace(self, segments=None, tcp_mtu_probing=self.probing)

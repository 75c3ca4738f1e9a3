"""What was measured of a path, before anybody judges it: one direction, and what TCP believes in it.

All sizes are of whole IP packets, in bytes, except where a maximum segment size (MSS) is meant: that counts the bytes
of a TCP segment without its header and without options (RFC 9293 3.7.1, RFC 6691 2).
"""

from typing import Final, Literal

import msgspec

from kubemtu.core.path import search

TIMESTAMPS: Final = 12  # RFC 7323 3.2, padded: include/net/tcp.h TCPOLEN_TSTAMP_ALIGNED


class Segments(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What TCP is made to believe by one end, the sender, of one connection.

    `announced`: the MSS that the receiver put into its SYN; `arrived`: that MSS as the sender received it, 0 when it
    could not be seen; `sends`: the payload that the sender puts into one segment now; `pmtu`: the path MTU that
    its connection holds; `headers`: of IP and TCP, without options; `probing`: net.ipv4.tcp_mtu_probing of the sender;
    `relayed`: the connection came from another port than it was opened from, so something translates or relays it.
    """

    announced_mss: int
    received_mss: int
    segment_payload: int
    path_mtu: int
    header_bytes: int
    timestamps: bool = True
    tcp_mtu_probing: int = 0
    relayed: bool = False

    @property
    def clamped(self) -> bool:
        """Whether something on the way has lowered the MSS."""
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
    """What was measured of one direction.

    `believed_before` and `believed` are the path MTUs that the sender's kernel held before and after, 0 when unknown;
    `peer_mtu` is that of the interface that the receiver receives by, 0 when unknown; `port` is the source port of the
    flow, 0 when it does not matter. `segments` and `tcp_mtu_probing` are about the sender's TCP. `outer` is the largest
    size that leaves the sender's node without the tunnel's packet around it being cut, None when that is not known or
    not the case; `outer_packets` tunnel packets were seen to be cut, into `outer_fragments` pieces. `nat` is the
    address under which the receiver sees the sender, where that is another. `fragments`: what became of datagrams
    that their sender cut, "" when that is not known.
    """

    search: search.SearchResult
    path_mtu_before: int = 0
    path_mtu_after: int = 0
    receiver_mtu: int = 0
    note: str = ""
    source_port: int = 0
    segments: Segments | None = None
    tcp_mtu_probing: int = 0
    unfragmented_mtu: int | None = None
    fragmented_tunnel_packets: int = 0
    tunnel_fragments: int = 0
    fragmented_datagrams: Literal["", "arrive", "vanish"] = ""
    nat_address: str = ""

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
        """Whether the sender's kernel was told, now or before, that larger packets do not fit."""
        found = self.search
        quoted = any(quote.mtu == found.mtu for quote in found.too_big)
        return found.limit == "router" or quoted or self.path_mtu_after == found.mtu

    @property
    def sender_informed(self) -> bool:
        """Whether whoever sends packets of full size is told so: what routers say of smaller ones, only probes hear."""
        return self.kernel_informed and not self.search.full_size_vanishes

    @property
    def tcp_spared(self) -> bool:
        """Whether the MSS keeps TCP at packets that arrive."""
        return self.segments is not None and 0 < self.segments.allowed <= self.search.mtu

    def without_learned_mss(self, other: "Direction | None") -> "Direction":
        """The same without what its receiver asks of TCP only because it has been told of a smaller path itself.

        A kernel that has learned a path MTU announces a smaller MSS (net/ipv4/route.c ipv4_default_advmss), and
        measuring the `other` direction has just made it learn that.
        """
        if other is None or not other.kernel_informed or self.segments is None or self.segments.clamped:
            return self
        return msgspec.structs.replace(self, segments=None, tcp_mtu_probing=self.probing)

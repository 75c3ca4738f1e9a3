"""What a run of traffic comes to, as records."""

import msgspec

from kubemtu_lab.traffic import wire


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A mark: `at` in seconds of CLOCK_MONOTONIC."""

    name: str
    at: float


class PortDrops(msgspec.Struct, frozen=True, kw_only=True):
    """Drop counters of both ends of a pod's veth, as the kernel counts them since the link was made."""

    host_rx_dropped: int = 0
    host_tx_dropped: int = 0
    pod_rx_dropped: int = 0
    pod_tx_dropped: int = 0


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to the packets, connections and questions that began within some time."""

    udp_sent: int = 0
    udp_received: int = 0
    udp_lost_silently: int = 0
    udp_lost_at_own_port: int = 0  # of those: dropped by the sender's own veth, known one by one
    udp_told_icmp: int = 0
    udp_told_emsgsize: int = 0  # sends refused, and done again smaller; not part of udp_sent
    udp_failed_sends: int = 0  # sends refused for another reason; not part of udp_sent
    tcp_questions: int = 0
    tcp_resets: int = 0
    tcp_stuck: int = 0
    tcp_longest_stall_ms: float = 0.0
    connect_attempts: int = 0
    connect_failures: int = 0
    connect_longest_ms: float = 0.0
    retransmits: int = 0
    veth_drops: int = 0  # packets of any protocol that one end of a pod's veth sent and the other did not take


class Interval(Counts, frozen=True, kw_only=True):
    """The counts between a mark and the next one, or the end; seconds of CLOCK_MONOTONIC."""

    name: str
    begins: float
    ends: float
    udp_sizes: tuple[int, ...] = ()  # of the IP packets of all UDP flows at the interval's end, bytes, ascending


class Losses(msgspec.Struct, frozen=True, kw_only=True):
    """Datagrams lost silently of one flow."""

    source: str
    target: str
    address: str
    sent: int
    lost: int


class Tally(Counts, frozen=True, kw_only=True):
    """The result of a run. `flaws` are sentences that say why it proves nothing; empty when it does."""

    seconds: float = 0.0
    intervals: tuple[Interval, ...] = ()
    losses: tuple[Losses, ...] = ()  # only flows that lost something
    udp_duplicates: int = 0
    udp_reordered: int = 0
    tcp_wrong_answers: int = 0
    receiver_overflow: int = 0
    backlog_drops: int = 0  # dropped in the machine's own per-CPU backlog (/proc/net/softnet_stat), of any namespace
    errors: dict[str, int] = {}
    kernel: dict[str, dict[str, int]] = {}  # by place
    samples: tuple[wire.Sample, ...] = ()
    flaws: tuple[str, ...] = ()

    @property
    def harmless(self) -> bool:
        """True when no program could have noticed more than a delay: nothing lost, reset, stuck, refused or wrong."""
        return not (
            self.udp_lost_silently
            or self.udp_failed_sends
            or self.tcp_resets
            or self.tcp_stuck
            or self.tcp_wrong_answers
            or self.connect_failures
        )

    def interval(self, name: str) -> Interval:
        """Return the interval that the mark of that name opens; raises KeyError when there is none."""
        for interval in self.intervals:
            if interval.name == name:
                return interval
        raise KeyError(name)

"""What the traffic processes say: the lines between the run and a pod, and the headers inside the packets.

    run ──▶ pod   Assignment, Connect, Start, Mark*, Rest, Close         one JSON object a line, on stdin
    pod ──▶ run   Ready, Connected, Progress*, Rested, <books>, Closed   one JSON object a line, on stdout

All times are seconds of CLOCK_MONOTONIC, which every network namespace of a machine shares. A list "per interval" has
one entry for each mark so far: what began between that mark and the next.
"""

import struct

import msgspec

from kubemtu_lab.traffic import plan

MAGIC = 0x6B6D7475  # "kmtu"
DATAGRAM = struct.Struct("!IIII")  # magic, flow, number, size of the IP packet
QUESTION = struct.Struct("!IIIII")  # magic, flow, number, length, length of the answer wanted (0: one full segment)
ANSWER = struct.Struct("!IIII")  # magic, number, length, CRC-32 of the whole question


class PodOrder(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag=str.lower):
    """A line to a pod."""


class Assignment(PodOrder, frozen=True, kw_only=True):
    """The flows that start at `place`. `segment` lists devices whose TSO, GSO and GRO are switched off meanwhile."""

    place: plan.FlowEnd
    udp: tuple[plan.UdpFlow, ...] = ()
    tcp: tuple[plan.TcpFlow, ...] = ()
    segment: tuple[str, ...] = ()


class Connect(PodOrder, frozen=True, kw_only=True):
    """Opens the connections that are to stay."""


class Start(PodOrder, frozen=True, kw_only=True):
    """Begins to send; `at` is the first mark."""

    at: float


class Mark(PodOrder, frozen=True, kw_only=True):
    """A moment that divides the books."""

    at: float


class Rest(PodOrder, frozen=True, kw_only=True):
    """Stops what is regular, asks once more on every idle connection, and waits for answers at most `patience` s."""

    patience: float


class Close(PodOrder, frozen=True, kw_only=True):
    """Hands over the books and ends."""


class PodReport(msgspec.Struct, frozen=True, kw_only=True, tag_field="say", tag=str.lower):
    """A line from a pod."""


class Ready(PodReport, frozen=True, kw_only=True):
    """All sockets listen."""


class Connected(PodReport, frozen=True, kw_only=True):
    """Every connection that is to stay is up, or is known to have failed."""


class Rested(PodReport, frozen=True, kw_only=True):
    """Nothing more is sent."""


class Closed(PodReport, frozen=True, kw_only=True):
    """The last line."""


class Failed(PodReport, frozen=True, kw_only=True):
    """Why this process gives up, as a sentence."""

    why: str


class Progress(PodReport, frozen=True, kw_only=True):
    """Sums since the start, for a live picture. `waiting_ms`: age of the oldest question without an answer."""

    udp_sent: int = 0
    udp_received: int = 0
    udp_told: int = 0
    tcp_answered: int = 0
    tcp_failed: int = 0
    connect_failures: int = 0
    waiting_ms: float = 0.0


class UdpSent(PodReport, frozen=True, kw_only=True):
    """The sender's book of a flow: it sent the numbers from 0 to below `sent`."""

    flow: int
    sent: int
    firsts: tuple[int, ...]  # per mark, the first number sent at or after it
    refused: tuple[int, ...]  # per interval, sends that the sender's own kernel refused with EMSGSIZE; not in `sent`
    failed: tuple[int, ...]  # per interval, sends that failed otherwise; not in `sent`
    sizes: tuple[int, ...]  # per interval, the IP packet's size at its end, bytes
    errors: dict[str, int] = {}


class IcmpReported(PodReport, frozen=True, kw_only=True):
    """Numbers for which an ICMP error came back, as runs start, stop, start, stop... Books may come in parts."""

    flow: int
    runs: tuple[int, ...]


class PortDropped(PodReport, frozen=True, kw_only=True):
    """Numbers that the sender's own port dropped while an ordinary program was told "sent" (see `udp`)."""

    flow: int
    runs: tuple[int, ...]


class Received(PodReport, frozen=True, kw_only=True):
    """Numbers that arrived, as runs."""

    flow: int
    runs: tuple[int, ...]


class UdpArrivals(PodReport, frozen=True, kw_only=True):
    """What else the receiver saw of a flow."""

    flow: int
    duplicates: int
    reordered: int


class TcpAsked(PodReport, frozen=True, kw_only=True):
    """The asking side's book of a TCP flow, per interval in which the question, or the connection, began.

    `failed` counts connections that ended in an error: resets of those that were to stay, else attempts that failed.
    `stuck` questions were never answered while their connection still seemed to live.
    """

    flow: int
    asked: tuple[int, ...]
    answered: tuple[int, ...]
    failed: tuple[int, ...]
    stuck: tuple[int, ...]
    longest_ms: tuple[float, ...]
    wrong: int = 0  # answers that were not what the question asked for
    errors: dict[str, int] = {}


class TcpServed(PodReport, frozen=True, kw_only=True):
    """The answering side's book: how many questions of a flow it answered."""

    flow: int
    answers: int


class Sample(PodReport, frozen=True, kw_only=True):
    """TCP_INFO of a connection that is to stay, taken when mark number `mark` came (Linux include/uapi/linux/tcp.h)."""

    flow: int
    mark: int
    snd_mss: int
    pmtu: int
    advmss: int
    total_retrans: int
    lost: int
    unacked: int
    retransmits: int
    backoff: int
    last_data_sent_ms: int


class KernelCounts(PodReport, frozen=True, kw_only=True):
    """What the namespace's kernel counted over the whole run, by /proc/net/snmp, netstat and snmp6 names."""

    counts: dict[str, int]
    retransmits: tuple[int, ...]  # per interval, TCP segments sent again by any connection here
    receiver_overflow: int  # datagrams that did not fit the receiver's own buffer


Orders = Assignment | Connect | Start | Mark | Rest | Close
Books = UdpSent | IcmpReported | PortDropped | Received | UdpArrivals | TcpAsked | TcpServed | Sample | KernelCounts
Reports = Ready | Connected | Rested | Closed | Failed | Progress | Books

_encoder = msgspec.json.Encoder()
_orders: msgspec.json.Decoder[Orders] = msgspec.json.Decoder(Orders)
_reports: msgspec.json.Decoder[Reports] = msgspec.json.Decoder(Reports)


def line(message: PodOrder | PodReport) -> bytes:
    """Return one message as one line."""
    return _encoder.encode(message) + b"\n"


def order(text: bytes) -> Orders:
    """Read a line to a pod; raises msgspec.MsgspecError when it is none."""
    return _orders.decode(text)


def report(text: bytes) -> Reports:
    """Read a line from a pod; raises msgspec.MsgspecError when it is none."""
    return _reports.decode(text)

"""What TCP connections show: those that stand still, those that send less than they could.

A path that drops what is large and says nothing looks like this from its sender: of one answer the full segments are
lost, again and again, while the shorter one at its end arrives and is acknowledged out of order (SACK, RFC 2018). But
loss does that as well: of 20 busy connections on a path that lost 30 % each way, four looked so at any time. So it is
judged by what else was lost on the way to the same address: what rate of loss explains all of it best, and how likely
is it then? Only losses at different times count, because a burst is lost together: the first time that a segment was
sent, and each time after a timeout, which come further and further apart.

Two more things look like it in one reading. An outage that begins while a lost segment is being sent again: so the
other end must have been heard since, on any connection. An outage that has just ended: so it must be the same in an
earlier reading, with the peer heard and a full segment sent again in between. One reading suggests, and two can prove.
Where segments of full size are among those that arrived, size is not what decides, and nothing is said of it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from kubemtu.core.evidence.records import Evidence, Symptom, TcpConnection
from kubemtu.core.text import wording

BACKED_OFF = 2  # timeouts in a row: one may be an accident
RISK = 1e-6  # of calling loss a matter of size and being sure, once for all segments that a namespace ever sends
LIKELY = 1e-3  # the same without being sure, for all connections of a reading together
UNDERWAY = 50  # ms in which the answer to what was sent last may still come
SMALLEST = 576  # bytes that every host takes (RFC 1122 3.3.2): what is lost below it is not lost for its size
MUCH = 20  # one packet in so many lost is worth a word
API_SEGMENT = 1200  # the MSS of kubemtu's connections to the API, of agents and commands
WINDOW = 4  # segments that the peer's window must hold: Linux sends no more than half of a small window at once

K = TypeVar("K")


class _Peer(msgspec.Struct):
    """What all connections to one address tell of it: ms since it was heard, segments that arrived, and were lost
    apart from what stands still; `tiny`: the size of the smallest packet that is lost again and again, if it is small.
    """

    heard: int
    arrived: int = 0
    lost: int = 0
    tiny: int = 0


class _Reading:
    """One reading, with what is looked up in it."""

    def __init__(self, evidence: Evidence) -> None:
        """Look at every connection once."""
        self.at = evidence.at
        self.number = len(evidence.connections)
        self.sent = evidence.counters.tcp_out_segs
        self.by_key = {connection.key: connection for connection in evidence.connections}
        self.peers: dict[str, _Peer] = {}
        for connection in evidence.connections:
            last_heard = min(connection.last_ack_recv, connection.last_data_recv)
            peer = self.peers.setdefault(connection.remote, _Peer(last_heard))
            standing = 0
            if _stands(connection):
                standing = connection.lost + connection.retransmits
                if (largest := _largest(connection)) <= SMALLEST:
                    peer.tiny = min(peer.tiny or largest, largest)
            peer.heard = min(peer.heard, last_heard)
            peer.arrived += connection.delivered
            peer.lost += max(connection.total_retrans - connection.dsack_dups - standing, 0)


def stalled(before: Evidence | None, now: Evidence) -> Iterator[Symptom]:
    """Tell of the connections that have timed out again and again, those of one address and one kind together."""
    earlier, later = _Reading(before) if before else None, _Reading(now)
    standing = [connection for connection in now.connections if _stands(connection)]
    selective = [connection for connection in standing if _by_size(later, connection)]
    kinds = _grouped(
        selective,
        lambda connection: (
            connection.remote,
            connection.packet,
            earlier is not None and _proven(earlier, later, connection),
        ),
    )
    for (_remote, _packet, proven), group in kinds.items():
        yield _selective(group, proven=proven)
    known = {connection.key for connection in selective}
    plain = [connection for connection in standing if connection.key not in known]
    for remote, group in _grouped(plain, lambda connection: connection.remote).items():
        yield _stall(group, later.peers[remote])


def small(now: Evidence) -> list[TcpConnection]:
    """List the connections whose segments are smaller than the path MTU that the kernel holds would allow."""
    return [connection for connection in now.connections if _small(connection)]


def clamped(now: Evidence) -> Iterator[Symptom]:
    """Tell of such connections, unless the kernel itself has made them so (net.ipv4.tcp_mtu_probing)."""
    found = [] if now.sysctls.tcp_mtu_probing else small(now)
    for (packet, pmtu), group in _grouped(found, lambda connection: (connection.packet, connection.pmtu)).items():
        yield Symptom(
            kind="segments clamped",
            sentence=f"{_these(group)} {wording.verb(len(group), 'send')} segments that make packets of {packet} "
            f"bytes, although the kernel holds {pmtu} for the path: something on the way clamps the MSS, or the other "
            "end's own interface is smaller. TCP is spared by it; UDP and QUIC are not",
            sure="suggests",
            where=wording.names(map(str, group)),
            peers=tuple(dict.fromkeys(connection.remote for connection in group)),
        )


def _stands(connection: TcpConnection) -> bool:
    """Say whether data has timed out in a row; a closed window backs off too, and has nothing under way."""
    return connection.backoff >= BACKED_OFF and connection.retransmits >= BACKED_OFF and connection.unacked > 0


def _full_sized_arrived(connection: TcpConnection) -> bool:
    """Say whether what is under way is all of full size, so that what arrived of it was."""
    return 0 < connection.unacked * connection.snd_mss <= connection.queued - connection.unsent


def _largest(connection: TcpConnection) -> int:
    """Return the largest packet that can be among those under way, in bytes."""
    under_way = connection.queued - connection.unsent
    return (
        connection.packet
        if under_way <= 0
        else connection.packet - connection.snd_mss + min(connection.snd_mss, under_way)
    )


def _tries(connection: TcpConnection) -> int:
    """Say how often the first segment was sent and surely lost: once, and after each timeout."""
    underway = connection.last_data_sent <= max(UNDERWAY, 2 * connection.rtt)
    return 1 + connection.retransmits - underway


def _by_size(now: _Reading, connection: TcpConnection) -> bool:
    """Say whether smaller packets of a connection arrive and full ones do not, for what else is lost on the way."""
    if not connection.sacked or not connection.lost or _full_sized_arrived(connection):
        return False
    peer = now.peers[connection.remote]
    if peer.tiny:
        return False
    return peer.lost == 0 or _unlucky(peer, connection) <= LIKELY / now.number


def _proven(before: _Reading, now: _Reading, connection: TcpConnection) -> bool:
    earlier, peer = before.by_key.get(connection.key), now.peers[connection.remote]
    if earlier is None or earlier.bytes_acked != connection.bytes_acked:
        return False
    if not 1 <= earlier.retransmits < connection.retransmits:  # sent again in between, and lost
        return False
    if before.peers[connection.remote].heard >= earlier.last_ack_recv:
        return False
    if peer.heard >= min(connection.last_ack_recv, (now.at - before.at) * 1000):
        return False
    return _unlucky(peer, connection) <= RISK / max(now.sent, peer.arrived + peer.lost)


def _unlucky(peer: _Peer, connection: TcpConnection) -> float:
    return chance(peer.arrived + peer.lost, peer.lost, _tries(connection), _tries(connection))


def chance(sent: int, lost: int, tries: int, failed: int) -> float:
    """Say how likely it is that size had no part in it, when so many tries with a size failed and others were lost.

    A likelihood ratio: everything lost at one rate, against the tries at their own. `sent` and `lost` are of other
    packets on the same way; the lost count twice, because an acknowledgement may be lost on its way back as well.
    """
    lost = min(2 * lost, sent)
    if failed * sent <= lost * tries:  # fewer than of the others
        return 1.0
    apart = _likelihood(sent, lost) + _likelihood(tries, failed)
    return math.exp(_likelihood(sent + tries, lost + failed) - apart)


def _likelihood(sent: int, lost: int) -> float:
    """Return the logarithm of how likely just these losses are at the rate that fits them best."""
    return sum(number * math.log(number / sent) for number in (lost, sent - lost) if number)


def _selective(group: Sequence[TcpConnection], *, proven: bool) -> Symptom:
    worst = max(group, key=_tries)
    fact = f"{_these(group)} {wording.verb(len(group), 'hang')}: "
    fact += "" if len(group) == 1 else f"of {worst} "
    fact += (
        f"a packet of {worst.packet} bytes was lost all {_tries(worst)} times that it was sent, in "
        f"{worst.last_ack_recv / 1000:.1f} s, while {wording.count(worst.sacked, 'shorter one')} after it arrived"
    )
    if proven:
        fact += ". The other end was heard meanwhile, and no rate of loss explains it: something on the way drops "
        fact += "large packets and does not say so"
    else:
        fact += ". A path that drops large packets without a word does that; loss or an outage may do it, too"
    return Symptom(
        kind="size-selective loss",
        sentence=fact,
        sure="proves" if proven else "suggests",
        says_mtu=True,
        where=wording.names(map(str, group)),
        peers=(worst.remote,),
    )


def _stall(group: Sequence[TcpConnection], peer: _Peer) -> Symptom:
    remote = group[0].remote
    longest = max(connection.last_ack_recv for connection in group) / 1000
    fact = f"{_these(group)} {wording.verb(len(group), 'hang')}: nothing was acknowledged for {longest:.1f} s"
    if peer.tiny:
        fact += f", and packets of at most {peer.tiny} bytes are lost as well: this is not a matter of size"
    elif peer.lost * MUCH > peer.arrived + peer.lost:
        fact += (
            f"; {100 * peer.lost // (peer.arrived + peer.lost)} % of the other packets to {remote} were lost as well"
        )
    elif peer.heard < min(connection.last_ack_recv for connection in group):
        fact += f", while {remote} answers on another connection: a path that drops large packets without a word, or "
        fact += "this connection alone is cut off"
    else:
        fact += ": an outage, or a path that drops large packets without a word; a probe tells which"
    return Symptom(
        kind="stalled connections",
        sentence=fact,
        sure="suggests",
        says_mtu=False if peer.tiny else None,
        where=wording.names(map(str, group)),
        peers=(remote,),
    )


def _small(connection: TcpConnection) -> bool:
    """Say whether its segments are smaller than the path's MTU for a reason that is not its own.

    Its own are a small window of the peer, a signature in each segment, an MSS that it also advertises (TCP_MAXSEG, a
    route's advmss), and none that was given at all (RFC 9293 3.7.1: then 536 bytes, over IPv6 1220). What kubemtu's
    own connections to an API server announce looks like a clamp from the server's end, and is not called one; that a
    path clamps to just that is found where its MSS is measured.
    """
    if (
        connection.packet >= connection.pmtu
        or connection.signed
        or 0 < connection.snd_wnd < WINDOW * connection.snd_mss
    ):
        return False
    segment = connection.snd_mss + (12 if connection.timestamps else 0)
    if segment == API_SEGMENT:
        return False
    return segment > (536 if connection.family == 4 else 1220) and not 0 < connection.advmss <= segment


def _these(group: Sequence[TcpConnection]) -> str:
    return str(group[0]) if len(group) == 1 else f"{len(group)} connections ({wording.names(map(str, group), 2)})"


def _grouped(
    connections: Iterable[TcpConnection], key: Callable[[TcpConnection], K]
) -> Mapping[K, list[TcpConnection]]:
    groups: dict[K, list[TcpConnection]] = {}
    for connection in connections:
        groups.setdefault(key(connection), []).append(connection)
    return groups

"""Ask many peers one question each, as lean as it goes: does a packet of the expected size arrive?

In a healthy cluster the answer is yes nearly everywhere, and then one large packet a peer is all there is to send: no
small ones after it, no lookup of routes, no object a peer. Who does not answer in time, or is answered by a router, is
handed on to a session, which finds out exactly.

Peers are asked in the order given, WINDOW at a time, at most `pps` packets a second. A packet is given up after three
times the slowest round trip so far, or PATIENCE where none is known yet; an answer that comes later still counts, and
tells how slow round trips are.
"""

import socket
import struct
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from kubemtu.node.probe import wire
from kubemtu.node.probe.channel import Address, Channel, nonce

WINDOW: Final = 192  # packets on their way at once
PATIENCE: Final = 0.02  # seconds
SLOWEST: Final = 1.0  # seconds that a round trip may take
SLOWER: Final = 3  # times the slowest round trip so far
AT_ONCE: Final = 2 * WINDOW  # datagrams that are taken from a channel before others get their turn
GATHER: Final = 0.0002  # seconds in which answers gather: a look costs as much as an answer

_PROBE = struct.Struct("!4sBBHQIH10x")
_ANSWER = struct.Struct("!QIHH")  # nonce, number, size, fragment: from the ninth byte of an ANSWER on
_ANSWER_AT: Final = 8


class Peer(msgspec.Struct, gc=False):
    """One peer: where it is, which size it is asked for, by which channel, and since when."""

    place: int
    channel: Channel
    address: Address
    size: int
    bound: wire.Key  # the key together with the address that packets leave from
    asked: float = 0.0
    late: bool = False  # no answer is waited for any more


class Sweep:
    """One question to each of many peers; `arrived` and `doubtful` are told of each, with the time."""

    def __init__(
        self,
        peers: Iterable[Peer],
        key: wire.Key,
        *,
        arrived: Callable[[Peer, float], None],
        doubtful: Callable[[Peer, float], None],
        pps: float = 0.0,
    ) -> None:
        """Begin with nothing sent; each of the peers is taken when it is its turn; `pps` 0 is without a limit."""
        self.nonce = nonce()
        self.sent = 0
        self.slowest = 0.0
        self._key = key
        self._waiting = iter(peers)
        self._all_sent = False
        self._known: list[Peer | None] = []  # by number; None once its fate is known
        self._oldest = 0  # number of the first packet that may still be given up
        self._under_way = 0
        self._arrived = arrived
        self._doubtful = doubtful
        self._pps = pps
        self._began = 0.0

    @property
    def over(self) -> bool:
        """Return whether every peer has answered or was handed on."""
        return self._all_sent and not self._under_way

    def send(self, now: float) -> None:
        """Ask as many more as the window and the rate allow."""
        if self._all_sent:
            return
        if not self._began:
            self._began = now
        room = WINDOW - self._under_way
        if self._pps:
            room = min(room, int((now - self._began) * self._pps) + 1 - self.sent)
        pack, known, nonce = _PROBE.pack, self._known, self.nonce
        magic, version, kind = wire.MAGIC, wire.VERSION, wire.PROBE
        for number in range(len(known), len(known) + room):
            if (peer := next(self._waiting, None)) is None:
                self._all_sent = True
                break
            known.append(peer)
            self._under_way += 1
            peer.asked = now
            one, size = peer.channel, peer.size
            one.awaited += 1
            body = pack(magic, version, kind, 0, nonce, number, size)
            if one.send(peer.bound.seal(body), size, peer.address) is not None:
                self._hand_on(number, now)
        self.sent = len(known)

    def hear(self, ready: Iterable[Channel], now: float) -> list[bytes]:
        """Take the answers that wait in these channels; gives back the datagrams that are about something else."""
        others: list[bytes] = []
        known, nonce, unpack, opens = self._known, self.nonce, _ANSWER.unpack_from, self._key.opens
        arrived, slowest, least, kind = self._arrived, self.slowest, wire.LENGTH, wire.ANSWER
        for one in ready:
            receive, view = one.socket.recv_into, one.view
            for _ in range(AT_ONCE):
                try:
                    length = receive(view)
                except BlockingIOError:
                    break
                except OSError:  # an error that waits here is in the error queue as well
                    continue
                if length < least or view[5] != kind:
                    others.append(bytes(view[:length]))
                    continue
                found, number, size, fragment = unpack(view, _ANSWER_AT)
                if found != nonce:
                    others.append(bytes(view[:length]))
                    continue
                peer = known[number] if number < len(known) else None
                if peer is None or size != peer.size or fragment or not opens(view):
                    continue
                known[number] = None
                arrived(peer, now)
                if (took := now - peer.asked) > slowest and took * SLOWER < SLOWEST:  # else it waited for a neighbour
                    slowest = took
                if peer.late:
                    continue
                self._under_way -= 1
                one.awaited -= 1
                if not one.awaited:  # what else may be there is told again by the next look
                    break
        self.slowest = slowest
        return others

    def refused(self, number: int, now: float) -> Peer | None:
        """Hand on at once whose packet somebody has refused; None when its fate is known already."""
        peer = self._known[number] if number < len(self._known) else None
        if peer is not None and not peer.late:
            self._hand_on(number, now)
        return peer

    def give_up(self, now: float) -> None:
        """Hand on all that have been waited for long enough."""
        before = now - self.patience
        known = self._known
        while self._oldest < len(known):
            peer = known[self._oldest]
            if peer is not None and not peer.late:
                if peer.asked > before:
                    return
                self._hand_on(self._oldest, now)
            self._oldest += 1

    @property
    def crowded(self) -> bool:
        """Return whether so many answers are on their way that it pays to let some gather before looking."""
        return self._under_way > WINDOW // 2

    @property
    def patience(self) -> float:
        """How long an answer is waited for, in seconds."""
        return min(max(PATIENCE, SLOWER * self.slowest), SLOWEST)

    def wake(self, now: float) -> float:
        """Return when to call `send` and `give_up` next, if nothing is heard before."""
        due = now + SLOWEST
        if not self._all_sent and self._under_way < WINDOW:
            due = self._began + self.sent / self._pps if self._pps else now
        for number in range(self._oldest, len(self._known)):
            peer = self._known[number]
            if peer is not None and not peer.late:
                return min(due, peer.asked + self.patience)
        return due

    def _hand_on(self, number: int, now: float) -> None:
        """Stop waiting for a peer; it stays known, so that a late answer counts."""
        peer = self._known[number]
        assert peer is not None
        peer.late = True
        self._under_way -= 1
        peer.channel.awaited -= 1
        self._doubtful(peer, now)


def bound(key: wire.Key, source: str) -> wire.Key:
    """Return the key for packets that leave from this address."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    return key.bound(socket.inet_pton(family, source.partition("%")[0]))

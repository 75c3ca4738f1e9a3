"""One search on one path: what core.path.search wants sent goes out as datagrams, and what they met comes back.

A session is known by its nonce. It holds no socket of its own: the station sends and hears for it.
"""

import contextlib
import errno
import os
import socket
from typing import Final

from kubemtu.core import errors
from kubemtu.core.path import burst, search
from kubemtu.node.probe import channel, wire

PAUSE: Final = 16  # packets of a burst after which the station listens for a moment
TOLD: Final = 0.05  # seconds that an answer is waited for after somebody said that there will be none
SEEN_MOST: Final = 3  # addresses that the other end may see us under, one after the other
REST: Final = 0.02  # seconds that an overloaded peer is given at first, and twice as many each time after that
NO_WAY: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL})


class Session:
    """One search under way towards `address`."""

    def __init__(
        self,
        channel_out: channel.Channel,
        address: channel.Address,
        question: search.Question,
        key: wire.Key,
        *,
        source: str,
        now: float,
    ) -> None:
        """Begin a search; `source` is the address its packets leave from, which their seal includes."""
        self.channel = channel_out
        self.address = address
        self.nonce = channel.nonce()
        self.search = search.Search(question)
        self.note = ""  # why nothing can be heard, when the kernel or the peer says so
        self.peer_mtu = 0  # of the interface that the peer receives by
        self.fragment = 0
        self.began = now
        self.ended = now
        self.rtt = 0.0
        self._key = key
        self._bound = channel_out.pack(source)
        self._local = b""
        self._drops: int | None = None
        self._own_drops = 0
        self._void = False
        self._rests = 0  # bursts in a row that were void
        self._resume = 0.0  # when to send the next burst
        self._first = 0  # number of the first packet of the burst under way
        self._next = 0
        self._burst: burst.Burst | None = None
        self._unsent = 0  # packets of the burst still to be sent
        self._past: dict[int, tuple[int, float]] = {}  # lost packets of bursts before: size, and when theirs began
        self._slowest = 0.0  # how long the slowest answer took that came after its burst was closed
        self.patience: tuple[float, ...] = (burst.PATIENCE,)  # seconds of silence that end a first burst, a second ...
        self.nat = ""  # the address that the other end sees us under, when it is another one
        self._seen = 0  # how often another address was believed
        self._silent = 0  # bursts that met with nothing but silence

    @property
    def result(self) -> search.SearchResult | None:
        """The end of the search, once it has one."""
        return self.search.result

    @property
    def bound(self) -> bytes:
        """The address that requests must be sealed for."""
        return self._bound

    def leave_from(self, local: bytes) -> None:
        """Send from this address of ours, because the other end knows us by it."""
        self._local = local
        self._bound = local

    def give_up(self, why: str) -> None:
        """End it without an answer."""
        self.note = why
        self.search.give_up()

    def advance(self, now: float) -> None:
        """Send what is due: the next packets of the burst, small ones once more, or the next burst."""
        if self.result is not None:
            return
        if self._burst is None:
            if now >= self._resume:
                self._begin(now)
        elif self._unsent:
            self._send_some(now)
        elif self._burst.over(now) or (self.note and not self._burst.heard and now > self._burst.began + TOLD):
            self._close(now)
            self.advance(now)
        else:
            for place in self._burst.again(now):
                self._send(place, now)
                if not self._burst.heard and self.search.low == 0:
                    self._say_hello(place)

    def wake(self) -> float:
        """Return when to call `advance` if nothing is heard before; 0 for at once."""
        if self._burst is None:
            return self._resume
        if self._unsent:
            return 0.0
        if self.note and not self._burst.heard:
            return min(self._burst.wake(), self._burst.began + TOLD)
        return self._burst.wake()

    def _begin(self, now: float) -> None:
        question = self.search.question
        sizes = self.search.burst()
        self._first = self._next
        self._unsent = len(sizes)
        self._own_drops = self.channel.drops()
        self._void = False
        patience = self.patience[min(self._silent, len(self.patience) - 1)]
        self._burst = burst.Burst(
            sizes,
            small=question.small,
            enough=self.search.top,
            now=now,
            rtt=self.rtt,
            slowest=self._slowest,
            patience=patience,
        )
        self._send_some(now)

    def _send_some(self, now: float) -> None:
        assert self._burst is not None
        first = len(self._burst.sizes) - self._unsent
        for place in range(first, min(first + PAUSE, len(self._burst.sizes))):
            self._unsent -= 1
            self._send(place, now)

    def _send(self, place: int, now: float) -> None:
        assert self._burst is not None
        number = self._first + place
        size = self._burst.sizes[place]
        self._next = max(self._next, number + 1)
        body = self._key.seal(wire.pack_request(wire.ProbePacket(wire.PROBE, self.nonce, number, size)), self._bound)
        refused = self.channel.send(body, size, self.address, self._local)
        if refused is None:
            return
        if refused.errno == errno.EMSGSIZE:
            limit = self._device()
            if limit < size:  # else it was said of a packet to somebody else
                self._burst.answered(place, search.Fate("refused here", limit), now)
        elif refused.errno in NO_WAY:
            self.note = f"the kernel sends nothing there: {refused.strerror}"
        elif isinstance(refused, BlockingIOError):  # our own queue is full
            self._void = True

    def _device(self) -> int:
        """Return the MTU of the interface that packets leave by now, in bytes."""
        with contextlib.suppress(OSError, errors.KubemtuError):
            return self.channel.route(self.address).device
        return self.search.top

    def _say_hello(self, place: int) -> None:
        """Ask under which address we are seen: what is sealed for another one is met with silence."""
        request = wire.ProbePacket(wire.HELLO, self.nonce, self._first + place, 0)
        body = self._key.seal(wire.pack_request(request))
        self.channel.send(body, self.search.question.small, self.address, self._local)

    def seen(self, address: bytes, now: float) -> None:
        """Take word of the address that the other end sees us under; begin anew when it was not known."""
        if address == self._bound or self.search.low or len(address) != len(self._bound) or self._seen >= SEEN_MOST:
            return
        self._seen += 1
        self._bound = address
        self.nat = socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
        if self._burst is not None and self.result is None:
            self._begin(now)

    def answered(self, answer: wire.ProbeAnswer, now: float) -> None:
        """Take an answer of the other end to one of this session's packets."""
        if self._drops is not None and answer.drops != self._drops:
            self._void = True
        self._drops = answer.drops
        self.peer_mtu = answer.mtu or self.peer_mtu
        if answer.fragment:
            self.fragment = max(self.fragment, answer.fragment)
            self._learn(answer.number, search.Fate("fragmented", answer.fragment), now)
        else:
            self._learn(answer.number, search.ARRIVED, now, answer.size)

    def refused(self, number: int, size: int, refusal: channel.Refusal, now: float) -> None:
        """Take what the network says about one of this session's packets."""
        if refusal.code == errno.EMSGSIZE and not refusal.local:
            self._learn(number, search.Fate("too big", refusal.mtu, refusal.by), now, size)
        elif refusal.code != errno.EMSGSIZE:
            self.refused_at_all(refusal)

    def refused_at_all(self, refusal: channel.Refusal) -> None:
        """Take an ICMP message that says that nobody is there, or that quotes too little to tell which packet."""
        if refusal.code == errno.EMSGSIZE:
            self.search.hint(refusal.mtu, refusal.by)
            return
        by = f" ({refusal.by} says so)" if refusal.by else ""
        if refusal.code == errno.ECONNREFUSED:
            self.note = f"nobody listens on port {self.address[1]} there{by}"
        else:
            self.note = f"{os.strerror(refusal.code).lower()}{by}"

    def _learn(self, number: int, fate: search.Fate, now: float, size: int | None = None) -> None:
        place = number - self._first
        if self._burst is not None and 0 <= place < len(self._burst.sizes):
            if size is None or size == self._burst.sizes[place]:
                self._burst.answered(place, fate, now)
        elif number in self._past and size in {None, self._past[number][0]}:
            known, began = self._past.pop(number)
            self.search.late(known, fate)
            if known != self.search.question.small:  # small ones are sent more than once, later
                self._slowest = max(self._slowest, now - began)
            if self._burst is not None:
                self._burst.overtaken(self._slowest)

    def _close(self, now: float) -> None:
        assert self._burst is not None
        fates = self._burst.fates()
        sizes = self._burst.sizes
        self.rtt = self._burst.rtt
        void = self._void or self.channel.drops() != self._own_drops
        self._rests = self._rests + 1 if void else 0
        if void:  # all who are told so at the same time shall not come back at the same time
            self._resume = now + REST * 2.0**self._rests * (0.5 + self.nonce % 16 / 16)
        self._silent += not self._burst.heard
        self.search.feed(sizes, fates, void=void)
        self._past |= {
            self._first + place: (size, self._burst.began)
            for place, (size, fate) in enumerate(zip(sizes, fates, strict=True))
            if fate.kind == "lost"
        }
        if self.note and self.search.low == 0 and self.result is None:  # told, and not only met with silence
            self.search.give_up()
        self._burst = None
        self.ended = now

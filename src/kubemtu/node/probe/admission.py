"""Who is answered: only those who hold the key, nothing twice, and only so many a second.

All state has a fixed size. Strangers cannot fill it, because only what was sealed with the key is remembered or counted
against the limit. A request is sealed for the address it was sent from, so a captured one can be sent again only from
there, and is not answered again before DEEP others have come to the same of SETS places: ten thousand others push out
one in a hundred million. Only a HELLO holds from anywhere: what a captured one can gain is one packet of its own size,
once.
"""

from typing import Final

import msgspec

from kubemtu.node.probe import wire

SETS: Final = 4096  # places for MACs of eight bytes, by their first twelve bits
DEEP: Final = 16  # MACs in each: half a megabyte in all
RATE: Final = 20_000  # answers a second: one core of a machine answers about three times as many
DEPTH: Final = 20_000  # answers at once: a thousand agents that all begin now, and some bursts


class RefusalCounts(msgspec.Struct):
    """How many datagrams were not answered, and why."""

    foreign: int = 0  # no request of ours at all
    damaged: int = 0  # not of the length that it says it was sent with
    forged: int = 0  # sealed with another key, or for another sender
    repeated: int = 0
    limited: int = 0


class Admission:
    """Lets requests through, or counts why not."""

    def __init__(self, key: wire.Key, now: float, *, rate: int = RATE, depth: int = DEPTH) -> None:
        """Begin with nothing seen; `rate` is in answers a second, `depth` in answers at once."""
        self.refused = RefusalCounts()
        self._key = key
        self._rate = rate
        self._depth = depth
        self._tokens = float(depth)
        self._filled = now
        self._seen = [b""] * SETS

    def admit(self, datagram: bytes, size: int, bound: bytes, now: float) -> wire.ProbePacket | None:
        """Read the request in a datagram from the address `bound`, `size` bytes as a packet; None means: be silent."""
        request = wire.asked(datagram)
        if request is None:
            self.refused.foreign += 1
            return None
        if request.kind == wire.PROBE and request.size != size:
            self.refused.damaged += 1
            return None
        if not self._key.opens(datagram, b"" if request.kind == wire.HELLO else bound):
            self.refused.forged += 1
            return None
        if self._again(wire.mac(datagram)):
            self.refused.repeated += 1
            return None
        if now > self._filled:
            self._tokens = min(self._tokens + (now - self._filled) * self._rate, self._depth)
        self._filled = now
        if self._tokens < 1:
            self.refused.limited += 1
            return None
        self._tokens -= 1
        return request

    def _again(self, mac: bytes) -> bool:
        """Say whether this MAC was seen lately, and remember it in the place of the oldest."""
        place = (mac[0] << 8 | mac[1]) >> 4
        known = self._seen[place]
        if mac in known:
            return True
        self._seen[place] = (mac + known)[: DEEP * len(mac)]
        return False

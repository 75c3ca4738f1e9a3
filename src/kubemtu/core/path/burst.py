"""Say when a burst is over: what is still unanswered once a packet sent after it was answered is lost.

Packets of one flow keep their order on the way, so the answer to a later packet tells about all earlier ones; a grace
of max(2 ms, RTT/4) forgives what was overtaken nevertheless, and a longer one where an answer came later than that.
Only when none of the small packets at the end is answered does a clock decide, and more of them are sent meanwhile.
No socket, no clock: the caller brings the time, in seconds.
"""

from collections.abc import Sequence
from typing import Final

from kubemtu.core.path import search

GRACE: Final = 0.002
GRACE_SHARE: Final = 0.25  # of a round trip
AGAIN: Final = (0.02, 0.06, 0.14, 0.3, 0.62)  # when to send a small packet again; IPv6 neighbours may take a second
PATIENCE: Final = 1.0


class Burst:
    """One burst under way; packets are known by their place in it."""

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        small: int,
        enough: int,
        now: float,
        rtt: float = 0.0,
        slowest: float = 0.0,
        patience: float = PATIENCE,
    ) -> None:
        """Begin at `now`; the arrival of `enough` bytes ends it at once; `rtt` is that of an earlier burst, or 0.

        `slowest` is how long an answer took that an earlier burst did not wait for, or 0; `patience` is how long
        nothing but silence is waited for.
        """
        self.sizes = list(sizes)
        self.began = now
        self.rtt = rtt
        self.heard = False  # whether anything was answered at all
        self._small = small
        self._enough = enough
        self._fates: list[search.Fate | None] = [None] * len(sizes)
        self._open = self._count = len(sizes)  # what is sent again only helps to hear sooner, and is not waited for
        self._tail = self._last_large()
        self._again = 0
        self._end: float | None = None
        self._done = False
        self._patience = patience
        self._least = now  # it does not end before that
        self.overtaken(slowest)

    def _last_large(self) -> int:
        """Return the place of the last packet that something is to be learnt about."""
        return max((place for place, size in enumerate(self.sizes) if size != self._small), default=-1)

    def answered(self, place: int, fate: search.Fate, now: float) -> bool:
        """Take what became of the packet at that place; False when it is known already (a duplicate).

        What arrived although a router said that it did not has arrived.
        """
        if not 0 <= place < len(self.sizes):
            return False
        earlier, arrived = self._fates[place], fate.kind in {"arrived", "fragmented"}
        if earlier is not None and not (arrived and earlier.kind == "too big"):
            return False
        self._fates[place] = fate
        self._open -= earlier is None and place < self._count
        if arrived:
            self.heard = True
            self.rtt = min(self.rtt or 3600.0, max(now - self.began, 1e-6))
            if self.sizes[place] >= self._enough and fate.kind == "arrived":
                self._done = True
            elif place > self._tail and self._end is None:
                self._end = max(now + max(GRACE, self.rtt * GRACE_SHARE), self._least)
        return True

    def overtaken(self, seconds: float) -> None:
        """Wait at least a little longer than that for what is open: so long has an answer to an earlier burst taken."""
        self._least = max(self._least, self.began + min(seconds * (1 + GRACE_SHARE), self._patience))
        if self._end is not None:
            self._end = max(self._end, self._least)

    def again(self, now: float) -> list[int]:
        """Give the places of small packets to send once more now: one, if it is time for it and none came back."""
        if self._end is not None or self._done or self._again >= len(AGAIN) or now < self._next():
            return []
        self._again += 1
        self.sizes.append(self._small)
        self._fates.append(None)
        return [len(self.sizes) - 1]

    def _next(self) -> float:
        return self.began + max(AGAIN[self._again], self.rtt * 3)

    def over(self, now: float) -> bool:
        """Say whether nothing more is to be waited for."""
        return self._done or self._open == 0 or now >= self.deadline()

    def deadline(self) -> float:
        """Return the time at which to ask again: to send small packets once more, or to close."""
        if self._end is not None:
            return self._end
        return self.began + max(self._patience, self.rtt * 4)

    def wake(self) -> float:
        """Return when to look at it next, if nothing is heard before."""
        if self._end is None and not self._done and self._again < len(AGAIN):
            return min(self._next(), self.deadline())
        return self.deadline()

    def fates(self) -> list[search.Fate]:
        """Say what became of every packet; lost is what is open and was sent before something that was answered.

        What was sent later, or was not waited for, is unknown; when nothing at all was answered, all is lost.
        """
        if self._done:
            return [fate or search.UNKNOWN for fate in self._fates]
        last = max((place for place, fate in enumerate(self._fates) if fate is not None), default=len(self._fates))
        if self._end is None:  # a clock has decided: the tail was waited for as long as the rest
            last = len(self._fates)
        return [fate or (search.LOST if place < last else search.UNKNOWN) for place, fate in enumerate(self._fates)]

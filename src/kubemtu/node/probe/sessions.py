"""The searches under way, by nonce, and when to look at each next."""

import heapq
from collections.abc import Iterator

from kubemtu.node.probe import session


class Sessions:
    """Sessions by their nonce; one that is done is dropped, and whoever wakes for it finds nothing."""

    def __init__(self) -> None:
        """Begin without any."""
        self._by_nonce: dict[int, session.Session] = {}
        self._wakes: list[tuple[float, int]] = []

    def __contains__(self, nonce: int) -> bool:
        """Return whether a session of that nonce is under way."""
        return nonce in self._by_nonce

    def __iter__(self) -> Iterator[session.Session]:
        """Iterate over all of them, as they are now."""
        return iter(list(self._by_nonce.values()))

    def get(self, nonce: int) -> session.Session | None:
        """Return the session of that nonce, or None."""
        return self._by_nonce.get(nonce)

    def add(self, one: session.Session) -> None:
        """Take one on."""
        self._by_nonce[one.nonce] = one
        self.push(one)

    def push(self, one: session.Session) -> None:
        """Note when it wants to be looked at."""
        heapq.heappush(self._wakes, (one.wake(), one.nonce))

    def drop(self, nonce: int) -> None:
        """Let go of one; that there is none is fine."""
        self._by_nonce.pop(nonce, None)

    def wake(self) -> float:
        """Return when the next one wants to be looked at; infinite when none does."""
        return self._wakes[0][0] if self._wakes else float("inf")

    def due(self, now: float) -> list[session.Session]:
        """Return those that want to be looked at now, each once."""
        nonces: dict[int, None] = {}
        while self._wakes and self._wakes[0][0] <= now:
            nonces[heapq.heappop(self._wakes)[1]] = None
        return [one for nonce in nonces if (one := self._by_nonce.get(nonce)) is not None]

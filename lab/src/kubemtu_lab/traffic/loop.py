"""One thread, one epoll, one heap of moments: cheaper per packet than asyncio, and a pod has thousands a second."""

import heapq
import itertools
import select
import time
from collections.abc import Callable

Ready = Callable[[int], None]

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT


class Loop:
    """Calls what was promised when a descriptor is ready or a moment has come."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: dict[int, Ready] = {}
        self._moments: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._ended = False

    def watch(self, descriptor: int, ready: Ready, mask: int = READABLE) -> None:
        """Call `ready` with the epoll mask whenever the descriptor is ready, or has an error."""
        if descriptor in self._ready:
            self._epoll.modify(descriptor, mask)
        else:
            self._epoll.register(descriptor, mask)
        self._ready[descriptor] = ready

    def forget(self, descriptor: int) -> None:
        """Stop watching; call it before the descriptor is closed, because its number will be used again."""
        if self._ready.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def at(self, moment: float, action: Callable[[], None]) -> None:
        """Call `action` once, at `moment` in seconds of CLOCK_MONOTONIC or soon after."""
        heapq.heappush(self._moments, (moment, next(self._order), action))

    def end(self) -> None:
        """Make `run` return."""
        self._ended = True

    def run(self) -> None:
        """Serve descriptors and moments until `end`."""
        while not self._ended:
            wait = max(0.0, self._moments[0][0] - time.monotonic()) if self._moments else -1.0
            for descriptor, mask in self._epoll.poll(wait):
                ready = self._ready.get(descriptor)
                if ready is not None:  # an earlier call of this round may have forgotten it
                    ready(mask)
            now = time.monotonic()
            while self._moments and self._moments[0][0] <= now:
                heapq.heappop(self._moments)[2]()

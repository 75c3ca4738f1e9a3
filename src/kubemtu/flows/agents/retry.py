"""Getting through a time in which the API server is away: everything that a change writes can be written again."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from kubemtu.core import errors
from kubemtu.flows.agents import events
from kubemtu.kube import errors as kube_errors

LONGEST = 120.0  # seconds: how long an API server may be away, for a restart or an election
PAUSE, MOST = 0.2, 3.0  # seconds between two tries, doubling

T = TypeVar("T")


class Retry:
    """Calls the API server again while it is away, for all that one run asks of it; says once that it is."""

    def __init__(self, on_event: events.OnEvent = events.silent) -> None:
        self._on_event = on_event
        self._down_since: float | None = None

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call, and call again while the server does not answer; `call` must bear being repeated.

        Raises Unreachable when it stays away for LONGEST seconds, and at once when it cannot be trusted.
        """
        since, pause = time.monotonic(), PAUSE
        while True:
            try:
                found = await call()
            except kube_errors.TlsFailure:
                raise
            except errors.Unreachable as away:
                if time.monotonic() - since >= LONGEST:
                    raise
                self._say_down(str(away))
            else:
                self._down_since = None
                return found
            await asyncio.sleep(pause)
            pause = min(2 * pause, MOST)

    def _say_down(self, why: str) -> None:
        if self._down_since is None:
            self._down_since = time.monotonic()
            self._on_event(events.Event(kind="note", text=f"{why}; trying again for {LONGEST:.0f} s"))

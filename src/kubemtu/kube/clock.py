"""The time of the API server, as its answers tell it: one clock for every age, whatever a laptop or a node believes.

Every answer of HTTP has a `Date` (RFC 9110, section 6.6.1) in whole seconds, rounded down, so the server's clock was
there or up to a second further when it was written. Each answer bounds the offset from below; the largest bound of all
is the closest. A bound that lies far off says that the server's clock was set, or that another server answered.
"""

import email.utils
import time
from collections.abc import Callable
from typing import Final

SET_BACK: Final = 5.0  # seconds: more than an answer takes to be late by, and the rounding


class ServerClock:
    """The server's time in seconds since the epoch, to a second; this machine's own until the first answer came.

    `passing` counts seconds from any moment on.
    """

    def __init__(self, *, passing: Callable[[], float] = time.monotonic) -> None:
        self._passing = passing
        self._offset: float | None = None  # from `passing` to the server's clock

    @property
    def known(self) -> bool:
        """Whether the server has told its time."""
        return self._offset is not None

    def now(self) -> float:
        """Return the server's time."""
        return time.time() if self._offset is None else self._passing() + self._offset

    def hear(self, date: str) -> None:
        """Take the `Date` of an answer that has just come; what is no date is not heard."""
        try:
            told = email.utils.parsedate_to_datetime(date).timestamp()
        except (ValueError, OverflowError):
            return
        offset = told - self._passing()
        if self._offset is None or offset > self._offset or self._offset - offset > SET_BACK:
            self._offset = offset

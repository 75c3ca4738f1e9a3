"""Keeps an agent's memory where it is after its start.

glibc gives each thread an arena of its own, and keeps in each what was freed there. An agent has few threads that
allocate at the same time, and reads each pod on a thread that ends; one arena, which gives back what it does not need,
is as fast and does not grow.
"""

import contextlib
import ctypes
import gc
from typing import Final

_ARENA_MAX: Final = -8  # mallopt(3)
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_SMALL: Final = 128 * 1024  # bytes: glibc's own first value of both, which setting keeps it from raising


def settle() -> None:
    """Have one arena, and count what the start has made as here to stay; before any thread is started."""
    with contextlib.suppress(AttributeError, OSError):  # another C library has other rules
        libc = ctypes.CDLL(None)
        for name, value in ((_ARENA_MAX, 1), (_TRIM_THRESHOLD, _SMALL), (_MMAP_THRESHOLD, _SMALL)):
            libc.mallopt(name, value)
    gc.collect()
    gc.freeze()

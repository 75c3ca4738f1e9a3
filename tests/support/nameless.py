"""Network namespaces that nothing names."""

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator

CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h


@contextlib.contextmanager
def anonymous() -> Iterator[int]:
    """Yield a new namespace as a descriptor; it ends with the last descriptor, link or socket in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    made: list[int] = []

    def make() -> None:
        if libc.unshare(CLONE_NEWNET) == 0:
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=make)  # which ends in there, so nobody else is moved
    thread.start()
    thread.join()
    (descriptor,) = made
    try:
        yield descriptor
    finally:
        os.close(descriptor)

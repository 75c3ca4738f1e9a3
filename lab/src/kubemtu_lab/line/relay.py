"""Holds packets between TUN devices for half a round trip each way: `python -I -S relay.py SECONDS FD FD [FD FD ...]`.

Not every kernel has netem. Each pair of descriptors is the two ends of one link; whatever is read at one end is written
at the other SECONDS later, in its order. Ends when its standard input does, and with that when its parent does. Stands
alone and imports little, so that it starts in 15 ms; what arrives before it does waits in the device's queue.

Sources: Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h.
"""

import contextlib
import fcntl
import gc
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
LARGEST = 65535
TURN = 32  # packets that are taken from one device before the others get their turn


def tun(name: str) -> int:
    """Make a TUN device in the calling thread's network namespace; it lasts as long as the descriptor returned.

    Raises OSError where there is no /dev/net/tun or it may not be used.
    """
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def start(delay: float, pairs: Sequence[tuple[int, int]]) -> subprocess.Popen[bytes]:
    """Run this file as a process of its own, `delay` in seconds one way; it takes over the devices of the pairs."""
    descriptors = [descriptor for pair in pairs for descriptor in pair]
    words = (sys.executable, "-I", "-S", __file__, str(delay), *map(str, descriptors))
    try:
        return subprocess.Popen(words, stdin=subprocess.PIPE, pass_fds=descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


class DelayLine:
    """One direction of one link: what was read and is not due yet."""

    def __init__(self, source: int, sink: int) -> None:
        """Start empty; both are descriptors of TUN devices."""
        self.source = source
        self.sink = sink
        self.held: deque[tuple[float, bytes]] = deque()

    def take(self, delay: float) -> bool:
        """Read what has come, a few packets at most; False once the device is gone."""
        for _ in range(TURN):
            try:
                packet = os.read(self.source, LARGEST)
            except BlockingIOError:
                return True
            except OSError:
                return False
            self.held.append((time.monotonic() + delay, packet))
        return True

    def give(self) -> None:
        """Write what is due."""
        held = self.held
        while held and held[0][0] <= time.monotonic():
            with contextlib.suppress(OSError):  # the device is down: as with a cable, the packet is lost
                os.write(self.sink, held.popleft()[1])


def relay(delay: float, lines: Sequence[DelayLine]) -> None:
    """Hold packets until standard input ends."""
    by_source = {line.source: line for line in lines}
    while True:
        due = min((line.held[0][0] for line in lines if line.held), default=None)
        patience = None if due is None else max(due - time.monotonic(), 0.0)
        ready, _, _ = select.select([0, *by_source], (), (), patience)  # it alone waits for less than a millisecond
        for descriptor in ready:
            if descriptor == 0:
                return
            if not by_source[descriptor].take(delay):
                del by_source[descriptor]
        for line in lines:
            line.give()


def main() -> None:
    """Be the relay."""
    delay, descriptors = float(sys.argv[1]), [int(word) for word in sys.argv[2:]]
    gc.disable()  # nothing here refers to itself, and a collection would be a delay
    with contextlib.suppress(OSError):  # a delay that waits for its turn on the processor is not what it says
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    ends = zip(descriptors[::2], descriptors[1::2], strict=True)
    relay(delay, [DelayLine(*pair) for one, other in ends for pair in ((one, other), (other, one))])


if __name__ == "__main__":
    main()

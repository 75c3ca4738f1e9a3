"""Whether datagrams that their sender cuts in fragments arrive: firewalls drop them, and NICs that hash by ports may.

A station answers what it was sent, whole or in fragments (RFC 791 3.2, RFC 8200 4.5). Beside each datagram that must be
cut goes one that must not: where those are not answered either, nothing is known of fragments.
"""

import select
import socket
import time
from collections.abc import Callable
from typing import Final, Literal

from kubemtu.node.probe import channel, wire

Fate = Literal["", "arrive", "vanish"]
BEYOND: Final = 512  # bytes above what travels whole: the second fragment is small, and the first one full
TRIES: Final = 6
PATIENCE: Final = 0.15  # seconds for each try
HEARD_LEAST: Final = 4  # small ones, of so many tries: less is loss, which explains large ones that are lost twice
_PMTUDISC_DONT, _IPV6_DONTFRAG = 0, 62


class Whole(channel.Channel):
    """A socket whose datagrams the kernel may cut."""

    def _prepare(self) -> None:
        super()._prepare()
        if self.family == 4:
            self.socket.setsockopt(socket.IPPROTO_IP, channel.IP_MTU_DISCOVER, _PMTUDISC_DONT)
        else:
            self.socket.setsockopt(socket.IPPROTO_IPV6, channel.IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
            self.socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 0)


def fate(one: channel.Channel, address: channel.Address, key: wire.Key, mtu: int, clock: Callable[[], float]) -> Fate:
    """Say what becomes of datagrams above `mtu`, the largest packet that travels whole, in bytes; "" where unknown.

    Raises OSError when there is no route.
    """
    large = mtu + BEYOND
    if large > wire.LARGEST:
        return ""
    bound, nonce = one.pack(one.route(address).source), channel.nonce()
    waiting = select.poll()
    waiting.register(one, select.POLLIN)
    heard: set[int] = set()
    for number in range(TRIES):
        for place, size in enumerate((mtu, large)):
            asked = wire.ProbePacket(wire.PROBE, nonce, 2 * number + place, size)
            one.send(key.seal(wire.pack_request(asked), bound), size, address)
        until = clock() + PATIENCE
        while not heard & {2 * number + 1} and (left := until - clock()) > 0 and waiting.poll(left * 1000):
            heard |= {
                wire.read_answer(each.head).number
                for each in one.receive()
                if wire.kind(each.head) == wire.ANSWER and key.opens(each.head)
                if wire.read_answer(each.head).nonce == nonce
            }
        if any(number % 2 for number in heard):
            return "arrive"
    return "vanish" if len(heard) >= HEARD_LEAST else ""


def now() -> float:
    """Read the clock that patience is measured by, in seconds."""
    return time.monotonic()

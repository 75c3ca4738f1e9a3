"""Find the largest packet that this host's own tunnel sends on in one piece.

A tunnel device whose MTU is too large for what is below it does one of two things with the outer packet. It cuts it
(VXLAN over IPv4 with `df unset`, the default): what arrives is whole again inside, so that no probe sees it. Or it
loses it without a word (`df set` and `inherit`; always over IPv6, whose packets only their source cuts, and VXLAN does
not): a probe sees a black hole, although whoever asks the kernel is told the truth after the first packet.

The host's own counts see both, while the packet is sent: FragCreates, one for each fragment, so at least two for a
packet, and FragFails, one for each packet. So a size is sent some times and the counts read before and after; small
packets sent before and after that tell what others do meanwhile. Only this host's own tunnel is found so, and only
where it cuts or loses.

Sources: RFC 7348 4.3; drivers/net/vxlan/vxlan_core.c vxlan_xmit_one; net/ipv4/ip_output.c ip_fragment,
net/ipv6/ip6_output.c ip6_fragment.
"""

import time
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from kubemtu.node.evidence import counters

SMALL: Final = 128  # bytes: in no tunnel too large for a link that carries IPv6
COPIES: Final = (4, 16, 64, 256)  # more of them where others make fragments as well
SURE: Final = 2  # times that the answer must show once more
SETTLE: Final = 0.001  # seconds: a packet that crosses a veth may be handed on a moment later

Send = Callable[[int], OSError | None]  # sends one packet of that many bytes, in one piece, or says why not
Does = Literal["cuts", "loses"]


class Outer(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, and the counts that it rests on.

    `mtu`: the largest size that went out in one piece, `top` when all do, None when it cannot be told, for the reason
    in `note`. `does`: what becomes of the next larger size; of it `copies` packets were sent last, which made `counted`
    fragments, or refusals, while others made `others` at most. `packets`: sent in all.
    """

    mtu: int | None
    top: int
    does: Does | None = None
    counted: int = 0
    copies: int = 0
    others: int = 0
    packets: int = 0
    note: str = ""


def largest(
    send: Send,
    *,
    top: int,
    small: int = SMALL,
    count: Callable[[], counters.Cut] = counters.cut,
    settle: float = SETTLE,
) -> Outer:
    """Find the largest size up to `top` that goes out in one piece; `count` reads the namespace of the underlay.

    By default that is the calling thread's; the socket behind `send` may be in another one, such as a pod's. The way
    must be known to work: a packet that waits for a neighbour's address, or has no route, is not cut either.
    """
    meter = _Meter(send, count, small, settle)
    try:
        mtu, does = _search(meter, small, top)
    except _Unclear as why:
        return Outer(mtu=None, top=top, packets=meter.packets, note=str(why))
    if does is None:
        return Outer(mtu=mtu, top=top, packets=meter.packets)
    return Outer(
        mtu=mtu,
        top=top,
        does=does,
        counted=meter.counted,
        copies=meter.copies,
        others=meter.others,
        packets=meter.packets,
    )


def _search(meter: "_Meter", low: int, top: int) -> tuple[int, Does | None]:
    does, high = meter.does(top), top
    if does is None:
        low, high = top, top + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if meter.does(middle) else (middle, high)
    for _ in range(SURE):
        if meter.does(low) is not None or (high <= top and meter.does(high) != does):
            raise _Unclear("the same size fared one way and then another: several ways out, or too much other traffic")
    return low, does


class _Unclear(Exception):
    """It cannot be told, for this reason."""


class _Meter:
    """Send and count."""

    def __init__(self, send: Send, count: Callable[[], counters.Cut], small: int, settle: float) -> None:
        self._send, self._count, self._small, self._settle = send, count, small, settle
        self.packets = self.counted = self.copies = self.others = 0

    def does(self, size: int) -> Does | None:
        """Find out what becomes of packets of that size; None: they go out whole.

        Raises _Unclear when they cannot be sent, or when others are counted too often.
        """
        for copies in COPIES:
            before, during, after = (self._counted(each, copies) for each in (self._small, size, self._small))
            if during.made + after.made < 2 * copies and during.refused + after.refused < copies:
                return None  # even if all that was counted is ours, not every packet was cut or lost
            for does, least, counts in (
                ("cuts", 2 * copies, (before.made, during.made, after.made)),
                ("loses", copies, (before.refused, during.refused, after.refused)),
            ):
                others = max(counts[0], counts[2])
                if counts[1] >= least and 2 * others < least:
                    self.counted, self.copies, self.others = counts[1], copies, others
                    return "cuts" if does == "cuts" else "loses"
        raise _Unclear("others make so many fragments on this host that ours cannot be told from them")

    def _counted(self, size: int, copies: int) -> counters.Cut:
        """Count fragments while so many packets of one size are sent."""
        began = self._count()
        for _ in range(copies):
            refused = self._send(size)
            if refused is not None:
                raise _Unclear(f"{size} bytes cannot be sent: {refused.strerror}")
        self.packets += copies
        time.sleep(self._settle)
        ended = self._count()
        return counters.Cut(ended.made - began.made, ended.refused - began.refused)

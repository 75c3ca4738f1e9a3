"""One line with what is wrong with it, and what is right to say about it."""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from kubemtu_lab.line import network
from kubemtu_lab.line.faults import PORT, Fault
from kubemtu_lab.line.network import Line

Family = Literal[4, 6]
Rtt = Literal[0, 10, 100]  # milliseconds; 0: a veth between the routers, about 0.05 ms
EVERY: Final[tuple[Rtt, ...]] = (0, 10, 100)
NEAR: Final[tuple[Rtt, ...]] = (0, 10)
HERE: Final[tuple[Rtt, ...]] = (0,)


class LineScene(msgspec.Struct, frozen=True, kw_only=True):
    """A path from a to b: what it is, what makes it so, and what is true of it.

    `kinds`: the classes of core.path.verdict that are right to say, by the words it uses. `mtu`: the largest packet
    that arrives at b, in bytes, 0 for none; of equal paths, the least. `back`: the largest that arrives at a, None
    where it is not to be measured. `whole`: the largest that no tunnel cuts, where one does. `says`: what the sentence
    must name, over IPv4 and IPv6. `flows`: how many must be measured so that no equal path is missed but once in a
    million times. `pause`: seconds between two measurements.
    """

    name: str
    summary: str
    picture: str
    faults: tuple[Fault, ...] = ()
    kinds: tuple[str, ...]
    mtu: int
    back: int | None = None
    whole: int | None = None
    says: tuple[str, str] = ("", "")
    families: tuple[Family, ...] = (4, 6)
    rtts: tuple[Rtt, ...] = EVERY
    address: Mapping[int, str] = msgspec.field(default_factory=lambda: network.B)
    port: int = PORT
    flows: int = 1
    pause: float = 0.0

    @property
    def told(self) -> int:
        """The size that a verdict on both directions gives, in bytes."""
        if self.whole is not None:
            return self.whole
        return min(self.mtu, self.back) if self.back is not None and "asymmetric" in self.kinds else self.mtu

    @property
    def deep(self) -> bool:
        """True where only what TCP believes, or what the own tunnel cuts, tells what is wrong."""
        return not {"masked", "outer fragments"}.isdisjoint(self.kinds)

    def commit(self, line: Line) -> None:
        """Make a plain line one like this."""
        for fault in self.faults:
            fault.commit(line)

    def renew(self, line: Line) -> None:
        """Undo what measuring did: the hosts know nothing of the path but what the scene is about."""
        line.forget()
        for fault in self.faults:
            if fault.fleeting:
                fault.commit(line)

"""Where one fault would show: each region is a few rectangles of senders and receivers.

    column        all packets to one member              its NIC, or the port it hangs on, towards it
    row           all packets of one member              the same, away from it
    node          both
    zones         all packets from one zone to another   what lies between them (`zones both`: and back)
    zone in       all packets into a zone from outside   its uplinks, towards it
    zone out      all packets out of a zone              its uplinks, away from it
    zone uplinks  both
    within        all packets inside a zone              its switch
    between       all packets from any zone to any other what connects the zones
    everywhere    all packets

A member whose zone is not known, or that is alone in it, belongs to no zone here: its rows and columns say the same.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Literal, NamedTuple

from kubemtu.core.mesh.marks import MeasuredPairs, Part, Side
from kubemtu.core.mesh.planes import Plane

Shape = Literal[
    "column",
    "row",
    "node",
    "zones",
    "zones both",
    "zone in",
    "zone out",
    "zone uplinks",
    "within",
    "between",
    "everywhere",
    "pair",
    "pair both",
]
# Of two regions that explain the same pairs the narrower one is taken.
NARROWEST_FIRST: tuple[Shape, ...] = (
    "column",
    "row",
    "node",
    "within",
    "zones",
    "zones both",
    "zone in",
    "zone out",
    "zone uplinks",
    "between",
    "everywhere",
)
BOTH_WAYS: frozenset[Shape] = frozenset({"node", "zones both", "zone uplinks", "pair both"})
LINES: frozenset[Shape] = frozenset({"column", "row", "node"})
RANK: dict[Shape, int] = {shape: rank for rank, shape in enumerate(NARROWEST_FIRST)}


class Region(NamedTuple):
    """One region by name: its shape, and the member or zones that it is about, by their index."""

    shape: Shape
    first: int = -1
    second: int = -1


class Zones:
    """The zones of at least two members, if there are at least two of them."""

    def __init__(self, measured: MeasuredPairs) -> None:
        """Read the members' zones."""
        members: dict[str, list[int]] = {}
        for index, node in enumerate(measured.mesh.members):
            if node.zone:
                members.setdefault(node.zone, []).append(index)
        self.measured = measured
        self.names = [name for name, inside in members.items() if len(inside) > 1]
        if len(self.names) < 2:
            self.names = []
        self.sides = [measured.side(members[name]) for name in self.names]
        self.of = [-1] * measured.size
        for zone, side in enumerate(self.sides):
            for member in side.members:
                self.of[member] = zone
        self._outside: dict[int, Side] = {}

    def outside(self, zone: int) -> Side:
        """Return everybody who is not of that zone."""
        if zone not in self._outside:
            mask = self.measured.everyone.mask & ~self.sides[zone].mask
            self._outside[zone] = Side(mask, [member for member, of in enumerate(self.of) if of != zone])
        return self._outside[zone]

    def between(self) -> Part:
        """Return all pairs of members of different zones."""
        zoned = self.measured.side([member for member, of in enumerate(self.of) if of >= 0])
        own = [self.sides[of].mask if of >= 0 else 0 for of in self.of]
        return Part(zoned, zoned, own)


def parts(region: Region, measured: MeasuredPairs, zones: Zones) -> tuple[Part, ...]:
    """Divide a region into rectangles; no pair is in two of them."""
    everyone, shape = measured.everyone, region.shape
    if shape == "everywhere":
        return (Part(everyone, everyone),)
    if shape == "between":
        return (zones.between(),)
    if shape in {"column", "row", "node"}:
        first, second = measured.one(region.first), everyone
    elif shape in {"pair", "pair both"}:
        first, second = measured.one(region.first), measured.one(region.second)
    elif shape == "within":
        first = second = zones.sides[region.first]
    else:
        first = zones.sides[region.first]
        second = zones.sides[region.second] if region.second >= 0 else zones.outside(region.first)
    forward, backward = Part(first, second), Part(second, first)
    if shape in {"column", "zone in"}:
        return (backward,)
    return (forward, backward) if shape in BOTH_WAYS else (forward,)


def candidates(plane: Plane, zones: Zones) -> Iterator[tuple[int, Region]]:
    """Yield every region in which pairs went wrong, and how many at most."""
    yield plane.size, Region("everywhere")
    rows = {sender: mask.bit_count() for sender, mask in plane.open.rows.items()}
    columns = {receiver: mask.bit_count() for receiver, mask in plane.open.columns.items()}
    for sender, bad in rows.items():
        yield bad, Region("row", sender)
    for receiver, bad in columns.items():
        yield bad, Region("column", receiver)
        yield bad + rows.get(receiver, 0), Region("node", receiver)
    if zones.names:
        yield from _of_zones(plane, zones)


def _of_zones(plane: Plane, zones: Zones) -> Iterator[tuple[int, Region]]:
    # How many pairs went wrong from each zone to each; -1 stands for members of no zone. Every region of zones is a sum
    # of such blocks, so the pairs are walked once and not once for each region.
    blocks: Counter[tuple[int, int]] = Counter()
    for sender, group in plane.entries:
        for zone, bad in Counter(map(zones.of.__getitem__, group.receivers)).items():
            blocks[zones.of[sender], zone] += bad
    into: Counter[int] = Counter()
    out: Counter[int] = Counter()
    for (source, target), bad in blocks.items():
        if source == target:
            if source >= 0:
                yield bad, Region("within", source)
            continue
        out[source] += bad
        into[target] += bad
        if min(source, target) >= 0:
            yield bad, Region("zones", source, target)
            if source < target:
                yield bad + blocks.get((target, source), 0), Region("zones both", source, target)
    for zone in range(len(zones.names)):
        yield into[zone], Region("zone in", zone)
        yield out[zone], Region("zone out", zone)
        yield into[zone] + out[zone], Region("zone uplinks", zone)
    crossing = sum(bad for (source, target), bad in blocks.items() if source != target and min(source, target) >= 0)
    yield crossing, Region("between")

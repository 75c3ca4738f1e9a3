"""What may be at fault: a region with what speaks for and against it, or a pair by itself."""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from kubemtu.core.mesh.marks import members_of
from kubemtu.core.mesh.planes import PairCount, Plane
from kubemtu.core.mesh.regions import Region
from kubemtu.core.path.verdict import Kind

WHOLE: Final = 0.9  # the share of a member's pairs from which it is the member, and not one of several ways to it
DIFFER: Final = "equal paths differ"

Confidence = Literal["certain", "likely", "possible"]


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """One region that explains `bad` pairs, while `good` pairs in it speak against it.

    `partly`: only some of its pairs went wrong, as where one of several equal paths is at fault.
    """

    region: Region
    kind: Kind
    bad: int
    good: int
    partly: bool
    confidence: Confidence


def whole(count: PairCount) -> bool:
    """Return whether a region went wrong as a whole, but for strays."""
    return count.bad >= WHOLE * (count.bad + count.good)


def pairs(plane: Plane) -> Iterator[Suspect]:
    """Yield what no region explains, pair by pair; both directions of one together."""
    for kind, of_kind in plane.kinds.items():
        rest = of_kind.within(plane.open).rows
        for sender in sorted(rest):
            for receiver in members_of(rest[sender]):
                both = bool(rest.get(receiver, 0) >> sender & 1)
                if both and receiver < sender:
                    continue  # told with the other direction
                region = Region("pair both" if both else "pair", sender, receiver)
                sure = _sure_of_pair(plane, region)
                yield Suspect(region=region, kind=kind, bad=1 + both, good=0, partly=kind == DIFFER, confidence=sure)


def _sure_of_pair(plane: Plane, region: Region) -> Confidence:
    """Say how sure a pair is: likely where so much else of its row and column is in order that only it is left."""
    if plane.measured.mesh.offsets is not None:
        return "possible"
    others = min(plane.good_row(region.first).bit_count(), plane.good_column(region.second).bit_count())
    return "likely" if others > 2 else "possible"

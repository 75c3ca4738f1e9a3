"""All that is known of one path between two ends, and the answer that it becomes.

Sizes are of whole IP packets, in bytes.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from kubemtu.core.cluster.topology import Topology
from kubemtu.core.evidence import records
from kubemtu.core.mesh.suspects import Confidence
from kubemtu.core.path.verdict import Kind
from kubemtu.core.remedy import Remedy
from kubemtu.core.text.wording import has, names
from kubemtu.core.why import directions
from kubemtu.core.why.directions import Leg, PathView
from kubemtu.core.why.endpoints import Endpoint
from kubemtu.core.why.location import Location
from kubemtu.core.why.passive import PassiveSymptoms

IsMtu = Literal["yes", "no", "unknown"]


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Answer for the path between two ends."""

    is_mtu: IsMtu
    """Whether it is the MTU."""
    sentence: str
    """The answer in one sentence."""
    kind: Kind
    """What becomes of packets that are larger than `mtu`."""
    mtu: int
    """The largest packet that arrives whole, in bytes; 0 when none was measured."""
    expected: int
    """The size that should arrive, in bytes; 0 when not known."""
    location: str
    """Where packets end; empty when the sentence says it."""
    confidence: Confidence
    """How sure the location is."""
    advice: str
    """What to do."""
    source: str
    """The end that was asked about first, by its name."""
    destination: str
    """The other end, by its name."""
    family: str = ""
    """"IPv4" or "IPv6" where both ends have both, else empty."""
    evidence: tuple[str, ...] = ()
    """What the answer rests on, a fact each."""
    legs: tuple[Leg, ...] = ()
    """What was measured: the whole path and its parts."""
    remedy: Remedy | None = None
    """What to do about the pod network; null where that is not known, or it is not to blame."""


class PathCase(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one path."""

    source: Endpoint
    destination: Endpoint
    forward: PathView
    backward: PathView | None
    legs: tuple[Leg, ...]
    observed: tuple[PassiveSymptoms, ...] = ()
    family: str = ""
    flushed: bool = False
    network: Topology | None = None

    @property
    def over_family(self) -> str:
        """The family, as it follows the ends."""
        return f" over {self.family}" if self.family else ""

    @property
    def ends(self) -> str:
        """The path, as sentences name it: from one end to the other, over its family."""
        return f"from {self.source.name} to {self.destination.name}{self.over_family}"

    @property
    def symptoms(self) -> tuple[tuple[str, records.Symptom], ...]:
        """Every symptom, and where it was seen."""
        return tuple((place.where, symptom) for place in self.observed for symptom in place.symptoms)

    def other(self, view: PathView) -> PathView | None:
        """Return the other direction."""
        return self.backward if view is self.forward else self.forward

    def answer(
        self,
        mtu: IsMtu,
        sentence: str,
        view: PathView,
        location: Location,
        advice: str,
        *,
        sizes: bool = True,
        remedy: Remedy | None = None,
    ) -> Diagnosis:
        """Make the answer; without `sizes`, none was measured."""
        return Diagnosis(
            is_mtu=mtu,
            sentence=sentence,
            kind=view.verdict.kind,
            mtu=view.verdict.mtu if sizes else 0,
            expected=view.verdict.expected,
            location=location.words,
            confidence=location.confidence,
            advice=advice,
            source=self.source.name,
            destination=self.destination.name,
            family=self.family,
            evidence=tuple(dict.fromkeys(self._facts(view))),
            legs=self.legs,
            remedy=remedy,
        )

    def _facts(self, view: PathView) -> Iterator[str]:
        yield from directions.facts(view)
        yield from view.notes
        if forgetful := [place.where for place in self.observed if place.forgotten]:
            yield f"{names(forgetful)} {has(len(forgetful))} forgotten all learned path MTUs before this was measured"
        for where, symptom in self.symptoms:
            yield f"{where}: {symptom.sentence}"


def both_families(first: Diagnosis, other: Diagnosis) -> Diagnosis | None:
    """Join both families of the same two ends into one answer, where both are in order and carry the same."""
    same = (first.source, first.destination, first.mtu) == (other.source, other.destination, other.mtu)
    if (
        not same
        or not first.family
        or first.family == other.family
        or {first.kind, other.kind} != {"ok"}
        or first.location
    ):
        return None
    joined = f"{first.family} and {other.family}"
    return msgspec.structs.replace(
        first,
        family=joined,
        sentence=first.sentence.replace(f" over {first.family} ", f" over {joined} ", 1),
        legs=(*first.legs, *other.legs),
    )

"""The path suits the pod, and what runs inside the pod does not suit the pod: said before anything is called right.

Probes are sent by the pod's own interface, so they know nothing of containers behind a larger bridge in it. Those are
in trouble with whoever is outside of the pod network: pods announce a segment that fits, others answer the container's.
"""

import msgspec

from kubemtu.core.cluster.nesting import Nested
from kubemtu.core.why.case import Diagnosis, IsMtu, PathCase
from kubemtu.core.why.endpoints import Endpoint
from kubemtu.core.why.location import Location


class Within(msgspec.Struct, frozen=True, kw_only=True):
    """The end whose inside is larger than itself, by its largest device; `outside`: the other end is of no cluster."""

    pod: str
    nested: Nested
    outside: bool


def find(case: PathCase) -> Within | None:
    """Return the end that holds what is larger than itself, that which faces the outside first; None: neither does."""
    found = [
        Within(pod=end.name, nested=nested, outside=other.kind == "address")
        for end, other in ((case.source, case.destination), (case.destination, case.source))
        if (nested := _largest(end)) is not None
    ]
    return min(found, key=lambda within: not within.outside, default=None)


def answer(case: PathCase, within: Within, own: str, is_mtu: IsMtu) -> Diagnosis:
    """Answer with what is inside the pod first, then with what was found of its own path, `own`, as a clause."""
    whose = within.nested.whose
    if within.outside:
        is_mtu = "yes"
        sentence = f"This is MTU for {whose} inside {within.pod}: {within.nested.sentence}; for the pod itself, {own}."
    else:
        sentence = (
            f"{own[0].upper()}{own[1:]}; but inside {within.pod} {within.nested.sentence} from outside the pod network."
            if within.nested.attached and not within.nested.joined
            else f"{own[0].upper()}{own[1:]}; but inside {within.pod} {within.nested.sentence}."
        )
    by = f"{within.nested.program}: " if within.nested.program else ""
    location = Location(words=f"inside {within.pod}, at {within.nested.device}", confidence="likely", cause="outside")
    return case.answer(is_mtu, sentence, case.forward, location, f"{by}{within.nested.remedy}")


def _largest(end: Endpoint) -> Nested | None:
    return max((one for one in end.nested if one.attached), key=lambda one: one.size, default=None)

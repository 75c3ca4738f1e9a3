"""Is it the MTU? Measure a path and its parts from where the agents stand, look at both ends, and answer."""

import contextlib
from collections.abc import Sequence

import msgspec

from kubemtu.core import errors
from kubemtu.core.objects import pod_addresses
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.why import legs
from kubemtu.core.why.case import Diagnosis
from kubemtu.core.why.endpoints import Endpoint
from kubemtu.core.why.legs import EndpointPair
from kubemtu.flows.agents import deadlines
from kubemtu.flows.measure import ends
from kubemtu.flows.measure.pairs import PairMeasurement
from kubemtu.kube import api as kube_api

FLOWS = 20  # source ports: of two equal paths one is missed with 1e-6 (0.5 ** 20)


class PathReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Hold what `why` answers."""

    diagnosis: Diagnosis
    """The answer for that of all paths tried that says most."""
    other_paths: tuple[Diagnosis, ...] = ()
    """The answers for the others."""
    notes: tuple[str, ...] = ()
    """What could not be measured, a sentence each."""
    errors: tuple[str, ...] = ()
    """What went wrong meanwhile, a sentence each."""
    unmeasured_nodes: tuple[str, ...] = ()
    """The nodes at these ends whose agents do not report: they were measured from the others, and nothing is
    called right there."""
    schema: str = "kubemtu.io/why/v1"
    """The format of this document."""

    @property
    def all(self) -> tuple[Diagnosis, ...]:
        """Every path that was tried, the one that says most first."""
        return (self.diagnosis, *self.other_paths)


async def why(
    api: kube_api.Api,
    here: str,
    there: str | None,
    *,
    namespace: str,
    flows: int = FLOWS,
    flush: bool = False,
    parts: bool = True,
) -> PathReport:
    """Answer for the path from one end to the other, or from one end to several others; without `parts`, only that.

    Raises UsageError for an end that is not there, Unreachable where no agent stands at either, Forbidden without the
    right to look or to ask, Conflict when a pod that was named has gone meanwhile.
    """
    inventory, start, goals = await ends.find(api, here, there, namespace)
    notes = [note for goal in goals for note in legs.limits(start, goal)]
    if not start.has_agent:
        start, goals = ends.turned(start, goals)
        notes.append(f"no agent stands at {goals[0].name}, so it was measured from {start.name}")
    pairs = [
        pair
        for number, goal in enumerate(goals)
        for pair in legs.endpoint_pairs(start, goal, inventory.snapshot, f"{number}", flows)
    ]
    if not parts:
        pairs = [msgspec.structs.replace(pair, requests=pair.requests[:1]) for pair in pairs]
    if not pairs:
        raise errors.UsageError(ends.no_path(start, goals[0]))
    async with deadlines.asking_all(api) as asking:
        measurement = PairMeasurement(asking, inventory.snapshot, flush=flush)
        diagnoses = await measurement.diagnoses(pairs)
        if not diagnoses and (
            turned_pairs := [turned for pair in pairs for turned in _turned(pair, inventory.snapshot, flows)]
        ):
            diagnoses = await measurement.diagnoses(turned_pairs)  # the agent at the first end does not answer
        sentences = (*asking.errors, *measurement.errors)
        silent_nodes = tuple(sorted({*ends.silent_nodes((start, *goals), inventory.snapshot), *asking.late}))
    if not diagnoses:
        raise errors.Unreachable(sentences[0] if sentences else "no agent could measure that path")
    best = min(diagnoses, key=lambda diagnosis: (_rank(diagnosis), diagnosis.mtu))
    await _still_there(api, (start, *goals), best)
    other_paths = tuple(diagnosis for diagnosis in diagnoses if diagnosis is not best)
    return PathReport(
        diagnosis=best, other_paths=other_paths, notes=tuple(notes), errors=sentences, unmeasured_nodes=silent_nodes
    )


def _rank(diagnosis: Diagnosis) -> int:
    return {"yes": 0, "unknown": 1, "no": 2}[diagnosis.is_mtu] + (diagnosis.kind == "ok")


def _turned(pair: EndpointPair, snapshot: Snapshot, flows: int) -> list[EndpointPair]:
    if not pair.destination.has_agent or pair.requests[0][0] != "whole":
        return []
    name = f"turned.{pair.requests[0][1].name}"
    return [
        other
        for other in legs.endpoint_pairs(pair.destination, pair.source, snapshot, name, flows)
        if other.family == pair.family
    ]


async def _still_there(api: kube_api.Api, all_ends: Sequence[Endpoint], best: Diagnosis) -> None:
    """Raise Conflict when nothing was answered because a pod has gone."""
    if best.kind != "unreachable":
        return
    for end in all_ends:
        if end.kind == "pod" and end.name in {best.source, best.destination}:
            namespace, _, name = end.name.partition("/")
            with contextlib.suppress(errors.Forbidden):
                pod = await api.find("v1", "pods", name, namespace)
                if pod is None or not {*pod_addresses(pod)} & {*end.addresses}:
                    raise errors.Conflict(f"pod {end.name} has gone while it was measured; ask again for one that runs")

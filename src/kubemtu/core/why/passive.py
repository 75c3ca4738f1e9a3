"""What both ends of a path and their nodes showed without being asked, as far as it is about that path.

What our own packets have been counted as, and what the kernel has learned from them, is nobody's symptom.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from kubemtu.core import net
from kubemtu.core.evidence import records, symptoms
from kubemtu.core.probe import request
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.why.endpoints import Endpoint
from kubemtu.core.why.legs import EndpointPair

COUNTED = frozenset({"refused here", "fragmented here", "reassembled here"})  # since when, nobody knows
KNOWN = frozenset({"path MTU learned", "masked", "discovery off"})  # measuring tells the same, and more exactly
OF_NODES = frozenset({"veth ends differ", "size-selective loss", "stalled connections"})  # what a pod's node may know


class PassiveSymptoms(msgspec.Struct, frozen=True, kw_only=True):
    """What one place showed: `where` is its name, `forgotten` how many path MTUs it was made to forget."""

    where: str
    symptoms: tuple[records.Symptom, ...] = ()
    forgotten: int = 0


def symptoms_between(
    pair: EndpointPair, reports: Mapping[str, request.ProbeReport], snapshot: Snapshot, measured: Mapping[str, int]
) -> tuple[PassiveSymptoms, ...]:
    """Collect what both ends and their nodes showed of the path between them.

    `measured`: the sizes that arrive, in bytes, by the address that they were sent to; empty when nothing was answered.
    """
    return tuple(_of_ends(pair, reports, snapshot, measured))


def _of_ends(
    pair: EndpointPair, reports: Mapping[str, request.ProbeReport], snapshot: Snapshot, measured: Mapping[str, int]
) -> Iterator[PassiveSymptoms]:
    for end in (pair.source, pair.destination):
        for link in dict.fromkeys((end.link, "")) if end.has_agent else ():
            reading = next((one for one in _looks(reports, end.agent_node) if one.link == link), None)
            if reading is None or reading.after is None:
                continue
            own = link == end.link
            symptoms_there = [
                symptom
                for symptom in _symptoms(reading, () if link else _ports(snapshot, end), measured)
                if _about(symptom.peers, pair) and not (symptom.kind in KNOWN and measured)
            ]
            kept_symptoms = tuple(symptom for symptom in symptoms_there if own or symptom.kind in OF_NODES)
            yield PassiveSymptoms(
                where=end.name if own else f"node {end.agent_node}",
                symptoms=kept_symptoms,
                forgotten=reading.flushed if own else 0,
            )


def _symptoms(
    reading: request.PassiveReading, ports: Sequence[net.PodPort], measured: Mapping[str, int]
) -> tuple[records.Symptom, ...]:
    """Collect what a namespace showed before anything was measured, and what happened to its connections since."""
    before, after = reading.before, reading.after
    if before is None or after is None:
        return ()
    since = msgspec.structs.replace(after, counters=before.counters, learned=before.learned)
    all_symptoms = [
        *symptoms.symptoms(before, since, measured=measured),
        *symptoms.symptoms(None, before, ports=ports, measured=measured),
    ]
    by_kind: dict[tuple[str, str], records.Symptom] = {}
    for symptom in all_symptoms:
        by_kind.setdefault((symptom.kind, symptom.where), symptom)
    return tuple(symptom for symptom in by_kind.values() if symptom.kind not in COUNTED and not _over(symptom))


def _over(symptom: records.Symptom) -> bool:
    """Recognise drops between two ends that are equal by now."""
    return symptom.kind == "veth ends differ" and symptom.sure != "proves"


def _looks(reports: Mapping[str, request.ProbeReport], node: str) -> tuple[request.PassiveReading, ...]:
    return reports[node].readings if node in reports else ()


def _ports(snapshot: Snapshot, end: Endpoint) -> tuple[net.PodPort, ...]:
    observation = snapshot.observation(end.agent_node)
    return tuple(port for port in observation.ports if port.host_link == end.link) if observation is not None else ()


def _about(peers: Sequence[str], pair: EndpointPair) -> bool:
    """Return whether a symptom is about this path, or about no address in particular."""
    return not peers or bool(set(peers) & {*pair.source.addresses, *pair.destination.addresses})

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
    """What one place showed: `where` is what people call it, `forgot` how many path MTUs it was made to forget."""

    where: str
    symptoms: tuple[records.Symptom, ...] = ()
    forgotten: int = 0


def seen(
    task: EndpointPair, told: Mapping[str, request.ProbeReport], snapshot: Snapshot, measured: Mapping[str, int]
) -> tuple[PassiveSymptoms, ...]:
    """Collect what both ends and their nodes showed of the path between them.

    `measured`: the sizes that arrive, in bytes, by the address that they were sent to; empty when nothing was answered.
    """
    return tuple(_of_ends(task, told, snapshot, measured))


def _of_ends(
    task: EndpointPair, told: Mapping[str, request.ProbeReport], snapshot: Snapshot, measured: Mapping[str, int]
) -> Iterator[PassiveSymptoms]:
    for end in (task.source, task.destination):
        for port in dict.fromkeys((end.port, "")) if end.known else ():
            look = next((one for one in _looks(told, end.node) if one.link == port), None)
            if look is None or look.after is None:
                continue
            own = port == end.port
            listed = [
                one
                for one in _symptoms(look, () if port else _ports(snapshot, end), measured)
                if _about(one.peers, task) and not (one.kind in KNOWN and measured)
            ]
            kept = tuple(one for one in listed if own or one.kind in OF_NODES)
            yield PassiveSymptoms(
                where=end.name if own else f"node {end.node}", symptoms=kept, forgotten=look.flushed if own else 0
            )


def _symptoms(
    look: request.PassiveReading, ports: Sequence[net.PodPort], measured: Mapping[str, int]
) -> tuple[records.Symptom, ...]:
    """Collect what a namespace showed before anything was measured, and what happened to its connections since."""
    before, after = look.before, look.after
    if before is None or after is None:
        return ()
    since = msgspec.structs.replace(after, counters=before.counters, learned=before.learned)
    found = [
        *symptoms.symptoms(before, since, measured=measured),
        *symptoms.symptoms(None, before, ports=ports, measured=measured),
    ]
    kept: dict[tuple[str, str], records.Symptom] = {}
    for one in found:
        kept.setdefault((one.kind, one.where), one)
    return tuple(one for one in kept.values() if one.kind not in COUNTED and not _over(one))


def _over(one: records.Symptom) -> bool:
    """Recognise drops between two ends that are equal by now."""
    return one.kind == "veth ends differ" and one.sure != "proves"


def _looks(told: Mapping[str, request.ProbeReport], node: str) -> tuple[request.PassiveReading, ...]:
    return told[node].readings if node in told else ()


def _ports(snapshot: Snapshot, end: Endpoint) -> tuple[net.PodPort, ...]:
    seen = snapshot.observation(end.node)
    return tuple(port for port in seen.ports if port.host_link == end.port) if seen is not None else ()


def _about(peers: Sequence[str], task: EndpointPair) -> bool:
    """Return whether a symptom is about this path, or about no address in particular."""
    return not peers or bool(set(peers) & {*task.source.addresses, *task.destination.addresses})

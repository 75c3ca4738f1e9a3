"""From facts to one snapshot: patches joined, files and observations given to their nodes, what repeats said."""

from collections.abc import Iterable, Iterator

import msgspec

from kubemtu.core.net import NodeFile, NodeObservation
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import UNUSED, Snapshot, Unread
from kubemtu.core.text.wording import names
from kubemtu.flows.saved import bundles, kustomize, nodes, printed
from kubemtu.flows.saved.facts import Facts, Printed

NAMED_MOST = 3  # of many files that were not used for one reason
_PASSING = frozenset({"managedFields", "resourceVersion", "generation", "creationTimestamp", "selfLink", "uid"})


class _Placed(msgspec.Struct, frozen=True, kw_only=True):
    """An object, where it stands, and when it was read from a cluster, where that is known."""

    object: Object
    place: str
    taken_at: float = 0.0


def snapshot(facts: Facts, source: str, folder: str, now: float) -> Snapshot:
    """Return all facts as one snapshot; `folder` names what they lie in, `now` is in seconds since the epoch."""
    saved = sorted(facts.snapshots, key=lambda named: -named[1].taken_at)
    told = [_Placed(object=each, place=each.origin) for each in kustomize.joined(facts)]
    told += [_Placed(object=one, place=name, taken_at=each.taken_at) for name, each in saved for one in each.objects]
    facts.objects = [each.object for each in _each_once(told, facts)]
    observed = tuple(_nodes(facts, [(name, seen) for name, each in saved for seen in each.nodes], folder))
    seen = {f"node {each.node}" for each in observed if each.links}
    unread = (entry for _, each in saved for entry in each.unread if entry.what not in seen)
    return Snapshot(
        source=source,
        offline=all(each.offline for _, each in saved),
        objects=tuple(facts.objects),
        nodes=observed,
        unread=(*dict.fromkeys(unread), *facts.unread, *_unused(facts)),
        taken_at=max((each.taken_at for _, each in saved), default=now),
    )


def _each_once(told: Iterable[_Placed], facts: Facts) -> Iterable[_Placed]:
    """Return each object once: of two that differ the newer, where it can be told, else the first; both are named."""
    held: dict[object, _Placed] = {}
    for number, each in enumerate(told):
        found = each.object
        named = (found.get("kind"), found.get("metadata", "namespace"), found.get("metadata", "name"))
        group = str(found.get("apiVersion")).rpartition("/")[0]
        key: object = (group, *named) if named[2] and all(isinstance(part, str | None) for part in named) else number
        first = held.setdefault(key, each)
        if first is each or _lasting(first.object) == _lasting(found):
            continue
        newer = _newer(each, first)
        if newer:
            held[key] = each
        where = f"{named[0]} {f'{named[1]}/' if named[1] else ''}{named[2]}"
        taken = {None: "the first is taken", True: "the latter is newer and is taken", False: "the former is newer"}
        facts.skip(where, f"stands in {first.place} and again in {each.place}: {taken[newer]}")
    return held.values()


def _newer(one: _Placed, other: _Placed) -> bool | None:
    """Say whether an object is newer than another, by their versions, or else by their times; None: unknown."""
    versions = [each.object.get("metadata", "resourceVersion") for each in (one, other)]
    uids = {str(uid) for each in (one, other) if (uid := each.object.get("metadata", "uid")) is not None}
    numbers = [int(text) for text in versions if isinstance(text, str) and text.isascii() and text.isdecimal()]
    if len(numbers) == 2 and len(uids) < 2 and numbers[0] != numbers[1]:
        return numbers[0] > numbers[1]
    if one.taken_at and other.taken_at and one.taken_at != other.taken_at:
        return one.taken_at > other.taken_at
    return None


def _lasting(found: Object) -> dict[str, object]:
    """Return an object without what the server adds to it, and without what it shows of itself."""
    body = {key: value for key, value in found.body.items() if key != "status"}
    metadata = body.get("metadata")
    if isinstance(metadata, dict):
        body["metadata"] = {key: value for key, value in metadata.items() if key not in _PASSING}
    return body


def _nodes(facts: Facts, saved: Iterable[tuple[str, NodeObservation]], folder: str) -> Iterator[NodeObservation]:
    """Yield what is known of each node: what was observed first, the newest before others, then files and outputs."""
    by_node: dict[str, list[NodeObservation]] = {}
    for _, each in saved:
        by_node.setdefault(each.node, []).append(each)
    known = {name for each in facts.objects if each.kind == "Node" and (name := each.name)}
    places = nodes.Places(
        nodes=frozenset(known | by_node.keys()),
        hosts=facts.hosts,
        pods=bundles.pod_nodes(facts.objects),
        folder=folder,
    )
    together = nodes.folders_of_several(name for name, _ in facts.files)
    files: dict[str, list[NodeFile]] = {}
    for name, file in facts.files:
        files.setdefault(nodes.of_file(name, places, together), []).append(file)
    for node, held in files.items():
        by_node.setdefault(node, []).append(nodes.files_of(node, held))
    peers = nodes.addresses(facts.objects)
    outputs: dict[str, list[Printed]] = {}
    by_address = {address: node for node, listed in peers.items() for address in listed}
    for output in printed.everything(facts):
        node = by_address.get(output.node) or (output.node and places.node(output.node))
        outputs.setdefault(node or nodes.of_output(output.name, places, output.host), []).append(output)
    for node, printed_there in outputs.items():
        by_node.setdefault(node, []).append(printed.observed(node, printed_there, peers))
    yield from map(nodes.joined, by_node.values())


def _unused(facts: Facts) -> Iterable[Unread]:
    """Say of each file why it was not used; of many with one reason how many there are, and the first few."""
    for reason, listed in facts.unused.items():
        if len(listed) <= NAMED_MOST:
            yield from (Unread(what=name, why=UNUSED, message=reason) for name in listed)
        else:
            what = names([*listed[:NAMED_MOST], f"{len(listed) - NAMED_MOST:,} more"])
            yield Unread(what=what, why=UNUSED, message=f"each {reason}")

"""From facts to one snapshot: patches joined, files and observations given to their nodes, what repeats said."""

from collections.abc import Iterable, Iterator

import msgspec

from kubemtu.core.net import NodeFile, NodeObservation
from kubemtu.core.snapshot import UNUSED, Snapshot, Unread
from kubemtu.core.text.wording import names
from kubemtu.flows.saved import kustomize, nodes
from kubemtu.flows.saved.facts import Facts

NAMED_MOST = 3  # of many files that were not used for one reason


def snapshot(facts: Facts, source: str, folder: str, taken_at: float) -> Snapshot:
    """Return all facts as one snapshot; `folder` names what they lie in, `taken_at` is in seconds since the epoch."""
    facts.objects = kustomize.joined(facts.objects, facts.patches)
    _note_repeated(facts)
    return Snapshot(
        source=source,
        offline=True,
        objects=tuple(facts.objects),
        nodes=tuple(_nodes(facts, folder)),
        unread=(*facts.unread, *_unused(facts)),
        taken_at=taken_at,
    )


def _note_repeated(facts: Facts) -> None:
    """Note objects that are there twice: the first is taken, and the files may be of several clusters."""
    first: dict[tuple[str, str | None, str], str] = {}
    for found in facts.objects:
        key = (found.kind, found.namespace, found.name)
        if found.name and first.setdefault(key, found.origin) != found.origin:
            where = f"{found.kind} {found.namespace + '/' if found.namespace else ''}{found.name}"
            facts.skip(where, f"stands in {first[key]} and again in {found.origin}: the first is taken")


def _nodes(facts: Facts, folder: str) -> Iterator[NodeObservation]:
    """Yield what is known of each node, files first, then what was printed there."""
    known = [each.name for each in facts.objects if each.kind == "Node"]
    together = nodes.folders_of_several(name for name, _ in facts.files)
    files: dict[str, list[NodeFile]] = {}
    for name, file in facts.files:
        files.setdefault(nodes.of_file(name, known, together, folder), []).append(file)
    by_node = {node: [nodes.files_of(node, held)] for node, held in files.items()}
    for name, seen in facts.observed:
        node = seen.node or nodes.of_output(name, {*known, *by_node}, folder)
        by_node.setdefault(node, []).append(msgspec.structs.replace(seen, node=node))
    peers = nodes.addresses(facts.objects)
    for parts in by_node.values():
        yield nodes.with_uplinks(nodes.joined(parts), peers)


def _unused(facts: Facts) -> Iterable[Unread]:
    """Say of each file why it was not used; of many with one reason how many there are, and the first few."""
    for reason, listed in facts.unused.items():
        if len(listed) <= NAMED_MOST:
            yield from (Unread(what=name, why=UNUSED, message=reason) for name in listed)
        else:
            what = names([*listed[:NAMED_MOST], f"{len(listed) - NAMED_MOST:,} more files"])
            yield Unread(what=what, why=UNUSED, message=f"each {reason}")

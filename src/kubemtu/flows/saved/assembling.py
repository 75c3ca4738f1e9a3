"""From facts to one snapshot: patches joined, files and observations given to their nodes, what repeats said."""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from kubemtu.core.net import NodeFile, NodeObservation
from kubemtu.core.snapshot import UNUSED, Snapshot, Unread
from kubemtu.core.text.wording import names
from kubemtu.flows.saved import kustomize
from kubemtu.flows.saved.facts import Facts

NODE_OWN = re.compile(r"\d\d-.+\.conf(?:list)?|subnet\.env|net-conf\.json")  # names that a node itself uses
NAMED_MOST = 3  # of many files that were not used for one reason


def snapshot(facts: Facts, source: str, folder: str, taken_at: float) -> Snapshot:
    """Return all facts as one snapshot; `folder` names what they lie in, `taken_at` is in seconds since the epoch."""
    facts.objects = kustomize.joined(facts.objects, facts.patches)
    _note_repeated(facts)
    return Snapshot(
        source=source,
        offline=True,
        objects=tuple(facts.objects),
        nodes=tuple(_nodes(facts.files, folder)),
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


def _nodes(files: list[tuple[str, NodeFile]], folder: str) -> Iterator[NodeObservation]:
    by_node: dict[str, list[NodeFile]] = {}
    own: dict[PurePosixPath, int] = {}
    for name, _ in files:
        path = PurePosixPath(name)
        own[path.parent] = own.get(path.parent, 0) + (NODE_OWN.fullmatch(path.name) is not None)
    for name, file in files:
        by_node.setdefault(_node_of(PurePosixPath(name), own, folder), []).append(file)
    for node, held in by_node.items():
        yield NodeObservation(node=node, files=tuple(held))


def _node_of(path: PurePosixPath, own: dict[PurePosixPath, int], folder: str) -> str:
    """Return the node that a file is taken to be of: named after its folder where several lie together."""
    together = NODE_OWN.fullmatch(path.name) is not None and own[path.parent] > 1
    return (path.parent.name or folder) if together else path.stem


def _unused(facts: Facts) -> Iterable[Unread]:
    """Say of each file why it was not used; of many with one reason how many there are, and the first few."""
    for reason, listed in facts.unused.items():
        if len(listed) <= NAMED_MOST:
            yield from (Unread(what=name, why=UNUSED, message=reason) for name in listed)
        else:
            what = names([*listed[:NAMED_MOST], f"{len(listed) - NAMED_MOST:,} more files"])
            yield Unread(what=what, why=UNUSED, message=f"each {reason}")

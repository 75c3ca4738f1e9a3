"""Which source shows which node: the agents first, then those that were asked for, each for what none before it showed.

A source is asked for nodes by name and gives observations, and an Unread for each node that it could not show and for
whatever it may not do at all. The snapshot that comes out is one like any other: the same rules judge it.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import msgspec

from kubemtu.core import net
from kubemtu.core.cluster import windows
from kubemtu.core.snapshot import Snapshot, Unread

Shown: TypeAlias = tuple[tuple[net.NodeObservation, ...], tuple[Unread, ...]]
"""What a source shows of the nodes that it was asked for, and what it could not."""
Source: TypeAlias = Callable[[Snapshot, Sequence[str]], Awaitable[Shown]]
"""A source: called with what is known so far and the names of the nodes that nobody has shown yet, in order."""


def silent(snapshot: Snapshot) -> tuple[str, ...]:
    """Name the nodes of the API that nobody has shown yet, in their order there; none of Windows, which none can."""
    return tuple(
        node.name
        for node in snapshot.each("Node")
        if snapshot.observation(node.name) is None and not windows.runs(node)
    )


def unread_node(name: str, why: str) -> Unread:
    """Say of a node why no source shows it."""
    return Unread(what=f"node {name}", why="unreachable", message=f"{why}: what its interfaces have is unknown.")


async def filled(snapshot: Snapshot, sources: Sequence[Source]) -> Snapshot:
    """Ask each source in turn for the nodes that none before it has shown, and put what it gives into the snapshot.

    A source that raises ends all: what concerns one node is for it to say as an Unread.
    """
    for source in sources:
        if missing := silent(snapshot):
            snapshot = merged(snapshot, await source(snapshot, missing))
    return snapshot


def merged(snapshot: Snapshot, shown: Shown) -> Snapshot:
    """Return the snapshot with what a source has shown of nodes that nobody had.

    Of a node that is shown now nothing is missing any more. Of one that is not, the reasons of all who tried stand in
    one entry, and the last of them says of what kind it is.
    """
    seen, unread = shown
    known = {node.node for node in snapshot.nodes}
    fresh = tuple(node for node in seen if node.node not in known)
    shown_now = {f"node {node.node}" for node in fresh}
    entries: dict[str, Unread] = {}
    others: dict[Unread, None] = {}
    for entry in (*snapshot.unread, *unread):
        if not entry.what.startswith("node "):
            others.setdefault(entry)
        elif entry.what not in shown_now:
            entries[entry.what] = _joined(entries.get(entry.what), entry)
    return msgspec.structs.replace(
        snapshot,
        nodes=tuple(sorted((*snapshot.nodes, *fresh), key=lambda node: node.node)),
        unread=(*others, *entries.values()),
    )


def _joined(earlier: Unread | None, later: Unread) -> Unread:
    if earlier is None or earlier.message == later.message:
        return later
    return msgspec.structs.replace(later, message=f"{earlier.message.rstrip('.')}; {later.message}")

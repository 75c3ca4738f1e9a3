"""Everything observed, as one value: it can be saved, diffed and replayed, so that every report reproduces."""

import functools
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from kubemtu.core import net
from kubemtu.core.objects import Object
from kubemtu.core.packed import by_kind

SCHEMA = "kubemtu.io/snapshot/v1"
UNUSED: Final = "not used"
"""Why something that was given was not read: nothing in it is of use here."""


class Unread(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something that should have been read and was not: an entry, not a crash."""

    what: str
    """What it is: an object, or a node."""
    why: Literal[
        "forbidden", "absent", "malformed", "broken", "unreachable", "no agent", "not in the files", "not used"
    ]
    """Why it was not read."""
    message: str
    """The same in a sentence, with what to do."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, rename="camel", dict=True):
    """Objects of the API and observations of nodes, taken together; `unread` says what is missing.

    `taken_at`: when, in seconds since the epoch, by the clock of the API server where there is one; 0: unknown.
    """

    source: str
    """Where it was taken: the cluster's address, or the files."""
    offline: bool = False
    """True for saved manifests: no node was observed, and none is expected to be."""
    objects: Sequence[Object] = ()
    """Objects of the API."""
    nodes: tuple[net.NodeObservation, ...] = ()
    """What each node shows."""
    unread: tuple[Unread, ...] = ()
    """What is missing."""
    service_networks: tuple[str, ...] = ()
    """Networks of the Services' addresses, where they were asked for."""
    taken_at: float = 0.0
    """When, in seconds since the epoch, by the API server's clock where there is one; 0 when not known."""
    schema: str = SCHEMA
    """Version of this form."""

    def __post_init__(self) -> None:
        if isinstance(self.objects, list):  # as it is read from a file
            msgspec.structs.force_setattr(self, "objects", tuple(self.objects))

    def __repr__(self) -> str:
        """Return a line: what a Task returns is printed into memory whole, whenever a signal's place is given back."""
        parts = (f"{len(self.objects)} objects", f"{len(self.nodes)} nodes", f"{len(self.unread)} unread")
        return f"<Snapshot of {self.source!r}: {', '.join(parts)}>"

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Return the object of that kind and name (in that namespace, if one is given), or None."""
        return next((found for found in self.each(kind, namespace) if found.name == name), None)

    def each(self, kind: str, namespace: str | None = None) -> Iterator[Object]:
        """Return all objects of a kind (in one namespace, if one is given), in the order they were read."""
        for found in self.of_kind(kind):
            if namespace is None or found.namespace == namespace:
                yield found

    def of_kind(self, kind: str) -> Sequence[Object]:
        """Return all objects of a kind, in the order they were read; where they are packed each is made anew."""
        return self._by_kind.get(kind, ())

    @functools.cached_property
    def _by_kind(self) -> dict[object, Sequence[Object]]:
        """The objects of each kind, since of 150,000 pods nobody wants to look for the one DaemonSet."""
        return by_kind(self.objects)

    @functools.cached_property
    def _by_node(self) -> dict[str, net.NodeObservation]:
        """What each node showed, of two the first."""
        return {seen.node: seen for seen in reversed(self.nodes)}

    def observation(self, node: str) -> net.NodeObservation | None:
        """Return the observation of that node, or None."""
        return self._by_node.get(node)

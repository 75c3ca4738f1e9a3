"""Everything observed, as one value: it can be saved, diffed and replayed, so that every report reproduces."""

import functools
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from kubemtu.core import net
from kubemtu.core.objects import Object

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
    objects: tuple[Object, ...] = ()
    """Objects of the API."""
    nodes: tuple[net.NodeObservation, ...] = ()
    """What each node shows."""
    unread: tuple[Unread, ...] = ()
    """What is missing."""
    taken_at: float = 0.0
    """When, in seconds since the epoch, by the API server's clock where there is one; 0 when not known."""
    schema: str = SCHEMA
    """Version of this form."""

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Return the object of that kind and name (in that namespace, if one is given), or None."""
        return next((found for found in self.each(kind, namespace) if found.name == name), None)

    def each(self, kind: str, namespace: str | None = None) -> Iterator[Object]:
        """Return all objects of a kind (in one namespace, if one is given), in the order they were read."""
        for found in self._by_kind.get(kind, ()):
            if namespace is None or found.namespace == namespace:
                yield found

    @functools.cached_property
    def _by_kind(self) -> dict[object, list[Object]]:
        """The objects of each kind, since of 30,000 pods nobody wants to look for the one DaemonSet."""
        kinds: dict[object, list[Object]] = {}
        for found in self.objects:
            kind = found.get("kind")
            if isinstance(kind, str):
                kinds.setdefault(kind, []).append(found)
        return kinds

    @functools.cached_property
    def _by_node(self) -> dict[str, net.NodeObservation]:
        """What each node showed, of two the first."""
        return {seen.node: seen for seen in reversed(self.nodes)}

    def observation(self, node: str) -> net.NodeObservation | None:
        """Return the observation of that node, or None."""
        return self._by_node.get(node)

"""Everything observed, as one value: it can be saved, diffed and replayed, so that every report reproduces."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from kubemtu.core import net
from kubemtu.core.objects import Object

SCHEMA = "kubemtu.io/snapshot/v1"


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """Something that should have been read and was not: an entry, not a crash."""

    what: str  # "ConfigMap kube-system/canal-config", "node n2"
    why: Literal["forbidden", "absent", "malformed", "broken", "unreachable", "no agent", "not in the files"]
    message: str


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Objects of the API and observations of nodes, taken together; `unread` says what is missing.

    `taken_at`: when, in seconds since the epoch, by the clock of the API server where there is one; 0: unknown.
    """

    source: str  # "cluster https://...", "folder manifests/"
    offline: bool = False  # from saved manifests: no node was observed, and none is expected to be
    objects: tuple[Object, ...] = ()
    nodes: tuple[net.NodeObservation, ...] = ()
    unread: tuple[Unread, ...] = ()
    taken_at: float = 0.0
    schema: str = SCHEMA

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """The object of that kind and name (in that namespace, if one is given), or None."""
        return next((found for found in self.each(kind, namespace) if found.name == name), None)

    def each(self, kind: str, namespace: str | None = None) -> Iterator[Object]:
        """All objects of a kind (in one namespace, if one is given), in the order they were read."""
        for found in self.objects:
            if found.kind == kind and (namespace is None or found.namespace == namespace):
                yield found

    def observation(self, node: str) -> net.NodeObservation | None:
        """What that node showed, or None."""
        return next((seen for seen in self.nodes if seen.node == node), None)

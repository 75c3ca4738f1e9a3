"""Nodes that run Windows: no agent is for them, so of their paths is known what somebody says, and nothing else."""

from collections.abc import Iterable, Sequence

import msgspec

from kubemtu.core.cluster import policy
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot

SYSTEM = "windows"
NIC, LEFT = 1500, 1450
"""What the Host Networking Service makes of a NIC of 1500 once a network is on it, by design (Azure/AKS#2873)."""
_LABELS = ("kubernetes.io/os", "beta.kubernetes.io/os")


class WindowsNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node of Windows, and who says what its paths carry; None: nobody."""

    name: str
    bound: policy.Bound | None = None


def runs(node: Object) -> bool:
    """Say whether a Node runs Windows, by what its kubelet tells, else by its labels."""
    said = node.get("status", "nodeInfo", "operatingSystem")
    if isinstance(said, str) and said:
        return said.lower() == SYSTEM
    return any(node.get("metadata", "labels", label) == SYSTEM for label in _LABELS)


def names(snapshot: Snapshot) -> tuple[str, ...]:
    """Name the nodes that run Windows, in their order in the API."""
    return tuple(node.name for node in snapshot.each("Node") if runs(node))


def beyond(nodes: Iterable[WindowsNode], least: int | None) -> policy.Bound | None:
    """Return who says of such nodes that their paths carry less than `least` bytes, the narrowest; None: nobody."""
    said = (node.bound for node in nodes if node.bound is not None)
    bound = min(said, key=lambda one: one.path_mtu, default=None)
    return bound if bound is not None and least is not None and bound.path_mtu < least else None


def of(snapshot: Snapshot, bounds: Sequence[policy.Bound]) -> tuple[WindowsNode, ...]:
    """Return the nodes that run Windows, each with what binds its paths most."""
    return tuple(WindowsNode(name=name, bound=policy.smallest(bounds, name)) for name in names(snapshot))

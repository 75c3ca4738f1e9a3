"""Where a finding is: the nodes that it is about, all of them by name, and what there."""

from collections.abc import Iterable

import msgspec

from kubemtu.core.text.wording import these


class NodePlace(msgspec.Struct, frozen=True):
    """Nodes, and what on them a finding is about: a device, pods, a file; `inside` what of the cluster they are."""

    nodes: tuple[str, ...]
    what: str = ""
    inside: str = ""

    def __str__(self) -> str:
        return ", ".join(part for part in (self.inside, these("node", self.nodes), self.what) if part)


def on(nodes: str | Iterable[str], what: str = "", *, inside: str = "") -> NodePlace:
    """Return the place of one node, or of several: each once, in the order given."""
    listed = (nodes,) if isinstance(nodes, str) else tuple(dict.fromkeys(nodes))
    return NodePlace(listed, what, inside)

"""The form in which an MTUMigration keeps a plan: as it is, or with what nodes have in common written once.

etcd takes no object above 1.5 MiB (server/embed/config.go, DefaultMaxRequestBytes), and a plan says of each node what
it shall be, in both halves of a decrease: 3.7 MB for 5,000 nodes with the names that a cloud gives them. So the live
steps of a large plan have, instead of `nodes`,

- `targets`: what nodes shall be, without what is a node's own, and `alike`: each node with that, and which of the
  `targets` it is to be;
- or `nodesOf`: the place of an earlier step that is about the same nodes.

There are no `nodes` then, so that a kubemtu that knows nothing of this refuses to read the plan, and does not take it
for one of no node. What fits is kept as it is, for people, and for those.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from kubemtu.core.change.plan import Live, NodeTarget, Plan

PLAIN_MOST = 1_000_000
"""Bytes of JSON of a plan that is kept as it is."""
MOST = 1_100_000
"""Bytes of JSON of a plan that is kept at all: the journal, and a number for each node, need their place too."""

EXPANDED_MOST = 200_000
"""Nodes of all steps of a plan that is read: 20,000 nodes, which is what `MOST` has room for, in ten steps."""


class AlikeNode(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One of the nodes that are alike: what of its target is its own; all else is the target at that place."""

    node: str
    target: int = 0
    running: int = 0
    changing: int | None = None
    own_networks: tuple[str, ...] = ()


class _Shared(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a live step has instead of its nodes."""

    targets: tuple[NodeTarget, ...] = ()
    alike: tuple[AlikeNode, ...] = ()
    nodes_of: int | None = None


_KEYS = frozenset(field.encode_name for field in msgspec.structs.fields(_Shared))


def written(planned: Plan) -> dict[str, Any]:
    """Return a plan as an MTUMigration keeps it, as JSON values."""
    if len(msgspec.json.encode(planned)) <= PLAIN_MOST:
        return msgspec.to_builtins(planned)  # type: ignore[no-any-return]  # of a Struct it is a mapping
    head: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(planned, steps=()))
    return head | {"steps": list(_steps(planned))}


def too_large(planned: Plan) -> str:
    """Say why no object of the API can hold a plan, and what to do; empty where one can."""
    size = len(msgspec.json.encode(written(planned)))
    if size <= MOST:
        return ""
    nodes = max((len(step.nodes) for step in planned.steps if isinstance(step, Live)), default=0)
    return (
        f"this plan is about {nodes:,} nodes and has {size / 1e6:.1f} MB as an MTUMigration, of which {MOST / 1e6:.1f}"
        " are the most that etcd has room for: `kubemtu apply --config-only` gives new pods what they should have, and"
        " running pods follow as they are restarted"
    )


def expanded(steps: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps of a plan with all their nodes, of those that are written with less.

    Raises msgspec.ValidationError for what `written` never writes.
    """
    found: list[dict[str, Any]] = []
    nodes = 0
    for body in steps:
        if "nodes" in body or not _KEYS & body.keys():
            found.append(body)
            continue
        shared = msgspec.convert({key: body[key] for key in _KEYS & body.keys()}, _Shared)
        own = {key: value for key, value in body.items() if key not in _KEYS}
        own["nodes"] = _nodes(shared, found)
        nodes += len(own["nodes"])
        if nodes > EXPANDED_MOST:  # a word in each of many steps would stand for all nodes of the first
            raise msgspec.ValidationError(f"its steps are about more than {EXPANDED_MOST:,} nodes")
        found.append(own)
    return found


def _steps(planned: Plan) -> Iterator[dict[str, Any]]:
    places: dict[tuple[NodeTarget, ...], int] = {}
    for place, step in enumerate(planned.steps):
        if not isinstance(step, Live):
            yield msgspec.to_builtins(step)
            continue
        first = places.setdefault(step.nodes, place)
        own = msgspec.to_builtins(msgspec.structs.replace(step, nodes=()))
        del own["nodes"]
        yield own | (_by_target(step.nodes) if first == place else {"nodesOf": first})


def _by_target(nodes: Sequence[NodeTarget]) -> dict[str, Any]:
    places: dict[NodeTarget, int] = {}
    listed = []
    for to in nodes:
        shared = msgspec.structs.replace(to, node="", running=0, changing=None, own_networks=())
        listed.append(
            AlikeNode(
                node=to.node,
                target=places.setdefault(shared, len(places)),
                running=to.running,
                changing=to.changing,
                own_networks=to.own_networks,
            )
        )
    return {"targets": msgspec.to_builtins(tuple(places)), "alike": msgspec.to_builtins(listed)}


def _nodes(shared: _Shared, earlier: Sequence[dict[str, Any]]) -> Any:
    if shared.nodes_of is not None:
        if not 0 <= shared.nodes_of < len(earlier) or "nodes" not in earlier[shared.nodes_of]:
            raise msgspec.ValidationError(f"`nodesOf` {shared.nodes_of} is no earlier step with nodes")
        return earlier[shared.nodes_of]["nodes"]
    stray = next((one for one in shared.alike if not 0 <= one.target < len(shared.targets)), None)
    if stray is not None:
        raise msgspec.ValidationError(f"`target` {stray.target} of {stray.node} is none of the step's targets")
    return tuple(
        msgspec.structs.replace(
            shared.targets[one.target],
            node=one.node,
            running=one.running,
            changing=one.changing,
            own_networks=one.own_networks,
        )
        for one in shared.alike
    )

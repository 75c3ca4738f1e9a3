"""What must be so before a change begins: every node can be held back, and the configuration is what the plan says.

A node whose agent is silent keeps sending at its own size while the others' interfaces shrink: the barrier that makes
a change lossless would stand on sand. So such a node is refused before anything is written, unless it is left out by
name; and a plan whose edits no longer fit is refused before the running pods have been touched for it.
"""

from collections.abc import Collection, Iterable

import msgspec

from kubemtu.core import errors
from kubemtu.core.change import plan
from kubemtu.core.cluster import windows
from kubemtu.core.objects import dotted
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text.wording import count
from kubemtu.core.text.wording import names as listed
from kubemtu.flows import observe
from kubemtu.flows.agents.asking import INSTALL
from kubemtu.kube import api as kube_api
from kubemtu.kube import creation


def observed(snapshot: Snapshot, without: Collection[str] = ()) -> None:
    """Raise Unreachable unless every node of the cluster is observed, but for those of Windows and those in `without`.

    Raises UsageError for a name in `without` that no node has, Forbidden where that may not be seen.
    """
    observe.permitted(snapshot, "nodemtus", "nodes", "pods")
    names = {node.name for node in snapshot.each("Node")}
    unknown = sorted(set(without) - names)
    if unknown:
        raise errors.UsageError(f"--without: the cluster has no node {unknown[0]}; it has {listed(sorted(names))}")
    seen = {node.node for node in snapshot.nodes}
    silent = sorted(names - seen - set(without) - set(windows.names(snapshot)))
    if not silent:
        return
    if not seen:
        raise errors.Unreachable(
            "no node has a kubemtu-agent that answers, so running pods cannot be changed: "
            f"{INSTALL}, or change the configuration alone with --config-only"
        )
    why = next((one.message.partition(":")[0] for one in snapshot.unread if one.what == f"node {silent[0]}"), "")
    more = f", and {count(len(silent) - 1, 'other node')} like it" if len(silent) > 1 else ""
    left_out = " ".join(f"--without {name}" for name in silent[:3])
    raise errors.Unreachable(
        f"node {silent[0]} cannot be held back while the others change{f' ({why})' if why else ''}{more}; nothing was "
        f"begun: see that kubemtu-agent runs there (its log says what keeps it from the API server), or leave it as it "
        f"is with {left_out}: `kubemtu relieve {left_out}` pins what the others send, at once"
    )


def leave_out(planned: plan.Plan, without: Collection[str]) -> plan.Plan:
    """Return the plan without those nodes in its live steps."""
    if not without:
        return planned
    steps = tuple(_without(step, without) if isinstance(step, plan.Live) else step for step in planned.steps)
    left = (
        f"{listed(sorted(without))}: left out, so the pods there keep what they have and may send more than others take"
    )
    return msgspec.structs.replace(planned, steps=steps, remains=(*planned.remains, left))


def _without(step: plan.Live, names: Collection[str]) -> plan.Live:
    nodes = tuple(node for node in step.nodes if node.node not in names)
    return msgspec.structs.replace(step, nodes=nodes, without=tuple(sorted(names)))


async def edits_fit(api: kube_api.Api, steps: Iterable[plan.Step]) -> None:
    """Raise Conflict when an edit would meet something else than what it was made for, or its own outcome."""
    for step in steps:
        if isinstance(step, plan.EditValue) and await stands(api, step) == "other":
            raise errors.Conflict(
                f"{step.ref}: {dotted(step.path)} is not what it was when the plan was made; nothing was done: see "
                "whether that change is wanted, then make a new plan"
            )
        if isinstance(step, plan.EditValue) and step.creates and step.after and await api.get(step.ref) is None:
            await creation.asked(api, step)


async def stands(api: kube_api.Api, step: plan.EditValue) -> str:
    """Say which of its values stands where an edit goes: "before", "after" or "found" (byte for byte), or "other".

    Raises Conflict when the object is gone.
    """
    found = await api.get(step.ref)
    if step.creates and step.found is None:
        return creation.stands(found, step, api.field_manager)
    if found is None:
        raise errors.Conflict(
            f"{step.ref} is gone from {api.connection.server}; see who deleted it, then make a new plan"
        )
    now = found.get(*step.path)
    values = {"after": step.after, "before": step.before} | ({"found": step.found} if step.found is not None else {})
    for name, value in values.items():
        if type(now) is type(value) and now == value:
            return name
    return "other"

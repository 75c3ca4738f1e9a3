"""A change in force, taken further: what is due besides becomes part of its plan, so that one rollback takes all back.

It is asked for again when a node has joined, somebody has put the configuration back, or a device has lost what it had.
The plan that is made then says what is due from what is so now; the record says what was so before the change. Joined,
each step leads to the former and back to the latter.
"""

from collections.abc import Sequence

import msgspec

from kubemtu.core.change import migration
from kubemtu.core.change.plan import EditValue, Live, NodeTarget, Plan, Rollout, Step, last_live


def extended(standing: Plan, due: Plan) -> Plan:
    """Return the plan of a change in force, with what a plan for the same cluster finds due."""
    live = last_live(due.steps)
    steps = tuple(_led(step, live) if live is not None and isinstance(step, Live) else step for step in standing.steps)
    config = configuration(due)
    if not config and steps == standing.steps:
        return standing
    return msgspec.structs.replace(
        standing, target=due.target, least=due.least, pools=due.pools, steps=_configured(steps, config)
    )


def configuration(planned: Plan) -> tuple[EditValue | Rollout, ...]:
    """Return the steps of a plan that change what new pods get."""
    return tuple(step for step in planned.steps if not isinstance(step, Live))


# Nodes


def _led(step: Live, due: Live) -> Live:
    """Return a live step that also leads the nodes to what is due; nobody is pinned to more than before."""
    if step.only_hosts:
        return step
    earlier = {to.node: to for to in step.nodes}
    now = {to.node: _target(earlier.get(to.node), to) for to in due.nodes}
    return msgspec.structs.replace(
        step,
        nodes=tuple((earlier | now).values()),
        pin_mtu=min(step.pin_mtu, due.pin_mtu),
        highest_mtu=max(step.highest_mtu, due.highest_mtu),
        underlay=max(step.underlay, due.underlay),
        without=tuple(sorted({*step.without, *(set(due.without) - earlier.keys())})),
    )


def _target(earlier: NodeTarget | None, now: NodeTarget) -> NodeTarget:
    """Return what a node shall be now, and was before the change: a device that is right already stays in it."""
    if earlier is None:
        return now
    moved = now.tunnel_mtu is not None
    return msgspec.structs.replace(
        now,
        origin_mtu=earlier.origin_mtu,
        origin_device_mtu=earlier.origin_device_mtu,
        tunnel_mtu=now.tunnel_mtu if moved else earlier.tunnel_mtu,
        origin_tunnel_mtu=earlier.origin_tunnel_mtu or (now.origin_tunnel_mtu if moved else None),
    )


# Configuration


def _configured(steps: Sequence[Step], due: Sequence[EditValue | Rollout]) -> tuple[Step, ...]:
    """Return the steps with the configuration that is due in its place: before devices shrink, after they grow."""
    place = next((at for at, step in enumerate(steps) if not isinstance(step, Live)), None)
    if place is None:
        shrinks = (
            at for at, step in enumerate(steps) if isinstance(step, Live) and step.start is migration.Phase.DEVICES
        )
        place = next(shrinks, len(steps))
    edits = {(step.ref, step.path): step for step in steps if isinstance(step, EditValue)}
    rollouts = {step.ref: step for step in steps if isinstance(step, Rollout)}
    recorded = {key: edit.before for key, edit in edits.items()}
    for edit in (step for step in due if isinstance(step, EditValue)):
        edits[edit.ref, edit.path] = _edit(edits.get((edit.ref, edit.path)), edit)
    # Where the way back is not to what was there before the change, nobody knows what the nodes held by that.
    alike = recorded == {key: edit.before for key, edit in edits.items()}
    for rollout in (step for step in due if isinstance(step, Rollout)):
        earlier = rollouts.get(rollout.ref)
        held = rollout.held if earlier is None else earlier.held if alike else ()
        rollouts[rollout.ref] = msgspec.structs.replace(rollout, held=held)
    before = [step for step in steps[:place] if isinstance(step, Live)]
    after = [step for step in steps[place:] if isinstance(step, Live)]
    return (*before, *edits.values(), *rollouts.values(), *after)


def _edit(earlier: EditValue | None, due: EditValue) -> EditValue:
    """Return the edit that leads to what is due, and back to what was there before the change.

    What somebody has written meanwhile, neither what was there before nor what the change gives, is where that leads.
    """
    if earlier is None or due.before not in (earlier.before, earlier.after):
        return due
    if due.before == earlier.before:
        return msgspec.structs.replace(earlier, after=due.after, found=None, why=due.why)
    return msgspec.structs.replace(earlier, after=due.after, found=due.before, why=due.why)

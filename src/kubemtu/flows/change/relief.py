"""The relief of a decrease: every sender is pinned, no device has moved. Whether it holds, and what is left to do."""

from collections.abc import Collection, Mapping, Sequence

from kubemtu.core import errors
from kubemtu.core.change import migration, plan, undo
from kubemtu.core.text.wording import count
from kubemtu.core.text.wording import names as listed
from kubemtu.flows.agents.nodes import AgentWatch
from kubemtu.flows.change import messages


def holds(steps: Sequence[plan.Step], progress: undo.Progress) -> bool:
    """Say whether every sender was pinned by an earlier step, and no device has been moved since."""
    last = plan.last_live(steps[: progress.step])
    return last is not None and last.relieves and progress.phase is None


def seen(nodes: AgentWatch, names: Collection[str], pin_mtu: int) -> str:
    """Say which nodes show that nobody sends more than `pin_mtu` bytes, and which do not show it.

    Raises Surprise when a node that reports does send more.
    """
    fresh = nodes.observations().keys() & set(names)
    applied = {name: one for name, one in nodes.last_applied(sorted(fresh)).items() if _pinned(one)}
    within(applied, pin_mtu)
    pods = sum(one.pods for one in applied.values())
    said = f"pins hold on {count(len(applied), 'node')}: {count(pods, 'pod')} and the nodes send at most {pin_mtu}"
    silent = sorted(set(names) - applied.keys())
    if silent:
        said += f"; node {listed(silent)} does not show that now, whose pins stay as they were put"
    return said


def within(applied: Mapping[str, migration.Applied], pin_mtu: int) -> None:
    """Raise Surprise when a node tells that it, or one of its pods, still sends more than `pin_mtu` bytes."""
    for name, one in applied.items():
        if one.largest_sent is not None and one.largest_sent > pin_mtu:
            raise errors.Surprise(f"node {name} still sends {one.largest_sent} bytes, and its pins are for {pin_mtu}")


def _pinned(applied: migration.Applied) -> bool:
    row = migration.TABLE[applied.phase]
    return applied.done and row.pods and row.overlay and row.ports


def left(steps: Sequence[plan.Step], progress: undo.Progress) -> tuple[str, ...]:
    """Return the steps that are still to be done, a line each."""
    return tuple(messages.headline(step) for step in steps[progress.step :])


def stopped(steps: Sequence[plan.Step], progress: undo.Progress, pins: str) -> str:
    """Return the sentence for a change that stops under pins: what holds, what is missing, how to go on."""
    first, last = progress.step + 1, len(steps)
    rest = f"step {last} of {last} is" if first == last else f"steps {first} to {last} of {last} are"
    if progress.direction == "backward":
        return f"Meanwhile {pins}; {rest} still to be done: `kubemtu rollback` carries on from here"
    return (
        f"Meanwhile {pins}; {rest} still to be done: `kubemtu apply` carries on from here, `kubemtu rollback` takes "
        "the pins back"
    )

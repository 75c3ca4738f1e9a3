"""How far a change has come, and the steps that take it back from there."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from kubemtu.core.change import migration, plan


class Progress(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a change stands: written before each step, so that it is never behind what was done.

    `step` counts in the sequence of its direction; it is the one under way, or the number of steps when all are done.
    `phase` is that of the live step under way, and `begun` is set while a step may have changed something. Going back,
    `turned_step` and `turned_phase` keep where it turned; a `turned_step` of -1 says that nothing had been changed.
    `epoch` counts the drivers: whoever takes over adds one, and neither the API nor an agent obeys an earlier one any
    more.
    """

    direction: Literal["forward", "backward"] = "forward"
    step: int = 0
    begun: bool = False  # the step under way may have changed something; until then it needs no undo
    phase: migration.Phase | None = None
    turned_step: int = 0
    turned_phase: migration.Phase | None = None
    finished: bool = False
    held: bool = False  # finished, and in force: agents keep what it made, until it is taken back
    epoch: int = 0
    configuring: int = 0  # all steps are done, and those of the configuration are taken once more since this epoch
    locked_before: dict[str, int] = {}  # how many routes of a node were locked before, and pods small for IPv6 alone

    @property
    def untouched(self) -> bool:
        """True while nothing can have been changed."""
        return self.direction == "forward" and not (self.begun or self.step or self.phase)

    @property
    def abandoned(self) -> bool:
        """True when it ended before anything was changed."""
        return self.finished and self.direction == "backward" and self.turned_step < 0


def sequence(planned: plan.Plan, progress: Progress) -> tuple[plan.Step, ...]:
    """Return the steps of the direction of `progress`: the plan's own, or those that undo what was begun of it."""
    if progress.direction == "forward":
        return planned.steps
    return undo(planned, progress.turned_step, progress.turned_phase)


def turn(progress: Progress, steps: Sequence[plan.Step]) -> Progress:
    """Go back from here, where a plan has these `steps`; a change that already goes back just goes on.

    A step that has not begun is not undone: undoing a restart is another restart.
    """
    if progress.direction == "backward":
        return progress
    turned_step, turned_phase = (-1, None) if progress.untouched else (progress.step, progress.phase)
    if progress.finished:  # whatever was added to its plan since is not behind that
        turned_step = len(steps)
    if turned_step > 0 and turned_phase is None and not progress.begun:
        turned_step -= 1
        last = steps[turned_step : turned_step + 1]
        turned_phase = last[0].until if last and isinstance(last[0], plan.Live) else None
    return Progress(
        direction="backward",
        turned_step=turned_step,
        turned_phase=turned_phase,
        epoch=progress.epoch,
        locked_before=progress.locked_before,
    )


def take_over(progress: Progress) -> Progress:
    """Return the same progress, counted one epoch further for a new driver."""
    return msgspec.structs.replace(progress, epoch=progress.epoch + 1)


def abandon(progress: Progress) -> Progress:
    """Return the progress of a change that ends without having changed anything."""
    return Progress(direction="backward", turned_step=-1, finished=True, epoch=progress.epoch)


def undo(planned: plan.Plan, step: int, phase: migration.Phase | None) -> tuple[plan.Step, ...]:
    """Return the steps that take back a plan of which `step` was under way (its live step in `phase`) or all were done.

    Undoing a decrease gives the running pods back first, in one go from wherever its pins and devices stand: a restart
    that does not come to its end must not keep the pins. Undoing an increase is a decrease, and pins first like one.
    The nodes' own pins go last of all: behind a path that still swallows what is too large, a kubelet without them
    does not hear of a restart, which then never ends.
    """
    begun = planned.steps[: step + 1]
    config = _config_undone(begun)
    live, reached = _furthest(begun, step, phase)
    if live is None or reached is None or reached is migration.Phase.RECORD:
        return config
    restored = msgspec.structs.replace(
        live, restore=True, hold=False, start=migration.UNDO_FROM[reached], until=migration.Phase.SETTLE
    )
    if live.only_hosts:
        return (*config, msgspec.structs.replace(restored, start=migration.Phase.SETTLE))
    if config and _grew(begun):
        pins, devices = restored.halves()
        return (pins, *config, devices)
    if config and restored.host_mtu is not None:
        pods = msgspec.structs.replace(restored, host_mtu=None, host_addresses=())
        return (pods, *config, msgspec.structs.replace(restored, start=migration.Phase.SETTLE))
    return (restored, *config)


def _furthest(
    begun: Sequence[plan.Step], step: int, phase: migration.Phase | None
) -> tuple[plan.Live | None, migration.Phase | None]:
    """Return the last live step that has touched a node, and the phase that it came to."""
    for index in reversed(range(len(begun))):
        live = begun[index]
        if isinstance(live, plan.Live):
            again = phase is not None and step >= len(begun)  # all was done, and its last live step is led once more
            reached = phase if index == step or again else live.until
            if reached is not None:
                return live, reached
    return None, None


def _grew(begun: Sequence[plan.Step]) -> bool:
    """Return True when the running pods went first, all the way: an increase."""
    return isinstance(begun[0], plan.Live) and not begun[0].relieves


def _config_undone(begun: Sequence[plan.Step]) -> tuple[plan.Step, ...]:
    """Return the configuration steps undone, in reverse, with two exceptions that keep the cluster running.

    The CNI's pods restart after their configuration is back, not before; and a key that was missing although those
    pods need it is taken away only after that restart.
    """
    back: list[plan.Step] = []
    edits: list[plan.EditValue] = []
    rollouts: list[plan.Rollout] = []

    def flush() -> None:
        needed = [edit for edit in edits if edit.before is None and edit.after == ""]
        back.extend(edit.undo() for edit in edits if edit not in needed)
        back.extend(again(rollout) for rollout in reversed(rollouts))  # who copies what another writes goes last again
        back.extend(edit.undo() for edit in needed)
        edits.clear()
        rollouts.clear()

    for one in reversed(begun):
        match one:
            case plan.Live():
                flush()
            case plan.Rollout() as rollout:
                if edits:
                    flush()
                rollouts.append(rollout)
            case plan.EditValue() as edit:
                edits.append(edit)
    flush()
    return tuple(back)


def again(rollout: plan.Rollout) -> plan.Rollout:
    """Return the same restart, after which the nodes must hold what they held before, where that was one thing."""
    why = f"undo: {rollout.why}"
    if len(rollout.held) != 1:
        return msgspec.structs.replace(rollout, conflist=None, mtu=None, why=why)
    return msgspec.structs.replace(rollout, mtu=rollout.held[0], why=why)

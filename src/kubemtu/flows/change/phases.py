"""The phases of a live step: every node is led into each, and none enters the next before all hold the one before."""

import time
from collections.abc import Mapping, Sequence

import msgspec

from kubemtu.core import errors
from kubemtu.core.change import migration, plan, safety
from kubemtu.flows.agents.nodes import PATIENCE
from kubemtu.flows.change import force, messages, relief, targets
from kubemtu.flows.change.run import Run


class Phases:
    """Leads the nodes of one run; remembers when every sender was pinned."""

    def __init__(self, run: Run) -> None:
        self.relief_seconds: float | None = None
        self._run = run

    async def lead(self, step: plan.Live) -> str:
        """Lead all nodes through the phases; each is entered by all before any enters the next."""
        if messages.by_destination(step):
            await self._run.nodes.look_who_left()  # which networks the pods of nodes that joined have
        # What is born after the recording is told from what was there before by its phase, so Record is not repeated.
        first = migration.Phase.PIN_PODS if step.start is migration.Phase.RECORD else step.start
        start = self._run.progress.phase or first
        # Where no device moves, pins harm nobody in any order: one barrier behind all of them, and relief comes sooner.
        phases = migration.span(start, step.until)[-1 if step.relieves and self._run.forward else 0 :]
        # The run before this one has asked already; so has nobody where a step goes on from another one's pins.
        asked = (
            None
            if self._run.progress.phase is None and relief.holds(self._run.steps, self._run.progress)
            else phases[0]
        )
        if self._run.forward and (why := force.unplaced(self._run.targets(step), step)):
            raise errors.Surprise(f"stopped before {phases[0]}: {why}")
        changed = 0
        applied: Mapping[str, migration.Applied] = {}
        for phase in phases:
            began = time.monotonic()
            if phase is not asked:
                await self._gate(step, phase)
            await self._run.record.note(msgspec.structs.replace(self._run.progress, phase=phase), f"phase {phase}")
            applied = await self._enter(step, phase)
            changed += sum(one.settings_changed for one in applied.values())
            self._tell(step, phase, applied, time.monotonic() - began)
            if self._run.forward and phase is migration.Phase.PIN_PORTS:
                self.relief_seconds = self._run.seconds()
        if step.relieves and not step.only_hosts:
            relief.within(applied, step.pin_mtu)
        return messages.live(step, applied, changed)

    def _tell(
        self, step: plan.Live, phase: migration.Phase, applied: Mapping[str, migration.Applied], seconds: float
    ) -> None:
        for event in messages.phase_events(phase, step, applied, seconds):
            self._run.tell(msgspec.structs.replace(event, step=self._run.progress.step))
        for name, one in sorted(applied.items()):
            for note in one.notes:
                text = f"node {name}: {note}"
                if text not in self._run.left:
                    self._run.left[text] = None
                    self._run.note(text, name)

    async def enter(
        self,
        step: plan.Live,
        phase: migration.Phase,
        patience: float = PATIENCE,
    ) -> dict[str, migration.Applied]:
        """Ask every node for that phase and wait until every one has reported it done.

        Raises DrivenElsewhere when somebody else drives by now: whoever slept must not write a word.
        """
        await self._run.record.still_ours()
        return await self._enter(step, phase, patience)

    async def _enter(
        self,
        step: plan.Live,
        phase: migration.Phase,
        patience: float = PATIENCE,
    ) -> dict[str, migration.Applied]:
        """Do the same without asking who drives, for callers that have just written to the record."""
        wanted = {
            name: targets.desired(self._run.name, step, target, phase, epoch=self._run.progress.epoch)
            for name, target in self._run.targets(step).items()
        }
        return await self._run.nodes.reach(wanted, still_ours=self._run.record.still_ours, patience=patience)

    async def _gate(self, step: plan.Live, phase: migration.Phase) -> None:
        """Raise Surprise when the nodes may not enter `phase`."""
        names = list(self._run.targets(step))
        if self._against(step, phase, names):
            # Nodes that joined have not held the phase before, and others may have been changed by hand: once more.
            await self.enter(step, migration.ORDER[migration.ORDER.index(phase) - 1])
            names = [name for name in self._run.targets(step) if name not in self._run.nodes.gone]
        against = self._against(step, phase, names)
        if against:
            raise errors.Surprise(f"stopped before {phase}: {against[0]}; run the same command again to carry on")

    def _against(self, step: plan.Live, phase: migration.Phase, names: Sequence[str]) -> list[str]:
        to = self._run.targets(step)
        own = {name: target.own_networks for name, target in to.items()}
        applied = self._run.nodes.last_applied(names)
        found = safety.may_enter(phase, applied, names, pin_mtu=step.pin_mtu, networks=own)
        return found or (force.deaf(to, applied) if self._run.forward else [])

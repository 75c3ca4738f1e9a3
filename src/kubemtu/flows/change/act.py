"""Carry a plan out, or take it back: one step after the other, each journalled before, verified after.

Everything needed to carry on stands in the API: the MTUMigration holds the plan and how far it came (written before
each step), each NodeMTU what that node should be. This driver only writes those and waits, so another can take over at
any line: it counts one epoch further, and neither the API nor an agent obeys an earlier one any more.
"""

import time
from collections.abc import Mapping

import msgspec

from kubemtu.core import errors
from kubemtu.core.change import migration, plan, safety, undo
from kubemtu.core.probe import proof
from kubemtu.flows.agents import events
from kubemtu.flows.agents.asking import ProbeClient
from kubemtu.flows.agents.nodes import PATIENCE, AgentWatch
from kubemtu.flows.change import driver, messages, preconditions, prove, relief, survey, targets, underlay, verify
from kubemtu.flows.change.outcome import Outcome
from kubemtu.kube import api as kube_api
from kubemtu.kube import errors as kube_errors
from kubemtu.kube import mtu, write
from kubemtu.kube.rollout import Waiting

RECORDING = 15.0  # seconds for the first sign of each agent, while nothing has been changed yet
POLL = Waiting(pause=0.25)


async def carry_out(
    api: kube_api.Api,
    name: str,
    tell: events.OnEvent = events.silent,
    *,
    unproven: bool = False,
    waiting: Waiting = POLL,
) -> Outcome:
    """Take the MTUMigration of that name from wherever it stands to the end of its direction.

    A change that is wanted for its relief ends there, with every sender pinned. `unproven` goes on where nothing is
    answered and the network between the nodes cannot be measured; `waiting` bounds a restart. Raises Surprise at the
    first step that has not the effect it must have; nothing after it was done, and both carrying on and going back
    remain possible. Raises Conflict when another driver takes over.
    """
    async with AgentWatch.watching(api, tell) as nodes:
        found = await nodes.retry.call(lambda: mtu.migration(api, name))
        async with driver.driving(api, found, nodes.retry) as record:
            drive = Migrator(api=api, found=found, record=record, nodes=nodes, tell=tell, waiting=waiting)
            try:
                return await drive.to_the_end(unproven=unproven)
            except errors.Surprise:
                await record.still_ours()  # what another driver has done meanwhile is no surprise
                raise


class Migrator:
    """One run of one MTUMigration."""

    def __init__(
        self,
        *,
        api: kube_api.Api,
        found: mtu.Migration,
        record: driver.Record,
        nodes: AgentWatch,
        tell: events.OnEvent,
        waiting: Waiting = POLL,
    ) -> None:
        self.api = api
        self.name = found.name
        self.plan = found.plan
        self.record = record
        self.nodes = nodes
        self.tell = tell
        self.steps = undo.sequence(found.plan, found.progress)
        self._relief_only = found.direction == "relief"
        self._relief_seconds: float | None = None
        self._waiting = waiting
        self._asking = ProbeClient(api, nodes)
        self._left: dict[str, None] = {}  # what nodes said that they leave as it is, in order
        self._began = time.monotonic()

    @property
    def progress(self) -> undo.Progress:
        """Where it stands."""
        return self.record.progress

    @property
    def _live(self) -> plan.Live | None:
        return next((step for step in self.steps if isinstance(step, plan.Live)), None)

    @property
    def _last_live(self) -> plan.Live | None:
        """The step that says how everything should be in the end."""
        return next((step for step in reversed(self.steps) if isinstance(step, plan.Live)), None)

    @property
    def _forward(self) -> bool:
        return self.progress.direction == "forward"

    async def to_the_end(self, *, unproven: bool) -> Outcome:
        """Do what is left to do, prove it, and let go of the nodes."""
        live = self._live
        if self.progress.untouched or (not self._forward and self.progress.step == 0 and not self.progress.begun):
            await self._begin(live, unproven=unproven)
        while self.progress.step < len(self.steps):
            if self._relief_only and relief.holds(self.steps, self.progress):
                return await self._relieved()
            await self._go_on(unproven=unproven)
        verdict = await self.prove(live) if live is not None and self._forward else None
        verified = await self._verify(self._last_live)
        remains = self.plan.remains if self._forward else self._unknown()
        await self.record.note(self.progress, "verified; the nodes are let go")
        await self.nodes.release(self.name)
        await self.record.note(msgspec.structs.replace(self.progress, finished=True, phase=None), "finished")
        return Outcome(
            migration=self.name,
            direction="relief" if self._relief_only and self._forward else self.progress.direction,
            done=True,
            seconds=self._seconds(),
            relief_seconds=self._relief_seconds,
            proof=verdict,
            verified=verified,
            remains=(*remains, *self._left),
        )

    def _unknown(self) -> tuple[str, ...]:
        """Return what an undo leaves because nothing tells what it was, as the nodes say it, a sentence each."""
        applied = self.nodes.last_applied(sorted(self.nodes.seen()))
        return tuple(f"node {name}: {text}" for name, one in applied.items() for text in one.not_restored)

    def _seconds(self) -> float:
        return round(time.monotonic() - self._began, 3)

    async def _relieved(self) -> Outcome:
        """End with every sender pinned, once the nodes have shown it."""
        said = await self._held()
        self.tell(events.Event(kind="note", text=said))
        return Outcome(
            migration=self.name,
            direction="relief",
            done=True,
            seconds=self._seconds(),
            relief_seconds=self._relief_seconds,
            verified=(said,),
            remains=tuple(self._left),
            to_do=relief.left(self.steps, self.progress),
        )

    async def _held(self) -> str:
        live = self._live
        assert live is not None, "nothing holds without a live step"
        return relief.seen(self.nodes, list(await self._targets(live)), live.pin_mtu)

    async def _go_on(self, *, unproven: bool) -> None:
        """Take the next step; where that stops under pins, say that they hold, and how to go on."""
        pinned = relief.holds(self.steps, self.progress)
        live = self._live
        try:
            if (
                pinned
                and live is not None
                and self._forward
                and isinstance(self.steps[self.progress.step - 1], plan.Live)
            ):
                await self._survey(live, unproven=unproven, pinned=True)
            await self.take(self.steps[self.progress.step], len(self.steps))
        except kube_errors.DrivenElsewhere:
            raise
        except (errors.Surprise, errors.Conflict) as stopped:
            if not (pinned and relief.holds(self.steps, self.progress)):
                raise
            await self.record.still_ours()  # what another driver has done meanwhile is no surprise
            text = relief.stopped(self.steps, self.progress, await self._held())
            kind = errors.Surprise if isinstance(stopped, errors.Surprise) else errors.Conflict
            raise kind(f"{stopped}. {text}") from stopped

    async def _begin(self, live: plan.Live | None, *, unproven: bool) -> None:
        """Before the first step: see that all steps fit and that all nodes answer.

        What the network carries is measured now, too, except where pins come first: they harm nobody, whatever it is.

        Whatever is against a change that has touched nothing ends it, so that the next `apply` starts afresh.
        """
        try:
            await self.nodes.retry.call(lambda: preconditions.edits_fit(self.api, self.steps))
            if live is not None and self._forward:
                await self._record(live)
                if not live.relieves:
                    await self._survey(live, unproven=unproven)
        except kube_errors.DrivenElsewhere:
            raise
        except errors.KubemtuError:
            if self._forward:
                await self.abandon()
            raise

    async def abandon(self) -> None:
        """End a change that has touched nothing."""
        await self.nodes.release(self.name)
        await self.record.note(undo.abandon(self.progress), "abandoned; nothing was changed")

    # Steps

    async def take(self, step: plan.Step, of: int) -> None:
        """Do the step under way, verify it, and move on to the next."""
        number = self.progress.step
        line = messages.headline(step)
        self.tell(events.Event(kind="step", text=f"[{number + 1}/{of}] {line}", step=number))
        await self.record.note(msgspec.structs.replace(self.progress, begun=True), f"begin: {line}")
        match step:
            case plan.EditValue():
                result = await self.nodes.retry.call(lambda: self.edit(step))
            case plan.Rollout():
                result = await self.nodes.retry.call(lambda: self.roll_out(step))
            case plan.Live():
                result = await self.live(step)
        done = msgspec.structs.replace(self.progress, step=number + 1, phase=None, begun=False)
        await self.record.note(done, f"done: {line}: {result}")
        self.tell(events.Event(kind="done", text=result, step=number))

    async def edit(self, step: plan.EditValue) -> str:
        """Change one value, and say how."""
        already = await preconditions.stands(self.api, step) == "after"
        await write.edit(self.api, step)
        return messages.edited(step, already=already)

    async def roll_out(self, step: plan.Rollout) -> str:
        """Restart the CNI's pods, and wait until every observed node holds what they must have rendered."""
        marker = f"{self.name}-{self.progress.direction}"
        counted = messages.Restart(self.tell, self.progress.step)
        result = await write.rollout(self.api, step, marker=marker, tell=counted.node, waiting=self._waiting)
        await self.nodes.look_who_left()
        await verify.conflists(self.nodes, step)
        return result

    async def live(self, step: plan.Live) -> str:
        """Lead all nodes through the phases; each is entered by all before any enters the next."""
        # What is born after the recording is told from what was there before by its phase, so Record is not repeated.
        first = migration.Phase.PIN_PODS if step.start is migration.Phase.RECORD else step.start
        start = self.progress.phase or first
        # Where no device moves, pins harm nobody in any order: one barrier behind all of them, and relief comes sooner.
        phases = migration.span(start, step.until)[-1 if step.relieves and self._forward else 0 :]
        # The run before this one has asked already; so has nobody where a step goes on from another one's pins.
        asked = None if self.progress.phase is None and relief.holds(self.steps, self.progress) else phases[0]
        changed = 0
        applied: Mapping[str, migration.Applied] = {}
        for phase in phases:
            began = time.monotonic()
            if phase is not asked:
                await self._gate(step, phase)
            await self.record.note(msgspec.structs.replace(self.progress, phase=phase), f"phase {phase}")
            applied = await self._enter(step, phase)
            changed += sum(one.settings_changed for one in applied.values())
            self._tell_phase(step, phase, applied, time.monotonic() - began)
            if self._forward and phase is migration.Phase.PIN_PORTS:
                self._relief_seconds = self._seconds()
        if step.relieves and not step.only_hosts:
            relief.within(applied, step.pin_mtu)
        return messages.live(step, applied, changed)

    def _tell_phase(
        self, step: plan.Live, phase: migration.Phase, applied: Mapping[str, migration.Applied], seconds: float
    ) -> None:
        for event in messages.phase_events(phase, step, applied, seconds):
            self.tell(msgspec.structs.replace(event, step=self.progress.step))
        for name, one in sorted(applied.items()):
            for note in one.notes:
                text = f"node {name}: {note}"
                if text not in self._left:
                    self._left[text] = None
                    self.tell(events.Event(kind="note", node=name, text=text))

    async def enter(
        self,
        step: plan.Live,
        phase: migration.Phase,
        patience: float = PATIENCE,
    ) -> dict[str, migration.Applied]:
        """Ask every node for that phase and wait until every one has reported it done.

        Raises DrivenElsewhere when somebody else drives by now: whoever slept must not write a word.
        """
        await self.record.still_ours()
        return await self._enter(step, phase, patience)

    async def _enter(
        self,
        step: plan.Live,
        phase: migration.Phase,
        patience: float = PATIENCE,
    ) -> dict[str, migration.Applied]:
        """Return the same for who has just noted something, and so is known to drive."""
        wanted = {
            name: targets.desired(self.name, step, target, phase, epoch=self.progress.epoch)
            for name, target in (await self._targets(step)).items()
        }
        return await self.nodes.reach(wanted, still_ours=self.record.still_ours, patience=patience)

    async def _gate(self, step: plan.Live, phase: migration.Phase) -> None:
        """Raise Surprise when the nodes may not enter `phase`."""
        names = list(await self._targets(step))
        if safety.may_enter(phase, self.nodes.last_applied(names), names, pin_mtu=step.pin_mtu):
            # Nodes that joined have not held the phase before, and others may have been changed by hand: once more.
            await self.enter(step, migration.ORDER[migration.ORDER.index(phase) - 1])
            names = [name for name in await self._targets(step) if name not in self.nodes.gone]
        against = safety.may_enter(phase, self.nodes.last_applied(names), names, pin_mtu=step.pin_mtu)
        if against:
            raise errors.Surprise(f"stopped before {phase}: {against[0]}; run the same command again to carry on")

    async def _targets(self, step: plan.Live) -> dict[str, plan.NodeTarget]:
        found = targets.present(step, self.nodes.observations())
        return {name: target for name, target in found.items() if name not in self.nodes.gone}

    # Before and after

    async def _record(self, step: plan.Live) -> None:
        """Every node journals what it has."""
        await self.nodes.look_who_left()
        to = await self._targets(step)
        names = sorted(to)
        seen = self.nodes.observations()
        before = {name: verify.pins(seen[name], to[name]) for name in names if name in seen}
        own = {name: number for name, number in before.items() if number}
        await self.enter(step, migration.Phase.RECORD, RECORDING)
        await self.record.note(msgspec.structs.replace(self.progress, locked_before=own), "recorded")
        self.tell(events.Event(kind="note", text=messages.recorded(len(names))))

    async def _survey(self, step: plan.Live, *, unproven: bool, pinned: bool = False) -> None:
        """See that the network between the nodes carries what the plan leads to."""
        addresses = await self.nodes.retry.call(lambda: prove.node_addresses(self.api))
        names = sorted(await self._targets(step))
        found = await underlay.survey(self._asking.ask, addresses, names, step.underlay)
        survey.against(found, step, unproven=unproven, pinned=pinned)
        if not pinned and not isinstance(self.steps[0], plan.Live):
            await self.nodes.release(self.name)
        said = messages.surveyed(found.proof, step.underlay)
        if said:
            self.tell(events.Event(kind="note", text=said))

    async def prove(self, step: plan.Live) -> proof.Proof:
        """Send full-size packets from every pod, and hold them against the expectation that each arrives."""
        await self.nodes.look_who_left()
        names = await self.nodes.retry.call(lambda: verify.pod_names(self.api))

        await self.enter(step, migration.Phase.SETTLE)
        within = await self._targets(step)
        verdict = await prove.pods(
            self._asking,
            lambda: {name: seen.ports for name, seen in self.nodes.observations().items() if name in within},
            names,
        )
        self.tell(events.Event(kind="note", text=prove.said(verdict)))
        if verdict.verdict == "refuted":
            raise errors.Surprise(
                f"the change is made but not proven: {verdict.against[0]}; "
                "see where with `kubemtu probe`, or go back with `kubemtu rollback`"
            )
        return verdict

    async def _verify(self, live: plan.Live | None) -> tuple[str, ...]:
        """Read everything once more; says what was seen, a sentence each. Raises Surprise for what is not right."""
        said: list[str] = []
        if live is not None:
            await self.enter(live, migration.Phase.SETTLE)
            names = await self.nodes.retry.call(lambda: verify.pod_names(self.api))
            said.append(
                await verify.ports(self.nodes, live, await self._targets(live), names, self.progress.locked_before)
            )
        edits = [step for step in self.steps if isinstance(step, plan.EditValue)]
        said += await self.nodes.retry.call(
            lambda: verify.configuration(self.api, edits, "planned" if self._forward else "recorded")
        )
        for text in said:
            self.tell(events.Event(kind="note", text=text))
        return tuple(said)

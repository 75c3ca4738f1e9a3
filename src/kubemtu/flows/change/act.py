"""Carry a plan out, or take it back: one step after the other, each journalled before, verified after.

Everything needed to carry on stands in the API: the MTUMigration holds the plan and how far it came (written before
each step), each NodeMTU what that node should be. This driver only writes those and waits, so another can take over at
any line: it counts one epoch further, and neither the API nor an agent obeys an earlier one any more.
"""

import msgspec

from kubemtu.core import errors
from kubemtu.core.change import migration, plan, undo
from kubemtu.flows.agents import events
from kubemtu.flows.agents.nodes import AgentWatch
from kubemtu.flows.change import driver, messages, preconditions, relief, verify
from kubemtu.flows.change.checks import Checks
from kubemtu.flows.change.outcome import Outcome
from kubemtu.flows.change.phases import Phases
from kubemtu.flows.change.run import Run
from kubemtu.kube import api as kube_api
from kubemtu.kube import errors as kube_errors
from kubemtu.kube import mtu, write
from kubemtu.kube.rollout import Waiting

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
        change = await nodes.retry.call(lambda: mtu.migration(api, name))
        async with driver.driving(api, change, nodes.retry) as record:
            run = Run(api=api, change=change, record=record, nodes=nodes, on_event=tell)
            try:
                return await Migrator(run, waiting).to_the_end(unproven=unproven)
            except errors.Surprise:
                await record.still_ours()  # what another driver has done meanwhile is no surprise
                raise


class Migrator:
    """Takes one run through its steps."""

    def __init__(self, run: Run, waiting: Waiting = POLL) -> None:
        self._run = run
        self._waiting = waiting
        self._phases = Phases(run)
        self._checks = Checks(run, self._phases)

    async def to_the_end(self, *, unproven: bool) -> Outcome:
        """Do what is left to do, prove it, and let go of the nodes."""
        live = self._run.live
        if self._run.progress.untouched or (
            not self._run.forward and self._run.progress.step == 0 and not self._run.progress.begun
        ):
            await self._begin(live, unproven=unproven)
        while self._run.progress.step < len(self._run.steps):
            if self._run.relief_only and relief.holds(self._run.steps, self._run.progress):
                return await self._relieved()
            await self._go_on(unproven=unproven)
        if self._run.extends:
            await self._extend(unproven=unproven)
        verdict = await self._checks.prove(live) if live is not None and self._run.forward else None
        verified = await self._checks.verify(self._run.last_live)
        remains = self._run.plan.remains if self._run.forward else self._unknown()
        if self._run.holds:
            self._run.note(messages.HELD)
            verified = (*verified, messages.HELD)
        else:
            await self._run.record.note(self._run.progress, "verified; the nodes are let go")
            await self._run.nodes.release(self._run.name)
        ended = msgspec.structs.replace(self._run.progress, finished=True, held=self._run.holds, phase=None)
        await self._run.record.note(ended, "finished, and in force" if ended.held else "finished")
        return Outcome(
            migration=self._run.name,
            direction="relief" if self._run.relief_only and self._run.forward else self._run.progress.direction,
            done=True,
            seconds=self._run.seconds(),
            relief_seconds=self._phases.relief_seconds,
            proof=verdict,
            verified=verified,
            remains=(*remains, *self._run.left),
        )

    async def _extend(self, *, unproven: bool) -> None:
        """Lead the nodes through the last live step once more, from the phase that stands there; configure then.

        Nobody waits for the latter: agents give newborn pods what is in force, whatever that was put back to.
        """
        last = self._run.last_live
        assert last is not None, "nothing is in force without a live step"
        if not self._run.progress.begun:
            await self._fits(last, unproven=unproven)
            await self._run.record.note(msgspec.structs.replace(self._run.progress, begun=True), "begin once more")
        self._run.note(await self._phases.lead(last))
        if self._run.progress.configuring:
            for number, step in enumerate(self._run.steps):
                if not isinstance(step, plan.Live):
                    await self._once_more(number, step)
        ended = msgspec.structs.replace(self._run.progress, phase=None, begun=False, configuring=0)
        await self._run.record.note(ended, "extended")

    async def _fits(self, last: plan.Live, *, unproven: bool) -> None:
        """See that the network carries what nodes are led to; where it does not, the change is in force as before."""
        there = self._run.progress
        if there.phase is migration.Phase.SETTLE:
            return
        try:
            await self._run.nodes.look_who_left()
            await self._checks.survey(last, unproven=unproven)
        except kube_errors.DrivenElsewhere:
            raise
        except errors.KubemtuError:
            as_before = msgspec.structs.replace(there, finished=True, held=True, phase=None, configuring=0)
            await self._run.record.note(as_before, "in force as before; nothing was changed")
            raise

    async def _once_more(self, number: int, step: plan.EditValue | plan.Rollout) -> None:
        """Take a step of the configuration that was taken before; what is so already is left so."""
        line = self._headline(number, step)
        await self._run.record.note(self._run.progress, f"begin once more: {line}")
        result = await self._run.nodes.retry.call(
            lambda: self.edit(step) if isinstance(step, plan.EditValue) else self.roll_out(step, number)
        )
        await self._run.record.note(self._run.progress, f"done: {line}: {result}")
        self._run.tell(events.Event(kind="done", text=result, step=number))

    def _headline(self, number: int, step: plan.Step) -> str:
        """Tell which step begins, and return its line."""
        line = messages.headline(step)
        self._run.tell(events.Event(kind="step", text=f"[{number + 1}/{len(self._run.steps)}] {line}", step=number))
        return line

    def _unknown(self) -> tuple[str, ...]:
        """Return a sentence of a node for each thing that an undo leaves, because nobody recorded what it was."""
        applied = self._run.nodes.last_applied(sorted(self._run.nodes.seen()))
        return tuple(f"node {name}: {text}" for name, one in applied.items() for text in one.not_restored)

    async def _relieved(self) -> Outcome:
        """End with every sender pinned, once the nodes have shown it."""
        said = await self._held()
        self._run.note(said)
        return Outcome(
            migration=self._run.name,
            direction="relief",
            done=True,
            seconds=self._run.seconds(),
            relief_seconds=self._phases.relief_seconds,
            verified=(said,),
            remains=tuple(self._run.left),
            to_do=relief.left(self._run.steps, self._run.progress),
        )

    async def _held(self) -> str:
        live = self._run.live
        assert live is not None, "nothing holds without a live step"
        return relief.seen(self._run.nodes, list(self._run.targets(live)), live.pin_mtu)

    async def _go_on(self, *, unproven: bool) -> None:
        """Take the next step; where that stops under pins, say that they hold, and how to go on."""
        pinned = relief.holds(self._run.steps, self._run.progress)
        live = self._run.live
        before = self._run.steps[self._run.progress.step - 1] if self._run.progress.step else None
        try:
            if pinned and live is not None and self._run.forward and isinstance(before, plan.Live):
                await self._checks.survey(live, unproven=unproven, pinned=True)
            await self.take(self._run.steps[self._run.progress.step])
        except kube_errors.DrivenElsewhere:
            raise
        except (errors.Surprise, errors.Conflict) as stopped:
            if not (pinned and relief.holds(self._run.steps, self._run.progress)):
                raise
            await self._run.record.still_ours()  # what another driver has done meanwhile is no surprise
            text = relief.stopped(self._run.steps, self._run.progress, await self._held())
            kind = errors.Surprise if isinstance(stopped, errors.Surprise) else errors.Conflict
            raise kind(f"{stopped}. {text}") from stopped

    async def _begin(self, live: plan.Live | None, *, unproven: bool) -> None:
        """See before the first step that all steps fit and that all nodes answer.

        What the network carries is measured now, too, except where pins come first: they harm nobody, whatever it is.
        Whatever is against a change that has touched nothing ends it, so that the next `apply` starts afresh.
        """
        try:
            await self._run.nodes.retry.call(lambda: preconditions.edits_fit(self._run.api, self._run.steps))
            if live is not None and self._run.forward:
                await self._checks.record(live)
                if not live.relieves:
                    await self._checks.survey(live, unproven=unproven)
        except kube_errors.DrivenElsewhere:
            raise
        except errors.KubemtuError:
            if self._run.forward:
                await self.abandon()
            raise

    async def abandon(self) -> None:
        """End a change that has touched nothing."""
        await self._run.nodes.release(self._run.name)
        await self._run.record.note(undo.abandon(self._run.progress), "abandoned; nothing was changed")

    # Steps

    async def take(self, step: plan.Step) -> None:
        """Do the step under way, verify it, and move on to the next."""
        number = self._run.progress.step
        line = self._headline(number, step)
        await self._run.record.note(msgspec.structs.replace(self._run.progress, begun=True), f"begin: {line}")
        match step:
            case plan.EditValue():
                result = await self._run.nodes.retry.call(lambda: self.edit(step))
            case plan.Rollout():
                result = await self._run.nodes.retry.call(lambda: self.roll_out(step, number))
            case plan.Live():
                result = await self._phases.lead(step)
        done = msgspec.structs.replace(self._run.progress, step=number + 1, phase=None, begun=False)
        await self._run.record.note(done, f"done: {line}: {result}")
        self._run.tell(events.Event(kind="done", text=result, step=number))

    async def edit(self, step: plan.EditValue) -> str:
        """Change one value, and say how."""
        stands = await preconditions.stands(self._run.api, step)
        step = step.over_found if stands == "found" else step
        await write.edit(self._run.api, step)
        return messages.edited(step, already=stands == "after")

    async def roll_out(self, step: plan.Rollout, number: int) -> str:
        """Restart the CNI's pods, and wait until every observed node holds what they must have rendered."""
        again = self._run.progress.configuring
        marker = f"{self._run.name}-{self._run.progress.direction}" + (f"-{again}" if again else "")
        await verify.rendering(self._run.api, step)
        counted = messages.Restart(self._run.tell, number)
        result = await write.rollout(self._run.api, step, marker=marker, tell=counted.node, waiting=self._waiting)
        await self._run.nodes.look_who_left()
        try:
            await verify.conflists(self._run.nodes, step)
        except errors.Surprise:
            # What the pods rendered is not what was written: whoever keeps the object may have put it back.
            edits = [done for done in self._run.steps[: self._run.progress.step] if isinstance(done, plan.EditValue)]
            how = "planned" if self._run.forward else "recorded"
            await self._run.nodes.retry.call(lambda: verify.configuration(self._run.api, edits, how))
            raise
        return result

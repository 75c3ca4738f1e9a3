"""Carry a plan out, or take it back: one step after the other, each journalled before, verified after.

Everything needed to carry on stands in the API: the MTUMigration holds the plan and how far it came (written before
each step), each NodeMTU what that node should be. This driver only writes those and waits, so another can take over.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping

import msgspec

from kubemtu.core import errors, migration, plan, proof, safety, undo
from kubemtu.core.proof import Proof
from kubemtu.flows import events, prove
from kubemtu.flows.nodes import Nodes
from kubemtu.kube import api as kube_api
from kubemtu.kube import mtu, write

PATIENCE = 60.0  # seconds an agent may take for one phase; 250 pods take a tenth of one


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended: the JSON of `apply` and `rollback`."""

    migration: str
    direction: str
    done: bool
    seconds: float
    proof: Proof | None = None
    remains: tuple[str, ...] = ()
    schema: str = "kubemtu.io/apply/v1"


async def carry_out(api: kube_api.Api, name: str, tell: events.Tell = events.silent) -> Outcome:
    """Take the MTUMigration of that name from wherever it stands to the end of its direction.

    Raises Surprise at the first step that has not the effect it must have; nothing after it was done, and both carrying
    on and going back remain possible.
    """
    began = time.monotonic()
    record = await mtu.migration(api, name)
    steps = undo.sequence(record.plan, record.progress)
    live = next((step for step in steps if isinstance(step, plan.Live)), None)
    proven: proof.Proof | None = None
    async with Nodes.watching(api) as nodes:
        drive = Drive(api=api, name=name, nodes=nodes, tell=tell, progress=record.progress)
        if live is not None and record.progress.direction == "forward" and record.progress.step == 0:
            await drive.record_and_preflight(live)
        while drive.progress.step < len(steps):
            await drive.take(steps[drive.progress.step], len(steps))
        if live is not None:
            proven = await drive.prove(live)
            await drive.release(live)
        await drive.finish()
    return Outcome(
        migration=name,
        direction=drive.progress.direction,
        done=True,
        seconds=round(time.monotonic() - began, 3),
        proof=proven,
        remains=record.plan.remains,
    )


class Drive:
    """One run of one MTUMigration."""

    def __init__(
        self, *, api: kube_api.Api, name: str, nodes: Nodes, tell: events.Tell, progress: undo.Progress
    ) -> None:
        self.api = api
        self.name = name
        self.nodes = nodes
        self.tell = tell
        self.progress = progress

    async def take(self, step: plan.Step, of: int) -> None:
        """Do the step under way, verify it, and move on to the next."""
        number = self.progress.step
        self.tell(events.Event(kind="step", text=f"[{number + 1}/{of}] {headline(step)}", step=number))
        await self.note(self.progress, f"begin: {headline(step)}")
        match step:
            case plan.EditValue():
                result = await write.edit(self.api, step)
            case plan.Rollout():
                result = await self.roll_out(step)
            case plan.Live():
                result = await self.live(step)
        done = msgspec.structs.replace(self.progress, step=number + 1, phase=None)
        await self.note(done, f"done: {headline(step)}: {result}")
        self.tell(events.Event(kind="done", text=result, step=number))

    async def roll_out(self, step: plan.Rollout) -> str:
        """Restart the CNI's pods, and wait until every observed node holds what they must have rendered."""
        marker = f"{self.name}-{self.progress.direction}"
        result = await write.rollout(self.api, step, marker=marker, tell=self._node_line)
        if step.conflist is not None:
            await prove.conflists(self.nodes, step.conflist, step.mtu)
        return result

    async def live(self, step: plan.Live) -> str:
        """Lead all nodes through the phases; each is entered by all before any enters the next."""
        start = self.progress.phase or step.start
        changed = 0
        for phase in migration.onward(start):
            self._gate(step, phase)
            self.tell(events.Event(kind="phase", text=f"{phase}: {meaning(phase, step)}", step=self.progress.step))
            await self.note(msgspec.structs.replace(self.progress, phase=phase), f"phase {phase}")
            reached = await self.enter(step, phase)
            changed += sum(one.changed for one in reached.values())
        pods = sum(one.ports for one in reached.values())
        return f"{pods} pods on {len(reached)} nodes, {changed} settings changed, none restarted"

    async def enter(
        self, step: plan.Live, phase: migration.Phase, orders: Mapping[str, proof.Order] | None = None
    ) -> dict[str, migration.Reached]:
        """Ask every node for that phase and wait until every one has reported it done."""
        wanted = {
            target.node: desired(self.name, step, target, phase, (orders or {}).get(target.node))
            for target in step.nodes
        }
        await asyncio.gather(*(mtu.set_desired(self.api, node, what) for node, what in wanted.items()))
        return await self.nodes.reached(wanted, PATIENCE, self._node_line)

    async def record_and_preflight(self, step: plan.Live) -> None:
        """Before anything changes: every node journals what it has, and the fabric proves what it carries."""
        self.tell(events.Event(kind="note", text="every node writes its undo journal; the fabric is probed"))
        orders = await prove.preflight_orders(self.api, self.nodes, step)
        await self.enter(step, migration.Phase.RECORD, orders)
        answers = await self.nodes.answers(orders, PATIENCE)
        verdict = proof.judge(sum(len(order.probes) for order in orders.values()), answers)
        if verdict.verdict == "refuted":
            refused = await self._measure_refused(step, answers)
            await self.release(step)
            raise errors.Surprise(
                f"the network between the nodes does not carry this plan: {verdict.against[0]}{refused}. "
                "Nothing was changed; plan again with a smaller --mtu, or correct the network first"
            )
        self.tell(events.Event(kind="done", text=f"{verdict.arrived} of {verdict.probes} probes between nodes arrived"))

    async def _measure_refused(self, step: plan.Live, answers: Iterable[proof.Answer]) -> str:
        orders = prove.ladders(self.nodes, step, [one for one in answers if one.outcome != "arrived"])
        await self.enter(step, migration.Phase.RECORD, orders)
        carried = prove.largest(await self.nodes.answers(orders, PATIENCE))
        return f" ({carried} bytes arrive, which leaves {carried - step.underlay + pod_target(step)} for pods)" * bool(
            carried
        )

    async def prove(self, step: plan.Live) -> proof.Proof:
        """Send full-size packets from every pod, and hold them against the expectation that each arrives."""
        orders = await prove.final_orders(self.api, self.nodes, step)
        await self.enter(step, migration.Phase.SETTLE, orders)
        answers = await self.nodes.answers(orders, PATIENCE)
        verdict = proof.judge(sum(len(order.probes) for order in orders.values()), answers)
        self.tell(events.Event(kind="done", text=prove.said(verdict, step)))
        if verdict.verdict == "refuted" and not step.restore:
            raise errors.Surprise(
                f"the change is made but not proven: {verdict.against[0]}; "
                "see where with `kubemtu check`, or go back with `kubemtu rollback`"
            )
        return verdict

    async def release(self, step: plan.Live) -> None:
        """Tell the nodes that nothing more is asked of them."""
        await asyncio.gather(*(mtu.set_desired(self.api, target.node, None) for target in step.nodes))

    async def note(self, progress: undo.Progress, what: str) -> None:
        """Write how far it came, and a line of the journal, before or after the fact."""
        await mtu.advance(self.api, self.name, progress, what, expected=self.progress)
        self.progress = progress

    async def finish(self) -> None:
        """Mark the migration as ended."""
        await self.note(msgspec.structs.replace(self.progress, finished=True), "finished")

    def _gate(self, step: plan.Live, phase: migration.Phase) -> None:
        names = [target.node for target in step.nodes]
        against = safety.may_enter(phase, self.nodes.last_reached(names), names, low=step.low)
        if against and phase is not step.start and phase is not self.progress.phase:
            raise errors.Surprise(f"stopped before {phase}: {against[0]}; run `kubemtu apply` to carry on from here")

    def _node_line(self, node: str, text: str) -> None:
        self.tell(events.Event(kind="node", node=node, text=text, step=self.progress.step))


def desired(
    name: str, step: plan.Live, target: plan.NodeTarget, phase: migration.Phase, order: proof.Order | None
) -> migration.Desired:
    """What one node should be in one phase of one live step."""
    return migration.Desired(
        migration=name,
        phase=phase,
        low=step.low,
        high=step.high,
        ports=target.ports,
        pod_mtu=target.pod_mtu,
        origin_mtu=target.origin_mtu,
        tunnel=target.tunnel,
        tunnel_mtu=target.tunnel_mtu,
        bridge=target.bridge,
        pod_networks=target.pod_networks,
        restore=step.restore,
        probe=order,
    )


def headline(step: plan.Step) -> str:
    """A step in one line, for people."""
    match step:
        case plan.EditValue():
            return f"edit {step.ref}, {step.path[-1]}: {step.why}"
        case plan.Rollout():
            return f"restart the pods of {step.ref}: {step.why}"
        case plan.Live():
            pods = sum(node.running for node in step.nodes)
            return f"change {pods} running pods on {len(step.nodes)} nodes, live: {step.why}"


def meaning(phase: migration.Phase, step: plan.Live) -> str:
    """What a phase does, for people."""
    to = "what was recorded" if step.restore else str(pod_target(step))
    return {
        migration.Phase.RECORD: "each node journals what it has",
        migration.Phase.PIN_PODS: f"pods send at most {step.low}",
        migration.Phase.PIN_OVERLAY: f"nodes send at most {step.low} to other nodes' pods",
        migration.Phase.PIN_PORTS: f"nodes send at most {step.low} to their own pods",
        migration.Phase.DEVICES: f"both ends of every veth go to {to}",
        migration.Phase.UNPIN_PORTS: "nodes send freely to their own pods",
        migration.Phase.UNPIN_OVERLAY: "nodes send freely to other nodes' pods",
        migration.Phase.UNPIN_PODS: "pods send freely",
        migration.Phase.SETTLE: "learned path MTUs are forgotten",
    }[phase]


def pod_target(step: plan.Live) -> int:
    """The pod MTU that the step leads to."""
    return step.nodes[0].pod_mtu if step.nodes else step.low

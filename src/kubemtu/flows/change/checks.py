"""What is looked at before a change and after it: the nodes' own pins, the network between them, the proof, the end."""

import msgspec

from kubemtu.core import errors, networks
from kubemtu.core.change import migration, plan
from kubemtu.core.probe import proof
from kubemtu.flows.agents.asking import ProbeClient
from kubemtu.flows.change import messages, prove, survey, targets, underlay, verify
from kubemtu.flows.change.phases import Phases
from kubemtu.flows.change.run import Run

RECORDING = 15.0  # seconds for the first sign of each agent, while nothing has been changed yet


class Checks:
    """The measurements and readings of one run."""

    def __init__(self, run: Run, phases: Phases) -> None:
        self._run = run
        self._phases = phases
        self._probes = ProbeClient(run.api, run.nodes)

    async def record(self, step: plan.Live) -> None:
        """Let every node journal what it has, and note the pins that were there before."""
        await self._run.nodes.look_who_left()
        to = self._run.targets(step)
        names = sorted(to)
        seen = self._run.nodes.observations()
        before = {name: verify.pins(seen[name], to[name]) for name in names if name in seen}
        own = {name: number for name, number in before.items() if number}
        await self._phases.enter(step, migration.Phase.RECORD, RECORDING)
        await self._run.record.note(msgspec.structs.replace(self._run.progress, locked_before=own), "recorded")
        self._run.note(messages.recorded(len(names)))

    async def survey(self, step: plan.Live, *, unproven: bool, pinned: bool = False) -> None:
        """See that the network between the nodes carries what the plan leads to."""
        addresses = await self._run.nodes.retry.call(lambda: prove.node_addresses(self._run.api))
        said = []
        seen = self._run.nodes.observations().values()
        ipv6 = networks.has_ipv6(address for node in seen for port in node.ports for address in port.addresses)
        sizes = {name: target.pod_mtu for name, target in self._run.targets(step).items()}
        for pod_mtu, names in survey.classes(sizes):
            size = step.underlay - messages.pod_target(step) + pod_mtu
            found = await underlay.survey(self._probes.ask, addresses, names, size)
            survey.against(found, step, (size, pod_mtu), unproven=unproven, pinned=pinned, ipv6=ipv6)
            said.append(messages.surveyed(found.proof, size))
        if not pinned and not isinstance(self._run.steps[0], plan.Live):
            await self._run.nodes.release(self._run.name)
        for text in filter(None, said):
            self._run.note(text)

    async def prove(self, step: plan.Live) -> proof.Proof:
        """Send full-size packets from every pod, and hold them against the expectation that each arrives."""
        await self._run.nodes.look_who_left()
        names = await self._run.nodes.retry.call(lambda: verify.pod_names(self._run.api))

        await self._phases.enter(step, migration.Phase.SETTLE)
        within = self._run.targets(step)
        verdict = await prove.pods(
            self._probes,
            lambda: {name: seen.ports for name, seen in self._run.nodes.observations().items() if name in within},
            names,
            lambda node, address: targets.towards(within.get(node), address),
        )
        self._run.note(prove.said(verdict))
        if verdict.verdict == "refuted":
            raise errors.Surprise(
                f"the change is made but not proven: {verdict.against[0]}; "
                "see where with `kubemtu probe`, or go back with `kubemtu rollback`"
            )
        return verdict

    async def verify(self, live: plan.Live | None) -> tuple[str, ...]:
        """Read everything once more; say what was seen, a sentence each. Raises Surprise for what is not right."""
        said: list[str] = []
        if live is not None:
            await self._phases.enter(live, migration.Phase.SETTLE)
            names = await self._run.nodes.retry.call(lambda: verify.pod_names(self._run.api))
            said.append(
                await verify.ports(
                    self._run.nodes, live, self._run.targets(live), names, self._run.progress.locked_before
                )
            )
        edits = [step for step in self._run.steps if isinstance(step, plan.EditValue)]
        said += await self._run.nodes.retry.call(
            lambda: verify.configuration(self._run.api, edits, "planned" if self._run.forward else "recorded")
        )
        for text in said:
            self._run.note(text)
        return tuple(said)

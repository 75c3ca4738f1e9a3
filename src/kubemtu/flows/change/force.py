"""A change that has come to its end and stays in force: agents keep what it made, also for pods that are born later.

While one is, no other is begun, for two would overrule each other on the same routes. The same plan may be applied
again: nodes that joined since are brought to what it asks for.
"""

from collections.abc import Collection, Mapping

import msgspec

from kubemtu.core import errors
from kubemtu.core.change import migration, plan
from kubemtu.core.objects import NODES
from kubemtu.core.text.wording import names as listed
from kubemtu.flows.change import messages, migrations, preconditions
from kubemtu.kube import api as kube_api
from kubemtu.kube import mtu


def refuse(held: mtu.Migration) -> None:
    """Raise UsageError: nothing else is begun while that change is in force."""
    raise errors.UsageError(migrations.in_force_sentence(held))


def carries_out(standing: plan.Plan, saved: plan.Plan, without: Collection[str]) -> bool:
    """Say whether a change is that of a saved plan, `without` some nodes; pins of the nodes' own traffic count not."""
    return _of_pods(standing) == _of_pods(preconditions.leave_out(saved, without))


def _of_pods(planned: plan.Plan) -> plan.Plan:
    steps = tuple(
        msgspec.structs.replace(step, host_mtu=None, host_addresses=()) if isinstance(step, plan.Live) else step
        for step in planned.steps
        if not (isinstance(step, plan.Live) and step.only_hosts)
    )
    return msgspec.structs.replace(planned, steps=steps, remains=())


async def newcomers(api: kube_api.Api, held: mtu.Migration) -> list[str]:
    """Return the nodes with an agent, by name, that the change was meant for and of which it asks nothing."""
    there = {node.name for node in await api.list(NODES)}
    told = await mtu.nodes(api)
    asked = {node.name for node in told if node.desired is not None and _asks(node.desired, held)}
    return sorted((there & {node.name for node in told}) - asked - left_out(held.plan))


def left_out(planned: plan.Plan) -> frozenset[str]:
    """Return the nodes that a change leaves as they are, by name."""
    live = plan.last_live(planned.steps)
    return frozenset(live.without) if live is not None else frozenset()


def _asks(desired: migration.Desired, held: mtu.Migration) -> bool:
    return desired.migration == held.name and not desired.restore


async def extend(api: kube_api.Api, held: mtu.Migration) -> None:
    """Want that change to be carried out once more, on the nodes that joined since, too.

    Where there are some, all are pinned again while these change. Raises Conflict when somebody else drives.
    """
    phase = migration.Phase.PIN_PODS if await newcomers(api, held) else migration.Phase.SETTLE
    again = msgspec.structs.replace(held.progress, finished=False, held=False, phase=phase)
    await mtu.advance(api, held.name, again, "to be extended to nodes that joined", expected=held.progress)


def unplaced(targets: Mapping[str, plan.NodeTarget], step: plan.Live) -> str:
    """Say which nodes take less than others send while nothing tells in which networks their pods are; else empty.

    Others could not send less to just these. It is asked where a step's sizes depend on the destination.
    """
    if not messages.by_destination(step):
        return ""
    most = max((target.pod_mtu for target in targets.values()), default=0)
    unknown = [name for name, target in targets.items() if target.pod_mtu < most and not target.own_networks]
    if not unknown:
        return ""
    return (
        f"pods of node {listed(sorted(unknown))} take less than the {most} bytes that others send, and nothing tells "
        "which networks are theirs: choose one MTU for all with --mtu, or leave the node out with --without"
    )


def deaf(targets: Mapping[str, plan.NodeTarget], applied: Mapping[str, migration.Applied]) -> list[str]:
    """Say which agents report nothing of the sizes by destination that they were asked for, a sentence each.

    One that is older than this kubemtu passes over what it does not know, and would let pods send too much.
    """
    return [
        f"the agent of node {name} says nothing of sizes by destination, so it is an older one: bring the agents up to "
        "date with `kubemtu install`"
        for name, target in targets.items()
        if target.network_mtus and name in applied and not applied[name].sent_by_network
    ]

"""A change that has come to its end and stays in force: agents keep what it made, also for pods that are born later.

While one is, no other is begun, for two would overrule each other on the same routes. The same may be applied again:
what is due by now becomes part of it, be it a node that joined or a configuration that somebody has put back.
"""

from collections.abc import Collection, Mapping

import msgspec

from kubemtu.core import errors
from kubemtu.core.change import extension, migration, plan
from kubemtu.core.objects import NODES
from kubemtu.core.text.wording import names as listed
from kubemtu.flows.change import messages, migrations, preconditions
from kubemtu.kube import api as kube_api
from kubemtu.kube import crd, mtu


def refuse(held: mtu.Migration) -> None:
    """Raise UsageError: nothing else is begun while that change is in force."""
    raise errors.UsageError(migrations.in_force_sentence(held))


def carries_out(standing: plan.Plan, saved: plan.Plan, without: Collection[str]) -> bool:
    """Say whether a change does what a saved plan asks for, `without` some nodes, whatever it has taken in besides.

    Pins of the nodes' own traffic count not.
    """
    saved = preconditions.leave_out(saved, without)
    ours, theirs = plan.last_live(standing.steps), plan.last_live(saved.steps)
    if ours is None or theirs is None:
        return ours is theirs and standing.target == saved.target and _values(saved) == _values(standing)
    if standing.per_node != saved.per_node:
        return False
    given = {to.node: to for to in ours.nodes}
    alike = all(to.node in given and _gives(given[to.node], to) for to in theirs.nodes)
    return alike and set(theirs.without) <= set(ours.without) and _values(saved) <= _values(standing)


def _gives(ours: plan.NodeTarget, theirs: plan.NodeTarget) -> bool:
    """Say whether a node's pods get the same sizes by one target as by another, and by the other's routes."""
    sizes = [(to.pod_mtu, to.device_mtu, to.default_route_mtu) for to in (ours, theirs)]
    return sizes[0] == sizes[1] and set(theirs.network_mtus) <= set(ours.network_mtus)


def _values(planned: plan.Plan) -> set[tuple[str, ...]]:
    edits = (step for step in planned.steps if isinstance(step, plan.EditValue))
    return {(str(edit.ref), repr(edit.path), repr(edit.after)) for edit in edits}


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


async def extend(api: kube_api.Api, held: mtu.Migration, due: plan.Plan) -> None:
    """Want that change to be carried out once more, with what is `due`, and on the nodes that joined since.

    Where nodes are to have anything else than by now, all are pinned again meanwhile. Raises Conflict when somebody
    else drives, or an edit would meet what nobody has planned for, UsageError where no object can hold the plan.
    """
    whole = extension.extended(held.plan, due)
    config = bool(extension.configuration(due))
    moves = plan.last_live(due.steps) is not None or await newcomers(api, held)
    await preconditions.edits_fit(api, whole.steps)
    await crd.install(api, only_absent=True)
    if whole != held.plan:
        migrations.storable(whole)
        await mtu.set_plan(api, held.name, whole, held.direction)
    # The plan first: whoever is killed in between has a change in force of which a little more is known.
    again = msgspec.structs.replace(
        held.progress,
        finished=False,
        held=False,
        step=len(whole.steps),
        phase=migration.Phase.PIN_PODS if moves else migration.Phase.SETTLE,
        configuring=held.progress.epoch + 1 if config else 0,
    )
    what = "to be carried out once more" + (", with its configuration" if config else "")
    await mtu.advance(api, held.name, again, what, expected=held.progress)


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

"""`kubemtu apply`: change it, live, verify every step, end with a proof."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from kubemtu.cli import check, combined, kubeflags, numbers, output, paths, terminal, wrapping
from kubemtu.core import errors

if TYPE_CHECKING:
    from kubemtu.cli import planning
    from kubemtu.core.change import plan
    from kubemtu.core.planning import apart
    from kubemtu.kube import api as kube_api
    from kubemtu.kube import mtu as kube_mtu


IN_ROUTES = "--config-only leaves running pods as they are, and {} is in their routes alone: leave one of them out"


class ApplyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for on the command line."""

    saved: "plan.Plan | None"
    mtu: int | None
    nic_mtu: int | None
    apart_by: "apart.Asked"
    without: tuple[str, ...]
    hosts: bool
    yes: bool
    config_only: bool
    unproven: bool
    patience: float
    output_format: str


@click.command()
@click.argument("file", required=False, type=paths.NamedPath(dir_okay=False, path_type=Path))
@click.option(
    "--mtu",
    default="auto",
    show_default=True,
    metavar="N|auto",
    cls=combined.Option,
    beside=check.SAYS_THE_MTU,
    help="The pod MTU to lead to, in bytes.",
)
@check.NIC_MTU
@check.PER_NODE
@check.EGRESS_MTU
@click.option(
    "--hosts",
    is_flag=True,
    help="Also pin the nodes' own routes to each other and to the API server, for a path that cuts kubelets off.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option(
    "--config-only",
    is_flag=True,
    cls=combined.Option,
    beside={
        "per_node": IN_ROUTES.format("--per-node"),
        "egress": IN_ROUTES.format("--egress-mtu"),
        "unproven": "--config-only leaves running pods as they are, and --unproven is about raising their MTU: leave"
        " one of them out",
    },
    help="Change the configuration and restart the CNI's pods; leave the running pods as they are.",
)
@click.option(
    "--without",
    multiple=True,
    metavar="NODE",
    help="Leave this node's running pods as they are, for a node that has no agent; may be repeated.",
)
@click.option("--unproven", is_flag=True, help="Raise the MTU even where the network between nodes cannot be measured.")
@numbers.rollout_patience("pins that are held stay")
@output.output_option
@kubeflags.kube_flags
def apply(
    flags: kubeflags.KubeFlags,
    file: Path | None,
    mtu: str,
    nic_mtu: int | None,
    per_node: bool,
    egress: str | None,
    without: tuple[str, ...],
    hosts: bool,
    yes: bool,
    config_only: bool,
    unproven: bool,
    patience: float,
    output_format: str,
) -> int:
    """Change the pod MTU: configuration, tunnel devices and running pods, without restarting one.

    FILE is a plan that `kubemtu plan --out FILE` saved; without it, a plan is made now. An interrupted change is
    carried on from where it stopped; while there is one, no other can be begun.
    """
    from kubemtu.cli import planning

    if config_only and without and not hosts:
        raise errors.UsageError(
            "--config-only leaves the running pods of all nodes as they are, and --without those of some: leave one of "
            "them out"
        )
    options = ApplyOptions(
        saved=planning.load(file) if file is not None else None,
        mtu=planning.wanted(mtu),
        nic_mtu=nic_mtu,
        apart_by=planning.asked(per_node=per_node, egress=egress),
        without=without,
        hosts=hosts,
        yes=yes,
        config_only=config_only,
        unproven=unproven,
        patience=patience,
        output_format=output_format,
    )
    return asyncio.run(_apply(flags, options))


async def _apply(flags: kubeflags.KubeFlags, options: ApplyOptions) -> int:
    from kubemtu.cli import planning, progress
    from kubemtu.flows.change import act, migrations

    terminal.acting()
    async with planning.connected(flags, planning.UNCHANGED) as api:
        open_one = await migrations.unfinished(api)
        if open_one is not None and open_one.progress.untouched:
            await migrations.give_up(api, open_one)
            wrapping.aside(
                f"{open_one.name} had stopped before it changed anything, and is given up.", options.output_format
            )
            open_one = None
        held = await migrations.in_force(api) if open_one is None else None
        if open_one is not None:
            name = await _carried_on(api, open_one, options)
        else:
            name = await (_extended(api, held, options) if held is not None else _begun(api, options))
        if name is None:
            return errors.FINE
        told = progress.Teller(options.output_format)
        waiting = msgspec.structs.replace(act.POLL, stall=options.patience)
        work = act.carry_out(api, name, told, unproven=options.unproven, waiting=waiting)
        outcome = await progress.interruptible(work, told, name)
    progress.end(outcome, options.output_format)
    return errors.FINE


async def _carried_on(api: "kube_api.Api", open_one: "kube_mtu.Migration", options: ApplyOptions) -> str | None:
    from kubemtu.cli import planning, progress
    from kubemtu.flows.change import again, migrations

    if open_one.progress.direction == "backward":
        raise errors.UsageError(
            f"{open_one.name} is being rolled back: finish that with `kubemtu rollback` before applying again"
        )
    asked = again.AskedAgain(
        mtu=options.mtu,
        nic_mtu=options.nic_mtu,
        apart_by=options.apart_by,
        saved=options.saved,
        without=options.without,
        hosts=options.hosts,
        config_only=options.config_only,
    )
    other, more = await again.difference(api, open_one.plan, asked), again.not_pinned(open_one.plan, asked)
    if more and asked.mtu is None and asked.nic_mtu is None and asked.saved is None:
        options = msgspec.structs.replace(options, mtu=open_one.plan.target)
    inside = again.inside(open_one.plan, options.without)
    replaced = not inside and (other or more or options.nic_mtu is not None)
    if replaced and await migrations.only_pinned(api, open_one):
        return await _begun(api, options, pinned=open_one)
    if other := other or inside or ("it was begun without --hosts" if more else ""):
        raise errors.UsageError(
            f"{open_one.name} is under way to {open_one.plan.target} and stands at {progress.standing(open_one)}, but "
            f"{other}: finish it with `kubemtu apply`, or take it back with `kubemtu rollback`, before anything else"
        )
    await again.left_out(api, open_one, options.without)
    wrapping.aside(
        f"Carrying on with {open_one.name}, which stands at {progress.standing(open_one)}.", options.output_format
    )
    planning.confirm("Carry on?", yes=options.yes)
    await migrations.go_forward(api, open_one)
    return open_one.name


async def _begun(api: "kube_api.Api", options: ApplyOptions, pinned: "kube_mtu.Migration | None" = None) -> str | None:
    """Make a plan, or take the one that was saved, and record it; None when there is nothing to do.

    A change that has only `pinned` senders so far is given the new plan, and its pins go over into those of that.
    """
    from kubemtu.cli import planning
    from kubemtu.flows.change import hosts, migrations

    change = await planning.obtain(
        api,
        options.saved,
        mtu=options.mtu,
        nic_mtu=options.nic_mtu,
        apart_by=options.apart_by,
        without=options.without,
        config_only=options.config_only,
        hosts=options.hosts or (pinned is not None and hosts.pinned_by(pinned.plan)),
    )
    if change.plan.steps and options.output_format == "text":
        terminal.echo(planning.text(change.plan, change.topology, wrapping.width()))
    if not change.plan.steps and pinned is None:
        await _nothing_to_do(api, change, options)
        return None
    planning.confirm("Apply this plan?", yes=options.yes)
    if pinned is not None:
        return await migrations.give_another_plan(api, pinned, change.plan)
    return await migrations.begin(api, change.plan)


async def _extended(api: "kube_api.Api", held: "kube_mtu.Migration", options: ApplyOptions) -> str | None:
    """Carry out a change that is in force once more, with what is due by now; None when nothing is.

    Raises UsageError when something else is asked for: nothing is begun beside it.
    """
    from kubemtu.cli import planning
    from kubemtu.core.planning import apart
    from kubemtu.flows import decide
    from kubemtu.flows.change import force, hosts, migrations

    if options.config_only or (options.hosts and not hosts.pinned_by(held.plan)):
        force.refuse(held)
    if options.saved is not None and not force.carries_out(held.plan, options.saved, options.without):
        force.refuse(held)
    target, standing = options.mtu, apart.asked_by(held.plan)
    literally = target in {None, held.plan.target} and options.nic_mtu is None
    literally = literally and (not options.apart_by or options.apart_by.same(standing))
    sizes = options.apart_by if options.apart_by and not literally else standing
    change = await planning.obtain(
        api,
        None,
        mtu=None if literally else options.mtu,
        nic_mtu=options.nic_mtu,
        apart_by=sizes,
        without=sorted({*options.without, *force.left_out(held.plan)}),
    )
    if not literally and not decide.in_force(change.topology, target, options.nic_mtu, sizes):
        force.refuse(held)
    if not change.plan.steps and not await force.newcomers(api, held):
        await _nothing_to_do(api, change, options)
        return None
    if other := apart.outgrown(held.plan, change.plan):
        raise errors.UsageError(f"{other}: {migrations.in_force_sentence(held)}; then `kubemtu apply` makes it anew")
    wrapping.aside(f"{held.name} is in force; it is carried out once more, with what is due.", options.output_format)
    if change.plan.steps and options.output_format == "text":
        terminal.echo(planning.text(change.plan, change.topology, wrapping.width()))
    planning.confirm("Carry it out once more?", yes=options.yes)
    await force.extend(api, held, change.plan)
    return held.name


async def _nothing_to_do(api: "kube_api.Api", change: "planning.PlannedChange", options: ApplyOptions) -> None:
    """Say so, once the network between the nodes has shown that it is true: no interface knows what a switch drops."""
    from kubemtu.cli import planning, progress
    from kubemtu.core.rules import missing, runtime
    from kubemtu.core.text.wording import names
    from kubemtu.flows.change import outcome, survey

    verdict, proven = None, ""
    if not options.config_only and len(change.topology.nodes) > 1:
        told = progress.Teller(options.output_format)
        verdict = await survey.between_nodes(api, change.topology, change.plan.target, told)
        proven = (
            f"{verdict.arrived} of {verdict.probes} full packets between the nodes arrived"
            if verdict.probes
            else "what the network between the nodes carries could not be measured"
        )
    if options.output_format == "text":
        terminal.echo(planning.text(change.plan, change.topology, wrapping.width()))
    else:
        unseen = missing.unseen_pods(change.topology)
        unseen += [f"new pods of {name}" for name in runtime.apart(change.topology, change.plan.target)]
        seen = f"what was seen of the cluster (not {names(unseen)})" if unseen else "the cluster"
        wrapping.aside(f"Nothing to do: {seen} is as this plan wants it.", options.output_format)
    if proven:
        wrapping.aside(f"  {proven}", options.output_format)
    if options.output_format != "text":
        ended = outcome.Outcome(migration="", direction="forward", done=True, seconds=0.0, proof=verdict)
        progress.end(ended, options.output_format)

"""`kubemtu relieve`: end the losses now, by pins alone; the change itself can wait."""

import asyncio
from typing import TYPE_CHECKING

import click
import msgspec

from kubemtu.cli import check, combined, kubeflags, output, wrapping
from kubemtu.core import errors

if TYPE_CHECKING:
    from kubemtu.core.change import plan
    from kubemtu.kube import api as kube_api
    from kubemtu.kube import mtu as kube_mtu

MEASURED = "measured"


class RelieveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for on the command line."""

    mtu: int | None
    nic_mtu: int | None
    without: tuple[str, ...]
    hosts: bool
    yes: bool
    output_format: str


@click.command()
@click.option(
    "--mtu",
    cls=combined.Option,
    beside={"nic_mtu": "give --mtu or --nic-mtu, not both"},
    default=MEASURED,
    show_default=True,
    metavar="N|measured",
    help="The pod MTU that senders are pinned to, in bytes; measured: what fits the network between the nodes.",
)
@check.NIC_MTU
@click.option(
    "--without",
    multiple=True,
    metavar="NODE",
    help="Leave this node as it is, for a node that has no agent; may be repeated.",
)
@click.option(
    "--hosts",
    is_flag=True,
    help="Also pin the nodes' own routes to each other and to the API server, for a path that cuts kubelets off.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@output.output_option
@kubeflags.kube_flags
def relieve(
    flags: kubeflags.KubeFlags,
    mtu: str,
    nic_mtu: int | None,
    without: tuple[str, ...],
    hosts: bool,
    yes: bool,
    output_format: str,
) -> int:
    """Pin every sender to what the path carries, and nothing else: what is too large is not sent any more.

    The first step of a decrease by itself: no device, no configuration and no pod of the CNI is touched, so it works
    where a rollout could not. `kubemtu apply` carries on from it to the full change, `kubemtu rollback` takes it back.
    """
    from kubemtu.cli import planning

    target = planning.wanted(mtu) if mtu != MEASURED else None
    options = RelieveOptions(
        mtu=target, nic_mtu=nic_mtu, without=without, hosts=hosts, yes=yes, output_format=output_format
    )
    return asyncio.run(_relieve(flags, options))


async def _relieve(flags: kubeflags.KubeFlags, options: RelieveOptions) -> int:
    from kubemtu.cli import planning, progress
    from kubemtu.flows.change import act, force, hosts, migrations

    async with planning.connected(flags, planning.UNCHANGED) as api:
        if (in_force := await migrations.in_force(api)) is not None:
            force.refuse(in_force)
        open_one = await migrations.unfinished(api)
        if open_one is not None and open_one.progress.untouched:
            await migrations.give_up(api, open_one)
            open_one = None
        if open_one is None and (held := await migrations.in_force(api)) is not None:
            raise errors.UsageError(migrations.in_force_sentence(held))
        if open_one is not None and open_one.progress.direction == "backward":
            raise errors.UsageError(
                f"{open_one.name} is being rolled back: finish that with `kubemtu rollback` before pinning again"
            )
        if open_one is not None and not await migrations.only_pinned(api, open_one):
            raise errors.UsageError(
                f"{open_one.name} is under way and stands at {progress.standing(open_one)}: carry on with `kubemtu "
                "apply`, or take it back with `kubemtu rollback`"
            )
        if open_one is not None and hosts.pinned_by(open_one.plan):
            options = msgspec.structs.replace(options, hosts=True)
        whole = await _planned(api, options)
        name = await _begun(api, whole, open_one, options)
        if name is None:
            return errors.FINE
        told = progress.Teller(options.output_format)
        ended = await progress.interruptible(act.carry_out(api, name, told), told, name)
    progress.end(ended, options.output_format)
    return errors.FINE


async def _planned(api: "kube_api.Api", options: RelieveOptions) -> "plan.Plan":
    """Plan the whole change, of which the relief is the first step; measure first what is to be measured."""
    from kubemtu.cli import progress
    from kubemtu.core.planning import notes
    from kubemtu.flows import decide, network, observe
    from kubemtu.flows.change import hosts as host_traffic
    from kubemtu.flows.change import preconditions, survey

    target = options.mtu
    snapshot = await observe.observe(api)
    preconditions.observed(snapshot, options.without)
    nic_mtu = options.nic_mtu
    if target is None and nic_mtu is None:
        narrowest = network.model(snapshot).narrowest
        if narrowest is None or narrowest.nic_mtu is None:
            raise errors.UsageError("no node shows its NIC: give --mtu N for the pods, or --nic-mtu N for the path")
        nic_mtu = await survey.carried(api, narrowest.nic_mtu, progress.Teller(options.output_format))
        wrapping.aside(f"Measured: {nic_mtu} bytes arrive between all nodes.", options.output_format)
    planned, seen = decide.plan(snapshot, target, nic_mtu)
    if known := notes.unwritten(seen):
        wrapping.aside(known, options.output_format)
    planned = preconditions.leave_out(planned, options.without)
    if not options.hosts:
        return planned
    return await host_traffic.with_hosts(api, planned, seen, options.without, alone=True)


async def _begun(
    api: "kube_api.Api", planned: "plan.Plan", open_one: "kube_mtu.Migration | None", options: RelieveOptions
) -> str | None:
    """Show what would be done and what that leaves, ask, and record it; None where nobody sends too much."""
    from kubemtu.cli import planning
    from kubemtu.core.change import plan
    from kubemtu.core.planning import diff
    from kubemtu.flows.change import migrations

    first = planned.steps[0] if planned.steps else None
    if not isinstance(first, plan.Live) or not first.relieves:
        if open_one is not None:
            raise errors.UsageError(
                f"{open_one.name} holds pins for {open_one.plan.target}, and nothing has to be pinned for "
                f"{planned.target}: take them back with `kubemtu rollback`"
            )
        own = " and no NIC of theirs sends more than such pods need" if options.hosts else ""
        wrapping.aside(
            f"Nothing to relieve: no running pod that was seen has more than {planned.target}{own}.",
            options.output_format,
        )
        return None
    lines = list(diff.steps(planned))
    wrapping.aside(f"Now: {lines[0]}", options.output_format)
    if lines[1:]:
        wrapping.aside("Left to `kubemtu apply`:", options.output_format)
    for text in lines[1:]:
        wrapping.aside(f"  - {text}", options.output_format)
    planning.confirm("Pin them?", yes=options.yes)
    if open_one is None:
        return await migrations.begin(api, planned, "relief")
    before = open_one.plan.steps[0]
    if isinstance(before, plan.Live) and (before.pin_mtu, before.host_mtu) == (first.pin_mtu, first.host_mtu):
        await migrations.go_forward(api, open_one, "relief")
        return open_one.name
    return await migrations.give_another_plan(api, open_one, planned, "relief")

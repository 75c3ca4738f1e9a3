"""`kubemtu rollback`: return to the state recorded before the last apply."""

import asyncio
from typing import TYPE_CHECKING

import click
import msgspec

from kubemtu.cli import kubeflags, numbers, output, terminal, wrapping
from kubemtu.core import errors

if TYPE_CHECKING:
    from kubemtu.kube import api as kube_api
    from kubemtu.kube import mtu as kube_mtu


@click.command()
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@numbers.rollout_patience("`kubemtu rollback` again goes on")
@output.output_option
@kubeflags.kube_flags
def rollback(flags: kubeflags.KubeFlags, yes: bool, patience: float, output_format: str) -> int:
    """Return to the state recorded before the last apply, from wherever that stands.

    The configuration goes back byte for byte; interfaces and routes go back to what each node's journal recorded, live,
    under the same pins and barriers. An interrupted rollback is carried on.
    """
    return asyncio.run(_rollback(flags, yes=yes, patience=patience, output_format=output_format))


async def _rollback(flags: kubeflags.KubeFlags, *, yes: bool, patience: float, output_format: str) -> int:
    from kubemtu.cli import planning, progress
    from kubemtu.flows.change import act, migrations

    terminal.acting()
    async with planning.connected(flags, planning.UNCHANGED) as api:
        back = await migrations.last_to_undo(api)
        await _show(api, back, err=output_format != "text")
        planning.confirm("Roll back?", yes=yes)
        await migrations.turn_back(api, back)
        told = progress.Teller(output_format)
        waiting = msgspec.structs.replace(act.POLL, stall=patience)
        work = act.carry_out(api, back.name, told, waiting=waiting)
        outcome = await progress.interruptible(work, told, back.name, back=True)
    progress.end(outcome, output_format)
    return errors.FINE


async def _show(api: "kube_api.Api", back: "kube_mtu.Migration", *, err: bool) -> None:
    """Show the steps, and what comes back with them."""
    from kubemtu.core.change import undo
    from kubemtu.flows.change import messages, returning

    steps = undo.sequence(back.plan, undo.turn(back.progress, back.plan.steps))
    if not err:
        wrapping.say(f"Taking back {back.name}:" if steps else f"{back.name} had not changed anything yet.")
        for number, step in enumerate(steps, start=1):
            wrapping.say(f"  {number}. {messages.headline(step)}")
    warning = await returning.fault(api, back, steps)
    if warning:
        wrapping.say(f"  ! {warning}", err=err)

"""`kubemtu rollback`: return to the state recorded before the last apply."""

import asyncio

import click

from kubemtu.cli import kubeflags, output, terminal
from kubemtu.core import errors


@click.command()
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@output.output_option
@kubeflags.kube_flags
def rollback(flags: kubeflags.KubeFlags, yes: bool, output_format: str) -> int:
    """Return to the state recorded before the last apply, from wherever that stands.

    The configuration goes back byte for byte; interfaces and routes go back to what each node's journal recorded, live,
    under the same pins and barriers. An interrupted rollback is carried on.
    """
    return asyncio.run(_rollback(flags, yes=yes, output_format=output_format))


async def _rollback(flags: kubeflags.KubeFlags, *, yes: bool, output_format: str) -> int:
    from kubemtu.cli import plans, progress
    from kubemtu.core import undo
    from kubemtu.flows.change import act, migrations, telling

    terminal.acting()
    async with plans.connected(flags) as api:
        back = await migrations.last_to_undo(api)
        if output_format == "text":
            steps = undo.sequence(back.plan, undo.turn(back.progress))
            terminal.echo(f"Taking back {back.name}:" if steps else f"{back.name} had not changed anything yet.")
            for number, step in enumerate(steps, start=1):
                terminal.echo(f"  {number}. {telling.headline(step)}")
        plans.confirm("Roll back?", yes=yes)
        await migrations.turn_back(api, back)
        told = progress.Teller(output_format)
        work = act.carry_out(api, back.name, told)
        outcome = await progress.interruptible(work, told, back.name)
    progress.end(outcome, output_format)
    return errors.FINE

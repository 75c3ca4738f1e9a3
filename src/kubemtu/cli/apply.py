"""`kubemtu apply`: change it, live, verify every step, end with a proof."""

import asyncio
import sys
from pathlib import Path

import click

from kubemtu.cli import kubeflags, output
from kubemtu.core import errors


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--mtu", default="auto", show_default=True, metavar="N|auto", help="The pod MTU to lead to, in bytes.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option(
    "--config-only",
    is_flag=True,
    help="Change the configuration and restart the CNI's pods; leave the running pods as they are.",
)
@output.output_option
@kubeflags.kube_flags
def apply(
    flags: kubeflags.KubeFlags, file: Path | None, mtu: str, yes: bool, config_only: bool, output_format: str
) -> int:
    """Change the pod MTU: configuration, tunnel devices and running pods, without restarting one.

    FILE is a plan that `kubemtu plan --out FILE` saved; without it, a plan is made now. An interrupted change is
    carried on from where it stopped, whatever was asked for.
    """
    return asyncio.run(_apply(flags, file, mtu, yes=yes, config_only=config_only, output_format=output_format))


async def _apply(
    flags: kubeflags.KubeFlags, file: Path | None, mtu: str, *, yes: bool, config_only: bool, output_format: str
) -> int:
    from kubemtu.cli import plans, progress
    from kubemtu.flows import act, migrations

    async with plans.connected(flags) as api:
        open_one = await migrations.unfinished(api)
        if open_one is not None:
            if open_one.progress.direction == "back":
                raise errors.UsageError(
                    f"{open_one.name} is being rolled back: finish that with `kubemtu rollback` before applying again"
                )
            _say(f"Carrying on with {open_one.name}, which stopped at {progress.standing(open_one)}.", output_format)
            plans.confirm("Carry on?", yes=yes)
            name = open_one.name
        else:
            whole = await plans.obtain(api, file, mtu, config_only=config_only, show=output_format == "text")
            if not whole.steps:
                _say("Nothing to do: the cluster is as this plan wants it.", output_format)
                return errors.FINE
            plans.confirm("Apply this plan?", yes=yes)
            name = await migrations.begin(api, whole)
        outcome = await act.carry_out(api, name, progress.teller(output_format))
    progress.end(outcome, output_format)
    return errors.FINE


def _say(text: str, output_format: str) -> None:
    click.echo(text, file=sys.stdout if output_format == "text" else sys.stderr)

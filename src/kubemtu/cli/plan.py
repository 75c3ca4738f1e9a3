"""`kubemtu plan`: show what would change, in which order, and the way back."""

from pathlib import Path

import click
import msgspec

from kubemtu import files
from kubemtu.cli import check, kubeflags, output, terminal, wrapping
from kubemtu.core import errors
from kubemtu.core.change.plan import Plan
from kubemtu.core.text import printable


@click.command()
@click.option("--mtu", default="auto", show_default=True, metavar="N|auto", help="The pod MTU to lead to, in bytes.")
@check.FROM
@check.NIC_MTU
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write the plan, for `kubemtu apply FILE`.",
)
@output.output_option
@kubeflags.kube_flags
def plan(
    flags: kubeflags.KubeFlags,
    mtu: str,
    source: Path | None,
    nic_mtu: int | None,
    out: Path | None,
    output_format: str,
) -> int:
    """Show what would change, in which order, what it touches, and the way back. Reads only."""
    from kubemtu.cli import planning
    from kubemtu.flows import decide

    made, topology = decide.plan(check.read(flags, source), planning.wanted(mtu), nic_mtu)
    if out is not None:
        save(made, out)
    if output_format == "text":
        terminal.echo(planning.text(made, topology, wrapping.width()))
    else:
        output.emit(made, output_format)
    return errors.FINE


def save(plan: Plan, path: Path) -> None:
    """Write a plan as JSON, readable by its owner only. Raises UsageError when the file cannot be written."""
    try:
        files.write(path, msgspec.json.format(printable.encode(plan), indent=2) + b"\n")
    except OSError as error:
        raise errors.UsageError(f"{path} cannot be written: {error.strerror or error}; name another file") from error

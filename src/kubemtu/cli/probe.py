"""`kubemtu probe`: the exact path MTU between two ends of a cluster, or between all of them."""

import asyncio
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from kubemtu.cli import kubeflags, output
from kubemtu.core import errors

if TYPE_CHECKING:
    from kubemtu.flows.mesh import Layer, Report
    from kubemtu.flows.why import Answer

MATRIX_MOST = 24  # members that are drawn
NAME_MOST = 24
CELL = 6
WIDE = 200  # columns, where nobody looks


@click.command()
@click.argument("here", metavar="[A", required=False)
@click.argument("there", metavar="B]", required=False)
@click.option("--mesh", "whole", is_flag=True, help="Everybody to everybody; the default when no end is named.")
@click.option("--nodes", "only", flag_value="nodes", help="Only between the nodes themselves.")
@click.option("--pods", "only", flag_value="pods", help="Only between the probe pods.")
@click.option(
    "--expected", type=click.IntRange(100, 65535), help="What should arrive, in bytes.  [the interfaces' MTU]"
)
@click.option("--max-pps", default=0.0, type=click.FloatRange(0), help="Packets a second from each node at most.")
@click.option("--round", "number", default=0, type=click.IntRange(0), help="In large clusters: which peers, this time.")
@click.option("-n", "--namespace", metavar="NAME", help="Namespace of pods and Services whose name says none.")
@output.output_option
@kubeflags.kube_flags
def probe(
    flags: kubeflags.KubeFlags,
    here: str | None,
    there: str | None,
    whole: bool,
    only: str | None,
    expected: int | None,
    max_pps: float,
    number: int,
    namespace: str | None,
    output_format: str,
) -> int:
    """Measure the exact path MTU from A to B and back, or between all nodes and all probe pods.

    One full-size packet a pair where all is well; what does not carry it is searched to the byte. Above 1,000 nodes
    each measures some peers, and what that finds is said. Changes nothing. Ends with 1 when something is not as it
    should be.
    """
    if whole and here is not None:
        raise errors.UsageError("--mesh measures everybody; name no ends beside it")
    if here is not None and there is None:
        raise errors.UsageError(f"name the other end too: `kubemtu probe {here} B`; `kubemtu why {here}` tries several")
    if here is not None and there is not None:
        answer = asyncio.run(_pair(flags, here, there, namespace))
        return _tell_pair(answer, output_format)
    layers = (only,) if only else ("nodes", "pods")
    report = asyncio.run(_mesh(flags, layers, expected, max_pps, number, quiet=output_format != "text"))
    if output_format == "text":
        from kubemtu.cli import render

        for line in lines(report, render.width() or WIDE):
            render.echo(line)
    else:
        output.emit(report, output_format)
    return errors.FINE if report.ok else errors.FINDINGS


async def _pair(flags: kubeflags.KubeFlags, here: str, there: str, namespace: str | None) -> "Answer":
    from kubemtu.cli import plans
    from kubemtu.flows import why

    async with plans.connected(flags) as api:
        return await why.why(api, here, there, namespace=namespace or api.connection.namespace, parts=False)


def _tell_pair(answer: "Answer", output_format: str) -> int:
    leg = answer.diagnosis.legs[0]
    if output_format == "text":
        from kubemtu.cli import render

        for one in answer.diagnosis.legs:
            sign, colour = ("✓", "green") if one.verdict.ok else ("✗", "red")
            both = "⇄" if one.result.back else "▸"
            head = f"{sign} {one.here} {both} {one.there}: {one.verdict.kind}; {one.verdict.sentence}"
            render.echo(click.style(head, fg=colour, bold=True))
            for fact in (*one.verdict.evidence, *one.result.notes):
                render.echo(f"  · {fact}")
            render.echo(
                f"  over {one.result.over}, {one.result.seconds * 1000:.1f} ms, round trip "
                f"{one.result.rtt * 1000:.2f} ms"
            )
        for trouble in answer.troubles:
            render.echo(click.style(f"  ! {trouble}", fg="yellow"))
    else:
        output.emit(answer.diagnosis.legs, output_format)
    if all(one.verdict.kind == "unreachable" for one in answer.diagnosis.legs):
        return errors.Unreachable.exit_code
    return errors.FINE if leg.verdict.ok else errors.FINDINGS


async def _mesh(
    flags: kubeflags.KubeFlags,
    layers: tuple[str, ...],
    expected: int | None,
    pps: float,
    number: int,
    *,
    quiet: bool,
) -> "Report":
    from kubemtu.cli import plans
    from kubemtu.flows import asking, mesh, observe

    live = not quiet and sys.stderr.isatty()

    def tell(text: str) -> None:
        if live:
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)

    async with plans.connected(flags) as api:
        snapshot = await observe.observe(api)
        async with asking.asking(api, patience=mesh.PATIENCE) as line:
            try:
                return await mesh.measure(
                    line, snapshot, layers=layers, expected=expected, pps=pps, round_number=number, tell=tell
                )
            finally:
                if live:
                    click.echo("\r\x1b[K", nl=False, err=True)


def lines(report: "Report", width: int) -> Iterator[str]:
    """A report for people."""
    for layer in report.layers:
        yield from _layer(layer, width)
        yield ""
    for note in report.notes:
        yield click.style(f"! {note}", fg="yellow")


def _layer(layer: "Layer", width: int) -> Iterator[str]:
    from kubemtu.core.words import count

    summary = layer.summary
    sign, colour = ("✓", "green") if layer.ok else ("✗", "red")
    head = f"{sign} {layer.name}: {summary.ok} of {summary.measured} ordered pairs carry {layer.expected} bytes"
    yield click.style(head, fg=colour, bold=True)
    for fault in layer.faults:
        yield f"  {click.style(fault.sentence, bold=True)}"
        yield f"    {fault.sure}; {count(fault.pairs, 'pair')}; → {fault.advice}"
    for name in layer.cutting:
        yield (
            f"  {name} cuts the packets that its tunnel becomes: everything arrives, in pieces, and slowly; "
            "→ `kubemtu plan` shows the MTU that travels whole"
        )
    members = layer.measured.members
    if not layer.ok and len(members) <= MATRIX_MOST:
        yield ""
        yield from _matrix(layer, width)
    if layer.plan.per_member < len(members) - 1:
        yield f"  {layer.plan.sentence}"
    yield f"  {count(summary.packets, 'packet')}, {layer.seconds:.2f} s"


def _matrix(layer: "Layer", width: int) -> Iterator[str]:
    """Rows send, columns receive; a number where less than expected arrives. Columns have the rows' numbers."""
    from kubemtu.core import mesh

    members = layer.measured.members
    rows = [f"{place:2} {member.name}" for place, member in enumerate(members, 1)]
    label = min(max(map(len, rows)), NAME_MOST)
    if 2 + label + CELL * len(members) > width:
        yield f"  (a terminal of {2 + label + CELL * len(members)} columns shows the matrix; -o json has all of it)"
        return
    yield "  " + "from \\ to".ljust(label) + "".join(f"{place:{CELL}}" for place in range(1, len(members) + 1))
    for sender, row in enumerate(rows):
        cells = [_cell(mesh.cell(layer.measured, sender, peer), own=sender == peer) for peer in range(len(members))]
        yield "  " + row[:label].ljust(label) + "".join(cell.rjust(CELL) for cell in cells)


def _cell(found: tuple[str, int] | None, *, own: bool) -> str:
    if own:
        return "·"
    if found is None:
        return "?"
    kind, mtu = found
    if kind == "ok":
        return "ok"
    return f"{mtu}" if mtu else "–"

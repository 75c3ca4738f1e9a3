"""`kubemtu why`: is it the MTU?"""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from kubemtu.cli import kubeflags, output
from kubemtu.core import errors

if TYPE_CHECKING:
    from kubemtu.core.diagnosis import Diagnosis, Leg
    from kubemtu.flows.why import Answer

COLOURS = {"yes": "red", "no": "green", "unknown": "yellow"}
SIGNS = {"yes": "✗", "no": "✓", "unknown": "?"}
ROLES = {
    "whole": "the whole path",
    "service": "through the Service",
    "near": "pod to its own node",
    "nodes": "between the nodes",
    "overlay": "node to the far pod",
    "far": "far node to its pod",
}


@click.command()
@click.argument("here", metavar="POD|NODE")
@click.argument("there", metavar="[POD|NODE|IP|SERVICE]", required=False)
@click.option("-n", "--namespace", metavar="NAME", help="Namespace of pods and Services whose name says none.")
@click.option(
    "--flows", default=20, show_default=True, type=click.IntRange(1, 256), help="Source ports to try, for equal paths."
)
@click.option("--flush", is_flag=True, help="First have both ends forget every path MTU they have learned.")
@output.output_option
@kubeflags.kube_flags
def why(
    flags: kubeflags.KubeFlags,
    here: str,
    there: str | None,
    namespace: str | None,
    flows: int,
    flush: bool,
    output_format: str,
) -> int:
    """Say whether it is the MTU, where, how sure that is, and what to do.

    Measures the path both ways with full-size packets from inside the pods' own networks, and its parts; without a
    second end, to other nodes. Changes nothing. Ends with 1 when it is the MTU, with 0 when it is not.

    Examples: `kubemtu why web-1 db/pg-0`, `kubemtu why n1 n2`, `kubemtu why web-1 svc/db/pg`, `kubemtu why web-1`.
    """
    answer = asyncio.run(_answered(flags, here, there, namespace, flows, flush))
    if output_format == "text":
        from kubemtu.cli import render

        for line in lines(answer):
            render.echo(line)
    else:
        output.emit(answer, output_format)
    return errors.FINE if answer.diagnosis.mtu == "no" else errors.FINDINGS


async def _answered(
    flags: kubeflags.KubeFlags, here: str, there: str | None, namespace: str | None, flows: int, flush: bool
) -> "Answer":
    from kubemtu.cli import plans
    from kubemtu.flows import why as flow

    async with plans.connected(flags) as api:
        return await flow.why(
            api, here, there, namespace=namespace or api.connection.namespace, flows=flows, forget=flush
        )


def lines(answer: "Answer") -> Iterator[str]:
    """The answer for people: the sentence first."""
    found = answer.diagnosis
    yield click.style(f"{SIGNS[found.mtu]} {found.sentence}", fg=COLOURS[found.mtu], bold=True)
    if found.mtu == "yes" and found.place:
        yield f"  {found.sure} about where"
    yield ""
    yield from _table(found)
    if found.evidence:
        yield ""
    for fact in found.evidence:
        yield f"  · {fact}"
    for sentence in answer.others:
        yield f"  · also: {sentence}"
    for trouble in answer.troubles:
        yield click.style(f"  ! {trouble}", fg="yellow")
    yield ""
    yield f"  → {found.advice}"


def _table(found: "Diagnosis") -> Iterator[str]:
    rows = [_row(leg) for leg in found.legs]
    if not rows:
        return
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(leg: "Leg") -> tuple[str, str, str, str]:
    verdict = leg.verdict
    carried = f"{verdict.mtu} of {verdict.expected}" if verdict.mtu else "nothing"
    both = " ⇄ " if leg.result.back else " ▸ "
    return ROLES[leg.role], f"{leg.here}{both}{leg.there}", carried, verdict.kind

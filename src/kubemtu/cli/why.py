"""`kubemtu why`: is it the MTU?"""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from kubemtu.cli import kubeflags, output, terminal, wrapping
from kubemtu.core import errors

if TYPE_CHECKING:
    from kubemtu.core.path.verdict import Verdict
    from kubemtu.core.why.case import Diagnosis
    from kubemtu.core.why.directions import Leg
    from kubemtu.flows.measure.why import PathReport

COLOURS = {"yes": "red", "no": "green", "unknown": "yellow"}
SIGNS = {"yes": "✗", "no": "✓", "unknown": "?"}
ROLES = {
    "whole": "the whole path",
    "return": "the way back",
    "service": "through the Service",
    "near": "pod to its own node",
    "nodes": "between the nodes",
    "overlay": "node to the far pod",
    "far": "far node to its pod",
}
OTHERS_MOST = 3  # sentences about other paths
NAMES_MOST = 4


@click.command()
@click.argument("here", metavar="POD|NODE")
@click.argument("there", metavar="[POD|NODE|IP|SERVICE]", required=False)
@click.option("-n", "--namespace", metavar="NAME", help="Namespace of pods and Services whose name says none.")
@click.option(
    "--flows", default=20, show_default=True, type=click.IntRange(1, 256), help="Source ports to try, for equal paths."
)
@click.option(
    "--flush", is_flag=True, help="First have both ends, and their nodes, forget every path MTU they have learned."
)
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
    second end, to other nodes. Changes nothing. Ends with 0 when it is not the MTU, with 1 when it is, or when that
    cannot be told, or a node at either end does not report.

    Examples: `kubemtu why web-1 db/pg-0`, `kubemtu why n1 n2`, `kubemtu why web-1 svc/db/pg`, `kubemtu why web-1`,
    `kubemtu why web-1 203.0.113.7`.
    """
    answer = asyncio.run(_answered(flags, here, there, namespace, flows, flush))
    if output_format == "text":
        for line in lines(answer, wrapping.width()):
            terminal.echo(line)
    else:
        output.emit(answer, output_format)
    return errors.FINE if answer.diagnosis.is_mtu == "no" and not answer.unmeasured_nodes else errors.FINDINGS


async def _answered(
    flags: kubeflags.KubeFlags, here: str, there: str | None, namespace: str | None, flows: int, flush: bool
) -> "PathReport":
    from kubemtu.cli import planning
    from kubemtu.flows.measure import why as flow

    async with planning.connected(flags) as api:
        return await flow.why(
            api, here, there, namespace=namespace or api.connection.namespace, flows=flows, flush=flush
        )


def lines(answer: "PathReport", columns: int | None = None) -> Iterator[str]:
    """Return the answer for people: the sentence first; `columns` None wraps nothing."""

    diagnosis = answer.diagnosis
    shown = "unknown" if diagnosis.is_mtu == "no" and answer.unmeasured_nodes else diagnosis.is_mtu
    colour: dict[str, str | bool] = {"fg": COLOURS[shown], "bold": True}
    yield from wrapping.wrapped(f"{SIGNS[shown]} {diagnosis.sentence}", columns, hang=2, style=colour)
    if diagnosis.is_mtu == "yes" and diagnosis.location:
        yield f"  {diagnosis.confidence} about where"
    yield ""
    yield from _table(diagnosis, columns)
    if diagnosis.evidence or answer.other_paths:
        yield ""
    for fact in diagnosis.evidence:
        yield from wrapping.wrapped(f"· {fact}", columns, indent=2, hang=2)
    for line in _others(answer):
        yield from wrapping.wrapped(f"· {line}", columns, indent=2, hang=2)
    for trouble in (*unmeasured(answer), *answer.notes, *answer.errors):
        yield from wrapping.wrapped(f"! {trouble}", columns, indent=2, hang=2, style={"fg": "yellow"})
    yield ""
    yield from wrapping.wrapped(f"→ {diagnosis.advice}", columns, indent=2, hang=2)


def unmeasured(answer: "PathReport") -> Iterator[str]:
    """Say whose word is missing."""
    from kubemtu.core.text.wording import names

    if who := answer.unmeasured_nodes:
        verb = "does" if len(who) == 1 else "do"
        yield f"node {names(who)} {verb} not report: measured from the other end, and nothing is called right there"


def _others(answer: "PathReport") -> Iterator[str]:
    """Yield the other paths: the worst by their sentences, those that are in order by their names."""
    from kubemtu.core.text.wording import names

    bad = [one for one in answer.other_paths if one.is_mtu != "no" or one.kind != "ok"]
    for one in bad[:OTHERS_MOST]:
        yield f"also: {one.sentence}"
    if rest := bad[OTHERS_MOST:]:
        yield f"and {len(rest)} more that are not in order: {names(map(_path, rest), NAMES_MOST)}; -o json tells of all"
    if fine := [one for one in answer.other_paths if one not in bad]:
        yield f"no MTU stands in the way {names(map(_path, fine), NAMES_MOST)}"


def _path(diagnosis: "Diagnosis") -> str:
    return f"from {diagnosis.source} to {diagnosis.destination}" + (
        f" over {diagnosis.family}" if diagnosis.family else ""
    )


def _table(diagnosis: "Diagnosis", columns: int | None) -> Iterator[str]:
    """Yield a line for each part, two where the terminal is narrow; the whole path by another name is left out."""
    from kubemtu.cli.wrapping import aligned

    rows: dict[tuple[str, str], tuple[str, str, str, str]] = {}
    for leg in diagnosis.legs:
        rows.setdefault((leg.source, leg.destination), _row(leg))
    if not rows:
        return
    made = aligned(list(rows.values()), indent=2)
    if columns is None or len(made[0]) <= columns:
        yield from map(str.rstrip, made)
        return
    below = aligned([row[2:] for row in rows.values()], indent=4)
    for (part, ends, _, _), line in zip(rows.values(), below, strict=True):
        yield from wrapping.wrapped(f"{part}, {ends}", columns, indent=2, hang=4)
        yield line.rstrip()


def _row(leg: "Leg") -> tuple[str, str, str, str]:
    """Return what a part is, between whom, what it carries, and what that means; both directions where they differ."""
    from kubemtu.core.path.wording import short

    forth, back = leg.forward or leg.verdict, leg.backward
    both = " ⇄ " if back is not None else " ▸ "
    carried, means = _carried(forth), short(forth.kind, leg.source, leg.destination)
    if back is not None and (back.mtu, back.kind) != (forth.mtu, forth.kind):
        means += f", back {short(back.kind, leg.destination, leg.source)}"
        carried = f"{carried}, back {_carried(back)}"
    return ROLES[leg.role], f"{leg.source}{both}{leg.destination}", carried, means


def _carried(verdict: "Verdict") -> str:
    if verdict.mtu > verdict.expected > 0:  # more is carried there than is sent by the routes to elsewhere
        return str(verdict.mtu)
    return f"{verdict.mtu} of {verdict.expected}" if verdict.mtu else "nothing"

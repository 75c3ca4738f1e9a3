"""`kubemtu probe`: the exact path MTU between two ends of a cluster, or between all of them."""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from kubemtu.cli import combined, kubeflags, numbers, output, terminal, wrapping
from kubemtu.core import errors

if TYPE_CHECKING:
    from kubemtu.flows.measure.mesh import MeshLayer, MeshReport
    from kubemtu.flows.measure.why import PathReport

OF_ALL = "{} is of the measurement between all, and two ends are named: leave it out"
MATRIX_MOST = 24  # members that are drawn
NAME_MOST = 24
CORNER = "from \\ to"
CELL = 6
WIDE = 200  # columns, where nobody looks


@click.command()
@click.argument("here", metavar="[A", required=False)
@click.argument("there", metavar="B]", required=False)
@click.option(
    "--mesh",
    "whole",
    is_flag=True,
    cls=combined.Option,
    beside={"here": "--mesh measures everybody; name no ends beside it"},
    help="Everybody to everybody; the default when no end is named.",
)
@click.option(
    "--nodes",
    "only_nodes",
    is_flag=True,
    cls=combined.Option,
    beside={"only_pods": "give --nodes or --pods, or neither, which is both", "here": OF_ALL.format("--nodes")},
    help="Only between the nodes themselves.",
)
@click.option(
    "--pods",
    "only_pods",
    is_flag=True,
    cls=combined.Option,
    beside={"here": OF_ALL.format("--pods")},
    help="Only between the probe pods.",
)
@click.option(
    "--expected",
    cls=combined.Option,
    beside={"here": OF_ALL.format("--expected")},
    type=click.IntRange(100, 65535),
    help="What should arrive, in bytes.  [the smallest MTU of the interfaces]",
)
@click.option(
    "--max-pps",
    cls=combined.Option,
    beside={"here": OF_ALL.format("--max-pps")},
    default=1000.0,
    show_default=True,
    type=numbers.FiniteRange(1),
    help="Packets a second from each node at most; agents send no more than 5000.",
)
@click.option(
    "--round",
    "number",
    default=0,
    type=click.IntRange(0),
    cls=combined.Option,
    beside={"here": OF_ALL.format("--round")},
    help="In large clusters: which peers, this time.",
)
@click.option(
    "-n",
    "--namespace",
    metavar="NAME",
    cls=combined.Option,
    needs={"here": "--namespace is of the ends A and B: name them, or leave it out"},
    help="Namespace of pods and Services whose name says none.",
)
@output.output_option
@kubeflags.kube_flags
def probe(
    flags: kubeflags.KubeFlags,
    here: str | None,
    there: str | None,
    whole: bool,
    only_nodes: bool,
    only_pods: bool,
    expected: int | None,
    max_pps: float,
    number: int,
    namespace: str | None,
    output_format: str,
) -> int:
    """Measure the exact path MTU from A to B and back, or between all nodes and all probe pods.

    One full-size packet a pair where all is well; what does not carry it is searched to the byte. Above 1,000 nodes
    each measures some peers, and what that finds is said. A node that does not report is measured by the others.
    Changes nothing. Ends with 1 when something is not as it should be or was not measured, a missing layer too, and
    with 3 when there is nobody to measure between or nothing is answered. The JSON of two ends is that of `kubemtu
    why`.
    """
    if here is not None and there is None:
        raise errors.UsageError(f"name the other end too: `kubemtu probe {here} B`; `kubemtu why {here}` tries several")
    if here is not None and there is not None:
        answer = asyncio.run(_pair(flags, here, there, namespace))
        return _tell_pair(answer, output_format)
    layers = ("nodes",) if only_nodes else ("pods",) if only_pods else ("nodes", "pods")
    report = asyncio.run(_mesh(flags, layers, expected, max_pps, number, quiet=output_format != "text"))
    if output_format == "text":
        for line in lines(report, wrapping.width()):
            terminal.echo(line)
    else:
        output.emit(report, output_format)
    return errors.FINE if report.ok else errors.FINDINGS


async def _pair(flags: kubeflags.KubeFlags, here: str, there: str, namespace: str | None) -> "PathReport":
    from kubemtu.cli import planning
    from kubemtu.flows.measure import why

    async with planning.connected(flags) as api:
        return await why.why(api, here, there, namespace=namespace or api.connection.namespace, parts=False)


def _tell_pair(answer: "PathReport", output_format: str) -> int:
    if output_format == "text":
        for line in pair_lines(answer, wrapping.width()):
            terminal.echo(line)
    else:
        output.emit(answer, output_format)
    if all(one.kind == "unreachable" for one in answer.all):
        return errors.Unreachable.exit_code
    fine = all(leg.verdict.ok for one in answer.all for leg in one.legs if leg.role != "return")
    told = not answer.unmeasured_nodes and all(one.is_mtu == "no" for one in answer.all)
    return errors.FINE if fine and told else errors.FINDINGS


def pair_lines(answer: "PathReport", columns: int | None) -> Iterator[str]:
    """Return what was measured between two ends, for people: each family and each endpoint of a Service by itself."""
    from kubemtu.cli import why
    from kubemtu.core.path.wording import short

    for found in answer.all:
        shown_lines: set[tuple[str, str]] = set()
        for leg in found.legs:
            over = f" over {found.family}" if found.family else ""
            for here, there, verdict in (
                (leg.source, leg.destination, leg.forward),
                (leg.destination, leg.source, leg.backward),
            ):
                if verdict is None or (here, there) in shown_lines:
                    continue
                if verdict.kind != "unreachable":
                    shown_lines.add((here, there))
                colour: dict[str, str | bool] = {"fg": "green" if verdict.ok else "red", "bold": True}
                sign = "✗" if not verdict.ok else "?" if answer.unmeasured_nodes else "✓"
                head = f"{sign} {here} ▸ {there}{over}: {short(verdict.kind, here, there)}; {verdict.sentence}"
                yield from wrapping.wrapped(head, columns, hang=2, style=colour)
                for fact in () if verdict.ok else verdict.evidence:
                    yield from wrapping.wrapped(f"· {fact}", columns, indent=2, hang=2)
            for note in leg.result.notes:
                yield from wrapping.wrapped(f"· {note}", columns, indent=2, hang=2)
            result = leg.result
            took, round_trip = result.duration_seconds * 1000, result.round_trip_seconds * 1000
            yield f"  over {result.protocol}, {took:.1f} ms, round trip {round_trip:.2f} ms"
    for trouble in (*why.unmeasured(answer), *answer.notes, *answer.errors):
        yield from wrapping.wrapped(f"! {trouble}", columns, hang=2, style={"fg": "yellow"})


async def _mesh(
    flags: kubeflags.KubeFlags,
    layers: tuple[str, ...],
    expected: int | None,
    pps: float,
    number: int,
    *,
    quiet: bool,
) -> "MeshReport":
    from kubemtu.cli import planning
    from kubemtu.flows import observe
    from kubemtu.flows.measure import mesh

    async with planning.connected(flags) as api:
        snapshot = await observe.observe(api)
        with telling(quiet=quiet) as tell:
            return await mesh.run(
                api, snapshot, layers=layers, expected=expected, pps=pps, round_number=number, tell=tell
            )


@contextlib.contextmanager
def telling(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Somebody to tell how far a round is: a line on stderr that is gone at the end, where a terminal reads it."""
    live = not quiet and sys.stderr.isatty()

    def tell(text: str) -> None:
        if live:
            terminal.redraw(text)

    try:
        yield tell
    finally:
        tell("")


def lines(report: "MeshReport", columns: int | None) -> Iterator[str]:
    """Return a report for people; `columns` None wraps nothing."""
    from kubemtu.flows.measure import mesh

    for layer in report.layers:
        yield from _layer(layer, columns)
        yield ""
    for kind in report.absent_layers:
        yield from wrapping.wrapped(f"? {mesh.ABSENT[kind]}", columns, hang=2, style={"fg": "yellow", "bold": True})
    if report.unmeasured_nodes:
        yield from wrapping.wrapped(f"? {_unmeasured(report)}", columns, hang=2, style={"fg": "yellow", "bold": True})
    for note in report.notes:
        yield from wrapping.wrapped(f"! {note}", columns, hang=2, style={"fg": "yellow"})


def _unmeasured(report: "MeshReport") -> str:
    from kubemtu.core.text.wording import names

    alone = len(report.unmeasured_nodes) == 1
    verbs = ("does", "was") if alone else ("do", "were")
    who = f"node {names(report.unmeasured_nodes)}"
    return f"{who} {verbs[0]} not report, or {verbs[1]} not measured in every layer: nothing is called right there"


def _layer(layer: "MeshLayer", columns: int | None) -> Iterator[str]:
    from kubemtu.core.text.wording import count, names, verb

    summary = layer.summary
    sign, colour = ("✓", "green") if layer.ok else ("?", "yellow") if layer.unseen else ("✗", "red")
    head = f"{sign} {layer.name}: {summary.ok} of {summary.measured} ordered pairs carry {layer.expected} bytes"
    yield terminal.style(head, fg=colour, bold=True)
    for fault in layer.faults:
        yield from wrapping.wrapped(fault.sentence, columns, indent=2, hang=2, style={"bold": True})
        pairs = f"{count(fault.pairs, 'pair')}, " if fault.pairs else ""
        yield from wrapping.wrapped(f"{pairs}{fault.confidence} → {fault.advice}", columns, indent=4, hang=2)
    if layer.fragmenting_nodes:
        who = (
            f"{names(layer.fragmenting_nodes)} {verb(len(layer.fragmenting_nodes), 'cut')} the packets that the "
            "tunnel makes of these"
        )
        yield from wrapping.wrapped(
            f"{who}: everything arrives, in pieces, and slowly", columns, indent=2, hang=2, style={"bold": True}
        )
        yield from wrapping.wrapped("→ `kubemtu plan` shows the MTU that travels whole", columns, indent=4, hang=2)
    members = layer.mesh.members
    if layer.faults and len(members) <= MATRIX_MOST:
        yield ""
        yield from _matrix(layer, columns or WIDE)
    if layer.plan.peers_per_member < len(members) - 1:
        yield from wrapping.wrapped(layer.plan.sentence, columns, indent=2)
    yield f"  {count(summary.packets, 'packet')}, {layer.duration_seconds:.2f} s"


def _matrix(layer: "MeshLayer", width: int) -> Iterator[str]:
    """Return a matrix whose rows send and whose columns, numbered as the rows, receive; a number: less arrives."""
    from kubemtu.core.mesh import rounds

    members = layer.mesh.members
    rows = [f"{place:2} {member.name}" for place, member in enumerate(members, 1)]
    label = min(max(map(len, (CORNER, *rows))), NAME_MOST)
    if 2 + label + CELL * len(members) > width:
        yield f"  (a terminal of {2 + label + CELL * len(members)} columns shows the matrix; -o json has all of it)"
        return
    yield "  " + CORNER.ljust(label) + "".join(f"{place:{CELL}}" for place in range(1, len(members) + 1))
    for sender, row in enumerate(rows):
        cells = [_cell(rounds.cell(layer.mesh, sender, peer), own=sender == peer) for peer in range(len(members))]
        yield "  " + row[:label].ljust(label) + "".join(cell.rjust(CELL) for cell in cells)


def _cell(found: tuple[str, int] | None, *, own: bool) -> str:
    if own:
        return "·"
    if found is None:
        return "?"
    kind, mtu = found
    return {"ok": "ok", "unreachable": "–", "loss": "loss", "overloaded": "busy"}.get(kind) or f"{mtu}"

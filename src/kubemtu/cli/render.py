"""The human face of reports and plans: text for any width, colour that click takes away where no terminal reads."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from kubemtu.cli import terminal
from kubemtu.core import codes, diff, plan, printable, verdict
from kubemtu.core.findings import Finding, Severity
from kubemtu.core.topology import Layer, Topology
from kubemtu.core.verdict import NodeLine, Report, Verdict
from kubemtu.core.words import count, names

SIGN: dict[Verdict, tuple[str, str]] = {
    "healthy": ("✓", "green"),
    "broken": ("✗", "red"),
    "suboptimal": ("!", "yellow"),
    "incomplete": ("?", "yellow"),
}
COLOUR: dict[Severity, str] = {"error": "red", "warning": "yellow", "note": "cyan"}
ALSO_MOST = 5
LINES_MOST = 20  # nodes that get a line each


def width() -> int | None:
    """The columns to wrap at; None where no terminal reads, so that a line stays one line for grep."""
    return max(shutil.get_terminal_size().columns, terminal.NARROWEST) if sys.stdout.isatty() else None


def report(found: Report, columns: int | None) -> str:
    """A report as text: the sentence first, then what it rests on. `columns` None wraps nothing."""
    sign, colour = SIGN[found.verdict]
    parts = ["\n".join(wrapped(f"{sign} {found.summary}", columns, style={"fg": colour, "bold": True}, hang=2))]
    about = " · ".join(part for part in (found.cni, found.variant, found.encapsulation) if part)
    parts.append("\n".join((*wrapped(about, columns, indent=2), *picture(found.layers, columns))))
    if found.nodes:
        parts.append(table(found.nodes))
    parts += findings(found.findings, columns)
    if found.proven:
        parts.append("\n".join(("Measured:", *bullets(found.proven, columns))))
    if found.missing:
        parts.append("\n".join(("Not read:", *bullets(_untold(found), columns))))
    return "\n\n".join(parts)


def _untold(found: Report) -> Iterator[str]:
    """What could not be read; why is left out where a finding says it already."""
    told = {one.place: one.message for one in found.findings}
    for entry in found.missing:
        place, _, why = entry.partition(": ")
        yield f"{place} (see above)" if why and why.rstrip(".") in told.get(place, "") else entry


def picture(layers: Sequence[Layer], columns: int | None) -> Iterator[str]:
    """The path of a packet as one line: what the NIC has, what each header takes, what is left for a pod."""
    if layers:
        yield from wrapped(" ▸ ".join(f"{layer.name} {layer.size}" for layer in layers), columns, indent=2)


def table(nodes: Sequence[NodeLine]) -> str:
    """One line a node (of many, a line for all alike): NIC and tunnel, what a new pod gets, what running ones have."""
    head = ("NODE", "NIC", "TUNNEL", "NEW POD", "PODS", "THEY HAVE")
    alike: dict[tuple[str, ...], list[NodeLine]] = {}
    for node in nodes:
        shown = (
            f"{node.nic} {node.nic_mtu or ''}".strip() or "-",
            f"{node.tunnel} {node.tunnel_mtu}" if node.tunnel else "-",
            str(node.conflist_mtu or "-"),
            _ends(node),
        )
        alike.setdefault(shown if len(nodes) > LINES_MOST else (*shown, node.name), []).append(node)
    rows = [(names(node.name for node in same), *shown[:3], _seen(same), shown[3]) for shown, same in alike.items()]
    rows = [tuple(map(printable.one_line, row)) for row in rows]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [
        "  " + "  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)) for row in (head, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)


def _seen(same: Sequence[NodeLine]) -> str:
    """How many pods were seen, of how many."""
    found, unseen = sum(node.pods for node in same), sum(node.unseen for node in same)
    return f"{found} of {found + unseen}" if unseen else str(found)


def _ends(node: NodeLine) -> str:
    inside, outside = (", ".join(str(mtu) for mtu in mtus) for mtus in (node.pod_mtus, node.host_mtus))
    return (inside or "-") if inside == outside else f"{inside} (host ends {outside})"


def findings(found: Iterable[Finding], columns: int | None) -> Iterator[str]:
    """Each finding as a paragraph; one that says much the same of more places says it once."""
    groups: dict[tuple[str, Severity], list[Finding]] = {}
    for finding in found:
        groups.setdefault((finding.code, finding.severity), []).append(finding)
    for (code, severity), members in groups.items():
        for same in _alike(members):
            first = same[0]
            head, *more = wrapped(f"{code} {severity}  {first.place}", columns, hang=4)
            sign = f"{code} {severity}"
            lines = [terminal.style(sign, fg=COLOUR[severity], bold=True) + head.removeprefix(sign), *more]
            lines += wrapped(first.message, columns, indent=4)
            lines += wrapped(f"→ {first.remedy}", columns, indent=4, hang=2)
            others = [f"{other.place}: {other.message.partition('. ')[0].rstrip('.')}" for other in same[1:]]
            lines += bullets(others[:ALSO_MOST], columns, indent=4)
            if len(others) > ALSO_MOST:
                lines += wrapped(f"and {len(others) - ALSO_MOST} more such: -o json lists them", columns, indent=4)
            yield "\n".join(lines)


def _alike(members: list[Finding]) -> list[list[Finding]]:
    """Group findings that differ only in names and counts: those with the same remedy say the same thing."""
    groups: dict[str, list[Finding]] = {}
    for member in members:
        groups.setdefault(member.remedy, []).append(member)
    return list(groups.values())


def whole_plan(made: plan.Plan, topology: Topology, columns: int | None) -> str:
    """A plan as text: every edit as a diff, the steps in their order, what they touch, and the way back."""
    if not made.steps:
        return "\n".join(nothing(made, topology, columns))
    was = f"from {made.current} " if made.current not in {None, made.target} else ""
    parts = [terminal.style(f"Pods of {made.cni}: {was}to {made.target}", bold=True)]
    parts.append("\n".join(picture(topology.layers, columns)))
    parts += [coloured(diff.unified(step)) for step in made.steps if isinstance(step, plan.EditValue)]
    parts.append("\n".join(("Steps", *numbered(diff.steps(made), columns))))
    parts.append("\n".join(("Touches", *bullets(touched(made, topology), columns))))
    if made.remains:
        parts.append("\n".join(("Stays as it is", *bullets(made.remains, columns))))
    if made.warnings:
        parts.append("\n".join(("Mind", *bullets(made.warnings, columns))))
    parts.append("\n".join(("Way back (`kubemtu rollback`)", *numbered(diff.back(made), columns))))
    return "\n\n".join(part for part in parts if part)


def nothing(made: plan.Plan, topology: Topology, columns: int | None) -> Iterator[str]:
    """Why a plan is empty, and what is wrong all the same: an MTU is not the only thing that can be."""
    said = f"every pod has {made.target}, and new ones get it"
    unseen = [f"{count(len(node.unseen), 'pod')} of {node.name}" for node in topology.nodes if node.unseen]
    unseen += [f"node {name}" for name in topology.silent] if topology.nodes and not topology.offline else []
    if not topology.nodes:
        said = f"new pods get {made.target}; what running ones have was not seen"
    elif unseen:
        said = f"every pod that was seen has {made.target}, and new ones there get it; not seen: {names(unseen)}"
    found = verdict.judge(topology)
    under_way = [finding for finding in found if finding.code == codes.MTU128.code]
    others = [finding for finding in found if finding.severity != "note" and finding not in under_way]
    sign = "!" if others or under_way else "?" if unseen or not topology.nodes else "✓"
    nothing_else = " else" if under_way else ""
    yield from wrapped(f"{sign} Nothing{nothing_else} to do: {said}.", columns, hang=2)
    for one in under_way:
        yield from wrapped(f"{one.place} has not ended. {one.remedy}", columns)
    if others:
        yield from wrapped("What `kubemtu check` finds besides is not for a plan to mend:", columns)
        yield from bullets((f"{other.code} {other.severity}  {other.place}" for other in others), columns)


def touched(made: plan.Plan, topology: Topology) -> Iterator[str]:
    """What a plan touches, a sentence each."""
    reach = diff.reach(made, topology)
    if any(isinstance(step, plan.Rollout) for step in made.steps):
        if reach.restarts:
            listed = names((f"{pod} ({node})" for node, pod in sorted(reach.restarts.items())), LINES_MOST)
            yield f"{count(len(reach.restarts), 'pod')} of the CNI restart: {listed}"
        else:
            yield "the CNI's pods restart, one node after the other"
    if reach.touched:
        listed = names((f"{node} {pods}" for node, pods in sorted(reach.touched.items())), LINES_MOST)
        yield f"{count(sum(reach.touched.values()), 'running pod')} changed in place, none restarted: {listed}"
    if not reach.touched:
        yield "no running pod"


def coloured(text: str) -> str:
    """A unified diff as git shows it."""
    colours = {"+": "green", "-": "red", "@": "cyan"}
    lines = []
    for line in text.splitlines():
        colour = colours.get(line[:1])
        head = line.startswith(("---", "+++"))
        lines.append(terminal.style(line, bold=True) if head else terminal.style(line, fg=colour) if colour else line)
    return "\n".join(lines)


def numbered(items: Iterable[str], columns: int | None) -> Iterator[str]:
    """An ordered list."""
    for number, item in enumerate(items, 1):
        yield from wrapped(f"{number}. {item}", columns, indent=2, hang=3)


def bullets(items: Iterable[str], columns: int | None, indent: int = 2) -> Iterator[str]:
    """An unordered list."""
    for item in items:
        yield from wrapped(f"- {item}", columns, indent=indent, hang=2)


def wrapped(
    text: str, columns: int | None, *, indent: int = 0, hang: int = 0, style: dict[str, str | bool] | None = None
) -> list[str]:
    """Break text into lines of at most `columns`; continuation lines hang `hang` deeper. Long words stay whole."""
    if columns is None:
        lines = [" " * indent + text.replace("\n", " ")]  # a line is a line, whoever wrote it
    else:
        lines = textwrap.wrap(
            text,
            columns,
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent + hang),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return [terminal.style(line, **style) for line in lines] if style else lines  # type: ignore[arg-type]  # click types each keyword

"""The human face of reports and plans: text for any width, colour that click takes away where no terminal reads."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from kubemtu.cli import nodetable, other_networks, terminal
from kubemtu.cli.wrapping import bullets, numbered, wrapped
from kubemtu.core import codes
from kubemtu.core.change import plan
from kubemtu.core.cluster.topology import Layer, Topology
from kubemtu.core.codes import Finding, Severity
from kubemtu.core.planning import diff
from kubemtu.core.rules import missing, runtime
from kubemtu.core.rules.report import Report
from kubemtu.core.rules.verdict import ClusterVerdict
from kubemtu.core.text.wording import by_node, count, names

SIGN: dict[ClusterVerdict, tuple[str, str]] = {
    "healthy": ("✓", "green"),
    "broken": ("✗", "red"),
    "suboptimal": ("!", "yellow"),
    "incomplete": ("?", "yellow"),
}
COLOUR: dict[Severity, str] = {"error": "red", "warning": "yellow", "note": "cyan"}
ALSO_MOST = 5
GROUPS_MOST = 5  # findings of one code that are told in full
LISTED_MOST = 20  # things that were not read, and nodes and pods that a plan touches
NUMBER = re.compile(r"\d+")


def report(report: Report, columns: int | None, *, whole: bool = False) -> str:
    """Return a report as text: the sentence first, then what it rests on. `columns` None wraps nothing.

    Of what is alike in many places so much is told as a person reads; `whole`: everything.
    """
    sign, colour = SIGN[report.verdict]
    parts = ["\n".join(wrapped(f"{sign} {report.summary}", columns, style={"fg": colour, "bold": True}, hang=2))]
    parts.append("\n".join((*wrapped(report.about, columns, indent=2), *picture(report.layers, columns))))
    if report.nodes:
        parts.append("\n".join(nodetable.lines(report.nodes, columns, whole=whole)))
    if others := list(other_networks.lines(report, columns, whole=whole)):
        parts.append("\n".join(others))
    parts += findings(report.findings, columns, whole=whole)
    if report.proven:
        parts.append("\n".join(("Measured:", *bullets(report.proven, columns))))
    if report.missing:
        parts.append("\n".join(("Not read:", *bullets(_untold(report, whole=whole), columns))))
    if report.unused:
        parts.append("\n".join(("Not used:", *bullets(_shortly(report.unused, whole=whole), columns))))
    return "\n\n".join(parts)


def _untold(report: Report, *, whole: bool) -> Iterator[str]:
    """List what could not be read; the reason is said once for many that are alike, and not where a finding says it.

    Places are put together, and not what is alike of one place: those are files of one node, each with its name.
    """
    explained = {one.place: one.message for one in report.findings}
    alike: dict[tuple[str, str, int], list[str]] = {}
    met: Counter[tuple[str, str]] = Counter()
    for number, entry in enumerate(report.missing):
        place, _, why = entry.partition(": ")
        said = NUMBER.sub("#", why)
        met[place, said] += 1
        kind = (place.partition(" ")[0], said, met[place, said])
        alike.setdefault(("", "", number) if whole else kind, []).append(entry)
    groups = list(alike.values())
    shown = groups if whole else groups[:LISTED_MOST]
    for same in shown:
        place, _, why = same[0].partition(": ")
        seen = bool(why) and why.rstrip(".") in explained.get(place, "")
        place = _together([entry.partition(": ")[0] for entry in same])
        yield f"{place} (see above)" if seen else f"{place}: {why}" if why else place
    if left := groups[len(shown) :]:
        yield f"and {sum(map(len, left)):,} more: -v lists them"


def _shortly(listed: Sequence[str], *, whole: bool) -> Iterator[str]:
    """Yield the first of many sentences, and how many more there are."""
    yield from listed if whole else listed[:LISTED_MOST]
    if not whole and len(listed) > LISTED_MOST:
        yield f"and {len(listed) - LISTED_MOST:,} more: -v lists them"


def _together(places: Sequence[str]) -> str:
    """Name places of one kind in a few words: "node n1", "nodes n1 and n2", "701 nodes like n1"."""
    kind = places[0].partition(" ")[0]
    if len(places) == 1 or any(not place.startswith(f"{kind} ") for place in places):
        return places[0] if len(places) == 1 else f"{places[0]} and {len(places) - 1:,} more"
    named = nodetable.like((place.partition(" ")[2] for place in places), f"{kind}s")
    return named if len(places) > nodetable.NAMES_MOST else f"{kind}s {named}"


def picture(layers: Sequence[Layer], columns: int | None) -> Iterator[str]:
    """Return the path of a packet as one line: what the NIC has, what each header takes, what is left for a pod."""
    if layers:
        yield from wrapped(" ▸ ".join(f"{layer.name} {layer.size}" for layer in layers), columns, indent=2)


def findings(findings: Iterable[Finding], columns: int | None, *, whole: bool = False) -> Iterator[str]:
    """Return each finding as a paragraph; one that says much the same of more places says it once.

    `whole`: each of those places is named, and not the first few alone.
    """
    groups: dict[tuple[str, Severity], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.code, finding.severity), []).append(finding)
    for (code, severity), members in groups.items():
        alike = _alike(members)
        for same in alike if whole else alike[:GROUPS_MOST]:
            first = same[0]
            head, *more = wrapped(f"{code} {severity}  {first.place}", columns, hang=4)
            sign = f"{code} {severity}"
            lines = [terminal.style(sign, fg=COLOUR[severity], bold=True) + head.removeprefix(sign), *more]
            lines += wrapped(first.message, columns, indent=4)
            lines += wrapped(f"→ {first.remedy}", columns, indent=4, hang=2)
            others = [f"{other.place}: {other.message.partition('. ')[0].rstrip('.')}" for other in same[1:]]
            most = len(others) if whole else ALSO_MOST
            lines += bullets(others[:most], columns, indent=4)
            if len(others) > most:
                lines += wrapped(f"and {len(others) - most:,} more such: -v lists them", columns, indent=4)
            yield "\n".join(lines)
        if not whole and len(alike) > GROUPS_MOST:
            left = sum(map(len, alike[GROUPS_MOST:]))
            yield "\n".join(wrapped(f"{code} {severity}  {left:,} more: -v lists them", columns, hang=4))


def _alike(members: list[Finding]) -> list[list[Finding]]:
    """Group findings that differ only in names and counts: those with the same remedy say the same thing."""
    groups: dict[str, list[Finding]] = {}
    for member in members:
        groups.setdefault(member.remedy, []).append(member)
    return list(groups.values())


def whole_plan(planned: plan.Plan, topology: Topology, columns: int | None) -> str:
    """Return a plan as text: every edit as a diff, the steps in their order, what they touch, and the way back."""
    parts = ["\n".join(wrapped(_heading(planned, topology), columns, style={"bold": True}, hang=2))]
    parts.append("\n".join(picture(topology.layers, columns)))
    parts += [coloured(diff.unified(step)) for step in planned.steps if isinstance(step, plan.EditValue)]
    if planned.pools:
        parts.append("\n".join(("By pool of nodes", *bullets(pools(planned.pools), columns))))
    parts.append("\n".join(("Steps", *numbered(diff.steps(planned), columns))))
    parts.append("\n".join(("Touches", *bullets(touched(planned, topology), columns))))
    if planned.remains:
        parts.append("\n".join(("Stays as it is", *bullets(planned.remains, columns))))
    if planned.warnings:
        parts.append("\n".join(("Mind", *bullets(planned.warnings, columns))))
    way_back = "Way back" if planned.of_files else "Way back (`kubemtu rollback`)"
    parts.append("\n".join((way_back, *numbered(diff.back(planned), columns))))
    return "\n\n".join(part for part in parts if part)


def _heading(planned: plan.Plan, topology: Topology) -> str:
    mtus = planned.pod_mtus
    was = f"from {planned.current} " if planned.current is not None and mtus != (planned.current,) else ""
    return f"Pods of {topology.state.said}: {was}to {by_node(mtus)}"


def pools(listed: Iterable[plan.PoolPlan]) -> Iterator[str]:
    """Return what pods of each pool of nodes send at most, a sentence each."""
    for one in listed:
        nic = f"NIC {one.nic_mtu}" if one.nic_mtu is not None else "NIC not seen"
        nic += f", path {one.path_mtu} {one.path_by}" if one.path_mtu is not None else ""
        whose = f"{one.pool} ({names(one.nodes)}, {nic})" if one.pool else f"{names(one.nodes)} ({nic})"
        less: dict[int, list[str]] = {}
        for other, mtu in one.towards.items():
            less.setdefault(mtu, []).append(other)
        said = [f"{one.pod_mtu}", *(f"{mtu} towards pods of {names(others)}" for mtu, others in less.items())]
        said += [f"{one.default_route_mtu} out of the cluster"] if one.default_route_mtu is not None else []
        yield f"{whose}: pods send at most {', '.join(said)}"


def nothing(planned: plan.Plan, topology: Topology, findings: Sequence[Finding], columns: int | None) -> Iterator[str]:
    """Say why a plan is empty, and which findings there are all the same: an MTU is not the only thing to be wrong."""
    said = f"every pod has {planned.target}, and new ones get it"
    if topology.held_by:
        said = (
            f"every pod has what MTUMigration {topology.held_by}, which is in force, gives it, {planned.target} at most"
        )
    unseen = [
        *missing.unseen_pods(topology),
        *missing.own_ends(topology),
        *(f"node {name}" for name in missing.nodes(topology)),
    ]
    unseen += [f"node {node.name} (Windows)" for node in topology.windows]
    if not topology.nodes:
        said = f"new pods get {planned.target}; what running ones have was not seen"
    elif unseen:
        said = (
            f"{said}; not seen: {names(unseen)}"
            if topology.held_by
            else f"every pod that was seen has {planned.target}, and new ones there get it; not seen: {names(unseen)}"
        )
    if apart := runtime.apart(topology, planned.target):
        said += (
            f"; but on {names(apart)} the runtime takes another file than the CNI's own, and new pods are made by that"
        )
    under_way = [finding for finding in findings if finding.code == codes.MTU128.code]
    others = [finding for finding in findings if finding.severity != "note" and finding not in under_way]
    sign = "!" if others or under_way else "?" if unseen or apart or not topology.nodes else "✓"
    nothing_else = " else" if under_way else ""
    yield from wrapped(f"{sign} Nothing{nothing_else} to do: {said}.", columns, hang=2)
    for one in under_way:
        yield from wrapped(f"{one.place} has not ended. {one.remedy}", columns)
    if others:
        yield from wrapped("What `kubemtu check` finds besides is not for a plan to mend:", columns)
        yield from bullets((f"{other.code} {other.severity}  {other.place}" for other in others), columns)


def touched(planned: plan.Plan, topology: Topology) -> Iterator[str]:
    """Return what a plan touches, a sentence each."""
    reach = diff.reach(planned, topology)
    if any(isinstance(step, plan.Rollout) for step in planned.steps):
        if reach.restarts:
            listed = names((f"{pod} ({node})" for node, pod in sorted(reach.restarts.items())), LISTED_MOST)
            yield f"{count(len(reach.restarts), 'pod')} of the CNI restart: {listed}"
        else:
            yield "the CNI's pods restart, one node after the other"
    if reach.touched:
        listed = names((f"{node} {pods}" for node, pods in sorted(reach.touched.items())), LISTED_MOST)
        yield f"{count(sum(reach.touched.values()), 'running pod')} changed in place, none restarted: {listed}"
    if not reach.touched:
        yield "no running pod"


def coloured(text: str) -> str:
    """Return a unified diff as git shows it."""
    colours = {"+": "green", "-": "red", "@": "cyan"}
    lines = []
    for line in text.splitlines():
        colour = colours.get(line[:1])
        head = line.startswith(("---", "+++"))
        lines.append(terminal.style(line, bold=True) if head else terminal.style(line, fg=colour) if colour else line)
    return "\n".join(lines)

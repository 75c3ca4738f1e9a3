"""`kubemtu why-not`: how far the configured MTU has come on a node, and where it stopped."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kubemtu.cli import check, kubeflags, output, sourceflags, terminal, wrapping
from kubemtu.core import errors
from kubemtu.core.text import printable
from kubemtu.core.text.wording import names, verb

if TYPE_CHECKING:
    from kubemtu.core.rules.trail import Trail, Trails, Waypoint
    from kubemtu.core.snapshot import Snapshot

SIGNS = {"same": "✓", "differs": "✗", "unknown": "?"}
COLOURS = {"same": "green", "differs": "red", "unknown": "yellow"}
HEAD = ("", "WHERE", "WHICH", "HAS", "SHOULD")
IN_CLUSTER = "--exec looks at nodes by commands in pods that run there, or run the kubemtu agents"
IN_FILES = (
    "add to the files what a node prints (`ip -d link`, `ip route`) and a copy of its /etc/cni/net.d, or give instead"
    " what `kubemtu check --exec --save FILE` writes in the cluster"
)
UNSEEN: dict[str, str | bool] = {"fg": COLOURS["unknown"], "bold": True}
NODES_MOST = 20  # that are named without -o json


@click.command("why-not")
@click.argument("node", required=False)
@check.FROM
@check.NIC_MTU
@sourceflags.source_flags
@output.output_option
@kubeflags.kube_flags
def why_not(
    flags: kubeflags.KubeFlags,
    looking: sourceflags.SourceFlags,
    node: str | None,
    source: Path | None,
    nic_mtu: int | None,
    output_format: str,
) -> int:
    """Follow the configured MTU on NODE from its key to the pods, and say where it stopped and why.

    For "I changed it, and nothing happened". Without NODE, where it stopped on each. Reads only. Exits with 0 when it
    has come all the way, with 1 when it has not, or when that was not seen.
    """
    snapshot = check.read(flags, source, looking)
    remedy = IN_FILES if source is not None else IN_CLUSTER  # what was saved in a cluster is a file, too
    found = _trails(snapshot, node, nic_mtu, remedy)
    if output_format != "text":
        output.emit(found, output_format)
    else:
        for line in (
            _whole(found.nodes[0], wrapping.width()) if node is not None else _each(found, wrapping.width(), remedy)
        ):
            terminal.echo(line)
    return errors.FINE if found.arrived else errors.FINDINGS


def _trails(snapshot: "Snapshot", node: str | None, nic_mtu: int | None, remedy: str) -> "Trails":
    """Return the trail of that node, or of all; `remedy` says what would show a node that was not observed.

    Raises UsageError for a node that is not there, Unreachable for one that was not observed.
    """
    from kubemtu.core.rules import missing, report, trail, windows
    from kubemtu.flows import network

    topology = network.model(snapshot, nic_mtu)
    findings = report.judge(topology)
    found = [trail.of(topology, each, findings) for each in topology.nodes if node in {None, each.name}]
    if node is not None and not found:
        known = names(each.name for each in topology.nodes)
        if any(each.name == node for each in topology.windows):
            raise errors.UsageError(f"node {node} runs Windows, for which there is no agent; `kubemtu check` says why")
        if node in topology.silent:
            raise errors.Unreachable(f"node {node} was not observed: {remedy}")
        raise errors.UsageError(
            f"there is no node {node[:80]!r}" + (f"; observed were {known}" if known else ", and none was observed")
        )
    if node is not None:
        return trail.Trails(nodes=tuple(found))
    followed = {each.node for each in found}
    missed = tuple(name for name in missing.nodes(topology) if name not in followed)
    return trail.Trails(nodes=tuple(found), unseen=missed, windows=windows.silent(topology))


def _whole(trail: "Trail", columns: int | None) -> Iterator[str]:
    yield from _headline(trail, columns)
    yield ""
    rows = [_row(each) for each in trail.waypoints]
    made = wrapping.aligned((HEAD, *rows), indent=2)
    if columns is not None and len(made[0]) > columns:
        made = [line for row in rows for line in wrapping.wrapped(_sentence(row), columns, indent=2, hang=2)]
    yield from (line.rstrip() for line in made)
    for each in trail.waypoints:
        if each.reason:
            yield ""
            yield from wrapping.wrapped(f"{each.where}: {each.reason}", columns, indent=2, hang=2)


def _headline(trail: "Trail", columns: int | None) -> list[str]:
    stopped = next((each for each in trail.waypoints if each.where == trail.stopped_at), None)
    if stopped is not None:
        have = names(map(str, stopped.mtus))
        should = f"{have}, not {stopped.expected}"
        if stopped.expected is None:
            should = "a pod lacks what it is to have, by destination"
        said = f"✗ On {trail.node} it stopped at {_named(stopped)}: {should}."
        colour = COLOURS["differs"]
    elif unseen := [each for each in trail.waypoints if each.outcome == "unknown"]:
        said = f"? On {trail.node} nothing differs, and not all of it was seen: {names(map(_named, unseen))}."
        colour = COLOURS["unknown"]
    else:
        said = f"✓ On {trail.node} it has come all the way: {names(_named(each) for each in trail.waypoints[-1:])}."
        colour = COLOURS["same"]
    if trail.carries is not None:
        said += f" The path between the nodes carries {trail.carries}."
    return wrapping.wrapped(said, columns, style={"fg": colour, "bold": True}, hang=2)


def _each(trails: "Trails", columns: int | None, else_where: str) -> Iterator[str]:
    for trail in trails.nodes[:NODES_MOST]:
        yield from _headline(trail, columns)
    if left := trails.nodes[NODES_MOST:]:
        yield f"and {len(left):,} more nodes: name one, or -o json lists all"
    if trails.unseen or not trails.nodes:
        said = f"Nothing was seen of {names(trails.unseen, NODES_MOST)}" if trails.nodes else "No node was observed"
        yield from wrapping.wrapped(f"? {said}: {else_where}.", columns, style=UNSEEN, hang=2)
    if trails.windows:
        said = f"{names(trails.windows, NODES_MOST)} {verb(len(trails.windows), 'run')} Windows"
        yield from wrapping.wrapped(f"? {said}: what MTU pods have there was not seen.", columns, style=UNSEEN, hang=2)


def _row(waypoint: "Waypoint") -> tuple[str, ...]:
    unset = "-" if waypoint.outcome == "same" else "?"  # a key that is not there, and need not be
    has = ", ".join(map(str, waypoint.mtus)) or unset
    should = unset if waypoint.expected is None else str(waypoint.expected)
    if waypoint.expected_by_network:
        should = ", ".join(map(str, sorted({one.mtu for one in waypoint.expected_by_network})))
    return (SIGNS[waypoint.outcome], waypoint.where, printable.one_line(waypoint.name), has, should)


def _sentence(row: Sequence[str]) -> str:
    sign, where, which, has, should = row
    return f"{sign} {where} ({which}): has {has}, should have {should}"


def _named(waypoint: "Waypoint") -> str:
    return f"{waypoint.where} ({waypoint.name})"

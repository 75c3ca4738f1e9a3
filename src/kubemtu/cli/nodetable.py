"""The nodes of a report, as a person reads them: of thousands a line for each state, with the odd ones by name."""

import re
from collections.abc import Iterable, Sequence

from kubemtu.cli.wrapping import aligned, wrapped
from kubemtu.core.rules.report import NodeLine
from kubemtu.core.text import printable
from kubemtu.core.text.wording import names

LINES_MOST = 20  # nodes that get a line each; of more, those that are alike share one, and so many lines are shown
NAMES_MOST = 4  # nodes of a line that are named
HEAD = ("NODE", "NIC", "TUNNEL", "NEW POD", "PODS", "THEY HAVE")


def lines(nodes: Sequence[NodeLine], columns: int | None, *, whole: bool = False) -> list[str]:
    """Return a line a node (of many, one for all alike): NIC and tunnel, what a new pod gets, what running ones have.

    Where that is wider than `columns`, a sentence each; `whole`: a line for each node, however many.
    """
    states = _states(nodes, whole=whole)
    shown = states if whole else states[:LINES_MOST]
    rows = [tuple(map(printable.one_line, row)) for row in (_row(same) for same in shown)]
    made = aligned((HEAD, *rows), indent=2)
    if columns is not None and len(made[0]) > columns:
        made = [line for row in rows for line in wrapped(_sentence(row), columns, indent=2, hang=2)]
    made = [line.rstrip() for line in made]
    if left := states[len(shown) :]:
        more = f"and {sum(map(len, left)):,} more nodes in {len(left):,} other states: -v shows each"
        made += wrapped(more, columns, indent=2)
    return made


def like(nodes: Iterable[str], noun: str = "nodes") -> str:
    """Name a few nodes, or say how many there are and name one: "1,998 nodes like node-3"."""
    listed = sorted(nodes, key=natural)
    return names(listed, NAMES_MOST) if len(listed) <= NAMES_MOST else f"{len(listed):,} {noun} like {listed[0]}"


def natural(name: str) -> tuple[tuple[str, int], ...]:
    """Return a key that sorts node-2 before node-10."""
    return tuple((text, int(number or 0)) for text, number in re.findall(r"([^0-9]*)([0-9]{0,18})", name))


def _states(nodes: Sequence[NodeLine], *, whole: bool) -> list[list[NodeLine]]:
    """Return the nodes by what is shown of them, the most common state first."""
    ordered = sorted(nodes, key=lambda node: natural(node.name))
    if whole or len(nodes) <= LINES_MOST:
        return [[node] for node in ordered]
    alike: dict[tuple[str, ...], list[NodeLine]] = {}
    for node in ordered:
        alike.setdefault(_state(node), []).append(node)
    return sorted(alike.values(), key=len, reverse=True)


def _state(node: NodeLine) -> tuple[str, ...]:
    return (
        f"{node.nic} {node.nic_mtu or ''}".strip() or "-",
        f"{node.tunnel} {node.tunnel_mtu}" if node.tunnel else "-",
        str(node.conflist_mtu or "-"),
        _ends(node),
    )


def _row(same: Sequence[NodeLine]) -> tuple[str, ...]:
    nic, tunnel, new, have = _state(same[0])
    return like(node.name for node in same), nic, tunnel, new, _seen(same), have


def _sentence(row: Sequence[str]) -> str:
    """Return a row as text, for a narrow terminal."""
    who, nic, tunnel, new, pods, have = row
    return f"{who}: NIC {nic}, tunnel {tunnel}, new pods get {new}; {pods} pods, they have {have}"


def _seen(same: Sequence[NodeLine]) -> str:
    """Say how many pods were seen, of how many."""
    found, unseen = sum(node.pods for node in same), sum(node.unseen for node in same)
    return f"{found:,} of {found + unseen:,}" if unseen else f"{found:,}"


def _ends(node: NodeLine) -> str:
    inside, outside = (", ".join(str(mtu) for mtu in mtus) for mtus in (node.pod_mtus, node.host_mtus))
    if node.host_ends_only:
        inside = f"{inside}, ?" if inside else "?"
    return (inside or "-") if inside == outside else f"{inside} (host ends {outside})"

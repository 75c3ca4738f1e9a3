"""What is printed: for each scene a block of tools, or, as Markdown, one table of scenes and tools."""

from collections.abc import Iterator, Sequence

from bench.probing.cells import Cell
from bench.probing.ours import COMMAND, RUNNING
from kubemtu_lab.line import scenes
from kubemtu_lab.line.scene import Rtt

RTTS: dict[Rtt, str] = {0: "0.1 ms", 10: "10 ms", 100: "100 ms"}


def seconds(value: float) -> str:
    """Return a time as people read it."""
    if value < 0.1:
        return f"{value * 1000:.1f} ms"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def ratio(cell: Cell, block: Sequence[Cell]) -> str:
    """How many times as long as kubemtu in a running process."""
    ours = next((one for one in block if one.tool == RUNNING), None)
    return f"×{cell.median / ours.median:.0f}" if ours is not None and cell.tool not in {RUNNING, COMMAND} else ""


def blocks(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """Return the cells of each scene, round trip and family, in their order."""
    for key in dict.fromkeys((cell.scene, cell.rtt, cell.family) for cell in cells):
        yield [cell for cell in cells if (cell.scene, cell.rtt, cell.family) == key]


def title(cell: Cell) -> str:
    """Return the scene, its round trip and its family."""
    return f"{cell.scene}, {RTTS[cell.rtt]}, IPv{cell.family}"


def text(cells: Sequence[Cell]) -> str:
    """Every scene with its picture, and a line for each tool."""
    lines: list[str] = []
    for block in blocks(cells):
        scene = scenes.ALL[block[0].scene]
        lines += [f"\n{title(block[0])}: {scene.summary}; right: {scene.told}"]
        lines += [f"    {line}" for line in scene.picture.splitlines()]
        lines += [f"  {'':24}{'':14}{'says':44}{'median':>10}{'packets':>9}   {'peer/kubemtu'}"]
        lines += [
            f"  {cell.tool:24}{cell.verdict:14}{_short(cell.says):44}{seconds(cell.median):>10}{cell.packets:9.0f}   "
            f"{ratio(cell, block)}"
            for cell in block
        ]
    return "\n".join(lines)


def markdown(cells: Sequence[Cell]) -> str:
    """One row for each scene, one column for each tool: a wrong answer is told, then median, packets and ratio."""
    tools = list(dict.fromkeys(cell.tool for cell in cells))
    lines = ["| scene | right | " + " | ".join(tools) + " |", "|---" * (len(tools) + 2) + "|"]
    for block in blocks(cells):
        by_tool = {cell.tool: cell for cell in block}
        row = [_entry(by_tool[tool], block) if tool in by_tool else "" for tool in tools]
        lines.append(f"| {title(block[0])} | {scenes.ALL[block[0].scene].told} | {' | '.join(row)} |")
    return "\n".join(lines)


def _entry(cell: Cell, block: Sequence[Cell]) -> str:
    figures = f"{seconds(cell.median)}, {cell.packets:.0f} p"
    times = ratio(cell, block)
    said = "" if cell.right == cell.rounds else f"**{cell.verdict}**"
    if said and cell.verdict != "no answer":
        said += f" ({_short(cell.says)})"
    return " ".join(part for part in (said, figures, times) if part)


def _short(says: str) -> str:
    return says if len(says) <= 42 else f"{says[:40]}…"

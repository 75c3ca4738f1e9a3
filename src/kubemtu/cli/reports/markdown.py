"""A report as Markdown, for tickets and pull requests (GitHub Flavored Markdown: its tables and its escapes).

What others wrote, such as names of nodes and objects, is text there too: it makes no heading, link, tag or mention.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from kubemtu.cli import other_networks
from kubemtu.core.rules.report import NodeLine, Report
from kubemtu.core.text import printable
from kubemtu.core.text.wording import sizes

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~#&])")
_MENTION = re.compile(r"@(?=\w)")
UNKNOWN = "?"
OTHER_COLUMNS = ("network", "by", "on", "asks for", "new pod", "pods", "they have")


def write(report: Report) -> bytes:
    """Write a report: the verdict, the path of a packet, nodes, findings, and what was not read, as UTF-8."""
    return ("\n".join(_lines(report)) + "\n").encode()


def text(plain: str) -> str:
    """Return text as Markdown that shows it as it is, in one line."""
    return _MENTION.sub("@\u200b", _SPECIAL.sub(r"\\\1", printable.one_line(plain)))


def _lines(report: Report) -> Iterator[str]:
    yield f"## Pod-network MTU: {report.verdict}"
    yield from ("", f"**{text(report.summary)}**", "")
    yield text(report.about)
    if report.layers:
        yield from ("", text(" ▸ ".join(f"{layer.name} {layer.size}" for layer in report.layers)))
    if report.nodes:
        yield from ("", "### Nodes", "")
        yield from _table(
            ("node", "NIC", "tunnel", "new pod", "pods", "pod ends", "host ends"), map(_node, report.nodes)
        )
    if report.other_networks:
        yield from ("", "### Other networks", "", "Read and never changed.", "")
        yield from _table(OTHER_COLUMNS, map(other_networks.row, report.other_networks))
    yield from _list("Pods with another network of their own", report.elsewhere)
    if report.findings:
        yield from ("", "### Findings", "")
        yield from _table(
            ("code", "severity", "place", "what is so", "what to do"),
            ((one.code, one.severity, one.place, one.message, one.remedy) for one in report.findings),
        )
    yield from _list("Measured", report.proven)
    yield from _list("Not read", report.missing)
    yield from _list("Not used", report.unused)


def _node(line: NodeLine) -> tuple[str, ...]:
    return (
        line.name,
        _device(line.nic, line.nic_mtu),
        _device(line.tunnel or "", line.tunnel_mtu) if line.tunnel else "–",
        _number(line.conflist_mtu),
        f"{line.pods}, {line.unseen} not seen" if line.unseen else str(line.pods),
        _range(line.pod_mtus),
        _range(line.host_mtus),
    )


def _device(name: str, mtu: int | None) -> str:
    return f"{name} {_number(mtu)}".strip()


def _number(value: int | None) -> str:
    return UNKNOWN if value is None else str(value)


def _range(mtus: Sequence[int]) -> str:
    return sizes(min(mtus), max(mtus)) if mtus else "–"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(text(cell) for cell in row)} |"


def _list(title: str, entries: Sequence[str]) -> Iterator[str]:
    if entries:
        yield from ("", f"### {title}", "")
        yield from (f"- {text(entry)}" for entry in entries)

"""The demo on a terminal: what is shown while the story is told."""

from kubemtu.cli import planning, progress, render, terminal, why, wrapping
from kubemtu.core.change import plan
from kubemtu.core.cluster import topology
from kubemtu.core.rules import report as rules_report
from kubemtu.flows.agents import events
from kubemtu.flows.measure import why as why_flow
from kubemtu_lab.demo import story

ROWS = (
    ("datagrams lost without a word", "udp_lost_silently"),
    ("TCP connections reset", "tcp_resets"),
    ("TCP connections stuck at the end", "tcp_stuck"),
    ("failed connects", "connect_failures"),
    ("pods restarted", "pods_restarted"),
    ("longest TCP stall, ms", "tcp_longest_stall_ms"),
    ("packets one veth end refused from the other", "veth_drops"),
    ("seconds for the change", "seconds"),
    ("for scale: datagrams sent", "udp_sent"),
    ("for scale: connects tried", "connect_attempts"),
    ("senders told by EMSGSIZE (no loss)", "emsgsize_errors"),
    ("senders told by ICMP (no silent loss)", "icmp_errors"),
)
BEFORE = (
    ("datagrams lost without a word", "udp_lost_silently"),
    ("senders told by ICMP", "icmp_errors"),
    ("senders told by EMSGSIZE", "emsgsize_errors"),
    ("longest TCP stall, ms", "tcp_longest_stall_ms"),
)


class Text:
    """Shows everything, as it happens."""

    def __init__(self) -> None:
        self._rows: dict[str, story.StoryRow] = {}

    def heading(self, text: str) -> None:
        """Begin a part of the story."""
        terminal.echo("\n" + terminal.style(f"━━ {text}", bold=True) + "\n")

    def report(self, checked: rules_report.Report) -> None:
        """Show what `check` says."""
        terminal.echo(render.report(checked, wrapping.width()))

    def answer(self, answered: why_flow.PathReport) -> None:
        """Show what `why` says."""
        for line in why.lines(answered):
            terminal.echo(line)

    def planned(self, whole: plan.Plan, as_planned: topology.Topology) -> None:
        """Show what `plan` says."""
        terminal.echo(planning.text(whole, as_planned, wrapping.width()))

    def tell(self, event: events.Event) -> None:
        """Show one event of `apply`."""
        progress.line(event)

    def row(self, name: str, row: story.StoryRow) -> None:
        """Show the table as far as it is known."""
        self._rows[name] = row
        terminal.echo("\n" + table(self._rows))
        for flaw in row.flaws:
            terminal.echo(terminal.style(f"  This run proves nothing: {flaw}", fg="yellow"))

    def relieved(self, seconds: float) -> None:
        """Show when every sender was pinned."""
        terminal.echo(f"\nFrom the first write until every sender was pinned (relief): {seconds:.2f} s")


class Quiet:
    """Shows nothing: the story is told as JSON at its end."""

    def heading(self, text: str) -> None:
        """Nothing."""

    def report(self, checked: rules_report.Report) -> None:
        """Nothing."""

    def answer(self, answered: why_flow.PathReport) -> None:
        """Nothing."""

    def planned(self, whole: plan.Plan, as_planned: topology.Topology) -> None:
        """Nothing."""

    def tell(self, event: events.Event) -> None:
        """Nothing."""

    def row(self, name: str, row: story.StoryRow) -> None:
        """Nothing."""

    def relieved(self, seconds: float) -> None:
        """Nothing."""


def table(rows: dict[str, story.StoryRow]) -> str:
    """Return the counts of each way, side by side."""
    names = list(rows)
    lines = ["From the first change to 5 s after the last".ljust(46) + "".join(f"{name:>18}" for name in names)]
    for title, field in ROWS:
        values = "".join(f"{getattr(row, field):>18}" for row in rows.values())
        lines.append(f"  {title:44}{values}")
    lines.append("Before the first change: what the fault itself costs")
    for title, field in BEFORE:
        values = "".join(f"{getattr(row.before, field):>18}" for row in rows.values())
        lines.append(f"  {title:44}{values}")
    return "\n".join(lines)

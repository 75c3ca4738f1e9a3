"""What a long operation looks like: a line an event for people, a JSON line an event for programs."""

import click
import msgspec

from kubemtu.cli import output, render
from kubemtu.flows import act, events
from kubemtu.kube import mtu


def teller(output_format: str) -> events.Tell:
    """How events are told: as text on stdout, or as JSON lines on stderr where stdout is for the outcome."""
    return line if output_format == "text" else json_line


def line(event: events.Event) -> None:
    """Print one event, for people."""
    match event.kind:
        case "step":
            render.echo(click.style(event.text, bold=True))
        case "phase":
            render.echo(f"    {event.text}")
        case "node":
            render.echo(click.style(f"        {event.node}: {event.text}", dim=True))
        case "done":
            render.echo(f"    {click.style('✓', fg='green')} {event.text}")
        case "note":
            render.echo(event.text)


def json_line(event: events.Event) -> None:
    """Print one event as one line of JSON, to stderr."""
    click.echo(msgspec.json.encode(event), err=True)


def end(outcome: act.Outcome, output_format: str) -> None:
    """Print how it ended."""
    if output_format != "text":
        output.emit(outcome, output_format)
        return
    what = "Rolled back" if outcome.direction == "back" else "Applied"
    render.echo(click.style(f"{what} in {outcome.seconds:.1f} s ({outcome.migration}).", bold=True))
    for sentence in outcome.remains:
        render.echo(f"  Left as it is: {sentence}")


def standing(found: mtu.Migration) -> str:
    """Where a change stands, for people."""
    steps = found.plan.steps
    if found.progress.step >= len(steps):
        return "the proof"
    phase = f", phase {found.progress.phase}" if found.progress.phase else ""
    return f"step {found.progress.step + 1} of {len(steps)}{phase}"

"""What a long operation looks like: a line an event for people, a JSON line an event for programs."""

import asyncio
from collections.abc import Awaitable

from kubemtu.cli import output, terminal, wrapping
from kubemtu.core import errors
from kubemtu.core.change import migration
from kubemtu.core.text import printable
from kubemtu.flows.agents import events
from kubemtu.flows.change import outcome
from kubemtu.kube import mtu


class Teller:
    """Tells events, and remembers the last: as text on stdout, or as JSON lines on stderr, beside the outcome."""

    def __init__(self, output_format: str) -> None:
        self._tell = line if output_format == "text" else json_line
        self._step = self._phase = ""
        self._pinned = False
        terminal.acting()

    def __call__(self, event: events.Event) -> None:
        """Tell one event."""
        if event.kind == "step":
            self._step, self._phase = event.text, ""
        elif event.kind == "phase":
            self._phase = event.phase
            self._pinned = event.phase == migration.Phase.PIN_PORTS
        self._tell(event)

    @property
    def standing(self) -> str:
        """Where it stands, for people."""
        if not self._step:
            return "before the first step"
        pins = "; every pin is on and stays" if self._pinned else ""
        return f"in step {self._step}" + (f", after {self._phase}" if self._phase else "") + pins


def line(event: events.Event) -> None:
    """Print one event, for people."""
    match event.kind:
        case "step":
            wrapping.say(event.text, bold=True)
        case "phase" | "progress":
            wrapping.say(f"    {event.text}")
        case "done":
            text, *more = wrapping.broken(f"    ✓ {event.text}")
            terminal.echo("\n".join((text.replace("✓", terminal.style("✓", fg="green"), 1), *more)))
        case "note":
            wrapping.say(event.text)
        case "node":
            pass  # a thousand nodes are a thousand lines; programs get them


def json_line(event: events.Event) -> None:
    """Print one event as one line of JSON, to stderr."""
    terminal.echo(printable.encode(event).decode(), err=True)


async def interruptible(
    work: Awaitable[outcome.Outcome], teller: Teller, name: str, *, back: bool = False
) -> outcome.Outcome:
    """Wait for the outcome; an interruption (see `plans.connected`) becomes a sentence that says where it stands.

    Raises Interrupted.
    """
    try:
        return await work
    except asyncio.CancelledError:
        ways = "`kubemtu rollback`" if back else "`kubemtu apply`, or goes back with `kubemtu rollback`"
        raise errors.Interrupted(f"interrupted {teller.standing}; {name} carries on from there with {ways}") from None


def end(ended: outcome.Outcome, output_format: str) -> None:
    """Print how it ended."""
    if output_format != "text":
        output.emit(ended, output_format)
        return
    what = {"backward": "Rolled back", "relief": "Relieved"}.get(ended.direction, "Applied")
    wrapping.say(f"{what} in {ended.seconds:.1f} s ({ended.migration}).", bold=True)
    for sentence in ended.remains:
        wrapping.say(f"  Left as it is: {sentence}")
    if ended.to_do:
        wrapping.say("Still to be done, by `kubemtu apply`; `kubemtu rollback` takes the pins back:")
        for text in ended.to_do:
            wrapping.say(f"  - {text}")


def standing(change: mtu.Migration) -> str:
    """Say where a change stands, for people."""
    steps = change.plan.steps
    if change.progress.step >= len(steps):
        return "the proof"
    phase = f", phase {change.progress.phase}" if change.progress.phase else ""
    return f"step {change.progress.step + 1} of {len(steps)}{phase}"

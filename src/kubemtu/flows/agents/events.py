"""What a long operation tells while it works: one value an event, for a terminal or for a program."""

from collections.abc import Callable
from typing import Literal

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that began, happened or ended.

    A "step" begins and is "done"; in a live step each "phase" is told when all nodes hold it, in a restart "progress"
    now and then; "node" is what one node reported, "note" everything else. `node` is empty when it concerns the
    cluster. The counts belong to a phase.
    """

    kind: Literal["step", "phase", "progress", "node", "done", "note"]
    text: str
    node: str = ""
    step: int | None = None
    phase: str = ""
    nodes: int | None = None
    pods: int | None = None
    changed: int | None = None  # settings of the kernel
    seconds: float | None = None


OnEvent = Callable[[Event], None]
OnProgress = Callable[[str], None]  # called with one line for a person


def silent(_event: Event) -> None:
    """Tell nobody."""

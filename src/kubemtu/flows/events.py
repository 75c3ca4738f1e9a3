"""What a long operation tells while it works: one value an event, for a terminal or for a program."""

from collections.abc import Callable
from typing import Literal

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that began, happened or ended. `node` is empty when it concerns the cluster."""

    kind: Literal["step", "phase", "node", "done", "note"]
    text: str
    node: str = ""
    step: int | None = None


Tell = Callable[[Event], None]


def silent(_event: Event) -> None:
    """Tell nobody."""

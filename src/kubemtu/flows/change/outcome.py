"""How a change, a relief or a rollback ended."""

import msgspec

from kubemtu.core.probe.proof import Proof


class Outcome(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How it ended: the JSON of `apply`, `relieve` and `rollback`.

    `relief_seconds` is the time from the first write of this run until every sender of every node was pinned, `to_do`
    what a relief leaves to `apply`, a line a step.
    """

    migration: str
    """Name of the MTUMigration."""
    direction: str
    """"forward", "relief" or "backward"."""
    done: bool
    """True when it came to its end."""
    seconds: float
    """How long this run took, in seconds."""
    relief_seconds: float | None = None
    """Seconds from the first write of this run until every sender of every node was pinned; null where no step pins."""
    proof: Proof | None = None
    """What full-size packets from pod to pod proved; null where none were sent."""
    verified: tuple[str, ...] = ()
    """What was seen in the end, a sentence each."""
    remains: tuple[str, ...] = ()
    """What is left as it is, a sentence each."""
    to_do: tuple[str, ...] = ()
    """What a relief leaves to `apply`, a line a step."""
    schema: str = "kubemtu.io/apply/v1"
    """Version of this form."""

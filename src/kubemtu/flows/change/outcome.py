"""How a change, a relief or a rollback ended."""

import msgspec

from kubemtu.core.probe.proof import Proof


class Outcome(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How it ended: the JSON of `apply`, `relieve` and `rollback`.

    `relief_seconds` is the time from the first write of this run until every sender of every node was pinned, `to_do`
    what a relief leaves to `apply`, a line a step.
    """

    migration: str
    direction: str
    done: bool
    seconds: float
    relief_seconds: float | None = None
    proof: Proof | None = None
    verified: tuple[str, ...] = ()
    remains: tuple[str, ...] = ()
    to_do: tuple[str, ...] = ()
    schema: str = "kubemtu.io/apply/v1"

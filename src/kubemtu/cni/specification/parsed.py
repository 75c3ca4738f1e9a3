"""What is read of a file that a cluster is made from, and the edits of it."""

import msgspec

from kubemtu.core import encap
from kubemtu.core.change import plan
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import Ref


class NumberKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key to write a number into: what it holds now, and what is added to the pods' MTU there, in bytes."""

    ref: Ref
    path: tuple[str, ...]
    before: int | str | None
    adds: int = 0
    text: bool = False  # a number in quotes is as good there, and stays in them


class SpecificationParsed(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of one specification: which tool's, of which network, and the keys of its MTU.

    `refused` says, as a sentence without its end, why none of them has an effect, or that there is none.
    """

    tool: str
    network: str
    keys: tuple[NumberKey, ...] = ()
    mtu: int | None = None  # what new pods get now
    refused: str = ""
    note: str = ""  # what has to be done for the edit to take effect


def edits(parsed: SpecificationParsed, place: str, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List the edits that give new pods `target` bytes. Raises UsageError where no key does."""
    encap.check(target)
    there = parsed.mtu == target
    if there and (parsed.refused or not parsed.keys):
        return ()
    if parsed.refused or not parsed.keys:
        refused = parsed.refused or "no key holds an MTU here"
        raise UsageError(refused if place in refused else f"{place}: {refused}")
    made = (_edit(key, parsed, target) for key in parsed.keys if not (there and key.before is None))
    return tuple(edit for edit in made if edit.before != edit.after)


def _edit(key: NumberKey, parsed: SpecificationParsed, target: int) -> plan.EditValue:
    number = target + key.adds
    why = f"{parsed.tool} gives it to {parsed.network}" + (f"; {parsed.note}" if parsed.note else "")
    after = str(number) if key.text and isinstance(key.before, str) else number
    return plan.EditValue(ref=key.ref, path=key.path, before=key.before, after=after, why=why)

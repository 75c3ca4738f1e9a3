"""Which segment sizes TLS is answered with: handshakes of several sizes at once, in a few rounds of bounded time."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

import msgspec

TRIES: Final = 12  # sizes of one round, without the two at its ends
TRIED: Final = 4.0  # seconds that a round of handshakes takes at most
LAST: Final = 1.5  # seconds that those without an answer are waited for after the last answer
ROUNDS: Final = 3  # 924 sizes are narrowed down to 72, to 6, to 1
CHECKS: Final = 3  # times that what divides them is tried again, before it is taken for the machine's load


Trial = Callable[[int], Coroutine[None, None, bool | None]]  # answered, hung, or (None) failed otherwise


class Bracket(msgspec.Struct, frozen=True, kw_only=True):
    """What handshakes of several segment sizes have shown: the largest answered, the smallest that hung; None: none.

    Both are set only where size alone divides them. As an MSS counts: without IP and TCP headers.
    """

    answered: int | None = None
    hung: int | None = None

    @property
    def by_size(self) -> bool:
        """True when small ones were answered and large ones were not."""
        return self.answered is not None and self.hung is not None and self.answered < self.hung


async def search(
    answers: Trial, low: int, high: int, *, rounds: int, tries: int = TRIES, last: float = LAST
) -> Bracket:
    """Narrow down the largest segment between `low` and `high`, in bytes, with which TLS is answered.

    Each round begins handshakes of several sizes at once, and waits `last` seconds after the last answer for the rest.
    What divides them is then tried once more: a machine that is busy is late with sizes that are none too many.
    """
    bracket = Bracket()
    for _ in range(CHECKS):
        bracket = await _narrow(answers, low, high, rounds=rounds, tries=tries, last=last)
        if not bracket.by_size or bracket.answered is None or bracket.hung is None:
            return bracket
        again = await _round(answers, [bracket.answered, bracket.hung], last)
        if again.get(bracket.hung):
            low = bracket.hung
        elif again.get(bracket.answered):
            return bracket
        if low >= high:
            break
    return Bracket(answered=bracket.answered)  # it is not size that divides them


async def _narrow(answers: Trial, low: int, high: int, *, rounds: int, tries: int, last: float) -> Bracket:
    found = Bracket()
    for number in range(rounds):
        sizes = spread(low, high, tries)
        outcome = await _round(answers, [size for size in sizes if number == 0 or low < size < high], last)
        known = outcome if number == 0 else {**outcome, low: True, high: False}
        found = bracket(known)
        if not found.by_size or found.answered is None or found.hung is None or found.hung - found.answered == 1:
            break
        low, high = found.answered, found.hung
    return found


def spread(low: int, high: int, between: int) -> list[int]:
    """Return both ends and that many sizes between them, as evenly as whole numbers can, each once."""
    return sorted({low + (high - low) * step // (between + 1) for step in range(between + 2)})


def bracket(outcome: dict[int, bool]) -> Bracket:
    """Return the bracket of these results: True for a size that was answered, False for one that hung."""
    answered = max((size for size, good in outcome.items() if good), default=None)
    hung = min((size for size, good in outcome.items() if not good), default=None)
    if answered is not None and hung is not None and answered > hung:
        return Bracket(answered=answered)  # it is not size that divides them
    return Bracket(answered=answered, hung=hung)


async def _round(answers: Trial, sizes: Sequence[int], last: float) -> dict[int, bool]:
    """Try all sizes at once; those that failed otherwise are left out."""
    loop = asyncio.get_running_loop()
    tasks = {loop.create_task(answers(size)): size for size in sizes}
    outcome: dict[int, bool] = {}
    end = most = loop.time() + TRIED
    waiting = set(tasks)
    try:
        while waiting and (left := end - loop.time()) > 0:
            done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                good = task.result()
                if good is not None:
                    outcome[tasks[task]] = good
                if good:
                    end = min(most, loop.time() + last)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return outcome | {tasks[task]: False for task in waiting}

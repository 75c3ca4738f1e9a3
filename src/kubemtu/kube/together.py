"""Several requests at once, of which the first failure ends all others and is told alone."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from kubemtu.core import errors

T = TypeVar("T")


async def gathered(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Carry all out at once, and return what they return, in their order. Raises the first KubemtuError of one.

    asyncio.gather leaves the others running, and what they raise as the loop ends is a traceback on stderr.
    """
    failure: errors.KubemtuError | None = None
    tasks: list[asyncio.Task[T]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except* errors.KubemtuError as several:
        failure = errors.first(several)
    if failure is not None:
        raise failure
    return [task.result() for task in tasks]

"""What is remembered of the kernel's messages, by their bytes, and when it is forgotten.

A level-triggered engine reads the same messages again and again, so their meaning is kept. Pods come and go, and the
messages of one that is gone never come again: an agent lives for months, so what it remembers must follow how many pods
there are, and not how many there ever were.
"""

import functools
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

EACH: Final = 24  # messages about one pod while it is changed: its links, its routes, the answers to both
SEEN: Final = 3  # messages about one pod that is only looked at
BASE: Final = 128  # messages about the node itself
_all: list[Any] = []  # functools has no public name for what lru_cache makes


def remembered(most: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Remember the last `most` results of a function of its arguments, until they are forgotten."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        made = functools.lru_cache(maxsize=most)(function)
        _all.append(made)
        return cast("Callable[P, T]", made)

    return decorate


def entries() -> int:
    """Say how many results are remembered."""
    return sum(one.cache_info().currsize for one in _all)


def forget() -> None:
    """Forget all; nothing depends on it but time."""
    for one in _all:
        one.cache_clear()


def trim(pods: int, each: int = EACH) -> None:
    """Forget all when there is more than so many pods can account for, with `each` messages about one."""
    if entries() > BASE + each * pods:
        forget()

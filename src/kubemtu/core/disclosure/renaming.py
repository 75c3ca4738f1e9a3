"""Other names for names: numbered in their order, so that what is told in an order is told in the same one."""

import re
from collections.abc import Iterable


class Numbered:
    """Names of one sort, each with what stands for it: numbered in their order, so that lists stay in theirs."""

    def __init__(self, sort: str, names: Iterable[str]) -> None:
        held = sorted({name for name in names if name}, key=natural)
        taken, digits = set(held), len(str(len(held)))
        base = next(
            one
            for one in (sort, f"a-{sort}", f"the-{sort}", f"some-{sort}")
            if not any(_of(one, name) for name in taken)
        )
        self.by_name = {name: f"{base}-{number:0{digits}}" for number, name in enumerate(held, 1)}

    def __call__(self, name: object) -> str:
        return self.by_name.get(name, "") if isinstance(name, str) else ""


def _of(sort: str, name: str) -> bool:
    return re.fullmatch(rf"{sort}-\d+", name) is not None


def natural(name: str) -> list[tuple[str, int]]:
    return [(text, int(number or 0)) for text, number in re.findall(r"([^0-9]*)([0-9]{0,18})", name)]

"""Numbers on the command line that click takes for more than they are: NaN is in every range, infinity in open ones."""

import math
from collections.abc import Callable

import click


class FiniteRange(click.FloatRange):
    """A `click.FloatRange` that refuses what is no finite number."""

    def convert(self, value: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a number, from text or from a default. Fails as `click.FloatRange` does, and for NaN and infinity."""
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is no number of anything", param, ctx)
        return float(found)


def rollout_patience(then: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Return the option `--rollout-patience`, in seconds; `then` says in its help what holds when that time is over."""
    return click.option(
        "--rollout-patience",
        "patience",
        type=FiniteRange(min=1.0),
        default=300.0,
        show_default=True,
        metavar="SECONDS",
        help=f"Stop when no pod of the CNI comes up for so long while they restart; {then}.",
    )

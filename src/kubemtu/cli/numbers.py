"""Numbers on the command line that click takes for more than they are: NaN is in every range, infinity in open ones."""

import math

import click


class FiniteRange(click.FloatRange):
    """A `click.FloatRange` that refuses what is no finite number."""

    def convert(self, value: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a number, from text or from a default. Fails as `click.FloatRange` does, and for NaN and infinity."""
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is no number of anything", param, ctx)
        return float(found)

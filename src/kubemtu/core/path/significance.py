"""Say how often a packet must be lost before chance is no explanation any more."""

import math
from typing import Final

LEAST: Final = 6  # 1e-6 at 10 % loss
MOST: Final = 64  # beyond that, loss is the trouble and not size


def needed(fitting: int, lost: int, risk: float) -> int:
    """Say how many losses in a row prove that a size does not fit, when `lost` of `fitting` packets that do were lost.

    The smallest number for which, at any rate of loss, it is rarer than `risk` that so few that fit are lost, and that
    many in a row; never below LEAST, and MOST + 1 when loss alone could explain any number. "So few" is taken to be as
    likely as Chernoff's bound allows (doi:10.1214/aoms/1177729330): the likelihood at that rate divided by that at the
    rate that was seen. Among very many packets, what remains is the rate that was seen, to the power of the losses.
    """
    seen = sum(part * math.log(part / fitting) for part in (lost, fitting - lost) if part)
    for more in range(LEAST, MOST + 1):
        parts = (lost + more, fitting - lost)  # divided by their sum: the rates that make all of it likeliest
        if sum(part * math.log(part / sum(parts)) for part in parts if part) - seen <= math.log(risk):
            return more
    return MOST + 1

"""Expectation times measurement: what must arrive, what did, and what that proves."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from kubemtu.core.path import verdict as path_verdict
from kubemtu.core.probe import request


class Proof(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the measurements prove of the expectation that every full-size packet arrives.

    `probes` are the paths that were judged, `unanswered` those that could not be.
    """

    verdict: Literal["held", "refuted", "undecided"]
    """"held" when all that was judged carries it, "refuted" when a path does not, "undecided" when none could be
    judged.
    """
    probes: int
    """How many paths were judged."""
    arrived: int
    """On how many of those a full-size packet arrived."""
    against: tuple[str, ...] = ()
    """One sentence for each path that does not carry it."""
    unanswered: tuple[str, ...] = ()
    """Paths that answer nothing of any size (a policy, not an MTU), or too little to tell."""


def carries(verdict: path_verdict.Verdict) -> bool:
    """Say whether a path carries what is expected of it, whatever else is to be said about it."""
    return 0 < verdict.expected <= verdict.mtu or verdict.ok


def mute(verdict: path_verdict.Verdict) -> bool:
    """Say whether a path says nothing about size: nothing is answered, or too little to tell."""
    return not carries(verdict) and verdict.kind in path_verdict.UNDECIDED


def judge(results: Iterable[tuple[str, request.PathResult]]) -> Proof:
    """Hold measured paths against the expectation that all carry it; each comes with what people call it.

    Where nothing of any size is answered, not even an echo, a policy or a firewall speaks, and that proves nothing
    either way. Undecided when no path could be judged.
    """
    arrived, against, unanswered = 0, [], []
    for what, result in results:
        if carries(result.verdict):
            arrived += 1
        elif mute(result.verdict):
            unanswered.append(what)
        else:
            against.append(f"{what}: {result.verdict.sentence}")
    verdict: Literal["held", "refuted", "undecided"] = "refuted" if against else "held" if arrived else "undecided"
    return Proof(
        verdict=verdict,
        probes=arrived + len(against),
        arrived=arrived,
        against=tuple(against),
        unanswered=tuple(unanswered),
    )

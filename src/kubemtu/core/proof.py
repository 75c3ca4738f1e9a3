"""Expectation times measurement: what must arrive, what did, and what that proves.

A probe is one ICMP echo request with DF set (RFC 792; RFC 1191 for the answers), sized as the whole IP packet. DF
stays set because the socket asks for IP_PMTUDISC_PROBE, which also ignores what the kernel believes to have learned.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

Outcome = Literal["arrived", "refused here", "too big", "silence"]


class Probe(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One packet to send: from the node itself (`port` empty) or from the pod behind that host-side link."""

    to: str  # IP address
    size: int  # bytes of the whole IP packet
    port: str = ""
    what: str = ""  # for people: "n1 > n2", "default/web-1 > db/pg-0"


class Order(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an agent is asked to probe; `name` comes back with the answer, so that an old answer is never taken."""

    name: str
    probes: tuple[Probe, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of one probe.

    "arrived": the echo came back. "refused here": the sender's own device is smaller (EMSGSIZE, not the path's fault).
    "too big": a router said so, `mtu` is what it can carry and `by` its address. "silence": nothing, after retries.
    """

    probe: Probe
    outcome: Outcome
    mtu: int | None = None
    by: str | None = None
    tries: int = 1


class Answers(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answers to one Order: part of the `status` of a NodeMTU."""

    name: str
    answers: tuple[Answer, ...] = ()


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What the answers prove of the expectation that every probe arrives."""

    verdict: Literal["held", "refuted", "undecided"]
    probes: int
    arrived: int
    against: tuple[str, ...] = ()  # one sentence for each probe that did not arrive


def judge(expected: int, answers: Iterable[Answer]) -> Proof:
    """Hold the answers against the expectation that all `expected` probes arrive.

    Undecided when an answer is missing or nothing was asked; refuted when any probe did not arrive.
    """
    given = tuple(answers)
    against = tuple(sentence(answer) for answer in given if answer.outcome != "arrived")
    arrived = len(given) - len(against)
    if against:
        return Proof(verdict="refuted", probes=len(given), arrived=arrived, against=against)
    verdict: Literal["held", "undecided"] = "held" if given and len(given) >= expected else "undecided"
    return Proof(verdict=verdict, probes=len(given), arrived=arrived)


def sentence(answer: Answer) -> str:
    """Say what became of a probe, for people."""
    probe = answer.probe
    path = probe.what or f"to {probe.to}"
    reasons: Mapping[Outcome, str] = {
        "arrived": "arrived",
        "refused here": f"was refused by the sender's own device, which carries {answer.mtu or 'less'}",
        "too big": f"was refused by {answer.by or 'a router'}, which carries {answer.mtu or 'less'}",
        "silence": f"vanished without an answer, {answer.tries} times",
    }
    return f"{path}: a packet of {probe.size} bytes {reasons[answer.outcome]}"

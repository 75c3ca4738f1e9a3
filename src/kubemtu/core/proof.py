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
    """What the answers prove of the expectation that every full-size packet arrives.

    `probes` are the paths that were judged, `unanswered` those that swallow small packets just as well.
    """

    verdict: Literal["held", "refuted", "undecided"]
    probes: int
    arrived: int
    against: tuple[str, ...] = ()  # one sentence for each probe that did not arrive
    unanswered: tuple[str, ...] = ()  # paths that answer no echo of any size: a policy, not an MTU


SMALL = 128  # bytes: what every path carries, so that silence to it says nothing about size


def path(probe: Probe) -> tuple[str, str, str]:
    """What two probes share that go from the same place to the same address."""
    return probe.what, probe.port, probe.to


def judge(answers: Iterable[Answer], controls: Iterable[Answer] = ()) -> Proof:
    """Hold the answers to full-size packets against the expectation that all arrive.

    `controls` are answers to packets of SMALL bytes on paths where a full-size one was met with silence: where the
    small one vanishes as well, the path answers no echo (a network policy, a firewall), and proves nothing either way.
    Undecided when no path could be judged.
    """
    mute = {path(answer.probe) for answer in controls if answer.outcome == "silence"}
    arrived, against, unanswered = 0, [], []
    for answer in answers:
        if answer.outcome == "arrived":
            arrived += 1
        elif answer.outcome == "silence" and path(answer.probe) in mute:
            unanswered.append(answer.probe.what or f"to {answer.probe.to}")
        else:
            against.append(sentence(answer))
    verdict: Literal["held", "refuted", "undecided"] = "refuted" if against else "held" if arrived else "undecided"
    return Proof(
        verdict=verdict,
        probes=arrived + len(against),
        arrived=arrived,
        against=tuple(against),
        unanswered=tuple(unanswered),
    )


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

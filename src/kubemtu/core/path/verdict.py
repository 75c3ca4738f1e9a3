"""What a measured path means: one class, one sentence, and the evidence that it rests on.

    ok                  it carries what is expected
    lower               it carries less, and routers say so: path MTU discovery works
    black hole          it carries less, and nobody says so: connections hang
    masked              one of these two, but TCP is made to send no more: by an MSS clamp, or by tcp_mtu_probing
    receiver            the other end's own interface drops what is larger, without a word (a veth at its MTU + 4)
    fragmented          larger packets arrive in pieces although DF was set: something on the way clears it
    outer fragments     everything arrives, but the tunnel's packets around it are cut in pieces on the way
    asymmetric          the two directions carry different sizes
    equal paths differ  flows that differ in nothing but a port carry different sizes
    refused here        the own interface is smaller than what is expected
    stale path MTU      the path carries it, but the own kernel holds less: a route's mtu, or a learned one
    unreachable         nothing is answered, of whatever size: not an MTU
    loss                too much is lost to tell
    overloaded          the other end, or this one, drops what it cannot read in time

A black hole differs from what is merely lower by what the kernel believes afterwards (IP_MTU of a connected socket):
where a "too big" came in, it believes the truth. Unless that was said only of sizes that nobody but a prober sends, and
larger ones vanish before whoever said it: then it is a black hole all the same.
All sizes are of whole IP packets, in bytes.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from kubemtu.core import net
from kubemtu.core.path import wording
from kubemtu.core.path.direction import Direction
from kubemtu.core.path.wording import Kind
from kubemtu.core.text import wording as text_wording

__all__ = ["UNDECIDED", "Direction", "Kind", "Verdict", "judge", "judge_direction", "judge_flows"]

_ENDINGS: Final[Mapping[str, Kind]] = {"unreachable": "unreachable", "lossy": "loss", "overloaded": "overloaded"}
UNDECIDED: frozenset[Kind] = frozenset(_ENDINGS.values())
PORTS_MOST: Final = 16  # of the flows that carry one size; enough to send by them again

_ENDS: Final = ("this machine", "the other end")
_NO_MTU: frozenset[Kind] = frozenset({"ok", "unreachable"})
_TOLD_OF_BACK: frozenset[Kind] = frozenset({"outer fragments", "stale path MTU"})  # where all that is expected arrives


class Verdict(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Judge one path or direction: its kind, the largest size that arrives whole, and why."""

    kind: Kind
    """The class of what was measured."""
    mtu: int
    """The largest packet that arrives whole, in bytes; 0 when none did."""
    sentence: str
    """What is so, in one sentence."""
    evidence: tuple[str, ...] = ()
    """What the verdict rests on, a fact each."""
    expected: int = 0
    """The size that was to arrive, in bytes; 0 when that does not apply."""
    location: str = ""
    """Who or where is at fault; empty when not known."""
    advice: str = ""
    """What to do next."""

    @property
    def ok(self) -> bool:
        """Return whether all is as expected."""
        return self.kind == "ok"

    @property
    def is_mtu(self) -> Literal["yes", "no", "unknown"]:
        """Tell whether an MTU is the trouble; where packets that fit are lost, it is not if full-size ones arrive."""
        if self.kind in _NO_MTU:
            return "no"
        if self.kind in UNDECIDED:
            return "no" if 0 < self.expected <= self.mtu else "unknown"
        return "yes"


def judge(forward: Direction, back: Direction | None = None, *, expected: int | None = None) -> Verdict:
    """Judge a path by both its directions, or by the one that was measured; `expected` is the own interface's MTU."""
    one = judge_direction(forward.without_learned_mss(back), expected)
    if back is None or one.kind in UNDECIDED or back.search.ending != "exact":
        return one
    other = judge_direction(back.without_learned_mss(forward), back=True)
    if not _differ(forward, back):
        return _together(one, other)
    mtu = min(one.mtu, other.mtu)
    smaller, larger = ("forwards", "backwards") if one.mtu < other.mtu else ("backwards", "forwards")
    return Verdict(
        kind="asymmetric",
        mtu=mtu,
        sentence=f"{one.mtu} bytes arrive there and {other.mtu} come back: "
        f"forwards it is {_article(one.kind)}, backwards {_article(other.kind)}",
        evidence=_both(one, other),
        expected=one.expected,
        location="; ".join(
            f"{way}: {verdict.location}"
            for way, verdict in (("forwards", one), ("backwards", other))
            if verdict.location
        ),
        advice=f"use an MTU of {mtu} at both ends, until as much arrives {smaller} as {larger}",
    )


def _together(one: Verdict, other: Verdict) -> Verdict:
    """Judge two directions that carry the same."""
    if one.kind == "masked" and other.kind == "black hole":
        return msgspec.structs.replace(
            other,
            sentence=f"{one.mtu} bytes arrive both ways, and everything larger vanishes without a word; TCP is kept "
            "below that forwards but not backwards: connections hang once the other end sends full-size packets",
            evidence=_both(one, other),
            expected=one.expected,
        )
    if one.ok and other.kind in _TOLD_OF_BACK:
        return msgspec.structs.replace(other, sentence=f"backwards: {other.sentence}", evidence=_both(one, other))
    if "masked" in {one.kind, other.kind}:
        return msgspec.structs.replace(one, evidence=_both(one, other))
    return one


def _both(one: Verdict, other: Verdict) -> tuple[str, ...]:
    return (*(f"forwards: {line}" for line in one.evidence), *(f"backwards: {line}" for line in other.evidence))


def judge_flows(flows: Sequence[Direction], *, expected: int | None = None) -> Verdict:
    """Judge several flows to the same place that differ in nothing but their port; at least one."""
    verdicts = [judge_direction(flow, expected) for flow in flows]
    known = [(flow, verdict) for flow, verdict in zip(flows, verdicts, strict=True) if verdict.kind not in UNDECIDED]
    if not known:
        return verdicts[0]
    unknown = [flow for flow, verdict in zip(flows, verdicts, strict=True) if verdict.kind in UNDECIDED]
    missing = [f"{len(unknown)} of {len(flows)} flows told nothing{_ports(unknown)}"] if unknown else []
    sizes = sorted({flow.search.mtu for flow, _ in known})
    if len(sizes) < 2:
        first = next((verdict for _, verdict in known if not verdict.ok), known[0][1])
        return msgspec.structs.replace(first, evidence=(*first.evidence, *missing))
    shares: list[str] = []
    for size in sizes:
        carrying = [flow for flow, _ in known if flow.search.mtu == size]
        shares.append(f"{len(carrying)} of {len(known)} flows carry {size}{_ports(carrying)}")
    return Verdict(
        kind="equal paths differ",
        mtu=sizes[0],
        sentence=f"flows to the same address carry different sizes, {text_wording.names(map(str, sizes))} bytes: "
        "equal paths of different MTUs",
        evidence=(*shares, *missing, *dict.fromkeys(line for _, verdict in known for line in verdict.evidence)),
        expected=max(verdict.expected for _, verdict in known),
        location=text_wording.names(dict.fromkeys(verdict.location for _, verdict in known if verdict.location)),
        advice=f"give the links of all equal paths the same MTU, and use {sizes[0]} at both ends until then",
    )


def _ports(flows: Sequence[Direction]) -> str:
    """Name some flows by their source ports, where they are known."""
    ports = [str(flow.source_port) for flow in flows if flow.source_port]
    if not ports:
        return ""
    return f": source port{'' if len(ports) == 1 else 's'} {text_wording.names(ports, PORTS_MOST)}"


def judge_direction(direction: Direction, expected: int | None = None, *, back: bool = False) -> Verdict:
    """Judge one direction by itself; `expected` is what its sender's interface takes when it is None.

    `back` when its sender is the other end.
    """
    wanted = expected or direction.expected
    here, there = _ENDS[::-1] if back else _ENDS
    told = wording.Context(
        kind=_kind(direction, wanted), direction=direction, expected=wanted, sender=here, receiver=there
    )
    mtu = (
        direction.unfragmented_mtu
        if told.kind == "outer fragments" and direction.unfragmented_mtu is not None
        else direction.search.mtu
    )
    return Verdict(
        kind=told.kind,
        mtu=mtu,
        sentence=wording.sentence(told),
        evidence=wording.evidence(told),
        expected=wanted,
        location=wording.place(told),
        advice=wording.advice(told),
    )


def _kind(direction: Direction, wanted: int) -> Kind:
    found = direction.search
    if found.ending != "exact":
        return _ENDINGS[found.ending]
    if found.limit == "own interface" and found.interface_mtu < wanted:
        return "refused here"
    if 0 < direction.path_mtu_before < min(found.mtu, wanted):
        return "stale path MTU"
    if found.mtu >= wanted:
        return (
            "outer fragments"
            if direction.unfragmented_mtu is not None and direction.unfragmented_mtu < wanted
            else "ok"
        )
    if found.limit == "fragments":
        return "fragmented"
    if found.limit == "silence" and found.mtu in {direction.receiver_mtu, direction.receiver_mtu + net.VLAN_SLACK}:
        return "receiver"
    return _smaller(direction)


def _smaller(direction: Direction) -> Kind:
    """Judge a path that carries less than it should. Where routers say so, only a clamp masks it: the rest is how
    it works.

    What the other end announces by itself counts only where nobody says anything, because a kernel that was told of a
    smaller path announces a smaller MSS as well (net/ipv4/route.c ipv4_default_advmss).
    """
    if direction.sender_informed:
        return (
            "masked"
            if direction.tcp_spared and direction.segments is not None and direction.segments.clamped
            else "lower"
        )
    return "masked" if direction.tcp_spared or direction.probing else "black hole"


def _differ(forward: Direction, back: Direction) -> bool:
    """Return whether a direction carries less than the other, and less than its own sender could send or should."""
    there, here = forward.search.mtu, back.search.mtu
    return there < min(here, forward.expected) or here < min(there, back.expected)


def _article(kind: Kind) -> str:
    return {"lower": "a smaller MTU that routers tell", "receiver": "the receiver's own MTU"}.get(kind) or (
        kind if kind in {"ok", "fragmented", "masked", "refused here"} else f"a {kind}"
    )

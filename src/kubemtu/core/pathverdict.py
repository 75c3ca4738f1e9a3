"""What a measured path means: one class, one sentence, and the evidence that it rests on.

    ok                  it carries what is expected, exactly known
    lower               it carries less, and routers say so: path MTU discovery works
    black hole          it carries less, and nobody says so: connections hang
    receiver            the other end's own interface drops what is larger, without a word (a veth at its MTU + 4)
    fragmented          larger packets arrive in pieces although DF was set: something on the way clears it
    asymmetric          the two directions carry different sizes
    equal paths differ  flows that differ in nothing but a port carry different sizes
    refused here        the own interface is smaller than what is expected
    stale path MTU      the path carries it, but the own kernel holds less: a route's mtu, or a learned one
    unreachable         nothing is answered, of whatever size: not an MTU
    loss                too much is lost to tell: not an MTU
    overloaded          the other end, or this one, drops what it cannot read in time: not an MTU

A black hole differs from what is merely lower by what the kernel believes afterwards (IP_MTU of a connected socket):
where a "too big" came in, it believes the truth. All sizes are of whole IP packets, in bytes.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from kubemtu.core import ladder, search, words

Kind = Literal[
    "ok",
    "lower",
    "black hole",
    "receiver",
    "fragmented",
    "asymmetric",
    "equal paths differ",
    "refused here",
    "stale path MTU",
    "unreachable",
    "loss",
    "overloaded",
]
UNDECIDED: frozenset[Kind] = frozenset({"unreachable", "loss", "overloaded"})


class Direction(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one direction.

    `believed_before` and `believed` are the path MTUs that the sender's kernel held before and after, 0 when unknown;
    `peer_mtu` is that of the interface that the receiver receives by, 0 when unknown.
    """

    found: search.Found
    believed_before: int = 0
    believed: int = 0
    peer_mtu: int = 0
    note: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One class, the largest size that arrives, a sentence for people, and one line for each piece of evidence."""

    kind: Kind
    mtu: int
    sentence: str
    evidence: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all is as expected."""
        return self.kind == "ok"


def judge(forward: Direction, back: Direction | None = None, *, expected: int | None = None) -> Verdict:
    """Judge a path by both its directions, or by the one that was measured; `expected` is the own interface's MTU."""
    one = judge_direction(forward, expected)
    if back is None or one.kind in UNDECIDED or back.found.ending != "exact" or not _differ(forward, back):
        return one
    other = judge_direction(back, back.found.top)
    return Verdict(
        kind="asymmetric",
        mtu=min(one.mtu, other.mtu),
        sentence=f"{one.mtu} bytes arrive there and {other.mtu} come back: "
        f"forwards it is {_article(one.kind)}, backwards {_article(other.kind)}",
        evidence=(*(f"forwards: {line}" for line in one.evidence), *(f"backwards: {line}" for line in other.evidence)),
    )


def judge_flows(flows: Sequence[Direction], *, expected: int | None = None) -> Verdict:
    """Judge several flows to the same place that differ in nothing but their port; at least one."""
    verdicts = [judge_direction(flow, expected) for flow in flows]
    known = [verdict for verdict in verdicts if verdict.kind not in UNDECIDED]
    sizes = sorted({verdict.mtu for verdict in known})
    if len(sizes) < 2:
        return known[0] if known else verdicts[0]
    shares = [f"{sum(verdict.mtu == size for verdict in known)} of {len(known)} flows carry {size}" for size in sizes]
    return Verdict(
        kind="equal paths differ",
        mtu=sizes[0],
        sentence=f"flows to the same address carry different sizes, {words.names(map(str, sizes))} bytes: "
        "equal paths of different MTUs",
        evidence=(*shares, *dict.fromkeys(line for verdict in known for line in verdict.evidence)),
    )


def judge_direction(one: Direction, expected: int | None = None) -> Verdict:
    """Judge one direction by itself; `expected` is the own interface's MTU when it is None."""
    found = one.found
    wanted = expected or found.top
    evidence = _evidence(one)
    kind = _kind(one, wanted)
    return Verdict(kind=kind, mtu=found.mtu, sentence=_sentence(kind, one, wanted), evidence=evidence)


def _kind(one: Direction, wanted: int) -> Kind:
    found = one.found
    if found.ending != "exact":
        return {"unreachable": "unreachable", "lossy": "loss", "overloaded": "overloaded"}[found.ending]  # type: ignore[return-value]  # each is a Kind
    if found.limit == "own interface" and found.top < wanted:
        return "refused here"
    if 0 < one.believed_before < min(found.mtu, wanted):
        return "stale path MTU"
    if found.mtu >= wanted:
        return "ok"
    if found.limit == "fragments":
        return "fragmented"
    if found.limit == "silence" and found.mtu in {one.peer_mtu, one.peer_mtu + ladder.VLAN_SLACK}:
        return "receiver"
    told = found.limit == "router" or any(quote.mtu == found.mtu for quote in found.quotes)
    return "lower" if told or one.believed == found.mtu else "black hole"


def _differ(forward: Direction, back: Direction) -> bool:
    """Whether one direction carries less than the other, and less than its own sender could send."""
    there, here = forward.found, back.found
    return there.mtu < min(here.mtu, there.top) or here.mtu < min(there.mtu, here.top)


def _sentence(kind: Kind, one: Direction, wanted: int) -> str:
    found, size = one.found, one.found.mtu
    routers = words.names(dict.fromkeys(quote.by for quote in found.quotes if quote.by)) or "a router"
    sentences: dict[Kind, str] = {
        "ok": f"packets of {size} bytes arrive whole; nothing larger is expected",
        "lower": f"{size} bytes arrive, not {wanted}; {routers} says so, so senders adapt",
        "black hole": f"{size} bytes arrive, and everything larger, up to {wanted}, vanishes without a word: "
        "connections hang once they send full-size packets",
        "receiver": f"{size} bytes arrive, not {wanted}: the other end's own interface has an MTU of {one.peer_mtu} "
        "and drops what is larger without a word",
        "fragmented": f"{size} bytes arrive whole; what is larger arrives in pieces although DF is set: "
        "something on the way clears it",
        "refused here": f"this machine's own interface carries {size}, not {wanted}: the path is not to blame",
        "stale path MTU": f"{size} bytes arrive, but this machine's kernel holds {one.believed_before} for the path: "
        "a route's mtu or a learned one, old or forged (`ip route flush cache` forgets what was learned)",
        "unreachable": f"nothing is answered, not even the smallest packet{': ' + one.note if one.note else ''}; "
        "this says nothing about the MTU",
        "loss": f"too many packets that fit are lost to be certain: at least {size} bytes arrive",
        "overloaded": f"packets are dropped because they are not read in time: at least {size} bytes arrive; "
        "measure again when there is less load",
    }
    return sentences.get(kind, kind)


def _evidence(one: Direction) -> tuple[str, ...]:
    found = one.found
    lines: list[str] = []
    if found.mtu:
        lost = f"{found.fitting - found.fitting_lost} of {found.fitting}"
        lines.append(f"a packet of {found.mtu} bytes arrived; {lost} packets up to that size were answered")
    larger = found.mtu + 1
    if found.limit == "own interface":
        lines.append(f"the own interface sends no more than {found.top} bytes")
    if found.limit == "silence":
        lines.append(f"{larger} bytes were lost {found.losses} times, in between those")
    if found.limit == "fragments":
        lines.append(f"{larger} bytes arrived in fragments of at most {found.fragment} bytes")
    for by, mtu in dict.fromkeys((quote.by, quote.mtu) for quote in found.quotes):
        lines.append(f"{by or 'a router'} said that it carries {mtu} bytes")
    if one.believed_before or one.believed:
        lines.append(
            f"the kernel held {one.believed_before or '?'} bytes for this path before, {one.believed or '?'} after"
        )
    if one.peer_mtu:
        lines.append(f"the interface at the other end has an MTU of {one.peer_mtu}")
    if one.note:
        lines.append(one.note)
    return tuple(lines)


def _article(kind: Kind) -> str:
    return {"lower": "a smaller MTU that routers tell", "receiver": "the receiver's own MTU"}.get(kind) or (
        kind if kind in {"ok", "fragmented", "refused here"} else f"a {kind}"
    )

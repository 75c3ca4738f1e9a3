"""A path in one of its directions: what each part of it carries that way.

    pod a --near-- node a ======nodes====== node b --far-- pod b
      |               `----------overlay-----------'         |
      `-----------------------whole--------------------------'

The whole path is measured, and beside it its parts: each from where an agent stands, and most of them both ways. Seen
from the other end the near part is the far one. Sizes are of whole IP packets, in bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from kubemtu.core.path import verdict as path_verdict
from kubemtu.core.path.direction import Direction
from kubemtu.core.path.known_sizes import VLAN_SLACK
from kubemtu.core.path.verdict import UNDECIDED, Verdict
from kubemtu.core.probe import proof, request
from kubemtu.core.why.endpoints import Endpoint

Role = Literal["whole", "nodes", "near", "far", "overlay", "service", "return"]
TURNED: Mapping[Role, Role] = {"whole": "whole", "nodes": "nodes", "near": "far", "far": "near"}
ECHO: request.Protocol = "ICMP echo"
TOLD_NOBODY = frozenset({"black hole", "masked", "receiver"})


class Leg(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Hold one part of the path, as it was measured."""

    role: Role
    """Which part; "return" is the whole path as the other end measured it."""
    source: str
    """Where it begins, by its name."""
    destination: str
    """Where it ends, by its name."""
    result: request.PathResult
    """What was measured."""
    expected: int = 0
    """The size that was to arrive, in bytes; 0 for what the interface has."""
    forward: Verdict | None = None
    """What packets from `source` to `destination` meet; null when not measured."""
    backward: Verdict | None = None
    """What packets from `destination` to `source` meet; null when not measured."""

    @property
    def verdict(self) -> Verdict:
        """What it means by itself, both directions together."""
        return self.result.verdict


class LegView(msgspec.Struct, frozen=True, kw_only=True):
    """One direction of a leg, judged by itself."""

    source: str
    destination: str
    verdict: Verdict
    direction: Direction | None = None

    @property
    def short(self) -> bool:
        """Return whether it carries less than it should, as far as that is known."""
        return not proof.carries(self.verdict) and self.verdict.kind not in UNDECIDED

    @property
    def sound(self) -> bool:
        """Return whether it carries what it should."""
        return proof.carries(self.verdict)


class PathView(msgspec.Struct, frozen=True, kw_only=True):
    """A path from one end to the other. `notes` are about how it was measured.

    `answers`: what the sender begins is not answered, and only its answers to the other end could be measured.
    `echoed`: measured by ICMP echo, whose answers are as large, so that what was lost may have been lost on either way.
    """

    source: Endpoint
    destination: Endpoint
    whole: LegView
    parts: Mapping[Role, LegView]
    notes: tuple[str, ...] = ()
    only_answers: bool = False
    by_echo: bool = False

    @property
    def either(self) -> bool:
        """Return whether packets are lost, and nothing tells on which of the two ways."""
        return self.by_echo and self.verdict.kind in TOLD_NOBODY

    @property
    def verdict(self) -> Verdict:
        """What the whole path carries in this direction, and what that means."""
        return self.whole.verdict

    def sound(self, *roles: Role) -> bool:
        """Return whether all these parts were measured and carry what they should."""
        return all(role in self.parts and self.parts[role].sound for role in roles)


def forth(here: Endpoint, there: Endpoint, legs: Sequence[Leg]) -> PathView:
    """View the path in the direction that was asked for; one leg is the whole."""
    whole = next(leg for leg in legs if leg.role in {"whole", "service"})
    parts = {leg.role: _forward(leg) for leg in legs if leg.role not in {"whole", "service", "return"}}
    way, notes, answers = _forward(whole), whole.result.notes, False
    echoed = whole.result.protocol == ECHO
    returned = next((leg for leg in legs if leg.role == "return"), None)
    if returned is not None and (answered := _backward(returned, there.mtu)) is not None:
        answers = way.verdict.kind == "unreachable"
        if answers or whole.result.protocol != "UDP":
            way, notes = answered, (f"measured in what {here.name} answers to {there.name}, which a policy lets pass",)
            echoed = returned.result.protocol == ECHO
    way = _for_ends(way, here, there)
    return PathView(
        source=here, destination=there, whole=way, parts=parts, notes=notes, only_answers=answers, by_echo=echoed
    )


def back(here: Endpoint, there: Endpoint, legs: Sequence[Leg]) -> PathView | None:
    """View the same path from its other end; None when that direction was not measured."""
    whole = next(leg for leg in legs if leg.role in {"whole", "service"})
    returned = next((leg for leg in legs if leg.role == "return"), None)
    way = _backward(whole, here.mtu)
    notes, echoed = whole.result.notes, whole.result.protocol == ECHO
    if way is None and returned is not None and (way := _forward(returned)).verdict.kind not in UNDECIDED:
        notes, echoed = returned.result.notes, returned.result.protocol == ECHO
    if way is None or way.verdict.kind in UNDECIDED:
        return None
    mtus = {"near": here.mtu, "nodes": 0, "far": 0}
    parts = {
        TURNED[leg.role]: turned
        for leg in legs
        if leg.role in mtus
        and (turned := _backward(leg, mtus[leg.role], here.mtu if leg.role == "near" else 0)) is not None
    }
    whole_way = _for_ends(way, there, here)
    return PathView(source=there, destination=here, whole=whole_way, parts=parts, notes=notes, by_echo=echoed)


def _for_ends(way: LegView, here: Endpoint, there: Endpoint) -> LegView:
    """Judge the whole path, where routers say that it is smaller, as its two ends meet it.

    Nobody expects that a node gets more into a pod than the pod takes.
    """
    one, verdict = way.direction, way.verdict
    if one is None or verdict.kind != "lower":
        return way
    if not here.port and there.port and verdict.mtu == there.mtu and not there.veth_differs:
        return msgspec.structs.replace(way, verdict=path_verdict.judge_direction(one, there.mtu))
    return way


def judged(here: Endpoint, there: Endpoint, legs: Sequence[Leg]) -> tuple[Leg, ...]:
    """Judge both directions of each leg of a path, and the whole of it as its two ends meet it."""
    peers: Mapping[Role, int] = {"whole": here.mtu, "near": here.mtu, "return": there.mtu}
    found = []
    for leg in legs:
        way = _forward(leg)
        other = _backward(leg, peers.get(leg.role, 0), here.mtu if leg.role == "near" else 0)
        if leg.role in {"whole", "service"}:
            way = _for_ends(way, here, there)
            other = _for_ends(other, there, here) if other is not None else None
        found.append(
            msgspec.structs.replace(leg, forward=way.verdict, backward=other.verdict if other is not None else None)
        )
    whole = next((leg.forward for leg in found if leg.role in {"whole", "service"}), None)
    if whole is not None and whole.kind == "outer fragments":
        return tuple(_cut(leg, whole, there) for leg in found)
    return tuple(found)


def _cut(leg: Leg, whole: Verdict, there: Endpoint) -> Leg:
    """Judge a leg of a path on which a tunnel cuts what it carries, which only the node that sends sees.

    What arrives on the way back arrives in pieces as well where the other node's tunnel is too large for its NIC; where
    that is not known, it was not looked at. A path MTU that a kernel learned from the tunnel is true.
    """
    forth, back = leg.forward, leg.backward
    if forth is not None and forth.kind == "stale path MTU" and leg.role == "overlay":
        forth = msgspec.structs.replace(forth, kind=whole.kind, mtu=whole.mtu)
    if leg.role in {"whole", "service", "overlay"} and back is not None and back.ok and back.mtu > whole.mtu:
        cut = msgspec.structs.replace(back, kind=whole.kind, mtu=there.fits)
        back = cut if 0 < there.fits < back.mtu else None
    return msgspec.structs.replace(leg, forward=forth, backward=back)


def _forward(leg: Leg) -> LegView:
    """View the direction that was asked for, apart from the other one."""
    result = leg.result
    verdict = result.verdict
    one = result.forward
    if one is not None and verdict.kind != "equal paths differ":
        one = one.without_learned_mss(result.backward)
        verdict = _as_measured(path_verdict.judge_direction(one, leg.expected or None), one, leg.expected)
    return LegView(source=leg.source, destination=leg.destination, verdict=verdict, direction=one)


def _backward(leg: Leg, peer_mtu: int, expected: int = 0) -> LegView | None:
    """View the other direction from its sender's side; None when it is not known to the byte.

    What the other end reports does not say by which interface it arrived here: `peer_mtu` is that one's, by default
    that of the one by which this end sends.
    """
    home, there = leg.result.backward, leg.result.forward
    if home is None or home.search.ending != "exact":
        return None
    top = there.search.interface_mtu if there is not None and there.search.limit != "expected" else 0
    home = msgspec.structs.replace(home, receiver_mtu=home.receiver_mtu or peer_mtu or top).without_learned_mss(there)
    verdict = _as_measured(path_verdict.judge_direction(home, expected or None), home, expected)
    plain = msgspec.structs.replace(home, path_mtu_after=0)  # it tells no more than that
    verdict = msgspec.structs.replace(verdict, evidence=path_verdict.judge_direction(plain, expected or None).evidence)
    return LegView(source=leg.destination, destination=leg.source, verdict=verdict, direction=home)


def _as_measured(verdict: Verdict, one: Direction, expected: int) -> Verdict:
    """Judge what arrives, where what the kernel believes is not all that is wrong, or nothing that is.

    A belief four bytes below what arrives is right: so much more than its MTU a veth lets through.
    """
    if verdict.kind != "stale path MTU":
        return verdict
    if verdict.mtu < verdict.expected or verdict.mtu - one.path_mtu_before <= VLAN_SLACK:
        return path_verdict.judge_direction(msgspec.structs.replace(one, path_mtu_before=0), expected or None)
    return verdict


def facts(course: PathView) -> Iterator[str]:
    """List what the answer rests on, one fact each; what only repeats it is left out."""
    one, verdict = course.whole.direction, course.verdict
    if one is None:
        yield from verdict.evidence
        return
    told = msgspec.structs.replace(
        one,
        path_mtu_before=0,
        path_mtu_after=0,
        receiver_mtu=one.receiver_mtu if not course.destination.mtu else 0,
        segments=one.segments if _worth(verdict, one) else None,
        tcp_mtu_probing=0 if verdict.ok else one.probing,
    )
    if verdict.kind == "equal paths differ":
        yield from verdict.evidence
    else:
        yield from path_verdict.judge_direction(told, verdict.expected).evidence
    if verdict.kind in TOLD_NOBODY and one.path_mtu_after > verdict.mtu:
        yield f"the kernel of {course.source.name} still believes {one.path_mtu_after} bytes: nobody has told it"
    if verdict.kind == "stale path MTU":
        yield f"the kernel of {course.source.name} held {one.path_mtu_before} bytes for this path"


def _worth(verdict: Verdict, one: Direction) -> bool:
    """Return whether what TCP believes adds to the answer."""
    segments = one.segments
    if segments is None:
        return False
    return (
        verdict.kind == "masked"
        or segments.clamped
        or segments.relayed
        or segments.received_mss > segments.announced_mss
    )


def lost(*courses: PathView | None) -> tuple[int, int]:
    """How many packets that fit were lost, of how many, in these directions together."""
    found = [course.whole.direction.search for course in courses if course and course.whole.direction]
    return sum(one.fitting_lost for one in found), sum(one.fitting_packets for one in found)

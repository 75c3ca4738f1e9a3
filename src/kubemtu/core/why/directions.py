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

from kubemtu.core.net import VLAN_SLACK
from kubemtu.core.path import verdict as path_verdict
from kubemtu.core.path.direction import Direction
from kubemtu.core.path.verdict import UNDECIDED, Verdict
from kubemtu.core.probe import proof, request
from kubemtu.core.why.endpoints import Endpoint

Role = Literal["whole", "nodes", "near", "far", "overlay", "service", "return"]
TURNED: Mapping[Role, Role] = {"whole": "whole", "nodes": "nodes", "near": "far", "far": "near"}
ECHO: request.Protocol = "ICMP echo"
SILENT_KINDS = frozenset({"black hole", "masked", "receiver"})


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

    `only_answers`: what the sender begins is not answered, and only its answers to the other end could be measured.
    `by_echo`: measured by ICMP echo, whose answers are as large, so what was lost may have been lost on either way.
    """

    source: Endpoint
    destination: Endpoint
    whole: LegView
    parts: Mapping[Role, LegView]
    notes: tuple[str, ...] = ()
    only_answers: bool = False
    by_echo: bool = False

    @property
    def either_direction(self) -> bool:
        """Return whether packets are lost, and nothing tells on which of the two ways."""
        return self.by_echo and self.verdict.kind in SILENT_KINDS

    @property
    def verdict(self) -> Verdict:
        """What the whole path carries in this direction, and what that means."""
        return self.whole.verdict

    def sound(self, *roles: Role) -> bool:
        """Return whether all these parts were measured and carry what they should."""
        return all(role in self.parts and self.parts[role].sound for role in roles)


def forward_view(source: Endpoint, destination: Endpoint, legs: Sequence[Leg]) -> PathView:
    """View the path in the direction that was asked for; one leg is the whole."""
    whole = next(leg for leg in legs if leg.role in {"whole", "service"})
    parts = {leg.role: _forward(leg) for leg in legs if leg.role not in {"whole", "service", "return"}}
    view, notes, only_answers = _forward(whole), whole.result.notes, False
    by_echo = whole.result.protocol == ECHO
    returned = next((leg for leg in legs if leg.role == "return"), None)
    if returned is not None and (answer_view := _backward(returned, destination.mtu)) is not None:
        only_answers = view.verdict.kind == "unreachable"
        if only_answers or whole.result.protocol != "UDP":
            view, notes = (
                answer_view,
                (f"measured in what {source.name} answers to {destination.name}, which a policy lets pass",),
            )
            by_echo = returned.result.protocol == ECHO
    view = _for_ends(view, source, destination)
    return PathView(
        source=source,
        destination=destination,
        whole=view,
        parts=parts,
        notes=notes,
        only_answers=only_answers,
        by_echo=by_echo,
    )


def backward_view(source: Endpoint, destination: Endpoint, legs: Sequence[Leg]) -> PathView | None:
    """View the same path from its other end; None when that direction was not measured."""
    whole = next(leg for leg in legs if leg.role in {"whole", "service"})
    returned = next((leg for leg in legs if leg.role == "return"), None)
    view = _backward(whole, source.mtu)
    notes, by_echo = whole.result.notes, whole.result.protocol == ECHO
    if view is None and returned is not None and (view := _forward(returned)).verdict.kind not in UNDECIDED:
        notes, by_echo = returned.result.notes, returned.result.protocol == ECHO
    if view is None or view.verdict.kind in UNDECIDED:
        return None
    receiver_mtus = {"near": source.mtu, "nodes": 0, "far": 0}
    parts = {
        TURNED[leg.role]: turned
        for leg in legs
        if leg.role in receiver_mtus
        and (turned := _backward(leg, receiver_mtus[leg.role], source.mtu if leg.role == "near" else 0)) is not None
    }
    whole_view = _for_ends(view, destination, source)
    return PathView(source=destination, destination=source, whole=whole_view, parts=parts, notes=notes, by_echo=by_echo)


def _for_ends(view: LegView, source: Endpoint, destination: Endpoint) -> LegView:
    """Judge the whole path, where routers say that it is smaller, as its two ends meet it.

    Nobody expects that a node gets more into a pod than the pod takes.
    """
    direction, verdict = view.direction, view.verdict
    if direction is None or verdict.kind != "lower":
        return view
    if not source.link and destination.link and verdict.mtu == destination.mtu and not destination.veth_differs:
        return msgspec.structs.replace(view, verdict=path_verdict.judge_direction(direction, destination.mtu))
    return view


def judged_legs(source: Endpoint, destination: Endpoint, legs: Sequence[Leg]) -> tuple[Leg, ...]:
    """Judge both directions of each leg of a path, and the whole of it as its two ends meet it."""
    receiver_mtus: Mapping[Role, int] = {"whole": source.mtu, "near": source.mtu, "return": destination.mtu}
    judged = []
    for leg in legs:
        forward = _forward(leg)
        backward = _backward(leg, receiver_mtus.get(leg.role, 0), source.mtu if leg.role == "near" else 0)
        if leg.role in {"whole", "service"}:
            forward = _for_ends(forward, source, destination)
            backward = _for_ends(backward, destination, source) if backward is not None else None
        judged.append(
            msgspec.structs.replace(
                leg, forward=forward.verdict, backward=backward.verdict if backward is not None else None
            )
        )
    whole = next((leg.forward for leg in judged if leg.role in {"whole", "service"}), None)
    if whole is not None and whole.kind == "outer fragments":
        return tuple(_cut(leg, whole, destination) for leg in judged)
    return tuple(judged)


def _cut(leg: Leg, whole: Verdict, destination: Endpoint) -> Leg:
    """Judge a leg of a path on which a tunnel cuts what it carries, which only the node that sends sees.

    What arrives on the way back arrives in pieces as well where the other node's tunnel is too large for its NIC; where
    that is not known, it was not looked at. A path MTU that a kernel learned from the tunnel is true.
    """
    forward, backward = leg.forward, leg.backward
    if forward is not None and forward.kind == "stale path MTU" and leg.role == "overlay":
        forward = msgspec.structs.replace(forward, kind=whole.kind, mtu=whole.mtu)
    if (
        leg.role in {"whole", "service", "overlay"}
        and backward is not None
        and backward.ok
        and backward.mtu > whole.mtu
    ):
        judged = msgspec.structs.replace(backward, kind=whole.kind, mtu=destination.tunnel_room)
        backward = judged if 0 < destination.tunnel_room < backward.mtu else None
    return msgspec.structs.replace(leg, forward=forward, backward=backward)


def _forward(leg: Leg) -> LegView:
    """View the direction that was asked for, apart from the other one."""
    result = leg.result
    verdict = result.verdict
    direction = result.forward
    if direction is not None and verdict.kind != "equal paths differ":
        direction = direction.without_learned_mss(result.backward)
        verdict = _as_measured(path_verdict.judge_direction(direction, leg.expected or None), direction, leg.expected)
    return LegView(source=leg.source, destination=leg.destination, verdict=verdict, direction=direction)


def _backward(leg: Leg, receiver_mtu: int, expected: int = 0) -> LegView | None:
    """View the other direction from its sender's side; None when it is not known to the byte.

    What the other end reports does not say by which interface it arrived here: `receiver_mtu` is that one's, by default
    that of the one by which this end sends.
    """
    backward, forward = leg.result.backward, leg.result.forward
    if backward is None or backward.search.ending != "exact":
        return None
    top = forward.search.interface_mtu if forward is not None and forward.search.limit != "expected" else 0
    backward = msgspec.structs.replace(
        backward, receiver_mtu=backward.receiver_mtu or receiver_mtu or top
    ).without_learned_mss(forward)
    verdict = _as_measured(path_verdict.judge_direction(backward, expected or None), backward, expected)
    without_belief = msgspec.structs.replace(backward, path_mtu_after=0)  # it tells no more than that
    verdict = msgspec.structs.replace(
        verdict, evidence=path_verdict.judge_direction(without_belief, expected or None).evidence
    )
    return LegView(source=leg.destination, destination=leg.source, verdict=verdict, direction=backward)


def _as_measured(verdict: Verdict, direction: Direction, expected: int) -> Verdict:
    """Judge what arrives, where what the kernel believes is not all that is wrong, or nothing that is.

    A belief four bytes below what arrives is right: so much more than its MTU a veth lets through.
    """
    if verdict.kind != "stale path MTU":
        return verdict
    if verdict.mtu < verdict.expected or verdict.mtu - direction.path_mtu_before <= VLAN_SLACK:
        return path_verdict.judge_direction(msgspec.structs.replace(direction, path_mtu_before=0), expected or None)
    return verdict


def facts(view: PathView) -> Iterator[str]:
    """List what the answer rests on, one fact each; what only repeats it is left out."""
    direction, verdict = view.whole.direction, view.verdict
    if direction is None:
        yield from verdict.evidence
        return
    without_repeats = msgspec.structs.replace(
        direction,
        path_mtu_before=0,
        path_mtu_after=0,
        receiver_mtu=direction.receiver_mtu if not view.destination.mtu else 0,
        segments=direction.segments if _worth(verdict, direction) else None,
        tcp_mtu_probing=0 if verdict.ok else direction.probing,
    )
    if verdict.kind == "equal paths differ":
        yield from verdict.evidence
    else:
        yield from path_verdict.judge_direction(without_repeats, verdict.expected).evidence
    if verdict.kind in SILENT_KINDS and direction.path_mtu_after > verdict.mtu:
        yield f"the kernel of {view.source.name} still believes {direction.path_mtu_after} bytes: nobody has told it"
    if verdict.kind == "stale path MTU":
        yield f"the kernel of {view.source.name} held {direction.path_mtu_before} bytes for this path"


def _worth(verdict: Verdict, direction: Direction) -> bool:
    """Return whether what TCP believes adds to the answer."""
    segments = direction.segments
    if segments is None:
        return False
    return (
        verdict.kind == "masked"
        or segments.clamped
        or segments.relayed
        or segments.received_mss > segments.announced_mss
    )


def packets_lost(*views: PathView | None) -> tuple[int, int]:
    """Count how many packets that fit were lost, of how many, in these directions together."""
    searches = [view.whole.direction.search for view in views if view and view.whole.direction]
    return sum(search.fitting_lost for search in searches), sum(search.fitting_packets for search in searches)

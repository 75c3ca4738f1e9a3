"""It is the MTU: the sentence that says what becomes of larger packets, where, and what each end believes."""

from collections.abc import Mapping
from typing import Final

from kubemtu.core import codes
from kubemtu.core.cluster import tunnels
from kubemtu.core.path.verdict import Kind
from kubemtu.core.remedy import Remedy
from kubemtu.core.why import directions
from kubemtu.core.why.case import Diagnosis, PathCase
from kubemtu.core.why.directions import PathView
from kubemtu.core.why.location import Location, advise, locate, remedy_for

FATES: Final[Mapping[Kind, str]] = {
    "lower": "are refused",
    "black hole": "vanish",
    "masked": "vanish",
    "receiver": "are dropped",
    "fragmented": "arrive in pieces",
    "outer fragments": "are cut in pieces",
    "equal paths differ": "vanish on some of several equal paths",
    "refused here": "are refused by its own interface",
    "stale path MTU": "are not sent whole",
}


def carried(view: PathView) -> int:
    """Return what arrives whole of what the sender's kernel sends whole."""
    direction = view.whole.direction
    if view.verdict.kind == "stale path MTU" and direction is not None:
        return direction.path_mtu_before
    return view.verdict.mtu


def answer(case: PathCase, view: PathView) -> Diagnosis:
    """Answer for a path that carries less than it should in the direction of this view."""
    location = locate(view)
    path = f"from {view.source.name} to {view.destination.name}{case.over_family}"
    path += ", or on the way back," if view.either_direction else ""
    clause = f"{path} packets above {carried(view)} {_fate(view, location)}"
    where = f" {location.words}" if location.words else ""
    remedy = remedy_for(view, location, case.network)
    one_way = _sound(case.other(view))
    return case.answer(
        "yes",
        f"This is MTU: {clause}{where}{_believed(case, view)}{_icmp(view)}{_other(case, view)}.",
        view,
        location,
        advise(view, location, one_way=one_way, flushed=case.flushed, remedy=remedy) + _own_tunnel(case, view, remedy),
        remedy=remedy,
    )


def _own_tunnel(case: PathCase, view: PathView, remedy: Remedy | None) -> str:
    """Say what ends it for a node, or a pod on its network, whose tunnel is larger than pods are, where those fit."""
    here, there = view.source, view.destination
    if case.network is None or here.link or not there.link or remedy is None or remedy.cause != "none":
        return ""
    ways = ((one.node.name, far.name) for one in tunnels.overreaching(case.network) for far in one.far)
    if (here.node, there.node) not in ways:
        return ""
    return f"; {codes.MTU145.code} of `kubemtu check` says what ends it for what {here.node} itself sends by its tunnel"


def _sound(view: PathView | None) -> bool:
    return view is not None and view.whole.sound


def _fate(view: PathView, location: Location) -> str:
    verdict = view.verdict
    if view.destination.kind == "service" and verdict.kind == "equal paths differ":
        return "do not arrive at some of its endpoints"
    if verdict.kind == "stale path MTU":
        return f"{FATES['stale path MTU']}, although {verdict.mtu} arrive"
    by = verdict.location if verdict.kind == "lower" and location.cause not in {"tunnel", "interface", "veth"} else ""
    return f"{FATES.get(verdict.kind, 'do not arrive')}{f' by {by}' if by else ''}"


def _believed(case: PathCase, view: PathView) -> str:
    """Say what both ends take for the MTU of the path; a node that sends by a tunnel goes by that."""
    source, destination, other = view.source, view.destination, case.other(view)
    if view.verdict.kind == "stale path MTU":
        return f"; the kernel of {source.name} holds {carried(view)} for this path, learned or set by a route"
    ours = view.verdict.expected or source.mtu
    theirs = other.verdict.expected if other is not None else destination.mtu
    direction = view.whole.direction
    silent = view.verdict.kind in directions.SILENT_KINDS
    if silent and direction is not None and direction.path_mtu_after > view.verdict.mtu:
        # The kernel goes by what it learned, not by its interface.
        ours = min(ours, direction.path_mtu_after) or direction.path_mtu_after
    if ours and theirs:
        if ours == theirs:
            return f"; both ends believe {ours}"
        return f"; {source.name} believes {ours}, {destination.name} {theirs}"
    return f"; {source.name} believes {ours}" if ours else ""


def _icmp(view: PathView) -> str:
    kind, direction = view.verdict.kind, view.whole.direction
    if kind == "lower":
        return "; ICMP says so, and TCP adapts when it hears it"
    if kind == "masked" and direction is not None:
        return f"; {_mask(view)}"
    return "; no ICMP comes back" if kind in directions.SILENT_KINDS else ""


def _mask(view: PathView) -> str:
    """Say what keeps TCP going, and what it does not keep."""
    direction = view.whole.direction
    segments = direction.segments if direction is not None else None
    if direction is not None and direction.tcp_spared and segments is not None:
        by = "an MSS clamp" if segments.clamped else f"what {view.destination.name} asks for"
        return f"TCP is kept at {segments.allowed} by {by}, and UDP and QUIC are lost"
    probing = direction.probing if direction is not None else 0
    return f"TCP finds its way after seconds of silence (tcp_mtu_probing={probing}), and UDP and QUIC do not"


def _other(case: PathCase, view: PathView) -> str:
    """Say what the other direction carries, where that differs; a tunnel that cuts was looked for in one only."""
    other = case.other(view)
    if other is None or view.verdict.kind == "outer fragments":
        return ""
    if other.whole.sound:
        return f"; the other way {other.verdict.mtu} arrive" if other.verdict.mtu != view.verdict.mtu else ""
    if (other.verdict.kind, carried(other)) == (view.verdict.kind, carried(view)):
        return ""
    return f"; the other way those above {carried(other)} {FATES.get(other.verdict.kind, 'do not arrive')}"

"""Measured paths for tests: two pods on two nodes, and what each part of the way between them carries, both ways."""

from typing import Any

import msgspec

from kubemtu.core.path import search
from kubemtu.core.path import verdict as path_verdict
from kubemtu.core.path.direction import Direction
from kubemtu.core.probe import request
from kubemtu.core.why.directions import Leg, Role
from kubemtu.core.why.endpoints import Endpoint

WEB = Endpoint(
    kind="pod",
    name="default/web-1",
    addresses=("10.42.1.10",),
    node="n1",
    agent_node="n1",
    link="caliweb",
    mtu=1450,
    host_mtu=1450,
    has_tunnel=True,
)
PG = Endpoint(
    kind="pod",
    name="db/pg-0",
    addresses=("10.42.2.10",),
    node="n2",
    agent_node="n2",
    link="calipg",
    mtu=1450,
    host_mtu=1450,
    has_tunnel=True,
)
N1 = Endpoint(kind="node", name="n1", addresses=("192.0.2.1",), node="n1", agent_node="n1", mtu=1500, has_tunnel=True)
N2 = Endpoint(kind="node", name="n2", addresses=("192.0.2.2",), node="n2", agent_node="n2", mtu=1500, has_tunnel=True)
OUTSIDE = Endpoint(kind="address", name="203.0.113.7", addresses=("203.0.113.7",))


def changed(end: Endpoint, **fields: Any) -> Endpoint:
    """Return that end, with something else about it."""
    return msgspec.structs.replace(end, **fields)


def direction(
    mtu: int,
    top: int = 1450,
    *,
    by: str = "",
    limit: search.Limit | None = None,
    ending: search.Ending = "exact",
    before: int | None = None,
    peer: int = 0,
    fitting: int = 53,
    lost: int = 0,
    unheard: bool = False,
    **facts: Any,
) -> Direction:
    """One direction that carries `mtu` of `top` bytes; `by` is the router that says so, else nobody does.

    The sender's kernel believed `before`, what the interface has unless told otherwise, and learns what it is told.
    """
    own = "own interface" if mtu >= top else "router" if by else "silence"
    found = search.SearchResult(
        ending=ending,
        mtu=mtu,
        limit=(limit or own) if ending == "exact" else None,  # type: ignore[arg-type]  # each is a Limit
        next_size_losses=6,
        full_size_vanishes=unheard,
        fitting_packets=fitting,
        fitting_lost=lost,
        rounds=2,
        packets=60,
        interface_mtu=top,
        too_big=(search.TooBig(mtu=mtu, router=by, refused_size=top),) if by else (),
        largest_fragment=mtu if limit == "fragments" else None,
    )
    believed = top if before is None else before
    return Direction(
        search=found, path_mtu_before=believed, path_mtu_after=mtu if by else believed, receiver_mtu=peer, **facts
    )


def carrying(carried: int, expected: int) -> Direction:
    """Return what a station finds where everything larger vanishes; `carried` 0: nothing is answered."""
    found = search.SearchResult(
        ending="exact" if carried else "unreachable",
        mtu=min(carried, expected),
        limit=("expected" if carried >= expected else "silence") if carried else None,
        next_size_losses=6,
        fitting_packets=9,
        fitting_lost=0,
        rounds=2,
        packets=20,
        interface_mtu=expected,
    )
    return Direction(search=found)


def verdict(carried: int, expected: int) -> path_verdict.Verdict:
    """Return what is judged of such a direction."""
    return path_verdict.judge(carrying(carried, expected), expected=expected)


def nothing(top: int = 1450) -> Direction:
    """Return a direction in which nothing is answered."""
    return direction(0, top, ending="unreachable")


def returned(one: Direction) -> Direction:
    """Return the same as the other end reports it: without who spoke, what was believed, and whose interface it is."""
    quotes = tuple(msgspec.structs.replace(quote, router=None) for quote in one.search.too_big)
    found = msgspec.structs.replace(one.search, too_big=quotes)
    return msgspec.structs.replace(one, search=found, path_mtu_before=0, receiver_mtu=0)


def leg(
    role: Role,
    there: Direction,
    home: Direction | None = None,
    *,
    expected: int = 0,
    over: request.Protocol = "UDP",
    here: Endpoint = WEB,
    goal: Endpoint = PG,
) -> Leg:
    """Return a part of the path that was measured, there and back."""
    names = {
        "near": (here.name, here.node),
        "nodes": (here.node, goal.node),
        "overlay": (here.node, goal.name),
        "far": (goal.node, goal.name),
        "return": (goal.name, here.name),
    }.get(role, (here.name, goal.name))
    back = returned(home) if home is not None else None
    verdict = path_verdict.judge(there, back, expected=expected or None)
    result = request.PathResult(
        path=role, verdict=verdict, protocol=over, both_ways=back is not None, forward=there, backward=back
    )
    return Leg(role=role, source=names[0], destination=names[1], result=result, expected=expected)


def both(role: Role, mtu: int, top: int = 1450, *, expected: int = 0, goal: Endpoint = PG, **facts: Any) -> Leg:
    """Return a part that carries the same both ways."""
    return leg(role, direction(mtu, top, **facts), direction(mtu, top, **facts), expected=expected, goal=goal)


def path(whole: Leg, *other: Leg, nodes: int = 1500) -> list[Leg]:
    """Return the whole path and its parts, of which those that are not given carry what they should."""
    given = {one.role: one for one in other}
    parts = [
        given.get("near") or both("near", 1450),
        given.get("nodes") or both("nodes", nodes, 1500),
        given.get("overlay") or leg("overlay", direction(1450)),
        given.get("far") or both("far", 1450, expected=1450),
        *([given["return"]] if "return" in given else []),
    ]
    return [whole, *parts]

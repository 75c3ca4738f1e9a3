"""What one node tells, held within what one object of the API can be: etcd refuses a request above 1.5 MiB.

Source: etcd, server/embed/config.go DefaultMaxRequestBytes. What is left out is named in `troubles`, so that nobody
takes the rest for the whole.
"""

from collections.abc import Callable

import msgspec

from kubemtu.core import net

MOST = 900_000
"""Bytes of JSON: the rest of the object, answers to measurements above all, needs its place too."""
SENTENCES = 64
"""Troubles that are told one by one; where everything fails, more of the same helps nobody."""
LONGEST = 500  # characters of one trouble


def bounded(seen: net.NodeObservation, most: int = MOST) -> net.NodeObservation:
    """Return the observation, with as much left out as it must to have at most `most` bytes of JSON."""
    troubles = [one if len(one) <= LONGEST else f"{one[: LONGEST - 1]}…" for one in seen.troubles[:SENTENCES]]
    if len(seen.troubles) > SENTENCES:
        troubles.append(f"{len(seen.troubles) - SENTENCES} more troubles of this node are not told one by one")
    seen = msgspec.structs.replace(seen, troubles=tuple(troubles))
    for what, less in _STEPS:
        if _size(seen) <= most:
            return seen
        smaller = less(seen, most)
        if smaller != seen:
            left = f"{what}: this node has more than the {most} bytes that its NodeMTU may hold"
            seen = msgspec.structs.replace(smaller, troubles=(*smaller.troubles, left))
    return seen


def _size(seen: object) -> int:
    return len(msgspec.json.encode(seen))


def _plain_pods(seen: net.NodeObservation, most: int) -> net.NodeObservation:
    return msgspec.structs.replace(
        seen,
        ports=tuple(
            msgspec.structs.replace(port, routes=tuple(route for route in port.routes if route.mtu is not None))
            for port in seen.ports
        ),
    )


def _plain_node(seen: net.NodeObservation, most: int) -> net.NodeObservation:
    return msgspec.structs.replace(seen, routes=tuple(route for route in seen.routes if route.mtu is not None))


def _part(name: str) -> Callable[[net.NodeObservation, int], net.NodeObservation]:
    """Return the step that keeps as many of a list as leave the whole within the limit."""

    def less(seen: net.NodeObservation, most: int) -> net.NodeObservation:
        kept: tuple[object, ...] = getattr(seen, name)
        room = most - 1000 - (_size(seen) - _size(kept))  # the sentence about it needs its place too
        while kept and _size(kept) > room:
            kept = kept[: len(kept) * 3 // 4]
        return msgspec.structs.replace(seen, **{name: kept})

    return less


_STEPS: tuple[tuple[str, Callable[[net.NodeObservation, int], net.NodeObservation]], ...] = (
    ("routes of pods that limit no MTU are left out", _plain_pods),
    ("routes of the node that limit no MTU are left out", _plain_node),
    ("some of the CNI's files are left out", _part("files")),
    ("some pods are left out", _part("ports")),
    ("some routes are left out", _part("routes")),
    ("some devices are left out", _part("links")),
    ("some ways to peers are left out", _part("uplinks")),
)

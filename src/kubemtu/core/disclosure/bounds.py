"""What one node tells, held within what one object of the API can be: etcd refuses a request above 1.5 MiB.

Source: etcd, server/embed/config.go DefaultMaxRequestBytes. What is left out is named in `errors`, so that nobody
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


def bounded(observation: net.NodeObservation, most: int = MOST) -> net.NodeObservation:
    """Return the observation, with as much left out as it must to have at most `most` bytes of JSON."""
    troubles = [one if len(one) <= LONGEST else f"{one[: LONGEST - 1]}…" for one in observation.errors[:SENTENCES]]
    if len(observation.errors) > SENTENCES:
        troubles.append(f"{len(observation.errors) - SENTENCES} more troubles of this node are not told one by one")
    observation = msgspec.structs.replace(observation, errors=tuple(troubles))
    for what, less in _STEPS:
        if _size(observation) <= most:
            return observation
        smaller = less(observation, most)
        if smaller != observation:
            left = f"{what}: this node has more than the {most} bytes that its NodeMTU may hold"
            observation = msgspec.structs.replace(smaller, errors=(*smaller.errors, left))
    return observation


def _size(observation: object) -> int:
    return len(msgspec.json.encode(observation))


def _plain_pods(observation: net.NodeObservation, most: int) -> net.NodeObservation:
    return msgspec.structs.replace(
        observation,
        ports=tuple(
            msgspec.structs.replace(port, routes=tuple(route for route in port.routes if route.mtu is not None))
            for port in observation.ports
        ),
    )


def _plain_node(observation: net.NodeObservation, most: int) -> net.NodeObservation:
    return msgspec.structs.replace(
        observation, routes=tuple(route for route in observation.routes if route.mtu is not None)
    )


def _part(name: str) -> Callable[[net.NodeObservation, int], net.NodeObservation]:
    """Return the step that keeps as many of a list as leave the whole within the limit."""

    def less(observation: net.NodeObservation, most: int) -> net.NodeObservation:
        kept: tuple[object, ...] = getattr(observation, name)
        room = most - 1000 - (_size(observation) - _size(kept))  # the sentence about it needs its place too
        while kept and _size(kept) > room:
            kept = kept[: len(kept) * 3 // 4]
        return msgspec.structs.replace(observation, **{name: kept})

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

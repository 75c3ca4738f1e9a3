"""What the agents are asked to measure, and what they tell: the `spec` of an MTUProbe, and their answers to it.

An order is put to all agents at once and changes nothing on a node but what it says itself: sockets that answer for a
while, and learned path MTUs forgotten where that is asked for. Every agent takes from it what is its own node's, and
tells under the order's name in its own NodeMTU. So a question needs no right to write a NodeMTU, several may be asked
at the same time, and a thousand agents do not hear each other's answers.

Sizes are of whole IP packets, in bytes.
"""

from typing import Literal

import msgspec

from kubemtu.core.evidence import records
from kubemtu.core.mesh import rounds
from kubemtu.core.path import verdict as path_verdict

PORT = 7843  # UDP and TCP: of the agents on the nodes, and of the probe pods
SECONDS = 120  # that an order lives, unless it says otherwise
Over = Literal["UDP", "ICMP echo", "TCP"]


class Spot(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A network namespace: of a node itself (`port` empty) or of the pod behind that host-side link of the node."""

    node: str
    port: str = ""


class Way(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One path to measure, from a spot to an address, and in its other direction with `back`.

    `expected`: what should arrive, the interface's own MTU when 0; `enough`: nothing larger is tried. `flows`: so many
    source ports. `echo`: where no station answers, ICMP echo is tried. `tcp`: nothing but the
    TCP of whoever listens on port `at` is measured by, and only there. `deep`: also look at what TCP is made to believe
    and at whether the own tunnel cuts its packets; that takes more packets.
    """

    name: str
    here: Spot
    to: str
    at: int = PORT
    expected: int = 0
    enough: bool = False
    back: bool = False
    flows: int = 1
    echo: bool = True
    tcp: bool = False
    deep: bool = False


class Place(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One member of a mesh: whose namespace it measures from, and the address it answers under."""

    node: str
    address: str
    port: str = ""
    zone: str = ""


class Round(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One round of a mesh: each member measures those `offsets` places further, or everybody else without any.

    `expected`: what should arrive. `pps`: packets a second from each member at most, 0 for what an agent allows.
    """

    members: tuple[Place, ...]
    expected: int
    offsets: tuple[int, ...] = ()
    at: int = PORT
    pps: float = 0.0


class Order(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What is asked; `answering`: pods in which a station answers as long as the order is there.

    `look`: spots whose own evidence is told; `forget`: spots that forget every path MTU they have learned, first.
    `seconds`: after so many the order is over, whoever made it.
    """

    answering: tuple[Spot, ...] = ()
    look: tuple[Spot, ...] = ()
    forget: tuple[Spot, ...] = ()
    ways: tuple[Way, ...] = ()
    round: Round | None = None
    seconds: int = SECONDS


class Result(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What came of one way. `rtt` and `seconds` in seconds; `back` whether the other direction is in the verdict.

    `there` and `home` are the facts of the two directions, told of ways that were looked at deeply.
    """

    way: str
    verdict: path_verdict.Verdict
    over: Over = "UDP"
    back: bool = False
    there: path_verdict.Direction | None = None
    home: path_verdict.Direction | None = None
    rtt: float = 0.0
    seconds: float = 0.0
    packets: int = 0
    notes: tuple[str, ...] = ()


class Look(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The evidence of one spot, before and after the ways were measured; it `forgot` so many learned path MTUs."""

    port: str = ""
    before: records.Evidence | None = None
    after: records.Evidence | None = None
    forgot: int = 0
    trouble: str = ""


class Told(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one agent tells of one order.

    `ready`: all its stations answer. `done`: nothing more will come. `row`: of the round, by the members' indexes.
    `cut`: how many fragments the node made of packets of its own meanwhile. `troubles`: what could not be done.
    """

    ready: bool = False
    done: bool = False
    results: tuple[Result, ...] = ()
    looks: tuple[Look, ...] = ()
    row: rounds.Row | None = None
    cut: int = 0
    troubles: tuple[str, ...] = ()


def concerns(found: Order, node: str) -> bool:
    """Whether a node has anything to do or to tell."""
    spots = (*found.answering, *found.look, *found.forget, *(way.here for way in found.ways))
    members = found.round.members if found.round is not None else ()
    return any(spot.node == node for spot in spots) or any(place.node == node for place in members)


def nodes(found: Order) -> tuple[str, ...]:
    """The nodes that have something to tell, each once."""
    spots = (*found.answering, *found.look, *found.forget, *(way.here for way in found.ways))
    members = found.round.members if found.round is not None else ()
    return tuple(dict.fromkeys((*(spot.node for spot in spots), *(place.node for place in members))))

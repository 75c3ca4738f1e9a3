"""What the agents are asked to measure, and what they report: the `spec` of an MTUProbe, and the reports in NodeMTUs.

A request is put to all agents at once and changes nothing on a node but what it says itself: sockets that answer for a
while, and learned path MTUs that are forgotten. Every agent takes from it what is its own node's, and reports under
the name of the MTUProbe in its own NodeMTU. So a request needs no right to write a NodeMTU, several may be made at the
same time, and a thousand agents do not hear each other's reports.

Sizes are of whole IP packets, in bytes.
"""

from typing import Literal

import msgspec

from kubemtu.core.evidence import records
from kubemtu.core.mesh import rounds
from kubemtu.core.path import verdict as path_verdict

PORT = 7843  # UDP and TCP: of the agents on the nodes, and of the probe pods
SECONDS = 120  # that a request lives, unless it says otherwise
Protocol = Literal["UDP", "ICMP echo", "TCP"]


class Namespace(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Name a network namespace: that of the pod behind the host-side `link` of a node, or with no link the node's."""

    node: str
    link: str = ""


class PathRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Ask for one path, from a namespace (`from` in JSON) to an address; with `both_ways`, for its way back as well.

    `expected`: the size that should arrive, 0 for the MTU of the interface; with `cap_at_expected`, nothing larger is
    tried. `flows`: how many source ports are tried. `icmp_fallback`: where no station answers, ICMP echo is tried.
    `tcp_only`: measure by nothing but the TCP of whoever listens on `port`. `detailed`: also find out which sizes TCP
    is made to believe in, and whether the node's own tunnel fragments; that takes more packets.
    """

    name: str
    source: Namespace = msgspec.field(name="from")
    address: str
    port: int = PORT
    expected: int = 0
    cap_at_expected: bool = False
    both_ways: bool = False
    flows: int = 1
    icmp_fallback: bool = True
    tcp_only: bool = False
    detailed: bool = False


class MeshMember(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Name one member of a mesh: the namespace that it measures from, and the address that it answers at."""

    node: str
    address: str
    link: str = ""
    zone: str = ""


class MeshRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Ask for one round of a mesh: each member measures the members `offsets` further on, or without any all others.

    `expected`: the size that should arrive. `packets_per_second` limits each member; 0 is the agent's own limit.
    """

    members: tuple[MeshMember, ...]
    expected: int
    offsets: tuple[int, ...] = ()
    port: int = PORT
    packets_per_second: float = 0.0


class ProbeRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Ask the agents to measure: the `spec` of an MTUProbe.

    `responders`: pods in which a station answers as long as the MTUProbe exists. `inspect`: namespaces whose
    connections and counters are read. `flush`: namespaces that first forget every path MTU they have learned.
    `timeout_seconds`: when the request ends at the latest, whoever made it.
    """

    responders: tuple[Namespace, ...] = ()
    inspect: tuple[Namespace, ...] = ()
    flush: tuple[Namespace, ...] = ()
    paths: tuple[PathRequest, ...] = ()
    mesh: MeshRequest | None = None
    timeout_seconds: int = SECONDS


class PathResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Report what was measured of one path."""

    path: str
    """The name of the path in the request."""
    verdict: path_verdict.Verdict
    """What was measured, judged; with `bothWays`, of both directions together."""
    protocol: Protocol = "UDP"
    """What it was measured by."""
    both_ways: bool = False
    """True when the verdict is about the way back as well."""
    forward: path_verdict.Direction | None = None
    """The facts of the direction that was asked for; null unless it was measured in detail."""
    backward: path_verdict.Direction | None = None
    """The facts of the way back; null unless it was measured in detail."""
    round_trip_seconds: float = 0.0
    """The round trip of the smallest packet; 0 when nothing was answered."""
    duration_seconds: float = 0.0
    """How long it took to measure the path."""
    packets: int = 0
    """How many packets were sent."""
    notes: tuple[str, ...] = ()
    """What else is to be said of how it was measured, a sentence each."""


class PassiveReading(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Report what one namespace shows without a packet being sent, before and after the paths were measured.

    `flushed` is how many learned path MTUs it was made to forget.
    """

    link: str = ""
    before: records.Evidence | None = None
    after: records.Evidence | None = None
    flushed: int = 0
    error: str = ""


class ProbeReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Report what one agent did for one MTUProbe.

    `ready`: all its stations answer. `done`: nothing more will come. `mesh_row`: what the node measured as a member of
    the mesh, others by their index. `fragments_made`: how many fragments the node made of its own packets meanwhile.
    `errors`: what could not be done, a sentence each.
    """

    ready: bool = False
    done: bool = False
    results: tuple[PathResult, ...] = ()
    readings: tuple[PassiveReading, ...] = ()
    mesh_row: rounds.MeshRow | None = None
    fragments_made: int = 0
    errors: tuple[str, ...] = ()


def concerns(request: ProbeRequest, node: str) -> bool:
    """Return True when a node has something to do or to report."""
    return node in nodes(request)


def nodes(request: ProbeRequest) -> tuple[str, ...]:
    """Return the nodes that have something to report, each once."""
    sources = (path.source for path in request.paths)
    spaces = (*request.responders, *request.inspect, *request.flush, *sources)
    members = request.mesh.members if request.mesh is not None else ()
    return tuple(dict.fromkeys((*(space.node for space in spaces), *(member.node for member in members))))

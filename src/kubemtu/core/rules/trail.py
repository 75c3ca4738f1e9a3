"""How far the configured MTU has come on one node: from the key to a pod's routes, and where it stopped.

    key ─▸ CNI configuration of the node ─▸ file it is read with ─▸ tunnel, bridge ─▸ host ends ─▸ pods ─▸ their routes

Numbers are compared with what stands before them on that way; why one differs is the finding that says so, and where
none does, how that place comes by its number.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from kubemtu.core import net
from kubemtu.core.cluster import reach
from kubemtu.core.cluster.topology import Node, Topology
from kubemtu.core.codes import MTU103, MTU104, MTU105, MTU107, MTU110, MTU115, MTU116, MTU121, MTU122, MTU132, Finding
from kubemtu.core.rules import config

SCHEMA = "kubemtu.io/why-not/v1"
Where = Literal["key", "CNI configuration", "its file", "tunnel", "bridge", "host ends", "pods", "pods' routes"]
Outcome = Literal["same", "differs", "unknown"]

CODES: dict[Where, tuple[str, ...]] = {
    "CNI configuration": (MTU122.code, MTU103.code, MTU110.code),
    "its file": (MTU103.code,),
    "tunnel": (MTU107.code,),
    "bridge": (MTU121.code,),
    "host ends": (MTU105.code, MTU104.code, MTU132.code),
    "pods": (MTU104.code, MTU105.code, MTU132.code),
    "pods' routes": (MTU132.code, MTU115.code, MTU116.code),
}
USUALLY: dict[Where, str] = {
    "CNI configuration": "It is written when the CNI's pod starts on this node, not when the configuration changes.",
    "its file": "It is written when the CNI's daemon starts on this node, not when the configuration changes.",
    "tunnel": "A tunnel keeps its MTU until its device is made anew, or set.",
    "bridge": "A bridge follows its smallest port until its MTU is set once; from then on it keeps that.",
    "host ends": "A pod's interface keeps the MTU that it was born with, whatever the configuration says afterwards.",
    "pods": "A pod keeps the MTU that it was born with, whatever the configuration says afterwards.",
    "pods' routes": "A route keeps its MTU until it is changed or the pod is made anew.",
}
"""How each place comes by its number, where no finding says more."""


class Waypoint(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One place that the MTU passes, on the way from its key to a pod's packets; sizes in bytes of the IP packet."""

    where: Where
    """Which of the places it is."""
    name: str
    """The object, file or device there."""
    mtus: tuple[int, ...]
    """What it has, smallest first; empty when it has no number of its own, or none was seen."""
    expected: int | None
    """What it has when the MTU has come this far; null when nothing before it tells."""
    outcome: Outcome
    """Whether it has that; "unknown" when one of the two was not seen."""
    reason: str = ""
    """Why it differs; else empty."""
    expected_by_network: tuple[net.NetworkMtu, ...] = ()
    """What it has instead where that depends on the destination, as a change in force gives it; empty elsewhere."""


class Trail(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The way of the MTU on one node."""

    node: str
    """Name of the node."""
    carries: int | None
    """What the path between the nodes carries of a pod's packet, in bytes; null when not known."""
    waypoints: tuple[Waypoint, ...]
    """The places, from the key to the pods' routes; what this pod network does not have is left out."""
    stopped_at: Where | None
    """The first place that differs; null when none does."""


class Trails(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The way of the MTU on each observed node, or on the one that was asked for."""

    nodes: tuple[Trail, ...]
    """A node each."""
    unseen: tuple[str, ...] = ()
    """Nodes of which nothing was seen, where no node was named."""
    windows: tuple[str, ...] = ()
    """Nodes of Windows of whose paths nobody says what they carry, where no node was named."""
    schema: str = SCHEMA
    """Version of this form."""

    @property
    def arrived(self) -> bool:
        """True when it has come all the way, on every node that was asked for."""
        whole = bool(self.nodes) and not self.unseen and not self.windows
        return whole and all(each.outcome == "same" for one in self.nodes for each in one.waypoints)


def of(topology: Topology, node: Node, findings: Iterable[Finding]) -> Trail:
    """Follow the MTU on one node; `findings` are those of the whole cluster (core.rules.report.judge)."""
    own = [one for one in findings if node.name in one.nodes]
    waypoints = tuple(_with_reason(each, own) for each in _waypoints(topology, node))
    return Trail(
        node=node.name,
        carries=topology.carries,
        waypoints=waypoints,
        stopped_at=next((each.where for each in waypoints if each.outcome == "differs"), None),
    )


def _waypoints(topology: Topology, node: Node) -> Iterator[Waypoint]:
    state, rendered = topology.state, node.rendered
    key = next((key for key in state.mtu_keys if key.effective), None)
    given = key.value if key is not None else None
    by = f" (last written by {key.written_by})" if key is not None and key.written_by else ""
    yield _key(topology, given, by)
    born = state.pod_mtu
    if rendered is not None:
        literal = rendered.literal
        if literal is not None or state.conflist_mtu is not None:
            wanted = state.conflist_mtu or _asked(topology, node)
            yield _waypoint("CNI configuration", rendered.path, (literal,), wanted)
        if rendered.by and (rendered.by != rendered.path or not rendered.plugins):  # that file alone was saved
            yield _waypoint("its file", rendered.by, (rendered.gives,), _asked(topology, node))
        born = born if born is not None else rendered.gives
    held = topology.due(node)
    if node.tunnel is not None:
        wanted = state.tunnel_mtu if state.tunnel_mtu is not None else node.fits
        if held is not None and wanted is not None and held.pod_mtu <= node.tunnel.mtu <= wanted:
            wanted = node.tunnel.mtu  # a change leads a tunnel to what its pods send, and no further
        yield _waypoint("tunnel", node.tunnel.name, (node.tunnel.mtu,), wanted)
    device = state.device_mtu if state.by_route else born
    if held is not None:  # from here on the agents decide, and not what the CNI gives
        device, born = held.device_mtu or held.pod_mtu, held.pod_mtu
    if node.bridge is not None:
        yield _waypoint("bridge", node.bridge.name, (node.bridge.mtu,), device)
    if node.ports or node.unseen:
        yield from _ends(node, device)
        yield from _routes(node, born, held, by_route=state.by_route)


def _key(topology: Topology, given: int | None, by: str) -> Waypoint:
    """Return the key; one that is not set has been seen, too, where the CNI then goes by the NIC."""
    state, place = topology.state, config.key_place(topology.state)
    if given is not None or state.pod_mtu is not None or state.subtracts is None:
        return _waypoint("key", f"{place}{by}", (given,), given)
    taken = f"the NIC's MTU less {state.subtracts}" if state.subtracts else "the NIC's MTU"
    return Waypoint(where="key", name=f"{place}, not set: {taken}", mtus=(), expected=None, outcome="same")


def _asked(topology: Topology, node: Node) -> int | None:
    """Return what new pods are to get here; where no MTU is configured, what its file gives if that fits the NIC.

    Which NIC a CNI took is not known, so that of the way to the other nodes is held against a file that does not fit.
    """
    state = topology.state
    if state.pod_mtu is not None or state.subtracts is None or node.nic_mtu is None:
        return state.pod_mtu
    gives = node.rendered.gives if node.rendered is not None else None
    if gives is not None and node.inner is not None and gives <= node.inner and not topology.wastes(gives):
        return gives
    return node.nic_mtu - state.subtracts


def _ends(node: Node, device: int | None) -> Iterator[Waypoint]:
    name = f"{len(node.ports)} of {len(node.ports) + len(node.unseen)}"
    ports = [port.at for port in node.ports]
    unseen = [None] * len(node.unseen)
    yield _waypoint("host ends", name, (*(port.host_mtu for port in ports), *unseen), device)
    yield _waypoint("pods", name, (*(port.pod_mtu for port in ports), *unseen), device)


def _routes(node: Node, born: int | None, held: net.HeldSizes | None, *, by_route: bool) -> Iterator[Waypoint]:
    name, ports = f"{len(node.ports)} of {len(node.ports) + len(node.unseen)}", [port.at for port in node.ports]
    routed = [route.mtu for port in ports for route in port.routes if route.mtu is not None]
    if held is not None and (held.network_mtus or held.default_route_mtu):
        lacking = any(reach.missing(port, held.network_mtus, held.default_route_mtu) for port in ports)
        made = _waypoint("pods' routes", f"{name}, by destination, of MTUMigration {held.migration}", routed, None)
        ends = held.device_mtu or held.pod_mtu
        asked = tuple(one for one in held.network_mtus if one.mtu < ends)  # routes of the others need not say theirs
        if held.default_route_mtu is not None:
            asked = (*asked, net.NetworkMtu(network="default", mtu=held.default_route_mtu))
        unseen = any(port.pod_mtu is None for port in ports)
        outcome: Outcome = "differs" if lacking else "unknown" if unseen else "same"
        yield msgspec.structs.replace(made, outcome=outcome, expected_by_network=asked)
    elif by_route:
        yield _waypoint("pods' routes", name, (port.limit for port in ports), born)
    elif routed:
        yield _waypoint("pods' routes", f"{len(routed)} routes with an MTU", routed, born)


def _waypoint(where: Where, name: str, mtus: Iterable[int | None], expected: int | None) -> Waypoint:
    listed = list(mtus)
    seen = tuple(sorted({mtu for mtu in listed if mtu is not None}))
    outcome: Outcome = "unknown"
    if expected is not None and any(mtu != expected for mtu in seen):
        outcome = "differs"
    elif expected is not None and seen and None not in listed:
        outcome = "same"
    return Waypoint(where=where, name=name, mtus=seen, expected=expected, outcome=outcome)


def _with_reason(each: Waypoint, findings: Iterable[Finding]) -> Waypoint:
    if each.outcome != "differs":
        return each
    said = (one.message for code in CODES.get(each.where, ()) for one in findings if one.code == code)
    return msgspec.structs.replace(each, reason=next(said, USUALLY.get(each.where, "")))

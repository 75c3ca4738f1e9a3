"""Who takes part in a mesh: every node with an address, and the probe pod on each, whether its agent reports or not.

A node that does not report is no reason to look away: what it is sent is measured by the others, and what it sends as
well, for its station answers whoever holds the key also while its agent cannot reach the API server.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from kubemtu.core.cluster import policy
from kubemtu.core.objects import Object, node_addresses, pod_addresses
from kubemtu.core.probe import request
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text.wording import names

PROBES = "kubemtu-probe"  # app.kubernetes.io/name of the probe pods
ZONE = "topology.kubernetes.io/zone"


class Members(msgspec.Struct, frozen=True, kw_only=True):
    """Who takes part in one layer, and the MTU of each one's own interface that is known, in bytes, or less where that
    is known.

    `silent` are the nodes whose agents do not report: they are measured from the others. `bounds`: who says less.
    """

    name: str
    places: tuple[request.MeshMember, ...]
    mtus: tuple[int, ...]
    silent: frozenset[str] = frozenset()
    bounds: tuple[policy.Bound, ...] = ()

    @property
    def expected(self) -> int:
        """What should arrive everywhere: the smallest of the interfaces."""
        return min(self.mtus)


def of(snapshot: Snapshot) -> list[Members]:
    """List the layers that this cluster has: each with two members or more, one of which can measure."""
    zones = {found.name: found.text("metadata", "labels", ZONE) or "" for found in snapshot.each("Node")}
    known = policy.known(snapshot).bounds
    found = []
    for ipv6 in (False, True):
        family = ", IPv6" if ipv6 else ""
        for name, places in (("nodes", _nodes(snapshot, zones, known, ipv6)), ("pods", _pods(snapshot, zones, ipv6))):
            mtus = tuple(mtu for _, mtu in places if mtu is not None)
            if len(places) > 1 and mtus:
                silent = frozenset(place.node for place, mtu in places if mtu is None)
                where = tuple(place for place, _ in places)
                bounds = known if name == "nodes" and {*mtus} & {one.path_mtu for one in known} else ()
                made = Members(name=f"{name}{family}", places=where, mtus=mtus, silent=silent, bounds=bounds)
                found.append(made)
    return sorted(found, key=lambda one: not one.name.startswith("nodes"))


def _nodes(
    snapshot: Snapshot, zones: Mapping[str, str], known: Sequence[policy.Bound], ipv6: bool
) -> list[tuple[request.MeshMember, int | None]]:
    found: list[tuple[request.MeshMember, int | None]] = []
    for node in snapshot.each("Node"):
        seen = snapshot.observation(node.name)
        internal = [address for address in node_addresses(node) if (":" in address) is ipv6]
        mtus = [min(one.mtu, one.route_mtu or one.mtu) for one in seen.uplinks] if seen is not None else []
        if internal:
            place = request.MeshMember(node=node.name, address=internal[0], zone=zones[node.name])
            bound = policy.smallest(known, node.name)
            most = min([*mtus, *((bound.path_mtu,) if bound is not None else ())]) if mtus else None
            found.append((place, most))
    return found


def _pods(snapshot: Snapshot, zones: Mapping[str, str], ipv6: bool) -> list[tuple[request.MeshMember, int | None]]:
    """Find one probe pod a node, and the MTU of its own interface; of a silent node what the API says of it."""
    found: dict[str, tuple[request.MeshMember, int | None]] = {}
    wanted: dict[str, str] = {}
    for pod in _probes(snapshot):
        node = pod.text("spec", "nodeName") or ""
        for address in pod_addresses(pod):
            if (":" in address) is ipv6:
                wanted[address] = node
                if node and snapshot.observation(node) is None and pod.text("status", "phase") == "Running":
                    place = request.MeshMember(node=node, address=address, zone=zones.get(node, ""))
                    found.setdefault(node, (place, None))
    for seen in snapshot.nodes:
        for port in seen.ports:
            for address in wanted.keys() & set(port.addresses):
                place = request.MeshMember(
                    node=seen.node, address=address, link=port.host_link, zone=zones.get(seen.node, "")
                )
                found[seen.node] = (place, port.limit)
    return list(found.values())


def _probes(snapshot: Snapshot) -> Iterable[Object]:
    return (pod for pod in snapshot.each("Pod") if pod.text("metadata", "labels", "app.kubernetes.io/name") == PROBES)


def mixed(one: Members) -> str:
    """Say what is expected where interfaces differ."""
    sizes = sorted({*one.mtus})
    by = next((bound for bound in one.bounds if bound.path_mtu == sizes[0]), None)
    if by is not None:
        return f"{one.name}: {sizes[0]} was expected, as {by.says} says; --expected N shows who takes more"
    return (
        f"{one.name}: their interfaces have {names(map(str, sizes))}, so {sizes[0]} was expected, which all have; "
        f"--expected {sizes[-1]} shows who takes more"
    )


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """What could not be measured: `nodes` of which some layer that was asked for has nothing, `layers` that are not
    there at all, and a sentence each."""

    nodes: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def left_out(snapshot: Snapshot, found: Sequence[Members], layers: Sequence[str]) -> LeftOut:
    """Name the nodes of which a layer that was asked for could measure nothing, and the layers that are not there.

    A cluster without a single probe pod has no such layer, which is said, and no node is named for it.
    """
    listed = [node.name for node in snapshot.each("Node")]
    missing: list[str] = []
    notes: list[str] = []
    there = {place.node for one in found for place in one.places}
    if nowhere := [name for name in listed if name not in there and snapshot.observation(name) is None]:
        notes.append(f"no agent tells of node {names(nowhere)}: not measured")
        missing += nowhere
    absent = tuple(kind for kind in layers if not any(one.name.startswith(kind) for one in found))
    for kind in ("nodes", "pods"):
        within = {place.node for one in found if one.name.startswith(kind) for place in one.places}
        without = [name for name in listed if name not in within and name not in missing]
        if kind in layers and kind not in absent and without:
            why = {
                "nodes": f"node {names(without)} has no InternalIP: nothing was measured between it and the others",
                "pods": f"no probe pod runs on node {names(without)}: its pods' network was not measured",
            }
            notes.append(why[kind])
            missing += without
    return LeftOut(nodes=tuple(dict.fromkeys(missing)), layers=absent, notes=tuple(notes))

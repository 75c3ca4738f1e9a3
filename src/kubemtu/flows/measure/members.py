"""Who takes part in a mesh: every node with an address, and the probe pod on each, whether its agent reports or not.

A node that does not report is no reason to look away: what it is sent is measured by the others, and what it sends as
well, for its station answers whoever holds the key also while its agent cannot reach the API server.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from kubemtu.core.cluster import policy, windows
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
    members: tuple[request.MeshMember, ...]
    mtus: tuple[int, ...]
    silent: frozenset[str] = frozenset()
    bounds: tuple[policy.Bound, ...] = ()

    @property
    def expected(self) -> int:
        """What should arrive everywhere: the smallest of the interfaces."""
        return min(self.mtus)


def of(snapshot: Snapshot) -> list[Members]:
    """List the layers that this cluster has: each with two members or more, one of which can measure."""
    zones = {node.name: node.text("metadata", "labels", ZONE) or "" for node in snapshot.each("Node")}
    bounds = policy.known(snapshot).bounds
    layers = []
    for ipv6 in (False, True):
        family = ", IPv6" if ipv6 else ""
        for name, members in (("nodes", _nodes(snapshot, zones, bounds, ipv6)), ("pods", _pods(snapshot, zones, ipv6))):
            mtus = tuple(mtu for _, mtu in members if mtu is not None)
            if len(members) > 1 and mtus:
                silent = frozenset(member.node for member, mtu in members if mtu is None)
                bounding = bounds if name == "nodes" and {*mtus} & {bound.path_mtu for bound in bounds} else ()
                layers.append(
                    Members(
                        name=f"{name}{family}",
                        members=tuple(member for member, _ in members),
                        mtus=mtus,
                        silent=silent,
                        bounds=bounding,
                    )
                )
    return sorted(layers, key=lambda layer: not layer.name.startswith("nodes"))


def _nodes(
    snapshot: Snapshot, zones: Mapping[str, str], bounds: Sequence[policy.Bound], ipv6: bool
) -> list[tuple[request.MeshMember, int | None]]:
    members: list[tuple[request.MeshMember, int | None]] = []
    for node in snapshot.each("Node"):
        if windows.runs(node):  # nobody there measures, and its firewall answers no echo
            continue
        observation = snapshot.observation(node.name)
        internal = [address for address in node_addresses(node) if (":" in address) is ipv6]
        uplinks = observation.uplinks if observation is not None else ()
        mtus = [min(uplink.mtu, uplink.route_mtu or uplink.mtu) for uplink in uplinks]
        if internal:
            member = request.MeshMember(node=node.name, address=internal[0], zone=zones[node.name])
            bound = policy.smallest(bounds, node.name)
            largest = min([*mtus, *((bound.path_mtu,) if bound is not None else ())]) if mtus else None
            members.append((member, largest))
    return members


def _pods(snapshot: Snapshot, zones: Mapping[str, str], ipv6: bool) -> list[tuple[request.MeshMember, int | None]]:
    """Find one probe pod a node, and the MTU of its own interface; of a silent node what the API says of it."""
    members: dict[str, tuple[request.MeshMember, int | None]] = {}
    node_of: dict[str, str] = {}
    for pod in _probes(snapshot):
        node = pod.text("spec", "nodeName") or ""
        for address in pod_addresses(pod):
            if (":" in address) is ipv6:
                node_of[address] = node
                if node and snapshot.observation(node) is None and pod.text("status", "phase") == "Running":
                    member = request.MeshMember(node=node, address=address, zone=zones.get(node, ""))
                    members.setdefault(node, (member, None))
    for observation in snapshot.nodes:
        for port in observation.ports:
            for address in node_of.keys() & set(port.addresses):
                member = request.MeshMember(
                    node=observation.node, address=address, link=port.host_link, zone=zones.get(observation.node, "")
                )
                members[observation.node] = (member, port.limit)
    return list(members.values())


def _probes(snapshot: Snapshot) -> Iterable[Object]:
    return (pod for pod in snapshot.each("Pod") if pod.text("metadata", "labels", "app.kubernetes.io/name") == PROBES)


def mixed(layer: Members) -> str:
    """Say what is expected where interfaces differ."""
    sizes = sorted({*layer.mtus})
    bound = next((bound for bound in layer.bounds if bound.path_mtu == sizes[0]), None)
    if bound is not None:
        return f"{layer.name}: {sizes[0]} was expected, as {bound.says} says; --expected N shows who takes more"
    return (
        f"{layer.name}: their interfaces have {names(map(str, sizes))}, so {sizes[0]} was expected, which all have; "
        f"--expected {sizes[-1]} shows who takes more"
    )


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """What could not be measured: `nodes` of which some layer that was asked for has nothing, `layers` that are not
    there at all, and a sentence each."""

    nodes: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def left_out(snapshot: Snapshot, layers_found: Sequence[Members], layers: Sequence[str]) -> LeftOut:
    """Name the nodes of which a layer that was asked for could measure nothing, and the layers that are not there.

    A cluster without a single probe pod has no such layer, which is said, and no node is named for it. Nodes of Windows
    are named in a note: no agent and no probe pod is for them.
    """
    all_nodes = [node.name for node in snapshot.each("Node") if not windows.runs(node)]
    foreign = windows.names(snapshot)
    nodes: list[str] = []
    notes = [f"node {names(foreign)} runs Windows, for which there is no agent: not measured"] if foreign else []
    measured_nodes = {member.node for layer in layers_found for member in layer.members}
    if unreported := [name for name in all_nodes if name not in measured_nodes and snapshot.observation(name) is None]:
        notes.append(f"no agent tells of node {names(unreported)}: not measured")
        nodes += unreported
    absent = tuple(kind for kind in layers if not any(layer.name.startswith(kind) for layer in layers_found))
    for kind in ("nodes", "pods"):
        within = {member.node for layer in layers_found if layer.name.startswith(kind) for member in layer.members}
        without = [name for name in all_nodes if name not in within and name not in nodes]
        if kind in layers and kind not in absent and without:
            why = {
                "nodes": f"node {names(without)} has no InternalIP: nothing was measured between it and the others",
                "pods": f"no probe pod runs on node {names(without)}: its pods' network was not measured",
            }
            notes.append(why[kind])
            nodes += without
    return LeftOut(nodes=tuple(dict.fromkeys(nodes)), layers=absent, notes=tuple(notes))

"""Measure everybody to everybody, both directions apart, and say what is at fault: the nodes, and the pods on them.

What should arrive is what all members have: where interfaces differ, the smallest of them, for no path between them
carries more than the smaller end takes, and that says nothing of what is between.

Up to a thousand members all pairs are measured; above that a few peers each, so that no node's NIC is missed, and the
exceptions are measured again, more closely. What comes back is exceptions and counts, never a million numbers.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from kubemtu.core import errors
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.mesh import rounds, sampling
from kubemtu.core.mesh.faults import Fault, infer
from kubemtu.core.mesh.follow import follow_up
from kubemtu.core.planning import mesh_remedies
from kubemtu.core.planning import remedy as aims
from kubemtu.core.probe import request
from kubemtu.core.remedy import Remedy
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text.wording import count
from kubemtu.flows import network, observe
from kubemtu.flows.agents import deadlines
from kubemtu.flows.agents.asking import ProbeClient
from kubemtu.flows.agents.events import OnProgress
from kubemtu.flows.measure import members, neighbours
from kubemtu.kube import api as kube_api

FOLLOWED = 200  # pairs that are measured once more, by several flows
FLOWS = 20
PATIENCE = 60.0
LONGEST = 300.0  # seconds of a round: what is asked for much longer is taken away by whoever asks next
INSTALL = "kubemtu install"
ABSENT = {
    "nodes": "nodes: not measured, for no two of them have an InternalIP and one of those an agent",
    "pods": f"pods: not measured, for no two nodes have a probe pod: `{INSTALL}` starts them, and `kubemtu probe "
    "--nodes` asks for the nodes alone",
}
CUT = 4  # fragments of a node's own packets for each full-size probe: above half of that, tunnels cut what they carry


class MeshLayer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Hold one mesh: between the nodes themselves, or between the probe pods on them, over one family."""

    name: str
    """"nodes" or "pods", with the family where it is IPv6."""
    expected: int
    """The size that should arrive, in bytes."""
    mesh: rounds.Mesh
    """What was measured, as exceptions."""
    summary: rounds.Summary
    """The same in numbers."""
    plan: sampling.SamplingPlan
    """Who was to measure whom, and what that finds."""
    faults: tuple[Fault, ...] = ()
    """What is at fault, the worst first."""
    fragmenting_nodes: tuple[str, ...] = ()
    """Nodes whose own tunnel fragmented what it carried meanwhile."""
    duration_seconds: float = 0.0
    """From the request to the last report."""

    @property
    def ok(self) -> bool:
        """Return whether all was measured, and carries what is expected."""
        return not self.faults and not self.fragmenting_nodes

    @property
    def unseen(self) -> bool:
        """Return whether nothing is known to be wrong, and not everything was measured."""
        return bool(self.faults) and not self.fragmenting_nodes and all(fault.kind is None for fault in self.faults)


class MeshReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Hold what a round of all layers came to."""

    ok: bool
    """True when all of every layer was measured, and carries what is expected."""
    layers: tuple[MeshLayer, ...]
    """The layers that were measured."""
    unmeasured_nodes: tuple[str, ...] = ()
    """Nodes that a layer could not measure, and those whose agents do not report, which others measured."""
    absent_layers: tuple[str, ...] = ()
    """Layers that were asked for and do not exist: nothing is known of them."""
    notes: tuple[str, ...] = ()
    """What was not measured, and why what was expected, a sentence each."""
    remedy: Remedy | None = None
    """What to do about the pod network; null where it is not recognised."""
    schema: str = "kubemtu.io/probe/v1"
    """The format of this document."""

    @property
    def between_nodes(self) -> int:
        """The largest packet that arrives between all nodes, in bytes, where that is less than it should be; else 0."""
        return self._least("nodes")

    @property
    def between_pods(self) -> int:
        """The same between all pods, where it is not for what is so between their nodes."""
        return 0 if self.between_nodes else self._least("pods")

    def _least(self, kind: str) -> int:
        sizes = [
            fault.mtu
            for layer in self.layers
            if layer.name.startswith(kind)
            for fault in layer.faults
            if mesh_remedies.sized(fault) and fault.mtu < layer.expected
        ]
        return min(sizes, default=0)

    def lines(self) -> tuple[str, ...]:
        """Write one line for each layer, and for what was left out."""
        lines = [
            f"{one.name}: {one.summary.ok} of {one.summary.measured} ordered pairs carry {one.expected} bytes"
            for one in self.layers
        ]
        return (*lines, *(ABSENT[kind] for kind in self.absent_layers), *self.notes)


async def run(
    api: kube_api.Api,
    snapshot: Snapshot,
    *,
    layers: Sequence[str] = ("nodes", "pods"),
    expected: int | None = None,
    pps: float = sampling.MOST_PPS,
    round_number: int = 0,
    tell: OnProgress = lambda _: None,
) -> MeshReport:
    """Measure the layers of a cluster, as `measure` does; who does not tell what it measured is named in the notes.

    Raises Forbidden where the snapshot says that nodes, or what their agents tell, may not be read.
    """
    observe.permitted(snapshot, "nodemtus", "nodes", *(["pods"] if "pods" in layers else []))
    _chosen(members.of(snapshot), snapshot, layers)
    async with deadlines.asking_all(api, patience=PATIENCE) as asking:
        report = await measure(
            asking, snapshot, layers=layers, expected=expected, pps=pps, round_number=round_number, tell=tell
        )
        return msgspec.structs.replace(report, notes=(*report.notes, *asking.errors))


async def measure(
    asking: ProbeClient,
    snapshot: Snapshot,
    *,
    layers: Sequence[str] = ("nodes", "pods"),
    expected: int | None = None,
    pps: float = sampling.MOST_PPS,
    round_number: int = 0,
    tell: OnProgress = lambda _: None,
) -> MeshReport:
    """Measure the layers one after the other. `expected` overrides what the members' own interfaces say, in bytes.

    `pps`: packets a second from each member at most; agents bound it (node.probe.measuring.PPS_MOST).

    Raises Unreachable when fewer than two nodes have an agent, UsageError for a rate at which a round takes too long.
    """
    measurable = members.of(snapshot)
    chosen = _chosen(measurable, snapshot, layers)
    expectations = [
        members.mixed(layer) for layer in chosen if (layer.bounds or len({*layer.mtus}) > 1) and expected is None
    ]
    measured = [
        await _layer(asking, layer, expected or layer.expected, pps=pps, round_number=round_number, tell=tell)
        for layer in chosen
    ]
    differ = any(len({*layer.mtus}) > 1 for layer in measurable if layer.name.startswith("nodes"))
    topology = network.seen(snapshot)
    advised = tuple(_advised(layer, measured, mixed=differ, topology=topology) for layer in measured)
    left_out = members.left_out(snapshot, chosen, layers)
    silent = [layer.mesh.members[number].name for layer in measured for number in layer.mesh.silent]
    unmeasured = tuple(sorted({*left_out.nodes, *silent}))
    report = MeshReport(
        ok=not unmeasured and not left_out.layers and all(layer.ok for layer in advised),
        layers=advised,
        unmeasured_nodes=unmeasured,
        absent_layers=left_out.layers,
        notes=(*left_out.notes, *expectations),
    )
    if topology is None:
        return report
    remedy = aims.of(topology, between_nodes=report.between_nodes, between_pods=report.between_pods)
    return msgspec.structs.replace(report, remedy=remedy)


def _chosen(
    found_layers: Sequence[members.Members], snapshot: Snapshot, layers: Sequence[str]
) -> list[members.Members]:
    """Choose the layers that were asked for. Raises Unreachable when there is none."""
    chosen = [layer for layer in found_layers if layer.name.partition(",")[0] in layers]
    if not chosen:
        notes = members.left_out(snapshot, chosen, layers).notes
        raise errors.Unreachable(
            f"there are no two {' or '.join(layers)} to measure between: install what measures with `{INSTALL}`"
            + (f" ({'; '.join(notes)})" if notes else "")
        )
    return chosen


def _advised(layer: MeshLayer, layers: Sequence[MeshLayer], *, mixed: bool, topology: Topology | None) -> MeshLayer:
    """Add to a layer what to do about its faults, given what is so between the nodes themselves."""
    kind, _, family = layer.name.partition(",")
    nodes_layer = next((candidate for candidate in layers if candidate.name == f"nodes,{family}".rstrip(",")), None)
    nodes = nodes_layer.faults if nodes_layer is not None else None
    faults = tuple(
        mesh_remedies.advised(fault, kind, layer.expected, nodes, mixed=mixed, network=topology)
        for fault in layer.faults
    )
    return msgspec.structs.replace(layer, faults=faults)


async def _layer(
    asking: ProbeClient,
    layer: members.Members,
    size: int,
    *,
    pps: float,
    round_number: int,
    tell: OnProgress,
) -> MeshLayer:
    sorted_members = sorted(layer.members, key=lambda member: (member.zone, member.node))
    nodes = tuple(rounds.MemberNode(name=member.node, zone=member.zone) for member in sorted_members)
    plan = sampling.plan(nodes, round_number=round_number, most_pps=pps or sampling.MOST_PPS)
    if plan.least_seconds > LONGEST:
        least = plan.peers_per_member * sampling.PACKETS / LONGEST
        raise errors.UsageError(
            f"at {pps:g} packets a second from each node a round takes {plan.least_seconds:,.0f} s, and "
            f"{LONGEST:.0f} s can be waited for: --max-pps {math.ceil(least)} or more"
        )
    everybody = plan.peers_per_member == len(nodes) - 1
    mesh_request = request.MeshRequest(
        members=tuple(sorted_members), expected=size, offsets=() if everybody else plan.offsets, packets_per_second=pps
    )
    began = time.monotonic()
    tell(f"{layer.name}: {len(nodes)} measure {count(plan.peers_per_member, 'peer')} each")
    asking.excuse(layer.silent)
    reports = await asking.ask(
        request.ProbeRequest(mesh=mesh_request, timeout_seconds=int(PATIENCE + plan.least_seconds * 2)),
        on_reports=lambda reported, asked: tell(f"{layer.name}: {reported} of {asked} have measured"),
    )
    rows = [
        report.mesh_row for node, report in reports.items() if report.mesh_row is not None and node not in layer.silent
    ]
    mesh = rounds.Mesh(
        members=nodes,
        expected=size,
        rows=tuple(sorted(rows, key=lambda row: row.sender)),
        offsets=None if everybody else plan.offsets,
    )
    if mesh.silent:
        tell(f"{layer.name}: {count(len(mesh.silent), 'node')} measured by the others")
        mesh = await neighbours.witnessed(asking, sorted_members, mesh)
    faults = infer(mesh)
    if pairs := follow_up(mesh, faults, most=FOLLOWED):
        tell(f"{layer.name}: {count(len(pairs), 'pair')} measured more closely")
        mesh = rounds.merged(mesh, await _closer(asking, sorted_members, mesh, pairs))
        faults = infer(mesh)
    return MeshLayer(
        name=layer.name,
        expected=size,
        mesh=mesh,
        summary=rounds.summary(mesh),
        plan=plan,
        faults=faults,
        fragmenting_nodes=_fragmenting(reports, rows, nodes),
        duration_seconds=round(time.monotonic() - began, 3),
    )


async def _closer(
    asking: ProbeClient, members: Sequence[request.MeshMember], mesh: rounds.Mesh, pairs: Iterable[tuple[int, int]]
) -> rounds.Mesh:
    """Measure some pairs by several flows; return these alone, as a mesh of the same members."""
    requests = [
        request.PathRequest(
            name=f"{sender}>{receiver}",
            source=request.Namespace(node=members[sender].node, link=members[sender].link),
            address=members[receiver].address,
            expected=mesh.expected,
            cap_at_expected=True,
            flows=FLOWS,
        )
        for sender, receiver in pairs
    ]
    results = await asking.paths(requests)
    rows: dict[int, dict[int, request.PathResult]] = {}
    for path_request in requests:
        sender, _, receiver = path_request.name.partition(">")
        if path_request.name in results:
            rows.setdefault(int(sender), {})[int(receiver)] = results[path_request.name]
    new_rows = tuple(_row(sender, found) for sender, found in sorted(rows.items()))
    return msgspec.structs.replace(mesh, rows=new_rows, offsets=())


def _row(sender: int, results: Mapping[int, request.PathResult]) -> rounds.MeshRow:
    row = neighbours.row(sender, {peer: result.verdict for peer, result in results.items()})
    return msgspec.structs.replace(row, packets=sum(result.packets for result in results.values()))


def _fragmenting(
    reports: Mapping[str, request.ProbeReport], rows: Iterable[rounds.MeshRow], members: Sequence[rounds.MemberNode]
) -> tuple[str, ...]:
    """Name nodes whose own tunnel cut what their probes became: two fragments or more for each packet."""
    ok_pairs = {members[row.sender].name: row.ok for row in rows}
    return tuple(
        name
        for name, report in sorted(reports.items())  # they come as they are ready
        if ok_pairs.get(name) and report.fragments_made >= CUT // 2 * ok_pairs[name]
    )

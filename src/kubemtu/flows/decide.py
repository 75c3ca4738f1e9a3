"""From a snapshot to an answer: recognise the pod network, lay it out over the nodes, judge it, plan the change."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from kubemtu.cni import registry
from kubemtu.core import codes, errors
from kubemtu.core.change.plan import EditValue, Plan, Rollout
from kubemtu.core.cluster import policy, topology
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import Object, placed
from kubemtu.core.planning import apart, beside, notes, planner, within
from kubemtu.core.rules import measured, report, runtime, verdict, windows
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import network

if TYPE_CHECKING:  # it needs the API, and what is decided of files does without
    from kubemtu.flows.measure import mesh

MEASURED = "the measurement of this run"
WHOLE = apart.Asked()  # one size for everybody, whoever is sent to


def check(
    snapshot: Snapshot,
    nic_mtu: int | None = None,
    namespace: str | None = None,
    proven: "mesh.MeshReport | None" = None,
) -> report.Report:
    """Judge a snapshot; with a namespace, say nothing of other namespaces' pods.

    Raises as `model` does, and UsageError when no pod is in that namespace: of nothing, all would be right. `proven` is
    what was measured besides: it may find what no interface shows.
    """
    pods = snapshot.of_kind("Pod")
    if namespace is not None and pods and all(pod.namespace != namespace for pod in pods):
        raise UsageError(f"no pod is in a namespace {namespace}: `kubectl get pods -A` shows which there are")
    modelled = network.model(snapshot, nic_mtu, bounds(proven) if proven is not None else ())
    if proven is not None and proven.ok:
        modelled = msgspec.structs.replace(modelled, measured=True)
    findings = [
        one
        for layer in (proven.layers if proven is not None else ())
        for one in measured.find(layer.name, layer.faults, layer.fragmenting_nodes)
    ]
    if proven is not None:
        findings += measured.missing(
            proven.unmeasured_nodes, [layer.faults for layer in proven.layers], proven.absent_layers
        )
    lines = proven.lines() if proven is not None else ()
    told = modelled if namespace is None else topology.only(modelled, namespace)
    return report.report(told, findings, lines, between_pods=proven.between_pods if proven is not None else 0)


def bounds(proven: "mesh.MeshReport") -> tuple[policy.Bound, ...]:
    """Return the bound that a mesh measurement put on the network between the nodes, where there is one."""
    return (policy.Bound(path_mtu=proven.between_nodes, by=MEASURED),) if proven.between_nodes else ()


def plan(
    snapshot: Snapshot, wanted: int | None = None, nic_mtu: int | None = None, asked: apart.Asked = WHOLE
) -> tuple[Plan, topology.Topology]:
    """Plan the way to pods of `wanted` bytes; None: to what the path carries. `asked` says what is to be told apart:
    where nothing is asked for, what is in force.

    Raises as `model` does, and UsageError when that number does not fit, or when there is no key to write it into.
    """
    found = network.model(snapshot, nic_mtu)
    asked = apart.resolved(found, asked)
    same = _as_in_force(found, wanted, nic_mtu, asked)
    if same is not None:
        asked, wanted = same
    aim = _aim(found, wanted, asked)
    sizes = apart.find(found, asked, aim, wanted) if asked else None
    alone = sizes is not None and planner.follows_nics(found, sizes)
    steps = registry.steps(found, snapshot, aim) if not alone else ()
    edits = [step for step in steps if isinstance(step, EditValue)]
    after = _after(snapshot, edits)
    made = planner.make(found, aim, steps, after, sizes)
    if sizes is not None:
        apart.recordable(made, asked)
    if any(isinstance(step, Rollout) for step in made.steps):
        _startable(after or found.state)
    hindrance = runtime.hindrance(found, aim)
    if hindrance and any(isinstance(step, EditValue | Rollout) for step in made.steps):
        raise UsageError(f"new pods would not follow: {hindrance}; then plan again")
    if made.steps:
        unknown = [said] if (said := runtime.unknown(found)) else []
        made = msgspec.structs.replace(
            made,
            remains=(
                *made.remains,
                *unknown,
                *within.remains(found, aim),
                *windows.remains(found, aim),
                *beside.remains(found),
            ),
            warnings=(
                *notes.in_force(found, made, same=same is not None),
                *made.warnings,
                *within.warnings(found, aim),
                *beside.warnings(found),
            ),
        )
    return made, found


def in_force(
    found: topology.Topology, wanted: int | None = None, nic_mtu: int | None = None, asked: apart.Asked = WHOLE
) -> bool:
    """Say whether a plan for this is the change in force: by what was asked for, or by what it gives each node.

    Raises UsageError where nothing tells what `asked` leaves to the cloud.
    """
    return _as_in_force(found, wanted, nic_mtu, apart.resolved(found, asked)) is not None


def _as_in_force(
    found: topology.Topology, wanted: int | None, nic_mtu: int | None, asked: apart.Asked
) -> tuple[apart.Asked, int | None] | None:
    """Return what to plan for where that is what the change in force gives, None where it is something else."""
    if not found.held_by:
        return None
    standing = apart.in_force(found)
    if nic_mtu is None and apart.is_in_force(found, asked, wanted):
        return standing, apart.bound_in_force(found, standing)
    asked = asked or standing
    try:
        alike = apart.gives_in_force(found, asked, _aim(found, wanted, asked), wanted)
    except UsageError:
        return None  # the plan itself says what is wrong with the number
    return (asked, wanted) if alike else None


def sizes(found: topology.Topology, wanted: int | None, asked: apart.Asked) -> dict[str, tuple[int, int | None]]:
    """Return what a plan for this gives the pods of each node, in bytes: the most to anybody, and out of the cluster.

    Raises UsageError as `plan` does.
    """
    asked = apart.resolved(found, asked)
    return apart.given(found, asked, _aim(found, wanted, asked), wanted)


def _aim(found: topology.Topology, wanted: int | None, asked: apart.Asked) -> int:
    """Return what new pods get: `wanted`, but where that is the most that any node's pods are to have."""
    above = asked.per_node and wanted is not None and found.carries is not None and wanted > found.carries
    return planner.target(found, None if above else wanted)


def _startable(state: CniState) -> None:
    """Raise UsageError when a restart would lead into a configuration that keeps what starts from coming up."""
    fatal = [one for one in state.findings if one.severity == "error" and one.code in verdict.KEEPS_DOWN]
    if fatal:
        first = fatal[0]
        raise UsageError(
            f"no restart is planned, because what starts then stays down: {first.place}: {first.message.rstrip('.')}"
            f" ({first.code}). {first.remedy.rstrip('.')}; then plan again"
        )


def judge(modelled: topology.Topology) -> tuple[codes.Finding, ...]:
    """Return all that is wrong with a topology that was planned for."""
    return report.judge(modelled)


def edited(snapshot: Snapshot, edits: Iterable[EditValue]) -> Snapshot:
    """Return the snapshot as it would be read after the edits: nothing is sent anywhere."""
    objects = list(snapshot.objects)
    for edit in edits:
        if edit.creates:
            objects.append(Object(body=edit.made()))
        for index, found in enumerate(objects):
            name = (found.api_version, found.kind, found.name, found.namespace)
            if name == (edit.ref.api_version, edit.ref.kind, edit.ref.name, edit.ref.namespace):
                objects[index] = Object(body=placed(found.body, edit.path, edit.after), origin=found.origin)
    return msgspec.structs.replace(snapshot, objects=tuple(objects))


def _after(snapshot: Snapshot, edits: list[EditValue]) -> CniState | None:
    if not edits:
        return None
    try:
        return registry.recognise(edited(snapshot, edits))
    except errors.KubemtuError:
        return None  # what the edits make of it is a check of ours; the plan does not stand or fall with it

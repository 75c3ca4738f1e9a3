"""What every CNI is put through alike: recognised, judged, planned, its edits made in memory, and read again."""

import msgspec

from kubemtu.cni import registry
from kubemtu.core.change.plan import EditValue, Plan
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.rules.report import Report
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide


class Ran(msgspec.Struct, frozen=True):
    """What came of it. `edits` say of each what is taken out of the value and what is put in."""

    state: CniState
    report: Report
    plan: Plan
    edits: tuple[str, ...]


def run_cni(snapshot: Snapshot, target: int, nic_mtu: int | None = None) -> Ran:
    """Run one CNI through it all; fails where its edits touch another byte, miss `target`, or are wanted twice."""
    state = registry.recognise(snapshot)
    report = decide.check(snapshot, nic_mtu)
    plan, _ = decide.plan(snapshot, target, nic_mtu)
    edits = [step for step in plan.steps if isinstance(step, EditValue)]
    after = decide.edited(snapshot, edits)
    assert decide.edited(after, [edit.undo() for edit in reversed(edits)]) == snapshot
    for edit in edits:
        found = after.find(edit.ref.kind, edit.ref.name, edit.ref.namespace)
        assert found is not None
        assert found.get(*edit.path) == edit.after
    again = registry.recognise(after)
    assert again.pod_mtu == target
    repeated = registry.CNIS[again.name].steps(again, target)
    assert [step for step in repeated if isinstance(step, EditValue)] == []
    return Ran(state, report, plan, tuple(f"{edit.ref}, {edit.path[-1]}: {stretch(edit)}" for edit in edits))


def stretch(edit: EditValue) -> str:
    """The one stretch of a text that an edit changes; all before and behind it is the same, byte for byte."""
    before, after = str(edit.before), str(edit.after)
    head = tail = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    return f"{before[head : len(before) - tail]!r} -> {after[head : len(after) - tail]!r}"

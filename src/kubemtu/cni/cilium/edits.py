"""The edits that change Cilium's base MTU, and when its agents must be restarted."""

import msgspec

from kubemtu.cni.cilium import config, nodes
from kubemtu.cni.cilium.config import CiliumBase, CiliumParts
from kubemtu.cni.cilium.mtu import Mode
from kubemtu.cni.objects import chart, reading
from kubemtu.cni.programs import installer
from kubemtu.core import encap
from kubemtu.core.change import plan
from kubemtu.core.errors import UsageError


class CiliumParsed(msgspec.Struct, frozen=True, kw_only=True):
    """All that is read of one Cilium. `bases` are the agents' base MTUs, in bytes, of `observed` nodes."""

    parts: CiliumParts
    mode: Mode | None
    base: CiliumBase
    bases: tuple[int, ...] = ()
    observed: int = 0
    overriding: frozenset[str] = frozenset()  # base MTUs that CiliumNodeConfigs give some nodes, as they are written


def of(parsed: CiliumParsed, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """Return the edits that give pods' routes `target` bytes, and the restart; see `cilium.steps`."""
    encap.check(target)
    parts, mode, said = parsed.parts, parsed.mode, parsed.base
    if mode is None:
        raise UsageError(
            f"What goes around a packet of {parts.daemonset} is not known, so neither is the base MTU that gives pods"
            f" {target}: `kubemtu check` says what is missing."
        )
    if said.shadow:
        raise UsageError(
            f"{said.shadow} sets the MTU, and nothing else counts: remove it there, then plan again; or set it to"
            f" {target + mode.subtracts} there yourself."
        )
    wanted = target + mode.subtracts
    encap.check(wanted)
    if others := parsed.overriding - {str(wanted)}:
        raise UsageError(
            f"A {nodes.OVERRIDE} gives some nodes the base MTU {', '.join(sorted(others))[:40]}, which stands"
            f" above the ConfigMap: remove {config.KEY} there, or give it {wanted}; then plan again."
        )
    at_work = bool(parsed.bases) and len(parsed.bases) == parsed.observed and set(parsed.bases) == {wanted}
    if said.mtu is None and not said.broken and at_work:
        return ()  # each agent has found it by itself
    edits = _edits(parts, wanted, mode.subtracts, target)
    if not edits and (at_work or not parsed.bases):
        return ()
    restart = plan.Rollout(
        ref=parts.daemonset, why="the agent reads its base MTU only when it starts, and then gives it to its node"
    )
    return (*edits, restart)


def _edits(parts: CiliumParts, wanted: int, taken: int, target: int) -> list[plan.EditValue]:
    why = f"Cilium takes {taken} off and gives pods' routes {target}" if taken else f"pods get {target}"
    edits = []
    if parts.config is not None:
        held = parts.config.get("data", config.KEY)
        before = held if isinstance(held, str | int) else None
        path = ("data", config.KEY)
        edits += installer.edit(reading.ref(parts.config, "configmaps"), path, before, str(wanted), why)
    if parts.is_rke2:
        why = "RKE2 renders Cilium's ConfigMap from these values at every upgrade of the chart"
        edits += chart.edits(parts.source, config.CHART_KEY, wanted, why, make=bool(edits))
    return edits

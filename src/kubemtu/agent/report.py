"""What an agent reports, and when it is worth it: at once what somebody waits for, soon what a node shows, and drop
counters now and then, because they move by themselves.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from kubemtu.core import net
from kubemtu.core.change import migration
from kubemtu.core.probe import request
from kubemtu.kube import records
from kubemtu.kube.records import Condition

BEAT = 20.0  # seconds after which an unchanged observation is reported again; it counts as stale after sixty
SOON = 0.3  # seconds between two reports of what a node shows
ACCEPTED = "Accepted"
MESSAGE = 2000  # characters of a condition's message
DROPS = 3.0  # seconds between two reports where nothing but drop counters moved


class NodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent reports: `applied` is about the spec of that `generation`, `probes` about MTUProbes, by name."""

    generation: int | None
    applied: migration.Applied | None
    probes: Mapping[str, request.ProbeReport | None]
    observation: net.NodeObservation


def delay(report: NodeReport, last: NodeReport | None) -> float:
    """Return how many seconds after the `last` report this one is due."""
    if last is None or report.probes or verdict(report) != verdict(last):
        return 0.0
    if quiet(report.observation) != quiet(last.observation):
        return SOON
    return DROPS if counters(report.observation) != counters(last.observation) else BEAT


def verdict(report: NodeReport) -> tuple[object, ...]:
    """Return what somebody waits for."""
    applied = report.applied
    still = None if applied is None else msgspec.structs.replace(applied, duration_seconds=0.0)
    return report.generation, still


def accepted(
    applied: migration.Applied | None, generation: int | None, before: Condition | None, now: str
) -> Condition:
    """Return the condition that says whether the spec is obeyed; `before` is the one reported last, `now` RFC 3339."""
    status: Literal["True", "False"] = "True"
    if applied is None:
        reason, message = "NothingAsked", "nothing is asked of this node"
    elif applied.refused_reason:
        status, reason, message = "False", applied.refused_reason, "; ".join(applied.failures)[:MESSAGE]
    else:
        reason, message = "Obeyed", "the node is made what the spec says"
    earlier = (before,) if before is not None else ()
    return records.condition(ACCEPTED, status, reason, message, before=earlier, now=now, generation=generation)


def quiet(observation: net.NodeObservation) -> net.NodeObservation:
    """Return the observation without what changes by itself: its time, and drop counters."""
    return msgspec.structs.replace(observation, observed_at=0.0, ports=without_counters(observation.ports))


def counters(observation: net.NodeObservation) -> tuple[tuple[int, ...], ...]:
    """Return the drop counters of every port."""
    return tuple(
        (port.host_rx_dropped, port.host_tx_dropped, port.pod_rx_dropped, port.pod_tx_dropped)
        for port in observation.ports
    )


def without_counters(ports: Sequence[net.PodPort]) -> tuple[net.PodPort, ...]:
    """Return the ports with every drop counter at zero."""
    return tuple(
        msgspec.structs.replace(port, host_rx_dropped=0, host_tx_dropped=0, pod_rx_dropped=0, pod_tx_dropped=0)
        for port in ports
    )

"""One word for a cluster: whether something is broken, could be better, could not be seen, or all is well."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from kubemtu.core import codes
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.codes import Finding
from kubemtu.core.rules import windows

ClusterVerdict: TypeAlias = Literal["healthy", "broken", "suboptimal", "incomplete"]

# A container that does not start (MTU111 as an error: a flag that ends it), or a pod that gets no network.
KEEPS_DOWN = frozenset({codes.MTU108.code, codes.MTU109.code, codes.MTU112.code, codes.MTU122.code, codes.MTU111.code})


def of(topology: Topology, findings: Sequence[Finding]) -> ClusterVerdict:
    """Return what all findings come to: the worst of them, or that something was not seen."""
    severities = {finding.severity for finding in findings}
    if "error" in severities:
        return "broken"
    if any(finding.severity == "warning" and finding.code != codes.MTU117.code for finding in findings):
        return "suboptimal"
    unseen_now = {codes.MTU117.code, codes.MTU118.code, codes.MTU125.code} & {finding.code for finding in findings}
    unseen_now |= {*windows.silent(topology)}
    return "incomplete" if unseen_now or (topology.carries is None and not _conditional(topology)) else "healthy"


def _conditional(topology: Topology) -> bool:
    """Return True when the configuration alone says for which NICs it is right, and nobody could have shown one."""
    state = topology.state
    known = state.pod_mtu is not None or state.subtracts is not None
    return topology.offline and state.encapsulation_known and known

"""What MTUPolicy objects say: which of them decide, and which are not used."""

from collections.abc import Iterable

from kubemtu.core import codes
from kubemtu.core.cluster import capacity
from kubemtu.core.cluster.policy import Policy
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.codes import Finding
from kubemtu.core.text.wording import these


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report policies that are used (MTU126), and those that have expired or cannot be (MTU127)."""
    return (*_used(topology), *_refused(topology))


def _used(topology: Topology) -> Iterable[Finding]:
    there = {node.name for node in topology.nodes} | {node.name for node in topology.windows} | {*topology.silent}
    for one in topology.policies.used:
        absent = [name for name in one.nodes if name not in there] if there and not topology.offline else []
        if absent:
            yield codes.finding(
                codes.MTU127,
                str(one),
                f"It speaks of {these('node', absent)}, which the cluster does not have; for those it says nothing.",
                f"Correct spec.nodes, or delete it: kubectl delete mtupolicy {one.name}.",
            )
        if not one.nodes or len(absent) < len(one.nodes):
            yield _says(topology, one)


def _says(topology: Topology, policy: Policy) -> Finding:
    whole = f"to and from {these('node', policy.nodes)}" if policy.nodes else "between nodes"
    until = f" until {policy.expires}" if policy.expires else ""
    said = f"Known on purpose: the path {whole} carries {policy.path_mtu}{until} ({policy.reason.rstrip('.')})."
    decides = any(node.bound is not None and node.bound.by == str(policy) for node in topology.nodes)
    if topology.narrowest is None:
        decides = topology.assumed_by is not None and topology.assumed_by.by == str(policy)
    if topology.beyond is not None:
        decides = topology.beyond.by == str(policy)
    if not decides:
        return codes.finding(
            codes.MTU126, str(policy), f"{said} Interfaces, or another policy, say no more than that.", "Nothing to do."
        )
    leaves = capacity.of_pods(topology.state, policy.path_mtu)
    least = topology.carries
    less = f"; others leave {least}" if None not in {leaves, least} and least != leaves else ""
    return codes.finding(
        codes.MTU126,
        str(policy),
        f"{said} That leaves {leaves or least} for a pod's packet, whatever the NICs say{less}.",
        "Nothing to do while it is so; when the network carries more, change it or delete it: kubectl delete "
        f"mtupolicy {policy.name}.",
    )


def _refused(topology: Topology) -> Iterable[Finding]:
    for one in topology.policies.refused:
        yield codes.finding(codes.MTU127, f"MTUPolicy {one.name}", f"It {one.why}. It is not used.", one.remedy)

"""Inside the pods: what forwards there for containers and virtual machines, against the pod's own MTU."""

from collections.abc import Iterable

from kubemtu.core import codes, places
from kubemtu.core.cluster import nesting
from kubemtu.core.cluster.nesting import Nested
from kubemtu.core.cluster.topology import Node, Topology
from kubemtu.core.codes import Finding, Severity
from kubemtu.core.net import VLAN_SLACK
from kubemtu.core.text.wording import count, names

GUESTS = " What the guests themselves have cannot be seen from outside."
OUTSIDE = (
    " A server outside the pod network answers them in packets that the pod does not take; unless it hears the node's"
    " ICMP, it sends those again until the connection ends. The pod itself is well meanwhile."
)


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report devices inside pods that are larger than the pod (MTU131); where nobody looked inside, nothing is said."""
    return tuple(found for node in topology.nodes for found in _of(node))


def _of(node: Node) -> Iterable[Finding]:
    alike: dict[Nested, list[str]] = {}
    for port in (each for each in node.ports if each.at.inner):
        for nested in nesting.larger(port.at, port.about):
            alike.setdefault(nested, []).append(port.pod)
    for nested, pods in alike.items():
        where = f"pod {pods[0]}" if len(pods) == 1 else f"{count(len(pods), 'pod')} ({names(pods)})"
        told = OUTSIDE if nested.attached and not nested.joined else ""
        unseen = GUESTS if nested.guests else ""
        by = f"It is made by {nested.program}: " if nested.program else ""
        remedy = f"{by}{nested.remedy}" if by else f"{nested.remedy[0].upper()}{nested.remedy[1:]}"
        yield codes.finding(
            codes.MTU131,
            places.on(node.name, f"{where}, {nested.device}"),
            f"In {where} {nested.sentence}.{told}{unseen}",
            f"{remedy}. kubemtu changes nothing inside a pod.",
            _severity(nested),
        )


def _severity(nested: Nested) -> Severity:
    if not nested.attached:
        return "note"
    return "error" if nested.joined and nested.size > nested.pod_mtu + VLAN_SLACK else "warning"

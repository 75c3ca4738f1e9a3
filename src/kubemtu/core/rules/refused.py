"""What agents refuse: an object asks a node for what is no change of its pod network, or what nobody drives."""

from kubemtu.core import codes
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.codes import Finding


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report every node whose agent does not obey its NodeMTU (MTU129), with the reason that the agent gives."""
    return tuple(
        codes.finding(
            codes.MTU129,
            f"NodeMTU {node.name}",
            f"The agent of node {node.name} refuses what this asks: {node.seen.refused}.",
            "Nothing of it was done. Find out who wrote the spec (`kubectl get nodemtu -o yaml --show-managed-fields` "
            f"names the writer), and take it away: `kubectl patch nodemtu {node.name} --type merge -p "
            """'{"spec":null}'`.""",
        )
        for node in topology.nodes
        if node.seen.refused
    )

"""Measure the network between the nodes without changing anything: what `apply` does where there is nothing to do."""

from kubemtu.core import errors, proof
from kubemtu.core.topology import Topology
from kubemtu.flows import asking
from kubemtu.flows.change import events, fabric, prove
from kubemtu.flows.change.nodes import Nodes
from kubemtu.kube import api as kube_api

PATIENCE = 15.0  # seconds for the agents to answer


async def between_nodes(
    api: kube_api.Api, topology: Topology, pod_mtu: int, tell: events.Tell = events.silent
) -> proof.Proof:
    """See that the packet which a pod packet of `pod_mtu` bytes becomes arrives from every node at others.

    Raises Surprise with what does arrive when it does not.
    """
    size = max((one.outer(pod_mtu) for one in topology.state.encapsulation), default=pod_mtu)
    async with Nodes.watching(api, tell) as nodes:
        names = sorted(nodes.observations().keys() & await nodes.look_who_left())
        ask = asking.Asking(api, nodes, patience=PATIENCE).ask
        found = await fabric.survey(ask, await prove.node_addresses(api), names, size)
    if found.proof.verdict == "refuted":
        told = fabric.sentence(found, size, pod_mtu)
        raise errors.Surprise(
            "every interface is as it should be, but the network between the nodes does not carry what pods may send: "
            f"{told}. Nothing was changed; {fabric.remedy(found, size, pod_mtu)}"
        )
    return found.proof

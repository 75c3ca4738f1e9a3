"""Measure the network between the nodes without changing anything: what `apply` does where there is nothing to do."""

import uuid
from collections.abc import Mapping

from kubemtu.core import errors, migration, proof
from kubemtu.core.topology import Topology
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
    name = f"survey-{uuid.uuid4().hex[:8]}"

    async def nobody_else() -> None:
        """A survey has no migration that another could drive."""

    async with Nodes.watching(api, tell) as nodes:
        names = sorted(nodes.observations().keys() & await nodes.look_who_left())

        async def ask(orders: Mapping[str, proof.Order]) -> tuple[proof.Answer, ...]:
            wanted = {
                node: migration.Desired(
                    migration=name,
                    phase=migration.Phase.RECORD,
                    low=pod_mtu,
                    high=pod_mtu,
                    ports=topology.state.ports,
                    pod_mtu=pod_mtu,
                    origin_mtu=pod_mtu,
                    probe=order,
                )
                for node, order in orders.items()
            }
            await nodes.reach(wanted, still_ours=nobody_else, patience=PATIENCE)
            return await nodes.answers(orders, PATIENCE)

        try:
            found = await fabric.survey(ask, await prove.node_addresses(api), names, size)
        finally:
            await nodes.release(name)
    if found.proof.verdict == "refuted":
        told = fabric.sentence(found, size, pod_mtu)
        advice = f"apply --mtu {found.carried - (size - pod_mtu)} or less, or correct" if found.carried else "correct"
        raise errors.Surprise(
            "every interface is as it should be, but the network between the nodes does not carry what pods may send: "
            f"{told}. Nothing was changed; {advice} the network"
        )
    return found.proof

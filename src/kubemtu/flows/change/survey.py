"""Measure the network between the nodes, and say what stands against a change: before its first step where that could
lose something, under the pins of a decrease otherwise, and alone where there is nothing to do.
"""

from collections.abc import Mapping, Sequence

import msgspec

from kubemtu.core import encap, errors
from kubemtu.core.change import plan
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.probe import proof, request
from kubemtu.flows.agents import asking, events
from kubemtu.flows.agents.nodes import AgentWatch
from kubemtu.flows.change import prove, underlay
from kubemtu.kube import api as kube_api

PATIENCE = 15.0  # seconds for the agents to answer


async def between_nodes(
    api: kube_api.Api, topology: Topology, pod_mtu: int, tell: events.OnEvent = events.silent
) -> proof.Proof:
    """See that the packet which a pod packet of `pod_mtu` bytes becomes arrives from every node at others.

    Where a change in force gives nodes sizes of their own, it is that of each two. Raises Surprise with what does
    arrive when it does not.
    """
    own = {node.name: held.pod_mtu for node in topology.nodes if (held := topology.held(node)) is not None}
    if len({*own.values()}) > 1:
        proofs = [await _between(api, topology, size, tell, names) for size, names in classes(own)]
        arrived, probes = sum(one.arrived for one in proofs), sum(one.probes for one in proofs)
        return msgspec.structs.replace(proofs[0], arrived=arrived, probes=probes)
    return await _between(api, topology, pod_mtu, tell, None)


async def _between(
    api: kube_api.Api, topology: Topology, pod_mtu: int, tell: events.OnEvent, among: Sequence[str] | None
) -> proof.Proof:
    size = topology.state.outer(pod_mtu)
    surveyed = await _measured(api, size, tell, among)
    if surveyed.proof.verdict == "refuted":
        told = underlay.sentence(surveyed, size, pod_mtu)
        cure = underlay.remedy(surveyed, size, pod_mtu, ipv6=topology.ipv6)
        raise errors.Surprise(
            "every interface that was seen is as it should be, but the network between the nodes does not carry what "
            f"pods may send: {told}. Nothing was changed; {cure}"
        )
    return surveyed.proof


async def carried(api: kube_api.Api, size: int, tell: events.OnEvent = events.silent) -> int:
    """Measure the largest packet, in bytes, that every node can send to the others: `size`, or less.

    Raises Surprise when nothing of any size is answered, or nothing of a size that IP needs arrives.
    """
    found = await _measured(api, size, tell)
    if found.proof.verdict == "held":
        return size
    if found.proof.verdict == "refuted" and found.carried is not None and found.carried >= encap.IPV4_REASSEMBLY:
        return found.carried
    why = found.proof.against[0] if found.proof.against else underlay.unknown(found)
    raise errors.Surprise(
        f"what the network between the nodes carries cannot be measured: {why}. Nothing was changed; give --mtu N for "
        "the pods, or --nic-mtu N for the path between the nodes"
    )


async def _measured(
    api: kube_api.Api, size: int, tell: events.OnEvent, among: Sequence[str] | None = None
) -> underlay.Survey:
    async with AgentWatch.watching(api, tell) as nodes:
        names = sorted(nodes.observations().keys() & await nodes.look_who_left())
        names = [name for name in names if among is None or name in among]
        ask = asking.ProbeClient(api, nodes, patience=PATIENCE).ask
        return await underlay.survey(ask, await prove.node_addresses(api), names, size)


def classes(sizes: Mapping[str, int]) -> list[tuple[int, list[str]]]:
    """Return which nodes send each other pod packets of which size: an MTU in bytes, and those who have it or more.

    `sizes` are what each node's pods have. Two nodes send each other what the smaller one's pods take, so each pair is
    in the round of its own size.
    """
    rounds = [
        (size, sorted(name for name, most in sizes.items() if most >= size)) for size in sorted({*sizes.values()})
    ]
    return [one for one in rounds if len(one[1]) > 1 or len(rounds) == 1]


def against(
    surveyed: underlay.Survey, step: plan.Live, sizes: tuple[int, int], *, unproven: bool, pinned: bool, ipv6: bool
) -> None:
    """Raise Surprise when the network does not carry what the plan leads to, or when a growing one was not measured.

    `sizes` are the packet between the nodes that was sent and the pod packet that it carries, in bytes. `unproven` goes
    on where nothing is answered, `pinned` says that every sender is pinned already, `ipv6` that pods have IPv6.
    """
    done = "Nothing was changed but the pins" if pinned else "Nothing was changed"
    if surveyed.proof.verdict == "refuted":
        raise errors.Surprise(
            f"the network between the nodes does not carry this plan: {underlay.sentence(surveyed, *sizes)}. "
            f"{done}; {underlay.remedy(surveyed, *sizes, ipv6=ipv6)} first"
        )
    grows = any(target.pod_mtu > target.origin_mtu for target in step.nodes)
    if surveyed.proof.verdict == "undecided" and len(step.nodes) > 1 and grows and not unproven:
        raise errors.Surprise(
            f"the network between the nodes cannot be measured: {underlay.unknown(surveyed)}. {done}; "
            f"let UDP port {request.PORT} or ICMP echo pass between the nodes, or add --unproven to raise the MTU "
            "without having seen that it fits"
        )

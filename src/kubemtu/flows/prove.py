"""Prove it: which probes to send, and what the answers say.

Before a change, the fabric must carry the packet that a full pod packet becomes, from every node to every other. After
it, every pod must get a full packet through to a pod on its own node and to one on every other node (at most three).
"""

import uuid
from collections.abc import Iterable, Sequence

from kubemtu.core import net, plan, proof, rendered
from kubemtu.core.objects import Want
from kubemtu.flows.nodes import Nodes
from kubemtu.kube import api as kube_api

NODES = Want(kind="Node", plural="nodes", api_versions=("v1",))
FLOOR = 1200  # bytes: below this no network that runs Kubernetes goes
OTHERS = 3


async def preflight_orders(api: kube_api.Api, nodes: Nodes, step: plan.Live) -> dict[str, proof.Order]:
    """From every node to every other node: one packet of the size that a full pod packet has underway."""
    addresses = await node_addresses(api)
    names = [target.node for target in step.nodes if target.node in addresses]
    return {
        name: order(
            proof.Probe(to=addresses[other], size=step.underlay, what=f"{name} > {other}")
            for other in names
            if other != name
        )
        for name in names
    }


def ladders(nodes: Nodes, step: plan.Live, refused: Sequence[proof.Answer]) -> dict[str, proof.Order]:
    """Every size that may still pass, for the first pair of nodes that the preflight found refused."""
    first = refused[0].probe
    name = first.what.split(" > ", maxsplit=1)[0]
    sizes = range(FLOOR, step.underlay)
    return {name: order(proof.Probe(to=first.to, size=size, what=first.what) for size in sizes)}


def largest(answers: Iterable[proof.Answer]) -> int:
    """The largest size that arrived; 0 when none did."""
    return max((answer.probe.size for answer in answers if answer.outcome == "arrived"), default=0)


async def final_orders(api: kube_api.Api, nodes: Nodes, step: plan.Live) -> dict[str, proof.Order]:
    """From every pod: a full packet to a pod on its own node, and to one on up to three other nodes."""
    seen = {target.node: nodes.observations().get(target.node) for target in step.nodes}
    ports = {name: observation.ports for name, observation in seen.items() if observation is not None}
    return {name: order(probes_of(name, mine, ports)) for name, mine in ports.items()}


def probes_of(name: str, mine: Sequence[net.PodPort], ports: dict[str, tuple[net.PodPort, ...]]) -> list[proof.Probe]:
    """The probes that the pods of one node send."""
    probes: list[proof.Probe] = []
    others = [other for other in ports if other != name and ports[other]]
    for index, port in enumerate(mine):
        towards = [mine[(index + 1) % len(mine)]] if len(mine) > 1 else []
        for turn in range(min(OTHERS, len(others))):
            far = ports[others[(index + turn) % len(others)]]
            towards.append(far[index % len(far)])
        for peer in towards:
            for mine_address, theirs in zip(port.addresses, peer.addresses, strict=False):
                size = min(port.pod_mtu, peer.pod_mtu)
                probes.append(proof.Probe(to=theirs, size=size, port=port.host_link, what=f"{mine_address} > {theirs}"))
    return probes


def order(probes: Iterable[proof.Probe]) -> proof.Order:
    """An order with a name of its own."""
    return proof.Order(name=uuid.uuid4().hex[:12], probes=tuple(probes))


def said(verdict: proof.Proof, step: plan.Live) -> str:
    """The verdict in one line, for people."""
    if verdict.verdict == "held":
        return f"proven: {verdict.arrived} of {verdict.probes} full-size packets between pods arrived"
    if verdict.verdict == "refuted":
        return f"refuted: {verdict.arrived} of {verdict.probes} full-size packets arrived; {verdict.against[0]}"
    return "undecided: there was nobody to send a full-size packet to" * bool(step.nodes)


async def node_addresses(api: kube_api.Api) -> dict[str, str]:
    """The first InternalIP of every node, by name."""
    found: dict[str, str] = {}
    for node in await api.list(NODES):
        for address in node.each("status", "addresses"):
            if address.text("type") == "InternalIP":
                found.setdefault(node.name, address.text("address") or "")
    return {name: address for name, address in found.items() if address}


async def conflists(nodes: Nodes, path: str, mtu: int | None) -> None:
    """Wait until every observed node's conflist holds that MTU; raises Surprise when one does not come to."""

    def look(seen: dict[str, net.NodeObservation]) -> bool:
        there = [rendered.of(observation, path) for observation in seen.values()]
        return all(one is not None and one.path == path and one.literal == mtu for one in there)

    await nodes.until(
        look, 20.0, f"the CNI's pods have restarted, but not every node's {path} holds mtu {mtu or 'of its own'}"
    )

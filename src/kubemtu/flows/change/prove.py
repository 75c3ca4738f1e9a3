"""Prove it between pods: which probes to send, and what their answers say.

Every pod must get a full packet through to a pod on its own node, and to one on each of three other nodes. What does
not arrive is asked once more beside a small packet: where that vanishes too, a policy speaks and not an MTU; and a pod
that has gone meanwhile proves nothing.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from kubemtu.core import net, proof
from kubemtu.core.objects import Want
from kubemtu.core.words import count
from kubemtu.kube import api as kube_api

NODES = Want(kind="Node", plural="nodes", api_versions=("v1",))
OTHERS = 3
ROUNDS = 3
AGAIN = 0.5  # seconds before what did not arrive is asked again

Ask = Callable[[Mapping[str, proof.Order]], Awaitable[tuple[proof.Answer, ...]]]
Ports = Mapping[str, tuple[net.PodPort, ...]]


async def pods(ask: Ask, ports: Callable[[], Ports], names: Mapping[str, str]) -> proof.Proof:
    """Send full-size packets between all pods, and say what that proves.

    `ports` tells the pods that there are now, by node; `names` what a pod with an address is called.
    """
    orders = {name: order(probes_of(name, mine, ports(), names)) for name, mine in ports().items()}
    settled: list[proof.Answer] = []
    controls: list[proof.Answer] = []
    doubtful = await ask(orders)
    for _ in range(ROUNDS):
        settled += [answer for answer in doubtful if answer.outcome == "arrived"]
        doubtful = tuple(one for one in doubtful if one.outcome != "arrived" and _both_there(one.probe, ports()))
        if not doubtful:
            break
        await asyncio.sleep(AGAIN)
        answers = await ask(_again(doubtful, ports()))
        controls = [answer for answer in answers if answer.probe.size == proof.SMALL]
        doubtful = tuple(answer for answer in answers if answer.probe.size != proof.SMALL)
    return proof.judge([*settled, *doubtful], controls)


def probes_of(name: str, mine: Sequence[net.PodPort], ports: Ports, names: Mapping[str, str]) -> list[proof.Probe]:
    """The probes that the pods of one node send."""
    probes: list[proof.Probe] = []
    others = [other for other in ports if other != name and ports[other]]
    for index, port in enumerate(mine):
        towards = [mine[(index + 1) % len(mine)]] if len(mine) > 1 else []
        for turn in range(min(OTHERS, len(others))):
            far = ports[others[(index + turn) % len(others)]]
            towards.append(far[index % len(far)])
        for peer in towards:
            for here, there in _pairs(port.addresses, peer.addresses):
                size = min(port.pod_mtu, peer.pod_mtu)
                what = f"{names.get(here, here)} > {names.get(there, there)}"
                probes.append(proof.Probe(to=there, size=size, port=port.host_link, what=what))
    return probes


def order(probes: Iterable[proof.Probe]) -> proof.Order:
    """An order with a name of its own."""
    return proof.Order(name=uuid.uuid4().hex[:12], probes=tuple(probes))


def said(verdict: proof.Proof) -> str:
    """The verdict in one line, for people."""
    mute = ""
    if verdict.unanswered:
        mute = (
            f"; {count(len(verdict.unanswered), 'path')} ({verdict.unanswered[0]}) answered no echo of any size, as "
            "under a network policy, and proved nothing"
        )
    if verdict.verdict == "held":
        return f"proven: {verdict.arrived} of {verdict.probes} full-size packets between pods arrived{mute}"
    if verdict.verdict == "refuted":
        return f"refuted: {verdict.arrived} of {verdict.probes} full-size packets arrived; {verdict.against[0]}{mute}"
    return f"not proven: there was nobody to send a full-size packet to{mute}"


async def node_addresses(api: kube_api.Api) -> dict[str, str]:
    """The address by which each node's tunnel is reached, by node name: flannel's or Calico's, else the InternalIP."""
    found: dict[str, str] = {}
    for node in await api.list(NODES):
        notes = node.mapping("metadata", "annotations")
        told = notes.get("flannel.alpha.coreos.com/public-ip") or notes.get("projectcalico.org/IPv4Address")
        if isinstance(told, str) and told:
            found[node.name] = told.partition("/")[0]
            continue
        for address in node.each("status", "addresses"):
            if address.text("type") == "InternalIP" and (text := address.text("address")):
                found.setdefault(node.name, text)
    return found


def _pairs(here: Sequence[str], there: Sequence[str]) -> Iterable[tuple[str, str]]:
    """The addresses of two pods that can talk: the first of each family."""
    for is_ipv6 in (False, True):
        ours = next((one for one in here if (":" in one) is is_ipv6), None)
        theirs = next((one for one in there if (":" in one) is is_ipv6), None)
        if ours is not None and theirs is not None:
            yield ours, theirs


def _both_there(probe: proof.Probe, ports: Ports) -> bool:
    present = [port for mine in ports.values() for port in mine]
    return any(port.host_link == probe.port for port in present) and any(probe.to in one.addresses for one in present)


def _again(doubtful: Iterable[proof.Answer], ports: Ports) -> dict[str, proof.Order]:
    """Each probe once more, and a small one beside it, from the node that its port is on."""
    home = {port.host_link: name for name, mine in ports.items() for port in mine}
    by_node: dict[str, list[proof.Probe]] = {}
    for answer in doubtful:
        probe = answer.probe
        small = proof.Probe(to=probe.to, size=proof.SMALL, port=probe.port, what=probe.what)
        by_node.setdefault(home[probe.port], []).extend((probe, small))
    return {name: order(probes) for name, probes in by_node.items()}

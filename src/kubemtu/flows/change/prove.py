"""Prove it between pods: which paths to measure, and what comes of it.

Every pod must get a full packet through to a pod on its own node, and to one on each of three other nodes. What does
not arrive is measured once more: where nothing of any size is answered, a policy speaks and not an MTU; and a pod that
has gone meanwhile proves nothing.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from kubemtu.cni import registry
from kubemtu.core import net, networks, objects
from kubemtu.core.objects import NODES
from kubemtu.core.probe import proof, request
from kubemtu.core.text.wording import count
from kubemtu.flows.agents.asking import ProbeClient
from kubemtu.kube import api as kube_api

OTHERS = 3
ROUNDS = 3
AGAIN = 0.5  # seconds before what did not arrive is measured again

Ports = Mapping[str, tuple[net.PodPort, ...]]
Sizes = Callable[[str, str], int | None]
"""What a pod of a node sends at most to an address, in bytes; None: that does not depend on the address."""


async def pods(
    asking: ProbeClient, ports: Callable[[], Ports], names: Mapping[str, str], sizes: Sizes | None = None
) -> proof.Proof:
    """Send full-size packets between all pods, and say what that proves.

    `ports` tells the pods that there are now, by node; `names` what a pod with an address is called; `sizes` what a
    pod of a node sends at most to an address, where that depends on it.
    """
    settled: list[tuple[str, request.PathResult]] = []
    first = ports()
    due = [way for name, mine in first.items() for way in ways_of(name, mine, first, names, sizes)]
    for turn in range(ROUNDS):
        async with asking.responding(_spots(due, ports())):
            results = await asking.paths(due)
        doubtful = {name: one for name, one in results.items() if not proof.carries(one.verdict)}
        settled += [(name, one) for name, one in results.items() if name not in doubtful]
        due = _both_there([way for way in due if way.name in doubtful], ports())
        if not due or turn == ROUNDS - 1:
            settled += [(way.name, doubtful[way.name]) for way in due]
            break
        await asyncio.sleep(AGAIN)
    return proof.judge(settled)


def ways_of(
    name: str, mine: Sequence[net.PodPort], ports: Ports, names: Mapping[str, str], sizes: Sizes | None = None
) -> list[request.PathRequest]:
    """Return the paths that begin at the pods of one node."""
    ways: list[request.PathRequest] = []
    others = [other for other in ports if other != name and ports[other]]
    for index, port in enumerate(mine):
        towards = [mine[(index + 1) % len(mine)]] if len(mine) > 1 else []
        for turn in range(min(OTHERS, len(others))):
            far = ports[others[(index + turn) % len(others)]]
            towards.append(far[index % len(far)])
        for peer in towards:
            for here, there in pairs(port.addresses, peer.addresses):
                both = [port.limit or port.host_mtu, peer.limit or peer.host_mtu]
                if sizes is not None:
                    both += [size for size in (sizes(name, there),) if size is not None]
                ways.append(
                    request.PathRequest(
                        name=_name(here, there, names),
                        source=request.Namespace(node=name, link=port.host_link),
                        address=there,
                        expected=min(both),
                        cap_at_expected=True,
                    )
                )
    return ways


def said(verdict: proof.Proof) -> str:
    """Return the verdict in one line, for people."""
    mute = ""
    if verdict.unanswered:
        mute = (
            f"; {count(len(verdict.unanswered), 'path')} ({verdict.unanswered[0]}) answered nothing of any size, as "
            "under a network policy, or too little, and proved nothing"
        )
    if verdict.verdict == "held":
        return f"proven: {verdict.arrived} of {verdict.probes} full-size packets between pods arrived{mute}"
    if verdict.verdict == "refuted":
        return f"refuted: {verdict.arrived} of {verdict.probes} full-size packets arrived; {verdict.against[0]}{mute}"
    return f"not proven{mute or ': there was nobody to send a full-size packet to'}"


async def node_addresses(api: kube_api.Api) -> dict[str, str]:
    """Return the address by which each node's tunnel is reached, by node name: the CNI's own, else the InternalIP."""
    ends = {node.name: tunnel_end(node) for node in await api.list(NODES)}
    return {name: end for name, end in ends.items() if end}


def tunnel_end(node: objects.Object) -> str:
    """Return the address by which a Node's tunnel is reached; empty where nothing says one.

    An annotation may say that there is none, by 0.0.0.0, where a family is off.
    """
    notes = node.mapping("metadata", "annotations")
    told = (str(notes.get(name, "")).partition("/")[0] for name in registry.address_annotations())
    return next((each for each in (*told, *objects.node_addresses(node)) if networks.is_somebody(each)), "")


def pairs(here: Sequence[str], there: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Return the addresses of two pods that can talk: the first of each family."""
    for is_ipv6 in (False, True):
        ours = next((one for one in here if (":" in one) is is_ipv6), None)
        theirs = next((one for one in there if (":" in one) is is_ipv6), None)
        if ours is not None and theirs is not None:
            yield ours, theirs


def _name(here: str, there: str, names: Mapping[str, str]) -> str:
    """Return the name of a path for people; no other has it, so that each finds its result."""
    family = " over IPv6" if ":" in there and there in names else ""
    return f"{names.get(here, here)} > {names.get(there, there)}{family}"


def _both_there(ways: Iterable[request.PathRequest], ports: Ports) -> list[request.PathRequest]:
    """Return those of which both pods are still there."""
    links = {request.Namespace(node=name, link=port.host_link) for name, mine in ports.items() for port in mine}
    addresses = {address for mine in ports.values() for port in mine for address in port.addresses}
    return [way for way in ways if way.source in links and way.address in addresses]


def _spots(ways: Iterable[request.PathRequest], ports: Ports) -> list[request.Namespace]:
    """Return the pods that must answer."""
    at = {
        address: request.Namespace(node=name, link=port.host_link)
        for name, mine in ports.items()
        for port in mine
        for address in port.addresses
    }
    return list(dict.fromkeys(at[way.address] for way in ways if way.address in at))

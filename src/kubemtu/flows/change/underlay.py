"""The network between the nodes, measured before anything is changed: does it carry what full pod packets become?

A switch that takes less than the NICs send drops without a word, and no interface shows it. So every node sends the
very packet to others; where it does not arrive, the exact size that does is searched.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from kubemtu.core import encap
from kubemtu.core.mesh import rounds, sampling
from kubemtu.core.path import verdict
from kubemtu.core.probe import proof, request
from kubemtu.core.text.wording import count
from kubemtu.flows.agents.asking import Ask

SEARCHED = 16  # paths that are measured exactly when more of them fail


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What the network between the nodes carries: the judgement, and the largest packet that arrived where one did not.

    `carried` is None where nothing failed, or where nothing at all was measured.
    """

    proof: proof.Proof
    carried: int | None = None


async def survey(ask: Ask, addresses: Mapping[str, str], names: Sequence[str], size: int) -> Survey:
    """Send a packet of `size` bytes (the whole IP packet) from each node of `names` to others, and judge what came."""
    known = [name for name in names if name in addresses]
    unknown = [f"{name}: its address is not known" for name in names if name not in addresses]
    if len(known) < 2:
        return Survey(proof=msgspec.structs.replace(proof.judge(()), unanswered=tuple(unknown)))
    told = await ask(request.ProbeRequest(mesh=around(known, addresses, size)))
    rows = [measured.mesh_row for measured in told.values() if measured.mesh_row is not None]
    bad = [_Bad(row.sender, peer, group) for row in rows for group in row.groups for peer in group.receivers]
    ways = {(measured.sender, measured.peer): _way(known, addresses, size, measured) for measured in _chosen(bad)}
    results = await _exactly(ask, list(ways.values()))
    exact = proof.judge((result.path, result) for result in results)
    rest = [measured for measured in bad if (measured.sender, measured.peer) not in ways]
    against = [
        *exact.against,
        *(_short(known, size, measured) for measured in rest if measured.group.kind not in verdict.UNDECIDED),
    ]
    unanswered = [
        *exact.unanswered,
        *(_name(known, measured) for measured in rest if measured.group.kind in verdict.UNDECIDED),
        *(f"{known[row.sender]}: {row.error}" for row in rows if row.error),
        *(
            f"{name}: {trouble}"
            for name, measured in told.items()
            if measured.mesh_row is None
            for trouble in measured.errors
        ),
        *unknown,
    ]
    arrived = exact.arrived + sum(row.ok for row in rows)
    carried = [
        measured.verdict.mtu
        for measured in results
        if not proof.carries(measured.verdict) and not proof.mute(measured.verdict)
    ]
    return Survey(
        proof=proof.Proof(
            verdict="refuted" if against else "held" if arrived else "undecided",
            probes=arrived + len(against),
            arrived=arrived,
            against=tuple(against),
            unanswered=tuple(unanswered),
        ),
        carried=min(carried, default=None) if against else None,
    )


async def _exactly(ask: Ask, ways: list[request.PathRequest]) -> list[request.PathResult]:
    """Measure what these paths carry, to the byte; return the worst first."""
    if not ways:
        return []
    found = [result for one in (await ask(request.ProbeRequest(paths=tuple(ways)))).values() for result in one.results]
    return sorted(found, key=lambda result: result.verdict.mtu)


def around(names: Sequence[str], addresses: Mapping[str, str], size: int) -> request.MeshRequest:
    """Return one round among these nodes: everybody, or in a large cluster so many that no node's NIC is missed."""
    members = tuple(request.MeshMember(node=name, address=addresses[name]) for name in names)
    planned = sampling.plan([rounds.MemberNode(name=name) for name in names])
    everybody = planned.peers_per_member == len(names) - 1
    offsets = () if everybody else planned.offsets
    return request.MeshRequest(members=members, expected=size, offsets=offsets, packets_per_second=sampling.MOST_PPS)


def sentence(surveyed: Survey, size: int, pod_mtu: int) -> str:
    """Say what does not arrive, and which pod MTU would: packets of `size` bytes carry pod packets of `pod_mtu`."""
    against = surveyed.proof.against
    more = f" ({count(len(against) - 1, 'other way')} like it)" if len(against) > 1 else ""
    if surveyed.carried is None:
        return f"{against[0]}{more}"
    return f"{against[0]}{more}; {surveyed.carried} bytes leave {surveyed.carried - (size - pod_mtu)} for pods"


def remedy(surveyed: Survey, size: int, pod_mtu: int, *, ipv6: bool) -> str:
    """Return the remedy; nobody is told to apply what no pod can live with, and `ipv6` says whether pods have that."""
    fits = surveyed.carried - (size - pod_mtu) if surveyed.carried is not None else 0
    if fits < encap.least(ipv6=ipv6):
        return "correct the network"
    return f"apply --mtu {fits} or less, or correct the network"


def unknown(surveyed: Survey) -> str:
    """Say why it is not known what the network carries."""
    unanswered = surveyed.proof.unanswered
    if not unanswered:
        return "no node has told anything"
    more = f", and {count(len(unanswered) - 1, 'other way')} like it" if len(unanswered) > 1 else ""
    return f"nothing of any size is answered, or too little ({unanswered[0]}{more})"


class _Bad(NamedTuple):
    """One path that did not carry it, by the places of its ends."""

    sender: int
    peer: int
    group: rounds.PeerGroup


def _chosen(bad: Sequence[_Bad]) -> list[_Bad]:
    """Return a few of the paths that failed: the smallest sizes first, of as many senders and peers as can be."""
    if len(bad) <= SEARCHED:
        return list(bad)
    kinds = {(one.group.kind, one.group.mtu): one for one in sorted(bad, key=lambda one: one.group.mtu)}
    senders = {one.sender: one for one in bad}
    peers = {one.peer: one for one in bad}
    return list(dict.fromkeys((*kinds.values(), *senders.values(), *peers.values())))[:SEARCHED]


def _name(names: Sequence[str], path: _Bad) -> str:
    return f"{names[path.sender]} > {names[path.peer]}"


def _short(names: Sequence[str], size: int, path: _Bad) -> str:
    return f"{_name(names, path)}: {path.group.mtu} bytes arrive, not {size}"


def _way(names: Sequence[str], addresses: Mapping[str, str], size: int, path: _Bad) -> request.PathRequest:
    return request.PathRequest(
        name=_name(names, path),
        source=request.Namespace(node=names[path.sender]),
        address=addresses[names[path.peer]],
        expected=size,
        cap_at_expected=True,
    )

"""What a member of a mesh does not report, measured by the others: from them to it, and what comes back."""

from collections.abc import Mapping, Sequence

from kubemtu.core.mesh import rounds
from kubemtu.core.path import verdict as path_verdict
from kubemtu.core.probe import proof, request
from kubemtu.core.why import legs
from kubemtu.flows.agents.asking import ProbeClient

MOST = 200  # pairs that are measured so in a round
AGAIN = 3  # times that what one direction does not tell is asked again
EACH = 24  # neighbours that measure one member at most


async def witnessed(asking: ProbeClient, places: Sequence[request.MeshMember], whole: rounds.Mesh) -> rounds.Mesh:
    """Add to a round what the members that reported measured of those that did not, in both directions."""
    silent = whole.silent
    able = [number for number in range(len(places)) if number not in set(silent)]
    if not silent or not able:
        return whole
    each = max(1, min(EACH, len(able), MOST // len(silent)))
    pairs = [
        (able[(turn * len(able) // each + place) % len(able)], member)
        for place, member in enumerate(silent[:MOST])
        for turn in range(each)
    ]
    ways = [_way(places, whole.expected, sender, member) for sender, member in pairs]
    results = await asking.paths(ways)
    for _ in range(AGAIN):  # a busy node loses packets of its own, or is late with what it found
        due = [way for way in ways if legs.incomplete(way, results.get(way.name))]
        if not due:
            break
        fresh = await asking.paths(due)
        results |= {name: legs.fuller(results[name], one) for name, one in fresh.items()}
    there: dict[int, dict[int, path_verdict.Verdict]] = {}
    home: dict[int, dict[int, path_verdict.Verdict]] = {}
    for sender, member in pairs:
        result = results.get(f"{sender}>{member}")
        if result is None:
            continue
        there.setdefault(sender, {})[member] = _forth(result, whole.expected)
        if (back := _back(result, whole.expected)) is not None:
            home.setdefault(member, {})[sender] = back
    rows = tuple(row(member, found) for member, found in sorted({**there, **home}.items()))
    later = rounds.Mesh(
        members=whole.members, expected=whole.expected, rows=rows, offsets=(), measured_by_others=tuple(sorted(home))
    )
    return rounds.merged(whole, later)


def _way(places: Sequence[request.MeshMember], expected: int, sender: int, member: int) -> request.PathRequest:
    here = request.Namespace(node=places[sender].node, link=places[sender].link)
    to = places[member].address
    return request.PathRequest(
        name=f"{sender}>{member}",
        source=here,
        address=to,
        expected=expected,
        cap_at_expected=True,
        both_ways=True,
        detailed=True,
    )


def _forth(result: request.PathResult, expected: int) -> path_verdict.Verdict:
    one = result.forward
    return (
        path_verdict.judge_direction(one.without_learned_mss(result.backward), expected)
        if one is not None
        else result.verdict
    )


def _back(result: request.PathResult, expected: int) -> path_verdict.Verdict | None:
    home = result.backward
    if home is None or home.search.ending != "exact":
        return None
    return path_verdict.judge_direction(home.without_learned_mss(result.forward), expected)


def row(sender: int, found: Mapping[int, path_verdict.Verdict]) -> rounds.MeshRow:
    """Hold what is known of a sender's packets to these members, and of no others."""
    groups: dict[tuple[path_verdict.Kind, int], list[int]] = {}
    for peer, verdict in found.items():
        if not proof.carries(verdict):
            groups.setdefault((verdict.kind, verdict.mtu), []).append(peer)
    return rounds.MeshRow(
        sender=sender,
        measured=len(found),
        ok=len(found) - sum(map(len, groups.values())),
        groups=tuple(
            rounds.PeerGroup(kind=kind, mtu=mtu, receivers=tuple(sorted(peers)))
            for (kind, mtu), peers in groups.items()
        ),
        beyond_plan=tuple(sorted(found)),
    )

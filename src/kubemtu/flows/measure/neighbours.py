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


async def witnessed(asking: ProbeClient, members: Sequence[request.MeshMember], mesh: rounds.Mesh) -> rounds.Mesh:
    """Add to a round what the members that reported measured of those that did not, in both directions."""
    silent = mesh.silent
    reporting = [number for number in range(len(members)) if number not in set(silent)]
    if not silent or not reporting:
        return mesh
    neighbours_each = max(1, min(EACH, len(reporting), MOST // len(silent)))
    # Its neighbours are spread evenly over those that report, and each silent member begins at another one of them.
    pairs = [
        (reporting[(repetition * len(reporting) // neighbours_each + index) % len(reporting)], member)
        for index, member in enumerate(silent[:MOST])
        for repetition in range(neighbours_each)
    ]
    requests = [_path_request(members, mesh.expected, sender, member) for sender, member in pairs]
    results = await asking.paths(requests)
    for _ in range(AGAIN):  # a busy node loses packets of its own, or is late with what it found
        due = [
            path_request for path_request in requests if legs.incomplete(path_request, results.get(path_request.name))
        ]
        if not due:
            break
        fresh = await asking.paths(due)
        results |= {name: legs.fuller(results[name], result) for name, result in fresh.items()}
    forward: dict[int, dict[int, path_verdict.Verdict]] = {}
    backward: dict[int, dict[int, path_verdict.Verdict]] = {}
    for sender, member in pairs:
        result = results.get(f"{sender}>{member}")
        if result is None:
            continue
        forward.setdefault(sender, {})[member] = _forward(result, mesh.expected)
        if (backward_verdict := _backward(result, mesh.expected)) is not None:
            backward.setdefault(member, {})[sender] = backward_verdict
    rows = tuple(row(member, verdicts) for member, verdicts in sorted({**forward, **backward}.items()))
    later = rounds.Mesh(
        members=mesh.members, expected=mesh.expected, rows=rows, offsets=(), measured_by_others=tuple(sorted(backward))
    )
    return rounds.merged(mesh, later)


def _path_request(
    members: Sequence[request.MeshMember], expected: int, sender: int, member: int
) -> request.PathRequest:
    source = request.Namespace(node=members[sender].node, link=members[sender].link)
    address = members[member].address
    return request.PathRequest(
        name=f"{sender}>{member}",
        source=source,
        address=address,
        expected=expected,
        cap_at_expected=True,
        both_ways=True,
        detailed=True,
    )


def _forward(result: request.PathResult, expected: int) -> path_verdict.Verdict:
    forward = result.forward
    return (
        path_verdict.judge_direction(forward.without_learned_mss(result.backward), expected)
        if forward is not None
        else result.verdict
    )


def _backward(result: request.PathResult, expected: int) -> path_verdict.Verdict | None:
    backward = result.backward
    if backward is None or backward.search.ending != "exact":
        return None
    return path_verdict.judge_direction(backward.without_learned_mss(result.forward), expected)


def row(sender: int, verdicts: Mapping[int, path_verdict.Verdict]) -> rounds.MeshRow:
    """Hold what is known of a sender's packets to these members, and of no others."""
    groups: dict[tuple[path_verdict.Kind, int], list[int]] = {}
    for peer, verdict in verdicts.items():
        if not proof.carries(verdict):
            groups.setdefault((verdict.kind, verdict.mtu), []).append(peer)
    return rounds.MeshRow(
        sender=sender,
        measured=len(verdicts),
        ok=len(verdicts) - sum(map(len, groups.values())),
        groups=tuple(
            rounds.PeerGroup(kind=kind, mtu=mtu, receivers=tuple(sorted(peers)))
            for (kind, mtu), peers in groups.items()
        ),
        beyond_plan=tuple(sorted(verdicts)),
    )

"""The network between the nodes, measured before anything is changed: does it carry what full pod packets become?

A switch that takes less than the NICs send drops without a word, and no interface shows it. So every node sends the
very packet to others; where it vanishes, the largest that arrives is searched, by rounds of many sizes at once.
"""

import bisect
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from kubemtu.core import proof
from kubemtu.core.words import count
from kubemtu.flows.change.prove import Ask, order

FLOOR = 1200  # bytes: below this no network that runs Kubernetes goes
KNOWN = (1422, 1454, 1458, 1462, 1472, 1476, 1492, 8951, 9001, 9198)  # sizes that networks have, besides round ones
ALL_PAIRS = 12  # nodes; from there on each node probes those 1, 2, 4, 8, ... places further
SEARCHED = 16  # pairs that are measured when more of them fail
FAN = 12  # sizes of one round of a search
ROUNDS = 6  # of a search: more than the largest IP packet needs


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What the network between the nodes carries: the judgement, and the largest packet that arrived where one did not.

    `carried` is None where nothing failed, or where nothing at all was measured.
    """

    proof: proof.Proof
    carried: int | None = None


class Search:
    """One pair of nodes: the largest of the candidate sizes that arrives, halved FAN-fold with each round."""

    def __init__(self, probe: proof.Probe) -> None:
        self.probe = probe
        self.sizes = candidates(probe.size)
        self._low, self._high = -1, len(self.sizes)

    def next(self) -> list[proof.Probe]:
        """What to send next; nothing when the answer is known."""
        between = range(self._low + 1, self._high)
        stride = max(1, -(-len(between) // FAN))
        return [msgspec.structs.replace(self.probe, size=self.sizes[place]) for place in between[::stride]]

    def take(self, answers: Iterable[proof.Answer]) -> None:
        """Learn from the answers to `next`, in any order."""
        for answer in answers:
            place = bisect.bisect_left(self.sizes, answer.probe.size)
            if answer.outcome == "arrived":
                self._low = max(self._low, place)
        for answer in answers:
            place = bisect.bisect_left(self.sizes, answer.probe.size)
            if answer.outcome != "arrived" and place > self._low:
                self._high = min(self._high, place)

    @property
    def largest(self) -> int | None:
        """The largest size that arrived; None when none did."""
        return self.sizes[self._low] if self._low >= 0 else None


async def survey(ask: Ask, addresses: Mapping[str, str], names: Sequence[str], size: int) -> Survey:
    """Send packets of `size` bytes (the whole IP packet) from each node of `names` to others, and judge the answers."""
    pairs = routes(names, addresses, size)
    first = await ask({name: order(probes) for name, probes in pairs.items()})
    failed = {proof.path(answer.probe): answer for answer in first if answer.outcome != "arrived"}
    if not failed:
        return Survey(proof=proof.judge(first))
    again = await ask(_by_sender(probe for one in failed.values() for probe in (one.probe, _small(one.probe))))
    controls = [answer for answer in again if answer.probe.size == proof.SMALL]
    second = [answer for answer in again if answer.probe.size != proof.SMALL]
    verdict = proof.judge([*(one for one in first if proof.path(one.probe) not in failed), *second], controls)
    if verdict.verdict != "refuted":
        return Survey(proof=verdict)
    mute = {proof.path(answer.probe) for answer in controls if answer.outcome == "silence"}
    black = [one.probe for one in second if one.outcome != "arrived" and proof.path(one.probe) not in mute]
    return Survey(proof=verdict, carried=await largest(ask, black[:SEARCHED]))


async def largest(ask: Ask, probes: Iterable[proof.Probe]) -> int | None:
    """The largest packet that arrives on the worst of these ways; None when nothing does."""
    searches = {proof.path(probe): Search(probe) for probe in probes}
    for _ in range(ROUNDS):
        due = [probe for search in searches.values() for probe in search.next()]
        if not due:
            break
        answers = await ask(_by_sender(due))
        for key, search in searches.items():
            search.take([one for one in answers if proof.path(one.probe) == key])
    found = [search.largest for search in searches.values()]
    return min((one for one in found if one is not None), default=None)


def routes(names: Sequence[str], addresses: Mapping[str, str], size: int) -> dict[str, list[proof.Probe]]:
    """Who sends to whom: everybody to everybody in a small cluster, to a few in a large one, each to others."""
    known = [name for name in names if name in addresses]
    steps = range(1, len(known)) if len(known) <= ALL_PAIRS else [1 << power for power in range(10)]
    return {
        name: [
            proof.Probe(to=addresses[other], size=size, what=f"{name} > {other}")
            for step in steps
            if step < len(known) and (other := known[(place + step) % len(known)]) != name
        ]
        for place, name in enumerate(known)
    }


def candidates(size: int) -> list[int]:
    """The sizes below `size` among which the largest that arrives is searched."""
    return sorted({*range(FLOOR, size, 10), *(known for known in KNOWN if FLOOR <= known < size)})


def sentence(found: Survey, size: int, pod_mtu: int) -> str:
    """What does not arrive, and which pod MTU would: packets of `size` bytes carry pod packets of `pod_mtu`."""
    against = found.proof.against
    more = f", and {count(len(against) - 1, 'other way')} like it" if len(against) > 1 else ""
    if found.carried is None:
        return f"{against[0]}{more}; nothing of {FLOOR} bytes or more arrives there"
    fits = found.carried - (size - pod_mtu)
    return f"{against[0]}{more}; {found.carried} bytes arrive, which leaves {fits} for pods"


def _small(probe: proof.Probe) -> proof.Probe:
    return msgspec.structs.replace(probe, size=proof.SMALL)


def _by_sender(probes: Iterable[proof.Probe]) -> dict[str, proof.Order]:
    found: dict[str, list[proof.Probe]] = {}
    for probe in probes:
        found.setdefault(probe.what.split(" > ", maxsplit=1)[0], []).append(probe)
    return {name: order(listed) for name, listed in found.items()}

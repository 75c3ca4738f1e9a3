"""Who measures whom: everybody everybody, or a few peers each that change from round to round until all had their turn.

Member i measures (i + s) modulo N for each offset s of a round. Every member then receives exactly one probe a slot, so
nobody's buffer meets a hundred full packets at once; and every member is measured by as many others as it measures,
which chance does not grant: of N members that each choose k peers at random, one is missed with (1 - k/(N-1))^(N-1),
nearly e^-k. With offsets it is missed only when all d of its senders are silent, q^d.

The offsets of a round are spread evenly over the ring. So where members stand in order of their zones, each member
measures into every zone that has more than N/k of them; into a smaller one not all of them could, for its members are
measured k times each and no more.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from kubemtu.core.mesh import rounds as mesh_rounds

FULL_UP_TO: Final = 1000  # members: up to 999 packets of full size from each in a round
OFFSETS: Final = 24
PACKETS: Final = 4  # to measure a pair that is in order: one of full size and three small ones
MOST_PPS: Final = 1000  # packets that a member sends a second
SILENT: Final = 0.1  # the share of members that are assumed not to measure, in what is said of detection
SPINES: Final = 4  # equal paths between two zones, where nobody said how many
RISK: Final = 1e-6


class Detection(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Say how probably one round finds a fault."""

    fault: str
    """Which fault."""
    probability: float
    """The probability that one round finds it."""
    miss_probability: float
    """The probability that it does not, which may be smaller than a number beside 1 can hold."""
    rounds: int
    """After so many rounds it is found, all but for one chance in a million; 0: it may never be."""


class SamplingPlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Plan one round: who measures whom, what that costs, and what it finds."""

    members: int
    """How many nodes take part."""
    offsets: tuple[int, ...]
    """Member i measures member (i + offset) modulo their number, for each offset."""
    pairs: int
    """How many ordered pairs that makes."""
    peers_per_member: int
    """How many peers each member measures."""
    rounds: int
    """After how many rounds every pair was measured."""
    least_seconds: float
    """How long a round takes at least, at the packet rate that is allowed."""
    every_zone_reached: bool
    """True when each member measures into every other zone."""
    detection: tuple[Detection, ...]
    """How probably faults of each kind are found."""
    sentence: str
    """The same for people."""

    def peers(self, member: int) -> tuple[int, ...]:
        """Return whom a member measures, slot by slot."""
        return tuple((member + offset) % self.members for offset in self.offsets)


def full(members: int) -> tuple[int, ...]:
    """Return the offsets by which everybody measures everybody else."""
    return tuple(range(1, members))


def rotation(members: int, offsets: int, round_number: int) -> tuple[int, ...]:
    """Return the offsets of one round, evenly spread; in `rounds(members, offsets)` of them every offset has its turn.

    A few rounds at the end of a turn have some offsets a second time, so that all are of one length.
    """
    others = members - 1
    apart = rounds(members, offsets)
    first = round_number % apart
    chosen = {(first + step * apart) % others + 1 for step in range(offsets)}
    return tuple(sorted(chosen))


def rounds(members: int, offsets: int) -> int:
    """Return after how many rounds all pairs were measured."""
    return math.ceil((members - 1) / offsets)


def flows_needed(members: int, risk: float = RISK) -> int:
    """Return how many flows, each with its own port, find one of so many equal paths, all but for that risk.

    A flow misses it with 1 - 1/members, as ports are hashed (RFC 2992), so the least m with (1 - 1/members)^m <= risk.
    """
    return flows_for(1 / members, risk) if members > 1 else 1


def flows_for(share: float, risk: float = RISK) -> int:
    """Return how many flows at random meet a link that carries this share of them, all but for that risk."""
    return math.ceil(math.log(risk) / math.log1p(-share))


def missed(share: float, flows: float) -> float:
    """Return the probability that no flow meets a link that carries this share of them: (1 - share)^flows."""
    return math.pow(1 - share, flows)


def plan(
    members: Sequence[mesh_rounds.MemberNode],
    *,
    most_pps: float = MOST_PPS,
    full_up_to: int = FULL_UP_TO,
    offsets: int = OFFSETS,
    round_number: int = 0,
    silent: float = SILENT,
    spines: int = SPINES,
) -> SamplingPlan:
    """Say who measures whom in this round, and what that finds; `members` best sorted by zone, then by name.

    `silent` is the share of members that are assumed not to measure; `spines` how many equal paths lead from a zone to
    another. Raises ValueError for a number that cannot be.
    """
    if offsets < 1 or most_pps <= 0 or not 0 <= silent < 1 or spines < 1:
        raise ValueError(
            f"{offsets} offsets, {most_pps} packets a second, {silent} silent, {spines} spines: impossible"
        )
    size = len(members)
    everybody = size <= max(full_up_to, offsets + 1)
    chosen = full(size) if everybody else rotation(size, offsets, round_number)
    turn = 1 if everybody else rounds(size, offsets)
    crossing, everywhere = _between_zones(members, chosen)
    detection = _detection(size, chosen, turn, crossing, _zones(members), silent, spines)
    return SamplingPlan(
        members=size,
        offsets=chosen,
        pairs=size * len(chosen),
        peers_per_member=len(chosen),
        rounds=turn,
        least_seconds=len(chosen) * PACKETS / most_pps,
        every_zone_reached=everywhere,
        detection=detection,
        sentence=_sentence(size, len(chosen), turn, detection),
    )


def _zones(members: Sequence[mesh_rounds.MemberNode]) -> Counter[str]:
    return Counter(member.zone for member in members if member.zone)


def _between_zones(members: Sequence[mesh_rounds.MemberNode], offsets: Sequence[int]) -> tuple[int, bool]:
    """Count the pairs of a round that lead to another zone, and tell whether each member reaches every other zone."""
    zones = _zones(members)
    size = len(members)
    if len(offsets) == size - 1:
        zoned = sum(zones.values())
        return zoned * zoned - sum(inside * inside for inside in zones.values()), True
    crossing, everywhere = 0, True
    names = [member.zone for member in members]
    twice = names + names
    for place, zone in enumerate(names):
        reached = [other for offset in offsets if (other := twice[place + offset]) and other != zone]
        crossing += len(reached) if zone else 0
        everywhere = everywhere and len(set(reached)) == len(zones) - (zone in zones)
    return crossing, everywhere


def _detection(
    size: int,
    offsets: Sequence[int],
    turn: int,
    crossing: int,
    zones: Counter[str],
    silent: float,
    spines: int,
) -> tuple[Detection, ...]:
    if not offsets:
        return ()
    degree = len(offsets)
    found = [
        _detected("a node that receives too little", silent**degree),
        _detected("a node that sends too little", silent),
    ]
    if len(zones) > 1:
        share = 1 / (len(zones) * spines)
        name = f"one of {spines} uplinks of a zone, in one direction"
        found.append(_detected(name, missed(share, crossing * (1 - silent))))
    pair = degree / (size - 1)
    found.append(Detection(fault="one broken pair", probability=pair, miss_probability=1 - pair, rounds=turn))
    return tuple(found)


def _detected(fault: str, miss: float) -> Detection:
    needed = 1 if miss <= RISK else math.ceil(math.log(RISK) / math.log(miss)) if miss < 1 else 0
    return Detection(fault=fault, probability=1 - miss, miss_probability=miss, rounds=needed)


def _sentence(size: int, peers: int, turn: int, detection: Sequence[Detection]) -> str:
    nodes = f"{size:,} node" + ("" if size == 1 else "s")
    if not detection:
        return f"{nodes}: there is nobody to measure"
    if turn == 1:
        others = "the other one" if size == 2 else f"all {size - 1:,} peers"
        return f"{nodes}: {others} each, so every round measures every pair"
    receives, pair = detection[0], detection[-1]
    return (
        f"{nodes}: {peers:,} of {size - 1:,} peers each; {receives.fault} is found with probability "
        f"{_chance(receives)}, {pair.fault} only with {pair.probability:.1%} (all pairs after {turn:,} rounds)"
    ).replace("%", " %")


def _chance(detection: Detection) -> str:
    """Write a probability for people: "99.3%", or "1 - 1e-24" where that would be rounded to certainty."""
    if detection.miss_probability >= 1e-3:
        return f"{detection.probability:.1%}"
    if detection.miss_probability == 0:
        return "1"
    return f"1 - 1e{math.ceil(math.log10(detection.miss_probability) - 1e-9)}"

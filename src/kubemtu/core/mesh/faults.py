"""A round in, faults out: what is at fault, how many pairs it explains, and how sure that is."""

from collections.abc import Iterable, Iterator
from typing import Final, Literal

import msgspec

from kubemtu.core import net
from kubemtu.core.mesh import cover, rounds, sentences
from kubemtu.core.mesh.marks import MeasuredPairs, Part
from kubemtu.core.mesh.planes import OWN, Plane, Sort, planes
from kubemtu.core.mesh.regions import BOTH_WAYS, LINES, Region, Shape, Zones, parts
from kubemtu.core.mesh.suspects import Confidence, Suspect
from kubemtu.core.path import verdict
from kubemtu.core.path.verdict import Kind
from kubemtu.core.remedy import Remedy
from kubemtu.core.text.wording import names, verb

Where = Literal[
    "receives",
    "sends",
    "link",
    "pair",
    "zones",
    "zone receives",
    "zone sends",
    "zone link",
    "in zone",
    "between zones",
    "equal paths",
    "everywhere",
    "node down",
    "prober silent",
    "unfinished",
]
WHERE: Final[dict[Shape, Where]] = {
    "column": "receives",
    "row": "sends",
    "node": "link",
    "pair": "pair",
    "pair both": "pair",
    "zones": "zones",
    "zones both": "zones",
    "zone in": "zone receives",
    "zone out": "zone sends",
    "zone uplinks": "zone link",
    "within": "in zone",
    "between": "between zones",
    "everywhere": "everywhere",
}
NODES: Final[frozenset[Shape]] = LINES | {"pair", "pair both"}  # shapes whose names are of nodes


class Fault(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Name one thing at fault, and how many ordered pairs it explains."""

    where: Where
    """Which part of the network: what a member receives or sends, its link, a pair, what zones share."""
    scope: Literal["node", "zone", "all"]
    """Of what `members` and `others` are the names."""
    members: tuple[str, ...]
    """Who is at fault; for "pair", "zones" and "equal paths" where packets come from. Empty: everybody else."""
    others: tuple[str, ...]
    """For "pair", "zones" and "equal paths" where packets go to, in the order of `members`. Empty: everybody else."""
    kind: Kind | None
    """What becomes of larger packets; null when nothing was measured."""
    mtu: int
    """The largest packet that arrives, in bytes; 0 when no size is known."""
    pairs: int
    """How many ordered pairs it explains."""
    sentence: str
    """What is so, in one sentence."""
    advice: str
    """What to do about it."""
    confidence: Confidence
    """How sure it is that this is at fault."""
    both_directions: bool = False
    """True when packets are lost from `members` to `others` and back."""
    remedy: Remedy | None = None
    """What to do about the pod network; null where that is not known."""


def infer(round_: rounds.Mesh) -> tuple[Fault, ...]:
    """Explain all exceptions of a round with the fewest faults, those that explain most first.

    Loss, overload and silence are never called an MTU. Members that did not report come last, and are not guessed at.
    """
    return _Inference(round_).faults()


class _Inference:
    """One round, while it is explained."""

    def __init__(self, round_: rounds.Mesh) -> None:
        self.mesh = round_
        self.measured = MeasuredPairs(round_)
        self.planes = planes(self.measured)
        self.zones = Zones(self.measured)
        self.names = [member.name for member in round_.members]
        self.silent = frozenset(round_.silent)

    def faults(self) -> tuple[Fault, ...]:
        faults = list(self._own_interfaces())
        for plane in self.planes:
            if plane.sort.kind != OWN:
                faults += self._of_plane(plane, cover.explain(plane, self.zones))
        faults.sort(key=lambda fault: (fault.kind in verdict.UNDECIDED, -fault.pairs, fault.members, fault.others))
        down = {name for fault in faults if fault.where == "node down" for name in fault.members}
        return (*faults, *self._silent(down), *self._unfinished())

    def _own_interfaces(self) -> Iterator[Fault]:
        """Blame a sender's own interface, which needs no second witness; such an interface receives no more, either."""
        for plane_of_own in [plane for plane in self.planes if plane.sort.kind == OWN]:
            size = plane_of_own.sort.mtu
            pairs = {member: mask.bit_count() for member, mask in plane_of_own.open.rows.items()}
            if len(pairs) == self.measured.size:
                yield self._fault(self._case("everywhere", OWN, size, sum(pairs.values())), "certain")
                continue
            towards = dict.fromkeys(pairs, 0)
            for plane in self.planes:
                if plane.sort in {Sort(mtu=size), Sort(mtu=size + net.VLAN_SLACK)}:
                    for member in pairs:
                        column = Part(self.measured.everyone, self.measured.one(member))
                        towards[member] += plane.open.count(column)
                        plane.explain(column)
            both: tuple[tuple[Shape, bool], ...] = (("row", False), ("node", True))
            for shape, receives in both:
                members = [member for member in pairs if bool(towards[member]) == receives]
                if members:
                    bad = sum(pairs[member] + towards[member] for member in members)
                    yield self._fault(self._case(shape, OWN, size, bad, self._named(members)), "certain")

    def _of_plane(self, plane: Plane, suspects: Iterable[Suspect]) -> Iterator[Fault]:
        """Yield the faults of one sort; suspects that differ in nothing but the name are told together."""
        groups: dict[tuple[object, ...], list[Suspect]] = {}
        for number, suspect in enumerate(self._everyone(list(suspects))):
            alike = suspect.region.shape in NODES
            key = (suspect.region.shape, suspect.kind, suspect.partly, suspect.confidence, self._mute(suspect))
            groups.setdefault(key if alike else (number,), []).append(suspect)
        for alike_suspects in groups.values():
            yield self._of_suspects(plane, alike_suspects)

    def _everyone(self, suspects: list[Suspect]) -> list[Suspect]:
        """Blame what all share where every member is suspected: to blame every member is to blame none."""
        lines = [suspect for suspect in suspects if suspect.region.shape in LINES and not suspect.partly]
        for shape in ("node", "column", "row"):
            part = [suspect for suspect in lines if suspect.region.shape in {shape, "node"}]
            if len({suspect.region.first for suspect in part}) == self.measured.size:
                largest = max(part, key=lambda suspect: suspect.bad)
                everywhere = Suspect(
                    region=Region("everywhere"),
                    kind=largest.kind,
                    bad=sum(suspect.bad for suspect in part),
                    good=sum(suspect.good for suspect in part) // (2 if shape == "node" else 1),
                    partly=False,
                    confidence="likely",
                )
                return [everywhere, *(suspect for suspect in suspects if suspect not in part)]
        return suspects

    def _mute(self, suspect: Suspect) -> bool:
        """Return whether all that is known of a member is that nobody hears it."""
        return (
            suspect.kind == "unreachable" and suspect.region.shape == "column" and suspect.region.first in self.silent
        )

    def _of_suspects(self, plane: Plane, suspects: list[Suspect]) -> Fault:
        first = suspects[0]
        shape = first.region.shape
        firsts = [suspect.region.first for suspect in suspects if suspect.region.first >= 0]
        seconds = [suspect.region.second for suspect in suspects if suspect.region.second >= 0]
        name = self._named if shape in NODES else self._zoned
        case = self._case(
            shape,
            first.kind,
            plane.sort.mtu or self._size(plane),
            sum(suspect.bad for suspect in suspects),
            name(firsts),
            name(seconds),
        )
        case = msgspec.structs.replace(
            case,
            good=sum(suspect.good for suspect in suspects),
            measured=sum(self._measured(suspect.region) for suspect in suspects),
            partly=first.partly,
            clean=shape in {"column", "row"} and all(self._clean(shape, member) for member in firsts),
            reported=not self._mute(first),
        )
        return self._fault(case, first.confidence)

    def _size(self, plane: Plane) -> int:
        """Return what arrives where the fault is none of size; 0 where that is not sure."""
        return 0 if plane.sort.kind in verdict.UNDECIDED else min(group.mtu for _, group in plane.entries)

    def _measured(self, region: Region) -> int:
        """Count how many pairs of a region were measured."""
        if region.shape in {"pair", "pair both"}:
            return 0  # nothing is said of it
        return sum(
            ((self.measured.row if part.by_sender else self.measured.column)(member) & mask).bit_count()
            for part in parts(region, self.measured, self.zones)
            for member, mask in part.lines(by_sender=part.by_sender)
        )

    def _clean(self, shape: Shape, member: int) -> bool:
        """Return whether the other direction of a member was measured and is in order."""
        if shape == "column":
            row = self.mesh.row(member)
            return row is not None and self.mesh.finished(row) and not row.groups
        others = self.measured.column(member)
        return bool(others) and all(plane.good_column(member) == others for plane in self.planes)

    def _named(self, members: Iterable[int]) -> tuple[str, ...]:
        return tuple(self.names[member] for member in members)

    def _zoned(self, zones: Iterable[int]) -> tuple[str, ...]:
        return tuple(self.zones.names[zone] for zone in zones)

    def _case(
        self, shape: Shape, kind: Kind, mtu: int, bad: int, members: tuple[str, ...] = (), others: tuple[str, ...] = ()
    ) -> sentences.FaultContext:
        return sentences.FaultContext(
            shape=shape,
            kind=kind,
            mtu=mtu,
            expected=self.mesh.expected,
            bad=bad,
            names=members,
            others=others,
            peers=self.measured.size - 1,
            sampled=self.mesh.planned < self.measured.size - 1,
        )

    def _fault(self, case: sentences.FaultContext, sure: Confidence) -> Fault:
        where, members, others = WHERE[case.shape], case.names, case.others
        if case.partly:
            where = "equal paths"
            if case.shape in {"column", "zone in"}:
                members, others = (), members
            elif case.shape == "within":
                others = members
        elif case.kind == "unreachable" and (case.shape == "node" or not case.reported):
            where = "node down"
        return Fault(
            where=where,
            scope="node" if case.shape in NODES else "all" if case.shape == "everywhere" else "zone",
            members=members,
            others=others,
            kind=case.kind,
            mtu=case.mtu,
            pairs=case.bad,
            sentence=sentences.say(case),
            advice=sentences.advise(case, first=sure == "possible"),
            confidence=sure,
            both_directions=case.shape in BOTH_WAYS,
        )

    def _silent(self, down: set[str]) -> Iterator[Fault]:
        """Name the members that reported nothing in this round, by the reason that they gave."""
        reasons: dict[str, list[str]] = {}
        witnessed: list[str] = []
        for member in sorted(self.silent):
            if self.names[member] in down:
                continue
            if member in self.mesh.measured_by_others:
                witnessed.append(self.names[member])
                continue
            row = self.mesh.row(member)
            reasons.setdefault(row.error if row else "", []).append(self.names[member])
        if witnessed:
            them = "it" if len(witnessed) == 1 else "them"
            said = f"{names(witnessed)} reported nothing in this round: what {them} and the others send each other was "
            yield self._unmeasured("prober silent", witnessed, f"{said}measured by the others")
        for reason, members in reasons.items():
            said = f"could not measure ({reason})" if reason else "reported nothing in this round"
            what = f"what {'it sends' if len(members) == 1 else 'they send'} was not measured"
            yield self._unmeasured("prober silent", members, f"{names(members)} {said}: {what}")

    def _unfinished(self) -> Iterator[Fault]:
        """Name the members that measured less than was planned."""
        for row in self.mesh.rows:
            if not row.error and not self.mesh.finished(row) and row.sender not in self.mesh.measured_by_others:
                name = self.names[row.sender]
                done = f"{row.measured - len(row.beyond_plan):,} of {self.mesh.planned:,}"
                yield self._unmeasured("unfinished", [name], f"{name} measured {done} peers: the others are not known")

    def _unmeasured(self, where: Where, members: list[str], sentence: str) -> Fault:
        number = len(members)
        return Fault(
            where=where,
            scope="node",
            members=tuple(members),
            others=(),
            kind=None,
            mtu=0,
            pairs=0,
            sentence=sentence,
            advice=f"See whether the {'prober' if number == 1 else 'probers'} on {names(members)} "
            f"{verb(number, 'run')}, then measure again.",
            confidence="certain",
        )

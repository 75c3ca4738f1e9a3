"""Is it the MTU? One sentence from all that was measured and seen of a path: whether, where, how sure, and what to do.

Each direction is judged by itself, and the worse one is spoken of: "from A to B" is the way that the packets went which
did not arrive. Sizes are of whole IP packets, in bytes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

from kubemtu.core.cluster.topology import Topology
from kubemtu.core.evidence import records
from kubemtu.core.path.verdict import UNDECIDED, Kind
from kubemtu.core.probe import proof, request
from kubemtu.core.remedy import Remedy
from kubemtu.core.text.wording import has, names
from kubemtu.core.why import directions, location, selective
from kubemtu.core.why.directions import Leg, LegView, PathView
from kubemtu.core.why.endpoints import Endpoint
from kubemtu.core.why.location import Confidence, Location
from kubemtu.core.why.passive import PassiveSymptoms

Answer = Literal["yes", "no", "unknown"]

FATES: Final[Mapping[Kind, str]] = {
    "lower": "are refused",
    "black hole": "vanish",
    "masked": "vanish",
    "receiver": "are dropped",
    "fragmented": "arrive in pieces",
    "outer fragments": "are cut in pieces",
    "equal paths differ": "vanish on some of several equal paths",
    "refused here": "are refused by its own interface",
    "stale path MTU": "are not sent whole",
}
PROBES: Final = f"UDP port {request.PORT} or ICMP echo"
COUNTERS: Final = "look at the drop and error counters of the NICs and switch ports on the way"
LOSSY: Final = 20  # one of so many lost is worth a word
LOST_LEAST: Final = 3


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Answer for the path between two ends."""

    is_mtu: Answer
    """Return whether it is the MTU."""
    sentence: str
    """The answer in one sentence."""
    kind: Kind
    """What becomes of packets that are larger than `mtu`."""
    mtu: int
    """The largest packet that arrives whole, in bytes; 0 when none was measured."""
    expected: int
    """The size that should arrive, in bytes; 0 when not known."""
    location: str
    """Where packets end; empty when the sentence says it."""
    confidence: Confidence
    """How sure the location is."""
    advice: str
    """What to do."""
    source: str
    """The end that was asked about first, by its name."""
    destination: str
    """The other end, by its name."""
    family: str = ""
    """"IPv4" or "IPv6" where both ends have both, else empty."""
    evidence: tuple[str, ...] = ()
    """What the answer rests on, a fact each."""
    legs: tuple[Leg, ...] = ()
    """What was measured: the whole path and its parts."""
    remedy: Remedy | None = None
    """What to do about the pod network; null where that is not known, or it is not to blame."""


class PathCase(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one path."""

    source: Endpoint
    destination: Endpoint
    forward: PathView
    backward: PathView | None
    legs: tuple[Leg, ...]
    observed: tuple[PassiveSymptoms, ...] = ()
    family: str = ""
    flushed: bool = False
    network: Topology | None = None

    @property
    def over_family(self) -> str:
        """The family, as it follows the ends."""
        return f" over {self.family}" if self.family else ""

    @property
    def symptoms(self) -> tuple[tuple[str, records.Symptom], ...]:
        """Every symptom, and where it was seen."""
        return tuple((one.where, symptom) for one in self.observed for symptom in one.symptoms)

    def other(self, course: PathView) -> PathView | None:
        """Return the other direction."""
        return self.backward if course is self.forward else self.forward

    def answer(
        self,
        mtu: Answer,
        sentence: str,
        course: PathView,
        place: Location,
        advice: str,
        *,
        sizes: bool = True,
        remedy: Remedy | None = None,
    ) -> Diagnosis:
        """Make the answer; without `sizes`, none was measured."""
        return Diagnosis(
            is_mtu=mtu,
            sentence=sentence,
            kind=course.verdict.kind,
            mtu=course.verdict.mtu if sizes else 0,
            expected=course.verdict.expected,
            location=place.words,
            confidence=place.confidence,
            advice=advice,
            source=self.source.name,
            destination=self.destination.name,
            family=self.family,
            evidence=tuple(dict.fromkeys(self._facts(course))),
            legs=self.legs,
            remedy=remedy,
        )

    def _facts(self, course: PathView) -> Iterator[str]:
        yield from directions.facts(course)
        yield from course.notes
        if forgetful := [one.where for one in self.observed if one.forgotten]:
            yield f"{names(forgetful)} {has(len(forgetful))} forgotten all learned path MTUs before this was measured"
        for where, symptom in self.symptoms:
            yield f"{where}: {symptom.sentence}"


def diagnose(
    here: Endpoint,
    there: Endpoint,
    legs: Sequence[Leg],
    seen: Iterable[PassiveSymptoms] = (),
    *,
    family: str = "",
    flushed: bool = False,
    network: Topology | None = None,
) -> Diagnosis:
    """Answer for the path between two ends; one leg is the whole of it.

    `flushed`: both ends were made to forget all path MTUs that they had learned, before anything was measured.
    `network`: the pod network as `check` sees it, None where it is not recognised.
    """
    forth, back = directions.forth(here, there, legs), directions.back(here, there, legs)
    case = PathCase(
        source=here,
        destination=there,
        forward=forth,
        backward=back,
        legs=directions.judged(here, there, legs),
        observed=tuple(seen),
        family=family,
        flushed=flushed,
        network=network,
    )
    bad = [course for course in (forth, back) if course is not None and course.verdict.is_mtu == "yes"]
    if bad:
        return _is_mtu(case, min(bad, key=lambda one: (one.verdict.kind not in directions.TOLD_NOBODY, _carried(one))))
    if forth.verdict.kind in UNDECIDED and (found := _by_evidence(case)) is not None:
        return found
    return _is_not(case)


def together(one: Diagnosis, other: Diagnosis) -> Diagnosis | None:
    """Both families of the same two ends as one, where both are in order and carry the same; else None."""
    same = (one.source, one.destination, one.mtu) == (other.source, other.destination, other.mtu)
    if not same or not one.family or one.family == other.family or {one.kind, other.kind} != {"ok"} or one.location:
        return None
    both = f"{one.family} and {other.family}"
    return msgspec.structs.replace(
        one,
        family=both,
        sentence=one.sentence.replace(f" over {one.family} ", f" over {both} ", 1),
        legs=(*one.legs, *other.legs),
    )


def _carried(course: PathView) -> int:
    """Return what arrives whole of what the sender's kernel sends whole."""
    one = course.whole.direction
    if course.verdict.kind == "stale path MTU" and one is not None:
        return one.path_mtu_before
    return course.verdict.mtu


# It is


def _is_mtu(case: PathCase, course: PathView) -> Diagnosis:
    place = location.find(course)
    path = f"from {course.source.name} to {course.destination.name}{case.over_family}"
    path += ", or on the way back," if course.either else ""
    said = f"{path} packets above {_carried(course)} {_fate(course, place)}"
    where = f" {place.words}" if place.words else ""
    remedy = location.remedy(course, place, case.network)
    one_way = _sound(case.other(course))
    return case.answer(
        "yes",
        f"This is MTU: {said}{where}{_believed(case, course)}{_told(course)}{_other(case, course)}.",
        course,
        place,
        location.advise(course, place, one_way=one_way, flushed=case.flushed, remedy=remedy),
        remedy=remedy,
    )


def _sound(course: PathView | None) -> bool:
    return course is not None and course.whole.sound


def _fate(course: PathView, place: Location) -> str:
    verdict = course.verdict
    if course.destination.kind == "service" and verdict.kind == "equal paths differ":
        return "do not arrive at some of its endpoints"
    if verdict.kind == "stale path MTU":
        return f"{FATES['stale path MTU']}, although {verdict.mtu} arrive"
    by = verdict.location if verdict.kind == "lower" and place.cause not in {"tunnel", "interface", "veth"} else ""
    return f"{FATES.get(verdict.kind, 'do not arrive')}{f' by {by}' if by else ''}"


def _believed(case: PathCase, course: PathView) -> str:
    """Say what both ends take for the MTU of the path; a node that sends by a tunnel goes by that."""
    here, there, other = course.source, course.destination, case.other(course)
    if course.verdict.kind == "stale path MTU":
        return f"; the kernel of {here.name} holds {_carried(course)} for this path, learned or set by a route"
    one, two = course.verdict.expected or here.mtu, other.verdict.expected if other is not None else there.mtu
    way = course.whole.direction
    if course.verdict.kind in directions.TOLD_NOBODY and way is not None and way.path_mtu_after > course.verdict.mtu:
        one = (
            min(one, way.path_mtu_after) or way.path_mtu_after
        )  # the kernel goes by what it learned, not by its interface
    if one and two:
        return f"; both ends believe {one}" if one == two else f"; {here.name} believes {one}, {there.name} {two}"
    return f"; {here.name} believes {one}" if one else ""


def _told(course: PathView) -> str:
    kind, one = course.verdict.kind, course.whole.direction
    if kind == "lower":
        return "; ICMP says so, and TCP adapts when it hears it"
    if kind == "masked" and one is not None:
        return f"; {_mask(course)}"
    return "; no ICMP comes back" if kind in directions.TOLD_NOBODY else ""


def _mask(course: PathView) -> str:
    """Say what keeps TCP going, and what it does not keep."""
    one = course.whole.direction
    segments = one.segments if one is not None else None
    if one is not None and one.tcp_spared and segments is not None:
        by = "an MSS clamp" if segments.clamped else f"what {course.destination.name} asks for"
        return f"TCP is kept at {segments.allowed} by {by}, and UDP and QUIC are lost"
    probing = one.probing if one is not None else 0
    return f"TCP finds its way after seconds of silence (tcp_mtu_probing={probing}), and UDP and QUIC do not"


def _other(case: PathCase, course: PathView) -> str:
    """Say what the other direction carries, where that differs; a tunnel that cuts was looked for in one only."""
    other = case.other(course)
    if other is None or course.verdict.kind == "outer fragments":
        return ""
    if other.whole.sound:
        return f"; the other way {other.verdict.mtu} arrive" if other.verdict.mtu != course.verdict.mtu else ""
    if (other.verdict.kind, _carried(other)) == (course.verdict.kind, _carried(course)):
        return ""
    return f"; the other way those above {_carried(other)} {FATES.get(other.verdict.kind, 'do not arrive')}"


# It is by what was seen


def _by_evidence(case: PathCase) -> Diagnosis | None:
    """Answer by what connections prove, or at least suggest, where nobody answers probes."""
    found = [pair for pair in case.symptoms if pair[1].says_mtu and pair[1].kind != "path MTU learned"]
    proven = next((pair for pair in found if pair[1].sure == "proves"), None)
    if proven is None and not found:
        return None
    where, symptom = proven or found[0]
    course = case.forward
    silent = f"nothing at {case.destination.name} answers probes"
    path = f"from {case.source.name} to {case.destination.name}{case.over_family}"
    answer = f"let {PROBES} pass to {case.destination.name}"
    shown = symptom.sentence.partition(". ")[0]
    if proven is not None:
        sentence = (
            f"This is MTU: {path} large packets vanish and smaller ones arrive; {silent}, but at {where} {shown}."
        )
        return case.answer("yes", sentence, course, _somewhere(case), f"{answer}: then the size is exact", sizes=False)
    sentence = f"This looks like MTU, which is not proven: {path} {silent}, but at {where} {shown}."
    advice = f"ask again while it hangs: what goes on for longer proves more; or {answer}"
    return case.answer("unknown", sentence, course, _somewhere(case), advice, sizes=False)


def _somewhere(case: PathCase) -> Location:
    return Location(words=f"between {case.source.on} and {case.destination.name}", confidence="likely", cause="outside")


# It is not


def _is_not(case: PathCase) -> Diagnosis:
    verdict = case.forward.verdict
    if verdict.kind == "unreachable":
        answer: Answer = "no" if case.destination.known or _dead(case) else "unknown"
        looks, advice = _silence(case, answer)
    elif verdict.kind in UNDECIDED:
        answer = "no" if proof.carries(verdict) else "unknown"
        looks, advice = _losing(case)
    else:
        if (loss := selective.find(case.forward, case.legs)) is not None:
            return _selected(case, loss)
        answer = "no"
        looks, advice = _arriving(case)
    begin = "This is not MTU" if answer == "no" else "It cannot be told whether this is MTU"
    path = f"from {case.source.name} to {case.destination.name}{case.over_family}"
    place = Location(words="", confidence="certain" if verdict.kind == "ok" else "likely", cause="outside")
    return case.answer(answer, f"{begin}: {path} {looks}.", case.forward, place, advice)


def _selected(case: PathCase, loss: selective.Loss) -> Diagnosis:
    """Say what is lost by what it is; a datagram in fragments is lost because it is larger than the MTU."""
    answer: Answer = "yes" if loss.size else "no"
    begin = "This is MTU" if loss.size else "This is not MTU"
    path = f"from {case.source.name} to {case.destination.name}{case.over_family}"
    return case.answer(answer, f"{begin}: {path} {loss.sentence}.", case.forward, loss.location, loss.advice)


def _arriving(case: PathCase) -> tuple[str, str]:
    """All is as it should be, but perhaps not all that is sent arrives."""
    size, back = case.forward.verdict.mtu, case.backward.verdict.mtu if case.backward is not None else 0
    looks = f"packets of {size} bytes arrive whole"
    if not back and case.forward.by_echo:
        looks += " there, and echoes of them come back, whole or in pieces"
    elif not back:
        looks += " there; the way back was not measured"
    else:
        looks += " both ways" if back == size else f" there, and of {back} back"
    if case.forward.only_answers:
        looks = (
            f"nothing that {case.source.name} begins is answered, while what it answers arrives whole, {size} "
            "bytes of it"
        )
        return f"{looks}: it looks like a NetworkPolicy or a firewall", "look at `kubectl get networkpolicies -A`"
    lost, sent = directions.lost(case.forward, case.backward)
    if lost >= LOST_LEAST and lost * LOSSY >= sent:
        looks += f", but {100 * lost // sent} % of all packets are lost, small ones too"
        return looks, COUNTERS
    return (
        looks,
        "look at the application, DNS, certificates and policies; if it comes and goes, ask again while it is so",
    )


def _losing(case: PathCase) -> tuple[str, str]:
    verdict = case.forward.verdict
    lost, sent = directions.lost(case.forward)
    share = f" ({100 * lost // sent} %)" if sent else ""
    size = f"; at least {verdict.mtu} bytes arrive" if verdict.mtu else ""
    if verdict.kind == "overloaded":
        return f"packets are dropped because they are not read in time{size}", "ask again when there is less load"
    looks = f"so many packets are lost, small ones too{share}, that their size cannot be made out{size}"
    return looks, f"{COUNTERS} first, then ask again"


def _dead(case: PathCase) -> LegView | None:
    """Return the path between the nodes themselves, when nothing is answered on it either."""
    plain = not case.source.port and not case.destination.port and case.destination.on
    nodes = case.forward.parts.get("nodes") or (case.forward.whole if plain else None)
    return nodes if nodes is not None and nodes.verdict.kind == "unreachable" else None


def _silence(case: PathCase, answer: Answer) -> tuple[str, str]:
    there, far = case.destination, case.forward.parts.get("far")
    looks, measure = "a NetworkPolicy, a firewall, or nobody who is there", f"let {PROBES} pass"
    beside, advice = "", f"see that {there.name} is up; to measure, {measure}"
    if (nodes := _dead(case)) is not None:
        whole = nodes is case.forward.whole
        beside = "" if whole else f", and node {nodes.destination} does not answer {nodes.source} either"
        looks = "a dead node, a missing route, or a firewall between the nodes"
        advice = f"`kubectl get node {there.on}` says whether it is Ready; between nodes {PROBES} must pass"
    elif far is not None and far.verdict.kind != "unreachable":
        beside = f", though {there.name} answers its own node"
        looks = "a NetworkPolicy, a firewall, or a missing route between the pods"
        advice = f"look at `kubectl get networkpolicies -A`; to measure all the same, {measure}"
    elif answer == "unknown":
        looks = "a host that is down or drops probes"
        address = there.addresses[0] if there.addresses else there.name
        named = f"[{address}]:443" if ":" in address else f"{address}:443"
        advice = f"{measure} to {there.name}, name a TCP port that is open there, as in {named}, or ask again while a "
        advice += f"connection from {case.source.name} to it hangs: its own TCP tells then"
    return f"nothing is answered, of whatever size{beside}: it looks like {looks}", advice

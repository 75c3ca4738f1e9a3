"""Is it the MTU? One sentence from all that was measured and seen of a path: whether, where, how sure, and what to do.

    pod a --near-- node a ======nodes====== node b --far-- pod b
      |               `----------overlay-----------'         |
      `-----------------------whole--------------------------'

The whole path is measured, and beside it its parts: each from where an agent stands. The part that carries less than
it should is where the fault is; when all parts do, what joins them is: the tunnel. Sizes are of whole IP packets.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from kubemtu.core import evidence, order, proof
from kubemtu.core.ends import End
from kubemtu.core.pathverdict import UNDECIDED, Kind, Verdict

Role = Literal["whole", "nodes", "near", "far", "overlay", "service"]
Sure = Literal["certain", "likely", "possible"]
Answer = Literal["yes", "no", "unknown"]

FATES: Final[Mapping[Kind, str]] = {
    "lower": "are refused",
    "black hole": "vanish",
    "masked": "vanish or are refused",
    "receiver": "are dropped",
    "fragmented": "arrive in pieces",
    "outer fragments": "are cut in pieces inside the tunnel",
    "asymmetric": "do not arrive",
    "equal paths differ": "vanish on some of several equal paths",
    "refused here": "are refused by its own interface",
    "stale path MTU": "are not even sent",
}


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the path, measured: `here` and `there` are what people call its ends."""

    role: Role
    here: str
    there: str
    result: order.Result

    @property
    def verdict(self) -> Verdict:
        """What it means by itself."""
        return self.result.verdict

    @property
    def short(self) -> bool:
        """Whether it carries less than it should, as far as that is known."""
        return not proof.carries(self.verdict) and self.verdict.kind not in UNDECIDED


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What one place showed without being asked: `where` is what people call it."""

    where: str
    symptoms: tuple[evidence.Symptom, ...] = ()


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `mtu`: whether it is the MTU; `kind` and `size`: what becomes of larger packets, and the largest that
    arrives whole, in bytes; `place`: where; `sure`: how sure that place is; `evidence`: one fact each.
    """

    mtu: Answer
    sentence: str
    kind: Kind
    size: int
    expected: int
    place: str
    sure: Sure
    advice: str
    evidence: tuple[str, ...] = ()
    legs: tuple[Leg, ...] = ()


def diagnose(here: End, there: End, legs: Sequence[Leg], seen: Sequence[Seen] = ()) -> Diagnosis:
    """Answer for the path from one end to the other; at least one leg is the whole."""
    whole = _worst([leg for leg in legs if leg.role in {"whole", "service"}])
    parts = {leg.role: leg for leg in legs if leg.role not in {"whole", "service"}}
    verdict = whole.verdict
    symptoms = [(one.where, symptom) for one in seen for symptom in one.symptoms]
    if verdict.is_mtu == "yes":
        return _is_mtu(here, there, whole, parts, legs, symptoms)
    proven = next((pair for pair in symptoms if pair[1].says_mtu and pair[1].sure == "proves"), None)
    if verdict.kind in UNDECIDED and proven is not None:
        return _by_evidence(here, there, whole, proven, legs, symptoms)
    return _is_not(here, there, whole, parts, legs, symptoms)


def _worst(legs: Sequence[Leg]) -> Leg:
    """The leg that says most about an MTU: the smallest that is one, then what is fine, then what nobody answered."""

    def rank(leg: Leg) -> tuple[int, int]:
        yes = {"yes": 0, "no": 1, "unknown": 2}[leg.verdict.is_mtu]
        return (3 if leg.verdict.kind == "unreachable" else yes, leg.verdict.mtu)

    return min(legs, key=rank)


# It is


def _is_mtu(
    here: End,
    there: End,
    whole: Leg,
    parts: Mapping[Role, Leg],
    legs: Sequence[Leg],
    symptoms: Sequence[tuple[str, evidence.Symptom]],
) -> Diagnosis:
    verdict = whole.verdict
    place, sure = _place(here, there, whole, parts)
    return Diagnosis(
        mtu="yes",
        sentence=f"This is MTU: from {whole.here} to {whole.there} packets above {verdict.mtu} "
        f"{_fate(whole)}{f' {place}' if place else ''}{_believed(here, there)}{_told(verdict)}.",
        kind=verdict.kind,
        size=verdict.mtu,
        expected=verdict.expected,
        place=place,
        sure=sure,
        advice=_advice(verdict, place),
        evidence=_facts(whole, symptoms),
        legs=tuple(legs),
    )


def _fate(whole: Leg) -> str:
    verdict = whole.verdict
    if whole.role == "service" and verdict.kind == "equal paths differ":
        return "do not arrive at some of its endpoints"
    fate = FATES.get(verdict.kind, "do not arrive")
    return f"{fate} by {verdict.place}" if verdict.kind == "lower" and verdict.place else fate


def _believed(here: End, there: End) -> str:
    if here.mtu and there.mtu:
        both = here.mtu == there.mtu
        return (
            f"; both ends believe {here.mtu}"
            if both
            else f"; {here.name} believes {here.mtu}, {there.name} {there.mtu}"
        )
    return f"; {here.name} believes {here.mtu}" if here.mtu else ""


def _told(verdict: Verdict) -> str:
    if verdict.kind in {"black hole", "receiver"}:
        return "; no ICMP comes back"
    if verdict.kind == "lower":
        return "; ICMP says so, and TCP adapts when it hears it"
    return ""


def _place(here: End, there: End, whole: Leg, parts: Mapping[Role, Leg]) -> tuple[str, Sure]:
    """Where packets end, in words that follow what becomes of them, and how sure that is."""
    verdict = whole.verdict
    own = {
        "refused here": "",
        "stale path MTU": f"because {here.name}'s kernel holds an old or forged path MTU",
        "outer fragments": f"between {here.node} and {there.node or there.name}",
    }
    if verdict.kind in own:
        return own[verdict.kind], "certain"
    if (found := _short_part(here, there, verdict, parts)) or verdict.kind == "receiver":
        return found or f"at {there.name}'s own interface", "certain"
    if whole.role == "service":
        return "", "possible"
    if not here.node or not there.node:
        return f"between {here.node or here.name} and {there.name}", "possible"
    if here.node == there.node:
        return f"on node {here.node}", "likely"
    sound = [role for role in ("near", "nodes", "far") if role in parts and proof.carries(parts[role].verdict)]
    tunnel = "in the tunnel " if here.port or there.port else ""
    return f"{tunnel}between {here.node} and {there.node}", "certain" if len(sound) == 3 else "likely"


def _short_part(here: End, there: End, verdict: Verdict, parts: Mapping[Role, Leg]) -> str:
    """The part that carries less than it should, and no more than the whole path does; empty when none was seen."""
    near, nodes, far = parts.get("near"), parts.get("nodes"), parts.get("far")
    if near is not None and near.short and near.verdict.mtu <= verdict.mtu:
        return f"between {here.name} and its own node {here.node}: the two ends of its veth differ"
    if nodes is not None and nodes.short:
        return f"between {nodes.here} and {nodes.there}, whose network carries {nodes.verdict.mtu}"
    if far is not None and far.short and far.verdict.mtu <= verdict.mtu:
        return f"at {there.name}'s own interface on {there.node}"
    return ""


def _advice(verdict: Verdict, place: str) -> str:
    if "veth differ" in place or "own interface on" in place:
        return "run `kubemtu check` to see which end is smaller, and `kubemtu apply` to set both, live"
    if "in the tunnel" in place:
        return "run `kubemtu plan`: the pods' MTU must be what the tunnel carries, and `kubemtu apply` changes it live"
    if "whose network carries" in place:
        return (
            "correct the link, switch port or NIC between these two; until then `kubemtu plan --nic-mtu N`, with what "
            "that network carries, shows the pod MTU that fits"
        )
    return verdict.advice


# It is by what was seen


def _by_evidence(
    here: End,
    there: End,
    whole: Leg,
    proven: tuple[str, evidence.Symptom],
    legs: Sequence[Leg],
    symptoms: Sequence[tuple[str, evidence.Symptom]],
) -> Diagnosis:
    where, symptom = proven
    return Diagnosis(
        mtu="yes",
        sentence=f"This is MTU: nobody answers probes from {whole.here} to {whole.there}, but what {where} shows "
        f"proves it: {symptom.sentence}.",
        kind=whole.verdict.kind,
        size=whole.verdict.mtu,
        expected=whole.verdict.expected,
        place=symptom.where,
        sure="likely",
        advice=f"run `kubemtu node respond` at {there.name}, or let UDP port {order.PORT} pass: then the size is exact",
        evidence=_facts(whole, symptoms),
        legs=tuple(legs),
    )


# It is not


def _is_not(
    here: End,
    there: End,
    whole: Leg,
    parts: Mapping[Role, Leg],
    legs: Sequence[Leg],
    symptoms: Sequence[tuple[str, evidence.Symptom]],
) -> Diagnosis:
    verdict = whole.verdict
    answer: Answer = "no" if verdict.kind in {"ok", "unreachable"} else verdict.is_mtu
    begin = "This is not MTU" if answer == "no" else "It cannot be told whether this is MTU"
    looks, advice = _instead(here, there, whole, parts)
    return Diagnosis(
        mtu=answer,
        sentence=f"{begin}: from {whole.here} to {whole.there} {looks}.",
        kind=verdict.kind,
        size=verdict.mtu,
        expected=verdict.expected,
        place="",
        sure="certain" if verdict.kind == "ok" else "likely",
        advice=advice,
        evidence=_facts(whole, symptoms),
        legs=tuple(legs),
    )


def _instead(here: End, there: End, whole: Leg, parts: Mapping[Role, Leg]) -> tuple[str, str]:
    """What it looks like instead, and what to do."""
    verdict, result = whole.verdict, whole.result
    if verdict.kind == "ok":
        ways = "both ways" if result.back else "there; the way back was not measured"
        return (
            f"packets of {verdict.mtu} bytes arrive whole {ways}",
            "look at the application, DNS, certificates and policies instead; when it comes and goes, ask again then",
        )
    if verdict.kind == "unreachable":
        return _silence(there, parts)
    lost = (
        "packets of every size are lost"
        if verdict.kind == "loss"
        else "packets are dropped because nobody reads them in time"
    )
    size = f"; at least {verdict.mtu} bytes arrive" if verdict.mtu else ""
    return (
        f"{lost}{size}, which looks like congestion, a bad link or an overloaded node",
        "look at the drop and error counters of the NICs and switch ports on the way, then ask again",
    )


def _silence(there: End, parts: Mapping[Role, Leg]) -> tuple[str, str]:
    nodes, far = parts.get("nodes"), parts.get("far")
    looks = f"a NetworkPolicy, a firewall, or nobody who is there; see that {there.name} is up"
    between, advice = "", f"to measure, let UDP port {order.PORT} or ICMP echo pass"
    if nodes is not None and nodes.verdict.kind == "unreachable":
        between = f", and node {nodes.there} does not answer {nodes.here} either"
        looks = "a dead node, a missing route, or a firewall between the nodes"
        advice = (
            f"see that {nodes.there} is Ready, and that UDP port {order.PORT} or ICMP echo passes between the nodes"
        )
    elif far is not None and far.verdict.kind != "unreachable":
        between = f", though {there.name} answers its own node"
        looks = "a NetworkPolicy, a firewall, or a missing route between the pods"
        advice = f"look at `kubectl get networkpolicies -A`; {advice}"
    return f"nothing is answered, of whatever size{between}: it looks like {looks}", advice


def _facts(whole: Leg, symptoms: Iterable[tuple[str, evidence.Symptom]]) -> tuple[str, ...]:
    seen = (f"{where}: {symptom.sentence}" for where, symptom in symptoms)
    return tuple(dict.fromkeys((*whole.verdict.evidence, *whole.result.notes, *seen)))

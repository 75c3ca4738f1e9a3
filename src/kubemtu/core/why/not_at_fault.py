"""It is not the MTU, or that cannot be told: the sentence that says what it looks like instead, and what to do."""

from typing import Final

from kubemtu.core.path.verdict import UNDECIDED
from kubemtu.core.probe import proof, request
from kubemtu.core.why import directions, endpoints, inside, selective
from kubemtu.core.why.case import Diagnosis, IsMtu, PathCase
from kubemtu.core.why.directions import LegView
from kubemtu.core.why.location import Location

PROBES: Final = f"UDP port {request.PORT} or ICMP echo"
COUNTERS: Final = "look at the drop and error counters of the NICs and switch ports on the way"
LOSSY: Final = 20  # one of so many lost is worth a word
LOST_LEAST: Final = 3


def answer(case: PathCase) -> Diagnosis:
    """Answer for a path on which no MTU stands in the way, or of which that cannot be told."""
    verdict = case.forward.verdict
    if verdict.kind == "unreachable":
        told = case.destination.has_agent or (_dead(case) is not None and not case.destination.windows)
        is_mtu: IsMtu = "no" if told else "unknown"
        finding, advice = _silence(case, is_mtu)
    elif verdict.kind in UNDECIDED:
        is_mtu = "no" if proof.carries(verdict) else "unknown"
        finding, advice = _losing(case)
    else:
        if (loss := selective.find(case.forward, case.legs)) is not None:
            return _selected(case, loss)
        is_mtu = "no"
        finding, advice = _arriving(case)
    begin = "This is not MTU" if is_mtu == "no" else "It cannot be told whether this is MTU"
    location = Location(words="", confidence="certain" if verdict.kind == "ok" else "likely", cause="outside")
    if (within := inside.find(case)) is not None:
        return inside.answer(case, within, f"{begin[0].lower()}{begin[1:]}: {case.ends} {finding}", is_mtu)
    return case.answer(is_mtu, f"{begin}: {case.ends} {finding}.", case.forward, location, advice)


def _selected(case: PathCase, loss: selective.Loss) -> Diagnosis:
    """Say what is lost by what it is; a datagram in fragments is lost because it is larger than the MTU."""
    is_mtu: IsMtu = "yes" if loss.size else "no"
    begin = "This is MTU" if loss.size else "This is not MTU"
    return case.answer(is_mtu, f"{begin}: {case.ends} {loss.sentence}.", case.forward, loss.location, loss.advice)


def _arriving(case: PathCase) -> tuple[str, str]:
    """Say that all is as it should be, but perhaps not all that is sent arrives."""
    size, back = case.forward.verdict.mtu, case.backward.verdict.mtu if case.backward is not None else 0
    finding = f"packets of {size} bytes arrive whole"
    if not back and case.forward.by_echo:
        finding += " there, and echoes of them come back, whole or in pieces"
    elif not back:
        finding += " there; the way back was not measured"
    else:
        finding += " both ways" if back == size else f" there, and of {back} back"
    if case.forward.only_answers:
        finding = (
            f"nothing that {case.source.name} begins is answered, while what it answers arrives whole, {size} "
            "bytes of it"
        )
        return f"{finding}: it looks like a NetworkPolicy or a firewall", "look at `kubectl get networkpolicies -A`"
    lost, sent = directions.packets_lost(case.forward, case.backward)
    if lost >= LOST_LEAST and lost * LOSSY >= sent:
        finding += f", but {100 * lost // sent} % of all packets are lost, small ones too"
        return finding, COUNTERS
    return (
        finding,
        "look at the application, DNS, certificates and policies; if it comes and goes, ask again while it is so",
    )


def _losing(case: PathCase) -> tuple[str, str]:
    verdict = case.forward.verdict
    lost, sent = directions.packets_lost(case.forward)
    share = f" ({100 * lost // sent} %)" if sent else ""
    size = f"; at least {verdict.mtu} bytes arrive" if verdict.mtu else ""
    if verdict.kind == "overloaded":
        return f"packets are dropped because they are not read in time{size}", "ask again when there is less load"
    finding = f"so many packets are lost, small ones too{share}, that their size cannot be made out{size}"
    return finding, f"{COUNTERS} first, then ask again"


def _dead(case: PathCase) -> LegView | None:
    """Return the path between the nodes themselves, when nothing is answered on it either."""
    plain = not case.source.link and not case.destination.link and case.destination.node
    nodes = case.forward.parts.get("nodes") or (case.forward.whole if plain else None)
    return nodes if nodes is not None and nodes.verdict.kind == "unreachable" else None


def _silence(case: PathCase, is_mtu: IsMtu) -> tuple[str, str]:
    destination, far_leg = case.destination, case.forward.parts.get("far")
    if destination.windows:
        beside = (
            "nobody there could tell why: no agent is for Windows, whose firewall drops ICMP echo unless it is told"
            " otherwise"
        )
        by_hand = endpoints.by_hand(case.source.address() or case.source.name)
        return f"nothing is answered, of whatever size, and {beside}", f"let ICMP echo pass to it, or {by_hand}"
    finding, measure = "a NetworkPolicy, a firewall, or nobody who is there", f"let {PROBES} pass"
    beside, advice = "", f"see that {destination.name} is up; to measure, {measure}"
    if (nodes := _dead(case)) is not None:
        whole = nodes is case.forward.whole
        beside = "" if whole else f", and node {nodes.destination} does not answer {nodes.source} either"
        finding = "a dead node, a missing route, or a firewall between the nodes"
        advice = f"`kubectl get node {destination.node}` says whether it is Ready; between nodes {PROBES} must pass"
    elif far_leg is not None and far_leg.verdict.kind != "unreachable":
        beside = f", though {destination.name} answers its own node"
        finding = "a NetworkPolicy, a firewall, or a missing route between the pods"
        advice = f"look at `kubectl get networkpolicies -A`; to measure all the same, {measure}"
    elif is_mtu == "unknown":
        finding = "a host that is down or drops probes"
        address = destination.addresses[0] if destination.addresses else destination.name
        named = f"[{address}]:443" if ":" in address else f"{address}:443"
        advice = (
            f"{measure} to {destination.name}, name a TCP port that is open there, as in {named}, or ask again while a "
        )
        advice += f"connection from {case.source.name} to it hangs: its own TCP tells then"
    return f"nothing is answered, of whatever size{beside}: it looks like {finding}", advice

"""Is it the MTU? One sentence from all that was measured and seen of a path: whether, where, how sure, and what to do.

Each direction is judged by itself, and the worse one is spoken of: "from A to B" is the way that the packets went which
did not arrive. Sizes are of whole IP packets, in bytes.
"""

from collections.abc import Iterable, Sequence

from kubemtu.core.cluster.topology import Topology
from kubemtu.core.path.verdict import UNDECIDED
from kubemtu.core.why import at_fault, directions, not_at_fault
from kubemtu.core.why.case import Diagnosis, PathCase
from kubemtu.core.why.directions import Leg
from kubemtu.core.why.endpoints import Endpoint
from kubemtu.core.why.location import Location
from kubemtu.core.why.not_at_fault import PROBES
from kubemtu.core.why.passive import PassiveSymptoms


def diagnose(
    source: Endpoint,
    destination: Endpoint,
    legs: Sequence[Leg],
    observed: Iterable[PassiveSymptoms] = (),
    *,
    family: str = "",
    flushed: bool = False,
    network: Topology | None = None,
) -> Diagnosis:
    """Answer for the path between two ends; one leg is the whole of it.

    `flushed`: both ends were made to forget all path MTUs that they had learned, before anything was measured.
    `network`: the pod network as `check` sees it, None where it is not recognised.
    """
    forward = directions.forward_view(source, destination, legs)
    backward = directions.backward_view(source, destination, legs)
    case = PathCase(
        source=source,
        destination=destination,
        forward=forward,
        backward=backward,
        legs=directions.judged_legs(source, destination, legs),
        observed=tuple(observed),
        family=family,
        flushed=flushed,
        network=network,
    )
    limited = [view for view in (forward, backward) if view is not None and view.verdict.is_mtu == "yes"]
    if limited:  # of two, first what nobody tells the sender, then what carries least
        return at_fault.answer(
            case,
            min(limited, key=lambda view: (view.verdict.kind not in directions.SILENT_KINDS, at_fault.carried(view))),
        )
    if forward.verdict.kind in UNDECIDED and (by_evidence := _by_evidence(case)) is not None:
        return by_evidence
    return not_at_fault.answer(case)


def _by_evidence(case: PathCase) -> Diagnosis | None:
    """Answer by what connections prove, or at least suggest, where nobody answers probes."""
    suspicious = [pair for pair in case.symptoms if pair[1].says_mtu and pair[1].kind != "path MTU learned"]
    proven = next((pair for pair in suspicious if pair[1].sure == "proves"), None)
    if proven is None and not suspicious:
        return None
    where, symptom = proven or suspicious[0]
    view = case.forward
    silent = f"nothing at {case.destination.name} answers probes"
    let_pass = f"let {PROBES} pass to {case.destination.name}"
    shown = symptom.sentence.partition(". ")[0]
    if proven is not None:
        sentence = (
            f"This is MTU: {case.ends} large packets vanish and smaller ones arrive; {silent}, but at {where} {shown}."
        )
        return case.answer("yes", sentence, view, _somewhere(case), f"{let_pass}: then the size is exact", sizes=False)
    sentence = f"This looks like MTU, which is not proven: {case.ends} {silent}, but at {where} {shown}."
    advice = f"ask again while it hangs: what goes on for longer proves more; or {let_pass}"
    return case.answer("unknown", sentence, view, _somewhere(case), advice, sizes=False)


def _somewhere(case: PathCase) -> Location:
    return Location(
        words=f"between {case.source.node} and {case.destination.name}", confidence="likely", cause="outside"
    )

"""What was measured between nodes and pods against what should arrive: what the interfaces do not show."""

from collections.abc import Iterable, Sequence

from kubemtu.core import codes, places
from kubemtu.core.codes import Finding
from kubemtu.core.mesh.faults import Fault
from kubemtu.core.path import verdict
from kubemtu.core.places import NodePlace
from kubemtu.core.text.wording import these


def find(layer: str, faults: Sequence[Fault], cutting: Sequence[str]) -> tuple[Finding, ...]:
    """Report what carries less than expected (MTU123), what is cut in pieces (MTU124), what answers nothing (MTU125).

    `layer` names what was measured: "nodes", or "pods".
    """
    return (*_faults(layer, faults), *_cutting(layer, cutting))


def missing(nodes: Sequence[str], layers: Iterable[Sequence[Fault]], absent: Sequence[str] = ()) -> Iterable[Finding]:
    """Report nodes that were not measured, or not by themselves, and of which no fault of a layer says it (MTU125).

    `absent` are layers of which nothing at all was measured.
    """
    for kind in absent:
        yield codes.finding(
            codes.MTU125,
            f"all {kind}",
            f"Nothing was measured between {kind}: there are no two that could be.",
            "Run the kubemtu agent and the probe pod on every node (`kubemtu install`), then measure again.",
        )
    told = {name for faults in layers for fault in faults for name in fault.members}
    if left := [name for name in nodes if name not in told]:
        yield codes.finding(
            codes.MTU125,
            places.on(left),
            "Not measured, or not in every layer: no agent reports from there, or no probe pod runs there.",
            "Run the kubemtu agent and the probe pod on every node, then measure again.",
        )


def _faults(layer: str, faults: Sequence[Fault]) -> Iterable[Finding]:
    for fault in faults:
        undecided = fault.kind is None or fault.kind in verdict.UNDECIDED
        code = codes.MTU125 if undecided else codes.MTU123
        message = f"{_begun(fault)}. This was measured, and is {fault.confidence}."
        yield codes.finding(code, _place(layer, fault), message, fault.advice)


def _begun(fault: Fault) -> str:
    """Return its sentence with a capital, unless it begins with somebody's name."""
    said = fault.sentence.rstrip(".")
    return said if said.startswith((*fault.members, *fault.others)) else said[:1].upper() + said[1:]


def _place(layer: str, fault: Fault) -> NodePlace | str:
    between = tuple(dict.fromkeys((*fault.members, *fault.others)))
    measured = f"measured between {layer}"
    if fault.scope == "node" and between:
        return places.on(between, measured)
    return f"{these('zone', between) if fault.scope == 'zone' and between else 'all nodes'}, {measured}"


def _cutting(layer: str, cutting: Sequence[str]) -> Iterable[Finding]:
    if cutting:
        yield codes.finding(
            codes.MTU124,
            places.on(cutting, f"measured between {layer}"),
            "Full-size packets arrive, but the tunnel's packets around them are cut in pieces on the way: each becomes "
            "two or more, and is lost when any of them is. This was counted while they were sent.",
            "Run `kubemtu plan`: it shows the MTU that travels whole, and `kubemtu apply` changes it live.",
        )

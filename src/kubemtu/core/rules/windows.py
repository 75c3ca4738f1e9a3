"""Nodes of Windows: what makes their pods' network, what is known of its MTU, and what that does to the others'."""

from collections.abc import Iterable

from kubemtu.core import codes, places
from kubemtu.core.cluster import windows
from kubemtu.core.cluster.cni_state import WindowsPart
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.codes import Finding
from kubemtu.core.places import NodePlace
from kubemtu.core.text.wording import count, names, verb

_BELOW = "what makes its pods smaller is Windows' own setting, which no object of the API holds"
_LOOK = "On such a node `Get-NetIPInterface -AddressFamily IPv4 | ft InterfaceAlias, NlMtu` shows what it has"


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report the nodes that run Windows (MTU141): a note, or a warning where their pods send more than gets through."""
    if not topology.windows:
        return ()
    larger = _larger(topology)
    unsaid = silent(topology)
    number = len(topology.windows)
    first = (
        f"{count(number, 'node')} {verb(number, 'run')} Windows, for which there is no agent: what MTU"
        f" {'its NIC' if number == 1 else 'their NICs'} and pods have was not seen, and no change reaches them."
    )
    sentences = (
        first,
        *(_part(part) for part in topology.state.windows),
        _sizes(topology.state.windows) if unsaid else "",
        larger,
        _from_linux(topology) if unsaid else "",
        *_said(topology),
    )
    finding = codes.finding(
        codes.MTU141,
        place(topology),
        " ".join(filter(None, sentences)),
        _remedy(unsaid) if unsaid else f"{_LOOK}; {_BELOW}." if larger else "Nothing to do while that is so.",
        "warning" if larger else None,
    )
    return (finding,)


def silent(topology: Topology) -> tuple[str, ...]:
    """Name the nodes of Windows of whose paths nobody says what they carry."""
    return tuple(node.name for node in topology.windows if node.bound is None)


def place(topology: Topology) -> NodePlace:
    """Return where they are."""
    return places.on((node.name for node in topology.windows), "Windows")


def remains(topology: Topology, aim: int) -> tuple[str, ...]:
    """Say that a change to `aim` bytes leaves the pods of these nodes as they are; empty without such nodes."""
    if not topology.windows:
        return ()
    listed = names(node.name for node in topology.windows)
    given = next((part for part in topology.state.windows if part.mtu is not None), None)
    own = f"what {given.key} says ({given.mtu})" if given is not None else "what Windows gives them"
    said = (
        f"Pods on {listed} (Windows) keep {own}, whatever the {aim} of the others: no agent is there, and nothing is"
        " waited for from there."
    )
    if aim > windows.LEFT and given is None and silent(topology):
        said += (
            f" {aim} is more than the {windows.LEFT} that Windows gives on NICs of {windows.NIC}: TCP agrees on the"
            " smaller of two; whether Windows takes larger datagrams is not known."
        )
    return (said,)


def _part(part: WindowsPart) -> str:
    takes = "" if part.takes is None else ", which takes nothing" if not part.takes else f", which takes {part.takes}"
    network = f" by {part.network}{takes}" if part.network else ""
    nic = f" on the NIC {part.nic}" if part.nic else ""
    given = f"; {part.key} gives them {part.mtu}" if part.mtu is not None else ""
    ignores = f" {part.ignores}" if part.ignores else ""
    return f"{part.name} ({part.place}) makes the pods' network there{network}{nic}{given}.{ignores}"


def _sizes(parts: Iterable[WindowsPart]) -> str:
    if any(part.mtu is not None for part in parts):
        return ""
    return (
        f"Windows itself decides: on NICs of {windows.NIC} its pods have {windows.LEFT}, whatever network is on them;"
        " on others it is not known."
    )


def _larger(topology: Topology) -> str:
    """Say that pods there send more than the path carries, where somebody knows it to carry less than NICs say."""
    origin, parts = topology.origin, topology.state.windows
    unsaid = [node for node in topology.windows if node.bound is None or node.bound == origin]
    if origin is None or not unsaid or not parts or parts[0].takes is None:
        return ""
    left = origin.path_mtu - parts[0].takes
    sent = parts[0].mtu or windows.LEFT
    if sent <= left:
        return ""
    where = "" if parts[0].mtu is not None else f" on NICs of {windows.NIC}"
    return (
        f"Those of {sent}{where} are larger than the {left} that {origin.says} leaves of {origin.path_mtu}, and the"
        " number that is configured for the others does not make them smaller."
    )


def _from_linux(topology: Topology) -> str:
    """Say what becomes of what other nodes' pods send there, where that is larger than what Windows has."""
    largest = max((port.sends or port.shown or 0 for _, port in topology.ports), default=topology.born or 0)
    if largest <= windows.LEFT or any(part.mtu is not None for part in topology.state.windows):
        return ""
    return (
        f"Pods of the other nodes send up to {largest}: TCP agrees on the smaller of two; whether Windows takes larger"
        f" datagrams than its {windows.LEFT} is not known."
    )


def _said(topology: Topology) -> Iterable[str]:
    by = {node.bound.by: node.bound for node in topology.windows if node.bound is not None}
    for bound in by.values():
        here = names(node.name for node in topology.windows if node.bound == bound)
        decides = f", and that decides: pods can have {topology.carries}" if topology.beyond == bound else ""
        yield f"{bound.says} says that the paths of {here} carry {bound.path_mtu}{decides}."


def _remedy(unsaid: tuple[str, ...]) -> str:
    nodes = " ".join(f"--node {name}" for name in unsaid[:3])
    return (
        f"{_LOOK}; `kubemtu policy --path-mtu N --reason TEXT {nodes} --apply` says what its paths carry, and"
        " everything here then goes by it."
    )

"""Where on a path packets end, as its parts tell it, and what to do about it there.

The part that carries less than it should, and no more than the whole path does, is where it is. When all parts carry
what they should, what joins them is: the tunnel. Sizes are of whole IP packets, in bytes.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from kubemtu.core import encap
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.mesh.suspects import Confidence
from kubemtu.core.net import VLAN_SLACK
from kubemtu.core.planning import remedy as remedies
from kubemtu.core.remedy import Remedy
from kubemtu.core.why.directions import LegView, PathView
from kubemtu.core.why.endpoints import Endpoint

Cause = Literal["veth", "interface", "nic", "network", "tunnel", "nodes", "node", "held", "service", "outside"]
SHOWN: Final = frozenset(
    {"tunnel", "bridge", "pods", "nics", "network"}
)  # remedies for what interfaces show by themselves
PASSING = "let ICMP type 3 code 4 pass, and ICMPv6 type 2"  # RFC 1191 4, RFC 4890 4.3.1


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """Where it is, in `words` that follow what becomes of packets, empty when that says it; `carries`: how much there,
    in bytes, where it is the network between nodes."""

    words: str
    confidence: Confidence
    cause: Cause
    carries: int = 0


def locate(view: PathView) -> Location:
    """Say where packets of the size that does not arrive end, and how sure that is."""
    verdict, here, there = view.verdict, view.source, view.destination
    if verdict.kind == "stale path MTU":
        return Location(words="", confidence="certain", cause="held")
    if verdict.kind == "outer fragments":
        return Location(
            words=f"inside the tunnel between {here.node} and {there.node}", confidence="certain", cause="tunnel"
        )
    location = _of_part(view) or _of_own_tunnel(view) or _of_interface(view)
    if location is not None:
        return location
    if there.kind == "service":
        return Location(words="", confidence="possible", cause="service")
    if not there.node:
        return Location(words=f"between {here.node} and {there.name}", confidence="possible", cause="outside")
    if here.node == there.node:
        return Location(words=f"on {here.node}", confidence="likely", cause="node")
    return _between(view)


def _of_part(view: PathView) -> Location | None:
    near, nodes, far = (view.parts.get(role) for role in ("near", "nodes", "far"))
    if near is not None and near.short and near.verdict.mtu <= view.verdict.mtu + VLAN_SLACK:
        return _veth(view.source)
    if far is not None and far.short and far.verdict.mtu <= view.verdict.mtu:
        if view.destination.veth_differs or far.verdict.kind == "refused here":
            return _veth(view.destination)
        words = f"at the interface of {view.destination.name} on {view.destination.node}"
        return Location(words=words, confidence="certain", cause="interface")
    return _network(nodes, view.destination) if nodes is not None and nodes.short else None


def _veth(end: Endpoint) -> Location:
    words = f"between {end.node} and {end.name}"
    if end.veth_differs:
        words = f"at the veth of {end.name}, which has {end.mtu} in the pod and {end.host_mtu} on {end.node}"
    return Location(words=words, confidence="certain", cause="veth")


def _network(nodes: LegView, there: Endpoint) -> Location:
    """Blame what is between the nodes, or the other node's own NIC, which takes four bytes more than its MTU."""
    direction, carries = nodes.direction, nodes.verdict.mtu
    if nodes.verdict.kind == "receiver" and direction is not None and direction.receiver_mtu:
        return _own_nic(nodes.destination, there, direction.receiver_mtu)
    words = f"between {nodes.source} and {nodes.destination}, whose network carries {carries}"
    return Location(words=words, confidence="certain", cause="network", carries=carries)


def _own_nic(node: str, end: Endpoint, mtu: int) -> Location:
    """Blame the NIC of a node, by its name where it is the one that is known."""
    name = f" {end.nic}" if end.nic and (end.node, end.nic_mtu) == (node, mtu) else ""
    words = f"at {node}'s own NIC{name}, which has {mtu}"
    return Location(words=words, confidence="certain", cause="nic", carries=mtu)


def _of_interface(view: PathView) -> Location | None:
    """Find that the other end's own interface is smaller, and takes no more than that."""
    verdict, there = view.verdict, view.destination
    is_own = 0 < there.mtu < verdict.expected and verdict.mtu in {there.mtu, there.mtu + VLAN_SLACK}
    if not is_own and verdict.kind != "receiver":
        return None
    has = f", which has {there.mtu}" if there.mtu else ""
    if there.kind == "node" and view.source.node != there.node and there.mtu:
        return _own_nic(there.name, there, there.mtu)
    return Location(words=f"at the interface of {there.name}{has}", confidence="certain", cause="interface")


def _of_own_tunnel(view: PathView) -> Location | None:
    """Find that the sender's own node sends no more into its tunnel."""
    into = view.parts.get("overlay")
    if not view.source.has_tunnel or into is None or into.verdict.kind != "refused here":
        return None
    if into.verdict.mtu != view.verdict.mtu:
        return None
    words = f"at the tunnel of {view.source.node}, which takes {into.verdict.mtu}"
    return Location(words=words, confidence="certain" if view.sound("near") else "likely", cause="tunnel")


def _between(view: PathView) -> Location:
    here, there = view.source, view.destination
    between = f"between {here.node} and {there.node}"
    if not here.link and not there.link:
        return Location(words=between, confidence="certain", cause="network", carries=view.verdict.mtu)
    sure: Confidence = "certain" if view.sound("near", "nodes", "far") else "likely"
    if not view.sound("nodes"):  # it may be there
        return Location(words=between, confidence="possible", cause="nodes")
    if here.has_tunnel or there.has_tunnel:
        return Location(words=f"in the tunnel {between}", confidence=sure, cause="tunnel")
    return Location(words=between, confidence="likely", cause="nodes")


# What to do there


def remedy_for(view: PathView, location: Location, network: Topology | None) -> Remedy | None:
    """Say what to do about the pod network; None where that is not known, or where it is not to blame."""
    if network is None or location.cause in {"held", "outside"}:
        return None
    if location.carries:
        return remedies.of(network, between_nodes=location.carries)
    measured = view.verdict.mtu if location.cause in {"tunnel", "nodes", "service"} else 0
    return remedies.of(network, between_pods=measured)


def advise(
    view: PathView,
    location: Location,
    *,
    one_way: bool = False,
    flushed: bool = False,
    remedy: Remedy | None = None,
) -> str:
    """Say what to do about it, with the numbers that were measured.

    `one_way`: the other direction is in order; `flushed`: both ends have just forgotten all path MTUs they had learned.
    `remedy` is what to do about the pod network, where that is known.
    """
    kind = view.verdict.kind
    if kind in {"equal paths differ", "fragmented"}:
        return view.verdict.advice
    if location.cause == "held":
        return _held(view, flushed=flushed)
    if remedy is not None and location.carries and (remedy.stated_by or remedy.path_mtu != location.carries):
        return _known(view, location, remedy)
    none_suits = remedy is not None and remedy.least > 0
    shown = remedy is not None and remedy.cause in SHOWN and remedy.mtu > 0
    by_remedy = remedy is not None and not location.carries and (shown or none_suits)
    advice = remedy.words if remedy is not None and by_remedy else _CURES[location.cause](view)
    if location.cause == "network":
        way = f"on the way from {view.source.node} to" if one_way else f"between {view.source.node} and"
        advice += f" {way} {view.destination.node}"
    if location.carries and remedy is not None and none_suits:
        advice += f"; {remedy.words}"
    elif location.carries:
        advice += f"; until then `kubemtu plan --nic-mtu {location.carries}` shows the pod MTU that fits"
    return f"{advice}; leave what masks it until that is done" if kind == "masked" else advice


def _known(view: PathView, location: Location, remedy: Remedy) -> str:
    """Say what is left to do where the path is known to carry that little: pods fit, and the nodes do not."""
    pods = f"pods of {remedy.mtu} fit" if remedy.cause == "none" else remedy.words
    if not remedy.stated_by:
        nics = f"give the NICs of {view.source.node} and {view.destination.node} the same MTU"
        return f"{nics}; until then {pods}"
    return (
        f"nothing that was not known: {remedy.stated_by} says that the path carries {remedy.path_mtu}, and "
        f"{pods}; what "
        f"the nodes themselves send above {location.carries} is still lost, unless their routes to each other say so"
    )


def _shows(view: PathView) -> str:
    return f"`kubemtu plan --mtu {view.verdict.mtu}` shows"


def _makes(view: PathView) -> str:
    return f"`kubemtu apply --mtu {view.verdict.mtu}` makes it, live"


def _interface(view: PathView) -> str:
    if view.destination.link:
        return "give all pods the same MTU: `kubemtu plan` shows the one that fits, and `kubemtu apply` sets it, live"
    size, expected = view.verdict.mtu, view.verdict.expected
    return f"give the interface of {view.destination.name} an MTU of {expected}, or that of {view.source.name} {size}"


def _outside(view: PathView) -> str:
    size, there = view.verdict.mtu, view.destination
    if ":" in (there.addresses or ("",))[0] and size < encap.IPV6_MINIMUM:
        return f"correct the link that is smaller: {encap.NEEDS[encap.IPV6_MINIMUM]}, so pods cannot be made to suit it"
    until = f"until then send no more than {size} there: {_shows(view)} what that takes for all pods"
    return f"correct the link that is smaller, or {PASSING}; {until}"


_CURES: Final[Mapping[Cause, Callable[[PathView], str]]] = {
    "network": lambda _: "correct the link, switch port or NIC",
    "nic": lambda one: f"give the NICs of {one.source.node} and {one.destination.node} the same MTU",
    "tunnel": lambda one: f"{_shows(one)} the change to what the tunnel carries, and {_makes(one)}",
    "veth": lambda _: "`kubemtu check` shows what differs, and `kubemtu apply` makes both ends equal, live",
    "interface": _interface,
    "node": lambda one: (
        f"`kubemtu check` shows the bridge and the veths of {one.source.node}; `kubemtu apply` sets them, live"
    ),
    "service": lambda one: f"{_shows(one)} what lets all its endpoints be reached, and {_makes(one)}",
    "outside": _outside,
    "nodes": lambda one: (
        f"{_shows(one)} the change to what arrives, and {_makes(one)}; look at what encrypts or filters pods' packets"
    ),
}


def _held(view: PathView, *, flushed: bool) -> str:
    here, there = view.source, view.destination
    address = there.address(":" in (here.addresses or ("",))[0]) or (there.addresses or ("",))[0]
    if flushed:
        return (
            f"a route of {here.name} holds it, for what was learned has just been forgotten: `ip route get {address}` "
            "there shows the route, whose mtu must go"
        )
    return (
        f"`kubemtu why {here.name} {there.name} --flush` has both ends forget what they have learned, and asks again; "
        "what comes back then, a route holds or somebody tells"
    )

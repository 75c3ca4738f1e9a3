"""What is lost on a path by what it is and not by its size: datagrams in fragments, all UDP and TCP in a tunnel, TCP.

A NIC that computes a wrong checksum for what is inside VXLAN does that (flannel-io/flannel#1279, projectcalico/calico:
felix/dataplane/linux, ChecksumOffloadBroken): echo has a checksum of its own and arrives. So does a filter. A policy
that keeps state lets through what answers, so where one way is answered it is none of this.
"""

from collections.abc import Sequence

import msgspec

from kubemtu.core.path.direction import Direction
from kubemtu.core.text.wording import names
from kubemtu.core.why.directions import Leg, PathView
from kubemtu.core.why.location import Location


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """What is lost: `sentence` follows the path; `size`: larger ones are, 0 where it does not matter."""

    sentence: str
    location: Location
    advice: str
    size: int = 0


def find(view: PathView, legs: Sequence[Leg]) -> Loss | None:
    """Say what is lost on a path that carries what it should, as far as its parts tell it; None: nothing is known."""
    return _fragments(view) or _inside(view, {leg.role: leg for leg in legs})


def _fragments(view: PathView) -> Loss | None:
    direction, source, destination = view.whole.direction, view.source, view.destination
    if direction is None or direction.fragmented_datagrams != "vanish":
        return None
    lost = [role for role in ("near", "far", "nodes") if (part := view.parts.get(role)) and _vanish(part.direction)]
    where = {"near": source.node, "far": destination.node, "nodes": f"between {source.node} and {destination.node}"}
    where_lost = where[lost[0]] if lost else destination.node or destination.name
    words = where_lost if where_lost.startswith("between") else f"at {where_lost}"
    size = view.verdict.mtu
    return Loss(
        sentence=f"fragments are dropped {words}: datagrams above {size} are lost, while packets up to that size arrive"
        " whole",
        location=Location(words=words, confidence="certain" if lost else "likely", cause="node"),
        advice=f"look for what drops fragments there (`nft list ruleset`, `iptables-save`, a policy of the CNI); until "
        f"then keep datagrams at {size} bytes, as DNS does with an EDNS size of 1232",
        size=size,
    )


def _vanish(direction: Direction | None) -> bool:
    return direction is not None and direction.fragmented_datagrams == "vanish"


def _inside(view: PathView, legs: "dict[str, Leg]") -> Loss | None:
    """Find what is lost in the tunnel between two nodes that answer each other and their own pods by all protocols."""
    source, destination = view.source, view.destination
    whole, nodes, far = legs.get("whole"), legs.get("nodes"), legs.get("far")
    if (
        whole is None
        or nodes is None
        or far is None
        or source.node == destination.node
        or not (source.vxlan_device or destination.vxlan_device)
    ):
        return None
    if view.only_answers or not view.whole.sound:  # what the other end begins is answered: a policy
        return None
    if any(leg.result.protocol != "UDP" or not leg.result.verdict.mtu for leg in (nodes, far)):
        return None
    if whole.result.protocol == "ICMP echo":
        returned = legs.get("return")
        if returned is None or returned.result.protocol != "ICMP echo":
            return None
        lost, arrives = "UDP and TCP", "ICMP echo"
    elif _tcp(nodes) and _tcp(far) and not _tcp(whole):
        lost, arrives = "TCP", "UDP"
    else:
        return None
    words = f"inside the tunnel between {source.node} and {destination.node}"
    return Loss(
        sentence=f"{arrives} of {view.verdict.mtu} bytes arrives and {lost} of any size {_does(lost)} not, "
        f"{words}, though"
        " both nodes answer each other: it looks like a NIC whose checksum offload spoils what is in a tunnel, or a"
        " filter of the overlay",
        location=Location(words=words, confidence="likely", cause="tunnel"),
        advice=_advice(view),
    )


def _advice(view: PathView) -> str:
    device = view.source.vxlan_device or view.destination.vxlan_device
    port = view.source.vxlan_port or view.destination.vxlan_port
    commands = f"`ethtool -K {device} tx-checksum-ip-generic off`"
    filtered = f"UDP port {port} between the nodes" if port else "the tunnel between the nodes"
    return (
        f"on {names((view.source.node, view.destination.node))}: {commands}; if that helps, it was the offload. "
        "If not, look "
        f"for a filter of {filtered}, or of what is in it, in both directions"
    )


def _tcp(leg: Leg) -> bool:
    """Return whether a connection stood on that way."""
    return leg.result.forward is not None and leg.result.forward.segments is not None


def _does(lost: str) -> str:
    return "do" if " and " in lost else "does"

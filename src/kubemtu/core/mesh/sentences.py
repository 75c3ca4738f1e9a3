"""What is said of a fault, and what to do about it: the node, the link or the zone by name, sizes in bytes."""

from typing import Final

import msgspec

from kubemtu.core.mesh import sampling
from kubemtu.core.mesh.regions import Shape
from kubemtu.core.path import verdict
from kubemtu.core.path.verdict import Kind
from kubemtu.core.text.wording import names, verb

NOT_AN_MTU: Final = "this says nothing about the MTU"
FATES: Final[dict[str, str]] = {
    "black hole": "larger packets vanish",
    "lower": "larger packets are refused by a router that says so",
    "masked": "larger packets vanish, and only TCP is kept below that",
    "receiver": "larger packets are dropped by the receiving interface",
    "fragmented": "larger packets arrive in pieces although DF is set",
}
ALONE: Final[dict[str, str]] = {
    "unreachable": "nothing is answered",
    "loss": "too much is lost to tell what arrives",
    "overloaded": "packets are not read in time",
    "stale path MTU": "the path carries more than the sender's kernel believes",
    "outer fragments": "all packets arrive, but the tunnel's packets around them are cut in pieces on the way",
}


class FaultContext(msgspec.Struct, frozen=True, kw_only=True):
    """All that a sentence needs to know.

    `bad` pairs went wrong, `good` ones of the same region did not, of all that were `measured` there. `names` and
    `others` are of nodes, of zones where the shape is one of zones; pairs go from `names` to `others`, place by place.
    `peers` is how many other members there are; `sampled`: not all of them are measured in a round. `clean`: the other
    direction was measured and is in order. `reported`: the member's own row came in.
    """

    shape: Shape
    kind: Kind
    mtu: int
    expected: int
    bad: int
    good: int = 0
    measured: int = 0
    partly: bool = False
    names: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    peers: int = 0
    sampled: bool = False
    clean: bool = False
    reported: bool = True


def many(number: int, noun: str) -> str:
    """Give "1 pair" or "39,800 pairs"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def say(case: FaultContext) -> str:
    """Say what is so, in one sentence."""
    if case.kind == "refused here":
        return _own_interface(case)
    if case.kind in ALONE:
        return _alone(case)
    if case.partly:
        return _partly(case)
    if case.shape in {"column", "row", "node"}:
        return _of_members(case)
    end = "; the network between all nodes carries only that, so the expectation is too high"
    return (
        f"{_where(case)} at most {case.mtu} bytes arrive, not {case.expected}: {_fate(case)}{_in_pairs(case)}"
        f"{end if case.shape == 'everywhere' else ''}"
    )


def _fate(case: FaultContext) -> str:
    return FATES.get(case.kind, "larger packets do not arrive")


def _of_members(case: FaultContext) -> str:
    """Say what a member receives, sends, or both."""
    number, who = len(case.names), names(case.names)
    them = case.names[0] if number == 1 else "them"
    if case.shape == "column":
        told = f"{who} {verb(number, 'receive')} at most {case.mtu} bytes: from {_peers(case)} {_fate(case)}"
        own = f"{them}'s" if number == 1 else "their"
        return told + (f", while {own} own packets of {case.expected} arrive everywhere" if case.clean else "")
    if case.shape == "row":
        told = f"what {who} {verb(number, 'send')} arrives up to {case.mtu} bytes: to {_peers(case)} {_fate(case)}"
        return told + (f", while packets of {case.expected} to {them} arrive" if case.clean else "")
    link = f"the link of {who} carries" if number == 1 else f"the links of {who} carry"
    return f"{link} at most {case.mtu} bytes in both directions: {_fate(case)}, from and to {_peers(case)}"


def _peers(case: FaultContext) -> str:
    """Name the nodes at the other end."""
    if len(case.names) > 1:
        return "nearly all nodes" if case.good else "all nodes that were measured"
    if case.good:
        number = case.bad + case.good
        return f"other nodes, in {case.bad:,} of {many(number, 'pair')}," if case.shape == "node" else _share(case)
    if case.bad == case.peers * (2 if case.shape == "node" else 1):
        return "both other nodes" if case.peers == 2 else f"all {case.peers:,} other nodes"
    nodes = "nodes" if case.shape == "node" else many(case.bad, "node")
    return f"all {nodes} {_which(case)}"


def _share(case: FaultContext) -> str:
    return f"{case.bad:,} of {many(case.bad + case.good, 'node')}"


def _which(case: FaultContext) -> str:
    """Return whether what went wrong is all that was measured, or all that tells anything."""
    return "that were measured" if case.bad == case.measured else "where it can be told"


def _where(case: FaultContext) -> str:
    """Name the region as it begins a sentence."""
    who = names(case.names)
    if case.shape in {"pair", "pair both"}:
        return _of_pairs(case)
    if case.shape in {"zones", "zones both"}:
        one, other = case.names[0], case.others[0]
        return f"from zone {one} to zone {other}" if case.shape == "zones" else f"between zones {one} and {other}"
    places: dict[Shape, str] = {
        "column": f"to {who}",
        "row": f"from {who}",
        "node": f"from and to {who}",
        "zone in": f"into zone {who} from outside",
        "zone out": f"out of zone {who}",
        "zone uplinks": f"into and out of zone {who}",
        "within": f"within zone {who}",
        "between": "between nodes of different zones",
    }
    return places.get(case.shape, "between any two nodes")


def _of_pairs(case: FaultContext) -> str:
    one_way = case.shape == "pair"
    if len(case.names) == 1:
        one, other = case.names[0], case.others[0]
        return f"from {one} to {other}" if one_way else f"between {one} and {other}"
    joint = "to" if one_way else "with"
    pairs = [f"{one} {joint} {other}" for one, other in zip(case.names, case.others, strict=True)]
    ways = "" if one_way else ", in both directions,"
    return f"in {many(len(pairs), 'pair')} of nodes ({names(pairs)}){ways}"


def _in_pairs(case: FaultContext) -> str:
    if case.shape in {"pair", "pair both"}:
        return ""
    if case.good:
        return f" (in {case.bad:,} of {many(case.bad + case.good, 'pair')})"
    return f" (in all {many(case.bad, 'pair')} {_which(case)})"


def _partly(case: FaultContext) -> str:
    if case.kind == "equal paths differ":
        return (
            f"{_where(case)} flows that differ in nothing but a port carry different sizes, at least {case.mtu} bytes"
            f"{_in_pairs(case)}: one of several equal paths carries less than {case.expected}"
        )
    return (
        f"{_where(case)} {case.mtu} bytes arrive, and not always more: {_fate(case)}{_in_pairs(case)}, "
        "so one of several equal paths may carry less than the others"
    )


def _alone(case: FaultContext) -> str:
    """Say what is a fault of its own, whatever size comes with it."""
    number, who = len(case.names), names(case.names)
    end = f"; {NOT_AN_MTU}" if case.kind in verdict.UNDECIDED else ""
    if case.kind == "unreachable" and case.shape in {"column", "row", "node"} and not case.good:
        its, it = ("its", "it") if number == 1 else ("their", "they")
        if case.shape == "row":
            others = f", although {it} {verb(number, 'answer')} others" if case.clean else ""
            return f"nobody answers {who}{others}{end}"
        nobody = f"{who} {verb(number, 'answer')} nobody"
        if not case.reported:
            down = f"{it} {'is' if number == 1 else 'are'} down or cut off, or no prober runs there"
            return f"{nobody} and reported nothing: {down}{end}"
        if case.shape == "node":
            return f"{nobody}, and nobody answers {its} packets: cut off, or down{end}"
        return nobody + (f", although {its} own packets are answered" if case.clean else "") + end
    paths = ": one of several equal paths may be at fault" if case.partly else ""
    return f"{_where(case)} {ALONE[case.kind]}{_in_pairs(case)}{paths}{end}"


def _own_interface(case: FaultContext) -> str:
    if case.shape == "everywhere":
        return (
            f"every node's own interface carries {case.mtu} bytes, not {case.expected}: "
            "the expectation is too high, or all interfaces are too small"
        )
    number, who = len(case.names), names(case.names)
    of = f"{who}'s own interface carries" if number == 1 else f"the own interfaces of {who} carry"
    both = f", and {'it receives' if number == 1 else 'they receive'} no more" if case.shape == "node" else ""
    return f"{of} {case.mtu} bytes, not {case.expected}{both}: the paths are not to blame"


def advise(case: FaultContext, *, first: bool = False) -> str:
    """Say what to do; `first`: that more is to be measured before anything is believed."""
    if first and case.kind not in ALONE and not case.partly:
        return f"Measure {_rest(case)} before anything is changed. {_advise(case)}"
    return _advise(case)


def _rest(case: FaultContext) -> str:
    if case.shape in {"pair", "pair both"}:
        rest = "the rest of the row and the column of each, and " if case.sampled else ""
        return f"{rest}{'the pair itself' if len(case.names) == 1 else 'each pair'} by several flows"
    if case.shape in {"column", "row", "node"}:
        return f"the rest of the row and the column of {names(case.names)}"
    return "the pairs of it that were not measured"


def _advise(case: FaultContext) -> str:
    alone = {
        "unreachable": "See whether the node, its prober and the filters between let probes through; measure again.",
        "loss": "Look for loss on the way (error counters of NICs and switch ports), then measure again.",
        "overloaded": "Measure again when there is less load.",
        "stale path MTU": "Look for routes with an mtu of their own, and run `ip route flush cache` on the senders.",
        "outer fragments": f"Lower the tunnel's MTU until its packets fit, or raise the network's; {case.mtu} arrive.",
    }
    if case.kind in alone:
        return alone[case.kind]
    if case.partly:
        return (
            f"Measure these pairs by more flows, each with a port of its own ({sampling.flows_needed(2)} find one of 2 "
            f"equal paths, {sampling.flows_needed(16)} one of 16), and look at each member of the bundle (ECMP, LACP)."
        )
    who = names(case.names)
    ends: dict[Shape, str] = {
        "column": f"Look at the NIC of {who} and at its port on the switch, in the direction towards the node.",
        "row": f"Look at the way out of {who}: routes, tunnel, NIC, and its port on the switch.",
        "node": f"Look at the NIC of {who} and at its port on the switch.",
        "within": f"Look at the switch of zone {who}.",
        "zone in": f"Look at the uplinks of zone {who}, in the direction into it.",
        "zone out": f"Look at the uplinks of zone {who}, in the direction out of it.",
        "zone uplinks": f"Look at the uplinks of zone {who}.",
        "between": "Look at what connects the zones: spine switches, routers, tunnels.",
        "everywhere": f"Expect {case.mtu} bytes, or raise the MTU of everything between the nodes to {case.expected}.",
    }
    if case.kind == "refused here":
        ends["row"] = ends["node"] = f"Raise the MTU of the interface of {who}, or expect {case.mtu} bytes."
        ends["everywhere"] = f"Expect {case.mtu} bytes, or raise the MTU of the nodes' interfaces to {case.expected}."
    if case.kind == "receiver":
        ends["column"] = f"Raise the MTU of the interface by which {who} receives, or expect {case.mtu} bytes."
    if case.shape in {"zones", "zones both"}:
        return f"Look at the links between zones {case.names[0]} and {case.others[0]}."
    return ends.get(case.shape, "Look at what only these pairs share: their routes, a firewall, a tunnel between them.")

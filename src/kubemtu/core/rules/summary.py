"""The one sentence that a report begins with: what is lost, by whom, and by what that is known."""

from kubemtu.core import codes
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.codes import Finding
from kubemtu.core.rules import attachments, missing
from kubemtu.core.rules.verdict import KEEPS_DOWN, ClusterVerdict
from kubemtu.core.text.wording import count, names, verb

SHORT = 40  # characters: less is a label, or half a sentence, and says nothing alone

# Of what is below the interfaces that were looked at: whether it loses anything, only a measurement tells.
BELOW_INTERFACES = frozenset({codes.MTU135.code, codes.MTU136.code})

# Of what the nodes themselves send, and pods on their network: what the pods of the pod network send is well.
OF_NODES = frozenset({codes.MTU142.code, codes.MTU145.code})

UNREADABLE = frozenset({codes.MTU117.code, codes.MTU122.code})


def of(topology: Topology, verdict: ClusterVerdict, findings: tuple[Finding, ...]) -> str:
    """Say in one sentence what all findings come to."""
    said = {"broken": _broken, "suboptimal": _suboptimal, "incomplete": _incomplete, "healthy": _healthy}[verdict](
        topology, findings
    )
    if topology.under_way:
        said += f" A change is under way ({names(topology.under_way)}): part of this is its passing state."
    return said


def _healthy(topology: Topology, _findings: tuple[Finding, ...]) -> str:
    if topology.carries is None:
        return _suits(topology)
    if not any(node.nic for node in topology.nodes):
        suits = f"NICs of {topology.assumed_nic}"
        if topology.assumed_by is not None:
            suits = f"the {topology.assumed_nic} that {topology.assumed_by.says} gives the path"
        gets = f"new pods get {topology.born}" if topology.born is not None else "each node decides what new pods get"
        free = topology.carries - (topology.born or topology.carries)
        meant = (
            f", of which {topology.state.said} leaves {free} free by design"
            if 0 < free <= topology.state.reserves
            else ""
        )
        return (
            f"The configuration suits {suits}: {gets}, the path between nodes carries {topology.carries}{meant}. "
            "No node was observed."
        )
    pods_seen = len(topology.ports)
    if topology.held_by:
        return (
            f"The pod network's MTU is right: {count(pods_seen, 'pod')} on {count(len(topology.nodes), 'node')}, and"
            f" every packet that they can send fits the path to where it goes, as MTUMigration {topology.held_by} gives"
            f" it to them and the agents keep it{_held(topology)}, by what {_source(topology)}."
        )
    return (
        f"The pod network's MTU is right: {count(pods_seen, 'pod')} on {count(len(topology.nodes), 'node')}, and every "
        f"packet that they can send fits the path between nodes, which carries {topology.carries} "
        f"by what {_source(topology)}."
    )


def _held(topology: Topology) -> str:
    """Say which sizes a change in force gives pods, as it follows a clause."""
    asked = [one for node in topology.nodes if (one := topology.held(node)) is not None]
    most = max((one.pod_mtu for one in asked), default=0)
    less = sorted({one.pod_mtu for one in asked} - {most})
    out = sorted({one.default_route_mtu for one in asked if one.default_route_mtu is not None})
    said = f": at most {most}"
    said += f", {names(str(mtu) for mtu in less)} towards nodes with less" if less else ""
    return said + (f", {names(str(mtu) for mtu in out)} out of the cluster" if out else "")


def _source(topology: Topology) -> str:
    """Say who says what the path carries."""
    if topology.origin is not None:
        return f"{topology.origin.says} says"
    narrow = topology.narrowest
    if narrow is not None and narrow.routed and narrow.path_mtu == narrow.nic_mtu:
        own = f"that of {narrow.name}: {narrow.nic_mtu}; its {narrow.nic} has {narrow.link_mtu}"
        return f"the routes between the nodes say ({own})"
    return "the NICs say"


def _suits(topology: Topology) -> str:
    """Return the condition under which a configuration is right whose NICs nobody has seen."""
    state = topology.state
    around = f", and {state.encapsulation_name} goes around their packets" if state.encapsulation else ""
    seen = "No NIC was seen" if any(node.seen.links for node in topology.nodes) else "No node was observed"
    own = f"{seen}: --nic-mtu N judges it against the smallest NIC of yours."
    gives = state.pod_mtu or max((node.born for node in topology.nodes if node.born), default=None)
    if gives is None:
        taken = f"{state.subtracts} bytes less than the NIC has" if state.subtracts else "what the NIC has"
        return f"The configuration suits NICs of any MTU, as long as all have the same: new pods get {taken}. {own}"
    nic = state.outer(gives)
    return f"The configuration suits NICs of {nic} or more, and of {nic} best: new pods get {gives}{around}. {own}"


def _broken(topology: Topology, findings: tuple[Finding, ...]) -> str:
    errors = [finding for finding in findings if finding.severity == "error"]
    present = {finding.code for finding in errors}
    split = sum(port.at.differ for _, port in topology.ports)
    judged = [port for node, port in topology.ports if not topology.by_destination(node, port)]
    sizes = [port.sends or port.shown or 0 for port in judged]
    above = [size for size in sizes if topology.carries and size > topology.carries]
    if codes.MTU105.code in present:
        return (
            f"The MTU breaks traffic: {count(split, 'pod')} of {len(topology.ports)} {verb(split, 'lose')} large "
            "packets without an ICMP error, because the two ends of their interfaces differ."
        )
    if codes.MTU101.code in present and above:
        return (
            f"The MTU breaks traffic: {count(len(above), 'pod')} of {len(topology.ports)} may send {max(above)} bytes"
            f"{'' if all(port.seen for _, port in topology.ports) else ' by their host ends'}, but the path between "
            f"nodes carries {topology.carries}."
        )
    first = errors[0]
    lead = "What starts from now on fails" if first.code in KEEPS_DOWN else "The MTU breaks traffic, or soon will"
    if first.code == codes.MTU117.code:
        lead = "Not everything here can be read"
    return f"{lead}. {first.place}: {_first(first)}"


def _suboptimal(topology: Topology, findings: tuple[Finding, ...]) -> str:
    warnings = [finding for finding in findings if finding.severity == "warning"]
    shown = [port.shown for _, port in topology.ports if port.shown is not None]
    below = [mtu for mtu in shown if topology.wastes(mtu)]
    if below and codes.MTU102.code in {finding.code for finding in warnings}:
        return f"Nothing is lost, but pods have {min(below)} where the path between nodes carries {topology.carries}."
    beside = warnings[0].code in attachments.OWN  # nothing before it: the pod network itself has no warning
    if not topology.nodes or missing.nodes(topology):
        network = "a network beside the pod network, " if beside else ""
        return f"No error was found, but mind {network}{warnings[0].place}: {_first(warnings[0])}"
    if beside:
        return f"The pod network is well, but mind a network beside it, {warnings[0].place}: {_first(warnings[0])}"
    lead = "Nothing is lost now"
    if warnings[0].code in BELOW_INTERFACES:
        lead = "By what interfaces say nothing is lost"
    elif warnings[0].code in OF_NODES:
        lead = "Pods lose nothing"
    return f"{lead}, but mind {warnings[0].place}: {_first(warnings[0])}"


def _first(finding: Finding) -> str:
    """Return what a finding says first: a sentence, and the next one where that is too short to say anything."""
    first, dot, rest = finding.message.partition(". ")
    if dot and len(first) < SHORT:
        first = f"{first}. {rest.partition('. ')[0]}"
    return f"{first.rstrip('.')}."


def _incomplete(topology: Topology, findings: tuple[Finding, ...]) -> str:
    if not topology.state.encapsulation_known:
        unread = names(finding.place for finding in findings if finding.code in UNREADABLE)
        return (
            "Whether the MTU is right cannot be said, because the encapsulation between nodes is not known"
            f"{f': see {unread}' if unread else ''}."
        )
    if topology.carries is None:
        configured = topology.born
        return (
            f"{f'New pods get {configured}' if configured else 'The nodes decide what new pods get'}; whether that is "
            "right cannot be said without the NICs' MTU: "
            + ("give --nic-mtu." if topology.offline else f"{_unobserved(topology)}, or give --nic-mtu.")
        )
    if listed := missing.places(topology):
        return f"Nothing wrong was found, but not everything could be read: {names(listed)}."
    unmeasured = names(one.place for one in findings if one.code == codes.MTU125.code)
    return f"Nothing wrong was found, but not everything could be measured: {unmeasured}."


def _unobserved(topology: Topology) -> str:
    if any(entry.what == "nodemtus" and entry.why == "forbidden" for entry in topology.unread):
        return "what the agents tell (nodemtus) may not be read; ask for that right"
    return "no node was observed; look at them with --exec, run the agent"

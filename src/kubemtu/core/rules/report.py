"""The answer: one word, one sentence, and everything that it rests on. It is also the JSON of `kubemtu check`."""

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from kubemtu.core import codes
from kubemtu.core.cluster.topology import Layer, Node, Topology
from kubemtu.core.codes import Finding
from kubemtu.core.planning import remedy as remedies
from kubemtu.core.remedy import Remedy
from kubemtu.core.rules import (
    attachments,
    cloud,
    config,
    drift,
    held,
    inner,
    known,
    link,
    overlay,
    path,
    pods,
    refused,
    runtime,
    unfinished,
    unseen,
    vpn,
    windows,
)
from kubemtu.core.snapshot import UNUSED
from kubemtu.core.text.wording import count, names, verb

SCHEMA = "kubemtu.io/check/v1"
Verdict = Literal["healthy", "broken", "suboptimal", "incomplete"]
SHORT = 40

ORIGIN = re.compile(r" \([^()]*:\d+\)")  # the file and line that an object was read from

# A container that does not start (MTU111 as an error: a flag that ends it), or a pod that gets no network.
KEEPS_DOWN = frozenset({codes.MTU108.code, codes.MTU109.code, codes.MTU112.code, codes.MTU122.code, codes.MTU111.code})

# Of what is below the interfaces that were looked at: whether it loses anything, only a measurement tells.
BELOW_INTERFACES = frozenset({codes.MTU135.code, codes.MTU136.code})

UNREADABLE = frozenset({codes.MTU117.code, codes.MTU122.code})

# Causes before consequences: what a finding further down says is often only the effect of one further up.
FAMILIES = (
    unfinished.find,
    refused.find,
    link.find,
    vpn.find,
    runtime.find,
    config.find,
    overlay.find,
    drift.find,
    held.find,
    pods.find,
    inner.find,
    path.find,
    known.find,
    cloud.find,
    windows.find,
    attachments.find,
    unseen.find,
)


class NodeLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One observed node in a report. MTUs in bytes, smallest first: of its pods' own ends, and of the host ends."""

    name: str
    """Name of the node."""
    nic: str
    """The NIC by which it reaches other nodes; empty when not known."""
    nic_mtu: int | None
    """Its MTU, in bytes; null when not known."""
    tunnel: str | None
    """The overlay's tunnel device; null without one."""
    tunnel_mtu: int | None
    """Its MTU, in bytes."""
    conflist_mtu: int | None
    """The MTU of a pod that is created here now, in bytes; null when not known."""
    pods: int
    """How many pods of the pod network were seen here."""
    pod_mtus: tuple[int, ...]
    """The MTUs of their own ends, smallest first, as far as those were seen."""
    host_mtus: tuple[int, ...]
    """The MTUs of the host ends, smallest first."""
    unseen: int = 0
    """How many pods run here by the API whose interfaces were not seen."""
    host_ends_only: int = 0
    """Of how many pods only the host end was seen, so that their own MTU is not known."""


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `check` found. `current` are the MTUs that running pods have, `missing` what could not be read."""

    verdict: Verdict
    """What all of it comes to."""
    summary: str
    """The same in one sentence."""
    cni: str
    """The CNI."""
    variant: str
    """How it was deployed."""
    encapsulation: str
    """What pod packets are wrapped in between nodes."""
    recommended_mtu: int | None
    """The MTU that pods should have, in bytes; null when it cannot be told."""
    current: tuple[int, ...]
    """The MTUs that running pods have, smallest first."""
    layers: tuple[Layer, ...] = ()
    """From the pod's MTU to the NIC's, header by header."""
    nodes: tuple[NodeLine, ...] = ()
    """What each observed node has."""
    findings: tuple[Finding, ...] = ()
    """What is wrong or could be better, causes first."""
    missing: tuple[str, ...] = ()
    """What could not be read, a sentence each."""
    unused: tuple[str, ...] = ()
    """Files that were given and not used, each with the reason; of many with one reason the first few."""
    proven: tuple[str, ...] = ()
    """A line for each layer that was measured, where that was asked for."""
    other_networks: tuple[attachments.OtherNetwork, ...] = ()
    """Networks beside the pod network, by namespace and name: they are read and never changed."""
    elsewhere: tuple[str, ...] = ()
    """Pods whose own network is another than the cluster's, by their annotation: nothing else here is about them."""
    remedy: Remedy | None = None
    """What `plan` leads to, and what that mends; null where it is not known."""
    schema: str = SCHEMA
    """Version of this form."""


def judge(topology: Topology) -> tuple[Finding, ...]:
    """Return all findings, causes first; one that says the same of the same place as an earlier one is left out.

    A command in a remedy leads where the finding says: by the same path.
    """
    found: dict[tuple[str, str], Finding] = {}
    of_rules = [one for family in FAMILIES for one in family(topology)]
    for finding in topology.state.findings:
        # The configuration alone shows less than the configuration and the nodes: the rule's finding says more.
        place = ORIGIN.sub("", finding.place)
        if not any(one.code == finding.code and one.place.startswith(place) for one in of_rules):
            found.setdefault((finding.code, finding.place), finding)
    for finding in of_rules:
        found.setdefault((finding.code, finding.place), finding)
    return tuple(_by_the_same_path(finding, topology.option) for finding in found.values())


def _by_the_same_path(finding: Finding, option: str) -> Finding:
    if finding.code == codes.MTU128.code:  # what is under way has its number
        return finding
    return msgspec.structs.replace(
        finding, remedy=re.sub(r"`kubemtu (apply|plan)`", rf"`kubemtu \1{option}`", finding.remedy)
    )


def report(
    topology: Topology, measured: Sequence[Finding] = (), proven: Sequence[str] = (), *, between_pods: int = 0
) -> Report:
    """Say what is so; `measured` are the findings of what was also measured, and `proven` a line for each layer.

    `between_pods`: the largest packet that was found to arrive between all pods, in bytes; 0: all of it, or unknown.
    """
    findings = (*measured, *judge(topology))
    missing = _missing(topology)
    verdict = _verdict(topology, findings)
    return Report(
        verdict=verdict,
        summary=_summary(topology, verdict, findings),
        cni=topology.state.name,
        variant=topology.state.variant,
        encapsulation=topology.state.encapsulation_name,
        recommended_mtu=topology.recommended,
        current=tuple(sorted({port.mtu for _, port in topology.ports if port.mtu is not None})),
        layers=topology.layers,
        nodes=tuple(_line(node) for node in topology.nodes),
        findings=findings,
        missing=missing,
        unused=tuple(f"{entry.what}: {entry.message}" for entry in topology.unread if entry.why == UNUSED),
        proven=tuple(proven),
        other_networks=attachments.lines(topology),
        elsewhere=tuple(pod for node in topology.nodes for pod in node.elsewhere),
        remedy=remedies.of(topology, between_pods=between_pods) if topology.carries is not None else None,
    )


def _verdict(topology: Topology, findings: tuple[Finding, ...]) -> Verdict:
    severities = {finding.severity for finding in findings}
    if "error" in severities:
        return "broken"
    if any(finding.severity == "warning" and finding.code != codes.MTU117.code for finding in findings):
        return "suboptimal"
    unseen_now = {codes.MTU117.code, codes.MTU118.code, codes.MTU125.code} & {finding.code for finding in findings}
    unseen_now |= {*windows.silent(topology)}
    return "incomplete" if unseen_now or (topology.carries is None and not _conditional(topology)) else "healthy"


def _conditional(topology: Topology) -> bool:
    """Return True when the configuration alone says for which NICs it is right, and nobody could have shown one."""
    state = topology.state
    known = state.pod_mtu is not None or state.subtracts is not None
    return topology.offline and state.encapsulation_known and known


def _summary(topology: Topology, verdict: Verdict, findings: tuple[Finding, ...]) -> str:
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
            f", of which {topology.state.name} leaves {free} free by design"
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
    shown = [node.rendered.gives for node in topology.nodes if node.rendered is not None and node.rendered.gives]
    gives = state.pod_mtu or max(shown, default=None)
    if gives is None:
        taken = f"{state.subtracts} bytes less than the NIC has" if state.subtracts else "what the NIC has"
        return f"The configuration suits NICs of any MTU, as long as all have the same: new pods get {taken}. {own}"
    nic = max((one.outer(gives) for one in state.encapsulation), default=gives)
    return f"The configuration suits NICs of {nic} or more, and of {nic} best: new pods get {gives}{around}. {own}"


def _broken(topology: Topology, findings: tuple[Finding, ...]) -> str:
    errors = [finding for finding in findings if finding.severity == "error"]
    present = {finding.code for finding in errors}
    split = sum(port.at.differ for _, port in topology.ports)
    sizes = [port.sends or port.shown or 0 for _, port in topology.ports]
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
    if warnings[0].code in attachments.OWN:  # nothing before it: the pod network itself has no warning
        return f"The pod network is well, but mind a network beside it, {warnings[0].place}: {_first(warnings[0])}"
    lead = "By what interfaces say nothing is lost" if warnings[0].code in BELOW_INTERFACES else "Nothing is lost now"
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
    if listed := _unseen(topology):
        return f"Nothing wrong was found, but not everything could be read: {names(listed)}."
    unmeasured = names(one.place for one in findings if one.code == codes.MTU125.code)
    return f"Nothing wrong was found, but not everything could be measured: {unmeasured}."


def _unobserved(topology: Topology) -> str:
    if any(entry.what == "nodemtus" and entry.why == "forbidden" for entry in topology.unread):
        return "what the agents tell (nodemtus) may not be read; ask for that right"
    return "no node was observed; look at them with --exec, run the agent"


def _unseen(topology: Topology) -> tuple[str, ...]:
    """Return what `_missing` is about, in a word or two each."""
    listed = [entry.what for entry in topology.unread if entry.why != UNUSED]
    listed += [f"node {name}" for name in topology.silent if not topology.offline]
    listed += [f"node {name} (Windows)" for name in windows.silent(topology)]
    listed += [f"node {node.name}" for node in topology.nodes if node.seen.errors]
    listed += [f"{count(len(node.unseen), 'pod')} of {node.name}" for node in topology.nodes if node.unseen]
    if halves := sum(not port.seen for _, port in topology.ports):
        listed.append(f"the own {'end' if halves == 1 else 'ends'} of {count(halves, 'pod')}")
    return tuple(dict.fromkeys(listed)) or _missing(topology)


def _missing(topology: Topology) -> tuple[str, ...]:
    listed = [f"{entry.what}: {entry.message}" for entry in topology.unread if entry.why != UNUSED]
    said = {entry.what for entry in topology.unread}
    silent = [] if topology.offline else [f"node {name}" for name in topology.silent]
    listed += [f"{one}: not observed" for one in silent if one not in said]
    listed += [f"node {name}: it runs Windows, for which there is no agent" for name in windows.silent(topology)]
    listed += [f"node {node.name}: {trouble}" for node in topology.nodes for trouble in node.seen.errors]
    listed += [
        f"node {node.name}: {_no_configuration(node, topology.state.conflist)}"
        for node in topology.nodes
        if topology.state.conflist and node.rendered is None and not topology.offline
    ]
    return tuple(listed)


def _no_configuration(node: Node, path: str) -> str:
    """Say that there is none, where an agent looked; whoever looks from a container has seldom that folder."""
    return f"no CNI configuration at {path}" if node.seen.seen_by == "agent" else f"{path} was not seen"


def _line(node: Node) -> NodeLine:
    return NodeLine(
        name=node.name,
        nic=node.nic,
        nic_mtu=node.link_mtu,
        tunnel=node.tunnel.name if node.tunnel is not None else None,
        tunnel_mtu=node.tunnel.mtu if node.tunnel is not None else None,
        conflist_mtu=node.rendered.gives if node.rendered is not None else None,
        pods=len(node.ports),
        pod_mtus=tuple(sorted({port.mtu for port in node.ports if port.mtu is not None})),
        host_mtus=tuple(sorted({port.at.host_mtu for port in node.ports})),
        unseen=len(node.unseen),
        host_ends_only=sum(not port.seen for port in node.ports),
    )

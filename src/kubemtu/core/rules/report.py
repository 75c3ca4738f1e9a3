"""The answer: one word, one sentence, and everything that it rests on. It is also the JSON of `kubemtu check`."""

import re
from collections.abc import Sequence

import msgspec

from kubemtu.core import codes, encap
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
    missing,
    overlay,
    path,
    pods,
    refused,
    runtime,
    summary,
    unfinished,
    unseen,
    verdict,
    vpn,
    windows,
)
from kubemtu.core.rules.verdict import ClusterVerdict
from kubemtu.core.snapshot import UNUSED

SCHEMA = "kubemtu.io/check/v1"

COMMANDS = re.compile(r"`kubemtu (?:plan|apply)\b")
ORIGIN = re.compile(r" \([^()]*:\d+\)")  # the file and line that an object was read from

# What new pods get, as somebody has configured it: a change in force is about what the agents give them.
CONFIGURED = frozenset({codes.MTU103.code, codes.MTU104.code, codes.MTU110.code, codes.MTU119.code, codes.MTU130.code})

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

    verdict: ClusterVerdict
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
    """The MTU that pods should have, in bytes; null when it cannot be told, and where a change in force gives those of
    each node their own."""
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
    called: str = ""
    """What the network is called where `cni` says what a cluster is made from; empty where `cni` is its name."""
    schema: str = SCHEMA
    """Version of this form."""

    @property
    def about(self) -> str:
        """Return the network in a few words: what it is, how it was deployed, what goes around its packets."""
        cni = "" if self.called else self.cni  # what is called otherwise has that in its variant
        return " · ".join(part for part in (cni, self.variant, self.encapsulation) if part)


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
    led = (_where_none_suits(_by_the_same_path(one, topology.option), topology) for one in found.values())
    return tuple(_until_taken_back(finding, topology) for finding in led)


def _where_none_suits(finding: Finding, topology: Topology) -> Finding:
    """Say what comes first where the path leaves pods less than they need: `plan` and `apply` refuse all of it then.

    What is under way may be made or taken back all the same.
    """
    short = topology.carries is not None and topology.carries < topology.least
    if not short or finding.code == codes.MTU128.code or not COMMANDS.search(finding.remedy):
        return finding
    needs = encap.NEEDS[topology.least]
    return msgspec.structs.replace(
        finding, remedy=f"Raise what the path between nodes carries first: {needs}, so no pod MTU suits it."
    )


def _until_taken_back(finding: Finding, topology: Topology) -> Finding:
    """Say what comes first where `kubemtu apply` is the remedy, and does not do that under a change in force."""
    if topology.led_further or finding.code not in CONFIGURED or "`kubemtu " not in finding.remedy:
        return finding
    standing = f"While MTUMigration {topology.held_by} is in force, `kubemtu apply` leaves that as it is"
    return msgspec.structs.replace(finding, remedy=f"{finding.remedy} {standing}: `kubemtu rollback` comes first.")


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
    word = verdict.of(topology, findings)
    return Report(
        verdict=word,
        summary=summary.of(topology, word, findings),
        cni=topology.state.name,
        called=topology.state.called,
        variant=topology.state.variant,
        encapsulation=topology.state.encapsulation_name,
        recommended_mtu=_recommended(topology),
        current=tuple(sorted({port.mtu for _, port in topology.ports if port.mtu is not None})),
        layers=topology.layers,
        nodes=tuple(_line(node) for node in topology.nodes),
        findings=findings,
        missing=missing.sentences(topology),
        unused=tuple(f"{entry.what}: {entry.message}" for entry in topology.unread if entry.why == UNUSED),
        proven=tuple(proven),
        other_networks=attachments.lines(topology),
        elsewhere=tuple(pod for node in topology.nodes for pod in node.elsewhere),
        remedy=remedies.of(topology, between_pods=between_pods) if topology.carries is not None else None,
    )


def _recommended(topology: Topology) -> int | None:
    """Return the one MTU that pods should have, in bytes: under a change in force that of all nodes, or none."""
    held = {one.pod_mtu for node in topology.nodes if (one := topology.held(node)) is not None}
    return topology.recommended if not held else held.pop() if len(held) == 1 else None


def _line(node: Node) -> NodeLine:
    return NodeLine(
        name=node.name,
        nic=node.nic,
        nic_mtu=node.link_mtu,
        tunnel=node.tunnel.name if node.tunnel is not None else None,
        tunnel_mtu=node.tunnel.mtu if node.tunnel is not None else None,
        conflist_mtu=node.born,
        pods=len(node.ports),
        pod_mtus=tuple(sorted({port.mtu for port in node.ports if port.mtu is not None})),
        host_mtus=tuple(sorted({port.at.host_mtu for port in node.ports})),
        unseen=len(node.unseen),
        host_ends_only=sum(not port.seen for port in node.ports),
    )

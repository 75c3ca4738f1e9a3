"""Spiderpool as the cluster's own network: pods on the NICs themselves, by the network that multus takes first.

The file that the runtime takes is multus' (spidernet-io/spiderpool at a7fbd3b2: charts/spiderpool/templates/
configmap.yaml): its clusterNetwork names a NetworkAttachmentDefinition, which Spiderpool writes from a
SpiderMultusConfig of that name. Nothing goes around a packet; a pod has the mtu that stands there, or its master's.
Where another pod network was recognised first, Spiderpool's networks are beside that one.
"""

import json

import msgspec

from kubemtu.cni.knowledge import Knowledge
from kubemtu.cni.programs import chain, kubelet, spider
from kubemtu.core import codes, net
from kubemtu.core.change import plan
from kubemtu.core.cluster import attachments, cni_state, node_files
from kubemtu.core.codes import Finding
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import NODES, Object, Want
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text.wording import names

NAME = "spiderpool"
FIRST = ("multus", "multus-shim")
WANTS: tuple[Want, ...] = (NODES, kubelet.WANT)  # its own kinds are read where there is a definition of a network
KNOWLEDGE = Knowledge(
    recognised_by="Spiderpool (a SpiderMultusConfig that is the clusterNetwork of multus)",
    words=("spiderpool",),
)


class SpiderParsed(msgspec.Struct, frozen=True, kw_only=True):
    """The network that Spiderpool makes the cluster's own: the object that its MTU is written in."""

    place: str
    plugin: str
    mtu: int | None


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe the network that pods have first, or return None where it is none of Spiderpool's."""
    named = sorted({name for node in snapshot.nodes if (name := _cluster_network(node))})
    found = [(name, config) for name in named if (config := _config(name, snapshot)) is not None]
    if not found:
        return None
    _, config = found[0]
    definition = snapshot.find(attachments.KIND, config.name, config.namespace)
    held = definition.get("spec", "config") if definition is not None else None
    text = held if isinstance(held, str) and held else spider.rendered(config)
    listed = chain.plugins(text) if text else ""
    if isinstance(listed, str) and not text:
        return None  # a file of the node, and so whatever else makes the pods' network
    made = chain.read(listed) if isinstance(listed, tuple) else chain.ChainMtu()
    out: list[Finding] = list(kubelet.findings(snapshot))
    if len(named) > 1:
        out.append(_several(named))
    out += _other_nic(snapshot, made.lower)
    where = _place(config, made)
    return cni_state.CniState(
        name=NAME,
        variant=made.plugin,
        encapsulation_name="none",
        pod_mtu=made.mtu,
        subtracts=0 if made.maker is not None and made.maker.inherits else None,
        computed_by=made.plugin,
        source=where,
        ports=net.PortRule(),
        findings=tuple(dict.fromkeys(out)),
        parsed=SpiderParsed(place=where, plugin=made.plugin, mtu=made.mtu),
    )


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """Return nothing where new pods get `target` bytes; elsewhere raise UsageError, naming the key.

    Its pods are on the nodes' NICs, and what they reach is not the cluster's alone: which MTU they can have, no pod
    network says.
    """
    found = state.parsed
    assert isinstance(found, SpiderParsed)
    if found.mtu == target:
        return ()
    raise UsageError(
        f"Spiderpool's pods hang on no veth of a pod network: kubemtu changes none of them. Write {target} as"
        f" {found.place}, and start the pods anew."
    )


def _cluster_network(node: net.NodeObservation) -> str:
    """Return the network that the first configuration of a node hands on to; empty where it does not."""
    first = next(iter(node_files.listing(node, None)), None)
    plugins = node_files.plugins_of(first.text) if first is not None else None
    if plugins is None or plugins[0].get("type") not in FIRST:
        return ""
    named = plugins[0].get("clusterNetwork")
    return named if isinstance(named, str) else ""


def _config(name: str, snapshot: Snapshot) -> Object | None:
    space, _, last = name.rpartition("/")
    if name.startswith("/"):  # a file of the node
        return None
    return snapshot.find(spider.CONFIG, last, space or None)


def _place(config: Object, made: chain.ChainMtu) -> str:
    kind = config.get("spec", "cniType")
    if isinstance(kind, str) and kind in {"macvlan", "ipvlan", "vlan", "sriov"}:
        return f"{config}, spec.{kind}.mtu"
    return f"{config}, {made.by}"


def _several(named: list[str]) -> Finding:
    return codes.finding(
        codes.MTU117,
        f"clusterNetwork of multus: {names(named)}",
        f"Nodes name different networks as the cluster's own; that of {json.dumps(named[0])} is judged.",
        "Give all nodes one clusterNetwork, or look at the others by themselves.",
    )


def _other_nic(snapshot: Snapshot, master: str) -> list[Finding]:
    """Say where pods leave by another NIC than the nodes reach each other by, whose MTU is the one that is judged."""
    others = sorted({way.device for node in snapshot.nodes for way in node.uplinks if master and way.device != master})
    if not others:
        return []
    return [
        codes.finding(
            codes.MTU117,
            f"master {master}",
            f"Pods are on {master}, and nodes reach each other by {names(others)}: what is between pods is another"
            " network than the one that is judged here.",
            f"Compare with the MTU of {master} on each node; `kubemtu probe` measures between pods.",
        )
    ]

"""The pod networks that kubemtu knows, in the order in which they are looked for.

The order matters: canal has Calico's and flannel's signs, and both have signs of their own; and Calico may only add
policy to the network of a cloud.
"""

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from kubemtu.cni import (
    antrea,
    aws,
    azure,
    calico,
    canal,
    cilium,
    flannel,
    gke,
    kindnet,
    kubenet,
    kubeovn,
    kuberouter,
    multus,
    network_definitions,
    openshift,
    others,
    ovnkubernetes,
    reference,
    specification,
    spiderpool,
    weave,
    windows,
)
from kubemtu.cni.knowledge import CalcKey, FileForm, Knowledge
from kubemtu.cni.protocol import Cni
from kubemtu.core import errors, net, objects, rights, snapshot
from kubemtu.core.change import plan
from kubemtu.core.cluster import attachments, cni_state, node_files, topology, writers
from kubemtu.core.cluster import windows as windows_nodes
from kubemtu.core.snapshot import UNUSED
from kubemtu.core.text import wording

T = TypeVar("T")

CNIS: dict[str, Cni] = {
    "canal": canal,
    aws.NAME: aws,
    gke.NAME: gke,
    "calico": calico,  # which may only add policy to those before it
    "cilium": cilium,
    "flannel": flannel,
    "antrea": antrea,
    "kube-ovn": kubeovn,
    "openshift": openshift,
    "ovn-kubernetes": ovnkubernetes,
    "kube-router": kuberouter,
    "weave": weave,
    "kubenet": kubenet,
    kindnet.NAME: kindnet,
    azure.NAME: azure,
    specification.NAME: specification,
    spiderpool.NAME: spiderpool,
    reference.NAME: reference,  # files of nodes, and nothing else
}

_NAME = ("metadata", "name")
_NAMESPACE = ("metadata", "namespace")
OTHER = "Other pod networks are not covered yet."
NOT_GIVEN = (
    "Add what tells it: `kubectl get daemonsets,configmaps -A -o yaml`, or a copy of a node's /etc/cni/net.d. " + OTHER
)


def recognise(snapshot: snapshot.Snapshot) -> cni_state.CniState:
    """Describe the pod network of a snapshot. Raises NotRecognised, naming what was looked for, or Forbidden."""
    for cni in CNIS.values():
        state = cni.read(snapshot)
        if state is not None:  # on a node may lie what another CNI has left there
            keys = tuple(_with_writer(key, snapshot) for key in state.mtu_keys)
            rules = (*state.plugin_mtus, *plugin_mtus())
            parts = windows.read(snapshot)
            state = msgspec.structs.replace(state, plugin_mtus=rules, mtu_keys=keys, windows=parts)
            return specification.below(state, snapshot)
    looks_like = _looks_like(snapshot)
    beside = {str(want) for want in beside_wants()}  # says nothing of the pod network itself
    hidden = [each.what for each in snapshot.unread if each.why == "forbidden" and each.what not in beside]
    if hidden and not looks_like:
        raise errors.Forbidden(
            f"which pod network {snapshot.source} has cannot be told, because it may not be read: "
            f"{wording.names(hidden)} {'is' if len(hidden) == 1 else 'are'} forbidden; ask for the ClusterRole "
            f"{rights.VIEW}, which has these rights"
        )
    unread = [f"{each.what} ({each.why})" for each in snapshot.unread if each.why not in {"absent", UNUSED}][:3]
    not_seen = f" Could not be read: {', '.join(unread)}." if unread else ""
    known = [cni.KNOWLEDGE.recognised_by.partition(" (")[0] for cni in CNIS.values()]
    raise errors.NotRecognised(
        f"No pod network that kubemtu knows was found in {snapshot.source}: no sign of "
        f"{wording.names(known, len(known))} (docs/cnis.md has the objects of each).{not_seen} "
        f"{looks_like or (NOT_GIVEN if snapshot.offline else OTHER)}"
    )


def _with_writer(key: cni_state.MtuKey, snapshot: snapshot.Snapshot) -> cni_state.MtuKey:
    """Return the key with who wrote it last."""
    held = snapshot.find(key.ref.kind, key.ref.name, key.ref.namespace)
    writer = writers.last(held, key.path) if held is not None else None
    return msgspec.structs.replace(key, written_by=str(writer)) if writer is not None else key


def _looks_like(snapshot: snapshot.Snapshot) -> str:
    """Name a pod network of which there is a sign, and what is missing to read it; empty when there is none."""
    firewall = ""
    for found in sorted(snapshot.objects, key=lambda one: one.get("kind") == "ConfigMap"):  # DaemonSets say more
        name = found.get("metadata", "name")
        if found.get("kind") == "DaemonSet" and name == "kube-router" and _is_firewall(found):
            firewall = f"kube-router is here as a firewall only ({found}, --run-router=false): the pods' network is"
            firewall += " another one's, and nothing of it was read."
            continue
        by_operator = found.get("spec", "cni", "type")
        if found.get("kind") == "Installation" and isinstance(by_operator, str) and by_operator in others.OPERATORS:
            where = f"{found}, spec.cni.type {by_operator}"
            name, sign = others.OPERATORS[by_operator]
            return f"It looks like {name} ({where}; Calico adds policy only), of which {sign} was not read."
        if found.get("kind") == "HelmChartConfig" and (said := _chart(found)):
            return said
        if found.get("kind") in {"DaemonSet", "ConfigMap"} and isinstance(name, str) and name in others.NAMES:
            whose, sign = others.NAMES[name]
            return f"It looks like {whose} ({found}), and {sign} was not read."
        if found.get("kind") == "Network" and "openshift.io" in str(found.get("apiVersion")):
            return openshift.hint(found)
    for node in snapshot.nodes:
        for file in node.files:
            first = (node_files.plugins_of(file.text) or ({},))[0].get("type")
            if isinstance(first, str) and first in others.PLUGINS:
                name, sign = others.PLUGINS[first]
                return f"It looks like {name} (file {file.path}), of which {sign} was not read."
    return firewall or specification.hint(snapshot)


def _is_firewall(resource: objects.Object) -> bool:
    return any("--run-router=false" in str(resource.get("spec", "template", "spec", part)) for part in ("containers",))


def _chart(resource: objects.Object) -> str:
    """Say why a HelmChartConfig is read by nothing that looks like canal's and has another name or namespace.

    One of another chart of RKE2's says whose values these are, and what else tells of that network. RKE2 reads only
    the one that has its chart's name, in kube-system (docs.rke2.io/helm).
    """
    if resource.name == "rke2-canal":
        return f"{resource} is read by nothing: a HelmChartConfig belongs into the namespace kube-system."
    text = resource.get("spec", "valuesContent")
    form = re.search(r"^(calico|flannel):", text, re.MULTILINE) if isinstance(text, str) else None
    if resource.name == "rke2-calico" and form is not None:
        return (
            f"{resource} holds {form[1]}, which is read by nothing: RKE2's chart of Calico takes installation,"
            " and with canal the HelmChartConfig is named rke2-canal."
        )
    if resource.namespace == "kube-system" and resource.name in others.CHARTS:
        whose, sign = others.CHARTS[resource.name]
        return f"It looks like {whose} ({resource}), and {sign} was not read."
    return ""


def irrelevant(name: str) -> frozenset[str]:
    """Name what is read for those pod networks only that would be looked for after this one."""
    names = list(CNIS)
    later = names[names.index(name) + 1 :]
    needed = {str(want) for each in names if each not in later for want in CNIS[each].WANTS}
    needed |= {str(want) for want in (*multus.WANTS, *beside_wants())}
    return frozenset(str(want) for each in later for want in CNIS[each].WANTS) - needed


def beside(snapshot: snapshot.Snapshot) -> attachments.AttachedNetworks:
    """Return the networks beside the pod network, whichever that is, and the pods that use them."""
    return network_definitions.read(snapshot)


def beside_wants() -> tuple[objects.Want, ...]:
    """Return what is read of what is beside the pod network of Linux, most of it only where there is any (`further`):
    networks by their definitions, and nodes of Windows.
    """
    return (network_definitions.DEFINITIONS, *network_definitions.FURTHER, *windows.WANTS)


def steps(
    topology: topology.Topology, snapshot: snapshot.Snapshot, target: int
) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List what gives new pods `target` bytes: the CNI's own steps, then those of what copies its configuration.

    Raises UsageError when there is no key to change, or when new pods would not follow all the same.
    """
    state = topology.state
    own = CNIS[state.name].steps(state, target)
    restarts = [step for step in own if isinstance(step, plan.Rollout)]
    literal = any(step.mtu is not None for step in restarts) if restarts else state.conflist_mtu is not None
    return (*own, *multus.steps(topology, snapshot, target, literal=literal))


def wants() -> tuple[objects.Want, ...]:
    """Return everything that must be read to recognise and describe any of them, each once."""
    own = (want for cni in CNIS.values() for want in cni.WANTS)
    return tuple(dict.fromkeys((*own, *multus.WANTS, network_definitions.DEFINITIONS)))


def further(read: Iterable[objects.Object]) -> tuple[objects.Want, ...]:
    """Return what is to be read besides, now that these objects are known.

    That are ConfigMaps which DaemonSets mount, with definitions of other networks what these go by, and with a node of
    Windows what its pods' network may be made from.
    """
    rules = _each(lambda known: known.mounted)
    found: list[objects.Want] = []
    for one in read:
        if one.get("kind") == network_definitions.DEFINITIONS.kind:
            found += network_definitions.FURTHER
            continue
        if one.get("kind") == objects.NODES.kind:
            found += windows.WANTS if windows_nodes.runs(one) else ()
            continue
        here = [rule for rule in rules if (rule.daemonset, rule.namespace) == (one.get(*_NAME), one.get(*_NAMESPACE))]
        volumes = one.get("spec", "template", "spec", "volumes") if here and one.get("kind") == "DaemonSet" else None
        names = [
            name
            for volume in (volumes if isinstance(volumes, list) else ())
            if isinstance(name := objects.Object(body={"volume": volume}).get("volume", "configMap", "name"), str)
        ]
        found += [
            objects.config_map(rule.namespace, name) for rule in here for name in names if name.startswith(rule.prefix)
        ]
    return tuple(dict.fromkeys(found))


def knowledge() -> tuple[Knowledge, ...]:
    """Return what each module declares, in their order, and what is known of pod networks that none reads."""
    return (*(cni.KNOWLEDGE for cni in CNIS.values()), multus.KNOWLEDGE, windows.KNOWLEDGE)


def ports() -> net.PortRules:
    """Return by which rules links of a node are host ends of pods, whichever of the CNIs it has."""
    return net.PortRules(rules=_each(lambda known: known.ports))


def node_paths() -> tuple[str, ...]:
    """Return the files of a node that the CNIs keep beside their configurations, as absolute paths."""
    return _each(lambda known: known.node_paths)


def plugin_mtus() -> tuple[node_files.PluginRule, ...]:
    """Return how each CNI plugin comes to the MTU of a new pod."""
    return _each(lambda known: known.plugin_mtus)


def address_annotations() -> tuple[str, ...]:
    """Return the annotations of a Node that tell where its tunnel ends, the one that counts first."""
    return _each(lambda known: known.address_annotations)


def calc_keys() -> tuple[CalcKey, ...]:
    """Return where each pod network keeps its MTU."""
    return _each(lambda known: known.calc_keys)


def saved_files() -> dict[str, str]:
    """Return how the names of saved files of a node end, and the paths that they have there."""
    return dict(_each(lambda known: known.saved_files))


def file_forms() -> tuple[FileForm, ...]:
    """Return the files that clusters are made from and that are no objects of the API."""
    return _each(lambda known: known.file_forms)


def words() -> tuple[str, ...]:
    """Return by which words a broken document is taken for one of the pod network."""
    return _each(lambda known: known.words)


def _each(part: Callable[[Knowledge], Iterable[T]]) -> tuple[T, ...]:
    """Return one part of what all declare, each item once."""
    return tuple(dict.fromkeys(item for known in knowledge() for item in part(known)))

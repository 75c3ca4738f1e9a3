"""Networks beside the pod network: every NetworkAttachmentDefinition, and what says more than its configuration.

Whoever attaches pods to them (Multus, Spiderpool, an SR-IOV operator, OVN-Kubernetes, Kube-OVN) takes spec.config, a
JSON text, or where it is empty the file of the node whose network has the definition's name
(k8snetworkplumbingwg/network-attachment-definition-client: pkg/utils/cniconfig.go GetCNIConfig).
"""

from collections.abc import Callable, Iterable, Iterator

import msgspec

from kubemtu.cni.objects import owners
from kubemtu.cni.programs import chain, spider
from kubemtu.core.cluster import attachments, node_files
from kubemtu.core.cluster.attachments import AttachedNetwork, AttachedNetworks
from kubemtu.core.errors import Malformed
from kubemtu.core.objects import Object, Want
from kubemtu.core.snapshot import Snapshot

DEFINITIONS = Want(kind=attachments.KIND, plural="network-attachment-definitions", api_versions=("k8s.cni.cncf.io/v1",))
POLICIES = Want(
    kind="SriovNetworkNodePolicy",
    plural="sriovnetworknodepolicies",
    api_versions=("sriovnetwork.openshift.io/v1",),
)
FURTHER = (*spider.WANTS, POLICIES)
"""What is read besides, where there is a definition."""
RESOURCE = "k8s.v1.cni.cncf.io/resourceName"
FOLDER = "/etc/cni/multus/net.d"  # k8snetworkplumbingwg/multus-cni: pkg/types/conf.go defaultConfDir
_SRIOV = frozenset({"sriov", "ib-sriov"})


def read(snapshot: Snapshot) -> AttachedNetworks:
    """Return all networks beside the pod network, by namespace and name, and the pods that use them."""
    found = [_read(each, lambda each: _defined(each, snapshot)) for each in snapshot.of_kind(attachments.KIND)]
    there = {one.key for one in found}
    planned = (
        _read(each, lambda each: _of_text(each, spider.rendered(each), "spec", snapshot))
        for each in snapshot.of_kind(spider.CONFIG)
    )
    found += [one for one in planned if one.key not in there]
    if not found:
        return AttachedNetworks()  # of thousands of pods none needs to be asked
    used = attachments.uses(snapshot)
    return msgspec.structs.replace(used, attachments=tuple(sorted(found, key=lambda one: one.key)))


def _read(definition: Object, reader: Callable[[Object], AttachedNetwork]) -> AttachedNetwork:
    """Read one object; one that is unlike its kind is a network that no pod gets."""
    try:
        return reader(definition)
    except Malformed as why:
        return AttachedNetwork(namespace="", name="?", place=str(definition), refused=str(why).rstrip("."))


def _defined(definition: Object, snapshot: Snapshot) -> AttachedNetwork:
    held = definition.get("spec", "config")
    if isinstance(held, str) and held.strip():
        return _of_text(definition, held, "spec.config", snapshot)
    if held is not None and not isinstance(held, str):
        return _empty(definition, refused="spec.config is no text, which it must be: JSON within a string")
    by_name = [
        file
        for node in snapshot.nodes
        for file in node.files
        if "/net.d/" in file.path and node_files.network(file.text) == definition.name
    ]
    if by_name:
        return _of_text(definition, by_name[0].text, by_name[0].path, snapshot)
    where = f"the file in {FOLDER} of each node whose network is called {definition.name}"
    return _empty(definition, unknown=f"It has no spec.config, and goes by {where}, which was not read")


def _empty(definition: Object, *, refused: str = "", unknown: str = "") -> AttachedNetwork:
    return AttachedNetwork(
        namespace=definition.namespace or "",
        name=definition.name,
        place=str(definition),
        made_from=_made_from(definition),
        refused=refused,
        unknown=unknown,
    )


def _of_text(definition: Object, text: str, where: str, snapshot: Snapshot) -> AttachedNetwork:
    listed = chain.plugins(text) if text else ""
    if isinstance(listed, str):
        if not listed:
            return _empty(definition, unknown="It names no configuration, and goes by a file of each node")
        return _empty(definition, refused=f"{where} {listed}")
    found = chain.read(listed)
    maker = found.maker or chain.Maker()
    made = AttachedNetwork(
        namespace=definition.namespace or "",
        name=definition.name,
        place=f"{definition}, {where}",
        made_from=_made_from(definition),
        plugin=found.plugin,
        mtu=found.mtu,
        by=found.by,
        lower="" if found.in_pod else found.lower,
        made_of=found.made_of,
        lower_is=maker.lower,
        by_default_route=maker.by_default_route and not found.lower and not found.in_pod,
        made_by_chain=maker.made or bool(found.made_of) or any(each["type"] == chain.IFACER for each in listed),
        inherits=maker.inherits,
        otherwise=maker.otherwise,
        above=maker.above,
        node_end=found.node_end,
        refused=found.refused,
        without_effect=found.without_effect,
    )
    if found.coordinator is not None:
        veth_mtu, by, always = spider.veth(found.coordinator, snapshot)
        made = msgspec.structs.replace(made, veth_mtu=veth_mtu, veth_by=by, veth_always=always)
    if made.mtu is None and found.plugin in _SRIOV:
        return _by_policy(made, definition, snapshot)
    provider = listed[0].get("provider")
    if made.mtu is None and isinstance(provider, str) and provider:
        return _by_subnet(made, provider, snapshot)
    return made


def _by_policy(made: AttachedNetwork, definition: Object, snapshot: Snapshot) -> AttachedNetwork:
    """Return it with the MTU that SriovNetworkNodePolicies give the functions of its resource (spec.mtu)."""
    resource = str(definition.get("metadata", "annotations", RESOURCE) or "").rpartition("/")[2]
    policies = snapshot.each(POLICIES.kind)
    giving = [each for each in policies if resource and each.get("spec", "resourceName") == resource]
    given = [_size(each.get("spec", "mtu")) for each in giving]
    if not giving:
        unread = "Its functions have what their driver or a SriovNetworkNodePolicy gave them, and none was read"
        return msgspec.structs.replace(made, unknown=unread)
    if any(size != given[0] for size in given):
        several = ", ".join(str(size or "that of the NIC") for size in given)
        return msgspec.structs.replace(made, unknown=f"SriovNetworkNodePolicies give its functions {several}")
    if given[0] is None:
        return made
    return msgspec.structs.replace(made, mtu=given[0], by=f"spec.mtu of {giving[0]}")


def _by_subnet(made: AttachedNetwork, provider: str, snapshot: Snapshot) -> AttachedNetwork:
    """Return it with the MTU of the Subnet whose provider it names (kubeovn/kube-ovn: spec.mtu of Subnet)."""
    subnet = next((each for each in snapshot.each("Subnet") if each.get("spec", "provider") == provider), None)
    held = _size(subnet.get("spec", "mtu")) if subnet is not None else None
    if held is None:
        return made
    return msgspec.structs.replace(made, mtu=held, by=f"spec.mtu of {subnet}")


def _size(held: object) -> int | None:
    """Return an MTU of a field of an object; None for 0 and absent, and for what is none."""
    return held if isinstance(held, int) and not isinstance(held, bool) and held > 0 else None


def _made_from(definition: Object) -> str:
    """Return the object that controls a definition, or who else writes it; empty: nobody is known."""
    references = definition.get("metadata", "ownerReferences")
    for each in _mappings(references):
        kind, name = each.get("kind"), each.get("name")
        if each.get("controller") is True and isinstance(kind, str) and isinstance(name, str):
            return f"{kind} {name}"
    return owners.of(definition, [])


def _mappings(held: object) -> Iterator[dict[str, object]]:
    items: Iterable[object] = held if isinstance(held, list) else ()
    yield from (each for each in items if isinstance(each, dict))

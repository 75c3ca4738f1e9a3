"""Which nodes belong together, and what the API says of where their pods are: pools, pod networks, addresses.

Nodes of one pool are made alike, so an MTU that one of them lacks was set by hand there, and one that all of them lack
comes with their kind: another machine type, another network, another image.
"""

import ipaddress

import msgspec

from kubemtu.core.change import migration
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot

LABELS = (
    "eks.amazonaws.com/nodegroup",  # eksctl-io/eksctl: pkg/apis/eksctl.io/v1alpha5/types.go, EKSNodeGroupNameLabel
    "karpenter.sh/nodepool",  # kubernetes-sigs/karpenter: pkg/apis/v1/labels.go, NodePoolLabelKey
    "cloud.google.com/gke-nodepool",  # cloud.google.com/kubernetes-engine/docs/concepts/node-pools
    "kubernetes.azure.com/agentpool",  # learn.microsoft.com/azure/aks/use-labels, reserved labels
    "kops.k8s.io/instancegroup",  # kubernetes/kops: pkg/apis/kops/instancegroup.go, NodeLabelInstanceGroup
    "alpha.eksctl.io/nodegroup-name",  # eksctl-io/eksctl: the same file, NodeGroupNameLabel
    "agentpool",  # Azure/karpenter-provider-azure: pkg/apis/v1beta1/labels.go, AKSLabelLegacyAgentPool
)
"""Labels of a Node that name its pool; the first that it has counts."""
TYPES = (
    "node.kubernetes.io/instance-type",  # kubernetes/kubernetes: k8s.io/api/core/v1/well_known_labels.go
    "beta.kubernetes.io/instance-type",
)
"""Labels that name the kind of machine, which stands for a pool where nothing else does."""


class ApiNode(msgspec.Struct, frozen=True, kw_only=True):
    """What the API says of one node. `networks` are its pods' (spec.podCIDRs), `addresses` its own (InternalIP)."""

    pool: str = ""
    """As a sentence names it: "pool db", "instance type m5.large"; empty where no label tells."""
    networks: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


NOTHING = ApiNode()


def of(snapshot: Snapshot) -> dict[str, ApiNode]:
    """Return what the API says of each node, by name."""
    return {
        node.name: ApiNode(pool=_pool(node), networks=_networks(node), addresses=addresses(node))
        for node in snapshot.each("Node")
    }


def _pool(node: Object) -> str:
    labels = node.labels
    for what, keys in (("pool", LABELS), ("instance type", TYPES)):
        if name := next(filter(None, map(labels.get, keys)), ""):
            return f"{what} {name}"
    return ""


def _networks(node: Object) -> tuple[str, ...]:
    listed = node.get("spec", "podCIDRs")
    every = (*(listed if isinstance(listed, list) else ()), node.get("spec", "podCIDR"))
    return tuple(dict.fromkeys(cidr for one in every if isinstance(one, str) and (cidr := _network(one))))


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return ""  # what is no network limits nothing
    return "" if migration.mapped(network) else str(network)


def addresses(node: Object) -> tuple[str, ...]:
    """Return a Node's addresses by which nodes meet (InternalIP), those that are no text left out."""
    listed = node.get("status", "addresses")
    found = (
        one.get("address")
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict) and one.get("type") == "InternalIP"
    )
    return tuple(dict.fromkeys(address for address in found if isinstance(address, str)))

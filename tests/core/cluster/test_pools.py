"""By which labels nodes belong together, and where their pods are."""

import pytest

from kubemtu.core.cluster import pools
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot


def told(labels: object = None, spec: object = None, status: object = None) -> pools.ApiNode:
    body = {"kind": "Node", "metadata": {"name": "n1", "labels": labels}, "spec": spec or {}, "status": status or {}}
    return pools.of(Snapshot(source="a test", objects=(Object.of(body),)))["n1"]


@pytest.mark.parametrize(
    ("labels", "pool"),
    [
        ({"eks.amazonaws.com/nodegroup": "db"}, "pool db"),
        ({"karpenter.sh/nodepool": "default"}, "pool default"),
        ({"cloud.google.com/gke-nodepool": "default-pool"}, "pool default-pool"),
        ({"kubernetes.azure.com/agentpool": "nodepool1", "agentpool": "nodepool1"}, "pool nodepool1"),
        ({"agentpool": "nodepool1"}, "pool nodepool1"),
        ({"kops.k8s.io/instancegroup": "nodes-eu-west-1a"}, "pool nodes-eu-west-1a"),
        ({"alpha.eksctl.io/nodegroup-name": "ng-1"}, "pool ng-1"),
        ({"karpenter.sh/nodepool": "gpu", "node.kubernetes.io/instance-type": "p4d.24xlarge"}, "pool gpu"),
        ({"node.kubernetes.io/instance-type": "t2.large"}, "instance type t2.large"),
        ({"beta.kubernetes.io/instance-type": "m5.large"}, "instance type m5.large"),
        ({"karpenter.sh/nodepool": ""}, ""),
        ({"kubernetes.io/hostname": "n1"}, ""),
        ("none", ""),
        (None, ""),
    ],
)
def test_a_pool_is_named_by_its_label(labels: object, pool: str) -> None:
    assert told(labels).pool == pool


def test_networks_and_addresses_are_what_the_api_says() -> None:
    spec = {"podCIDR": "10.42.1.0/24", "podCIDRs": ["10.42.1.0/24", "fd00:42:1::/64", "nonsense", 7]}
    addresses = [{"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "n1"}, "strange"]
    found = told(spec=spec, status={"addresses": addresses})
    assert (found.networks, found.addresses) == (("10.42.1.0/24", "fd00:42:1::/64"), ("192.0.2.1",))
    assert told(spec={"podCIDR": "10.42.1.0/24"}).networks == ("10.42.1.0/24",)

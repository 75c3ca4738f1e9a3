"""Who says which addresses Services have."""

import pytest

from kubemtu.core.cluster import service_networks
from kubemtu.core.objects import Object

KUBEADM = "apiVersion: kubeadm.k8s.io/v1beta3\nnetworking:\n  dnsDomain: cluster.local\n  serviceSubnet: "


def config(text: object, name: str = "kubeadm-config") -> dict[str, object]:
    metadata = {"name": name, "namespace": "kube-system"}
    return {"kind": "ConfigMap", "metadata": metadata, "data": {"ClusterConfiguration": text}}


def server(*words: str, name: str = "kube-apiserver-n1", part: str = "command") -> dict[str, object]:
    containers = [{"name": "kube-apiserver", part: ["kube-apiserver", *words]}]
    return {"kind": "Pod", "metadata": {"name": name, "namespace": "kube-system"}, "spec": {"containers": containers}}


@pytest.mark.parametrize(
    ("body", "networks"),
    [
        (
            {"kind": "ServiceCIDR", "spec": {"cidrs": ["10.96.0.0/12", "fd00:96::/112"]}},
            ("10.96.0.0/12", "fd00:96::/112"),
        ),
        ({"kind": "ServiceCIDR", "spec": {"cidrs": ["10.96.0.0/33", 7]}}, ()),
        ({"kind": "Network", "spec": {"serviceNetwork": ["172.30.0.0/16"]}}, ("172.30.0.0/16",)),
        (config(f"{KUBEADM}10.96.0.0/12\n"), ("10.96.0.0/12",)),
        (config(f'{KUBEADM}"10.96.0.0/16,fd00:10:96::/112"\n'), ("10.96.0.0/16", "fd00:10:96::/112")),
        (config(f"{KUBEADM}10.96.0.0/12\n", name="mine"), ()),
        (config(None), ()),
        (server("--service-cluster-ip-range=10.43.0.0/16"), ("10.43.0.0/16",)),
        (server("--service-cluster-ip-range", "10.43.0.0/16,fd43::/112", part="args"), ("10.43.0.0/16", "fd43::/112")),
        (server("--service-cluster-ip-range"), ()),
        (server("--service-cluster-ip-range=10.43.0.0/16", name="kube-controller-manager-n1"), ("10.43.0.0/16",)),
        (server("--service-cluster-ip-range=10.43.0.0/16", name="somebody"), ()),
    ],
)
def test_what_each_says(body: dict[str, object], networks: tuple[str, ...]) -> None:
    assert service_networks.of([Object.of(body)]) == networks

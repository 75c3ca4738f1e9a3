"""Manifests of every pod network and era that is told apart, written small: what matters for an MTU, and nothing else.

They are in tests/shapes, and each stands for a manifest that is out there. Where KUBEMTU_MANIFESTS names a folder of
those, every test of a shape runs on the manifest itself too.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import pytest

HERE = Path(__file__).parents[1] / "shapes"
THERE = os.environ.get("KUBEMTU_MANIFESTS")
MANIFESTS = {
    "canal-a.yaml": "canal-rke-v0.1-2018-V112.rendered.yaml",
    "canal-b.yaml": "canal-kdm-V113-inline-mtu.rendered-default.yaml",
    "canal-b-1400.yaml": "canal-kdm-V113-inline-mtu.rendered-mtu1400.yaml",
    "canal-c.yaml": "canal-kdm-V3_28_1.rendered-default.yaml",
    "canal-c-1400.yaml": "canal-kdm-V3_28_1.rendered-mtu1400.yaml",
    "canal-text-mtu.yaml": "authored/canal-config-broken-string-mtu.yaml",
    "canal-lost-key.yaml": "authored/canal-config-missing-canal_iface.yaml",
    "calico-manifest.yaml": "upstream-calico-configmap-daemonset.yaml",
    "calico-operator.yaml": "tigera-custom-resources.yaml",
    "calico-operator-1400.yaml": "authored/calico-installation-mtu.yaml",
    "felix.yaml": "authored/felixconfiguration-env-shadowed.yaml",
    "flannel.yaml": "kube-flannel.yml",
    "rke2-canal.yaml": "authored/helmchartconfig-rke2-canal.yaml",
    "rke2-canal-wireguard.yaml": "authored/helmchartconfig-rke2-canal-no-mtu.yaml",
    "k3s-net-conf.json": "authored/k3s-flannel-conf.json",
    "subnet.env": "authored/subnet.env",
    "antrea.yaml": "cnis/antrea.yml",
    "antrea-ipsec.yaml": "cnis/antrea-ipsec.yml",
    "antrea-0.13.yaml": "cnis/antrea-v0.13.0.yml",
    "kube-router.yaml": "cnis/kuberouter-kubeadm-kuberouter.yaml",
    "kube-ovn-0.9.yaml": "cnis/kubeovn-v0.9.0.yaml",
    "kube-ovn-1.8.yaml": "cnis/kubeovn-v1.8.0.yaml",
    "aws.yaml": "aws-k8s-cni.yaml",
    "kindnet.yaml": "cnis/kindnet-kops.yaml",
    "azure-cns.yaml": "cnis/azure-cns.yaml",
    "aws-gov.yaml": "cnis/aws-k8s-cni-us-gov.yaml",
    "aws-kops.yaml": "cnis/aws-kops.yaml",
    "aws.conflist": "aws-10-aws.conflist",
    "cilium.yaml": "authored/cilium-config-min.yaml",
    "cilium-1.13.yaml": "authored/cilium-config-legacy-113.yaml",
    "cilium-1.6.yaml": "cnis/cilium-cm-1.6.yaml",
    "cilium-1.9.yaml": "cnis/cilium-cm-1.9-geneve-ipsec.yaml",
    "cilium-1.13-wireguard.yaml": "cnis/cilium-cm-1.13-native-wg.yaml",
    "cilium-1.17.yaml": "cnis/cilium-cm-1.17.yaml",
    "cilium-chained.yaml": "cnis/cilium-cm-chaining-aws.yaml",
    "cilium-kops.yaml": "cnis/cilium-kops-private.yaml",
    "cilium-kops-eni.yaml": "cnis/cilium-kops-advanced.yaml",
    "cilium-kops-ipv6.yaml": "cnis/cilium-kops-ipv6.yaml",
    "openshift.yaml": "authored/openshift-network-operator-migration.yaml",
    "macvlan.yaml": "authored/nad-macvlan-mtu.yaml",
}
"""A shape's name: the manifest that it stands for."""
ALONE = frozenset({"kube-router-1400.yaml", "openshift-3.yaml", "ovn-kubernetes.yaml", "weave.yaml"})
"""Shapes that stand for no manifest of that folder: rendered ones, and those of a chart."""
Row = TypeVar("Row")


class Kind:
    """Shapes, or the manifests that they stand for: both are asked for by the shape's name."""

    def __init__(self, folder: Path, names: Mapping[str, str]) -> None:
        self.folder = folder
        self._names = names

    def __call__(self, name: str) -> Path:
        """Return the file of a shape's name."""
        return self.folder / self._names[name]

    def __repr__(self) -> str:
        return "shape" if self.folder == HERE else "manifest"

    def all(self) -> list[Path]:
        """Every file there."""
        return [self(name) for name in self._names]


SHAPES = Kind(HERE, {name: name for name in MANIFESTS})
KINDS = [SHAPES, *([Kind(Path(THERE), MANIFESTS)] if THERE else [])]


def rows(table: Mapping[str, Row]) -> list[object]:
    """Each row of a table by shape, once with the shape's file and once with the manifest's, where there is one."""
    return [pytest.param(kind(name), row, id=f"{name}-{kind!r}") for kind in KINDS for name, row in table.items()]

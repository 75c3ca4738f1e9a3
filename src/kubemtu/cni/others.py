"""Pod networks that are recognised, so that they can be named, and that no module reads; and their keys for `calc`."""

from kubemtu.cni.knowledge import CalcKey, Knowledge
from kubemtu.core import encap

VXLAN, GENEVE, WIREGUARD, IPIP, NONE = ("vxlan",), ("geneve",), ("wireguard",), ("ipip",), ()

# What each is known by: a DaemonSet, a ConfigMap, or the type of the first plugin of a node's CNI configuration.
NAMES = {
    "cilium": "Cilium",
    "cilium-config": "Cilium",
    "cilium-cni": "Cilium",
    "ovnkube-node": "OVN-Kubernetes",
    "ovn-k8s-cni-overlay": "OVN-Kubernetes",
    "kube-router": "kube-router",
    "weave-net": "Weave Net",
    "aws-node": "the AWS VPC CNI",
    "aws-cni": "the AWS VPC CNI",
    "azure-cns": "the Azure CNI",
    "azure-vnet": "the Azure CNI",
    "netd": "GKE",
    "anetd": "GKE",
}
OPERATORS = {"AmazonVPC": "the AWS VPC CNI", "GKE": "GKE", "AzureVNET": "the Azure CNI"}
"""What spec.cni.type of the Tigera operator's Installation names where Calico only adds policy."""

# pkg/mtu/mtu.go of Cilium, which subtracts by itself from what it is given (WireguardOverhead is 80 before 1.19.5).
CILIUM_WIREGUARD = 95
CILIUM_IPIP_OVER_IPV6 = 48


def cilium_subtracts(layers: encap.Stack) -> int:
    """Return the bytes that Cilium subtracts in the route of each pod."""
    subtracts = 0
    for layer in layers.layers:
        if layer.kind == "wireguard":
            subtracts += CILIUM_WIREGUARD
        elif layer.kind == "ipip" and layer.over_ipv6:
            subtracts += CILIUM_IPIP_OVER_IPV6
        else:
            subtracts += layer.cost
    return subtracts


_CILIUM = (VXLAN, GENEVE, WIREGUARD, ("wireguard", "vxlan"), ("wireguard", "geneve"), IPIP, NONE)
_OVN = (("geneve:8",), ("esp-transport", "geneve:8"))

KNOWLEDGE = Knowledge(
    calc_keys=(
        CalcKey("Cilium", "ConfigMap kube-system/cilium-config", "mtu", "base", _CILIUM, cilium_subtracts, "cilium"),
        CalcKey(
            "Cilium, RKE2",
            "HelmChartConfig kube-system/rke2-cilium",
            "MTU",
            "base",
            _CILIUM,
            cilium_subtracts,
            "cilium",
        ),
        CalcKey("OVN-Kubernetes", "ConfigMap ovn-kubernetes/ovn-config", "mtu", "pod", _OVN),
        CalcKey(
            "OpenShift",
            "Network.operator cluster",
            "spec.migration.mtu.network.to",
            "pod",
            _OVN,
            note="only its own migration changes it, and reboots the nodes",
        ),
        CalcKey(
            "kube-router",
            "ConfigMap kube-system/kube-router-cfg",
            'cni-conf.json "mtu"',
            "pod",
            (IPIP, NONE),
            note="read only with --auto-mtu=false",
        ),
        CalcKey("AWS VPC CNI", "DaemonSet kube-system/aws-node", "POD_MTU", "pod", (NONE,)),
    )
)

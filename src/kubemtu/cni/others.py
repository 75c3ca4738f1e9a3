"""Pod networks that are recognised, so that they can be named, and that no module reads; and their keys for `calc`."""

from kubemtu.cni.knowledge import CalcKey, Knowledge

VXLAN, GENEVE, WIREGUARD, IPIP, NONE = ("vxlan",), ("geneve",), ("wireguard",), ("ipip",), ()

# What each is known by: a DaemonSet, a ConfigMap, or the type of the first plugin of a node's CNI configuration.
NAMES = {
    "cilium-config": "Cilium, chained behind another CNI that makes the pods' interfaces",
    "cilium-cni": "Cilium",
    "ovnkube-node": "OVN-Kubernetes",
    "ovn-k8s-cni-overlay": "OVN-Kubernetes",
    "kube-router": "kube-router",
    "weave-net": "Weave Net",
}
OPERATORS = {
    "AmazonVPC": ("the AWS VPC CNI", "DaemonSet kube-system/aws-node"),
    "GKE": ("GKE", "DaemonSet kube-system/netd"),
    "AzureVNET": ("the Azure CNI", "DaemonSet kube-system/azure-cns"),
}
"""What spec.cni.type of the Tigera operator's Installation names where Calico only adds policy."""

_OVN = (("geneve:8",), ("esp-transport", "geneve:8"))

KNOWLEDGE = Knowledge(
    calc_keys=(
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
    )
)

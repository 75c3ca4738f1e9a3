"""Pod networks that are recognised, so that they can be named and that no module reads."""

NAMES = {"cilium-config": "Cilium, chained behind another CNI that makes the pods' interfaces"}
"""What a DaemonSet or a ConfigMap is known by."""
PLUGINS = {
    "aws-cni": ("the AWS VPC CNI", "DaemonSet kube-system/aws-node"),
    "cilium-cni": ("Cilium", "ConfigMap kube-system/cilium-config"),
    "ovn-k8s-cni-overlay": ("OVN-Kubernetes", "DaemonSet ovnkube-node"),
    "antrea": ("Antrea", "DaemonSet kube-system/antrea-agent"),
    "kube-ovn": ("Kube-OVN", "DaemonSet kube-system/kube-ovn-cni"),
    "cni-kindnet": ("kindnet", "DaemonSet kube-system/kindnet"),
}
"""The first plugin of a node's CNI configuration: whose it is, and what tells of that network."""
OPERATORS = {
    "AmazonVPC": ("the AWS VPC CNI", "DaemonSet kube-system/aws-node"),
    "GKE": ("GKE", "DaemonSet kube-system/netd"),
    "AzureVNET": ("the Azure CNI", "DaemonSet kube-system/azure-cns"),
}
"""What spec.cni.type of the Tigera operator's Installation names where Calico only adds policy."""

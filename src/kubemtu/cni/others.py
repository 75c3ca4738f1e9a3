"""Pod networks that are recognised, so that they can be named and that no module reads."""

# What each is known by: a DaemonSet, a ConfigMap, or the type of the first plugin of a node's CNI configuration.
NAMES = {
    "cilium-config": "Cilium, chained behind another CNI that makes the pods' interfaces",
    "cilium-cni": "Cilium",
    "ovn-k8s-cni-overlay": "OVN-Kubernetes",
}
OPERATORS = {
    "AmazonVPC": ("the AWS VPC CNI", "DaemonSet kube-system/aws-node"),
    "GKE": ("GKE", "DaemonSet kube-system/netd"),
    "AzureVNET": ("the Azure CNI", "DaemonSet kube-system/azure-cns"),
}
"""What spec.cni.type of the Tigera operator's Installation names where Calico only adds policy."""

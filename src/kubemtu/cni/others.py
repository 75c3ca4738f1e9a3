"""Signs of a pod network that are not enough to read it: whose they are, so that what is missing can be named."""

NAMES = {
    "cilium-config": ("Cilium, chained behind another CNI that makes the pods' interfaces", "that CNI's DaemonSet"),
    "ovnkube-config": ("OpenShift", "Network cluster of operator.openshift.io"),
}
"""What a DaemonSet or a ConfigMap is known by: whose it is, and what tells of that network."""
CHARTS = {
    "rke2-calico": ("Calico of RKE2", "Installation default"),
    "rke2-flannel": ("Flannel of RKE2", "ConfigMap kube-system/kube-flannel-cfg"),
}
"""The charts of RKE2 whose values alone are read by no module, likewise, by the name of their HelmChartConfig."""
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

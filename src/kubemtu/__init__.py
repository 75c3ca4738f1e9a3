"""kubemtu finds, fixes and proves the pod-network MTU of a Kubernetes cluster, without restarting a pod."""

__version__ = "0.1.0"

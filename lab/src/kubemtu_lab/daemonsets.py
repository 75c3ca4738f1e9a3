"""DaemonSets in the host's network that clusters have besides their CNI's, and the parts that all are made of; pure.

Sources: kubeadm `app/phases/addons/proxy/manifests.go`, prometheus-operator/kube-prometheus
`manifests/nodeExporter-daemonset.yaml`, kube-vip `docs/installation/daemonset`.
"""

from collections.abc import Iterator
from typing import Literal

Body = dict[str, object]
Name = Literal["kube-proxy", "node-exporter", "kube-vip"]


def of(name: Name, version: str) -> Iterator[Body]:
    """Yield the objects of one; `version` is of Kubernetes."""
    container: Body = {"name": name}
    template: Body = {"hostNetwork": True, "containers": [container], "terminationGracePeriodSeconds": 0}
    match name:
        case "kube-proxy":
            yield named("v1", "ConfigMap", name, "kube-system", data={"config.conf": "kind: KubeProxyConfiguration\n"})
            container |= {
                "image": f"registry.k8s.io/kube-proxy:{version}",
                "command": ["/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf"],
                "volumeMounts": [{"name": name, "mountPath": "/var/lib/kube-proxy"}],
            }
            template["volumes"] = [{"name": name, "configMap": {"name": name}}]
        case "node-exporter":
            mounts = (("sys", "/host/sys"), ("root", "/host/root"))
            container |= {
                "image": "quay.io/prometheus/node-exporter:v1.8.2",
                "args": ["--path.sysfs=/host/sys", "--path.rootfs=/host/root"],
                "volumeMounts": [
                    {"name": each, "mountPath": path, "mountPropagation": "HostToContainer", "readOnly": True}
                    for each, path in mounts
                ],
                "securityContext": {"runAsUser": 65534, "runAsGroup": 65534},
            }
            template |= {"hostPID": True, "volumes": [of_node("sys", "/sys"), of_node("root", "/")]}
        case "kube-vip":
            container |= {"image": "ghcr.io/kube-vip/kube-vip:v0.8.9", "args": ["manager"]}
    yield daemonset(name, "kube-system", {"k8s-app": name}, template)


def of_node(name: str, path: str) -> Body:
    """Return a volume that shows a folder of the node."""
    return {"name": name, "hostPath": {"path": path}}


def daemonset(name: str, namespace: str, labels: dict[str, str], template: Body) -> Body:
    """Return a DaemonSet that is rolled out one node after the other."""
    spec: Body = {
        "selector": {"matchLabels": labels},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        "template": {"metadata": {"labels": labels}, "spec": template},
    }
    body = named("apps/v1", "DaemonSet", name, namespace, spec=spec)
    body["metadata"] = {"name": name, "namespace": namespace, "labels": labels}
    return body


def from_config(name: str, config: str, key: str) -> Body:
    """Return a variable with the value of a ConfigMap's key."""
    return {"name": name, "valueFrom": {"configMapKeyRef": {"name": config, "key": key}}}


def from_field(name: str, path: str) -> Body:
    """Return a variable with the value of a field of the pod."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def definition(kind: str, group: str, *, scope: str, status: bool = False) -> Body:
    """Return the definition of a kind whose `spec`, and `status` where it has one, may hold anything."""
    free: Body = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    held = {"spec": free} | ({"status": free} if status else {})
    singular = kind.lower()
    names = {"kind": kind, "listKind": f"{kind}List", "plural": f"{singular}s", "singular": singular}
    version: Body = {"name": "v1", "served": True, "storage": True}
    version |= {"schema": {"openAPIV3Schema": {"type": "object", "properties": held}}}
    version |= {"subresources": {"status": {}}} if status else {}
    spec: Body = {"group": group, "scope": scope, "names": names, "versions": [version]}
    return named("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{singular}s.{group}", spec=spec)


def named(version: str, kind: str, name: str, namespace: str | None = None, **rest: object) -> Body:
    """Return an object of that name; without a namespace for a cluster-wide kind."""
    metadata: Body = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}

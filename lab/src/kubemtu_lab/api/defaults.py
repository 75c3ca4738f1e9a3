"""What the API adds to an object on its way in: those defaults on which a reader of the lab's objects could depend.

Source: kubernetes `pkg/apis/{core,apps,discovery,rbac}/v1/defaults.go`, `pkg/registry/core/*/strategy.go`.
"""

import base64
from collections.abc import Callable, Mapping

from kubemtu_lab.api.resources import Object, Resource

_NAMESPACE_LABEL = "kubernetes.io/metadata.name"
_RBAC = "rbac.authorization.k8s.io"


def fill_in(resource: Resource, body: Object) -> None:
    """Add the defaults of an object's kind, in place."""
    if not resource.custom and (add := _DEFAULTS.get(resource.kind)):
        add(body)


def _pod(body: Object) -> None:
    _pod_spec(body.setdefault("spec", {}))


def _pod_spec(spec: Object) -> None:
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        spec["terminationGracePeriodSeconds"] = 1
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("securityContext", {})
    for volume in spec.get("volumes") or ():
        if isinstance(source := volume.get("secret"), dict):
            source.setdefault("defaultMode", 0o644)


def _daemonset(body: Object) -> None:
    spec = body.setdefault("spec", {})
    strategy = spec.setdefault("updateStrategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {}) or {}
        strategy["rollingUpdate"] = {"maxSurge": 0, "maxUnavailable": 1} | rolling
    spec.setdefault("revisionHistoryLimit", 10)
    _pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))


def _replicated(body: Object) -> None:
    spec = body.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    _pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))


def _namespace(body: Object) -> None:
    body["spec"] = {"finalizers": ["kubernetes"]}
    metadata = body["metadata"]
    metadata["labels"] = {**(metadata.get("labels") or {}), _NAMESPACE_LABEL: metadata.get("name", "")}


def _node(body: Object) -> None:
    if cidr := (body.get("spec") or {}).get("podCIDR"):
        body["spec"].setdefault("podCIDRs", [cidr])


def _binding(body: Object) -> None:
    if isinstance(role := body.get("roleRef"), dict):
        role.setdefault("apiGroup", _RBAC)
    for subject in body.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", _RBAC)


def _slice(body: Object) -> None:
    for port in body.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")
    for endpoint in body.get("endpoints") or ():
        endpoint.setdefault("conditions", {})


def _secret(body: Object) -> None:
    body.setdefault("type", "Opaque")
    if texts := body.pop("stringData", None):
        plain = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
        body["data"] = {**(body.get("data") or {}), **plain}


def _definition(body: Object) -> None:
    if isinstance(body.get("spec"), dict):
        names = body["spec"]["names"]
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", f"{names['kind']}List")


_DEFAULTS: Mapping[str, Callable[[Object], None]] = {
    "ClusterRoleBinding": _binding,
    "CustomResourceDefinition": _definition,
    "DaemonSet": _daemonset,
    "Deployment": _replicated,
    "EndpointSlice": _slice,
    "Namespace": _namespace,
    "Node": _node,
    "Pod": _pod,
    "ReplicaSet": _replicated,
    "RoleBinding": _binding,
    "Secret": _secret,
    "StatefulSet": _replicated,
}

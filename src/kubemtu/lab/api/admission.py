"""What the API adds to, or refuses about, an object on its way in: defaults, names, and the types of built-in fields.

Only those defaults and checks are here on which a reader of the lab's objects could depend.
Source: kubernetes `pkg/apis/{core,apps}/v1/defaults.go`, `pkg/registry/*/strategy.go`;
kubernetes/apimachinery `pkg/util/validation`.
"""

import re
from datetime import datetime

from kubemtu.lab.api import shapes
from kubemtu.lab.api.errors import bad_request, invalid
from kubemtu.lab.api.resources import DEFINITIONS, Object, Resource

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_PERCENT = re.compile(r"[0-9]+%\Z")
_PATH_NAMED = frozenset({"roles", "rolebindings", "clusterroles", "clusterrolebindings"})


def timestamp(now: datetime) -> str:
    """Write a moment the way of meta/v1 Time: RFC 3339, UTC, whole seconds."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def check_identity(resource: Resource, namespace: str, name: str, body: Object) -> None:
    """Refuse a body of wrong types, or of another kind, version, namespace or name than the path it was sent to.

    Raises:
        Refusal: 400.
    """
    version, kind = body.get("apiVersion", resource.api_version), body.get("kind", resource.kind)
    if version != resource.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({resource.api_version})"
        )
    if kind != resource.kind:
        raise bad_request(f"the kind in the data ({kind}) does not match the expected kind ({resource.kind})")
    if told := shapes.mistyped(resource, body):
        raise bad_request(told)
    metadata = body.get("metadata") or {}
    if metadata.get("namespace") not in (None, namespace, "") and resource.namespaced:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if name and metadata.get("name") not in (None, name):
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")


def check_name(resource: Resource, name: str) -> None:
    """Refuse a name that is no RFC 1123 subdomain (RBAC objects only need to be a path segment).

    Raises:
        Refusal: 422.
    """
    if not name:
        raise invalid(resource, "", [("metadata.name", "Required value: name or generateName is required")])
    if resource.plural in _PATH_NAMED:
        return
    if len(name) > 253 or not _SUBDOMAIN.match(name):
        raise invalid(resource, name, [("metadata.name", f'Invalid value: "{name}": {_SUBDOMAIN_RULE}')])


def check_workload(resource: Resource, name: str, body: Object) -> None:
    """Refuse a DaemonSet, or another owner of pods, whose selector would not find the pods of its own template.

    Raises:
        Refusal: 422.
    """
    if resource.group != "apps" or resource.kind == "ControllerRevision":
        return
    spec = body.get("spec") or {}
    chosen = (spec.get("selector") or {}).get("matchLabels")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if spec.get("selector") is None:
        raise invalid(resource, name, [("spec.selector", "Required value")])
    if chosen and not chosen.items() <= labels.items():
        told = f"Invalid value: {labels}: `selector` does not match template `labels`"
        raise invalid(resource, name, [("spec.template.metadata.labels", told)])
    if resource.kind == "DaemonSet":
        most = ((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("maxUnavailable", 1)
        if not isinstance(most, int) and not _PERCENT.match(str(most)):
            told = (
                f"Invalid value: \"{most}\": a valid percent string must be a numeric string followed by an ending '%'"
            )
            raise invalid(resource, name, [("spec.updateStrategy.rollingUpdate.maxUnavailable", told)])


def initial_status(resource: Resource, body: Object, now: datetime) -> Object | None:
    """Return the status that a new object starts with; None for none."""
    if resource.status_on_create:
        return body.get("status") or {}
    if resource.custom:
        return None if resource.status else body.get("status")
    match resource.kind:
        case "Pod":
            return {"phase": "Pending", "qosClass": "BestEffort"}
        case "Namespace":
            return {"phase": "Active"}
        case "Service":
            return {"loadBalancer": {}}
        case "DaemonSet":
            counters = ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady")
            return dict.fromkeys(counters, 0)
        case DEFINITIONS.kind:
            return established(body, now)
    return {} if resource.status else body.get("status")


def established(definition: Object, now: datetime) -> Object:
    """Return the status of a CustomResourceDefinition whose resources are served from this moment on."""
    names = definition["spec"]["names"]
    conditions = (
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    )
    return {
        "acceptedNames": {"listKind": f"{names['kind']}List", "singular": names["kind"].lower()} | names,
        "conditions": [
            {"type": kind, "status": "True", "reason": reason, "message": message}
            | {"lastTransitionTime": timestamp(now)}
            for kind, reason, message in conditions
        ],
        "storedVersions": [each["name"] for each in definition["spec"]["versions"] if each.get("storage")],
    }


def default(resource: Resource, body: Object) -> None:
    """Fill in, in place, the defaults that readers of these kinds count on."""
    spec = body.get("spec")
    match resource.kind:
        case "Pod":
            _default_pod(body.setdefault("spec", {}))
        case "DaemonSet" if isinstance(spec, dict):
            strategy = spec.setdefault("updateStrategy", {})
            if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
                rolling = strategy.setdefault("rollingUpdate", {}) or {}
                strategy["rollingUpdate"] = {"maxSurge": 0, "maxUnavailable": 1} | rolling
            spec.setdefault("revisionHistoryLimit", 10)
            _default_pod(spec.setdefault("template", {}).setdefault("spec", {}))
        case "Deployment" | "StatefulSet" | "ReplicaSet" if isinstance(spec, dict):
            spec.setdefault("replicas", 1)
            _default_pod(spec.setdefault("template", {}).setdefault("spec", {}))
        case "Namespace":
            body.setdefault("spec", {"finalizers": ["kubernetes"]})
        case "Secret":
            body.setdefault("type", "Opaque")
        case "CustomResourceDefinition" if isinstance(spec, dict):
            names = spec["names"]
            names.setdefault("singular", names["kind"].lower())
            names.setdefault("listKind", f"{names['kind']}List")


def _default_pod(spec: Object) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("securityContext", {})
    for volume in spec.get("volumes") or ():
        if isinstance(source := volume.get("secret"), dict):
            source.setdefault("defaultMode", 0o644)


def grace_seconds(pod: Object, asked: int | None) -> int:
    """Return how long a pod may take to end; one that runs on no node, or has ended, takes no time.

    Source: kubernetes `pkg/registry/core/pod/strategy.go`, CheckGracefulDelete.
    """
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    return spec.get("terminationGracePeriodSeconds", 30) if asked is None else asked

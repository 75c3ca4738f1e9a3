"""What the API refuses about an object on its way in, and the status that it gives to a new one.

Source: kubernetes `pkg/registry/*/strategy.go`, kubernetes/apimachinery `pkg/api/validation`.
"""

from datetime import datetime

from kubemtu_lab.api import fields, metadata, policies, shapes, workloads
from kubemtu_lab.api.errors import bad_request, invalid
from kubemtu_lab.api.resources import DEFINITIONS, Object, Resource


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
    if told := fields.undecodable(resource, body):
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {told}'
        )
    given = body.get("metadata") or {}
    if given.get("namespace") not in (None, namespace, "") and resource.namespaced:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if name and given.get("name") not in (None, name):
        raise bad_request(f"the name of the object ({given['name']}) does not match the name on the URL ({name})")


def check(resource: Resource, name: str, fresh: Object, before: Object | None) -> None:
    """Refuse an object that breaks the rules of its metadata, or of its kind; it replaces `before`, or is new.

    Raises:
        Refusal: 422, with every cause.
    """
    causes = list(metadata.causes(resource, fresh["metadata"], before and before["metadata"]))
    if not resource.custom:
        causes += fields.causes(resource, fresh, before)
        causes += workloads.causes(resource, fresh, before)
        causes += policies.causes(resource, fresh)
    if causes:
        raise invalid(resource, name, causes)


def check_status(resource: Resource, name: str, fresh: Object) -> None:
    """Refuse a status that breaks the rules of its kind.

    Raises:
        Refusal: 422, with every cause.
    """
    if causes := list(workloads.status_causes(resource, fresh)):
        raise invalid(resource, name, causes)


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


def grace_seconds(pod: Object, requested: int | None) -> int:
    """Return how long a pod may take to end; one that runs on no node, or has ended, takes no time.

    Source: kubernetes `pkg/registry/core/pod/strategy.go`, CheckGracefulDelete.
    """
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    return spec.get("terminationGracePeriodSeconds", 30) if requested is None else requested

"""The pods of a DaemonSet as they are after a restart: which are its own, which are new, which are ready, and why not.

A pod carries the annotations of the template that made it, so the time of the restart on the pod tells new from old:
no ControllerRevision is needed, and it works for pods that never became ready. Source: kubelet,
pkg/kubelet/container/sync_result.go and images/types.go (the reasons for which a container waits).
"""

import contextlib
from collections.abc import Iterable

import msgspec

from kubemtu.core import errors
from kubemtu.core.objects import Object, Want
from kubemtu.kube.errors import capped

RESTARTED = "kubectl.kubernetes.io/restartedAt"

# Container states that do not pass by themselves (kubelet: pkg/kubelet/container/sync_result.go, images/types.go).
STUCK = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImagePullBackOff",
        "RunContainerError",
        "StartError",
    }
)


class DaemonPod(msgspec.Struct, frozen=True, kw_only=True):
    """One pod of the DaemonSet. `fresh`: made after the restart; `stuck`: in a state that does not pass."""

    node: str
    name: str
    uid: str
    fresh: bool
    ready: bool
    ending: bool
    text: str
    stuck: str = ""
    crashing: bool = False


def want(daemonset: Object, namespace: str | None) -> Want:
    """Return what must be read to find the pods of a DaemonSet."""
    return Want(
        kind="Pod",
        plural="pods",
        api_versions=("v1",),
        namespace=namespace,
        label_selector=_selector(daemonset),
    )


def own(daemonset: Object, pods: Iterable[Object], stamp: str) -> list[DaemonPod]:
    """Return the DaemonSet's own among these pods, by node; those made after the restart at `stamp` are fresh."""
    uid = daemonset.text("metadata", "uid")
    found = [_pod(pod, stamp) for pod in pods if _owner(pod) == uid]
    return sorted(found, key=lambda pod: (pod.node, pod.ending))


def _owner(pod: Object) -> str | None:
    owners = (owner for owner in pod.each("metadata", "ownerReferences") if owner.flag("controller"))
    return next((owner.text("uid") for owner in owners), None)


def _selector(daemonset: Object) -> str:
    """Return the DaemonSet's selector as the query of a list (meta/v1 LabelSelectorAsSelector)."""
    terms = [f"{key}={value}" for key, value in daemonset.mapping("spec", "selector", "matchLabels").items()]
    for term in daemonset.each("spec", "selector", "matchExpressions"):
        key, operator = term.text("key") or "", term.text("operator") or ""
        values = f" ({','.join(str(value) for value in _values(term))})"
        terms.append({"Exists": key, "DoesNotExist": f"!{key}"}.get(operator, f"{key} {operator.lower()}{values}"))
    return ",".join(terms)


def _values(term: Object) -> list[object]:
    found = term.get("values")
    return found if isinstance(found, list) else []


def _pod(pod: Object, stamp: str) -> DaemonPod:
    """Read a pod; one that is not what a pod must be counts as not ready, and says why."""
    name, node = pod.name, str(pod.get("spec", "nodeName") or "")
    fresh = pod.get("metadata", "annotations", RESTARTED) == stamp
    ending = pod.get("metadata", "deletionTimestamp") is not None
    ready, stuck, crashing, why = False, "", False, ""
    try:
        ready = any(
            one.text("type") == "Ready" and one.text("status") == "True" for one in pod.each("status", "conditions")
        )
        stuck, crashing, why = _containers(pod)
    except errors.Malformed as error:
        why = str(error)
    state = "is going" if ending else "is ready" if ready else f"is not ready: {why or _condition(pod)}"
    return DaemonPod(
        node=node,
        name=name,
        uid=str(pod.get("metadata", "uid")),
        fresh=fresh,
        ready=ready and not ending,
        ending=ending,
        text=f"{'new' if fresh else 'old'} pod {name} {state}",
        stuck="" if ready else stuck,
        crashing=crashing and not ready,
    )


def _containers(pod: Object) -> tuple[str, bool, str]:
    """Say of the first container that waits what is stuck (or empty), whether it crashes, and the state for people."""
    for key in ("initContainerStatuses", "containerStatuses"):
        for container in pod.each("status", key):
            reason = container.text("state", "waiting", "reason")
            if reason is None or reason in {"PodInitializing", "ContainerCreating"}:
                continue
            said = container.text("state", "waiting", "message") or ""
            crashing = reason == "CrashLoopBackOff"
            if crashing:
                code = container.integer("lastState", "terminated", "exitCode")
                last = container.text("lastState", "terminated", "message") or ""
                said = f"it ended with code {code}{f': {last}' if last else ''}" if code is not None else said
            text = f"container {container.text('name')}: {reason}{f', {capped(said)}' if said else ''}"
            return (text if crashing or reason in STUCK else "", crashing, text)
    return "", False, ""


def _condition(pod: Object) -> str:
    """Say why a pod without a telling container is not ready: its scheduling, or its phase."""
    with contextlib.suppress(errors.Malformed):
        for one in pod.each("status", "conditions"):
            if one.text("status") == "False" and (said := one.text("message")):
                return capped(said)
    return f"phase {pod.get('status', 'phase') or 'unknown'}"

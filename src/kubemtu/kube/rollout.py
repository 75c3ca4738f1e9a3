"""Restart the pods of a DaemonSet as `kubectl rollout restart` does, and watch every one of them come back.

A pod carries the annotations of the template that made it, so the time of the restart on the pod tells new from old:
no ControllerRevision is needed, and it works for pods that never became ready. Sources: kubectl
pkg/polymorphichelpers/{objectrestarter,rollout_status}.go; Kubernetes documentation, "Perform a Rolling Update on a
DaemonSet" (OnDelete).
"""

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import Callable

import msgspec

from kubemtu.core import errors
from kubemtu.core.change import plan
from kubemtu.core.objects import Object, Want
from kubemtu.kube.api import Api
from kubemtu.kube.errors import capped

RESTARTED = "kubectl.kubernetes.io/restartedAt"
MARK = "kubemtu.io/migration"

OnPodChange = Callable[[str, str], None]
"""Called with a node's name and what happens to the pod there, whenever that changes; without a name, with what is
waited for."""

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


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """How long a rollout is waited for, in seconds.

    `stall`: without any pod coming up; every `quiet` of them it is said what is waited for. `grace`: a new pod in a
    state that does not pass by itself. `crashes`: a new pod that crashes again and again, which some CNIs do once or
    twice before the API answers them.
    """

    stall: float = 300.0
    quiet: float = 20.0
    grace: float = 10.0
    crashes: float = 60.0
    pause: float = 1.0


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


async def rollout(
    api: Api,
    step: plan.Rollout,
    *,
    marker: str,
    tell: OnPodChange | None = None,
    since: float | None = None,
    waiting: Waiting | None = None,
) -> str:
    """Restart the pods of the DaemonSet of `step` unless that was done, wait for all, and say what was done.

    `marker` names this restart (a migration and its direction) in the pod template, so that a resumed one only waits.
    `since` (seconds since the epoch): a restart by anybody at that time or later counts too. Raises Surprise when a new
    pod cannot start or nothing moves for too long, Conflict when somebody else restarts meanwhile.
    """
    if step.ref.kind != "DaemonSet":
        raise errors.UsageError(f"{step.ref} is no DaemonSet; kubemtu restarts only those")
    found = await _daemonset(api, step)
    annotations = _template_annotations(found)
    begun = annotations.get(MARK) == marker and RESTARTED in annotations
    if begun or (since is not None and _moment(annotations.get(RESTARTED)) >= since):
        stamp, verb = str(annotations[RESTARTED]), "had been restarted already"
    else:
        stamp, verb = dt.datetime.now(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"), "restarted"
        if annotations.get(RESTARTED) == stamp:  # within the same second: the template must change to be rolled out
            stamp = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        annotate = {"spec": {"template": {"metadata": {"annotations": {RESTARTED: stamp, MARK: marker}}}}}
        await api.patch(step.ref, annotate)
    watch = _Watch(api, step, stamp, tell or _silent, waiting or Waiting())
    nodes = await watch.until_done()
    return f"{step.ref}: {nodes} pods {verb}, all are ready"


class _Watch:
    """One wait for one restart; remembers what each node was told and since when nothing moved."""

    def __init__(self, api: Api, step: plan.Rollout, stamp: str, tell: OnPodChange, waiting: Waiting) -> None:
        self._api = api
        self._step = step
        self._stamp = stamp
        self._tell = tell
        self._waiting = waiting
        self._told: dict[str, str] = {}
        self._stuck_since: dict[str, float] = {}
        self._moved = time.monotonic()
        self._seen: tuple[int, int, int] = (-1, -1, -1)
        self._said = self._moved

    async def until_done(self) -> int:
        """Wait; the number of nodes that run a new pod."""
        while True:
            found = await _daemonset(self._api, self._step)
            self._own(found)
            pods = await self._pods(found)
            self._report(pods)
            self._judge(pods)
            wanted = _complete(found, pods)
            if wanted is not None:
                return wanted
            if _on_delete(found):
                await self._replace_one(found, pods)
            await self._stalled(found, pods)
            await asyncio.sleep(self._waiting.pause * max(1.0, len(pods) / 500))

    def _own(self, found: Object) -> None:
        stamp = _template_annotations(found).get(RESTARTED)
        if stamp != self._stamp:
            raise errors.Conflict(
                f"{self._step.ref} was restarted by somebody else meanwhile (at {stamp}); wait until that is done, "
                "then run the same command again"
            )

    async def _pods(self, found: Object) -> list[DaemonPod]:
        want = Want(
            kind="Pod",
            plural="pods",
            api_versions=("v1",),
            namespace=self._step.ref.namespace,
            label_selector=_selector(found),
        )
        uid = found.text("metadata", "uid")
        listed = (await self._api.listing(want)).objects
        pods = [_pod(pod, self._stamp) for pod in listed if _owner(pod) == uid]
        return sorted(pods, key=lambda pod: (pod.node, pod.ending))

    def _report(self, pods: list[DaemonPod]) -> None:
        for pod in pods:
            if pod.node and self._told.get(pod.node) != pod.text:
                self._told[pod.node] = pod.text
                self._tell(pod.node, pod.text)

    def _judge(self, pods: list[DaemonPod]) -> None:
        """Raise Surprise as soon as a new pod is in a state that does not pass; what old pods do says nothing."""
        now = time.monotonic()
        late = {pod.uid for pod in pods if not pod.ready}
        bad = [pod for pod in pods if pod.fresh and not pod.ending and pod.stuck]
        # A pod that crashes runs in between: only being ready ends the count.
        kept = {uid: since for uid, since in self._stuck_since.items() if uid in late}
        self._stuck_since = {pod.uid: now for pod in bad} | kept
        for pod in bad:
            grace = self._waiting.crashes if pod.crashing else self._waiting.grace
            if now - self._stuck_since[pod.uid] >= grace:
                raise errors.Surprise(
                    f"the new pod {pod.name} of {self._step.ref} on node {pod.node} cannot start: {pod.stuck}; correct "
                    "that and run the same command again, or take everything back with `kubemtu rollback`"
                )

    async def _replace_one(self, found: Object, pods: list[DaemonPod]) -> None:
        """With OnDelete, delete the next old pod, once every pod that was replaced before is ready."""
        if _generations_behind(found) or any(pod.fresh and not pod.ready for pod in pods):
            return
        present = {pod.node for pod in pods if not pod.ending}
        if any(pod.ending for pod in pods) or len(present) < _number(found, "desiredNumberScheduled"):
            return
        old = next((pod for pod in pods if not pod.fresh), None)
        if old is None:
            return
        ref = msgspec.structs.replace(self._step.ref, api_version="v1", kind="Pod", plural="pods", name=old.name)
        self._tell(old.node, f"pod {old.name} is deleted, as the update strategy is OnDelete")
        with contextlib.suppress(errors.Conflict):  # gone and recreated under that name meanwhile: look again
            await self._api.delete(ref, uid=old.uid)

    async def _stalled(self, found: Object, pods: list[DaemonPod]) -> None:
        now = time.monotonic()
        seen = (
            sum(pod.fresh for pod in pods),
            sum(pod.fresh and pod.ready for pod in pods),
            _number(found, "numberAvailable"),
        )
        if seen != self._seen:
            self._seen, self._moved, self._said = seen, now, now
        if now - self._said < self._waiting.quiet and now - self._moved < self._waiting.stall:
            return
        wanted = _number(found, "desiredNumberScheduled")
        late = [pod.text for pod in pods if not (pod.fresh and pod.ready)]
        nodes = [pod.node for pod in pods if not (pod.fresh and pod.ready)]
        why = f"node {nodes[0]}: {late[0]}" if late else "the DaemonSet controller makes no pod: is it running?"
        why += await self._silent_kubelet(nodes)
        if now - self._moved < self._waiting.stall:
            self._said = now
            self._tell(
                "",
                f"nothing has moved for {now - self._moved:.0f} s ({why}); waiting up to {self._waiting.stall:g} s",
            )
            return
        raise errors.Surprise(
            f"{self._step.ref}: {seen[1]} of {wanted} new pods are ready and nothing moved for "
            f"{self._waiting.stall:g} s; {why}{f' (and {len(late) - 1} more)' if len(late) > 1 else ''}; see "
            f"`kubectl -n {self._step.ref.namespace} get pods -o wide`, then run the same command again"
        )

    async def _silent_kubelet(self, nodes: list[str]) -> str:
        """Name the first of these nodes whose kubelet does not report, as far as that may be read."""
        with contextlib.suppress(errors.Forbidden, errors.Malformed):
            for name in nodes[:5]:
                node = await self._api.find("v1", "nodes", name)
                for one in node.each("status", "conditions") if node is not None else ():
                    if one.text("type") == "Ready" and one.text("status") == "Unknown":
                        return f"; the kubelet of node {name} does not report, so no pod there is ever restarted"
        return ""


async def _daemonset(api: Api, step: plan.Rollout) -> Object:
    found = await api.get(step.ref)
    if found is None:
        raise errors.Conflict(
            f"{step.ref} is gone from {api.connection.server}; see who deleted it, then make a new plan"
        )
    return found


def _complete(found: Object, pods: list[DaemonPod]) -> int | None:
    """Return the number of nodes once all run a new pod that is available, as kubectl judges it; None before."""
    wanted = _number(found, "desiredNumberScheduled")
    if _generations_behind(found) or _number(found, "numberAvailable") < wanted:
        return None
    if not _on_delete(found) and _number(found, "updatedNumberScheduled") < wanted:
        return None
    # A cache of the controller may lag behind the pods that we see ourselves, so they must agree.
    ready = {pod.node for pod in pods if pod.fresh and pod.ready}
    old = [pod for pod in pods if not pod.fresh]
    return wanted if len(ready) >= wanted and not old else None


def _generations_behind(found: Object) -> bool:
    return (found.integer("metadata", "generation") or 0) > _number(found, "observedGeneration")


def _on_delete(found: Object) -> bool:
    return found.text("spec", "updateStrategy", "type") == "OnDelete"


def _number(found: Object, key: str) -> int:
    return found.integer("status", key) or 0


def _template_annotations(found: Object) -> dict[str, object]:
    return found.mapping("spec", "template", "metadata", "annotations")


def _owner(pod: Object) -> str | None:
    owners = (owner for owner in pod.each("metadata", "ownerReferences") if owner.flag("controller"))
    return next((owner.text("uid") for owner in owners), None)


def _selector(found: Object) -> str:
    """Return the DaemonSet's selector as the query of a list (meta/v1 LabelSelectorAsSelector)."""
    terms = [f"{key}={value}" for key, value in found.mapping("spec", "selector", "matchLabels").items()]
    for term in found.each("spec", "selector", "matchExpressions"):
        key, operator = term.text("key") or "", term.text("operator") or ""
        values = f" ({','.join(str(value) for value in _values(term))})"
        terms.append({"Exists": key, "DoesNotExist": f"!{key}"}.get(operator, f"{key} {operator.lower()}{values}"))
    return ",".join(terms)


def _values(term: Object) -> list[object]:
    found = term.get("values")
    return found if isinstance(found, list) else []


def _pod(pod: Object, stamp: str) -> DaemonPod:
    """Return what a pod looks like; one that is not what a pod must be counts as not ready, and says why."""
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
    """Of the first container that waits: what is stuck (or empty), whether it crashes, and the state for people."""
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
    """Why a pod without a telling container is not ready: its scheduling, or its phase."""
    with contextlib.suppress(errors.Malformed):
        for one in pod.each("status", "conditions"):
            if one.text("status") == "False" and (said := one.text("message")):
                return capped(said)
    return f"phase {pod.get('status', 'phase') or 'unknown'}"


def _moment(stamp: object) -> float:
    """Seconds since the epoch of an RFC 3339 time; long ago when it is none."""
    try:
        return dt.datetime.fromisoformat(str(stamp)).timestamp()
    except ValueError:
        return float("-inf")


def _silent(_node: str, _text: str) -> None:
    """Tell nobody."""

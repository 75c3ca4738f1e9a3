"""Restart the pods of a DaemonSet as `kubectl rollout restart` does, and watch every one of them come back.

Sources: kubectl pkg/polymorphichelpers/{objectrestarter,rollout_status}.go; Kubernetes documentation, "Perform a
Rolling Update on a DaemonSet" (OnDelete).
"""

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import Callable

import msgspec

from kubemtu.core import errors
from kubemtu.core.change import plan
from kubemtu.core.objects import Object
from kubemtu.kube import daemon_pods, read
from kubemtu.kube.api import Api
from kubemtu.kube.daemon_pods import RESTARTED, DaemonPod

MARK = "kubemtu.io/migration"

OnPodChange = Callable[[str, str], None]
"""Called with a node's name and what happens to the pod there, whenever that changes; without a name, with what is
waited for."""


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
    daemonset = await read.existing(api, step.ref)
    annotations = _template_annotations(daemonset)
    begun = annotations.get(MARK) == marker and RESTARTED in annotations
    if begun or (since is not None and _moment(annotations.get(RESTARTED)) >= since):
        stamp, verb = str(annotations[RESTARTED]), "had been restarted already"
    else:
        stamp, verb = dt.datetime.now(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"), "restarted"
        if annotations.get(RESTARTED) == stamp:  # within the same second: the template must change to be rolled out
            stamp = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        annotate = {"spec": {"template": {"metadata": {"annotations": {RESTARTED: stamp, MARK: marker}}}}}
        await api.patch(step.ref, annotate)
    watch = _RolloutWatch(api, step, stamp, tell or _silent, waiting or Waiting())
    nodes = await watch.until_done()
    return f"{step.ref}: {nodes} pods {verb}, all are ready"


class _RolloutWatch:
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
            daemonset = await read.existing(self._api, self._step.ref)
            self._own(daemonset)
            pods = await self._pods(daemonset)
            self._report(pods)
            self._judge(pods)
            wanted = _complete(daemonset, pods)
            if wanted is not None:
                return wanted
            if _on_delete(daemonset):
                await self._replace_one(daemonset, pods)
            await self._stalled(daemonset, pods)
            await asyncio.sleep(self._waiting.pause * max(1.0, len(pods) / 500))

    def _own(self, daemonset: Object) -> None:
        stamp = _template_annotations(daemonset).get(RESTARTED)
        if stamp != self._stamp:
            raise errors.Conflict(
                f"{self._step.ref} was restarted by somebody else meanwhile (at {stamp}); wait until that is done, "
                "then run the same command again"
            )

    async def _pods(self, daemonset: Object) -> list[DaemonPod]:
        listed = await self._api.listing(daemon_pods.want(daemonset, self._step.ref.namespace))
        return daemon_pods.own(daemonset, listed.objects, self._stamp)

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

    async def _replace_one(self, daemonset: Object, pods: list[DaemonPod]) -> None:
        """Delete the next old pod, with OnDelete, once every pod that was replaced before is ready."""
        if _generations_behind(daemonset) or any(pod.fresh and not pod.ready for pod in pods):
            return
        present = {pod.node for pod in pods if not pod.ending}
        if any(pod.ending for pod in pods) or len(present) < _number(daemonset, "desiredNumberScheduled"):
            return
        old = next((pod for pod in pods if not pod.fresh), None)
        if old is None:
            return
        ref = msgspec.structs.replace(self._step.ref, api_version="v1", kind="Pod", plural="pods", name=old.name)
        self._tell(old.node, f"pod {old.name} is deleted, as the update strategy is OnDelete")
        with contextlib.suppress(errors.Conflict):  # gone and recreated under that name meanwhile: look again
            await self._api.delete(ref, uid=old.uid)

    async def _stalled(self, daemonset: Object, pods: list[DaemonPod]) -> None:
        now = time.monotonic()
        counts = (
            sum(pod.fresh for pod in pods),
            sum(pod.fresh and pod.ready for pod in pods),
            _number(daemonset, "numberAvailable"),
        )
        if counts != self._seen:
            self._seen, self._moved, self._said = counts, now, now
        if now - self._said < self._waiting.quiet and now - self._moved < self._waiting.stall:
            return
        wanted = _number(daemonset, "desiredNumberScheduled")
        unready = [pod.text for pod in pods if not (pod.fresh and pod.ready)]
        nodes = [pod.node for pod in pods if not (pod.fresh and pod.ready)]
        why = f"node {nodes[0]}: {unready[0]}" if unready else "the DaemonSet controller makes no pod: is it running?"
        why += await self._silent_kubelet(nodes)
        if now - self._moved < self._waiting.stall:
            self._said = now
            self._tell(
                "",
                f"nothing has moved for {now - self._moved:.0f} s ({why}); waiting up to {self._waiting.stall:g} s",
            )
            return
        raise errors.Surprise(
            f"{self._step.ref}: {counts[1]} of {wanted} new pods are ready and nothing moved for "
            f"{self._waiting.stall:g} s; {why}{f' (and {len(unready) - 1} more)' if len(unready) > 1 else ''}; see "
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


def _complete(daemonset: Object, pods: list[DaemonPod]) -> int | None:
    """Return the number of nodes once all run a new pod that is available, as kubectl judges it; None before."""
    wanted = _number(daemonset, "desiredNumberScheduled")
    if _generations_behind(daemonset) or _number(daemonset, "numberAvailable") < wanted:
        return None
    if not _on_delete(daemonset) and _number(daemonset, "updatedNumberScheduled") < wanted:
        return None
    # A cache of the controller may lag behind the pods that we see ourselves, so they must agree.
    ready = {pod.node for pod in pods if pod.fresh and pod.ready}
    old = [pod for pod in pods if not pod.fresh]
    return wanted if len(ready) >= wanted and not old else None


def _generations_behind(daemonset: Object) -> bool:
    return (daemonset.integer("metadata", "generation") or 0) > _number(daemonset, "observedGeneration")


def _on_delete(daemonset: Object) -> bool:
    return daemonset.text("spec", "updateStrategy", "type") == "OnDelete"


def _number(daemonset: Object, key: str) -> int:
    return daemonset.integer("status", key) or 0


def _template_annotations(daemonset: Object) -> dict[str, object]:
    return daemonset.mapping("spec", "template", "metadata", "annotations")


def _moment(stamp: object) -> float:
    """Return the seconds since the epoch of an RFC 3339 time; long ago when it is none."""
    try:
        return dt.datetime.fromisoformat(str(stamp)).timestamp()
    except ValueError:
        return float("-inf")


def _silent(_node: str, _text: str) -> None:
    """Tell nobody."""

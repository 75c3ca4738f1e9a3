"""Put kubemtu into a cluster: look what is there, write what is not as it should be, wait until every node is seen.

Everything is written by server-side apply without force: what somebody else manages, as GitOps does, stays theirs, and
is said. Written again, the same is a no-op; so an interrupted installation is simply run again.
"""

import asyncio
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from kubemtu.core import errors, objects
from kubemtu.core.cluster import windows
from kubemtu.core.objects import NODES, Object, Want
from kubemtu.core.text.wording import count
from kubemtu.core.text.wording import names as listed
from kubemtu.flows.agents import events
from kubemtu.kube import api as kube_api
from kubemtu.kube import crd, daemon_pods, mtu, shipped
from kubemtu.kube import errors as kube_errors

STALL = 300.0  # seconds without anything moving: an image may take minutes to be pulled
STUCK = 60.0  # seconds in a state that does not pass by itself
GLANCE = 0.5  # seconds between two looks
PODS = Want(kind="Pod", plural="pods", api_versions=("v1",), namespace=shipped.NAMESPACE)

What = Literal["make", "change", "leave"]


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One object of the installation, and what is to be done about it."""

    what: What
    kind: str
    name: str
    namespace: str | None = None
    note: str = ""

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        note = f": {self.note}" if self.note else ""
        return f"{self.kind} {where}{self.name}{note}"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is installed, and what may be written over."""

    image: str
    probes: bool = True
    downgrade: bool = False
    force: bool = False


async def survey(api: kube_api.Api, settings: Settings) -> tuple[Piece, ...]:
    """Look at every object of the installation. Raises Conflict for what must not be written over.

    What is there and would be changed is asked of the server in a dry run, so that what somebody else manages is said
    before anything has been written.
    """
    pieces = [await _definition(api, plural, settings) for plural in crd.plurals()]
    for body in await _objects(api, settings):
        ref = await api.ref(body)
        found = await api.get(ref)
        if found is not None and found.text("metadata", "deletionTimestamp"):
            raise errors.Conflict(f"{ref} is being deleted; wait until it is gone, then run the same command again")
        what: What = "make" if found is None else "leave" if holds(found.body, body) else "change"
        if what == "change":
            await _apply(api, body, settings, dry_run=True)
        pieces.append(Piece(what=what, kind=ref.kind, name=ref.name, namespace=ref.namespace))
    return tuple(pieces)


async def binds_agents(api: kube_api.Api) -> bool:
    """Say whether the server can hold each agent to the objects of its own node (Kubernetes 1.30 and newer)."""
    return await api.serves(*shipped.POLICIES)


async def _objects(api: kube_api.Api, settings: Settings) -> list[shipped.Body]:
    """Return the objects to write besides the definitions of kinds, without those that the server does not know."""
    binds = await binds_agents(api)
    return [
        one for one in shipped.objects(settings.image, probes=settings.probes) if binds or not shipped.is_policy(one)
    ]


async def _definition(api: kube_api.Api, plural: str, settings: Settings) -> Piece:
    present = await crd.standing(api, plural)
    crd.refuse(present, downgrade=settings.downgrade)
    there = await api.get(crd.ref(plural)) if present.standing == "same" else None
    ours = dict(zip(crd.plurals(), crd.definitions(), strict=True))[plural]
    same = there is not None and holds(there.body, ours)
    what: What = "make" if present.standing == "absent" else "leave" if same else "change"
    if what == "change":
        await _apply(api, ours, settings, dry_run=True)
    note = f"is of {present.version or 'an earlier kubemtu'}" if present.standing in {"older", "newer"} else ""
    return Piece(what=what, kind=crd.KIND, name=present.name, note=note)


def holds(theirs: object, ours: object) -> bool:
    """Say whether all of ours is in theirs: a server adds defaults, which count for nothing."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        return all(key in theirs and holds(theirs[key], ours[key]) for key in ours)
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(theirs) == len(ours) and all(map(holds, theirs, ours))
    return theirs == ours


async def carry_out(api: kube_api.Api, settings: Settings, tell: events.OnProgress) -> tuple[int, tuple[str, ...]]:
    """Write everything, and wait until it works; returns on how many nodes, and those that get no agent.

    Nodes of Windows are not counted: the DaemonSets select Linux.

    Raises Conflict for fields that somebody else manages, Forbidden without the right, Surprise when a pod cannot start
    or nothing moves any more.
    """
    namespace, *rest = await _objects(api, settings)
    await _apply(api, namespace, settings)
    try:
        await crd.install(api, downgrade=settings.downgrade, force=settings.force)
    except errors.Conflict as conflict:
        raise _managed("a CustomResourceDefinition", conflict) from conflict
    tell(f"{count(len(crd.plurals()), 'kind')} of kubemtu.io are served")
    before = await _told(api)
    for body in rest:
        await _apply(api, body, settings)
    tell(f"{count(len(rest) + 1, 'object')} written")
    nodes = await _Wait(api, settings, before, tell).until_done()
    there = await api.list(NODES)
    foreign = [found.name for found in there if windows.runs(found)]
    if foreign:
        tell(
            f"node {listed(foreign)}: Windows, for which there is no agent; `kubemtu check` says what that leaves open"
        )
    return len(nodes), tuple(name for found in there if (name := found.name) not in {*nodes, *foreign})


async def _apply(api: kube_api.Api, body: Mapping[str, object], settings: Settings, *, dry_run: bool = False) -> None:
    try:
        await api.apply(body, force=settings.force, dry_run=dry_run)
    except errors.Conflict as conflict:
        raise _managed(str(await api.ref(body)), conflict, nothing=dry_run) from conflict


def _managed(what: str, conflict: errors.Conflict, *, nothing: bool = False) -> errors.Conflict:
    said = re.search(r"Apply failed with (.*?); run the same command again", str(conflict))
    if said is None or not isinstance(conflict, errors.Conflict):
        return conflict
    managers = sorted(set(re.findall(r'conflicts? with "([^"]*)"', said[1])))
    return errors.Conflict(
        f"{what} has fields that {listed(managers) or 'somebody else'} manages, and they stay so ({said[1]}): make the "
        "change there, or take them over with --force-conflicts; "
        + ("nothing was changed" if nothing else "what was written before stays, and running this again goes on")
    )


async def _told(api: kube_api.Api) -> dict[str, float]:
    """Say when each node's agent told something last, by its own clock."""
    try:
        found = await mtu.nodes(api)
    except errors.Malformed:
        return {}  # an older agent's, which the new ones write anew
    return {one.name: one.observed_at for one in found if one.observed_at is not None}


class _Wait:
    """One wait for the installation to work."""

    def __init__(
        self, api: kube_api.Api, settings: Settings, before: dict[str, float], tell: events.OnProgress
    ) -> None:
        self._api = api
        self._names = [shipped.AGENT, *([shipped.PROBE] if settings.probes else [])]
        self._before = before
        self._tell = tell
        self._said = ""
        self._moved = time.monotonic()
        self._stuck: dict[str, float] = {}

    async def until_done(self) -> set[str]:
        """Wait; the nodes where it works."""
        while True:
            standing = [await self._daemonset(name) for name in self._names]
            pods = [pod for pod in await self._api.list(PODS) if _part(pod) in self._names]
            nodes = {pod.text("spec", "nodeName") or "" for pod in pods if _part(pod) == shipped.AGENT}
            ready = all(wanted == there for wanted, there in standing)
            told = await _told(self._api)
            seen = {name for name, when in told.items() if name in nodes and when != self._before.get(name)}
            parts = [
                f"{name}: {there} of {wanted} ready"
                for name, (wanted, there) in zip(self._names, standing, strict=True)
            ]
            self._progress("; ".join([*parts, f"{len(seen)} of {len(nodes)} nodes seen"]))
            if ready and standing[0][0] > 0 and len(seen) == len(nodes) == standing[0][0]:
                return nodes
            self._judge(pods)
            await asyncio.sleep(GLANCE)

    async def _daemonset(self, name: str) -> tuple[int, int]:
        """Say how many pods there should be (0 while the controller has not said), and how many new ones are ready."""
        ref = objects.daemonset(shipped.NAMESPACE, name)
        found = await self._api.get(ref)
        if found is None:
            raise errors.Conflict(f"{ref} was deleted meanwhile; run the same command again")
        wanted = found.integer("status", "desiredNumberScheduled") or 0
        behind = (found.integer("status", "observedGeneration") or 0) < (found.integer("metadata", "generation") or 0)
        updated = found.integer("status", "updatedNumberScheduled") or 0
        ready = found.integer("status", "numberReady") or 0
        return wanted, 0 if behind or not wanted else min(updated, ready)

    def _progress(self, text: str) -> None:
        if text != self._said:
            self._said, self._moved = text, time.monotonic()
            self._tell(text)
        elif time.monotonic() - self._moved >= STALL:
            raise errors.Surprise(
                f"nothing has moved for {STALL:.0f} s ({text}); look at `kubectl -n {shipped.NAMESPACE} get pods`, and "
                "run the same command again: it goes on from there"
            )

    def _judge(self, pods: Sequence[Object]) -> None:
        """Raise Surprise when a pod is in a state that does not pass by itself."""
        now = time.monotonic()
        bad = {pod.name: (pod, why) for pod in pods if (why := _trouble(pod))}
        self._stuck = {name: self._stuck.get(name, now) for name in bad}
        for name, since in self._stuck.items():
            if now - since >= STUCK:
                pod, why = bad[name]
                raise errors.Surprise(
                    f"pod {shipped.NAMESPACE}/{name} on node {pod.text('spec', 'nodeName')} cannot start: {why}; "
                    "correct that and run the same command again, or take everything away with `kubemtu uninstall`"
                )


def _part(pod: Object) -> str:
    return pod.text("metadata", "labels", "app.kubernetes.io/name") or ""


def _trouble(pod: Object) -> str:
    for state in _waiting(pod):
        reason = state.text("reason") or ""
        if reason in daemon_pods.STUCK or reason == "CrashLoopBackOff":
            return f"{reason} {kube_errors.capped(state.text('message') or '')}".strip()
    return ""


def _waiting(pod: Object) -> Iterable[Object]:
    for each in pod.each("status", "containerStatuses"):
        yield Object.of(each.mapping("state", "waiting"))

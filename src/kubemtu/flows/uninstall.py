"""Take kubemtu out of a cluster, and nothing else: never while something of a change stands on it.

First the agents end, so that nobody makes anew what goes; then the kinds with all their objects, the Lease, the roles,
and the namespace when nothing in it is somebody else's.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

import msgspec

from kubemtu.core import errors, rights
from kubemtu.core.change import migration
from kubemtu.core.objects import Object, Ref, Want
from kubemtu.core.rules import drift
from kubemtu.core.text.wording import names as listed
from kubemtu.flows import network, observe
from kubemtu.flows.agents import events
from kubemtu.flows.change import migrations
from kubemtu.kube import api as kube_api
from kubemtu.kube import crd, mtu, probes, shipped
from kubemtu.kube import errors as kube_errors

SECONDS: Final = 120.0  # for pods to end, and for a namespace to empty itself
AGENTS: Final = 20.0  # seconds for agents to remove what they wrote down
SECRET: Final = Ref(api_version="v1", kind="Secret", plural="secrets", name=probes.SECRET, namespace=shipped.NAMESPACE)
NAMESPACE: Final = Ref(api_version="v1", kind="Namespace", plural="namespaces", name=shipped.NAMESPACE)
BINDINGS: Final = tuple(
    Want(kind=kind, plural=plural, api_versions=("rbac.authorization.k8s.io/v1",))
    for kind, plural in (("ClusterRoleBinding", "clusterrolebindings"), ("RoleBinding", "rolebindings"))
)
# Made by the cluster itself in every namespace, or about what goes anyway.
_THE_CLUSTERS: Final = frozenset(
    {("ConfigMap", "kube-root-ca.crt"), ("ConfigMap", "openshift-service-ca.crt"), ("ServiceAccount", "default")}
)
_PASSING: Final = frozenset({"Event", "PodMetrics"})


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the cluster: ours, in the order in which it goes; `strangers` stay, and with them the namespace.

    `bound` are bindings that people made to our roles. `undo` is the change that can be taken back only before.
    """

    ours: tuple[Ref, ...]
    strangers: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    undo: str = ""

    @property
    def keeps_namespace(self) -> bool:
        """Whether the namespace stays, for something in it is not ours."""
        return bool(self.strangers)


async def survey(api: kube_api.Api) -> Removal:
    """Look at all that is ours. Raises Conflict while a change or a pin stands, Forbidden without the right to look."""
    undo = await _refuse_while_something_stands(api)
    ours = [ref for ref in [*await _refs(api), migrations.LEASE, SECRET] if await api.get(ref) is not None]
    kinds = [crd.ref(each) for each in crd.plurals() if (await crd.standing(api, each)).standing not in _NOT_OURS]
    known = {(ref.kind, ref.name) for ref in ours}
    strangers = [text async for text in _strangers(api, known)]
    return Removal(
        ours=(*(ref for ref in ours if ref.kind == "DaemonSet"), *kinds, *(ref for ref in ours if _late(ref))),
        strangers=tuple(strangers),
        bound=tuple([text async for text in _bound(api)]),
        undo=undo,
    )


_NOT_OURS = frozenset({"absent", "foreign"})


_JOURNALS = ("status", "observation", "journals")


def _late(ref: Ref) -> bool:
    return ref.kind not in {"DaemonSet", "Namespace"}


async def _refs(api: kube_api.Api) -> list[Ref]:
    binds = await api.serves(*shipped.POLICIES)
    return [
        await api.ref(body)
        for body in reversed(shipped.objects("", probes=True))
        if body["kind"] != "Namespace" and (binds or not shipped.is_policy(body))
    ]


async def _refuse_while_something_stands(api: kube_api.Api) -> str:
    """Return the name of the last change, which can be taken back only as long as its record is there.

    Raises Conflict for a change that has not come to its end, and for nodes of which something is asked.
    """
    last = ""
    for standing in sorted(
        await _list(api, mtu.MIGRATIONS), key=lambda one: one.text("metadata", "creationTimestamp") or ""
    ):
        back = standing.text("status", "progress", "direction") == "backward"
        if not standing.flag("status", "progress", "finished"):
            ways = "finish it with `kubemtu apply`, or take it back with `kubemtu rollback`"
            raise errors.Conflict(
                f"nothing was removed: MTUMigration {standing.name} "
                + (
                    "is being rolled back; finish that with `kubemtu rollback`"
                    if back
                    else f"has not come to its end; {ways}"
                )
            )
        if standing.flag("status", "progress", "held"):
            raise errors.Conflict(
                f"nothing was removed: MTUMigration {standing.name} is in force, and without agents pods that are born "
                "later would not get what it asks for; take it back with `kubemtu rollback` first"
            )
        last = "" if back or standing.flag("status", "progress", "abandoned") else standing.name
    held = [standing.name for standing in await _list(api, mtu.NODES) if _holds(standing)]
    if held:
        raise errors.Conflict(
            f"nothing was removed: node {listed(held)} still holds what kubemtu asked of it (pins, or a change); take "
            "it back with `kubemtu rollback` first"
        )
    if pins := await _pins(api):
        raise errors.Conflict(f"nothing was removed, as pins would stay for good: {pins}")
    return last


def _holds(node: Object) -> bool:
    """Say whether something is asked of a node, or its agent has not reported yet that nothing is any more."""
    return bool(node.mapping("spec") or node.mapping("status", "applied"))


async def _pins(api: kube_api.Api) -> str:
    """Return what holds senders back on the nodes, with the remedy; nothing where no pod network is recognised."""
    # As each agent told last, however long ago: nobody has taken off what one that is gone has put on.
    shown = await _list(api, mtu.NODES)
    if of_hosts := [one.name for one in shown if one.get("status", "observation", "hostPins")]:
        return (
            f"routes of node {listed(of_hosts)} to other nodes and the API server are pinned, by --hosts. `kubemtu "
            "rollback` takes them off; where its record is gone, `ip route flush proto 109` on the node does, and for "
            "IPv6 `ip -6 route flush proto 109`."
        )
    try:
        left = drift.find(network.model(await observe.observe(api)))
    except errors.NotRecognised:
        return ""
    return f"{left[0].place}: {left[0].message} {left[0].remedy}" if left else ""


async def _list(api: kube_api.Api, want: Want) -> Sequence[Object]:
    try:
        return await api.list(want)
    except kube_errors.Absent:
        return ()


async def _strangers(api: kube_api.Api, ours: set[tuple[str, str]]) -> AsyncIterator[str]:
    """Return the objects in the namespace that are neither ours nor the cluster's own."""
    if await api.get(NAMESPACE) is None:
        return
    gone = {*ours, (SECRET.kind, SECRET.name), *_THE_CLUSTERS}
    seen: set[str] = set()
    for want in await api.namespaced(shipped.NAMESPACE):
        for found in await _list(api, want):
            uid = found.text("metadata", "uid") or f"{want.kind} {found.name}"
            if (want.kind, found.name) in gone or want.kind in _PASSING or uid in seen or _follows(found, ours):
                continue
            seen.add(uid)
            yield f"{want.kind} {found.name}"


def _follows(item: Object, ours: set[tuple[str, str]]) -> bool:
    """Say whether an object goes with one of ours: it belongs to it, has its name, or is a token of its account."""
    for owner in item.each("metadata", "ownerReferences"):
        if owner.text("kind") in {"DaemonSet", "Service"}:
            return (owner.text("kind"), owner.text("name")) in ours or owner.text("name") in _NAMES
    if item.kind in {"Endpoints", "EndpointSlice"}:
        return item.name in _NAMES or (item.text("metadata", "labels", "kubernetes.io/service-name") in _NAMES)
    account = item.text("metadata", "annotations", "kubernetes.io/service-account.name")
    return item.kind == "Secret" and account in {"default", shipped.AGENT}


_NAMES = frozenset({shipped.AGENT, shipped.PROBE})


async def _bound(api: kube_api.Api) -> AsyncIterator[str]:
    """Return the bindings that people made to our roles, which then lead nowhere."""
    for want in BINDINGS:
        for found in await _list(api, want):
            if found.text("roleRef", "name") in {rights.VIEW, rights.OPERATOR}:
                where = f"{found.namespace}/" if found.namespace else ""
                yield f"{found.kind} {where}{found.name}"


async def carry_out(api: kube_api.Api, removal: Removal, tell: events.OnProgress) -> tuple[str, ...]:
    """Remove what was found, and see that it is gone; returns the nodes that keep what their agent wrote down.

    Raises Surprise when something stays in the API, Conflict as `survey`.
    """
    await _refuse_while_something_stands(api)
    keeping = await _forget_on_nodes(api)
    daemonsets = [ref for ref in removal.ours if ref.kind == "DaemonSet"]
    for ref in daemonsets:
        await api.delete(ref, propagation="Foreground")
    await _until(lambda: _no_pods(api), "the pods of kubemtu-agent and kubemtu-probe", tell)
    await crd.remove(api)
    tell("the kinds of kubemtu.io and all their objects are gone")
    for ref in removal.ours:
        if ref.kind not in {"DaemonSet", crd.KIND}:
            await api.delete(ref)
            tell(f"{ref} is deleted")
    if not removal.keeps_namespace and await api.delete(NAMESPACE):

        async def emptied() -> bool:
            return await api.get(NAMESPACE) is None

        await _until(emptied, str(NAMESPACE), tell, lambda: _held(api))
    return keeping


async def _forget_on_nodes(api: kube_api.Api) -> tuple[str, ...]:
    """Have the agents remove what they wrote down; returns the nodes that keep it, for their agent does not answer."""
    nodes = await _list(api, mtu.NODES)
    for found in nodes:
        ref = Ref(api_version=mtu.API_VERSION, kind=mtu.NODES.kind, plural=mtu.NODES.plural, name=found.name)
        with contextlib.suppress(kube_errors.Absent):
            await api.patch(ref, {"metadata": {"annotations": {migration.FORGET: "true"}}})
    deadline = time.monotonic() + AGENTS
    while left := [found.name for found in await _list(api, mtu.NODES) if found.get(*_JOURNALS)]:
        if time.monotonic() >= deadline:
            return tuple(left)
        await asyncio.sleep(0.2)
    return ()


async def _no_pods(api: kube_api.Api) -> bool:
    want = Want(
        kind="Pod",
        plural="pods",
        api_versions=("v1",),
        namespace=shipped.NAMESPACE,
        label_selector=f"app.kubernetes.io/name in ({shipped.AGENT},{shipped.PROBE})",
    )
    return not await api.list(want)


async def _held(api: kube_api.Api) -> str:
    """Return the cluster's reasons to keep the namespace: finalizers, or kinds whose server does not answer."""
    found = await api.get(NAMESPACE)
    if found is None:
        return ""
    told = [one.text("message") or "" for one in found.each("status", "conditions") if one.text("status") == "True"]
    own = found.get("metadata", "finalizers")
    told += [f"it has finalizers of its own, {listed(map(str, own))}"] if isinstance(own, list) and own else []
    return f" ({kube_errors.capped('; '.join(text for text in told if text))})" if any(told) else ""


async def _until(
    holds: Callable[[], Awaitable[bool]],
    what: str,
    tell: events.OnProgress,
    why: Callable[[], Awaitable[str]] | None = None,
) -> None:
    deadline = time.monotonic() + SECONDS
    while not await holds():
        if time.monotonic() >= deadline:
            raise errors.Surprise(
                f"{what} {'are' if what.startswith('the ') else 'is'} not gone after {SECONDS:.0f} s"
                f"{await why() if why is not None else ''}; look what holds it with `kubectl -n {shipped.NAMESPACE} "
                "get all`, then run the same command again: it goes on from there"
            )
        await asyncio.sleep(0.2)
    tell(f"{what} are gone" if what.startswith("the ") else f"{what} is gone")

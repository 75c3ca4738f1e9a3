"""The ends of a path, as people name them, looked up in the cluster; and from which of them an agent can measure."""

import asyncio
import time
from collections.abc import Sequence

from kubemtu.core import errors
from kubemtu.core.objects import Object, Want
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.why import endpoints, legs, lookup
from kubemtu.core.why.endpoints import Endpoint, Inventory
from kubemtu.flows import observe
from kubemtu.flows.agents.asking import INSTALL
from kubemtu.kube import api as kube_api
from kubemtu.kube import errors as kube_errors

SERVICES = Want(kind="Service", plural="services", api_versions=("v1",))
SLICES = Want(
    kind="EndpointSlice",
    plural="endpointslices",
    api_versions=("discovery.k8s.io/v1", "discovery.k8s.io/v1beta1"),  # the latter before Kubernetes 1.21
)
SEEN = 4.0  # seconds for an agent to see a pod that has just been born: it looks every second
GLANCE = 0.5


async def find(
    api: kube_api.Api, here: str, there: str | None, namespace: str
) -> tuple[Inventory, Endpoint, list[Endpoint]]:
    """Look up what the words mean; a pod that its node's agent does not see yet is given a moment.

    Returns all that there is, the first end, and what to measure to from there. Raises UsageError where that is
    nothing, or the end itself.
    """
    deadline = time.monotonic() + SEEN
    while True:
        inventory = await _observed(api, namespace)
        start = lookup.find(here, inventory)
        goals = [lookup.find(there, inventory)] if there is not None else legs.other_ends(start, inventory.snapshot)
        all_ends = (start, *goals, *(member for goal in goals for member in goal.members))
        unseen_pods = [
            end for end in all_ends if end.unreported and inventory.snapshot.observation(end.node) is not None
        ]
        if not unseen_pods or time.monotonic() > deadline:
            break
        await asyncio.sleep(GLANCE)
    if not goals:
        raise errors.UsageError(f"there is no other node to measure from {start.name} to; name the other end")
    if there is not None and (start.name == goals[0].name or {*start.addresses} & {*goals[0].addresses}):
        raise errors.UsageError(f"{here} and {there} are the same: what a host sends to itself meets no network")
    return inventory, start, goals


def turned(start: Endpoint, goals: list[Endpoint]) -> tuple[Endpoint, list[Endpoint]]:
    """Begin from the other end, when no agent stands at the first one: both directions are measured anyway.

    Raises Unreachable when none stands there either.
    """
    other = goals[0]
    if len(goals) == 1 and other.has_agent:
        return other, [start]
    both = f"{start.name} or {other.name}" if len(goals) == 1 else start.name
    raise errors.Unreachable(f"no kubemtu-agent can measure from {both}: {_why_not(start)}")


_OUTSIDE = "; `kubemtu check --exec` shows without them what interfaces have"


def _why_not(end: Endpoint) -> str:
    if end.kind == "service":
        return "measuring begins at a pod or a node; name that first"
    if end.kind == "address":
        return "that is outside of the cluster; name a pod or a node as the other end"
    if end.windows:
        return (
            f"node {end.node} runs Windows, for which there is no agent; name a pod or node of Linux as the other end,"
            f" and the way is measured from there, by ICMP echo, or {endpoints.by_hand('ADDRESS')}"
        )
    if end.kind == "pod":
        return f"node {end.node or '?'} has no agent that tells of that pod; {INSTALL}{_OUTSIDE}"
    return f"node {end.name} has none that told anything of late; {INSTALL}{_OUTSIDE}"


def silent_nodes(named: Sequence[Endpoint], snapshot: Snapshot) -> set[str]:
    """Return the nodes of these ends that do not report."""
    on = {part.node for end in named for part in (end, *end.members) if part.node}
    return {name for name in on if snapshot.find("Node", name) is not None and snapshot.observation(name) is None}


def no_path(start: Endpoint, goal: Endpoint) -> str:
    if goal.kind == "service" and not goal.members:
        return f"{goal.name} has no endpoint that is ready: nobody is behind it to measure to"
    return f"{start.name} cannot send to {goal.name}: they share no address family"


async def _observed(api: kube_api.Api, namespace: str) -> Inventory:
    """Read the cluster as `check` does, and its Services.

    Raises Forbidden without the right to read what agents tell.
    """

    async def listed(want: Want) -> list[Object] | None:
        try:
            return await api.list(want)
        except errors.Forbidden:
            return None
        except (errors.Malformed, kube_errors.Absent):
            return []

    failure: errors.KubemtuError | None = None
    try:
        async with asyncio.TaskGroup() as group:
            observing = group.create_task(observe.observe(api))
            listing = [group.create_task(listed(want)) for want in (SERVICES, SLICES)]
    except* errors.KubemtuError as several:
        failure = errors.first(several)
    if failure is not None:
        raise failure
    snapshot, services, slices = observing.result(), listing[0].result(), listing[1].result()
    observe.permitted(snapshot, "nodemtus")
    service_objects = None if services is None or slices is None else [*services, *slices]
    return Inventory(snapshot=snapshot, services=service_objects, namespace=namespace)

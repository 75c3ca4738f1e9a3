"""Is it the MTU? Measure a path and its parts from where the agents stand, look at both ends, and answer."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from kubemtu.core import errors
from kubemtu.core.evidence import records
from kubemtu.core.objects import Object, Want
from kubemtu.core.path.known_sizes import VLAN_SLACK
from kubemtu.core.path.verdict import UNDECIDED
from kubemtu.core.probe import request
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.why import endpoints, legs, lookup, passive
from kubemtu.core.why.diagnosis import Diagnosis, diagnose, together
from kubemtu.core.why.directions import Leg, back, forth
from kubemtu.core.why.endpoints import Endpoint, Inventory
from kubemtu.core.why.legs import EndpointPair
from kubemtu.flows import network, observe
from kubemtu.flows.agents import deadlines
from kubemtu.kube import api as kube_api
from kubemtu.kube import errors as kube_errors

SERVICES = Want(kind="Service", plural="services", api_versions=("v1",))
SLICES = Want(
    kind="EndpointSlice",
    plural="endpointslices",
    api_versions=("discovery.k8s.io/v1", "discovery.k8s.io/v1beta1"),  # the latter before Kubernetes 1.21
)
INSTALL = "kubemtu install"
FLOWS = 20  # source ports: of two equal paths one is missed with 1e-6 (0.5 ** 20)
SEEN = 4.0  # seconds for an agent to see a pod that has just been born: it looks every second
GLANCE = 0.5
AGAIN = 4  # times that what one direction does not tell is asked again
WATCH = 15.0  # seconds to look at connections that hang and are not answered: they send again meanwhile
WATCH_EVERY = 2.5


class PathReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Hold what `why` answers."""

    diagnosis: Diagnosis
    """The answer for that of all paths tried that says most."""
    other_paths: tuple[Diagnosis, ...] = ()
    """The answers for the others."""
    notes: tuple[str, ...] = ()
    """What could not be measured, a sentence each."""
    errors: tuple[str, ...] = ()
    """What went wrong meanwhile, a sentence each."""
    unmeasured_nodes: tuple[str, ...] = ()
    """The nodes at these ends whose agents do not report: they were measured from the others, and nothing is
    called right there."""
    schema: str = "kubemtu.io/why/v1"
    """The format of this document."""

    @property
    def all(self) -> tuple[Diagnosis, ...]:
        """Every path that was tried, the one that says most first."""
        return (self.diagnosis, *self.other_paths)


async def why(
    api: kube_api.Api,
    here: str,
    there: str | None,
    *,
    namespace: str,
    flows: int = FLOWS,
    forget: bool = False,
    parts: bool = True,
) -> PathReport:
    """Answer for the path from one end to the other, or from one end to several others; without `parts`, only that.

    Raises UsageError for an end that is not there, Unreachable where no agent stands at either, Forbidden without the
    right to look or to ask, Conflict when a pod that was named has gone meanwhile.
    """
    known, start, goals = await _ends(api, here, there, namespace)
    notes = [note for goal in goals for note in legs.limits(start, goal)]
    if not start.known:
        start, goals = _turned(start, goals)
        notes.append(f"no agent stands at {goals[0].name}, so it was measured from {start.name}")
    found = [
        task for number, goal in enumerate(goals) for task in legs.of(start, goal, known.snapshot, f"{number}", flows)
    ]
    if not parts:
        found = [msgspec.structs.replace(task, requests=task.requests[:1]) for task in found]
    if not found:
        raise errors.UsageError(_no_way(start, goals[0]))
    async with deadlines.asking_all(api) as line:
        asked = _Asked(line, known.snapshot, forget=forget)
        made = await asked.answers(found)
        if not made and (again := [task for old in found for task in _other_way(old, known.snapshot, flows)]):
            made = await asked.answers(again)  # the agent at the first end does not answer
        troubles = (*line.errors, *asked.troubles)
        silent = tuple(sorted({*_silent((start, *goals), known.snapshot), *line.late}))
    if not made:
        raise errors.Unreachable(troubles[0] if troubles else "no agent could measure that path")
    best = min(made, key=lambda one: (_rank(one), one.mtu))
    await _still_there(api, (start, *goals), best)
    others = tuple(one for one in made if one is not best)
    return PathReport(diagnosis=best, other_paths=others, notes=tuple(notes), errors=troubles, unmeasured_nodes=silent)


def _rank(found: Diagnosis) -> int:
    return {"yes": 0, "unknown": 1, "no": 2}[found.is_mtu] + (found.kind == "ok")


# The ends


async def _ends(
    api: kube_api.Api, here: str, there: str | None, namespace: str
) -> tuple[Inventory, Endpoint, list[Endpoint]]:
    """Look up what the words mean; a pod that its node's agent does not see yet is given a moment."""
    deadline = time.monotonic() + SEEN
    while True:
        known = await _observed(api, namespace)
        start = lookup.find(here, known)
        goals = [lookup.find(there, known)] if there is not None else legs.others(start, known.snapshot)
        named = (start, *goals, *(member for goal in goals for member in goal.members))
        newborn = [end for end in named if end.unseen and known.snapshot.observation(end.on) is not None]
        if not newborn or time.monotonic() > deadline:
            break
        await asyncio.sleep(GLANCE)
    if not goals:
        raise errors.UsageError(f"there is no other node to measure from {start.name} to; name the other end")
    if there is not None and (start.name == goals[0].name or {*start.addresses} & {*goals[0].addresses}):
        raise errors.UsageError(f"{here} and {there} are the same: what a host sends to itself meets no network")
    return known, start, goals


def _turned(start: Endpoint, goals: list[Endpoint]) -> tuple[Endpoint, list[Endpoint]]:
    """Begin from the other end, when no agent stands at the first one: both directions are measured anyway."""
    other = goals[0]
    if len(goals) == 1 and other.known:
        return other, [start]
    both = f"{start.name} or {other.name}" if len(goals) == 1 else start.name
    raise errors.Unreachable(f"no kubemtu-agent can measure from {both}: {_why_not(start)}")


def _why_not(end: Endpoint) -> str:
    if end.kind == "service":
        return "measuring begins at a pod or a node; name that first"
    if end.kind == "address":
        return "that is outside of the cluster; name a pod or a node as the other end"
    if end.kind == "pod":
        return f"node {end.on or '?'} has no agent that tells of that pod; install the agents with `{INSTALL}`"
    return f"node {end.name} has none that told anything of late; install the agents with `{INSTALL}`"


def _silent(named: Sequence[Endpoint], snapshot: Snapshot) -> set[str]:
    """Return the nodes of these ends that do not report."""
    on = {end.on for one in named for end in (one, *one.members) if end.on}
    return {name for name in on if snapshot.find("Node", name) is not None and snapshot.observation(name) is None}


def _no_way(start: Endpoint, goal: Endpoint) -> str:
    if goal.kind == "service" and not goal.members:
        return f"{goal.name} has no endpoint that is ready: nobody is behind it to measure to"
    return f"{start.name} cannot send to {goal.name}: they share no address family"


def _other_way(task: EndpointPair, snapshot: Snapshot, flows: int) -> list[EndpointPair]:
    if not task.destination.known or task.requests[0][0] != "whole":
        return []
    name = f"turned.{task.requests[0][1].name}"
    return [one for one in legs.of(task.destination, task.source, snapshot, name, flows) if one.family == task.family]


async def _still_there(api: kube_api.Api, named: Sequence[Endpoint], best: Diagnosis) -> None:
    """Raise Conflict when nothing was answered because a pod has gone."""
    if best.kind != "unreachable":
        return
    for end in named:
        if end.kind == "pod" and end.name in {best.source, best.destination}:
            namespace, _, name = end.name.partition("/")
            with contextlib.suppress(errors.Forbidden):
                found = await api.find("v1", "pods", name, namespace)
                if found is None or not {*endpoints.pod_addresses(found)} & {*end.addresses}:
                    raise errors.Conflict(f"pod {end.name} has gone while it was measured; ask again for one that runs")


# Asking


class _Asked:
    """The questions of one `why`, and what came of them."""

    def __init__(self, line: deadlines.BestEffortClient, snapshot: Snapshot, *, forget: bool) -> None:
        self._line = line
        self._snapshot = snapshot
        self._network = network.seen(snapshot)
        self._forget = forget
        self._told: dict[str, request.ProbeReport] = {}
        self._results: dict[str, request.PathResult] = {}
        self._missing: list[str] = []
        self._bases: dict[tuple[str, str], records.Evidence | None] = {}

    @property
    def troubles(self) -> tuple[str, ...]:
        """What could not be done, a sentence each."""
        told = [trouble for one in self._told.values() for trouble in one.errors]
        told += [look.error for one in self._told.values() for look in one.readings if look.error]
        return tuple(dict.fromkeys(self._by_pod(trouble) for trouble in (*self._missing, *told)))

    @property
    def _forgotten(self) -> bool:
        """Return whether both ends, and their nodes, have been made to forget what they had learned."""
        return self._forget and not any(look.error for one in self._told.values() for look in one.readings)

    def _by_pod(self, trouble: str) -> str:
        """Name the pod in a sentence of an agent, which knows only its link."""
        for seen in self._snapshot.nodes:
            for port in seen.ports:
                if f"behind {port.host_link}" in trouble and port.addresses:
                    end = endpoints.holder(port.addresses[0], self._snapshot)
                    return trouble.replace(f"the pod behind {port.host_link}", f"pod {end.name}")
        return trouble

    async def answers(self, found: Sequence[EndpointPair]) -> list[Diagnosis]:
        """Measure what answers for these tasks; those of which nothing came are left out."""
        spots = legs.spots(found)
        async with self._answering([task.destination for task in found]):
            ways = tuple(way for task in found for _, way in task.requests)
            forget = tuple(spots) if self._forget else ()
            self._take(await self._line.ask(request.ProbeRequest(paths=ways, inspect=tuple(spots), flush=forget)))
            await self._again(ways)
        return await self._watched(await self._by_tcp(await self._returned(found)))

    async def _again(self, ways: Sequence[request.PathRequest]) -> None:
        """Ask once more, by one flow, what was not told of in each direction that was asked for.

        A busy node loses packets of its own, and one direction that is not known would let another part be blamed. What
        ends twice in the same way is so.
        """
        due = [msgspec.structs.replace(way, flows=1) for way in ways if legs.half(way, self._results.get(way.name))]
        for _ in range(AGAIN):
            due = [way for way in due if way.source.node not in self._line.late]
            if not due:
                break
            before = {way.name: self._results[way.name] for way in due}
            told = await self._line.ask(request.ProbeRequest(paths=tuple(due)))
            fresh = {result.path: result for one in told.values() for result in one.results}
            self._results |= {name: legs.fuller(old, fresh.get(name, old)) for name, old in before.items()}
            due = [
                way
                for way in due
                if legs.half(way, self._results[way.name])
                and legs.endings(fresh.get(way.name)) != legs.endings(before[way.name])
            ]

    @contextlib.asynccontextmanager
    async def _answering(self, those: Sequence[Endpoint]) -> AsyncIterator[None]:
        async with self._line.responding(legs.answering(those)) as missing:
            self._missing += missing
            yield

    def _take(self, told: Mapping[str, request.ProbeReport]) -> None:
        """Keep what is told: results add up; what is looked at again is held against the end of the first look.

        By then what hangs has been sent again, which it may not have been at its beginning.
        """
        for node, one in told.items():
            self._results |= {result.path: result for result in one.results}
            old = self._told.get(node)
            if old is None:
                self._told[node] = one
                continue
            first = {look.link: look for look in old.readings}
            again = tuple(self._against(node, first[look.link], look) for look in one.readings if look.link in first)
            troubles = (*old.errors, *one.errors)
            self._told[node] = msgspec.structs.replace(one, readings=again or old.readings, errors=troubles)

    def _against(self, node: str, old: request.PassiveReading, new: request.PassiveReading) -> request.PassiveReading:
        before = self._bases.setdefault((node, new.link), old.after)
        return msgspec.structs.replace(new, before=before, flushed=old.flushed)

    async def _returned(self, found: Sequence[EndpointPair]) -> list[EndpointPair]:
        """Ask the other ends as well where nothing came back, or only echoes."""
        due = [task for task in found if self._one_way(task) and task.destination.node not in self._line.late]
        if not due:
            return list(found)
        more = {id(task): msgspec.structs.replace(task, requests=(*task.requests, legs.returns(task))) for task in due}
        async with self._answering([task.source for task in due]):
            ways = tuple(task.requests[-1][1] for task in more.values())
            self._take(await self._line.ask(request.ProbeRequest(paths=ways)))
        return [more.get(id(task), task) for task in found]

    async def _by_tcp(self, found: Sequence[EndpointPair]) -> list[EndpointPair]:
        """Ask the TCP of hosts outside that answer nothing else, at a port that was named or that is in use."""
        due = {}
        for task in found:
            result = self._results.get(task.requests[0][1].name)
            silent = result is not None and result.verdict.kind in UNDECIDED
            if silent and (tried := legs.by_tcp(task, self._told)) is not None:
                due[id(task)] = tried
        if due:
            self._take(
                await self._line.ask(request.ProbeRequest(paths=tuple(task.requests[0][1] for task in due.values())))
            )
        known = {name for name, result in self._results.items() if result.verdict.kind not in UNDECIDED}
        return [
            due[id(task)] if id(task) in due and due[id(task)].requests[0][1].name in known else task for task in found
        ]

    def _one_way(self, task: EndpointPair) -> bool:
        """Return whether the other end could tell more than was measured from here."""
        role, way = task.requests[0]
        result = self._results.get(way.name)
        if result is None or not task.destination.known or role != "whole":
            return False
        return result.protocol != "UDP" or result.verdict.kind == "unreachable"

    def _diagnosed(self, task: EndpointPair) -> Diagnosis | None:
        legs = tuple(
            task.leg(role, way, self._results[way.name]) for role, way in task.requests if way.name in self._results
        )
        if not any(leg.role in {"whole", "service"} for leg in legs):
            return None
        seen = passive.seen(task, self._told, self._snapshot, _measured(task, legs))
        here, there = (self._fitting(end) for end in (task.source, task.destination))
        return diagnose(here, there, legs, seen, family=task.family, flushed=self._forgotten, network=self._network)

    def _fitting(self, end: Endpoint) -> Endpoint:
        """Add to an end what the NIC of its node leaves for the tunnel, where the tunnel takes more than that."""
        nodes = self._network.nodes if self._network is not None else ()
        node = next((one for one in nodes if one.name == end.on), None)
        if node is None or node.tunnel is None or node.fits is None or node.tunnel.mtu <= node.fits:
            return end
        return msgspec.structs.replace(end, fits=node.fits)

    async def _watched(self, found: Sequence[EndpointPair]) -> list[Diagnosis]:
        """Look on for a while where nobody answers and a connection hangs: what it sends again proves what it is."""
        deadline = time.monotonic() + WATCH
        made = self._all(found)
        while any(one.is_mtu == "unknown" and one.location for one in made) and time.monotonic() < deadline:
            await asyncio.sleep(WATCH_EVERY)
            self._take(await self._line.ask(request.ProbeRequest(inspect=tuple(legs.spots(found)))))
            made = self._all(found)
        return made

    def _all(self, found: Sequence[EndpointPair]) -> list[Diagnosis]:
        """Answer for each pair of ends; where both families of two ends are in order, they are told of together."""
        made: list[Diagnosis] = []
        for task in found:
            one = self._diagnosed(task)
            if one is None:
                continue
            if made and (both := together(made[-1], one)) is not None:
                made[-1] = both
            else:
                made.append(one)
        return made


def _measured(task: EndpointPair, legs: Sequence[Leg]) -> dict[str, int]:
    """Return the sizes that arrive at both ends, by address; a veth takes four bytes more than its MTU."""
    found: dict[str, int] = {}
    for course in (forth(task.source, task.destination, legs), back(task.source, task.destination, legs)):
        size = course.verdict.mtu if course is not None else 0
        if course is None or not size:
            continue
        own = [mtu for mtu in (course.destination.mtu, course.destination.host_mtu) if mtu <= size <= mtu + VLAN_SLACK]
        found |= dict.fromkeys(course.destination.addresses, min((*own, size)))
    return found


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
            seen = group.create_task(observe.observe(api))
            both_lists = [group.create_task(listed(want)) for want in (SERVICES, SLICES)]
    except* errors.KubemtuError as several:
        failure = errors.first(several)
    if failure is not None:
        raise failure
    snapshot, services, slices = seen.result(), both_lists[0].result(), both_lists[1].result()
    observe.permitted(snapshot, "nodemtus")
    both = None if services is None or slices is None else [*services, *slices]
    return Inventory(snapshot=snapshot, services=both, namespace=namespace)

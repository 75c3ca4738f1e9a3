"""Is it the MTU? Measure a path and its parts from where the agents stand, look at both ends, and answer."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from kubemtu.core import diagnosis, ends, errors, evidence, net, order, pods, symptoms
from kubemtu.core.ends import End
from kubemtu.core.objects import Object, Want
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import asking, observe
from kubemtu.kube import api as kube_api

SERVICES = Want(kind="Service", plural="services", api_versions=("v1",))
SLICES = Want(kind="EndpointSlice", plural="endpointslices", api_versions=("discovery.k8s.io/v1",))
FLOWS = 20  # source ports: of two equal paths one is missed with 1e-6 (0.5 ** 20)
OTHERS = 6  # ends that are tried when only one is named
PROBE_APP = "kubemtu-probe"
COUNTED = frozenset({"refused here", "fragmented here", "reassembled here"})  # since when, nobody knows


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What `why` answers: of all paths that were tried, the one that says most, and the others' sentences."""

    diagnosis: diagnosis.Diagnosis
    here: str
    there: str
    others: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()
    schema: str = "kubemtu.io/why/v1"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of ends, and the ways that answer for it."""

    here: End
    there: End
    ways: tuple[tuple[diagnosis.Role, order.Way], ...]


async def why(
    api: kube_api.Api,
    here: str,
    there: str | None,
    *,
    namespace: str,
    flows: int = FLOWS,
    forget: bool = False,
    parts: bool = True,
) -> Answer:
    """Answer for the path from one end to the other, or from one end to several others; without `parts`, only that.

    Raises UsageError for an end that is not there, Unreachable where no agent stands at the first one.
    """
    snapshot, extra = await _observed(api)
    start = ends.find(here, snapshot, extra, namespace)
    if not start.known:
        start, there = _turned(start, there, snapshot, extra, namespace)
    goals = [ends.find(there, snapshot, extra, namespace)] if there is not None else others(start, snapshot)
    if not goals:
        raise errors.UsageError(f"there is no other pod or node to measure from {start.name} to; name the other end")
    tasks = [task for number, goal in enumerate(goals) for task in tasks_of(start, goal, snapshot, number, flows)]
    if not parts:
        tasks = [msgspec.structs.replace(task, ways=task.ways[:1]) for task in tasks]
    if not tasks:
        raise errors.UsageError(
            f"{goals[0].name} has no address that {start.name} can send to: "
            f"{'it has no endpoint that is ready' if goals[0].kind == 'service' else 'it shares no address family'}"
        )
    return await _answer(api, tasks, snapshot, forget=forget)


async def _answer(api: kube_api.Api, tasks: Sequence[Task], snapshot: Snapshot, *, forget: bool) -> Answer:
    spots = _spots(tasks)
    ways = [way for task in tasks for _, way in task.ways]
    async with asking.asking(api) as line, line.answering(_answering(tasks)) as missing:
        asked = order.Order(ways=tuple(ways), look=tuple(spots), forget=tuple(spots) if forget else ())
        told = await line.ask(asked)
    results = {result.way: result for one in told.values() for result in one.results}
    troubles = tuple(dict.fromkeys((*missing, *(trouble for one in told.values() for trouble in one.troubles))))
    found = []
    for task in tasks:
        legs = tuple(_leg(task, role, results[way.name]) for role, way in task.ways if way.name in results)
        if any(leg.role in {"whole", "service"} for leg in legs):
            found.append((task, diagnosis.diagnose(task.here, task.there, legs, _seen(task, told, legs, snapshot))))
    if not found:
        raise errors.Unreachable(troubles[0] if troubles else "no agent could measure that path")
    task, best = min(found, key=lambda pair: (_rank(pair[1]), pair[1].size))
    return Answer(
        diagnosis=best,
        here=task.here.name,
        there=task.there.name,
        others=tuple(one.sentence for other, one in found if one is not best),
        troubles=troubles,
    )


def _rank(found: diagnosis.Diagnosis) -> int:
    return {"yes": 0, "unknown": 1, "no": 2}[found.mtu] + (found.kind == "ok")


# Which ways


def others(start: End, snapshot: Snapshot) -> list[End]:
    """Ends on other nodes to measure to, when nobody named one: a pod of each node, a probe first; else the nodes."""
    names = [found.name for found in snapshot.each("Node") if found.name != start.node]
    running = pods.running(snapshot)
    found: list[End] = []
    for name in names:
        here = sorted((pod for pod in running if pod.node == name), key=lambda pod: PROBE_APP not in pod.name)
        words = [f"pod/{pod}" for pod in here[:1]] if start.port else []
        for word in words or [f"node/{name}"]:
            with contextlib.suppress(errors.UsageError):
                found.append(ends.find(word, snapshot, (), "default"))
    return found[:OTHERS]


def tasks_of(start: End, goal: End, snapshot: Snapshot, number: int, flows: int) -> Iterator[Task]:
    """The tasks of one goal: of a Service its endpoints, and its own address where a probe answers behind it."""
    if goal.kind != "service":
        yield from _tasks(start, goal, snapshot, f"{number}", flows)
        return
    for place, member in enumerate(goal.members):
        yield from _tasks(start, member, snapshot, f"{number}.{place}", flows)
    if PROBE_APP in goal.name or not goal.members:
        for address in goal.addresses:
            way = _way(f"{number}.service.{address}", start, address, flows=flows)
            yield Task(here=start, there=goal, ways=(("service", way),))


def _tasks(start: End, goal: End, snapshot: Snapshot, name: str, flows: int) -> Iterator[Task]:
    for ipv6 in (False, True):
        there = goal.address(ipv6)
        here = start.address(ipv6)
        if there is None or here is None:
            continue
        label = f"{name}.{6 if ipv6 else 4}"
        ways: list[tuple[diagnosis.Role, order.Way]] = [
            ("whole", _way(f"{label}.whole", start, there, flows=flows, back=goal.known))
        ]
        ways += _parts(label, start, goal, snapshot, ipv6=ipv6, flows=flows)
        yield Task(here=start, there=goal, ways=tuple(ways))


def _parts(
    label: str, start: End, goal: End, snapshot: Snapshot, *, ipv6: bool, flows: int
) -> Iterator[tuple[diagnosis.Role, order.Way]]:
    """The parts of the path, each from where an agent stands."""
    own, far = _host(start.node, snapshot), _host(goal.node, snapshot)
    if start.port and own is not None and (address := own.address(ipv6)) is not None:
        yield "near", _way(f"{label}.near", start, address, back=True)
    if own is not None and far is not None and own.node != far.node and (start.port or goal.port):
        if (address := far.address(ipv6)) is not None:
            yield "nodes", _way(f"{label}.nodes", own, address, flows=flows, back=True)
        if goal.port and (address := goal.address(ipv6)) is not None:
            yield "overlay", _way(f"{label}.overlay", own, address)
    if goal.port and far is not None and (address := goal.address(ipv6)) is not None:
        yield "far", _way(f"{label}.far", far, address, back=True, expected=goal.mtu)


def _way(name: str, start: End, to: str, *, flows: int = 1, back: bool = False, expected: int = 0) -> order.Way:
    here = order.Spot(node=start.node, port=start.port)
    return order.Way(name=name, here=here, to=to, flows=flows, back=back, deep=True, expected=expected)


def _host(node: str, snapshot: Snapshot) -> End | None:
    if not node or snapshot.observation(node) is None:
        return None
    return ends.find(f"node/{node}", snapshot, (), "default")


def _turned(
    start: End, there: str | None, snapshot: Snapshot, extra: Sequence[Object], namespace: str
) -> tuple[End, str]:
    """The other end to begin from, when no agent stands at the first one: both directions are measured anyway."""
    if there is not None:
        other = ends.find(there, snapshot, extra, namespace)
        if other.known and start.kind != "service":
            return other, _word(start)
    raise errors.Unreachable(
        f"no kubemtu-agent can measure from {start.name}: {_why_not(start)}; name a pod or node that has one first"
    )


def _word(end: End) -> str:
    return f"{end.kind}/{end.name}" if end.kind in {"pod", "node"} else end.name


def _why_not(end: End) -> str:
    if end.kind in {"service", "address"}:
        return f"it is {'a Service' if end.kind == 'service' else 'an address outside the cluster'}"
    return "its node has no agent that tells of it; install it with `kubectl apply -f deploy/crds -f deploy/agent.yaml`"


# What is seen


def _leg(task: Task, role: diagnosis.Role, result: order.Result) -> diagnosis.Leg:
    names = {
        "whole": (task.here.name, task.there.name),
        "service": (task.here.name, task.there.name),
        "near": (task.here.name, task.here.node),
        "nodes": (task.here.node, task.there.node),
        "overlay": (task.here.node, task.there.name),
        "far": (task.there.node, task.there.name),
    }[role]
    return diagnosis.Leg(role=role, here=names[0], there=names[1], result=result)


def _spots(tasks: Iterable[Task]) -> list[order.Spot]:
    """Where to look: both ends and their nodes."""
    found = []
    for task in tasks:
        for end in (task.here, task.there):
            if end.known:
                found += [order.Spot(node=end.node, port=end.port), order.Spot(node=end.node)]
    return list(dict.fromkeys(found))


def _answering(tasks: Iterable[Task]) -> list[order.Spot]:
    return list(
        dict.fromkeys(
            order.Spot(node=task.there.node, port=task.there.port)
            for task in tasks
            if task.there.known and task.there.port
        )
    )


def _seen(
    task: Task, told: Mapping[str, order.Told], legs: Sequence[diagnosis.Leg], snapshot: Snapshot
) -> list[diagnosis.Seen]:
    """What both ends and their nodes show, as far as it is about this path."""
    whole = next((leg.verdict.mtu for leg in legs if leg.role == "whole"), 0)
    measured = dict.fromkeys(task.there.addresses, whole) if whole else {}
    found = []
    for end in (task.here, task.there):
        if not end.known:
            continue
        for port in dict.fromkeys((end.port, "")):
            look = next((one for one in _looks(told, end.node) if one.port == port), None)
            if look is None or look.after is None:
                continue
            listed = _symptoms(look, _ports(snapshot, end) if not port else (), measured)
            name = end.name if port or not end.port else f"node {end.node}"
            found.append(diagnosis.Seen(where=name, symptoms=tuple(one for one in listed if _about(one.peers, task))))
    return found


def _symptoms(
    look: order.Look, ports: Sequence[net.PodPort], measured: Mapping[str, int]
) -> tuple[evidence.Symptom, ...]:
    """What a spot showed before anything was measured, and of its connections also what happened to them since.

    What our own packets have been counted as, and what the kernel has learned from them, is nobody's symptom.
    """
    before, after = look.before, look.after
    if before is None or after is None:
        return ()
    since = msgspec.structs.replace(after, counters=before.counters, learned=before.learned)
    found = [
        *symptoms.symptoms(before, since, measured=measured),
        *symptoms.symptoms(None, before, ports=ports, measured=measured),
    ]
    kept: dict[tuple[str, str], evidence.Symptom] = {}
    for one in found:
        kept.setdefault((one.kind, one.where), one)
    return tuple(one for one in kept.values() if one.kind not in COUNTED)


def _looks(told: Mapping[str, order.Told], node: str) -> tuple[order.Look, ...]:
    return told[node].looks if node in told else ()


def _ports(snapshot: Snapshot, end: End) -> tuple[net.PodPort, ...]:
    seen = snapshot.observation(end.node)
    return tuple(port for port in seen.ports if port.host_link == end.port) if seen is not None else ()


def _about(peers: Sequence[str], task: Task) -> bool:
    """Whether a symptom is about this path, or about no address in particular."""
    return not peers or bool(set(peers) & {*task.here.addresses, *task.there.addresses})


async def _observed(api: kube_api.Api) -> tuple[Snapshot, list[Object]]:
    """The cluster as `check` reads it, and its Services; without the right to read those, none."""

    async def listed(want: Want) -> list[Object]:
        try:
            return await api.list(want)
        except (errors.Forbidden, errors.Malformed):
            return []

    snapshot, services, slices = await asyncio.gather(observe.observe(api), listed(SERVICES), listed(SLICES))
    return snapshot, [*services, *slices]

"""Which ways are measured to answer for two ends: the whole path, and its parts from where agents stand."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from kubemtu.core import errors
from kubemtu.core.cluster import pods
from kubemtu.core.probe import request
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.why import endpoints
from kubemtu.core.why.directions import Leg, Role
from kubemtu.core.why.endpoints import Endpoint

OTHERS = 6  # ends that are tried when only one is named
PROBE_APP = "kubemtu-probe"


class EndpointPair(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of ends over one family, and the ways that answer for it, the whole path first.

    `family` is "IPv4" or "IPv6" where the ends share both, else empty.
    """

    source: Endpoint
    destination: Endpoint
    requests: tuple[tuple[Role, request.PathRequest], ...]
    family: str = ""

    def leg(self, role: Role, way: request.PathRequest, result: request.PathResult) -> Leg:
        """Return a path that was measured as a leg, with what people call its ends."""
        names = {
            "whole": (self.source.name, self.destination.name),
            "return": (self.destination.name, self.source.name),
            "service": (self.source.name, self.destination.name),
            "near": (self.source.name, self.source.node),
            "nodes": (self.source.node, self.destination.node or self.destination.on),
            "overlay": (self.source.node, self.destination.name),
            "far": (self.destination.node, self.destination.name),
        }[role]
        return Leg(role=role, source=names[0], destination=names[1], result=result, expected=way.expected)


def others(start: Endpoint, snapshot: Snapshot) -> list[Endpoint]:
    """Choose ends on other nodes to measure to, when none is named: a pod of each, a probe first; else the node."""
    running = pods.running(snapshot)
    found: list[Endpoint] = []
    for name in (one.name for one in snapshot.each("Node") if one.name != start.on):
        here = sorted((pod for pod in running if pod.node == name), key=lambda pod: PROBE_APP not in pod.name)
        if start.port and here:
            pod = snapshot.find("Pod", here[0].name, here[0].namespace)
            with contextlib.suppress(errors.UsageError):
                found += [endpoints.of_pod(pod, snapshot)] if pod is not None else []
        else:
            found.append(endpoints.node(name, snapshot))
    return found[:OTHERS]


def of(start: Endpoint, goal: Endpoint, snapshot: Snapshot, name: str, flows: int) -> Iterator[EndpointPair]:
    """Yield what to measure for one goal; of a Service its endpoints, and its address where a probe is behind it."""
    if goal.kind != "service":
        yield from _tasks(start, goal, snapshot, name, flows)
        return
    if goal.through is not None:
        yield from _tasks(start, goal.through, snapshot, f"{name}.through", flows)
    first = goal.through if goal.through is not None and goal.through.known else start
    for place, member in enumerate(goal.members):
        if {*member.addresses} != {*first.addresses}:
            yield from _tasks(first, member, snapshot, f"{name}.{place}", flows)
    if PROBE_APP in goal.name and goal.members:
        for address in goal.addresses:
            if start.address(":" in address) is not None:
                way = _way(f"{name}.service.{address}", start, address, flows=flows)
                yield EndpointPair(source=start, destination=goal, requests=(("service", way),))


def limits(start: Endpoint, goal: Endpoint) -> Iterator[str]:
    """Say what cannot be measured of that path, and what is measured instead, a sentence each."""
    if goal.kind != "service":
        return
    if goal.all_members > len(goal.members):
        yield f"{goal.name} has {goal.all_members} endpoints; {len(goal.members)} of them were measured"
    if goal.through is not None:
        first = f"from {start.name} to {goal.through.name}"
        rest = "there" if goal.through.known else start.name
        yield (
            f"nobody behind {goal.name} answers probes, so what the translation does was not measured: the ways "
            f"{first} and from {rest} to the endpoints were"
        )
    elif PROBE_APP not in goal.name and goal.addresses:
        yield (
            f"nobody behind {goal.addresses[0]} answers probes, so its endpoints were measured, which is where its "
            f"packets go; `kubemtu why {start.name} svc/kubemtu/{PROBE_APP}` goes through such an address"
        )


def returns(task: EndpointPair) -> tuple[Role, request.PathRequest]:
    """Ask for the whole path from its other end: a policy may let that one's packets pass, and the answers to them."""
    first = task.requests[0][1]
    address = task.source.address(":" in first.address)
    assert address is not None
    return "return", _way(f"{first.name}.return", task.destination, address, flows=first.flows, back=True)


def by_tcp(task: EndpointPair, told: Mapping[str, request.ProbeReport]) -> EndpointPair | None:
    """Have the whole path measured by the TCP of a host outside; None where no port of it is known.

    It is the port that was named, else one that a connection of the first end stands to, one that hangs first.
    """
    role, way = task.requests[0]
    if role != "whole" or task.destination.kind != "address":
        return None
    looks = told[task.source.node].readings if task.source.node in told else ()
    states = [state for look in looks for state in (look.after, look.before) if state is not None]
    seen = [one for state in states for one in state.connections]
    standing = sorted((one for one in seen if one.remote == way.address), key=lambda one: one.backoff, reverse=True)
    port = task.destination.listens or next((one.remote_port for one in standing), 0)
    if not port:
        return None
    tried = msgspec.structs.replace(way, name=f"{way.name}.tcp", port=port, tcp_only=True, flows=1, both_ways=False)
    return msgspec.structs.replace(task, requests=((role, tried), *task.requests[1:]))


def endings(result: request.PathResult | None) -> tuple[str, str]:
    """How the measuring of both directions ended, "" where one was not told of."""
    there, home = (result.forward, result.backward) if result is not None else (None, None)
    return there.search.ending if there is not None else "", home.search.ending if home is not None else ""


def half(way: request.PathRequest, result: request.PathResult | None) -> bool:
    """Return whether less is known than was asked for, although the other end answers: to be asked again."""
    if result is None or result.protocol != "UDP" or result.verdict.kind == "unreachable" or result.forward is None:
        return False
    there, home = endings(result)
    return there != "exact" or (way.both_ways and home != "exact")


def fuller(old: request.PathResult, new: request.PathResult) -> request.PathResult:
    """Return the result that tells more, the newer one where both tell as much."""
    return new if endings(new).count("exact") >= endings(old).count("exact") else old


def spots(found: Iterable[EndpointPair]) -> list[request.Namespace]:
    """Where to look: both ends and their nodes."""
    spots: list[request.Namespace] = []
    for task in found:
        for end in (task.source, task.destination):
            if end.known:
                spots += [request.Namespace(node=end.node, link=end.port), request.Namespace(node=end.node)]
    return list(dict.fromkeys(spots))


def answering(found: Iterable[Endpoint]) -> list[request.Namespace]:
    """List the pods among these ends in which a station has to answer; on nodes one always does."""
    return list(
        dict.fromkeys(request.Namespace(node=end.node, link=end.port) for end in found if end.known and end.port)
    )


def _tasks(start: Endpoint, goal: Endpoint, snapshot: Snapshot, name: str, flows: int) -> Iterator[EndpointPair]:
    shared = [ipv6 for ipv6 in (False, True) if start.address(ipv6) is not None and goal.address(ipv6) is not None]
    for ipv6 in shared:
        there = goal.address(ipv6)
        assert there is not None
        label = f"{name}.{6 if ipv6 else 4}"
        ways: list[tuple[Role, request.PathRequest]] = [
            # Whoever answers at a node or in a pod can be asked for the way back, whether an agent reports it or not.
            ("whole", _way(f"{label}.whole", start, there, flows=flows, back=goal.kind in {"node", "pod"}))
        ]
        ways += _parts(label, start, goal, snapshot, ipv6=ipv6, flows=flows)
        family = ("IPv6" if ipv6 else "IPv4") if len(shared) > 1 else ""
        yield EndpointPair(source=start, destination=goal, requests=tuple(ways), family=family)


def _parts(
    label: str, start: Endpoint, goal: Endpoint, snapshot: Snapshot, *, ipv6: bool, flows: int
) -> Iterator[tuple[Role, request.PathRequest]]:
    """Ask for the parts of the path, each from where an agent stands."""
    own, far = _host(start.node, snapshot), _host(goal.node, snapshot)
    # The station of a node answers whoever holds the key, also when its agent does not reach the API server.
    other = far if far is not None else endpoints.node(goal.on, snapshot) if snapshot.find("Node", goal.on) else None
    if start.port and own is not None and (address := own.address(ipv6)) is not None:
        yield "near", _way(f"{label}.near", start, address, back=True)
    inside = start.port or goal.port or goal.unseen
    if own is not None and other is not None and own.node != other.on and inside:
        if (address := other.address(ipv6)) is not None:
            yield "nodes", _way(f"{label}.nodes", own, address, flows=flows, back=True)
        if start.port and goal.port and (address := goal.address(ipv6)) is not None:
            yield "overlay", _way(f"{label}.overlay", own, address, expected=goal.mtu)
    if goal.port and far is not None and (address := goal.address(ipv6)) is not None:
        yield "far", _way(f"{label}.far", far, address, back=True, expected=goal.mtu)


def _way(
    name: str, start: Endpoint, to: str, *, flows: int = 1, back: bool = False, expected: int = 0
) -> request.PathRequest:
    here = request.Namespace(node=start.node, link=start.port)
    return request.PathRequest(
        name=name, source=here, address=to, flows=flows, both_ways=back, detailed=True, expected=expected
    )


def _host(node: str, snapshot: Snapshot) -> Endpoint | None:
    if not node or snapshot.observation(node) is None:
        return None
    return endpoints.node(node, snapshot)

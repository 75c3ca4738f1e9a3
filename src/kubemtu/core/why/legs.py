"""What is measured to answer for two ends: the whole path, and its parts from where agents stand."""

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
    """One pair of ends over one family, and the paths that are asked for to answer for it, the whole path first.

    `family` is "IPv4" or "IPv6" where the ends share both, else empty.
    """

    source: Endpoint
    destination: Endpoint
    requests: tuple[tuple[Role, request.PathRequest], ...]
    family: str = ""

    def leg(self, role: Role, path_request: request.PathRequest, result: request.PathResult) -> Leg:
        """Return a path that was measured as a leg, with what people call its ends."""
        names = {
            "whole": (self.source.name, self.destination.name),
            "return": (self.destination.name, self.source.name),
            "service": (self.source.name, self.destination.name),
            "near": (self.source.name, self.source.agent_node),
            "nodes": (self.source.agent_node, self.destination.agent_node or self.destination.node),
            "overlay": (self.source.agent_node, self.destination.name),
            "far": (self.destination.agent_node, self.destination.name),
        }[role]
        return Leg(role=role, source=names[0], destination=names[1], result=result, expected=path_request.expected)


def other_ends(start: Endpoint, snapshot: Snapshot) -> list[Endpoint]:
    """Choose ends on other nodes to measure to, when none is named: a pod of each, a probe first; else the node."""
    running = pods.running(snapshot)
    ends: list[Endpoint] = []
    for name in (one.name for one in snapshot.each("Node") if one.name != start.node):
        pods_there = sorted((pod for pod in running if pod.node == name), key=lambda pod: PROBE_APP not in pod.name)
        if start.link and pods_there:
            pod = snapshot.find("Pod", pods_there[0].name, pods_there[0].namespace)
            with contextlib.suppress(errors.UsageError):
                ends += [endpoints.of_pod(pod, snapshot)] if pod is not None else []
        else:
            ends.append(endpoints.node(name, snapshot))
    return ends[:OTHERS]


def endpoint_pairs(
    start: Endpoint, goal: Endpoint, snapshot: Snapshot, name: str, flows: int
) -> Iterator[EndpointPair]:
    """Yield what to measure for one goal; of a Service its endpoints, and its address where a probe is behind it."""
    if goal.kind != "service":
        yield from _pairs(start, goal, snapshot, name, flows)
        return
    if goal.via_node is not None:
        yield from _pairs(start, goal.via_node, snapshot, f"{name}.through", flows)
    first = goal.via_node if goal.via_node is not None and goal.via_node.has_agent else start
    for place, member in enumerate(goal.members):
        if {*member.addresses} != {*first.addresses}:
            yield from _pairs(first, member, snapshot, f"{name}.{place}", flows)
    if PROBE_APP in goal.name and goal.members:
        for address in goal.addresses:
            if start.address(":" in address) is not None:
                path_request = _path_request(f"{name}.service.{address}", start, address, flows=flows)
                yield EndpointPair(source=start, destination=goal, requests=(("service", path_request),))


def limits(start: Endpoint, goal: Endpoint) -> Iterator[str]:
    """Say what cannot be measured of that path, and what is measured instead, a sentence each."""
    if goal.kind != "service":
        return
    if goal.member_count > len(goal.members):
        yield f"{goal.name} has {goal.member_count} endpoints; {len(goal.members)} of them were measured"
    if goal.via_node is not None:
        first = f"from {start.name} to {goal.via_node.name}"
        rest = "there" if goal.via_node.has_agent else start.name
        yield (
            f"nobody behind {goal.name} answers probes, so what the translation does was not measured: the ways "
            f"{first} and from {rest} to the endpoints were"
        )
    elif PROBE_APP not in goal.name and goal.addresses:
        yield (
            f"nobody behind {goal.addresses[0]} answers probes, so its endpoints were measured, which is where its "
            f"packets go; `kubemtu why {start.name} svc/kubemtu/{PROBE_APP}` goes through such an address"
        )


def return_request(pair: EndpointPair) -> tuple[Role, request.PathRequest]:
    """Ask for the whole path from its other end: a policy may let that one's packets pass, and the answers to them."""
    first = pair.requests[0][1]
    address = pair.source.address(":" in first.address)
    assert address is not None
    return "return", _path_request(f"{first.name}.return", pair.destination, address, flows=first.flows, back=True)


def by_tcp(pair: EndpointPair, reports: Mapping[str, request.ProbeReport]) -> EndpointPair | None:
    """Have the whole path measured by the TCP of a host outside; None where no port of it is known.

    It is the port that was named, else one that a connection of the first end stands to, one that hangs first.
    """
    role, path_request = pair.requests[0]
    if role != "whole" or pair.destination.kind != "address":
        return None
    readings = reports[pair.source.agent_node].readings if pair.source.agent_node in reports else ()
    states = [state for look in readings for state in (look.after, look.before) if state is not None]
    connections = [connection for state in states for connection in state.connections]
    standing = [connection for connection in connections if connection.remote == path_request.address]
    standing.sort(key=lambda connection: connection.backoff, reverse=True)
    port = pair.destination.tcp_port or next((connection.remote_port for connection in standing), 0)
    if not port:
        return None
    tcp_request = msgspec.structs.replace(
        path_request, name=f"{path_request.name}.tcp", port=port, tcp_only=True, flows=1, both_ways=False
    )
    return msgspec.structs.replace(pair, requests=((role, tcp_request), *pair.requests[1:]))


def endings(result: request.PathResult | None) -> tuple[str, str]:
    """Say how the measuring of both directions ended, "" where one was not reported."""
    forward, backward = (result.forward, result.backward) if result is not None else (None, None)
    return forward.search.ending if forward is not None else "", backward.search.ending if backward is not None else ""


def incomplete(path_request: request.PathRequest, result: request.PathResult | None) -> bool:
    """Return whether less is known than was asked for, although the other end answers: to be asked again."""
    if result is None or result.protocol != "UDP" or result.verdict.kind == "unreachable" or result.forward is None:
        return False
    forward, backward = endings(result)
    return forward != "exact" or (path_request.both_ways and backward != "exact")


def fuller(old: request.PathResult, new: request.PathResult) -> request.PathResult:
    """Return the result that tells more, the newer one where both tell as much."""
    return new if endings(new).count("exact") >= endings(old).count("exact") else old


def inspected(pairs: Iterable[EndpointPair]) -> list[request.Namespace]:
    """List the namespaces whose own evidence is read: both ends and their nodes."""
    namespaces: list[request.Namespace] = []
    for pair in pairs:
        for end in (pair.source, pair.destination):
            if end.has_agent:
                namespaces += [
                    request.Namespace(node=end.agent_node, link=end.link),
                    request.Namespace(node=end.agent_node),
                ]
    return list(dict.fromkeys(namespaces))


def responders(ends: Iterable[Endpoint]) -> list[request.Namespace]:
    """List the pods among these ends in which a station has to answer; on nodes one always does."""
    return list(
        dict.fromkeys(
            request.Namespace(node=end.agent_node, link=end.link) for end in ends if end.has_agent and end.link
        )
    )


def _pairs(start: Endpoint, goal: Endpoint, snapshot: Snapshot, name: str, flows: int) -> Iterator[EndpointPair]:
    if _sends_more(goal, start):
        start, goal = goal, start
    shared = [ipv6 for ipv6 in (False, True) if start.address(ipv6) is not None and goal.address(ipv6) is not None]
    for ipv6 in shared:
        address = goal.address(ipv6)
        assert address is not None
        label = f"{name}.{6 if ipv6 else 4}"
        # Whoever answers at a node or in a pod can be asked for the way back, whether an agent reports it or not.
        whole = _path_request(f"{label}.whole", start, address, flows=flows, back=goal.kind in {"node", "pod"})
        own = start.address(ipv6)
        sizes = [start.sends(address), goal.sends(own) if own is not None else None]
        if known := [size for size in sizes if size]:
            whole = msgspec.structs.replace(whole, expected=min(known), cap_at_expected=True)
        requests: list[tuple[Role, request.PathRequest]] = [("whole", whole)]
        requests += _parts(label, start, goal, snapshot, ipv6=ipv6, flows=flows)
        family = ("IPv6" if ipv6 else "IPv4") if len(shared) > 1 else ""
        yield EndpointPair(source=start, destination=goal, requests=tuple(requests), family=family)


def _sends_more(endpoint: Endpoint, other: Endpoint) -> bool:
    """Say whether only this end has more than it sends to the other, by its routes: the end to measure from.

    The far end's way back is measured up to what its interface has, which its routes never let out.
    """
    return (
        endpoint.has_agent
        and endpoint.by_destination is not None
        and other.by_destination is not None
        and endpoint.mtu > other.mtu
    )


def _parts(
    name: str, start: Endpoint, goal: Endpoint, snapshot: Snapshot, *, ipv6: bool, flows: int
) -> Iterator[tuple[Role, request.PathRequest]]:
    """Ask for the parts of the path, each from where an agent stands."""
    own_node, far_node = _reporting_node(start.agent_node, snapshot), _reporting_node(goal.agent_node, snapshot)
    # The station of a node answers whoever holds the key, also when its agent does not reach the API server.
    other_node = (
        far_node
        if far_node is not None
        else endpoints.node(goal.node, snapshot)
        if snapshot.find("Node", goal.node)
        else None
    )
    if start.link and own_node is not None and (address := own_node.address(ipv6)) is not None:
        yield "near", _path_request(f"{name}.near", start, address, back=True, expected=start.sends(address) or 0)
    inside = start.link or goal.link or goal.unreported
    if own_node is not None and other_node is not None and own_node.agent_node != other_node.node and inside:
        if (address := other_node.address(ipv6)) is not None:
            yield "nodes", _path_request(f"{name}.nodes", own_node, address, flows=flows, back=True)
        if start.link and goal.link and (address := goal.address(ipv6)) is not None:
            yield "overlay", _path_request(f"{name}.overlay", own_node, address, expected=goal.mtu)
    if goal.link and far_node is not None and (address := goal.address(ipv6)) is not None:
        yield "far", _path_request(f"{name}.far", far_node, address, back=True, expected=goal.mtu)


def _path_request(
    name: str, start: Endpoint, to: str, *, flows: int = 1, back: bool = False, expected: int = 0
) -> request.PathRequest:
    here = request.Namespace(node=start.agent_node, link=start.link)
    return request.PathRequest(
        name=name, source=here, address=to, flows=flows, both_ways=back, detailed=True, expected=expected
    )


def _reporting_node(node: str, snapshot: Snapshot) -> Endpoint | None:
    if not node or snapshot.observation(node) is None:
        return None
    return endpoints.node(node, snapshot)

"""Lay out the pod network of a CNI over the nodes that were observed: each node's path, and what all of them carry."""

import re
from collections.abc import Iterable, Sequence

import msgspec

from kubemtu.core import encap, headers, net
from kubemtu.core.cluster import capacity, clouds, node_files, pods, policy, pools, uplinks, windows
from kubemtu.core.cluster import unfinished as changes
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.cluster.node_files import Rendered
from kubemtu.core.cluster.topology import Layer, Node, Port, Topology, narrowest_path
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot


def model(
    snapshot: Snapshot, state: CniState, nic_mtu: int | None = None, measured: Sequence[policy.Bound] = ()
) -> Topology:
    """Lay out the pod network that `state` describes over the nodes of the snapshot.

    `nic_mtu` is what somebody knows about the path between the nodes and the nodes do not show, and so is what
    MTUPolicy objects say, and what was `measured` just now: they bound every NIC, and stand in where no node was
    observed. Raises UsageError when `nic_mtu` leaves no room for the encapsulation.
    """
    if nic_mtu is not None:
        for one in state.encapsulation:
            one.inner(nic_mtu)
    policies = policy.known(snapshot)
    bounds = (*policies.bounds, *state.bounds, *measured)
    anywhere = policy.smallest(bounds)
    assumed_by = anywhere if anywhere is not None and anywhere.path_mtu < (nic_mtu or encap.LARGEST_MTU + 1) else None
    assumed = assumed_by.path_mtu if assumed_by is not None else nic_mtu
    running = pods.ByNode(snapshot)
    of_cni = pods.cni_pods(snapshot, state.daemonset)
    agents = {pod.node: pod for pod in of_cni}
    runtimes = {found.name: _runtime(found) for found in snapshot.each("Node")}
    told = pools.of(snapshot)
    placed = clouds.of(snapshot)
    nodes = tuple(
        _node(
            seen,
            state,
            running.on(seen.node),
            agents.get(seen.node),
            nic_mtu,
            policy.smallest(bounds, seen.node),
            runtimes.get(seen.node, ""),
            told.get(seen.node, pools.NOTHING),
            placed.get(seen.node),
        )
        for seen in sorted(snapshot.nodes, key=lambda one: one.node)
    )
    ipv6 = state.ipv6 or any(port.ipv6 for node in nodes for port in node.ports)
    foreign = windows.of(snapshot, bounds)
    beyond = windows.beyond(foreign, narrowest_path(nodes, assumed))
    least = capacity.of_pods(state, beyond.path_mtu) if beyond is not None else None
    carries = least if least is not None else _carries(nodes, state, assumed)
    standing, in_force = changes.of(snapshot), changes.held(snapshot)
    observed = {node.name for node in nodes} | {node.name for node in foreign}
    return Topology(
        state=state,
        nodes=nodes,
        silent=tuple(name for found in snapshot.each("Node") if (name := found.name) not in observed),
        windows=foreign,
        listed=sum(1 for _ in snapshot.each("Node")),
        carries=carries,
        recommended=capacity.recommended(carries, state, ipv6=ipv6),
        layers=_layers(nodes, state, assumed, assumed_by, beyond),
        assumed_nic=assumed,
        assumed_by=assumed_by,
        born=_born(nodes, state, nic_mtu),
        offline=snapshot.offline,
        ipv6=ipv6,
        policies=policies,
        unfinished=standing,
        recorded=any(True for _ in snapshot.each(changes.KIND)),
        held_by=in_force,
        held_record=changes.recorded(snapshot, in_force) if in_force else changes.HeldRecord(),
        held_without=changes.left_out(snapshot, in_force) if in_force else (),
        under_way=tuple(one.name for one in standing),
        pod_networks=state.pod_networks or tuple(dict.fromkeys(cidr for one in told.values() for cidr in one.networks)),
        service_networks=snapshot.service_networks,
        api_nodes=told,
        cni_pods=of_cni,
        running=running.count,
        unread=snapshot.unread,
    )


def _node(
    observation: net.NodeObservation,
    state: CniState,
    here: tuple[pods.Pod, ...],
    cni_pod: pods.CniPod | None,
    given: int | None,
    said: policy.Bound | None,
    runtime: str,
    api: pools.ApiNode,
    cloud: clouds.Cloud | None,
) -> Node:
    own = tuple(port for port in observation.ports if _own_port(port, state))
    owners = pods.owners(own, state.ports.prefixes, here)
    elsewhere = {str(pod) for pod in here if pod.elsewhere}
    alike = {link: owners.pop(link) for link in tuple(owners) if owners[link] in elsewhere} if elsewhere else {}
    own = tuple(port for port in own if port.host_link not in alike) if alike else own
    here = tuple(pod for pod in here if not pod.elsewhere) if elsewhere else here
    if len(own) < len(observation.ports):
        observation = msgspec.structs.replace(observation, ports=own)
    known = {str(pod): pod for pod in here} if any(port.inner for port in observation.ports) else {}
    tunnel = observation.link(state.tunnel) if state.tunnel else None
    other = state.other_tunnel
    beside = observation.link(other.device) if other is not None else None
    uplink = uplinks.narrowest(observation, state, tunnel)
    nic_mtu = min(uplink.mtu, uplink.route_mtu or uplink.mtu) if uplink is not None else None
    unseen = pods.unseen(observation, here, owners.values())
    ports = (
        Port(
            at=port,
            pod=owners.get(port.host_link) or _unnamed(port),
            by_route=state.by_route,
            about=known.get(owners.get(port.host_link, "")) if port.inner else None,
        )
        for port in observation.ports
    )
    sizes = [size for size in (nic_mtu, given) if size]
    bound = said if said is not None and said.path_mtu < min(sizes, default=encap.LARGEST_MTU + 1) else None
    path_mtu = bound.path_mtu if bound is not None else min(sizes, default=None)
    return Node(
        name=observation.node,
        seen=observation,
        nic=uplink.device if uplink else "",
        nic_mtu=nic_mtu,
        link_mtu=uplink.mtu if uplink is not None else None,
        path_mtu=path_mtu,
        bound=bound,
        inner=capacity.of_pods(state, path_mtu) if path_mtu is not None else None,
        fits=capacity.inner(_own(state, tunnel), path_mtu) if path_mtu is not None and tunnel is not None else None,
        tunnel=tunnel,
        other_tunnel=beside,
        other_fits=capacity.inner((other.encapsulation,), path_mtu) if other and beside and path_mtu else None,
        bridge=observation.link(state.bridge) if state.bridge else None,
        rendered=_rendered(observation, state, uplink, runtime),
        ports=tuple(sorted(ports, key=_in_order)),  # whatever the kernel's order is, the same is said at every look
        unseen=unseen.pods,
        late=unseen.late,
        cni_pod=cni_pod,
        api=api,
        cloud=cloud,
        elsewhere=tuple(sorted(elsewhere)),
        alike=tuple(sorted((pod, link) for link, pod in alike.items())),
    )


def _unnamed(port: net.PodPort) -> str:
    return f"netns {port.netns}" if port.netns else f"the pod behind {port.host_link}"


def _rendered(
    observation: net.NodeObservation, state: CniState, uplink: net.Uplink | None, runtime: str
) -> Rendered | None:
    found = node_files.of(observation, state.conflist, state.plugin_mtus, runtime=runtime)
    if (born := state.born_by_node.get(observation.node)) is not None:
        return node_files.computed(found, state.conflist, born, state.per_pool)
    if not state.computed_by:
        return found
    named = next((link for name in state.nic_names if (link := observation.link(name)) is not None), None)
    nic = named.mtu if named is not None else uplink.mtu if uplink is not None else None
    computed = nic - state.subtracts if nic is not None and state.subtracts is not None else None
    if state.pod_mtu is not None:
        return node_files.computed(found, state.conflist, state.pod_mtu, f"{state.computed_by}, by its configuration")
    return node_files.computed(
        found, state.conflist, computed, f"{state.computed_by}, the NIC's {nic} less {state.subtracts}"
    )


def _own_port(port: net.PodPort, state: CniState) -> bool:
    """Return False for a port that is not this network's: agents look for those of every CNI, and plans reach none.

    Whose it is otherwise is said of its pod, which is one that is not seen.
    """
    rule = state.ports
    if not rule.names_any or (rule.bridge is not None and port.bridge == rule.bridge):
        return True
    named = bool(rule.prefixes) and port.host_link.startswith(rule.prefixes)
    return named and (port.bridge is None or not port.host_link.startswith(net.ANYBODYS))


def _in_order(port: Port) -> list[tuple[str, int]]:
    """Return what orders pods as people count: web-2 before web-10."""
    return [(text, int(number or 0)) for text, number in re.findall(r"([^0-9]*)([0-9]{0,18})", port.pod)]


def _own(state: CniState, tunnel: net.Link | None) -> tuple[encap.Encapsulation, ...]:
    """Return the encapsulations that this device does; all of them where it cannot be told."""
    other = state.other_tunnel
    if tunnel is None or (tunnel.vxlan is None and other is None):
        return state.encapsulation
    if tunnel.vxlan is None and other is not None:  # what the other one does is not this one's
        return tuple(one for one in state.encapsulation if one != other.encapsulation) or state.encapsulation
    assert tunnel.vxlan is not None
    outer = headers.IPV6 if tunnel.vxlan.ipv6_outer else headers.IPV4
    own = tuple(one for one in state.encapsulation if one.kind == "vxlan" and one.headers[0] == outer)
    return own or state.encapsulation


def _carries(nodes: Iterable[Node], state: CniState, bound: int | None) -> int | None:
    known = [node.inner for node in nodes if node.inner is not None]
    if known:
        return min(known)
    return capacity.of_pods(state, bound) if bound is not None else None


def _born(nodes: Iterable[Node], state: CniState, nic_mtu: int | None) -> int | None:
    if state.pod_mtu is not None or nic_mtu is None or state.subtracts is None or any(node.nic for node in nodes):
        return state.pod_mtu
    return nic_mtu - state.subtracts if nic_mtu > state.subtracts else None


def _layers(
    nodes: tuple[Node, ...],
    state: CniState,
    assumed: int | None,
    by: policy.Bound | None,
    beyond: policy.Bound | None,
) -> tuple[Layer, ...]:
    narrow = narrowest_path(nodes, assumed)
    if beyond is not None:
        narrow, by, nodes = beyond.path_mtu, beyond, ()
    if narrow is None or capacity.of_pods(state, narrow) is None:
        return ()
    costly = max(state.encapsulation, key=lambda one: narrow - one.inner(narrow), default=None)
    there = [node for node in nodes if node.path_mtu == narrow]
    deciding = [node.bound for node in there] or [by]
    name = "NIC" if any(one is None for one in deciding) else "path"
    if there and all(node.routed and node.nic_mtu == narrow for node in there):
        name = "route"
    taken = costly.working(narrow) if costly is not None else ()
    return (
        Layer(name=name, size=narrow),
        *(Layer(name=header.name, size=header.size) for header in taken),
        Layer(name="pod", size=narrow - sum(header.size for header in taken)),
    )


def _runtime(node: Object) -> str:
    said = node.get("status", "nodeInfo", "containerRuntimeVersion")
    return said if isinstance(said, str) else ""

"""Which nodes take part in a live step, and what each should be: the plan's, and those that joined since."""

import ipaddress
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from kubemtu.core import encap, headers, net
from kubemtu.core.change import migration, plan
from kubemtu.core.cluster import reach


def present(
    step: plan.Live,
    observations: Mapping[str, net.NodeObservation],
    networks: Mapping[str, tuple[str, ...]] | None = None,
) -> dict[str, plan.NodeTarget]:
    """Return what each node should be: those of the plan, and those that joined since and are in `observations`.

    A node that joined is treated like the others: its pods were born of the same configuration. `networks` are those of
    each node's pods: where sizes depend on the destination, others send no more to a node that joined than it takes.
    """
    found = {target.node: target for target in step.nodes}
    if not step.nodes:
        return found
    new = [name for name in observations if name not in found and name not in step.without]
    for name in new:
        found[name] = joined(step, observations[name], _own(step, name, networks or {}))
    most = max(target.pod_mtu for target in step.nodes)
    small = [
        net.NetworkMtu(network=network, mtu=mtu)
        for name in new
        if (size := found[name].pod_mtu) < most
        for networks_of, mtu in (
            (found[name].own_networks, size),
            (_addresses(observations[name]), _nic(observations[name]) or size),
        )
        for network in networks_of
    ]
    return {name: _towards(target, small) for name, target in found.items()} if small else found


def _own(step: plan.Live, name: str, networks: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the networks of a node that joined; none where those of the planned nodes show that they come elsewhere.

    A CNI with addresses of its own gives pods none of Node.spec.podCIDRs.
    """
    known = [target for target in step.nodes if target.own_networks]
    alike = all(set(target.own_networks) == set(networks.get(target.node, target.own_networks)) for target in known)
    return networks.get(name, ()) if known and alike else ()


def _addresses(observation: net.NodeObservation) -> list[str]:
    """Return a node's own addresses as networks: what pods send there goes to its NIC, and comes no further either."""
    sources = {ipaddress.ip_address(way.source) for way in observation.uplinks if way.source}
    return sorted(f"{address}/{address.max_prefixlen}" for address in sources)


def _towards(target: plan.NodeTarget, joined: Sequence[net.NetworkMtu]) -> plan.NodeTarget:
    """Return a target with the sizes towards the nodes that joined, where they take less than it sends."""
    known = {one.network for one in target.network_mtus} | set(target.own_networks)
    more = tuple(one for one in joined if one.mtu < target.pod_mtu and one.network not in known)
    return msgspec.structs.replace(target, network_mtus=(*target.network_mtus, *more)) if more else target


def _nic(observation: net.NodeObservation) -> int:
    """Return what the NICs of a node carry towards others, in bytes; 0 where that was not seen."""
    return min((way.mtu for way in observation.uplinks), default=0)


def _pattern(step: plan.Live, observation: net.NodeObservation) -> plan.NodeTarget:
    """Return the target after which that of a node that joined is made: of several sizes, the one that its NIC carries.

    Between two sizes it is the larger, brought down to what the NIC leaves: what is sent to smaller nodes is then less.
    """
    sizes = {target.pod_mtu for target in step.nodes}
    if len(sizes) < 2:
        return step.nodes[0]
    own = _nic(observation) - (step.underlay - max(sizes))
    ordered = sorted(step.nodes, key=lambda target: target.pod_mtu)
    if own <= ordered[0].pod_mtu:
        return ordered[0]
    if own >= ordered[-1].pod_mtu:
        return ordered[-1]
    above = next(target for target in ordered if target.pod_mtu >= own)
    return above if above.pod_mtu == own else _lowered(above, own)


def _lowered(target: plan.NodeTarget, size: int) -> plan.NodeTarget:
    """Return a target whose pods send `size` bytes at most, and to each network no more than before."""
    limits, out = reach.lowered(target.network_mtus, target.default_route_mtu, target.pod_mtu, size)
    return msgspec.structs.replace(target, pod_mtu=size, network_mtus=limits, default_route_mtu=out)


def joined(step: plan.Live, observation: net.NodeObservation, networks: tuple[str, ...] = ()) -> plan.NodeTarget:
    """Return the target of a node that the plan does not know, after the pattern of those that it knows."""
    pattern = _pattern(step, observation)
    origins = Counter(target.origin_mtu for target in step.nodes)
    tunnel = observation.link(pattern.tunnel) if pattern.tunnel else None
    wanted = next((target.tunnel_mtu for target in step.nodes if target.tunnel_mtu is not None), None)
    tunnel_mtu = min(wanted, _room(observation, tunnel)) if wanted is not None and tunnel is not None else None
    bridge = pattern.bridge if pattern.bridge and observation.link(pattern.bridge) is not None else None
    return msgspec.structs.replace(
        pattern,
        node=observation.node,
        ports=msgspec.structs.replace(pattern.ports, without=()),  # which are names of another node's
        origin_mtu=origins.most_common(1)[0][0],
        tunnel=tunnel.name if tunnel is not None else None,
        tunnel_mtu=tunnel_mtu,
        origin_tunnel_mtu=tunnel.mtu if tunnel is not None and tunnel.mtu != tunnel_mtu else pattern.origin_tunnel_mtu,
        bridge=bridge,
        own_networks=networks,
        running=len(observation.ports),
    )


def _room(observation: net.NodeObservation, tunnel: net.Link) -> int:
    """Return the MTU that the device below a tunnel leaves for it; the tunnel's own where that is unknown."""
    lower = observation.link(tunnel.vxlan.lower) if tunnel.vxlan is not None and tunnel.vxlan.lower else None
    if lower is None or tunnel.vxlan is None:
        return tunnel.mtu
    return lower.mtu - encap.vxlan(headers.IPV6 if tunnel.vxlan.ipv6_outer else headers.IPV4).cost


def towards(target: plan.NodeTarget | None, address: str) -> int | None:
    """Return what pods of a node send at most to that address, in bytes: by the longest network around it, else the
    default route; None where neither has a size of its own.
    """
    if target is None or not (target.network_mtus or target.default_route_mtu):
        return None
    to = ipaddress.ip_address(address)
    around = [
        (network.prefixlen, one.mtu)
        for one in target.network_mtus
        if to in (network := ipaddress.ip_network(one.network, strict=False))
    ]
    if around:
        return max(around)[1]
    local = any(to in ipaddress.ip_network(network, strict=False) for network in target.own_networks)
    return None if local else target.default_route_mtu


def desired(
    name: str,
    step: plan.Live,
    target: plan.NodeTarget,
    phase: migration.Phase,
    *,
    epoch: int,
) -> migration.Desired:
    """Return what one node should be in one phase of one live step of the migration `name`."""
    return migration.Desired(
        migration=name,
        phase=phase,
        pin_mtu=step.pin_mtu,
        highest_mtu=step.highest_mtu,
        ports=target.ports,
        pod_mtu=target.pod_mtu,
        origin_mtu=target.origin_mtu,
        device_mtu=target.device_mtu,
        origin_device_mtu=target.origin_device_mtu,
        tunnel=target.tunnel,
        tunnel_mtu=target.tunnel_mtu,
        origin_tunnel_mtu=target.origin_tunnel_mtu,
        bridge=target.bridge,
        pod_networks=target.pod_networks,
        network_mtus=target.network_mtus,
        default_route_mtu=target.default_route_mtu,
        host_mtu=step.host_mtu,
        host_addresses=step.host_addresses,
        restore=step.restore,
        epoch=epoch,
    )

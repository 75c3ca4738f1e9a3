"""Which nodes take part in a live step, and what each should be: the plan's, and those that joined since."""

from collections import Counter
from collections.abc import Mapping

import msgspec

from kubemtu.core import encap, headers, net
from kubemtu.core.change import migration, plan


def present(step: plan.Live, observations: Mapping[str, net.NodeObservation]) -> dict[str, plan.NodeTarget]:
    """Return what each node should be: those of the plan, and those that joined since and are in `observations`.

    A node that joined is treated like the others: its pods were born of the same configuration.
    """
    found = {target.node: target for target in step.nodes}
    if step.nodes:
        for name, observation in observations.items():
            if name not in found and name not in step.without:
                found[name] = joined(step, observation)
    return found


def joined(step: plan.Live, observation: net.NodeObservation) -> plan.NodeTarget:
    """Return the target of a node that the plan does not know, after the pattern of those that it knows."""
    pattern = step.nodes[0]
    origins = Counter(target.origin_mtu for target in step.nodes)
    tunnel = observation.link(pattern.tunnel) if pattern.tunnel else None
    wanted = next((target.tunnel_mtu for target in step.nodes if target.tunnel_mtu is not None), None)
    tunnel_mtu = min(wanted, _room(observation, tunnel)) if wanted is not None and tunnel is not None else None
    bridge = pattern.bridge if pattern.bridge and observation.link(pattern.bridge) is not None else None
    return msgspec.structs.replace(
        pattern,
        node=observation.node,
        origin_mtu=origins.most_common(1)[0][0],
        tunnel=tunnel.name if tunnel is not None else None,
        tunnel_mtu=tunnel_mtu,
        origin_tunnel_mtu=tunnel.mtu if tunnel is not None and tunnel.mtu != tunnel_mtu else pattern.origin_tunnel_mtu,
        bridge=bridge,
        running=len(observation.ports),
    )


def _room(observation: net.NodeObservation, tunnel: net.Link) -> int:
    """Return the MTU that the device below a tunnel leaves for it; the tunnel's own where that is unknown."""
    lower = observation.link(tunnel.vxlan.lower) if tunnel.vxlan is not None and tunnel.vxlan.lower else None
    if lower is None or tunnel.vxlan is None:
        return tunnel.mtu
    return lower.mtu - encap.vxlan(headers.IPV6 if tunnel.vxlan.ipv6_outer else headers.IPV4).cost


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
        host_mtu=step.host_mtu,
        host_addresses=step.host_addresses,
        restore=step.restore,
        epoch=epoch,
    )

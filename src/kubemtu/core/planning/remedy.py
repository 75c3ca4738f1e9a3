"""What to do about a pod network, as one value that every command gives: the pod MTU to lead to, and what it mends.

`check` knows what interfaces and configuration have, `why` and `probe` what arrives. Whoever asks, the answer is made
here from both, so that a tunnel device that was set by hand is put back, and not every pod made as small as it is.
"""

from collections.abc import Iterable

import msgspec

from kubemtu.core import net
from kubemtu.core.cluster import capacity, policy
from kubemtu.core.cluster.topology import Node, Topology
from kubemtu.core.remedy import Cause, Remedy
from kubemtu.core.text.wording import names


def of(topology: Topology, *, between_nodes: int = 0, between_pods: int = 0) -> Remedy:
    """Give the remedy for what interfaces show and, where that was measured, for the largest packets that arrive.

    `between_nodes` counts the packet between nodes, `between_pods` a pod's; 0: not measured, or all of it arrives.
    Nobody is led to an MTU on which no pod can live.
    """
    made = _sized(topology, between_nodes, between_pods)
    suits = made.cause == "none" or made.mtu >= topology.least
    return made if suits else msgspec.structs.replace(made, mtu=0, least=topology.least)


def _sized(topology: Topology, between_nodes: int, between_pods: int) -> Remedy:
    """Return the remedy, whatever its MTU."""
    known = min((node.path_mtu for node in topology.nodes if node.path_mtu is not None), default=topology.assumed_nic)
    recommended = topology.recommended or 0
    if between_nodes and known is not None and between_nodes < known:
        left = capacity.of_pods(topology.state, between_nodes)
        return Remedy(cause="network", mtu=left or 0, path_mtu=between_nodes)
    if topology.carries is None:
        return Remedy(cause="overlay" if between_pods else "none", mtu=between_pods)
    low = [node for node in topology.nodes if _low(node, topology.room(node) or topology.carries)]
    smallest = min((node.tunnel.mtu for node in low if node.tunnel is not None), default=0)
    if between_pods and between_pods < min(recommended, smallest or recommended) and not _apart(topology):
        return Remedy(cause="overlay", mtu=between_pods)
    bound = topology.origin
    by = (bound.path_mtu, str(bound) if bound.reason else "") if bound is not None else (0, "")
    held = [one.pod_mtu for node in topology.nodes if (one := topology.held(node)) is not None]
    made = Remedy(cause="none", mtu=max(held, default=recommended), path_mtu=by[0], stated_by=by[1])
    if low:
        room = min((left for node in low if held and (left := topology.room(node)) is not None), default=made.mtu)
        devices = _devices((node.tunnel, node.name) for node in low)
        return msgspec.structs.replace(made, cause="tunnel", mtu=room, devices=devices)
    if _apart(topology):
        return msgspec.structs.replace(made, cause="veth")
    if apart := [node for node in topology.nodes if _bridge_apart(node)]:
        return msgspec.structs.replace(
            made, cause="bridge", devices=_devices((node.bridge, node.name) for node in apart)
        )
    return msgspec.structs.replace(made, cause=_of_pods(topology, topology.carries, bound))


def _of_pods(topology: Topology, carries: int, bound: policy.Bound | None) -> Cause:
    """Return whether pods or their configuration suit the path, and if not, what that is for."""
    born = {node.born for node in topology.nodes if not (topology.bears(node) or topology.outside(node))}
    judged = {port.shown for node, port in topology.ports if not topology.fits(node, port)}
    sizes = (judged | born | {topology.state.pod_mtu}) - {None}
    if all(size is None or (size <= carries and not topology.wastes(size)) for size in sizes):
        return "none"
    if bound is not None:
        return "network"
    return "nics" if len({node.nic_mtu for node in topology.nodes}) > 1 else "pods"


def _low(node: Node, carries: int) -> bool:
    """Return whether its tunnel device refuses what its pods may send and the path carries."""
    if node.tunnel is None or node.fits is None:
        return False
    largest = max((port.shown or 0 for port in node.ports), default=0)
    return node.tunnel.mtu < min(largest, node.fits, carries)


def _apart(topology: Topology) -> bool:
    return any(port.at.differ for _, port in topology.ports)


def _bridge_apart(node: Node) -> bool:
    """Return whether the bridge of its pods has not what all its ports have."""
    sizes = {port.at.host_mtu for port in node.ports if node.bridge is not None and port.at.bridge == node.bridge.name}
    return node.bridge is not None and len(sizes) == 1 and node.bridge.mtu not in sizes


def _devices(found: Iterable[tuple[net.Link | None, str]]) -> str:
    """Name devices and the nodes that they are on, for a sentence."""
    listed = [(device.name, node) for device, node in found if device is not None]
    return f"{names(dict.fromkeys(device for device, _ in listed))} on {names(node for _, node in listed)}"

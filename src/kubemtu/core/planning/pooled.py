"""A plan by pools of nodes: what pods of each send at most, to anybody, to pods of other pools, out of the cluster."""

from kubemtu.core.change.plan import PoolPlan
from kubemtu.core.cluster.topology import Node, Topology
from kubemtu.core.planning.apart import Apart
from kubemtu.core.text.wording import names

_Key = tuple[str, int | None, int | None, str, int]
"""Pool, what its NICs have, what gets through where that is less, who says so, what its pods may have."""


def of(topology: Topology, apart: Apart) -> tuple[PoolPlan, ...]:
    """Return what the pods of each pool send at most; pools with nodes of several sizes once for each of those."""
    groups: dict[_Key, list[Node]] = {}
    for node in topology.nodes:
        less = (node.path_mtu, node.bounded_by) if node.bounded_by else (None, "")
        groups.setdefault((node.api.pool, node.link_mtu, *less, apart.sizes[node.name]), []).append(node)
    ordered = sorted(groups.items(), key=lambda one: (-one[0][-1], one[0][0]))
    return tuple(
        PoolPlan(
            pool=pool,
            nodes=tuple(node.name for node in nodes),
            nic_mtu=nic,
            pod_mtu=size,
            towards=_towards(size, pool, ordered) if apart.asked.per_node else {},
            default_route_mtu=apart.out(nodes[0].name),
            path_mtu=path,
            path_by=by,
        )
        for (pool, nic, path, by, size), nodes in ordered
    )


def _towards(size: int, own: str, groups: list[tuple[_Key, list[Node]]]) -> dict[str, int]:
    """Return the smallest that is sent towards each pool with less, also towards the smaller nodes of the own one.

    Nodes without a pool are named themselves.
    """
    found: dict[str, int] = {}
    for (pool, _, _, _, other), nodes in groups:
        if other < size:
            name = pool or names(node.name for node in nodes)
            name = f"smaller nodes of {name}" if pool and pool == own else name
            found[name] = min(other, found.get(name, other))
    return found

"""What a cloud documents of its network against what NICs say and pods send: somebody's word, and no measurement."""

from collections.abc import Callable, Iterable, Mapping

from kubemtu.core import codes, errors, networks, places
from kubemtu.core.cluster import clouds
from kubemtu.core.cluster.topology import Node, Port, Topology
from kubemtu.core.codes import Finding
from kubemtu.core.places import NodePlace
from kubemtu.core.text.wording import count, sizes

Groups = Mapping[tuple[clouds.Limit, int], list[Node]]


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report NICs that say more than their cloud documents, and pods that send more than its way out takes (MTU135).

    What a cloud gives its machines by itself is left alone: there TCP agrees with hosts outside on what those take.
    """
    between = () if topology.measured else (*_inside(topology), *_cut(topology))
    return (*between, *_outside(topology))


def _inside(topology: Topology) -> Iterable[Finding]:
    for (limit, mtu), nodes in _grouped(topology, _inside_limit).items():
        largest = _around(topology, max(_between(topology, node) for node in nodes))
        sent = largest > limit.mtu
        says = f"{nodes[0].nic} says {mtu}" if len(nodes) == 1 else f"Their NICs say {mtu}"
        lost = f" Pods here fill packets of {largest}; those above {limit.mtu} may be dropped without an ICMP error."
        unused = " What pods send fits that; the NICs alone would let them have more."
        yield codes.finding(
            codes.MTU135,
            _place(nodes),
            f"{says}, and {limit}. That is somebody's word, not a measurement.{lost if sent else unused}",
            "Measure: `kubemtu check --prove`, or `kubemtu why` between pods of two nodes. If it is so, give the NIC"
            f" {limit.mtu} where it is configured, or say it: `kubemtu plan --nic-mtu {limit.mtu}`.",
            "warning" if sent else "note",
        )


def _cut(topology: Topology) -> Iterable[Finding]:
    """Report outer packets that the cloud's network cuts: a pod's own packet it cuts as well, but a tunnel hides it."""
    if not topology.state.encapsulation:
        return
    for (limit, _), nodes in _grouped(topology, _cut_limit).items():
        largest = _around(topology, max(_between(topology, node) for node in nodes))
        if largest > limit.mtu:
            yield codes.finding(
                codes.MTU135,
                _place(nodes),
                f"Tunnel packets of up to {largest} bytes leave these nodes, and {limit}: each larger one travels as"
                " two, and fragments that come out of order are dropped there. That is its word, not a measurement.",
                "Measure: `kubemtu check --prove`, or `kubemtu why` between pods of two nodes."
                f" `kubemtu plan --nic-mtu {limit.mtu}` leads to pods that stay below it.",
                "note",
            )


def _outside(topology: Topology) -> Iterable[Finding]:
    for (limit, _), nodes in _grouped(topology, _outside_limit).items():
        ports = [port for node in nodes for port in node.ports if _out(port) > limit.mtu]
        if ports:
            largest = max(map(_out, ports))
            yield codes.finding(
                codes.MTU135,
                _place(nodes, "the way out"),
                f"{count(len(ports), 'pod')} here may send up to {largest} bytes to anybody, and {limit}. TCP agrees"
                f" with hosts outside on what those take; other packets of {sizes(limit.mtu + 1, largest)} bytes need"
                " an ICMP error that comes back. That is its word, not a measurement.",
                "Measure the way out: `kubemtu why POD HOST`.",
                "note",
            )


def _grouped(topology: Topology, limit_of: Callable[[Node], clouds.Limit | None]) -> Groups:
    groups: dict[tuple[clouds.Limit, int], list[Node]] = {}
    for node in topology.nodes:
        limit = limit_of(node)
        if limit is not None and node.path_mtu is not None and node.path_mtu > limit.mtu:
            groups.setdefault((limit, node.path_mtu), []).append(node)
    return groups


def _inside_limit(node: Node) -> clouds.Limit | None:
    way = next((way for way in node.seen.uplinks if way.device == node.nic), None)
    if node.cloud is None or way is None:
        return None
    return node.cloud.carries(way, node.seen.link(way.device))


def _cut_limit(node: Node) -> clouds.Limit | None:
    return node.cloud.cuts if node.cloud is not None and _inside_limit(node) is not None else None


def _outside_limit(node: Node) -> clouds.Limit | None:
    """Return what the way out takes, for a node whose NIC was given more than its cloud gives by itself."""
    known = node.cloud
    if known is None or known.usual is None or (node.link_mtu or 0) <= known.usual:
        return None
    return known.outside


def _between(topology: Topology, node: Node) -> int:
    """Return the largest packet that pods of this node send to pods of others, or new pods will."""
    born = node.rendered.gives if node.rendered is not None else topology.born
    sent = [size for port in node.ports if (size := port.sends or port.shown) is not None]
    return max(sent, default=born or 0)


def _around(topology: Topology, mtu: int) -> int:
    """Return the largest packet between nodes that one of `mtu` bytes becomes."""
    if not mtu:
        return 0
    try:
        return topology.state.outer(mtu)
    except errors.UsageError:
        return mtu


def _out(port: Port) -> int:
    """Return the largest packet that a pod sends by its default route, in bytes; 0 where nobody looked."""
    own = port.at.pod_mtu or port.shown or 0
    routed = [route.mtu or own for route in port.at.routes if route.destination in networks.ANYWHERE]
    return min(own, max(routed, default=own))


def _place(nodes: list[Node], what: str = "") -> NodePlace:
    """Return where they are; of one node its NIC is named."""
    listed = (nodes[0].nic if len(nodes) == 1 else "", what)
    return places.on((node.name for node in nodes), ", ".join(filter(None, listed)))

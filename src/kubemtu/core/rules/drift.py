"""What a change that is over left behind."""

from collections.abc import Iterable

from kubemtu.core import codes
from kubemtu.core.findings import Finding
from kubemtu.core.topology import Node, Topology
from kubemtu.core.words import count, names


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report pins that hold senders back although no migration is under way (MTU116)."""
    if topology.under_way:
        return ()
    return tuple(found for node in topology.nodes for found in (*_pods(node), *_routes(node, topology)))


def _pods(node: Node) -> Iterable[Finding]:
    pinned: dict[tuple[int, str], list[str]] = {}
    for port in node.ports:
        locked = [route.mtu for route in port.at.routes if route.locked and route.mtu is not None]
        if locked:
            pinned.setdefault((min(locked), "mtu lock"), []).append(port.pod)
        elif port.at.ipv6_mtu is not None and port.at.ipv6_mtu < port.at.pod_mtu:
            name = f"net.ipv6.conf.{port.at.pod_link}.mtu"
            pinned.setdefault((port.at.ipv6_mtu, name), []).append(port.pod)
    for (mtu, how), pods in pinned.items():
        yield codes.finding(
            codes.MTU116,
            f"node {node.name}, {count(len(pods), 'pod')}: {names(pods)}",
            f"Their routes hold senders at {mtu} ({how}), and no migration is under way. {_cost(how)}",
            _remedy(how),
        )


def _routes(node: Node, topology: Topology) -> Iterable[Finding]:
    ours = {port.at.host_link for port in node.ports}
    ours |= {link.name for link in (node.tunnel, node.bridge) if link is not None}
    pinned = [route for route in node.seen.routes if route.locked and route.mtu is not None and route.device in ours]
    if not pinned:
        return
    mtus = sorted({route.mtu for route in pinned if route.mtu is not None})
    yield codes.finding(
        codes.MTU116,
        f"node {node.name}, {count(len(pinned), 'route')}: {names(route.destination for route in pinned)}",
        f"This node's routes to pods hold it at {names(str(mtu) for mtu in mtus)} (mtu lock), and no migration is "
        f"under way. {_cost('mtu lock')}",
        _remedy("mtu lock"),
    )


def _cost(how: str) -> str:
    if how == "mtu lock":
        return "A locked route also clears DF on TCP and ignores what routers report."
    return "It bounds IPv6 only, until the device's MTU is set again."


def _remedy(how: str) -> str:
    if how == "mtu lock":
        return "Remove the pin: ip route change <route> without `mtu lock`; ip route flush cache."
    return f"Set it again: sysctl -w {how}=<the device's MTU> in the pod's network namespace."

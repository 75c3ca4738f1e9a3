"""What a change that is over left behind."""

from collections.abc import Iterable

from kubemtu.core import codes, net, places
from kubemtu.core.cluster.topology import Node, Topology
from kubemtu.core.codes import Finding
from kubemtu.core.text.wording import count, listed, names

LOCK = "mtu lock"


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report pins that hold senders back although no migration is under way (MTU116).

    Those of the nodes' own traffic stay after a change on purpose, as long as its record is there to take them back.
    """
    if topology.under_way:
        return ()
    kinds = (_pods, _routes) if topology.recorded else (_pods, _routes, _hosts)
    return tuple(found for node in topology.nodes for kind in kinds for found in kind(node, topology))


def _hosts(node: Node, _topology: Topology) -> Iterable[Finding]:
    if node.seen.host_pins:
        yield codes.finding(
            codes.MTU116,
            places.on(node.name, listed("route", node.seen.host_pins)),
            "Routes of kubemtu (protocol 109) hold what this node itself sends there, and no record of the change that "
            f"made them is left.{_written(node)}",
            "On this node: ip route flush proto 109; ip -6 route flush proto 109",
        )


def _pods(node: Node, _topology: Topology) -> Iterable[Finding]:
    pinned: dict[tuple[int, str, str], list[str]] = {}
    for port in node.ports:
        locked = [route for route in port.at.routes if route.locked and route.mtu is not None]
        if locked:
            smallest = min(route.mtu for route in locked if route.mtu is not None)
            pinned.setdefault((smallest, LOCK, _unpin(locked[0])), []).append(port.pod)
        elif port.at.ipv6_mtu is not None and port.at.pod_mtu is not None and port.at.ipv6_mtu < port.at.pod_mtu:
            name = f"net.ipv6.conf.{port.at.pod_link}.mtu"
            undo = f"sysctl -w {name}={port.at.pod_mtu}"
            pinned.setdefault((port.at.ipv6_mtu, name, undo), []).append(port.pod)
    for (mtu, how, undo), pods in pinned.items():
        whose = "A route of this pod holds it" if len(pods) == 1 else "Routes of these pods hold them"
        if how != LOCK:
            whose = "The sysctl holds its IPv6" if len(pods) == 1 else "The sysctl holds their IPv6"
        yield codes.finding(
            codes.MTU116,
            places.on(node.name, listed("pod", pods)),
            f"{whose} at {mtu} ({how}), and no migration is under way. {_cost(how)}{_written(node)}",
            f"In {'the' if len(pods) == 1 else 'each'} pod's network namespace: {undo}",
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
        places.on(node.name, f"{count(len(pinned), 'route')}: {names(route.destination for route in pinned)}"),
        f"This node's routes to pods hold it at {names(str(mtu) for mtu in mtus)} ({LOCK}), and no migration is "
        f"under way. {_cost(LOCK)}{_written(node)}",
        f"On this node{', for each of them' if len(pinned) > 1 else ''}: {_unpin(pinned[0])}",
    )


def _written(node: Node) -> str:
    """Say which change put them there, as far as the node's own journals tell; the record of it is gone."""
    left = [one.name for one in node.seen.journals if not one.ended]
    return f" The node has journals of {names(left)} that have not ended, in /run/kubemtu." if left else ""


def _cost(how: str) -> str:
    if how == LOCK:
        return "A locked route also clears DF on TCP and ignores what routers report."
    return "It bounds IPv6 only, until the device's MTU is set again."


def _unpin(route: net.Route) -> str:
    """Return the command that takes the pin off one route and leaves the rest of it."""
    family = "-6 " if route.family == 6 else ""
    way = f" via {route.gateway}" if route.gateway else ""
    return f"ip {family}route change {route.destination}{way} dev {route.device}; ip {family}route flush cache"

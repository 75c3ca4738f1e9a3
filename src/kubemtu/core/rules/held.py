"""What a change that is in force asks of pods and nodes, held against what they have: MTU132."""

from collections.abc import Collection, Iterable

from kubemtu.core import codes, net
from kubemtu.core.cluster import reach
from kubemtu.core.cluster.topology import Node, Port, Topology
from kubemtu.core.codes import Finding
from kubemtu.core.planning import apart
from kubemtu.core.rules.pods import grouped
from kubemtu.core.text.wording import count, names, sizes


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report nodes that are not in a change in force, and pods that lack what it gives or send too much (MTU132)."""
    if not topology.held_by or topology.under_way:
        return ()
    outside = _outside(topology)
    named = {node.name for node in outside}  # which are told of by themselves
    return (
        *_joined(topology, outside),
        *(one for node in topology.nodes for one in _pods(topology, node, named)),
    )


def _joined(topology: Topology, outside: Iterable[Node]) -> Iterable[Finding]:
    for node in outside:
        fact = (
            f"MTUMigration {topology.held_by} is in force, and this node is not in it: it joined later, or its"
            " NodeMTU was made anew. "
        )
        yield codes.finding(
            codes.MTU132,
            f"node {node.name}",
            f"{fact}Pods born there keep what the configuration gives them{_towards(topology, node)}.",
            _again(topology, "Run"),
            "error" if _reaching(topology, node) else "warning",
        )


def _outside(topology: Topology) -> list[Node]:
    return [node for node in topology.nodes if topology.held(node) is None and node.seen.seen_by == "agent"]


def _towards(topology: Topology, node: Node) -> str:
    found = _reaching(topology, node)
    if not found:
        return ""
    most, takes = max(one.sends for one in found), min(one.takes for one in found)
    return (
        f", and pods of other nodes have no route towards its own ({names(node.api.networks)}) with what it takes:"
        f" packets of {sizes(takes + 1, most)} bytes vanish in front of its NIC, without an ICMP error"
    )


def _reaching(topology: Topology, node: Node) -> list[reach.Excess]:
    return [one for one in topology.apart.values() if one is not None and one.node == node.name]


def _pods(topology: Topology, node: Node, outside: Collection[str]) -> Iterable[Finding]:
    held = topology.held(node)
    if held is None:
        return
    for (lacks, excess), ports in grouped(node.ports, lambda port: _what(topology, node, held, port)).items():
        worst = excess if excess is not None and excess.node not in outside else None
        if not lacks and worst is None:
            continue
        cost = "What it sends fits all the same, and is less than it could be."
        if worst is not None:
            cost = (
                f"Packets of {sizes(worst.takes + 1, worst.sends)} bytes to pods of {worst.node} ({worst.network})"
                " vanish on the way, without an ICMP error."
            )
        if lacks:
            cost += (
                " Its node's agent gives pods what is held at once: where this lasts, something else takes it away, or"
                " the agent does not work."
            )
        yield codes.finding(
            codes.MTU132,
            f"node {node.name}, {count(len(ports), 'pod')}: {names(port.pod for port in ports)}",
            f"MTUMigration {topology.held_by} is in force, and {lacks or 'its sizes do not fit any more'}. {cost}",
            f"See what kubemtu-agent says on {node.name}, then {_again(topology)}" if lacks else _anew(topology),
            "error" if worst is not None else "warning",
        )


def _what(topology: Topology, node: Node, held: net.HeldSizes, port: Port) -> tuple[str, reach.Excess | None]:
    """Say what a pod lacks, empty for nothing, and where it sends too much."""
    excess = topology.apart.get((node.name, port.at.host_link))
    if not port.seen or reach.kept(held, port.at):
        return "", excess
    lacks = reach.missing(port.at, held.network_mtus, held.default_route_mtu)
    if lacks:
        routes = names(f"{one.network} mtu {one.mtu}" for one in lacks)
        return f"{'a route is' if len(lacks) == 1 else 'routes are'} missing here: {routes}", excess
    have = names(str(mtu) for mtu in dict.fromkeys(port.at.ends))
    return f"the ends here have {have} where it gives {held.device_mtu or held.pod_mtu}", excess


def _again(topology: Topology, verb: str = "run") -> str:
    options = apart.in_force(topology).options
    return f"{verb} `kubemtu apply{options}`, which takes this into what is in force."


def _anew(topology: Topology) -> str:
    options = apart.in_force(topology).options
    return f"Take it back with `kubemtu rollback`, then make it anew: `kubemtu apply{options}`."

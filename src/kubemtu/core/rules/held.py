"""What a change that is in force asks of pods and nodes, held against what they have: MTU132."""

from collections.abc import Collection, Iterable, Sequence

from kubemtu.core import codes, net, places
from kubemtu.core.cluster import reach
from kubemtu.core.cluster.topology import Node, Port, Topology
from kubemtu.core.codes import Finding
from kubemtu.core.planning import apart
from kubemtu.core.rules.pods import grouped
from kubemtu.core.text.wording import listed, names, sizes


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report nodes that are not in a change in force, and pods that lack what it gives or send too much (MTU132)."""
    if not topology.held_by or topology.under_way:
        return ()
    outside = [node for node in topology.nodes if topology.outside(node)]
    named = {node.name for node in outside}  # which are told of by themselves
    return (
        *(_outside(topology, node) for node in outside),
        *(one for node in topology.nodes for one in _pods(topology, node, named)),
    )


def _outside(topology: Topology, node: Node) -> Finding:
    """Judge a node that is not in the change by what it has, and by what it would be given."""
    reaching = [one for one in topology.apart.values() if one is not None and one.node == node.name]
    own = [excess for port in node.ports if (excess := topology.apart.get((node.name, port.at.host_link))) is not None]
    above = _born_above(topology, node)
    return codes.finding(
        codes.MTU132,
        places.on(node.name),
        f"MTUMigration {topology.held_by} is in force, and this node is not in it: {_why(topology, node)} Pods born"
        f" there keep what the configuration gives them{above}{_towards(node, reaching)}.{_from(own)}",
        _anew(topology)
        if node.name in topology.held_without or _too_small(topology, node)
        else _again(topology, "Run"),
        "error" if reaching or own or above else "warning",
    )


def _why(topology: Topology, node: Node) -> str:
    if node.name in topology.held_without:
        return "it was left out (`--without`)."
    if _too_small(topology, node):
        return f"its NIC leaves pods {node.inner}, and none of the sizes in force is that small."
    return "it joined later, or its NodeMTU was made anew."


def _too_small(topology: Topology, node: Node) -> bool:
    """Say whether the NIC of a node carries none of the sizes in force."""
    given = any(topology.held(each) is not None for each in topology.nodes)
    return given and node.inner is not None and topology.due(node) is None


def _born_above(topology: Topology, node: Node) -> str:
    """Say what new pods would send too much, and to whom, as it follows "gives them"; empty: nothing."""
    gives = node.rendered.gives if node.rendered is not None else None
    less = [each for each in topology.nodes if each.inner is not None and gives is not None and each.inner < gives]
    if not less:
        return ""
    takes = min(each.inner for each in less if each.inner is not None)
    return f", {gives}, and have no route by which they send {names(each.name for each in less)} only {takes}"


def _towards(node: Node, reaching: Sequence[reach.Excess]) -> str:
    if not reaching:
        return ""
    most, takes = max(one.sends for one in reaching), min(one.takes for one in reaching)
    return (
        f", and pods of other nodes have no route towards its own ({names(node.api.networks)}) with what it takes:"
        f" packets of {sizes(takes + 1, most)} bytes vanish in front of its NIC, without an ICMP error"
    )


def _from(own: Sequence[reach.Excess]) -> str:
    """Say what running pods of a node send too much, as a sentence; empty: nothing."""
    if not own:
        return ""
    worst = max(own, key=lambda one: one.sends - one.takes)
    return (
        f" Packets of {sizes(worst.takes + 1, worst.sends)} bytes that pods there send to those of {worst.node}"
        f" ({worst.network}) vanish on the way, without an ICMP error."
    )


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
            places.on(node.name, listed("pod", [port.pod for port in ports])),
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

"""What could not be read: each in a sentence, and each in a word or two."""

from kubemtu.core.cluster.topology import Node, Topology
from kubemtu.core.rules import windows
from kubemtu.core.snapshot import UNUSED
from kubemtu.core.text.wording import count


def sentences(topology: Topology) -> tuple[str, ...]:
    """Say what could not be read, a sentence each."""
    listed = [f"{entry.what}: {entry.message}" for entry in topology.unread if entry.why != UNUSED]
    said = {entry.what for entry in topology.unread}
    silent = [] if topology.offline else [f"node {name}" for name in topology.silent]
    listed += [f"{one}: not observed" for one in silent if one not in said]
    listed += [f"node {name}: it runs Windows, for which there is no agent" for name in windows.silent(topology)]
    listed += [f"node {node.name}: {trouble}" for node in topology.nodes for trouble in node.seen.errors]
    listed += [
        f"node {node.name}: {_no_configuration(node, topology.state.conflist)}"
        for node in topology.nodes
        if topology.state.conflist and node.rendered is None and not topology.offline
    ]
    return tuple(listed)


def nodes(topology: Topology) -> tuple[str, ...]:
    """Name the nodes whose NICs and pods nobody shows; where no saved file shows any, none is expected there."""
    if not topology.offline:
        return topology.silent
    bare = [node.name for node in topology.nodes if not node.seen.links]
    return (*topology.silent, *bare) if len(bare) < len(topology.nodes) else ()


def own_ends(topology: Topology) -> tuple[str, ...]:
    """Name the pods of which only the host ends were seen, in a few words; empty where there are none."""
    halves = sum(not port.seen for _, port in topology.ports)
    return (f"the own {'end' if halves == 1 else 'ends'} of {count(halves, 'pod')}",) if halves else ()


def unseen_pods(topology: Topology) -> list[str]:
    """Name the nodes of which pods were not seen, with how many."""
    return [f"{count(len(node.unseen), 'pod')} of {node.name}" for node in topology.nodes if node.unseen]


def places(topology: Topology) -> tuple[str, ...]:
    """Name what could not be read, in a word or two each."""
    listed = [entry.what for entry in topology.unread if entry.why != UNUSED]
    listed += [f"node {name}" for name in nodes(topology)]
    listed += [f"node {name} (Windows)" for name in windows.silent(topology)]
    listed += [f"node {node.name}" for node in topology.nodes if node.seen.errors]
    listed += unseen_pods(topology)
    listed += own_ends(topology)
    return tuple(dict.fromkeys(listed)) or sentences(topology)


def _no_configuration(node: Node, path: str) -> str:
    """Say that there is none, where an agent looked; whoever looks from a container has seldom that folder."""
    return f"no CNI configuration at {path}" if node.seen.seen_by == "agent" else f"{path} was not seen"

"""What could not be seen: said as plainly as what was, because a verdict over half a cluster is half a verdict."""

from collections.abc import Iterable

from kubemtu.core import codes, places, rights
from kubemtu.core.cluster.topology import Node, Topology
from kubemtu.core.codes import Finding
from kubemtu.core.rules import missing
from kubemtu.core.text.wording import count, listed, names


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report objects that could not be read (MTU117) and nodes that were not observed (MTU118)."""
    if topology.offline:
        looked_at = any(node.seen.links for node in topology.nodes)  # else nobody expects that a node was
        return (*_broken(topology), *(_of_files(topology) if looked_at else ()))
    return (*_unread(topology), *_silent(topology), *_pods(topology), *_own_ends(topology))


def _broken(topology: Topology) -> Iterable[Finding]:
    for entry in topology.unread:
        if entry.why == "broken":
            yield codes.finding(
                codes.MTU117,
                entry.what,
                f"This document {entry.message.rstrip('.')}. `kubectl apply` refuses it, and nothing in it is judged.",
                "Correct it there, then check again.",
                "error",
            )


def _of_files(topology: Topology) -> Iterable[Finding]:
    """Report what saved outputs of some nodes leave open: other nodes, pods of these, and the own ends of pods."""
    if others := missing.nodes(topology):
        number = len(others)
        yield codes.finding(
            codes.MTU118,
            places.on(others),
            f"Of {count(number, 'node')} no interface is in the files, so the smallest NIC may be there, and nothing is"
            " said about the pods there.",
            "Save what `ip -d -j link` and `ip -j route` print there, too, each file named after its node.",
        )
    yield from (*_pods(topology), *_own_ends(topology))


def _unread(topology: Topology) -> Iterable[Finding]:
    silent = {f"node {name}" for name in topology.silent}
    for entry in topology.unread:
        if entry.why in {"forbidden", "malformed", "unreachable"} and entry.what not in silent:
            yield codes.finding(
                codes.MTU117,
                entry.what,
                f"{entry.message.rstrip('.')}. What is said about the rest may be incomplete.",
                "Allow kubemtu to read it (kubectl auth can-i), then check again."
                if entry.why == "forbidden"
                else "Correct it there, or reach it again, then check once more.",
            )


def _pods(topology: Topology) -> Iterable[Finding]:
    for node in topology.nodes:
        yield from _late(node)
        if overdue := [pod for pod in node.unseen if pod not in node.late]:
            number = len(overdue)
            yield codes.finding(
                codes.MTU118,
                places.on(node.name, listed("pod", overdue)),
                f"{count(number, 'pod')} of {node.name} {'is' if number == 1 else 'are'} not seen: the API says that"
                f" {'it runs' if number == 1 else 'they run'} there, and no interface of {_looked_for(topology)} is"
                f" {'its' if number == 1 else 'theirs'}. What MTU {'it has' if number == 1 else 'they have'} is"
                " unknown, and no change reaches them.",
                "See by `ip -d link` on the node what the pods' interfaces are called; another CNI may have made them.",
            )


def _late(node: Node) -> Iterable[Finding]:
    """Report pods that began too late to have been seen: the next look shows them, or that they are not there."""
    if node.late:
        number = len(node.late)
        yield codes.finding(
            codes.MTU118,
            places.on(node.name, listed("pod", node.late)),
            f"{count(number, 'pod')} of {node.name} {'is' if number == 1 else 'are'} not seen yet:"
            f" {'it' if number == 1 else 'they'} began when the node was looked at last, or later. What MTU"
            f" {'it has' if number == 1 else 'they have'} is unknown.",
            "Check again in a minute: the node has been looked at anew by then.",
        )


def _own_ends(topology: Topology) -> Iterable[Finding]:
    halves = [pair for pair in topology.ports if not pair[1].seen]
    if halves:
        sizes = sorted({port.at.host_mtu for _, port in halves})
        yield codes.finding(
            codes.MTU118,
            places.on(
                (node.name for node, _ in halves),
                f"own {'end' if len(halves) == 1 else 'ends'} of {count(len(halves), 'pod')}",
            ),
            f"Of {count(len(halves), 'pod')} only the host end was seen ({names(map(str, sizes))}), and nobody looked "
            "inside: a pod whose own end has another MTU, or whose routes say less, or that runs containers or virtual "
            "machines larger than itself, cannot be told from a right one.",
            "Save what `ip -all netns exec ip -d addr` prints on the node as well."
            if topology.offline
            else "`kubemtu install` puts an agent on every node, which sees both ends; or look into one: "
            "`kubemtu check --exec-pod NAMESPACE/NAME`",
        )


def _looked_for(topology: Topology) -> str:
    """Return what the pods' interfaces are told by."""
    rule = topology.state.ports
    return f"bridge {rule.bridge}" if rule.bridge else f"a name like {', '.join(f'{each}*' for each in rule.prefixes)}"


def _silent(topology: Topology) -> Iterable[Finding]:
    if topology.silent:
        silent = len(topology.silent)
        hidden = any(entry.what == "nodemtus" and entry.why == "forbidden" for entry in topology.unread)
        yield codes.finding(
            codes.MTU118,
            places.on(topology.silent),
            f"{count(silent, 'node')} of {silent + len(topology.nodes)} told nothing about NICs, tunnels and running "
            "pods, so the smallest NIC may be there, and nothing is said about the pods there.",
            "Allow kubemtu to read what the agents tell (nodemtus), then check again." if hidden else _ways(topology),
        )


def _ways(topology: Topology) -> str:
    """Say what would show the nodes: a flag with the right that it needs, and the agents."""
    silent = {f"node {name}" for name in topology.silent}
    if any(entry.why == "unreachable" and entry.what in silent for entry in topology.unread):
        return "Mend what kept them from being looked at (below), or run the kubemtu agent there (`kubemtu install`)."
    verbs = ", ".join(rights.EXEC.verbs)
    return (
        "`kubemtu check --exec` looks at them by read-only commands in pods that run there (--show-commands lists "
        f'those; the right: {{apiGroups: [""], resources: [{rights.EXEC.resources[0]}], verbs: [{verbs}]}}); '
        "--prometheus URL takes what node_exporter measures of them; --survey makes a short-lived pod on each; "
        "`kubemtu install` runs an agent on every node, which sees the pods' own ends as well."
    )

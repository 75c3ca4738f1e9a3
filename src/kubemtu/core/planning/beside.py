"""What a plan for the pod network leaves alone: networks beside it, and pods whose own network is another."""

from kubemtu.core.cluster.topology import Topology
from kubemtu.core.text.wording import count, names, verb


def remains(topology: Topology) -> tuple[str, ...]:
    """Say which other networks and which pods of another network stay as they are; empty: there are none."""
    said = []
    used = [one for one in topology.beside.attachments if topology.beside.by_network.get(one.key)]
    if used:
        pods = {use.pod for one in used for use in topology.beside.by_network[one.key]}
        said.append(
            f"Networks beside the pod network ({names(one.key for one in used)}), by which {count(len(pods), 'pod')}"
            f" {verb(len(pods), 'send')} as well: no device of theirs is touched."
        )
    apart = [pod for node in topology.nodes for pod in node.elsewhere if pod not in node.alike]
    if apart:
        said.append(
            f"{count(len(apart), 'pod')} whose own network is another one by annotation ({names(apart)}): what is"
            " planned here is not theirs."
        )
    return tuple(said)


def warnings(topology: Topology) -> tuple[str, ...]:
    """Say which pods of another network a live change takes along, because their interfaces are called alike."""
    alike = [pod for node in topology.nodes for pod in node.alike]
    if not alike:
        return ()
    said = (
        f"Of pods with another network of their own by annotation, {names(alike)} {verb(len(alike), 'look')} like the"
        " pod network's, because of how the interface on the node is called: agents know pods by that, so a live change"
        " takes such a pod along. Start it anew afterwards, and it has its own network's MTU again."
    )
    return (said,)

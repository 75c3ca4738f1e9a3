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
    apart = [pod for node in topology.nodes for pod in node.elsewhere]
    if apart:
        said.append(
            f"{count(len(apart), 'pod')} whose own network is another one by annotation ({names(apart)}): what is"
            " planned here is not theirs."
        )
    return tuple(said)


def warnings(topology: Topology) -> tuple[str, ...]:
    """Say which pods of another network look like this one's: a change knows those that were there when it was planned.

    Agents know pods by how their interfaces on the node are called, and no annotation.
    """
    alike = [pod for node in topology.nodes for pod, _ in node.alike]
    if not alike:
        return ()
    said = (
        f"{names(alike)} {'has' if len(alike) == 1 else 'have'} another network of"
        f" {'its' if len(alike) == 1 else 'their'} own by annotation and"
        f" {verb(len(alike), 'look')} like the pod network's: left out by the"
        f" {'name of its interface' if len(alike) == 1 else 'names of their interfaces'}, but such a pod that is born"
        " during the change is changed with the others; start it anew afterwards."
    )
    return (said,)

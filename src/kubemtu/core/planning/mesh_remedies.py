"""What to do about a fault of a mesh, given what is so between the nodes themselves: commands, with their numbers."""

from collections.abc import Sequence

import msgspec

from kubemtu.core.cluster.topology import Topology
from kubemtu.core.mesh import sentences
from kubemtu.core.mesh.faults import Fault
from kubemtu.core.path import verdict
from kubemtu.core.planning import remedy
from kubemtu.core.remedy import Remedy

BESIDE = "; between the nodes themselves all arrives"
BENEATH = (
    "Between the nodes themselves all arrives: if echo passes between pods and UDP does not, which `kubemtu why` tells,"
    " it is a NIC that spoils checksums in a tunnel (`ethtool -K <tunnel device> tx-checksum-ip-generic off`) or a"
    " filter of the overlay's port."
)


def advised(
    fault: Fault,
    layer: str,
    expected: int,
    nodes: Sequence[Fault] | None,
    *,
    mixed: bool = False,
    network: Topology | None = None,
) -> Fault:
    """Return the fault with what to do about it; `layer` is "nodes" or "pods", `nodes` what is at fault between nodes.

    `expected` is what should have arrived, in bytes; `nodes` is None where they were not measured; `mixed`: their NICs
    differ; `network`: the pod network as `check` sees it, None where it is not recognised.
    """
    if not sized(fault):
        beneath = layer == "pods" and nodes is not None and not nodes and fault.kind == "unreachable"
        return msgspec.structs.replace(fault, advice=f"{fault.advice} {BENEATH}") if beneath else fault
    if layer == "nodes":
        until = f"Until then `kubemtu plan --nic-mtu {fault.mtu}` shows the pod MTU that fits."
        if network is not None:
            made = remedy.of(network, between_nodes=fault.mtu)
            fault = msgspec.structs.replace(fault, remedy=made)
            until = _sentence(made) if made.least else until
        return msgspec.structs.replace(fault, advice=f"{fault.advice} {until}")
    below = next((one for one in nodes or () if _same(one, fault)), None)
    if below is not None:
        sentence = f"{fault.sentence}; it follows from the {below.mtu} that arrive between the nodes themselves"
        cause = advised(below, "nodes", 0, None, network=network)
        return msgspec.structs.replace(fault, sentence=sentence, advice=cause.advice, remedy=cause.remedy)
    if mixed and not nodes:
        smallest = (
            "The NICs of the nodes differ, and the smallest decides: `kubemtu plan` shows the pod MTU that fits it."
        )
        return msgspec.structs.replace(fault, advice=smallest)
    if network is not None:
        made = remedy.of(network, between_pods=fault.mtu)
        fault = msgspec.structs.replace(fault, remedy=made)
        if made.least or (made.cause in {"tunnel", "bridge", "pods", "network"} and made.mtu):
            sound = nodes is not None and not nodes
            if fault.where == "everywhere":
                fault = _everywhere(fault, expected, sound=sound)
            elif sound:
                fault = msgspec.structs.replace(fault, sentence=f"{fault.sentence}{BESIDE}")
            return msgspec.structs.replace(fault, advice=_sentence(made))
    if fault.where == "everywhere" and (network is None or fault.mtu >= network.least):
        return _everywhere(fault, expected, sound=nodes is not None and not nodes)
    if nodes is not None and not nodes:
        own = "Between the nodes themselves all arrives: look at the tunnel there and at its pods' interfaces, which "
        return msgspec.structs.replace(fault, advice=f"{own}`kubemtu check` shows.")
    return fault


def _sentence(made: Remedy) -> str:
    return f"{made.words[:1].upper()}{made.words[1:]}."


def _everywhere(fault: Fault, expected: int, *, sound: bool) -> Fault:
    fate = sentences.FATES.get(fault.kind or "", "larger packets do not arrive")
    beside = BESIDE if sound else ""
    return msgspec.structs.replace(
        fault,
        sentence=f"between pods of any two nodes at most {fault.mtu} bytes arrive, not {expected}: {fate}{beside}",
        advice=f"Run `kubemtu plan --mtu {fault.mtu}`: it shows the change to what arrives between pods, and "
        f"`kubemtu apply --mtu {fault.mtu}` makes it, live.",
    )


def sized(fault: Fault) -> bool:
    """Return whether it says how large a packet may be."""
    return fault.kind not in {None, "refused here", *verdict.UNDECIDED} and fault.mtu > 0


def _same(fault: Fault, other: Fault) -> bool:
    return (fault.where, fault.scope, fault.members, fault.others) == (
        other.where,
        other.scope,
        other.members,
        other.others,
    )

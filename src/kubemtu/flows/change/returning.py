"""What comes back with a rollback: a change that made packets smaller may have been made for a path that still is.

Taking back what keeps packets within such a path restores the fault. That is the operator's to decide, and so it is
said before it is done.
"""

from collections.abc import Sequence

from kubemtu.core import errors
from kubemtu.core.change import plan
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import observe
from kubemtu.flows.change import survey
from kubemtu.kube import api as kube_api
from kubemtu.kube import mtu


async def fault(api: kube_api.Api, back: mtu.Migration, steps: Sequence[plan.Step]) -> str:
    """Say what packets are sent again once `steps` have taken a decrease back, in a sentence; empty where none are.

    Where the nodes' own traffic was pinned, a kubelet may hang on it: so what the network carries is measured then.
    """
    first = back.plan.steps[0] if back.plan.steps else None
    undone = any(isinstance(step, plan.Live) and step.restore for step in steps)
    if not undone or not isinstance(first, plan.Live) or not first.relieves:
        return ""
    if first.host_mtu is None:
        return (
            f"Afterwards pods send as much as before the change: where the network carries no more than the "
            f"{first.underlay} bytes that it was made for, the larger packets are lost again."
        )
    lost = (
        "what is larger than that vanishes again, of the nodes themselves too, and a kubelet behind such a path "
        "reports no more as soon as it connects anew"
    )
    try:
        size = _nics(await observe.observe(api))
        carried = await survey.carried(api, size)
    except errors.KubemtuError as unknown:
        return (
            f"What the network between the nodes carries is not known ({unknown}): if it is still {first.host_mtu} "
            f"bytes, {lost}."
        )
    if carried >= size:
        return ""
    return (
        f"Measured: {carried} bytes arrive between all nodes, and their NICs send {size}. The fault is still there, "
        f"and this brings it back: {lost}. Correct the network first, or roll back knowing that."
    )


def _nics(snapshot: Snapshot) -> int:
    """Return the smallest MTU of a NIC towards another node, whatever its routes are pinned to. Raises Surprise."""
    largest = [max(way.mtu for way in node.uplinks) for node in snapshot.nodes if node.uplinks]
    if not largest:
        raise errors.Surprise("no node shows its NIC")
    return min(largest)

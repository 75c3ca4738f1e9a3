"""The pod networks that kubemtu knows, in the order in which they are looked for.

The order matters: canal has Calico's and flannel's signs, and both have signs of their own.
"""

from kubemtu.cni import calico, canal, flannel
from kubemtu.cni.protocol import Cni
from kubemtu.core import cnistate, errors, objects, snapshot

CNIS: dict[str, Cni] = {"canal": canal, "calico": calico, "flannel": flannel}


def recognise(snapshot: snapshot.Snapshot) -> cnistate.CniState:
    """Describe the pod network of a snapshot. Raises NotRecognised, naming what was looked for and what was there."""
    for cni in CNIS.values():
        state = cni.read(snapshot)
        if state is not None:
            return state
    unread = [f"{each.what} ({each.why})" for each in snapshot.unread[:3] if each.why != "absent"]
    not_seen = f" Could not be read: {', '.join(unread)}." if unread else ""
    raise errors.NotRecognised(
        f"No pod network that kubemtu knows was found in {snapshot.source}: neither canal (ConfigMap"
        " kube-system/canal-config or rke2-canal-config) nor Calico (Installation default, or ConfigMap"
        " kube-system/calico-config with DaemonSet calico-node) nor Flannel (ConfigMap kube-flannel-cfg, or k3s's node"
        f" annotations).{not_seen} Other pod networks are not covered yet."
    )


def wants() -> tuple[objects.Want, ...]:
    """Return everything that must be read to recognise and describe any of them, each once."""
    return tuple(dict.fromkeys(want for cni in CNIS.values() for want in cni.WANTS))

"""The pod network of a snapshot: recognised and laid out over the nodes."""

from collections.abc import Sequence

import msgspec

from kubemtu.cni import registry
from kubemtu.core import errors
from kubemtu.core.cluster import layout, policy
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.snapshot import Snapshot


def model(snapshot: Snapshot, nic_mtu: int | None = None, measured: Sequence[policy.Bound] = ()) -> Topology:
    """Recognise the pod network and lay it out; `nic_mtu` in bytes bounds what the NICs say, or stands in for them.

    `measured` is what was found just now of paths that carry less than their interfaces say.

    Raises NotRecognised when no known pod network is there, Forbidden when one may be hidden, UsageError when `nic_mtu`
    leaves no room for a packet.
    """
    state = registry.recognise(snapshot)
    other = registry.irrelevant(state.name)
    unread = tuple(entry for entry in snapshot.unread if entry.what not in other)
    laid_out = layout.model(msgspec.structs.replace(snapshot, unread=unread), state, nic_mtu, measured)
    return msgspec.structs.replace(laid_out, beside=registry.beside(snapshot))


def seen(snapshot: Snapshot) -> Topology | None:
    """Return the topology of a snapshot, or None where its pod network is not recognised."""
    try:
        return model(snapshot)
    except errors.KubemtuError:
        return None

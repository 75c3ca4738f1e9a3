"""What the encapsulation leaves of a path for a pod's packet, and what of it pods should have; all in bytes."""

from collections.abc import Iterable

from kubemtu.core import encap, errors
from kubemtu.core.cluster.cni_state import CniState


def inner(encapsulations: Iterable[encap.Encapsulation], nic_mtu: int) -> int | None:
    """Return what the costliest of the encapsulations leaves of a NIC's MTU; None when it leaves nothing."""
    try:
        left = min((one.inner(nic_mtu) for one in encapsulations), default=nic_mtu)
    except errors.UsageError:
        return None
    return min(left, encap.LARGEST_MTU)


def of_pods(state: CniState, nic_mtu: int) -> int | None:
    """Return what a CNI's encapsulation leaves of a NIC's MTU; None too where the encapsulation is not known."""
    return inner(state.encapsulation, nic_mtu) if state.encapsulation_known else None


def recommended(carries: int | None, state: CniState, *, ipv6: bool) -> int | None:
    """Return what pods should have where the path carries `carries` bytes of theirs: what the CNI means them to.

    None where nothing is known, or where IPv6 could not live on it.
    """
    if carries is None:
        return None
    best = min(carries, state.fixed) if state.fixed is not None else carries
    left = best - state.reserves
    best = state.pod_mtu if state.pod_mtu is not None and left <= state.pod_mtu <= best else left
    return None if ipv6 and best < encap.IPV6_MINIMUM else best

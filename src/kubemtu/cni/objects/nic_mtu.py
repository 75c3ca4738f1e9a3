"""Pod networks whose pods get what a NIC of their node has: no object of the API holds a number that could be changed.

What can be done for them: pods that run, and files that are older than the NICs, are led to what the NICs have.
"""

import msgspec

from kubemtu.core import net
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state
from kubemtu.core.codes import Finding
from kubemtu.core.encap import Encapsulation
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import Object, Ref
from kubemtu.core.snapshot import Snapshot


class FollowedNics(msgspec.Struct, frozen=True, kw_only=True):
    """The MTUs, in bytes, of the NICs that new pods follow; `how` says, as a sentence, what to change."""

    nics: frozenset[int | None]
    how: str
    less: int = 0  # what is taken off them


def nics(snapshot: Snapshot) -> frozenset[int | None]:
    """Return the MTUs of the nodes' ways to each other, None for a node that shows none."""
    return frozenset(min((way.mtu for way in node.uplinks), default=None) for node in snapshot.nodes)


def state(
    snapshot: Snapshot,
    *,
    name: str,
    variant: str,
    source: str,
    how: str,
    conflist: str,
    ports: net.PortRule,
    owner: str,
    findings: list[Finding],
    daemonset: Ref | None = None,
    computed_by: str = "",
    bridge: str | None = None,
    ipv6: bool = False,
) -> cni_state.CniState:
    """Describe such a network where nothing goes around a packet."""
    return cni_state.CniState(
        name=name,
        variant=variant,
        subtracts=0,
        computed_by=computed_by,
        source=source,
        daemonset=daemonset,
        conflist=conflist,
        ports=ports,
        bridge=bridge,
        owner=owner,
        ipv6=ipv6,
        findings=tuple(dict.fromkeys(findings)),
        parsed=FollowedNics(nics=nics(snapshot), how=how),
    )


def within(
    state: cni_state.CniState, around: tuple[Encapsulation, ...], name: str, subtracts: int, reserves: int
) -> cni_state.CniState:
    """Return the same network where something goes around a packet, for which `subtracts` bytes are taken off NICs."""
    found = state.parsed
    assert isinstance(found, FollowedNics)
    return msgspec.structs.replace(
        state,
        encapsulation=around,
        encapsulation_name=name,
        subtracts=subtracts,
        reserves=reserves,
        parsed=msgspec.structs.replace(found, less=subtracts),
    )


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """Return no edit, for there is none; a restart is planned where a node's file is older than its NIC.

    Raises UsageError where new pods would get another MTU than `target` all the same.
    """
    found = state.parsed
    assert isinstance(found, FollowedNics)
    if found.nics == {target + found.less}:
        return ()
    fact = f"No object of the API holds the pods' MTU here, so {target} cannot be given to new ones"
    raise UsageError(f"{fact}: {found.how}")


def dual(snapshot: Snapshot) -> bool:
    """Return whether the nodes' pod networks have IPv6."""
    return any(_has_ipv6(node) for node in snapshot.each("Node"))


def _has_ipv6(node: Object) -> bool:
    listed = node.get("spec", "podCIDRs")
    return isinstance(listed, list) and any(isinstance(cidr, str) and ":" in cidr for cidr in listed)

"""What pods send to whom, where it depends on the destination: by the longest prefix among their own routes.

Where a change is held that made sizes by destination, a pod may have more than the smallest node takes, and be right:
its routes towards that node's pods say less. So each is held against each other node, and not against the smallest.
"""

import functools
from collections.abc import Iterable

import msgspec

from kubemtu.core import encap, net, networks
from kubemtu.core.networks import Network


class FarNode(msgspec.Struct, frozen=True, kw_only=True):
    """Another node: the networks of its pods, and what is left of its NIC for their packets, in bytes."""

    node: str
    networks: tuple[Network, ...]
    takes: int


class Excess(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod sends into the network of another node's pods that does not fit: in bytes of the pod's IP packet."""

    node: str
    network: str
    sends: int
    takes: int


def sends(port: net.PodPort, network: Network) -> int:
    """Return the largest packet that a pod sends into a network, in bytes; where nobody looked into it, its host end's.

    The kernel takes the route with the longest prefix; without any it has no way there, and sends nothing.
    """
    own = port.pod_mtu
    if own is None:
        return port.host_mtu
    best = (-1, 0)
    for route in port.routes:
        to = _network(route.destination, route.family)
        if to is not None and networks.within(network, (to,)):
            best = max(best, (to.prefixlen, own if route.mtu is None else min(own, route.mtu)))
    return min(best[1], port.host_mtu)


def too_much(port: net.PodPort, inner: int, peers: Iterable[FarNode]) -> Excess | None:
    """Return where a pod sends more than its own node (`inner`, in bytes) or the other carries; None: nowhere."""
    largest = min(port.limit or port.host_mtu, port.host_mtu)
    found = [
        Excess(node=peer.node, network=str(network), sends=sent, takes=takes)
        for peer in peers
        if largest > min(inner, peer.takes)
        for network in peer.networks
        if (sent := sends(port, network)) > (takes := min(inner, peer.takes))
    ]
    return max(found, key=lambda one: one.sends - one.takes, default=None)


def kept(held: net.HeldSizes, port: net.PodPort) -> bool:
    """Say whether a pod has what the change that is in force asks of it: its device, and every route."""
    device = held.device_mtu or held.pod_mtu
    if any(mtu != device for mtu in port.ends):
        return False
    if held.device_mtu is not None and port.limit not in {None, held.pod_mtu}:
        return False
    return not missing(port, held.network_mtus, held.default_route_mtu)


def missing(port: net.PodPort, limits: Iterable[net.NetworkMtu], out: int | None) -> tuple[net.NetworkMtu, ...]:
    """Return the routes that a pod lacks, or has with another MTU; a default route by the name that routes give it.

    What the pod has no way to needs none, nor what is on its own link: a pod of one family does not reach the other's
    networks, and one on a bridge has its node's others beside it. A default route with less of its own keeps that: an
    agent only lowers what is not kubemtu's.
    """
    own = port.pod_mtu
    if own is None:
        return ()  # nobody looked into it
    held = {
        (route.family, spelled(route.destination)): min(own, route.mtu or own) for route in port.routes if route.gateway
    }
    linked = {(route.family, spelled(route.destination)) for route in port.routes if not route.gateway}
    gateways = {family for family, destination in held if destination == "default"}
    lacks = [
        each
        for each in limits
        if (key := (networks.family(each.network), spelled(each.network)))[0] in gateways and key not in linked
        if held.get(key) != min(own, each.mtu)
    ]
    own_less = {
        route.family: route.mtu
        for route in port.routes
        if route.gateway and route.mtu is not None and not route.locked and spelled(route.destination) == "default"
    }
    if out is not None:
        lacks += [
            net.NetworkMtu(network="default", mtu=out)
            for family in sorted(gateways)
            if held[family, "default"] != min(own, out) and own_less.get(family, out) >= min(own, out)
            if family == 4 or out >= encap.IPV6_MINIMUM
        ]
    return tuple(lacks)


def lowered(
    limits: Iterable[net.NetworkMtu], out: int | None, size: int, to: int
) -> tuple[tuple[net.NetworkMtu, ...], int | None]:
    """Return the routes that pods of `to` bytes need where those of a larger `size` have these, and their default's.

    What the larger ones send whole, within the cluster, these do too; a route that limits nothing any more is none.
    """
    out = out if out is not None and out < to else None
    listed = tuple(limits)
    whole = (net.NetworkMtu(network=one.network, mtu=to) for one in listed if one.mtu >= size and out is not None)
    return (*whole, *(one for one in listed if one.mtu < to)), out


@functools.lru_cache(8192)  # the same few stand in every pod of thousands
def spelled(destination: str) -> str:
    """Return a destination as all spell it: of one address with its length, of everything as "default"."""
    if destination in networks.ANYWHERE:
        return "default"
    return networks.canonical(destination) or destination


@functools.lru_cache(8192)
def _network(destination: str, family: int) -> Network | None:
    return networks.parsed(destination, family)

"""Tunnels of nodes against each other: what one node sends by its own, and what the NIC of another leaves of it.

    node-1  its own datagrams ── tunnel 8950 ── eth0 9000 ══╗
    node-2  pod 1450 ─────────── tunnel 1450 ── eth0 1500 ══╝  what is larger is dropped here, by nobody who tells

A pod sends what its own interface has. A node, and a pod on its node's network, sends what the tunnel has, or less
where a route into it says so (include/net/ip.h, ip_dst_mtu_maybe_forward). TCP is spared: each end announces what it
takes.
"""

import functools
import itertools
from collections.abc import Iterable, Sequence

import msgspec

from kubemtu.core import net, networks
from kubemtu.core.cluster.topology import Node, Topology
from kubemtu.core.networks import Network


class Overreach(msgspec.Struct, frozen=True, kw_only=True):
    """A node whose tunnel takes packets of up to `sends` bytes, and the nodes that take less, the smallest first.

    `takes` is the most that arrives at all of them, in bytes inside the tunnel. `subnet` is set where they are reached
    past the tunnel, by `device`, the NIC, since all are in it; `certain` is False where that may be and was not seen.
    """

    node: Node
    device: str
    sends: int
    takes: int
    far: tuple[Node, ...]
    subnet: str = ""
    certain: bool = True


class _Tunnels(msgspec.Struct, frozen=True, kw_only=True):
    """The tunnels of all nodes for packets of one family of addresses (None: of both), by their nodes' names."""

    family: int | None
    devices: dict[str, net.Link]
    fits: dict[str, int]


def overreaching(topology: Topology) -> tuple[Overreach, ...]:
    """Return the nodes that send more by a tunnel than some other node's NIC leaves of it, and no route says so.

    What does not even fit the node's own NIC is another fault.
    """
    other = topology.state.other_tunnel
    first = _Tunnels(
        family=None if other is None else 10 - other.family,  # 4 and 6
        devices={node.name: node.tunnel for node in topology.nodes if node.tunnel is not None},
        fits={node.name: node.fits for node in topology.nodes if node.fits is not None},
    )
    past = _past(topology)
    if other is None:
        return (*_of(topology, first), *past)
    second = _Tunnels(
        family=other.family,
        devices={node.name: node.other_tunnel for node in topology.nodes if node.other_tunnel is not None},
        fits={node.name: node.other_fits for node in topology.nodes if node.other_fits is not None},
    )
    return (*_of(topology, first), *_of(topology, second), *past)


def _past(topology: Topology) -> tuple[Overreach, ...]:
    """Return the nodes whose NIC sends more to pods of nodes of their own subnet, past the tunnel, than those take."""
    state, other = topology.state, topology.state.other_tunnel
    of_ipv4 = other.device if other is not None and other.family == 4 else state.tunnel
    subnets = state.subnets if of_ipv4 in state.passed_by else {}
    known = [node for node in topology.nodes if node.path_mtu is not None and node.name in subnets]
    known.sort(key=lambda node: (node.path_mtu, node.name))
    takes = _Tunnels(family=4, devices={}, fits={node.name: node.path_mtu or 0 for node in known})
    smaller: dict[tuple[int, str], tuple[Node, ...]] = {}
    found = []
    for node in sorted(known, key=lambda one: one.name):
        sends, subnet = takes.fits[node.name], subnets[node.name]
        if (sends, subnet) not in smaller:
            less = itertools.takewhile(lambda one: takes.fits[one.name] < sends, known)  # noqa: B023
            smaller[sends, subnet] = tuple(one for one in less if subnets[one.name] == subnet)
        limits = [route for route in node.seen.routes if route.mtu is not None]
        far = smaller[sends, subnet]
        far = tuple(one for one in far if not _bounded(limits, one, takes)) if limits else far
        if far:
            least = takes.fits[far[0].name]
            found.append(Overreach(node=node, device=node.nic, sends=sends, takes=least, far=far, subnet=subnet))
    return tuple(found)


def _of(topology: Topology, tunnels: _Tunnels) -> tuple[Overreach, ...]:
    fits, subnets = tunnels.fits, topology.state.subnets if tunnels.family in {None, 4} else {}
    known = sorted((node for node in topology.nodes if node.name in fits), key=lambda one: (fits[one.name], one.name))
    smaller: dict[int, tuple[Node, ...]] = {}  # thousands of nodes have the same few sizes
    found = []
    for node in topology.nodes:
        device = tunnels.devices.get(node.name)
        if device is None or node.name not in fits:
            continue
        sends = min(device.mtu, fits[node.name])
        if sends not in smaller:
            smaller[sends] = tuple(itertools.takewhile(lambda one: fits[one.name] < sends, known))  # noqa: B023
        limits = [route for route in node.seen.routes if route.mtu is not None]
        far = smaller[sends]
        far = tuple(one for one in far if not _bounded(limits, one, tunnels)) if limits else far
        certain = device.name not in topology.state.passed_by
        if not certain and (own := subnets.get(node.name)):
            far = tuple(one for one in far if subnets.get(one.name) != own)
            certain = all(one.name in subnets for one in far)
        if far:
            least = fits[far[0].name]
            found.append(Overreach(node=node, device=device.name, sends=sends, takes=least, far=far, certain=certain))
    return tuple(found)


def loses(tunnel: net.Link | None) -> bool:
    """Say whether a tunnel whose packets do not fit the NIC loses them, where one over IPv4 has them cut in two.

    IPv6 is cut by its source alone (RFC 8200, section 4.5), and VXLAN does not ask for it: ip6_fragment drops the
    packet, but the route inside learns the size, so that the next one is refused with an ICMP error
    (net/ipv6/ip6_output.c; net/ipv4/ip_tunnel_core.c, skb_tunnel_check_pmtu).
    """
    return tunnel is not None and tunnel.vxlan is not None and tunnel.vxlan.ipv6_outer


def _bounded(limits: Sequence[net.Route], far: Node, tunnels: _Tunnels) -> bool:
    """Say whether routes of a node let no more through to another's pods than that one takes, to all that is known."""
    takes = tunnels.fits[far.name]
    own = [network for one in limits if (one.mtu or 0) <= takes if (network := _parsed(one.destination)) is not None]
    targets = [network for each in _targets(far, tunnels.family) if (network := _parsed(each)) is not None]
    return bool(targets) and all(networks.within(each, own) for each in targets)


def _targets(far: Node, family: int | None) -> Iterable[str]:
    """Yield where packets to a node's pods lead: the networks of the node, else the addresses of its pods."""
    said = far.api.networks or tuple(address for port in far.ports for address in port.at.addresses)
    return (each for each in said if networks.beyond_link(each) and family in {None, networks.family(each)})


@functools.lru_cache(8192)  # the same few are asked for by every node
def _parsed(text: str) -> Network | None:
    """Return a network; None for a default route's, since what leads into a tunnel is more exact than that."""
    return None if text in networks.ANYWHERE else networks.parsed(text, networks.family(text))

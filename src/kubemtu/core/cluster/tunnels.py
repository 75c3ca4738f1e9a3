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

DEFAULTS = frozenset({"default", "0.0.0.0/0", "::/0"})


class Overreach(msgspec.Struct, frozen=True, kw_only=True):
    """A node whose tunnel takes packets of up to `sends` bytes, and the nodes that take less, the smallest first."""

    node: Node
    sends: int
    far: tuple[Node, ...]

    @property
    def takes(self) -> int:
        """The most that arrives at all of them, in bytes inside the tunnel."""
        return self.far[0].fits or 0


def overreaching(topology: Topology) -> tuple[Overreach, ...]:
    """Return the nodes that send more by their tunnel than some other node's NIC leaves of it, and no route says so.

    What does not even fit the node's own NIC is another fault.
    """
    known = [node for node in topology.nodes if node.fits is not None]
    known.sort(key=lambda node: (node.fits, node.name))
    smaller: dict[int, tuple[Node, ...]] = {}  # thousands of nodes have the same few sizes
    found = []
    for node in topology.nodes:
        if node.tunnel is None or node.fits is None:
            continue
        sends = min(node.tunnel.mtu, node.fits)
        if sends not in smaller:
            smaller[sends] = tuple(itertools.takewhile(lambda one: (one.fits or 0) < sends, known))  # noqa: B023
        limits = [route for route in node.seen.routes if route.mtu is not None]
        far = smaller[sends]
        far = tuple(one for one in far if not _bounded(limits, one)) if limits else far
        if far:
            found.append(Overreach(node=node, sends=sends, far=far))
    return tuple(found)


def _bounded(limits: Sequence[net.Route], far: Node) -> bool:
    """Say whether routes of a node let no more through to another's pods than that one takes, to all that is known."""
    takes = far.fits or 0
    own = [network for one in limits if (one.mtu or 0) <= takes if (network := _parsed(one.destination)) is not None]
    targets = [network for each in _targets(far) if (network := _parsed(each)) is not None]
    return bool(targets) and all(networks.within(each, own) for each in targets)


def _targets(far: Node) -> Iterable[str]:
    """Yield where packets to a node's pods lead: the networks of the node, else the addresses of its pods."""
    said = far.api.networks or tuple(address for port in far.ports for address in port.at.addresses)
    return filter(networks.beyond_link, said)


@functools.lru_cache(8192)  # the same few are asked for by every node
def _parsed(text: str) -> Network | None:
    """Return a network; None for a default route's, since what leads into a tunnel is more exact than that."""
    return None if text in DEFAULTS else networks.parsed(text, networks.family(text))

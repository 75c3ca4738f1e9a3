"""Sizes by destination: jumbo among most and less towards the few, the cluster's own networks and the way out apart.

One pod MTU for everybody is the smallest of all; two things it cannot give are both a matter of *routes in the pods*:

- By node: each node's pods get what its own NIC carries. Towards the pod networks of nodes with less, and those nodes'
  own addresses, they have a route with that less. The longest prefix decides (RFC 1812, section 5.2.4.3), in every
  kernel.
- Out of the cluster: the default route says what the way out carries, and the cluster's own networks have a route with
  what the nodes' network carries (cilium/cilium#43072 asks for the two to differ).

What a Service leads to is another node's pod, and a node with less may be behind it: TCP announces what its own end
takes, and the node's own route to that network tells a sender of larger datagrams.
"""

import ipaddress
import itertools
from collections.abc import Sequence

import msgspec

from kubemtu.core import encap, net, networks
from kubemtu.core.change.migration import wider
from kubemtu.core.change.plan import Live, Plan, Step
from kubemtu.core.cluster import capacity, clouds
from kubemtu.core.cluster.topology import Node, Topology
from kubemtu.core.errors import UsageError
from kubemtu.core.text.wording import names

ROUTES_MOST = 5000
"""Routes that a pod may be given; the agents refuse more (core.change.migration)."""

ROUTES_IN_ALL = 40_000
"""Routes of all nodes together: each phase of a change writes them into its NodeMTUs anew, 1.7 MB each time."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for besides a pod MTU: sizes by node, and what goes out of the cluster at most, in bytes.

    `documented`: the latter is what the nodes' cloud documents; `by` is then its word, with the page.
    """

    per_node: bool = False
    egress: int | None = None
    documented: bool = False
    by: str = ""

    def __bool__(self) -> bool:
        return self.per_node or self.egress is not None or self.documented

    @property
    def goes_out(self) -> bool:
        """True when what leaves the cluster is told from what stays in it."""
        return self.egress is not None or self.documented

    def same(self, other: "Asked") -> bool:
        """Say whether the other asks for the same; what a cloud documents is no number yet (`resolved`)."""
        return (self.per_node, self.egress) == (other.per_node, other.egress) and not self.documented

    @property
    def options(self) -> str:
        """The same as options of a command, each with a space before it."""
        said = " --per-node" if self.per_node else ""
        return said + (f" --egress-mtu {self.egress}" if self.egress is not None else "")


class Apart(msgspec.Struct, frozen=True, kw_only=True):
    """What each observed node's pods send at most: to anybody (`sizes`), towards single networks, by default routes."""

    asked: Asked
    least: int
    sizes: dict[str, int]
    limits: dict[str, tuple[net.NetworkMtu, ...]]
    own: dict[str, tuple[str, ...]]
    bound: int | None = None  # what no pod is to exceed, in bytes, where that was asked for

    @property
    def most(self) -> int:
        """The largest size of any node, in bytes."""
        return max(self.sizes.values(), default=self.least)

    @property
    def holds(self) -> bool:
        """True when something of it is not in the pods' own devices, so that the agents must keep it."""
        return any(self.limits.values()) or any(self.out(node) is not None for node in self.sizes)

    def out(self, node: str) -> int | None:
        """Return the MTU of the default routes of a node's pods, in bytes; None: they need none."""
        return _out(self.asked, self.sizes[node])


def in_force(topology: Topology) -> Asked:
    """Return what the change that is in force was asked for; nothing where there is none."""
    held = [one for node in topology.nodes if (one := topology.held(node)) is not None]
    out = [one.default_route_mtu for one in held if one.default_route_mtu is not None]
    by_node = any(each.mtu < one.pod_mtu for one in held for each in one.network_mtus)
    record = topology.held_record  # what each node is asked may be deleted, and the record is not
    return Asked(per_node=record.per_node or by_node, egress=min(out, default=record.egress))


def is_in_force(topology: Topology, asked: Asked, wanted: int | None) -> bool:
    """Say whether this asks for what the change in force was asked for, or for nothing else; `wanted` in bytes."""
    sizes = [one.pod_mtu for node in topology.nodes if (one := topology.held(node)) is not None]
    alike = not asked or asked.same(in_force(topology))
    most = topology.held_record.target or max(sizes, default=None)
    return most is not None and alike and wanted in {None, most}


def gives_in_force(topology: Topology, asked: Asked, aim: int, most: int | None) -> bool:
    """Say whether this gives each node the very sizes that it has by the change in force, or is to have by it.

    A node of which nothing is asked (it joined, its NodeMTU was deleted) is to have what the record was asked for.
    """
    standing, bound = in_force(topology), bound_in_force(topology, in_force(topology))
    held = {node.name: one for node in topology.nodes if (one := topology.held(node)) is not None}
    whole = topology.held_record.target or max((one.pod_mtu for one in held.values()), default=None)
    if whole is None:
        return False
    due = _sizes(topology, standing, aim if standing.per_node else whole, bound)
    have = {name: (one.pod_mtu, one.default_route_mtu) for name, one in held.items()}
    wanted = {name: (size, _out(standing, size)) for name, size in due.items()} | have
    return given(topology, asked, aim, most) == wanted


def given(topology: Topology, asked: Asked, aim: int, most: int | None) -> dict[str, tuple[int, int | None]]:
    """Return what pods of each node send at most, to anybody and by their default routes, in bytes; None: no less."""
    return {name: (size, _out(asked, size)) for name, size in _sizes(topology, asked, aim, most).items()}


def bound_in_force(topology: Topology, asked: Asked) -> int | None:
    """Return what no pod exceeds under the change in force, in bytes; None where nothing but NICs bounds it.

    With sizes by node the record says so; that of an older kubemtu does not, and then it was given as `--mtu` where
    some node's NIC leaves more than any pod has.
    """
    record = topology.held_record
    held = [one.pod_mtu for node in topology.nodes if (one := topology.held(node)) is not None]
    most = max([*held, record.target or 0])
    if asked.per_node and record.most is not None:
        return record.most or None
    if asked.per_node:
        return most if any(_own_size(topology, node, most) > most for node in topology.nodes) else None
    return most if most and (topology.carries is None or most <= topology.carries) else None


def asked_by(planned: Plan) -> Asked:
    """Return what a plan was asked for."""
    out = [pool.default_route_mtu for pool in planned.pools if pool.default_route_mtu is not None]
    by_node = planned.per_node or any(pool.towards for pool in planned.pools)  # an older kubemtu wrote no `perNode`
    return Asked(per_node=by_node, egress=min(out, default=None))


def outgrown(old: Plan, new: Plan) -> str:
    """Say which node a plan that was once made does not suit any more; empty: it suits them all.

    A NIC carries less since, or that of a node that joined leaves less than any size of that plan. Where each node has
    its own size, more is no matter: that node is taken there.
    """
    before, now = (
        {to.node: to.pod_mtu for step in made.steps if isinstance(step, Live) for to in step.nodes}
        for made in (old, new)
    )
    changed = [name for name, size in before.items() if not suits(now.get(name, size), size, per_node=new.per_node)]
    if changed:
        return f"node {changed[0]} leaves pods {now[changed[0]]} now, and {before[changed[0]]} when the change was made"
    least = min(before.values(), default=0)
    below = [name for name, size in now.items() if name not in before and size < least]
    return f"node {below[0]} leaves pods {now[below[0]]}, and the change gives none less than {least}" if below else ""


def suits(now: int, before: int, *, per_node: bool) -> bool:
    """Say whether a change in force that gave a node's pods so much `before` can give them what they may have now."""
    return now == before or (per_node and now > before)


def resolved(topology: Topology, asked: Asked) -> Asked:
    """Return what was asked for, with the number that the nodes' cloud documents of its way out.

    Raises UsageError where no number is known.
    """
    if not asked.documented:
        return asked
    known = clouds.outside(node.cloud for node in topology.nodes)
    if known is None:
        raise UsageError(
            "--egress-mtu auto: what the way out of this cluster carries is not known, because no cloud that documents"
            " it is named by its nodes; give the number, which is 1500 on most ways to the internet"
        )
    return msgspec.structs.replace(asked, documented=False, egress=known.mtu, by=str(known))


def recordable(made: Plan, asked: Asked) -> None:
    """Raise UsageError where the plan names more routes than etcd is to be given in each phase of a change."""
    routes = max(map(_routes, made.steps), default=0)
    if routes > ROUTES_IN_ALL:
        raise UsageError(
            f"{_flags(asked)}: this plan names {routes:,} routes, which each phase of a change writes into the NodeMTUs"
            f" anew, and {ROUTES_IN_ALL:,} are the most that kubemtu gives etcd: give all pods what the smallest NIC"
            " leaves: `kubemtu plan`"
        )


def _routes(step: Step) -> int:
    return sum(len(to.network_mtus) for to in step.nodes) if isinstance(step, Live) else 0


def find(topology: Topology, asked: Asked, aim: int, most: int | None = None) -> Apart:
    """Settle the sizes by destination; `aim` is what suits every node, `most` what no pod is to exceed, in bytes.

    Raises UsageError with a sentence where routes of pods cannot say it: no veths, no network of a node's own.
    """
    if not topology.nodes:
        raise UsageError(
            f"{_flags(asked)} is in the routes of running pods, by their nodes' NICs, and no node was observed: ask a"
            " cluster with agents (`kubemtu install`), or a snapshot of one"
        )
    if not topology.state.ports.names_any:
        raise UsageError(
            f"{_flags(asked)}: pods of {topology.state.said} do not hang on veths of their nodes, so their routes are"
            " not kubemtu's to change"
        )
    if asked.egress is not None:
        _egress(topology, asked.egress)
    sizes = _sizes(topology, asked, aim, most)
    if len({*sizes.values()}) > 1:
        _by_node(topology)
    known = topology.api_nodes
    towards = _towards(topology, sizes, aim) if asked.per_node else {}
    own = {name: known[name].networks if name in known else () for name in sizes}
    found = Apart(asked=asked, least=aim, sizes=sizes, limits={}, own=own, bound=most)
    inside = _inside(topology) if asked.egress is not None else ()
    by_size: dict[int, tuple[net.NetworkMtu, ...]] = {}  # nodes of one size need the same: thousands share a tuple
    for name, size in sizes.items():
        if size not in by_size:
            by_size[size] = _limits(size, towards, inside, found.out(name))
    limits = {name: by_size[size] for name, size in sizes.items()}
    largest = max(map(len, limits.values()), default=0)
    if largest > ROUTES_MOST:
        raise UsageError(
            f"{_flags(asked)}: pods would need {largest:,} routes each, and {ROUTES_MOST:,} are the most: give all pods"
            f" {aim} (`kubemtu plan`)"
        )
    for network in (one.network for listed in by_size.values() for one in listed):
        if wider(ipaddress.ip_network(network)):
            raise UsageError(
                f"{_flags(asked)}: {network} is no network of one cluster's pods, it holds the addresses of others too,"
                f" and agents refuse a route to it: correct spec.podCIDRs of the Nodes, or give all pods {aim}"
            )
    return msgspec.structs.replace(found, limits=limits)


def _sizes(topology: Topology, asked: Asked, aim: int, most: int | None) -> dict[str, int]:
    """Return what the pods of each node send to anybody at most, in bytes."""
    if not asked.per_node:
        return dict.fromkeys((node.name for node in topology.nodes), aim)
    return {node.name: min(_own_size(topology, node, aim), most or encap.LARGEST_MTU) for node in topology.nodes}


def _out(asked: Asked, size: int) -> int | None:
    """Return the MTU of the default routes of pods of that size, in bytes; None: they need none."""
    return asked.egress if asked.egress is not None and asked.egress < size else None


def _own_size(topology: Topology, node: Node, aim: int) -> int:
    """Return what a node's own NIC leaves for its pods; what suits every node where that is not known."""
    return max(capacity.recommended(node.inner, topology.state, ipv6=topology.ipv6) or aim, aim)


def _egress(topology: Topology, size: int) -> None:
    least = topology.least
    if size < least:
        raise UsageError(f"--egress-mtu {size} is less than {least}, which every way out of a cluster must carry")
    if size > encap.LARGEST_MTU:
        raise UsageError(f"--egress-mtu {size} is more than {encap.LARGEST_MTU}, the largest that a packet can be")
    if not topology.pod_networks:
        raise UsageError(
            "--egress-mtu: which networks are the cluster's own is not known (no podCIDRs of nodes, none in the"
            f" configuration of {topology.state.said}), so what leaves it cannot be told from what stays"
        )


def _by_node(topology: Topology) -> None:
    """Refuse where a node's pods have other addresses than the API says: no route could tell its pods from others'."""
    without = [name for name, node in topology.api_nodes.items() if not node.networks]
    if without or not topology.api_nodes:
        raise UsageError(
            f"--per-node: which addresses the pods of {names(without) or 'each node'} have is not known (no"
            " spec.podCIDRs of the Node), so no route leads to its pods alone; give all pods what the smallest NIC"
            " leaves: `kubemtu plan`"
        )
    _each_its_own(topology)
    for node, port in topology.ports:
        own = [ipaddress.ip_network(one) for one in node.api.networks]
        for address in port.at.addresses:
            found = ipaddress.ip_address(address)
            if not found.is_link_local and not any(found in network for network in own):
                raise UsageError(
                    f"--per-node: {port.pod} on {node.name} has {address}, which is outside of spec.podCIDRs of its"
                    f" Node ({names(node.api.networks)}): {topology.state.said} gives addresses in another way, and"
                    " no route leads to one node's pods alone; give all pods what the smallest NIC leaves: `kubemtu"
                    " plan`"
                )


def _each_its_own(topology: Topology) -> None:
    """Refuse where the networks of two nodes overlap: a route to the one's pods would lead to the other's, too."""
    every = [(ipaddress.ip_network(one), name) for name, node in topology.api_nodes.items() for one in node.networks]
    # In this order the widest that a network may lie in comes right before it, or before others that lie in that.
    every.sort(key=lambda each: (each[0].version, int(each[0].network_address), each[0].prefixlen))
    for (around, owner), (network, other) in itertools.pairwise(every):
        if owner != other and network.version == around.version and network.network_address in around:
            raise UsageError(
                f"--per-node: spec.podCIDRs of {owner} ({around}) and of {other} ({network}) overlap, so no route leads"
                " to one node's pods alone; correct them there, or give all pods what the smallest NIC leaves: `kubemtu"
                " plan`"
            )


def _towards(topology: Topology, sizes: dict[str, int], aim: int) -> dict[str, list[tuple[str, int]]]:
    """Return, by node, the networks that lead to it and what is sent there at most: of its pods, and of itself."""
    nics = {node.name: node.path_mtu for node in topology.nodes}
    found = {}
    for name, node in topology.api_nodes.items():
        size = sizes.get(name, aim)  # a node that nobody sees may be one with the least
        found[name] = [(network, size) for network in node.networks]
        hosts = filter(None, map(networks.canonical, node.addresses))
        found[name] += [(host, nics.get(name) or size) for host in hosts]
    return found


def _limits(
    size: int, towards: dict[str, list[tuple[str, int]]], inside: Sequence[str], out: int | None
) -> tuple[net.NetworkMtu, ...]:
    """Return the routes that pods of `size` bytes need; what the default route's own MTU says already needs none."""
    less = {network: mtu for listed in towards.values() for network, mtu in listed if mtu < size}
    if out is None:
        return tuple(net.NetworkMtu(network=network, mtu=mtu) for network, mtu in less.items())
    around = [ipaddress.ip_network(network) for network in inside]
    found = dict.fromkeys(inside, size)
    found |= {
        network: mtu
        for network, mtu in less.items()
        if mtu < out or networks.within(ipaddress.ip_network(network), around)
    }
    return tuple(net.NetworkMtu(network=network, mtu=mtu) for network, mtu in found.items())


def _inside(topology: Topology) -> tuple[str, ...]:
    """Return the cluster's own networks, as few as can be: of its pods and, where they are known, of its Services.

    A configuration may say one family alone; of the other it is what the nodes have.
    """
    listed = [ipaddress.ip_network(one, strict=False) for one in (*topology.pod_networks, *topology.service_networks)]
    said = {ipaddress.ip_network(one, strict=False).version for one in topology.pod_networks}
    of_nodes = [ipaddress.ip_network(one) for node in topology.api_nodes.values() for one in node.networks]
    listed += [one for one in of_nodes if one.version not in said]
    four = ipaddress.collapse_addresses(one for one in listed if isinstance(one, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(one for one in listed if isinstance(one, ipaddress.IPv6Network))
    return tuple(map(str, (*four, *six)))


def _flags(asked: Asked) -> str:
    return asked.options.strip().partition(" --egress")[0] if asked.per_node else f"--egress-mtu {asked.egress}"

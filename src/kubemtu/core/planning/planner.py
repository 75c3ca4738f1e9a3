"""From what is so to what shall be: the number, and the steps that lead there in an order that loses no packet.

New pods are born from the configuration while running pods are changed, so the order of the two depends on the way:

- Down: every sender is pinned first, which ends the losses at once and is safe at any time, however long the rest
  takes; then the configuration, so that no pod is born larger than what the others shrink to; then the devices.
  A pod that is born in between is born large, and pinned by its node's agent like the others.
- Up: the running pods and the devices under them first; the configuration last, so that no pod is born larger than what
  the others can take. A pod born meanwhile is small, which harms nobody; its node's agent raises it as well.

Where some pods are above the target and some below it, the way is down: only sizes above the target lose packets.
"""

from collections.abc import Iterable, Sequence

import msgspec

from kubemtu.core import codes, encap, net
from kubemtu.core.change.plan import EditValue, Live, NodeTarget, Plan, Rollout, Step
from kubemtu.core.cluster import reach
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.cluster.node_files import Rendered
from kubemtu.core.cluster.topology import Node, Port, Topology
from kubemtu.core.errors import UsageError
from kubemtu.core.planning import notes, pooled
from kubemtu.core.planning.apart import Apart
from kubemtu.core.text.wording import names

RELIEF = "nothing that is too large is sent from then on"


def target(topology: Topology, wanted: int | None) -> int:
    """Settle the pod MTU, in bytes: what was asked for, or what the path carries.

    Raises UsageError when it does not fit the path, is too small for IP, or cannot be known.
    """
    least, needed = topology.least, encap.NEEDS[topology.least]
    if topology.carries is not None and topology.carries < least:
        raise UsageError(
            f"no pod MTU suits this cluster: {_why(topology)}, and {needed}; "
            f"{'see whether that number is right' if _given(topology) else 'raise the NICs first'}"
        )
    if wanted is None:
        return _automatic(topology, least, needed)
    if topology.carries is not None and wanted > topology.carries:
        raise UsageError(f"an MTU of {wanted} does not fit: {_why(topology)}; give --mtu {topology.carries} or less")
    if wanted < least:
        without = "would take IPv6 off every pod, for good" if topology.ipv6 else "is too small"
        raise UsageError(f"an MTU of {wanted} {without}: {needed}; give --mtu {least} or more")
    return wanted


def _automatic(topology: Topology, least: int, needed: str) -> int:
    if topology.recommended is not None and topology.recommended >= least:
        return topology.recommended
    if topology.carries is not None:
        held = f"{topology.state.fixed_by} holds the tunnel at {topology.state.fixed}"
        raise UsageError(f"no pod MTU suits this cluster: {held}, and {needed}; change it there first")
    if not topology.state.encapsulation_known:
        raise UsageError(
            "the right MTU cannot be told, because the encapsulation between nodes could not be read (`kubemtu check` "
            "says what is missing): give --mtu N for the pods"
        )
    raise UsageError(
        "the right MTU cannot be told, because no node's NIC was seen: give --mtu N for the pods, or --nic-mtu N for "
        "the smallest NIC between the nodes"
    )


def _given(topology: Topology) -> bool:
    """Return whether the path is narrower than any NIC that was seen: somebody says so."""
    narrow = topology.narrowest
    return narrow is None or narrow.path_mtu != narrow.nic_mtu or topology.beyond is not None


def _why(topology: Topology) -> str:
    cost = topology.state.cost
    narrow = topology.narrowest
    taken = f", of which {topology.state.encapsulation_name} takes {cost} and leaves {topology.carries}" if cost else ""
    if topology.origin is not None:
        return f"the path between nodes carries {topology.origin.path_mtu}, as {topology.origin.says} says{taken}"
    if narrow is None or _given(topology):
        given = narrow.path_mtu if narrow is not None else topology.assumed_nic
        return f"the path between nodes carries {given} bytes, as was given{taken}"
    if narrow.routed:
        return f"the route of node {narrow.name} to the others lets {narrow.path_mtu} bytes through{taken}"
    where = f" ({narrow.nic} of node {narrow.name})" if narrow.nic else ""
    return f"the smallest NIC between the nodes has {narrow.path_mtu} bytes{where}{taken}"


def make(
    topology: Topology,
    aim: int,
    steps: Sequence[EditValue | Rollout],
    after: CniState | None = None,
    apart: Apart | None = None,
) -> Plan:
    """Put the steps that lead to pods of `aim` bytes in order; where sizes are `apart`, new pods get `aim`.

    `steps` are the CNI's own (edits, then the restart), `after` is what it would say of itself once they are done.
    What is already as it should be gets no step, so that a plan of nothing is empty.
    """
    config = _config(topology, aim, steps) if apart is None or not follows_nics(topology, apart) else ()
    live = _live(topology, aim, after, apart)
    ordered: tuple[Step, ...] = (*live, *config)
    if live and _shrinks(topology, aim, apart, born=bool(config) or apart is None):
        pins, devices = live[0].halves()
        ordered = (msgspec.structs.replace(pins, why=RELIEF), *config, devices)
    return Plan(
        cni=topology.state.name,
        target=apart.most if apart is not None else aim,
        least=aim if apart is not None and apart.most != aim else None,
        current=_current(topology),
        steps=ordered,
        remains=notes.remains(topology, aim, after, apart) if ordered else (),
        warnings=(*notes.kept_by(topology, ordered), *notes.warnings(topology, aim, live, after, apart))
        if ordered
        else (),
        pools=pooled.of(topology, apart) if apart is not None and ordered else (),
        per_node=apart is not None and apart.asked.per_node,
        most=(apart.bound or 0) if apart is not None and apart.asked.per_node else None,
    )


def follows_nics(topology: Topology, apart: Apart) -> bool:
    """Say whether every node gives new pods what its own NIC leaves: by itself, or because it is configured apart."""
    born = {node.name: node.born for node in topology.nodes}
    own = topology.state.pod_mtu is None or bool(topology.state.born_by_node)
    return own and not topology.silent and bool(born) and born == apart.sizes


def _shrinks(topology: Topology, aim: int, apart: Apart | None, *, born: bool) -> bool:
    """Say whether some pod has more than it shall have, or would be born with more."""
    if apart is None:
        return _largest(topology) > aim
    running = [(node.name, mtu) for node, port in topology.ports for mtu in _having(port)]
    above = any(mtu > apart.sizes[name] for name, mtu in running)
    return above or (born and _largest_born(topology) > aim)


def _current(topology: Topology) -> int | None:
    usual = [node.usual for node in topology.nodes if node.usual is not None]
    if usual:
        return max(usual, key=lambda mtu: (usual.count(mtu), mtu))
    return topology.born


def _largest(topology: Topology) -> int:
    running = [mtu for _, port in topology.ports for mtu in _having(port)]
    return max([*running, _largest_born(topology)])


def _largest_born(topology: Topology) -> int:
    return max([*(node.born or 0 for node in topology.nodes), topology.born or 0])


def _having(port: Port) -> list[int]:
    """Return what limits what a pod sends: its routes, where the CNI limits by them, else both its ends."""
    return [mtu for mtu in ((port.mtu,) if port.by_route else port.at.ends) if mtu is not None]


def _config(topology: Topology, aim: int, steps: Sequence[EditValue | Rollout]) -> tuple[Step, ...]:
    """Return the CNI's steps that are needed: a restart only where something changes, or a node did not follow yet."""
    edits = [step for step in steps if isinstance(step, EditValue) and step.before != step.after]
    if _by_itself(topology, aim):
        lost = [found.place for found in topology.state.findings if found.code == codes.MTU108.code]
        edits = [
            edit
            for edit in edits
            if edit.before is None and (edit.after == "" or any(each.endswith(f"key {edit.path[-1]}") for each in lost))
        ]
    if not edits and all(node.born in {None, aim} for node in topology.nodes):
        return ()
    rollouts = [step for step in steps if isinstance(step, Rollout)]
    behind = [
        node.name for node in topology.nodes if node.rendered is not None and _own(node.rendered) not in {None, aim}
    ]
    agent = topology.state.daemonset
    if not edits and behind and agent is not None and agent not in {step.ref for step in rollouts}:
        literal = topology.state.conflist_mtu is not None
        rollouts.insert(
            0,
            Rollout(
                ref=agent,
                why=f"the configuration says {aim} already, and {names(behind)} did not follow",
                conflist=topology.state.conflist if literal else None,
                mtu=aim if literal else None,
            ),
        )
    return (*edits, *(_remembering(step, topology) for step in rollouts))


def _remembering(step: Rollout, topology: Topology) -> Rollout:
    """Return the restart, with what the nodes hold before it: in their CNI's own file, or in one that copies it.

    Where that is not what is configured, a restart on the way back does not bring it, and nobody knows what it brings.
    """
    taken = [node.rendered.taken for node in topology.nodes if node.rendered is not None]
    held = {one.literal for one in taken if one is not None and one.path == step.conflist}
    held = held or {node.rendered.literal for node in topology.nodes if node.rendered is not None}
    followed = topology.state.conflist_mtu is None or held == {topology.state.conflist_mtu}
    return msgspec.structs.replace(step, held=tuple(sorted(held, key=lambda mtu: mtu or 0)) if followed else ())


def _own(rendered: Rendered) -> int | None:
    """Return what the CNI's own file gives new pods, also where the runtime takes another."""
    return rendered.gives if rendered.taken is None else rendered.own


def _by_itself(topology: Topology, aim: int) -> bool:
    """Return True when nothing is configured and every node gives its pods that MTU all the same: then let it be."""
    if {codes.MTU112.code, codes.MTU122.code} & {found.code for found in topology.state.findings}:
        return False  # something is configured, and no node could be given it
    if not topology.nodes and topology.state.pod_mtu is None and topology.born == aim:
        return True
    # What the CNI finds by itself may be known, too: then no key says it.
    found = topology.state.pod_mtu == aim and bool(topology.state.mtu_keys)
    automatic = found and all(key.value is None for key in topology.state.mtu_keys)
    unset = topology.state.pod_mtu is None or automatic
    return unset and not topology.silent and {node.born for node in topology.nodes} == {aim}


def _live(topology: Topology, aim: int, after: CniState | None, apart: Apart | None) -> tuple[Live, ...]:
    devices_get = (after or topology.state).device_mtu
    targets = tuple(_node_target(topology, node, aim, devices_get, apart) for node in topology.nodes)
    devices = [size for node, to in _paired(topology, targets) for size in _devices(node, to)]
    moved = any(old != new for old, new in devices) and not _only_spare(topology, devices, targets)
    if not moved and not any(to.changing for to in targets):
        return ()
    sizes = [size for pair in devices for size in pair]
    most = max([aim, *(to.pod_mtu for to in targets)])
    return (
        Live(
            nodes=targets,
            pin_mtu=min([aim, *sizes]),
            highest_mtu=max([most, *sizes]),
            underlay=topology.state.outer(most),
            why="a pod keeps the MTU that it was born with",
            hold=apart is not None and apart.holds,
        ),
    )


def _paired(topology: Topology, targets: Sequence[NodeTarget]) -> Iterable[tuple[Node, NodeTarget]]:
    return zip(topology.nodes, targets, strict=True)


def _routed(port: Port, to: NodeTarget) -> bool:
    """Say whether a pod has the routes of its node's target; what nobody looked into is not taken to have them."""
    if not port.seen and (to.network_mtus or to.default_route_mtu is not None):
        return False
    return not reach.missing(port.at, to.network_mtus, to.default_route_mtu)


def _only_spare(topology: Topology, devices: Sequence[tuple[int, int]], targets: Sequence[NodeTarget]) -> bool:
    """Return True when nothing but tunnel devices would change, and each of those only has room that no pod uses.

    What a tunnel has beyond what the configuration gives it is no such room: it is left from before.
    """
    configured = topology.state.tunnel_mtu or encap.LARGEST_MTU
    spare = [
        (node.tunnel.mtu, to.tunnel_mtu)
        for node, to in _paired(topology, targets)
        if node.tunnel is not None and to.tunnel_mtu is not None and node.fits is not None
        if to.tunnel_mtu < node.tunnel.mtu <= min(node.fits, configured)
    ]
    return sum(old != new for old, new in devices) == len(spare)


def _node_target(topology: Topology, node: Node, aim: int, devices_get: int | None, apart: Apart | None) -> NodeTarget:
    aim = apart.sizes[node.name] if apart is not None else aim
    tunnel = node.tunnel.mtu if node.tunnel is not None else None
    bounded = min(aim, node.fits) if node.fits is not None else aim
    device = _device(topology, node, aim, devices_get)
    made = NodeTarget(
        node=node.name,
        ports=_ports(topology, node),
        pod_mtu=aim,
        device_mtu=device,
        origin_device_mtu=(node.usual_device or device) if device is not None else None,
        origin_mtu=node.usual or node.born or topology.state.pod_mtu or aim,
        tunnel=node.tunnel.name if node.tunnel is not None else None,
        tunnel_mtu=bounded if tunnel is not None and tunnel != bounded else None,
        origin_tunnel_mtu=tunnel if tunnel != bounded else None,
        bridge=node.bridge.name if node.bridge is not None else None,
        pod_networks=topology.pod_networks,
        running=len(node.ports),
    )
    if apart is not None:
        made = msgspec.structs.replace(
            made,
            network_mtus=apart.limits[node.name],
            default_route_mtu=apart.out(node.name),
            own_networks=apart.own[node.name],
        )
    changing = sum(any(old != new for old, new in _sizes(port, made)) or not _routed(port, made) for port in node.ports)
    return msgspec.structs.replace(made, changing=changing)


def _ports(topology: Topology, node: Node) -> net.PortRule:
    """Return which veths are the pod network's here: not those of pods that have another network of their own."""
    rule = topology.state.ports
    return msgspec.structs.replace(rule, without=tuple(link for _, link in node.alike)) if node.alike else rule


def _device(topology: Topology, node: Node, aim: int, gets: int | None) -> int | None:
    """Return what pods' devices have where routes limit what they send, and never less than those; None: the same.

    `gets` is what the CNI gives them by itself once it is configured anew, in bytes; None: it leaves them alone.
    """
    if not topology.state.by_route:
        return None
    return max(aim, gets or node.usual_device or node.link_mtu or aim)


def _sizes(port: Port, to: NodeTarget) -> list[tuple[int, int]]:
    """Return what one pod's devices have and get, and what its routes do where they limit it; devices that stay not."""
    ends = [(mtu, to.pod_mtu if to.device_mtu is None else to.device_mtu) for mtu in port.at.ends]
    if to.device_mtu is None:
        return ends
    own = [(port.mtu, to.pod_mtu)] if port.mtu is not None else []
    return [*own, *(pair for pair in ends if pair[0] != pair[1])]


def _devices(node: Node, to: NodeTarget) -> list[tuple[int, int]]:
    """Every device of the change: what it has and what it gets."""
    pairs = [pair for port in node.ports for pair in _sizes(port, to)]
    if node.tunnel is not None and to.tunnel_mtu is not None:
        pairs.append((node.tunnel.mtu, to.tunnel_mtu))
    if node.bridge is not None and node.ports:
        pairs.append((node.bridge.mtu, to.device_mtu or to.pod_mtu))
    return pairs

"""From what is so to what shall be: the number, and the steps that lead there in an order that loses no packet.

New pods are born from the configuration while running pods are changed, so the order of the two depends on the way:

- Down: every sender is pinned first, which ends the losses at once and is safe at any time, however long the rest
  takes; then the configuration, so that no pod is born larger than what the others shrink to; then the devices.
  A pod that is born in between is born large, and pinned by its node's agent like the others.
- Up: the running pods and the devices under them first; the configuration last, so that no pod is born larger than what
  the others can take. A pod born meanwhile is small, which harms nobody; its node's agent raises it as well.

Where some pods are above the target and some below it, the way is down: only sizes above the target lose packets.
"""

from collections.abc import Sequence

import msgspec

from kubemtu.core import codes, encap
from kubemtu.core.change.plan import EditValue, Live, NodeTarget, Plan, Rollout, Step
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.cluster.node_files import Rendered
from kubemtu.core.cluster.topology import Node, Port, Topology
from kubemtu.core.errors import UsageError
from kubemtu.core.text.wording import count, names

RELIEF = "nothing that is too large is sent from then on"
IPV4_REASSEMBLY = 576  # RFC 791, section 3.2: what every host must be able to receive
_IPV4_NEEDS = "IPv4 needs the 576 bytes that every host must take whole (RFC 791, section 3.2)"
_IPV6_NEEDS = "IPv6 needs 1280 on every link (RFC 8200, section 5)"


def target(topology: Topology, wanted: int | None) -> int:
    """Settle the pod MTU, in bytes: what was asked for, or what the path carries.

    Raises UsageError when it does not fit the path, is too small for IP, or cannot be known.
    """
    least, needed = (encap.IPV6_MINIMUM, _IPV6_NEEDS) if topology.ipv6 else (IPV4_REASSEMBLY, _IPV4_NEEDS)
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
    return narrow is None or narrow.path_mtu != narrow.nic_mtu


def _why(topology: Topology) -> str:
    cost = max((one.cost for one in topology.state.encapsulation), default=0)
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
) -> Plan:
    """Put the steps that lead to pods of `aim` bytes in order.

    `steps` are the CNI's own (edits, then the restart), `after` is what it would say of itself once they are done.
    What is already as it should be gets no step, so that a plan of nothing is empty.
    """
    config = _config(topology, aim, steps)
    live = _live(topology, aim, after)
    ordered: tuple[Step, ...] = (*live, *config)
    if _largest(topology) > aim and live:
        pins, devices = live[0].halves()
        ordered = (msgspec.structs.replace(pins, why=RELIEF), *config, devices)
    return Plan(
        cni=topology.state.name,
        target=aim,
        current=_current(topology),
        steps=ordered,
        remains=_remains(topology, aim, after) if ordered else (),
        warnings=_warnings(topology, aim, live, after) if ordered else (),
    )


def _current(topology: Topology) -> int | None:
    usual = [node.usual for node in topology.nodes if node.usual is not None]
    if usual:
        return max(usual, key=lambda mtu: (usual.count(mtu), mtu))
    return topology.born


def _largest(topology: Topology) -> int:
    running = [
        mtu for _, port in topology.ports for mtu in ((port.mtu,) if port.by_route else port.at.ends) if mtu is not None
    ]
    born = [node.rendered.gives for node in topology.nodes if node.rendered is not None and node.rendered.gives]
    return max([*running, *born, topology.born or 0])


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
    stale = [
        node.name
        for node in topology.nodes
        if node.rendered is not None and node.rendered.gives is not None and node.rendered.gives != aim
    ]
    if not edits and not stale:
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
    """Return the restart, with what the nodes hold before it: in their CNI's own file, or in one that copies it."""
    taken = [node.rendered.taken for node in topology.nodes if node.rendered is not None]
    held = {one.literal for one in taken if one is not None and one.path == step.conflist}
    held = held or {node.rendered.literal for node in topology.nodes if node.rendered is not None}
    return msgspec.structs.replace(step, held=tuple(sorted(held, key=lambda mtu: mtu or 0)))


def _own(rendered: Rendered) -> int | None:
    """Return what the CNI's own file gives new pods, also where the runtime takes another."""
    return rendered.gives if rendered.taken is None else rendered.own


def _by_itself(topology: Topology, aim: int) -> bool:
    """Return True when nothing is configured and every node gives its pods that MTU all the same: then let it be."""
    if {codes.MTU112.code, codes.MTU122.code} & {found.code for found in topology.state.findings}:
        return False  # something is configured, and no node could be given it
    if not topology.nodes and topology.state.pod_mtu is None and topology.born == aim:
        return True
    born = [node.rendered.gives if node.rendered is not None else None for node in topology.nodes]
    return topology.state.pod_mtu is None and not topology.silent and bool(born) and set(born) == {aim}


def _live(topology: Topology, aim: int, after: CniState | None) -> tuple[Live, ...]:
    devices_get = (after or topology.state).device_mtu
    targets = tuple(_node_target(topology, node, aim, devices_get) for node in topology.nodes)
    devices = [size for node, to in zip(topology.nodes, targets, strict=True) for size in _devices(node, to)]
    if not any(old != new for old, new in devices) or _only_spare(topology, devices, targets):
        return ()
    sizes = [size for pair in devices for size in pair]
    outer = max((one.outer(aim) for one in topology.state.encapsulation), default=aim)
    return (
        Live(
            nodes=targets,
            pin_mtu=min([aim, *sizes]),
            highest_mtu=max([aim, *sizes]),
            underlay=outer,
            why="a pod keeps the MTU that it was born with",
        ),
    )


def _only_spare(topology: Topology, devices: Sequence[tuple[int, int]], targets: Sequence[NodeTarget]) -> bool:
    """Return True when nothing but tunnel devices would change, and each of those only has room that no pod uses."""
    spare = [
        (node.tunnel.mtu, to.tunnel_mtu)
        for node, to in zip(topology.nodes, targets, strict=True)
        if node.tunnel is not None and to.tunnel_mtu is not None and node.fits is not None
        if to.tunnel_mtu < node.tunnel.mtu <= node.fits
    ]
    return sum(old != new for old, new in devices) == len(spare)


def _node_target(topology: Topology, node: Node, aim: int, devices_get: int | None) -> NodeTarget:
    tunnel = node.tunnel.mtu if node.tunnel is not None else None
    bounded = min(aim, node.fits) if node.fits is not None else aim
    born = node.rendered.gives if node.rendered is not None else None
    device = _device(topology, node, aim, devices_get)
    return NodeTarget(
        node=node.name,
        ports=topology.state.ports,
        pod_mtu=aim,
        device_mtu=device,
        origin_device_mtu=(node.usual_device or device) if device is not None else None,
        origin_mtu=node.usual or born or topology.state.pod_mtu or aim,
        tunnel=node.tunnel.name if node.tunnel is not None else None,
        tunnel_mtu=bounded if tunnel is not None and tunnel != bounded else None,
        origin_tunnel_mtu=tunnel if tunnel != bounded else None,
        bridge=node.bridge.name if node.bridge is not None else None,
        pod_networks=topology.pod_networks,
        running=len(node.ports),
        changing=sum(any(old != new for old, new in _sizes(port, aim, device)) for port in node.ports),
    )


def _device(topology: Topology, node: Node, aim: int, gets: int | None) -> int | None:
    """Return what pods' devices have where routes limit what they send, and never less than those; None: the same.

    `gets` is what the CNI gives them by itself once it is configured anew, in bytes; None: it leaves them alone.
    """
    if not topology.state.by_route:
        return None
    return max(aim, gets or node.usual_device or node.link_mtu or aim)


def _sizes(port: Port, aim: int, device: int | None) -> list[tuple[int, int]]:
    """Return what one pod's devices have and get, and what its routes do where they limit it; devices that stay not."""
    ends = [(mtu, aim if device is None else device) for mtu in port.at.ends]
    if device is None:
        return ends
    own = [(port.mtu, aim)] if port.mtu is not None else []
    return [*own, *(pair for pair in ends if pair[0] != pair[1])]


def _devices(node: Node, to: NodeTarget) -> list[tuple[int, int]]:
    """Every device of the change: what it has and what it gets."""
    pairs = [pair for port in node.ports for pair in _sizes(port, to.pod_mtu, to.device_mtu)]
    if node.tunnel is not None and to.tunnel_mtu is not None:
        pairs.append((node.tunnel.mtu, to.tunnel_mtu))
    if node.bridge is not None and node.ports:
        pairs.append((node.bridge.mtu, to.device_mtu or to.pod_mtu))
    return pairs


def _remains(topology: Topology, aim: int, after: CniState | None) -> tuple[str, ...]:
    said = []
    if not topology.nodes:
        said.append(
            "Running pods and tunnel devices keep the MTU that they have, because no node was observed: this plan "
            "changes what new pods get, and pods follow as they are restarted."
        )
    elif topology.silent:
        said.append(
            f"{count(len(topology.silent), 'node')} ({names(topology.silent)}) "
            f"{'is' if len(topology.silent) == 1 else 'are'} not observed: the running pods and the tunnel there keep "
            "what they have."
        )
    said += [
        f"{count(len(node.unseen), 'pod')} of {node.name} ({names(node.unseen)}) not seen: what"
        f" {'it has' if len(node.unseen) == 1 else 'they have'} stays."
        for node in topology.nodes
        if node.unseen
    ]
    lowered = [node for node in topology.nodes if node.tunnel is not None and aim < node.tunnel.mtu]
    remembered = after.tunnel_mtu if after is not None else topology.state.tunnel_mtu
    if lowered and remembered != aim:
        tunnel = lowered[0].tunnel.name if lowered[0].tunnel is not None else ""
        said.append(
            f"{tunnel} goes to {aim} on {names(node.name for node in lowered)} until it is made anew: after a reboot "
            "the CNI gives it what the NIC leaves. Pods stay within the smaller size; only datagrams of the nodes "
            "themselves use the larger one."
        )
    return tuple(said)


def unwritten(topology: Topology) -> str:
    """Say where to write down a path that is known to carry less than the NICs have; empty where none is, or is it."""
    given = [
        (node.path_mtu, node.nic_mtu)
        for node in topology.nodes
        if node.bound is None and node.path_mtu is not None and node.nic_mtu is not None
        if node.path_mtu < node.nic_mtu
    ]
    if not given:
        return ""
    path, nic = min(given)
    return (
        f"The path is taken to carry {path} where NICs have {nic}: if it is meant to, `kubemtu policy --path-mtu "
        f"{path} --reason TEXT --apply` writes that down, and no command asks for larger pods afterwards."
    )


def _warnings(topology: Topology, aim: int, live: Sequence[Live], after: CniState | None) -> tuple[str, ...]:
    said = []
    if topology.state.owner:
        said.append(
            f"{topology.state.owner} writes the configuration: it will put the old value back unless the change is "
            "made there too."
        )
    said += topology.state.cautions
    without = [node.name for node in topology.nodes if node.seen.seen_by not in {"agent", "files"}]
    if live and without:
        said.append(
            f"No agent shows {names(without)}: running pods are changed by agents alone, so `kubemtu install` comes "
            "first; then this plan is made anew from what they see."
        )
    if known := unwritten(topology):
        said.append(known)
    configured = topology.state.pod_mtu
    if topology.state.fixed is not None and topology.carries is not None and topology.state.fixed < topology.carries:
        said.append(
            f"The path carries {topology.carries}, but {topology.state.fixed_by} holds the tunnel at"
            f" {topology.state.fixed}: change it there first to use more."
        )
    if configured is not None and configured < aim:
        said.append(
            f"The configuration says {configured}, and this raises it: if somebody chose that for a network that "
            f"carries less than the NICs say, give --mtu {configured}. `kubemtu apply` probes the network before it "
            "changes anything."
        )
    if after is not None and after.pod_mtu is not None and after.pod_mtu != aim:
        said.append(f"After the edits the configuration still gives new pods {after.pod_mtu}, not {aim}.")
    if after is not None and after.tunnel_mtu is not None and after.tunnel_mtu < aim:
        said.append(
            f"The configuration gives the tunnel {after.tunnel_mtu}, less than pods of {aim} need: raise it there, or "
            "it comes back at the next restart of a node."
        )
    below = [port.shown for _, port in topology.ports if port.shown is not None and port.shown < aim]
    if live and below:
        said.append(
            f"TCP connections that were opened at {max(below)} keep that segment size until they reconnect; everything "
            f"else uses {aim} at once."
        )
    if live and topology.ipv6 and live[0].pin_mtu < encap.IPV6_MINIMUM:
        said.append(
            f"Some interface has {live[0].pin_mtu}, less than IPv6 needs: its pod lost IPv6 then, and must be "
            "restarted to get it back."
        )
    if topology.carries is None:
        said.append(f"Whether the path between nodes carries pods of {aim} was not checked: no NIC was seen.")
    if topology.under_way:
        said.append(f"A change is under way already: {names(topology.under_way)}.")
    return tuple(said)

"""What a plan says besides its steps: what stays as it is, and what to think of first."""

from collections.abc import Sequence

from kubemtu.core import encap
from kubemtu.core.change.plan import EditValue, Live, Plan, Step
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.planning.apart import Apart, suits
from kubemtu.core.text.wording import count, names


def remains(topology: Topology, aim: int, after: CniState | None, apart: Apart | None = None) -> tuple[str, ...]:
    """Say what a plan leaves as it is, a sentence each; `aim` is what new pods get, in bytes."""
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
        f"{count(len(overdue), 'pod')} of {node.name} ({names(overdue)}) not seen: what"
        f" {'it has' if len(overdue) == 1 else 'they have'} stays."
        for node in topology.nodes
        if (overdue := [pod for pod in node.unseen if pod not in node.late])
    ]
    said += [
        f"{count(len(node.late), 'pod')} of {node.name} ({names(node.late)}) began too late to have been seen: what is"
        " found of them by then is changed with the others."
        for node in topology.nodes
        if node.late
    ]
    sizes = apart.sizes if apart is not None else dict.fromkeys((node.name for node in topology.nodes), aim)
    lowered = [node for node in topology.nodes if node.tunnel is not None and sizes[node.name] < node.tunnel.mtu]
    remembered = after.tunnel_mtu if after is not None else topology.state.tunnel_mtu
    if lowered and remembered != aim:
        tunnel = lowered[0].tunnel.name if lowered[0].tunnel is not None else ""
        said.append(
            f"{tunnel} goes to {aim} on {names(node.name for node in lowered)} until it is made anew: after a reboot "
            "the CNI gives it what the NIC leaves. Pods stay within the smaller size; only datagrams of the nodes "
            "themselves use the larger one."
        )
    return tuple(said)


def in_force(topology: Topology, made: Plan, *, same: bool) -> tuple[str, ...]:
    """Say what becomes of a plan while a change is in force: a part of that, or nothing; empty where none is.

    `same`: what is in force is asked for. A node that leaves its pods less now makes it another plan all the same.
    """
    if not topology.held_by:
        return ()
    held = {node.name: one.pod_mtu for node in topology.nodes if (one := topology.held(node)) is not None}
    targets = [to for step in made.steps if isinstance(step, Live) for to in step.nodes]
    least = min(held.values(), default=0)  # a node that joined is given one of the sizes that there are
    fits = all(
        suits(to.pod_mtu, held[to.node], per_node=made.per_node) if to.node in held else to.pod_mtu >= least
        for to in targets
    )
    if same and fits:
        said = (
            f"MTUMigration {topology.held_by} is in force: `kubemtu apply` carries this out as part of it, and `kubemtu"
            " rollback` takes all of it back."
        )
        return (said,)
    said = (
        f"MTUMigration {topology.held_by} is in force: `kubemtu apply` refuses this plan until `kubemtu rollback` has"
        " taken that back."
    )
    return (said,)


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


def kept_by(topology: Topology, steps: Sequence[Step]) -> tuple[str, ...]:
    """Say who writes the configuration back, and what the plan itself makes that it is written from."""
    if not topology.state.owner:
        return ()
    made = [str(step.ref) for step in steps if isinstance(step, EditValue) and step.creates]
    if made:
        said = (
            f"{topology.state.owner} writes the configuration, and this plan makes {names(made)}, which it is written "
            "from: where you keep such an object in a file, put it there too."
        )
    else:
        said = (
            f"{topology.state.owner} writes the configuration: it will put the old value back unless the change is "
            "made there too."
        )
    return (said,)


def warnings(
    topology: Topology, aim: int, live: Sequence[Live], after: CniState | None, apart: Apart | None = None
) -> tuple[str, ...]:
    """Say what to think of before a plan is applied, a sentence each; `aim` is what new pods get, in bytes."""
    said = list(_held(topology, aim, apart)) if apart is not None and apart.holds else []
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
    sizes = apart.sizes if apart is not None else {}
    grown = [(port.shown, sizes.get(node.name, aim)) for node, port in topology.ports if port.shown is not None]
    below = [(shown, size) for shown, size in grown if shown < size]
    if live and below:
        larger = {size for _, size in below}
        said.append(
            f"TCP connections that were opened at {max(below)[0]} keep that segment size until they reconnect;"
            f" everything else uses {'up to ' if len(larger) > 1 else ''}{max(larger)} at once."
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


def _held(topology: Topology, aim: int, apart: Apart) -> list[str]:
    """Say who keeps what no device says, and what that leaves open."""
    said = [
        (
            "The agents keep the routes, and give them to pods that are born later, until `kubemtu rollback`: no other"
            " change can be begun meanwhile, and without its agent a node gives new pods what the configuration says."
        )
    ]
    if apart.asked.per_node and apart.most > aim:
        said.append(
            f"New pods are born with {aim} on every node, and their node's agent gives them its own size at once."
            if any(node.rendered is None or node.rendered.gives != apart.sizes[node.name] for node in topology.nodes)
            else "New pods get what their own node's NIC leaves, as they do now."
        )
    if apart.asked.per_node and topology.state.per_pool and not topology.state.born_by_node:
        taken = next((key.subtracts for key in topology.state.mtu_keys), 0)
        pools = {node.api.pool or f"node {node.name}": apart.sizes[node.name] + taken for node in topology.nodes}
        said.append(
            f"New pods can have their own size from birth: {topology.state.per_pool} gives the nodes that it selects a"
            f" number of their own, here {names(f'{mtu} for {pool}' for pool, mtu in pools.items())}."
        )
    if apart.asked.per_node and topology.silent:
        said.append(f"What {names(topology.silent)} can take is not known: {aim} is what is sent there at most.")
    if apart.asked.by:
        said.append(f"{apart.asked.egress} is what leaves the cluster at most: {apart.asked.by}.")
    if apart.asked.egress is not None and not topology.service_networks:
        said.append(
            "Which addresses Services have was not seen: packets to them go by the default route, at most"
            f" {apart.asked.egress}."
        )
    return said

"""What a change leaves that no MTUMigration tells of any more: pins and journals on the nodes, as their agents show."""

from kubemtu.core import net
from kubemtu.core.cluster import windows
from kubemtu.core.text.wording import count, names, verb
from kubemtu.flows import observe
from kubemtu.kube import api as kube_api
from kubemtu.kube import mtu

NOTHING = "there is nothing to roll back"
BY_HAND = "`kubemtu node show` on each node shows pins, and /run/kubemtu there holds what was recorded"


async def none_recorded(api: kube_api.Api) -> str:
    """Say what is so where no change is recorded: what was looked at, and what that shows, in a sentence.

    That there is no record does not prove that nothing was changed: it goes with its CustomResourceDefinition.
    """
    if not await api.serves(mtu.API_VERSION, mtu.MIGRATIONS.plural):
        return (
            f"no change is recorded, for {api.connection.server} does not know MTUMigration: it was never installed, "
            "or its CustomResourceDefinition was deleted with all records; whether kubemtu has changed this cluster "
            f"cannot be told from here. {BY_HAND}"
        )
    snapshot = await observe.observe(api)
    observations = {node.node: node for node in snapshot.nodes}
    expected = (node.name for node in snapshot.each("Node") if not windows.runs(node))
    silent = [name for name in expected if name not in observations]
    pinned = [name for name, node in observations.items() if _pins(node)]
    if not observations:
        return f"no change is recorded, and no node was looked at, for no agent tells of one. {BY_HAND}"
    looked = count(len(observations), "node")
    unseen = f"; node {names(silent)} was not looked at" if silent else ""
    journals = {one for node in observations.values() for one in node.journals}
    standing = sorted({one.name for one in journals if not one.ended})
    kept = [node.name for node in await mtu.nodes(api) if node.desired is not None]
    if kept:
        return (
            f"no change is recorded any more, but something is still asked of node {names(kept)}: somebody has deleted "
            "the MTUMigration, and agents that have not started since keep what it made, routes in pods among it. "
            "`kubemtu apply` takes everything to one size and those routes away (`kubemtu plan` shows it first), and "
            "can be rolled back"
        )
    if pinned or standing:
        held = f"pins on node {names(pinned)}" if pinned else "no pin"
        wrote = f", and journals of {names(standing)}, which has not ended there" if standing else ""
        return (
            f"no change is recorded any more, but {looked} looked at {verb(len(observations), 'show')} "
            f"{held}{wrote}{unseen}: somebody has deleted the MTUMigration. `kubemtu check` says how each pin is taken "
            "off, and `kubemtu plan --mtu N` leads pods elsewhere"
        )
    over = "no journal"
    if journals:
        over = f"only journals of {names(sorted({one.name for one in journals}))}, which ended"
    shown = f"{looked} looked at {verb(len(observations), 'show')} no pin and {over}"
    return f"{NOTHING}: no change is recorded, and {shown}{unseen}"


def _pins(node: net.NodeObservation) -> bool:
    """Say whether a route to pods, or of a pod, is locked to an MTU, or is one of kubemtu's for the node's traffic."""
    of_pods = (route for port in node.ports for route in port.routes)
    ports = {port.host_link for port in node.ports}
    ports |= {link.name for link in node.links if link.kind in {"vxlan", "bridge"}}
    of_node = (route for route in node.routes if route.device in ports)
    return bool(node.host_pins) or any(route.locked and route.mtu is not None for route in (*of_pods, *of_node))

"""Changes that have not ended: no check mark while one stands, least of all when nobody drives it."""

from kubemtu.core import codes
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.cluster.unfinished import Unfinished, since
from kubemtu.core.codes import Finding
from kubemtu.core.text.wording import count, names, span, verb


def find(topology: Topology) -> tuple[Finding, ...]:
    """Report every change that has not ended (MTU128): since when, by whom, what holds, and the ways out."""
    return tuple(_one(topology, one) for one in topology.unfinished)


def _one(topology: Topology, change: Unfinished) -> Finding:
    aim = f"to {change.target}" if change.target is not None else "of the pod MTU"
    head = f"A change {aim} has not ended. It was begun{since(change)}, and {change.stands}"
    carry_on = "`kubemtu rollback` carries on from here."
    if change.progress.direction == "forward":
        carry_on = "`kubemtu apply` carries on from here, `kubemtu rollback` takes it back."
    if change.held:
        message = f"Held on purpose by `kubemtu relieve`: {_pins(topology)}. {head}; devices and configuration are as "
        message += "they were."
        carry_on = "`kubemtu apply` makes the change, `kubemtu rollback` takes the pins off."
    elif change.quiet:
        message = f"{head}. {_capital(_nobody(change))}. {_capital(_pins(topology))}."
    else:
        sign = f", and its driver gave a sign {span(change.renewed)} ago" if change.renewed is not None else ""
        message = (
            f"{head}. It moved {span(change.moved or 0)} ago{sign}: somebody drives it. {_capital(_pins(topology))}."
        )
        carry_on = f"Wait for its end. If nobody drives it any more: {carry_on}"
    return codes.finding(codes.MTU128, f"MTUMigration {change.name}", message, carry_on)


def _nobody(change: Unfinished) -> str:
    """Say why nobody is taken to drive it."""
    if change.released is not None:
        return f"nobody drives it: its driver stopped {span(change.released)} ago"
    if change.renewed is not None:
        return f"its driver has given no sign for {span(change.renewed)}: nobody seems to drive it"
    moved = f" for {span(change.moved)}" if change.moved is not None else ""
    return f"it has not moved{moved}: nobody seems to drive it"


def _pins(topology: Topology) -> str:
    """Return what the nodes show that it holds: pins in pods, and on the nodes' own routes to them."""
    pods: dict[str, list[int]] = {}
    for node, port in topology.ports:
        locked = [route.mtu for route in port.at.routes if route.locked and route.mtu is not None]
        if locked:
            pods.setdefault(node.name, []).append(min(locked))
    routes = sum(route.locked and route.mtu is not None for node in topology.nodes for route in node.seen.routes)
    silent = f"; node {names(topology.silent)} tells nothing" if topology.silent else ""
    if not pods and not routes:
        return f"no pin is seen on the nodes that report{silent}"
    number = sum(map(len, pods.values()))
    sizes = names(str(size) for size in sorted({size for found in pods.values() for size in found}))
    held = f"{count(number, 'pod')} on {count(len(pods), 'node')} {verb(number, 'send')} at most {sizes}"
    too = ", too" if pods else ""
    also = f"{count(routes, 'route')} of the nodes {'is' if routes == 1 else 'are'} pinned{too}" if routes else ""
    return f"pins hold: {', and '.join(part for part in (held if pods else '', also) if part)}{silent}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

"""The last look: every port of every node, every node's CNI configuration, every byte that was edited.

Agents say that they are done; this reads what they see. A pod that is being born is waited for a little, because its
agent corrects it within milliseconds; what is still wrong then is a surprise, with the pod's name.
"""

from collections.abc import Iterable, Iterator, Mapping

from kubemtu.core import errors, net, plan, rendered
from kubemtu.core.objects import Object, Want, dotted
from kubemtu.core.words import count
from kubemtu.flows.change.nodes import Nodes
from kubemtu.kube import api as kube_api

PODS = Want(kind="Pod", plural="pods", api_versions=("v1",))
SECONDS = 10.0  # for what is under way: a pod being born, a file being written
CONFLISTS = 30.0  # seconds from the CNI's pods being ready to their file being seen by the node's agent

Targets = Mapping[str, plan.NodeTarget]


async def ports(
    nodes: Nodes, step: plan.Live, targets: Targets, names: Mapping[str, str], own_locks: Mapping[str, int]
) -> str:
    """See that both ends of every pod port have the target, and that no pin is left; say how many there are.

    `names` tells what a pod with an address is called, `own_locks` how many locked routes each node had before the
    change. Raises Surprise with the first thing that is wrong.
    """
    wrong: list[str] = []

    def look() -> str | None:
        seen = nodes.observations()
        wrong[:] = [
            text
            for name, target in targets.items()
            if name not in nodes.gone
            for text in _wrong(name, seen.get(name), step, target, names, own_locks)
        ]
        if wrong:
            return None
        pods = sum(len(seen[name].ports) for name in targets if name in seen)
        here = sum(name in seen for name in targets)
        return f"{count(pods, 'pod')} on {count(here, 'node')}: both ends have {_to(step)}, and no pin is left"

    try:
        return await nodes.until(look, SECONDS, errors.Surprise(""))
    except errors.Surprise:
        if not wrong:
            raise
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise errors.Surprise(
            f"the change is made, but {wrong[0]}{more}; see `kubemtu check`, then run `kubemtu apply` again to finish, "
            "or `kubemtu rollback`"
        ) from None


def _to(step: plan.Live) -> str:
    return "what was recorded" if step.restore else str(step.nodes[0].pod_mtu if step.nodes else step.low)


def _wrong(
    name: str,
    seen: net.NodeObservation | None,
    step: plan.Live,
    target: plan.NodeTarget,
    names: Mapping[str, str],
    own_locks: Mapping[str, int],
) -> Iterator[str]:
    if seen is None:
        yield f"node {name} shows nothing any more"
        return
    for port in seen.ports:
        if not step.restore and (port.host_mtu, port.pod_mtu) != (target.pod_mtu, target.pod_mtu):
            yield (
                f"pod {_name(port, names)} on node {name} has {port.host_mtu} at the node's end ({port.host_link}) and "
                f"{port.pod_mtu} at its own, not {target.pod_mtu}"
            )
    for device, mtu in ((target.tunnel, target.tunnel_mtu), (target.bridge, target.pod_mtu if seen.ports else None)):
        link = seen.link(device) if device else None
        if link is not None and mtu is not None and link.mtu != mtu and not step.restore:
            yield f"{device} on node {name} has {link.mtu}, not {mtu}"
    if step.restore and step.host_mtu is not None:
        hosts = {f"{address}/{128 if ':' in address else 32}" for address in step.host_addresses}
        for route in seen.routes:
            if route.locked and route.mtu == step.host_mtu and route.destination in hosts:
                yield f"node {name} still has a pin: {route.destination} mtu lock {route.mtu}"
    if locks(seen, step.low) > own_locks.get(name, 0):
        yield _pin(name, seen, step.low, names)


def locks(seen: net.NodeObservation, mtu: int) -> int:
    """How many routes of a node and of its pods are locked to that MTU."""
    routes = [route for port in seen.ports for route in port.routes] + list(seen.routes)
    return sum(route.locked and route.mtu == mtu for route in routes)


def _pin(name: str, seen: net.NodeObservation, mtu: int, names: Mapping[str, str]) -> str:
    for port in seen.ports:
        for route in port.routes:
            if route.locked and route.mtu == mtu:
                return f"pod {_name(port, names)} on node {name} still has a pin: {route.destination} mtu lock {mtu}"
    held = next((route.destination for route in seen.routes if route.locked and route.mtu == mtu), "a route")
    return f"node {name} still has a pin: {held} mtu lock {mtu}"


def _name(port: net.PodPort, names: Mapping[str, str]) -> str:
    return next((names[one] for one in port.addresses if one in names), f"with {', '.join(port.addresses)}")


async def conflists(nodes: Nodes, step: plan.Rollout) -> None:
    """Wait until the CNI configuration of every observed node holds what the restart was to bring.

    Raises Surprise with the first node where it does not come to.
    """
    path, mtu = step.conflist, step.mtu
    if path is None:
        return
    wrong: list[str] = []

    def look() -> bool | None:
        wrong[:] = [
            text for name, seen in sorted(nodes.observations().items()) if (text := _stale(name, seen, path, mtu))
        ]
        return None if wrong else True

    try:
        await nodes.until(look, CONFLISTS, errors.Surprise(""))
    except errors.Surprise:
        if not wrong:
            raise
        raise errors.Surprise(
            f"the CNI's pods have restarted, but {wrong[0]}; look at the log of the pod of {step.ref} there"
        ) from None


def _stale(name: str, seen: net.NodeObservation, path: str, mtu: int | None) -> str | None:
    found = rendered.of(seen, path)
    if found is None or found.path != path:
        return f"node {name} has no {path}"
    if found.literal != mtu:
        return f"node {name}: {path} says {found.literal or 'no MTU'}, not {mtu or 'none'}"
    return None


async def configuration(api: kube_api.Api, edits: Iterable[plan.EditValue], as_it_was: str) -> list[str]:
    """See that every edited value is byte for byte what its edit says, a sentence each: it is `as_it_was`.

    Raises Surprise for another value.
    """
    said: dict[str, str] = {}
    for edit in edits:
        found = await api.get(edit.ref)
        now = found.get(*edit.path) if found is not None else None
        place = f"{edit.ref}, {dotted(edit.path)}"
        if type(now) is not type(edit.after) or now != edit.after:
            raise errors.Surprise(f"{place} is not what was {as_it_was}: somebody else has written it meanwhile")
        how = f"byte for byte ({count(len(str(now).encode()), 'byte')})" if now is not None else "absent"
        said[place] = f"{place}: as {as_it_was}, {how}"
    return list(said.values())


async def pod_names(api: kube_api.Api) -> dict[str, str]:
    """What the pod with each address of the pod network is called: "namespace/name"."""
    return {
        address: f"{pod.namespace}/{pod.name}"
        for pod in await api.list(PODS)
        if not pod.flag("spec", "hostNetwork")
        for address in _addresses(pod)
    }


def _addresses(pod: Object) -> list[str]:
    found = [one.text("ip") or "" for one in pod.each("status", "podIPs")] or [pod.text("status", "podIP") or ""]
    return [address for address in found if address]

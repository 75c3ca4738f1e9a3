"""The last look: every port of every node, every node's CNI configuration, every byte that was edited.

Agents say that they are done; this reads what they see. A pod that is being born is waited for a little, because its
agent corrects it within milliseconds; what is still wrong then is a surprise, with the pod's name.
"""

import asyncio
import ipaddress
import time
from collections.abc import Iterable, Iterator, Mapping

from kubemtu.cni import registry
from kubemtu.core import errors, net, networks
from kubemtu.core.change import migration, plan
from kubemtu.core.cluster import node_files, writers
from kubemtu.core.objects import PODS, dotted, pod_addresses
from kubemtu.core.text import json_edit
from kubemtu.core.text.wording import count
from kubemtu.core.text.wording import names as listed
from kubemtu.flows.agents.nodes import AgentWatch
from kubemtu.flows.change import messages
from kubemtu.kube import api as kube_api

SECONDS = 10.0  # for what is under way: a pod being born, a file being written
RENDERING = 60.0  # seconds for an operator to hear of an edit and to write what follows from it
PAUSE = 0.25
CONFLISTS = 30.0  # seconds from the CNI's pods being ready to their file being seen by the node's agent

Targets = Mapping[str, plan.NodeTarget]


async def ports(
    nodes: AgentWatch, step: plan.Live, targets: Targets, names: Mapping[str, str], own_pins: Mapping[str, int]
) -> str:
    """See that both ends of every pod port have the target, and that no pin is left; say how many there are.

    `names` tells what a pod with an address is called, `own_pins` what each node had of the like before the change.
    Going back, each agent holds its pods against its journal, and tells of how many that was possible. Raises Surprise
    with the first thing that is wrong.
    """
    wrong: list[str] = []

    def look() -> str | None:
        observations = nodes.observations()
        wrong[:] = [
            text
            for name, target in targets.items()
            if name not in nodes.gone
            for text in _wrong(name, observations.get(name), step, target, names, own_pins)
        ]
        if wrong:
            return None
        here = {name: len(observations[name].ports) for name in targets if name in observations}
        own = _own_sizes(observations[name] for name in here)
        return _said(step, targets, here, nodes.last_applied(here), own)

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


def _own_sizes(observations: Iterable[net.NodeObservation]) -> list[int]:
    """Return to what the nodes' own routes to each other are held, in bytes, below what their NICs take."""
    ways = [way for node in observations for way in node.uplinks]
    return sorted({way.route_mtu for way in ways if way.route_mtu is not None and way.route_mtu < way.mtu})


def _said(
    step: plan.Live,
    targets: Targets,
    here: Mapping[str, int],
    applied: Mapping[str, migration.Applied],
    own_sizes: list[int],
) -> str:
    """Return what was seen of these nodes, by how many pods each has.

    The nodes' own routes may be held by an earlier change: then that is said, whatever this one was about.
    """
    if not here:
        return "no node of the change is left, so nothing was looked at"
    pods = sum(here.values())
    where = f"{count(pods, 'pod')} on {count(len(here), 'node')}"
    sizes = own_sizes or ([step.host_mtu] if step.host_mtu and not step.restore else [])
    own = f" but those of the nodes' own traffic, to {listed(map(str, sizes))}" if sizes else ""
    if step.only_hosts:
        return f"{count(len(here), 'node')}: no pin of kubemtu is left{own}"
    if not pods:
        return f"{where}: no pin is left{own}"
    if not step.restore and messages.by_destination(step):
        ends = listed(map(str, sorted({target.device_mtu or target.pod_mtu for target in targets.values()})))
        defaults = sorted({one.default_route_mtu for one in targets.values() if one.default_route_mtu is not None})
        outside = f", their default routes {listed(map(str, defaults))} at most" if defaults else ""
        led = {one.network for target in targets.values() for one in target.network_mtus}
        return (
            f"{where}: both ends have {ends}{outside}, what leads to {count(len(led), 'network')} a size of its "
            f"own, and no pin is left{own}"
        )
    if not step.restore:
        to = step.nodes[0].pod_mtu if step.nodes else step.pin_mtu
        ends = "the pods' routes have" if step.by_route else "both ends have"
        return f"{where}: {ends} {to}, and no pin is left{own}"
    known = {name: min(here[name], one.pods_restored) for name, one in applied.items() if one.pods_restored is not None}
    if any(name not in known for name in here):
        return f"{where}: both ends have what was recorded, as the agents say, and no pin is left{own}"
    if sum(known.values()) == pods:
        return f"{where}: both ends have what was recorded, and no pin is left{own}"
    usual = listed(map(str, sorted({targets[name].origin_mtu for name in here if known[name] < here[name]})))
    return (
        f"{where}: both ends of {sum(known.values())} have what was recorded; of {pods - sum(known.values())} nothing "
        f"was recorded before the change, and they have what was usual ({usual}); no pin is left{own}"
    )


def _wrong(
    name: str,
    observation: net.NodeObservation | None,
    step: plan.Live,
    target: plan.NodeTarget,
    names: Mapping[str, str],
    own_pins: Mapping[str, int],
) -> Iterator[str]:
    if observation is None:
        yield f"node {name} shows nothing any more"
        return
    if not step.restore:
        for port in observation.ports if target.ports.names_any else ():
            yield from _wrong_port(f"pod {_name(port, names)} on node {name}", port, target)
        yield from _wrong_devices(name, observation, target)
    elif step.host_mtu is not None:
        hosts = frozenset(f"{address}/{128 if ':' in address else 32}" for address in step.host_addresses)
        for route in observation.routes:
            if route.locked and route.mtu == step.host_mtu and route.destination in hosts:
                yield f"node {name} still has a pin: {route.destination} mtu lock {route.mtu}"
    if len(found := list(_pins(name, observation, target, names))) > own_pins.get(name, 0):
        yield found[0]


def _wrong_port(pod: str, port: net.PodPort, target: plan.NodeTarget) -> Iterator[str]:
    """Hold what a pod sends at most, and both its ends, against what they should have."""
    if target.device_mtu is not None and port.limit != target.pod_mtu:
        yield f"{pod} sends up to {port.limit} by its routes, not {target.pod_mtu}"
    yield from _by_destination(pod, port, target)
    ends = target.device_mtu or target.pod_mtu
    if (port.host_mtu, port.pod_mtu) != (ends, ends):
        yield (
            f"{pod} has {port.host_mtu} at the node's end ({port.host_link}) and {port.pod_mtu or '?'} at its own, not "
            f"{ends}"
        )


def _wrong_devices(name: str, observation: net.NodeObservation, target: plan.NodeTarget) -> Iterator[str]:
    """Hold the tunnel and the bridge of a node against what they should have."""
    bridge_mtu = (target.device_mtu or target.pod_mtu) if observation.ports else None
    for device, mtu in ((target.tunnel, target.tunnel_mtu), (target.bridge, bridge_mtu)):
        link = observation.link(device) if device else None
        if link is not None and mtu is not None and link.mtu != mtu:
            yield f"{device} on node {name} has {link.mtu}, not {mtu}"


def _by_destination(pod: str, port: net.PodPort, target: plan.NodeTarget) -> Iterator[str]:
    """Hold the routes that a pod has against what it should send at most by them."""
    sizes = {one.network: one.mtu for one in target.network_mtus}
    for route in port.routes:
        size = route.mtu or port.pod_mtu
        most = target.default_route_mtu if route.destination == "default" else sizes.get(route.destination)
        if most is not None and size is not None and size > most and (route.gateway or route.destination == "default"):
            yield f"{pod} sends up to {size} by its route to {route.destination}, not {most}"


def pins(observation: net.NodeObservation, target: plan.NodeTarget) -> int:
    """Say how many routes of pods and to pods are locked to an MTU, and pods hold their IPv6 below their interface.

    No CNI does either, so what is there before a change is somebody's own. The node's other routes are never pinned,
    but for the routes to single hosts, which are looked at by themselves.
    """
    return sum(1 for _ in _pins("", observation, target, {}))


def _pins(
    name: str, observation: net.NodeObservation, target: plan.NodeTarget, names: Mapping[str, str]
) -> Iterator[str]:
    for port in observation.ports:
        pod = f"pod {_name(port, names)} on node {name}"
        for route in port.routes:
            if route.locked and route.mtu is not None:
                yield f"{pod} still has a pin: {route.destination} mtu lock {route.mtu}"
        if port.ipv6_mtu is not None and port.pod_mtu is not None and port.ipv6_mtu < port.pod_mtu:
            yield f"{pod} still has a pin: net.ipv6.conf.{port.pod_link}.mtu={port.ipv6_mtu}"
    devices = {port.host_link for port in observation.ports} | {target.tunnel, target.bridge, target.ports.bridge}
    for route in observation.routes:
        if route.locked and route.mtu is not None and (route.device in devices or _to_pods(route, target)):
            yield f"node {name} still has a pin: {route.destination} mtu lock {route.mtu}"


def _to_pods(route: net.Route, target: plan.NodeTarget) -> bool:
    """Say whether a route leads into the networks of pods, as those between nodes without a tunnel do."""
    if route.destination == "default":
        return False
    to = ipaddress.ip_network(route.destination, strict=False)
    return networks.within(to, (ipaddress.ip_network(network, strict=False) for network in target.pod_networks))


def _name(port: net.PodPort, names: Mapping[str, str]) -> str:
    return next((names[one] for one in port.addresses if one in names), f"with {', '.join(port.addresses)}")


async def conflists(nodes: AgentWatch, step: plan.Rollout) -> None:
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


def _stale(name: str, observation: net.NodeObservation, path: str, mtu: int | None) -> str | None:
    found = node_files.of(observation, path, registry.plugin_mtus())
    if found is None or found.path != path:
        return f"node {name} has no {path}"
    if found.literal != mtu:
        return f"node {name}: {path} says {found.literal or 'no MTU'}, not {mtu or 'none'}"
    return None


async def rendering(api: kube_api.Api, step: plan.Rollout) -> None:
    """Wait until an operator has rendered what was edited, for pods that restart before it come up with the old text.

    Raises Surprise when it does not come to it.
    """
    if step.rendered is None or step.conflist is None:
        return
    deadline = time.monotonic() + RENDERING
    while (now := await _rendered(api, step.rendered)) != step.mtu:
        if time.monotonic() >= deadline:
            place = f"{step.rendered.ref}, {dotted(step.rendered.path)}"
            raise errors.Surprise(
                f"{step.rendered.by} has not rendered what was edited within {RENDERING:.0f} s: {place} says"
                f" {now or 'no MTU'}, not {step.mtu or 'none'}; nothing was restarted: see that it runs, then run the"
                " same command again"
            )
        await asyncio.sleep(PAUSE)


async def _rendered(api: kube_api.Api, rendered: plan.Rendering) -> int | None:
    """Return the MTU that the rendered text holds, in bytes; None for none, or automatic, or what cannot be read."""
    found = await api.get(rendered.ref)
    text = found.get(*rendered.path) if found is not None else None
    try:
        return json_edit.read_plugin_mtu(text, rendered.plugin).value or None if isinstance(text, str) else None
    except errors.Malformed:
        return None


async def configuration(api: kube_api.Api, edits: Iterable[plan.EditValue], as_it_was: str) -> list[str]:
    """See that every edited value is byte for byte what its edit says, a sentence each: it is `as_it_was`.

    Raises Surprise for another value, and names who wrote it where the server notes that.
    """
    said: dict[str, str] = {}
    for edit in edits:
        found = await api.get(edit.ref)
        now = found.get(*edit.path) if found is not None else None
        place = f"{edit.ref}, {dotted(edit.path)}"
        if type(now) is not type(edit.after) or now != edit.after:
            writer = writers.last(found, edit.path) if found is not None else None
            raise errors.Surprise(
                f"{place} is not what was {as_it_was}: {writer or 'somebody else'} has written it meanwhile; change it "
                "where that is kept, and it stays"
            )
        how = f"byte for byte ({count(len(str(now).encode()), 'byte')})" if now is not None else "absent"
        said[place] = f"{place}: as {as_it_was}, {how}"
    return list(said.values())


async def pod_names(api: kube_api.Api) -> dict[str, str]:
    """Return what the pod with each address of the pod network is called: "namespace/name"."""
    return {
        address: f"{pod.namespace}/{pod.name}"
        for pod in await api.list(PODS)
        if not pod.flag("spec", "hostNetwork")
        for address in pod_addresses(pod)
    }

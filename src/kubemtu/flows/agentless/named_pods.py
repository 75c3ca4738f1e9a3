"""Pods that somebody names, looked into by commands in their own containers: their own ends, and what is inside them.

A look from outside a pod shows the host end of its veth. What runs in a pod is its owner's business, so nothing is run
there unless the pod is named; then it is the fixed commands that show a network, and no others.
"""

import asyncio
from collections.abc import Iterable, Sequence

import msgspec

from kubemtu.core import errors, inner, net, networks
from kubemtu.core.objects import Object, pod_addresses
from kubemtu.core.printed import values
from kubemtu.core.rights import EXEC_ROLE
from kubemtu.core.snapshot import Snapshot, Unread
from kubemtu.flows.agentless import commands, execs, places
from kubemtu.kube import api as kube_api


async def looked_into(api: kube_api.Api, snapshot: Snapshot, names: Sequence[str]) -> Snapshot:
    """Return the snapshot with what these pods ("namespace/name") show of themselves.

    Raises UsageError for a name that is of no pod with a network of its own; what could not be seen is an Unread.
    """
    pods = [_pod(snapshot, name) for name in dict.fromkeys(names)]
    shown = await asyncio.gather(*(_look(api, pod) for pod in pods))
    for pod, found in zip(pods, shown, strict=True):
        snapshot = _with(snapshot, pod, found)
    return snapshot


def _pod(snapshot: Snapshot, name: str) -> Object:
    namespace, slash, own = name.partition("/")
    if not slash or not namespace or not own:
        raise errors.UsageError(f"{name} is no pod: name it as NAMESPACE/NAME")
    pod = snapshot.find("Pod", own, namespace)
    if pod is None:
        raise errors.UsageError(f"no pod {name} was read: `kubectl get pods -A` shows which there are")
    if pod.flag("spec", "hostNetwork"):
        raise errors.UsageError(f"pod {name} is on its node's own network, so there is nothing inside it to look at")
    return pod


async def _look(api: kube_api.Api, pod: Object) -> values.Output | Unread:
    """Return what the first container shows that has the tools."""
    try:
        whole = await api.find("v1", "pods", pod.name, pod.namespace)
        for container in places.containers(whole, pod.name, ()) if whole is not None else ():
            for form, argvs in commands.FORMS:
                results = await asyncio.gather(
                    *(api.run(container.place, argv, seconds=execs.COMMAND_SECONDS) for argv in argvs)
                )
                if (output := execs.read(form, results, big_endian=False)) is not None:
                    return output
    except errors.Forbidden as error:
        return _unread(pod, f"{error}. As a ClusterRole: {EXEC_ROLE}", forbidden=True)
    except errors.KubemtuError as error:
        return _unread(pod, str(error).rstrip("."))
    return _unread(pod, "no container of it runs that has the tools which show a network")


def _with(snapshot: Snapshot, pod: Object, output: values.Output | Unread) -> Snapshot:
    if isinstance(output, Unread):
        return msgspec.structs.replace(snapshot, unread=(*snapshot.unread, output))
    node = snapshot.observation(pod.text("spec", "nodeName") or "")
    ports = node.ports if node is not None else ()
    addresses = set(pod_addresses(pod))
    at = next((port for port in ports if addresses & set(port.addresses)), None)
    own = _own(output, at, addresses)
    if at is None and own is not None and own.peer_index:  # a bridge's port has no route that tells whose it is
        at = next((port for port in ports if port.host_index == own.peer_index), None)
    if node is None or at is None or own is None:
        why = "its node shows no interface of it" if at is None else "which of its interfaces is its own cannot be told"
        return msgspec.structs.replace(snapshot, unread=(*snapshot.unread, _unread(pod, why)))
    port = msgspec.structs.replace(
        at,
        pod_link=own.name,
        pod_index=own.index,
        pod_mtu=own.mtu,
        addresses=at.addresses or tuple(pod_addresses(pod)),
        routes=tuple(route for route in output.routes if route.device == own.name),
        others=tuple(sorted({link.name for link in output.links} - {own.name, "lo"})),
        inner=inner.devices(output.links, own),
    )
    seen = msgspec.structs.replace(node, ports=tuple(port if each is at else each for each in node.ports))
    return msgspec.structs.replace(snapshot, nodes=tuple(seen if each is node else each for each in snapshot.nodes))


def _own(output: values.Output, at: net.PodPort | None, addresses: Iterable[str]) -> net.Link | None:
    """Return the pod's own end: what the host end leads to, else what has the pod's address or its default route."""
    links = {link.name: link for link in output.links}
    by_end = [link for link in output.links if at is not None and at.pod_index and link.index == at.pod_index]
    by_address = [links[one.device] for one in output.addresses if one.text in addresses and one.device in links]
    defaults = (one for one in output.routes if one.destination in networks.ANYWHERE)
    by_route = [links[one.device] for one in defaults if one.device in links]
    return next(iter((*by_end, *by_address, *by_route)), None)


def _unread(pod: Object, why: str, *, forbidden: bool = False) -> Unread:
    return Unread(
        what=f"pod {pod.namespace}/{pod.name}",
        why="forbidden" if forbidden else "unreachable",
        message=f"{why}: what is inside it is unknown.",
    )

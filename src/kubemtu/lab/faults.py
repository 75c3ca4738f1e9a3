"""Puts a scene's faults into a lab that is up, from the supervisor's side."""

import asyncio
import fnmatch
import os
import time

from kubemtu.lab import client, containers, manifests, scene
from kubemtu.lab.rtnl import Rtnl
from kubemtu.node import links, netns

ROLLOUT_SECONDS = 30.0
POLL_SECONDS = 0.05


async def commit(fault: scene.Fault, calls: client.Client, pids: dict[str, int]) -> None:
    """Make one fault true; `pids` are the nodes' as this process sees them."""
    match fault:
        case scene.ConfigEdit(namespace=namespace, name=name, key=key, value=value):
            await calls.merge(client.path("configmaps", name, namespace=namespace), {"data": {key: value}})
        case scene.Reconfigured(cni=cni, restarted=restarted):
            await _reconfigure(cni, calls, restarted=restarted)
        case scene.HandSet(node=node, links=pattern, mtu=mtu):
            await asyncio.to_thread(_hand_set, pids[node], pattern, mtu)
        case scene.IcmpFiltered(node=node):
            await asyncio.to_thread(_filter_icmp, pids[node])


async def _reconfigure(cni: scene.Canal | scene.Flannel, calls: client.Client, *, restarted: bool) -> None:
    bodies = {str(body["kind"]): body for body in manifests.network(cni)}
    await calls.merge(manifests.path(bodies["ConfigMap"]), {"data": bodies["ConfigMap"]["data"]})
    if not restarted:
        return
    where = manifests.path(bodies["DaemonSet"])
    stamp = {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": containers.now()}}}
    generation = (await calls.merge(where, {"spec": {"template": stamp}})).integer("metadata", "generation")
    deadline = time.monotonic() + ROLLOUT_SECONDS
    while time.monotonic() < deadline:
        found = await calls.get(where)
        wanted = found.integer("status", "desiredNumberScheduled")
        done = {found.integer("status", field) for field in ("updatedNumberScheduled", "numberReady")}
        if found.integer("status", "observedGeneration") == generation and done == {wanted}:
            return
        await asyncio.sleep(POLL_SECONDS)


def _rtnl_of(pid: int) -> Rtnl:
    """Open a socket in a node's namespace."""
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return netns.inside(there, Rtnl)
    finally:
        os.close(there)


def _hand_set(pid: int, pattern: str, mtu: int) -> None:
    with _rtnl_of(pid) as rtnl:
        for link in links.devices(rtnl):
            if fnmatch.fnmatchcase(link.name, pattern):
                links.set_mtu(rtnl, link, mtu)


def _filter_icmp(pid: int) -> None:
    with _rtnl_of(pid) as rtnl:
        rtnl.swallow_own_icmp(swallow=True)

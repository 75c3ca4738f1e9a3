"""Puts a scene's faults into a lab that is up, from the supervisor's side."""

import asyncio
import fnmatch
import time
from collections.abc import Sequence

from kubemtu.core.objects import Ref
from kubemtu.kube.api import Api
from kubemtu.node.kernel import links, netns
from kubemtu_lab import addressing, containers, errors, exec_faults, kernel, manifests, nft, scene, waits
from kubemtu_lab.rtnl import Rtnl

ROLLOUT_SECONDS = 90.0
POLL_SECONDS = 0.05


async def commit(
    fault: scene.Fault, api: Api, pids: dict[str, int], folder: int, families: addressing.Families
) -> None:
    """Make one fault true; `pids` are the nodes' as this process sees them, `folder` and `families` are the lab's.

    Raises Impossible, NoSuchPlace.
    """
    match fault:
        case scene.ConfigEdit(namespace=namespace, name=name, key=key, value=value):
            config = Ref(api_version="v1", kind="ConfigMap", plural="configmaps", name=name, namespace=namespace)
            await waits.answered(lambda: api.patch(config, {"data": {key: value}}))
        case scene.Reconfigured(cni=cni, restarted=restarted):
            await _reconfigure(cni, api, families, restarted=restarted)
        case scene.HandSet(node=node, links=pattern, mtu=mtu):
            await asyncio.to_thread(_hand_set, pids[node], pattern, mtu)
        case scene.IcmpFiltered(node=node):
            await asyncio.to_thread(_filter_icmp, pids[node], families)
        case scene.PolicyDropped(node=node):
            rules = policy(fault, await _filtered(fault, api))
            await asyncio.to_thread(nft.load, rules, pids[node])
        case scene.ExecBroken(node=node, how=how):
            exec_faults.note(folder, fault)
            if how in exec_faults.DIALLED:
                await asyncio.to_thread(nft.load, exec_faults.firewall(how), pids[node])


def policy(fault: scene.PolicyDropped, addresses: Sequence[str]) -> str:
    """Return the rules, for nft in the node's namespace, that filter what goes to these addresses or networks."""
    what = {"all": "", "icmp": "meta l4proto { icmp, icmpv6 } "}.get(fault.protocol, f"meta l4proto {fault.protocol} ")
    if fault.port is not None:
        what = f"{fault.protocol} dport {fault.port} "
    lines = ["type filter hook forward priority filter;", "ct state established,related accept"]
    lines += [f"{'ip6' if ':' in each else 'ip'} daddr {each} {what}drop" for each in addresses]
    name = "-".join(["policy", *fault.pod.split("/"), fault.protocol, str(fault.port or "")])
    return nft.table("inet", name.rstrip("-"), "  chain forward {\n    " + "\n    ".join(lines) + "\n  }\n")


async def _filtered(fault: scene.PolicyDropped, api: Api) -> list[str]:
    """Return the addresses that a filter is for: of a pod, or the networks of all pods of its node."""
    if fault.pod:
        namespace, _, name = fault.pod.rpartition("/")
        found = await waits.answered(lambda: api.find("v1", "pods", name, namespace or "default"))
        told = [each.text("ip") for each in found.each("status", "podIPs")] if found else []
    else:
        node = await waits.answered(lambda: api.find("v1", "nodes", fault.node))
        networks = node.get("spec", "podCIDRs") if node else None
        told = [str(each) for each in networks] if isinstance(networks, list) else []
    if known := [each for each in told if each]:
        return known
    raise errors.NoSuchPlace(f"there is no {fault.pod or fault.node} with an address to filter")


async def _reconfigure(cni: scene.Cni, api: Api, families: addressing.Families, *, restarted: bool) -> None:
    bodies = {str(body["kind"]): body for body in manifests.network(cni, families)}
    config = await waits.answered(lambda: api.ref(bodies["ConfigMap"]))
    await waits.answered(lambda: api.patch(config, {"data": bodies["ConfigMap"]["data"]}))
    if not restarted:
        return
    daemonset = await waits.answered(lambda: api.ref(bodies["DaemonSet"]))
    stamp = {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": containers.now()}}}
    restart = {"spec": {"template": stamp}}
    generation = (await waits.answered(lambda: api.patch(daemonset, restart))).integer("metadata", "generation")
    deadline = time.monotonic() + ROLLOUT_SECONDS
    while time.monotonic() < deadline:
        found = await waits.answered(lambda: api.get(daemonset))
        if found is None:
            return
        wanted = found.integer("status", "desiredNumberScheduled")
        done = {found.integer("status", field) for field in ("updatedNumberScheduled", "numberReady")}
        if found.integer("status", "observedGeneration") == generation and done == {wanted}:
            return
        await asyncio.sleep(POLL_SECONDS)


def _rtnl_of(pid: int) -> Rtnl:
    """Open a socket in a node's namespace."""
    with kernel.network(pid) as there:
        return netns.inside(there, Rtnl)


def _hand_set(pid: int, pattern: str, mtu: int) -> None:
    with _rtnl_of(pid) as rtnl:
        for link in links.devices(rtnl):
            if fnmatch.fnmatchcase(link.name, pattern):
                links.set_mtu(rtnl, link, mtu)


def _filter_icmp(pid: int, families: addressing.Families) -> None:
    with _rtnl_of(pid) as rtnl:
        for family in families:
            rtnl.swallow_own_icmp(family, swallow=True)

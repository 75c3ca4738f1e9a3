"""The node's own traffic: whom to pin its routes to, and the plan that does so besides, or does nothing else."""

import ipaddress
from collections.abc import Collection

import msgspec

from kubemtu.core import encap, errors, net
from kubemtu.core.change import migration, plan
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.objects import NODES, Ref, node_addresses
from kubemtu.core.text.wording import names
from kubemtu.kube import api as kube_api

SERVICE = Ref(api_version="v1", kind="Service", plural="services", namespace="default", name="kubernetes")
WHY = "what nodes say to each other and to the API server arrives again"


async def with_hosts(
    api: kube_api.Api, planned: plan.Plan, topology: Topology, without: Collection[str] = (), *, alone: bool = False
) -> plan.Plan:
    """Return the plan, with pins on the nodes' routes to each other and to the API server's Service.

    Where the plan pins no pods, because none sends too much, a step of its own comes first that pins those routes;
    with `alone` nothing else is done then. A plan with nothing to pin at all comes back as it is. Raises UsageError
    for one that raises the pods' MTU, which needs no relief, and for a size that IPv6 cannot live on.
    """
    first = planned.steps[0] if planned.steps else None
    pins = isinstance(first, plan.Live) and first.relieves
    grows = not pins and any(isinstance(step, plan.Live) for step in planned.steps)
    if grows and not alone:
        raise errors.UsageError("--hosts goes with pins, and this plan raises the MTU of running pods: leave it out")
    size = first.underlay if isinstance(first, plan.Live) and pins else topology.state.outer(planned.target)
    addresses = await _addresses(api)
    _fits(size, addresses)
    if pins:
        steps = tuple(
            msgspec.structs.replace(step, host_mtu=size, host_addresses=addresses)
            if isinstance(step, plan.Live)
            else step
            for step in planned.steps
        )
    else:
        own = _own_step(topology, planned.target, size, addresses, without)
        if own is None:
            return msgspec.structs.replace(planned, steps=()) if alone else planned
        steps = (own,) if alone else (own, *planned.steps)
    left = (
        f"The nodes' own routes to each other and to the API server are pinned to {size} until `kubemtu rollback` or a "
        "reboot, because no NIC is changed: correct the network or the NICs."
    )
    return msgspec.structs.replace(
        planned, steps=steps, remains=(left,) if alone and not pins else (*planned.remains, left)
    )


def pinned_by(planned: plan.Plan) -> bool:
    """Say whether a plan pins the nodes' own traffic: one that takes its place must, too, or nothing takes it back."""
    return any(isinstance(step, plan.Live) and step.host_mtu is not None for step in planned.steps)


def _own_step(
    topology: Topology, pod_mtu: int, size: int, addresses: tuple[str, ...], without: Collection[str]
) -> plan.Live | None:
    """Return the step that pins the nodes' own routes and touches no pod; None where no NIC sends more than `size`."""
    nodes = [node for node in topology.nodes if node.name not in without]
    if not any(node.nic_mtu is None or node.nic_mtu > size for node in nodes):
        return None
    return plan.Live(
        nodes=tuple(
            plan.NodeTarget(node=node.name, ports=net.PortRule(), pod_mtu=pod_mtu, origin_mtu=pod_mtu) for node in nodes
        ),
        pin_mtu=pod_mtu,
        highest_mtu=pod_mtu,
        underlay=size,
        why=WHY,
        start=migration.Phase.PIN_PORTS,
        until=migration.Phase.PIN_PORTS,
        without=tuple(sorted(without)),
        host_mtu=size,
        host_addresses=addresses,
    )


def _fits(size: int, addresses: Collection[str]) -> None:
    """Raise UsageError where a node is reached over IPv6, and that cannot be held to `size` bytes."""
    narrow = [text for text in addresses if ipaddress.ip_address(text).version == 6]
    if narrow and size < encap.IPV6_MINIMUM:
        raise errors.UsageError(
            f"--hosts would pin the nodes' own routes to {size}, and IPv6, by which {names(narrow)} is reached, needs "
            "1280 on every path (RFC 8200, section 5): leave --hosts out, or correct the network"
        )


async def _addresses(api: kube_api.Api) -> tuple[str, ...]:
    """Return every node's InternalIP, and the API server's address inside the cluster, as far as that may be read."""
    nodes = {address for node in await api.list(NODES) for address in node_addresses(node)}
    service = await api.get(SERVICE)
    own = service.text("spec", "clusterIP") if service is not None else None
    virtual = {own} if own and own != "None" else set()
    return tuple(sorted(text for text in nodes | virtual if _is_address(text)))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True

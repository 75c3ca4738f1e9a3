"""The node's own traffic: whom to pin its routes to, and the plan that does so besides."""

import msgspec

from kubemtu.core import errors, plan
from kubemtu.core.objects import Ref, Want
from kubemtu.kube import api as kube_api

NODES = Want(kind="Node", plural="nodes", api_versions=("v1",))
SERVICE = Ref(api_version="v1", kind="Service", plural="services", namespace="default", name="kubernetes")


async def with_hosts(api: kube_api.Api, whole: plan.Plan) -> plan.Plan:
    """The plan, with pins on the nodes' routes to each other and to the API server's Service.

    Raises UsageError for a plan that pins nothing before it changes anything: an increase needs no relief.
    """
    first = whole.steps[0] if whole.steps else None
    if not isinstance(first, plan.Live) or not first.relieves:
        raise errors.UsageError("--hosts goes with pins, and this plan has none to begin with: leave it out")
    addresses = await _addresses(api)
    steps = tuple(
        msgspec.structs.replace(step, host_mtu=step.underlay, host_addresses=addresses)
        if isinstance(step, plan.Live)
        else step
        for step in whole.steps
    )
    left = (
        f"The nodes' own routes to each other and to the API server are pinned to {first.underlay} until `kubemtu "
        "rollback` or a reboot, because no NIC is changed: correct the network or the NICs."
    )
    return msgspec.structs.replace(whole, steps=steps, remains=(*whole.remains, left))


async def _addresses(api: kube_api.Api) -> tuple[str, ...]:
    """Every node's InternalIP, and the API server's address inside the cluster, as far as that may be read."""
    nodes = {
        address.text("address") or ""
        for node in await api.list(NODES)
        for address in node.each("status", "addresses")
        if address.text("type") == "InternalIP"
    }
    service = await api.get(SERVICE)
    own = service.text("spec", "clusterIP") if service is not None else None
    virtual = {own} if own and own != "None" else set()
    return tuple(sorted((nodes | virtual) - {""}))

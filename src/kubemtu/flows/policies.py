"""Write an MTUPolicy: show what stands there, see that the cluster could live by it, write it under its version."""

import datetime as dt

from kubemtu.core import encap, errors
from kubemtu.core.cluster import policy
from kubemtu.core.cluster.policy import Policy
from kubemtu.core.objects import Object
from kubemtu.core.text import digits
from kubemtu.flows import network, observe
from kubemtu.kube import api as kube_api
from kubemtu.kube import crd

DAYS_MOST = 36500


def expiry(written: str | None, now: float) -> str:
    """Read a time, or a number of days from now on ("90d"), as RFC 3339; empty for None. Raises UsageError."""
    if not written:
        return ""
    days = digits.number(written.removesuffix("d")) if written.endswith("d") else None
    if days is not None and 0 < days <= DAYS_MOST:
        end = dt.datetime.fromtimestamp(now + days * policy.DAY, dt.UTC)
        return end.isoformat(timespec="seconds").replace("+00:00", "Z")
    try:
        policy.moment(written)
    except ValueError:
        raise errors.UsageError(
            f"--expires takes an RFC 3339 time such as 2027-01-31T00:00:00Z, or days such as 90d, not {written!r:.40}"
        ) from None
    return written


async def present(api: kube_api.Api, name: str) -> Policy | None:
    """Return the policy of that name, or None; one that cannot be read is told as it is.

    Raises Malformed, so that nobody writes over what he has not seen.
    """
    found = await api.get(policy.ref(name))
    return None if found is None else _read(found)


def _read(stored: Object) -> Policy:
    try:
        return policy.read(stored)
    except errors.Malformed as broken:
        raise errors.Malformed(
            f"MTUPolicy {stored.name} is there and cannot be read: {broken}; correct it, or delete it first"
        ) from broken


async def fits(api: kube_api.Api, bound: Policy) -> None:
    """Raise UsageError when the cluster has not the nodes it names, or when it leaves no room for a packet."""
    snapshot = await observe.observe(api)
    known = {node.name for node in snapshot.each("Node")}
    unknown = sorted({*bound.nodes} - known)
    if unknown:
        raise errors.UsageError(f"--node: the cluster has no node {unknown[0]}; `kubectl get nodes` lists them")
    try:
        found = network.model(snapshot, bound.path_mtu)
    except (errors.NotRecognised, errors.Forbidden):
        return  # nothing is known of the encapsulation, so there is nothing that it could contradict
    if found.carries is not None and found.carries < found.least:
        raise errors.UsageError(
            f"--path-mtu {bound.path_mtu} leaves {found.carries} for a pod's packet, and {encap.NEEDS[found.least]}; "
            "measure the path once more"
        )


async def write(api: kube_api.Api, bound: Policy, before: Policy | None) -> dict[str, object]:
    """Write it; returns the object as it is now. Raises Conflict when somebody else wrote it after it was shown."""
    await crd.install(api, only_absent=True)
    if before is None:
        return (await api.create(policy.body(bound))).body
    found = await api.get(policy.ref(bound.name))
    if found is None or _read(found) != before:
        raise errors.Conflict(f"MTUPolicy {bound.name} was changed meanwhile; run the same command again to see how")
    spec = {"nodes": None, "expires": None} | dict(_spec(bound))
    return (await api.patch(policy.ref(bound.name), {"spec": spec}, resource_version=found.resource_version)).body


def _spec(bound: Policy) -> dict[str, object]:
    spec = policy.body(bound)["spec"]
    assert isinstance(spec, dict)
    return spec

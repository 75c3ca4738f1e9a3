"""What is asked for while a change is under way, held against that change: by what it means, not by how it is said.

Whoever runs the same command again carries on, also where a number in it came to nothing (a most above every NIC). What
would come to something else is refused by name: carried on with, it would be passed over.
"""

from collections.abc import Collection

import msgspec

from kubemtu.core import errors
from kubemtu.core.change import plan
from kubemtu.core.objects import NODES
from kubemtu.core.planning import apart
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text import wording
from kubemtu.flows import decide, network, observe
from kubemtu.flows.change import force, hosts, preconditions
from kubemtu.kube import api as kube_api
from kubemtu.kube import mtu


class AskedAgain(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for besides carrying on; MTUs in bytes, None: nothing of that."""

    mtu: int | None = None
    nic_mtu: int | None = None
    apart_by: apart.Asked = decide.WHOLE
    saved: plan.Plan | None = None
    without: tuple[str, ...] = ()
    hosts: bool = False
    config_only: bool = False

    @property
    def sizes(self) -> str:
        """The options that say what pods are to send, each with a space before it."""
        said = f" --mtu {self.mtu}" if self.mtu is not None else ""
        said += f" --nic-mtu {self.nic_mtu}" if self.nic_mtu is not None else ""
        return said + self.apart_by.options


async def difference(api: kube_api.Api, standing: plan.Plan, asked: AskedAgain) -> str:
    """Say what is asked for that the plan under way does not do, as it follows "but"; empty: it does all of it.

    Whether the nodes' own traffic is pinned is not looked at. Raises UsageError where nobody knows what `asked` leaves
    to the cloud.
    """
    if asked.saved is not None and not force.carries_out(standing, asked.saved, asked.without):
        return "the saved plan is another"
    if not _literally(standing, asked) and other_sizes(standing, await observe.observe(api), asked):
        return f"with{asked.sizes} pods would get other sizes"
    if asked.config_only and plan.last_live(standing.steps) is not None:
        return "--config-only leaves running pods as they are, and it changes them"
    return ""


def inside(standing: plan.Plan, without: Collection[str]) -> str:
    """Say which nodes are to be left out of a plan under way that may hold pins on them, as it follows "but"."""
    live = plan.last_live(standing.steps)
    within = sorted({to.node for to in live.nodes} & set(without)) if live is not None else []
    are = "is" if len(within) == 1 else "are"
    return f"{wording.these('node', within)} {are} in it, and cannot be left out any more" if within else ""


def not_pinned(standing: plan.Plan, asked: AskedAgain) -> bool:
    """Say whether the nodes' own traffic is to be pinned, and the plan under way does not."""
    return asked.hosts and not hosts.pinned_by(standing)


def _literally(standing: plan.Plan, asked: AskedAgain) -> bool:
    """Say whether the options for sizes are those of the plan, or none."""
    alike = not asked.apart_by or asked.apart_by.same(apart.asked_by(standing))
    return alike and asked.mtu in {None, standing.target} and asked.nic_mtu is None


def other_sizes(standing: plan.Plan, snapshot: Snapshot, asked: AskedAgain) -> bool:
    """Say whether a plan for this would give some node of the one under way another size, or another way out."""
    found = network.model(snapshot, asked.nic_mtu)
    live = plan.last_live(standing.steps)
    try:
        sizes = decide.sizes(found, asked.mtu, asked.apart_by or apart.asked_by(standing))
    except errors.UsageError:
        return True
    if live is None:
        return {size for size, _ in sizes.values()} != {standing.target}
    given = {to.node: (to.pod_mtu, to.default_route_mtu) for to in live.nodes if to.node in sizes}
    return any(sizes[name] != size for name, size in given.items())


async def left_out(api: kube_api.Api, open_one: mtu.Migration, without: Collection[str]) -> None:
    """Leave nodes that joined since as they are, too. Raises UsageError for a name that no node has."""
    live = plan.last_live(open_one.plan.steps)
    more = set(without) - set(live.without if live is not None else without)
    if not more:
        return
    there = {node.name for node in await api.list(NODES)}
    if unknown := sorted(more - there):
        raise errors.UsageError(
            f"--without: the cluster has no node {unknown[0]}; it has {wording.names(sorted(there))}"
        )
    whole = preconditions.leave_out(open_one.plan, force.left_out(open_one.plan) | more)
    await mtu.set_plan(api, open_one.name, whole, open_one.direction)

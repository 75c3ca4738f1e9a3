"""What `plan`, `apply` and `rollback` share: a connection, a plan from a file or made now, a question."""

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from kubemtu import files
from kubemtu.cli import kubeflags, logs, render, terminal
from kubemtu.core import errors
from kubemtu.core.change import plan
from kubemtu.core.cluster.topology import Topology
from kubemtu.core.planning import apart
from kubemtu.core.text import json_values
from kubemtu.flows import decide, network

if TYPE_CHECKING:  # `plan --from` needs no cluster
    from kubemtu.kube import api as kube_api

PLAN_MOST = 64 << 20  # bytes of a saved plan: thousands of nodes
INTERRUPTED = "interrupted; nothing after the last line above was done"
UNCHANGED = "interrupted before this run changed anything of the pod network; the same command again begins anew"
PIPE_SECONDS = 10.0  # in which whoever writes into `apply <(...)` must say something


class PlannedChange(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, and the cluster that it is for."""

    plan: plan.Plan
    topology: Topology


@contextlib.asynccontextmanager
async def connected(flags: kubeflags.KubeFlags, interrupted: str = INTERRUPTED) -> AsyncIterator["kube_api.Api"]:
    """Return the API that the flags name.

    SIGTERM and SIGHUP interrupt the block as Ctrl-C does: both raise Interrupted with that sentence, unless the block
    says more.
    """
    from kubemtu.kube import api as kube_api
    from kubemtu.kube import connect

    logs.on_a_terminal()
    task = asyncio.current_task()
    assert task is not None
    if threading.current_thread() is threading.main_thread():  # a thread is sent no signal, and may catch none
        for number in (signal.SIGTERM, signal.SIGHUP):  # asyncio.Runner does this for SIGINT
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    settings = connect.settings(flags.kubeconfig, flags.context, impersonate=flags.impersonate)
    try:
        async with kube_api.Api(settings) as api:
            yield api
    except asyncio.CancelledError:
        raise errors.Interrupted(interrupted) from None


def wanted(mtu: str) -> int | None:
    """Read `--mtu`: a number of bytes, or None for auto. Raises UsageError."""
    if mtu == "auto":
        return None
    if not mtu.isascii() or not mtu.isdecimal() or len(mtu) > 5:
        raise errors.UsageError(f"--mtu takes a number of bytes or auto, not {mtu!r:.40}")
    return int(mtu)


def asked(*, per_node: bool, egress: str | None) -> apart.Asked:
    """Read `--per-node` and `--egress-mtu`. Raises UsageError."""
    if egress is None:
        return apart.Asked(per_node=per_node)
    if egress == "auto":
        return apart.Asked(per_node=per_node, documented=True)
    if not egress.isascii() or not egress.isdecimal() or len(egress) > 5:
        raise errors.UsageError(f"--egress-mtu takes a number of bytes or auto, not {egress!r:.40}")
    return apart.Asked(per_node=per_node, egress=int(egress))


async def obtain(
    api: "kube_api.Api",
    saved: plan.Plan | None,
    *,
    mtu: int | None,
    nic_mtu: int | None = None,
    without: Collection[str] = (),
    config_only: bool = False,
    hosts: bool = False,
    apart_by: apart.Asked = decide.WHOLE,
) -> PlannedChange:
    """Return the `saved` plan, or one made now.

    Raises Unreachable when a node has no agent, unless the running pods are to be left alone.
    """
    from kubemtu.flows import observe
    from kubemtu.flows.change import hosts as host_traffic
    from kubemtu.flows.change import preconditions

    snapshot = await observe.observe(api)
    if apart_by.goes_out:
        snapshot = await observe.with_services(api, snapshot)
    if not config_only:
        preconditions.observed(snapshot, without)
    if saved is not None:
        planned, seen = saved, network.model(snapshot)
    else:
        planned, seen = decide.plan(snapshot, mtu, nic_mtu, apart_by)
    planned = without_live(planned) if config_only else preconditions.leave_out(planned, without)
    if hosts:
        planned = await host_traffic.with_hosts(api, planned, seen, without)
    return PlannedChange(plan=planned, topology=seen)


def text(planned: plan.Plan, topology: Topology, columns: int | None) -> str:
    """Return a plan as `kubemtu plan` shows it; of an empty one, what is wrong with the cluster all the same."""
    if planned.steps:
        return render.whole_plan(planned, topology, columns)
    return "\n".join(render.nothing(planned, topology, decide.judge(topology), columns))


def without_live(planned: plan.Plan) -> plan.Plan:
    """Return the plan with its configuration steps only; what that leaves untouched is said in `remains`."""
    live = next((step for step in planned.steps if isinstance(step, plan.Live)), None)
    nodes = live.nodes if live is not None else ()
    pods = sum(node.running for node in nodes)
    left = []
    if pods:
        left.append(
            f"{pods} running pods keep the MTU they have until they are restarted, or until `kubemtu apply` changes "
            "them."
        )
    if any(node.origin_mtu < node.pod_mtu for node in nodes):
        left.append(
            f"New pods get {planned.target} while running ones take less: what a new pod sends them beyond that does "
            "not arrive."
        )
    steps = tuple(step for step in planned.steps if not isinstance(step, plan.Live))
    return msgspec.structs.replace(planned, steps=steps, remains=(*planned.remains, *left))


def load(file: Path) -> plan.Plan:
    """Read a saved plan. Raises Malformed when it is none, UsageError for no file, and for one that edits files."""
    try:
        planned = msgspec.convert(json_values.decode(files.read(file, PLAN_MOST, pipes=PIPE_SECONDS)), plan.Plan)
    except files.TooLong as unlike:
        raise errors.Malformed(f"{file} is not a plan of kubemtu: it {unlike}") from unlike
    except files.Unlike as unlike:
        raise errors.UsageError(f"{file} {unlike}; name a plan that `kubemtu plan --out` saved") from unlike
    except OSError as unreadable:
        raise errors.UsageError(f"{file} cannot be read: {unreadable.strerror}") from unreadable
    except msgspec.DecodeError as unlike:
        raise errors.Malformed(
            f"{file} is not a plan of kubemtu: {unlike}; save one with `kubemtu plan --out {file}`"
        ) from unlike
    if planned.schema != plan.SCHEMA:
        raise errors.Malformed(
            f"{file} was written for {planned.schema}, and this kubemtu reads {plan.SCHEMA}; save it anew with "
            f"`kubemtu plan --out {file}`"
        )
    of_file = next((step for step in planned.steps if isinstance(step, plan.EditValue) and step.ref.of_file), None)
    if of_file is not None:
        raise errors.UsageError(
            f"{file} edits {of_file.ref}, which is no object of a cluster: `kubemtu plan --from ... --in-place FILE`"
            " does that, and whoever makes the cluster from it brings it there"
        )
    return planned


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless told not to. Raises UsageError where nobody can answer, Interrupted when the answer is no, or Ctrl-C.

    An event loop turns Ctrl-C into a request that waits for the answer (asyncio.Runner); here it is the answer.
    """
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise errors.UsageError("there is no terminal to ask on: add --yes to go ahead without being asked")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        agreed = click.confirm(question)
    except click.Abort:
        terminal.echo()
        agreed = False
    except OSError as unwritten:
        raise errors.UsageError(
            f"the question cannot be asked, stdout takes nothing ({unwritten.strerror}): add --yes to go ahead without"
        ) from unwritten
    finally:
        signal.signal(signal.SIGINT, before)
    if not agreed:
        raise errors.Interrupted("nothing was done")

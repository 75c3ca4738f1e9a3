"""What `plan`, `apply` and `rollback` share: a connection, a plan from a file or made now, a question."""

import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import click
import msgspec

from kubemtu.cli import kubeflags, render
from kubemtu.core import errors, plan
from kubemtu.flows import decide, observe
from kubemtu.kube import api as kube_api
from kubemtu.kube import connect


@contextlib.asynccontextmanager
async def connected(flags: kubeflags.KubeFlags) -> AsyncIterator[kube_api.Api]:
    """The API that the flags name."""
    settings = connect.settings(flags.kubeconfig, flags.context, impersonate=flags.impersonate)
    async with kube_api.Api(settings) as api:
        yield api


def wanted(mtu: str) -> int | None:
    """Read `--mtu`: a number of bytes, or None for auto. Raises UsageError."""
    if mtu == "auto":
        return None
    if not mtu.isdecimal():
        raise errors.UsageError(f"--mtu takes a number of bytes or auto, not {mtu!r}")
    return int(mtu)


async def obtain(api: kube_api.Api, file: Path | None, mtu: str, *, config_only: bool, show: bool) -> plan.Plan:
    """The plan in `file`, or one made now; shown, when asked for, as `kubemtu plan` shows it."""
    snapshot = await observe.observe(api)
    if file is not None:
        whole = load(file)
        topology = decide.model(snapshot)
    else:
        whole, topology = decide.plan(snapshot, wanted(mtu))
    if config_only:
        whole = without_live(whole)
    elif not any(isinstance(step, plan.Live) for step in whole.steps) and not snapshot.nodes and whole.steps:
        raise errors.Unreachable(
            "no node has a kubemtu-agent, so running pods cannot be changed: install the agent, or change the "
            "configuration alone with --config-only"
        )
    if show:
        render.echo(render.whole_plan(whole, topology, render.width()))
    return whole


def without_live(whole: plan.Plan) -> plan.Plan:
    """The plan with its configuration steps only; what that leaves untouched is said in `remains`."""
    live = [step for step in whole.steps if isinstance(step, plan.Live)]
    pods = sum(node.running for step in live for node in step.nodes)
    left = f"{pods} running pods keep the MTU they have until they are restarted, or until `kubemtu apply` changes them"
    return msgspec.structs.replace(
        whole,
        steps=tuple(step for step in whole.steps if not isinstance(step, plan.Live)),
        remains=(*whole.remains, left) if pods else whole.remains,
    )


def load(file: Path) -> plan.Plan:
    """Read a saved plan. Raises Malformed when it is none, UsageError when there is no such file."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=plan.Plan)
    except OSError as unreadable:
        raise errors.UsageError(f"{file} cannot be read: {unreadable.strerror}") from unreadable
    except msgspec.DecodeError as unlike:
        raise errors.Malformed(
            f"{file} is not a plan of kubemtu: {unlike}; save one with `kubemtu plan --out {file}`"
        ) from unlike


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless told not to. Raises UsageError where nobody can answer, Abort when the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise errors.UsageError("there is no terminal to ask on: add --yes to go ahead without being asked")
    click.confirm(question, abort=True)

"""Changes as the API remembers them: begin one, find the one that is not finished, find the one to take back."""

import time

from kubemtu.core import errors, plan, undo
from kubemtu.kube import api as kube_api
from kubemtu.kube import crd, mtu


async def begin(api: kube_api.Api, whole: plan.Plan) -> str:
    """Record a plan as a MTUMigration, so that it can be carried on from anywhere; return its name."""
    await crd.install(api)
    name = f"{whole.cni}-{whole.target}-{time.time_ns() // 1_000_000:x}"
    await mtu.create_migration(api, name, whole)
    return name


async def latest(api: kube_api.Api) -> mtu.Migration | None:
    """The change that was begun last, finished or not; None when there never was one."""
    found = await mtu.migrations(api)
    return found[-1] if found else None


async def unfinished(api: kube_api.Api) -> mtu.Migration | None:
    """The last change, when it has not come to its end."""
    last = await latest(api)
    return last if last is not None and not last.progress.finished else None


async def last_to_undo(api: kube_api.Api) -> mtu.Migration:
    """The change that a rollback takes back. Raises UsageError when there is none."""
    last = await latest(api)
    if last is None:
        raise errors.UsageError("there is nothing to roll back: kubemtu has not changed this cluster")
    if last.progress.direction == "back" and last.progress.finished:
        raise errors.UsageError(f"there is nothing to roll back: {last.name} was taken back already")
    return last


async def turn_back(api: kube_api.Api, last: mtu.Migration) -> None:
    """Make that change go back from where it stands; one that goes back already just goes on."""
    if last.progress.direction == "forward":
        await mtu.set_direction(api, last.name, "back")
        await mtu.advance(api, last.name, undo.turn(last.progress), "turn back", expected=last.progress)

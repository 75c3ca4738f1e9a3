"""Changes as the API remembers them: begin one, find the one that is not finished, find the one to take back."""

import msgspec

from kubemtu.core import errors
from kubemtu.core.change import migration, plan, storage, undo
from kubemtu.core.objects import Ref
from kubemtu.core.text.wording import names
from kubemtu.flows.change import preconditions, traces
from kubemtu.kube import api as kube_api
from kubemtu.kube import crd, mtu, records

LEASE = Ref(
    api_version="coordination.k8s.io/v1", kind="Lease", plural="leases", namespace="kube-system", name="kubemtu"
)


async def begin(api: kube_api.Api, planned: plan.Plan, direction: records.Direction = "forward") -> str:
    """Record a plan as a MTUMigration, so that it can be carried on from anywhere; return its name.

    Raises Conflict when what it edits is not any more what it was made for, and when another is begun at this moment,
    UsageError while another one is in force, and where no object of the API can hold the plan.
    """
    storable(planned)
    if (held := await in_force(api)) is not None:
        raise errors.UsageError(in_force_sentence(held))
    await preconditions.edits_fit(api, planned.steps)
    await crd.install(api, only_absent=True)
    number = records.next_number(await mtu.migrations(api), api.now())
    sizes = dict.fromkeys((planned.pod_mtus[0], planned.pod_mtus[-1]))
    name = f"{planned.cni}-{'-to-'.join(map(str, sizes))}-{number:x}"
    await mtu.create_migration(api, name, planned, direction)
    try:
        await _take_turn(api, name)
    except errors.KubemtuError:
        await mtu.delete_migration(api, name)
        raise
    return name


def storable(planned: plan.Plan) -> None:
    """Raise UsageError where no object of the API can hold the plan."""
    if said := storage.too_large(planned):
        raise errors.UsageError(said)


async def _take_turn(api: kube_api.Api, name: str) -> None:
    """Put the name into the Lease, by which only one of several that begin at the same moment goes on.

    Raises Conflict for the others.
    """
    lease = await api.get(LEASE)
    spec = {"holderIdentity": name, "acquireTime": records.moment(api.now())}
    if lease is not None:
        holder = lease.text("spec", "holderIdentity")
        if any(one.name == holder and not one.progress.finished for one in await mtu.migrations(api)):
            raise errors.Conflict(f"{holder} has just been begun by another kubemtu; let that one finish")
    try:
        if lease is None:
            metadata = {"name": LEASE.name, "namespace": LEASE.namespace}
            await api.create({"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec})
        else:
            await api.patch(LEASE, {"spec": spec}, resource_version=lease.resource_version)
    except errors.Conflict as other:
        raise errors.Conflict("another kubemtu has begun a change at this moment; let that one finish") from other


async def latest(api: kube_api.Api) -> mtu.Migration | None:
    """Return the change that was begun last, finished or not; None when there never was one that touched anything."""
    found = [one for one in await mtu.migrations(api) if not one.progress.abandoned]
    return found[-1] if found else None


async def unfinished(api: kube_api.Api) -> mtu.Migration | None:
    """Return the last change, when it has not come to its end."""
    last = await latest(api)
    return last if last is not None and not last.progress.finished else None


async def in_force(api: kube_api.Api) -> mtu.Migration | None:
    """Return the last change, when it has come to its end and agents keep what it made."""
    last = await latest(api)
    return last if last is not None and last.progress.finished and last.progress.held else None


def in_force_sentence(held: mtu.Migration) -> str:
    """Say why nothing else is begun while that change is in force, and what to do."""
    return (
        f"{held.name} is in force, and agents keep what it made on the nodes: take it back with `kubemtu rollback` "
        "before anything else"
    )


async def only_pinned(api: kube_api.Api, open_one: mtu.Migration) -> bool:
    """Say whether that change has come no further than its pins, so that it can be given another plan."""
    steps, there = open_one.plan.steps, open_one.progress
    first = steps[0] if steps else None
    if there.direction != "forward" or not isinstance(first, plan.Live) or not first.relieves or there.step > 1:
        return False
    if there.step == 0 or len(steps) == 1:
        return True
    following = steps[1]
    if isinstance(following, plan.EditValue):
        return await preconditions.stands(api, following) == "before"
    return isinstance(following, plan.Live) and there.phase is None


async def go_forward(api: kube_api.Api, open_one: mtu.Migration, direction: records.Direction = "forward") -> None:
    """Want that change to go on to its end, or to its relief."""
    if open_one.direction != direction:
        await mtu.set_direction(api, open_one.name, direction)


async def give_another_plan(
    api: kube_api.Api, open_one: mtu.Migration, planned: plan.Plan, direction: records.Direction = "forward"
) -> str:
    """Lead a change that has only pins elsewhere: its pins go over into those of the new plan; return its name.

    Pins may go to any size around devices that stay as they are. Raises UsageError where the new plan needs none, or
    where no object of the API can hold it, and Conflict when somebody else drives.
    """
    storable(planned)
    first = planned.steps[0] if planned.steps else None
    if not isinstance(first, plan.Live) or not first.relieves:
        raise errors.UsageError(
            f"{open_one.name} holds pins for {open_one.plan.target}, and nothing has to be pinned for "
            f"{planned.target}: take them back with `kubemtu rollback` first"
        )
    there = open_one.progress
    phase = there.phase if there.step == 0 else migration.Phase.PIN_PORTS
    again = msgspec.structs.replace(undo.take_over(there), step=0, begun=True, phase=phase)
    # The place first: whoever is killed in between has only pinned the old size once more.
    await mtu.advance(api, open_one.name, again, f"given another plan, to {planned.target}", expected=there)
    await mtu.set_plan(api, open_one.name, planned, direction)
    return open_one.name


async def give_up(api: kube_api.Api, last: mtu.Migration) -> None:
    """End a change that stopped before it had touched anything. Raises Conflict when somebody drives it."""
    taken = undo.take_over(last.progress)
    await mtu.advance(api, last.name, taken, "a driver takes over", expected=last.progress)
    for node in await mtu.nodes(api):
        if node.desired is not None and node.desired.migration == last.name:
            await mtu.set_desired(api, node.name, None)
    await mtu.advance(api, last.name, undo.abandon(taken), "abandoned; nothing was changed", expected=taken)


async def last_to_undo(api: kube_api.Api) -> mtu.Migration:
    """Return the change that a rollback takes back. Raises UsageError when there is none."""
    last = await latest(api)
    if last is None:
        given_up = names(one.name for one in await mtu.migrations(api))
        if given_up:
            raise errors.UsageError(f"{traces.NOTHING}: {given_up} ended before anything was changed")
        raise errors.UsageError(await traces.none_recorded(api))
    if last.progress.direction == "backward" and last.progress.finished:
        raise errors.UsageError(f"there is nothing to roll back: {last.name} was taken back already")
    return last


async def turn_back(api: kube_api.Api, last: mtu.Migration) -> None:
    """Make that change go back from where it stands; one that goes back already just goes on.

    Raises Conflict, and leaves all as it is, when somebody has changed what the change had edited.
    """
    if last.progress.direction == "forward":
        turned = undo.turn(undo.take_over(await _without_foreign(api, last)), last.plan.steps)
        await preconditions.edits_fit(api, undo.sequence(last.plan, turned))
        await mtu.advance(api, last.name, turned, "turn back", expected=last.progress)
    await mtu.set_direction(api, last.name, "backward")


async def _without_foreign(api: kube_api.Api, last: mtu.Migration) -> undo.Progress:
    """Say where the change stands, one step earlier when the edit under way has found somebody else's value."""
    steps, there = last.plan.steps, last.progress
    under_way = steps[there.step] if there.begun and 0 < there.step < len(steps) else None
    if not isinstance(under_way, plan.EditValue) or await preconditions.stands(api, under_way) != "other":
        return there
    before = there.step - 1
    live = steps[before]
    phase = live.until if isinstance(live, plan.Live) else None
    return msgspec.structs.replace(there, step=before, phase=phase)

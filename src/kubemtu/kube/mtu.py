"""kubemtu's own objects, typed: one NodeMTU a node, one MTUMigration a change.

Writers never take turns by luck: a spec has one writer, a status another, and the journal of a migration is appended
under its resourceVersion, again whenever somebody else was first.
"""

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from kubemtu.core import errors, net
from kubemtu.core.change import migration as migrations_core
from kubemtu.core.change import plan, storage, undo
from kubemtu.core.objects import Object, Ref, Want
from kubemtu.core.probe import request
from kubemtu.kube import records
from kubemtu.kube.api import Api
from kubemtu.kube.errors import Absent, AlreadyThere, DrivenElsewhere
from kubemtu.kube.records import (
    MIGRATIONS,
    NODES,
    AgentIdentity,
    Condition,
    Direction,
    Driver,
    Entry,
    Migration,
    NodeMtu,
)

__all__ = [
    "MIGRATIONS",
    "NODES",
    "AgentIdentity",
    "Condition",
    "Direction",
    "Driver",
    "Entry",
    "Migration",
    "NodeMtu",
    "advance",
    "create_migration",
    "delete_migration",
    "migration",
    "migration_ref",
    "migrations",
    "node",
    "nodes",
    "release",
    "renew",
    "set_desired",
    "set_direction",
    "set_plan",
    "set_status",
]

API_VERSION = migrations_core.API_VERSION
TRIES = 24  # of a write under a resourceVersion: somebody else may write the same object many times a second

T = TypeVar("T")


# NodeMTU


async def nodes(api: Api) -> list[NodeMtu]:
    """List all NodeMTUs. Raises Malformed for one that cannot be read."""
    return [records.node_of(found) for found in await api.list(NODES)]


async def node(api: Api, name: str) -> NodeMtu | None:
    """Read the NodeMTU of that node; None when there is none."""
    found = await api.get(_ref(NODES, name))
    return None if found is None else records.node_of(found)


async def set_desired(
    api: Api, name: str, desired: migrations_core.Desired | None, *, resource_version: str | None = None
) -> NodeMtu:
    """Say what a node should be (None: nothing is asked of it); its NodeMTU is made when it is needed.

    `resource_version` is a guard: raises Conflict when somebody has written that NodeMTU since.
    """
    if desired is None and await node(api, name) is None:
        return NodeMtu(name=name)
    spec = None if desired is None else records.encoded(desired)
    return records.node_of(await _patched(api, name, {"spec": spec}, resource_version=resource_version))


async def set_status(
    api: Api,
    name: str,
    *,
    generation: int | None = None,
    applied: migrations_core.Applied | msgspec.UnsetType | None = msgspec.UNSET,
    probes: Mapping[str, request.ProbeReport | None] | msgspec.UnsetType | None = msgspec.UNSET,
    observation: net.NodeObservation | msgspec.UnsetType = msgspec.UNSET,
    agent: AgentIdentity | msgspec.UnsetType = msgspec.UNSET,
    conditions: Sequence[Condition] | msgspec.UnsetType = msgspec.UNSET,
) -> NodeMtu:
    """Say what a node is; what is not given stays, None takes it away. Its NodeMTU is made when there is none.

    `generation` is that of the NodeMTU whose spec `applied` is about; `probes` not named in the mapping stay, those
    that are None there are taken away, and None for the mapping takes away all.
    """
    status: dict[str, object] = {}
    if generation is not None:
        status["observedGeneration"] = generation
    for key, value in {"applied": applied, "observation": observation, "agent": agent}.items():
        if value is not msgspec.UNSET:
            status[key] = None if value is None else records.encoded(value)
    if probes is None:
        status["probes"] = None
    elif not isinstance(probes, msgspec.UnsetType):
        status["probes"] = {
            name: None if report is None else records.encoded(report) for name, report in probes.items()
        }
    if not isinstance(conditions, msgspec.UnsetType):
        status["conditions"] = [records.listed(one) for one in conditions]
    if isinstance(observation, net.NodeObservation):
        status["observedAt"] = records.moment(observation.observed_at)
    return records.node_of(await _patched(api, name, {"status": status}, "status"))


async def _patched(
    api: Api,
    name: str,
    body: Mapping[str, object],
    subresource: str | None = None,
    *,
    resource_version: str | None = None,
) -> Object:
    ref = _ref(NODES, name)
    try:
        return await api.patch(ref, body, subresource=subresource, resource_version=resource_version)
    except Absent:
        await _make(api, name)
        return await api.patch(ref, body, subresource=subresource)


async def _make(api: Api, name: str) -> None:
    body = {
        "apiVersion": API_VERSION,
        "kind": NODES.kind,
        "metadata": {"name": name, "ownerReferences": await _owners(api, name)},
    }
    with contextlib.suppress(AlreadyThere):
        await api.create(body)


async def _owners(api: Api, name: str) -> list[dict[str, object]]:
    """Return the Node as owner, so that its NodeMTU goes when it goes; nobody where we may not read it."""
    try:
        found = await api.find("v1", "nodes", name)
    except errors.Forbidden:
        return []
    uid = found.text("metadata", "uid") if found is not None else None
    return [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}] if uid else []


# MTUMigration


async def migrations(api: Api) -> list[Migration]:
    """Return all MTUMigrations, the one begun first first. Raises Malformed for one that cannot be read."""
    found = [records.migration_of(one) for one in await api.list(MIGRATIONS)]
    return sorted(found, key=lambda one: (one.number, one.created))


async def migration(api: Api, name: str) -> Migration:
    """Read the MTUMigration of that name. Raises UsageError when there is none."""
    return records.migration_of(await _migration(api, name))


def migration_ref(name: str) -> Ref:
    """Return the address of the MTUMigration of that name."""
    return _ref(MIGRATIONS, name)


async def create_migration(api: Api, name: str, whole: plan.Plan, direction: Direction = "forward") -> Migration:
    """Put a plan into the cluster, to be carried out. Raises AlreadyThere when the name is taken."""
    body = {
        "apiVersion": API_VERSION,
        "kind": MIGRATIONS.kind,
        "metadata": {"name": name},
        "spec": {"plan": storage.written(whole), "direction": direction},
    }
    return records.migration_of(await api.create(body))


async def set_plan(api: Api, name: str, whole: plan.Plan, direction: Direction) -> Migration:
    """Give a migration another plan."""
    spec = {"plan": storage.written(whole), "direction": direction}
    return records.migration_of(await api.patch(_ref(MIGRATIONS, name), {"spec": spec}))


async def set_direction(api: Api, name: str, direction: Direction) -> Migration:
    """Say where a migration is wanted to go."""
    return records.migration_of(await api.patch(_ref(MIGRATIONS, name), {"spec": {"direction": direction}}))


async def advance(
    api: Api,
    name: str,
    progress: undo.Progress,
    what: str,
    *,
    result: str = "",
    expected: undo.Progress | None = None,
    driver: str | None = None,
) -> Migration:
    """Write how far a migration came, with a line of its journal.

    `expected` is what this driver wrote last; `driver` who that is, which is a sign of it, too. Raises DrivenElsewhere
    when something else is there by now.
    """

    def change(present: Migration) -> dict[str, object]:
        if expected is not None and present.progress != expected:
            raise DrivenElsewhere(
                f"MTUMigration {name} is driven by another kubemtu, which has taken it over: it goes "
                f"{present.progress.direction} and is at step {present.progress.step + 1} now; let that one finish"
            )
        made: dict[str, object] = {
            "progress": records.encoded(progress, instead_of=present.progress),
            "conditions": _conditions(api, present, progress),
            "journal": _journal(api, present, what, result),
        }
        return made | ({"driver": _sign(api, driver)} if driver is not None else {})

    return await _change_status(api, name, change)


async def renew(api: Api, name: str, driver: str, *, epoch: int) -> Migration:
    """Write a sign of who drives a migration. Raises DrivenElsewhere when that is another epoch's driver by now."""
    return await _of_epoch(api, name, epoch, lambda: _sign(api, driver))


async def release(api: Api, name: str, driver: str, *, epoch: int) -> Migration:
    """Write that a driver has let go, wherever the migration stands. Raises DrivenElsewhere as `renew` does."""
    return await _of_epoch(api, name, epoch, lambda: _sign(api, driver) | {"releaseTime": records.moment(api.now())})


async def _of_epoch(api: Api, name: str, epoch: int, sign: Callable[[], dict[str, object]]) -> Migration:
    def change(present: Migration) -> dict[str, object]:
        if present.progress.epoch != epoch:
            raise DrivenElsewhere(f"MTUMigration {name} is driven by another kubemtu; let that one finish")
        return {"driver": sign()}

    return await _change_status(api, name, change)


def _sign(api: Api, driver: str) -> dict[str, object]:
    return records.encoded(records.Driver(identity=driver[:512], renew_time=records.moment(api.now())))


async def delete_migration(api: Api, name: str) -> bool:
    """Forget a migration; False when there was none."""
    return await api.delete(_ref(MIGRATIONS, name))


async def _migration(api: Api, name: str) -> Object:
    found = await api.get(_ref(MIGRATIONS, name))
    if found is None:
        raise errors.UsageError(
            f"{api.connection.server} has no MTUMigration {name}; `kubectl get mtumigrations` lists those it has"
        )
    return found


async def _change_status(api: Api, name: str, change: Callable[[Migration], dict[str, object]]) -> Migration:
    async def once() -> Migration:
        found = await _migration(api, name)
        status = change(records.migration_of(found))
        made = await api.patch(
            _ref(MIGRATIONS, name), {"status": status}, subresource="status", resource_version=found.resource_version
        )
        return records.migration_of(made)

    return await _again(once, api)


async def _again(once: Callable[[], Awaitable[T]], api: Api) -> T:
    for left in reversed(range(TRIES)):
        try:
            return await once()
        except (Absent, DrivenElsewhere):
            raise
        except errors.Conflict:
            if not left:
                raise
            await api.pause(TRIES - left)
    raise AssertionError("unreachable: the last round returns or raises")


def _conditions(api: Api, present: Migration, progress: undo.Progress) -> list[object]:
    complete = records.complete(progress, present.conditions, records.moment(api.now()))
    others = [condition for condition in present.conditions if condition.type != complete.type]
    return [records.listed(condition) for condition in (*others, complete)]


def _journal(api: Api, present: Migration, what: str, result: str) -> list[object]:
    entry = Entry(time=records.moment(api.now()), what=what, result=result)
    return [records.encoded(one) for one in (*present.journal, entry)]


def _ref(want: Want, name: str) -> Ref:
    return Ref(api_version=API_VERSION, kind=want.kind, plural=want.plural, name=name)

"""What kubemtu keeps in the API, as records: one NodeMTU a node, one MTUMigration a change, and their JSON."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeVar

import msgspec

from kubemtu.core import errors, net
from kubemtu.core.change import migration, plan, storage, undo
from kubemtu.core.objects import Object, Want
from kubemtu.core.probe import request
from kubemtu.core.text import digits

T = TypeVar("T")
NODES = Want(kind="NodeMTU", plural="nodemtus", api_versions=(migration.API_VERSION,))
MIGRATIONS = Want(kind="MTUMigration", plural="mtumigrations", api_versions=(migration.API_VERSION,))
COMPLETE: Final = "Complete"
Direction = Literal["forward", "relief", "backward"]  # relief: forward until every sender is pinned, and no further


class AgentIdentity(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The agent that speaks for a node; `started_at` is RFC 3339."""

    version: str
    pid: int
    started_at: str


class Condition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One condition of a status (meta/v1 Condition); `observed_generation` is that of the spec it is about."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    last_transition_time: str
    observed_generation: int | None = None


class NodeMtu(msgspec.Struct, frozen=True, kw_only=True):
    """What one node should be (`desired`) and what its agent says that it is.

    `applied` is about the spec of `observed_generation`, `probes` about MTUProbes, by their names; `observed_at` is in
    seconds since the epoch.
    """

    name: str
    desired: migration.Desired | None = None
    applied: migration.Applied | None = None
    probes: Mapping[str, request.ProbeReport] = {}
    observation: net.NodeObservation | None = None
    observed_at: float | None = None
    agent: AgentIdentity | None = None
    conditions: tuple[Condition, ...] = ()
    generation: int = 0
    observed_generation: int | None = None
    resource_version: str | None = None

    @property
    def refused(self) -> str:
        """Return why its agent does not obey the spec, as the condition `Accepted` says; empty when it does."""
        held = next((one for one in self.conditions if one.type == "Accepted"), None)
        return held.message or held.reason if held is not None and held.status == "False" else ""

    @property
    def held(self) -> net.HeldSizes | None:
        """Return what its spec asks of the node's pods after a change's last phase; None: before it, or nothing."""
        asked = self.desired
        if asked is None or asked.restore or asked.phase is not migration.Phase.SETTLE:
            return None
        return net.HeldSizes(
            migration=asked.migration,
            pod_mtu=asked.pod_mtu,
            device_mtu=asked.device_mtu,
            network_mtus=asked.network_mtus,
            default_route_mtu=asked.default_route_mtu,
        )

    @property
    def current(self) -> bool:
        """Return True when what the agent says is about the spec as it is now."""
        return self.observed_generation == self.generation

    def before(self, other: "NodeMtu") -> bool:
        """Return True when this is an earlier state of the object than the other; False also where nobody can tell.

        Source: KEP-5504, resourceVersions of one resource grow as integers.
        """
        one, later = (digits.number(each.resource_version or "") for each in (self, other))
        return one is not None and later is not None and one < later


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the journal of a migration; `time` is RFC 3339."""

    time: str
    what: str
    result: str = ""


class Driver(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who carries a change out, and the last sign of that (RFC 3339); `release_time` once it has let go."""

    identity: str
    renew_time: str
    release_time: str | None = None


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the pod MTU: what is planned, how far it came, and what happened on the way."""

    name: str
    plan: plan.Plan
    direction: Direction = "forward"
    progress: undo.Progress = undo.Progress()
    conditions: tuple[Condition, ...] = ()
    journal: tuple[Entry, ...] = ()
    driver: Driver | None = None
    created: str = ""
    resource_version: str | None = None

    @property
    def number(self) -> int:
        """Return what its name ends in, by which changes are ordered; -1 where that is no number of ours."""
        try:
            return int(self.name.rpartition("-")[2], 16)
        except ValueError:
            return -1


def next_number(earlier: Iterable[Migration], now: float) -> int:
    """Return what the name of the next change ends in: the milliseconds of `now`, and more than any earlier one's.

    The API counts seconds (metav1.Time), and what we know of its clock is no finer: of two changes that are begun
    within one, the second may seem the older.
    """
    return max((int(now * 1000), *(one.number + 1 for one in earlier)))


def condition(
    kind: str,
    status: Literal["True", "False"],
    reason: str,
    message: str,
    *,
    before: Iterable[Condition],
    now: str,
    generation: int | None = None,
) -> Condition:
    """Make a condition, as of `now` (RFC 3339) unless one of its kind that was there `before` had the same status."""
    earlier = next((one for one in before if one.type == kind), None)
    since = earlier.last_transition_time if earlier is not None and earlier.status == status else now
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=since,
        observed_generation=generation,
    )


def complete(progress: undo.Progress, before: Iterable[Condition], now: str) -> Condition:
    """Say whether a change has come to its end, and to which, as the condition that `kubectl wait` waits for."""
    status: Literal["True", "False"] = "True" if progress.finished else "False"
    match progress:
        case undo.Progress(finished=True, direction="forward", held=True):
            reason, message = "Applied", "the plan is carried out, and in force: agents keep what it made"
        case undo.Progress(finished=True, direction="forward"):
            reason, message = "Applied", "the plan is carried out"
        case undo.Progress(abandoned=True):
            reason, message = "Abandoned", "it was given up before anything was changed"
        case undo.Progress(finished=True):
            reason, message = "RolledBack", "what it had changed is taken back"
        case undo.Progress(direction="backward"):
            reason, message = "RollingBack", "what it has changed is being taken back"
        case _:
            reason, message = "InProgress", "the plan is being carried out"
    return condition(COMPLETE, status, reason, message, before=before, now=now)


def moment(seconds: float) -> str:
    """Write seconds since the epoch as the API writes a time, in microseconds."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def node_of(resource: Object) -> NodeMtu:
    """Decode a NodeMTU. Raises Malformed."""
    observed_at = resource.text("status", "observedAt")
    return NodeMtu(
        name=resource.name,
        desired=_part(resource, migration.Desired, "spec"),
        applied=_part(resource, migration.Applied, "status", "applied"),
        probes={name: _report(report) for name, report in resource.mapping("status", "probes").items()},
        observation=_part(resource, net.NodeObservation, "status", "observation"),
        observed_at=_seconds(resource, observed_at) if observed_at else None,
        agent=_part(resource, AgentIdentity, "status", "agent"),
        conditions=_part(resource, tuple[Condition, ...], "status", "conditions") or (),
        generation=resource.integer("metadata", "generation") or 0,
        observed_generation=resource.integer("status", "observedGeneration"),
        resource_version=resource.resource_version,
    )


def migration_of(resource: Object) -> Migration:
    """Decode an MTUMigration. Raises Malformed."""
    # A server may drop nulls on the way, but an edit without `before` would be another edit.
    steps = [
        {"before": None, "after": None} | step.body if step.get("type") == "edit" else step.body
        for step in resource.each("spec", "plan", "steps")
    ]
    try:
        whole = resource.mapping("spec", "plan") | {"steps": storage.expanded(steps)}
    except msgspec.ValidationError as error:
        raise _unreadable(resource, error, "spec", "plan", "steps") from error
    return Migration(
        name=resource.name,
        plan=_converted(resource, _with_nulls(whole), plan.Plan, "spec", "plan"),
        direction=_direction(resource),
        progress=_part(resource, undo.Progress, "status", "progress") or undo.Progress(),
        conditions=_part(resource, tuple[Condition, ...], "status", "conditions") or (),
        journal=_part(resource, tuple[Entry, ...], "status", "journal") or (),
        driver=_part(resource, Driver, "status", "driver"),
        created=resource.text("metadata", "creationTimestamp") or "",
        resource_version=resource.resource_version,
    )


def _with_nulls(planned: Mapping[str, object]) -> dict[str, object]:
    """Put back the nulls of a plan that must be there: a merge patch takes them away, inside lists too."""
    pools = planned.get("pools")
    listed = pools if isinstance(pools, list) else []
    whole = [{"nicMtu": None} | pool if isinstance(pool, dict) else pool for pool in listed]
    return {"current": None} | dict(planned) | ({"pools": whole} if listed else {})


def _direction(resource: Object) -> Direction:
    match resource.text("spec", "direction"):
        case "backward":
            return "backward"
        case "relief":
            return "relief"
        case _:
            return "forward"


def encoded(record: T, *, instead_of: T | None = None) -> dict[str, object]:
    """Encode a record as the body of a merge patch: null removes an old value; in lists there is none to remove.

    `instead_of` is what stands there now: of its mappings, those keys are removed that the record has not.
    """
    body = {key: _value(one, in_list=False) for key, one in msgspec.to_builtins(record).items()}
    for key, before in (msgspec.to_builtins(instead_of) if instead_of is not None else {}).items():
        if isinstance(before, dict) and isinstance(now := body[key], dict):
            body[key] = dict.fromkeys(before, None) | now
    return body


def listed(record: msgspec.Struct) -> dict[str, object]:
    """Encode a record as an item of a list in such a body."""
    return {key: one for key, one in encoded(record).items() if one is not None}


def _value(value: object, *, in_list: bool) -> object:
    if isinstance(value, dict):
        return {key: _value(one, in_list=in_list) for key, one in value.items() if not (in_list and one is None)}
    if isinstance(value, (list, tuple)):
        return [_value(one, in_list=True) for one in value]
    return value


def _report(present: object) -> request.ProbeReport:
    """Decode one report; one that cannot be read says so, for it must not hide the node that gave it."""
    try:
        return msgspec.convert(present, request.ProbeReport)
    except msgspec.ValidationError as error:
        return request.ProbeReport(ready=True, done=True, errors=(f"a report cannot be read: {error}",))


def _part(resource: Object, type_: type[T], *path: str) -> T | None:
    present = resource.get(*path)
    return None if present is None else _converted(resource, present, type_, *path)


def _converted(resource: Object, present: object, type_: type[T], *path: str) -> T:
    if type(present) is type_:  # as it was decoded from the wire
        return present
    try:
        return msgspec.convert(present, type_)
    except msgspec.ValidationError as error:
        raise _unreadable(resource, error, *path) from error


def _unreadable(resource: Object, error: msgspec.ValidationError, *path: str) -> errors.Malformed:
    return errors.Malformed(
        f"{resource}: {'.'.join(path)} cannot be read: {error}; it was written by another version of kubemtu or by "
        "hand: correct or delete it"
    )


def _seconds(resource: Object, written: str) -> float:
    try:
        return dt.datetime.fromisoformat(written).timestamp()
    except (ValueError, OverflowError) as error:
        raise errors.Malformed(f"{resource}: status.observedAt is no time ({written!r:.40}); delete it") from error

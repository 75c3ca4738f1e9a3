"""Changes that have not ended: since when, who drove them last, where they stand, and what that holds on the nodes."""

from collections.abc import Iterator

import msgspec

from kubemtu.core import errors
from kubemtu.core.change import undo
from kubemtu.core.cluster import pods
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text.wording import span

KIND = "MTUMigration"
TAKEN = "a driver takes over"  # how the line of a journal begins by which somebody begins to drive
QUIET = 60.0  # seconds without a line of the journal, where the driver gives no signs (an earlier kubemtu's does not)
SIGNS = 45.0  # seconds without a sign of a driver that gives one every ten: three may be lost, and the last be late


class Unfinished(msgspec.Struct, frozen=True, kw_only=True):
    """One change under way. `begun` and `moved` in seconds ago by the server's clock, None where nobody can tell.

    `relief`: it is to end at its pins, which hold on purpose. `driver` is who drove it last, empty when unknown;
    `steps` counts those of its plan. `renewed` is how long ago the driver gave its last sign, `released` how long ago
    it let go, None where it did not.
    """

    name: str
    target: int | None = None
    relief: bool = False
    progress: undo.Progress = undo.Progress()
    steps: int = 0
    begun: float | None = None
    begun_at: str = ""
    moved: float | None = None
    renewed: float | None = None
    released: float | None = None
    driver: str = ""

    @property
    def held(self) -> bool:
        """Return whether it stands where `kubemtu relieve` leaves a cluster: every sender pinned, on purpose."""
        there = self.progress
        return self.relief and there.direction == "forward" and there.step > 0 and there.phase is None

    @property
    def quiet(self) -> bool:
        """Return whether its driver has let go, or shown no sign for so long that nobody seems to drive it."""
        if self.released is not None:
            return True
        if self.renewed is not None:
            return self.renewed > SIGNS
        return self.moved is None or self.moved > QUIET

    @property
    def stands(self) -> str:
        """Say where it stands, as it follows "it"."""
        there = self.progress
        if there.untouched:
            return "has not changed anything yet"
        way = "is being rolled back" if there.direction == "backward" else "stands"
        at = f"{way} at step {there.step + 1}"
        if there.direction == "forward" and self.steps:
            at += f" of {self.steps}" if there.step < self.steps else ", after the last of its steps"
        return at + (f", phase {there.phase}" if there.phase is not None else "")


class HeldRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the record of a change in force says that it was asked for: MTUs in bytes, None where it says nothing."""

    target: int | None = None  # the largest that any pod was to have
    most: int | None = None  # what none is to exceed, 0: no bound
    egress: int | None = None  # what goes out of the cluster at most
    per_node: bool = False  # each node's pods have what its own NIC leaves


def of(snapshot: Snapshot) -> tuple[Unfinished, ...]:
    """Return every change of a snapshot that has not ended, in the order they were read."""
    return tuple(
        _read(found, snapshot.taken_at)
        for found in snapshot.each(KIND)
        if found.get("status", "progress", "finished") is not True
    )


def held(snapshot: Snapshot) -> str:
    """Return the name of the change that has ended and is in force until it is taken back; empty: there is none."""
    holding = (one.name for one in snapshot.each(KIND) if (there := _progress(one)).held and there.finished)
    return next(holding, "")


def recorded(snapshot: Snapshot, name: str) -> HeldRecord:
    """Return what the plan of that change was asked for; of one that cannot be read, nothing."""
    plans = (found.get("spec", "plan") for found in snapshot.each(KIND) if found.name == name)
    plan = next((one for one in plans if isinstance(one, dict)), {})
    numbers = {key: value if isinstance(value := plan.get(key), int) else None for key in ("target", "most")}
    pools = plan.get("pools")
    out = [one.get("defaultRouteMtu") for one in pools if isinstance(one, dict)] if isinstance(pools, list) else []
    egress = min((mtu for mtu in out if isinstance(mtu, int)), default=None)
    return HeldRecord(per_node=plan.get("perNode") is True, egress=egress, **numbers)


def left_out(snapshot: Snapshot, name: str) -> tuple[str, ...]:
    """Return the nodes that the plan of that change leaves as they are."""
    steps = (found.get("spec", "plan", "steps") for found in snapshot.each(KIND) if found.name == name)
    listed = [
        step.get("without") for each in steps if isinstance(each, list) for step in each if isinstance(step, dict)
    ]
    names = (str(node) for each in listed if isinstance(each, list) for node in each)
    return tuple(dict.fromkeys(names))


def _read(resource: Object, now: float) -> Unfinished:
    begun_at = str(resource.get("metadata", "creationTimestamp") or "")
    lines = list(_journal(resource))
    begun, moved = pods.seconds(begun_at), [at for at, _ in lines if at is not None]
    last = max(moved, default=begun)
    drivers = [what.partition(": ")[2] for _, what in lines if what.startswith(TAKEN)]
    renewed, released = (pods.seconds(str(resource.get("status", "driver", key) or "")) for key in _TIMES)
    target, steps = resource.get("spec", "plan", "target"), resource.get("spec", "plan", "steps")
    return Unfinished(
        name=resource.name,
        target=target if isinstance(target, int) else None,
        relief=resource.get("spec", "direction") == "relief",
        progress=_progress(resource),
        steps=len(steps) if isinstance(steps, list) else 0,
        begun=_age(begun, now),
        begun_at=begun_at,
        moved=_age(last, now),
        renewed=_age(renewed, now),
        released=_age(released, now),
        driver=drivers[-1] if drivers else "",
    )


_TIMES = ("renewTime", "releaseTime")


def _age(moment: float | None, now: float) -> float | None:
    return max(0.0, now - moment) if now and moment is not None else None


def _journal(resource: Object) -> Iterator[tuple[float | None, str]]:
    try:
        for line in resource.each("status", "journal"):
            yield pods.seconds(str(line.get("time") or "")), str(line.get("what") or "")
    except errors.Malformed:
        return  # what cannot be read tells nothing


def _progress(resource: Object) -> undo.Progress:
    try:
        return msgspec.convert(resource.get("status", "progress") or {}, undo.Progress)
    except msgspec.ValidationError:
        return undo.Progress(begun=True)  # it was written by another version: take it for one that changed something


def since(change: Unfinished) -> str:
    """Say since when, and by whom, as it follows "begun"."""
    when = f" {span(change.begun)} ago" if change.begun is not None else ""
    at = f" ({change.begun_at})" if change.begun_at else ""
    return f"{when}{at}" + (f", driven last by {change.driver}" if change.driver else "")

"""What is asked of a node, as its NodeMTU says it, and what came of it over all rounds."""

import logging

import msgspec

from kubemtu.core.change import migration
from kubemtu.core.objects import Object
from kubemtu.kube import api as kube_api
from kubemtu.kube import mtu

REMEMBERED = 16  # migrations
log = logging.getLogger("kubemtu.agent")


class DesiredState(msgspec.Struct, frozen=True, kw_only=True):
    """What the spec of a NodeMTU asks for; where it is not obeyed, `error` says why, and `refused_reason` in a word."""

    generation: int | None = None
    desired: migration.Desired | None = None
    error: str = ""
    refused_reason: str = ""


class DriverEpochs:
    """Remembers the last driver of each migration: an earlier one that wakes up is not obeyed any more."""

    def __init__(self) -> None:
        """Begin with no driver heard."""
        self._epochs: dict[str, int] = {}

    def obeys(self, state: DesiredState) -> bool:
        """Return False when a later driver of the same migration has been heard."""
        desired = state.desired
        if desired is None:
            return True
        if desired.epoch < self._epochs.get(desired.migration, 0):
            return False
        self._epochs.pop(desired.migration, None)
        self._epochs[desired.migration] = desired.epoch
        if len(self._epochs) > REMEMBERED:
            self._epochs.pop(next(iter(self._epochs)))
        return True


def read(resource: Object | None) -> DesiredState:
    """Read the spec of a NodeMTU, whatever stands in its status; None: there is none."""
    if resource is None:
        return DesiredState()
    generation = resource.get("metadata", "generation")
    number = generation if isinstance(generation, int) else None
    spec = resource.get("spec")
    if not spec:
        return DesiredState(generation=number)
    try:
        return DesiredState(generation=number, desired=msgspec.convert(spec, migration.Desired))
    except msgspec.ValidationError as error:
        trouble = (
            f"the spec of NodeMTU {resource.name} cannot be read: {error}; the node is left as it is: correct or "
            f"remove the spec with `kubectl edit nodemtu {resource.name}`"
        )
        return DesiredState(generation=number, error=trouble, refused_reason=migration.SPEC_UNREADABLE)


class Authority:
    """Checks that the change which a NodeMTU names is there and has a driver: nobody else may ask."""

    def __init__(self, api: kube_api.Api) -> None:
        """Begin with no change known."""
        self._api = api
        self._known: tuple[str, int] | None = None

    async def check(self, state: DesiredState, node: str) -> DesiredState:
        """Return what is asked, or why it is not obeyed: whoever may write a NodeMTU need not have begun a change.

        Asks the API once for each driver of a change. Raises what `Api.get` raises.
        """
        desired = state.desired
        if desired is None or self._known == (desired.migration, desired.epoch):
            return state
        found = await self._api.get(mtu.migration_ref(desired.migration))
        if found is None:
            why = f"MTUMigration {desired.migration} does not exist"
        elif desired.epoch > (epoch := found.integer("status", "progress", "epoch") or 0):
            why = (
                f"no driver of MTUMigration {desired.migration} has come to epoch {desired.epoch}, the last is {epoch}"
            )
        else:
            self._known = (desired.migration, desired.epoch)
            return state
        trouble = (
            f"the spec of NodeMTU {node} is not obeyed, for {why}; the node is left as it is: take the spec away with "
            f"`kubectl patch nodemtu {node} --type merge -p '{{\"spec\":null}}'`"
        )
        return DesiredState(generation=state.generation, error=trouble, refused_reason=migration.MIGRATION_NOT_FOUND)


class SpecProgress:
    """Adds up what was done for one spec over all rounds, and logs each new failure once."""

    def __init__(self) -> None:
        """Begin with nothing asked."""
        self.applied: migration.Applied | None = None
        self.state = DesiredState()
        self._begun = False

    @property
    def failing(self) -> bool:
        """Return True while something could not be done."""
        return self.applied is not None and bool(self.applied.failures)

    def begin(self, state: DesiredState) -> bool:
        """Note what is asked now; True when that is new."""
        if self._begun and state == self.state:
            return False
        self._begun = True
        self.state, self.applied = state, None
        if state.error:
            log.warning("%s", state.error)
            self.applied = migration.Applied(
                phase=migration.Phase.RECORD,
                restore=False,
                done=False,
                pods=0,
                settings_changed=0,
                failures=(state.error,),
                refused_reason=state.refused_reason,
            )
        return True

    def take(self, applied: migration.Applied) -> None:
        """Add what one round did."""
        before = self.applied
        for sentence in applied.failures:
            if before is None or sentence not in before.failures:
                log.warning("%s: %s", applied.phase, sentence)
        if before is None or applied.settings_changed:
            text = "%s: %d pods, %d settings changed, %.1f ms"
            log.info(text, applied.phase, applied.pods, applied.settings_changed, applied.duration_seconds * 1000)
        if before is not None:
            worked = applied.duration_seconds if applied.settings_changed else 0.0
            applied = msgspec.structs.replace(
                applied,
                settings_changed=before.settings_changed + applied.settings_changed,
                duration_seconds=before.duration_seconds + worked,
            )
        self.applied = applied

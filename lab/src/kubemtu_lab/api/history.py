"""The last changes of one kind of object: what watches read, and what makes the pages of a list one snapshot.

A bounded window, as etcd's is between two compactions: who asks for a version before it must start over.
"""

import bisect
from typing import Literal

import msgspec

from kubemtu_lab.api.errors import expired
from kubemtu_lab.api.resources import Object
from kubemtu_lab.api.selectors import Selector

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
Key = tuple[str, str]
"""Namespace (empty for objects of the whole cluster) and name."""


class Event(msgspec.Struct, frozen=True):
    """One change; `object` is the state after it (of a deletion: the last state, under the version that ended it)."""

    type: EventType
    version: int
    key: Key
    object: Object
    previous: Object | None = None

    def seen_through(self, namespace: str, selector: Selector) -> "Event | None":
        """Tell what a watch with this selector must report: objects enter and leave its view as they change."""
        if namespace and self.key[0] != namespace:
            return None
        if not selector:
            return self
        before = self.previous is not None and selector.matches(self.previous)
        after = self.type != "DELETED" and selector.matches(self.object)
        match before, after:
            case True, True:
                return self
            case True, False:
                return msgspec.structs.replace(self, type="DELETED")
            case False, True:
                return msgspec.structs.replace(self, type="ADDED")
            case _:
                return None


class History:
    """The changes of one kind, oldest first, of which at least the last `window` are known."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._events: list[Event] = []
        self.floor = 0
        """Every change after this resourceVersion is still known."""

    def append(self, event: Event) -> None:
        """Add the newest change; forgets in batches, so that the cost of one stays constant."""
        self._events.append(event)
        if len(self._events) > 2 * self._window:
            self._forget(len(self._events) - self._window)

    def compact(self, version: int) -> None:
        """Forget every change up to and with this resourceVersion."""
        self.floor = max(self.floor, version)
        del self._events[: bisect.bisect_right(self._events, version, key=_version)]

    def since(self, version: int) -> list[Event]:
        """Return the changes after a resourceVersion.

        Raises:
            Refusal: 410 Expired, when some of them are forgotten.
        """
        if version < self.floor:
            raise expired(f"too old resource version: {version} ({self.floor})")
        return self._events[bisect.bisect_right(self._events, version, key=_version) :]

    def rewind(self, present: dict[Key, Object], version: int) -> dict[Key, Object]:
        """Return the objects as they were at a resourceVersion, from how they are now."""
        past = dict(present)
        for event in reversed(self.since(version)):
            if event.previous is None:
                past.pop(event.key, None)
            else:
                past[event.key] = event.previous
        return past

    def _forget(self, count: int) -> None:
        self.floor = self._events[count - 1].version
        del self._events[:count]


def _version(event: Event) -> int:
    return event.version

"""The objects of all kinds by key, with their versions and the last changes of each kind: what etcd is to Kubernetes.

What is returned stays the store's own: read it, copy it before changing anything.
One thread uses it; who waits for changes registers a callback with `listen`.
"""

from collections.abc import Callable

import msgspec

from kubemtu_lab.api import errors, sizes
from kubemtu_lab.api.history import Event, EventType, History, Key
from kubemtu_lab.api.paging import Page, PageToken, read_token, write_token
from kubemtu_lab.api.resources import BUILT_IN, DEFINITIONS, NAMESPACES, Object, Resource, defined_by
from kubemtu_lab.api.selectors import Selector

EVERYTHING = Selector()
HISTORY = 1000
"""So many changes of each kind are known at least."""
_GROUPS = frozenset(each.group for each in BUILT_IN)
_STALE_PAGE = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You must start a new list without the continue parameter."
)


class Objects:
    """All objects of a cluster, their versions, and the last changes of each kind."""

    def __init__(self, *, window: int = HISTORY) -> None:
        self.version = 1
        self._window = window
        self._resources: dict[tuple[str, str, str], Resource] = {}
        self._objects: dict[Key, dict[Key, Object]] = {}
        self._histories: dict[Key, History] = {}
        self._listeners: dict[Key, set[Callable[[], None]]] = {}
        for resource in BUILT_IN:
            self.register(resource)

    # Kinds

    @property
    def resources(self) -> tuple[Resource, ...]:
        """Every kind that is served, in the order of its registration."""
        return tuple(self._resources.values())

    def register(self, resource: Resource) -> None:
        """Serve one more kind, or another version of one."""
        self._resources[resource.group, resource.version, resource.plural] = resource
        self._objects.setdefault(resource.key, {})
        self._histories.setdefault(resource.key, History(self._window))

    def unregister(self, resource: Resource) -> None:
        """Stop serving one version of a kind; its objects stay."""
        self._resources.pop((resource.group, resource.version, resource.plural), None)

    def resource(self, group: str, version: str, plural: str) -> Resource:
        """Return a kind by the names in its path.

        Raises:
            Refusal: 404, the words of a server that has no such path.
        """
        try:
            return self._resources[group, version, plural]
        except KeyError:
            # The groups that are built in are told from those that nobody serves, whatever their version.
            known = group in _GROUPS or (group, version) in {(each.group, each.version) for each in self.resources}
            raise errors.no_such_path() if known else errors.no_such_page() from None

    # Reading

    def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Return one object; None where there is none."""
        stored = self._objects[resource.key].get((namespace, name))
        return None if stored is None else _as_version(resource, stored)

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Return one object.

        Raises:
            Refusal: 404.
        """
        found = self.find(resource, namespace, name)
        if found is None:
            raise errors.not_found(resource, name)
        return found

    def page(
        self,
        resource: Resource,
        namespace: str = "",
        selector: Selector = EVERYTHING,
        *,
        limit: int = 0,
        continue_token: str = "",
        exactly: int = 0,
    ) -> Page:
        """Return the objects of a kind in the order of namespace and name, at most `limit` of them (0: all).

        All pages of one list show the objects at one resourceVersion; `exactly` says which, 0 means the newest.

        Raises:
            Refusal: 410 when the token is older than the history; 400 when it is none.
        """
        state, version, after = self._objects[resource.key], self.version, None
        if continue_token:
            page = read_token(continue_token)
            version, after = page.version, page.after
            try:
                state = self._histories[resource.key].rewind(state, version)
            except errors.Refusal:
                raise errors.expired(_STALE_PAGE) from None
        elif exactly:
            version, state = exactly, self._histories[resource.key].rewind(state, exactly)
        keys = sorted(
            key
            for key, item in state.items()
            if (not namespace or key[0] == namespace) and (after is None or key > after) and selector.matches(item)
        )
        shown = keys[:limit] if limit else keys
        rest = len(keys) - len(shown)
        return Page(
            items=[_as_version(resource, state[key]) for key in shown],
            version=version,
            continue_token=write_token(PageToken(version, shown[-1])) if rest else "",
            remaining=rest if rest and not selector else None,
        )

    def changes(
        self, resource: Resource, since: int, namespace: str = "", selector: Selector = EVERYTHING
    ) -> list[Event]:
        """Return what a watch must report of the changes after a resourceVersion.

        Raises:
            Refusal: 410 when the version is older than the history, 504 when it lies in the future.
        """
        if since > self.version:
            raise errors.too_large_version(since, self.version)
        seen = (each.seen_through(namespace, selector) for each in self._histories[resource.key].since(since))
        return [
            msgspec.structs.replace(each, object=_as_version(resource, each.object))
            for each in seen
            if each is not None
        ]

    def listen(self, resource: Resource, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after every change of a kind, until the returned function is called."""
        listeners = self._listeners.setdefault(resource.key, set())
        listeners.add(callback)
        return lambda: listeners.discard(callback)

    def compact(self) -> None:
        """Forget all history: every older resourceVersion and continue token expires, as after etcd's compaction."""
        for history in self._histories.values():
            history.compact(self.version)

    # Changing

    def commit(self, resource: Resource, key: Key, change: EventType, fresh: Object, previous: Object | None) -> None:
        """Take a state of an object in under the next version, keep it as history, and tell who listens.

        Raises:
            Refusal: 500 for an object that is too large to be kept.
        """
        if change != "DELETED":
            sizes.check_stored(fresh)
        self.version += 1
        fresh["metadata"]["resourceVersion"] = str(self.version)
        objects = self._objects[resource.key]
        stored = objects.get(key)
        if change == "DELETED":
            objects.pop(key, None)
        else:
            objects[key] = fresh
        self._histories[resource.key].append(Event(change, self.version, key, fresh, stored or previous))
        if resource.key == DEFINITIONS.key:
            self._define(change, fresh, previous)
        for listener in tuple(self._listeners.get(resource.key, ())):
            listener()

    def remove(self, resource: Resource, key: Key, last: Object) -> Object:
        """Take an object out, with all that a namespace holds, or all objects of a kind whose definition goes."""
        if resource.key == NAMESPACES.key:
            for kind in {each.key: each for each in self.resources if each.namespaced}.values():
                self._empty(kind, namespace=key[1])
        ended = last | {"metadata": dict(last["metadata"])}
        self.commit(resource, key, "DELETED", ended, last)
        return ended

    def _define(self, change: EventType, definition: Object, previous: Object | None) -> None:
        before = defined_by(previous) if previous else ()
        if change == "DELETED" and before:
            self._empty(before[0])
        for resource in before:
            self.unregister(resource)
        if change != "DELETED":
            for resource in defined_by(definition):
                self.register(resource)

    def _empty(self, resource: Resource, namespace: str = "") -> None:
        """Remove objects whatever their finalizers say: nobody can run those once kind or namespace is gone."""
        objects = self._objects[resource.key]
        for key in [key for key in objects if not namespace or key[0] == namespace]:
            self.remove(resource, key, objects[key])


def _as_version(resource: Resource, stored: Object) -> Object:
    return stored if stored["apiVersion"] == resource.api_version else stored | {"apiVersion": resource.api_version}

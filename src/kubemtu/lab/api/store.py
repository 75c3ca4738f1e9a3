"""The objects of a cluster in memory, with the rules of a Kubernetes API server and without its HTTP.

Objects that the store returns are its own: read them, copy them before changing anything.
One thread uses a store; who waits for changes registers a callback with `listen`.
Source of the rules: kubernetes/apiserver `pkg/registry/generic/registry/store.go`, `pkg/registry/rest`.
"""

import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from kubemtu.lab.api import admission, errors, schema
from kubemtu.lab.api.history import Event, EventType, History, Key
from kubemtu.lab.api.paging import Page, Place, read_token, write_token
from kubemtu.lab.api.resources import BUILT_IN, DEFINITIONS, NAMESPACES, Object, Resource, copied, defined_by
from kubemtu.lab.api.selectors import Selector

FIRST_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SERVERS_OWN = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
_STALE_PAGE = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You must start a new list without the continue parameter."
)
EVERYTHING = Selector()

Change = Callable[[Object], Object]


class DeleteOptions(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a DELETE may ask for (meta/v1 DeleteOptions); the propagation policy is accepted and has no effect."""

    grace_period_seconds: int | None = None
    preconditions: dict[str, str] = {}
    dry_run: list[str] | None = None


def suffix() -> str:
    """Return five letters of the kind that end generated names, with neither vowels nor look-alikes."""
    return "".join(random.choices(_NAME_LETTERS, k=5))


class Store:
    """All objects of a cluster, their versions, and the last changes of each kind."""

    def __init__(self, *, window: int = 1000, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.version = 1
        self._window = window
        self.clock = clock
        self._resources: dict[tuple[str, str, str], Resource] = {}
        self._objects: dict[Key, dict[Key, Object]] = {}
        self._histories: dict[Key, History] = {}
        self._listeners: dict[Key, set[Callable[[], None]]] = {}
        for resource in BUILT_IN:
            self.register(resource)
        for name in FIRST_NAMESPACES:
            self.create(NAMESPACES, "", {"metadata": {"name": name}})

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
            raise errors.no_such_path() from None

    # Reading

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Return one object.

        Raises:
            Refusal: 404.
        """
        try:
            return _as_version(resource, self._objects[resource.key][namespace, name])
        except KeyError:
            raise errors.not_found(resource, name) from None

    def page(
        self,
        resource: Resource,
        namespace: str = "",
        selector: Selector = EVERYTHING,
        *,
        limit: int = 0,
        continue_token: str = "",
    ) -> Page:
        """Return the objects of a kind in the order of namespace and name, at most `limit` of them (0: all).

        All pages of one list show the objects at one resourceVersion.

        Raises:
            Refusal: 410 when the token is older than the history; 400 when it is none.
        """
        state, version, after = self._objects[resource.key], self.version, None
        if continue_token:
            place = read_token(continue_token)
            version, after = place.version, place.after
            try:
                state = self._histories[resource.key].rewind(state, version)
            except errors.Refusal:
                raise errors.expired(_STALE_PAGE) from None
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
            continue_token=write_token(Place(version, shown[-1])) if rest else "",
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

    # Writing

    def create(self, resource: Resource, namespace: str, body: Object, *, dry_run: bool = False) -> Object:
        """Add an object.

        Raises:
            Refusal: 400 wrong kind or types, 404 no such namespace, 409 the name is taken, 422 against the schema.
        """
        admission.check_identity(resource, namespace, "", body)
        if told := admission.check_types(resource, body):
            raise errors.bad_request(told)
        fresh: Object = {"apiVersion": resource.api_version, "kind": resource.kind} | copied(body)
        metadata: Object = fresh.setdefault("metadata", {})
        if metadata.get("resourceVersion"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + suffix()
        name = metadata.get("name", "")
        admission.check_name(resource, name)
        if namespace and (("", namespace) not in self._objects[NAMESPACES.key]):
            raise errors.not_found(NAMESPACES, namespace)
        if (namespace, name) in self._objects[resource.key]:
            raise errors.already_exists(resource, name)
        for field in _SERVERS_OWN:
            metadata.pop(field, None)
        if namespace:
            metadata["namespace"] = namespace
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = admission.timestamp(self.clock())
        if resource.generation:
            metadata["generation"] = 1
        self._admit(resource, name, fresh)
        status = admission.initial_status(resource, fresh, self.clock())
        fresh.pop("status", None)
        if status is not None:
            fresh["status"] = status
        if not dry_run:
            self._commit(resource, (namespace, name), "ADDED", fresh, None)
        return fresh

    def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Object,
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Replace an object, or with `subresource="status"` its status only; a change of nothing makes no version.

        Raises:
            Refusal: 404, 409 when the body carries another resourceVersion or uid than the object, 400 and 422.
        """
        current = self.get(resource, namespace, name)
        admission.check_identity(resource, namespace, name, body)
        if told := admission.check_types(resource, body):
            raise errors.bad_request(told)
        given, held = body.get("metadata", {}), current["metadata"]
        if given.get("resourceVersion") and given["resourceVersion"] != held["resourceVersion"]:
            raise errors.conflict(resource, name)
        if resource.custom and not given.get("resourceVersion"):
            cause = ("metadata.resourceVersion", "Invalid value: 0x0: must be specified for an update")
            raise errors.invalid(resource, name, [cause])
        if given.get("uid", held["uid"]) != held["uid"]:
            why = f"Precondition failed: UID in precondition: {given['uid']}, UID in object meta: {held['uid']}"
            raise errors.conflict(resource, name, why)
        if subresource == "status":
            fresh = {key: value for key, value in current.items() if key != "status"}
            fresh["metadata"] = dict(held)
            if "status" in body:
                fresh["status"] = copied(body["status"])
            schema.admit(resource, name, fresh)
        else:
            fresh = self._replacement(resource, namespace, name, body, current)
        if _same(fresh, current):
            return current
        if resource.generation and not _same_spec(fresh, current, resource):
            fresh["metadata"]["generation"] = held.get("generation", 0) + 1
        if not dry_run:
            ended = held.get("deletionTimestamp") and not fresh["metadata"].get("finalizers")
            if ended and not fresh["metadata"].get("deletionGracePeriodSeconds"):
                self._remove(resource, (namespace, name), fresh)
            else:
                self._commit(resource, (namespace, name), "MODIFIED", fresh, current)
        return fresh

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Change,
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Replace an object by what `change` makes of a copy of it; otherwise as `update`."""
        current = self.get(resource, namespace, name)
        fresh = change(copied(current))
        if told := admission.check_types(resource, fresh) if isinstance(fresh.get("metadata", {}), dict) else "":
            raise errors.invalid(resource, name, [("patch", f"Invalid value: {told}")])
        return self.update(resource, namespace, name, fresh, subresource=subresource, dry_run=dry_run)

    def delete(
        self, resource: Resource, namespace: str, name: str, options: DeleteOptions | None = None
    ) -> tuple[Object, bool]:
        """Delete an object, or mark it: with finalizers, and pods that may take their time.

        Returns:
            The object, and whether it is gone.

        Raises:
            Refusal: 404, 409 when a precondition (uid, resourceVersion) does not hold.
        """
        options = options or DeleteOptions()
        current = self.get(resource, namespace, name)
        metadata = current["metadata"]
        for field, wanted in options.preconditions.items():
            if metadata.get(field) != wanted:
                label = "UID" if field == "uid" else "ResourceVersion"
                why = f"Precondition failed: {label} in precondition: {wanted}, "
                raise errors.conflict(resource, name, f"{why}{label} in object meta: {metadata.get(field)}")
        asked = options.grace_period_seconds
        grace = admission.grace_seconds(current, asked) if resource.kind == "Pod" else 0
        if options.dry_run:
            return current, not grace and not metadata.get("finalizers")
        if not grace and not metadata.get("finalizers"):
            return self._remove(resource, (namespace, name), current), True
        held = metadata.get("deletionGracePeriodSeconds")
        if held is None or grace < held:
            moment = admission.timestamp(self.clock() + timedelta(seconds=grace))
            marks = {"deletionTimestamp": moment, "deletionGracePeriodSeconds": grace}
            fresh = current | {"metadata": metadata | marks}
            if "generation" in metadata:
                fresh["metadata"]["generation"] += 1
            self._commit(resource, (namespace, name), "MODIFIED", fresh, current)
            return fresh, False
        return current, False

    # Inside

    def _admit(self, resource: Resource, name: str, fresh: Object) -> None:
        if resource.key == DEFINITIONS.key:
            schema.check_definition(resource, name, fresh)
        admission.check_workload(resource, name, fresh)
        admission.default(resource, fresh)
        schema.admit(resource, name, fresh)

    def _replacement(self, resource: Resource, namespace: str, name: str, body: Object, current: Object) -> Object:
        fresh: Object = {"apiVersion": resource.api_version, "kind": resource.kind} | copied(body)
        metadata: Object = {"name": name} | fresh.get("metadata", {})
        for field in _SERVERS_OWN:
            metadata.pop(field, None)
            if field in current["metadata"]:
                metadata[field] = current["metadata"][field]
        if namespace:
            metadata["namespace"] = namespace
        metadata["resourceVersion"] = current["metadata"]["resourceVersion"]
        fresh["metadata"] = metadata
        if resource.status:
            fresh.pop("status", None)
            if "status" in current:
                fresh["status"] = current["status"]
        self._admit(resource, name, fresh)
        return fresh

    def _commit(self, resource: Resource, key: Key, change: EventType, fresh: Object, previous: Object | None) -> None:
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

    def _remove(self, resource: Resource, key: Key, last: Object) -> Object:
        if resource.key == NAMESPACES.key:
            for kind in {each.key: each for each in self.resources if each.namespaced}.values():
                self._empty(kind, namespace=key[1])
        ended = last | {"metadata": dict(last["metadata"])}
        self._commit(resource, key, "DELETED", ended, last)
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
            self._remove(resource, key, objects[key])


def _as_version(resource: Resource, stored: Object) -> Object:
    return stored if stored["apiVersion"] == resource.api_version else stored | {"apiVersion": resource.api_version}


def _same(fresh: Object, current: Object) -> bool:
    """Tell whether nothing but bookkeeping differs; such a write makes no new version."""
    return _without_bookkeeping(fresh) == _without_bookkeeping(current)


def _without_bookkeeping(item: Object) -> Object:
    kept = {
        field: each for field, each in item["metadata"].items() if field not in ("resourceVersion", "managedFields")
    }
    return item | {"metadata": kept}


def _same_spec(fresh: Object, current: Object, resource: Resource) -> bool:
    apart = ("metadata", "status") if resource.status else ("metadata",)
    return {field: each for field, each in fresh.items() if field not in apart} == {
        field: each for field, each in current.items() if field not in apart
    }

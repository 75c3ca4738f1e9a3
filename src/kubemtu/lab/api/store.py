"""The rules by which a Kubernetes API server lets objects come, change and go, without its HTTP.

Source: kubernetes/apiserver `pkg/registry/generic/registry/store.go`, `pkg/registry/rest`.
"""

import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from kubemtu.lab.api import admission, errors, ownership, schema, services, shapes
from kubemtu.lab.api.ownership import Writer
from kubemtu.lab.api.resources import DEFINITIONS, NAMESPACES, SERVICES, Object, Resource, copied
from kubemtu.lab.api.shelf import Shelf

FIRST_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SERVERS_OWN = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
NOBODY = Writer(manager="unknown")

Change = Callable[[Object], Object]


class DeleteOptions(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a DELETE may ask for (meta/v1 DeleteOptions); the propagation policy is accepted and has no effect."""

    grace_period_seconds: int | None = None
    preconditions: dict[str, str] = {}
    dry_run: list[str] | None = None


def suffix() -> str:
    """Return five letters of the kind that end generated names, with neither vowels nor look-alikes."""
    return "".join(random.choices(_NAME_LETTERS, k=5))


class Store(Shelf):
    """A shelf that takes only what a Kubernetes API server would."""

    def __init__(self, *, window: int = 1000, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__(window=window)
        self.clock = clock
        for name in FIRST_NAMESPACES:
            self.create(NAMESPACES, "", {"metadata": {"name": name}})

    def create(
        self, resource: Resource, namespace: str, body: Object, *, writer: Writer = NOBODY, dry_run: bool = False
    ) -> Object:
        """Add an object.

        Raises:
            Refusal: 400 wrong kind or types, 404 no such namespace, 409 the name is taken, 422 against the schema.
        """
        admission.check_identity(resource, namespace, "", body)
        fresh = shapes.decoded(resource, body)
        metadata: Object = fresh.setdefault("metadata", {})
        if metadata.get("resourceVersion"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + suffix()
        name = metadata.get("name", "")
        admission.check_name(resource, name)
        if namespace and self.find(NAMESPACES, "", namespace) is None:
            raise errors.not_found(NAMESPACES, namespace)
        if self.find(resource, namespace, name) is not None:
            raise errors.already_exists(resource, name)
        self._identify(resource, namespace, metadata)
        self._admit(resource, name, fresh, None)
        status = admission.initial_status(resource, fresh, self.clock())
        if resource.status and not resource.status_on_create:
            fresh.pop("status", None)
        if writer.operation != "Apply":
            metadata.pop("managedFields", None)
            metadata["managedFields"] = ownership.written(resource, None, fresh, writer, self.clock())
        fresh.pop("status", None)
        if status is not None:
            fresh["status"] = status
        if not dry_run:
            self.commit(resource, (namespace, name), "ADDED", fresh, None)
        return fresh

    def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Object,
        *,
        writer: Writer = NOBODY,
        dry_run: bool = False,
    ) -> Object:
        """Replace an object, or with a writer of the status its status only; a change of nothing makes no version.

        Raises:
            Refusal: 404, 409 when the body carries another resourceVersion or uid than the object, 400 and 422.
        """
        current = self.get(resource, namespace, name)
        admission.check_identity(resource, namespace, name, body)
        given, held = body.get("metadata") or {}, current["metadata"]
        if given.get("resourceVersion") and given["resourceVersion"] != held["resourceVersion"]:
            raise errors.conflict(resource, name)
        if resource.custom and not given.get("resourceVersion"):
            cause = ("metadata.resourceVersion", "Invalid value: 0x0: must be specified for an update")
            raise errors.invalid(resource, name, [cause])
        if given.get("uid") and given["uid"] != held["uid"]:
            why = f"Precondition failed: UID in precondition: {given['uid']}, UID in object meta: {held['uid']}"
            raise errors.conflict(resource, name, why)
        if writer.subresource == "status":
            wanted = {"status": body["status"]} if body.get("status") is not None else {}
            fresh = copied({key: value for key, value in current.items() if key != "status"} | wanted)
            schema.admit(resource, name, fresh)
        else:
            fresh = self._replacement(resource, namespace, name, body, current)
        if writer.operation != "Apply":
            fresh["metadata"]["managedFields"] = ownership.written(resource, current, fresh, writer, self.clock())
        if fresh == current:
            return current
        if resource.generation and not _same_spec(fresh, current, resource):
            fresh["metadata"]["generation"] = held.get("generation", 0) + 1
        if not dry_run:
            ended = held.get("deletionTimestamp") and not fresh["metadata"].get("finalizers")
            if ended and not fresh["metadata"].get("deletionGracePeriodSeconds"):
                self.remove(resource, (namespace, name), fresh)
            else:
                self.commit(resource, (namespace, name), "MODIFIED", fresh, current)
        return fresh

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Change,
        *,
        writer: Writer = NOBODY,
        dry_run: bool = False,
    ) -> Object:
        """Replace an object by what `change` makes of a copy of it; otherwise as `update`."""
        current = self.get(resource, namespace, name)
        fresh = change(copied(current))
        if told := shapes.mistyped(resource, fresh):
            raise errors.invalid(resource, name, [("patch", f"Invalid value: {told}")])
        return self.update(resource, namespace, name, fresh, writer=writer, dry_run=dry_run)

    def apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        configuration: Object,
        *,
        manager: str,
        force: bool = False,
        dry_run: bool = False,
    ) -> tuple[Object, bool]:
        """Make an object what a configuration says of it (server-side apply); all else of it stays.

        Returns:
            The object, and whether it is new.

        Raises:
            Refusal: 409 when others own what would change and `force` is not set; otherwise as `create`, `update`.
        """
        admission.check_identity(resource, namespace, name, configuration)
        live = self.find(resource, namespace, name)
        if resource.status:
            configuration = {field: value for field, value in configuration.items() if field != "status"}
        named = configuration | {"metadata": {"name": name} | (configuration.get("metadata") or {})}
        fresh = ownership.applied(resource, live, named, manager, force=force, now=self.clock())
        writer = Writer(manager=manager, operation="Apply")
        if live is None:
            return self.create(resource, namespace, fresh, writer=writer, dry_run=dry_run), True
        return self.update(resource, namespace, name, fresh, writer=writer, dry_run=dry_run), False

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
            return self.remove(resource, (namespace, name), current), True
        held = metadata.get("deletionGracePeriodSeconds")
        if held is None or grace < held:
            moment = admission.timestamp(self.clock() + timedelta(seconds=grace))
            marks = {"deletionTimestamp": moment, "deletionGracePeriodSeconds": grace}
            fresh = current | {"metadata": metadata | marks}
            if "generation" in metadata:
                fresh["metadata"]["generation"] += 1
            self.commit(resource, (namespace, name), "MODIFIED", fresh, current)
            return fresh, False
        return current, False

    # Inside

    def _identify(self, resource: Resource, namespace: str, metadata: Object) -> None:
        for field in _SERVERS_OWN:
            metadata.pop(field, None)
        if namespace:
            metadata["namespace"] = namespace
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = admission.timestamp(self.clock())
        if resource.generation:
            metadata["generation"] = 1

    def _admit(self, resource: Resource, name: str, fresh: Object, current: Object | None) -> None:
        if resource.key == DEFINITIONS.key:
            schema.check_definition(resource, name, fresh)
        admission.check_workload(resource, name, fresh)
        admission.default(resource, fresh)
        if resource.key == SERVICES.key:
            services.admit(name, fresh, current, self.page(SERVICES).items)
        schema.admit(resource, name, fresh)

    def _replacement(self, resource: Resource, namespace: str, name: str, body: Object, current: Object) -> Object:
        fresh = shapes.decoded(resource, body)
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
        self._admit(resource, name, fresh, current)
        return fresh


def _same_spec(fresh: Object, current: Object, resource: Resource) -> bool:
    apart = ("metadata", "status") if resource.status else ("metadata",)
    return {field: each for field, each in fresh.items() if field not in apart} == {
        field: each for field, each in current.items() if field not in apart
    }

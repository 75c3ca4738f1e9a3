"""The rules by which a Kubernetes API server lets objects come, change and go, without its HTTP.

Source: kubernetes/apiserver `pkg/registry/generic/registry/store.go`, `pkg/registry/rest`.
"""

import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from kubemtu_lab.addressing import DUAL, Families
from kubemtu_lab.api import (
    admission,
    defaults,
    definitions,
    errors,
    fields,
    ownership,
    schema,
    services,
    shapes,
    workloads,
)
from kubemtu_lab.api.objects import HISTORY, Objects
from kubemtu_lab.api.ownership import Writer
from kubemtu_lab.api.resources import DEFINITIONS, NAMESPACES, SERVICES, Object, Resource, copied

FIRST_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SERVERS_OWN = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
_KEPT_NAMESPACES = ("default", "kube-public", "kube-system")
NOBODY = Writer(manager="unknown")

Change = Callable[[Object], Object]
Admit = Callable[[Resource, Object, Object | None], None]
"""Raises the Refusal of an admission policy; it gets the kind, what would be, and what is."""


class DeleteOptions(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a DELETE may ask for (meta/v1 DeleteOptions); the propagation policy is accepted and has no effect."""

    grace_period_seconds: int | None = None
    preconditions: dict[str, str] = {}
    dry_run: list[str] | None = None


def anything(_resource: Resource, _fresh: Object, _old: Object | None) -> None:
    """Refuse nothing: where no user writes, there are no policies."""


def suffix() -> str:
    """Return five letters of the kind that end generated names, with neither vowels nor look-alikes."""
    return "".join(random.choices(_NAME_LETTERS, k=5))


class Store(Objects):
    """Objects, and only such changes of them as a Kubernetes API server takes."""

    def __init__(
        self,
        *,
        window: int = HISTORY,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        families: Families = DUAL,
    ) -> None:
        super().__init__(window=window)
        self.clock = clock
        self._families = families  # of Services
        for name in FIRST_NAMESPACES:
            self.create(NAMESPACES, "", {"metadata": {"name": name}})

    def create(
        self,
        resource: Resource,
        namespace: str,
        body: Object,
        *,
        writer: Writer = NOBODY,
        admit: Admit = anything,
        dry_run: bool = False,
    ) -> Object:
        """Add an object; what `admit` refuses of this one, as of every write, is not kept.

        Raises:
            Refusal: 400 wrong kind or types, 404 no such namespace, 409 the name is taken, 422 against the schema.
        """
        admission.check_identity(resource, namespace, "", body)
        fresh = shapes.decoded(resource, body)
        metadata: Object = fresh.setdefault("metadata", {})
        if metadata.get("resourceVersion"):
            raise errors.unforeseen("resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + suffix()
        name = metadata.get("name", "")
        if namespace and self.find(NAMESPACES, "", namespace) is None:
            raise errors.not_found(NAMESPACES, namespace)
        self._identify(resource, namespace, metadata)
        self._admit(resource, name, fresh, None)
        admit(resource, fresh, None)
        if self.find(resource, namespace, name) is not None:
            raise errors.already_exists(resource, name)
        status = admission.initial_status(resource, fresh, self.clock())
        if resource.status and not resource.status_on_create:
            fresh.pop("status", None)
        if writer.operation != "Apply":
            metadata.pop("managedFields", None)
            ownership.write(resource, None, fresh, writer, self.clock())
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
        admit: Admit = anything,
        dry_run: bool = False,
    ) -> Object:
        """Replace an object, or with a writer of the status its status only; a change of nothing makes no version.

        Raises:
            Refusal: 404, 409 when the body carries another resourceVersion or uid than the object, 400 and 422.
        """
        current = self.get(resource, namespace, name)
        admission.check_identity(resource, namespace, name, body)
        given, held = body.get("metadata") or {}, current["metadata"]
        if (told := given.get("resourceVersion")) and not (told.isascii() and told.isdecimal()):
            raise errors.unforeseen(f'strconv.ParseUint: parsing "{told}": invalid syntax')
        if given.get("resourceVersion") and given["resourceVersion"] != held["resourceVersion"]:
            raise errors.conflict(resource, name)
        if resource.custom and not given.get("resourceVersion"):
            raise errors.versionless(resource, name)
        if given.get("uid") and given["uid"] != held["uid"]:
            why = f"Precondition failed: UID in precondition: {given['uid']}, UID in object meta: {held['uid']}"
            raise errors.conflict(resource, name, why)
        if writer.subresource == "status":
            wanted = {"status": body["status"]} if body.get("status") is not None else {}
            fresh = copied({key: value for key, value in current.items() if key != "status"} | wanted)
            schema.admit(resource, name, fresh)
            admission.check_status(resource, name, fresh)
        else:
            fresh = self._replacement(resource, namespace, name, body, current)
        admit(resource, fresh, current)
        if writer.operation != "Apply":
            if "managedFields" in given and writer.subresource != "status":
                fresh["metadata"]["managedFields"] = given["managedFields"]
            ownership.write(resource, current, fresh, writer, self.clock())
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
        admit: Admit = anything,
        dry_run: bool = False,
    ) -> Object:
        """Replace an object by what `change` makes of a copy of it; otherwise as `update`."""
        current = self.get(resource, namespace, name)
        fresh = change(copied(current))
        for field in ("apiVersion", "kind"):
            if fresh.get(field) != current[field]:
                raise errors.invalid(
                    resource, name, [("patch", f"Invalid value: no kind is registered for {fresh.get(field)}")]
                )
        if told := shapes.mistyped(resource, fresh) or fields.undecodable(resource, fresh):
            raise errors.invalid(resource, name, [("patch", f"Invalid value: {told}")])
        if (fresh.get("metadata") or {}).get("uid") != current["metadata"]["uid"]:
            told = f'Invalid value: "{(fresh.get("metadata") or {}).get("uid", "")}": field is immutable'
            raise errors.invalid(resource, name, [("metadata.uid", told)])
        return self.update(resource, namespace, name, fresh, writer=writer, admit=admit, dry_run=dry_run)

    def apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        configuration: Object,
        *,
        manager: str,
        subresource: str = "",
        admit: Admit = anything,
        force: bool = False,
        dry_run: bool = False,
    ) -> tuple[Object, bool]:
        """Make an object, or its status, what a configuration says of it (server-side apply); all else of it stays.

        Returns:
            The object, and whether it is new.

        Raises:
            Refusal: 409 when others own what would change and `force` is not set; otherwise as `create`, `update`.
        """
        admission.check_identity(resource, namespace, name, configuration)
        live = self.find(resource, namespace, name)
        if live is None and subresource:
            raise errors.not_found(resource, name)
        if resource.status:
            others = "spec" if subresource else "status"
            configuration = {field: value for field, value in configuration.items() if field != others}
        named = configuration | {"metadata": {"name": name} | (configuration.get("metadata") or {})}
        writer = Writer(manager=manager, operation="Apply", subresource=subresource)
        fresh = ownership.applied(resource, live, named, writer, force=force, now=self.clock())
        if live is None:
            return self.create(resource, namespace, fresh, writer=writer, admit=admit, dry_run=dry_run), True
        return self.update(resource, namespace, name, fresh, writer=writer, admit=admit, dry_run=dry_run), False

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
        if resource.key == NAMESPACES.key and name in _KEPT_NAMESPACES:
            raise errors.forbidden(resource, name, "this namespace may not be deleted")
        for field, wanted in options.preconditions.items():
            if metadata.get(field) != wanted:
                raise errors.precondition(resource, name, field, wanted, metadata.get(field))
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
        for field in ("selfLink", *_SERVERS_OWN):
            if field != "generation":  # whatever it is where nobody counts
                metadata.pop(field, None)
        if namespace:
            metadata["namespace"] = namespace
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = admission.timestamp(self.clock())
        if resource.generation:
            metadata["generation"] = 1

    def _admit(self, resource: Resource, name: str, fresh: Object, current: Object | None) -> None:
        if resource.key == DEFINITIONS.key:
            definitions.check(resource, name, fresh, current)
        defaults.fill_in(resource, fresh)
        workloads.count_templates(resource, fresh, current)
        admission.check(resource, name, fresh, current)
        if resource.key == SERVICES.key:
            services.admit(name, fresh, current, self.page(SERVICES).items, self._families)
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

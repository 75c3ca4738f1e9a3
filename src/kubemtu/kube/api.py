"""The Kubernetes API as verbs on plain objects: get, list, watch, create, patch, apply, replace, delete.

Objects go in and out as the JSON they are. Everything here is one Api, an async context; nothing above this package
knows which client library carries it.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Self

import httpx2
import msgspec

from kubemtu.core import errors
from kubemtu.core.objects import Object, Ref, Want
from kubemtu.kube import listing, pages, requests, sockets, watching, wire
from kubemtu.kube.connection import Connection
from kubemtu.kube.discovery import Discovery
from kubemtu.kube.errors import Absent, Action, from_status
from kubemtu.kube.listing import Listing
from kubemtu.kube.requests import Request
from kubemtu.kube.watching import Backoff, WatchEvent

if TYPE_CHECKING:
    from kubemtu.kube import exec  # noqa: A004

__all__ = ["Api", "Backoff", "Listing", "WatchEvent"]

FIELD_MANAGER = "kubemtu"


class Api:
    """One API server, reached as `connection` says. Every method raises what kube.errors draws.

    `field_manager` is the name under which the server notes what we write (metadata.managedFields). `segment` is the
    TCP MSS of its connections, in bytes: small, so that a path which drops large packets is crossed (kube.sockets);
    None leaves it to the kernel.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        backoff: Backoff | None = None,
        field_manager: str = FIELD_MANAGER,
        segment: int | None = sockets.SEGMENT,
    ) -> None:
        self.connection = connection
        self.field_manager = field_manager
        self._wire = wire.Wire(connection, transport=transport, segment=segment)
        self._discovery = Discovery(self._wire)
        self._backoff = backoff or Backoff()

    async def __aenter__(self) -> Self:
        await self._wire.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._wire.__aexit__()

    # What the server serves

    async def versions(self) -> tuple[str, ...]:
        """Return all group versions that the server has: `v1`, `apps/v1`, `kubemtu.io/v1alpha1`."""
        return await self._discovery.versions()

    async def group_versions(self) -> tuple[str, ...]:
        """Return those of named groups alone: `apps/v1`, not `v1`."""
        return await self._discovery.of_groups()

    async def serves(self, api_version: str, plural: str) -> bool:
        """Return True when the server has that resource in that version."""
        return await self._discovery.serves(api_version, plural)

    async def ref(self, body: Mapping[str, object]) -> Ref:
        """Return the address of an object with kind, apiVersion and metadata.name. Raises Absent for unserved ones."""
        return await self._discovery.ref(body)

    def now(self) -> float:
        """Return the time of the server, in seconds since the epoch; this machine's own before the first answer."""
        return self._wire.clock.now()

    async def namespaced(self, namespace: str) -> tuple[Want, ...]:
        """Return all collections that can be listed in a namespace, each kind in the first of its versions."""
        return await self._discovery.namespaced(namespace)

    def forget(self) -> None:
        """Ask the server again what it serves: after a CRD came or went."""
        self._discovery.forget()

    async def pause(self, failures: int) -> None:
        """Wait a while, longer with each failure in a row, before the same is tried again."""
        await asyncio.sleep(self._backoff.seconds(failures) / 10)

    # Reading

    async def get(self, ref: Ref) -> Object | None:
        """Return the object at `ref`, or None when it, or its kind, is not there."""
        action = _action("get", ref)
        try:
            body = await self._wire.request(Request(action=action, path=_path(ref)))
        except Absent:
            return None
        return self._whole(body, ref, action)

    async def find(self, api_version: str, plural: str, name: str, namespace: str | None = None) -> Object | None:
        """Return the object of that name, or None; as `get`, for callers that know no kind."""
        return await self.get(Ref(api_version=api_version, kind="", plural=plural, name=name, namespace=namespace))

    async def list(self, want: Want, *, field_selector: str | None = None) -> list[Object]:
        """Return all objects that `want` names; none when the server has none of its api_versions.

        Raises Malformed for an entry that is no object; `listing` goes on instead.
        """
        found = await self.listing(want, field_selector=field_selector)
        if found.malformed:
            raise errors.Malformed(found.malformed[0])
        return [*found.objects]

    async def listing(
        self, want: Want, *, field_selector: str | None = None, shape: pages.Shape | None = None
    ) -> Listing:
        """Return all objects that `want` names, page by page, and a sentence for each entry that is no object.

        `shape` says what is wanted of each, where there may be thousands; None: all of it.
        """
        api_version = await self._discovery.candidate(want)
        if api_version is None:
            return Listing(objects=())
        return await listing.read(self._wire, want, api_version, listing.selectors(want, field_selector), shape)

    async def watch(
        self,
        want: Want,
        *,
        name: str | None = None,
        namespace: str | None = None,
        resource_version: str | None = None,
        patience: float | None = None,
        field_selector: str | None = None,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Follow a collection, or the one object `name`, without an end.

        The first event is SYNC with all objects, unless `resource_version` says from where to go on; another SYNC comes
        whenever events may have been missed. A connection that drops is made again with growing pauses. A server that
        cannot be reached at first raises; later only when it stays away for `patience` seconds (None: never). What the
        server refuses raises at once. Close it with `contextlib.aclosing`.
        """
        want = msgspec.structs.replace(want, name=name or want.name, namespace=namespace or want.namespace)
        api_version = await self._discovery.candidate(want)
        if api_version is None:
            raise Absent(
                f"{self.connection.server} does not serve {want.plural} of {' or '.join(want.api_versions)}; install "
                "its CustomResourceDefinition first"
            )
        selectors = listing.selectors(want, field_selector)
        action = listing.action_on("watch", want, api_version)
        address = requests.path(api_version, want.plural, namespace=want.namespace)
        source = watching.Source(
            listing=lambda: listing.read(self._wire, want, api_version, selectors),
            lines=lambda more, seconds: self._wire.lines(
                Request(action=action, path=address, parameters={**selectors, **more}, read_seconds=seconds)
            ),
            refusal=lambda status: from_status(status, action, self.connection),
            kind=want.kind,
            api_version=api_version,
        )
        events = watching.follow(source, backoff=self._backoff, resource_version=resource_version, patience=patience)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()

    async def run(self, place: "exec.Place", command: Sequence[str], *, seconds: float) -> "exec.CommandOutput":
        """Run a command in a container, without a shell, and return what it printed; see kube.exec."""
        from kubemtu.kube import exec  # noqa: A004, PLC0415 - what reads WebSockets is loaded where one is needed

        return await exec.run(self._wire, place, command, seconds=seconds)

    async def proxied(
        self, namespace: str, service: str, path: str, parameters: Mapping[str, str], *, seconds: float
    ) -> bytes:
        """Return what a Service answers to a GET through the API server; `service` is `[https:]NAME[:PORT]`."""
        action = Action(verb="get", plural="services", namespace=namespace, name=service, subresource="proxy")
        address = requests.path("v1", "services", namespace=namespace, name=service, subresource="proxy")
        return await self._bytes(
            Request(action=action, path=address + path, parameters=dict(parameters), read_seconds=seconds)
        )

    async def log(self, namespace: str, pod: str, container: str, most: int) -> bytes:
        """Return what a container printed, in at most so many bytes. Raises Absent when the pod is gone."""
        action = Action(verb="get", plural="pods", namespace=namespace, name=pod, subresource="log")
        address = requests.path("v1", "pods", namespace=namespace, name=pod, subresource="log")
        return await self._bytes(
            Request(action=action, path=address, parameters={"container": container, "limitBytes": most})
        )

    # Writing

    async def create(self, body: Mapping[str, object], *, dry_run: bool = False) -> Object:
        """Create an object; `dry_run` only asks. Raises AlreadyThere when one of that name exists."""
        ref = await self.ref(body)
        action = _action("create", ref)
        address = requests.path(ref.api_version, ref.plural, namespace=ref.namespace)
        answer = await self._wire.request(
            Request(action=action, method="POST", path=address, parameters=self._writing(dry_run=dry_run), body=body)
        )
        return self._whole(answer, ref, action)

    async def patch(
        self,
        ref: Ref,
        body: Mapping[str, object],
        *,
        subresource: str | None = None,
        resource_version: str | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Merge `body` into an object (RFC 7396: null takes a key away) and return what it became.

        `resource_version` is a guard: raises Conflict when the object has another one by now.
        """
        action = _action("patch", ref, subresource)
        if resource_version is not None:
            metadata = body.get("metadata")
            guard = {"resourceVersion": resource_version}
            body = {**body, "metadata": {**metadata, **guard} if isinstance(metadata, Mapping) else guard}
        answer = await self._wire.request(
            Request(
                action=action,
                method="PATCH",
                path=_path(ref, subresource),
                parameters=self._writing(dry_run=dry_run),
                body=body,
                content_type="application/merge-patch+json",
            )
        )
        return self._whole(answer, ref, action)

    async def apply(
        self,
        body: Mapping[str, object],
        field_manager: str = FIELD_MANAGER,
        *,
        force: bool = True,
        dry_run: bool = False,
    ) -> Object:
        """Apply an object server-side: what it names becomes so, what it does not name stays; `dry_run` only asks.

        Raises Conflict when `force` is False and another manager owns one of the fields.
        """
        ref = await self.ref(body)
        action = _action("patch", ref)
        answer = await self._wire.request(
            Request(
                action=action,
                method="PATCH",
                path=_path(ref),
                parameters={
                    "fieldManager": field_manager,
                    "force": "true" if force else "false",
                    **({"dryRun": "All"} if dry_run else {}),
                },
                body=body,
                content_type="application/apply-patch+yaml",  # JSON is YAML; the name is all the server knows
            )
        )
        return self._whole(answer, ref, action)

    async def replace(self, body: Mapping[str, object], *, subresource: str | None = None) -> Object:
        """Put an object in place of the present one; its metadata.resourceVersion is the guard. Raises Conflict."""
        ref = await self.ref(body)
        action = _action("update", ref, subresource)
        answer = await self._wire.request(
            Request(action=action, method="PUT", path=_path(ref, subresource), parameters=self._writing(), body=body)
        )
        return self._whole(answer, ref, action)

    async def delete(
        self,
        ref: Ref,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
        grace_seconds: int | None = None,
    ) -> bool:
        """Delete an object; False when there was none. Raises Conflict unless the guards given are its own.

        `grace_seconds` is what a pod gets to end (None: what it asks for itself).
        """
        guards = {"uid": uid, "resourceVersion": resource_version}
        held = {name: value for name, value in guards.items() if value}
        body: dict[str, object] = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": propagation,
            **({"preconditions": held} if held else {}),
            **({} if grace_seconds is None else {"gracePeriodSeconds": grace_seconds}),
        }
        try:
            await self._wire.request(
                Request(action=_action("delete", ref), method="DELETE", path=_path(ref), body=body)
            )
        except Absent:
            return False
        return True

    # Inside

    async def _bytes(self, request: Request) -> bytes:
        """Return an answer that is no object."""
        answer = await self._wire.request(request, lambda body: {"body": bytes(body)})
        body = answer["body"]
        assert isinstance(body, bytes)
        return body

    def _writing(self, *, dry_run: bool = False) -> dict[str, str]:
        return {"fieldManager": self.field_manager} | ({"dryRun": "All"} if dry_run else {})

    def _whole(self, body: dict[str, object], ref: Ref, action: Action) -> Object:
        fault = listing.fault(body)
        if fault:
            raise errors.Malformed(f"what {self.connection.server} answered for {action.place} {fault}; try again")
        return Object.of({"apiVersion": ref.api_version} | ({"kind": ref.kind} if ref.kind else {}) | body)


def _action(verb: str, ref: Ref, subresource: str | None = None) -> Action:
    return Action(
        verb=verb,
        plural=ref.plural,
        api_version=ref.api_version,
        namespace=ref.namespace,
        name=ref.name,
        subresource=subresource,
    )


def _path(ref: Ref, subresource: str | None = None) -> str:
    if not ref.name:
        raise errors.Malformed(f"an object of kind {ref.kind or ref.plural} has no name; give it one")
    return requests.path(ref.api_version, ref.plural, namespace=ref.namespace, name=ref.name, subresource=subresource)

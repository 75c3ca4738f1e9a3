"""What an API server serves: group versions, and the resources of each, asked once."""

import asyncio
from collections.abc import Mapping

import msgspec

from kubemtu.core.objects import Object, Ref, Want
from kubemtu.core.text import json_values
from kubemtu.kube import requests, wire
from kubemtu.kube.errors import Absent, Action, no_discovery, no_root


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of discovery: a kind that the server serves."""

    kind: str
    plural: str
    namespaced: bool
    verbs: tuple[str, ...] = ()


class Discovery:
    """The resources of one server, kept per group version; what is not there is asked for again each time."""

    def __init__(self, line: wire.Wire) -> None:
        self._wire = line
        self._served: dict[str, tuple[Resource, ...]] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    def forget(self) -> None:
        """Ask the server again."""
        self._served.clear()

    async def _read(self, where: str, kind: str, member: str) -> dict[str, object]:
        """Raise NotAnApi, of one group Malformed, for what is no list of that kind: who answers all alike is no API."""
        answer = await self._wire.request(requests.Request(action=Action(verb="get", plural=where), path=where))
        if answer.get("kind") != kind and not isinstance(answer.get(member), list):
            raise no_discovery(self._wire.connection, where, kind)
        return answer

    async def versions(self) -> tuple[str, ...]:
        """Return all group versions that the server has: `v1`, `apps/v1`, `kubemtu.io/v1alpha1`."""
        core = await self._read("/api", "APIVersions", "versions")
        return (*json_values.texts(core.get("versions")), *await self.of_groups())

    async def of_groups(self) -> tuple[str, ...]:
        """Return those of named groups alone: `apps/v1`, not `v1`."""
        found: list[str] = []
        for group in Object.of(await self._read("/apis", "APIGroupList", "groups"), origin="/apis").each("groups"):
            found += [name for version in group.each("versions") if (name := version.text("groupVersion"))]
        return tuple(found)

    async def resources(self, api_version: str) -> tuple[Resource, ...]:
        """Return all resources of one group version; none when the server does not have it."""
        async with self._asking.setdefault(api_version, asyncio.Lock()):
            if api_version in self._served:
                return self._served[api_version]
            where = requests.path(api_version)
            try:
                answer = await self._read(where, "APIResourceList", "resources")
            except Absent as absent:
                if api_version == "v1":
                    raise no_root(self._wire.connection, where, str(absent)) from absent
                return ()  # not kept: a CRD may be installed while we run
            entries = Object.of(answer, origin=f"{self._wire.connection.server}{where}")
            served = tuple(
                Resource(
                    kind=one.text("kind") or "",
                    plural=one.text("name") or "",
                    namespaced=bool(one.flag("namespaced")),
                    verbs=tuple(json_values.texts(one.get("verbs"))),
                )
                for one in entries.each("resources")
            )
            self._served[api_version] = served
            return served

    async def serves(self, api_version: str, plural: str) -> bool:
        """Return True when the server has that resource in that version."""
        return any(resource.plural == plural for resource in await self.resources(api_version))

    async def namespaced(self, namespace: str) -> tuple[Want, ...]:
        """Return all collections that can be listed in a namespace, each kind in the first of its versions."""
        found: dict[tuple[str, str], Want] = {}
        for version in await self.versions():
            for one in await self.resources(version):
                key = (version.rpartition("/")[0], one.plural)
                if one.namespaced and "list" in one.verbs and "/" not in one.plural and key not in found:
                    found[key] = Want(kind=one.kind, plural=one.plural, api_versions=(version,), namespace=namespace)
        return tuple(found.values())

    async def candidate(self, want: Want) -> str | None:
        """Return the first of a want's api_versions that the server has, or None."""
        for api_version in want.api_versions:
            if await self.serves(api_version, want.plural):
                return api_version
        return None

    async def ref(self, body: Mapping[str, object]) -> Ref:
        """Return the address of an object that has kind, apiVersion and metadata.name.

        A namespaced object without a namespace belongs to that of the context. Raises Absent for an unserved kind.
        """
        named = Object.of(dict(body))
        # A subresource (daemonsets/status) has the kind of its parent.
        for one in await self.resources(named.api_version):
            if one.kind == named.kind and "/" not in one.plural:
                return Ref(
                    api_version=named.api_version,
                    kind=named.kind,
                    plural=one.plural,
                    name=named.name,
                    namespace=(named.namespace or self._wire.connection.namespace) if one.namespaced else None,
                )
        raise Absent(
            f"{self._wire.connection.server} does not serve the kind {named.kind} of {named.api_version}; install its "
            "CustomResourceDefinition first"
        )

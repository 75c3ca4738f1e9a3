"""The lab's own small client of the Kubernetes API, used by its kubelets and its supervisor.

It is not kubemtu's client on purpose: the lab is the ground that kubemtu is tried on, and must not share its mistakes.
"""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Literal, Self

import httpx2
import msgspec
import yaml

from kubemtu.core.errors import KubemtuError
from kubemtu.core.objects import Object

Json = dict[str, object]
Change = tuple[Literal["ADDED", "MODIFIED", "DELETED"], Object]
_RELIST_SECONDS = 0.2
_TRIES = 3
_GONE = 410


class Answered(KubemtuError):
    """The API answered other than yes, or not at all; `code` is the HTTP status, 0 for no answer."""

    exit_code = 3

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def path(plural: str, name: str = "", *, namespace: str = "", group: str = "v1", sub: str = "") -> str:
    """Write the path of a collection or an object; `group` as apiVersion does, "v1" or "apps/v1"."""
    parts = ["/api" if "/" not in group else "/apis", group]
    parts += ["namespaces", namespace] if namespace else []
    parts += [each for each in (plural, name, sub) if each]
    return "/".join(parts)


class Client:
    """An HTTP client bound to one API server; every method raises Answered."""

    def __init__(self, kubeconfig: str) -> None:
        document = Object.of(yaml.safe_load(kubeconfig))
        cluster, user = ("clusters", 0, "cluster"), ("users", 0, "user")
        authority = base64.b64decode(document.text(*cluster, "certificate-authority-data") or "").decode()
        context = ssl.create_default_context(cadata=authority)
        self.authority = authority
        headers = {}
        if token := document.text(*user, "token"):
            headers["Authorization"] = f"Bearer {token}"
        self._http = httpx2.AsyncClient(
            base_url=document.text(*cluster, "server") or "",
            headers=headers,
            verify=context,
            timeout=httpx2.Timeout(10, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=4),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def get(self, where: str) -> Object:
        """Read one object."""
        return _object(await self._send("GET", where))

    async def find(self, where: str) -> Object | None:
        """Read one object; None when it does not exist."""
        try:
            return await self.get(where)
        except Answered as answer:
            if answer.code == httpx2.codes.NOT_FOUND:
                return None
            raise

    async def list(self, where: str, **query: str) -> tuple[list[Object], str]:
        """Read a collection and the resourceVersion at which it was so."""
        answer = _object(await self._send("GET", where, query=query))
        return list(answer.each("items")), answer.text("metadata", "resourceVersion") or ""

    async def create(self, where: str, body: Mapping[str, object]) -> Object:
        """Add an object to a collection."""
        return _object(await self._send("POST", where, body))

    async def merge(self, where: str, body: Mapping[str, object]) -> Object:
        """Change the fields that `body` names, by JSON merge patch (RFC 7386)."""
        return _object(await self._send("PATCH", where, body, kind="application/merge-patch+json"))

    async def delete(self, where: str, *, grace: int | None = None) -> None:
        """Delete an object; none is fine."""
        query = {} if grace is None else {"gracePeriodSeconds": str(grace)}
        answer = await self._send("DELETE", where, query=query)
        if answer.status_code != httpx2.codes.NOT_FOUND:
            _object(answer)

    async def _send(
        self,
        method: str,
        where: str,
        body: Mapping[str, object] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        kind: str = "application/json",
    ) -> httpx2.Response:
        """Send a request, again if the connection breaks: the server closes idle ones just when they are used."""
        content = None if body is None else msgspec.json.encode(body)
        told = ""
        for _ in range(_TRIES):
            try:
                return await self._http.request(
                    method, where, content=content, params=dict(query or {}), headers={"Content-Type": kind}
                )
            except httpx2.TransportError as error:
                told = str(error) or type(error).__name__
                await asyncio.sleep(_RELIST_SECONDS)
        raise Answered(0, f"{method} {where}: the API does not answer ({told})")

    async def watch(self, where: str, **query: str) -> AsyncIterator[Change]:
        """Tell what is there, then every change, for ever; a lost connection is made good by a new list."""
        known: dict[str, Object] = {}
        while True:
            try:
                async for change in self._watch_once(where, query, known):
                    yield change
            except (Answered, httpx2.HTTPError):
                await asyncio.sleep(_RELIST_SECONDS)

    async def _watch_once(self, where: str, query: dict[str, str], known: dict[str, Object]) -> AsyncIterator[Change]:
        items, version = await self.list(where, **query)
        now = {uid(each): each for each in items}
        for gone in known.keys() - now.keys():
            yield "DELETED", known.pop(gone)
        for key, each in now.items():
            before = known.get(key)
            known[key] = each
            if before is None or before.resource_version != each.resource_version:
                yield "ADDED" if before is None else "MODIFIED", each
        while True:
            asked = query | {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
            async with self._http.stream("GET", where, params=asked, timeout=None) as answer:
                if answer.is_error:
                    await answer.aread()
                    _object(answer)
                async for line in answer.aiter_lines():
                    if not line:
                        continue
                    event = Object.of(msgspec.json.decode(line, type=Json))
                    each = Object.of(event.mapping("object"))
                    kind = event.text("type")
                    if kind == "ERROR":
                        raise Answered(each.integer("code") or _GONE, each.text("message") or "")
                    version = each.resource_version or version
                    if kind == "DELETED":
                        known.pop(uid(each), None)
                        yield "DELETED", each
                    elif kind in ("ADDED", "MODIFIED"):
                        known[uid(each)] = each
                        yield "ADDED" if kind == "ADDED" else "MODIFIED", each


def uid(body: Object) -> str:
    """metadata.uid: an object of the same name made again has another."""
    return body.text("metadata", "uid") or ""


def _object(answer: httpx2.Response) -> Object:
    if answer.is_error:
        try:
            told = msgspec.json.decode(answer.content, type=Json).get("message")
        except msgspec.DecodeError:
            told = answer.text[:200]
        raise Answered(answer.status_code, f"{answer.request.method} {answer.request.url.path}: {told}")
    return Object.of(msgspec.json.decode(answer.content, type=Json))

"""The small HTTP client with which the lab's own parts talk to either API: JSON in, JSON out, nothing typed.

The lab must write objects as kubectl would, odd ones too, so that it wants no model between itself and the API.
"""

import asyncio
import base64
import logging
import ssl
from collections.abc import Mapping

import httpx2
import msgspec

from kubemtu.lab.api.errors import Refusal
from kubemtu.lab.api.resources import Object

_LOG = logging.getLogger(__name__)
_RETRY_SECONDS = 0.1


def connect(kubeconfig: Object) -> httpx2.AsyncClient:
    """Return a client for the first cluster and user of a kubeconfig document, as `EmbeddedApi.kubeconfig` makes it."""
    cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    return httpx2.AsyncClient(
        base_url=cluster["server"],
        headers={"authorization": f"Bearer {user['token']}"},
        verify=tls,
        timeout=10.0,
        trust_env=False,
        limits=httpx2.Limits(max_connections=None),
    )


async def call(
    client: httpx2.AsyncClient,
    method: str,
    path: str,
    body: Object | None = None,
    *,
    query: Mapping[str, str] | None = None,
    content_type: str = "application/json",
) -> Object:
    """Send one request and return the object that answers it.

    Raises:
        Refusal: what the server says instead, with its code.
        httpx2.TransportError: the server does not answer.
    """
    content = None if body is None else msgspec.json.encode(body)
    headers = {"content-type": content_type}
    answer = await client.request(method, path, content=content, params=dict(query or {}), headers=headers)
    return _object_of(answer.status_code, answer.content)


def _object_of(code: int, content: bytes) -> Object:
    try:
        told = msgspec.json.decode(content, type=dict)
    except msgspec.DecodeError:
        told = {"message": content.decode(errors="replace")[:200]}
    if code >= 400:
        raise Refusal(code, told.get("reason", "Unknown"), told.get("message", ""), told.get("details"))
    return told


class Mirror:
    """The objects under one path of the API, by uid, kept true by a watch.

    `changed` is set after every change. An own write can be entered at once with `enter` and `remove`, so that
    who decides by the mirror does not decide twice while the watch is still on its way.
    """

    def __init__(
        self, client: httpx2.AsyncClient, path: str, changed: asyncio.Event, query: Mapping[str, str] | None = None
    ) -> None:
        self.objects: dict[str, Object] = {}
        self.synced = False
        self._client = client
        self._path = path
        self._query = dict(query or {})
        self._changed = changed
        self._removed: set[str] = set()

    async def run(self) -> None:
        """Follow the API until cancelled; begins again when the server goes away or forgets."""
        version = ""
        while True:
            try:
                version = await self._watch(version or await self._list())
            except Refusal as refusal:
                version = ""
                if refusal.code != 410:
                    _LOG.warning("%s: %s", self._path, refusal)
                    await asyncio.sleep(_RETRY_SECONDS)
            except (httpx2.TransportError, msgspec.DecodeError) as broken:
                _LOG.debug("%s: %r", self._path, broken)
                version = ""
                await asyncio.sleep(_RETRY_SECONDS)

    def enter(self, item: Object) -> None:
        """Take an object in, unless a newer version of it is here, or it is known to be gone."""
        metadata = item["metadata"]
        held = self.objects.get(metadata["uid"])
        if metadata["uid"] in self._removed:
            return
        if held is None or int(held["metadata"]["resourceVersion"]) < int(metadata["resourceVersion"]):
            self.objects[metadata["uid"]] = item
            self._changed.set()

    def remove(self, uid: str) -> None:
        """Leave an object out from now on, whatever older events still say."""
        self._removed.add(uid)
        if self.objects.pop(uid, None) is not None:
            self._changed.set()

    async def _list(self) -> str:
        page = await call(self._client, "GET", self._path, query=self._query)
        kind, version = page["kind"].removesuffix("List"), page["apiVersion"]
        items = [{"kind": kind, "apiVersion": version} | item for item in page["items"]]
        self.objects = {item["metadata"]["uid"]: item for item in items}
        self._removed.clear()
        self.synced = True
        self._changed.set()
        found: str = page["metadata"]["resourceVersion"]
        return found

    async def _watch(self, version: str) -> str:
        query = self._query | {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
        timeout = httpx2.Timeout(10.0, read=None)
        async with self._client.stream("GET", self._path, params=query, timeout=timeout) as answer:
            if answer.status_code != 200:
                _object_of(answer.status_code, await answer.aread())
            async for line in answer.aiter_lines():
                event = msgspec.json.decode(line)
                item = event["object"]
                if event["type"] == "ERROR":
                    raise Refusal(item.get("code", 500), item.get("reason", ""), item.get("message", ""))
                version = item["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    self.remove(item["metadata"]["uid"])
                    self._removed.discard(item["metadata"]["uid"])
                elif event["type"] != "BOOKMARK":
                    self.enter(item)
        return version

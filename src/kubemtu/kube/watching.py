"""Following a collection for as long as anybody looks: list, watch, and again after whatever broke.

Source: Kubernetes API concepts, "Efficient detection of changes" and "Watch bookmarks".
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Literal, cast

import msgspec

from kubemtu.core import errors
from kubemtu.core.objects import Object
from kubemtu.core.text import json_values
from kubemtu.kube.errors import Absent, Expired, ServerFailing
from kubemtu.kube.listing import Listing, fault

WATCH_SECONDS = 300  # after which the server is asked to end a watch, so that one that hangs is noticed
_ENDING_SECONDS = 30  # how much longer an end may take before the connection counts as dead


class WatchEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a watch: SYNC carries the whole collection, the others the one object that changed."""

    type: Literal["SYNC", "ADDED", "MODIFIED", "DELETED"]
    objects: tuple[Object, ...]


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait between two attempts, in seconds: doubling from `first` to `most`, up to half less by chance."""

    first: float = 0.5
    most: float = 30.0

    def seconds(self, failures: int) -> float:
        """Return the pause after that many failures in a row (1 is the first)."""
        whole = min(self.most, self.first * 2.0 ** min(failures - 1, 16))
        return whole * (0.5 + random.random() / 2)


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What a watch needs of an Api: `listing` reads all, `lines` streams from a resourceVersion, `refusal` an ERROR."""

    listing: Callable[[], Awaitable[Listing]]
    lines: Callable[[Mapping[str, str | int], float], AsyncGenerator[bytes, None]]
    refusal: Callable[[dict[str, object]], errors.KubemtuError]
    kind: str
    api_version: str


async def follow(
    source: Source, *, backoff: Backoff, resource_version: str | None, patience: float | None
) -> AsyncGenerator[WatchEvent, None]:
    """Yield what happens, without an end; see `Api.watch`."""
    version, begun = resource_version, resource_version is not None
    failures, since = 0, 0.0
    while True:
        try:
            if version is None:
                listing = await source.listing()
                # Without a version the server starts from the present state, which comes as ADDED: nothing is missed.
                version, begun = listing.resource_version or "", True
                yield WatchEvent(type="SYNC", objects=tuple(listing.objects))
            async with contextlib.aclosing(_events(source, version)) as events:
                async for type_, found, newer in events:
                    version, failures = newer or version, 0
                    if found is not None:
                        yield WatchEvent(type=cast("Literal['ADDED', 'MODIFIED', 'DELETED']", type_), objects=(found,))
            # The server ended it, on time or because it stops: no failure, but no reason to spin either.
            await asyncio.sleep(backoff.seconds(1) / 10)
            continue
        except Expired:
            version = None
        except Absent:
            if not begun:
                raise
            version = None  # a CRD was replaced, or the group's server is away
        except errors.Unreachable:
            if not begun or (patience is not None and failures and time.monotonic() - since >= patience):
                raise
        failures += 1
        since = time.monotonic() if failures == 1 else since
        await asyncio.sleep(backoff.seconds(failures))


async def _events(source: Source, version: str) -> AsyncGenerator[tuple[str, Object | None, str | None], None]:
    """Yield one connection's worth of events: type, object (None for a bookmark), resourceVersion."""
    parameters: dict[str, str | int] = {"watch": 1, "allowWatchBookmarks": "true", "timeoutSeconds": WATCH_SECONDS}
    if version:
        parameters["resourceVersion"] = version
    async with contextlib.aclosing(source.lines(parameters, WATCH_SECONDS + _ENDING_SECONDS)) as lines:
        async for line in lines:
            if not line.strip():
                continue
            type_, body = _event(line)
            if type_ == "ERROR":
                raise source.refusal(body)
            metadata = body.get("metadata")
            newer = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
            found = Object.of({"apiVersion": source.api_version, "kind": source.kind} | body)
            whole = type_ in {"ADDED", "MODIFIED", "DELETED"} and fault(body) is None
            yield type_, found if whole else None, newer if isinstance(newer, str) else None


def _event(line: bytes) -> tuple[str, dict[str, object]]:
    try:
        decoded = json_values.decode(line)
    except msgspec.DecodeError as error:
        raise ServerFailing("a watch brought a line that is not JSON; a proxy may stand in between") from error
    if isinstance(decoded, dict) and isinstance(decoded.get("object"), dict):
        return str(decoded.get("type")), decoded["object"]
    raise ServerFailing("a watch brought an event without an object; a proxy may stand in between")

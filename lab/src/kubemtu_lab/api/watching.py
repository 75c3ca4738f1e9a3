"""A watch: the changes of one kind as a stream of JSON lines, from a resourceVersion on.

Source: Kubernetes API concepts, "Efficient detection of changes", "Watch bookmarks", "Streaming lists".
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec

from kubemtu_lab.api.errors import Refusal, bad_request
from kubemtu_lab.api.paths import Target
from kubemtu_lab.api.resources import Object
from kubemtu_lab.api.selectors import Selector
from kubemtu_lab.api.store import Store

View = Callable[[Object], Object]
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class WatchOptions(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The query of a watch; `timeout_seconds` ends it, as a client may expect at any time."""

    resource_version: str = ""
    allow_watch_bookmarks: bool = False
    send_initial_events: bool = False
    timeout_seconds: float = 3600.0


class Stopping:
    """The end of a server, on which every open watch waits besides its own events."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()
        self.stopped = False

    def watch(self, event: asyncio.Event) -> None:
        """Set this event when the server ends."""
        self._waiting.add(event)

    def forget(self, event: asyncio.Event) -> None:
        """Stop setting this event."""
        self._waiting.discard(event)

    def stop(self) -> None:
        """End all watches."""
        self.stopped = True
        for event in self._waiting:
            event.set()


def first_version(options: WatchOptions) -> int:
    """Return the resourceVersion after which the watch starts; 0 means from the present objects on.

    Raises:
        Refusal: 400.
    """
    text = options.resource_version or "0"
    if not text.isdecimal():
        raise bad_request(f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax')
    return 0 if options.send_initial_events else int(text)


async def stream(
    store: Store,
    target: Target,
    selector: Selector,
    options: WatchOptions,
    *,
    view: View,
    stopping: Stopping,
    bookmark_seconds: float,
) -> AsyncIterator[bytes]:
    """Yield the events of a watch, as many lines at once as are ready, until the wish's time or the server ends.

    `view` is applied to every object, not to bookmarks and errors.
    """
    resource, namespace = target.resource, target.namespace
    changed = asyncio.Event()
    unlisten = store.listen(resource, changed.set)
    stopping.watch(changed)
    loop = asyncio.get_running_loop()
    end = loop.time() + options.timeout_seconds
    since = first_version(options)
    try:
        if not since:
            since, lines = (
                store.version,
                [_line("ADDED", view(item)) for item in store.page(resource, namespace, selector).items],
            )
            if options.send_initial_events and options.allow_watch_bookmarks:
                lines.append(_bookmark(target, since, {_INITIAL_EVENTS_END: "true"}))
            yield b"".join(lines)
        idle = False
        while not stopping.stopped:
            changed.clear()
            try:
                events = store.changes(resource, since, namespace, selector)
            except Refusal as refusal:
                yield _line("ERROR", refusal.status)
                return
            since = store.version
            if events:
                yield b"".join(_line(event.type, view(event.object)) for event in events)
            if idle:  # told only after what may have changed in the moment in which the time was up
                if options.allow_watch_bookmarks:
                    yield _bookmark(target, since, {})
                if loop.time() >= end:
                    return
            elif events:
                continue
            try:
                async with asyncio.timeout(min(end - loop.time(), bookmark_seconds)):
                    await changed.wait()
                idle = False
            except TimeoutError:
                idle = True
    finally:
        unlisten()
        stopping.forget(changed)


def _line(kind: str, item: Object) -> bytes:
    return msgspec.json.encode({"type": kind, "object": item}) + b"\n"


def _bookmark(target: Target, version: int, annotations: dict[str, str]) -> bytes:
    metadata: Object = {"resourceVersion": str(version)}
    if annotations:
        metadata["annotations"] = annotations
    resource = target.resource
    return _line("BOOKMARK", {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata})

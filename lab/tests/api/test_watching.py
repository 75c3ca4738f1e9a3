"""A watch brings every change once, whenever it happens."""

import asyncio
import contextlib
import time

import httpx2
from tests.support.api_samples import named

from kubemtu_lab.api.paths import Target
from kubemtu_lab.api.resources import Object, Resource
from kubemtu_lab.api.selectors import Selector
from kubemtu_lab.api.store import Store
from kubemtu_lab.api.watching import Stopping, WatchOptions, stream

PAUSE = 0.002  # seconds between two bookmarks


async def test_what_changes_in_the_moment_of_a_bookmark_is_not_lost(store: Store, configmaps: Resource) -> None:
    """The loop is held up until the time is up, and the change comes a few turns later, whichever that is."""
    stopping = Stopping()
    lines = stream(
        store,
        Target(resource=configmaps),
        Selector(),
        WatchOptions(resource_version=str(store.version or 1), allow_watch_bookmarks=True),
        view=lambda item: item,
        stopping=stopping,
        bookmark_seconds=PAUSE,
    )
    seen: list[Object] = []

    async def read() -> None:
        async for block in lines:
            seen.extend(httpx2.Response(200, text=line).json() for line in block.decode().splitlines())

    reading = asyncio.create_task(read())
    names = []
    for turns in range(12):
        await asyncio.sleep(PAUSE)
        time.sleep(2 * PAUSE)
        for _ in range(turns):
            await asyncio.sleep(0)
        names.append(f"after-{turns}")
        store.create(configmaps, "default", named(names[-1]))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(60):
            while len([one for one in seen if one["type"] == "ADDED"]) < len(names):
                await asyncio.sleep(PAUSE)
    stopping.stop()
    await reading
    assert [one["object"]["metadata"]["name"] for one in seen if one["type"] == "ADDED"] == names
    versions = [int(one["object"]["metadata"]["resourceVersion"]) for one in seen]
    assert versions == sorted(versions)

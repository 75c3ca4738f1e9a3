"""What a lab waits for before it calls itself up: a kind that is served, a node that is told, a key that is made."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from kubemtu.core.errors import Unreachable
from kubemtu.core.objects import PODS, Object, Want
from kubemtu.kube import mtu
from kubemtu.kube.api import Api
from kubemtu.kube.errors import Absent, Rejected
from kubemtu_lab import manifests, state

Answer = TypeVar("Answer")
SECONDS = 60.0  # a port that takes less strikes after it: who has told nothing by then may be silent for good
POLL_SECONDS = 0.03


async def answered(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask what may be asked twice, again for SECONDS where a machine that is busy with a lab's start answers too late.

    Raises Unreachable when it still does not then, and what else `ask` raises.
    """
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return await ask()
        except Unreachable:
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(POLL_SECONDS)


async def listed(api: Api, want: Want) -> list[Object]:
    """List a collection, as `answered`."""
    return await answered(lambda: api.list(want))


async def created(api: Api, body: dict[str, object]) -> None:
    """Create an object; a real server serves a kind only some time after its definition was created.

    A busy machine may also answer too late. The Service of the API itself a real server has made, and refuses its
    address to another before it looks at the name. Raises Absent or Unreachable when that is still so after SECONDS,
    and what else `Api.create` raises.
    """
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            await api.create(body)
        except (Absent, Unreachable):
            if time.monotonic() >= deadline:
                raise
            await asyncio.sleep(POLL_SECONDS)
        except Rejected:
            if await api.get(await api.ref(body)) is None:
                raise
            return
        else:
            return


def unready(pods: Iterable[Object]) -> list[str]:
    """Return the pods that are not ready, as NAMESPACE/POD."""
    return [f"{pod.namespace}/{pod.name}" for pod in pods if not state.is_ready(pod)]


async def observed(api: Api, nodes: int) -> None:
    """Wait until every agent has told once what its node is, so that a check right afterwards sees the cluster."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found = await listed(api, mtu.NODES)
        if sum(1 for each in found if each.text("status", "observedAt")) >= nodes:
            return
        await asyncio.sleep(POLL_SECONDS)


async def answering(api: Api, waiting: list[str]) -> list[str]:
    """Wait until no probe is among the pods that are not ready: an agent makes their key. Returns who is not then."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and any(manifests.PROBE in each for each in waiting):
        waiting = unready(await listed(api, PODS))
        await asyncio.sleep(POLL_SECONDS)
    return waiting

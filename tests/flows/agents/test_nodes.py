"""Asking nodes for a phase: nothing is written over another driver's word, however long this one has slept."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest

from kubemtu.core import net
from kubemtu.core.change import migration
from kubemtu.core.objects import Object, Ref
from kubemtu.flows.agents.nodes import AgentWatch
from kubemtu.kube import crd, mtu, records
from kubemtu.kube import errors as kube_errors
from kubemtu.kube.api import Api

As = Callable[[str], AbstractAsyncContextManager[Api]]

OURS = migration.Desired(
    migration="m",
    phase=migration.Phase.SETTLE,
    pin_mtu=1400,
    highest_mtu=1450,
    ports=net.PortRule(prefixes=("cali",)),
    pod_mtu=1400,
    origin_mtu=1450,
    epoch=1,
)
THEIRS = msgspec.structs.replace(OURS, phase=migration.Phase.PIN_PODS, restore=True, epoch=2)
DONE = migration.Applied(phase=migration.Phase.SETTLE, restore=False, done=True, pods=1, settings_changed=0)


@contextlib.asynccontextmanager
async def nodes(as_user: As, *names: str) -> AsyncIterator[tuple[Api, AgentWatch]]:
    """Nodes of which nothing is asked."""
    async with as_user("admin") as api:
        await crd.install(api)
        for name in names:
            await api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
            await mtu.set_status(api, name, observation=net.NodeObservation(node=name))
        async with AgentWatch.watching(api) as found:
            yield api, found


async def specs(api: Api) -> dict[str, migration.Desired | None]:
    return {one.name: one.desired for one in await mtu.nodes(api)}


@pytest.mark.parametrize("theirs", [THEIRS, None])
async def test_who_slept_after_it_was_known_to_drive_writes_nothing(
    as_user: As, theirs: migration.Desired | None
) -> None:
    """Another driver takes over, and perhaps lets go again, between the answer and the write that it allowed."""
    async with nodes(as_user, "n1") as (api, found):
        asked = 0

        async def still_ours() -> None:
            nonlocal asked
            asked += 1
            if asked > 1:
                raise kube_errors.DrivenElsewhere("it is theirs")
            await mtu.set_desired(api, "n1", THEIRS)
            await mtu.set_desired(api, "n1", theirs)

        with pytest.raises(kube_errors.DrivenElsewhere):
            await found.reach({"n1": OURS}, still_ours=still_ours)
        assert await specs(api) == {"n1": theirs}


async def test_an_agent_that_tells_something_meanwhile_is_no_other_driver(as_user: As) -> None:
    async with nodes(as_user, "n1", "n2") as (api, found):
        asked = 0

        async def still_ours() -> None:
            nonlocal asked
            asked += 1
            if asked < 3:
                await mtu.set_status(api, "n1", observation=net.NodeObservation(node="n1", observed_at=float(asked)))
            if asked == 3:
                for name in ("n1", "n2"):
                    await mtu.set_status(api, name, generation=2, applied=DONE)

        applied = await found.reach({"n1": OURS, "n2": OURS}, still_ours=still_ours, patience=60.0)
        assert applied == {"n1": DONE, "n2": DONE}
        assert await specs(api) == {"n1": OURS, "n2": OURS}


async def test_what_is_asked_already_is_not_written_again(as_user: As) -> None:
    async with nodes(as_user, "n1") as (api, _):

        async def nobody() -> None:
            raise AssertionError("nothing is written, so nobody needs to know")

        made = await mtu.set_desired(api, "n1", OURS)
        await mtu.set_status(api, "n1", generation=made.generation, applied=DONE)
        async with AgentWatch.watching(api) as anew:
            assert await anew.reach({"n1": OURS}, still_ours=nobody) == {"n1": DONE}


async def test_a_node_without_an_object_gets_one(as_user: As) -> None:
    async with nodes(as_user) as (api, found):
        await api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})

        async def still_ours() -> None:
            return

        async def agent() -> None:
            async with contextlib.aclosing(api.watch(mtu.NODES, name="n1")) as changes:
                async for change in changes:
                    for one in map(records.node_of, change.objects):
                        if one.desired is not None and one.applied is None:
                            await mtu.set_status(api, "n1", generation=one.generation, applied=DONE)

        task = asyncio.create_task(agent())
        try:
            assert await found.reach({"n1": OURS}, still_ours=still_ours, patience=60.0) == {"n1": DONE}
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_an_answer_that_is_overtaken_by_what_it_led_to_is_not_taken_for_the_last_word(as_user: As) -> None:
    """The agent has read, done and told before the server's answer to the request gets here."""
    async with nodes(as_user, "n1") as (api, found):
        patch = api.patch

        async def held_up(ref: Ref, body: Mapping[str, object], **more: Any) -> Object:
            made = await patch(ref, body, **more)
            if "spec" in body:
                generation = made.get("metadata", "generation")
                assert isinstance(generation, int)
                await mtu.set_status(api, "n1", generation=generation, applied=DONE)
                async with asyncio.timeout(60):
                    while found.seen()["n1"].applied != DONE:
                        await asyncio.sleep(0.01)
            return made

        async def still_ours() -> None:
            return

        api.patch = held_up  # type: ignore[method-assign]
        assert await found.reach({"n1": OURS}, still_ours=still_ours, patience=60.0) == {"n1": DONE}

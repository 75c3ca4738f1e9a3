"""Put a question to the agents, and wait for what they tell: the one way in which anything is measured in a cluster."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec

from kubemtu.core import errors, order
from kubemtu.core.words import names as listed
from kubemtu.flows.change.nodes import Nodes
from kubemtu.kube import api as kube_api
from kubemtu.kube import probes

PATIENCE = 30.0  # seconds for all agents to answer: a thousand paths each take one
READY = 10.0  # seconds for stations to stand in pods
CHUNK = 1500  # ways in one order: an object of the API must stay well below a megabyte

Tell = Callable[[int, int], None]  # how many nodes have told, of how many


class Asking:
    """One who asks: every question gets a name of its own and is taken away again."""

    def __init__(self, api: kube_api.Api, nodes: Nodes, *, patience: float = PATIENCE) -> None:
        self._api = api
        self._nodes = nodes
        self._patience = patience

    async def ask(self, asked: order.Order, tell: Tell | None = None) -> dict[str, order.Told]:
        """Ask, and wait until every node that has something to tell has told it or left; by node.

        Raises Unreachable when an agent does not answer in time, Forbidden without the right to ask.
        """
        async with self._put(asked) as name:
            return await self._wait(name, order.nodes(asked), lambda told: told.done, self._patience, tell)

    async def ways(self, ways: Sequence[order.Way], asked: order.Order | None = None) -> dict[str, order.Result]:
        """Measure ways, in as many questions as they need; the results by the ways' names. `asked` is asked along."""
        found: dict[str, order.Result] = {}
        base = asked or order.Order()
        for start in range(0, len(ways), CHUNK):
            part = msgspec.structs.replace(base, ways=tuple(ways[start : start + CHUNK]))
            for told in (await self.ask(part)).values():
                found |= {result.way: result for result in told.results}
        return found

    @contextlib.asynccontextmanager
    async def answering(self, spots: Iterable[order.Spot]) -> AsyncIterator[tuple[str, ...]]:
        """Have stations answer in these pods while the block runs; gives what could not be done, a sentence each."""
        asked = order.Order(answering=tuple(dict.fromkeys(spots)), seconds=order.SECONDS * 5)
        if not asked.answering:
            yield ()
            return
        async with self._put(asked) as name:
            told = await self._wait(name, order.nodes(asked), lambda one: one.ready, READY, None)
            yield tuple(trouble for one in told.values() for trouble in one.troubles)

    @contextlib.asynccontextmanager
    async def _put(self, asked: order.Order) -> AsyncIterator[str]:
        name = f"probe-{uuid.uuid4().hex[:12]}"
        line = self._nodes.line
        await line.through(lambda: probes.put(self._api, name, asked))
        try:
            yield name
        finally:
            with contextlib.suppress(errors.KubemtuError):
                await asyncio.shield(probes.take_away(self._api, name))

    async def _wait(
        self,
        name: str,
        nodes: Sequence[str],
        enough: Callable[[order.Told], bool],
        patience: float,
        tell: Tell | None,
    ) -> dict[str, order.Told]:
        heard = 0
        deadline = time.monotonic() + patience

        def look() -> dict[str, order.Told] | None:
            nonlocal heard
            there = self._nodes.seen()
            told = {
                node: one
                for node in nodes
                if node in there and (one := there[node].answers.get(name)) is not None and enough(one)
            }
            if tell is not None and len(told) != heard:
                heard = len(told)
                tell(heard, len(nodes))
            late = [node for node in nodes if node not in told and node not in self._nodes.gone]
            if late and time.monotonic() >= deadline:
                some = listed(late[:5]) + (f" and {len(late) - 5} more" if len(late) > 5 else "")
                raise errors.Unreachable(
                    f"the agent of node {some} did not answer what it was asked to measure within {patience:.0f} s; "
                    "see that the kubemtu-agent pod runs there, has no older version, and may read Secret "
                    f"{probes.NAMESPACE}/{probes.SECRET} (its log says so)"
                )
            return None if late else told

        never = errors.Unreachable("unreachable: `look` raises first")
        return await self._nodes.until(look, patience + 5.0, never)


@contextlib.asynccontextmanager
async def asking(api: kube_api.Api, *, patience: float = PATIENCE) -> AsyncIterator[Asking]:
    """One who asks, with a watch of its own on what the agents tell."""
    await probes.tidy(api, time.time())
    async with Nodes.watching(api) as nodes:
        yield Asking(api, nodes, patience=patience)


Ask = Callable[[order.Order], Awaitable[Mapping[str, order.Told]]]
"""What the flows want of it: `Asking.ask`, or a network made of rules."""

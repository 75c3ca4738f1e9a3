"""Put a question to the agents, and wait for what they tell: the one way in which anything is measured in a cluster."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec

from kubemtu.core import errors
from kubemtu.core.probe import request
from kubemtu.core.text.wording import names as listed
from kubemtu.flows.agents.nodes import AgentWatch
from kubemtu.kube import api as kube_api
from kubemtu.kube import errors as kube_errors
from kubemtu.kube import probes

INSTALL = "install the agents with `kubemtu install`"  # what to do where none answers
PATIENCE = 30.0  # seconds for all agents to answer: a thousand paths each take one
READY = 10.0  # seconds for stations to stand in pods
GLANCE = 2.0  # seconds between two looks at who has left, while somebody is late
CHUNK = 1000  # ways in one order: what is asked and what one node tells must stay below what etcd takes, 1.5 MB
SPOTS = 6000  # pods that one order has answer, for the same reason

OnReports = Callable[[int, int], None]  # how many nodes have told, of how many


class ProbeClient:
    """One who asks: every question gets a name of its own and is taken away again."""

    def __init__(self, api: kube_api.Api, nodes: AgentWatch, *, patience: float = PATIENCE) -> None:
        self._api = api
        self._nodes = nodes
        self._patience = patience

    def excuse(self, nodes: Iterable[str]) -> None:
        """Wait for none of these; here all are waited for."""

    async def ask(self, asked: request.ProbeRequest, tell: OnReports | None = None) -> dict[str, request.ProbeReport]:
        """Ask, and wait until every node that has something to tell has told it or left; by node.

        Raises Unreachable when an agent does not answer in time, Forbidden without the right to ask.
        """
        async with self._put(asked) as name:
            return await self._wait(name, request.nodes(asked), lambda told: told.done, self._patience, tell)

    async def paths(
        self, paths: Sequence[request.PathRequest], asked: request.ProbeRequest | None = None
    ) -> dict[str, request.PathResult]:
        """Measure ways, in as many questions as they need; the results by the ways' names. `asked` is asked along."""
        found: dict[str, request.PathResult] = {}
        base = asked or request.ProbeRequest()
        for start in range(0, len(paths), CHUNK):
            part = msgspec.structs.replace(base, paths=tuple(paths[start : start + CHUNK]))
            for told in (await self.ask(part)).values():
                found |= {result.path: result for result in told.results}
        return found

    @contextlib.asynccontextmanager
    async def responding(self, spots: Iterable[request.Namespace]) -> AsyncIterator[tuple[str, ...]]:
        """Have stations answer in these pods while the block runs; gives what could not be done, a sentence each."""
        found = list(dict.fromkeys(spots))
        missing: list[str] = []
        async with contextlib.AsyncExitStack() as questions:
            for start in range(0, len(found), SPOTS):
                asked = request.ProbeRequest(
                    responders=tuple(found[start : start + SPOTS]), timeout_seconds=request.SECONDS * 5
                )
                name = await questions.enter_async_context(self._put(asked))
                told = await self._wait(name, request.nodes(asked), lambda one: one.ready, READY, None)
                missing += [trouble for one in told.values() for trouble in one.errors]
            yield tuple(missing)

    @contextlib.asynccontextmanager
    async def _put(self, asked: request.ProbeRequest) -> AsyncIterator[str]:
        """Ask while the block runs; whatever ends it, the question is taken away, also one that may not have come."""
        name = f"probe-{uuid.uuid4().hex[:12]}"
        try:
            await self._begin(name, asked)
            yield name
        finally:
            with contextlib.suppress(errors.KubemtuError):
                await asyncio.shield(probes.take_away(self._api, name))

    async def _begin(self, name: str, asked: request.ProbeRequest) -> None:
        try:
            await self._nodes.retry.call(lambda: probes.put(self._api, name, asked))
        except kube_errors.Absent as absent:
            raise errors.Unreachable(
                f"{self._api.connection.server} does not know MTUProbe: the agents that measure are not installed, or "
                f"are older; {INSTALL}"
            ) from absent

    async def _wait(
        self,
        name: str,
        nodes: Sequence[str],
        enough: Callable[[request.ProbeReport], bool],
        patience: float,
        tell: OnReports | None,
    ) -> dict[str, request.ProbeReport]:
        heard = 0
        late: list[str] = []

        def look() -> dict[str, request.ProbeReport] | None:
            nonlocal heard
            told = self._told(name, nodes, enough)
            if tell is not None and len(told) != heard:
                heard = len(told)
                tell(heard, len(nodes))
            late[:] = [node for node in nodes if node not in told and node not in self._nodes.gone]
            return None if late else told

        began = time.monotonic()
        while True:
            left = began + patience - time.monotonic()
            with contextlib.suppress(_Late):
                return await self._nodes.until(look, min(max(left, 0.0), GLANCE), _Late())
            if left <= 0:
                break
            asked = time.monotonic()
            await self._nodes.look_who_left()
            began += time.monotonic() - asked  # while the API server was away, no agent could tell anything
        raise unanswered(late, f" within {patience:.0f} s")

    def _told(
        self, name: str, nodes: Sequence[str], enough: Callable[[request.ProbeReport], bool]
    ) -> dict[str, request.ProbeReport]:
        """What those of the nodes have told so far that have told enough."""
        there = self._nodes.seen()
        return {
            node: one
            for node in nodes
            if node in there and (one := there[node].probes.get(name)) is not None and enough(one)
        }


def unanswered(nodes: Sequence[str], when: str = "") -> errors.Unreachable:
    """The sentence about agents that did not tell what they were asked."""
    return errors.Unreachable(
        f"the agent of node {listed(nodes)} did not answer what it was asked to measure{when}; "
        "see that the kubemtu-agent pod runs there, has no older version, and may read Secret "
        f"{probes.NAMESPACE}/{probes.SECRET} (its log says so)"
    )


class _Late(errors.KubemtuError):
    """Somebody has not told yet."""


@contextlib.asynccontextmanager
async def asking(api: kube_api.Api, *, patience: float = PATIENCE) -> AsyncIterator[ProbeClient]:
    """One who asks, with a watch of its own on what the agents tell."""
    await probes.tidy(api, api.now())
    async with AgentWatch.watching(api) as nodes:
        yield ProbeClient(api, nodes, patience=patience)


Ask = Callable[[request.ProbeRequest], Awaitable[Mapping[str, request.ProbeReport]]]
"""What the flows want of it: `Asking.ask`, or a network made of rules."""

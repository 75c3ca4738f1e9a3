"""Put an MTUProbe to the agents and wait for their reports: the one way in which anything is measured in a cluster."""

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
CHUNK = 1000  # paths in one MTUProbe: what is asked and what one node reports must stay below what etcd takes, 1.5 MB
RESPONDERS = 6000  # pods that one MTUProbe has answer, for the same reason

OnReports = Callable[[int, int], None]  # how many nodes have reported, of how many


class ProbeClient:
    """Has the agents measure: every request is an MTUProbe with a name of its own, which is deleted again."""

    def __init__(self, api: kube_api.Api, nodes: AgentWatch, *, patience: float = PATIENCE) -> None:
        self._api = api
        self._nodes = nodes
        self._patience = patience

    def excuse(self, nodes: Iterable[str]) -> None:
        """Wait for none of these; here all are waited for."""

    async def ask(
        self, probe_request: request.ProbeRequest, on_reports: OnReports | None = None
    ) -> dict[str, request.ProbeReport]:
        """Make a request, and wait until every node that it concerns has reported or left; the reports by node.

        Raises Unreachable when an agent does not answer in time, Forbidden without the right to ask.
        """
        async with self._made(probe_request) as name:
            nodes = request.nodes(probe_request)
            return await self._wait(name, nodes, lambda report: report.done, self._patience, on_reports)

    async def paths(
        self, paths: Sequence[request.PathRequest], base: request.ProbeRequest | None = None
    ) -> dict[str, request.PathResult]:
        """Measure paths, in as many requests as they need, each made like `base`; the results by the paths' names."""
        results: dict[str, request.PathResult] = {}
        for start in range(0, len(paths), CHUNK):
            part = msgspec.structs.replace(base or request.ProbeRequest(), paths=tuple(paths[start : start + CHUNK]))
            for report in (await self.ask(part)).values():
                results |= {result.path: result for result in report.results}
        return results

    @contextlib.asynccontextmanager
    async def responding(self, pods: Iterable[request.Namespace]) -> AsyncIterator[tuple[str, ...]]:
        """Have stations answer in these pods while the block runs; yield what could not be done, a sentence each."""
        each_once = tuple(dict.fromkeys(pods))
        missing: list[str] = []
        async with contextlib.AsyncExitStack() as made:
            for start in range(0, len(each_once), RESPONDERS):
                part = each_once[start : start + RESPONDERS]
                probe_request = request.ProbeRequest(responders=part, timeout_seconds=request.SECONDS * 5)
                name = await made.enter_async_context(self._made(probe_request))
                reports = await self._wait(name, request.nodes(probe_request), lambda report: report.ready, READY, None)
                missing += [sentence for report in reports.values() for sentence in report.errors]
            yield tuple(missing)

    @contextlib.asynccontextmanager
    async def _made(self, probe_request: request.ProbeRequest) -> AsyncIterator[str]:
        """Keep an MTUProbe while the block runs; whatever ends that, it is deleted, also one that may not have come."""
        name = f"probe-{uuid.uuid4().hex[:12]}"
        try:
            await self._begin(name, probe_request)
            yield name
        finally:
            with contextlib.suppress(errors.KubemtuError):
                await asyncio.shield(probes.take_away(self._api, name))

    async def _begin(self, name: str, probe_request: request.ProbeRequest) -> None:
        try:
            await self._nodes.retry.call(lambda: probes.put(self._api, name, probe_request))
        except kube_errors.Absent as absent:
            raise errors.Unreachable(
                f"{self._api.connection.server} does not know MTUProbe: the agents that measure are not installed, or "
                f"are older; {INSTALL}"
            ) from absent

    async def _wait(
        self,
        name: str,
        nodes: Sequence[str],
        complete: Callable[[request.ProbeReport], bool],
        patience: float,
        on_reports: OnReports | None,
    ) -> dict[str, request.ProbeReport]:
        heard = 0
        late: list[str] = []

        def look() -> dict[str, request.ProbeReport] | None:
            nonlocal heard
            reports = self._reports(name, nodes, complete)
            if on_reports is not None and len(reports) != heard:
                heard = len(reports)
                on_reports(heard, len(nodes))
            late[:] = [node for node in nodes if node not in reports and node not in self._nodes.gone]
            return None if late else reports

        began = time.monotonic()
        while True:
            left = began + patience - time.monotonic()
            with contextlib.suppress(_Late):
                return await self._nodes.until(look, min(max(left, 0.0), GLANCE), _Late())
            if left <= 0:
                break
            looked = time.monotonic()
            await self._nodes.look_who_left()
            began += time.monotonic() - looked  # while the API server was away, no agent could report anything
        raise unanswered(late, f" within {patience:.0f} s")

    def _reports(
        self, name: str, nodes: Sequence[str], complete: Callable[[request.ProbeReport], bool]
    ) -> dict[str, request.ProbeReport]:
        """Return the reports that have come so far and are `complete`, by node."""
        there = self._nodes.seen()
        return {
            node: report
            for node in nodes
            if node in there and (report := there[node].probes.get(name)) is not None and complete(report)
        }


def unanswered(nodes: Sequence[str], when: str = "") -> errors.Unreachable:
    """Return the error about agents that did not report what they were asked to measure."""
    return errors.Unreachable(
        f"the agent of node {listed(nodes)} did not answer what it was asked to measure{when}; "
        "see that the kubemtu-agent pod runs there, has no older version, and may read Secret "
        f"{probes.NAMESPACE}/{probes.SECRET} (its log says so)"
    )


class _Late(errors.KubemtuError):
    """Somebody has not reported yet."""


@contextlib.asynccontextmanager
async def asking(api: kube_api.Api, *, patience: float = PATIENCE) -> AsyncIterator[ProbeClient]:
    """Yield a client with a watch of its own on what the agents report."""
    await probes.tidy(api, api.now())
    async with AgentWatch.watching(api) as nodes:
        yield ProbeClient(api, nodes, patience=patience)


Ask = Callable[[request.ProbeRequest], Awaitable[Mapping[str, request.ProbeReport]]]
"""What the flows want of it: `Asking.ask`, or a network made of rules."""

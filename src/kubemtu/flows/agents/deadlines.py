"""Measuring with a result even where some agents report nothing: a dead node must not hold up the others' reports."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from kubemtu.core import errors
from kubemtu.core.probe import request
from kubemtu.core.text.wording import names as listed
from kubemtu.flows.agents import asking
from kubemtu.flows.agents.nodes import AgentWatch
from kubemtu.kube import api as kube_api
from kubemtu.kube import probes

LOOK = 1.0  # seconds between two looks at who is late
LEAST = 5.0  # seconds that every agent has, from the question on
TIMES = 2.0  # and so many times as long as the last of the others took
QUIET = 25.0  # seconds without a sign of life after which nobody waits for the rest: agents tell every ten
OnReports = asking.OnReports


class BestEffortClient(asking.ProbeClient):
    """Takes the reports that come in time; `late` are the nodes that did not report, and are not waited for again."""

    def __init__(self, api: kube_api.Api, nodes: AgentWatch, *, patience: float = asking.PATIENCE) -> None:
        super().__init__(api, nodes, patience=patience)
        self.late: set[str] = set()
        self._excused: set[str] = set()

    def excuse(self, nodes: Iterable[str]) -> None:
        """Wait for none of these: they are known to report nothing."""
        self._excused.update(nodes)

    @property
    def errors(self) -> tuple[str, ...]:
        """Return a sentence about those that did not report, if there are any."""
        if not self.late:
            return ()
        alone = len(self.late) == 1
        who = f"the agent{'' if alone else 's'} of node {listed(sorted(self.late))}"
        said = f"{who} {'does' if alone else 'do'} not answer"
        return (f"{said}: the node is down, cut off or too busy, or its kubemtu-agent does not run there or is older",)

    async def ask(
        self, probe_request: request.ProbeRequest, on_reports: OnReports | None = None
    ) -> dict[str, request.ProbeReport]:
        """Make a request, and take the reports that come in time, by node; a mesh is given the time that it asks for.

        Raises Unreachable when nobody reports anything, Forbidden without the right to ask.
        """
        patience = self._patience if probe_request.mesh is None else float(probe_request.timeout_seconds)
        async with self._made(probe_request) as name:
            reports = await self._wait(
                name, request.nodes(probe_request), lambda report: report.done, patience, on_reports
            )
        if not reports:
            raise asking.unanswered(sorted(request.nodes(probe_request)))
        return reports

    async def _wait(
        self,
        name: str,
        nodes: Sequence[str],
        complete: Callable[[request.ProbeReport], bool],
        patience: float,
        on_reports: OnReports | None,
    ) -> dict[str, request.ProbeReport]:
        began = news = time.monotonic()
        before = 0
        while True:
            due = [node for node in nodes if node not in self.late and node not in self._excused]
            reports = self._reports(name, nodes, complete)
            if not due:
                break
            try:
                return reports | await super()._wait(name, due, complete, LOOK, on_reports)
            except errors.Unreachable:
                reports = self._reports(name, nodes, complete)
                now = time.monotonic()
                before, news = (len(reports), now) if len(reports) > before else (before, news)
                late = [node for node in due if node not in reports]
                if now - began >= self._until(patience, late, news - began if reports else None):
                    self.late.update(late)
        return reports

    def _until(self, patience: float, late: Sequence[str], others: float | None) -> float:
        """Return how long from the request on to wait for those; `others`: when the last of the others reported."""
        seen = self._nodes.seen()
        heard = [seen[node].observed_at or 0.0 if node in seen else 0.0 for node in late]
        if heard and self._api.now() - max(heard) > QUIET:
            return min(patience, LEAST)
        return patience if others is None else min(patience, LEAST + TIMES * others)


@contextlib.asynccontextmanager
async def asking_all(api: kube_api.Api, *, patience: float = asking.PATIENCE) -> AsyncIterator[BestEffortClient]:
    """Yield a client with a watch of its own on what the agents report."""
    await probes.tidy(api, api.now())
    async with AgentWatch.watching(api) as nodes:
        yield BestEffortClient(api, nodes, patience=patience)

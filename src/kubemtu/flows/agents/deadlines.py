"""Asking with an answer even where some agents give none: a dead node must not keep the others' answers back."""

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
    """One who takes what is told in time; `late` are the nodes that did not tell, and are not waited for again."""

    def __init__(self, api: kube_api.Api, nodes: AgentWatch, *, patience: float = asking.PATIENCE) -> None:
        super().__init__(api, nodes, patience=patience)
        self.late: set[str] = set()
        self._excused: set[str] = set()

    def excuse(self, nodes: Iterable[str]) -> None:
        """Wait for none of these: they are known to tell nothing."""
        self._excused.update(nodes)

    @property
    def errors(self) -> tuple[str, ...]:
        """A sentence about those that did not tell, if there are any."""
        if not self.late:
            return ()
        alone = len(self.late) == 1
        who = f"the agent{'' if alone else 's'} of node {listed(sorted(self.late))}"
        said = f"{who} {'does' if alone else 'do'} not answer"
        return (f"{said}: the node is down, cut off or too busy, or its kubemtu-agent does not run there or is older",)

    async def ask(self, asked: request.ProbeRequest, tell: OnReports | None = None) -> dict[str, request.ProbeReport]:
        """Ask, and take what is told in time, by node; a round is given the time that it asks for.

        Raises Unreachable when nobody tells anything, Forbidden without the right to ask.
        """
        patience = self._patience if asked.mesh is None else float(asked.timeout_seconds)
        async with self._put(asked) as name:
            told = await self._wait(name, request.nodes(asked), lambda one: one.done, patience, tell)
        if not told:
            raise asking.unanswered(sorted(request.nodes(asked)))
        return told

    async def _wait(
        self,
        name: str,
        nodes: Sequence[str],
        enough: Callable[[request.ProbeReport], bool],
        patience: float,
        tell: OnReports | None,
    ) -> dict[str, request.ProbeReport]:
        began = news = time.monotonic()
        before = 0
        while True:
            due = [node for node in nodes if node not in self.late and node not in self._excused]
            told = self._told(name, nodes, enough)
            if not due:
                break
            try:
                return told | await super()._wait(name, due, enough, LOOK, tell)
            except errors.Unreachable:
                told = self._told(name, nodes, enough)
                now = time.monotonic()
                before, news = (len(told), now) if len(told) > before else (before, news)
                late = [node for node in due if node not in told]
                if now - began >= self._until(patience, late, news - began if told else None):
                    self.late.update(late)
        return told

    def _until(self, patience: float, late: Sequence[str], others: float | None) -> float:
        """How long from the question on to wait for those; `others`: when the last of the others told."""
        seen = self._nodes.seen()
        heard = [seen[node].observed_at or 0.0 if node in seen else 0.0 for node in late]
        if heard and self._api.now() - max(heard) > QUIET:
            return min(patience, LEAST)
        return patience if others is None else min(patience, LEAST + TIMES * others)


@contextlib.asynccontextmanager
async def asking_all(api: kube_api.Api, *, patience: float = asking.PATIENCE) -> AsyncIterator[BestEffortClient]:
    """One who asks, with a watch of its own on what the agents tell."""
    await probes.tidy(api, api.now())
    async with AgentWatch.watching(api) as nodes:
        yield BestEffortClient(api, nodes, patience=patience)

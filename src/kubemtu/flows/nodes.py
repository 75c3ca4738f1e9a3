"""The nodes as their agents report them, kept up to date by one watch, and waiting for what they should report."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Self, TypeVar

from kubemtu.core import errors, migration, net, proof
from kubemtu.kube import api as kube_api
from kubemtu.kube import mtu

NodeLine = Callable[[str, str], None]
T = TypeVar("T")


class Nodes:
    """Every NodeMTU, by node name; a change wakes whoever waits."""

    def __init__(self) -> None:
        self._seen: dict[str, mtu.NodeMtu] = {}
        self._changed = asyncio.Condition()
        self._broken: Exception | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def watching(cls, api: kube_api.Api) -> AsyncIterator[Self]:
        """Watch all NodeMTU objects while the block runs."""
        nodes = cls()
        for node in await mtu.nodes(api):
            nodes._seen[node.name] = node
        task = asyncio.create_task(nodes._follow(api))
        try:
            yield nodes
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def observations(self) -> dict[str, net.NodeObservation]:
        """What each node showed last, by node name."""
        return {name: node.observation for name, node in self._seen.items() if node.observation is not None}

    def last_reached(self, names: Iterable[str]) -> dict[str, migration.Reached]:
        """What each of those nodes reported last."""
        return {name: node.reached for name in names if (node := self._seen.get(name)) and node.reached is not None}

    async def reached(
        self, wanted: Mapping[str, migration.Desired], patience: float, line: NodeLine
    ) -> dict[str, migration.Reached]:
        """Wait until every node is what is wanted of it. Raises Surprise on a failure, Unreachable on silence."""
        told: set[str] = set()

        def look() -> dict[str, migration.Reached] | None:
            there: dict[str, migration.Reached] = {}
            for name, desired in wanted.items():
                node = self._seen.get(name)
                reached = node.reached if node is not None and node.current else None
                if reached is None or (reached.phase, reached.restore) != (desired.phase, desired.restore):
                    continue
                if reached.failures:
                    raise errors.Surprise(f"node {name}, {reached.phase}: {reached.failures[0]}")
                if reached.done:
                    there[name] = reached
                    if name not in told:
                        told.add(name)
                        line(name, f"{reached.ports} pods, {reached.changed} changed, {reached.seconds * 1000:.0f} ms")
            return there if len(there) == len(wanted) else None

        return await self._until(look, patience, lambda: self._missing(wanted, told))

    async def answers(self, orders: Mapping[str, proof.Order], patience: float) -> tuple[proof.Answer, ...]:
        """Wait until every node has answered its order of probes."""

        def look() -> tuple[proof.Answer, ...] | None:
            given: list[proof.Answer] = []
            for name, order in orders.items():
                node = self._seen.get(name)
                if node is None or node.answers is None or node.answers.name != order.name:
                    return None
                given += node.answers.answers
            return tuple(given)

        return await self._until(look, patience, lambda: "not every agent answered the probes it was asked for")

    async def until(self, look: Callable[[dict[str, net.NodeObservation]], bool], patience: float, why: str) -> None:
        """Wait until the observations are as wanted; raises Surprise with `why` when they do not become so."""
        try:
            await self._until(lambda: look(self.observations()) or None, patience, lambda: why)
        except errors.Unreachable as late:
            raise errors.Surprise(why) from late

    async def _until(self, look: Callable[[], T | None], patience: float, why: Callable[[], str]) -> T:
        try:
            async with asyncio.timeout(patience), self._changed:
                while True:
                    if self._broken is not None:
                        raise self._broken
                    found = look()
                    if found is not None:
                        return found
                    await self._changed.wait()
        except TimeoutError as late:
            raise errors.Unreachable(f"{why()} within {patience:.0f} s; is kubemtu-agent running there?") from late

    async def _follow(self, api: kube_api.Api) -> None:
        try:
            async for nodes in mtu.watch_nodes(api):
                async with self._changed:
                    self._seen = nodes
                    self._changed.notify_all()
        except errors.KubemtuError as broken:
            async with self._changed:
                self._broken = broken
                self._changed.notify_all()

    @staticmethod
    def _missing(wanted: Mapping[str, migration.Desired], told: set[str]) -> str:
        late = [name for name in wanted if name not in told]
        phase = next(iter(wanted.values())).phase if wanted else ""
        return f"node {', '.join(late[:5])}{' and more' if len(late) > 5 else ''} did not report {phase} as done"

"""The nodes as their agents report them, kept up to date by one watch; asking them for a phase and waiting for it.

A watch may lag, a NodeMTU may be deleted or rewritten by hand, a node may leave: so what is asked for is looked at, and
asked for again, until every node that is still there has reported it.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Self, TypeVar

import msgspec

from kubemtu.core import errors, net, objects
from kubemtu.core.change import migration
from kubemtu.core.objects import NODES, Object
from kubemtu.core.text.wording import names as listed
from kubemtu.flows import observe
from kubemtu.flows.agents import events, retry
from kubemtu.kube import api as kube_api
from kubemtu.kube import mtu, records, together

PATIENCE = 60.0  # seconds without a sign of life from a node that is waited for; 250 pods take a tenth of one
LONGEST = 300.0  # seconds that a phase may take in all
GRACE = 5.0  # seconds that a node may report a failure before it counts: pods come and go while they are changed
REMIND = 1.0  # seconds between two looks at nodes that are late
QUIET = 3.0  # seconds of waiting before it is said for whom
AT_ONCE = 32  # nodes that are written to at the same time

T = TypeVar("T")


class AgentWatch:
    """Watches every NodeMTU, by node name; a change wakes whoever waits. `gone` are nodes that left meanwhile."""

    def __init__(self, api: kube_api.Api, on_event: events.OnEvent) -> None:
        self.gone: set[str] = set()
        self.pod_networks: dict[str, tuple[str, ...]] = {}  # of each node's own pods, as the API said last
        self.retry = retry.Retry(on_event)
        self._api = api
        self._on_event = on_event
        self._node_mtus: dict[str, mtu.NodeMtu] = {}
        self._unreadable: dict[str, str] = {}
        self._heard: dict[str, float] = {}  # when each node last gave a sign of life
        self._news = asyncio.Event()
        self._broken: Exception | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def watching(cls, api: kube_api.Api, on_event: events.OnEvent = events.silent) -> AsyncIterator[Self]:
        """Watch all NodeMTU objects while the block runs."""
        nodes = cls(api, on_event)
        for found in await nodes.retry.call(lambda: api.list(mtu.NODES)):
            nodes._take(found)
        task = asyncio.create_task(nodes._follow())
        try:
            yield nodes
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    # What is known

    def seen(self) -> dict[str, mtu.NodeMtu]:
        """Return the NodeMTU of every node that is still there."""
        return {name: node for name, node in self._node_mtus.items() if name not in self.gone}

    def observations(self) -> dict[str, net.NodeObservation]:
        """Return what each node that is still there showed last, by node name; what is too old is left out."""
        now = self._api.now()
        return {
            name: node.observation
            for name, node in self.seen().items()
            if node.observation is not None and now - (node.observed_at or 0) <= observe.STALE
        }

    def last_applied(self, names: Iterable[str]) -> dict[str, migration.Applied]:
        """Return what each of those nodes reported last."""
        return {
            name: node.applied for name in names if (node := self._node_mtus.get(name)) and node.applied is not None
        }

    async def look_who_left(self) -> set[str]:
        """Ask the API which nodes there are, and forget those that are there no more; the names of the present ones."""
        found = await self.retry.call(lambda: self._api.list(NODES))
        present = {node.name for node in found}
        self.pod_networks = {node.name: objects.pod_networks(node) for node in found}
        for name in self._node_mtus.keys() - present - self.gone:
            self._leave(name)
        self.gone -= present
        return present

    # Asking and waiting

    async def reach(
        self,
        wanted: Mapping[str, migration.Desired],
        *,
        still_ours: Callable[[], Awaitable[None]],
        patience: float = PATIENCE,
    ) -> dict[str, migration.Applied]:
        """Ask every node for what is wanted of it, and wait until all that are still there have reported it done.

        `still_ours` raises when somebody else drives by now; it is asked before anything is written. Raises Surprise
        when a node keeps failing, Unreachable when one gives no sign of life for `patience` seconds.
        """
        expected = {name: desired for name, desired in wanted.items() if name not in self.gone}
        began = time.monotonic()
        await self._ask(
            {name: desired for name, desired in expected.items() if not self._asks(name, desired)}, still_ours
        )
        failing: dict[str, float] = {}
        reminded, said_late = began, False
        while True:
            self._check()
            done = {name: one for name, desired in expected.items() if (one := self._done(name, desired)) is not None}
            if len(done) == len(expected):
                return done
            now = time.monotonic()
            late = {name: desired for name, desired in expected.items() if name not in done}
            failing = self._failing(late, failing, now)
            if now - reminded >= REMIND:
                await still_ours()
                await self._remind(late, still_ours)
                expected = {name: desired for name, desired in expected.items() if name not in self.gone}
                reminded = now
                said_late = said_late or self._say_late(late.keys() - self.gone, now - began)
            self._silent(late.keys() - self.gone, began, patience, now)
            if now - began >= LONGEST:
                raise errors.Surprise(
                    f"node {listed(sorted(late))} did not come true to {next(iter(late.values())).phase} within "
                    f"{LONGEST:.0f} s; look at the log of its agent"
                )
            await self._wait(0.2)

    async def until(self, look: Callable[[], T | None], patience: float, otherwise: errors.KubemtuError) -> T:
        """Wait until `look` finds something in what the nodes show; raises `otherwise` when it does not in time."""
        deadline = time.monotonic() + patience
        while True:
            self._check()
            found = look()
            if found is not None:
                return found
            if time.monotonic() >= deadline:
                raise otherwise
            await self._wait(min(0.2, max(0.0, deadline - time.monotonic())))

    async def release(self, name: str) -> None:
        """Tell all nodes that hold a migration of that name that nothing more is asked of them."""
        holding = [
            node
            for node, seen in self._node_mtus.items()
            if seen.desired is not None and seen.desired.migration == name
        ]
        await self._ask(dict.fromkeys(holding))

    # Inside

    async def _ask(
        self,
        wanted: Mapping[str, migration.Desired | None],
        still_ours: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Write what is wanted. With `still_ours`, nothing is written over what somebody else wrote after it was asked.

        Between its answer and the write this process may have slept for hours: so every write is bound to what was
        known before it was asked, and where that is not there any more, it is asked again.
        """
        due = dict(wanted)
        while due:
            versions = {name: self._node_mtus[name].resource_version for name in due if name in self._node_mtus}
            if still_ours is not None:
                await still_ours()
            due = await self._write(due, versions if still_ours is not None else {})

    async def _write(
        self, wanted: Mapping[str, migration.Desired | None], versions: Mapping[str, str | None]
    ) -> dict[str, migration.Desired | None]:
        """Write to those that are still of these resourceVersions; return what is wanted of the others."""
        at_once = asyncio.Semaphore(AT_ONCE)
        overtaken: dict[str, migration.Desired | None] = {}

        async def write(name: str, desired: migration.Desired | None) -> None:
            async with at_once:
                if name not in self._node_mtus and not await self._is_there(name):
                    self._leave(name)
                    return
                version = versions.get(name)
                try:
                    made = await self.retry.call(
                        lambda: mtu.set_desired(self._api, name, desired, resource_version=version)
                    )
                except errors.Malformed as broken:
                    self._unreadable[name] = str(broken)
                except errors.Conflict:
                    if version is None:
                        raise
                    if not await self._has(name, desired):
                        overtaken[name] = desired
                else:
                    if made.resource_version is not None:
                        self._learn(made)

        await together.gathered(write(name, desired) for name, desired in wanted.items())
        return overtaken

    async def _has(self, name: str, desired: migration.Desired | None) -> bool:
        """Read a NodeMTU anew, and return whether it asks for that already: an answer may have got lost."""
        try:
            found = await self.retry.call(lambda: mtu.node(self._api, name))
        except errors.Malformed as broken:
            self._unreadable[name] = str(broken)
            return True
        if found is None:
            self._node_mtus.pop(name, None)
            return False
        self._learn(found)
        return found.desired == desired

    async def _remind(self, late: Mapping[str, migration.Desired], still_ours: Callable[[], Awaitable[None]]) -> None:
        """Ask again those whose NodeMTU says something else by now, and find out who has left."""
        for name in sorted(late)[:AT_ONCE]:
            if not await self._is_there(name):
                self._leave(name)
        await self._ask(
            {
                name: desired
                for name, desired in late.items()
                if name not in self.gone and not self._asks(name, desired)
            },
            still_ours,
        )

    async def _is_there(self, name: str) -> bool:
        return await self.retry.call(lambda: self._api.find("v1", "nodes", name)) is not None

    def _leave(self, name: str) -> None:
        self.gone.add(name)
        self._on_event(events.Event(kind="note", node=name, text=f"node {name} has left the cluster; it is left out"))

    def _asks(self, name: str, desired: migration.Desired) -> bool:
        node = self._node_mtus.get(name)
        return node is not None and node.desired == desired

    def _done(self, name: str, desired: migration.Desired) -> migration.Applied | None:
        node = self._node_mtus.get(name)
        if node is None or not node.current or node.desired is None or not same(node.desired, desired):
            return None
        one = node.applied
        fits = one is not None and (one.phase, one.restore) == (desired.phase, desired.restore)
        return one if one is not None and fits and one.done else None

    def _failing(self, late: Iterable[str], before: Mapping[str, float], now: float) -> dict[str, float]:
        failing: dict[str, float] = {}
        for name in late:
            node = self._node_mtus.get(name)
            sentence = self._unreadable.get(name)
            if node is not None and node.current and node.applied is not None and node.applied.failures:
                sentence = f"node {name}, {node.applied.phase}: {node.applied.failures[0]}"
            if sentence is None:
                continue
            failing[name] = before.get(name, now)
            if now - failing[name] >= GRACE:
                raise errors.Surprise(sentence)
        return failing

    def _silent(self, late: Iterable[str], began: float, patience: float, now: float) -> None:
        silent = sorted(name for name in late if now - max(began, self._heard.get(name, began)) >= patience)
        if silent:
            some = listed(silent)
            raise errors.Unreachable(
                f"the agent of node {some} did not answer within {patience:.0f} s; see that the kubemtu-agent pod runs "
                "there, then run the same command again"
            )

    def _say_late(self, late: Iterable[str], waited: float) -> bool:
        if waited < QUIET:
            return False
        self._on_event(events.Event(kind="note", text=f"waiting for node {listed(sorted(late))}"))
        return True

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()

    def _learn(self, node_mtu: mtu.NodeMtu) -> None:
        """Take a state in, unless a later one is known: the watch may bring what an answer led to before the answer."""
        known = self._node_mtus.get(node_mtu.name)
        if known is None or not node_mtu.before(known):
            self._node_mtus[node_mtu.name] = node_mtu

    def _take(self, resource: Object) -> None:
        try:
            self._learn(records.node_of(resource))
            self._unreadable.pop(resource.name, None)
        except errors.Malformed as broken:
            self._node_mtus.pop(resource.name, None)
            self._unreadable[resource.name] = str(broken)
        self._heard[resource.name] = time.monotonic()

    async def _follow(self) -> None:
        try:
            async with contextlib.aclosing(self._api.watch(mtu.NODES)) as changes:
                async for change in changes:
                    if change.type == "SYNC":
                        self._node_mtus.clear()
                    for found in change.objects:
                        if change.type == "DELETED":
                            self._node_mtus.pop(found.name, None)
                        else:
                            self._take(found)
                    self._news.set()
        except Exception as broken:  # raised where somebody waits for news: there will be none
            self._broken = broken
            self._news.set()


def same(one: migration.Desired, other: migration.Desired) -> bool:
    """Return True when both ask for the same, whoever asks."""
    return msgspec.structs.replace(one, epoch=0) == msgspec.structs.replace(other, epoch=0)

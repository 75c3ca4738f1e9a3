"""The agent of one node: makes the node true to its NodeMTU, and shows there what the node is.

Level-triggered. Whatever wakes it (a new spec, a link that came or changed, another file of the CNI, some seconds gone
by) leads to the same: make it so, look, tell. While nothing happens and nothing is asked, it sleeps: kernel and API
server wake it, and it looks again just often enough for what makes no event, as sysctls, and to say that it lives.
Five tasks that never wait for each other: one follows the spec, one keeps the node, one tells, one learns the other
nodes' addresses, one measures (agent.prober). So an API server that is away stops neither the correcting of a pod
that is born meanwhile nor the looking. It opens one port, which answers whoever holds the cluster's key and changes
nothing; and it changes nothing itself while its NodeMTU asks for nothing.
"""

import asyncio
import contextlib
import functools
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

import kubemtu
from kubemtu.agent import desired, kernel, peers, prober, report
from kubemtu.core import errors, net
from kubemtu.core.change import migration
from kubemtu.core.objects import Object
from kubemtu.core.probe import request
from kubemtu.kube import api as kube_api
from kubemtu.kube import errors as kube_errors
from kubemtu.kube import mtu, probes, records
from kubemtu.node.kernel import netns
from kubemtu.node.probe import namespaces

TICK = 0.25  # seconds between two looks, whatever happens meanwhile, and before what failed is tried again
LOOK = 1.0  # seconds between two full rounds while something is asked of the node
IDLE = report.BEAT  # seconds between two looks while nothing is, where every change is heard: each is then reported
DEAF = 5.0  # the same where not every change is heard
CALM = 20.0  # so many times what a look takes lies between two while nothing is asked: at most 5 % of a core
PEERS = 300.0  # seconds between two readings of the other nodes' addresses
AWAY = (0.5, 5.0)  # seconds to wait for the API server: at first, at most
TAKEOVER = 3.0  # seconds that the agent before this one may take to end

# Of these rows the observation that is reported along must show what they did: it is held against them.
SHOWN = frozenset({migration.Phase.RECORD, migration.Phase.DEVICES, migration.Phase.SETTLE})

T = TypeVar("T")
log = logging.getLogger("kubemtu.agent")


class Agent:
    """Keeps one node true to its NodeMTU, and reports in its status."""

    def __init__(
        self,
        *,
        api: kube_api.Api,
        node: str,
        journal: Path,
        pod_network: kernel.PodNetwork,
        roots: netns.Roots | None = None,
        namespace: str = probes.NAMESPACE,
    ) -> None:
        """Begin nothing yet; `journal` is the folder on the node in which changes are written down."""
        self._api = api
        self._node = node
        self._directory = journal
        self._pod_network = pod_network
        self._roots = roots or netns.Roots()
        self._kernel = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kernel")
        self._identity = mtu.AgentIdentity(
            version=kubemtu.__version__, pid=os.getpid(), started_at=records.moment(api.now())
        )
        self._state = desired.DesiredState()
        self._missing = False  # the NodeMTU is not there (any more), whatever was reported
        self._leaving = False  # kubemtu is taken out of the cluster: nothing of it stays on the node
        self._drivers = desired.DriverEpochs()
        self._authority = desired.Authority(api)
        self._condition: mtu.Condition | None = None  # reported last, also by the agent before this one
        self._progress = desired.SpecProgress()
        self._wake = asyncio.Event()
        self._stirred = False  # the kernel has told of a change
        self._touched = False  # something has happened to the CNI's files, or beside them
        self._looked = 0.0
        self._took = 0.0  # seconds that the last look did
        self._seen_at = 0.0  # when what is reported was observed, on the clock that nobody sets
        self._news = asyncio.Event()
        self._report: report.NodeReport | None = None
        self._probe_reports: dict[str, request.ProbeReport | None] = {}  # not written to the API yet
        self._begun = False  # whether what an earlier agent answered has been taken away
        self._pods = namespaces.PodNamespaces(self._roots)
        self._prober = prober.Prober(
            api=api, node=node, namespace=namespace, pods=self._pods, on_report=self._take_probe_reports
        )
        self._peers = peers.Peers()

    async def run(self) -> None:
        """Work until cancelled. Raises Conflict when the node has an agent already, Denied when it may not begin."""
        lock = await asyncio.to_thread(kernel.only_one, self._directory, TAKEOVER)
        try:
            node_kernel = await self._on_kernel(
                lambda: kernel.NodeKernel(self._node, self._directory, self._roots, self._pod_network)
            )
            try:
                async with asyncio.TaskGroup() as group:
                    parts = (
                        self._follow(),
                        self._keep(node_kernel),
                        self._tell(),
                        self._meet(),
                        self._prober.run(persist),
                    )
                    for task in parts:
                        group.create_task(task)
            finally:
                self._kernel.submit(node_kernel.close).result()
        finally:
            self._kernel.shutdown(wait=True)
            if self._leaving:
                kernel.leave(self._directory)
            os.close(lock)

    # What is asked

    async def _follow(self) -> None:
        async def once() -> None:
            async with contextlib.aclosing(self._api.watch(mtu.NODES, name=self._node)) as changes:
                async for change in changes:
                    there = change.objects and change.type != "DELETED"
                    await self._hear(change.objects[0] if there else None)

        await persist(once)

    async def _hear(self, resource: Object | None) -> None:
        heard = await self._authority.check(desired.read(resource), self._node)
        if self._condition is None and resource is not None:
            with contextlib.suppress(errors.Malformed):  # by hand; what is reported next is written over it
                conditions = records.node_of(resource).conditions
                self._condition = next((one for one in conditions if one.type == report.ACCEPTED), None)
        if not self._drivers.obeys(heard):
            log.warning("an earlier driver of this migration is not obeyed any more")
            return
        self._missing = resource is None
        if self._missing:
            self._news.set()
        leaving = resource is not None and resource.get("metadata", "annotations", migration.FORGET) == "true"
        if heard != self._state or leaving != self._leaving:
            self._stirred = self._stirred or leaving
            self._state, self._leaving = heard, leaving
            self._wake.set()

    # What is done

    async def _keep(self, node_kernel: kernel.NodeKernel) -> None:
        unseen = True  # something happened since the last look
        while True:
            # A look is due anyway: what happens until then wakes nobody, and the kernel keeps it.
            listen = not unseen or self._progress.state.desired is not None
            await self._wait(node_kernel, self._pause(node_kernel, unseen=unseen), listen=listen)
            state, stirred, touched = self._state, self._stirred, self._touched
            self._stirred = self._touched = False
            fresh = self._progress.begin(state)
            full = fresh or self._progress.failing or self._age() >= self._rhythm(node_kernel)
            if touched and await self._on_kernel(node_kernel.files_changed):
                unseen = True
            unseen = unseen or full or stirred
            if full or stirred:
                await self._on_kernel(functools.partial(self._act, node_kernel, state, full=full))
            if fresh and state.desired is not None and state.desired.phase not in SHOWN and self._report is not None:
                self._publish(self._report.observation)
            elif unseen and (fresh or self._age() >= self._calm()):
                await self._look(node_kernel)
                unseen = False

    def _rhythm(self, node_kernel: kernel.NodeKernel) -> float:
        """Return how old an observation may grow while nothing happens, in seconds."""
        if self._progress.state.desired is not None:
            return LOOK
        return IDLE if node_kernel.hears else DEAF

    def _calm(self) -> float:
        """Return the least time from one observation to the next, whatever happens, in seconds."""
        return TICK if self._progress.state.desired is not None else min(max(TICK, CALM * self._took), IDLE)

    def _pause(self, node_kernel: kernel.NodeKernel, *, unseen: bool) -> float:
        """Return how long there is nothing to do unless something happens, in seconds."""
        if self._progress.failing:
            return TICK
        return max((self._calm() if unseen else self._rhythm(node_kernel)) - self._age(), 0.0)

    async def _wait(self, node_kernel: kernel.NodeKernel, seconds: float, *, listen: bool) -> None:
        """Wait for a new spec, and when listening for an event of the kernel, for so long."""
        loop = asyncio.get_running_loop()
        files = node_kernel.files_fileno()
        reading = [] if not listen else [node_kernel.fileno()] if files is None else [node_kernel.fileno(), files]

        def hear(descriptor: int) -> None:
            loop.remove_reader(descriptor)  # it stays readable until it has been read, on the other thread
            self._touched = self._touched or descriptor == files
            self._stirred = self._stirred or descriptor != files
            self._wake.set()

        for descriptor in reading:
            loop.add_reader(descriptor, hear, descriptor)
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        finally:
            for descriptor in reading:
                loop.remove_reader(descriptor)
        self._wake.clear()

    def _act(self, node_kernel: kernel.NodeKernel, state: desired.DesiredState, *, full: bool) -> None:
        """Correct what events made wrong, and make the node true to what is asked; on the kernel's thread."""
        if state.desired is None:
            node_kernel.let_go()
            if self._leaving:
                node_kernel.forget()
            node_kernel.drain()
            return
        corrected = node_kernel.drain()
        if corrected is not None:
            self._progress.take(corrected)
        if full:
            node_kernel.sweep()
            strangers = kernel.strangers(state.desired, self._cluster_hosts())
            if strangers and state.desired.pins_hosts:
                self._progress.take(kernel.failed(state.desired, strangers[0], migration.UNKNOWN_HOST))
            else:
                self._progress.take(node_kernel.make_true(state.desired))

    def _cluster_hosts(self) -> set[str]:
        """Return to whom this node may be asked to pin its own traffic: all nodes, and the API server."""
        server = {os.environ.get("KUBERNETES_SERVICE_HOST", ""), self._api.connection.host}
        return {*self._peers.others, *self._peers.own, *server}

    async def _look(self, node_kernel: kernel.NodeKernel) -> None:
        self._looked = looked = time.monotonic()
        others = self._peers.others
        try:
            observation = await self._on_kernel(lambda: node_kernel.look(others))
        except errors.KubemtuError as error:
            log.warning("this node cannot be looked at: %s", error)
        else:
            self._seen_at = looked
            self._took = time.monotonic() - looked
            self._publish(observation)

    def _age(self) -> float:
        return time.monotonic() - self._looked

    def _publish(self, observation: net.NodeObservation) -> None:
        self._pods.learn(observation.ports)
        self._report = report.NodeReport(
            generation=self._progress.state.generation,
            applied=self._progress.applied,
            probes=dict(self._probe_reports),
            observation=observation,
        )
        self._news.set()

    def _take_probe_reports(self, probe_reports: Mapping[str, request.ProbeReport | None]) -> None:
        """Take what the prober reports, by MTUProbe; None: the MTUProbe is gone, and with it what was reported."""
        self._probe_reports.update(probe_reports)
        if self._report is not None:
            self._publish(self._report.observation)

    # What is reported

    async def _tell(self) -> None:
        last: report.NodeReport | None = None
        last_sent = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(report.BEAT):
                    await self._news.wait()
            self._news.clear()
            if self._report is None:
                continue
            due = 0.0 if self._missing else report.delay(self._report, last) - (time.monotonic() - last_sent)
            if due > 0:
                asyncio.get_running_loop().call_later(due, self._news.set)
                continue
            last = await persist(self._send)
            last_sent = time.monotonic()

    async def _send(self) -> report.NodeReport:
        current = self._report
        assert current is not None
        probe_reports = current.probes if self._begun else None
        moment = records.moment(self._api.now())
        self._condition = report.accepted(current.applied, current.generation, self._condition, moment)
        await mtu.set_status(
            self._api,
            self._node,
            generation=current.generation,
            applied=current.applied,
            probes=probe_reports,
            observation=self._dated(current.observation),
            agent=self._identity,
            conditions=[self._condition],
        )
        for name in current.probes if self._begun else ():
            if name in self._probe_reports and self._probe_reports[name] is current.probes[name]:
                del self._probe_reports[name]
        if not self._begun:
            self._begun = True
            self._publish(self._report.observation if self._report is not None else current.observation)
        return current

    def _dated(self, observation: net.NodeObservation) -> net.NodeObservation:
        """Give an observation the time by the API server's clock: whoever reads it knows no node's own."""
        return msgspec.structs.replace(observation, observed_at=self._api.now() - (time.monotonic() - self._seen_at))

    # Who else is there

    async def _meet(self) -> None:
        pause = AWAY[1]
        while True:
            try:
                found = await persist(functools.partial(peers.read, self._api, self._node))
                if found != self._peers:
                    self._peers = found
                    self._looked = 0.0
                    self._wake.set()
            except errors.Forbidden as error:
                log.warning("the way to other nodes is not told: %s", error)
            pause = (
                PEERS if self._peers.others else min(2 * pause, PEERS)
            )  # a cluster's first node is alone for a while
            await asyncio.sleep(pause)

    async def _on_kernel(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._kernel, work)


async def persist(call: Callable[[], Awaitable[T]]) -> T:
    """Call until it succeeds, with growing pauses while the API server is away or refuses for the moment.

    Raises Forbidden at once: without its rights an agent is of no use, and the end of its log should say so.
    """
    pause, most = AWAY
    while True:
        try:
            return await call()
        except (errors.Unreachable, errors.Conflict, errors.Malformed) as error:
            wait = most if isinstance(error, kube_errors.Absent) else pause
            log.warning("%s; trying again in %.1f s", error, wait)
        await asyncio.sleep(wait)
        pause = min(2 * pause, most)

"""The agent of one node: makes the node true to its NodeMTU, and shows there what the node is.

Level-triggered. Whatever wakes it (a new spec, a link that came or changed, a second gone by) leads to the same three
steps: make it so, look, tell. It opens no port, and it changes nothing while its NodeMTU asks for nothing.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

import kubemtu
from kubemtu.core import errors, migration, net, proof
from kubemtu.core.objects import Want
from kubemtu.kube import api as kube_api
from kubemtu.kube import mtu, records
from kubemtu.node import act, echo, netlink, netns, observe
from kubemtu.node import journal as node_journal

PORTS = net.PortRule(prefixes=("cali",), bridge="cni0")
FILES = ("/etc/cni/net.d/*", "/run/flannel/subnet.env", "/var/lib/calico/mtu")
NODES = Want(kind="Node", plural="nodes", api_versions=("v1",))
LOOK = 1.0  # seconds between two looks when nothing happens
BEAT = 10.0  # seconds after which an unchanged observation is told again
PEERS = 30.0  # seconds between two readings of the other nodes' addresses
SETTLE = 0.02  # seconds to let a burst of netlink events end before looking

T = TypeVar("T")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent tells: `reached` and `answers` are about the spec of that `generation`."""

    generation: int | None
    reached: migration.Reached | None
    answers: proof.Answers | None
    observation: net.NodeObservation


class Agent:
    """One node, one NodeMTU."""

    def __init__(self, *, api: kube_api.Api, node: str, journal: Path, roots: netns.Roots | None = None) -> None:
        self._api = api
        self._node = node
        self._roots = roots or netns.Roots()
        # One thread does all that touches the kernel: what acts and what looks never overlap.
        self._kernel = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kernel")
        self._journal = journal
        self._engine: act.Engine | None = None
        self._wake = asyncio.Event()
        self._asked: mtu.NodeMtu | None = None
        self._answers: proof.Answers | None = None
        self._peers: tuple[str, ...] = ()
        self._peers_read = 0.0
        self._told: Report | None = None
        self._told_at = 0.0
        self._identity = mtu.Agent(version=kubemtu.__version__, pid=os.getpid(), started_at=records.now())

    async def run(self) -> None:
        """Work until cancelled; raises Unreachable, Forbidden ... only when it cannot even begin."""
        listener = netlink.Listener()
        loop = asyncio.get_running_loop()
        loop.add_reader(listener.fileno(), self._events, listener)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow())
                group.create_task(self._work())
        finally:
            loop.remove_reader(listener.fileno())
            listener.close()
            self._kernel.shutdown(wait=True)
            self._let_go()

    def _events(self, listener: netlink.Listener) -> None:
        for _ in listener.events():
            self._wake.set()

    async def _follow(self) -> None:
        async for node in mtu.watch_node(self._api, self._node):
            fresh = node is None or self._asked is None or node.generation != self._asked.generation
            self._asked = node
            if fresh:
                self._told = None  # whatever was told was about another spec, or is gone with its object
                self._wake.set()

    async def _work(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._round()
            except (errors.Unreachable, errors.Conflict):
                # The API is away, or somebody wrote meanwhile: the node stays true to what was last asked of it.
                await asyncio.sleep(SETTLE)

    async def _round(self) -> None:
        asked = self._asked
        reached: migration.Reached | None = None
        desired = asked.desired if asked is not None else None
        if desired is not None:
            made = reached = await self._on_kernel(lambda: self._make_true(desired))
            order = desired.probe
            if order is not None and made.done and (self._answers is None or self._answers.name != order.name):
                self._answers = await self._on_kernel(lambda: self._measure(order))
        elif self._engine is not None:
            await self._on_kernel(self._let_go)
        await self._read_peers()
        observation = await self._on_kernel(self._look)
        await self._tell(asked, reached, observation)

    def _make_true(self, desired: migration.Desired) -> migration.Reached:
        if self._engine is None or self._engine.known.name != desired.migration:
            self._let_go()
            self._engine = act.Engine(node_journal.Journal.open(desired.migration, self._journal), roots=self._roots)
        return self._engine.make_true(desired)

    def _let_go(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine.known.close()
            self._engine = None

    def _measure(self, order: proof.Order) -> proof.Answers:
        doors = {} if self._engine is None else {pod.host.name: pod.sock for pod in self._engine.state.pods.values()}

        def opened(port: str, kinds: Sequence[tuple[int, int]]) -> list[socket.socket]:
            def make() -> list[socket.socket]:
                return [socket.socket(family, socket.SOCK_RAW, protocol) for family, protocol in kinds]

            if not port:
                return make()
            space = doors[port].namespace()
            try:
                return netns.inside(space, make)
            finally:
                os.close(space)

        return proof.Answers(name=order.name, answers=echo.measure(order.probes, opened))

    def _look(self) -> net.NodeObservation:
        return observe.observe(self._node, ports=PORTS, peers=self._peers, files=FILES, roots=self._roots)

    async def _tell(
        self, asked: mtu.NodeMtu | None, reached: migration.Reached | None, observation: net.NodeObservation
    ) -> None:
        report = Report(
            generation=asked.generation if asked is not None else None,
            reached=reached,
            answers=self._answers,
            observation=observation,
        )
        now = time.monotonic()
        if self._told is not None and now - self._told_at < BEAT and quiet(report) == quiet(self._told):
            return
        await mtu.set_status(
            self._api,
            self._node,
            generation=report.generation,
            reached=reached,
            answers=self._answers,
            observation=observation,
            agent=self._identity,
        )
        self._told, self._told_at = report, now

    async def _read_peers(self) -> None:
        now = time.monotonic()
        if self._peers and now - self._peers_read < PEERS:
            return
        found: list[str] = []
        for node in await self._api.list(NODES):
            if node.name != self._node:
                found += [
                    address.text("address") or ""
                    for address in node.each("status", "addresses")
                    if address.text("type") == "InternalIP"
                ]
        self._peers, self._peers_read = tuple(sorted(address for address in found if address)), now

    async def _on_kernel(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._kernel, work)


def quiet(report: Report) -> Report:
    """The report without what changes by itself: times, and passing drop counters."""
    reached = report.reached
    if reached is not None:
        reached = msgspec.structs.replace(reached, seconds=0.0, changed=0)
    seen = report.observation
    still = msgspec.structs.replace(seen, observed_at=0.0, ports=without_counters(seen.ports))
    return msgspec.structs.replace(report, reached=reached, observation=still)


def without_counters(ports: Sequence[net.PodPort]) -> tuple[net.PodPort, ...]:
    """The ports with every drop counter at zero."""
    return tuple(
        msgspec.structs.replace(port, host_rx_dropped=0, host_tx_dropped=0, pod_rx_dropped=0, pod_tx_dropped=0)
        for port in ports
    )

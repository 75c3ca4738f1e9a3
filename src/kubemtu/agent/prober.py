"""The measuring half of an agent: it answers other stations, and carries out the MTUProbes that concern its node.

Two threads beside the loop: one answers, always on the node itself and in pods as long as an MTUProbe asks for it; the
others measure. The node's one open port is this UDP and TCP port, which answers nobody without the cluster's key and
changes nothing. Where the key cannot be had, the agent does everything else.
"""

import asyncio
import contextlib
import functools
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Final

import msgspec

from kubemtu.core import errors
from kubemtu.core.probe import request
from kubemtu.kube import api as kube_api
from kubemtu.kube import probes
from kubemtu.node.kernel import netns
from kubemtu.node.probe import measuring, namespaces, station, wire

AT_ONCE: Final = 4  # MTUProbes that are measured at the same time
OLD: Final = 600.0  # seconds: an MTUProbe older than that is nobody's any more
KEY_AGAIN: Final = 5.0  # seconds before the key is asked for again
GLANCE: Final = 2.0  # seconds between two looks at whether the pods that answer are still there

OnReport = Callable[[Mapping[str, request.ProbeReport | None]], None]
Persist = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]
log = logging.getLogger("kubemtu.agent")


class Prober:
    """Measures for a node, and answers; `on_report` takes its reports by MTUProbe, None for one that is gone."""

    def __init__(
        self,
        *,
        api: kube_api.Api,
        node: str,
        namespace: str,
        pods: namespaces.PodNamespaces,
        on_report: OnReport,
        port: int = request.PORT,
    ) -> None:
        """Open nothing yet."""
        self._api = api
        self._node = node
        self._namespace = namespace
        self._pods = pods
        self._on_report = on_report
        self._port = port
        self._key = wire.Key(os.urandom(32))  # nobody else has it: until there is the cluster's, only echo is answered
        self._keyless = ""  # why the cluster's key is not had
        self._station: station.Station | None = None
        self._stop = threading.Event()
        self._room = asyncio.Semaphore(AT_ONCE)
        self._begun: dict[str, asyncio.Task[None]] = {}
        self._beside: set[asyncio.Task[None]] = set()
        self._unreadable: set[str] = set()  # MTUProbes of which that has been logged
        self._answering: dict[str, frozenset[str]] = {}  # by MTUProbe: the pods' links that it wants answers in

    async def run(self, persist: Persist) -> None:
        """Work until cancelled; `persist` calls again what failed because the API server is away."""
        if not await self._have_key():
            self._soon(self._seek_key())
        answering = threading.Thread(target=self._answer, name="answering", daemon=True)
        answering.start()
        try:
            await self._obey(persist)
        finally:
            self._stop.set()
            self._wake()
            for task in (*self._begun.values(), *self._beside):
                task.cancel()
            await asyncio.to_thread(answering.join, 2 * station.IDLE)

    async def _obey(self, persist: Persist) -> None:
        """Follow the MTUProbes; without the right to, the agent does everything else."""
        logged = ""
        while True:
            try:
                await persist(self._follow)
            except errors.Forbidden as error:
                if str(error) != logged:
                    log.warning("nothing can be asked of this node: %s", error)
                logged = str(error)
                await asyncio.sleep(KEY_AGAIN)

    async def _have_key(self) -> bool:
        """Ask for the cluster's key once; without it, other nodes are measured by ICMP echo alone."""
        try:
            self._key = wire.Key(await probes.key(self._api, self._namespace))
        except errors.KubemtuError as error:
            if str(error) != self._keyless:
                log.warning("without the cluster's key, paths are measured by ICMP echo only: %s", error)
            self._keyless = str(error)
            return False
        return True

    async def _seek_key(self) -> None:
        while not await self._have_key():
            await asyncio.sleep(KEY_AGAIN)
        self._wake()

    def _wake(self) -> None:
        """Have the answering thread look at the key, and at whether it is to stop; it does so between two turns."""
        if self._station is not None:
            with contextlib.suppress(OSError):  # it has just been closed
                self._station.call_soon(lambda: None)

    # Answering

    def _answer(self) -> None:
        """Answer until told to stop; on a thread of its own."""
        logged = ""
        while not self._stop.is_set():
            key = self._key
            try:
                with station.Station(key, port=self._port, families=station.spoken()) as serving:
                    serving.listen(self._port)
                    self._station = serving
                    serving.call_soon(self._stand)
                    serving.serve(functools.partial(self._serves, key))
            except (errors.KubemtuError, OSError) as error:
                self._station = None
                if str(error) != logged:
                    log.warning("this node does not answer other nodes' probes: %s", error)
                logged = str(error)
                self._stop.wait(KEY_AGAIN)

    def _serves(self, key: wire.Key) -> bool:
        """Return whether to go on with that key; the answering thread asks."""
        return not self._stop.is_set() and self._key is key

    def _stand(self) -> None:
        """Open stations in the pods that any MTUProbe wants answers in, and in no others; on the answering thread.

        A socket in a pod that has ended would keep its namespace, and with it the node's end of its veth.
        """
        serving = self._station
        if serving is None:
            return
        wanted = {port for ports in self._answering.values() for port in ports if self._pods.exists(port)}
        standing = {via for via, _ in serving.channels if via}
        for port in standing - wanted:
            serving.shut(port)
        netns.make_room(8 * len(wanted - standing))  # sockets of two families and protocols, and their namespaces
        for port in wanted - standing:
            try:
                space = self._pods.enter(port)
            except LookupError:
                continue
            try:
                for family in station.spoken():
                    with contextlib.suppress(errors.Unreachable):  # a pod without that family
                        serving.open(port, space, port=self._port, families=(family,))
                serving.listen(self._port, port)
            except errors.UsageError:  # somebody has the port already: one of our own probe pods, most likely
                serving.shut(port)
            except (errors.KubemtuError, OSError) as error:
                log.warning("no station can answer in the pod behind %s: %s", port, error)
            finally:
                os.close(space)

    async def _settle(self) -> None:
        """Have the answering thread look at what is wanted, and wait until it has."""
        serving = self._station
        if serving is None:
            return
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stand() -> None:
            self._stand()
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(done.set)

        with contextlib.suppress(TimeoutError, OSError):  # it has just been closed: nobody stands anywhere
            serving.call_soon(stand)
            async with asyncio.timeout(station.IDLE * 3):
                await done.wait()

    # MTUProbes

    async def _follow(self) -> None:
        async with contextlib.aclosing(probes.follow(self._api)) as changes:
            async for present in changes:
                self._take(present)

    def _take(self, present: Mapping[str, probes.MtuProbe]) -> None:
        """Stop what is gone, and begin what is new and concerns this node."""
        for name in self._begun.keys() - present.keys():
            self._begun.pop(name).cancel()
            self._on_report({name: None})
            if self._answering.pop(name, None):
                self._soon(self._settle())
        self._unreadable &= present.keys()
        for name, probe in present.items():
            if name in self._begun or self._api.now() - probe.created > OLD:
                continue
            if probe.request is None:
                if name not in self._unreadable:
                    log.warning("%s", probe.error)
                self._unreadable.add(name)
            elif request.concerns(probe.request, self._node):
                self._begun[name] = asyncio.create_task(self._carry_out(name, probe.request))

    def _soon(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _carry_out(self, name: str, probe_request: request.ProbeRequest) -> None:
        """Answer and measure as one MTUProbe asks; answer until its time is over, or whoever made it deletes it."""
        links = frozenset(self._own_links(probe_request))
        report: request.ProbeReport | None = None
        try:
            async with asyncio.timeout(probe_request.timeout_seconds):
                if links:
                    self._answering[name] = links
                    await self._settle()
                    self._on_report({name: request.ProbeReport(ready=True, errors=self._missing(probe_request))})
                report = await self._measured(probe_request)
                self._on_report({name: report})
                while links:
                    await asyncio.sleep(GLANCE)
                    await self._settle()
        except TimeoutError:
            log.info("MTUProbe %s is over after %d s", name, probe_request.timeout_seconds)
            if report is None:
                self._fail(name, f"node {self._node} did not finish within {probe_request.timeout_seconds} s")
        except Exception as broken:  # whoever asked shall not wait for what never comes
            log.exception("MTUProbe %s", name)
            self._fail(name, f"node {self._node} could not measure: {broken!r}")
        finally:
            if self._answering.pop(name, None):
                await self._settle()

    def _fail(self, name: str, sentence: str) -> None:
        self._on_report({name: request.ProbeReport(ready=True, done=True, errors=(sentence,))})

    async def _measured(self, probe_request: request.ProbeRequest) -> request.ProbeReport:
        over = threading.Event()
        work = measuring.Measuring(self._node, self._pods, self._key, going_on=lambda: not over.is_set())
        try:
            report = await self._aside(lambda: work.carry_out(probe_request))
        finally:
            over.set()  # the MTUProbe is gone, or its time is over: nothing more is sent for it
        sentences = (*self._missing(probe_request), *report.errors)
        return msgspec.structs.replace(report, errors=sentences[: measuring.TROUBLES])

    def _own_links(self, probe_request: request.ProbeRequest) -> Iterator[str]:
        """Yield the links of this node's pods that should answer."""
        for pod in probe_request.responders:
            if pod.node == self._node and pod.link:
                yield pod.link

    def _missing(self, probe_request: request.ProbeRequest) -> tuple[str, ...]:
        """Return a sentence for each pod that should answer and is gone."""
        return tuple(
            f"no station answers in the pod behind {link}: it is gone"
            for link in self._own_links(probe_request)
            if self._pods.port(link) is None
        )[: measuring.TROUBLES]

    async def _aside(self, work: Callable[[], request.ProbeReport]) -> request.ProbeReport:
        """Work on a thread that waits for the network, and that nobody waits for when the agent is told to end."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[request.ProbeReport] = loop.create_future()

        def end(settle: Callable[[], None]) -> None:
            self._room.release()
            if not done.cancelled():
                settle()

        def run() -> None:
            try:
                settle = functools.partial(done.set_result, work())
            except Exception as error:  # carried over to whoever waits
                settle = functools.partial(done.set_exception, error)
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(end, settle)

        await self._room.acquire()
        threading.Thread(target=run, name="measuring", daemon=True).start()
        return await done

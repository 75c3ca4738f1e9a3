"""The measuring half of an agent: it answers other stations, and carries out the orders that concern its node.

Two threads beside the loop: one answers, always on the node itself and in pods as long as an order asks for it; the
others measure. The node's one open port is this UDP and TCP port, which answers nobody without the cluster's key and
changes nothing. Where the key cannot be had, the agent does everything else.
"""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from kubemtu.core import errors, order
from kubemtu.kube import api as kube_api
from kubemtu.kube import probes
from kubemtu.node import measuring, places
from kubemtu.node.probe import station, wire

AT_ONCE: Final = 4  # orders that are measured at the same time
OLD: Final = 600.0  # seconds: an order older than that is nobody's any more
KEY_AGAIN: Final = 5.0  # seconds before the key is asked for again

Tell = Callable[[Mapping[str, order.Told | None]], None]
Persist = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]
log = logging.getLogger("kubemtu.agent")


class Prober:
    """What a node measures and answers; `tell` takes its answers by the names of the orders, None for one to forget."""

    def __init__(
        self, *, api: kube_api.Api, node: str, namespace: str, found: places.Places, tell: Tell, port: int = order.PORT
    ) -> None:
        """Opens nothing yet."""
        self._api = api
        self._node = node
        self._namespace = namespace
        self._places = found
        self._tell = tell
        self._port = port
        self._key: wire.Key | None = None
        self._station: station.Station | None = None
        self._stop = threading.Event()
        self._measuring = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="measuring")
        self._begun: dict[str, asyncio.Task[None]] = {}
        self._beside: set[asyncio.Task[None]] = set()
        self._answering: dict[str, frozenset[str]] = {}  # the pods' ports in which an order wants answers, by its name

    async def run(self, persist: Persist) -> None:
        """Work until cancelled; `persist` calls again what failed because the API server is away."""
        await self._have_key()
        answering = threading.Thread(target=self._answer, name="answering", daemon=True)
        answering.start()
        try:
            await persist(self._follow)
        finally:
            self._stop.set()
            for task in (*self._begun.values(), *self._beside):
                task.cancel()
            self._measuring.shutdown(wait=False, cancel_futures=True)
            await asyncio.to_thread(answering.join, 2 * station.IDLE)

    async def _have_key(self) -> None:
        told = ""
        while self._key is None:
            try:
                self._key = wire.Key(await probes.key(self._api, self._namespace))
            except errors.KubemtuError as error:
                if str(error) != told:
                    log.warning("nothing can be measured from this node yet: %s", error)
                told = str(error)
                await asyncio.sleep(KEY_AGAIN)

    # Answering

    def _answer(self) -> None:
        """Answer until told to stop; on a thread of its own."""
        assert self._key is not None
        told = ""
        while not self._stop.is_set():
            try:
                with station.Station(self._key, port=self._port, families=station.spoken()) as serving:
                    serving.listen(self._port)
                    self._station = serving
                    serving.soon(self._stand)
                    serving.serve(lambda: not self._stop.is_set())
            except (errors.KubemtuError, OSError) as error:
                self._station = None
                if str(error) != told:
                    log.warning("this node does not answer other nodes' probes: %s", error)
                told = str(error)
                self._stop.wait(KEY_AGAIN)

    def _stand(self) -> None:
        """Stand in the pods that any order wants answers in, and in no others; on the answering thread."""
        serving = self._station
        if serving is None:
            return
        wanted = frozenset[str]().union(*self._answering.values())
        standing = {via for via, _ in serving.channels if via}
        for port in standing - wanted:
            serving.shut(port)
        for port in wanted - standing:
            try:
                space = self._places.enter(port)
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
            loop.call_soon_threadsafe(done.set)

        serving.soon(stand)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(station.IDLE * 3):
                await done.wait()

    # Orders

    async def _follow(self) -> None:
        async with contextlib.aclosing(probes.follow(self._api)) as changes:
            async for found in changes:
                self._take(found)

    def _take(self, found: Mapping[str, probes.Asked]) -> None:
        for name in self._begun.keys() - found.keys():
            self._begun.pop(name).cancel()
            self._tell({name: None})
            if self._answering.pop(name, None):
                self._soon(self._settle())
        for name, asked in found.items():
            if name in self._begun or asked.order is None or time.time() - asked.created > OLD:
                continue
            if order.concerns(asked.order, self._node):
                self._begun[name] = asyncio.create_task(self._carry_out(name, asked.order))

    def _soon(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _carry_out(self, name: str, asked: order.Order) -> None:
        mine = frozenset(spot.port for spot in asked.answering if spot.node == self._node and spot.port)
        try:
            async with asyncio.timeout(asked.seconds):
                if mine:
                    self._answering[name] = mine
                    await self._settle()
                    self._tell({name: order.Told(ready=True)})
                told = await self._measured(asked)
                self._tell({name: told})
                if mine:
                    await asyncio.sleep(asked.seconds)
        except TimeoutError:
            log.info("MTUProbe %s is over after %d s", name, asked.seconds)
        finally:
            if self._answering.pop(name, None):
                await self._settle()

    async def _measured(self, asked: order.Order) -> order.Told:
        assert self._key is not None
        work = measuring.Measuring(self._node, self._places, self._key)
        loop = asyncio.get_running_loop()
        told = await loop.run_in_executor(self._measuring, work.carry_out, asked)
        missing = tuple(
            f"no station answers in the pod behind {spot.port}: it is gone"
            for spot in asked.answering
            if spot.node == self._node and spot.port and self._places.port(spot.port) is None
        )
        return msgspec.structs.replace(told, troubles=(*missing, *told.troubles)[: measuring.TROUBLES])

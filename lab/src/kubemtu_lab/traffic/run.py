"""Starts a traffic process in every place, marks the moments in all of their books, and balances the books."""

import asyncio
import contextlib
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from kubemtu_lab.traffic import accounting, plan, wire
from kubemtu_lab.traffic.errors import TrafficBroken
from kubemtu_lab.traffic.tally import Moment, PortDrops, Tally

ARGV = (sys.executable, "-m", "kubemtu_lab.traffic.pod")
Spawn = Callable[[str, Sequence[str]], Awaitable[asyncio.subprocess.Process]]
CountDrops = Callable[[], Mapping[str, PortDrops]]

_READY = 60.0  # seconds for all processes to start: two cores may be very busy
_SETTLE = 0.4  # seconds between the last send and the books, for what is under way to arrive
_END = 3.0  # seconds for a process to end after its stdin was closed


class Traffic:
    """All traffic of a plan, from start to Tally. Use it as an async context manager: it never leaves a process.

    `spawn(place, argv)` runs argv inside that place's network namespace with stdin, stdout and stderr as pipes.
    `drops` reads the drop counters of all ports; None when nobody can. `segment` switches off the offloads of every
    pod's device meanwhile, so that a segment on the wire is a segment of the books.
    """

    def __init__(
        self, spawn: Spawn, flows: plan.Plan, *, drops: CountDrops | None = None, segment: bool = True
    ) -> None:
        self._spawn = spawn
        self._plan = flows
        self._count = drops
        self._segment = segment
        self._lines: dict[str, _Line] = {}
        self._moments: list[Moment] = []
        self._drops: list[Mapping[str, PortDrops]] = []
        self._backlog = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.abort()

    @property
    def moments(self) -> tuple[Moment, ...]:
        """The marks so far."""
        return tuple(self._moments)

    @property
    def progress(self) -> wire.Progress:
        """The sums of what all processes said last, at most half a second ago; `waiting_ms` is the longest."""
        latest = [line.progress for line in self._lines.values()]
        return wire.Progress(
            udp_sent=sum(one.udp_sent for one in latest),
            udp_received=sum(one.udp_received for one in latest),
            udp_told=sum(one.udp_told for one in latest),
            tcp_answered=sum(one.tcp_answered for one in latest),
            tcp_failed=sum(one.tcp_failed for one in latest),
            connect_failures=sum(one.connect_failures for one in latest),
            waiting_ms=max((one.waiting_ms for one in latest), default=0.0),
        )

    async def start(self, name: str = "start") -> float:
        """Start all processes, open the connections that are to stay, then send; `name` is the first mark's.

        Returns the moment, in seconds of CLOCK_MONOTONIC. Raises TrafficBroken.
        """
        try:
            for place in self._plan.places:
                self._lines[place.name] = _Line(place.name, await self._process(place))
            for place in self._plan.places:
                self._lines[place.name].tell(self._assignment(place))
            await self._all(wire.Ready, _READY)
            self._tell(wire.Connect())
            await self._all(wire.Connected, _READY)
            self._backlog = _backlog_drops()
            at = self._note(name)
            self._tell(wire.Start(at=at))
        except BaseException:
            await self.abort()
            raise
        return at

    async def mark(self, name: str) -> float:
        """Mark this moment in all books; what is sent from now on belongs to the interval `name`.

        Returns the moment, in seconds of CLOCK_MONOTONIC. Raises TrafficBroken when a process has ended, and
        ValueError when the name was used before.
        """
        if any(moment.name == name for moment in self._moments):
            raise ValueError(f"the mark {name!r} was set before")
        self.check()
        at = self._note(name)
        self._tell(wire.Mark(at=at))
        return at

    async def stop(self, *, patience: float = 3.5) -> Tally:
        """Let all flows come to rest, ask once more on idle connections, and balance the books.

        `patience`: seconds that questions without an answer get before they count as stuck; attempts to connect need
        more than 3 s to be decided. Raises TrafficBroken, BooksDisagree.
        """
        try:
            self.check()
            ended = time.monotonic()
            self._tell(wire.Rest(patience=patience))
            await self._all(wire.Rested, patience + _READY)
            await asyncio.sleep(_SETTLE)
            if self._count:
                self._drops.append(self._count())
            backlog = _backlog_drops() - self._backlog
            self._tell(wire.Close())
            await self._all(wire.Closed, _READY)
            return accounting.balance(
                self._plan,
                self._moments,
                ended,
                {name: line.books for name, line in self._lines.items()},
                drops=self._drops,
                backlog_drops=backlog,
            )
        finally:
            await self.abort()

    async def abort(self) -> None:
        """End every process that was started; harmless when none is left."""
        lines = list(self._lines.values())
        self._lines = {}
        await asyncio.gather(*(line.end() for line in lines))

    def check(self) -> None:
        """Raise TrafficBroken when a traffic process has ended or given up."""
        for line in self._lines.values():
            line.check()

    async def _process(self, place: plan.FlowEnd) -> asyncio.subprocess.Process:
        try:
            return await self._spawn(place.name, ARGV)
        except OSError as error:
            raise TrafficBroken(f"The traffic process of {place.name} could not be started: {error}.") from error

    def _assignment(self, place: plan.FlowEnd) -> wire.Assignment:
        return wire.Assignment(
            place=place,
            udp=tuple(flow for flow in self._plan.udp if flow.source == place.name),
            tcp=tuple(flow for flow in self._plan.tcp if flow.source == place.name),
            segment=(place.device,) if self._segment and place.network == "pod" else (),
        )

    def _note(self, name: str) -> float:
        if self._count:
            self._drops.append(self._count())
        at = time.monotonic()
        self._moments.append(Moment(name=name, at=at))
        return at

    def _tell(self, order: wire.PodOrder) -> None:
        for line in self._lines.values():
            line.tell(order)

    async def _all(self, kind: type[wire.PodReport], seconds: float) -> None:
        await asyncio.gather(*(line.heard(kind, seconds) for line in self._lines.values()))


class _Line:
    """The line to one traffic process: orders out, reports in."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        if not (process.stdin and process.stdout and process.stderr):
            raise ValueError("spawn must make pipes of stdin, stdout and stderr")
        self._name = name
        self._process = process
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._words: deque[str] = deque(maxlen=20)  # the last lines on stderr
        self._said: dict[type[wire.PodReport], asyncio.Event] = {}
        self._broken = ""
        self.progress = wire.Progress()
        self.books: list[wire.Books] = []
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._overhear())]

    def tell(self, order: wire.PodOrder) -> None:
        """Send an order; a process that has ended is found out by `heard` or `check`."""
        if not self._stdin.is_closing():
            self._stdin.write(wire.line(order))

    async def heard(self, kind: type[wire.PodReport], seconds: float) -> None:
        """Wait for a report of that kind; raises TrafficBroken."""
        said = self._said.setdefault(kind, asyncio.Event())
        try:
            async with asyncio.timeout(seconds):
                await said.wait()
        except TimeoutError:
            raise TrafficBroken(
                f"The traffic process of {self._name} did not say {kind.__name__.lower()!r} within {seconds:.0f} s; "
                "is the machine very busy?"
            ) from None
        self.check()

    def check(self) -> None:
        """Raise TrafficBroken when the process has ended or given up."""
        if self._broken:
            raise TrafficBroken(self._broken)

    async def end(self) -> None:
        """End the process: by closing its stdin, and by force when that is not enough."""
        self._stdin.close()
        try:
            async with asyncio.timeout(_END):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        try:
            while text := await self._stdout.readline():
                self._file(wire.report(text))
        except (ValueError, msgspec.MsgspecError) as error:
            self._break(f"said something that cannot be read: {error}")
            return
        if wire.Closed not in self._said or not self._said[wire.Closed].is_set():
            code = await self._process.wait()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([self._tasks[1]], timeout=1)
            last = self._words[-1] if self._words else "nothing on stderr"
            self._break(f"ended with code {code} in the middle of the run: {last}")

    def _file(self, report: wire.Reports) -> None:
        match report:
            case wire.Progress():
                self.progress = report
            case wire.Failed():
                self._break(f"gave up: {report.why}")
            case wire.Ready() | wire.Connected() | wire.Rested() | wire.Closed():
                self._said.setdefault(type(report), asyncio.Event()).set()
            case _:
                self.books.append(report)

    def _break(self, what: str) -> None:
        self._broken = self._broken or f"The traffic process of {self._name} {what}."
        for kind in (wire.Ready, wire.Connected, wire.Rested, wire.Closed):
            self._said.setdefault(kind, asyncio.Event()).set()  # nobody must wait for it any longer

    async def _overhear(self) -> None:
        while text := await self._stderr.readline():
            self._words.append(text.decode(errors="replace").strip())


def _backlog_drops() -> int:
    """Count packets that the machine dropped, a CPU's backlog being full (/proc/net/softnet_stat, second column)."""
    table = Path("/proc/net/softnet_stat").read_text(encoding="ascii")
    return sum(int(line.split()[1], 16) for line in table.splitlines())

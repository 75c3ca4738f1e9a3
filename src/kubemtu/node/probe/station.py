"""The loop over channels and sessions: a station measures, answers, and measures back when it is asked to.

One station does all three, so that both directions of a path are measured by the same rules: the asker's own station
answers what the other end sends. It answers only what its gate admits, and measures only towards whoever asked.
"""

import contextlib
import heapq
import select
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Self

import msgspec

from kubemtu.node.probe import channel, gate, paths, session, wire

WINDOW: Final = 128  # searches under way at once
BACK_MOST: Final = 16  # searches under way because others asked
KEPT: Final = 256  # reports kept for those whose datagram was lost
ASK_AGAIN: Final = (0.02, 0.06, 0.14, 0.3, 0.6, 1.2, 1.8, 2.4)  # seconds after the first ask
ASK_PATIENCE: Final = 4.0
IDLE: Final = 1.0  # seconds between looks at what has grown old


class _Way(msgspec.Struct):
    """One target under way."""

    target: paths.Target
    place: int
    asking: session.Session
    route: channel.Route
    began: float
    forward: paths.Measured | None = None
    back: wire.Report | None = None
    asked: int = 0  # how often the other end was asked to measure back

    @property
    def done(self) -> bool:
        """Whether nothing is waited for any more."""
        if self.forward is None or not self.target.back or self.forward.found.ending == "unreachable":
            return self.forward is not None
        return self.back is not None and self.back.state != "running"


class _Back(msgspec.Struct):
    """One search that somebody asked for: its asker's nonce, and its report once there is one."""

    asking: session.Session
    report: wire.Report | None = None


class Station:
    """One prober and responder, on one port of each family that this machine has."""

    def __init__(
        self,
        key: wire.Key,
        *,
        port: int = 0,
        families: Iterable[channel.Family] = (4, 6),
        answers: bool = True,
        over: type[channel.Channel] = channel.Channel,
    ) -> None:
        """Opens its sockets in the calling thread's network namespace. Raises UsageError or Unreachable.

        `port` 0 takes any. A station that does not `answer` measures only. `over` is the kind of its channels.
        """
        self.key = key
        self.channels: dict[channel.Family, channel.Channel] = {}
        self.gate = gate.Gate(key, time.monotonic())
        self.answered = 0
        self._answers = answers
        self._ways: dict[int, _Way] = {}
        self._backs: dict[int, _Back] = {}
        self._sessions: dict[int, session.Session] = {}
        self._wakes: list[tuple[float, int]] = []
        self._poll = select.poll()
        self._by_descriptor: dict[int, channel.Channel] = {}
        self._paths: dict[int, paths.Path] = {}
        self._old = time.monotonic()
        self._unsent = 0
        try:
            for one in families:
                self._open(over(one, port))
        except BaseException:
            self.close()
            raise

    def _open(self, opened: channel.Channel) -> None:
        self.channels[opened.family] = opened
        self._by_descriptor[opened.fileno()] = opened
        self._poll.register(opened.fileno(), select.POLLIN | select.POLLERR)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()

    def close(self) -> None:
        """Closes its sockets."""
        for one in self.channels.values():
            one.close()

    def serve(self, going_on: Callable[[], bool]) -> None:
        """Answer until `going_on` says no; it is asked at least once a second."""
        while going_on():
            self.turn(IDLE)

    def measure(self, targets: Sequence[paths.Target]) -> list[paths.Path]:
        """Measure the paths to all targets, WINDOW of them at once; the results are in their order."""
        waiting = list(enumerate(targets))[::-1]
        self._paths = {}
        while waiting or self._ways:
            while waiting and len(self._ways) < WINDOW:
                self._start(*waiting.pop())
            if self._ways:
                self.turn(IDLE)
                self._finish()
        return [self._paths[place] for place in range(len(targets))]

    def _start(self, place: int, target: paths.Target) -> None:
        now = time.monotonic()
        family = paths.family(target.address)
        try:
            address = paths.endpoint(target)
            route = channel.route(family, address)
            one = self.channels[family]
        except (OSError, KeyError) as error:
            why = error.strerror if isinstance(error, OSError) else f"no IPv{family} here"
            self._paths[place] = paths.nowhere(target, f"no way to {target.address}: {why}")
            return
        question = paths.question(route.device, target.expected, family, target.also)
        started = session.Session(one, address, question, self.key, source=route.source, now=now)
        self._ways[started.nonce] = way = _Way(target=target, place=place, asking=started, route=route, began=now)
        self._sessions[started.nonce] = started
        self._push(started)
        if target.back:
            self._ask(way)

    def _ask(self, way: _Way) -> None:
        """Ask the other end to measure towards us."""
        way.asked += 1
        asker = way.asking
        request = wire.Request(wire.ASK, asker.nonce, way.asked, way.route.device)
        source = asker.channel.pack(way.route.source)
        body = self.key.seal(wire.pack_request(request), source)
        asker.channel.send(body, asker.search.question.small, asker.address)

    def _push(self, one: session.Session) -> None:
        heapq.heappush(self._wakes, (one.wake(), one.nonce))

    def turn(self, patience: float) -> None:
        """Wait for what comes first, at most `patience` seconds, and do everything that is due."""
        now = time.monotonic()
        next_ask = min((self._next_ask(way) for way in self._ways.values() if way.target.back), default=now + patience)
        wake = min(self._wakes[0][0] if self._wakes else next_ask, next_ask, now + patience)
        for descriptor, event in self._wait(wake - now):
            one = self._by_descriptor[descriptor]
            if event & select.POLLERR:
                self._hear_refusals(one)
            if event & select.POLLIN:
                self._hear(one)
        now = time.monotonic()
        self._wake_sessions(now)
        for way in self._ways.values():
            if way.target.back and self._next_ask(way) <= now:
                self._ask_again(way, now)
        if now - self._old > IDLE:
            self._forget(now)

    def _wait(self, seconds: float) -> list[tuple[int, int]]:
        """Wait for sockets. poll counts in whole milliseconds, half a grace, so the rest of one is slept off."""
        if seconds >= 0.001 and (ready := self._poll.poll(int(seconds * 1000))):
            return ready
        if seconds > 0:
            time.sleep(seconds % 0.001)
        return self._poll.poll(0)

    def _wake_sessions(self, now: float) -> None:
        due: set[int] = set()
        while self._wakes and self._wakes[0][0] <= now:
            due.add(heapq.heappop(self._wakes)[1])
        for nonce in due:
            one = self._sessions.get(nonce)
            if one is None:
                continue
            if one.wake() <= now:
                one.advance(now)
            self._settle(one, now)

    def _settle(self, one: session.Session, now: float) -> None:
        """Look at a session after it moved: at its end, take it off and report; else say when to look again."""
        if one.found is None:
            self._push(one)
            return
        del self._sessions[one.nonce]
        if (way := self._ways.get(one.nonce)) is not None:
            way.forward = paths.measured(one, way.route, now - way.began)
        for asker, back in self._backs.items():
            if back.asking is one:
                back.report = paths.report(asker, one)
                self._say(one.channel, back.report, one.address, b"")

    def _next_ask(self, way: _Way) -> float:
        if way.back is not None and way.back.state != "running":
            return float("inf")
        if way.asked > len(ASK_AGAIN):
            return way.began + ASK_PATIENCE
        return way.began + max(ASK_AGAIN[way.asked - 1], 3 * way.asking.rtt * way.asked)

    def _ask_again(self, way: _Way, now: float) -> None:
        if way.asked > len(ASK_AGAIN):
            way.back = wire.Report(way.asking.nonce, "unreachable")
        elif not (way.forward is not None and way.forward.found.ending == "unreachable"):
            self._ask(way)
        else:
            way.back = wire.Report(way.asking.nonce, "unreachable")

    def _finish(self) -> None:
        now = time.monotonic()
        for nonce in [nonce for nonce, way in self._ways.items() if way.done]:
            way = self._ways.pop(nonce)
            assert way.forward is not None
            self._paths[way.place] = paths.Path(
                target=way.target, forward=way.forward, back=way.back, seconds=now - way.began
            )

    def _hear_refusals(self, one: channel.Channel) -> None:
        now = time.monotonic()
        for refusal in one.refusals():
            if (known := wire.quoted(refusal.payload)) is not None:
                nonce, number, size = known
                if (asking := self._sessions.get(nonce)) is not None:
                    asking.refused(number, size, refusal, now)
                    self._push(asking)
            elif not refusal.local and not refusal.payload:
                for asking in self._sessions.values():
                    if asking.address[:2] == refusal.address[:2]:
                        asking.refused_at_all(refusal)
                        self._push(asking)

    def _hear(self, one: channel.Channel) -> None:
        moved: dict[int, session.Session] = {}
        for heard in one.receive():
            kind = wire.kind(heard.head)
            now = time.monotonic()
            if kind == wire.ANSWER or one.echoes:
                answer = self._echoed(heard) if one.echoes else wire.read_answer(heard.head)
                asking = self._sessions.get(answer.nonce)
                if asking is not None and (one.echoes or self.key.opens(heard.head)):
                    asking.answered(answer, now)
                    moved[answer.nonce] = asking
            elif kind == wire.REPORT:
                self._take_report(heard.head)
            elif self._answers:
                self._admit(one, heard, now)
        now = time.monotonic()
        for asking in moved.values():
            asking.advance(now)
            self._settle(asking, now)

    @staticmethod
    def _echoed(heard: channel.Heard) -> wire.Answer:
        """An echo of our own packet as an answer: it says nothing about the other end's queue or interface."""
        if wire.kind(heard.head) != wire.PROBE:
            return wire.Answer(0, 0, 0, 0, 0, 0)
        request = wire.read_request(heard.head)
        return wire.Answer(request.nonce, request.number, request.size, 0, 0, 0)

    def _take_report(self, datagram: bytes) -> None:
        report = wire.read_report(datagram)
        if report is None or (way := self._ways.get(report.nonce)) is None or not self.key.opens(datagram):
            return
        if way.back is None or way.back.state == "running":
            way.back = report

    def _admit(self, one: channel.Channel, heard: channel.Heard, now: float) -> None:
        request = self.gate.admit(heard.head, heard.length + one.headers, one.pack(heard.address[0]), now)
        if request is None:
            return
        if request.kind == wire.ASK:
            self._measure_back(one, heard, request, now)
            return
        drops = heard.drops + self.gate.refused.limited + self._unsent
        seen = wire.Answer(request.nonce, request.number, request.size, heard.fragment, drops, one.mtu(heard.interface))
        body = self.key.seal(wire.pack_answer(seen))
        if one.send(body, 0, heard.address, heard.local) is None:
            self.answered += 1
        else:
            self._unsent += 1

    def _measure_back(self, one: channel.Channel, heard: channel.Heard, request: wire.Request, now: float) -> None:
        """Start a search towards whoever asked, once; say how it stands."""
        known = self._backs.get(request.nonce)
        if known is None:
            running = sum(back.report is None for back in self._backs.values())
            route = None
            if self.key.secret and running < BACK_MOST:
                with contextlib.suppress(OSError):
                    route = channel.route(one.family, heard.address)
            if route is None:
                self._say(one, wire.Report(request.nonce, "refused"), heard.address, heard.local)
                return
            question = paths.question(route.device, None, one.family, (request.size,))
            started = session.Session(one, heard.address, question, self.key, source=route.source, now=now)
            started.leave_from(heard.local)
            self._backs[request.nonce] = known = _Back(asking=started)
            self._sessions[started.nonce] = started
            self._push(started)
            while len(self._backs) > KEPT:
                self._backs.pop(next(iter(self._backs)))
        report = known.report or wire.Report(request.nonce, "running")
        self._say(one, report, heard.address, heard.local)

    def _say(self, one: channel.Channel, report: wire.Report, address: channel.Address, local: bytes) -> None:
        one.send(self.key.seal(wire.pack_report(report)), 0, address, local)

    def _forget(self, now: float) -> None:
        """Drop what has grown old: MTUs of interfaces may change while a station runs."""
        self._old = now
        for one in self.channels.values():
            one.forget()

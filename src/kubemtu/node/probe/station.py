"""The loop over channels and sessions: a station measures, answers, and measures back when it is asked to.

One station does all three, so that both directions of a path are measured by the same rules: the asker's own station
answers what the other end sends. It answers only what its gate admits, and measures only towards whoever asked. It may
stand in several places at once, a node and its pods: each place has channels of its own, known by a name.
"""

import collections
import contextlib
import functools
import heapq
import os
import select
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from kubemtu.core import errors
from kubemtu.node import netns
from kubemtu.node.probe import channel, gate, mss, paths, segments, session, sweep, wire

WINDOW: Final = 128  # searches under way at once
SILENT: Final = 1024  # the same, with those that nobody has answered yet
CROWD: Final = 8  # so many targets are swept before any is searched
BACK_MOST: Final = 16  # searches under way because others asked
KEPT: Final = 256  # reports kept for those whose datagram was lost
ASK_AGAIN: Final = (0.02, 0.06, 0.14, 0.3, 0.6, 1.2, 1.8, 2.4)  # seconds after the first ask
ASK_PATIENCE: Final = 4.0
IDLE: Final = 1.0  # seconds between looks at what has grown old
SUSPECTS: Final = 2  # sizes found on other paths that are asked for at once
NEIGHBOURS: Final = (0.3, 0.5)  # seconds of silence for one of many, of whom others have answered


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
    """One prober and responder, on one port of each family in each of its places."""

    def __init__(
        self,
        key: wire.Key,
        *,
        port: int = 0,
        families: Iterable[channel.Family] = (4, 6),
        answers: bool = True,
        over: type[channel.Channel] = channel.Channel,
        rate: int = gate.RATE,
    ) -> None:
        """Opens its sockets in the calling thread's network namespace. Raises UsageError or Unreachable.

        `port` 0 takes any. A station that does not `answer` measures only. `over` is the kind of its channels; `rate`
        how many answers a second it gives at most, in all its places.
        """
        self.key = key
        self.channels: dict[tuple[str, channel.Family], channel.Channel] = {}
        self.gate = gate.Gate(key, time.monotonic(), rate=rate, depth=rate)
        self.answered = 0
        self._answers = answers
        self._over = over
        self._ways: dict[int, _Way] = {}
        self._backs: dict[int, _Back] = {}
        self._sessions: dict[int, session.Session] = {}
        self._wakes: list[tuple[float, int]] = []
        self._listeners: dict[int, tuple[str, segments.Listener]] = {}
        self._poll = select.epoll()
        self._by_descriptor: dict[int, channel.Channel] = {}
        self._paths: dict[int, paths.Path] = {}
        self._targets: Sequence[paths.Target] = ()
        self._waiting: collections.deque[int] = collections.deque()
        self._found: collections.Counter[int] = collections.Counter()
        self._sweep: sweep.Sweep | None = None
        self._old = time.monotonic()
        self._unsent = 0
        self._calls: collections.deque[Callable[[], None]] = collections.deque()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._bell, select.EPOLLIN)
        try:
            for one in families:
                self._add("", over(one, port))
        except BaseException:
            self.close()
            raise

    @property
    def families(self) -> tuple[channel.Family, ...]:
        """The families that it speaks in its first place."""
        return tuple(family for via, family in self.channels if not via)

    def open(self, via: str, space: int, *, port: int = 0, families: Iterable[channel.Family] = (4, 6)) -> None:
        """Stand in one more place, called `via`: the namespace of that descriptor, which the caller keeps.

        Raises UsageError or Unreachable, and NodeFailure when the namespace cannot be entered.
        """
        for one in families:
            made = netns.inside(space, functools.partial(self._over, one, port))
            made.within(os.dup(space))
            self._add(via, made)

    def listen(self, port: int, via: str = "") -> None:
        """Also say what TCP is made to believe, on that TCP port of a place that it stands in.

        Raises UsageError or Unreachable, and NodeFailure when the namespace cannot be entered.
        """
        families = [family for name, family in self.channels if name == via]
        inside = self.channels[via, families[0]].inside
        made = inside(lambda: segments.Listener(self.key, port, families=families, probing=lambda: inside(mss.probing)))
        self._listeners[made.fileno()] = (via, made)
        self._poll.register(made.fileno(), select.EPOLLIN)

    def shut(self, via: str) -> None:
        """Leave a place; that it was none is fine."""
        for descriptor in [descriptor for descriptor, (name, _) in self._listeners.items() if name == via]:
            self._poll.unregister(descriptor)
            self._listeners.pop(descriptor)[1].close()
        for where in [where for where in self.channels if where[0] == via]:
            one = self.channels.pop(where)
            self._poll.unregister(one.fileno())
            del self._by_descriptor[one.fileno()]
            one.close()

    def _add(self, via: str, opened: channel.Channel) -> None:
        self.channels[via, opened.family] = opened
        self._by_descriptor[opened.fileno()] = opened
        self._poll.register(opened.fileno(), select.EPOLLIN | select.EPOLLERR)

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
        for _, listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        self._poll.close()
        if self._bell >= 0:
            os.close(self._bell)
            self._bell = -1

    def soon(self, call: Callable[[], None]) -> None:
        """Have the thread that serves do this between two turns: the one thing that other threads may ask for."""
        self._calls.append(call)
        os.eventfd_write(self._bell, 1)

    def serve(self, going_on: Callable[[], bool]) -> None:
        """Answer until `going_on` says no; it is asked at least once a second."""
        while going_on():
            self.turn(IDLE)

    # Measuring

    def measure(
        self, targets: Sequence[paths.Target], *, pps: float = 0.0, tell: Callable[[int], None] | None = None
    ) -> list[paths.Path]:
        """Measure the paths to all targets; the results are in their order.

        Many targets whose `expected` size and `source` are known are swept first, in their order: one packet each, at
        most `pps` a second (0: as fast as it goes). The others, and whoever does not answer, are searched, WINDOW of
        them at once. `tell` hears now and then how many are known.
        """
        self._targets = targets
        self._paths, self._found = {}, collections.Counter()
        self._begin_sweep(targets, pps)
        told = 0
        while self._waiting or self._ways or (self._sweep is not None and not self._sweep.over):
            now = time.monotonic()
            if self._sweep is not None:
                self._sweep.send(now)
            self._start_some()
            if self._ways or self._sweep is not None:
                self.turn(IDLE)
                self._finish()
            if tell is not None and len(self._paths) - told >= len(targets) // 50 + 1:
                told = len(self._paths)
                tell(told)
        self._sweep = None
        return [self._paths[place] for place in range(len(targets))]

    def _start_some(self) -> None:
        """Start as many searches as may be under way; those that nobody answers cost nothing but time."""
        if not self._waiting:
            return
        room = WINDOW - sum(way.asking.search.low > 0 for way in self._ways.values())
        room = min(room, SILENT - len(self._ways))
        while room > 0 and self._waiting:
            self._start(self._waiting.popleft())
            room -= 1

    def _begin_sweep(self, targets: Sequence[paths.Target], pps: float) -> None:
        swept: list[sweep.Peer] = []
        self._waiting = collections.deque()
        crowd = len(targets) > CROWD and not self._answers and not self._over.echoes
        keys: dict[str, wire.Key] = {}
        known = self._learned() if crowd else frozenset()
        least = {family: paths.smallest(family) + 1 for _, family in self.channels}
        for place, target in enumerate(targets):
            address, source, expected = target.address, target.source, target.expected
            one = self.channels.get((target.via, 6 if ":" in address else 4)) if crowd else None
            if one is None or target.back or not expected or not source or address in known:
                self._waiting.append(place)
                continue
            if (bound := keys.get(source)) is None:
                keys[source] = bound = sweep.bound(self.key, source)
            size = max(expected, least[one.family])
            swept.append(sweep.Peer(place, one, paths.endpoint(target), size, bound))
        self._sweep = (
            sweep.Sweep(swept, self.key, arrived=self._swept, doubtful=self._doubt, pps=pps) if swept else None
        )

    def _learned(self) -> frozenset[str]:
        """Destinations of which some kernel here believes something: their paths are searched, and judged by that."""
        return frozenset(found for one in self.channels.values() for found in one.learned())

    def _swept(self, peer: sweep.Peer, now: float) -> None:
        if peer.place not in self._paths:
            seconds = now - peer.asked if peer.asked else sweep.SLOWEST
            self._paths[peer.place] = paths.carried(self._targets[peer.place], peer.size, seconds)

    def _doubt(self, peer: sweep.Peer, _now: float) -> None:
        self._waiting.append(peer.place)

    def _start(self, place: int, hint: tuple[int, str | None] | None = None) -> None:
        if place in self._paths:  # it has answered after all
            return
        now = time.monotonic()
        target = self._targets[place]
        family = paths.family(target.address)
        try:
            address = paths.endpoint(target)
            one = self.channels[target.via, family]
            route = one.route(address)
        except (OSError, KeyError, errors.KubemtuError) as error:
            why = (error.strerror if isinstance(error, OSError) else str(error)) or str(error)
            why = f"no IPv{family} here" if isinstance(error, KeyError) else why
            self._paths[place] = paths.nowhere(target, f"no way to {target.address}: {why}")
            return
        suspected = tuple(size for size, _ in self._found.most_common(SUSPECTS))
        question = paths.question(
            route.device, target.expected, family, target.also, enough=target.enough, suspected=suspected
        )
        started = session.Session(one, address, question, self.key, source=route.source, now=now)
        if self._sweep is not None and self._sweep.slowest:
            started.patience = NEIGHBOURS
        if hint is not None:
            started.search.hint(*hint)
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
        body = self.key.seal(wire.pack_request(request), asker.bound)
        asker.channel.send(body, asker.search.question.small, asker.address)

    def _push(self, one: session.Session) -> None:
        heapq.heappush(self._wakes, (one.wake(), one.nonce))

    # One turn

    def turn(self, patience: float) -> None:
        """Wait for what comes first, at most `patience` seconds, and do everything that is due."""
        now = time.monotonic()
        wake = now + patience
        for way in self._ways.values():
            if way.target.back:
                wake = min(wake, self._next_ask(way))
        if self._wakes:
            wake = min(wake, self._wakes[0][0])
        if self._sweep is not None:
            wake = min(wake, self._sweep.wake(now))
        wake = min((wake, *(listener.wake() for _, listener in self._listeners.values())))
        self._hear_all(self._wait(wake - now))
        now = time.monotonic()
        for _, listener in self._listeners.values():
            if listener.wake() <= now:
                listener.turn(now)
        if self._sweep is not None:
            self._sweep.give_up(now)
        self._wake_sessions(now)
        for way in self._ways.values():
            if way.target.back and self._next_ask(way) <= now:
                self._ask_again(way, now)
        if now - self._old > IDLE:
            self._forget(now)

    def _hear_all(self, events: Iterable[tuple[int, int]]) -> None:
        ready: list[channel.Channel] = []
        for descriptor, event in events:
            one = self._by_descriptor.get(descriptor)
            if one is None:
                self._answer_other(descriptor)
                continue
            if event & select.EPOLLERR:
                self._hear_refusals(one)
            if event & select.EPOLLIN:
                ready.append(one)
        if not ready:
            return
        now = time.monotonic()
        moved: dict[int, session.Session] = {}
        if self._sweep is not None:
            for head in self._sweep.hear(ready, now):
                self._take(head, now, moved)
        else:
            for one in ready:
                self._hear(one, now, moved)
        now = time.monotonic()
        for asking in moved.values():
            asking.advance(now)
            self._settle(asking, now)

    def _answer_other(self, descriptor: int) -> None:
        if descriptor in self._listeners:
            self._listeners[descriptor][1].turn(time.monotonic())
        if descriptor == self._bell:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._bell)
            while self._calls:
                self._calls.popleft()()

    def _wait(self, seconds: float) -> list[tuple[int, int]]:
        """Wait for sockets. epoll counts in whole milliseconds, half a grace, so the rest of one is slept off."""
        if self._sweep is not None and self._sweep.crowded:
            time.sleep(sweep.GATHER)
            if ready := self._poll.poll(0):
                return ready
        if seconds >= 0.001 and (ready := self._poll.poll(int(seconds * 1000) / 1000)):
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
            if one.found.ending == "exact" and one.found.mtu < one.search.question.expected:
                self._found[one.found.mtu] += 1
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
        for nonce in [nonce for nonce, way in self._ways.items() if way.done or way.place in self._paths]:
            way = self._ways.pop(nonce)
            self._sessions.pop(nonce, None)
            if way.forward is not None and way.place not in self._paths:
                self._paths[way.place] = paths.Path(
                    target=way.target, forward=way.forward, back=way.back, seconds=now - way.began
                )

    # What comes in

    def _hear_refusals(self, one: channel.Channel) -> None:
        now = time.monotonic()
        for refusal in one.refusals():
            if (known := wire.quoted(refusal.payload)) is not None:
                nonce, number, size = known
                if self._sweep is not None and nonce == self._sweep.nonce:
                    self._refuse_swept(number, refusal, now)
                elif (asking := self._sessions.get(nonce)) is not None:
                    asking.refused(number, size, refusal, now)
                    self._push(asking)
            elif not refusal.local and not refusal.payload:
                for asking in self._sessions.values():
                    if asking.address[:2] == refusal.address[:2]:
                        asking.refused_at_all(refusal)
                        self._push(asking)

    def _refuse_swept(self, number: int, refusal: channel.Refusal, now: float) -> None:
        assert self._sweep is not None
        peer = self._sweep.refused(number, now)
        if peer is not None and peer.place in self._waiting:
            self._waiting.remove(peer.place)
            self._start(peer.place, (refusal.mtu, refusal.by) if refusal.mtu and not refusal.local else None)

    def _hear(self, one: channel.Channel, now: float, moved: dict[int, session.Session]) -> None:
        for heard in one.receive():
            if one.echoes:
                self._take_answer(paths.echoed(heard), now, moved)
            elif not self._take(heard.head, now, moved) and self._answers:
                self._admit(one, heard, now)

    def _take(self, head: bytes, now: float, moved: dict[int, session.Session]) -> bool:
        """Take an answer to something of ours; False when it is none."""
        kind = wire.kind(head)
        if kind == wire.ANSWER:
            answer = wire.read_answer(head)
            if answer.nonce in self._sessions and self.key.opens(head):
                self._take_answer(answer, now, moved)
        elif kind == wire.SEEN:
            nonce, address = wire.read_seen(head)
            if (asking := self._sessions.get(nonce)) is not None and self.key.opens(head):
                asking.seen(address, now)
                moved[nonce] = asking
        elif kind == wire.REPORT:
            self._take_report(head)
        else:
            return False
        return True

    def _take_answer(self, answer: wire.Answer, now: float, moved: dict[int, session.Session]) -> None:
        if (asking := self._sessions.get(answer.nonce)) is not None:
            asking.answered(answer, now)
            moved[answer.nonce] = asking

    def _take_report(self, datagram: bytes) -> None:
        report = wire.read_report(datagram)
        if report is None or (way := self._ways.get(report.nonce)) is None or not self.key.opens(datagram):
            return
        if way.back is None or way.back.state == "running":
            way.back = report

    # Answering

    def _admit(self, one: channel.Channel, heard: channel.Heard, now: float) -> None:
        sender = one.pack(heard.address[0])
        request = self.gate.admit(heard.head, heard.length + one.headers, sender, now)
        if request is None or request.nonce in self._sessions:  # our own, thrown back at us
            return
        if request.kind == wire.ASK:
            self._measure_back(one, heard, request, now)
            return
        if request.kind == wire.HELLO:
            one.send(self.key.seal(wire.pack_seen(request.nonce, sender)), 0, heard.address, heard.local)
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
                    route = one.route(heard.address)
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


def spoken() -> tuple[channel.Family, ...]:
    """The families that this machine has: a kernel without IPv6 is no reason not to answer."""
    return (4, 6) if socket.has_ipv6 and Path("/proc/net/if_inet6").exists() else (4,)

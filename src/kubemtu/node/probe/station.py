"""The loop over channels and sessions: a station measures, answers, and measures back when it is asked to.

One station does all three, so that both directions of a path are measured by the same rules: the asker's own station
answers what the other end sends. It answers only what is admitted, and measures only towards whoever asked. It may
stand in several network namespaces at once, a node's and its pods': each has channels of its own, known by a name.
"""

import collections
import contextlib
import functools
import os
import select
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Self

from kubemtu.core import errors
from kubemtu.node import errors as node_errors
from kubemtu.node.kernel import netns
from kubemtu.node.probe import admission, channel, measurement, mss, paths, segments, session, sweep, wire
from kubemtu.node.probe import answers as answering
from kubemtu.node.probe.receiver import Receiver
from kubemtu.node.probe.sessions import Sessions

IDLE: Final = 1.0  # seconds between looks at what has grown old
EACH: Final = 64  # datagrams that are taken from one channel at a time
UNREAD: Final = (
    64  # times that what has come is taken before silence is judged: nobody who sends on and on holds that up
)
MANY: Final = 16  # channels with something to take: one datagram each, since to find nothing more costs as much as one


class Station:
    """One prober and responder, on one port of each family in each of its network namespaces."""

    def __init__(
        self,
        key: wire.Key,
        *,
        port: int = 0,
        families: Iterable[channel.Family] = (4, 6),
        answers: bool = True,
        over: type[channel.Channel] = channel.Channel,
        rate: int = admission.RATE,
    ) -> None:
        """Open its sockets in the calling thread's network namespace. Raises UsageError or Unreachable.

        `port` 0 takes any. A station that does not `answer` measures only. `over` is the kind of its channels; `rate`
        how many answers a second it gives at most, in all its namespaces.
        """
        self.key = key
        self.channels: dict[tuple[str, channel.Family], channel.Channel] = {}
        self._sessions = Sessions()
        self._answers = answering.Answers(key, self._sessions, time.monotonic(), rate=rate) if answers else None
        self._receiver = Receiver(key, self._sessions, self._answers)
        self._over = over
        self._by_descriptor: dict[int, channel.Channel] = {}
        self._forgot_at = time.monotonic()
        self._calls: collections.deque[Callable[[], None]] = collections.deque()
        self._listeners: dict[int, tuple[str, segments.TcpListener]] = {}
        self._poll = select.epoll()
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._wakeup, select.EPOLLIN)
        try:
            for family in families:
                self._add("", over(family, port))
        except BaseException:
            self.close()
            raise

    @property
    def answered(self) -> int:
        """How many packets it has answered."""
        return self._answers.answered if self._answers is not None else 0

    @property
    def refused(self) -> admission.RefusalCounts:
        """How many datagrams it did not answer, and why."""
        return self._answers.admission.refused if self._answers is not None else admission.RefusalCounts()

    @property
    def families(self) -> tuple[channel.Family, ...]:
        """The families that it speaks in its first namespace."""
        return tuple(family for via, family in self.channels if not via)

    def open(self, via: str, space: int, *, port: int = 0, families: Iterable[channel.Family] = (4, 6)) -> None:
        """Open one more namespace to stand in, called `via`: that of the descriptor, which the caller keeps.

        Raises UsageError or Unreachable, and NodeFailure when the namespace cannot be entered; then nothing is opened.
        """
        opened: list[channel.Channel] = []
        try:
            for family in families:
                opened.append(netns.inside(space, functools.partial(self._over, family, port)))
                opened[-1].within(os.dup(space))
        except BaseException:
            for added in opened:
                added.close()
            raise
        for added in opened:
            self._add(via, added)

    def listen(self, port: int, via: str = "") -> None:
        """Report also what TCP is made to believe, on that TCP port of a namespace that it stands in.

        Raises UsageError or Unreachable, and NodeFailure when the namespace cannot be entered.
        """
        families = [family for name, family in self.channels if name == via]
        if not families:
            raise errors.UsageError(f"no TCP port can be listened on in a place that is none of the station's: {via!r}")
        inside = self.channels[via, families[0]].inside
        listener = inside(
            lambda: segments.TcpListener(self.key, port, families=families, probing=lambda: inside(mss.probing))
        )
        self._listeners[listener.fileno()] = (via, listener)
        self._poll.register(listener.fileno(), select.EPOLLIN)

    def shut(self, via: str) -> None:
        """Leave a namespace, and end what is measured from there; that it was none is fine."""
        for descriptor in [descriptor for descriptor, (name, _) in self._listeners.items() if name == via]:
            self._poll.unregister(descriptor)
            self._listeners.pop(descriptor)[1].close()
        for where in [where for where in self.channels if where[0] == via]:
            self._leave(*where)

    def _leave(self, via: str, family: channel.Family) -> None:
        leaving = self.channels.pop((via, family))
        self._poll.unregister(leaving.fileno())
        del self._by_descriptor[leaving.fileno()]
        for session_there in self._sessions:
            if session_there.channel is leaving:
                session_there.give_up("the place that was measured from has been left")
                self._reschedule(session_there, time.monotonic())
        leaving.close()

    def _add(self, via: str, added: channel.Channel) -> None:
        if (via, added.family) in self.channels:
            self._leave(via, added.family)
        self.channels[via, added.family] = added
        self._by_descriptor[added.fileno()] = added
        self._poll.register(added.fileno(), select.EPOLLIN | select.EPOLLERR)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close its sockets."""
        self.close()

    def close(self) -> None:
        """Close its sockets."""
        for each_channel in self.channels.values():
            each_channel.close()
        for _, listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        self._poll.close()
        if self._wakeup >= 0:
            os.close(self._wakeup)
            self._wakeup = -1

    def call_soon(self, call: Callable[[], None]) -> None:
        """Have the thread that serves do this between two steps: the one thing that other threads may ask for."""
        self._calls.append(call)
        os.eventfd_write(self._wakeup, 1)

    def serve(self, going_on: Callable[[], bool]) -> None:
        """Answer until `going_on` says no; it is asked at least once a second."""
        while going_on():
            self.step(IDLE)

    def measure(
        self,
        targets: Sequence[paths.Target],
        *,
        pps: float = 0.0,
        tell: Callable[[int], None] | None = None,
        going_on: Callable[[], bool] | None = None,
    ) -> list[paths.Path]:
        """Measure the paths to all targets; the results are in their order.

        Many targets whose `expected` size and `source` are known are swept first by a station that does not answer, in
        their order: one packet each, at most `pps` a second (0: as fast as it goes). The others, and whoever does not
        answer, are searched, many at once. `tell` hears now and then how many are known. Raises Stopped as soon as
        `going_on` says no; it is asked between any two steps.
        """
        sweeps = self._answers is None and not self._over.echoes
        under_way = measurement.Measurement(targets, self.key, self.channels, self._sessions, sweeps=sweeps, pps=pps)
        self._receiver.measurement, reported = under_way, 0
        try:
            while not under_way.over:
                if going_on is not None and not going_on():
                    raise node_errors.Stopped("nobody wants to know any more")
                under_way.send(time.monotonic())
                if under_way.under_way:
                    self.step(IDLE)
                    under_way.finish(time.monotonic())
                if tell is not None and len(under_way.paths) - reported >= len(targets) // 50 + 1:
                    reported = len(under_way.paths)
                    tell(reported)
        finally:
            under_way.close()
            self._receiver.measurement = None
        return [under_way.paths[place] for place in range(len(targets))]

    # One step

    def step(self, patience: float) -> None:
        """Wait for what comes first, at most `patience` seconds, and do everything that is due."""
        now = time.monotonic()
        wakes = [now + patience, self._sessions.wake()]
        wakes += [listener.wake() for _, listener in self._listeners.values()]
        if self._measurement is not None:
            wakes.append(self._measurement.wake(now))
        self._hear_all(self._wait(min(wakes) - now))
        now = time.monotonic()
        if self._sessions.wake() <= now:
            self._catch_up()
        for _, listener in self._listeners.values():
            if listener.wake() <= now:
                listener.step(now)
        if self._measurement is not None:
            self._measurement.look(now)
        for due_session in self._sessions.due(now):
            if due_session.wake() <= now:
                due_session.advance(now)
            self._reschedule(due_session, now)
        if now - self._forgot_at > IDLE:
            self._forget(now)

    @property
    def _measurement(self) -> measurement.Measurement | None:
        return self._receiver.measurement

    @property
    def _sweep(self) -> sweep.Sweep | None:
        return self._measurement.sweep if self._measurement is not None else None

    def _wait(self, seconds: float) -> list[tuple[int, int]]:
        """Wait for sockets. epoll counts in whole milliseconds, half a grace, so the rest of one is slept off."""
        under_way = self._sweep
        if under_way is not None and under_way.crowded:
            time.sleep(sweep.GATHER)
            if ready := self._poll.poll(0):
                return ready
        if seconds >= 0.001 and (ready := self._poll.poll(int(seconds * 1000) / 1000)):
            return ready
        if seconds > 0:
            time.sleep(seconds % 0.001)
        return self._poll.poll(0)

    def _reschedule(self, moved: session.Session, now: float) -> None:
        """Look at a session after it moved: at its end, take it off and report; else say when to look again."""
        if moved.result is None:
            self._sessions.push(moved)
            return
        self._sessions.drop(moved.nonce)
        if self._measurement is not None:
            self._measurement.ended(moved, now)
        if self._answers is not None:
            self._answers.ended(moved)

    # What comes in

    def _hear_all(self, events: Iterable[tuple[int, int]]) -> None:
        ready: list[channel.Channel] = []
        for descriptor, event in events:
            source = self._by_descriptor.get(descriptor)
            if source is None:
                self._hear_other(descriptor)
                continue
            if event & select.EPOLLERR:
                self._receiver.refusals(source)
            if event & select.EPOLLIN:
                ready.append(source)
        if not ready:
            return
        now = time.monotonic()
        moved: dict[int, session.Session] = {}
        if (under_way := self._sweep) is not None:
            for head in under_way.hear(ready, now):
                self._receiver.take(head, now, moved)
        else:
            most = EACH if len(ready) < MANY else 1
            for source in ready:
                self._receiver.datagrams(source, most, now, moved)
        now = time.monotonic()
        for moved_session in moved.values():
            moved_session.advance(now)
            self._reschedule(moved_session, now)

    def _catch_up(self) -> None:
        """Hear what has come by now, before anybody's silence is judged: on a busy machine it waits here unread."""
        for _ in range(UNREAD):
            if not (ready := self._poll.poll(0)):
                return
            self._hear_all(ready)

    def _hear_other(self, descriptor: int) -> None:
        if descriptor in self._listeners:
            self._listeners[descriptor][1].step(time.monotonic())
        if descriptor == self._wakeup:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wakeup)
            while self._calls:
                self._calls.popleft()()

    def _forget(self, now: float) -> None:
        """Drop what has grown old: MTUs of interfaces may change while a station runs."""
        self._forgot_at = now
        for each_channel in self.channels.values():
            each_channel.forget()


def spoken() -> tuple[channel.Family, ...]:
    """Return the families that this machine has: a kernel without IPv6 is no reason not to answer."""
    return (4, 6) if socket.has_ipv6 and Path("/proc/net/if_inet6").exists() else (4,)

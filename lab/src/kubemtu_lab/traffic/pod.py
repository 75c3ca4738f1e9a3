"""The process that makes one pod's traffic: `python -m kubemtu_lab.traffic.pod`, started inside the pod's namespace.

It reads orders from stdin and writes reports to stdout, a JSON object a line (`wire`), and ends when stdin does: a run
that dies takes its pods with it.
"""

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from kubemtu_lab.traffic import sockets, stream, tcp, udp, wire
from kubemtu_lab.traffic.loop import Loop

_PROGRESS = 0.5  # seconds between two reports of progress
_STDIN, _STDOUT = 0, 1
_COUNTED = (
    "Ip.OutDiscards",
    "Ip.FragFails",
    "Ip.FragCreates",
    "Ip6OutDiscards",
    "Ip6FragFails",
    "Udp.RcvbufErrors",
    "TcpExt.TCPTimeouts",
    "TcpExt.TCPAbortOnTimeout",
    "TcpExt.TCPMTUPSuccess",
)


class TrafficPod:
    """All flows of one namespace, driven by the orders that come in."""

    def __init__(self, loop: Loop, assignment: wire.Assignment) -> None:
        self._loop = loop
        self._marks: list[float] = []
        self._retransmits: list[int] = []
        self._counts: dict[str, int] = {}
        self._rest_until = 0.0
        families = sorted({sockets.family(address) for address in assignment.place.addresses})
        serves = assignment.place.network == "pod"
        self._receivers = [udp.Receiver(loop, family) for family in families] if serves else []
        self._server = stream.Server(loop, families if serves else [])
        self._senders = [udp.Sender(loop, flow) for flow in assignment.udp]
        self._staying = [tcp.Staying(loop, flow) for flow in assignment.tcp if flow.style != "connect"]
        self._fresh = [tcp.Fresh(loop, flow) for flow in assignment.tcp if flow.style == "connect"]
        self._asking: list[tcp.Staying | tcp.Fresh] = [*self._staying, *self._fresh]

    def obey(self, order: wire.Orders) -> None:
        """Do one thing of the run's."""
        match order:
            case wire.Connect():
                for connection in self._staying:
                    connection.connect()
                self._when(lambda: all(connection.decided for connection in self._staying), wire.Connected())
            case wire.Start():
                self._start(order.at)
            case wire.Mark():
                self._mark(order.at)
            case wire.Rest():
                self._rest(order.patience)
            case wire.Close():
                self._close()
            case wire.Assignment():
                raise ValueError("a second assignment came; a traffic process takes one")

    def _start(self, at: float) -> None:
        self._counts = kernel_counts()
        self._mark(at)
        for sender in self._senders:
            sender.start(at)
        for flow in self._asking:
            flow.start(at)
        self._loop.at(at + _PROGRESS, self._progress)

    def _mark(self, at: float) -> None:
        for connection in self._staying:
            connection.sample(len(self._marks))
        self._marks.append(at)
        self._retransmits.append(self._sent_again())

    def _rest(self, patience: float) -> None:
        for sender in self._senders:
            sender.rest()
        for flow in self._asking:
            flow.rest()
        self._rest_until = time.monotonic() + patience
        self._when(
            lambda: time.monotonic() >= self._rest_until or not any(flow.waiting_since for flow in self._asking),
            wire.Rested(),
        )

    def _close(self) -> None:
        for book in self._books():
            say(book)
        for connection in self._staying:
            connection.abort()
        self._server.abort()
        say(wire.Closed())
        self._loop.end()

    def _books(self) -> Iterator[wire.Books]:
        for connection in self._staying:
            connection.sample(len(self._marks))
        again = [*self._retransmits, self._sent_again()]
        for sender in self._senders:
            yield from sender.books(self._marks)
        for receiver in self._receivers:
            yield from receiver.books()
        for flow in self._asking:
            yield from flow.books(self._marks)
        yield from self._server.books()
        now = kernel_counts()
        yield wire.KernelCounts(
            counts={name: more for name in _COUNTED if (more := now[name] - self._counts[name])},
            retransmits=tuple(after - before for before, after in itertools.pairwise(again)),
            receiver_overflow=sum(receiver.overflow for receiver in self._receivers),
        )

    def _sent_again(self) -> int:
        return self._server.retransmits + sum(flow.retransmits for flow in self._asking)

    def _progress(self) -> None:
        now = time.monotonic()
        waiting = [flow.waiting_since for flow in self._asking if flow.waiting_since]
        say(
            wire.Progress(
                udp_sent=sum(sender.sent for sender in self._senders),
                udp_received=sum(receiver.received for receiver in self._receivers),
                udp_told=sum(len(sender.told) for sender in self._senders),
                tcp_answered=sum(connection.answered for connection in self._staying),
                tcp_failed=sum(connection.failed for connection in self._staying),
                connect_failures=sum(flow.failed for flow in self._fresh),
                waiting_ms=round((now - min(waiting)) * 1000, 1) if waiting else 0.0,
            )
        )
        self._loop.at(now + _PROGRESS, self._progress)

    def _when(self, true: Callable[[], bool], then: wire.PodReport) -> None:
        if true():
            say(then)
        else:
            self._loop.at(time.monotonic() + 0.02, lambda: self._when(true, then))


def say(report: wire.PodReport) -> None:
    """Write one line to stdout, all of it."""
    left = memoryview(wire.line(report))
    while left:
        left = left[os.write(_STDOUT, left) :]


def kernel_counts() -> dict[str, int]:
    """Return this namespace's counters by name; 0 for those that this kernel does not have."""
    found: dict[str, int] = {}
    for table in ("snmp", "netstat"):
        lines = [line.split() for line in _text(table).splitlines()]
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            group = names[0].rstrip(":")
            found |= {f"{group}.{name}": int(value) for name, value in zip(names[1:], values[1:], strict=True)}
    for line in _text("snmp6").splitlines():
        name, value = line.split()
        found[name] = int(value)
    return {name: found.get(name, 0) for name in _COUNTED}


def _text(table: str) -> str:
    path = Path("/proc/self/net") / table  # of the namespace of this process, however /proc was mounted
    return path.read_text(encoding="ascii") if path.exists() else ""


class _Orders:
    """Lines from stdin, as they come."""

    def __init__(self) -> None:
        self._rest = b""

    def more(self) -> tuple[list[wire.Orders], bool]:
        """Return the orders that are complete now, and whether stdin has ended."""
        text = os.read(_STDIN, 1 << 16)
        *lines, self._rest = (self._rest + text).split(b"\n")
        return [wire.order(line) for line in lines], not text


def _serve() -> None:
    orders = _Orders()
    first: list[wire.Orders] = []
    while not first:
        first, ended = orders.more()
        if ended:
            return
    assignment = first.pop(0)
    if not isinstance(assignment, wire.Assignment):
        raise TypeError("the first order must be an assignment")
    before = {
        device: sockets.offloads(device, {"tso": False, "gso": False, "gro": False}) for device in assignment.segment
    }
    try:
        loop = Loop()
        pod = TrafficPod(loop, assignment)

        def ordered(_: int) -> None:
            more, ended = orders.more()
            for order in more:
                pod.obey(order)
            if ended:
                loop.end()

        say(wire.Ready())
        for order in first:
            pod.obey(order)
        loop.watch(_STDIN, ordered)
        loop.run()
    finally:
        for device, settings in before.items():
            sockets.offloads(device, settings)


def main() -> int:
    """Run until the books are handed over or stdin ends; 1 when it had to give up."""
    try:
        _serve()
    except BrokenPipeError:
        return 1  # nobody listens any more
    except (OSError, msgspec.MsgspecError, ValueError, TypeError) as error:
        say(wire.Failed(why=f"{type(error).__name__}: {error}"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

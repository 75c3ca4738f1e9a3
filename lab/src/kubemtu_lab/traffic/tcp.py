"""TCP flows and their books: connections that stay, connections that idle, a fresh connection for each question."""

import time
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence

from kubemtu_lab.traffic import plan, wire
from kubemtu_lab.traffic.loop import Loop
from kubemtu_lab.traffic.numbers import per_interval
from kubemtu_lab.traffic.stream import Exchange

TIMEOUT = 3.0  # seconds for a fresh connection to open, ask and be answered
_CONNECT = 5.0  # seconds for a connection that is to stay to open
_LATE = 0.05  # seconds of delay that are made up for
_OPEN, _ANSWERED, _FAILED = 0, 1, 2


class QuestionBook:
    """The book of one flow: when each question began, how long it took, how it ended."""

    def __init__(self, flow: plan.TcpFlow) -> None:
        self._flow = flow
        self._began = array("d")
        self._took = array("d")
        self._outcomes = bytearray()
        self._ended_idle_at = array("d")
        self._open: set[int] = set()
        self.answered = 0
        self.failed = 0
        self.wrong = 0
        self.errors: Counter[str] = Counter()

    @property
    def waiting_since(self) -> float:
        """When the oldest question that has no answer began; 0 when there is none."""
        return self._began[min(self._open)] if self._open else 0.0

    def begin(self) -> int:
        """Note that a question begins; return its number."""
        number = len(self._began)
        self._began.append(time.monotonic())
        self._took.append(0.0)
        self._outcomes.append(_OPEN)
        self._open.add(number)
        return number

    def end(self, number: int, why: str = "") -> None:
        """Note that a question is answered, or has failed, and `why`."""
        self._open.discard(number)
        self._took[number] = time.monotonic() - self._began[number]
        self._outcomes[number] = _FAILED if why else _ANSWERED
        if why:
            self.failed += 1
            self.errors[why] += 1
        else:
            self.answered += 1

    def broke(self, why: str) -> None:
        """Note that the connection ended, and its open question, if any, with it."""
        if self._open:
            self.end(min(self._open), why)
        else:
            self._ended_idle_at.append(time.monotonic())
            self.failed += 1
            self.errors[why] += 1

    def book(self, marks: Sequence[float]) -> wire.TcpAsked:
        """Return the book as of now, by the intervals that `marks` open."""
        now = time.monotonic()
        rows = [[0, 0, 0] for _ in marks]
        longest = [0.0] * len(marks)
        for number, began in enumerate(self._began):
            at = max(bisect_right(marks, began) - 1, 0)
            rows[at][self._outcomes[number]] += 1
            took = now - began if number in self._open else self._took[number]
            longest[at] = max(longest[at], round(took * 1000, 3))
        idle = per_interval(self._ended_idle_at, marks)
        return wire.TcpAsked(
            flow=self._flow.id,
            asked=tuple(sum(row) for row in rows),
            answered=tuple(row[_ANSWERED] for row in rows),
            failed=tuple(row[_FAILED] + more for row, more in zip(rows, idle, strict=True)),
            stuck=tuple(row[_OPEN] for row in rows),
            longest_ms=tuple(longest),
            wrong=self.wrong,
            errors=dict(self.errors),
        )


class Staying:
    """A flow on one connection that is to stay, busy or idle. Once lost it is not opened again."""

    def __init__(self, loop: Loop, flow: plan.TcpFlow) -> None:
        self._loop = loop
        self._flow = flow
        self._asked = QuestionBook(flow)
        self._exchange: Exchange | None = None
        self._open_question: int | None = None
        self._alive = False
        self._resting = False
        self._due = 0.0
        self._samples: list[wire.Sample] = []
        self.decided = False

    @property
    def waiting_since(self) -> float:
        """When the question that has no answer began; 0 when there is none."""
        return self._asked.waiting_since

    @property
    def answered(self) -> int:
        """Questions answered."""
        return self._asked.answered

    @property
    def failed(self) -> int:
        """1 when the connection is lost."""
        return self._asked.failed

    @property
    def retransmits(self) -> int:
        """Segments that this side has sent again."""
        return self._exchange.retransmits if self._exchange else 0

    def connect(self) -> None:
        """Open the connection; `decided` when it is up or has failed."""
        self._exchange = Exchange(self._loop, self._flow, self._up, self._answer, self._lost)
        self._loop.at(time.monotonic() + _CONNECT, self._give_up)

    def start(self, at: float) -> None:
        """Begin to ask; an idle one asks once, now."""
        self._due = at
        if self._flow.style == "idle":
            self._ask()
        else:
            self._due += (self._flow.id * 0.618 % 1) / self._flow.per_second
            self._loop.at(self._due, self._turn)

    def rest(self) -> None:
        """Ask no more; but an idle one asks once more: did it outlive what happened?"""
        self._resting = True
        if self._flow.style == "idle":
            self._ask()

    def abort(self) -> None:
        """End the connection at once."""
        if self._exchange:
            self._exchange.close(abort=True)

    def sample(self, mark: int) -> None:
        """Note TCP_INFO for the books."""
        now = self._exchange.tcp_info() if self._exchange else None
        if now is not None:
            self._samples.append(
                wire.Sample(
                    flow=self._flow.id,
                    mark=mark,
                    snd_mss=now.snd_mss,
                    pmtu=now.pmtu,
                    advmss=now.advmss,
                    total_retrans=now.total_retrans,
                    lost=now.lost,
                    unacked=now.unacked,
                    retransmits=now.retransmits,
                    backoff=now.backoff,
                    last_data_sent_ms=now.last_data_sent_ms,
                )
            )

    def books(self, marks: Sequence[float]) -> Iterator[wire.Books]:
        """Return what this end knows."""
        yield self._asked.book(marks)
        yield from self._samples

    def _turn(self) -> None:
        if self._resting or not self._alive:
            return
        self._ask()
        self._due = max(self._due + 1 / self._flow.per_second, time.monotonic() - _LATE)
        self._loop.at(self._due, self._turn)

    def _ask(self) -> None:
        if self._alive and self._exchange and self._open_question is None:
            self._open_question = self._asked.begin()
            self._exchange.ask()

    def _up(self) -> None:
        self.decided = self._alive = True

    def _answer(self, right: bool) -> None:
        if self._open_question is None:
            self._asked.wrong += 1
            return
        self._asked.wrong += not right
        self._asked.end(self._open_question)
        self._open_question = None

    def _lost(self, why: str) -> None:
        # At the end every process aborts its connections, some a moment before others: with nothing asked any more,
        # that is the end of the run and no reset.
        over = self._resting and self._open_question is None
        self.decided, self._alive, self._open_question = True, False, None
        if not over:
            self._asked.broke(why)

    def _give_up(self) -> None:
        if not self.decided and self._exchange:
            self._exchange.close()
            self._lost("ETIMEDOUT")


class Fresh:
    """A flow that opens a new connection for each question; several may be under way when answers are slow."""

    def __init__(self, loop: Loop, flow: plan.TcpFlow) -> None:
        self._loop = loop
        self._flow = flow
        self._asked = QuestionBook(flow)
        self._exchanges: dict[int, Exchange] = {}
        self._resting = False
        self._due = 0.0
        self._retransmits = 0  # of connections that have ended

    @property
    def waiting_since(self) -> float:
        """When the oldest attempt that is under way began; 0 when there is none."""
        return self._asked.waiting_since

    @property
    def failed(self) -> int:
        """Attempts that failed."""
        return self._asked.failed

    @property
    def retransmits(self) -> int:
        """Segments that this side has sent again, on all connections."""
        return self._retransmits + sum(exchange.retransmits for exchange in self._exchanges.values())

    def start(self, at: float) -> None:
        """Begin to connect."""
        self._due = at + (self._flow.id * 0.618 % 1) / self._flow.per_second
        self._loop.at(self._due, self._turn)

    def rest(self) -> None:
        """Begin nothing new; what is under way has its time."""
        self._resting = True

    def books(self, marks: Sequence[float]) -> Iterator[wire.Books]:
        """Return what this end knows."""
        yield self._asked.book(marks)

    def _turn(self) -> None:
        if self._resting:
            return
        number = self._asked.begin()
        self._exchanges[number] = Exchange(
            self._loop,
            self._flow,
            lambda: self._connected(number),
            lambda right: self._answer(number, right),
            lambda why: self._finish(number, why),
        )
        self._loop.at(time.monotonic() + TIMEOUT, lambda: self._finish(number, "no answer in 3 s"))
        self._due = max(self._due + 1 / self._flow.per_second, time.monotonic() - _LATE)
        self._loop.at(self._due, self._turn)

    def _connected(self, number: int) -> None:
        self._exchanges[number].ask()

    def _answer(self, number: int, right: bool) -> None:
        self._asked.wrong += not right
        self._finish(number)

    def _finish(self, number: int, why: str = "") -> None:
        exchange = self._exchanges.pop(number, None)
        if exchange is not None:
            exchange.close(abort=bool(why))
            self._retransmits += exchange.retransmits
            self._asked.end(number, why)

"""What comes in at a station, handed to whom it is for: a session, the measurement under way, or its answers."""

import time

from kubemtu.node.probe import answers as answering
from kubemtu.node.probe import channel, measurement, paths, session, wire
from kubemtu.node.probe.sessions import Sessions


class Receiver:
    """Hand each datagram and each refusal to what it belongs to.

    `measurement` is the one under way, None when the station measures nothing itself.
    """

    def __init__(self, key: wire.Key, sessions: Sessions, answers: answering.Answers | None) -> None:
        """Serve these sessions; without `answers` nothing is answered."""
        self.measurement: measurement.Measurement | None = None
        self._key = key
        self._sessions = sessions
        self._answers = answers

    def refusals(self, source: channel.Channel) -> None:
        """Read from a channel what routers and the own kernel refused, and tell the sessions that sent it."""
        now = time.monotonic()
        for refusal in source.refusals():
            if (quoted := wire.quoted(refusal.payload)) is not None:
                nonce, number, size = quoted
                under_way = self.measurement
                if under_way is not None and under_way.sweep is not None and nonce == under_way.sweep.nonce:
                    under_way.refused(number, refusal, now)
                elif (asking := self._sessions.get(nonce)) is not None:
                    asking.refused(number, size, refusal, now)
                    self._sessions.push(asking)
            elif not refusal.local and not refusal.payload:  # nothing is quoted: whoever sends there is told
                for asking in self._sessions:
                    if asking.address[:2] == refusal.address[:2]:
                        asking.refused_at_all(refusal)
                        self._sessions.push(asking)

    def datagrams(self, source: channel.Channel, most: int, now: float, moved: dict[int, session.Session]) -> None:
        """Read at most so many datagrams from a channel; `moved` collects the sessions that they moved on."""
        for heard in source.receive(most):
            if source.echoes:
                self._take_answer(paths.echoed(heard), now, moved)
            elif not (wire.replies(heard.head) and self.take(heard.head, now, moved)) and self._answers is not None:
                self._answers.admit(source, heard, now)

    def take(self, head: bytes, now: float, moved: dict[int, session.Session]) -> bool:
        """Take a reply to a packet that was sent from here; False when it is none."""
        kind = wire.kind(head)
        if kind == wire.ANSWER:
            answer = wire.read_answer(head)
            if answer.nonce in self._sessions and self._key.opens(head):
                self._take_answer(answer, now, moved)
        elif kind == wire.SEEN:
            nonce, address = wire.read_seen(head)
            if (asking := self._sessions.get(nonce)) is not None and self._key.opens(head):
                asking.seen(address, now)
                moved[nonce] = asking
        elif kind == wire.REPORT:
            if self.measurement is not None:
                self.measurement.reported(head)
        else:
            return False
        return True

    def _take_answer(self, answer: wire.ProbeAnswer, now: float, moved: dict[int, session.Session]) -> None:
        if (asking := self._sessions.get(answer.nonce)) is not None:
            asking.answered(answer, now)
            moved[answer.nonce] = asking

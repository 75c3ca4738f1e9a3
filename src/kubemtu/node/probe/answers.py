"""The half of a station that answers: what its admission lets in, and searches back towards whoever asked for one."""

import contextlib
import errno
from typing import Final

import msgspec

from kubemtu.core import errors
from kubemtu.node.probe import admission, channel, paths, session, wire
from kubemtu.node.probe.sessions import Sessions

BACK_MOST: Final = 16  # searches under way because others asked
FULL: Final = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM})  # a queue here is
KEPT: Final = 256  # reports kept for those whose datagram was lost


class _Back(msgspec.Struct):
    """One search that somebody asked for, and its report once there is one."""

    asking: session.Session
    report: wire.SearchReport | None = None


class Answers:
    """Answers requests, and measures back; its searches are among the `sessions` of the station."""

    def __init__(self, key: wire.Key, sessions: Sessions, now: float, *, rate: int) -> None:
        """Begin with nothing asked; `rate` is how many answers a second it gives at most."""
        self.admission = admission.Admission(key, now, rate=rate, depth=rate)
        self.answered = 0
        self._key = key
        self._sessions = sessions
        self._backs: dict[int, _Back] = {}
        self._unsent = 0

    def admit(self, channel_in: channel.Channel, heard: channel.Heard, now: float) -> None:
        """Answer what came in, if it is admitted."""
        sender = channel_in.pack(heard.address[0])
        request = self.admission.admit(heard.head, heard.length + channel_in.headers, sender, now)
        if request is None or request.nonce in self._sessions:  # our own, thrown back at us
            return
        if request.kind == wire.ASK:
            self._measure_back(channel_in, heard, request, now)
            return
        if request.kind == wire.HELLO:
            channel_in.send(self._key.seal(wire.pack_seen(request.nonce, sender)), 0, heard.address, heard.local)
            return
        drops = heard.drops + self.admission.refused.limited + self._unsent
        reply = wire.ProbeAnswer(
            request.nonce, request.number, request.size, heard.fragment, drops, channel_in.mtu(heard.interface)
        )
        refused = channel_in.send(self._key.seal(wire.pack_answer(reply)), 0, heard.address, heard.local)
        if refused is None:
            self.answered += 1
        elif refused.errno in FULL:  # not when there is no way to this one asker: that is nothing to others
            self._unsent += 1

    def ended(self, ended: session.Session) -> None:
        """Report a search that has ended to whoever asked for it."""
        for asker, back in self._backs.items():
            if back.asking is ended:
                back.report = paths.report(asker, ended)
                self._say(ended.channel, back.report, ended.address, b"")

    def _measure_back(
        self, channel_in: channel.Channel, heard: channel.Heard, request: wire.ProbePacket, now: float
    ) -> None:
        """Start a search towards whoever asked, once; say how it stands."""
        searching = self._backs.get(request.nonce)
        if searching is None:
            running = sum(back.report is None for back in self._backs.values())
            route = None
            if self._key.secret and running < BACK_MOST:
                with contextlib.suppress(OSError, errors.KubemtuError):
                    route = channel_in.route(heard.address)
            if route is None:
                self._say(channel_in, wire.SearchReport(request.nonce, "refused"), heard.address, heard.local)
                return
            question = paths.question(route.device, None, channel_in.family, (request.size,))
            started = session.Session(channel_in, heard.address, question, self._key, source=route.source, now=now)
            started.leave_from(heard.local)
            self._backs[request.nonce] = searching = _Back(asking=started)
            self._sessions.add(started)
            while len(self._backs) > KEPT:
                self._backs.pop(next(iter(self._backs)))
        report = searching.report or wire.SearchReport(request.nonce, "running")
        self._say(channel_in, report, heard.address, heard.local)

    def _say(
        self, channel_out: channel.Channel, report: wire.SearchReport, address: channel.Address, local: bytes
    ) -> None:
        channel_out.send(self._key.seal(wire.pack_report(report)), 0, address, local)

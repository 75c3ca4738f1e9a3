"""The half of a station that measures: all targets of one call, swept first where that pays, and searched."""

import collections
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from kubemtu.core import errors, networks
from kubemtu.node.probe import channel, paths, session, sweep, wire
from kubemtu.node.probe.sessions import Sessions

WINDOW: Final = 128  # searches under way at once
SILENT: Final = 1024  # the same, with those that nobody has answered yet
CROWD: Final = 8  # so many targets are swept before any is searched
ASK_AGAIN: Final = (0.02, 0.06, 0.14, 0.3, 0.6, 1.2, 1.8, 2.4)  # seconds after the first ask
ASK_PATIENCE: Final = 4.0
RUNNING: Final = 12  # times more that one is asked who says that it still measures, once in the last of those
SUSPECTS: Final = 2  # sizes found on other paths that are asked for at once
NEIGHBOURS: Final = (0.3, 0.5)  # seconds of silence for one of many, of whom others have answered

FAMILIES: Final[tuple[channel.Family, ...]] = (4, 6)
Channels = Mapping[tuple[str, channel.Family], channel.Channel]


class _PathState(msgspec.Struct):
    """One target under way."""

    target: paths.Target
    index: int
    session: session.Session
    route: channel.KernelRoute
    began: float
    forward: paths.Measured | None = None
    backward: wire.SearchReport | None = None
    asked: int = 0  # how often the other end was asked to measure back

    @property
    def done(self) -> bool:
        """Return whether nothing is waited for any more."""
        if self.forward is None or not self.target.both_ways or self.forward.search.ending == "unreachable":
            return self.forward is not None
        return self.backward is not None and self.backward.state != "running"

    def next_ask(self) -> float:
        """Return when to ask the other end again, or to give it up."""
        if self.backward is not None and self.backward.state != "running":
            return float("inf")
        if self.asked <= len(ASK_AGAIN):
            return self.began + max(ASK_AGAIN[self.asked - 1], 3 * self.session.rtt * self.asked)
        return self.began + ASK_PATIENCE + (self.asked - len(ASK_AGAIN) - 1) * ASK_AGAIN[-1]


class Measurement:
    """The targets of one call, and what is known of them; driven by the station, which sends and hears for it."""

    def __init__(
        self,
        targets: Sequence[paths.Target],
        key: wire.Key,
        channels: Channels,
        sessions: Sessions,
        *,
        sweeps: bool,
        pps: float,
    ) -> None:
        """Begin with nothing sent; `sweeps`: those whose expected size and source are known may be swept."""
        self.paths: dict[int, paths.Path] = {}
        self.sweep: sweep.Sweep | None = None
        self._targets = targets
        self._key = key
        self._channels = channels
        self._sessions = sessions
        self._states: dict[int, _PathState] = {}
        self._waiting: collections.deque[int] = collections.deque()
        self._found: collections.Counter[int] = collections.Counter()
        self._hints: dict[int, tuple[int, str | None]] = {}  # what was quoted of a swept packet, by place
        if sweeps and len(targets) > CROWD:
            self.sweep = sweep.Sweep(self._to_sweep(), key, arrived=self._swept, doubtful=self._doubt, pps=pps)
        else:
            self._waiting.extend(range(len(targets)))

    @property
    def over(self) -> bool:
        """Return whether everything is known."""
        return not (self._waiting or self._states or (self.sweep is not None and not self.sweep.over))

    @property
    def under_way(self) -> bool:
        """Return whether anything is waited for."""
        return bool(self._states) or self.sweep is not None

    def send(self, now: float) -> None:
        """Send what the sweep may, and start as many searches as may be under way."""
        if self.sweep is not None:
            self.sweep.send(now)
        if not self._waiting:
            return
        room = WINDOW - sum(state.session.search.low > 0 for state in self._states.values())
        room = min(room, SILENT - len(self._states))  # those that nobody answers cost nothing but time
        while room > 0 and self._waiting:
            self._start(self._waiting.popleft())
            room -= 1

    def wake(self, now: float) -> float:
        """Return when to look next, if nothing is heard before; infinite when a session says so."""
        wake = self.sweep.wake(now) if self.sweep is not None else float("inf")
        for state in self._states.values():
            if state.target.both_ways:
                wake = min(wake, state.next_ask())
        return wake

    def look(self, now: float) -> None:
        """Give up and ask again what it is time for."""
        if self.sweep is not None:
            self.sweep.give_up(now)
        for state in self._states.values():
            if state.target.both_ways and state.next_ask() <= now:
                self._ask_again(state)

    def finish(self, now: float) -> None:
        """Take off what is done."""
        for nonce in [nonce for nonce, state in self._states.items() if state.done or state.index in self.paths]:
            state = self._states.pop(nonce)
            self._sessions.drop(nonce)
            if state.forward is not None and state.index not in self.paths:
                self.paths[state.index] = paths.Path(
                    target=state.target, forward=state.forward, backward=state.backward, seconds=now - state.began
                )

    def close(self) -> None:
        """Let go of what is still under way, and of the sweep: it knows whom to tell, and would keep all until a gc."""
        for nonce in self._states:
            self._sessions.drop(nonce)
        for one in self._channels.values():
            one.awaited = 0
        self.sweep = None

    def ended(self, one: session.Session, now: float) -> None:
        """Take the end of a search, if it is one of these."""
        if (state := self._states.get(one.nonce)) is not None:
            state.forward = paths.measured(one, state.route, now - state.began)
            if (
                one.result is not None
                and one.result.ending == "exact"
                and one.result.mtu < one.search.question.expected
            ):
                self._found[one.result.mtu] += 1

    def reported(self, datagram: bytes) -> None:
        """Take what the other end says of its own direction."""
        report = wire.read_report(datagram)
        if report is None or (state := self._states.get(report.nonce)) is None or not self._key.opens(datagram):
            return
        if state.backward is None or state.backward.state == "running":
            state.backward = report

    def refused(self, number: int, refusal: channel.Refusal, now: float) -> None:
        """Take a refusal of a swept packet: that peer is searched, what was quoted first."""
        peer = self.sweep.refused(number, now) if self.sweep is not None else None
        if peer is not None and refusal.mtu and not refusal.local:
            self._hints[peer.place] = (refusal.mtu, refusal.by)

    # The sweep

    def _to_sweep(self) -> Iterator[sweep.Peer]:
        """Give the targets of which one packet may tell all; where a kernel believes something already, search."""
        known = frozenset(found for one in self._channels.values() for found in one.learned())
        keys: dict[str, wire.Key] = {}
        least = {family: paths.smallest(family) + 1 for family in FAMILIES}
        for place, target in enumerate(self._targets):
            address, source, expected = target.address, target.source, target.expected
            family = networks.family(address)
            one = self._channels.get((target.via, family))
            if one is None or target.both_ways or not expected or not source or address in known:
                self._waiting.append(place)
                continue
            try:
                endpoint = (address, target.port) if family == 4 else paths.endpoint(target)
            except OSError:  # the zone of its address is no interface here
                self._waiting.append(place)
                continue
            if (bound := keys.get(source)) is None:
                keys[source] = bound = sweep.bound(self._key, source)
            yield sweep.Peer(place, one, endpoint, max(expected, least[family]), bound)

    def _swept(self, peer: sweep.Peer, now: float) -> None:
        if peer.place not in self.paths:
            self.paths[peer.place] = paths.carried(self._targets[peer.place], peer.size, now - peer.asked)

    def _doubt(self, peer: sweep.Peer, _now: float) -> None:
        self._waiting.append(peer.place)

    # Searches

    def _start(self, place: int) -> None:
        if place in self.paths:  # it has answered after all
            return
        now = time.monotonic()
        target = self._targets[place]
        family = networks.family(target.address)
        try:
            address = paths.endpoint(target)
            one = self._channels[target.via, family]
            route = one.route(address)
        except (OSError, KeyError, errors.KubemtuError) as error:
            why = (error.strerror if isinstance(error, OSError) else str(error)) or str(error)
            why = f"no IPv{family} here" if isinstance(error, KeyError) else why
            self.paths[place] = paths.nowhere(target, f"no way to {target.address}: {why}")
            return
        suspected = tuple(size for size, _ in self._found.most_common(SUSPECTS))
        question = paths.question(
            route.device, target.expected, family, target.also, enough=target.enough, suspected=suspected
        )
        started = session.Session(one, address, question, self._key, source=route.source, now=now)
        if self.sweep is not None and self.sweep.slowest:
            started.patience = NEIGHBOURS
        if place in self._hints:
            started.search.hint(*self._hints.pop(place))
        self._states[started.nonce] = state = _PathState(
            target=target, index=place, session=started, route=route, began=now
        )
        self._sessions.add(started)
        if target.both_ways:
            self._ask(state)

    def _ask(self, state: _PathState) -> None:
        """Ask the other end to measure towards us."""
        state.asked += 1
        asker = state.session
        request = wire.ProbePacket(wire.ASK, asker.nonce, state.asked, state.route.device)
        body = self._key.seal(wire.pack_request(request), asker.bound)
        asker.channel.send(body, asker.search.question.small, asker.address)

    def _ask_again(self, state: _PathState) -> None:
        nobody = state.forward is not None and state.forward.search.ending == "unreachable"
        most = len(ASK_AGAIN) + (RUNNING if state.backward is not None else 0)
        if nobody or state.asked > most:
            state.backward = wire.SearchReport(
                state.session.nonce, "unreachable" if state.backward is None else "lossy"
            )
        else:
            self._ask(state)

"""What is done with an order on one node: measure the ways and the round that begin there, and look at its spots.

Everything here waits for the network, so an agent runs it on a thread of its own; a bare host runs it for itself. The
node is not changed, except that learned path MTUs are forgotten where the order says so.
"""

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from kubemtu.core import errors
from kubemtu.core.evidence import records
from kubemtu.core.mesh import rounds, sampling
from kubemtu.core.path import verdict as path_verdict
from kubemtu.core.probe import request
from kubemtu.core.text import wording
from kubemtu.node import errors as node_errors
from kubemtu.node.evidence import counters, gather
from kubemtu.node.kernel import netns
from kubemtu.node.probe import channel, deep, echo, paths, station, tcpsize, wire
from kubemtu.node.probe.namespaces import Places

CONNECTIONS: Final = 24  # told of each spot, besides those in trouble
TROUBLES: Final = 8
PORTS_MOST: Final = 8
FLOWS_MOST: Final = 1024  # of one order, on one node: what a question may cost a node, whoever may ask it
PPS_MOST: Final = 5 * sampling.MOST_PPS  # packets a second of a round


class Measuring:
    """One order on one node."""

    def __init__(self, node: str, places: Places, key: wire.Key, *, going_on: Callable[[], bool] | None = None) -> None:
        """Work in the calling thread's namespace, which is the node's own, and in those of its pods.

        What measures raises Stopped soon after `going_on` says no.
        """
        self._going_on = going_on
        self._node = node
        self._places = places
        self._key = key
        self._troubles: list[str] = []

    def carry_out(self, asked: request.ProbeRequest) -> request.ProbeReport:
        """Measure and look; what cannot be done is told in `troubles` and not raised. Raises Stopped."""
        looks = {port: self._look_before(port, asked) for port in self._mine((*asked.inspect, *asked.flush))}
        cut = counters.cut().made
        results: tuple[request.PathResult, ...] = ()
        row: rounds.MeshRow | None = None
        try:
            results = tuple(self.ways(self._affordable([way for way in asked.paths if way.source.node == self._node])))
            row = self._row(asked.mesh) if asked.mesh is not None else None
        except node_errors.Stopped:
            raise
        except (errors.KubemtuError, OSError, ValueError) as error:
            self._troubles.append(f"node {self._node} could not measure: {error}")
        return request.ProbeReport(
            ready=True,
            done=True,
            results=results,
            readings=tuple(self._look_after(look, asked) for look in looks.values()),
            mesh_row=row,
            fragments_made=max(counters.cut().made - cut, 0),
            errors=tuple(dict.fromkeys(self._troubles))[:TROUBLES],
        )

    def _mine(self, spots: Iterable[request.Namespace]) -> list[str]:
        return list(dict.fromkeys(spot.link for spot in spots if spot.node == self._node))

    def _affordable(self, ways: list[request.PathRequest]) -> list[request.PathRequest]:
        """Return these paths, or none where they are more than one request may have a node send packets on."""
        flows = sum(max(way.flows, 1) for way in ways)
        if flows <= FLOWS_MOST:
            return ways
        self._troubles.append(
            f"node {self._node} was asked for {flows} flows at once and measured none of them: one MTUProbe may have a "
            f"node measure {FLOWS_MOST}"
        )
        return []

    # Evidence

    def _look_before(self, port: str, asked: request.ProbeRequest) -> request.PassiveReading:
        forget = any(spot.node == self._node and spot.link == port for spot in asked.flush)
        forgot, before, trouble = 0, None, ""
        try:
            with self._entered(port) as space:
                before = evidence_of(space)
                if forget:
                    forgot = netns.inside(space, functools.partial(gather.flush, self._places.sysctl))
        except (errors.KubemtuError, OSError, LookupError) as error:
            trouble = _gone(port, error)
        return request.PassiveReading(link=port, before=before, flushed=forgot, error=trouble)

    def _look_after(self, look: request.PassiveReading, asked: request.ProbeRequest) -> request.PassiveReading:
        if look.error or not any(spot.node == self._node and spot.link == look.link for spot in asked.inspect):
            return look
        try:
            with self._entered(look.link) as space:
                return msgspec.structs.replace(look, after=evidence_of(space))
        except (errors.KubemtuError, OSError, LookupError) as error:
            return msgspec.structs.replace(look, error=_gone(look.link, error))

    @contextlib.contextmanager
    def _entered(self, port: str) -> Iterator[int]:
        space = self._places.enter(port)
        try:
            yield space
        finally:
            os.close(space)

    # Ways

    def ways(self, ways: Sequence[request.PathRequest], *, icmp: bool = False) -> list[request.PathResult]:
        """Measure these ways; where no station answers, ICMP echo is tried for those that allow it.

        `icmp`: by ICMP echo alone; raises Forbidden when the kernel does not allow that.
        """
        by_tcp = [self._by_tcp(way) for way in ways if way.tcp_only]
        ways = [way for way in ways if not way.tcp_only]
        if not ways:
            return by_tcp
        found = {} if icmp else self._measure(ways, channel.Channel)
        silent = [way for way in ways if icmp or (way.icmp_fallback and all(map(_unheard, found[way.name])))]
        echoed: dict[str, list[paths.Path]] = {}
        if silent:
            single = [msgspec.structs.replace(way, both_ways=False, flows=1) for way in silent]
            echoed = self._measure(single, echo.EchoChannel, strict=icmp)
        results = by_tcp
        for way in ways:
            heard = any(not _unheard(path) for path in echoed.get(way.name, ()))
            results.append(
                self._result(
                    way, (echoed if icmp or heard else found)[way.name], "ICMP echo" if icmp or heard else "UDP"
                )
            )
        return results

    def _by_tcp(self, way: request.PathRequest) -> request.PathResult:
        """Measure one path by what the TCP at its other end acknowledges."""
        began, sized = time.monotonic(), None
        try:
            with self._entered(way.source.link) as space:
                address = paths.endpoint(paths.Target(address=way.address, port=way.port))
                sized = netns.inside(space, lambda: tcpsize.largest(address))
        except (errors.KubemtuError, OSError, LookupError) as error:
            self._troubles.append(_gone(way.source.link, error))
        found = sized.found if sized is not None else paths.NOTHING
        believed, after = (sized.believed, sized.after) if sized is not None else (0, 0)
        forward = path_verdict.Direction(search=found, path_mtu_before=believed, path_mtu_after=after)
        return request.PathResult(
            path=way.name,
            verdict=path_verdict.judge(forward, expected=way.expected or None),
            protocol="TCP",
            forward=forward,
            duration_seconds=round(time.monotonic() - began, 6),
            packets=found.packets,
            notes=(tcpsize.LIMITS.format(port=way.port),),
        )

    def _measure(
        self, ways: Sequence[request.PathRequest], over: type[channel.Channel], *, strict: bool = False
    ) -> dict[str, list[paths.Path]]:
        """Measure each path, by one socket for each flow; with `strict`, every socket must open."""
        targets: list[paths.Target] = []
        names: list[str] = []
        netns.make_room(2 * sum(way.flows for way in ways))  # a socket and its namespace
        with station.Station(self._key, families=(), over=over, answers=any(way.both_ways for way in ways)) as asking:
            for way in ways:
                family = paths.family(way.address)
                for flow in range(way.flows):
                    via = f"{way.source.link}#{flow}"
                    if (via, family) not in asking.channels:
                        self._stand(asking, via, way.source.link, family, strict=strict)
                    targets.append(
                        paths.Target(
                            address=way.address,
                            port=way.port,
                            via=via,
                            source=self._source(way, family),
                            expected=way.expected or None,
                            enough=way.cap_at_expected,
                            back=way.both_ways and self._key.secret and flow == 0,
                        )
                    )
                    names.append(way.name)
            measured = asking.measure(targets, going_on=self._going_on)
        found: dict[str, list[paths.Path]] = {}
        for name, path in zip(names, measured, strict=True):
            found.setdefault(name, []).append(path)
        return found

    def _source(self, way: request.PathRequest, family: channel.Family) -> str:
        """Return the address that a pod sends from, where one is enough; empty where the kernel must choose."""
        port = (
            self._places.port(way.source.link) if way.cap_at_expected and not way.detailed and way.source.link else None
        )
        found = [one for one in port.addresses if paths.family(one) == family] if port is not None else []
        routed = [one for one in found if not one.lower().startswith("fe80:")]
        return routed[0] if len(routed) == 1 else ""

    def _stand(self, asking: station.Station, via: str, port: str, family: channel.Family, *, strict: bool) -> None:
        try:
            with self._entered(port) as space:
                asking.open(via, space, families=(family,))
        except (errors.KubemtuError, OSError, LookupError) as error:
            if strict:
                raise
            self._troubles.append(_gone(port, error))

    def _result(self, way: request.PathRequest, found: list[paths.Path], over: request.Protocol) -> request.PathResult:
        heard = [path for path in found if not _unheard(path)]
        exact = [path for path in heard if path.forward.search.ending == "exact"]
        first, notes = (exact or heard or found)[0], list[str]()  # of flows that differ in a port one can tell of all
        if 0 < len(heard) < len(found):
            notes.append(_dead(len(found), [path.forward.source_port for path in found if _unheard(path)]))
        forward = paths.direction(first.forward)
        report = found[0].back  # the first flow's end is asked for the other direction
        back = paths.returned(report) if report is not None and _told(report) else None
        if over == "ICMP echo":
            notes.append(echo.LIMITS)
        elif way.detailed and forward.search.ending == "exact":
            forward, back = self._deeper(way, forward, back)
        expected = way.expected or None
        verdict = path_verdict.judge(forward, back, expected=expected)
        if len(found) > 1:
            flows = [paths.direction(path.forward) for path in found]
            together = path_verdict.judge_flows(flows, expected=expected)
            verdict = together if together.kind == "equal paths differ" else verdict
        if not way.detailed and verdict.ok:  # of thousands, nobody reads why
            verdict = path_verdict.Verdict(kind="ok", mtu=verdict.mtu, sentence="", expected=verdict.expected)
        return request.PathResult(
            path=way.name,
            verdict=verdict,
            protocol=over,
            both_ways=back is not None,
            forward=forward if way.detailed else None,
            backward=back if way.detailed else None,
            round_trip_seconds=round(first.forward.rtt, 6),
            duration_seconds=round(max(path.seconds for path in found), 6),
            packets=sum(path.forward.search.packets for path in found),
            notes=tuple(notes),
        )

    def _deeper(
        self, way: request.PathRequest, forward: path_verdict.Direction, back: path_verdict.Direction | None
    ) -> tuple[path_verdict.Direction, path_verdict.Direction | None]:
        with contextlib.suppress(errors.KubemtuError, OSError, LookupError), self._entered(way.source.link) as space:
            return deep.look(way, self._key, space, forward, back)
        return forward, back

    # A round

    def _row(self, asked: request.MeshRequest) -> rounds.MeshRow | None:
        members = asked.members
        mine = next((place for place, one in enumerate(members) if one.node == self._node), None)
        if mine is None:
            return None
        own = members[mine]
        offsets = asked.offsets or range(1, len(members))
        to = [(mine + offset) % len(members) for offset in offsets]
        with station.Station(self._key, families=(), answers=False) as asking:
            try:
                with self._entered(own.link) as space:
                    asking.open("", space, families=(paths.family(own.address),))
            except (errors.KubemtuError, OSError, LookupError) as error:
                return rounds.MeshRow(sender=mine, measured=0, ok=0, error=_gone(own.link, error))
            found = asking.measure(
                [
                    paths.Target(
                        address=members[peer].address,
                        port=asked.port,
                        source=own.address,
                        expected=asked.expected,
                        enough=True,
                    )
                    for peer in to
                ],
                pps=min(asked.packets_per_second or sampling.MOST_PPS, PPS_MOST),
                going_on=self._going_on,
            )
        return row(mine, to, found)


def row(sender: int, to: Sequence[int], found: Sequence[paths.Path]) -> rounds.MeshRow:
    """Report what one member measured, its exceptions in groups of the same end."""
    groups: dict[tuple[path_verdict.Kind, int], list[int]] = {}
    packets, longest, good = 0, 0.0, 0
    for peer, path in zip(to, found, strict=True):
        packets += path.forward.search.packets
        longest = max(longest, path.seconds)
        if path.forward.search.limit == "expected":
            good += 1
            continue
        verdict = paths.judge(path)
        if verdict.ok:
            good += 1
        else:
            groups.setdefault((verdict.kind, verdict.mtu), []).append(peer)
    return rounds.MeshRow(
        sender=sender,
        measured=len(found),
        ok=good,
        duration_seconds=round(longest, 6),
        packets=packets,
        groups=tuple(
            rounds.PeerGroup(kind=kind, mtu=mtu, receivers=tuple(sorted(peers)))
            for (kind, mtu), peers in sorted(groups.items())
        ),
    )


def evidence_of(space: int) -> records.Evidence:
    """Read what the namespace behind a descriptor shows."""
    return gather.within(space, most=CONNECTIONS)


def _unheard(path: paths.Path) -> bool:
    return path.forward.search.ending == "unreachable"


def _dead(flows: int, ports: Sequence[int]) -> str:
    """Say that flows are answered nothing, while others to the same address are."""
    listed = wording.names(map(str, ports), PORTS_MOST)
    return (
        f"{len(ports)} of {flows} flows are answered nothing, of whatever size (source ports {listed}): one of several "
        "equal paths is dead, which is no MTU"
    )


def _told(report: wire.SearchReport) -> bool:
    return report.state not in {"running", "refused"}


def _gone(port: str, error: BaseException) -> str:
    if isinstance(error, LookupError):
        return f"the pod behind {port} is gone"
    return f"{f'the namespace behind {port}' if port else 'the node'}: {error}"

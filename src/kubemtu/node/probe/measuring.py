"""What is done with a request on one node: measure the paths and the mesh that begin there, read what it inspects.

Everything here waits for the network, so an agent runs it on a thread of its own; a bare host runs it for itself. The
node is not changed, except that learned path MTUs are forgotten where the request says so.
"""

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from kubemtu.core import errors, networks
from kubemtu.core.evidence import records
from kubemtu.core.mesh import rounds, sampling
from kubemtu.core.path import verdict as path_verdict
from kubemtu.core.probe import request
from kubemtu.core.text import wording
from kubemtu.node import errors as node_errors
from kubemtu.node.evidence import counters, gather
from kubemtu.node.kernel import netns
from kubemtu.node.probe import channel, deep, echo, paths, station, tcpsize, wire
from kubemtu.node.probe.namespaces import PodNamespaces

CONNECTIONS: Final = 24  # reported of each namespace, besides those in trouble
TROUBLES: Final = 8
PORTS_MOST: Final = 8
FLOWS_MOST: Final = 1024  # of one request, on one node: what it may cost a node, whoever may ask it
PPS_MOST: Final = 5 * sampling.MOST_PPS  # packets a second of a round


class Measuring:
    """One probe request on one node."""

    def __init__(
        self, node: str, namespaces: PodNamespaces, key: wire.Key, *, going_on: Callable[[], bool] | None = None
    ) -> None:
        """Work in the calling thread's namespace, which is the node's own, and in those of its pods.

        What measures raises Stopped soon after `going_on` says no.
        """
        self._going_on = going_on
        self._node = node
        self._namespaces = namespaces
        self._key = key
        self._errors: list[str] = []

    def carry_out(self, probe_request: request.ProbeRequest) -> request.ProbeReport:
        """Measure, and read evidence; what cannot be done is reported in `errors` and not raised. Raises Stopped."""
        readings = {
            link: self._read_before(link, probe_request)
            for link in self._mine((*probe_request.inspect, *probe_request.flush))
        }
        fragments_before = counters.cut().made
        results: tuple[request.PathResult, ...] = ()
        row: rounds.MeshRow | None = None
        try:
            results = tuple(
                self.measure(self._affordable([path for path in probe_request.paths if path.source.node == self._node]))
            )
            row = self._row(probe_request.mesh) if probe_request.mesh is not None else None
        except node_errors.Stopped:
            raise
        except (errors.KubemtuError, OSError, ValueError) as error:
            self._errors.append(f"node {self._node} could not measure: {error}")
        return request.ProbeReport(
            ready=True,
            done=True,
            results=results,
            readings=tuple(self._read_after(reading, probe_request) for reading in readings.values()),
            mesh_row=row,
            fragments_made=max(counters.cut().made - fragments_before, 0),
            errors=tuple(dict.fromkeys(self._errors))[:TROUBLES],
        )

    def _mine(self, namespaces: Iterable[request.Namespace]) -> list[str]:
        return list(dict.fromkeys(namespace.link for namespace in namespaces if namespace.node == self._node))

    def _affordable(self, wanted: list[request.PathRequest]) -> list[request.PathRequest]:
        """Return these paths, or none where they are more than one request may have a node send packets on."""
        flows = sum(max(path.flows, 1) for path in wanted)
        if flows <= FLOWS_MOST:
            return wanted
        self._errors.append(
            f"node {self._node} was asked for {flows} flows at once and measured none of them: one MTUProbe may have a "
            f"node measure {FLOWS_MOST}"
        )
        return []

    # Evidence

    def _read_before(self, link: str, probe_request: request.ProbeRequest) -> request.PassiveReading:
        forget = any(namespace.node == self._node and namespace.link == link for namespace in probe_request.flush)
        flushed, before, problem = 0, None, ""
        try:
            with self._entered(link) as space:
                before = evidence_of(space)
                if forget:
                    flushed = netns.inside(space, functools.partial(gather.flush, self._namespaces.sysctl))
        except (errors.KubemtuError, OSError, LookupError) as error:
            problem = _gone(link, error)
        return request.PassiveReading(link=link, before=before, flushed=flushed, error=problem)

    def _read_after(
        self, reading: request.PassiveReading, probe_request: request.ProbeRequest
    ) -> request.PassiveReading:
        if reading.error or not any(
            namespace.node == self._node and namespace.link == reading.link for namespace in probe_request.inspect
        ):
            return reading
        try:
            with self._entered(reading.link) as space:
                return msgspec.structs.replace(reading, after=evidence_of(space))
        except (errors.KubemtuError, OSError, LookupError) as error:
            return msgspec.structs.replace(reading, error=_gone(reading.link, error))

    @contextlib.contextmanager
    def _entered(self, link: str) -> Iterator[int]:
        space = self._namespaces.enter(link)
        try:
            yield space
        finally:
            os.close(space)

    # Paths

    def measure(self, wanted: Sequence[request.PathRequest], *, icmp: bool = False) -> list[request.PathResult]:
        """Measure these paths; where no station answers, ICMP echo is tried for those that allow it.

        `icmp`: by ICMP echo alone; raises Forbidden when the kernel does not allow that.
        """
        results = [self._by_tcp(path_request) for path_request in wanted if path_request.tcp_only]
        wanted = [path_request for path_request in wanted if not path_request.tcp_only]
        if not wanted:
            return results
        measured = {} if icmp else self._measure(wanted, channel.Channel)
        silent = [
            path_request
            for path_request in wanted
            if icmp or (path_request.icmp_fallback and all(map(_unheard, measured[path_request.name])))
        ]
        echoed: dict[str, list[paths.Path]] = {}
        if silent:
            by_echo = [msgspec.structs.replace(path_request, both_ways=False, flows=1) for path_request in silent]
            echoed = self._measure(by_echo, echo.EchoChannel, strict=icmp)
        for path_request in wanted:
            heard = any(not _unheard(measured_path) for measured_path in echoed.get(path_request.name, ()))
            results.append(
                self._result(
                    path_request,
                    (echoed if icmp or heard else measured)[path_request.name],
                    "ICMP echo" if icmp or heard else "UDP",
                )
            )
        return results

    def _by_tcp(self, path_request: request.PathRequest) -> request.PathResult:
        """Measure one path by what the TCP at its other end acknowledges."""
        began, largest = time.monotonic(), None
        try:
            with self._entered(path_request.source.link) as space:
                address = paths.endpoint(paths.Target(address=path_request.address, port=path_request.port))
                largest = netns.inside(space, lambda: tcpsize.largest(address))
        except (errors.KubemtuError, OSError, LookupError) as error:
            self._errors.append(_gone(path_request.source.link, error))
        searched = largest.search if largest is not None else paths.NOTHING
        before, after = (largest.path_mtu_before, largest.path_mtu_after) if largest is not None else (0, 0)
        forward = path_verdict.Direction(search=searched, path_mtu_before=before, path_mtu_after=after)
        return request.PathResult(
            path=path_request.name,
            verdict=path_verdict.judge(forward, expected=path_request.expected or None),
            protocol="TCP",
            forward=forward,
            duration_seconds=round(time.monotonic() - began, 6),
            packets=searched.packets,
            notes=(tcpsize.LIMITS.format(port=path_request.port),),
        )

    def _measure(
        self, wanted: Sequence[request.PathRequest], channel_type: type[channel.Channel], *, strict: bool = False
    ) -> dict[str, list[paths.Path]]:
        """Measure each path, by one socket for each flow; with `strict`, every socket must open."""
        targets: list[paths.Target] = []
        names: list[str] = []
        netns.make_room(2 * sum(path_request.flows for path_request in wanted))  # a socket and its namespace
        with station.Station(
            self._key, families=(), over=channel_type, answers=any(path_request.both_ways for path_request in wanted)
        ) as prober:
            for path_request in wanted:
                family = networks.family(path_request.address)
                for flow in range(path_request.flows):
                    via = f"{path_request.source.link}#{flow}"
                    if (via, family) not in prober.channels:
                        self._stand(prober, via, path_request.source.link, family, strict=strict)
                    targets.append(
                        paths.Target(
                            address=path_request.address,
                            port=path_request.port,
                            via=via,
                            source=self._source(path_request, family),
                            expected=path_request.expected or None,
                            enough=path_request.cap_at_expected,
                            both_ways=path_request.both_ways and self._key.secret and flow == 0,
                        )
                    )
                    names.append(path_request.name)
            measured = prober.measure(targets, going_on=self._going_on)
        by_name: dict[str, list[paths.Path]] = {}
        for name, path in zip(names, measured, strict=True):
            by_name.setdefault(name, []).append(path)
        return by_name

    def _source(self, path_request: request.PathRequest, family: channel.Family) -> str:
        """Return the address that a pod sends from, where one is enough; empty where the kernel must choose."""
        port = (
            self._namespaces.port(path_request.source.link)
            if path_request.cap_at_expected and not path_request.detailed and path_request.source.link
            else None
        )
        addresses = (
            [address for address in port.addresses if networks.family(address) == family] if port is not None else []
        )
        routed = [address for address in addresses if networks.beyond_link(address)]
        return routed[0] if len(routed) == 1 else ""

    def _stand(self, prober: station.Station, via: str, link: str, family: channel.Family, *, strict: bool) -> None:
        try:
            with self._entered(link) as space:
                prober.open(via, space, families=(family,))
        except (errors.KubemtuError, OSError, LookupError) as error:
            if strict:
                raise
            self._errors.append(_gone(link, error))

    def _result(
        self, path_request: request.PathRequest, measured: list[paths.Path], protocol: request.Protocol
    ) -> request.PathResult:
        heard = [path for path in measured if not _unheard(path)]
        exact = [path for path in heard if path.forward.search.ending == "exact"]
        first, notes = (
            (exact or heard or measured)[0],
            list[str](),
        )  # of flows that differ in a port one can tell of all
        if 0 < len(heard) < len(measured):
            notes.append(_dead(len(measured), [path.forward.source_port for path in measured if _unheard(path)]))
        forward = paths.direction(first.forward)
        reported_back = measured[0].backward  # the first flow's end is asked for the other direction
        backward = paths.returned(reported_back) if reported_back is not None and _told(reported_back) else None
        if protocol == "ICMP echo":
            notes.append(echo.LIMITS)
        elif path_request.detailed and forward.search.ending == "exact":
            forward, backward = self._deeper(path_request, forward, backward)
        expected = path_request.expected or None
        verdict = path_verdict.judge(forward, backward, expected=expected)
        if len(measured) > 1:
            flows = [paths.direction(path.forward) for path in measured]
            all_flows = path_verdict.judge_flows(flows, expected=expected)
            verdict = all_flows if all_flows.kind == "equal paths differ" else verdict
        if not path_request.detailed and verdict.ok:  # of thousands, nobody reads why
            verdict = path_verdict.Verdict(kind="ok", mtu=verdict.mtu, sentence="", expected=verdict.expected)
        return request.PathResult(
            path=path_request.name,
            verdict=verdict,
            protocol=protocol,
            both_ways=backward is not None,
            forward=forward if path_request.detailed else None,
            backward=backward if path_request.detailed else None,
            round_trip_seconds=round(first.forward.rtt, 6),
            duration_seconds=round(max(path.seconds for path in measured), 6),
            packets=sum(path.forward.search.packets for path in measured),
            notes=tuple(notes),
        )

    def _deeper(
        self,
        path_request: request.PathRequest,
        forward: path_verdict.Direction,
        backward: path_verdict.Direction | None,
    ) -> tuple[path_verdict.Direction, path_verdict.Direction | None]:
        with (
            contextlib.suppress(errors.KubemtuError, OSError, LookupError),
            self._entered(path_request.source.link) as space,
        ):
            return deep.look(path_request, self._key, space, forward, backward)
        return forward, backward

    # A round of a mesh

    def _row(self, mesh_request: request.MeshRequest) -> rounds.MeshRow | None:
        members = mesh_request.members
        mine = next((index for index, member in enumerate(members) if member.node == self._node), None)
        if mine is None:
            return None
        own = members[mine]
        offsets = mesh_request.offsets or range(1, len(members))
        peers = [(mine + offset) % len(members) for offset in offsets]
        with station.Station(self._key, families=(), answers=False) as prober:
            try:
                with self._entered(own.link) as space:
                    prober.open("", space, families=(networks.family(own.address),))
            except (errors.KubemtuError, OSError, LookupError) as error:
                return rounds.MeshRow(sender=mine, measured=0, ok=0, error=_gone(own.link, error))
            measured = prober.measure(
                [
                    paths.Target(
                        address=members[peer].address,
                        port=mesh_request.port,
                        source=own.address,
                        expected=mesh_request.expected,
                        enough=True,
                    )
                    for peer in peers
                ],
                pps=min(mesh_request.packets_per_second or sampling.MOST_PPS, PPS_MOST),
                going_on=self._going_on,
            )
        return row(mine, peers, measured)


def row(sender: int, receivers: Sequence[int], measured: Sequence[paths.Path]) -> rounds.MeshRow:
    """Report what one member measured, its exceptions in groups of the same end."""
    groups: dict[tuple[path_verdict.Kind, int], list[int]] = {}
    packets, longest, good = 0, 0.0, 0
    for peer, path in zip(receivers, measured, strict=True):
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
        measured=len(measured),
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
    named = wording.names(map(str, ports), PORTS_MOST)
    return (
        f"{len(ports)} of {flows} flows are answered nothing, of whatever size (source ports {named}): one of several "
        "equal paths is dead, which is no MTU"
    )


def _told(report: wire.SearchReport) -> bool:
    return report.state not in {"running", "refused"}


def _gone(link: str, error: BaseException) -> str:
    if isinstance(error, LookupError):
        return f"the pod behind {link} is gone"
    return f"{f'the namespace behind {link}' if link else 'the node'}: {error}"

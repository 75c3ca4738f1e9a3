"""Measure pairs of ends from where the agents stand, look at both ends, and say of each whether it is the MTU."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from kubemtu.core.evidence import records
from kubemtu.core.net import VLAN_SLACK
from kubemtu.core.path.verdict import UNDECIDED
from kubemtu.core.probe import request
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.why import endpoints, legs, passive
from kubemtu.core.why.case import Diagnosis, both_families
from kubemtu.core.why.diagnosis import diagnose
from kubemtu.core.why.directions import Leg, backward_view, forward_view
from kubemtu.core.why.endpoints import Endpoint
from kubemtu.core.why.legs import EndpointPair
from kubemtu.flows import network
from kubemtu.flows.agents import deadlines

AGAIN = 4  # times that what one direction does not tell is asked again
WATCH = 15.0  # seconds to look at connections that hang and are not answered: they send again meanwhile
WATCH_EVERY = 2.5


class PairMeasurement:
    """Measure some pairs of ends, and keep what the agents report of them.

    `flush`: both ends forget every path MTU that they have learned, first.
    """

    def __init__(self, asking: deadlines.BestEffortClient, snapshot: Snapshot, *, flush: bool) -> None:
        self._asking = asking
        self._snapshot = snapshot
        self._network = network.seen(snapshot)
        self._flush = flush
        self._reports: dict[str, request.ProbeReport] = {}
        self._results: dict[str, request.PathResult] = {}
        self._missing: list[str] = []
        self._first_states: dict[tuple[str, str], records.Evidence | None] = {}

    @property
    def errors(self) -> tuple[str, ...]:
        """What could not be done, a sentence each."""
        sentences = [sentence for report in self._reports.values() for sentence in report.errors]
        sentences += [
            reading.error for report in self._reports.values() for reading in report.readings if reading.error
        ]
        return tuple(dict.fromkeys(self._by_pod(sentence) for sentence in (*self._missing, *sentences)))

    @property
    def _flushed(self) -> bool:
        """Return whether both ends, and their nodes, have been made to forget what they had learned."""
        return self._flush and not any(
            reading.error for report in self._reports.values() for reading in report.readings
        )

    def _by_pod(self, sentence: str) -> str:
        """Name the pod in a sentence of an agent, which knows only its link."""
        for observation in self._snapshot.nodes:
            for port in observation.ports:
                if f"behind {port.host_link}" in sentence and port.addresses:
                    end = endpoints.holder(port.addresses[0], self._snapshot)
                    return sentence.replace(f"the pod behind {port.host_link}", f"pod {end.name}")
        return sentence

    async def diagnoses(self, pairs: Sequence[EndpointPair]) -> list[Diagnosis]:
        """Answer for these pairs; those of which nothing came are left out."""
        namespaces = legs.inspected(pairs)
        async with self._answering([pair.destination for pair in pairs]):
            requests = tuple(path for pair in pairs for _, path in pair.requests)
            flushed = tuple(namespaces) if self._flush else ()
            self._keep(
                await self._asking.ask(request.ProbeRequest(paths=requests, inspect=tuple(namespaces), flush=flushed))
            )
            await self._ask_again(requests)
        return await self._watch(await self._by_tcp(await self._with_returns(pairs)))

    async def _ask_again(self, requests: Sequence[request.PathRequest]) -> None:
        """Ask once more, by one flow, for paths that are not known in each direction that was asked for.

        A busy node loses packets of its own, and one direction that is not known would let another part be blamed. What
        ends twice in the same way is so.
        """
        due = [
            msgspec.structs.replace(path, flows=1)
            for path in requests
            if legs.incomplete(path, self._results.get(path.name))
        ]
        for _ in range(AGAIN):
            due = [path for path in due if path.source.node not in self._asking.late]
            if not due:
                break
            before = {path.name: self._results[path.name] for path in due}
            reports = await self._asking.ask(request.ProbeRequest(paths=tuple(due)))
            fresh = {result.path: result for report in reports.values() for result in report.results}
            self._results |= {name: legs.fuller(old, fresh.get(name, old)) for name, old in before.items()}
            due = [
                path
                for path in due
                if legs.incomplete(path, self._results[path.name])
                and legs.endings(fresh.get(path.name)) != legs.endings(before[path.name])
            ]

    @contextlib.asynccontextmanager
    async def _answering(self, ends: Sequence[Endpoint]) -> AsyncIterator[None]:
        async with self._asking.responding(legs.responders(ends)) as missing:
            self._missing += missing
            yield

    def _keep(self, reports: Mapping[str, request.ProbeReport]) -> None:
        """Keep what is reported: results add up; later readings are compared with the end of the first one.

        By then what hangs has been sent again, which it may not have been at its beginning.
        """
        for node, report in reports.items():
            self._results |= {result.path: result for result in report.results}
            earlier = self._reports.get(node)
            if earlier is None:
                self._reports[node] = report
                continue
            first_readings = {reading.link: reading for reading in earlier.readings}
            readings = tuple(
                self._since_first(node, first_readings[reading.link], reading)
                for reading in report.readings
                if reading.link in first_readings
            )
            troubles = (*earlier.errors, *report.errors)
            self._reports[node] = msgspec.structs.replace(
                report, readings=readings or earlier.readings, errors=troubles
            )

    def _since_first(
        self, node: str, old: request.PassiveReading, new: request.PassiveReading
    ) -> request.PassiveReading:
        before = self._first_states.setdefault((node, new.link), old.after)
        return msgspec.structs.replace(new, before=before, flushed=old.flushed)

    async def _with_returns(self, pairs: Sequence[EndpointPair]) -> list[EndpointPair]:
        """Ask the other ends as well where nothing came back, or only echoes."""
        due = [
            pair
            for pair in pairs
            if self._worth_asking_back(pair) and pair.destination.agent_node not in self._asking.late
        ]
        if not due:
            return list(pairs)
        extended = {
            id(pair): msgspec.structs.replace(pair, requests=(*pair.requests, legs.return_request(pair)))
            for pair in due
        }
        async with self._answering([pair.source for pair in due]):
            requests = tuple(pair.requests[-1][1] for pair in extended.values())
            self._keep(await self._asking.ask(request.ProbeRequest(paths=requests)))
        return [extended.get(id(pair), pair) for pair in pairs]

    async def _by_tcp(self, pairs: Sequence[EndpointPair]) -> list[EndpointPair]:
        """Ask the TCP of hosts outside that answer nothing else, at a port that was named or that is in use."""
        due = {}
        for pair in pairs:
            result = self._results.get(pair.requests[0][1].name)
            silent = result is not None and result.verdict.kind in UNDECIDED
            if silent and (tcp_pair := legs.by_tcp(pair, self._reports)) is not None:
                due[id(pair)] = tcp_pair
        if due:
            self._keep(
                await self._asking.ask(request.ProbeRequest(paths=tuple(pair.requests[0][1] for pair in due.values())))
            )
        answered = {name for name, result in self._results.items() if result.verdict.kind not in UNDECIDED}
        return [
            due[id(pair)] if id(pair) in due and due[id(pair)].requests[0][1].name in answered else pair
            for pair in pairs
        ]

    def _worth_asking_back(self, pair: EndpointPair) -> bool:
        """Return whether the other end could tell more than was measured from here."""
        role, path = pair.requests[0]
        result = self._results.get(path.name)
        if result is None or not pair.destination.has_agent or role != "whole":
            return False
        return result.protocol != "UDP" or result.verdict.kind == "unreachable"

    def _diagnose(self, pair: EndpointPair) -> Diagnosis | None:
        measured_legs = tuple(
            pair.leg(role, path, self._results[path.name]) for role, path in pair.requests if path.name in self._results
        )
        if not any(leg.role in {"whole", "service"} for leg in measured_legs):
            return None
        symptoms = passive.symptoms_between(pair, self._reports, self._snapshot, _measured(pair, measured_legs))
        source, destination = (self._with_tunnel_room(end) for end in (pair.source, pair.destination))
        return diagnose(
            source,
            destination,
            measured_legs,
            symptoms,
            family=pair.family,
            flushed=self._flushed,
            network=self._network,
        )

    def _with_tunnel_room(self, end: Endpoint) -> Endpoint:
        """Add to an end what the NIC of its node leaves for the tunnel, where the tunnel takes more than that."""
        nodes = self._network.nodes if self._network is not None else ()
        node = next((candidate for candidate in nodes if candidate.name == end.node), None)
        if node is None or node.tunnel is None or node.fits is None or node.tunnel.mtu <= node.fits:
            return end
        return msgspec.structs.replace(end, tunnel_room=node.fits)

    async def _watch(self, pairs: Sequence[EndpointPair]) -> list[Diagnosis]:
        """Look on for a while where nobody answers and a connection hangs: what it sends again proves what it is."""
        deadline = time.monotonic() + WATCH
        diagnoses = self._diagnose_all(pairs)
        while (
            any(diagnosis.is_mtu == "unknown" and diagnosis.location for diagnosis in diagnoses)
            and time.monotonic() < deadline
        ):
            await asyncio.sleep(WATCH_EVERY)
            self._keep(await self._asking.ask(request.ProbeRequest(inspect=tuple(legs.inspected(pairs)))))
            diagnoses = self._diagnose_all(pairs)
        return diagnoses

    def _diagnose_all(self, pairs: Sequence[EndpointPair]) -> list[Diagnosis]:
        """Answer for each pair of ends; where both families of two ends are in order, they become one answer."""
        diagnoses: list[Diagnosis] = []
        for pair in pairs:
            diagnosis = self._diagnose(pair)
            if diagnosis is None:
                continue
            if diagnoses and (both := both_families(diagnoses[-1], diagnosis)) is not None:
                diagnoses[-1] = both
            else:
                diagnoses.append(diagnosis)
        return diagnoses


def _measured(pair: EndpointPair, legs: Sequence[Leg]) -> dict[str, int]:
    """Return the sizes that arrive at both ends, by address; a veth takes four bytes more than its MTU."""
    sizes: dict[str, int] = {}
    for view in (
        forward_view(pair.source, pair.destination, legs),
        backward_view(pair.source, pair.destination, legs),
    ):
        size = view.verdict.mtu if view is not None else 0
        if view is None or not size:
            continue
        mtus = [mtu for mtu in (view.destination.mtu, view.destination.host_mtu) if mtu <= size <= mtu + VLAN_SLACK]
        sizes |= dict.fromkeys(view.destination.addresses, min((*mtus, size)))
    return sizes

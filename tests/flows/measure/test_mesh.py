"""A round over many members, with a network made of a rule: who is asked for what, and what is said of it."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import msgspec
import pytest
from tests.support.paths import carrying, verdict

from kubemtu.core import errors, net
from kubemtu.core.mesh import rounds
from kubemtu.core.objects import Object
from kubemtu.core.path import verdict as path_verdict
from kubemtu.core.probe import request
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows.agents import asking
from kubemtu.flows.measure import mesh as flow

Carries = Callable[[str, str], int]
"""The largest packet from one address to another; 0: nothing is answered."""


class Network(asking.ProbeClient):
    """Answers orders by a rule, all members at once and in no time; those of `dead` nodes do not tell."""

    def __init__(self, carries: Carries, *, dead: Sequence[str] = (), cut: int = 0) -> None:
        self._carries = carries
        self._dead = dead
        self._cut = cut
        self.asked: list[request.ProbeRequest] = []

    async def ask(
        self, asked: request.ProbeRequest, on_reports: asking.OnReports | None = None
    ) -> dict[str, request.ProbeReport]:
        self.asked.append(asked)
        return {
            node: request.ProbeReport(
                done=True,
                mesh_row=self._row(node, asked.mesh),
                results=self._results(node, asked),
                fragments_made=self._cut,
            )
            for node in request.nodes(asked)
            if node not in self._dead
        }

    @contextlib.asynccontextmanager
    async def responding(self, spots: Iterable[request.Namespace]) -> AsyncIterator[tuple[str, ...]]:
        yield ()

    def _results(self, node: str, asked: request.ProbeRequest) -> tuple[request.PathResult, ...]:
        here = {place.node: place.address for place in self.asked[0].mesh.members} if self.asked[0].mesh else {}
        return tuple(
            request.PathResult(
                path=way.name,
                verdict=verdict(self._carries(here[node], way.address), way.expected),
                forward=carrying(self._carries(here[node], way.address), way.expected) if way.detailed else None,
                backward=carrying(self._carries(way.address, here[node]), way.expected) if way.both_ways else None,
            )
            for way in asked.paths
            if way.source.node == node
        )

    def _row(self, node: str, round_: request.MeshRequest | None) -> rounds.MeshRow | None:
        if round_ is None:
            return None
        mine = next(number for number, place in enumerate(round_.members) if place.node == node)
        peers = [(mine + offset) % len(round_.members) for offset in round_.offsets or range(1, len(round_.members))]
        groups: dict[tuple[path_verdict.Kind, int], list[int]] = {}
        for peer in sorted(peers):
            carried = self._carries(round_.members[mine].address, round_.members[peer].address)
            if carried < round_.expected:
                groups.setdefault(("black hole" if carried else "unreachable", carried), []).append(peer)
        listed = tuple(rounds.PeerGroup(kind=kind, mtu=mtu, receivers=tuple(to)) for (kind, mtu), to in groups.items())
        return rounds.MeshRow(
            sender=mine,
            measured=len(peers),
            ok=len(peers) - sum(len(group.receivers) for group in listed),
            packets=len(peers),
            groups=listed,
        )


def address(number: int) -> str:
    return f"192.0.{number // 250}.{number % 250 + 1}"


def cluster(count: int, *, nic: Callable[[int], int] = lambda _: 1500, silent: Sequence[int] = ()) -> Snapshot:
    """Nodes n0000, n0001, ... without pods; those that are `silent` have no agent."""
    names = [f"n{number:04}" for number in range(count)]
    nodes = tuple(
        Object.of(
            {
                "kind": "Node",
                "metadata": {"name": name},
                "status": {"addresses": [{"type": "InternalIP", "address": address(number)}]},
            }
        )
        for number, name in enumerate(names)
    )
    seen = tuple(
        net.NodeObservation(node=name, uplinks=(net.Uplink(peer="192.0.2.1", device="eth0", mtu=nic(number)),))
        for number, name in enumerate(names)
        if number not in silent
    )
    return Snapshot(source="a test", objects=nodes, nodes=seen)


async def test_above_a_thousand_nodes_each_measures_a_few_and_one_bad_node_is_still_found() -> None:
    network = Network(lambda _, to: 1400 if to == address(100) else 1500)
    report = await flow.measure(network, cluster(1200), layers=("nodes",))
    (layer,) = report.layers
    first = network.asked[0].mesh
    assert first is not None
    assert (len(first.members), len(first.offsets), layer.plan.peers_per_member) == (1200, 24, 24)
    assert layer.summary.planned == 1200 * 24
    (fault,) = layer.faults
    assert (fault.where, fault.members, fault.mtu, fault.confidence) == ("receives", ("n0100",), 1400, "certain")
    assert fault.advice.endswith("Until then `kubemtu plan --nic-mtu 1400` shows the pod MTU that fits.")
    assert layer.plan.sentence == (
        "1,200 nodes: 24 of 1,199 peers each; a node that receives too little is found with probability 1 - 1e-24, one "
        "broken pair only with 2.0 % (all pairs after 50 rounds)"
    )
    assert not report.ok


async def test_every_round_measures_others() -> None:
    taken = []
    for number in (0, 1):
        network = Network(lambda _, __: 1500)
        assert (await flow.measure(network, cluster(1200), layers=("nodes",), round_number=number)).ok
        assert network.asked[0].mesh is not None
        taken.append(frozenset(network.asked[0].mesh.offsets))
    assert taken[0].isdisjoint(taken[1])


async def test_up_to_a_thousand_everybody_measures_everybody() -> None:
    network = Network(lambda _, __: 1500)
    report = await flow.measure(network, cluster(40), layers=("nodes",))
    assert report.layers[0].summary.measured == 40 * 39
    assert network.asked[0].mesh is not None
    assert network.asked[0].mesh.offsets == ()
    assert len(network.asked) == 1  # what is in order is not asked twice


async def test_a_pair_is_measured_once_more_by_several_flows() -> None:
    ends = {address(1), address(2)}
    network = Network(lambda here, to: 1400 if {here, to} == ends else 1500)
    report = await flow.measure(network, cluster(6), layers=("nodes",))
    assert {(way.name, way.flows) for way in network.asked[1].paths} == {("1>2", 20), ("2>1", 20)}
    (fault,) = report.layers[0].faults
    assert (fault.where, fault.members, fault.others, fault.both_directions) == ("pair", ("n0001",), ("n0002",), True)


async def test_a_dead_node_is_named_and_the_others_are_judged() -> None:
    network = Network(lambda here, to: 0 if address(2) in {here, to} else 1500, dead=("n0002",))
    report = await flow.measure(network, cluster(6), layers=("nodes",))
    (layer,) = report.layers
    assert (layer.summary.reported, layer.summary.ok) == (5, 20)
    assert [(fault.where, fault.members) for fault in layer.faults] == [("node down", ("n0002",))]


async def test_what_all_interfaces_have_is_expected_and_what_some_have_is_said() -> None:
    network = Network(lambda _, __: 1400)
    report = await flow.measure(
        network, cluster(4, nic=lambda number: (1400, 1500, 9000, 1500)[number]), layers=("nodes",)
    )
    assert (report.ok, report.layers[0].expected) == (True, 1400)
    (note,) = report.notes
    assert note == (
        "nodes: their interfaces have 1400, 1500 and 9000, so 1400 was expected, which all have; --expected 9000 shows "
        "who takes more"
    )


async def test_what_is_asked_for_is_expected_instead() -> None:
    report = await flow.measure(Network(lambda _, __: 1500), cluster(4), layers=("nodes",), expected=9000)
    assert (report.ok, report.layers[0].expected, report.notes) == (False, 9000, ())


async def test_a_node_that_does_not_report_is_measured_by_the_others_and_nothing_is_called_right() -> None:
    network = Network(lambda _, __: 1500, dead=("n0003",))
    report = await flow.measure(network, cluster(4, silent=(3,)), layers=("nodes",))
    (layer,) = report.layers
    assert (report.ok, layer.ok, layer.unseen, report.unmeasured_nodes) == (False, False, True, ("n0003",))
    assert (layer.summary.members, layer.summary.reported, layer.summary.measured, layer.summary.ok) == (4, 3, 12, 12)
    assert [(fault.where, fault.kind, fault.members) for fault in layer.faults] == [("prober silent", None, ("n0003",))]
    assert layer.faults[0].sentence == (
        "n0003 reported nothing in this round: what it and the others send each other was measured by the others"
    )


@pytest.mark.parametrize(
    ("carries", "where", "mtu"),
    [
        (lambda here, to: 1400 if address(3) in {here, to} else 1500, "link", 1400),
        (lambda here, to: 1400 if here == address(3) else 1500, "sends", 1400),
        (lambda here, to: 1400 if to == address(3) else 1500, "receives", 1400),
    ],
)
@pytest.mark.parametrize("count", [3, 12])
async def test_the_verdict_on_a_silent_node_is_as_certain_as_on_any(
    carries: Carries, where: str, mtu: int, count: int
) -> None:
    """Whether its agent has been silent for long, or has not told in time for the first time."""
    number = min(3, count - 1)

    def moved(here: str, to: str) -> int:
        swap = {address(number): address(3), address(3): address(number)}
        return carries(swap.get(here, here), swap.get(to, to))

    name = f"n{number:04}"
    for silent in ((number,), ()):
        network = Network(moved, dead=(name,))
        report = await flow.measure(network, cluster(count, silent=silent), layers=("nodes",))
        fault, unheard = report.layers[0].faults
        assert (fault.where, fault.members, fault.mtu, fault.confidence) == (where, (name,), mtu, "certain")
        assert (unheard.where, report.layers[0].unseen, report.ok) == ("prober silent", False, False)


async def test_two_silent_nodes_are_not_told_about_each_other() -> None:
    network = Network(lambda _, __: 1500, dead=("n0002", "n0003"))
    report = await flow.measure(network, cluster(5, silent=(2, 3)), layers=("nodes",))
    (layer,) = report.layers
    assert (report.unmeasured_nodes, layer.summary.measured) == (("n0002", "n0003"), 18)
    assert rounds.cell(layer.mesh, 2, 3) is None
    assert rounds.cell(layer.mesh, 2, 4) == ("ok", 1500)


async def test_above_a_thousand_nodes_a_few_neighbours_measure_a_silent_one() -> None:
    network = Network(lambda here, to: 1400 if here == address(7) else 1500, dead=("n0007",))
    report = await flow.measure(network, cluster(1200, silent=(7,)), layers=("nodes",))
    assert len({way.source.node for way in network.asked[1].paths}) == 24
    assert [(fault.where, fault.members) for fault in report.layers[0].faults] == [
        ("sends", ("n0007",)),
        ("prober silent", ("n0007",)),
    ]


async def test_without_two_agents_there_is_nothing_to_measure() -> None:
    with pytest.raises(errors.Unreachable) as refused:
        await flow.measure(Network(lambda _, __: 1500), cluster(2, silent=(0, 1)))
    assert str(refused.value) == (
        "there are no two nodes or pods to measure between: install what measures with `kubemtu "
        "install` (no agent tells of node n0000 and n0001: not measured)"
    )


async def test_a_layer_that_is_not_there_is_never_called_right() -> None:
    """Nodes that carry all, and no probe pod anywhere: half of what was asked for is not known."""
    report = await flow.measure(Network(lambda _, __: 1500), cluster(3))
    assert [layer.ok for layer in report.layers] == [True]
    assert (report.ok, report.absent_layers, report.unmeasured_nodes) == (False, ("pods",), ())
    assert report.lines()[1].startswith("pods: not measured, for no two nodes have a probe pod: `kubemtu install`")
    only = await flow.measure(Network(lambda _, __: 1500), cluster(3), layers=("nodes",))
    assert (only.ok, only.absent_layers) == (True, ())
    with pytest.raises(errors.Unreachable):
        await flow.measure(Network(lambda _, __: 1500), cluster(3), layers=("pods",))


async def test_a_node_without_an_address_of_its_own_is_named() -> None:
    there = cluster(4)
    bare = Object.of({"kind": "Node", "metadata": {"name": "n0003"}, "status": {}})
    report = await flow.measure(
        Network(lambda _, __: 1500),
        msgspec.structs.replace(there, objects=(*there.objects[:3], bare)),
        layers=("nodes",),
    )
    assert (report.ok, report.unmeasured_nodes) == (False, ("n0003",))
    assert report.notes == ("node n0003 has no InternalIP: nothing was measured between it and the others",)


async def test_a_rate_is_handed_on_and_one_that_takes_too_long_is_refused() -> None:
    network = Network(lambda _, __: 1500)
    await flow.measure(network, cluster(1000), layers=("nodes",), pps=50)
    assert network.asked[0].mesh is not None
    assert network.asked[0].mesh.packets_per_second == 50
    assert network.asked[0].timeout_seconds > 999 * 4 / 50
    with pytest.raises(errors.UsageError) as refused:
        await flow.measure(network, cluster(1000), layers=("nodes",), pps=10)
    assert str(refused.value) == (
        "at 10 packets a second from each node a round takes 400 s, and 300 s can be waited for: --max-pps 14 or more"
    )


async def test_tunnels_that_cut_are_named() -> None:
    report = await flow.measure(Network(lambda _, __: 1500, cut=12), cluster(4), layers=("nodes",))
    assert (report.ok, report.layers[0].fragmenting_nodes) == (False, ("n0000", "n0001", "n0002", "n0003"))


async def test_how_far_it_is_is_told() -> None:
    told: list[str] = []
    await flow.measure(Network(lambda _, __: 1500), cluster(4), layers=("nodes",), tell=told.append)
    assert told[0] == "nodes: 4 measure 3 peers each"

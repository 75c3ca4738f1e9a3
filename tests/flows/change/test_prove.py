"""Measuring: what is asked, what the answers prove, what is said of it; with networks made of rules."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.paths import verdict

from kubemtu.core import errors, net
from kubemtu.core.change import plan
from kubemtu.core.mesh import rounds
from kubemtu.core.objects import Object
from kubemtu.core.path import verdict as path_verdict
from kubemtu.core.probe import proof, request
from kubemtu.core.snapshot import Snapshot, Unread
from kubemtu.flows.agents import asking, events, retry
from kubemtu.flows.change import messages, preconditions, prove, targets, underlay
from kubemtu.kube import errors as kube_errors

Carries = Callable[[str, str], int]
"""The largest packet from a node, or from a pod by its host-side link, to an address; 0: nothing is answered."""


class Network(asking.ProbeClient):
    """Answers orders by a rule; remembers what was asked, and which pods were to answer."""

    def __init__(self, carries: Carries) -> None:
        self._carries = carries
        self.asked: list[request.ProbeRequest] = []
        self.answered: list[frozenset[request.Namespace]] = []

    async def ask(
        self, asked: request.ProbeRequest, on_reports: asking.OnReports | None = None
    ) -> dict[str, request.ProbeReport]:
        self.asked.append(asked)
        return {
            node: request.ProbeReport(
                ready=True, done=True, results=self._results(node, asked), mesh_row=self._row(node, asked)
            )
            for node in request.nodes(asked)
        }

    @contextlib.asynccontextmanager
    async def responding(self, spots: Iterable[request.Namespace]) -> AsyncIterator[tuple[str, ...]]:
        self.answered.append(frozenset(spots))
        yield ()

    def _results(self, node: str, asked: request.ProbeRequest) -> tuple[request.PathResult, ...]:
        return tuple(
            request.PathResult(
                path=way.name, verdict=verdict(self._carries(way.source.link or node, way.address), way.expected)
            )
            for way in asked.paths
            if way.source.node == node
        )

    def _row(self, node: str, asked: request.ProbeRequest) -> rounds.MeshRow | None:
        if asked.mesh is None:
            return None
        members, size = asked.mesh.members, asked.mesh.expected
        mine = [place.node for place in members].index(node)
        offsets = asked.mesh.offsets or range(1, len(members))
        groups: dict[tuple[path_verdict.Kind, int], list[int]] = {}
        for peer in sorted((mine + offset) % len(members) for offset in offsets):
            found = verdict(self._carries(node, members[peer].address), size)
            groups.setdefault((found.kind, found.mtu), []).append(peer)
        good = groups.pop(("ok", size), [])
        return rounds.MeshRow(
            sender=mine,
            measured=len(offsets),
            ok=len(good),
            groups=tuple(
                rounds.PeerGroup(kind=kind, mtu=mtu, receivers=tuple(to)) for (kind, mtu), to in groups.items()
            ),
        )


def addresses(count: int) -> dict[str, str]:
    return {f"n{number}": f"192.0.2.{number}" for number in range(1, count + 1)}


# The fabric


async def test_a_network_that_carries_it_is_asked_once() -> None:
    network = Network(lambda _here, _to: 1500)
    found = await underlay.survey(network.ask, addresses(3), ["n1", "n2", "n3"], 1500)
    assert (found.proof.verdict, found.proof.arrived, found.carried) == ("held", 6, None)
    (asked,) = network.asked
    assert asked.mesh is not None
    assert [(place.node, place.address) for place in asked.mesh.members] == [
        ("n1", "192.0.2.1"),
        ("n2", "192.0.2.2"),
        ("n3", "192.0.2.3"),
    ]
    assert asked.mesh.expected == 1500


async def test_the_largest_packet_over_the_worst_way_is_found() -> None:
    limits = {"192.0.2.2": 1458, "192.0.2.3": 1400}
    network = Network(lambda _here, to: limits.get(to, 9000))
    found = await underlay.survey(network.ask, addresses(3), ["n1", "n2", "n3"], 1500)
    assert (found.proof.verdict, found.proof.arrived, found.proof.probes, found.carried) == ("refuted", 2, 6, 1400)
    assert underlay.sentence(found, 1500, 1450) == (
        "n1 > n3: 1400 bytes arrive, and everything larger, up to 1500, vanishes without a word: connections hang once "
        "they send full-size packets (3 other ways like it); 1400 bytes leave 1350 for pods"
    )
    assert underlay.remedy(found, 1500, 1450, ipv6=True) == "apply --mtu 1350 or less, or correct the network"
    assert {way.name for way in network.asked[1].paths} == {"n1 > n2", "n1 > n3", "n2 > n3", "n3 > n2"}
    assert {way.source.link for way in network.asked[1].paths} == {""}


async def test_nodes_that_answer_nothing_leave_it_open() -> None:
    network = Network(lambda _here, _to: 0)
    found = await underlay.survey(network.ask, addresses(2), ["n1", "n2"], 9000)
    assert (found.proof.verdict, found.carried) == ("undecided", None)
    assert found.proof.unanswered == ("n1 > n2", "n2 > n1")
    assert underlay.unknown(found) == (
        "nothing of any size is answered, or too little (n1 > n2, and 1 other way like it)"
    )
    assert all(way.icmp_fallback for way in network.asked[1].paths)  # asked once more, so that ICMP echo is tried


async def test_one_mute_node_does_not_hide_a_black_hole() -> None:
    network = Network(lambda here, to: 0 if here == "n3" or to == "192.0.2.3" else 1400)
    found = await underlay.survey(network.ask, addresses(3), ["n1", "n2", "n3"], 1500)
    assert (found.proof.verdict, found.carried) == ("refuted", 1400)
    assert len(found.proof.against) == 2
    assert len(found.proof.unanswered) == 4


@pytest.mark.parametrize(
    ("carried", "ipv6", "remedy"),
    [
        (626, False, "apply --mtu 576 or less, or correct the network"),
        (625, False, "correct the network"),
        (1330, True, "apply --mtu 1280 or less, or correct the network"),
        (1329, True, "correct the network"),
    ],
)
async def test_nobody_is_told_to_apply_what_no_pod_can_live_with(carried: int, ipv6: bool, remedy: str) -> None:
    """576 bytes every IPv4 host must take whole (RFC 791, section 3.2), and 1280 IPv6 needs (RFC 8200, section 5)."""
    found = await underlay.survey(Network(lambda _here, _to: carried).ask, addresses(2), ["n1", "n2"], 1500)
    assert found.carried == carried
    assert underlay.remedy(found, 1500, 1450, ipv6=ipv6) == remedy


async def test_the_worst_of_many_different_ways_is_measured() -> None:
    """More ways fail, each with a size of its own, than are measured once more."""
    sizes = {(f"n{here}", f"192.0.2.{to}"): 1499 - 10 * here - to for here in range(1, 7) for to in range(1, 7)}
    network = Network(lambda here, to: sizes[here, to])
    found = await underlay.survey(network.ask, addresses(6), list(addresses(6)), 1500)
    assert (found.carried, len(found.proof.against)) == (1499 - 60 - 5, 30)
    assert len(network.asked[1].paths) == 16


async def test_packets_that_are_lost_once_refute_nothing() -> None:
    seen: set[tuple[str, str]] = set()

    def carries(here: str, to: str) -> int:
        first = (here, to) not in seen
        seen.add((here, to))
        return 1300 if first else 1500

    found = await underlay.survey(Network(carries).ask, addresses(2), ["n1", "n2"], 1500)
    assert (found.proof.verdict, found.proof.arrived, found.carried) == ("held", 2, None)


async def test_a_path_that_loses_packets_is_no_advice() -> None:
    """At least 100 bytes arrive there, which is not to say that no more do."""

    class Lossy(Network):
        def _results(self, node: str, asked: request.ProbeRequest) -> tuple[request.PathResult, ...]:
            lossy = path_verdict.Verdict(kind="loss", mtu=100, sentence="too much is lost", expected=1500)
            return tuple(
                msgspec.structs.replace(one, verdict=lossy) if one.path == "n1 > n2" else one
                for one in super()._results(node, asked)
            )

    found = await underlay.survey(Lossy(lambda _here, _to: 1400).ask, addresses(2), ["n1", "n2"], 1500)
    assert (found.proof.against, found.carried) == ((found.proof.against[0],), 1400)
    assert found.proof.against[0].startswith("n2 > n1: 1400 bytes arrive")
    assert found.proof.unanswered == ("n1 > n2",)


async def test_a_node_that_could_not_measure_is_told() -> None:
    class Broken(Network):
        async def ask(
            self, asked: request.ProbeRequest, on_reports: asking.OnReports | None = None
        ) -> dict[str, request.ProbeReport]:
            row = rounds.MeshRow(sender=0, measured=0, ok=0, error="the node: no more files can be opened")
            return {
                "n1": request.ProbeReport(ready=True, done=True, mesh_row=row),
                "n2": request.ProbeReport(ready=True, done=True, errors=("node n2 could not measure: no memory",)),
            }

    found = await underlay.survey(Broken(lambda _here, _to: 0).ask, addresses(2), ["n1", "n2"], 1500)
    assert found.proof.verdict == "undecided"
    assert found.proof.unanswered == (
        "n1: the node: no more files can be opened",
        "n2: node n2 could not measure: no memory",
    )


@given(st.integers(2, 6), st.data())
async def test_every_path_counts_once_and_the_worst_is_the_advice(count: int, data: st.DataObject) -> None:
    sizes = st.sampled_from([0, 68, 600, 1280, 1400, 1450, 1499, 1500, 9000]) | st.integers(68, 9300)
    names = list(addresses(count))
    carried = {(here, to): data.draw(sizes) for here in names for name, to in addresses(count).items() if name != here}
    found = await underlay.survey(Network(lambda here, to: carried[here, to]).ask, addresses(count), names, 1500)
    holes = [size for size in carried.values() if 0 < size < 1500]
    assert found.proof.arrived == sum(size >= 1500 for size in carried.values())
    assert len(found.proof.against) == len(holes)
    assert len(found.proof.unanswered) == sum(size == 0 for size in carried.values())
    assert found.carried == min(holes, default=None)
    if holes:
        assert f": {min(holes)} bytes arrive" in found.proof.against[0]


@pytest.mark.parametrize(("nodes", "each"), [(2, 1), (12, 11), (200, 199), (1000, 999), (1001, 24), (5000, 24)])
def test_in_large_clusters_each_node_asks_a_few(nodes: int, each: int) -> None:
    names = [f"n{number}" for number in range(nodes)]
    found = underlay.around(names, {name: f"198.51.100.{name}" for name in names}, 1500)
    assert [place.node for place in found.members] == names
    offsets = found.offsets or tuple(range(1, nodes))
    assert len(set(offsets)) == each  # so each is heard by as many as it asks
    assert all(0 < offset < nodes for offset in offsets)


async def test_with_one_node_nobody_is_asked() -> None:
    network = Network(lambda _here, _to: 0)
    found = await underlay.survey(network.ask, addresses(1), ["n1"], 1500)
    assert (found.proof.verdict, found.proof.unanswered, network.asked) == ("undecided", (), [])


async def test_a_node_without_an_address_is_left_out_and_told() -> None:
    network = Network(lambda _here, _to: 1500)
    found = await underlay.survey(network.ask, addresses(2), ["n1", "n2", "n3"], 1500)
    assert (found.proof.verdict, found.proof.arrived) == ("held", 2)
    assert found.proof.unanswered == ("n3: its address is not known",)
    found = await underlay.survey(network.ask, {}, ["n1", "n2"], 1500)
    assert found.proof.verdict == "undecided"
    assert underlay.unknown(found).endswith("(n1: its address is not known, and 1 other way like it)")
    assert len(network.asked) == 1


# Between pods


def port(number: int, *also: str, mtu: int = 1450) -> net.PodPort:
    return net.PodPort(
        netns=f"cni-{number}",
        inode=number,
        host_link=f"cali{number}",
        host_index=number,
        host_mtu=mtu,
        pod_link="eth0",
        pod_index=2,
        pod_mtu=mtu,
        addresses=(f"10.42.0.{number}", *also),
    )


PORTS = {"n1": (port(1), port(2)), "n2": (port(3), port(4)), "n3": (port(5),)}
NAMES = {"10.42.0.1": "default/web", "10.42.0.3": "db/pg-0", "fd00::1": "default/web", "fd00::3": "db/pg-0"}


async def proven(network: Network, ports: Callable[[], prove.Ports] = lambda: PORTS) -> proof.Proof:
    return await prove.pods(network, ports, NAMES)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits before measuring again."""
    monkeypatch.setattr(prove, "AGAIN", 0.0)


async def test_every_pod_sends_to_its_own_node_and_to_others() -> None:
    network = Network(lambda _here, _to: 1450)
    found = await proven(network)
    assert (found.verdict, found.probes, found.arrived) == ("held", 14, 14)
    (asked,) = network.asked
    sent = {(way.source.link, way.address) for way in asked.paths}
    assert ("cali1", "10.42.0.2") in sent
    assert {one for one, _ in sent} == {"cali1", "cali2", "cali3", "cali4", "cali5"}
    assert {way.expected for way in asked.paths} == {1450}


async def test_every_pod_that_is_sent_to_answers_meanwhile() -> None:
    network = Network(lambda _here, _to: 1450)
    await proven(network)
    places = {"n1": {1, 2}, "n2": {3, 4}, "n3": {5}}
    assert network.answered == [
        frozenset(request.Namespace(node=node, link=f"cali{each}") for node, ports in places.items() for each in ports)
    ]


async def test_no_more_is_expected_than_both_pods_have() -> None:
    """A pod that was left at 1400 (its node takes no part) is sent no more than it takes."""
    mixed = {"n1": (port(1),), "n2": (port(3, mtu=1400),)}
    network = Network(lambda _here, _to: 1400)
    assert (await proven(network, lambda: mixed)).verdict == "held"
    assert {way.expected for way in network.asked[0].paths} == {1400}


async def test_both_families_are_proven() -> None:
    both = {"n1": (port(1, "fd00::1"),), "n2": (port(3, "fd00::3"),)}
    network = Network(lambda _here, _to: 1450)
    assert (await proven(network, lambda: both)).probes == 4
    assert {way.address for way in network.asked[0].paths if way.source.node == "n1"} == {"10.42.0.3", "fd00::3"}


async def test_each_family_is_judged_by_itself(hasty: None) -> None:
    both = {"n1": (port(1, "fd00::1"),), "n2": (port(3, "fd00::3"),)}
    found = await proven(Network(lambda _here, to: 1400 if to == "fd00::3" else 1450), lambda: both)
    assert (found.verdict, found.probes, found.arrived) == ("refuted", 4, 3)
    assert found.against[0].startswith("default/web > db/pg-0 over IPv6: 1400 bytes arrive")


async def test_a_pod_that_takes_only_small_packets_refutes(hasty: None) -> None:
    network = Network(lambda _here, to: 1399 if to == "10.42.0.3" else 1450)
    found = await proven(network)
    assert found.verdict == "refuted"
    assert (
        "default/web > db/pg-0: 1399 bytes arrive, and everything larger, up to 1450, vanishes without a word: "
        "connections hang once they send full-size packets" in found.against
    )
    assert prove.said(found).startswith(f"refuted: {found.arrived} of {found.probes} full-size packets arrived; ")


async def test_what_arrives_at_the_third_attempt_has_arrived(hasty: None) -> None:
    network = Network(lambda _here, to: 1300 if to == "10.42.0.3" and len(network.asked) < 3 else 1450)
    found = await proven(network)
    assert (found.verdict, found.probes, found.arrived) == ("held", 14, 14)
    assert {way.address for way in network.asked[2].paths} == {"10.42.0.3"}
    assert network.answered[2] == {request.Namespace(node="n2", link="cali3")}


async def test_a_pod_behind_a_policy_proves_nothing_and_stops_nothing(hasty: None) -> None:
    network = Network(lambda _here, to: 0 if to == "10.42.0.3" else 1450)
    found = await proven(network)
    assert found.verdict == "held"
    assert found.probes == found.arrived
    assert found.unanswered
    assert "answered nothing of any size, as under a network policy, or too little, and proved nothing" in prove.said(
        found
    )


async def test_where_every_pod_is_behind_a_policy_nothing_is_proven(hasty: None) -> None:
    found = await proven(Network(lambda _here, _to: 0))
    assert found.verdict == "undecided"
    assert prove.said(found).startswith("not proven; 14 paths (")


async def test_a_pod_that_is_deleted_meanwhile_proves_nothing(hasty: None) -> None:
    here = dict(PORTS)

    def carries(sender: str, to: str) -> int:
        here["n2"] = (port(4),)
        return 0 if to == "10.42.0.3" or sender == "cali3" else 1450

    found = await proven(Network(carries), lambda: here)
    assert (found.verdict, found.against, found.unanswered) == ("held", (), ())


async def test_without_pods_there_is_nobody_to_ask() -> None:
    found = await proven(Network(lambda _here, _to: 1450), dict)
    assert found.verdict == "undecided"
    assert prove.said(found) == "not proven: there was nobody to send a full-size packet to"


# What must be so before, and who takes part


def snapshot(*names: str, seen: tuple[str, ...], unread: tuple[Unread, ...] = ()) -> Snapshot:
    nodes = tuple(Object.of({"kind": "Node", "metadata": {"name": name}}) for name in names)
    return Snapshot(
        source="cluster", objects=nodes, nodes=tuple(net.NodeObservation(node=name) for name in seen), unread=unread
    )


def test_every_node_must_be_observed_or_left_out_by_name() -> None:
    silent = Unread(what="node n2", why="no agent", message="its agent last told something 90 seconds ago: NICs ...")
    preconditions.observed(snapshot("n1", "n2", seen=("n1", "n2")))
    preconditions.observed(snapshot("n1", "n2", seen=("n1",)), without=["n2"])
    with pytest.raises(errors.Unreachable) as caught:
        preconditions.observed(snapshot("n1", "n2", "n3", seen=("n1",), unread=(silent,)))
    assert str(caught.value) == (
        "node n2 cannot be held back while the others change (its agent last told something 90 seconds ago), and 1 "
        "other node like it; nothing was begun: see that kubemtu-agent runs there (its log says what keeps it from the "
        "API server), or leave it as it is with --without n2 --without n3: `kubemtu relieve --without n2 --without n3` "
        "pins what the others send, at once"
    )


TARGET = plan.NodeTarget(
    node="n1",
    ports=net.PortRule(prefixes=("cali",)),
    pod_mtu=8950,
    origin_mtu=1450,
    tunnel="flannel.1",
    tunnel_mtu=8950,
    bridge="cni0",
)
LIVE = plan.Live(nodes=(TARGET,), pin_mtu=1450, highest_mtu=8950, underlay=9000, why="why")


def test_a_node_that_joined_gets_what_its_own_nic_leaves_for_the_tunnel() -> None:
    links = (
        net.Link(index=2, name="eth0", mtu=1500),
        net.Link(index=3, name="flannel.1", mtu=1450, kind="vxlan", vxlan=net.Vxlan(vni=1, lower="eth0")),
    )
    found = targets.present(
        LIVE, {"n1": net.NodeObservation(node="n1"), "n2": net.NodeObservation(node="n2", links=links)}
    )
    assert found["n1"] is TARGET
    assert (found["n2"].node, found["n2"].tunnel_mtu, found["n2"].bridge) == ("n2", 1450, None)
    assert (found["n2"].pod_mtu, found["n2"].origin_mtu) == (8950, 1450)


def test_a_node_that_is_left_out_is_left_out_when_its_agent_comes() -> None:
    left = preconditions.leave_out(plan.Plan(cni="canal", target=8950, current=1450, steps=(LIVE,)), ["n2"])
    (live,) = left.steps
    assert isinstance(live, plan.Live)
    assert targets.present(live, {"n2": net.NodeObservation(node="n2")}).keys() == {"n1"}


# An API that is away


async def test_an_outage_is_told_once_and_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "PAUSE", 0.001)
    told: list[events.Event] = []
    retrying = retry.Retry(told.append)
    left = 4

    async def call() -> str:
        nonlocal left
        left -= 1
        if left > 0:
            raise errors.Unreachable("https://api is not there")
        return "here"

    assert await retrying.call(call) == "here"
    assert [event.text for event in told] == ["https://api is not there; trying again for 120 s"]


async def test_an_outage_that_does_not_end_and_one_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "PAUSE", 0.001)
    monkeypatch.setattr(retry, "LONGEST", 0.02)

    async def away() -> None:
        raise errors.Unreachable("away")

    async def distrusted() -> None:
        raise kube_errors.TlsFailure("whose certificate is that?")

    with pytest.raises(errors.Unreachable):
        await retry.Retry().call(away)
    with pytest.raises(kube_errors.TlsFailure):
        await retry.Retry().call(distrusted)


# Words


def test_a_restart_of_a_thousand_nodes_is_told_in_ten_lines() -> None:
    told: list[events.Event] = []
    restart = messages.Restart(told.append, 1)
    for number in range(1000):
        restart.node(f"n{number}", "old pod is ready")
    for number in range(1000):
        restart.node(f"n{number}", "new pod canal is ready")
    lines = [event.text for event in told if event.kind == "progress"]
    assert len(lines) == 10
    assert lines[-1] == "1000 of 1000 new pods are ready"
    assert sum(event.kind == "node" for event in told) == 2000

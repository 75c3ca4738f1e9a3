"""Measuring: what is sent, what the answers prove, how the largest packet is found; with networks made of rules."""

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubemtu.core import errors, net, plan, proof
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot, Unread
from kubemtu.flows.change import events, fabric, outage, prove, ready, targets, telling
from kubemtu.kube import errors as kube_errors

Carries = Callable[[str, proof.Probe], bool]


class Network:
    """Answers orders by a rule; remembers what was asked."""

    def __init__(self, carries: Carries) -> None:
        self._carries = carries
        self.asked: list[Mapping[str, proof.Order]] = []

    async def ask(self, orders: Mapping[str, proof.Order]) -> tuple[proof.Answer, ...]:
        self.asked.append(orders)
        return tuple(
            proof.Answer(probe=probe, outcome="arrived" if self._carries(node, probe) else "silence", tries=3)
            for node, order in orders.items()
            for probe in order.probes
        )


def addresses(count: int) -> dict[str, str]:
    return {f"n{number}": f"192.0.2.{number}" for number in range(1, count + 1)}


# The fabric


async def test_a_network_that_carries_it_is_asked_once() -> None:
    network = Network(lambda _node, _probe: True)
    found = await fabric.survey(network.ask, addresses(3), ["n1", "n2", "n3"], 1500)
    assert (found.proof.verdict, found.proof.arrived, found.carried) == ("held", 6, None)
    assert len(network.asked) == 1


async def test_the_largest_packet_over_the_worst_way_is_found() -> None:
    limits = {"192.0.2.2": 1400, "192.0.2.3": 1458}
    network = Network(lambda _node, probe: probe.size <= limits.get(probe.to, 9000))
    found = await fabric.survey(network.ask, addresses(3), ["n1", "n2", "n3"], 1500)
    assert (found.proof.verdict, found.carried) == ("refuted", 1400)
    assert fabric.sentence(found, 1500, 1450) == (
        "n1 > n2: a packet of 1500 bytes vanished without an answer, 3 times, and 3 other ways like it; 1400 bytes "
        "arrive, which leaves 1350 for pods"
    )


async def test_nodes_that_answer_no_echo_leave_it_open() -> None:
    network = Network(lambda _node, _probe: False)
    found = await fabric.survey(network.ask, addresses(2), ["n1", "n2"], 9000)
    assert (found.proof.verdict, found.carried) == ("undecided", None)
    assert found.proof.unanswered == ("n1 > n2", "n2 > n1")
    assert len(network.asked) == 2


async def test_one_mute_node_does_not_hide_a_black_hole() -> None:
    network = Network(lambda node, probe: "n3" not in f"{node} {probe.what}" and probe.size <= 1400)
    found = await fabric.survey(network.ask, addresses(3), ["n1", "n2", "n3"], 1500)
    assert (found.proof.verdict, found.carried) == ("refuted", 1400)
    assert len(found.proof.against) == 2
    assert len(found.proof.unanswered) == 4


async def test_where_nothing_large_arrives_no_number_is_made_up() -> None:
    network = Network(lambda _node, probe: probe.size <= 600)
    found = await fabric.survey(network.ask, addresses(2), ["n1", "n2"], 1500)
    assert found.carried is None
    assert "nothing of 1200 bytes or more arrives there" in fabric.sentence(found, 1500, 1450)


async def test_packets_that_are_lost_once_refute_nothing() -> None:
    seen: set[tuple[str, str]] = set()

    def carries(_node: str, probe: proof.Probe) -> bool:
        first = (probe.what, probe.to) not in seen
        seen.add((probe.what, probe.to))
        return not first

    found = await fabric.survey(Network(carries).ask, addresses(2), ["n1", "n2"], 1500)
    assert (found.proof.verdict, found.proof.arrived) == ("held", 2)


@given(limit=st.integers(min_value=1, max_value=9300), size=st.integers(min_value=1201, max_value=9300))
def test_a_search_ends_at_the_largest_candidate_that_arrives(limit: int, size: int) -> None:
    search = fabric.Search(proof.Probe(to="192.0.2.2", size=size, what="n1 > n2"))
    for _ in range(4):
        due = search.next()
        assert len(due) <= 13
        if not due:
            break
        search.take(
            [proof.Answer(probe=one, outcome="arrived" if one.size <= limit else "silence", tries=3) for one in due]
        )
    assert search.next() == []
    expected = [one for one in fabric.candidates(size) if one <= limit]
    assert search.largest == (expected[-1] if expected else None)


@pytest.mark.parametrize(("nodes", "each"), [(1, 0), (2, 1), (12, 11), (13, 4), (200, 8), (1000, 10)])
def test_in_large_clusters_each_node_asks_a_few(nodes: int, each: int) -> None:
    names = [f"n{number}" for number in range(nodes)]
    found = fabric.routes(names, {name: f"198.51.100.{name}" for name in names}, 1500)
    assert {len(probes) for probes in found.values()} == {each}
    heard: dict[str, int] = {}
    for name, probes in found.items():
        for probe in probes:
            assert probe.to != f"198.51.100.{name}"
            heard[probe.to] = heard.get(probe.to, 0) + 1
    assert set(heard.values()) == ({each} if each else set())


def test_a_node_without_an_address_is_left_out() -> None:
    assert fabric.routes(["n1", "n2", "n3"], addresses(2), 1500).keys() == {"n1", "n2"}


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


async def proven(network: Network, ports: Callable[[], prove.Ports] = lambda: PORTS) -> proof.Proof:
    return await prove.pods(network.ask, ports, {"10.42.0.1": "default/web", "10.42.0.3": "db/pg-0"})


async def test_every_pod_sends_to_its_own_node_and_to_others() -> None:
    network = Network(lambda _node, _probe: True)
    found = await proven(network)
    assert (found.verdict, found.probes, found.arrived) == ("held", 14, 14)
    sent = {(probe.port, probe.to) for order in network.asked[0].values() for probe in order.probes}
    assert ("cali1", "10.42.0.2") in sent
    assert {one for one, _ in sent} == {"cali1", "cali2", "cali3", "cali4", "cali5"}
    assert {probe.size for order in network.asked[0].values() for probe in order.probes} == {1450}


async def test_both_families_are_proven() -> None:
    both = {"n1": (port(1, "fd00::1"),), "n2": (port(3, "fd00::3"),)}
    network = Network(lambda _node, _probe: True)
    assert (await proven(network, lambda: both)).probes == 4
    assert {probe.to for probe in network.asked[0]["n1"].probes} == {"10.42.0.3", "fd00::3"}


async def test_a_pod_that_takes_only_small_packets_refutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prove, "AGAIN", 0.0)
    network = Network(lambda _node, probe: probe.to != "10.42.0.3" or probe.size < 1400)
    found = await proven(network)
    assert found.verdict == "refuted"
    assert "default/web > db/pg-0: a packet of 1450 bytes vanished without an answer, 3 times" in found.against
    assert prove.said(found).startswith(f"refuted: {found.arrived} of {found.probes} full-size packets arrived; ")


async def test_a_pod_behind_a_policy_proves_nothing_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prove, "AGAIN", 0.0)
    network = Network(lambda _node, probe: probe.to != "10.42.0.3")
    found = await proven(network)
    assert found.verdict == "held"
    assert found.probes == found.arrived
    assert found.unanswered
    assert "answered no echo of any size, as under a network policy, and proved nothing" in prove.said(found)


async def test_a_pod_that_is_deleted_meanwhile_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prove, "AGAIN", 0.0)
    here = dict(PORTS)

    def carries(_node: str, probe: proof.Probe) -> bool:
        here["n2"] = (port(4),)
        return probe.to != "10.42.0.3" and probe.port != "cali3"

    found = await proven(Network(carries), lambda: here)
    assert (found.verdict, found.against, found.unanswered) == ("held", (), ())


async def test_without_pods_there_is_nobody_to_ask() -> None:
    found = await proven(Network(lambda _node, _probe: True), dict)
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
    ready.observed(snapshot("n1", "n2", seen=("n1", "n2")))
    ready.observed(snapshot("n1", "n2", seen=("n1",)), without=["n2"])
    with pytest.raises(errors.Unreachable) as caught:
        ready.observed(snapshot("n1", "n2", "n3", seen=("n1",), unread=(silent,)))
    assert str(caught.value) == (
        "node n2 cannot be held back while the others change (its agent last told something 90 seconds ago), and 1 "
        "other node like it; nothing was begun: see that kubemtu-agent runs there, or leave it as it is with --without "
        "n2 --without n3"
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
LIVE = plan.Live(nodes=(TARGET,), low=1450, high=8950, underlay=9000, why="why")


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
    left = ready.leave_out(plan.Plan(cni="canal", target=8950, current=1450, steps=(LIVE,)), ["n2"])
    (live,) = left.steps
    assert isinstance(live, plan.Live)
    assert targets.present(live, {"n2": net.NodeObservation(node="n2")}).keys() == {"n1"}


# An API that is away


async def test_an_outage_is_told_once_and_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "PAUSE", 0.001)
    told: list[events.Event] = []
    line = outage.Line(told.append)
    left = 4

    async def call() -> str:
        nonlocal left
        left -= 1
        if left > 0:
            raise errors.Unreachable("https://api is not there")
        return "here"

    assert await line.through(call) == "here"
    assert [event.text for event in told] == ["https://api is not there; trying again for 120 s"]


async def test_an_outage_that_does_not_end_and_one_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "PAUSE", 0.001)
    monkeypatch.setattr(outage, "LONGEST", 0.02)

    async def away() -> None:
        raise errors.Unreachable("away")

    async def distrusted() -> None:
        raise kube_errors.TlsFailure("whose certificate is that?")

    with pytest.raises(errors.Unreachable):
        await outage.Line().through(away)
    with pytest.raises(kube_errors.TlsFailure):
        await outage.Line().through(distrusted)


# Words


def test_a_restart_of_a_thousand_nodes_is_told_in_ten_lines() -> None:
    told: list[events.Event] = []
    restart = telling.Restart(told.append, 1)
    for number in range(1000):
        restart.node(f"n{number}", "old pod is ready")
    for number in range(1000):
        restart.node(f"n{number}", "new pod canal is ready")
    lines = [event.text for event in told if event.kind == "progress"]
    assert len(lines) == 10
    assert lines[-1] == "1000 of 1000 new pods are ready"
    assert sum(event.kind == "node" for event in told) == 2000

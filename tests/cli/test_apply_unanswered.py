"""`kubemtu apply` where firewalls and policies let nothing be measured: what it takes for a proof, and what it says."""

from collections.abc import Iterator

import pytest
from tests.support.change.cluster import Cluster, cluster
from tests.support.labs import until

from kubemtu_lab import nft
from kubemtu_lab import scene as scenes
from kubemtu_lab.scenes import named

pytestmark = [pytest.mark.lab, pytest.mark.netns]

STATIONS = "udp dport 7843 drop; tcp dport 7843 drop; "
ECHO = "icmp type echo-request drop; "


@pytest.fixture(scope="module")
def lab(can_make_labs: None, has_nft: None) -> Iterator[Cluster]:
    """Jumbo frames below, and pods of 1450: there is something to raise."""
    with cluster(scenes.resized(named("canal-jumbo"), nodes=2, pods=1), "unanswered") as found:
        yield found


@pytest.fixture(autouse=True)
def as_before(lab: Cluster) -> Iterator[None]:
    """Without a filter and with pods of 1450, before and afterwards."""
    before = lab.picture()
    yield
    for chain in ("input", "forward"):
        drop(lab, chain, "")
    if lab.mtus() != {(1450, 1450)}:
        lab.done("rollback", "--yes")
    lab.forget_migrations()
    until(lambda: before.differs(lab.picture()) == "")
    until(lambda: lab.questions() == [])


def drop(lab: Cluster, chain: str, rules: str) -> None:
    """Have every node drop what it is sent itself ("input"), or what it passes on to pods ("forward")."""
    body = f"chain filtered {{\n type filter hook {chain} priority 0;\n {rules}\n }}\n" if rules else ""
    for node in lab.nodes:
        nft.load(nft.table("inet", f"kmtest_{chain}", body), lab.lab.node_pid(node))


def test_where_stations_are_filtered_echo_says_what_the_network_carries(lab: Cluster) -> None:
    drop(lab, "input", STATIONS)
    ended = lab.done("apply", "--yes")
    assert "2 nodes have written down what they have" in ended.lines
    assert "2 of 2 packets of 9000 bytes between the nodes arrived" in ended.lines
    assert "proven: 2 of 2 full-size packets between pods arrived" in ended.lines
    assert lab.mtus() == {(8950, 8950)}


def test_a_network_that_answers_nothing_is_not_raised_on(lab: Cluster) -> None:
    drop(lab, "input", STATIONS + ECHO)
    before = lab.picture()
    ended = lab.run("apply", "--yes")
    assert ended.code == 8
    assert ended.err == (
        "error: the network between the nodes cannot be measured: nothing of any size is answered, or too little "
        "(node-1 > node-2, and 1 other way like it). Nothing was changed; let UDP port 7843 or ICMP echo pass between "
        "the nodes, or add --unproven to raise the MTU without having seen that it fits\n"
    )
    until(lambda: before.differs(lab.picture()) == "")


def test_whoever_wants_it_raises_it_unproven(lab: Cluster) -> None:
    drop(lab, "input", STATIONS + ECHO)
    ended = lab.done("apply", "--yes", "--unproven")
    assert "what the network between the nodes carries is not known: nothing is answered there" in ended.lines
    assert lab.mtus() == {(8950, 8950)}
    lab.done("rollback", "--yes")


def test_to_make_it_smaller_needs_no_answer(lab: Cluster) -> None:
    drop(lab, "input", STATIONS + ECHO)
    lab.done("apply", "--yes", "--mtu", "1400")
    assert lab.mtus() == {(1400, 1400)}


def test_pods_behind_a_policy_prove_nothing_and_stop_nothing(lab: Cluster) -> None:
    drop(lab, "forward", STATIONS + ECHO)
    ended = lab.done("apply", "--yes", "--mtu", "1400")
    (line,) = [line for line in ended.lines if line.startswith("not proven")]
    assert line == (
        "not proven; 2 paths (default/pod-1a > default/pod-2a) answered nothing of any size, as under a network "
        "policy, or too little, and proved nothing"
    )
    assert lab.mtus() == {(1400, 1400)}


def test_pods_behind_a_policy_that_lets_echo_through_are_proven_by_it(lab: Cluster) -> None:
    drop(lab, "forward", STATIONS)
    ended = lab.done("apply", "--yes", "--mtu", "1400")
    assert "proven: 2 of 2 full-size packets between pods arrived" in ended.lines

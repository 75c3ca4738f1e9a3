"""MTU106 and MTU109: NICs against each other, and against the names in the configuration."""

from tests.support import example
from tests.support.pools import networked

from kubemtu.core import codes, net
from kubemtu.core.cluster import layout
from kubemtu.core.rules import link


def judge(*seen: net.NodeObservation, **state: object) -> tuple[codes.Finding, ...]:
    return link.find(layout.model(example.cluster(seen), example.state(**state)))  # type: ignore[arg-type]  # fields


def test_a_healthy_cluster_has_none() -> None:
    assert judge(example.node("n1"), example.node("n2"), nic_names=("eth0",)) == ()


def test_a_larger_node_sends_what_a_smaller_one_cannot_take() -> None:
    big = example.node("n1", nic=9000, pod=8950)
    (mixed,) = judge(big, example.node("n2"), example.node("n3"))
    assert (mixed.code, mixed.severity, mixed.place) == ("MTU106", "warning", "nodes n2 and n3")
    assert "(1500: n2 (eth0) and n3 (eth0); 9000: n1 (eth0))" in mixed.message
    assert "pods can have 1450. Nodes with a larger one (n1) still send more than that" in mixed.message


def test_what_the_smallest_for_all_costs_the_others() -> None:
    """1398 of 1538 bytes on the wire are payload at 1450, 8898 of 9038 at 8950; 8898 are 6.4 times 1398."""
    big = tuple(example.node(name, nic=9000, pod=8950) for name in ("n1", "n2"))
    (mixed,) = judge(*big, example.node("n3"))
    assert "1450 for all costs those others 7.7% of a full link among themselves, and 6.4 times as many packets" in (
        mixed.message
    )
    (alone,) = judge(big[0], example.node("n3"))
    assert "of a full link" not in alone.message


def test_the_price_is_told_in_packets_and_both_ways_have_their_command() -> None:
    """1 Gbit/s is 125,000,000 bytes a second: in 1398 of payload a packet 89,413, in 8898 of it 14,048."""
    big = tuple(example.node(name, nic=9000, pod=8950) for name in ("n1", "n2"))
    (mixed,) = judge(*big, example.node("n3"))
    assert "(89,413 a second instead of 14,048 for each Gbit/s)" in mixed.message
    assert mixed.remedy == (
        "Give all nodes' NICs one MTU, or set the pods to what the smallest leaves: `kubemtu plan`; or 8950 for most, "
        "with routes of 1450 towards the few: `kubemtu plan --per-node`."
    )


def test_pods_that_all_fit_are_told_what_they_could_have() -> None:
    big = tuple(example.node(name, nic=9000) for name in ("n1", "n2"))
    (mixed,) = judge(*big, example.node("n3"))
    assert (mixed.severity, mixed.place) == ("note", "node n3, eth0")
    assert "still send more" not in mixed.message


def pooled(pools: dict[str, str], *seen: net.NodeObservation) -> codes.Finding:
    (found,) = link.find(layout.model(networked(example.cluster(seen), pools), example.state()))
    return found


def test_a_whole_pool_that_is_odd_is_named() -> None:
    big = tuple(example.node(name, nic=9001, pod=8951) for name in ("n1", "n2"))
    small = tuple(example.node(name) for name in ("n3", "n4", "n5"))
    found = pooled({"n1": "apps", "n2": "apps", "n3": "db", "n4": "db", "n5": "db"}, *big, *small)
    assert found.place == "pool db, nodes n3, n4 and n5"
    assert "Pool db: 3 of 3 nodes have 1500, the others 9001." in found.message


def test_one_odd_node_of_a_pool_is_named_with_the_others_of_it() -> None:
    seen = (*(example.node(name, nic=9001, pod=8951) for name in ("n1", "n2")), example.node("n3"))
    found = pooled({"n1": "db", "n2": "db", "n3": "db"}, *seen)
    assert found.place == "node n3, eth0"
    assert "Pool db: 1 of 3 nodes has 1500, the others of it 9001." in found.message


def test_mixed_nics_under_pods_that_all_fit_are_as_they_should_be() -> None:
    assert judge(example.node("n1", nic=9000), example.node("n2")) == ()


def test_a_small_nic_that_is_too_small_for_its_own_node_only_is_another_finding() -> None:
    assert judge(example.node("n1", nic=1400, pod=1450, tunnel=1450), example.node("n2", pod=1350, tunnel=1350)) == ()


def test_a_nic_that_one_node_lacks() -> None:
    (absent,) = judge(
        example.node("n1"),
        _renamed(example.node("n2"), "ens3"),
        nic_names=("eth0",),
        nic_key="ConfigMap kube-system/canal-config, key canal_iface",
    )
    assert (absent.code, absent.severity) == ("MTU109", "error")
    assert absent.place == "node n2, ConfigMap kube-system/canal-config, key canal_iface"
    assert "names eth0, and this node has only ens3" in absent.message


def test_one_of_several_names_is_enough() -> None:
    assert judge(_renamed(example.node("n2"), "ens3"), nic_names=("eth0", "ens3")) == ()


def test_a_nic_given_by_address_is_not_looked_for_by_name() -> None:
    assert judge(example.node("n1"), nic_names=("192.168.77.1",)) == ()


def test_a_node_whose_links_were_not_read_is_not_accused() -> None:
    assert judge(net.NodeObservation(node="n1"), nic_names=("bond0",)) == ()


def _renamed(seen: net.NodeObservation, name: str) -> net.NodeObservation:
    links = tuple(
        net.Link(index=one.index, name=name, mtu=one.mtu) if one.name == "eth0" else one
        for one in seen.links
        if one.name != "flannel.1"
    )
    return net.NodeObservation(node=seen.node, links=links, ports=seen.ports, files=seen.files)

"""Sizes by destination: who gets which routes, what needs none, and what is refused."""

import ipaddress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import example
from tests.support.pools import networked

from kubemtu.core import errors, net
from kubemtu.core.change.plan import EditValue, Live, Plan
from kubemtu.core.cluster import layout
from kubemtu.core.objects import Object
from kubemtu.core.planning import apart
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide

PER_NODE = apart.Asked(per_node=True)


def mixed(*, veth_mtu: int = 1450, pod: int = 1450, **changed: object) -> Snapshot:
    """Two nodes with jumbo NICs, and one of another pool with 1500."""
    big = tuple(example.node(name, nic=9000, pod=pod, conflist=veth_mtu) for name in ("n1", "n2"))
    small = example.node("n3", **({"conflist": veth_mtu} | changed))  # type: ignore[arg-type]  # as in example.state
    return networked(example.story(veth_mtu, (*big, small)), {"n1": "apps", "n2": "apps", "n3": "db"})


def with_networks(snapshot: Snapshot, **networks: list[str]) -> Snapshot:
    """Give nodes other networks for their pods, as the API says them."""

    def other(found: Object) -> Object:
        there = found.kind == "Node" and found.name in networks
        return Object.of({**found.body, "spec": {"podCIDRs": networks[found.name]}}) if there else found

    return msgspec.structs.replace(snapshot, objects=tuple(map(other, snapshot.objects)))


def planned(snapshot: Snapshot, asked: apart.Asked, wanted: int | None = None) -> Plan:
    return decide.plan(snapshot, wanted, asked=asked)[0]


def routes(made: Plan, node: str) -> tuple[int, dict[str, int], int | None]:
    """What a node's pods send at most: to anybody, by destination, out of the cluster."""
    (target,) = (to for step in made.steps if isinstance(step, Live) for to in step.nodes if to.node == node)
    return target.pod_mtu, {one.network: one.mtu for one in target.network_mtus}, target.default_route_mtu


def test_each_node_gets_what_its_own_nic_carries_and_routes_towards_those_with_less() -> None:
    made = planned(mixed(), PER_NODE)
    assert (made.target, made.current, [type(step) for step in made.steps]) == (8950, 1450, [Live])
    # What reaches a pod of n3 fits its tunnel (1500 - 50), what reaches n3 itself its NIC.
    assert routes(made, "n1") == (8950, {"10.42.3.0/24": 1450, "192.168.77.3/32": 1500}, None)
    assert routes(made, "n3") == (1450, {}, None)
    (live,) = made.steps
    assert isinstance(live, Live)
    assert (live.hold, live.pin_mtu, live.highest_mtu, live.underlay) == (True, 1450, 8950, 9000)
    assert [(to.running, to.changing, to.own_networks) for to in live.nodes] == [
        (3, 3, ("10.42.1.0/24",)),
        (3, 3, ("10.42.2.0/24",)),
        (3, 0, ("10.42.3.0/24",)),
    ]


def test_the_plan_is_told_by_pools() -> None:
    made = planned(mixed(), msgspec.structs.replace(PER_NODE, egress=1500))
    found = [(one.pool, one.nodes, one.nic_mtu, one.pod_mtu, one.towards, one.default_route_mtu) for one in made.pools]
    assert found == [
        ("pool apps", ("n1", "n2"), 9000, 8950, {"pool db": 1450}, 1500),
        ("pool db", ("n3",), 1500, 1450, {}, None),
    ]


def test_pods_that_are_too_large_are_pinned_first_and_the_configuration_goes_to_the_smallest() -> None:
    made = planned(mixed(veth_mtu=8950, pod=8950), PER_NODE)
    assert [type(step).__name__ for step in made.steps] == ["Live", "EditValue", "Rollout", "Live"]
    (edit,) = (step for step in made.steps if isinstance(step, EditValue))
    assert (edit.before, edit.after) == ("8950", "1450")


def test_the_way_out_apart_from_the_clusters_own_networks() -> None:
    wide = networked(example.story(8950, example.trio(nic=9000, pod=8950, conflist=8950)), {})
    made = planned(wide, apart.Asked(egress=1500))
    assert routes(made, "n1") == (8950, {"10.42.0.0/16": 8950}, 1500)
    (live,) = made.steps
    assert isinstance(live, Live)
    assert (live.hold, live.pin_mtu, made.target) == (True, 8950, 8950)


def test_services_are_the_clusters_own_where_their_addresses_are_known() -> None:
    wide = networked(example.story(8950, example.trio(nic=9000, pod=8950, conflist=8950)), {})
    unknown = planned(wide, apart.Asked(egress=1500))
    assert any("Which addresses Services have was not seen" in warning for warning in unknown.warnings)
    known = planned(msgspec.structs.replace(wide, service_networks=("10.96.0.0/12",)), apart.Asked(egress=1500))
    assert routes(known, "n1") == (8950, {"10.42.0.0/16": 8950, "10.96.0.0/12": 8950}, 1500)
    assert not any("Services" in warning for warning in known.warnings)


def test_what_the_cloud_documents_of_its_way_out() -> None:
    """AWS: 1500 through an internet gateway (AWSEC2/latest/UserGuide/network_mtu)."""
    wide = networked(example.story(8950, example.trio(nic=9000, pod=8950, conflist=8950)), {})
    with pytest.raises(errors.UsageError, match="--egress-mtu auto: what the way out of this cluster carries is not"):
        planned(wide, apart.Asked(documented=True))

    def in_aws(found: Object) -> Object:
        spec = {**found.body.get("spec", {}), "providerID": "aws:///eu-west-1a/i-1"}  # type: ignore[dict-item]  # JSON
        return Object.of({**found.body, "spec": spec}) if found.kind == "Node" else found

    made = planned(
        msgspec.structs.replace(wide, objects=tuple(map(in_aws, wide.objects))), apart.Asked(documented=True)
    )
    assert routes(made, "n1")[2] == 1500
    assert any("AWS documents 1500 through an internet gateway" in warning for warning in made.warnings)


def test_a_way_out_that_carries_all_of_it_needs_nothing() -> None:
    assert planned(networked(example.story(1450), {}), apart.Asked(egress=1500)).steps == ()


def test_nics_that_are_all_the_same_need_no_routes() -> None:
    made = planned(networked(example.story(1450, example.trio(nic=9000)), {}), PER_NODE)
    assert routes(made, "n1") == (8950, {}, None)
    assert not any(isinstance(step, Live) and step.hold for step in made.steps)


def test_a_largest_size_bounds_every_node() -> None:
    assert routes(planned(mixed(), PER_NODE, 4000), "n1") == (
        4000,
        {"10.42.3.0/24": 1450, "192.168.77.3/32": 1500},
        None,
    )


def test_what_is_so_already_is_no_plan() -> None:
    def with_routes(seen: net.NodeObservation) -> net.NodeObservation:
        own = tuple(
            msgspec.structs.replace(
                port,
                routes=(
                    *port.routes,
                    *(
                        net.Route(family=4, destination=to, device="eth0", gateway="169.254.1.1", mtu=mtu)
                        for to, mtu in (("10.42.3.0/24", 1450), ("192.168.77.3", 1500))
                    ),
                ),
            )
            for port in seen.ports
        )
        return msgspec.structs.replace(seen, ports=own)

    found = mixed(pod=8950)
    assert planned(found, PER_NODE).steps
    there = tuple(with_routes(seen) if seen.node != "n3" else seen for seen in found.nodes)
    assert planned(msgspec.structs.replace(found, nodes=there), PER_NODE).steps == ()


@pytest.mark.parametrize(
    ("snapshot", "asked", "sentence"),
    [
        (example.story(1450, (example.node("n1", nic=9000), example.node("n2"))), PER_NODE, "no spec.podCIDRs"),
        (
            networked(example.story(1450, (example.node("n1", nic=9000), example.node("n2"))), {}, offset=7),
            PER_NODE,
            "default/web-1-0 on n1 has 10.42.1.10, which is outside of spec.podCIDRs of its Node (10.42.8.0/24)",
        ),
        (
            with_networks(mixed(pods=0), n2=["10.42.3.0/24"]),
            PER_NODE,
            "spec.podCIDRs of n2 (10.42.3.0/24) and of n3 (10.42.3.0/24) overlap, so no route leads to one node's pods",
        ),
        (
            with_networks(mixed(), n3=["10.42.0.0/16"]),
            PER_NODE,
            "spec.podCIDRs of n3 (10.42.0.0/16) and of n1 (10.42.1.0/24) overlap",
        ),
        (
            with_networks(mixed(), n3=["10.42.3.0/24", "fd00::/8"]),
            PER_NODE,
            "fd00::/8 is no network of one cluster's pods",
        ),
        (
            with_networks(mixed(), n3=["::ffff:10.42.3.0/120"]),  # IPv4, as a socket of IPv6 writes it
            PER_NODE,
            "which addresses the pods of n3 have is not known",
        ),
        (networked(example.story(1450), {}), apart.Asked(egress=500), "--egress-mtu 500 is less than 576"),
        (
            Snapshot(source="a folder", offline=True, objects=example.canal(1500)),
            PER_NODE,
            "--per-node is in the routes of running pods, by their nodes' NICs, and no node was observed",
        ),
    ],
)
def test_what_routes_cannot_say_is_refused_with_a_sentence(
    snapshot: Snapshot, asked: apart.Asked, sentence: str
) -> None:
    with pytest.raises(errors.UsageError) as refused:
        decide.plan(snapshot, None, 1500 if snapshot.offline else None, asked)
    assert sentence in str(refused.value)


def test_what_nobody_looked_into_is_not_taken_to_have_its_routes() -> None:
    """A command outside of the pods shows their host ends alone, and no route."""
    wide = networked(example.story(8950, example.trio(nic=9000, pod=8950, conflist=8950)), {})
    outside = tuple(
        msgspec.structs.replace(
            seen,
            seen_by="exec",
            ports=tuple(msgspec.structs.replace(port, pod_mtu=None, routes=()) for port in seen.ports),
        )
        for seen in wide.nodes
    )
    made = planned(msgspec.structs.replace(wide, nodes=outside), apart.Asked(egress=1500))
    assert [type(step).__name__ for step in made.steps] == ["Live"]
    assert any("No agent shows n1, n2 and n3" in warning for warning in made.warnings)


def test_both_families_get_their_routes() -> None:
    found = mixed()

    def dual(one: Object) -> Object:
        number = one.name[1:]
        spec = {"podCIDRs": [f"10.42.{number}.0/24", f"fd00:42:{number}::/64"]}
        return Object.of({**one.body, "spec": spec}) if one.kind == "Node" else one

    there = msgspec.structs.replace(found, objects=tuple(map(dual, found.objects)))
    made = planned(there, apart.Asked(per_node=True, egress=1500))
    assert routes(made, "n1") == (
        8950,
        {"10.42.0.0/16": 8950, "10.42.3.0/24": 1450}
        | {"fd00:42:1::/64": 8950, "fd00:42:2::/64": 8950, "fd00:42:3::/64": 1450},
        1500,
    )


def test_pods_without_veths_have_no_routes_of_ours() -> None:
    found = layout.model(example.cluster(), example.state(ports=net.PortRule()))
    with pytest.raises(errors.UsageError, match="do not hang on veths"):
        apart.find(found, PER_NODE, 1450)


def many(big: int, small: int) -> Snapshot:
    """So many nodes with NICs of 9000, each with a pod, and so many with 1500."""
    names = [f"n{number}" for number in range(1, big + small + 1)]

    def placed(found: Object) -> Object:
        if found.kind != "Node":
            return found
        place = f"{int(found.name[1:]) // 256}.{int(found.name[1:]) % 256}"
        addresses = [{"type": "InternalIP", "address": f"172.16.{place}"}]
        body = {**found.body, "spec": {"podCIDRs": [f"10.10{place}.0/24"]}, "status": {"addresses": addresses}}
        return Object.of(body)

    def seen(number: int, name: str) -> net.NodeObservation:
        port = example.port(f"web-{number}", f"10.10{number // 256}.{number % 256}.10")
        return example.node(name, nic=9000 if number <= big else 1500, ports=(port,))

    made = example.story(1450, tuple(seen(number, name) for number, name in enumerate(names, 1)))
    return msgspec.structs.replace(made, objects=tuple(map(placed, made.objects)))


def test_a_plan_of_more_routes_than_etcd_is_given_in_each_phase_is_refused() -> None:
    """Each of 150 nodes would be told of 300 networks and addresses."""
    with pytest.raises(errors.UsageError, match="--per-node: this plan names 45,000 routes, which each phase"):
        planned(many(150, 150), PER_NODE)


nics = st.lists(st.sampled_from((1400, 1500, 8951, 9000)), min_size=2, max_size=5)


@given(nics, st.sampled_from((None, 1300, 1500, 9000)))
def test_what_is_sent_to_a_pod_is_what_both_nodes_carry(sizes: list[int], egress: int | None) -> None:
    """By the longest prefix among a pod's routes; NICs carry 50 bytes less for pods, which VXLAN takes."""
    names = [f"n{number + 1}" for number in range(len(sizes))]
    seen = tuple(example.node(name, nic=nic, pods=1) for name, nic in zip(names, sizes, strict=True))
    found = layout.model(networked(example.cluster(seen), {}), example.state())
    made = apart.find(found, apart.Asked(per_node=True, egress=egress), min(sizes) - 50)
    carried = dict(zip(names, (size - 50 for size in sizes), strict=True))
    for sender in names:
        assert made.sizes[sender] == carried[sender]
        table = {ipaddress.ip_network(one.network): one.mtu for one in made.limits[sender]}
        default = made.out(sender) or made.sizes[sender]
        for receiver in names:
            to = ipaddress.ip_address(f"10.42.{receiver[1:]}.10")
            matching = [network for network in table if to in network]
            sent = table[max(matching, key=lambda network: network.prefixlen)] if matching else default
            assert sent == min(carried[sender], carried[receiver])

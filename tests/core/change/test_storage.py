"""The plan of a large cluster as the API keeps it: what fits in etcd, comes back the same, and is refused elsewhere."""

import msgspec
import pytest

from kubemtu.core import errors, net
from kubemtu.core.change import plan, storage, undo
from kubemtu.core.objects import Object
from kubemtu.kube import records

ETCD_TAKES = 1_572_864  # 1.5 MiB: etcd, server/embed/config.go, DefaultMaxRequestBytes
PORTS = net.PortRule(prefixes=("cali",))


def target(number: int, **changed: object) -> plan.NodeTarget:
    """A node as a cloud names it, with its tunnel and 30 pods of which some change."""
    fields: dict[str, object] = {
        "node": f"ip-10-{number // 256}-{number % 256}-117.eu-central-1.compute.internal",
        "ports": PORTS,
        "pod_mtu": 1400,
        "origin_mtu": 1450,
        "tunnel": "flannel.1",
        "tunnel_mtu": 1400,
        "origin_tunnel_mtu": 1450,
        "pod_networks": ("10.42.0.0/16",),
        "running": 30,
        "changing": number % 31,
    }
    return plan.NodeTarget(**(fields | changed))  # type: ignore[arg-type]  # a typo in a field's name fails at once


def decrease(nodes: tuple[plan.NodeTarget, ...], **changed: object) -> plan.Plan:
    whole = plan.Live(nodes=nodes, pin_mtu=1400, highest_mtu=1450, underlay=1450, why="as they were born")
    pins, devices = msgspec.structs.replace(whole, **changed).halves()
    return plan.Plan(cni="canal", target=1400, current=1450, steps=(pins, devices))


def stored(planned: plan.Plan, **progress: object) -> dict[str, object]:
    """The object, as it goes to the API."""
    stands = undo.Progress(**progress)  # type: ignore[arg-type]  # a typo in a field's name fails at once
    spec = {"plan": storage.written(planned), "direction": "forward"}
    status = {"progress": records.encoded(stands)}
    return {"kind": "MTUMigration", "metadata": {"name": "m"}, "spec": spec, "status": status}


def read(body: dict[str, object]) -> plan.Plan:
    return records.migration_of(Object.of(msgspec.json.decode(msgspec.json.encode(body)))).plan


def test_a_decrease_of_5000_nodes_fits_in_etcd_and_comes_back_as_it_went() -> None:
    """With every node's address to be pinned, and of each how many routes were locked before."""
    nodes = tuple(target(number) for number in range(5000))
    addresses = tuple(f"10.{number // 256}.{number % 256}.117" for number in range(5000))
    planned = decrease(nodes, host_mtu=1450, host_addresses=addresses)
    assert len(msgspec.json.encode(planned)) > 2 * ETCD_TAKES
    body = stored(planned, locked_before={one.node: 3 for one in nodes})
    assert len(msgspec.json.encode(body)) < 1_572_864
    assert storage.too_large(planned) == ""
    assert read(body) == planned


def test_routes_of_40000_in_all_fit_in_etcd() -> None:
    """80 nodes with 500 routes each, as many as a plan by node may name."""
    routes = tuple(net.NetworkMtu(network=f"10.{one // 256}.{one % 256}.0/24", mtu=1450) for one in range(500))
    large = {"pod_mtu": 8950, "network_mtus": routes}
    nodes = tuple(
        target(one, own_networks=(f"10.{one // 256}.{one % 256}.0/24",), **(large if one < 80 else {}))
        for one in range(330)
    )
    planned = decrease(nodes)
    assert len(msgspec.json.encode(planned)) > ETCD_TAKES
    assert len(msgspec.json.encode(stored(planned))) < 100_000
    assert read(stored(planned)) == planned


def test_the_order_of_the_nodes_and_what_is_their_own_comes_back() -> None:
    nodes = tuple(
        target(
            one, tunnel_mtu=1400 if one % 3 else None, changing=None if one % 2 else 4, bridge="b" if one % 5 else None
        )
        for one in range(4000)
    )
    planned = decrease(nodes)
    first, second = storage.written(planned)["steps"]
    assert (len(first["targets"]), second["nodesOf"], "nodes" in first, "nodes" in second) == (4, 0, False, False)
    assert read(stored(planned)) == planned


def test_halves_that_are_about_other_nodes_are_kept_apart() -> None:
    nodes = tuple(target(number) for number in range(3000))
    pins, devices = decrease(nodes).steps
    assert isinstance(devices, plan.Live)
    less = msgspec.structs.replace(devices, nodes=nodes[1:])
    planned = plan.Plan(cni="canal", target=1400, current=1450, steps=(pins, less))
    assert read(stored(planned)) == planned


def test_what_fits_is_kept_as_an_older_kubemtu_reads_it_and_wrote_it() -> None:
    planned = decrease(tuple(target(number) for number in range(3)))
    body = stored(planned)
    assert storage.written(planned) == msgspec.to_builtins(planned)
    assert msgspec.convert(storage.written(planned), plan.Plan) == read(body) == planned
    large = decrease(tuple(target(number) for number in range(4000)))
    assert read(stored(large) | {"spec": {"plan": msgspec.to_builtins(large)}}) == large


def test_a_kubemtu_that_does_not_know_the_form_refuses_it() -> None:
    large = storage.written(decrease(tuple(target(number) for number in range(4000))))
    with pytest.raises(msgspec.ValidationError, match="missing required field `nodes`"):
        msgspec.convert(large, plan.Plan)


def test_a_plan_that_no_object_of_the_api_holds_is_refused_with_a_sentence() -> None:
    said = storage.too_large(decrease(tuple(target(number) for number in range(20_000))))
    assert said.startswith("this plan is about 20,000 nodes and has ")
    assert "`kubemtu apply --config-only`" in said


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ({"targets": [], "alike": [{"node": "n1"}]}, "`target` 0 of n1 is none of the step's targets"),
        ({"targets": [], "alike": [{"node": "n1", "target": -1}]}, "`target` -1 of n1 is none of the step's targets"),
        ({"nodesOf": 0}, "`nodesOf` 0 is no earlier step with nodes"),
        ({"nodesOf": -1}, "`nodesOf` -1 is no earlier step with nodes"),
        ({"alike": 3}, "Expected `array`, got `int` - at `$.alike`"),
    ],
)
def test_a_form_that_nothing_writes_is_told_as_such(step: dict[str, object], sentence: str) -> None:
    body: dict[str, object] = {"kind": "MTUMigration", "metadata": {"name": "m"}}
    with pytest.raises(errors.Malformed) as refused:
        read(body | {"spec": {"plan": {"cni": "c", "target": 1, "current": 2, "steps": [{"type": "live"} | step]}}})
    assert f"spec.plan.steps cannot be read: {sentence}" in str(refused.value)


def test_a_word_that_stands_for_all_nodes_is_not_taken_a_thousand_times() -> None:
    """A step of a hundred bytes that names an earlier one is 5,000 nodes each time it is read."""
    first, second = storage.written(decrease(tuple(target(number) for number in range(5000))))["steps"]

    def of(steps: list[object]) -> dict[str, object]:
        spec = {"plan": {"cni": "canal", "target": 1400, "steps": steps}, "direction": "forward"}
        return {"kind": "MTUMigration", "metadata": {"name": "m"}, "spec": spec}

    assert len(read(of([first, *[second] * 39])).steps) == 40
    with pytest.raises(errors.Malformed, match="its steps are about more than 200,000 nodes"):
        read(of([first, *[second] * 40]))

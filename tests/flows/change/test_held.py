"""A change that stays in force: agents keep it, nothing else is begun, and it is taken back."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from tests.support.change.cluster import CONFIGS, MIGRATIONS, NODE_MTUS, Cluster, cluster
from tests.support.change.pods import born
from tests.support.labs import until

from kubemtu.core import errors, net
from kubemtu.core.change import migration, plan, undo
from kubemtu.flows import uninstall
from kubemtu.flows.change import act, force, messages, migrations, prove, survey, targets
from kubemtu.kube import api as kube_api
from kubemtu.kube import connect, records
from kubemtu_lab import scene as scenes
from kubemtu_lab.scenes import named

T = TypeVar("T")
OUTSIDE = "default via 169.254.1.1 dev eth0 proto static mtu 1500"
OURS = "10.244.0.0/16 via 169.254.1.1 dev eth0 proto 109 metric 10900"


@pytest.fixture(scope="module")
def lab(can_make_labs: None) -> Iterator[Cluster]:
    with cluster(scenes.resized(named("canal-jumbo"), nodes=2, pods=2), "held") as found:
        yield found


def asked(lab: Cluster, work: Callable[[kube_api.Api], Awaitable[T]]) -> T:
    """Run something against the API of the lab."""

    async def connected() -> T:
        async with kube_api.Api(connect.settings(str(lab.lab.kubeconfig), None)) as api:
            return await work(api)

    return asyncio.run(connected())


def saved(lab: Cluster, path: Path) -> Path:
    """Save a plan whose live step gives pods a route to each other and less by the default route, and is held."""
    lab.done("plan", "--out", str(path))
    whole = json.loads(path.read_text())
    (live,) = [step for step in whole["steps"] if step["type"] == "live"]
    live["hold"] = True
    for node in live["nodes"]:
        node |= {"networkMtus": [{"network": "10.244.0.0/16", "mtu": 8950}], "defaultRouteMtu": 1500}
    path.write_text(json.dumps(whole))
    return path


def routes(lab: Cluster, pod: str) -> str:
    return lab.lab.exec(pod, ["ip", "route"]).stdout


@pytest.mark.lab
@pytest.mark.netns
def test_it_stays_until_it_is_taken_back(lab: Cluster, tmp_path: Path) -> None:
    before = lab.picture()
    ended = lab.done("apply", str(saved(lab, tmp_path / "plan.json")), "--yes")
    assert "in force until `kubemtu rollback`" in ended.out
    assert "their default routes 1500" in ended.out
    (held,) = lab.migrations()
    assert held["status"]["progress"] | {"finished": True, "held": True} == held["status"]["progress"]  # type: ignore[operator]  # JSON
    for pod in ("pod-1a", "pod-2a"):
        assert OURS in routes(lab, pod)
        assert OUTSIDE in routes(lab, pod)

    born(lab, "newborn")
    until(lambda: OURS in routes(lab, "newborn") and OUTSIDE in routes(lab, "newborn"))
    lab.kube.remove_pod("newborn")

    refused = lab.run("relieve", "--mtu", "1400", "--yes")
    assert (refused.code, "is in force" in refused.err, "`kubemtu rollback`" in refused.err) == (2, True, True)
    with pytest.raises(errors.Conflict, match="is in force"):
        asked(lab, uninstall.survey)

    # node-2 as one that joined now: nothing is asked of it, and nothing was ever changed there.
    lab.kube.merge(f"{NODE_MTUS}/node-2", {"spec": None})
    until(lambda: not lab.node_mtu("node-2").get("status", {}).get("applied"))  # type: ignore[attr-defined]  # JSON
    lab.lab.exec("pod-2a", ["ip", "route", "del", "10.244.0.0/16"])
    default = ("default", "via", "169.254.1.1", "dev", "eth0", "proto", "static")
    lab.lab.exec("pod-2a", ["ip", "route", "replace", *default])

    async def extended(api: kube_api.Api) -> list[str]:
        standing = await migrations.in_force(api)
        assert standing is not None
        found = await force.newcomers(api, standing)
        await force.extend(api, standing, msgspec.structs.replace(standing.plan, steps=()))
        outcome = await act.carry_out(api, standing.name)
        assert messages.HELD in outcome.verified
        again = await migrations.in_force(api)
        assert again is not None
        assert await force.newcomers(api, again) == []
        return found

    assert asked(lab, extended) == ["node-2"]
    assert OURS in routes(lab, "pod-2a")
    assert OUTSIDE in routes(lab, "pod-2a")

    lab.done("rollback", "--yes")
    assert lab.comes_to(before) == ""
    (back,) = lab.migrations()
    assert not back["status"]["progress"].get("held")  # type: ignore[attr-defined]  # JSON
    lab.kube.delete(f"{MIGRATIONS}/{back['metadata']['name']}")


AGAIN = [
    # after `apply --per-node --egress-mtu 1500`, where all NICs are alike
    ([], 0),
    (["--per-node", "--egress-mtu", "1500"], 0),
    (["--egress-mtu", "1500"], 0),
    (["--per-node", "--egress-mtu", "1500", "--mtu", "8950"], 0),
    (["--per-node", "--egress-mtu", "1400"], 2),
    (["--per-node"], 2),
    (["--nic-mtu", "8000", "--egress-mtu", "1500"], 2),
    (["--mtu", "1400"], 2),
    (["--hosts"], 2),
    (["--config-only"], 2),
]


@pytest.mark.lab
@pytest.mark.netns
def test_the_same_that_is_asked_for_again_is_nothing_to_do(lab: Cluster) -> None:
    lab.done("apply", "--per-node", "--egress-mtu", "1500", "--yes")
    until(lambda: json.loads(lab.done("plan", "-o", "json").out)["steps"] == [])
    for words, code in AGAIN:
        ended = lab.run("apply", *words, "--yes")
        said = ended.out.startswith("✓ Nothing to do") if code == 0 else "is in force" in ended.err
        assert (words, ended.code, said) == (words, code, True), ended.out + ended.err
    lab.done("rollback", "--yes")
    lab.forget_migrations()


PUT_BACK: dict[str, object] = {"data": {"veth_mtu": "1450"}}
CONFIG = CONFIGS["canal"]


@pytest.mark.lab
@pytest.mark.netns
@pytest.mark.parametrize("restarted", [False, True], ids=["and restarted nothing", "and restarted the CNI's pods"])
def test_a_configuration_that_somebody_has_put_back_is_brought_there_again(lab: Cluster, *, restarted: bool) -> None:
    before = lab.picture()
    lab.done("apply", "--egress-mtu", "1500", "--yes")
    lab.kube.merge(CONFIG, PUT_BACK)
    if restarted:
        annotations = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
        body: dict[str, object] = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
        lab.kube.merge("/apis/apps/v1/namespaces/kube-system/daemonsets/canal", body)
        until(lambda: conflists(lab) == [1450, 1450])
    shown = lab.done("plan").out
    assert "edit ConfigMap kube-system/canal-config, data.veth_mtu: new pods get 8950" in shown
    assert "is in force: `kubemtu apply` carries this out as part of it" in " ".join(shown.split())
    again = lab.done("apply", "--egress-mtu", "1500", "--yes")
    assert "ConfigMap kube-system/canal-config: veth_mtu: 1450 → 8950" in again.out
    assert "pods restarted, all are ready" in again.out
    assert "PinPods" not in again.out  # no running pod has lost anything
    assert lab.config()["veth_mtu"] == "8950"
    until(lambda: conflists(lab) == [8950, 8950])
    until(lambda: json.loads(lab.done("plan", "-o", "json").out)["steps"] == [])
    (held,) = lab.migrations()
    assert held["status"]["progress"] | {"finished": True, "held": True} == held["status"]["progress"]  # type: ignore[operator]  # JSON
    assert "to be carried out once more, with its configuration" in json.dumps(held["status"]["journal"])
    lab.done("rollback", "--yes")
    assert lab.comes_to(before) == ""
    lab.forget_migrations()


def conflists(lab: Cluster) -> list[object]:
    """What new pods get by each node's file, as `check` shows it."""
    return [node["conflistMtu"] for node in json.loads(lab.run("check", "-o", "json").out)["nodes"]]


@pytest.mark.lab
@pytest.mark.netns
@pytest.mark.parametrize("line", ["veth_mtu: 1450 → 8950", "[3/3] restart"])
@pytest.mark.parametrize("forward", [True, False], ids=["carried on", "taken back"])
def test_a_driver_that_is_killed_while_it_brings_a_configuration_there_again(
    lab: Cluster, line: str, *, forward: bool
) -> None:
    before = lab.picture()
    lab.done("apply", "--egress-mtu", "1500", "--yes")
    lab.kube.merge(CONFIG, PUT_BACK)
    command = lab.start("apply", "--yes")
    command.until_says(line)
    command.kill()
    command.wait()
    if forward:
        lab.done("apply", "--yes")
        (held,) = lab.migrations()
        assert held["status"]["progress"]["held"]  # type: ignore[index]  # JSON
        assert lab.config()["veth_mtu"] == "8950"
        until(lambda: conflists(lab) == [8950, 8950])
    lab.done("rollback", "--yes")
    assert lab.comes_to(before) == ""
    lab.forget_migrations()


@pytest.mark.lab
@pytest.mark.netns
def test_a_tunnel_that_has_lost_its_size_gets_it_again(lab: Cluster) -> None:
    before = lab.picture()
    lab.done("apply", "--egress-mtu", "1500", "--yes")
    lab.lab.exec("node-1", ["ip", "link", "set", "flannel.1", "mtu", "1450"])
    until(lambda: json.loads(lab.done("plan", "-o", "json").out)["steps"] != [])
    assert "in force until `kubemtu rollback`" in lab.done("apply", "--yes").out
    assert lab.lab.mtu("node-1", "flannel.1") == 8950
    until(lambda: json.loads(lab.done("plan", "-o", "json").out)["steps"] == [])
    lab.done("rollback", "--yes")
    assert lab.comes_to(before) == ""
    lab.forget_migrations()


@pytest.mark.lab
@pytest.mark.netns
def test_what_a_cloud_documents_is_asked_for_again_where_every_nodemtu_was_deleted(lab: Cluster) -> None:
    """Nothing is asked of any node then, and the record still knows the way out: AWS documents 1500."""
    before = lab.picture()
    for name in lab.nodes:
        lab.kube.merge(f"/api/v1/nodes/{name}", {"spec": {"providerID": f"aws:///eu-west-1a/{name}"}})
    lab.done("apply", "--egress-mtu", "auto", "--yes")
    for name in lab.nodes:
        lab.kube.delete(f"{NODE_MTUS}/{name}")
    lab.wait_for_agents()
    other = lab.run("apply", "--egress-mtu", "1400", "--yes")
    assert (other.code, "is in force" in other.err) == (2, True), other.err
    again = lab.done("apply", "--egress-mtu", "auto", "--yes")
    assert "in force until `kubemtu rollback`" in again.out
    for name in lab.nodes:
        spec = lab.node_mtu(name)["spec"]
        assert (spec["podMtu"], spec["defaultRouteMtu"]) == (8950, 1500)  # type: ignore[index]  # JSON
    lab.done("rollback", "--yes")
    assert lab.comes_to(before) == ""
    lab.forget_migrations()


@pytest.mark.lab
@pytest.mark.netns
def test_a_record_that_somebody_has_deleted_leaves_a_way_back(lab: Cluster, tmp_path: Path) -> None:
    lab.done("apply", str(saved(lab, tmp_path / "plan.json")), "--yes")
    lab.forget_migrations()
    refused = lab.run("rollback", "--yes")
    assert refused.code == 2
    assert "something is still asked of node node-1 and node-2: somebody has deleted the MTUMigration" in refused.err
    lab.done("apply", "--mtu", "1400", "--yes")
    assert "proto 109" not in routes(lab, "pod-1a") + routes(lab, "pod-2a")
    assert lab.locked() == []
    assert [spec for spec in lab.picture().specs.values() if spec] == []


# Nodes that joined, by values


def target(node: str, pod_mtu: int, *networks: str, **fields: object) -> plan.NodeTarget:
    made = plan.NodeTarget(
        node=node, ports=net.PortRule(prefixes=("cali",)), pod_mtu=pod_mtu, origin_mtu=1450, own_networks=networks
    )
    return msgspec.structs.replace(made, **fields)


TOWARDS_2 = (net.NetworkMtu(network="10.42.2.0/24", mtu=1450),)
POOLS = plan.Live(
    nodes=(target("n1", 8950, "10.42.1.0/24", network_mtus=TOWARDS_2), target("n2", 1450, "10.42.2.0/24")),
    pin_mtu=1450,
    highest_mtu=8950,
    underlay=9000,
    why="why",
    hold=True,
)
NETWORKS = {f"n{number}": (f"10.42.{number}.0/24",) for number in range(1, 5)}


def test_the_line_of_the_devices_names_every_size() -> None:
    said = messages.meaning(migration.Phase.DEVICES, POOLS)
    assert said == "both ends of every veth go to 1450 and 8950"


def seen(node: str, nic: int, source: str) -> net.NodeObservation:
    return net.NodeObservation(
        node=node, uplinks=(net.Uplink(peer="192.168.77.1", device="eth0", mtu=nic, source=source),)
    )


def test_a_node_that_joined_is_of_the_size_that_its_nic_carries_and_others_send_it_no_more() -> None:
    small, large = seen("n3", 1500, "192.168.77.3"), seen("n4", 9001, "192.168.77.4")
    found = targets.present(POOLS, {"n3": small, "n4": large}, NETWORKS)
    assert {name: one.pod_mtu for name, one in found.items()} == {"n1": 8950, "n2": 1450, "n3": 1450, "n4": 8950}
    # What goes to the node itself has no tunnel around it.
    new = [
        net.NetworkMtu(network=network, mtu=mtu) for network, mtu in (("10.42.3.0/24", 1450), ("192.168.77.3/32", 1500))
    ]
    assert found["n1"].network_mtus == (*TOWARDS_2, *new)
    assert found["n4"].network_mtus == (*TOWARDS_2, *new)
    assert found["n2"].network_mtus == found["n3"].network_mtus == ()
    assert found["n3"].own_networks == ("10.42.3.0/24",)
    assert force.unplaced(found, POOLS) == ""


def test_a_node_that_joined_between_two_sizes_has_its_own_and_sends_the_small_no_more_than_they_take() -> None:
    """Were it one of the small, what it sends by its own tunnel would be too much for them, and stop the change."""
    found = targets.present(POOLS, {"n3": seen("n3", 4000, "192.168.77.3")}, NETWORKS)
    assert {name: one.pod_mtu for name, one in found.items()} == {"n1": 8950, "n2": 1450, "n3": 3950}
    assert found["n3"].network_mtus == TOWARDS_2
    towards_3 = [
        net.NetworkMtu(network=network, mtu=mtu) for network, mtu in (("10.42.3.0/24", 3950), ("192.168.77.3/32", 4000))
    ]
    assert found["n1"].network_mtus == (*TOWARDS_2, *towards_3)
    assert found["n2"].network_mtus == ()


def test_the_way_out_of_a_node_that_joined_between_two_sizes_is_that_of_the_others() -> None:
    inside = net.NetworkMtu(network="10.42.0.0/16", mtu=8950)
    large = msgspec.structs.replace(POOLS.nodes[0], network_mtus=(inside, *TOWARDS_2), default_route_mtu=1500)
    step = msgspec.structs.replace(POOLS, nodes=(large, POOLS.nodes[1]))
    found = targets.present(step, {"n3": seen("n3", 4000, "192.168.77.3")}, NETWORKS)["n3"]
    assert found.default_route_mtu == 1500
    assert found.network_mtus == (net.NetworkMtu(network="10.42.0.0/16", mtu=3950), *TOWARDS_2)
    # A way out that takes all that its pods send needs no route of its own, and then nothing inside does.
    wide = msgspec.structs.replace(step, nodes=(msgspec.structs.replace(large, default_route_mtu=5000), POOLS.nodes[1]))
    found = targets.present(wide, {"n3": seen("n3", 4000, "192.168.77.3")}, NETWORKS)["n3"]
    assert (found.default_route_mtu, found.network_mtus) == (None, TOWARDS_2)


def test_where_pods_have_other_addresses_a_smaller_node_that_joined_stops_the_change() -> None:
    elsewhere = NETWORKS | {"n1": ("10.99.1.0/24",)}  # Node.spec.podCIDRs, of which this CNI takes nothing
    found = targets.present(POOLS, {"n3": seen("n3", 1500, "192.168.77.3")}, elsewhere)
    assert found["n3"].own_networks == ()
    assert force.unplaced(found, POOLS).startswith("pods of node n3 take less than the 8950 bytes that others send")


def test_each_pair_of_nodes_is_measured_and_proven_at_its_own_size() -> None:
    sizes = {"n1": 8950, "n2": 1450, "n4": 8950}
    assert survey.classes(sizes) == [(1450, ["n1", "n2", "n4"]), (8950, ["n1", "n4"])]
    assert survey.classes({"n1": 8950}) == [(8950, ["n1"])]
    limited = target("n1", 8950, "10.42.1.0/24", network_mtus=TOWARDS_2, default_route_mtu=1500)
    assert targets.towards(limited, "10.42.2.9") == 1450
    assert targets.towards(limited, "10.42.1.9") is None  # its own: not by the default route
    assert targets.towards(limited, "10.42.3.9") == 1500
    assert targets.towards(POOLS.nodes[1], "10.42.3.9") is None
    port = net.PodPort(
        netns="p", inode=1, host_link="cali1", host_index=9, host_mtu=8950, pod_link="eth0", pod_index=2, pod_mtu=8950,
        addresses=("10.42.1.9",),
    )  # fmt: skip
    peer = msgspec.structs.replace(port, addresses=("10.42.2.9",))
    (way,) = prove.ways_of("n1", [port], {"n2": (peer,)}, {}, lambda _node, address: targets.towards(limited, address))
    assert way.expected == 1450


def test_an_agent_that_says_nothing_of_networks_is_an_older_one() -> None:
    report = migration.Applied(phase=migration.Phase.RECORD, restore=False, done=True, pods=1, settings_changed=0)
    told = msgspec.structs.replace(report, sent_by_network=TOWARDS_2)
    nodes = {one.node: one for one in POOLS.nodes}
    assert force.deaf(nodes, {"n1": told, "n2": report}) == []
    (sentence,) = force.deaf(nodes, {"n1": report, "n2": report})
    assert sentence.startswith("the agent of node n1 says nothing of sizes by destination")


# What is kept of it


def test_an_extension_that_stopped_is_taken_back_from_the_phase_that_it_had_come_to() -> None:
    whole = plan.Plan(cni="canal", target=8950, current=1450, steps=(POOLS,))
    done = undo.Progress(step=1, finished=True, held=True, epoch=3)
    assert [step.start for step in undo.undo(whole, 1, None) if isinstance(step, plan.Live)] == [
        migration.Phase.PIN_PODS
    ]
    stopped = msgspec.structs.replace(done, finished=False, held=False, phase=migration.Phase.DEVICES)
    turned = undo.turn(stopped, whole.steps)
    (back,) = undo.sequence(whole, turned)
    assert isinstance(back, plan.Live)
    assert (back.start, back.restore, back.hold) == (migration.Phase.DEVICES, True, False)


def test_the_condition_says_that_it_is_in_force() -> None:
    found = records.complete(undo.Progress(step=1, finished=True, held=True), (), "2026-01-01T00:00:00Z")
    assert (found.status, found.reason) == ("True", "Applied")
    assert found.message == "the plan is carried out, and in force: agents keep what it made"

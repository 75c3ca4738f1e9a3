"""`kubemtu rollback` on a lab: what it promises at the end, and what it refuses."""

import getpass
import json
import socket
from collections.abc import Iterator

import pytest
from tests.support.change.cluster import CONFIGS, MIGRATIONS, Cluster, cluster
from tests.support.labs import until

from kubemtu.core import objects
from kubemtu.kube import crd
from kubemtu_lab import scene as scenes
from kubemtu_lab.scenes import named

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NOTHING = (
    "error: there is nothing to roll back: no change is recorded, and 2 nodes looked at show no pin and no journal\n"
)
pytestmark = [pytest.mark.lab, pytest.mark.netns]


@pytest.fixture(scope="module")
def lab(can_make_labs: None) -> Iterator[Cluster]:
    with cluster(scenes.resized(named("canal-1500"), nodes=2, pods=1), "rollback") as found:
        yield found


def test_where_nothing_was_changed(lab: Cluster) -> None:
    ended = lab.run("rollback", "--yes")
    assert (ended.code, ended.err) == (
        2,
        NOTHING,
    )


def test_it_ends_with_what_was_verified(lab: Cluster) -> None:
    before = lab.picture()
    lab.done("apply", "--yes")
    ended = lab.done("rollback", "--yes")
    size = len(before.config["cni_network_config"].encode())
    assert ended.lines[-3] == "2 pods on 2 nodes: both ends have what was recorded, and no pin is left"
    assert ended.lines[-2] == (
        f"ConfigMap kube-system/canal-config, data.cni_network_config: as recorded, byte for byte ({size} bytes)"
    )
    assert ended.lines[-1].startswith("Rolled back in ")
    assert before.differs(lab.picture()) == ""
    again = lab.run("rollback", "--yes")
    name = lab.migrations()[-1]["metadata"]["name"]
    assert (again.code, again.err) == (2, f"error: there is nothing to roll back: {name} was taken back already\n")
    lab.forget_migrations()


def test_a_configuration_that_somebody_changed_since_stops_it_before_anything_is_done(lab: Cluster) -> None:
    lab.done("apply", "--yes")
    ours = lab.config()["cni_network_config"]
    lab.kube.merge(CONFIGS["canal"], {"data": {"cni_network_config": ours.replace("WARNING", "DEBUG")}})
    before = lab.picture()
    ended = lab.run("rollback", "--yes")
    assert ended.code == 7
    assert "data.cni_network_config is not what it was when the plan was made; nothing was done" in ended.err
    after = lab.picture()
    assert (after.kernel, after.config, after.specs) == (before.kernel, before.config, before.specs)
    assert after.unfinished == ()
    lab.kube.merge(CONFIGS["canal"], {"data": {"cni_network_config": ours}})
    lab.done("rollback", "--yes")
    assert lab.mtus() == {(1500, 1500)}


def test_an_edit_that_met_somebody_elses_value_does_not_stand_in_the_way_back(can_make_labs: None) -> None:
    """Running pods were raised, and the configuration cannot follow: the pods go back, the foreign value stays."""
    with cluster(scenes.resized(named("canal-jumbo"), nodes=2, pods=1), "foreign") as jumbo:
        command = jumbo.stopped("apply", "--yes", line="PinPods", step=0)
        jumbo.kube.merge(CONFIGS["canal"], {"data": {"veth_mtu": "1440"}})
        command.go_on()
        ended = command.wait()
        assert ended.code == 7
        assert "data.veth_mtu is '1440' but was '1450' when the plan was made" in ended.err
        assert jumbo.mtus() == {(8950, 8950)}
        jumbo.done("rollback", "--yes")
        assert jumbo.mtus() == {(1450, 1450)}
        assert jumbo.config()["veth_mtu"] == "1440"


def test_without_a_terminal_it_asks_for_yes(lab: Cluster) -> None:
    lab.done("apply", "--yes")
    ended = lab.run("rollback")
    assert ended.code == 2
    assert "there is no terminal to ask on: add --yes" in ended.err
    assert ended.lines[0].startswith("Taking back canal-1450-")
    assert lab.mtus() == {(1450, 1450)}
    lab.done("rollback", "--yes")


def test_a_change_that_nobody_drives_and_what_is_left_when_its_records_go(lab: Cluster) -> None:
    """It is no check mark; and without its records nobody claims that nothing was changed."""
    command = lab.stopped("apply", "--yes", line="PinPorts")
    command.kill()
    command.wait()
    ended = lab.run("check", "-o", "json")
    found = json.loads(ended.out)
    assert ended.code == 1
    (said,) = [one for one in found["findings"] if one["code"] == "MTU128"]
    assert said["place"] == f"MTUMigration {lab.migrations()[-1]['metadata']['name']}"
    assert f"driven last by {getpass.getuser()}@{socket.gethostname()} (process {command.pid})" in said["message"]
    assert "`kubemtu rollback` takes it back" in said["remedy"]
    assert "and its driver gave a sign" in said["message"]  # it was killed a moment ago, and could not let go
    assert "releaseTime" not in lab.migrations()[-1]["status"]["driver"]  # type: ignore[operator]  # JSON
    until(lambda: "ins hold: 2 pods on 2 nodes send at most 1450" in lab.run("check", "-o", "json").out)

    # The records go, the agents start anew: the pins are found, and are not denied.
    for kind in ("mtumigrations", "nodemtus"):
        lab.kube.delete(f"{CRDS}/{kind}.kubemtu.io")
    until(lambda: lab.kube.http.get(MIGRATIONS).status_code == 404)
    gone = lab.run("rollback", "--yes")
    assert (gone.code, "whether kubemtu has changed this cluster cannot be told from here" in gone.err) == (2, True)
    for body in crd.definitions():
        if objects.Object.of(body).name in {"mtumigrations.kubemtu.io", "nodemtus.kubemtu.io"}:
            lab.kube.create(CRDS, body)
    lab.wait_for_agents()
    until(lambda: "pins on node node-1 and node-2" in lab.run("rollback", "--yes").err)
    until(lambda: "MTU116" in {one["code"] for one in json.loads(lab.run("check", "-o", "json").out)["findings"]})

"""Relief: a decrease pins first, whatever its rollout does, and `relieve` does that alone."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from bench import relief
from tests.support.change.cluster import NODE_MTUS, Cluster, cluster
from tests.support.change.pods import born, ends, pinned
from tests.support.labs import Body, until

from kubemtu import access
from kubemtu_lab import scene as scenes
from kubemtu_lab.scenes import named

pytestmark = [pytest.mark.lab, pytest.mark.netns]
DAEMONSET = "/apis/apps/v1/namespaces/kube-system/daemonsets/canal"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
PINS = ("PinPorts",)  # of a decrease: one barrier behind all pins


@pytest.fixture(scope="module")
def lab(can_make_labs: None) -> Iterator[Cluster]:
    with cluster(scenes.resized(named("canal-1500"), nodes=2, pods=1), "relieve") as found:
        yield found


@pytest.fixture
def stalling(can_make_labs: None) -> Iterator[Cluster]:
    """A lab in which restarted pods of the CNI do not start before there is a ConfigMap `awaited`."""
    with cluster(scenes.resized(named("canal-1500"), nodes=2, pods=1), "stalling") as found:
        template = found.kube.get(DAEMONSET)["spec"]["template"]["spec"]  # type: ignore[index]  # JSON
        (first, *rest) = template["containers"]
        variable = {"name": "AWAITED", "valueFrom": {"configMapKeyRef": {"name": "awaited", "key": "key"}}}
        containers = [{**first, "env": [*first.get("env", []), variable]}, *rest]
        body: Body = {
            "spec": {"updateStrategy": {"type": "OnDelete"}, "template": {"spec": {"containers": containers}}}
        }
        found.kube.merge(DAEMONSET, body)
        yield found


def let_start(lab: Cluster) -> None:
    """Let the pods of the CNI start from now on."""
    body: Body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "awaited"}, "data": {"key": "value"}}
    lab.kube.create("/api/v1/namespaces/kube-system/configmaps", body)


def test_a_rollout_that_stalls_leaves_the_pins_and_both_ways_go_on_from_there(stalling: Cluster) -> None:
    lab = stalling
    before = lab.picture()
    command = lab.stopped("apply", "--yes", line="[3/4]", step=2)
    born(lab, "meanwhile")
    until(lambda: pinned(lab, "meanwhile") and reported_pods(lab) == 3)
    assert ends(lab, "meanwhile")[0] in {1500, 1450}  # by which configuration it was born is a matter of moments
    command.go_on()
    ended = command.wait()
    assert ended.code == 8
    assert "cannot start: container" in ended.err
    assert (
        ". Meanwhile pins hold on 2 nodes: 3 pods and the nodes send at most 1450; steps 3 to 4 of 4 are still to be "
        "done: `kubemtu apply` carries on from here, `kubemtu rollback` takes the pins back" in ended.err
    )
    assert all(pinned(lab, pod) for pod in ("pod-1a", "pod-2a", "meanwhile"))
    assert lab.lab.mtu("pod-1a") == lab.lab.mtu("pod-2a") == 1500

    # Who stopped is not waited for.
    found = json.loads(lab.run("check", "-o", "json").out)["findings"]
    (said,) = [one["message"] for one in found if one["code"] == "MTU128"]
    assert "Nobody drives it: its driver stopped" in said
    assert "Pins hold: 3 pods on 2 nodes send at most 1450" in said

    # Back: the running pods first, although the restart stalls again.
    lab.kube.remove_pod("meanwhile")
    back = lab.run("rollback", "--yes")
    assert back.code == 8
    assert "cannot start: container" in back.err
    taken = lab.picture()
    assert taken.config == before.config
    assert not any("mtu lock" in text for text in taken.kernel.values())
    assert lab.mtus() == {(1500, 1500)}
    let_start(lab)
    lab.done("rollback", "--yes")
    assert lab.comes_to(before) == ""
    lab.done("apply", "--yes")
    assert lab.mtus() == {(1450, 1450)}
    assert not any("mtu lock" in text for text in lab.picture().kernel.values())


def reported_pods(lab: Cluster) -> int:
    """Return for how many pods agents say what they have done to them."""
    told: list[Any] = [lab.node_mtu(node).get("status", {}) for node in lab.nodes]
    return sum(int(status.get("applied", {}).get("pods", 0)) for status in told)


def test_relief_alone_and_its_way_back(lab: Cluster) -> None:
    before = lab.picture()
    ended = lab.done("relieve", "--yes")
    assert "Measured: 1500 bytes arrive between all nodes." in ended.lines
    assert [line.split()[0] for line in ended.lines if line.startswith("    Pin")] == list(PINS)
    assert "pins hold on 2 nodes: 2 pods and the nodes send at most 1450" in ended.lines
    left = ended.lines.index("Still to be done, by `kubemtu apply`; `kubemtu rollback` takes the pins back:")
    assert [line.split()[1] for line in ended.lines[left + 1 :]] == ["edit", "restart", "change"]
    assert lab.mtus() == {(1500, 1500)}
    assert lab.config() == before.config
    assert all(pinned(lab, pod) for pod in ("pod-1a", "pod-2a"))
    born(lab, "later")
    until(lambda: pinned(lab, "later"))
    lab.kube.remove_pod("later")
    again = lab.done("relieve", "--yes")
    assert not any(line.startswith("    Pin") for line in again.lines)
    lab.done("rollback", "--yes")
    assert lab.comes_to(before) == ""


def test_relief_is_given_another_size_and_apply_carries_on_from_it(lab: Cluster) -> None:
    before = lab.picture()
    told = json.loads(lab.done("relieve", "--yes", "--mtu", "1400", "-o", "json").out)
    assert (told["direction"], told["done"], len(told["toDo"])) == ("relief", True, 3)
    assert told["reliefSeconds"] <= told["seconds"]
    lab.done("relieve", "--yes", "--mtu", "1350")
    assert "mtu lock 1350" in lab.lab.exec("pod-1a", ["ip", "route"]).stdout
    assert len(lab.picture().unfinished) == 1
    ended = lab.done("apply", "--yes")
    assert "[2/4]" in ended.out
    assert "[1/4]" not in ended.out
    assert lab.mtus() == {(1350, 1350)}
    assert not any("mtu lock" in text for text in lab.picture().kernel.values())
    lab.done("rollback", "--yes")
    assert before.differs(lab.picture()) == ""


def test_all_of_it_with_exactly_the_shipped_roles(lab: Cluster) -> None:
    """Who operates needs no more, who views is refused in a sentence; and another plan keeps the nodes' own pins."""
    before = lab.picture()
    recorded = [one["metadata"]["name"] for one in lab.migrations()]
    for role in access.roles():
        assert lab.kube.http.post(f"{RBAC}/clusterroles", json=role).status_code in {201, 409}
    for user, name in (("olga", "kubemtu-operator"), ("vera", "kubemtu-view")):
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
        body: Body = {"metadata": {"name": user}, "roleRef": reference, "subjects": [subject]}
        lab.kube.create(f"{RBAC}/clusterrolebindings", body)
    policy = ("policy", "--path-mtu", "1500", "--reason", "tried", "--name", "tried", "--apply", "--yes")
    relief = ("relieve", "--yes", "--nic-mtu", "1404", "--hosts")
    assert lab.run("check", "--as", "vera").code == 1
    for words in (("check", "--prove"), policy, relief, ("relieve", "--yes"), ("apply", "--yes")):
        ended = lab.run(*words, "--as", "vera")
        assert (ended.code, ended.err.count("\n")) == (4, 1), ended.err
        assert "ask for the ClusterRole kubemtu-operator, which has it, or the rule {apiGroups: " in ended.err
    assert before.differs(lab.picture()) == ""
    assert [one["metadata"]["name"] for one in lab.migrations()] == recorded
    proven = lab.run("check", "--prove", "--as", "olga")
    assert (proven.code, proven.err) == (1, "")
    assert "nodes: 2 of 2 ordered pairs carry 1500 bytes" in proven.out
    assert lab.done(*policy, "--as", "olga").err == ""
    lab.done(*relief, "--as", "olga")
    assert own_pins(lab) == {"1404"}
    lab.done("relieve", "--yes", "--mtu", "1300", "--as", "olga")  # without --hosts: whose pins go over all the same
    assert own_pins(lab) == {"1350"}
    back = lab.done("rollback", "--yes", "--as", "olga")
    assert "2 pods on 2 nodes: both ends have what was recorded, and no pin is left" in back.lines
    assert before.differs(lab.picture()) == ""
    lab.kube.delete("/apis/kubemtu.io/v1alpha1/mtupolicies/tried")
    lab.forget_migrations()


def own_pins(lab: Cluster) -> set[str]:
    """To what the routes for the nodes' own traffic are locked."""
    shown = [lab.lab.exec(node, ["ip", "route", "show", "proto", "109"]).stdout for node in lab.nodes]
    lines = [line for text in shown for line in text.splitlines()]
    assert len(lines) == 4  # each to the other and to the Service of the API server
    return {line.split("mtu lock ")[1].split()[0] for line in lines}


def test_what_is_under_way_further_is_not_relieved_again(lab: Cluster) -> None:
    command = lab.stopped("apply", "--yes", line="[3/4]", step=2)
    command.kill()
    command.wait()
    ended = lab.run("relieve", "--yes")
    assert ended.code == 2
    assert "is under way and stands at step 3 of 4: carry on with `kubemtu apply`, or take it back" in ended.err
    lab.done("apply", "--yes")
    nothing = lab.done("relieve", "--yes")
    assert nothing.lines[-1] == "Nothing to relieve: no running pod that was seen has more than 1450."
    lab.done("rollback", "--yes")
    lab.forget_migrations()


@pytest.mark.parametrize("line", ["have written down what they have", "[1/4]", *PINS])
def test_relief_that_is_killed_is_finished_or_taken_back(lab: Cluster, line: str) -> None:
    before = lab.picture()
    for then in ("relieve", "rollback"):
        command = lab.start("relieve", "--yes")
        command.until_says(line)
        command.kill()
        command.wait()
        lab.done(then, "--yes")
        if then == "relieve":
            assert all(pinned(lab, pod) for pod in ("pod-1a", "pod-2a"))
            lab.done("rollback", "--yes")
        assert before.differs(lab.picture()) == "", then


def test_a_journal_that_is_lost_between_relief_and_apply_leaves_no_pin_either_way(lab: Cluster) -> None:
    """The agent knows its pins for pins: neither the change nor its way back takes them for what was there before."""
    before = lab.picture()
    for way, mtus in (("apply", {(1450, 1450)}), ("rollback", {(1500, 1500)})):
        lab.done("relieve", "--yes")
        name = lab.migrations()[-1]["metadata"]["name"]
        lab.lab.exec("node-1", ["sh", "-c", f"rm /run/kubemtu/{name}.jsonl"])
        lab.kube.delete(f"{NODE_MTUS}/node-1")  # its agent lets go of what it had in memory
        ended = lab.done(way, "--yes")
        assert not any("mtu lock" in text for text in lab.picture().kernel.values())
        assert lab.mtus() == mtus
        if way == "rollback":
            (said,) = [line for line in ended.lines if "no pin is left" in line]
            assert said == (
                "2 pods on 2 nodes: both ends of 1 have what was recorded; of 1 nothing was recorded before the "
                "change, and they have what was usual (1500); no pin is left"
            )
        else:
            assert "2 pods on 2 nodes: both ends have 1450, and no pin is left" in ended.lines
            lab.done("rollback", "--yes")
        assert before.differs(lab.picture()) == ""
        lab.forget_migrations()


def test_nothing_is_lost_after_relief_while_the_rollout_is_slow(can_make_labs: None) -> None:
    """A switch port swallows what pods send; the fault's own cost ends with the last pin."""
    found = asyncio.run(relief.once(3))
    assert found.order[:5] == (*PINS, "EditValue", "Rollout")
    assert found.lost_before > 0
    assert (found.lost_after, found.stuck_after, found.failed_connects_after) == (0, 0, 0)
    assert found.sent_after > 100

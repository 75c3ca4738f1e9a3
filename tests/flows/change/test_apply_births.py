"""Pods that are born and die, and nodes that leave and join, while the MTU is changed: all are right at the end."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.support.change.cluster import Cluster, Picture, cluster
from tests.support.change.command import Command
from tests.support.change.pods import born, ends, pinned
from tests.support.labs import is_ready, until

from kubemtu.flows.agents import nodes
from kubemtu_lab import scene as scenes
from kubemtu_lab.scenes import named

pytestmark = [pytest.mark.lab, pytest.mark.netns]
PINNED = ("PinPods", "PinOverlay", "PinPorts", "Devices", "UnpinPorts", "UnpinOverlay")
HEALED = PINNED[2:]  # in a decrease, one barrier stands behind all pins
FREE = ("UnpinPods", "Settle")


@pytest.fixture(autouse=True, scope="module")
def slow_ends(patient: pytest.MonkeyPatch) -> None:
    """A pod that dies may take longer than usual, and is no failure before."""
    patient.setattr(nodes, "GRACE", 30.0)


@pytest.fixture(scope="module", params=["canal-jumbo", "flannel-1500"])
def other(request: pytest.FixtureRequest, can_make_labs: None) -> Iterator[Cluster]:
    with cluster(scenes.resized(named(str(request.param)), nodes=2, pods=2), f"births-{request.param}") as found:
        yield found


@pytest.fixture(scope="module")
def lab(can_make_labs: None) -> Iterator[Cluster]:
    with cluster(scenes.resized(named("canal-1500"), nodes=2, pods=2), "births") as found:
        yield found


class Paused:
    """A command that is stopped when it has printed a line, for as long as a block lasts."""

    def __init__(self, command: Command, line: str) -> None:
        self._command = command
        self._line = line

    def __enter__(self) -> None:
        self._command.until_says(self._line)
        self._command.stop()

    def __exit__(self, *_: object) -> None:
        self._command.go_on()


def target_and_origin(lab: Cluster) -> tuple[int, int]:
    return {"canal-1500": (1450, 1500), "canal-jumbo": (8950, 1450), "flannel-1500": (1450, 1500)}[lab.lab.scene.name]


def test_pods_born_and_deleted_in_every_phase_of_a_decrease(lab: Cluster) -> None:
    born_and_deleted(lab)


def test_pods_born_and_deleted_in_every_phase_of_an_increase_and_on_a_bridge(other: Cluster) -> None:
    born_and_deleted(other)


def born_and_deleted(lab: Cluster) -> None:
    """Change the MTU, with pods that come and go in every phase, and take it back."""
    before = lab.picture()
    target, origin = target_and_origin(lab)
    low = min(target, origin)
    phases = HEALED if target < origin else PINNED
    mortal = [f"mortal-{number}" for number in range(len(phases))]
    born(lab, *mortal)
    command = lab.start("apply", "--yes")
    for phase, dying in zip(phases, mortal, strict=True):
        with Paused(command, phase):
            name = f"in-{phase.lower()}"
            born(lab, name)
            until(lambda name=name: pinned(lab, name) or unpinning(lab))  # type: ignore[misc]  # a default is not typed
            moved = phase not in {"PinPods", "PinOverlay", "PinPorts"}
            until(lambda name=name, moved=moved: not moved or ends(lab, name) == (target, target))  # type: ignore[misc]
            lab.kube.delete(f"/api/v1/namespaces/default/pods/{dying}")
    for phase in FREE:
        with Paused(command, phase):
            born(lab, f"in-{phase.lower()}")
    ended = command.wait()
    assert ended.code == 0, ended.err
    until(lambda: not any(name in lab.kube.pods() for name in mortal))
    picture = lab.picture()
    assert lab.mtus() == {(target, target)}
    assert all(f"mtu lock {low}" not in text for text in picture.kernel.values())
    assert picture.unfinished == ()

    with Paused(command := lab.start("rollback", "--yes"), "Devices"):
        born(lab, "in-the-rollback")
    assert command.wait().code == 0
    assert lab.mtus() == {(origin, origin)}
    for name in [name for name in lab.kube.pods() if name.startswith("in-")]:
        lab.kube.remove_pod(name)
    until(lambda: _without_numbers(lab.picture()) == _without_numbers(before))  # the kernel ends links when it has time


def unpinning(lab: Cluster) -> bool:
    """Return True when the command had already begun to take pins off before it was stopped, as on a busy machine."""
    specs = (lab.node_mtu(node).get("spec") for node in lab.lab.record.nodes)
    return any(not isinstance(spec, dict) or spec.get("phase") in FREE for spec in specs)  # none: it was let go


def _without_numbers(picture: Picture) -> dict[str, list[str]]:
    """What a node and its pods have, without the indexes and the order that come of pods that were there for a time."""
    return {
        node: sorted(
            line.partition(": ")[2] if line[:1].isdigit() and ": " in line[:6] else line for line in text.splitlines()
        )
        for node, text in picture.kernel.items()
    }


def test_many_pods_at_once_while_devices_change(lab: Cluster) -> None:
    target, origin = target_and_origin(lab)
    names = [f"many-{number}" for number in range(12)]
    command = lab.start("apply", "--yes")
    command.until_says("PinPorts")
    for number, name in enumerate(names):
        lab.kube.run_pod(name, lab.nodes[number % 2], wait=False)
    assert command.wait().code == 0
    until(lambda: all(name in lab.kube.pods() and is_ready(lab.kube.pods()[name]) for name in names))
    assert lab.mtus() == {(target, target)}
    lab.done("rollback", "--yes")
    assert lab.mtus() == {(origin, origin)}
    for name in names:
        lab.kube.delete(f"/api/v1/namespaces/default/pods/{name}")
    until(lambda: not any(name in lab.kube.pods() for name in names))
    lab.forget_migrations()


def test_a_second_interface_and_the_hosts_network_are_left_alone(lab: Cluster) -> None:
    """A bridge of another network on the node, with a definition, and a pod that is attached to it by annotation."""
    target, _origin = target_and_origin(lab)
    born(lab, "on-the-host", host_network=True)
    place = lab.lab.pod("pod-1a")
    second: dict[str, object] = {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "second"},
        "spec": {"config": '{"type": "bridge", "bridge": "second0", "mtu": 1400}'},
    }
    lab.kube.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definitions())
    until(lambda: accepted(lab, second))
    status = json.dumps([{"name": "default/second", "interface": "net1", "mtu": 1400}])
    notes = {"k8s.v1.cni.cncf.io/networks": "second", "k8s.v1.cni.cncf.io/network-status": status}
    lab.kube.merge("/api/v1/namespaces/default/pods/pod-1a", {"metadata": {"annotations": notes}})
    ends_of = ("net1", "mtu", "1400", "type", "veth", "peer", "name", "multus1", "netns", "1", "mtu", "1400")
    lab.lab.exec(place.node, ["ip", "-n", place.netns, "link", "add", *ends_of])
    lab.lab.exec(place.node, ["ip", "link", "add", "second0", "mtu", "1400", "up", "type", "bridge"])
    lab.lab.exec(place.node, ["ip", "link", "set", "multus1", "up", "master", "second0"])
    lab.lab.exec("pod-1a", ["ip", "link", "set", "net1", "up"])
    lab.lab.exec("pod-1a", ["ip", "route", "add", "198.51.100.0/24", "dev", "net1", "mtu", "1333"])
    told = lab.done("apply", "--yes").out
    assert "Networks beside the pod network (default/second), by which 1 pod sends as well" in told
    assert ends(lab, "pod-1a") == (target, target)
    assert lab.lab.mtu("pod-1a", "net1") == 1400
    assert [lab.lab.mtu(place.node, device) for device in ("multus1", "second0")] == [1400, 1400]
    assert lab.lab.mtu(place.node, "eth0") == lab.lab.scene.nodes[0].nics[0].mtu
    assert "198.51.100.0/24 dev net1 scope link mtu 1333" in lab.lab.exec("pod-1a", ["ip", "route"]).stdout
    (line,) = json.loads(lab.done("check", "-o", "json").out)["otherNetworks"]
    assert (line["name"], line["device"], line["newPodMtus"], line["pods"], line["podMtus"]) == (
        "default/second", "second0", [1400], 1, [1400]
    )  # fmt: skip
    lab.done("rollback", "--yes")
    assert [lab.lab.mtu(place.node, device) for device in ("multus1", "second0")] == [1400, 1400]
    lab.lab.exec(place.node, ["ip", "link", "del", "multus1"])
    lab.lab.exec(place.node, ["ip", "link", "del", "second0"])
    lab.kube.delete(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/network-attachment-definitions.k8s.cni.cncf.io"
    )
    lab.kube.remove_pod("on-the-host")


def definitions() -> dict[str, object]:
    """The kind NetworkAttachmentDefinition (k8snetworkplumbingwg/multus-cni: deployments/multus-daemonset.yml)."""
    config = {"type": "object", "properties": {"config": {"type": "string"}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": config}}}
    plural, kind = "network-attachment-definitions", "NetworkAttachmentDefinition"
    return {
        "metadata": {"name": f"{plural}.k8s.cni.cncf.io"},
        "spec": {
            "group": "k8s.cni.cncf.io",
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": "network-attachment-definition", "kind": kind},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def accepted(lab: Cluster, definition: dict[str, object]) -> bool:
    """Create a definition; False while the server does not serve its kind yet."""
    try:
        lab.kube.create("/apis/k8s.cni.cncf.io/v1/namespaces/default/network-attachment-definitions", definition)
    except httpx2.HTTPStatusError:
        return False
    return True


def test_a_node_that_the_plan_does_not_know_is_taken_in(lab: Cluster, tmp_path: Path) -> None:
    before = lab.picture()
    target, origin = target_and_origin(lab)
    saved = tmp_path / "plan.json"
    lab.run("plan", "--out", str(saved))
    plan = json.loads(saved.read_text())
    for step in plan["steps"]:
        if step["type"] == "live":
            step["nodes"] = [node for node in step["nodes"] if node["node"] != "node-2"]
    saved.write_text(json.dumps(plan))
    lab.done("apply", str(saved), "--yes")
    assert lab.mtus() == {(target, target)}
    lab.done("rollback", "--yes")
    assert lab.mtus() == {(origin, origin)}
    until(lambda: _without_numbers(lab.picture()) == _without_numbers(before))  # the kernel ends links when it has time


def test_a_node_that_leaves_is_left_out(lab: Cluster) -> None:
    """The last test of this lab: the node does not come back."""
    target, _origin = target_and_origin(lab)
    with Paused(command := lab.start("apply", "--yes"), "PinPorts"):
        lab.kube.delete("/api/v1/nodes/node-2")
        until(lambda: lab.kube.http.get("/api/v1/nodes/node-2").status_code == 404)
    ended = command.wait()
    assert ended.code == 0, ended.err
    assert "node node-2 has left the cluster; it is left out" in ended.lines
    assert ends(lab, "pod-1a") == (target, target)

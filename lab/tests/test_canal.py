"""A lab of Canal behaves as RKE's clusters did: what arrives, what is rendered when, and what stays as it was."""

import json
import stat
import time
from collections.abc import Callable, Iterator

import pytest
from tests.support.labs import Body, Kube, Probes, container, is_ready, until, waiting

from kubemtu_lab.cluster import Lab

pytestmark = pytest.mark.lab
CONFIG = "/api/v1/namespaces/kube-system/configmaps/canal-config"
CONFLIST = "etc/cni/net.d/10-calico.conflist"


@pytest.fixture(scope="module")
def lab(start: Callable[..., Lab]) -> Lab:
    return start("canal-1500")


@pytest.fixture(scope="module")
def kube(lab: Lab) -> Iterator[Kube]:
    with Kube(lab.kubeconfig) as client:
        yield client


@pytest.fixture(scope="module")
def probe(lab: Lab) -> Iterator[Probes]:
    with Probes(lab) as probes:
        yield probes


@pytest.fixture
def chain(kube: Kube) -> Iterator[str]:
    """Give the CNI template as the scene has it, and put it back afterwards, on every node."""
    body = kube.get(CONFIG)
    before = body["data"]
    assert isinstance(before, dict)
    yield before["cni_network_config"]
    kube.merge(CONFIG, {"data": before})
    for node in ("node-1", "node-2", "node-3"):
        kube.restart_daemon(node)


def calico(written: str) -> dict[str, object]:
    plugins = json.loads(written)["plugins"]
    found: dict[str, object] = plugins[0]
    return found


def with_mtu(chain: str, mtu: object) -> Body:
    body = json.loads(chain)
    body["plugins"][0]["mtu"] = mtu
    return {"data": {"cni_network_config": json.dumps(body)}}


def test_the_story_is_that_1450_arrives_and_1451_needs_icmp_but_the_same_node_takes_1500(probe: Probes) -> None:
    told = probe("pod-1a", "pod-2a", 1280, 1450, 1451, 1500, 1501)
    assert told == {
        1280: "arrived",
        1450: "arrived",
        1451: "icmp 1450 from 192.168.77.1",
        1500: "icmp 1450 from 192.168.77.1",
        1501: "EMSGSIZE",
    }
    assert probe("pod-1a", "pod-1b", 1450, 1500) == {1450: "arrived", 1500: "arrived"}


def test_pods_that_are_deleted_while_they_are_attached_leave_nothing(lab: Lab, kube: Kube) -> None:
    """At sixty moments of their making: the thread of the CNI plugins goes on where the pod is not wanted any more."""

    def left() -> tuple[set[str], set[str]]:
        links = lab.exec("node-1", ["ls", "/sys/class/net"]).stdout.split()
        return {each.name for each in (lab.node_root("node-1") / "run/netns").iterdir()}, set(links)

    before = left()
    for number in range(60):
        kube.run_pod(f"brief-{number}", "node-1", wait=False)
        time.sleep(number / 1000)
        kube.delete(f"/api/v1/namespaces/default/pods/brief-{number}")
    until(lambda: not any(name.startswith("brief-") for name in kube.pods()))
    assert left() == before


def test_every_pod_reaches_every_other(probe: Probes) -> None:
    pods = ["pod-1a", "pod-2b", "pod-3a"]
    pairs = {(one, other): probe(one, other, 1400)[1400] for one in pods for other in pods if one != other}
    assert set(pairs.values()) == {"arrived"}


def test_links_are_what_calico_and_flannel_make(lab: Lab) -> None:
    # calico names a veth after SHA-1("default.podA"): cali7f94ce7c295 (conversion_test.go); ours by the same rule.
    place = lab.pod("pod-1a")
    assert place.host_link == "cali069321d8350"
    assert place.netns.startswith("cni-")
    assert len(place.netns) == len("cni-") + 36
    assert lab.mtu("pod-1a") == 1500
    assert lab.mtu("node-1", place.host_link) == 1500
    assert lab.mtu("node-1", "flannel.1") == 1450
    assert lab.mtu("node-1", "eth0") == 1500
    routes = lab.exec("node-1", ["cat", "/run/flannel/subnet.env"]).stdout
    assert "FLANNEL_MTU=1450\n" in routes
    assert "FLANNEL_SUBNET=10.244.1.1/24\n" in routes


def test_the_api_shows_nodes_and_pods_as_a_cluster_does(kube: Kube) -> None:
    node = kube.get("/api/v1/nodes/node-2")
    spec = node["spec"]
    assert isinstance(spec, dict)
    spec.pop("taints", None)  # a real server gives a new node one, and here is no controller to take it away
    assert spec == {"podCIDR": "10.244.2.0/24", "podCIDRs": ["10.244.2.0/24"]}
    status = node["status"]
    assert isinstance(status, dict)
    assert {"type": "InternalIP", "address": "192.168.77.2"} in status["addresses"]
    assert [(each["type"], each["status"]) for each in status["conditions"]] == [("Ready", "True")]
    pod = kube.pods()["pod-2a"]["status"]
    assert isinstance(pod, dict)
    assert pod["phase"] == "Running"
    assert pod["podIP"].startswith("10.244.2.")
    assert pod["hostIP"] == "192.168.77.2"
    assert container(kube.pods()["pod-2a"], "web")["restartCount"] == 0
    daemon = kube.pods("kube-system")[kube.daemon_pod("node-2")]
    assert [container(daemon, name)["ready"] for name in ("calico-node", "install-cni", "kube-flannel")] == [True] * 3


def test_install_cni_renders_the_template_and_keeps_it_private(lab: Lab, kube: Kube) -> None:
    file = lab.node_root("node-3") / CONFLIST
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    written = file.read_text()
    assert "__" not in written
    assert calico(written)["nodename"] == "node-3"
    assert "mtu" not in calico(written)


def test_a_rollout_renders_the_new_mtu_and_only_new_pods_take_it(lab: Lab, kube: Kube, chain: str) -> None:
    kube.merge(CONFIG, with_mtu(chain, 1450))
    kube.run_pod("before-rollout", "node-1")
    assert lab.mtu("before-rollout") == 1500

    restart: Body = {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}}
    kube.merge("/apis/apps/v1/namespaces/kube-system/daemonsets/canal", restart)
    for node in ("node-1", "node-2", "node-3"):
        file = lab.node_root(node) / CONFLIST
        until(lambda file=file: calico(file.read_text()).get("mtu") == 1450)  # type: ignore[misc]  # bound at once

    kube.run_pod("after-rollout", "node-1")
    place = lab.pod("after-rollout")
    assert (lab.mtu("after-rollout"), lab.mtu("node-1", place.host_link)) == (1450, 1450)
    assert (lab.mtu("before-rollout"), lab.mtu("pod-1a")) == (1500, 1500)
    kube.remove_pod("before-rollout")
    kube.remove_pod("after-rollout")


def test_a_hand_edit_acts_on_new_pods_until_install_cni_runs_again(lab: Lab, kube: Kube) -> None:
    file = lab.node_root("node-2") / CONFLIST
    body = json.loads(file.read_text())
    body["plugins"][0]["mtu"] = 1410
    file.write_text(json.dumps(body))
    kube.run_pod("by-hand", "node-2")
    assert lab.mtu("by-hand") == 1410
    kube.remove_pod("by-hand")

    kube.restart_daemon("node-2")
    until(lambda: "mtu" not in calico(file.read_text()))
    kube.run_pod("by-template", "node-2")
    assert lab.mtu("by-template") == 1500
    kube.remove_pod("by-template")


def test_a_lost_canal_iface_holds_the_next_canal_pod_and_its_return_lets_it_go(kube: Kube) -> None:
    kube.merge(CONFIG, {"data": {"canal_iface": None}})
    name = kube.restart_daemon("node-3", ready=False)
    until(lambda: waiting(kube.pods("kube-system")[name], "kube-flannel")[0] == "CreateContainerConfigError")
    pod = kube.pods("kube-system")[name]
    assert waiting(pod, "kube-flannel")[1] == "Couldn't find key canal_iface in ConfigMap kube-system/canal-config"
    assert not is_ready(pod)

    kube.merge(CONFIG, {"data": {"canal_iface": ""}})
    until(lambda: is_ready(kube.pods("kube-system")[name]))


def test_a_quoted_mtu_keeps_every_new_pod_from_its_network(lab: Lab, kube: Kube, chain: str) -> None:
    kube.merge(CONFIG, with_mtu(chain, "1450"))
    kube.restart_daemon("node-1")
    until(lambda: calico((lab.node_root("node-1") / CONFLIST).read_text()).get("mtu") == "1450")
    kube.run_pod("quoted", "node-1", wait=False)
    told = "json: cannot unmarshal string into Go struct field NetConf.mtu of type int"
    until(lambda: told in waiting(kube.pods()["quoted"], "main")[1])
    assert waiting(kube.pods()["quoted"], "main")[0] == "ContainerCreating"
    spaces = lab.node_root("node-1") / "run/netns"
    until(lambda: len([*spaces.iterdir()]) == 2)  # pod-1a and pod-1b: what failed leaves nothing, once it has
    kube.remove_pod("quoted")


def test_a_broken_template_crashes_install_cni_and_leaves_the_file(lab: Lab, kube: Kube, chain: str) -> None:
    before = (lab.node_root("node-2") / CONFLIST).read_text()
    kube.merge(CONFIG, {"data": {"cni_network_config": chain.replace('"plugins"', "plugins")}})
    name = kube.restart_daemon("node-2", ready=False)
    until(lambda: waiting(kube.pods("kube-system")[name], "install-cni")[0] == "CrashLoopBackOff")
    last = container(kube.pods("kube-system")[name], "install-cni")["lastState"]
    assert isinstance(last, dict)
    assert "is not a valid json object" in last["terminated"]["message"]
    assert last["terminated"]["exitCode"] == 1
    assert (lab.node_root("node-2") / CONFLIST).read_text() == before


def test_an_existing_flannel_link_keeps_its_mtu_over_restarts(lab: Lab, kube: Kube) -> None:
    lab.set_mtu("node-3", "flannel.1", 1400)
    kube.restart_daemon("node-3")
    assert lab.mtu("node-3", "flannel.1") == 1400
    assert "FLANNEL_MTU=1450\n" in (lab.node_root("node-3") / "run/flannel/subnet.env").read_text()

    lab.exec("node-3", ["ip", "link", "delete", "flannel.1"])
    kube.restart_daemon("node-3")
    assert lab.mtu("node-3", "flannel.1") == 1450


def test_a_nic_that_the_node_lacks_stops_flannel_with_its_own_words(kube: Kube) -> None:
    kube.merge(CONFIG, {"data": {"canal_iface": "ens192"}})
    name = kube.restart_daemon("node-2", ready=False)
    until(lambda: waiting(kube.pods("kube-system")[name], "kube-flannel")[0] == "CrashLoopBackOff")
    last = container(kube.pods("kube-system")[name], "kube-flannel")["lastState"]
    assert isinstance(last, dict)
    assert "Failed to find interface to use that matches" in last["terminated"]["message"]
    assert not is_ready(kube.pods("kube-system")[name])
    kube.merge(CONFIG, {"data": {"canal_iface": ""}})
    kube.restart_daemon("node-2")


def test_a_deleted_pod_leaves_neither_veth_nor_namespace(lab: Lab, kube: Kube) -> None:
    kube.run_pod("short", "node-1")
    place = lab.pod("short")
    assert (lab.node_root("node-1") / "run/netns" / place.netns).exists()
    kube.remove_pod("short")
    assert not (lab.node_root("node-1") / "run/netns" / place.netns).exists()
    links = lab.python("node-1", "import socket; print([name for _, name in socket.if_nameindex()])")
    assert place.host_link not in links


def test_without_a_conflist_new_pods_wait_and_the_node_is_not_ready(lab: Lab, kube: Kube) -> None:
    (lab.node_root("node-3") / CONFLIST).unlink()
    kube.run_pod("early", "node-3", wait=False)
    until(lambda: waiting(kube.pods()["early"], "main")[1] != "")
    assert waiting(kube.pods()["early"], "main") == (
        "ContainerCreating",
        "network plugin is not ready: cni config uninitialized",
    )

    def node_ready() -> str:
        status = kube.get("/api/v1/nodes/node-3")["status"]
        assert isinstance(status, dict)
        return str(status["conditions"][0]["status"])

    until(lambda: node_ready() == "False")
    kube.restart_daemon("node-3")
    until(lambda: is_ready(kube.pods()["early"]))
    until(lambda: node_ready() == "True")
    kube.remove_pod("early")


def test_a_program_in_a_pod_runs_in_its_network_and_starts_again(lab: Lab, kube: Kube) -> None:
    program = ["/bin/sh", "-c", "cat /proc/net/route > /run/new; mv /run/new /run/seen-$WHO; exit 3"]
    spec = {
        "nodeName": "node-1",
        "containers": [
            {"name": "main", "image": "lab/exec", "command": program, "env": [{"name": "WHO", "value": "me"}]}
        ],
    }
    body: Body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "program"}, "spec": spec}
    kube.create("/api/v1/namespaces/default/pods", body)
    until(lambda: int(str(container(kube.pods()["program"], "main")["restartCount"])) >= 2)
    last = container(kube.pods()["program"], "main")["lastState"]
    assert isinstance(last, dict)
    assert last["terminated"]["exitCode"] == 3
    seen = (lab.node_root("node-1") / "run/seen-me").read_text()
    assert "0101FEA9" in seen  # 169.254.1.1, Calico's gateway: this was the pod's routing table
    kube.remove_pod("program")

"""The agent of a lab's node: true to its spec whatever happens, and honest about what it cannot do."""

import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.change.cluster import MIGRATIONS, NODE_MTUS, Cluster, agent_pid, cluster, kill_agent
from tests.support.labs import Body, until

from kubemtu_lab import scene as scenes
from kubemtu_lab.scenes import named

pytestmark = [pytest.mark.lab, pytest.mark.netns]

SPEC: Body = {
    "migration": "by-hand",
    "phase": "PinPorts",
    "pinMtu": 1450,
    "highestMtu": 1500,
    "ports": {"prefixes": ["cali"]},
    "podMtu": 1450,
    "originMtu": 1500,
    "tunnel": "flannel.1",
    "podNetworks": ["10.244.0.0/16"],
}
EPOCHS = itertools.count(10)
LAST_EPOCH = 1000
AWAY = """
import json, subprocess, sys, time
link = sys.argv[1]
def mtu():
    told = subprocess.run(["ip", "-j", "link", "show", "dev", link], capture_output=True, check=True).stdout
    return json.loads(told)[0]["mtu"]
for _ in range(50):
    subprocess.run(["ip", "link", "set", link, "mtu", "1500"], check=True)
    began = time.monotonic()
    while mtu() != 1450:
        assert time.monotonic() - began < 90, "it was never set back"
    took = time.monotonic() - began
    if took < 0.3:  # rounds are a second apart, and the last correction began one
        print(took)
        break
"""


DROPPED = """
import socket
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(3):
    sender.sendto(bytes(1440), ("192.168.77.2", 9))
"""


@pytest.fixture(scope="module")
def lab(can_make_labs: None) -> Iterator[Cluster]:
    with cluster(scenes.resized(named("canal-1500"), nodes=2, pods=1), "agent") as found:
        change: Body = {"apiVersion": "kubemtu.io/v1alpha1", "kind": "MTUMigration", "metadata": {"name": "by-hand"}}
        found.kube.create(MIGRATIONS, change | {"spec": {"plan": {"cni": "canal"}}})
        driven: Body = {"status": {"progress": {"epoch": LAST_EPOCH, "finished": True}}}
        found.kube.merge(f"{MIGRATIONS}/by-hand/status", driven)
        yield found


@pytest.fixture
def asked(lab: Cluster) -> Iterator[Cluster]:
    """The lab, with nothing asked of any node at the end, and everything as it was born."""
    yield lab
    for phase in ("PinPorts", "Devices", "Settle"):
        lab.kube.merge(f"{NODE_MTUS}/node-1", {"spec": None})
        ask(lab, phase=phase, restore=True)
        until(functools.partial(done, lab, phase))
    lab.kube.merge(f"{NODE_MTUS}/node-1", {"spec": None})
    until(lambda: current(lab) and not applied(lab))


def ask(lab: Cluster, **spec: object) -> None:
    """Write the spec of node-1."""
    lab.kube.merge(f"{NODE_MTUS}/node-1", {"spec": SPEC | {"epoch": next(EPOCHS)} | spec})


def status(lab: Cluster) -> Body:
    found = lab.node_mtu("node-1").get("status")
    return found if isinstance(found, dict) else {}


def applied(lab: Cluster) -> Body:
    found = status(lab).get("applied")
    return found if isinstance(found, dict) else {}


def current(lab: Cluster) -> bool:
    found = lab.node_mtu("node-1")
    metadata, told = found["metadata"], found.get("status")
    assert isinstance(metadata, dict)
    return isinstance(told, dict) and told.get("observedGeneration") == metadata["generation"]


def host_link(lab: Cluster) -> str:
    return lab.lab.pod("pod-1a").host_link


def mtu(lab: Cluster) -> tuple[int, int]:
    return lab.lab.mtu("node-1", host_link(lab)), lab.lab.mtu("pod-1a")


def done(lab: Cluster, phase: str) -> bool:
    return current(lab) and applied(lab).get("phase") == phase and applied(lab).get("done") is True


def test_a_row_is_made_true_and_told(asked: Cluster) -> None:
    ask(asked)
    until(lambda: done(asked, "PinPorts"))
    assert applied(asked)["failures"] == []
    assert (
        "default via 169.254.1.1 dev eth0 proto static mtu lock 1450"
        in asked.lab.exec("pod-1a", ["ip", "route"]).stdout
    )
    assert mtu(asked) == (1500, 1500)
    ask(asked, phase="Devices")
    until(lambda: done(asked, "Devices"))
    assert mtu(asked) == (1450, 1450)
    until(lambda: told_ends(asked) == (1450, 1450))


def told_ends(lab: Cluster) -> tuple[int, int]:
    """Both ends of the pod on node-1, as its agent tells them."""
    ports = lab.observation("node-1")["ports"]
    assert isinstance(ports, list)
    return ports[0]["hostMtu"], ports[0]["podMtu"]


def test_what_somebody_changes_is_corrected_within_milliseconds(asked: Cluster) -> None:
    ask(asked, phase="Devices")
    until(lambda: done(asked, "Devices"))
    command = [sys.executable, "-I", "-S", "-c", AWAY, host_link(asked)]
    # A full round comes every second, counted from the last one; on a busy machine the soonest of many tells.
    assert asked.lab.exec("node-1", command, timeout=300).stdout != ""


def test_a_pod_that_is_born_is_corrected_and_recorded_as_born_later(asked: Cluster) -> None:
    ask(asked, phase="Devices")
    until(lambda: done(asked, "Devices"))
    asked.kube.run_pod("newborn", "node-1")
    until(
        lambda: asked.lab.mtu("newborn") == 1450 and asked.lab.mtu("node-1", asked.lab.pod("newborn").host_link) == 1450
    )
    lines = asked.lab.exec("node-1", ["cat", "/run/kubemtu/by-hand.jsonl"]).stdout.splitlines()
    ports = {entry["hostLink"]: entry["bornLater"] for entry in map(json.loads, lines) if entry["entry"] == "port"}
    assert ports[asked.lab.pod("newborn").host_link] is True
    asked.kube.remove_pod("newborn")


def test_an_api_that_is_away_stops_nothing(asked: Cluster) -> None:
    ask(asked, phase="Devices")
    until(lambda: done(asked, "Devices"))
    supervisor = asked.lab.record.pid
    os.kill(supervisor, signal.SIGSTOP)
    try:
        asked.lab.exec("node-1", ["ip", "link", "set", host_link(asked), "mtu", "1500"])
        until(lambda: mtu(asked) == (1450, 1450))
        time.sleep(1.5)
        asked.lab.exec("node-1", ["ip", "link", "set", host_link(asked), "mtu", "1500"])
        until(lambda: mtu(asked) == (1450, 1450))
    finally:
        os.kill(supervisor, signal.SIGCONT)
    ask(asked, phase="UnpinPorts")
    until(lambda: done(asked, "UnpinPorts"))


def test_a_deleted_nodemtu_is_made_again(asked: Cluster) -> None:
    asked.kube.delete(f"{NODE_MTUS}/node-1")
    until(lambda: asked.kube.http.get(f"{NODE_MTUS}/node-1").status_code == 200 and bool(asked.observation("node-1")))
    metadata = asked.node_mtu("node-1")["metadata"]
    assert isinstance(metadata, dict)
    assert [owner["kind"] for owner in metadata["ownerReferences"]] == ["Node"]


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"podNetworks": ["not a network"]}, "'not a network' does not appear to be an IPv4 or IPv6 network"),
        ({"tunnel": "vxlan.calico", "tunnelMtu": 1400}, "this node has no tunnel vxlan.calico: name the right one"),
        ({"pinMtu": 1200, "podMtu": 1200}, "1200 is below 1280"),
    ],
)
def test_a_spec_that_makes_no_sense_is_said_to(asked: Cluster, spec: Body, sentence: str) -> None:
    before = agent_pid(asked, "node-1")
    ask(asked, **spec)
    until(lambda: current(asked) and bool(applied(asked).get("failures")))
    failures = applied(asked)["failures"]
    assert isinstance(failures, list)
    assert sentence in failures[0]
    assert applied(asked)["done"] is False
    assert agent_pid(asked, "node-1") == before


def accepted(lab: Cluster) -> Body:
    """The condition Accepted of node-1."""
    found: object = status(lab).get("conditions")
    assert isinstance(found, list)
    (one,) = found
    assert isinstance(one, dict)
    return one


def test_what_an_agent_refuses_it_says_in_a_condition_and_leaves_the_node_as_it_is(asked: Cluster) -> None:
    picture = asked.picture().kernel["node-1"]
    until(lambda: accepted(asked)["reason"] == "NothingAsked")
    since = accepted(asked)["lastTransitionTime"]
    for spec, reason, sentence in (
        ({"migration": "nobodys"}, "MigrationNotFound", "MTUMigration nobodys does not exist"),
        ({"epoch": LAST_EPOCH + 1}, "MigrationNotFound", "has come to epoch 1001, the last is 1000"),
        ({"tunnel": "eth0", "tunnelMtu": 1280}, "OutsidePodNetwork", "eth0 is a device of kind veth, no tunnel"),
        ({"bridge": "eth0"}, "OutsidePodNetwork", "eth0 is a device of kind veth, no bridge"),
        ({"ports": {"prefixes": [""]}}, "OutsidePodNetwork", "'' begins the names of far more links"),
        ({"pinMtu": 1501}, "OutOfBounds", "pinMtu 1501 is above pod MTU 1450"),
        ({"hostMtu": 1400, "hostAddresses": ["192.0.2.1"]}, "UnknownHost", "'192.0.2.1' is no address of a node"),
    ):
        ask(asked, **{"phase": "Devices", **spec})
        until(lambda: current(asked) and bool(applied(asked)))
        told = accepted(asked)
        assert (told["type"], told["status"], told["reason"]) == ("Accepted", "False", reason), (spec, told)
        assert sentence in str(told["message"])
        assert told["observedGeneration"] == status(asked)["observedGeneration"]
        assert (applied(asked)["done"], applied(asked)["settingsChanged"]) == (False, 0)
        assert told["lastTransitionTime"] != since
        assert asked.picture().kernel["node-1"] == picture
        asked.kube.merge(f"{NODE_MTUS}/node-1", {"spec": None})
        until(lambda: current(asked) and accepted(asked)["status"] == "True")
    ask(asked, tunnel="eth0", tunnelMtu=1280)
    until(lambda: current(asked) and accepted(asked)["status"] == "False")
    command = [sys.executable, "-m", "kubemtu", "check", "--kubeconfig", str(asked.lab.kubeconfig)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert shown.returncode == 1
    assert "MTU129 warning  NodeMTU node-1" in shown.stdout, shown.stdout
    assert "The agent of node node-1 refuses what this asks: eth0 is a device of kind veth, no tunnel" in shown.stdout
    ask(asked)
    until(lambda: done(asked, "PinPorts"))
    assert (accepted(asked)["status"], accepted(asked)["reason"]) == ("True", "Obeyed")


def test_an_earlier_driver_is_not_obeyed(asked: Cluster) -> None:
    earlier = next(EPOCHS)
    ask(asked)
    until(lambda: done(asked, "PinPorts"))
    asked.kube.merge(f"{NODE_MTUS}/node-1", {"spec": None})
    until(lambda: current(asked) and not applied(asked))
    ask(asked, phase="Settle", epoch=earlier)
    time.sleep(0.6)
    assert not current(asked)
    assert mtu(asked) == (1500, 1500)
    ask(asked, phase="PinPorts")
    until(lambda: done(asked, "PinPorts"))


def test_two_agents_on_one_node(asked: Cluster) -> None:
    first = agent_pid(asked, "node-1")
    assert first is not None
    command = [
        sys.executable,
        "-m",
        "kubemtu",
        "agent",
        "--node-name",
        "node-1",
        "--kubeconfig",
        "/etc/kubernetes/kubelet.conf",
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    second = asked.lab.spawn("node-1", command, stderr=subprocess.PIPE, env=environment)
    _, said = second.communicate(timeout=60)
    assert second.returncode == 7
    (sentence,) = said.decode().splitlines()
    assert sentence.startswith("error: another kubemtu agent (process ")
    assert sentence.endswith(
        ") is at work on this node and holds /run/kubemtu/agent.lock; two would overrule each other: stop that one "
        "first"
    )
    assert agent_pid(asked, "node-1") == first


def test_told_to_end_it_ends_at_once_and_well(asked: Cluster) -> None:
    ask(asked)
    until(lambda: done(asked, "PinPorts"))
    first = kill_agent(asked, "node-1", signal.SIGTERM)
    until(lambda: agent_pid(asked, "node-1") != first)
    until(lambda: agent_pid(asked, "node-1") not in {None, first})
    (pod,) = [pod for pod in asked.kube.pods("kubemtu").values() if _on(pod) == "node-1"]
    state = pod["status"]
    assert isinstance(state, dict)
    until(lambda: _last_exit(asked) == 0)
    ask(asked, phase="Devices")
    until(lambda: done(asked, "Devices"))


def _on(pod: Body) -> object:
    spec = pod["spec"]
    assert isinstance(spec, dict)
    return spec["nodeName"]


def _last_exit(lab: Cluster) -> object:
    for pod in lab.kube.pods("kubemtu").values():
        found = pod["status"]
        assert isinstance(found, dict)
        if _on(pod) == "node-1":
            return found["containerStatuses"][0]["lastState"].get("terminated", {}).get("exitCode")
    return None


def test_a_conflist_that_changes_is_seen_soon(lab: Cluster) -> None:
    path = "/etc/cni/net.d/10-calico.conflist"
    text = lab.lab.exec("node-2", ["cat", path]).stdout
    try:
        lab.lab.exec("node-2", ["sh", "-c", f"cat > {path}"], text=text.replace("{", '{"_": 1,', 1))
        until(lambda: '"_": "(1 characters not shown)"' in json.dumps(lab.observation("node-2")).replace('\\"', '"'))
    finally:
        lab.lab.exec("node-2", ["sh", "-c", f"cat > {path}"], text=text)


def test_drops_that_pods_suffer_are_told_with_the_next_look(lab: Cluster) -> None:
    """Nothing else changes: only the counters move, and they are told, but not with each packet."""
    lab.lab.set_mtu("node-2", lab.lab.pod("pod-2a").host_link, 1400)

    def drops() -> int:
        ports = lab.observation("node-2")["ports"]
        assert isinstance(ports, list)
        return int(ports[0]["hostRxDropped"])

    before = drops()
    try:
        lab.lab.exec("pod-2a", [sys.executable, "-I", "-S", "-c", DROPPED])
        until(lambda: drops() > before)  # no counter makes an event: with the next look, 20 seconds later at most
    finally:
        lab.lab.set_mtu("node-2", lab.lab.pod("pod-2a").host_link, 1500)


def test_no_credential_of_a_node_leaves_it(lab: Cluster, tmp_path: Path) -> None:
    """Planted beside the CNI's configuration and within it; looked for in every object, saved file, text and log."""
    secret, folder = "eyJhbGciOiJSUzI1NiJ9.c2VjcmV0", "/etc/cni/net.d"
    path = f"{folder}/10-calico.conflist"
    text = lab.lab.exec("node-2", ["cat", path]).stdout
    planted = {
        f"{folder}/calico-kubeconfig": f"users: [{{user: {{token: {secret}}}}}]",
        f"{folder}/calico-tls.json": f"-----BEGIN RSA PRIVATE KEY----- {secret}",
        path: text.replace("{", f'{{"k8s_auth_token": "{secret}",', 1),
    }
    try:
        for place, what in planted.items():
            lab.lab.exec("node-2", ["sh", "-c", f"cat > {place}"], text=what)
        lab.lab.exec("node-2", ["mkfifo", f"{folder}/99-pipe.conflist"])
        until(lambda: "99-pipe" in json.dumps(lab.observation("node-2").get("errors", "")))
        until(lambda: "k8s_auth_token" in json.dumps(lab.observation("node-2")["files"]))
        saved = tmp_path / "snapshot.json"
        command = [sys.executable, "-m", "kubemtu"]
        told = [
            subprocess.run(
                [*command, *words, "--kubeconfig", str(lab.lab.kubeconfig)], capture_output=True, text=True, check=False
            )
            for words in (("check", "--save", str(saved)), ("check", "-o", "json"), ("plan",), ("plan", "-o", "yaml"))
        ]
        everything = [
            json.dumps(lab.kube.get(NODE_MTUS)),
            saved.read_text(),
            *(one.stdout + one.stderr for one in told),
            (lab.lab.folder / "log").read_text(errors="replace"),
            lab.lab.exec("node-2", ["sh", "-c", "cat /run/kubemtu/* 2>/dev/null"], check=False).stdout,
        ]
        assert [place for place, one in enumerate(everything) if secret in one] == []
    finally:
        lab.lab.exec("node-2", ["sh", "-c", f"cat > {path}"], text=text)
        lab.lab.exec("node-2", ["rm", "-f", *(each for each in planted if each != path), f"{folder}/99-pipe.conflist"])


def test_the_journal_of_a_change_says_whether_it_has_ended(asked: Cluster) -> None:
    def journals() -> list[object]:
        found = asked.observation("node-1").get("journals", [])
        assert isinstance(found, list)
        return [one["ended"] for one in found if one["name"] == "by-hand"]

    for phase in ("PinPorts", "Devices"):
        ask(asked, phase=phase)
        until(functools.partial(done, asked, phase))
    until(lambda: journals() == [False])
    for phase in ("UnpinPorts", "Settle"):
        ask(asked, phase=phase)
        until(functools.partial(done, asked, phase))
    asked.kube.merge(f"{NODE_MTUS}/node-1", {"spec": None})
    until(lambda: journals() == [True])
    ask(asked, phase="PinPorts", restore=True)
    until(lambda: journals() == [False])

"""`kubemtu apply` on labs: what it refuses, before anything is done, and in which words."""

import contextlib
import json
import os
import pty
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from tests.support.change.cluster import CONFIGS, NODE_MTUS, Cluster, cluster, kill_agent
from tests.support.labs import Body, is_ready, until
from tests.support.scenes import situations

from kubemtu.cli import planning
from kubemtu.core import net
from kubemtu.core.change import plan
from kubemtu_lab import scene as scenes
from kubemtu_lab.scenes import named

pytestmark = [pytest.mark.lab, pytest.mark.netns]
CONFIG = CONFIGS["canal"]


@pytest.fixture(scope="module")
def lab(can_make_labs: None) -> Iterator[Cluster]:
    with cluster(scenes.resized(named("canal-1500"), nodes=2, pods=1), "apply") as found:
        yield found


@pytest.fixture(scope="module")
def agentless(can_make_labs: None) -> Iterator[Cluster]:
    with cluster(scenes.resized(named("canal-1500"), nodes=2, pods=1), "agentless", agents=False) as found:
        yield found


@pytest.fixture
def still(lab: Cluster) -> Iterator[Cluster]:
    """A lab in which nothing may be changed."""
    before = lab.picture()
    yield lab
    assert before.differs(lab.picture()) == ""


def saved(lab: Cluster, folder: Path) -> Path:
    """A plan in a file."""
    path = folder / "plan.json"
    assert lab.run("plan", "--out", str(path)).code == 0
    return path


# Asking


def test_without_a_terminal_it_asks_for_yes(still: Cluster) -> None:
    ended = still.run("apply")
    assert (ended.code, ended.err) == (
        2,
        "error: there is no terminal to ask on: add --yes to go ahead without being asked\n",
    )
    assert "Pods of canal: from 1500 to 1450" in ended.out


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 130), (b"\x03", 130)])
def test_no_and_ctrl_c_at_the_question_do_nothing(still: Cluster, answer: bytes, code: int) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["KUBECONFIG"] = str(still.lab.kubeconfig)
        os.execv(sys.executable, [sys.executable, "-m", "kubemtu", "apply"])
    said = b""
    while b"Apply this plan? [y/N]:" not in said:
        said += os.read(terminal, 4096)
    ended, status = 0, 0
    while not ended:  # a signal between the question and the read waits for the next key, in Python's own input()
        time.sleep(0.3)
        with contextlib.suppress(OSError):  # it has just closed it
            os.write(terminal, answer)
        time.sleep(1)
        ended, status = os.waitpid(pid, os.WNOHANG)
    assert os.waitstatus_to_exitcode(status) == code
    os.close(terminal)


# A plan from a file


def test_a_plan_from_a_file_is_what_is_done(lab: Cluster, tmp_path: Path) -> None:
    before = lab.picture()
    path = saved(lab, tmp_path)
    ended = lab.done("apply", str(path), "--yes")
    assert "proven: 2 of 2 full-size packets between pods arrived" in ended.lines
    assert lab.mtus() == {(1450, 1450)}
    lab.done("rollback", "--yes")
    assert before.differs(lab.picture()) == ""


def test_a_plan_that_is_stale_is_refused_before_anything_is_done(lab: Cluster, tmp_path: Path) -> None:
    path = saved(lab, tmp_path)
    text = lab.config()["cni_network_config"]
    lab.kube.merge(CONFIG, {"data": {"cni_network_config": text + "\n"}})
    before = lab.picture()
    ended = lab.run("apply", str(path), "--yes")
    assert ended.code == 7
    assert ended.err == (
        "error: ConfigMap kube-system/canal-config: data.cni_network_config is not what it was when the plan was made; "
        "nothing was done: see whether that change is wanted, then make a new plan\n"
    )
    assert before.differs(lab.picture()) == ""
    lab.kube.merge(CONFIG, {"data": {"cni_network_config": text}})


@pytest.mark.parametrize(
    ("content", "code", "sentence"),
    [
        ("{", 5, "plan.json is not a plan of kubemtu: Input data was truncated; save one with `kubemtu plan --out "),
        (
            "[]",
            5,
            "plan.json is not a plan of kubemtu: Expected `object`, got `array`; save one with `kubemtu plan --out ",
        ),
        (
            '{"cni": "canal", "target": "1450", "current": null, "steps": []}',
            5,
            "Expected `int`, got `str` - at `$.target`",
        ),
        (
            '{"cni": "canal", "target": 1450, "current": null, "steps": [], "schema": "kubemtu.io/plan/v9"}',
            5,
            "plan.json was written for kubemtu.io/plan/v9, and this kubemtu reads kubemtu.io/plan/v1; save it anew",
        ),
        (None, 2, "plan.json cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_is_no_plan(still: Cluster, tmp_path: Path, content: str | None, code: int, sentence: str) -> None:
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_text(content)
    ended = still.run("apply", str(path), "--yes")
    assert ended.code == code
    assert sentence in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_file_says_already_which_mtu(still: Cluster, tmp_path: Path) -> None:
    ended = still.run("apply", str(saved(still, tmp_path)), "--mtu", "1400", "--yes")
    assert ended.code == 2
    assert "says already which MTU to lead to: leave out --mtu and --nic-mtu" in ended.err


# Nothing to do; programs


def test_a_healthy_cluster_has_nothing_to_do_and_its_network_is_seen_to_carry_it(lab: Cluster) -> None:
    lab.done("apply", "--yes")
    before = lab.picture()
    ended = lab.done("apply", "--yes")
    assert ended.lines == [
        "✓ Nothing to do: every pod has 1450, and new ones get it.",
        "  2 of 2 full packets between the nodes arrived",
    ]
    until(lambda: before.differs(lab.picture()) == "")
    told = json.loads(lab.done("apply", "--yes", "-o", "json").out)
    assert (told["done"], told["migration"], told["proof"]["verdict"]) == (True, "", "held")
    lab.done("rollback", "--yes")


def test_programs_get_the_outcome_on_stdout_and_the_events_on_stderr(lab: Cluster) -> None:
    ended = lab.done("apply", "--yes", "-o", "json")
    told = json.loads(ended.out)
    assert told["schema"] == "kubemtu.io/apply/v1"
    assert told["direction"] == "forward"
    assert told["proof"] == {"verdict": "held", "probes": 2, "arrived": 2, "against": [], "unanswered": []}
    events = [json.loads(line) for line in ended.err.splitlines()]
    kinds = {event["kind"] for event in events}
    assert kinds == {"step", "phase", "progress", "node", "done", "note"}
    (devices,) = [event for event in events if event.get("phase") == "Devices"]
    assert (devices["nodes"], devices["pods"], devices["changed"], devices["step"]) == (2, 2, 4, 3)
    back = yaml.safe_load(lab.done("rollback", "--yes", "-o", "yaml").out)
    assert (back["direction"], back["done"], len(back["verified"])) == ("backward", True, 2)


def test_the_text_is_a_line_a_phase_and_short_edits(lab: Cluster) -> None:
    ended = lab.done("apply", "--yes")
    assert '    ✓ ConfigMap kube-system/canal-config: cni_network_config, 1 line added: "mtu": 1450' in ended.lines
    (line,) = [line for line in ended.lines if line.startswith("    Pin")]
    assert line.startswith("    PinPorts      pods and nodes send at most 1450  ")
    # two routes a pod, one to the other node's pods, one to each pod
    assert "2 nodes, 2 pods, 8 settings, " in line
    assert sum(line.startswith("    Unpin") for line in ended.lines) == 3
    assert "    2 of 2 new pods are ready" in ended.lines
    assert "2 pods on 2 nodes: both ends have 1450, and no pin is left" in ended.lines
    lab.done("rollback", "--yes")


# Nodes without an agent


def test_without_agents_nothing_is_begun(agentless: Cluster) -> None:
    before = agentless.picture_of_an_agentless_lab()
    ended = agentless.run("apply", "--yes")
    assert ended.code == 3
    assert ended.err == (
        "error: no node has a kubemtu-agent that answers, so running pods cannot be changed: install the agents with "
        "`kubemtu install`, or change the configuration alone with --config-only\n"
    )
    assert agentless.picture_of_an_agentless_lab() == before


def test_the_configuration_alone_needs_no_agents_and_says_what_remains(agentless: Cluster) -> None:
    before = agentless.config()
    ended = agentless.done("apply", "--config-only", "--nic-mtu", "1500", "--yes")
    assert '"mtu": 1450' in agentless.config()["cni_network_config"]
    assert any(line.startswith("Applied in") for line in ended.lines)
    assert (
        "Running pods and tunnel devices keep the MTU that they have, because no node was observed" in ended.lines[-1]
    )
    assert agentless.mtus() == {(1500, 1500)}
    agentless.kube.run_pod("new", "node-1")
    assert agentless.lab.mtu("new") == 1450
    agentless.kube.remove_pod("new")
    agentless.done("rollback", "--yes")
    assert agentless.config() == before


def test_the_configuration_alone_where_there_are_agents(lab: Cluster) -> None:
    ended = lab.done("apply", "--config-only", "--yes")
    assert "2 running pods keep the MTU they have until they are restarted" in ended.lines[-1]
    assert lab.mtus() == {(1500, 1500)}
    assert '"mtu": 1450' in lab.config()["cni_network_config"]
    lab.done("rollback", "--yes")


def test_a_node_whose_agent_is_silent_is_refused_unless_it_is_left_out(lab: Cluster) -> None:
    before = lab.picture()
    selector: Body = {"spec": {"template": {"spec": {"nodeSelector": {"agent": "yes"}}}}}
    daemonset = "/apis/apps/v1/namespaces/kubemtu/daemonsets/kubemtu-agent"
    try:
        lab.kube.merge("/api/v1/nodes/node-1", {"metadata": {"labels": {"agent": "yes"}}})
        lab.kube.merge(daemonset, selector)
        until(lambda: alone(lab, "node-1"))
        lab.kube.delete(f"{NODE_MTUS}/node-2")
        ended = lab.run("apply", "--yes")
        assert ended.code == 3
        assert ended.err == (
            "error: node node-2 cannot be held back while the others change (it has no NodeMTU); nothing was begun: "
            "see that kubemtu-agent runs there (its log says what keeps it from the API server), or leave it as it is "
            "with --without node-2: `kubemtu relieve --without node-2` pins what the others send, at once\n"
        )
        assert lab.run("apply", "--without", "node-7", "--yes").err == (
            "error: --without: the cluster has no node node-7; it has node-1 and node-2\n"
        )
        ended = lab.done("apply", "--without", "node-2", "--yes")
        assert "node-2: left out, so the pods there keep what they have" in ended.lines[-1]
        assert lab.mtus() == {(1450, 1450), (1500, 1500)}
        lab.done("rollback", "--yes")
    finally:
        lab.kube.merge(daemonset, {"spec": {"template": {"spec": {"nodeSelector": None}}}})
    until(lambda: bool(lab.observation("node-2").get("uplinks")))
    assert lab.comes_to(before) == ""


def alone(lab: Cluster, node: str) -> bool:
    """Say whether the only pod of kubemtu's is the one on that node, and the one that its DaemonSet has now."""
    pods: list[Any] = list(lab.kube.pods("kubemtu").values())
    told = [(pod["spec"]["nodeName"], "agent" in pod["spec"].get("nodeSelector", {}), is_ready(pod)) for pod in pods]
    return told == [(node, True, True)]


def test_an_agent_that_is_stuck_is_found_out_before_anything_is_changed(
    lab: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubemtu.flows.change.checks.RECORDING", 8.0)
    before = lab.picture()
    kill_agent(lab, "node-2", 19)  # SIGSTOP: it told something a moment ago, and answers nothing
    try:
        ended = lab.run("apply", "--yes")
    finally:
        kill_agent(lab, "node-2", 18)
    assert ended.code == 3
    assert ended.err == (
        "error: the agent of node node-2 did not answer within 8 s; see that the kubemtu-agent pod runs there, then "
        "run the same command again\n"
    )
    until(lambda: before.differs(lab.picture()) == "")
    lab.done("apply", "--yes")
    lab.done("rollback", "--yes")


# The network between the nodes


def test_a_black_hole_stops_it_before_anything_is_changed(can_make_labs: None) -> None:
    """A switch port has 1400 where every interface says 1500, and is right by what it can know.

    It takes 1404: a port forwards what is larger by a VLAN tag (include/linux/netdevice.h __is_skb_forwardable).
    """
    holes = named("canal-black-hole")
    few = [msgspec.structs.replace(node, pods=node.pods[:1]) for node in holes.nodes]
    with cluster(holes.replace(nodes=tuple(few), grace_seconds=8.0), "hole") as lab:
        before = lab.picture()
        ended = lab.run("apply", "--mtu", "auto", "--yes")
        assert ended.code == 8
        assert ended.err == (
            "error: every interface that was seen is as it should be, but the network between the nodes does not carry "
            "what pods may send: node-1 > node-2: 1404 bytes arrive, and everything larger, up to 1500, vanishes "
            "without a word: connections hang once they send full-size packets (3 other ways like it); 1404 bytes "
            "leave 1354 for pods. "
            "Nothing was changed; apply --mtu 1354 or less, or correct the network\n"
        )
        ended = lab.run("apply", "--mtu", "1355", "--yes")
        assert ended.code == 8
        assert ended.err == (
            "error: the network between the nodes does not carry this plan: node-1 > node-2: 1404 bytes arrive, and "
            "everything larger, up to 1405, vanishes without a word: connections hang once they send full-size packets "
            "(3 other ways like it); 1404 bytes leave 1354 for pods. Nothing was changed but the pins; "
            "apply --mtu 1354 or less, or correct the network first. Meanwhile pins hold on 3 nodes: 3 pods and the "
            "nodes send at most 1355; steps 2 to 4 of 4 are still to be done: `kubemtu apply` carries on from here, "
            "`kubemtu rollback` takes the pins back\n"
        )
        assert "mtu lock 1355" in lab.lab.exec("pod-1a", ["ip", "route"]).stdout
        lab.done("rollback", "--yes")
        until(lambda: before.differs(lab.picture()) == "")
        assert lab.run("apply", "--mtu", "1355", "--yes").code == 8
        (stopped,) = lab.picture().unfinished
        with situations.pinned(lab.lab, "node-2", 1404):  # its kubelet is behind that port: no rollout would end
            ended = lab.done("apply", "--mtu", "1354", "--yes")
        assert "proven: 6 of 6 full-size packets between pods arrived" in ended.lines
        assert ended.lines[-2].endswith(f" s ({stopped}).")  # the same change, with another size
        assert lab.mtus() == {(1354, 1354)}
        until(lambda: lab.questions() == [])
        lab.done("rollback", "--yes")
        until(lambda: before.differs(lab.picture()) == "")


# Without a cluster


def node(name: str, *, pods: int, origin: int) -> plan.NodeTarget:
    return plan.NodeTarget(
        node=name, ports=net.PortRule(prefixes=("cali",)), pod_mtu=8950, origin_mtu=origin, running=pods
    )


def test_what_the_configuration_alone_leaves_is_said() -> None:
    live = plan.Live(nodes=(node("n1", pods=3, origin=1450),), pin_mtu=1450, highest_mtu=8950, underlay=9000, why="why")
    whole = plan.Plan(cni="canal", target=8950, current=1450, steps=(live,))
    left = planning.without_live(whole)
    assert left.steps == ()
    assert left.remains == (
        "3 running pods keep the MTU they have until they are restarted, or until `kubemtu apply` changes them.",
        "New pods get 8950 while running ones take less: what a new pod sends them beyond that does not arrive.",
    )


@pytest.mark.parametrize("word", ["big", "-1", "1450.0", ""])
def test_an_mtu_that_is_no_number(still: Cluster, word: str) -> None:
    ended = still.run("apply", "--mtu", word, "--yes")
    assert (ended.code, ended.err) == (2, f"error: --mtu takes a number of bytes or auto, not {word!r}\n")

"""`kubemtu probe` and `kubemtu check --prove` in a cluster: everybody to everybody, and what is at fault."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from typing import Any

import pytest
from tests.support.labs import until
from tests.support.scenes import situations
from tests.support.scenes.cluster import NODE_MTUS, Cluster, told
from tests.support.scenes.situations import everywhere, hole

from kubemtu_lab.scene import Canal, Flannel, Nic, Scene, nodes

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("has_nft")]

SCENE = Scene(name="mesh", summary="", nodes=nodes(4, 1), cni=Flannel(), version="v1.30.4", probes=True)
MIXED = (
    Scene(
        name="mesh-mixed", summary="", nodes=nodes(3, 0), cni=Canal(era="C", mtu=1350), version="v1.28.12", probes=True
    )
    .with_nics("node-2", Nic(mtu=9000))
    .with_nics("node-3", Nic(mtu=1400))
)
DAEMONSET = "/apis/apps/v1/namespaces/kubemtu/daemonsets/kubemtu-probe"

on_lab = pytest.mark.parametrize("cluster", [SCENE], indirect=True)


@pytest.fixture
def lab(cluster: Cluster) -> Cluster:
    """The lab, all of whose agents see their probe pods."""
    until(lambda: all(len(situations.seen_ends(cluster, node)) == 2 for node in cluster.lab.record.nodes))
    return cluster


def probe(cluster: Cluster, *words: str, code: int = 1) -> list[str]:
    """What `kubemtu probe` prints."""
    ended = cluster.run("probe", *words)
    assert ended.code == code, f"{ended.out}{ended.err}"
    return ended.out.splitlines()


def prove(cluster: Cluster, code: int = 1) -> list[tuple[str, str, str]]:
    """The findings of `kubemtu check --prove`: the code, where, and what to do."""
    found = told(cluster.run("check", "--prove", "-o", "json"))
    assert found.code == code
    return [(one.code, one.place, one.remedy) for one in found.findings]


def measured(found: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Those of the measurement itself; the others hold the configuration against what was measured."""
    return [one for one in found if one[0] in {"MTU118", "MTU123", "MTU124", "MTU125"}]


@on_lab
def test_all_is_well(lab: Cluster) -> None:
    lines = probe(lab, code=0)
    assert [line for line in lines if line and line[0] in "✓✗!"] == [
        "✓ nodes: 12 of 12 ordered pairs carry 1500 bytes",
        "✓ pods: 12 of 12 ordered pairs carry 1450 bytes",
    ]
    assert not any("\x1b" in line for line in lines)
    assert prove(lab, code=0) == []
    assert probe(lab, "--nodes", "--max-pps", "40", code=0)[0] == "✓ nodes: 12 of 12 ordered pairs carry 1500 bytes"


BAD_NODE = {
    "to": (
        9,
        (
            "node-2 receives at most {size} bytes: from all 3 other nodes larger packets vanish, while node-2's own "
            "packets of {full} arrive everywhere"
        ),
        "Look at the NIC of node-2 and at its port on the switch, in the direction towards the node.",
    ),
    "from": (
        9,
        (
            "what node-2 sends arrives up to {size} bytes: to all 3 other nodes larger packets vanish, while packets "
            "of {full} to node-2 arrive"
        ),
        "Look at the way out of node-2: routes, tunnel, NIC, and its port on the switch.",
    ),
    "both": (
        6,
        (
            "the link of node-2 carries at most {size} bytes in both directions: larger packets vanish, from and to "
            "all 3 other nodes"
        ),
        "Look at the NIC of node-2 and at its port on the switch.",
    ),
}
"""By the way that is bad: how many pairs are in order, what is said, and where to look."""


@on_lab
@pytest.mark.parametrize("way", BAD_NODE)
def test_one_bad_node(lab: Cluster, way: str) -> None:
    pairs, says, look = BAD_NODE[way]
    with hole(lab, "node-2", 1400, way=way):
        lines = probe(lab)
        found = prove(lab)
    remedy = f"{look} Until then `kubemtu plan --nic-mtu 1400` shows the pod MTU that fits."
    assert lines[0] == f"✗ nodes: {pairs} of 12 ordered pairs carry 1500 bytes"
    assert lines[1] == f"  {says.format(size=1400, full=1500)}"
    assert lines[2].partition(" → ")[2] == remedy
    pods = lines.index(f"✗ pods: {pairs} of 12 ordered pairs carry 1450 bytes")
    assert lines[pods + 1] == (
        f"  {says.format(size=1350, full=1450)}; it follows from the 1400 that arrive between the nodes themselves"
    )
    assert lines[pods + 2].partition(" → ")[2] == remedy
    assert measured(found) == [
        ("MTU123", "node node-2, measured between nodes", remedy),
        ("MTU123", "node node-2, measured between pods", remedy),
    ]


@on_lab
def test_one_bad_pair(lab: Cluster) -> None:
    with hole(lab, "node-2", 1400, way="both", only="192.168.77.3"):
        lines = probe(lab, "--nodes")
    assert lines[:2] == [
        "✗ nodes: 10 of 12 ordered pairs carry 1500 bytes",
        "  between node-2 and node-3 at most 1400 bytes arrive, not 1500: larger packets vanish",
    ]
    rows = [re.split(r"\s{2,}", line.strip())[1:] for line in lines if re.match(r"   \d node-", line)]
    assert [row[-1] for row in rows] == ["ok", "ok", "ok", "·"]
    assert "1400" in " ".join(lines[lines.index("  from \\ to     1     2     3     4") + 2].split())


@on_lab
def test_everywhere(lab: Cluster) -> None:
    with everywhere(lab, *(hole(lab, node, 1400) for node in lab.lab.record.nodes)):
        lines = probe(lab)
        found = prove(lab)
    assert lines[1] == (
        "  between any two nodes at most 1400 bytes arrive, not 1500: larger packets vanish (in all 12 pairs that were "
        "measured); the network between all nodes carries only that, so the expectation is too high"
    )
    assert [one[:2] for one in measured(found)] == [
        ("MTU123", "all nodes, measured between nodes"),
        ("MTU123", "all nodes, measured between pods"),
    ]
    assert found[0][2].endswith("Until then `kubemtu plan --nic-mtu 1400` shows the pod MTU that fits.")


@on_lab
def test_half_a_cure_makes_packets_vanish_that_a_router_would_refuse(lab: Cluster) -> None:
    """Pods of 1500 over a tunnel of 1450 that says so; then the nodes' ends of their veths are set to 1450."""
    pods = [f"kubemtu/{name}" for name in lab.kube.pods("kubemtu") if "probe" in name]
    assert len(pods) == 4
    with everywhere(lab, *(situations.bridge(lab, node, 1500) for node in lab.lab.record.nodes)):
        with everywhere(lab, *(situations.veth(lab, pod, inside=1500, outside=1500) for pod in pods)):
            told = probe(lab, "--pods")
        with everywhere(lab, *(situations.veth(lab, pod, inside=1500, outside=1450) for pod in pods)):
            untold = probe(lab, "--pods")
    between = "  between pods of any two nodes at most 1450 bytes arrive, not 1500: larger packets "
    assert told[1].startswith(f"{between}are refused by a router that says so")
    assert untold[1].startswith(f"{between}vanish")


@on_lab
def test_tunnels_that_cut(lab: Cluster) -> None:
    who = "node-1, node-2, node-3 and node-4"
    expected = f"  {who} cut the packets that the tunnel makes of these: everything arrives, in "
    said: list[str] = []
    with situations.nics(lab, 1450, tuple(lab.lab.record.nodes)):
        while not any(expected in one for one in said):
            assert len(said) < 3, said  # a node that is busy reports late, and its own fragments with it
            said.append("\n".join(probe(lab)))
        found = prove(lab)
    assert ("MTU124", "nodes node-1, node-2, node-3 and node-4, measured between pods") in [one[:2] for one in found]


@on_lab
def test_a_dead_node_keeps_nothing_back(lab: Cluster, as_shipped: None) -> None:
    with situations.cut_off(lab, "node-2"):
        ended = lab.run("check", "--prove", "-o", "json")
    found = json.loads(ended.out)
    assert [(one["code"], one["severity"], one["place"]) for one in found["findings"]] == [
        ("MTU125", "note", "node node-2, measured between nodes"),
        ("MTU125", "note", "node node-2, measured between pods"),
    ]
    assert found["findings"][0]["message"].startswith(
        "node-2 answers nobody and reported nothing: it is down or cut off, "
    )
    assert found["proven"][0] == "nodes: 6 of 9 ordered pairs carry 1500 bytes"
    assert found["proven"][-1].startswith("the agent of node node-2 does not answer: ")


@on_lab
def test_a_node_that_does_not_report_is_measured_by_the_others(lab: Cluster, as_shipped: None) -> None:
    """Its agent answers probes and cannot tell what it finds: nothing is called right, and what is wrong is found."""
    until(lambda: lab.run("probe", "--nodes").code == 0, 180)  # who was cut off before tells again
    with situations.muted(lab, "node-4"):
        lines = probe(lab)
        assert lines[0] == "? nodes: 12 of 12 ordered pairs carry 1500 bytes"
        assert "? pods: 12 of 12 ordered pairs carry 1450 bytes" in lines
        assert (
            "  node-4 reported nothing in this round: what it and the others send each other was measured by the others"
        ) in lines
        assert any(line.startswith("? node node-4 does not report, ") for line in lines)
        assert not any(line.startswith("✓") for line in lines)
        assert json.loads(lab.run("probe", "-o", "json").out)["unmeasuredNodes"] == ["node-4"]
        assert [(code, place) for code, place, _ in prove(lab)] == [
            ("MTU125", "node node-4, measured between nodes"),
            ("MTU125", "node node-4, measured between pods"),
            ("MTU118", "node node-4"),
        ]
        assert lab.run("check").code == 1
        answer = lab.run("why", "node-1", "node-4")
        assert (answer.code, answer.out[:2]) == (1, "? ")
        assert (
            "node node-4 does not report: measured from the other end, and nothing is called right there" in answer.out
        )
        for way, said in (("both", "link of node-4"), ("to", "node-4 receives"), ("from", "what node-4 sends")):
            with hole(lab, "node-4", 1400, way=way):
                lines = probe(lab, "--nodes")
                assert lines[0].startswith("✗ nodes: ")
                assert said in lines[1]
                assert "1400" in lines[1]
                assert "certain" in lines[2]
                ended = lab.run("why", "node-1", "node-4")
                assert ended.code == 1
                assert ended.out.startswith("✗ This is MTU: from ")


@on_lab
def test_a_node_without_an_agent_is_never_called_right(lab: Cluster, as_shipped: None) -> None:
    with situations.stopped(lab, "node-4"):
        situations.forgotten(lab, "node-4")
        lines = probe(lab)
    assert lines[0] == "? nodes: 9 of 9 ordered pairs carry 1500 bytes"  # its kernel answers ICMP echo
    assert lines[1] == "  node-4 reported nothing in this round: what it sends was not measured"
    assert not any(line.startswith("✓") for line in lines)
    until(lambda: "node-4" in json.dumps(lab.kube.get(NODE_MTUS)))
    until(lambda: lab.run("probe", "--nodes").code == 0, 180)  # its agent measures again as well


# For people, for programs


@on_lab
def test_programs_and_terminals(lab: Cluster) -> None:
    with hole(lab, "node-2", 1400):
        found = json.loads(lab.run("probe", "--nodes", "-o", "json").out)
        also = lab.run("probe", "--nodes", "-o", "yaml")
        screen = on_terminal(lab, 60, "probe", "--nodes")
    assert (found["schema"], found["ok"], also.code) == ("kubemtu.io/probe/v1", False, 1)
    assert [(one["where"], one["members"], one["mtu"]) for one in found["layers"][0]["faults"]] == [
        ("receives", ["node-2"], 1400)
    ]
    assert "mtu: 1400" in also.out
    progress, _, text = screen.rpartition("\r\x1b[K")
    assert "nodes: 4 measure 3 peers each" in progress
    assert "nodes: 4 of 4 have measured" in progress
    assert "\x1b[31m" in text
    plain = re.sub(r"\x1b\[\d+m", "", text).splitlines()
    assert plain[0] == "✗ nodes: 9 of 12 ordered pairs carry 1500 bytes"
    assert max(map(len, plain)) <= 60


def on_terminal(lab: Cluster, columns: int, *words: str) -> str:
    """What a terminal of so many columns shows of a command, its progress too."""
    reading, writing = pty.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    argv = [sys.executable, "-m", "kubemtu", *words, "--kubeconfig", str(lab.lab.kubeconfig)]
    env = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "NO_COLOR"}}
    process = subprocess.Popen(
        argv, stdin=writing, stdout=writing, stderr=writing, env=env | {"TERM": "xterm", "PYTHONUTF8": "1"}
    )
    os.close(writing)
    shown = b""
    try:
        while block := os.read(reading, 65536):
            shown += block
    except OSError:  # EIO: the other side has been closed
        pass
    finally:
        os.close(reading)
        process.wait()
    return shown.decode().replace("\r\n", "\n")


@on_lab
def test_a_node_without_a_probe_pod_is_measured_by_itself_only(lab: Cluster) -> None:
    """The last of this lab: the probe of one node is gone, then all are."""
    for node in ("node-1", "node-2", "node-3"):
        lab.kube.merge(f"/api/v1/nodes/{node}", {"metadata": {"labels": {"probed": "yes"}}})
    lab.kube.merge(DAEMONSET, {"spec": {"template": {"spec": {"nodeSelector": {"probed": "yes"}}}}})
    until(lambda: _rolled(lab, 3) and _probes(lab) == {"node-1", "node-2", "node-3"})
    until(lambda: "✓ pods: 6 of 6 " in lab.run("probe", "--pods").out)  # those that are new are seen, and listen
    lines = probe(lab)
    assert "✓ nodes: 12 of 12 ordered pairs carry 1500 bytes" in lines
    assert "✓ pods: 6 of 6 ordered pairs carry 1450 bytes" in lines
    assert any(line.startswith("? node node-4 does not report, or was not measured in every layer") for line in lines)
    assert lines[-1] == "! no probe pod runs on node node-4: its pods' network was not measured"
    assert ("MTU125", "node node-4") in [(code, place) for code, place, _ in prove(lab)]
    lab.kube.delete(DAEMONSET)
    until(lambda: not _probes(lab))
    lines = probe(lab)  # what was not measured is never called right
    assert "✓ nodes: 12 of 12 ordered pairs carry 1500 bytes" in lines
    assert lines[-1] == (
        "? pods: not measured, for no two nodes have a probe pod: `kubemtu install` starts them, and `kubemtu probe "
        "--nodes` asks for the nodes alone"
    )
    assert ("MTU125", "all pods") in [(code, place) for code, place, _ in prove(lab)]
    assert lab.run("probe", "--nodes").code == 0
    assert lab.run("probe", "--pods").code == 3


def _rolled(lab: Cluster, pods: int) -> bool:
    """Whether all pods of the DaemonSet are of its last template."""
    found: Any = lab.kube.get(DAEMONSET)
    status = found["status"]
    done = {status.get(key) for key in ("desiredNumberScheduled", "updatedNumberScheduled", "numberReady")}
    return status.get("observedGeneration") == found["metadata"]["generation"] and done == {pods}


def _probes(lab: Cluster) -> set[str]:
    """The nodes whose probe pod is ready, and no other probe pod is left."""
    pods: dict[str, Any] = {name: pod for name, pod in lab.kube.pods("kubemtu").items() if "probe" in name}
    ready = {pod["spec"]["nodeName"] for pod in pods.values() if pod["status"].get("phase") == "Running"}
    return ready if len(ready) == len(pods) else {*ready, "somebody else"}


@pytest.mark.parametrize("cluster", [MIXED], indirect=True)
def test_nodes_of_different_nics(cluster: Cluster) -> None:
    """What all have is expected of all; who takes more is shown when that is asked for."""
    until(lambda: all(situations.seen_ends(cluster, node) for node in cluster.lab.record.nodes))
    lines = probe(cluster, code=0)
    assert lines[0] == "✓ nodes: 6 of 6 ordered pairs carry 1400 bytes"
    assert lines[-1] == (
        "! nodes: their interfaces have 1400, 1500 and 9000, so 1400 was expected, which all have; --expected 9000 "
        "shows who takes more"
    )
    lines = probe(cluster, "--nodes", "--expected", "1500")
    assert (
        lines[1]
        == "  node-3's own interface carries 1400 bytes, not 1500, and it receives no more: the paths are not to blame"
    )
    assert not any("expected, which all have" in line for line in lines)

"""One cause and one remedy, whichever command is asked; and the same by any clock.

A network of 1404 between nodes, of which VXLAN over IPv4 takes 50 (RFC 7348), carries pods of 1354.
"""

import contextlib
import json
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.labs import until
from tests.support.scenes.cluster import NODE_MTUS, Cluster, measured
from tests.support.scenes.situations import everywhere, forget, hole, seen_ends

from kubemtu_lab.scene import Canal, Flannel, Nic, Scene, nodes

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

AGENTS = "/apis/apps/v1/namespaces/kubemtu/daemonsets/kubemtu-agent"
POLICIES = "/apis/kubemtu.io/v1alpha1/mtupolicies"
REASON = "overlay of the hosting company, measured"
PROVIDER = Scene(
    name="provider",
    summary="",
    nodes=nodes(3, 1),
    cni=Canal(era="B", mtu=1450),
    agents=True,
    probes=True,
)
provider = pytest.mark.parametrize("cluster", [PROVIDER], indirect=True)
SKEWED = """
import os, time
away = {"node-2": 600, "node-3": -600}.get(os.environ.get("NODE_NAME", ""), 0)
real = time.time
time.time = lambda: real() + away
if name := os.environ.get("NODE_NAME"):
    with open("/host/run/kubemtu/clock", "w") as told:  # where an agent may write, on its own node
        told.write(str(away))
"""


def proven(cluster: Cluster) -> dict[str, Any]:
    """What `kubemtu check --prove` says, and its exit code."""
    ended = cluster.run("check", "--prove", "-o", "json")
    assert ended.code in (0, 1), ended.err
    found: dict[str, Any] = json.loads(ended.out)
    return found | {"code": ended.code}


def held(cluster: Cluster, path: str) -> dict[str, Any]:
    """What stands at an address of the API."""
    found: dict[str, Any] = cluster.kube.get(path)
    return found


@provider
def test_what_was_measured_is_written_down_and_every_command_goes_by_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cluster.healthy()
    assert before.recommended_mtu == 1450
    with narrow(cluster):
        measured(lambda: _measured(cluster))
    _written_down(cluster)
    with narrow(cluster):
        measured(lambda: _proven_at_1404(cluster))
    _by_any_clock(cluster, monkeypatch)

    # One that is over is a finding, and is not used.
    cluster.kube.merge(f"{POLICIES}/path", {"spec": {"expires": "2026-01-31T00:00:00Z"}})
    late = cluster.check()
    assert (late.recommended_mtu, late.code) == (1450, 1)
    assert "expired at 2026-01-31T00:00:00Z" in late.one("MTU127").message


def _proven_at_1404(cluster: Cluster) -> None:
    found = proven(cluster)
    assert (found["verdict"], found["code"], found["recommendedMtu"]) == ("healthy", 0, 1354)
    assert f"nodes: 1404 was expected, as MTUPolicy path ({REASON}) says" in " ".join(found["proven"])
    assert cluster.run("probe").code == 0


def narrow(cluster: Cluster) -> contextlib.AbstractContextManager[None]:
    """The network carries 1404 to every node."""
    return everywhere(cluster, *(hole(cluster, node, 1404) for node in cluster.lab.record.nodes))


def _measured(cluster: Cluster) -> None:
    # What one run measures, it recommends itself.
    found = proven(cluster)
    assert (found["verdict"], found["recommendedMtu"], found["code"]) == ("broken", 1354, 1)
    by_code = {one["code"]: one for one in reversed(found["findings"])}
    told = aims(cluster, "--nic-mtu", "1404")
    assert told.pop("check") == Aim("none", 1450)  # it has not measured
    alike(told, Aim("network", 1354, 1404))
    assert "1404 bytes arrive, not 1500" in by_code["MTU123"]["message"]
    assert "`kubemtu plan --nic-mtu 1404`" in by_code["MTU123"]["remedy"]
    assert "Set it to 1354" in by_code["MTU119"]["remedy"]


def _written_down(cluster: Cluster) -> None:
    # Shown first, then written; what cannot be is refused with nothing written.
    shown = cluster.run("policy", "--path-mtu", "1404", "--reason", REASON)
    assert (shown.code, "pathMtu: 1404" in shown.out) == (0, True)
    assert cluster.kube.get(POLICIES)["items"] == []
    for words, code in (
        (("--path-mtu", "1404", "--reason", " "), 2),
        (("--path-mtu", "1404", "--reason", REASON, "--expires", "2020-01-01T00:00:00Z"), 2),
        (("--path-mtu", "1404", "--reason", REASON, "--expires", "soon"), 2),
        (("--path-mtu", "1404", "--reason", REASON, "--node", "node-9"), 2),
        (("--path-mtu", "100", "--reason", REASON), 2),
    ):
        refused = cluster.run("policy", *words, "--apply", "--yes")
        assert (refused.code, refused.err.startswith("error: ")) == (code, True), refused.err
    assert cluster.kube.get(POLICIES)["items"] == []
    written = cluster.run("policy", "--path-mtu", "1404", "--reason", REASON, "--expires", "90d", "--apply", "--yes")
    assert written.code == 0, written.err

    # Before anything is healed, all say 1354; afterwards all are content.
    assert cluster.check().recommended_mtu == 1354
    assert cluster.plan().target == 1354
    applied = cluster.apply()
    assert applied.code == 0, applied.err
    now = cluster.until(lambda told: told.verdict == "healthy", "that all is right")
    assert (now.marks, now.code) == (["MTU126 note: MTUPolicy path"], 0)
    assert f"MTUPolicy path ({REASON})" in now.summary
    assert "1500" not in "".join(f"{one.message}{one.remedy}" for one in now.findings)
    assert cluster.plan().lines == []


def _by_any_clock(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    # The clock of a laptop counts nowhere.
    told_here = cluster.run("check", "-o", "json").out
    real = time.time
    for away in (600, -600):
        monkeypatch.setattr(time, "time", lambda away=away: real() + away)
        until(lambda: cluster.run("check", "-o", "json").out == told_here)
        until(lambda: cluster.run("probe").code == 0)
    monkeypatch.undo()


@provider
def test_the_clock_of_a_node_counts_nowhere(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SKEWED, "utf-8")
    tmp_path.chmod(0o777)
    until(lambda: all(len(seen_ends(cluster, node)) == 2 for node in cluster.lab.record.nodes))
    before, old = cluster.check(), {*speakers(cluster)}
    containers = held(cluster, AGENTS)["spec"]["template"]["spec"]["containers"]
    containers[0]["env"].append({"name": "PYTHONPATH", "value": str(tmp_path)})
    cluster.kube.merge(AGENTS, {"spec": {"template": {"spec": {"containers": containers}}}})
    clocks = {node: cluster.lab.node_root(node) / "run/kubemtu/clock" for node in cluster.lab.record.nodes}
    until(lambda: all(clock.is_file() and clock.read_text() for clock in clocks.values()))
    begun = {node: clock.read_text() for node, clock in clocks.items()}
    assert begun == {"node-1": "0", "node-2": "600", "node-3": "-600"}
    until(lambda: not {*speakers(cluster)} & old)
    cluster.nudge()
    until(lambda: cluster.check() == before)
    pairs = ["nodes: 6 of 6 ordered", "pods: 6 of 6 ordered"]
    until(lambda: [line.partition(" pairs")[0] for line in proven(cluster)["proven"][:2]] == pairs)  # ahead, too


def speakers(cluster: Cluster) -> list[str]:
    """When the agents began that tell of the nodes."""
    return [one.get("status", {}).get("agent", {}).get("startedAt", "") for one in held(cluster, NODE_MTUS)["items"]]


# All commands, one remedy

FLANNEL = Scene(name="jumbo", summary="", nodes=nodes(2, 1, Nic(mtu=9001)), cni=Flannel(), agents=True, probes=True)
CANAL = Scene(name="plain", summary="", nodes=nodes(2, 1), cni=Canal(era="B", mtu=1450), agents=True, probes=True)


class Aim(NamedTuple):
    """What all commands must say: what is at fault, the MTU of pods to lead to, what the path carries, the devices."""

    cause: str
    mtu: int
    path_mtu: int = 0
    place: str = ""


def aims(cluster: Cluster, *options: str) -> dict[str, Aim]:
    """The remedy that each command gives of the cluster as it is; of `plan` only the number."""
    told = {
        "check": cluster.run("check", "-o", "json"),
        "check --prove": cluster.run("check", "--prove", "-o", "json"),
        "why": cluster.run("why", "pod-1a", "pod-2a", "-o", "json"),
        "probe": cluster.run("probe", "-o", "json"),
    }
    found = {}
    for command, ended in told.items():
        assert ended.code in (0, 1), f"{command}: {ended.err}"
        value = json.loads(ended.out)
        value = value["diagnosis"] if command == "why" else value
        aim = value["remedy"] or {"cause": "none", "mtu": 0, "pathMtu": 0, "devices": ""}
        found[command] = Aim(aim["cause"], aim["mtu"], aim["pathMtu"], aim["devices"])
    found["plan"] = Aim("", cluster.plan(*options).target)
    return found


def said(cluster: Cluster) -> dict[str, Any]:
    """What `kubemtu why` answers about the first pods of two nodes."""
    found: dict[str, Any] = json.loads(cluster.run("why", "pod-1a", "pod-2a", "-o", "json").out)["diagnosis"]
    return found


@contextlib.contextmanager
def links(cluster: Cluster, name: str, mtu: int, *places: str) -> Iterator[None]:
    """A link of these nodes has another MTU, and their agents have seen it."""
    before = {node: cluster.links(node)[name] for node in places}
    for node in places:
        cluster.ip(node, "link", "set", name, "mtu", str(mtu))
    shown(cluster, name, dict.fromkeys(places, mtu))
    try:
        yield
    finally:
        for node, old in before.items():
            cluster.ip(node, "link", "set", name, "mtu", str(old))
        shown(cluster, name, before)
        forget(cluster, *cluster.lab.record.nodes)


def shown(cluster: Cluster, name: str, mtus: Mapping[str, int]) -> None:
    """Wait until the agents of these nodes tell of that link what it has."""
    cluster.nudge()

    def holds() -> bool:
        told = {
            node["metadata"]["name"]: link["mtu"]
            for node in held(cluster, NODE_MTUS)["items"]
            for link in node.get("status", {}).get("observation", {}).get("links", [])
            if link["name"] == name
        }
        return all(told.get(node) == mtu for node, mtu in mtus.items())

    until(holds)


def agreed(cluster: Cluster, aim: Aim, *, but: Collection[str] = ()) -> None:
    """All commands say that of the cluster as it is."""
    measured(lambda: alike(aims(cluster), aim, but=but))


def alike(found: Mapping[str, Aim], aim: Aim, *, but: Collection[str] = ()) -> None:
    """All commands say that, those in `but` nothing."""
    for command, one in found.items():
        if command == "plan":
            assert one.mtu == aim.mtu, found
        elif command not in but:
            assert one == aim, found


@pytest.mark.parametrize("cluster", [FLANNEL], indirect=True)
def test_a_tunnel_that_was_set_by_hand_is_put_back_by_all(cluster: Cluster) -> None:
    cluster.healthy()
    agreed(cluster, Aim("none", 8951), but=("why",))  # 9001 - 50
    with links(cluster, "flannel.1", 1500, "node-1", "node-2"):
        agreed(cluster, Aim("tunnel", 8951, 0, "flannel.1 on node-1 and node-2"))
        answer = said(cluster)
        assert "plan --mtu 1500" not in answer["advice"]
        assert answer["advice"].startswith("flannel.1 on node-1 and node-2 goes back to 8951: `kubemtu apply` sets it")
        texts = [one["remedy"] for one in proven(cluster)["findings"]]
        assert not [text for text in texts if "1500" in text]
        planned = cluster.run("plan").out
        assert "no running pod" in planned  # none of them gets another MTU
        assert "take what is below the running pods on 2 nodes, and flannel.1, to 8951" in planned
    with links(cluster, "flannel.1", 1500, "node-2"):
        agreed(cluster, Aim("tunnel", 8951, 0, "flannel.1 on node-2"), but=("why",))


@pytest.mark.parametrize("cluster", [CANAL], indirect=True)
def test_nics_and_veths_that_changed_lead_all_to_one_size(cluster: Cluster) -> None:
    cluster.healthy()
    agreed(cluster, Aim("none", 1450), but=("why",))  # 1500 - 50

    # All NICs go from 1500 to 1450 under pods of 1450: both ways are cut, and what kernels learned of it is true.
    with links(cluster, "eth0", 1450, "node-1", "node-2"):
        for _ in range(2):
            agreed(cluster, Aim("pods", 1400))
            answer = said(cluster)
            assert (answer["isMtu"], answer["kind"], answer["mtu"]) == ("yes", "outer fragments", 1400)
            whole = next(leg for leg in answer["legs"] if leg["role"] == "whole")
            assert (whole["backward"]["kind"], whole["backward"]["mtu"]) == ("outer fragments", 1400)
            assert "stale path MTU" not in {(leg["forward"] or {}).get("kind") for leg in answer["legs"]}

    # One NIC is smaller than the other.
    with links(cluster, "eth0", 1400, "node-2"):
        agreed(cluster, Aim("nics", 1350))

    # One end of a veth differs: both ends go to what the others have.
    place = cluster.lab.pod("pod-2a")
    with links(cluster, place.host_link, 1400, "node-2"):
        until(lambda: "MTU105" in {one.code for one in cluster.check().findings})
        agreed(cluster, Aim("veth", 1450), but=("probe", "check --prove"))
        assert cluster.run("plan").out.count("1 running pod changed in place") == 1

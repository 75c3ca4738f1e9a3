"""One cause and one remedy, whichever command is asked; and the same by any clock.

A switch port of 1400 takes four bytes more than that (is_skb_forwardable): 1404 between nodes, of which VXLAN over IPv4
takes 50 (RFC 7348), so pods of 1354 fit.
"""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.lab.conftest import until
from tests.scenes.cluster import NODE_MTUS, Cluster

from kubemtu.lab.scene import Canal, Nic, Scene, nodes

pytestmark = pytest.mark.lab

AGENTS = "/apis/apps/v1/namespaces/kubemtu/daemonsets/kubemtu-agent"
POLICIES = "/apis/kubemtu.io/v1alpha1/mtupolicies"
REASON = "overlay of the hosting company, measured"
PROVIDER = Scene(
    name="provider",
    summary="",
    nodes=nodes(3, 1, Nic(port_mtu=1400)),
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
    with open(os.path.join(os.path.dirname(__file__), name), "w") as told:
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
    # What one run measures, it recommends itself.
    before = cluster.healthy()
    assert before.recommended_mtu == 1450
    found = proven(cluster)
    assert (found["verdict"], found["recommended_mtu"], found["code"]) == ("broken", 1354, 1)
    by_code = {one["code"]: one for one in reversed(found["findings"])}
    assert "1404 bytes arrive, not 1500" in by_code["MTU123"]["message"]
    assert "`kubemtu plan --nic-mtu 1404`" in by_code["MTU123"]["remedy"]
    assert "Set it to 1354" in by_code["MTU119"]["remedy"]

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
    found = proven(cluster)
    assert (found["verdict"], found["code"], found["recommended_mtu"]) == ("healthy", 0, 1354)
    assert f"nodes: 1404 was expected, as MTUPolicy path ({REASON}) says" in " ".join(found["proven"])
    assert cluster.run("probe").code == 0

    # The clock of a laptop counts nowhere.
    told_here = cluster.run("check", "-o", "json").out
    real = time.time
    for away in (600, -600):
        monkeypatch.setattr(time, "time", lambda away=away: real() + away)
        assert cluster.run("check", "-o", "json").out == told_here
        assert cluster.run("probe").code == 0
    monkeypatch.undo()

    # One that is over is a finding, and is not used.
    cluster.kube.merge(f"{POLICIES}/path", {"spec": {"expires": "2026-01-31T00:00:00Z"}})
    late = cluster.check()
    assert (late.recommended_mtu, late.code) == (1450, 1)
    assert "expired at 2026-01-31T00:00:00Z" in late.one("MTU127").message


@provider
def test_the_clock_of_a_node_counts_nowhere(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SKEWED, "utf-8")
    tmp_path.chmod(0o777)
    before, old = cluster.check(), {*speakers(cluster)}
    containers = held(cluster, AGENTS)["spec"]["template"]["spec"]["containers"]
    containers[0]["env"].append({"name": "PYTHONPATH", "value": str(tmp_path)})
    cluster.kube.merge(AGENTS, {"spec": {"template": {"spec": {"containers": containers}}}})
    until(lambda: {path.name for path in tmp_path.glob("node-*")} == {*cluster.lab.record.nodes}, 60.0)
    begun = {path.name: path.read_text() for path in tmp_path.glob("node-*")}
    assert begun == {"node-1": "0", "node-2": "600", "node-3": "-600"}
    until(lambda: not {*speakers(cluster)} & old)
    cluster.nudge()
    assert cluster.check() == before
    found = proven(cluster)  # an agent ahead answers what is asked, too
    assert [line.partition(" pairs")[0] for line in found["proven"][:2]] == [
        "nodes: 0 of 6 ordered",  # 1500 do not arrive, and that was measured
        "pods: 6 of 6 ordered",
    ]


def speakers(cluster: Cluster) -> list[str]:
    """When the agents began that tell of the nodes."""
    return [one.get("status", {}).get("agent", {}).get("startedAt", "") for one in held(cluster, NODE_MTUS)["items"]]

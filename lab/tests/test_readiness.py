"""A program is ready when it serves, not when it runs: the tcpSocket readinessProbe, as a kubelet plays it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.labs import Body, Kube, container, is_ready, until

from kubemtu.core.objects import Object
from kubemtu_lab import scenes
from kubemtu_lab.cluster import Lab
from kubemtu_lab.readiness import Readiness
from kubemtu_lab.scene import nodes

PODS = "/api/v1/namespaces/default/pods"
SERVE = """
import pathlib, socket, sys, time
while True:
    while not pathlib.Path(sys.argv[1]).exists():
        time.sleep(0.05)
    with socket.create_server(("", 7001)):
        while pathlib.Path(sys.argv[1]).exists():
            time.sleep(0.05)
"""
"""Listens as long as a file is there."""


@pytest.fixture(scope="module")
def lab(start: Callable[..., Lab]) -> Lab:
    return start(scenes.named("canal-1500").replace(name="readiness", nodes=nodes(1, 0)))


@pytest.fixture(scope="module")
def kube(lab: Lab) -> Iterator[Kube]:
    with Kube(lab.kubeconfig) as client:
        yield client


def serving(name: str, switch: Path, **spec: object) -> Body:
    main = {
        "name": "main",
        "image": "lab/exec",
        "command": [sys.executable, "-c", SERVE, str(switch)],
        "ports": [{"name": "tcp", "containerPort": 7001}],
        "readinessProbe": {"tcpSocket": {"port": "tcp"}, "periodSeconds": 1, "failureThreshold": 2},
    }
    return {"metadata": {"name": name}, "spec": {"nodeName": "node-1", "containers": [main]} | spec}


@pytest.mark.lab
@pytest.mark.parametrize("host", [False, True], ids=["pod", "host-network"])
def test_a_pod_is_ready_as_long_as_it_serves(lab: Lab, kube: Kube, tmp_path: Path, host: bool) -> None:
    name, switch = "host" if host else "pod", tmp_path / "switch"
    kube.create(PODS, serving(name, switch, hostNetwork=host))
    until(lambda: "running" in str(container(kube.pods()[name], "main")["state"]))
    assert not is_ready(kube.pods()[name])
    switch.touch()
    until(lambda: is_ready(kube.pods()[name]))
    switch.unlink()
    until(lambda: not is_ready(kube.pods()[name]))
    assert container(kube.pods()[name], "main")["restartCount"] == 0
    kube.remove_pod(name)


@pytest.mark.lab
def test_a_pod_that_runs_is_ready_again_whoever_writes_that_it_is_not(lab: Lab, kube: Kube) -> None:
    """Ten times, at any moment of the kubelet's own writes: what it told last does not stay undone."""
    kube.run_pod("told", "node-1")
    for _ in range(10):
        unready: Body = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
        assert not is_ready(kube.merge(f"{PODS}/told/status", unready))
        until(lambda: is_ready(kube.pods()["told"]))
    kube.remove_pod("told")


def test_what_a_probe_leaves_out_is_kubernetes_default() -> None:
    probe = Readiness.of(Object.of({"readinessProbe": {"tcpSocket": {"port": 80}}}))
    assert probe == Readiness(port=80, delay=0, period=10, patience=1, successes=1, failures=3)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"readinessProbe": {"exec": {"command": ["true"]}}},
        {"readinessProbe": {"httpGet": {"port": 80}}},
        {"readinessProbe": {"tcpSocket": {"port": "web"}}, "ports": [{"name": "tcp", "containerPort": 80}]},
    ],
)
def test_other_kinds_are_not_played(body: Body) -> None:
    assert Readiness.of(Object.of(body)) is None

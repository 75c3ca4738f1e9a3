"""The logs of containers by way of the API, as `kubectl logs` has them, and the reading of a log file."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.lab_api import Kubectl
from tests.support.labs import Kube, until

from kubemtu_lab import logs, manifests, scene, scenes
from kubemtu_lab.cluster import Lab

PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture(scope="module")
def lab(start: Callable[..., Lab]) -> Lab:
    return start(scene.resized(scenes.named("canal-1500"), nodes=1, pods=1).replace(name="logs"))


@pytest.fixture(scope="module")
def talker(lab: Lab) -> str:
    script = "echo begins; echo beside >&2; seq 1 2000000; echo ends; exec sleep 1000"
    with Kube(lab.kubeconfig) as kube:
        kube.create(PODS, manifests.program("talker", "node-1", ["sh", "-c", script]))
    log = lab.folder / "pods/default.talker.main.log"
    until(log.exists)
    until(lambda: log.read_bytes().endswith(b"ends\n"))
    return "talker"


@pytest.mark.lab
def test_a_log_of_ten_million_bytes_comes_whole(kubectl: Kubectl, talker: str) -> None:
    found = kubectl("logs", talker)
    assert found.returncode == 0
    numbers = b"".join(b"%d\n" % each for each in range(1, 2_000_001))
    assert found.stdout == b"begins\nbeside\n" + numbers + b"ends\n"


@pytest.mark.lab
def test_the_end_of_a_log_can_be_asked_for(kubectl: Kubectl, talker: str) -> None:
    assert kubectl("logs", talker, "--tail", "2").stdout == b"2000000\nends\n"
    assert kubectl("logs", talker, "--limit-bytes", "9").stdout == b"begins\nbe"


@pytest.mark.lab
def test_a_log_is_followed_until_its_container_ends(lab: Lab, kubectl: Kubectl) -> None:
    with Kube(lab.kubeconfig) as kube:
        kube.create(PODS, manifests.program("short", "node-1", ["sh", "-c", "echo one; sleep 1; echo two"]))
        until(lambda: "running" in str(kube.pods()["short"].get("status")))
    assert b"one\ntwo\n" in kubectl("logs", "-f", "short").stdout
    until(lambda: kubectl("logs", "--previous", "short").stdout == b"one\ntwo\n")


@pytest.mark.lab
def test_what_was_not_there_before_has_no_previous_log(kubectl: Kubectl) -> None:
    found = kubectl("logs", "pod-1a", "--previous")
    assert b'previous terminated container "web" in pod "pod-1a" not found' in found.stderr


@pytest.mark.lab
def test_the_cni_says_what_it_did(kubectl: Kubectl) -> None:
    found = kubectl("logs", "-n", "kube-system", "ds/canal", "-c", "kube-flannel")
    assert found.stdout == b"Wrote subnet file to /run/flannel/subnet.env\nRunning backend.\n"


@pytest.mark.lab
def test_without_the_right_a_log_is_refused(lab: Lab) -> None:
    with Kube(lab.kubeconfig) as kube:
        answer = kube.http.get(f"{PODS}/pod-1a/log", headers={"Impersonate-User": "nobody"})
    assert answer.status_code == 403
    told = 'User "nobody" cannot get resource "pods/log" in API group "" in the namespace "default"'
    assert answer.json()["message"] == f'pods "pod-1a" is forbidden: {told}'


@pytest.mark.lab
def test_a_docker_of_old_writes_that_there_is_no_such_program(kubectl: Kubectl) -> None:
    """dockershim took what Docker wrote for the program's output, and 126 for its exit code."""
    found = kubectl("exec", "pod-1a", "--", "nosuch")
    assert found.returncode == 126
    assert b"OCI runtime exec failed: exec failed: container_linux.go:348: starting container process" in found.stdout
    assert rb'caused "exec: \"nosuch\": executable file not found in $PATH": unknown' in found.stdout


async def whole(log: logs.LogFile, options: logs.LogOptions) -> bytes:
    return b"".join([part async for part in log.read(options, lambda: False)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.lists(st.text("ab", max_size=5), max_size=5),
    lines=st.lists(st.text("ab", max_size=70_000), max_size=6),
    is_ended=st.booleans(),
    tail=st.integers(0, 8),
)
def test_tail_gives_the_last_lines_of_the_instance_alone(
    tmp_path: Path, before: list[str], lines: list[str], is_ended: bool, tail: int
) -> None:
    (tmp_path / "pods").mkdir(exist_ok=True)
    (tmp_path / "pods/n.p.c.log").unlink(missing_ok=True)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        log = logs.LogFile(folder, "n", "p", "c")
        log.write(*before)
        descriptor = log.begin()
        written = "".join(f"{each}\n" for each in lines)
        written = written if is_ended else written[:-1]
        os.write(descriptor, written.encode())
        os.close(descriptor)
        expected = "".join(written.splitlines(keepends=True)[-tail:]) if tail else ""
        assert asyncio.run(whole(log, logs.LogOptions(tail_lines=tail))).decode() == expected
        assert asyncio.run(whole(log, logs.LogOptions())).decode() == written
        assert asyncio.run(whole(log, logs.LogOptions(previous=True))).decode() == "".join(f"{e}\n" for e in before)
    finally:
        os.close(folder)

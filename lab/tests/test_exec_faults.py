"""Commands in containers that go wrong: what a client of the API sees of each fault, by both protocols."""

import subprocess
from collections.abc import Callable, Iterator

import pytest
from tests.support.lab_api import Kubectl

from kubemtu_lab import nft, scene, scenes
from kubemtu_lab.cluster import Lab
from kubemtu_lab.scene import ExecFault

pytestmark = pytest.mark.lab
PROTOCOLS = {"websocket": "true", "spdy": "false"}
Execute = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="module")
def lab(start: Callable[..., Lab]) -> Lab:
    return start(scene.resized(scenes.named("flannel"), nodes=1, pods=1).replace(name="exec-faults"))


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def execute(lab: Lab, kubectl: Kubectl, protocol: str) -> Iterator[Execute]:
    """Ask for the MTU of a pod; afterwards nothing is broken any more."""

    def run(seconds: float = 60) -> subprocess.CompletedProcess[bytes]:
        command = ("exec", "pod-1a", "--", "cat", "/sys/class/net/eth0/mtu")
        return kubectl(*command, timeout=seconds, KUBECTL_REMOTE_COMMAND_WEBSOCKETS=PROTOCOLS[protocol])

    yield run
    lab.break_exec("node-1", None)
    assert kubectl("exec", "pod-1a", "--", "cat", "/sys/class/net/eth0/mtu").stdout == b"1450\n"


@pytest.mark.parametrize("how", ["hangs", "floods"])
def test_some_never_end(lab: Lab, execute: Execute, how: ExecFault) -> None:
    lab.break_exec("node-1", how)
    with pytest.raises(subprocess.TimeoutExpired) as late:
        execute(8)
    assert bool(late.value.stdout) == (how == "floods")


@pytest.mark.parametrize(
    ("how", "part"),
    [
        ("broken-utf8", b"1450\xff\xfe\n"),
        ("escapes", b"\x1b[2J\x1b[31m1450\x1b[0m"),
        ("wrong-numbers", b"99999999999999999999999\n-1\n"),
    ],
)
def test_some_write_what_is_no_number(lab: Lab, execute: Execute, how: ExecFault, part: bytes) -> None:
    lab.break_exec("node-1", how)
    found = execute()
    assert (found.returncode, part in found.stdout) == (0, True), found


def test_one_writes_a_line_without_an_end(lab: Lab, execute: Execute) -> None:
    lab.break_exec("node-1", "huge-line")
    try:
        written = execute(8).stdout
    except subprocess.TimeoutExpired as late:  # on a busy machine
        written = late.stdout or b""
    assert len(written) > 1_000_000
    assert set(written) == {ord("1")}


def test_one_breaks_off(lab: Lab, execute: Execute, protocol: str) -> None:
    lab.break_exec("node-1", "breaks")
    found = execute()
    assert found.stdout in (b"", b"1")  # what is on the way may be lost with the connection
    if protocol == "websocket":  # over SPDY kubectl takes the end of its connection for that of the command
        assert found.returncode == 1


def test_one_finds_no_container(lab: Lab, execute: Execute) -> None:
    lab.break_exec("node-1", "not-running")
    found = execute()
    assert found.returncode == 1
    assert b'unable to upgrade connection: container not found ("web")' in found.stderr


def test_a_kubelet_that_refuses_is_told_as_kube_apiserver_does(
    lab: Lab, execute: Execute, kubectl: Kubectl, protocol: str
) -> None:
    if not nft.is_there():
        pytest.skip("there is no nft")
    lab.break_exec("node-1", "refused")
    found = execute()
    assert found.returncode == 1
    refused = b"dial tcp 192.168.77.1:10250: connect: connection refused"
    head = b"error sending request: Post " if protocol == "websocket" else b"error dialing backend: "
    assert refused in found.stderr
    assert head in found.stderr
    assert refused in kubectl("logs", "pod-1a").stderr


def test_a_fault_may_be_one_containers_alone(lab: Lab, execute: Execute) -> None:
    lab.break_exec("node-1", "hangs", container="other")
    assert execute().stdout == b"1450\n"


def test_a_scene_has_such_a_fault_from_the_start(start: Callable[..., Lab]) -> None:
    base = scene.resized(scenes.named("canal-1500"), nodes=1, pods=1)
    lab = start(scenes.exec_broken(base, "escapes").replace(name="exec-broken"))
    assert (lab.folder / "exec-fault.node-1.json").exists()

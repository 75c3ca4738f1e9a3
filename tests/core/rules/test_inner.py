"""MTU131: what forwards inside a pod for containers and virtual machines, against the pod's own MTU."""

import msgspec
import pytest
from tests.support import example

from kubemtu.core import codes, net
from kubemtu.core.cluster import layout, nesting, pods
from kubemtu.core.rules import inner, report
from kubemtu.core.snapshot import Snapshot

DOCKER0 = net.InnerDevice(name="docker0", kind="bridge", mtu=1500, ports=1, port_mtu=1500)


def holding(*devices: net.InnerDevice, pod: int = 1450, name: str = "ci-1") -> Snapshot:
    port = msgspec.structs.replace(example.port(name, "10.42.1.10", pod=pod), inner=devices)
    return example.cluster((example.node("n1", ports=(port,)),))


def judge(snapshot: Snapshot) -> tuple[codes.Finding, ...]:
    return inner.find(layout.model(snapshot, example.state()))


def test_docker_in_a_pod_is_named_with_what_it_costs_and_what_to_start_it_with() -> None:
    (wrong,) = judge(holding(DOCKER0))
    assert (wrong.code, wrong.severity, wrong.place) == ("MTU131", "warning", "node n1, pod default/ci-1, docker0")
    assert wrong.message.startswith(
        "In pod default/ci-1 docker0 is 1500, above the pod's 1450: containers in it hang on large replies."
    )
    assert "`--mtu=1450 --default-network-opt=bridge=com.docker.network.driver.mtu=1450`" in wrong.remedy
    assert (
        '`{"mtu": 1450, "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1450"}}}`' in wrong.remedy
    )
    assert wrong.remedy.endswith("kubemtu changes nothing inside a pod.")


def test_a_cluster_with_it_is_not_called_right() -> None:
    said = report.report(layout.model(holding(DOCKER0), example.state()))
    assert said.verdict == "suboptimal"
    assert "docker0 is 1500, above the pod's 1450" in said.summary


@pytest.mark.parametrize(
    "device",
    [
        net.InnerDevice(name="docker0", kind="bridge", mtu=1450, ports=1, port_mtu=1450),
        net.InnerDevice(name="docker0", kind="bridge", mtu=1400),
        net.InnerDevice(name="docker0", kind="bridge", mtu=1500, ports=2, port_mtu=1450),  # its containers have 1450
    ],
)
def test_what_is_not_larger_than_the_pod_is_no_fault(device: net.InnerDevice) -> None:
    assert judge(holding(device)) == ()


def test_a_bridge_without_a_container_is_only_a_note() -> None:
    (note,) = judge(holding(net.InnerDevice(name="docker0", kind="bridge", mtu=1500)))
    assert (note.code, note.severity) == ("MTU131", "note")
    assert "with nothing attached now: containers in it may get the same" in note.message
    assert report.report(layout.model(holding(msgspec.structs.replace(DOCKER0, ports=0)), example.state())).verdict


def test_a_virtual_machine_that_is_bridged_to_the_pod_loses_what_is_larger() -> None:
    joined = net.InnerDevice(name="k6t-eth0", kind="bridge", mtu=1500, ports=1, taps=1, port_mtu=1500, joined=True)
    (wrong,) = judge(holding(joined))
    assert (wrong.code, wrong.severity) == ("MTU131", "error")
    assert "of what virtual machines send, all that is larger vanishes" in wrong.message
    assert "What the guests themselves have cannot be seen from outside." in wrong.message
    assert wrong.remedy.startswith(
        "It is made by KubeVirt: restart or migrate the virtual machine (`virtctl migrate NAME`)"
    )


def test_pods_that_are_alike_are_one_finding() -> None:
    ports = tuple(
        msgspec.structs.replace(example.port(f"ci-{n}", f"10.42.1.{n + 10}"), inner=(DOCKER0,)) for n in range(3)
    )
    (wrong,) = judge(example.cluster((example.node("n1", ports=ports),)))
    assert wrong.place == "node n1, 3 pods (default/ci-0, default/ci-1 and default/ci-2), docker0"


def test_nothing_is_said_of_a_pod_that_nobody_looked_into() -> None:
    port = msgspec.structs.replace(example.port("web", "10.42.1.10"), pod_mtu=None)
    assert nesting.larger(port, None) == ()


def _pod(name: str, owner: str = "", *images: str) -> pods.Pod:
    return pods.Pod(namespace="ci", name=name, node="n1", owner=owner, images=images)


@pytest.mark.parametrize(
    ("device", "pod", "program", "snippet"),
    [
        ("docker0", None, "dockerd", "/etc/docker/daemon.json"),
        ("br-0123456789ab", None, "dockerd", "docker network create -o com.docker.network.driver.mtu=1450"),
        (
            "docker0",
            _pod("arc-x-runner-abcde", "EphemeralRunner"),
            "the runner scale sets of actions-runner-controller",
            "leave containerMode empty",
        ),
        ("docker0", _pod("runner-7", "Runner"), "actions-runner-controller", "`dockerMTU: 1450`"),
        (
            "docker0",
            _pod("runner-a1b2c3-project-42-concurrent-0-xyz"),
            "a job of GitLab Runner",
            '`command: ["--mtu=1450", "--default-network-opt=bridge=com.docker.network.driver.mtu=1450"]`',
        ),
        ("docker0", _pod("buildkite-0191-abc"), "a job of Buildkite", '`args: ["--mtu=1450", '),
        ("br-0123456789ab", _pod("e2e", "", "kindest/node:v1.31.0"), "kind", "`docker network rm kind`"),
        ("buildkit0", None, "BuildKit", '`"mtu": 1450`'),
        ("podman1", None, "Podman", "podman network create --opt mtu=1450"),
        ("virbr0", None, "libvirt", "<mtu size='1450'/>"),
        ("k6t-eth0", None, "KubeVirt", "virtctl migrate"),
        ("cni0", _pod("runner-7", "Runner"), "the CNI of a cluster inside", "give the pods of the cluster inside 1450"),
        ("mybridge", None, "", "give what makes it an MTU of 1450"),
    ],
)
def test_each_program_is_recognised_and_told_its_own_number(
    device: str, pod: pods.Pod | None, program: str, snippet: str
) -> None:
    port = msgspec.structs.replace(
        example.port("x", "10.42.1.10"), inner=(msgspec.structs.replace(DOCKER0, name=device),)
    )
    (nested,) = nesting.larger(port, pod)
    assert nested.program == program
    assert snippet in nested.remedy
    assert "{" not in nested.remedy.replace('{"', "").replace("{}", "")


def test_each_row_says_where_it_was_read() -> None:
    assert all(one.source for one in (*nesting.PROGRAMS, nesting.OTHER))
    assert len({one.name for one in nesting.PROGRAMS}) == len(nesting.PROGRAMS)

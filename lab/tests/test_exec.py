"""Commands in containers by way of the API, as `kubectl exec` has them run: streams, rights, and the record."""

import os
import subprocess
from collections.abc import Callable

import pytest
from tests.support.lab_api import installed
from tests.support.labs import Body, Kube

from kubemtu_lab import scene, scenes
from kubemtu_lab.cluster import Lab

KUBECTL = str(installed("kubectl") or "")
RBAC = "/apis/rbac.authorization.k8s.io/v1"
pytestmark = [pytest.mark.lab, pytest.mark.skipif(not KUBECTL, reason="there is no kubectl: scripts/setup brings one")]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def lab(start: Callable[..., Lab]) -> Lab:
    found = scene.resized(scenes.named("flannel"), nodes=2, pods=1)
    return start(found.replace(name="exec"))


@pytest.fixture
def kubectl(lab: Lab) -> Run:
    def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [KUBECTL, *arguments],
            env=os.environ | {"KUBECONFIG": str(lab.kubeconfig)},
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def daemon(kubectl: Run, node: str) -> str:
    """Return the name of the CNI's pod on a node."""
    told = kubectl(
        *("get", "pods", "-n", "kube-flannel", "--field-selector", f"spec.nodeName={node}"),
        *("-o", "jsonpath={.items[*].metadata.name}"),
    )
    return told.stdout


def test_a_host_network_pod_shows_the_devices_of_its_node(lab: Lab, kubectl: Run) -> None:
    lab.set_mtu("node-2", "flannel.1", 1333)
    name = daemon(kubectl, "node-2")
    found = kubectl(
        "exec", "-n", "kube-flannel", name, "-c", "kube-flannel", "--", "cat", "/sys/class/net/flannel.1/mtu"
    )
    assert (found.stdout, found.stderr, found.returncode) == ("1333\n", "", 0)
    assert lab.executed()[-1].command == ("cat", "/sys/class/net/flannel.1/mtu")
    where = lab.executed()[-1]
    assert (where.user, where.node, where.namespace, where.pod) == ("admin", "node-2", "kube-flannel", name)
    assert (where.container, where.protocol) == ("kube-flannel", "v5.channel.k8s.io")


def test_exit_code_and_both_outputs_come_through(kubectl: Run) -> None:
    found = kubectl("exec", "pod-1a", "--", "sh", "-c", "echo told; echo why >&2; exit 3")
    assert (found.stdout, found.returncode) == ("told\n", 3)
    assert found.stderr == "why\ncommand terminated with exit code 3\n"


def test_a_command_reads_what_the_client_sends(kubectl: Run) -> None:
    assert kubectl("exec", "-i", "pod-1a", "--", "cat", text="one\ntwo\n").stdout == "one\ntwo\n"


def test_what_is_not_there_cannot_be_executed(kubectl: Run) -> None:
    found = kubectl("exec", "pod-1a", "--", "nosuch")
    assert found.returncode == 1
    assert 'exec: "nosuch": executable file not found in $PATH' in found.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("no-pod", "--", "ls"), 'pods "no-pod" not found'),
        (("pod-1a", "-c", "other", "--", "ls"), "container other is not valid for pod pod-1a"),
    ],
)
def test_where_there_is_nothing_the_api_says_so(kubectl: Run, arguments: tuple[str, ...], told: str) -> None:
    found = kubectl("exec", *arguments)
    assert found.returncode == 1
    assert told in found.stderr


def test_who_may_only_get_must_not_execute(lab: Lab, kubectl: Run) -> None:
    before = len(lab.executed())
    with Kube(lab.kubeconfig) as kube:
        rule = {"apiGroups": [""], "resources": ["pods", "pods/exec"], "verbs": ["get"]}
        kube.create(f"{RBAC}/clusterroles", {"kind": "ClusterRole", "metadata": {"name": "reader"}, "rules": [rule]})
        binding: Body = {
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
            "subjects": [{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}],
        }
        kube.create(f"{RBAC}/clusterrolebindings", binding)
    found = kubectl("exec", "--as", "ann", "pod-1a", "--", "ls")
    assert found.returncode == 1
    assert 'User "ann" cannot create resource "pods/exec" in API group "" in the namespace "default"' in found.stderr
    assert len(lab.executed()) == before

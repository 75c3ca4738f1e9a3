"""Agents run in a lab as the shipped manifest has them: its mounts, its ServiceAccount and no right beyond its role."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.labs import Body, Kube, container, is_ready, programs, until

from kubemtu_lab import container_exec, manifests, scenes
from kubemtu_lab.cluster import Lab
from kubemtu_lab.scene import nodes

pytestmark = pytest.mark.lab
DEPLOY = Path(__file__).parents[2] / "deploy"
PROBES = "/apis/kubemtu.io/v1alpha1/mtuprobes"
COLLECTIONS = {
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/kubemtu/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/kubemtu/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/kubemtu/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "DaemonSet": "/apis/apps/v1/namespaces/kubemtu/daemonsets",
    "ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
}


@pytest.fixture(scope="module")
def lab(start: Callable[..., Lab]) -> Lab:
    return start(scenes.named("canal-1500").replace(name="agents", nodes=nodes(2, 1)))


@pytest.fixture(scope="module")
def kube(lab: Lab) -> Iterator[Kube]:
    with Kube(lab.kubeconfig) as client:
        for file in (*sorted((DEPLOY / "crds").glob("*.yaml")), DEPLOY / "admission.yaml", DEPLOY / "agent.yaml"):
            for body in yaml.safe_load_all(file.read_text()):
                client.create(COLLECTIONS[body["kind"]], body)
        until(lambda: len(client.pods("kubemtu")) == 2 and all(map(is_ready, client.pods("kubemtu").values())))
        yield client


def observed(kube: Kube, node: str) -> dict[str, Body]:
    """Return the pod ports that a node's agent shows, by name of the namespace."""
    answer = kube.http.get(f"/apis/kubemtu.io/v1alpha1/nodemtus/{node}")
    if answer.status_code != 200:
        return {}
    found = answer.json().get("status", {}).get("observation", {}).get("ports") or ()
    return {each["netns"]: each for each in found}


def test_the_shipped_agent_sees_its_nodes_pods(lab: Lab, kube: Kube) -> None:
    place = lab.pod("pod-2a")
    until(lambda: place.netns in observed(kube, "node-2"))
    port = observed(kube, "node-2")[place.netns]
    assert (port["podMtu"], port["hostMtu"]) == (1500, 1500)
    assert all(container(pod, "agent")["restartCount"] == 0 for pod in kube.pods("kubemtu").values())


def test_a_pod_born_later_shows_in_the_running_agents_mounts(lab: Lab, kube: Kube) -> None:
    kube.run_pod("later", "node-1")
    agent = next(name for name, pod in kube.pods("kubemtu").items() if "node-1" in str(pod["spec"]))
    (pid,) = programs(lab, "node-1", b"--host-root=/host")
    assert (pid / "root/host/run/netns" / lab.pod("later").netns).stat().st_ino
    assert (pid / "root/host/etc/cni/net.d/10-calico.conflist").exists()
    status = dict(line.split(":\t", 1) for line in (pid / "status").read_text().splitlines())
    for held in ("CapPrm", "CapEff", "CapBnd"):  # NET_BROADCAST, NET_ADMIN, NET_RAW, SYS_ADMIN (capability.h)
        assert int(status[held], 16) == 1 << 11 | 1 << 12 | 1 << 13 | 1 << 21
    seen = {str(each.relative_to(pid / "root/host")) for each in (pid / "root/host").glob("*/*")}
    assert seen == {"run/netns", "run/docker", "run/kubemtu", "run/flannel", "etc/cni", "var/lib", "proc/sys"}
    mounts = {line.split()[4]: line.split()[5] for line in (pid / "mountinfo").read_text().splitlines()}
    writable = {place for place, options in mounts.items() if options.startswith("rw") and not _kernels(place)}
    assert writable == {"/host/run/kubemtu", "/host/proc/sys/net"}
    assert mounts["/proc/sys"].startswith("ro")
    assert (pid / "root/run/secrets/kubernetes.io/serviceaccount/namespace").read_text() == "kubemtu"
    assert b"KUBECONFIG" not in (pid / "environ").read_bytes()
    kube.remove_pod("later")
    assert agent in kube.pods("kubemtu")


def _kernels(place: str) -> bool:
    """Whether a mount is one of a runtime's own, or a name of a namespace."""
    return place.startswith(("/dev", "/host/run/netns/", "/run/netns/")) or place == "/proc"


@pytest.mark.parametrize(("number", "name"), [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW"), (21, "CAP_SYS_ADMIN")])
def test_an_agent_whose_container_lacks_a_capability_says_which_and_ends(lab: Lab, number: int, name: str) -> None:
    told = json.dumps({"mounts": [], "capabilities": [each for each in range(41) if each != number]})
    command = [sys.executable, "-I", "-S", container_exec.__file__, told, sys.executable, "-m", "kubemtu", "agent"]
    ended = lab.exec("node-1", [*command, "--node-name", "node-1"], check=False)
    assert (ended.returncode, ended.stdout) == (4, "")
    assert ended.stderr == (
        f"error: this needs {name}, to enter the pods' network namespaces; have its container keep the capabilities "
        "that deploy/agent.yaml gives it\n"
    )


def test_without_its_role_the_agent_is_refused(lab: Lab, kube: Kube) -> None:
    account = lab.node_root("node-1") / "run/lab/pods"
    token = next(account.glob("*/token")).read_text()
    headers = {"Authorization": f"Bearer {token}"}
    assert kube.http.get("/api/v1/nodes", headers=headers).status_code == 200
    assert kube.http.get("/api/v1/pods", headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("method", "namespace", "name", "allowed"),
    [
        ("GET", "kubemtu", "kubemtu-probe", True),
        ("POST", "kubemtu", "", True),
        ("GET", "kubemtu", "other", False),
        ("GET", "kubemtu", "", False),
        ("POST", "default", "", False),
    ],
)
def test_of_secrets_the_agent_may_make_one_and_read_one(
    lab: Lab, kube: Kube, method: str, namespace: str, name: str, allowed: bool
) -> None:
    token = next((lab.node_root("node-1") / "run/lab/pods").glob("*/token")).read_text()
    answer = kube.http.request(
        method,
        f"/api/v1/namespaces/{namespace}/secrets/{name}".rstrip("/"),
        params={"dryRun": "All"} if method == "POST" else {},
        json={"metadata": {"name": "kubemtu-probe"}} if method == "POST" else None,
        headers={"Authorization": f"Bearer {token}"},
    )
    assert (answer.status_code != 403) is allowed, answer.text


def test_the_shipped_agents_measure_with_a_key_that_one_of_them_has_made(lab: Lab, kube: Kube) -> None:
    """With no right beyond their role; between nodes, and from one pod to another that answers meanwhile."""
    until(lambda: all(observed(kube, node) for node in ("node-1", "node-2")))
    until(lambda: kube.http.get("/api/v1/namespaces/kubemtu/secrets/kubemtu-probe").status_code == 200)
    here, there = lab.pod("pod-1a"), lab.pod("pod-2a")
    pods = [{"node": "node-2", "link": there.host_link}]
    paths = [
        {
            "name": "pods",
            "from": {"node": "node-1", "link": here.host_link},
            "address": there.addresses[0],
            "bothWays": True,
        },
        {"name": "nodes", "from": {"node": "node-1"}, "address": internal(kube, "node-2"), "expected": 1500},
    ]
    question(kube, "pods-answer", {"responders": pods})
    until(lambda: told(kube, "node-2", "pods-answer").get("ready") is True)
    question(kube, "shipped", {"paths": paths})
    until(lambda: told(kube, "node-1", "shipped").get("done") is True)
    results = told(kube, "node-1", "shipped")["results"]
    assert [(one["path"], one["protocol"], one["verdict"]["mtu"]) for one in results] == [
        ("pods", "UDP", 1450),  # what the overlay of this scene carries, where pods have 1500
        ("nodes", "UDP", 1500),
    ]
    for name in ("pods-answer", "shipped"):
        kube.delete(f"{PROBES}/{name}")
    until(lambda: not told(kube, "node-1", "shipped") and not told(kube, "node-2", "pods-answer"))


def question(kube: Kube, name: str, spec: Body) -> None:
    """Put an MTUProbe."""
    body: Body = {"apiVersion": "kubemtu.io/v1alpha1", "kind": "MTUProbe", "metadata": {"name": name}, "spec": spec}
    kube.create(PROBES, body)


def told(kube: Kube, node: str, name: str) -> dict[str, Any]:
    """Return what a node tells of a question."""
    status: Any = kube.get(f"/apis/kubemtu.io/v1alpha1/nodemtus/{node}").get("status") or {}
    found: dict[str, Any] = (status.get("probes") or {}).get(name) or {}
    return found


def internal(kube: Kube, node: str) -> str:
    """Return the address of a node."""
    status: Any = kube.get(f"/api/v1/nodes/{node}")["status"]
    return next(str(one["address"]) for one in status["addresses"] if one["type"] == "InternalIP")


def test_the_labs_own_agent_is_told_what_the_shipped_one_is() -> None:
    (shipped,) = (
        each for each in yaml.safe_load_all((DEPLOY / "agent.yaml").read_text()) if each["kind"] == "DaemonSet"
    )
    objects = manifests.objects(scenes.named("canal-1500").replace(agents=True))
    (own,) = (each for each in json.loads(json.dumps([*objects])) if each["metadata"]["name"] == "kubemtu-agent")
    theirs, ours = (each["spec"]["template"]["spec"] for each in (shipped, own))
    for each in ("env", "securityContext", "volumeMounts", "resources"):
        assert theirs["containers"][0][each] == ours["containers"][0][each]
    for each in ("hostNetwork", "securityContext", "volumes"):
        assert theirs[each] == ours[each]

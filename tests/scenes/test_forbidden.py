"""What RBAC hides: said as plainly as what was seen, and never taken for something that is not there."""

from pathlib import Path

import pytest
import yaml
from tests.support.labs import Body
from tests.support.scenes import cluster as scenes
from tests.support.scenes import outside
from tests.support.scenes.cluster import Cluster, told

from kubemtu.flows import decide
from kubemtu_lab.scene import Canal, Scene, nodes

pytestmark = pytest.mark.lab

SCENE = Scene(name="forbidden", summary="", nodes=nodes(2, 1), cni=Canal(era="C", mtu=1450), version="v1.28.12")
NEEDED = {
    "configmaps": "",
    "nodes": "",
    "pods": "",
    "daemonsets": "apps",
    "ippools": "crd.projectcalico.org",
    "nodemtus": "kubemtu.io",
    "mtumigrations": "kubemtu.io",
    "mtupolicies": "kubemtu.io",
}
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


@pytest.fixture
def viewer(cluster: Cluster, tmp_path: Path) -> Path:
    """A kubeconfig of a ServiceAccount that may read what the check needs."""
    kube = cluster.kube
    account = {"kind": "ServiceAccount", "name": "viewer", "namespace": "default"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "viewer"}
    if kube.http.get(f"{ACCOUNTS}/viewer").status_code == 404:
        kube.create(ACCOUNTS, {"metadata": {"name": "viewer"}})
        kube.create(f"{RBAC}/clusterroles", {"metadata": {"name": "viewer"}, "rules": []})
        binding: Body = {"metadata": {"name": "viewer"}, "roleRef": role, "subjects": [account]}
        kube.create(f"{RBAC}/clusterrolebindings", binding)
    allow(cluster, *NEEDED)
    answer = kube.http.post(f"{ACCOUNTS}/viewer/token", json={"spec": {}}).raise_for_status().json()
    document = yaml.safe_load(cluster.lab.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": answer["status"]["token"]}
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(document))
    return file


def allow(cluster: Cluster, *plurals: str) -> None:
    """Let the viewer read these, and nothing else."""
    rules = [{"apiGroups": [NEEDED[each]], "resources": [each], "verbs": ["get", "list", "watch"]} for each in plurals]
    cluster.kube.merge(f"{RBAC}/clusterroles/viewer", {"rules": rules})


def check(viewer: Path) -> scenes.Told:
    """What the check says to the viewer."""
    return told(scenes.run("check", "-o", "json", "--kubeconfig", viewer))


on_lab = pytest.mark.parametrize("cluster", [SCENE], indirect=True)


@on_lab
def test_who_may_read_gets_a_clean_bill(cluster: Cluster, viewer: Path) -> None:
    cluster.healthy()
    now = check(viewer)
    assert (now.verdict, now.code, now.marks, now.missing) == ("healthy", 0, [], [])


@on_lab
@pytest.mark.parametrize(
    ("hidden", "places"),
    [
        pytest.param("nodes", ["nodes"], id="nodes"),
        pytest.param("pods", ["pods"], id="pods"),
        pytest.param("ippools", ["ippools"], id="ippools"),
        pytest.param("mtumigrations", ["mtumigrations"], id="mtumigrations"),
        pytest.param("daemonsets", ["daemonsets in namespace kube-system"], id="daemonsets"),
        pytest.param(
            "configmaps",
            [
                f"ConfigMap kube-system/{name}"
                for name in ("canal-config", "rke2-canal-config", "rke-network-plugin", "kubelet-config")
            ],
            id="configmaps",
        ),
    ],
)
def test_what_may_not_be_read_is_named_and_what_was_seen_is_still_judged(
    cluster: Cluster, viewer: Path, hidden: str, places: list[str]
) -> None:
    cluster.healthy()
    allow(cluster, *(NEEDED.keys() - {hidden}))
    now = check(viewer)
    assert (now.verdict, now.code, now.recommended_mtu) == ("incomplete", 1, 1450)
    assert now.marks == [f"MTU117 warning: {place}" for place in places]
    assert [entry.partition(":")[0] for entry in now.missing] == places
    assert all("viewer may not " in found.message for found in now.findings)
    assert now.summary.startswith(f"Nothing wrong was found, but not everything could be read: {places[0]}")


@on_lab
def test_without_what_the_agents_told_nothing_is_said_of_the_path(cluster: Cluster, viewer: Path) -> None:
    cluster.healthy()
    allow(cluster, *(NEEDED.keys() - {"nodemtus"}))
    now = check(viewer)
    assert (now.verdict, now.code, now.recommended_mtu) == ("incomplete", 1, None)
    assert now.marks == ["MTU117 warning: nodemtus", "MTU118 note: nodes node-1 and node-2"]


@on_lab
def test_an_encapsulation_that_is_hidden_is_not_taken_for_none(cluster: Cluster, viewer: Path) -> None:
    """Neither the ConfigMap nor flannel's annotations on the nodes: 1500 would be a guess, and a wrong one."""
    cluster.healthy()
    allow(cluster, *(NEEDED.keys() - {"configmaps", "nodes"}))
    now = check(viewer)
    assert (now.verdict, now.code, now.recommended_mtu, now.encapsulation) == ("incomplete", 1, None, "unknown")
    assert now.layers == []
    refused = scenes.run("plan", "--kubeconfig", viewer)
    assert refused.code == 2
    assert "the encapsulation between nodes could not be read" in refused.err


@on_lab
def test_who_may_read_nothing_is_refused_and_not_told_that_nothing_is_there(cluster: Cluster, viewer: Path) -> None:
    cluster.healthy()
    allow(cluster)
    for command in ("check", "plan"):
        ended = scenes.run(command, "--kubeconfig", viewer)
        assert (ended.code, ended.out) == (4, "")
        assert "cannot be told, because it may not be read: ConfigMap kube-system/canal-config, " in ended.err
        assert "ask for the ClusterRole kubemtu-view, which has these rights" in ended.err
        assert "was found" not in ended.err
        assert ended.err.count("\n") == 1


@on_lab
@pytest.mark.parametrize("hidden", ["nodemtus", "nodes"])
def test_what_may_not_be_seen_is_not_taken_for_what_is_not_there(cluster: Cluster, viewer: Path, hidden: str) -> None:
    """The right to ask for, once, and nothing of what ought to be installed, where it is installed."""
    cluster.healthy()
    allow(cluster, *(NEEDED.keys() - {hidden}))
    group = NEEDED[hidden]
    for words in (("probe",), ("check", "--prove"), ("apply", "--yes")):
        ended = scenes.run(*words, "--kubeconfig", viewer)
        assert (ended.code, ended.err.count("\n")) == (4, 1), ended
        assert "install" not in ended.err
        assert f"viewer may not list {hidden}" in ended.err
        assert ended.err.count("ask for the ClusterRole kubemtu-view, which has it, or the rule ") == 1
        assert (
            f"`kubemtu {' '.join(words).removesuffix(' --yes')}` as a whole needs the ClusterRole kubemtu-oper"
            in ended.err
        )
        assert f'{{apiGroups: ["{group}"], resources: [{hidden}], verbs: [list]}}' in ended.err
    if hidden == "nodemtus":
        checked = scenes.run("check", "--kubeconfig", viewer)
        assert (checked.code, checked.out.count("ask for the ClusterRole")) == (1, 1), checked.out
        assert "Run the kubemtu agent" not in checked.out


@on_lab
def test_who_may_not_run_commands_is_told_the_rule_and_everything_else(cluster: Cluster, viewer: Path) -> None:
    cluster.healthy()
    snapshot = outside.seen(viewer)
    assert snapshot.nodes == ()
    refused = [entry for entry in snapshot.unread if entry.what.startswith("pods/exec in namespace ")]
    assert "pods/exec in namespace kube-system" in {entry.what for entry in refused}
    assert all(entry.why == "forbidden" for entry in refused)
    assert all('{apiGroups: [""], resources: [pods/exec], verbs: [create, get]}' in entry.message for entry in refused)
    report = decide.check(snapshot)
    assert report.verdict == "incomplete"
    assert report.cni == "canal"
    codes = {finding.code for finding in report.findings}
    assert codes == {"MTU117", "MTU118"}


@on_lab
@pytest.mark.parametrize(("verbs", "seen"), [(["get"], []), (["create", "get"], ["node-1", "node-2"])])
def test_the_rule_that_is_named_is_enough(cluster: Cluster, viewer: Path, verbs: list[str], seen: list[str]) -> None:
    """From Kubernetes 1.35 on `get` alone is not."""
    reading = [{"apiGroups": [group], "resources": [one], "verbs": ["get", "list"]} for one, group in NEEDED.items()]
    exec_rule = {"apiGroups": [""], "resources": ["pods/exec"], "verbs": verbs}
    cluster.kube.merge(f"{RBAC}/clusterroles/viewer", {"rules": [*reading, exec_rule]})
    assert [node.node for node in outside.seen(viewer).nodes] == seen

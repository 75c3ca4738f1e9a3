"""`kubemtu plan` for who keeps the cluster in a repository: patches for kustomize, and the file itself, edited."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from tests.support import example
from tests.support.cluster_files import KUBESPAN, machine
from tests.support.pools import networked

from kubemtu.cli import main
from kubemtu.core.objects import Object
from kubemtu.core.planning import repository
from kubemtu.flows import observe

SHAPES = Path(__file__).parents[1] / "shapes"


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main.run(["plan", *words])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_kustomize_replaces_the_one_key(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = planned(capsys, "--from", str(SHAPES / "canal-c.yaml"), "--nic-mtu", "1450", "-o", "kustomize")
    assert code == 0
    assert out.startswith("# Once it is applied: kubectl -n kube-system rollout restart daemonset/canal\n")
    kustomization = yaml.safe_load(out)
    assert kustomization["apiVersion"] == "kustomize.config.k8s.io/v1beta1"
    (patch,) = kustomization["patches"]
    assert patch["target"] == {
        "version": "v1",
        "kind": "ConfigMap",
        "name": "canal-config",
        "namespace": "kube-system",
    }
    assert yaml.safe_load(patch["patch"]) == [{"op": "replace", "path": "/data/veth_mtu", "value": "1400"}]


@pytest.mark.parametrize(
    ("shape", "lines"),
    [
        ("canal-c", {'  veth_mtu: "1400"'}),
        ("canal-a", {'          "mtu": 1400,'}),
        ("rke2-canal", {"      mtu: 1450", "      vethuMTU: 1400"}),
    ],
)
def test_in_place_changes_those_lines_alone(
    shape: str, lines: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.yaml"
    shutil.copy(SHAPES / f"{shape}.yaml", mine)
    mine.chmod(0o664)
    before = mine.read_text().splitlines()
    code, out, err = planned(capsys, "--from", str(mine), "--nic-mtu", "1450", "--in-place", str(mine))
    after = mine.read_text().splitlines()
    assert code == 0
    assert set(after) - set(before) == lines
    assert [line for line in after if line not in lines] == [
        line for line in before if line in after or line.strip().startswith("#")
    ]
    assert mine.stat().st_mode & 0o777 == 0o664
    assert all(f"+{line}" in err for line in lines)
    assert "rollout restart" in err
    assert out == ""


def test_twice_is_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.yaml"
    shutil.copy(SHAPES / "canal-c.yaml", mine)
    words = ("--from", str(mine), "--nic-mtu", "1450", "--in-place", str(mine))
    planned(capsys, *words)
    once = mine.read_bytes()
    assert planned(capsys, *words) == (0, "", "There is nothing to edit.\n")
    assert mine.read_bytes() == once


def test_another_file_is_refused_and_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("kind: ConfigMap\nmetadata: {name: other}\n")
    words = ("--from", str(SHAPES / "canal-c.yaml"), "--nic-mtu", "1450", "--in-place", str(other))
    code, _, err = planned(capsys, *words)
    assert code == 5
    assert f"{other} holds none of ConfigMap kube-system/canal-config: name the file that does." in err
    assert other.read_text() == "kind: ConfigMap\nmetadata: {name: other}\n"


ENV = 'env: [{name: AWS_VPC_ENI_MTU, value: "9001"}]'


def test_a_variable_that_is_missing_is_added_as_a_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The API refuses a number there: EnvVar.value is a string (k8s.io/api/core/v1)."""
    mine, text = tmp_path / "mine.yaml", (SHAPES / "aws.yaml").read_text()
    assert text.count(ENV) == 1
    mine.write_text(text)
    words = ("--from", str(mine), "--nic-mtu", "1500", "--in-place", str(mine))
    assert planned(capsys, *words)[0] == 0
    assert mine.read_text() == text.replace(ENV, f'{ENV[:-1]}, {{name: POD_MTU, value: "1500"}}]')
    assert planned(capsys, *words) == (0, "", "There is nothing to edit.\n")


def test_a_variable_that_is_to_be_added_by_hand_is_a_text_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.yaml"
    text = (SHAPES / "aws.yaml").read_text().replace(ENV, ENV.replace(", value", ",\n              value"))
    mine.write_text(text)
    code, _, err = planned(capsys, "--from", str(mine), "--nic-mtu", "1500", "--in-place", str(mine))
    assert code == 5
    assert err.rstrip().endswith('add {name: POD_MTU, value: "1500"} there by hand.')
    assert mine.read_text() == text


def test_a_file_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--from", str(SHAPES / "canal-c.yaml"), "--nic-mtu", "1450", "--in-place")
    assert planned(capsys, *words, str(tmp_path / "absent"))[0] == 2
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert planned(capsys, *words, str(tmp_path / "binary"))[0] == 5


RKE = """
---
apiVersion: v1
kind: ConfigMap
metadata: {name: rke-network-plugin, namespace: kube-system}
data: {rke-network-plugin: "kind: ConfigMap\\nmetadata: {name: canal-config}\\ndata: {veth_mtu: '1450'}\\n"}
"""


def by_rke(tmp_path: Path) -> str:
    """Make the manifests of a canal that RKE deploys."""
    path = tmp_path / "cluster.yaml"
    path.write_text((SHAPES / "canal-c.yaml").read_text() + RKE)
    return str(path)


def by_helm(tmp_path: Path) -> str:
    """Make the manifests of a flannel that Helm deploys."""
    path = tmp_path / "flannel.yaml"
    text = (SHAPES / "flannel.yaml").read_text()
    owned = "labels: {app.kubernetes.io/managed-by: Helm}"
    path.write_text(text.replace("kind: ConfigMap\nmetadata: {", "kind: ConfigMap\nmetadata: {" + owned + ", "))
    assert owned in path.read_text()
    return str(path)


def test_the_number_as_cluster_yml_has_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--from", by_rke(tmp_path), "--nic-mtu", "1450", "-o", "cluster.yml")
    code, out, _ = planned(capsys, *words)
    assert code == 0
    assert yaml.safe_load(out) == {"network": {"mtu": 1400}}


def test_cluster_yml_in_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "cluster.yml"
    mine.write_text("# our cluster\nnodes: []\nnetwork:\n  plugin: canal   # as ever\n  mtu: 1450\n")
    code, _, err = planned(capsys, "--from", by_rke(tmp_path), "--nic-mtu", "1450", "--in-place", str(mine))
    assert code == 0
    assert mine.read_text() == "# our cluster\nnodes: []\nnetwork:\n  plugin: canal   # as ever\n  mtu: 1400\n"
    assert "+  mtu: 1400" in err


def test_a_base_number_counts_what_the_cni_subtracts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """flannel takes 50 off for VXLAN, so pods of 1300 need 1350 there."""
    words = ("--from", by_helm(tmp_path), "--nic-mtu", "1400", "--mtu", "1300")
    code, out, _ = planned(capsys, *words, "-o", "helm-values")
    assert code == 0
    assert yaml.safe_load(out) == {"flannel": {"mtu": 1350}}
    values = tmp_path / "values.yaml"
    values.write_text('podCidr: "10.42.0.0/16"  # ours\nflannel:\n  backend: "vxlan"\n')
    assert planned(capsys, *words, "--in-place", str(values))[0] == 0
    assert values.read_text() == 'podCidr: "10.42.0.0/16"  # ours\nflannel:\n  backend: "vxlan"\n  mtu: 1350\n'


CHART = {  # what is no file of flannel's chart, and holds no other object either
    "another program's": "services:\n  web: {image: nginx}   # ours\n",
    "another chart's": "replicaCount: 2\nenv: {A: b}\n",
    "deeper, in a chart that has it below itself": "kube-flannel:\n  flannel:\n    mtu: 1400\n",
    "JSON": '{"env": {"A": "b"}}',
    "words": "some words\n",
    "a list": "- a\n- b\n",
}


@pytest.mark.parametrize("text", CHART.values(), ids=list(CHART))
def test_a_file_of_something_else_gets_no_number(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.yml"
    other.write_text(text)
    words = ("--from", by_helm(tmp_path), "--nic-mtu", "1400", "--mtu", "1300", "--in-place", str(other))
    code, _, err = planned(capsys, *words)
    assert code == 5
    assert f"{other} does not look like values of the chart flannel: it has none of flannel.mtu, flannel, podC" in err
    assert "or write flannel.mtu: 1350 there by hand." in err
    assert other.read_text() == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "flannel:\n  mtu: 1350\n"),
        ("# ours\n", "# ours\nflannel:\n  mtu: 1350\n"),
        ("podCidr: 10.0.0.0/8\n", "podCidr: 10.0.0.0/8\nflannel:\n  mtu: 1350\n"),
        ('"flannel":\r\n    mtu: 1400 # c\r\n', '"flannel":\r\n    mtu: 1350 # c\r\n'),
        ("flannel:\n  mtu: 1400", "flannel:\n  mtu: 1350"),
        ("extra:\n  kind: x\nflannel: {mtu: 1400}\n", "extra:\n  kind: x\nflannel: {mtu: 1350}\n"),
    ],
    ids=["nothing", "a comment", "another key of the chart", "quoted, Windows", "no end of line", "a kind inside"],
)
def test_a_file_of_the_chart_gets_it(
    before: str, after: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "values.yaml"
    mine.write_bytes(before.encode())
    words = ("--from", by_helm(tmp_path), "--nic-mtu", "1400", "--mtu", "1300", "--in-place", str(mine))
    assert planned(capsys, *words)[0] == 0
    assert mine.read_bytes().decode() == after


def test_manifests_inside_of_cluster_yml_make_it_no_manifests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """RKE's addons are texts of manifests (rancher/rke: types/rke_types.go, Addons)."""
    mine = tmp_path / "cluster.yml"
    text = "nodes: []\nnetwork: {plugin: canal, mtu: 1450}\naddons: |-\n  apiVersion: v1\n  kind: Namespace\n"
    mine.write_text(text)
    assert planned(capsys, "--from", by_rke(tmp_path), "--nic-mtu", "1450", "--in-place", str(mine))[0] == 0
    assert mine.read_text() == text.replace("mtu: 1450", "mtu: 1400")


JSON = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "canal-config", "namespace": "kube-system"}, '


@pytest.mark.parametrize("around", ["%s", '{"apiVersion": "v1", "kind": "List", "items": [\n  %s\n]}'])
def test_objects_in_json_are_edited_where_they_stand(
    around: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `kubectl get -o json` prints them: also where the cluster has a file of values, which this is none of."""
    mine = tmp_path / "mine.json"
    text = around % (JSON + '"data": {"veth_mtu": "1450"}}')
    mine.write_text(text)
    assert planned(capsys, "--from", by_rke(tmp_path), "--nic-mtu", "1450", "--in-place", str(mine))[0] == 0
    assert mine.read_text() == text.replace('"1450"', '"1400"')


def test_a_machine_configuration_gets_no_key_of_another_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pods have what KubeSpan leaves, 1420 less 50; backendMTU belongs into a KubeFlannelCNIConfig, and Talos refuses
    keys that it does not know.
    """
    mine = tmp_path / "machine.yaml"
    mine.write_text(machine(host=KUBESPAN, version="v1.14.0"))
    code, _, err = planned(capsys, "--from", str(mine), "--in-place", str(mine))
    assert (code, err) == (0, "There is nothing to edit.\n")
    assert mine.read_text() == machine(host=KUBESPAN, version="v1.14.0")


def test_an_edited_file_stays_its_owners(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.yaml"
    shutil.copy(SHAPES / "canal-c.yaml", mine)
    owner = 4242 if os.geteuid() == 0 else os.getuid()
    os.chown(mine, owner, -1)
    (tmp_path / "link.yaml").symlink_to("mine.yaml")
    words = ("--from", str(mine), "--nic-mtu", "1450", "--in-place", str(tmp_path / "link.yaml"))
    assert planned(capsys, *words)[0] == 0
    assert 'veth_mtu: "1400"' in mine.read_text()
    assert mine.stat().st_uid == owner
    assert (tmp_path / "link.yaml").is_symlink()


def test_a_file_that_nobody_may_write_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.yaml"
    shutil.copy(SHAPES / "canal-c.yaml", mine)
    mine.chmod(0o444)
    code, _, err = planned(capsys, "--from", str(mine), "--nic-mtu", "1450", "--in-place", str(mine))
    assert code == 2
    assert f"{mine} cannot be written: it is read-only; `chmod u+w` lets it be edited" in err
    assert mine.read_text() == (SHAPES / "canal-c.yaml").read_text()


def test_what_somebody_writes_meanwhile_is_not_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine.yaml"
    shutil.copy(SHAPES / "canal-c.yaml", mine)
    edit = repository.in_place

    def slowly(*given: Any) -> repository.Edited:
        with mine.open("a") as file:
            file.write("# meanwhile\n")
        return edit(*given)

    monkeypatch.setattr(repository, "in_place", slowly)
    code, _, err = planned(capsys, "--from", str(mine), "--nic-mtu", "1450", "--in-place", str(mine))
    assert code == 7
    assert f"{mine} was changed by somebody else meanwhile, and is left as it is: plan again" in err
    assert mine.read_text() == (SHAPES / "canal-c.yaml").read_text() + "# meanwhile\n"


@pytest.mark.parametrize(("words", "mtu"), [((), 1450), (("--mtu", "1400"), 1400)], ids=["by NIC", "bounded"])
def test_a_file_gets_what_suits_every_node(
    words: tuple[str, ...], mtu: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sizes by node are in pods' routes; the file is every node's, and the smallest NIC of 1500 leaves 1450."""
    big = tuple(example.node(name, nic=9000) for name in ("n1", "n2"))
    made = networked(example.story(1450, (*big, example.node("n3"))), {})
    kept = Object.of(yaml.safe_load(RKE.removeprefix("\n---\n")))
    observe.save(msgspec.structs.replace(made, objects=(*made.objects, kept)), tmp_path / "cluster.json")
    asked = ("--from", str(tmp_path / "cluster.json"), "--per-node", *words)
    _, out, _ = planned(capsys, *asked, "-o", "cluster.yml")
    assert yaml.safe_load(out) == {"network": {"mtu": mtu}}
    mine = tmp_path / "cluster.yml"
    mine.write_text("nodes: []\nnetwork: {mtu: 1480}\n")
    assert planned(capsys, *asked, "--in-place", str(mine))[0] == 0
    assert mine.read_text() == f"nodes: []\nnetwork: {{mtu: {mtu}}}\n"


def test_a_form_that_nobody_deploys_it_from(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--from", str(SHAPES / "canal-c.yaml"), "--nic-mtu", "1450", "-o", "cluster.yml")
    code, out, err = planned(capsys, *words)
    assert (code, out) == (2, "")
    assert "no cluster.yml is known that canal (era C (veth_mtu)) is deployed from" in err


RKE2 = """
apiVersion: v1
kind: ConfigMap
metadata: {name: rke2-canal-config, namespace: kube-system}
data:
  canal_iface: ""
  masquerade: "true"
  typha_service_name: none
  veth_mtu: "1450"
  cni_network_config: '{"plugins": [{"type": "calico", "mtu": __CNI_MTU__}]}'
  net-conf.json: '{"Network": "10.42.0.0/16", "Backend": {"Type": "vxlan"}}'
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: rke2-canal, namespace: kube-system}
spec:
  template:
    spec:
      initContainers:
      - name: install-cni
        image: hardened-calico:v3.28.1
        env: [{name: CNI_MTU, valueFrom: {configMapKeyRef: {name: rke2-canal-config, key: veth_mtu}}}]
      containers: [{name: kube-flannel, image: "hardened-flannel:v0.25.5"}]
"""
RKE2_CALICO = """
apiVersion: operator.tigera.io/v1
kind: Installation
metadata:
  name: default
  labels: {app.kubernetes.io/managed-by: Helm}
  annotations: {meta.helm.sh/release-name: rke2-calico, meta.helm.sh/release-namespace: kube-system}
spec: {calicoNetwork: {mtu: 1450, ipPools: [{cidr: 10.42.0.0/16, encapsulation: VXLAN}]}}
"""
RKE2_FLANNEL = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: kube-flannel-cfg
  namespace: kube-system
  labels: {app.kubernetes.io/managed-by: Helm}
  annotations: {meta.helm.sh/release-name: rke2-flannel}
data:
  cni-conf.json: '{"plugins": [{"type": "flannel", "delegate": {}}]}'
  net-conf.json: '{"Network": "10.42.0.0/16", "Backend": {"Type": "vxlan"}}'
"""


@pytest.mark.parametrize(
    ("manifests", "chart", "values"),
    [
        (RKE2, "rke2-canal", {"calico": {"vethuMTU": 1400}}),
        (RKE2_CALICO, "rke2-calico", {"installation": {"calicoNetwork": {"mtu": 1400}}}),
        (RKE2_FLANNEL, "rke2-flannel", {"flannel": {"mtu": 1450}}),
    ],
    ids=["canal", "calico", "flannel"],
)
def test_the_helm_chart_config_that_is_not_there_yet(
    manifests: str, chart: str, values: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The charts' keys: rancher/rke2-charts, packages/rke2-canal, rke2-calico and rke2-flannel, values.yaml."""
    given = tmp_path / "cluster.yaml"
    given.write_text(manifests)
    words = ("--from", str(given), "--nic-mtu", "1450", "--mtu", "1400")
    code, out, err = planned(capsys, *words, "-o", "helmchartconfig")
    assert (code, err) == (0, "")
    made = yaml.safe_load(out)
    assert (made["apiVersion"], made["kind"]) == ("helm.cattle.io/v1", "HelmChartConfig")
    assert made["metadata"] == {"name": chart, "namespace": "kube-system"}
    assert yaml.safe_load(made["spec"]["valuesContent"]) == values
    assert f"get helmchartconfig {chart}" in out.splitlines()[0]


def test_what_is_printed_is_what_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "cluster.yaml"
    given.write_text(RKE2)
    words = ("--from", str(given), "--nic-mtu", "1450", "--mtu", "1400", "-o", "helmchartconfig")
    _, out, _ = planned(capsys, *words)
    given.write_text(f"{RKE2}---\n{out}".replace('veth_mtu: "1450"', 'veth_mtu: "1400"'))
    code, out, _ = planned(capsys, *words[:-2], "-o", "kustomize")
    assert (code, yaml.safe_load(out)["patches"]) == (0, [])
    code, _, err = planned(capsys, *words)
    assert code == 2
    assert "no helmchartconfig is known" in err


ANTREA = """
apiVersion: v1
kind: ConfigMap
metadata: {name: antrea-config, namespace: kube-system, OWNED}
data: {antrea-agent.conf: "trafficEncapMode: encap\\ntunnelType: vxlan\\ndefaultMTU: 1450\\n"}
"""
KUBE_OVN = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-ovn-cni, namespace: kube-system, OWNED}
spec: {template: {spec: {containers: [{name: cni-server, image: "kube-ovn:v1.13.0", args: [--network-type=vxlan]}]}}}
"""
OVN = """
apiVersion: v1
kind: ConfigMap
metadata: {name: ovn-config, namespace: ovn-kubernetes, OWNED}
data: {net_cidr: 10.244.0.0/16/24, svc_cidr: 172.16.1.0/24, mtu: "1450"}
"""
AWS = """
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: aws-node
  namespace: kube-system
  managedFields: [{manager: eks, operation: Apply}]
spec: {template: {spec: {containers: [{name: aws-node, image: "amazon-k8s-cni:v1.19.2", env: []}]}}}
"""


@pytest.mark.parametrize(
    ("manifests", "values"),
    [
        (ANTREA, {"defaultMTU": 1400}),
        (KUBE_OVN, {"networking": {"pods": {"mtu": 1400}}}),
        (OVN, {"mtu": 1400}),
    ],
    ids=["antrea", "kube-ovn", "ovn-kubernetes"],
)
def test_the_number_as_a_charts_values_have_it(
    manifests: str, values: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The charts' keys: build/charts/antrea/values.yaml, charts/kube-ovn-v2/values.yaml, helm/ovn-kubernetes."""
    given = tmp_path / "cluster.yaml"
    given.write_text(manifests.replace("OWNED", "labels: {app.kubernetes.io/managed-by: Helm}"))
    words = ("--from", str(given), "--nic-mtu", "1500", "--mtu", "1400", "-o", "helm-values")
    code, out, err = planned(capsys, *words)
    assert (code, err) == (0, "")
    assert yaml.safe_load(out) == values
    given.write_text(manifests.replace("OWNED", "labels: {}"))
    assert planned(capsys, *words)[0] == 2


def test_the_number_as_an_add_on_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Variables are texts in configurationValues, and what is given there replaces what was (EKS: UpdateAddon)."""
    given = tmp_path / "cluster.yaml"
    given.write_text(AWS)
    words = ("--from", str(given), "--nic-mtu", "9001", "--mtu", "1400")
    code, out, err = planned(capsys, *words, "-o", "eks-addon")
    assert code == 0
    assert json.loads(out) == {"env": {"POD_MTU": "1400"}}
    assert "they replace all that it has: merge them with what `aws eks describe-addon" in err
    assert "the EKS add-on vpc-cni (its configuration values: env.POD_MTU) writes the" in planned(capsys, *words)[1]
    given.write_text(AWS.replace("manager: eks", "manager: kubectl-edit"))
    code, _, err = planned(capsys, *words, "-o", "eks-addon")
    assert code == 2
    assert "no eks-addon is known" in err

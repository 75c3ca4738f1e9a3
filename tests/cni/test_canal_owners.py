"""Who writes canal's configuration back: RKE, Helm behind RKE2, GitOps; and what has drifted already."""

from collections.abc import Callable

import pytest
import yaml

from kubemtu.cni import canal
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.snapshot import Snapshot

Reading = Callable[..., Snapshot]

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: %(name)s-config, namespace: kube-system%(more)s}
data:
  canal_iface: ""
  masquerade: "true"
  veth_mtu: "%(mtu)s"
  cni_network_config: '{"plugins": [{"type": "calico", "mtu": __CNI_MTU__}]}'
  net-conf.json: '{"Network": "10.42.0.0/16", "Backend": {"Type": "vxlan"}}'
"""
CHART = """
apiVersion: helm.cattle.io/v1
kind: HelmChartConfig
metadata: {name: rke2-canal, namespace: kube-system%(more)s}
spec:
  valuesContent: %(values)s
"""


def config(mtu: int = 1450, name: str = "canal", more: str = "") -> str:
    return CONFIG % {"mtu": mtu, "name": name, "more": more}


def chart(values: str, more: str = "") -> str:
    return CHART % {"values": yaml.safe_dump(values, default_style='"'), "more": more}


def store(text: str) -> str:
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "rke-network-plugin", "namespace": "kube-system"},
        "data": {"rke-network-plugin": text},
    }
    return yaml.safe_dump(body)


def read(snapshot: Snapshot) -> CniState:
    state = canal.read(snapshot)
    assert state is not None
    return state


def test_rke_owns_it_and_nothing_has_drifted(snapshot: Reading) -> None:
    state = read(snapshot(config(1400), store("---\n" + config(1400))))
    assert state.owner == "RKE (cluster.yml: network.mtu)"
    assert state.findings == ()


def test_rke_will_take_a_manual_edit_back(snapshot: Reading) -> None:
    (finding,) = read(snapshot(config(1400), store(config(1450)))).findings
    assert finding.code == "MTU113"
    assert finding.place == "ConfigMap kube-system/canal-config, data.veth_mtu"
    assert 'veth_mtu is "1400" and was rendered as "1450"' in finding.message
    assert "network.mtu in cluster.yml" in finding.remedy


@pytest.mark.parametrize("text", ["a: [", "\tx: y", "a: !thing b"])
def test_what_rke_rendered_is_no_yaml(snapshot: Reading, text: str) -> None:
    state = read(
        snapshot(config(1400), store(f"kind: CustomResourceDefinition\n---\nkind: ConfigMap\n{text} # canal-config\n"))
    )
    assert state.owner == "RKE (cluster.yml: network.mtu)"
    assert [finding.code for finding in state.findings] == ["MTU117"]


def test_what_rke_rendered_holds_no_such_object(snapshot: Reading) -> None:
    state = read(
        snapshot(config(1400), store("kind: DaemonSet\nmetadata: {name: canal-config}\n---\n" + config(1, "x")))
    )
    assert state.owner == "RKE (cluster.yml: network.mtu)"
    assert state.findings == ()


@pytest.mark.parametrize(
    ("more", "owner"),
    [
        (", labels: {app.kubernetes.io/managed-by: Helm}", "Helm (release unknown)"),
        (", annotations: {meta.helm.sh/release-name: net}", "Helm (release net)"),
        (
            ", annotations: {argocd.argoproj.io/tracking-id: 'infra:/ConfigMap:kube-system/canal-config'}",
            "Argo CD (application infra)",
        ),
        (", labels: {kustomize.toolkit.fluxcd.io/name: base}", "Flux (Kustomization base)"),
        (
            ", annotations: {meta.helm.sh/release-name: net, objectset.rio.cattle.io/id: default-net}",
            "Rancher Fleet (release net)",
        ),
        (
            ", managedFields: [{manager: Terraform}, {manager: kubectl-edit}]",
            "Terraform (a kubernetes_manifest of its provider hashicorp/kubernetes)",
        ),
        (", managedFields: [{manager: kubectl-client-side-apply}, broken]", ""),
        (", labels: {addonmanager.kubernetes.io/mode: Reconcile}", "the addon manager (mode Reconcile)"),
        (", labels: [broken]", ""),
        ("", ""),
    ],
)
def test_owners_are_told_by_labels_and_annotations(snapshot: Reading, more: str, owner: str) -> None:
    assert read(snapshot(config(more=more))).owner == owner


def test_rke2_reads_the_values_of_its_chart(snapshot: Reading) -> None:
    values = 'flannel:\n  iface: "eth1"\n  mtu: 9000\ncalico:\n  vethuMTU: 8950\n'
    state = read(snapshot(chart(values)))
    assert state.variant == "RKE2, era C (veth_mtu)"
    assert (state.pod_mtu, state.tunnel_mtu) == (8950, 8950)
    assert state.nic_names == ("eth1",)
    assert [(key.inside, key.means, key.value) for key in state.mtu_keys] == [
        ("calico.vethuMTU", "pod", 8950),
        ("flannel.mtu", "base", 9000),
    ]
    assert str(state.daemonset) == "DaemonSet kube-system/rke2-canal"
    assert state.findings == ()


def test_rke2_without_values_has_the_charts_default(snapshot: Reading) -> None:
    assert read(snapshot(chart("flannel:\n  iface: eth1\n"))).pod_mtu == 1450


def test_rke2s_default_does_not_suit_wireguard(snapshot: Reading) -> None:
    state = read(snapshot(chart("flannel:\n  backend: wireguard\n")))
    assert state.tunnel == "flannel-wg"
    (finding,) = state.findings
    assert finding.code == "MTU119"
    assert "packets of 1421-1450 bytes do not fit" in finding.message
    assert "1420 on NICs of 1500" in finding.remedy


def test_rke2s_live_object_differs_from_its_chart(snapshot: Reading) -> None:
    state = read(snapshot(config(1400, "rke2-canal"), chart("calico: {vethuMTU: 1450}")))
    assert state.pod_mtu == 1400
    (finding,) = state.findings
    assert finding.code == "MTU113"
    assert "veth_mtu is 1400" in finding.message
    assert "makes it 1450" in finding.message


def test_rke2_without_a_chart_config_is_helms(snapshot: Reading) -> None:
    state = read(snapshot(config(1450, "rke2-canal")))
    assert state.owner.startswith("Helm (release rke2-canal")
    (finding,) = state.findings
    assert (finding.code, finding.severity) == ("MTU113", "note")
    assert "`kubemtu apply`, which makes HelmChartConfig kube-system/rke2-canal with calico.vethuMTU" in finding.remedy


def test_a_chart_config_may_itself_come_from_a_file_of_the_server(snapshot: Reading) -> None:
    more = (
        ', annotations: {objectset.rio.cattle.io/owner-gvk: "k3s.cattle.io/v1, Kind=Addon",'
        " objectset.rio.cattle.io/owner-name: rke2-canal-config}"
    )
    state = read(snapshot(config(1450, "rke2-canal"), chart("calico: {vethuMTU: 1450}", more)))
    assert state.owner.startswith("the server manifest rke2-canal-config")


@pytest.mark.parametrize("values", ["a: [", "flannel: 3", "- 1", "calico: {vethuMTU: [1]}", "calico: {vethuMTU: huge}"])
def test_values_that_are_none(snapshot: Reading, values: str) -> None:
    state = read(snapshot(chart(values)))
    assert {finding.code for finding in state.findings} <= {"MTU117", "MTU112"}
    assert state.pod_mtu == 1450

"""kubespray, RKE, k3s and RKE2: variables and files that are no objects, how they are edited, and what is kept of them.

Numbers: 50 bytes for VXLAN over IPv4 (RFC 7348), 20 for IPIP (RFC 2003), 60 for WireGuard over IPv4.
"""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from tests.support.cluster_files import DOCUMENT, SECRET, given, machine, nic
from tests.support.findings import judged

from kubemtu.cli import main
from kubemtu.cni import registry
from kubemtu.core.errors import NotRecognised, UsageError
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide, observe
from kubemtu.flows.saved import forms, manifests, specifications
from kubemtu.flows.saved.facts import Document, Facts, Text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (machine("cni: {name: none}"), "cluster.network.cni.name is none: the pod network is another one's"),
        (machine("cni: {name: custom, urls: ['https://example.com/cni.yaml']}"), "cni.name is custom"),
        (machine("", version="v1.14.0"), "names no pod network: a control plane's may"),
        (nic(1450), "These documents of Talos are about NICs alone"),
        ("kube_network_plugin: custom_cni\n", "is 'custom_cni', of which kubespray's variables hold no MTU"),
        ('kube_network_plugin: "{{ plugin }}"\n', "is an expression of Jinja"),
        ("flannel-backend: none\ntoken: x\n", "leaves the pod network to others"),
        ("cni: none\n", "leaves the pod network to others"),
        (
            "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nnetworking: {podSubnet: 10.0.0.0/16}\n",
            "is kubeadm's, which installs no pod network and has no key for its MTU",
        ),
    ],
)
def test_what_else_is_needed_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(NotRecognised, match=said):
        registry.recognise(given(tmp_path, text))


KUBESPRAY = {
    "the sample as it comes": ("kube_network_plugin: calico\n", 1500, "Calico", None, []),
    "VXLAN": ("calico_mtu: 1450\n", 1500, "Calico", 1450, []),
    "the NIC's own number": ("calico_mtu: 1500\n", 1500, "Calico", 1500, [("MTU119", "error")]),
    "both variables, as the sample shows them": (
        "calico_mtu: 1500\ncalico_veth_mtu: 1440\n",
        None,
        "Calico",
        1500,
        [("MTU119", "error")],
    ),
    "calico_veth_mtu alone": ("calico_veth_mtu: 1440\n", 1500, "Calico", None, [("MTU111", "warning")]),
    "text, of which pods get nothing": ("calico_mtu: '1450'\n", 1500, "Calico", None, [("MTU112", "error")]),
    "IPIP": ("calico_ipip_mode: Always\ncalico_vxlan_mode: Never\ncalico_mtu: 1480\n", 1500, "Calico", 1480, []),
    "IPIP of before v2.20": ("calico_ipip_mode: Always\ncalico_mtu: 1480\n", 1500, "Calico", 1480, []),
    "nothing around": ("calico_vxlan_mode: Never\ncalico_mtu: 1500\n", 1500, "Calico", 1500, []),
    "WireGuard": ("calico_wireguard_enabled: true\ncalico_mtu: 1450\n", 1500, "Calico", 1450, [("MTU119", "error")]),
    "an expression": ('calico_mtu: "{{ nic_mtu - 50 }}"\n', 1500, "Calico", None, [("MTU117", "warning")]),
    "a variable that no template has": ("calico_ipip_mtu: 1480\n", 1500, "Calico", None, [("MTU111", "warning")]),
    "flannel has none": (
        "kube_network_plugin: flannel\nflannel_mtu: 1400\n",
        1500,
        "flannel",
        None,
        [("MTU111", "warning")],
    ),
    "flannel with host-gw": (
        "kube_network_plugin: flannel\nflannel_backend_type: host-gw\n",
        1500,
        "flannel",
        None,
        [],
    ),
    "kube-router has none": ("kube_network_plugin: kube-router\n", None, "kube-router", None, []),
    "Cilium's is the underlay's": ("cilium_mtu: '1500'\n", 1500, "Cilium", 1450, []),
    "Cilium's taken off twice": ("cilium_mtu: 1450\n", 1500, "Cilium", 1400, [("MTU119", "note")]),
    "Cilium, native routing": ("cilium_mtu: 1500\ncilium_tunnel_mode: disabled\n", 1500, "Cilium", 1500, []),
    "Kube-OVN": (
        "kube_network_plugin: kube-ovn\nkube_ovn_mtu: 1333\nkube_ovn_tunnel_type: vxlan\n",
        1383,
        "Kube-OVN",
        1333,
        [],
    ),
    "Weave Net, until v2.28": ("weave_mtu: 1376\n", 1400, "Weave Net", 1376, [("MTU119", "error")]),
}


@pytest.mark.parametrize("case", KUBESPRAY)
def test_kubespray(tmp_path: Path, case: str) -> None:
    text, nic_mtu, network, pod_mtu, findings = KUBESPRAY[case]
    found = given(tmp_path, f"---\n# {case}\n{text}")
    state = registry.recognise(found)
    assert (state.variant, state.pod_mtu) == (f"kubespray, {network}", pod_mtu)
    assert judged(found, nic_mtu) == findings


def test_files_of_an_inventory_are_read_together(tmp_path: Path) -> None:
    for name, text in (
        ("all/all.yml", "calico_mtu: 1400\nloadbalancer_apiserver: {port: 1}\n"),
        ("k8s_cluster/k8s-cluster.yml", "kube_network_plugin: calico\n"),
        ("k8s_cluster/k8s-net-calico.yml", "calico_mtu: 1450\n"),
        ("k8s_cluster/k8s-net-cilium.yml", "cilium_mtu: 1300\n"),
        ("k8s_cluster/addons.yml", "helm_enabled: false\n"),
        ("../host_vars/n1.yml", "calico_mtu: 9000\n"),
        ("../inventory.ini", "[kube_node]\nn1 ansible_host=192.0.2.1\n"),
    ):
        path = tmp_path / "group_vars" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = manifests.load(tmp_path)
    assert {each.what: each.message.partition(",")[0] for each in found.unread} == {
        "group_vars/k8s_cluster/addons.yml:1": "holds variables of which nothing is needed",
        "host_vars/n1.yml:1": "holds variables of one host",
        "inventory.ini": "is an INI file",
    }
    state = registry.recognise(found)
    assert state.pod_mtu == 1450  # group_vars/all is put aside by what stands in a group's own
    assert str(state.mtu_keys[0].ref) == "kubespray group_vars/k8s_cluster/k8s-net-calico.yml"


@pytest.mark.parametrize(
    ("text", "nic_mtu", "variant", "pod_mtu", "findings"),
    [
        ("flannel-backend: vxlan\n", 1500, "k3s, flannel", None, []),
        ("flannel-iface: eth1\n", 1500, "k3s, flannel", None, []),
        ("flannel-backend: host-gw\n", 1500, "k3s, flannel", None, []),
        ("flannel-conf: /etc/flannel.json\n", None, "k3s, flannel", None, []),
        ("cni: canal\n", 1500, "RKE2, canal", 1450, []),
        ("cni: [multus, canal]\n", 1400, "RKE2, canal", 1450, [("MTU119", "error")]),
        ("cni: flannel\n", 1500, "RKE2, flannel", None, []),
        ("nodes: []\nnetwork: {plugin: canal, mtu: 1450}\n", 1500, "RKE, canal", 1450, []),
        ("nodes: []\nnetwork: {plugin: canal, mtu: 1480}\n", 1500, "RKE, canal", 1480, [("MTU119", "error")]),
        (
            "nodes: []\nnetwork: {plugin: canal, mtu: 1500, options: {canal_flannel_backend_type: host-gw}}\n",
            1500,
            "RKE, canal",
            1500,
            [],
        ),
    ],
)
def test_servers_and_rke(
    tmp_path: Path, text: str, nic_mtu: int | None, variant: str, pod_mtu: int | None, findings: list[tuple[str, str]]
) -> None:
    found = given(tmp_path, f"token: {SECRET}\n{text}")
    state = registry.recognise(found)
    assert (state.variant, state.pod_mtu) == (variant, pod_mtu)
    assert judged(found, nic_mtu) == findings


def test_nothing_else_of_these_files_is_kept(tmp_path: Path) -> None:
    wireguard = f"{DOCUMENT}WireguardConfig\nname: wg0\nmtu: 1420\nprivateKey: {SECRET}\n"
    odd = f"{DOCUMENT}LinkConfig\nname: '{SECRET}'\nmtu: '{SECRET}'\n"
    found = given(
        tmp_path,
        machine(host=f"kubespan: {{enabled: true, mtu: '{SECRET}'}}"),
        wireguard,
        odd,
        f"weave_mtu: 1376\nweave_password: {SECRET}\nweave_x_mtu: '{SECRET}'\n",
        f"cni: canal\ntoken: {SECRET}\n",
    )
    assert SECRET not in repr(found.objects)
    assert SECRET not in repr(decide.check(found))
    kept = observe.reduced(found)  # as --save writes it
    assert [each.kind for each in kept.objects] == [each.kind for each in found.objects] != []
    assert judged(kept) == judged(found)


KEYS = (
    "machine cluster network kubespan enabled interfaces mtu vlans cni name flannel version v1alpha1 apiVersion kind "
    "LinkConfig KubeSpanConfig KubeFlannelCNIConfig metadata backendMTU backendExtraConfig MTU kube_network_plugin "
    "calico calico_mtu calico_veth_mtu cilium_mtu kube_ovn_mtu weave_mtu flannel-backend canal plugin nodes {{x}}"
)
WORDS = st.sampled_from(KEYS.split())
SIGNS: tuple[dict[str, object], ...] = (
    {"version": "v1alpha1"},
    {"apiVersion": "v1alpha1", "kind": "LinkConfig"},
    {"nodes": []},
    {},
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70000) | st.floats() | WORDS | st.just(SECRET),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=6),
    max_leaves=25,
)


@settings(max_examples=25)
@drawn(st.lists(st.dictionaries(WORDS, VALUES, min_size=1, max_size=8), min_size=1, max_size=4))
def test_whatever_such_a_file_holds_it_is_read(values: list[dict[str, object]]) -> None:
    facts = Facts()
    forms.take(json.dumps(values[0]).encode(), "vars.json", facts)
    for number, value in enumerate(values):
        for fixed in SIGNS:
            text = Text(name=f"{number}.json", text="")
            specifications.take(Document(of=text, value={**value, **fixed}, text=""), facts)
    found = Snapshot(source="a test", offline=True, objects=tuple(facts.objects))
    assert SECRET not in repr([each for each in found.objects if each.api_version.startswith("file")])
    with contextlib.suppress(NotRecognised, UsageError):
        decide.check(found, 1500)
    with contextlib.suppress(NotRecognised, UsageError):
        decide.plan(found, 1400, 1500)


def plan(path: Path, *words: str) -> int:
    return main.run(["plan", "--from", str(path), *words])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# MTU\ncalico_mtu: 1500 # bytes\n", "# MTU\ncalico_mtu: 1450 # bytes\n"),
        (
            "calico_mtu: 1500\ncalico_veth_mtu: '1440'   # tunnels\n",
            "calico_mtu: 1450\ncalico_veth_mtu: '1450'   # tunnels\n",
        ),
        ('calico_mtu: "1440"\n', "calico_mtu: 1450\n"),
        ('cilium_mtu: "1400"\nx: "{{ y }}"\n', 'cilium_mtu: "1500"\nx: "{{ y }}"\n'),
        (
            "kube_network_plugin: kube-ovn\nkube_ovn_tunnel_type: vxlan\nkube_ovn_mtu: 1500\n",
            "kube_network_plugin: kube-ovn\nkube_ovn_tunnel_type: vxlan\nkube_ovn_mtu: 1450\n",
        ),
        (
            "kube_network_plugin: calico\n# calico_mtu: 1500\n",
            "kube_network_plugin: calico\ncalico_mtu: 1450\n# calico_mtu: 1500\n",
        ),
        (
            "ssh_key_path: ~/x\nnetwork:\n  plugin: canal\n  mtu: 1500\naddons: |-\n  kind: A\n",
            "ssh_key_path: ~/x\nnetwork:\n  plugin: canal\n  mtu: 1450\naddons: |-\n  kind: A\n",
        ),
    ],
)
def test_variables_are_edited_in_place(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "vars.yml"
    path.write_text(before)
    assert plan(path, "--nic-mtu", "1500", "--mtu", "1450", "--in-place", str(path)) == 0
    assert path.read_text() == after


def test_the_way_back_shows_a_number_as_it_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Kubespray gives calico_mtu to pods only where it is no text."""
    path = tmp_path / "vars.yml"
    path.write_text("calico_mtu: 1500\n")
    assert plan(path, "--nic-mtu", "1500") == 0
    assert "  1. edit kubespray vars.yml, calico_mtu: back to 1500\n" in capsys.readouterr().out


def test_the_number_comes_into_the_file_of_its_network(tmp_path: Path) -> None:
    """An inventory as it is copied from the sample: nobody has said an MTU, and the place for it is a comment."""
    folder = tmp_path / "group_vars" / "k8s_cluster"
    folder.mkdir(parents=True)
    (folder / "k8s-cluster.yml").write_text("kube_network_plugin: calico\n")
    own = folder / "k8s-net-calico.yml"
    own.write_text("calico_cni_name: k8s-pod-network\n# calico_mtu: 1500\n")
    assert plan(tmp_path, "--nic-mtu", "1500", "--mtu", "1400", "--in-place", str(own)) == 0
    assert own.read_text() == "calico_cni_name: k8s-pod-network\ncalico_mtu: 1400\n# calico_mtu: 1500\n"
    assert (folder / "k8s-cluster.yml").read_text() == "kube_network_plugin: calico\n"


def test_names_of_files_are_not_for_strangers(tmp_path: Path) -> None:
    folder = tmp_path / "acme-corp" / "group_vars"
    folder.mkdir(parents=True)
    (folder / "acme-all.yml").write_text("calico_mtu: 1500\n")
    (folder / "acme-k8s.yml").write_text("calico_mtu: 1450\n")
    (folder / "acme-cp.yaml").write_text(nic(1500))
    whole = manifests.load(tmp_path)
    given_away = observe.scrubbed(whole, bytes(32))
    assert "acme" not in repr(given_away)
    assert judged(given_away) == judged(whole)
    assert registry.recognise(given_away).pod_mtu == 1450


def test_the_file_that_does_not_hold_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine, other = tmp_path / "vars.yml", tmp_path / "other.yml"
    mine.write_text("calico_mtu: 1500\n")
    other.write_text("kube_network_plugin: calico\ncalico_mtu: 1400\n")
    assert plan(mine, "--nic-mtu", "1500", "--in-place", str(other)) == 5
    assert "does not hold what the plan starts from at kubespray vars.yml, calico_mtu" in capsys.readouterr().err
    assert other.read_text() == "kube_network_plugin: calico\ncalico_mtu: 1400\n"


def test_what_has_no_key_says_where_the_number_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("flannel-backend: vxlan\nflannel-conf: /etc/net.json\n")
    assert plan(path, "--mtu", "1400", "--nic-mtu", "1500") == 2
    assert capsys.readouterr().err == (
        "error: Backend.MTU of /etc/net.json, on each node: it is kept there, and config.yaml of k3s holds none;"
        " without such a file flannel takes the NIC's\n"
    )
    path.write_text(machine())
    assert plan(path, "--mtu", "1400", "--nic-mtu", "1500") == 2
    assert "Talos v1.12 gives its flannel no MTU" in capsys.readouterr().err

"""Talos: what machine configurations make of flannel, of NICs and of KubeSpan, and how they are edited.

Numbers: 50 bytes for VXLAN over IPv4 (RFC 7348), 60 and 80 for WireGuard over IPv4 and IPv6
(drivers/net/wireguard/messages.h), 1420 KubeSpan's own (siderolabs/talos: pkg/machinery/constants/constants.go).
"""

from pathlib import Path

import pytest
from tests.support.cluster_files import DOCUMENT, FLANNEL, KUBESPAN, ON, SECRET, given, machine, nic
from tests.support.findings import judged

from kubemtu.cli import main, planning
from kubemtu.cni import registry
from kubemtu.core.errors import UsageError
from kubemtu.flows import decide, observe

TALOS = {
    "without KubeSpan flannel takes the NIC's": ((machine(),), 1500, None, []),
    "no cni is flannel": ((machine("podSubnets: [10.244.0.0/16]"),), 1500, None, []),
    "siderolabs/talos#13457: 1450 over KubeSpan's 1420": (
        (machine(host=KUBESPAN),),
        1500,
        None,
        [("MTU119", "error")],
    ),
    "the same where no NIC is known": ((machine(host=KUBESPAN),), None, None, [("MTU119", "error")]),
    "the same where the version is not known": (
        (machine(host=KUBESPAN, version=""),),
        None,
        None,
        [("MTU119", "warning")],
    ),
    "from v1.14 on flannel gets KubeSpan's": ((machine(host=KUBESPAN, version="v1.14.0"),), 1500, 1370, []),
    "KubeSpan off": ((machine(host="kubespan: {enabled: false, mtu: 1300}"),), 1500, None, []),
    "backendMTU for KubeSpan": ((FLANNEL + "backendMTU: 1420\n", ON), 1500, 1370, []),
    "backendMTU above KubeSpan": ((FLANNEL + "backendMTU: 1500\n", ON), None, 1450, [("MTU119", "error")]),
    "nothing set, KubeSpan on": ((FLANNEL, ON + "mtu: 1380\n"), None, 1330, []),
    "nothing set, KubeSpan off": ((FLANNEL,), 1500, None, []),
    "backendExtraConfig is put over backendMTU": (
        (FLANNEL + "backendMTU: 1400\nbackendExtraConfig: {MTU: 1500}\n",),
        1500,
        1450,
        [("MTU111", "warning")],
    ),
    "a backend that puts nothing around": (
        (f"{DOCUMENT}KubeFlannelCNIConfig\nbackendType: host-gw\nbackendMTU: 1500\n",),
        1500,
        1500,
        [],
    ),
    "backendMTU where no version has it": (
        (machine("cni: {name: flannel, flannel: {backendMTU: 1420}}"),),
        1500,
        None,
        [("MTU111", "warning")],
    ),
    "backendMTU as text": ((FLANNEL + "backendMTU: '1420'\n",), 1500, None, [("MTU112", "error")]),
    "a NIC of 1450 by LinkConfig": ((FLANNEL + "backendMTU: 1500\n", nic(1450)), None, 1450, [("MTU119", "error")]),
    "a NIC of 1450 by its interface": (
        (machine(host="interfaces: [{interface: eth1, mtu: 1450}]"), FLANNEL + "backendMTU: 1450\n"),
        None,
        1400,
        [],
    ),
    "KubeSpan above what the NIC leaves": (
        (FLANNEL, ON, nic(1450)),
        None,
        1370,
        # WireGuard leaves 1390 of 1450, flannel's VXLAN 1340 of that, and pods get 1370
        [("MTU119", "error"), ("MTU119", "error")],
    ),
    "siderolabs/talos#8215: jumbo NICs, KubeSpan at 1420": (
        (FLANNEL, ON, nic(9000)),
        None,
        1370,
        [("MTU119", "warning")],
    ),
    "jumbo NICs, KubeSpan at 8920": ((FLANNEL, ON + "mtu: 8920\n", nic(9000)), None, 8870, []),
    "KubeSpan carries the pods itself": (
        (FLANNEL, ON + "advertiseKubernetesNetworks: true\n"),
        None,
        1370,
        [],
    ),
    "Talos refuses KubeSpan below 1280": (
        (FLANNEL, ON + "mtu: 1200\n"),
        None,
        1150,
        [("MTU112", "error"), ("MTU114", "warning")],
    ),
    "two numbers for one NIC": (
        (FLANNEL + "backendMTU: 1450\n", nic(1450), nic(9000)),
        1450,
        1400,
        [("MTU106", "warning")],
    ),
    "two NICs, and nobody knows by which it goes": ((FLANNEL, nic(1500), nic(9000, "eth1")), 1500, None, []),
    "bridges and dummies are no way between nodes": (
        (machine(host="interfaces: [{interface: b, mtu: 1400, bridge: {}}, {interface: d, dummy: true, mtu: 1300}]"),),
        1500,
        None,
        [],
    ),
    "hcloud-k8s/terraform-hcloud-kubernetes#450: a NIC taken over from DHCP": (
        (FLANNEL, f"{DOCUMENT}LinkConfig\nname: eth1\nup: true\n", f"{DOCUMENT}DHCPv4Config\nname: eth1\n"),
        1500,
        None,
        [("MTU144", "note")],
    ),
    "the same with its MTU": (
        (FLANNEL, nic(1450, "eth1"), f"{DOCUMENT}DHCPv4Config\nname: eth1\n"),
        None,
        None,
        [],
    ),
}


@pytest.mark.parametrize("case", TALOS)
def test_talos(tmp_path: Path, case: str) -> None:
    texts, nic_mtu, pod_mtu, findings = TALOS[case]
    found = given(tmp_path, *texts)
    state = registry.recognise(found)
    assert state.variant.startswith("Talos, flannel")
    assert state.pod_mtu == pod_mtu
    severities = {"error": 0, "warning": 1, "note": 2}
    assert sorted(judged(found, nic_mtu), key=lambda one: severities[one[1]]) == findings


@pytest.mark.parametrize(
    ("nic_mtu", "remedy", "healed"),
    [
        # WireGuard takes 60 bytes over IPv4, and flannel's VXLAN 50 of what is left
        (1450, "Write 1390 there, on every node; 1370 where nodes reach each other by IPv6.", (1390, 1340)),
        (1350, "Write 1290 there, on every node.", (1290, 1240)),
        (1300, "Talos gives KubeSpan no less than 1280: give the NICs 1340 or more, or leave KubeSpan off.", None),
    ],
)
def test_what_is_said_of_kubespan_and_of_flannel_heals_together(
    tmp_path: Path, nic_mtu: int, remedy: str, healed: tuple[int, int] | None
) -> None:
    found = decide.check(given(tmp_path, FLANNEL, ON, nic(nic_mtu)))
    assert remedy in {one.remedy for one in found.findings}
    if healed is not None:
        kubespan, pods = healed
        assert found.recommended_mtu in {pods, None}  # None: too small for IPv6
        after = judged(given(tmp_path, f"{FLANNEL}backendMTU: {kubespan}\n", f"{ON}mtu: {kubespan}\n", nic(nic_mtu)))
        assert "error" not in {severity for _, severity in after}


def test_kubespan_bounds_whichever_network_there_is(tmp_path: Path) -> None:
    manifest = """\
kind: ConfigMap
apiVersion: v1
metadata: {name: cilium-config, namespace: kube-system}
data: {mtu: "1500", routing-mode: tunnel, tunnel-protocol: vxlan}
"""
    found = given(tmp_path, machine("cni: {name: none}", KUBESPAN), manifest)
    topology = decide.check(found)
    assert topology.cni == "cilium"
    assert ("MTU119", "error") in [(one.code, one.severity) for one in topology.findings]
    assert topology.recommended_mtu == 1370


INLINE = """\
  inlineManifests:
    - name: cilium
      contents: |
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: cilium-config, namespace: kube-system}
        data: {mtu: "1450", routing-mode: tunnel, tunnel-protocol: vxlan}
        ---
        apiVersion: v1
        kind: Secret
        metadata: {name: cilium-ca, namespace: kube-system}
        data: {ca.key: R2FsbGltYXVmcnk=}
"""


def test_manifests_inside_are_read(tmp_path: Path) -> None:
    """As Cilium is handed to Talos; the same where talosctl printed it, and in a document of its own."""
    whole = machine("cni: {name: none}", "interfaces: [{interface: eth0, mtu: 1400}]") + INLINE
    printed = "node: 10.0.0.1\nmetadata: {type: MachineConfigs.config.talos.dev, id: v1alpha1}\nspec: |\n"
    printed += "".join(f"  {line}\n" for line in whole.splitlines())
    for text in (whole, printed):
        found = given(tmp_path, text)
        # 1450 - 50 for VXLAN are 1400, and the NIC of 1400 carries 1350
        assert ("MTU119", "error") in judged(found)
        assert decide.check(found).recommended_mtu == 1350
        assert SECRET not in repr(observe.reduced(found))
    manifest = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cilium-config, namespace: kube-system}\ndata: {mtu: '9'}"
    )
    own = "".join(f"  {line}\n" for line in manifest.splitlines())
    found = given(tmp_path, f"{DOCUMENT}KubeInlineManifestConfig\nname: cilium\nmanifest: |\n{own}")
    assert registry.recognise(found).name == "cilium"


BEFORE = f"""\
# the control planes
{machine("", version="v1.14.0")}---
apiVersion: v1alpha1
kind: KubeFlannelCNIConfig   # theirs
backendType: vxlan
backendMTU: 1500  # too much
extraArgs: ["--iface=eth1"]
---
{nic(1450)}"""


def plan(path: Path, *words: str) -> int:
    return main.run(["plan", "--from", str(path), *words])


def test_a_talos_file_is_edited_in_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "controlplane.yaml"
    path.write_text(BEFORE, newline="\r\n")
    assert plan(path, "--in-place", str(path)) == 0
    assert path.read_bytes().decode() == BEFORE.replace("MTU: 1500 ", "MTU: 1450 ").replace("\n", "\r\n")
    assert SECRET not in capsys.readouterr().out


def test_every_control_plane_is_edited_in_its_own_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / "cp1.yaml", tmp_path / "cp2.yaml"
    one.write_text(f"{FLANNEL}backendMTU: 1500\n---\n{nic(1450)}")
    two.write_text(f"{FLANNEL}backendMTU: 1450\n")
    three = tmp_path / "cp3.yaml"
    three.write_text(FLANNEL)
    assert plan(tmp_path, "--in-place", str(one)) == 0
    assert "KubeFlannelCNIConfig cp3.yaml:1, backendMTU stands in another file" in capsys.readouterr().err
    assert one.read_text() == f"{FLANNEL}backendMTU: 1450\n---\n{nic(1450)}"
    assert two.read_text() == f"{FLANNEL}backendMTU: 1450\n"
    assert plan(tmp_path, "--in-place", str(three), "--mtu", "1350") == 0
    assert three.read_text() == f"{FLANNEL}backendMTU: 1400\n"


def test_a_plan_of_files_is_not_applied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, saved = tmp_path / "cp.yaml", tmp_path / "plan.json"
    path.write_text(f"{FLANNEL}backendMTU: 1500\n---\n{nic(1450)}")
    assert plan(path, "--out", str(saved)) == 0
    with pytest.raises(UsageError, match=r"edits KubeFlannelCNIConfig cp.yaml:1, which is no object of a cluster"):
        planning.load(saved)


def test_a_talos_key_is_added(tmp_path: Path) -> None:
    path = tmp_path / "controlplane.yaml"
    path.write_text(f"{FLANNEL}# last\n---\n{nic(1450)}")
    assert plan(path, "--mtu", "1350", "--in-place", str(path)) == 0
    assert path.read_text() == f"{FLANNEL}backendMTU: 1400\n# last\n---\n{nic(1450)}"


def test_a_talos_patch_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "controlplane.yaml"
    path.write_text(BEFORE)
    assert plan(path, "-o", "talos-patch") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "apiVersion: v1alpha1",
        "kind: KubeFlannelCNIConfig",
        "backendMTU: 1450",
    ]
    assert plan(path, "-o", "kustomize") == 2
    assert "is no object of the API" in capsys.readouterr().err


def test_a_plan_of_a_file_names_the_network_and_no_command_that_knows_no_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "controlplane.yaml"
    path.write_text(f"{FLANNEL}backendMTU: 1500\n---\n{nic(1450)}")
    assert plan(path) == 0
    out = capsys.readouterr().out
    assert out.startswith("Pods of flannel: from 1450 to 1400\n")
    assert "Way back\n" in out
    assert "rollback" not in out
    assert main.run(["check", "--from", str(path)]) == 1
    assert "\n  Talos, flannel · vxlan\n" in capsys.readouterr().out
    assert plan(path, "--per-node") == 2
    assert "no node was observed" in capsys.readouterr().err
    assert plan(path, "-o", "eks-addon") == 2
    assert "kustomize" not in capsys.readouterr().err

"""The manifests that are out there, read as they are: era, encapsulation, MTU, findings, and what an edit changes."""

import difflib
from collections.abc import Callable

import pytest
import yaml

from kubemtu.cni import registry
from kubemtu.core.errors import NotRecognised
from kubemtu.core.plan import EditValue, Rollout
from kubemtu.core.snapshot import Snapshot

Reading = Callable[..., Snapshot]


# name: CNI, variant, encapsulation, pod MTU, literal of the conflist, codes of the configuration alone
READ: list[tuple[str, str, str, str, int | None, int | None, list[str]]] = [
    ("canal-rke-v0.1-2018-V112.rendered.yaml", "canal", "era A (no MTU)", "vxlan", 1500, None, ["MTU119"]),
    ("canal-kdm-V113-inline-mtu.rendered-default.yaml", "canal", "era B (no MTU)", "vxlan", 1500, None, ["MTU119"]),
    ("canal-kdm-V113-inline-mtu.rendered-mtu1400.yaml", "canal", "era B (inline integer)", "vxlan", 1400, 1400, []),
    ("canal-kdm-V3_28_1.rendered-default.yaml", "canal", "era C (veth_mtu)", "vxlan", 1450, 1450, []),
    ("canal-kdm-V3_28_1.rendered-mtu1400.yaml", "canal", "era C (veth_mtu)", "vxlan", 1400, 1400, []),
    ("upstream-calico-configmap-daemonset.yaml", "calico", "manifest", "ipip", None, None, []),
    ("tigera-custom-resources.yaml", "calico", "operator", "vxlan (CrossSubnet)", None, None, []),
    ("kube-flannel.yml", "flannel", "manifest", "vxlan", None, None, []),
    ("authored/calico-installation-mtu.yaml", "calico", "operator", "vxlan (CrossSubnet)", 1400, 1400, []),
    (
        "authored/canal-config-broken-string-mtu.yaml",
        "canal",
        "era B (inline integer)",
        "vxlan",
        None,
        None,
        ["MTU112"],
    ),
    (
        "authored/canal-config-missing-canal_iface.yaml",
        "canal",
        "era B (inline integer)",
        "vxlan",
        1450,
        1450,
        ["MTU108"],
    ),
    ("authored/helmchartconfig-rke2-canal.yaml", "canal", "RKE2, era C (veth_mtu)", "vxlan", 8950, None, []),
    (
        "authored/helmchartconfig-rke2-canal-no-mtu.yaml",
        "canal",
        "RKE2, era C (veth_mtu)",
        "wireguard",
        1450,
        None,
        ["MTU119"],
    ),
]
ONE_LINE = (
    '{"name":"k8s-pod-network","cniVersion":"0.3.1","plugins":[{"type":"calico","nodename":"__KUBERNETES_NODE_NAME__",'
)
# name, target: the lines that the edited text loses and gains, of every text that is edited
EDITED: list[tuple[str, int, list[str]]] = [
    ("canal-rke-v0.1-2018-V112.rendered.yaml", 1450, ['+      "mtu": 1450,']),
    ("canal-kdm-V113-inline-mtu.rendered-default.yaml", 1450, ['+      "mtu": 1450,']),
    ("canal-kdm-V113-inline-mtu.rendered-mtu1400.yaml", 1450, ['-      "mtu": 1400,', '+      "mtu": 1450,']),
    ("canal-kdm-V3_28_1.rendered-mtu1400.yaml", 1450, ["-1400", "+1450"]),
    ("upstream-calico-configmap-daemonset.yaml", 1480, ["-0", "+1480"]),
    (
        "kube-flannel.yml",
        1450,
        ['-    "Type": "vxlan"', '+    "Type": "vxlan",', '+    "MTU": 1500'],
    ),
    (
        "authored/canal-config-broken-string-mtu.yaml",
        1450,
        [
            f'-{ONE_LINE}"mtu":"1450"}}]}}',
            f'+{ONE_LINE}"mtu":1450}}]}}',
        ],
    ),
    ("authored/canal-config-missing-canal_iface.yaml", 1400, ['-      "mtu": 1450,', '+      "mtu": 1400,']),
    (
        "authored/helmchartconfig-rke2-canal.yaml",
        1450,
        ["-  mtu: 9000", "+  mtu: 1500", "-  vethuMTU: 8950", "+  vethuMTU: 1450"],
    ),
    ("authored/helmchartconfig-rke2-canal-no-mtu.yaml", 1420, ["+calico:", "+  vethuMTU: 1420"]),
]


@pytest.mark.parametrize(("name", "cni", "variant", "encapsulation", "pods", "literal", "codes"), READ)
def test_each_is_read_for_what_it_is(
    fixture: Reading,
    name: str,
    cni: str,
    variant: str,
    encapsulation: str,
    pods: int | None,
    literal: int | None,
    codes: list[str],
) -> None:
    state = registry.recognise(fixture(name))
    assert (state.name, state.variant, state.encapsulation_name) == (cni, variant, encapsulation)
    assert (state.pod_mtu, state.conflist_mtu) == (pods, literal)
    assert [finding.code for finding in state.findings] == codes


@pytest.mark.parametrize(("name", "target", "lines"), EDITED)
def test_an_edit_changes_exactly_what_it_must(fixture: Reading, name: str, target: int, lines: list[str]) -> None:
    snapshot = fixture(name)
    state = registry.recognise(snapshot)
    steps = registry.CNIS[state.name].steps(state, target, snapshot)
    changed: list[str] = []
    for edit in steps[:-1]:
        assert isinstance(edit, EditValue)
        if edit.before is not None:
            found = difflib.ndiff(str(edit.before).split("\n"), str(edit.after).split("\n"))
            changed += [line[0] + line[2:] for line in found if line[0] in "+-"]
    assert changed == lines
    assert isinstance(steps[-1], Rollout)


@pytest.mark.parametrize("default", ["V113-inline-mtu", "V3_28_1"])
def test_the_edit_makes_of_ranchers_default_what_rancher_itself_renders_for_1400(
    fixture: Reading, default: str
) -> None:
    ours = fixture(f"canal-kdm-{default}.rendered-default.yaml")
    theirs = fixture(f"canal-kdm-{default}.rendered-mtu1400.yaml").find("ConfigMap", "canal-config")
    state = registry.recognise(ours)
    (edit, _) = registry.CNIS["canal"].steps(state, 1400, ours)
    assert isinstance(edit, EditValue)
    assert theirs is not None
    assert edit.after == theirs.text(*edit.path)


def test_a_felix_configuration_that_the_upstream_manifest_hides(fixture: Reading) -> None:
    state = registry.recognise(
        fixture("upstream-calico-configmap-daemonset.yaml", "authored/felixconfiguration-env-shadowed.yaml")
    )
    (finding,) = state.findings
    assert finding.code == "MTU111"
    assert finding.place.startswith("FelixConfiguration default")
    assert "FELIX_IPINIPMTU to '0' (automatic)" in finding.message


@pytest.mark.parametrize(
    "name",
    [
        "aws-k8s-cni.yaml",
        "authored/cilium-config-min.yaml",
        "authored/cilium-config-legacy-113.yaml",
        "authored/nad-macvlan-mtu.yaml",
        "authored/openshift-network-operator-migration.yaml",
        "authored/felixconfiguration-env-shadowed.yaml",
    ],
)
def test_other_networks_are_not_guessed(fixture: Reading, name: str) -> None:
    with pytest.raises(NotRecognised, match="neither canal"):
        registry.recognise(fixture(name))


def test_what_is_read_is_left_as_it_was(fixture: Reading) -> None:
    snapshot = fixture("canal-kdm-V3_28_1.rendered-default.yaml")
    before = yaml.safe_dump([found.body for found in snapshot.objects])
    state = registry.recognise(snapshot)
    registry.CNIS[state.name].steps(state, 1400, snapshot)
    assert yaml.safe_dump([found.body for found in snapshot.objects]) == before

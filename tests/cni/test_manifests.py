"""Manifests as they are deployed: era, encapsulation, MTU, findings, and what an edit changes."""

import difflib
from collections.abc import Callable

import pytest
import yaml

from kubemtu.cni import registry
from kubemtu.core.change.plan import EditValue, Rollout
from kubemtu.core.errors import NotRecognised
from kubemtu.core.snapshot import Snapshot

Reading = Callable[..., Snapshot]


# name: CNI, variant, encapsulation, pod MTU, literal of the conflist, codes of the configuration alone
READ: list[tuple[str, str, str, str, int | None, int | None, list[str]]] = [
    ("canal-a.yaml", "canal", "era A (no MTU)", "vxlan", 1500, None, ["MTU119"]),
    ("canal-b.yaml", "canal", "era B (no MTU)", "vxlan", 1500, None, ["MTU119"]),
    ("canal-b-1400.yaml", "canal", "era B (inline integer)", "vxlan", 1400, 1400, []),
    ("canal-c.yaml", "canal", "era C (veth_mtu)", "vxlan", 1450, 1450, []),
    ("canal-c-1400.yaml", "canal", "era C (veth_mtu)", "vxlan", 1400, 1400, []),
    ("calico-manifest.yaml", "calico", "manifest", "ipip", None, None, []),
    ("calico-operator.yaml", "calico", "operator", "vxlan (CrossSubnet)", None, None, []),
    ("flannel.yaml", "flannel", "manifest", "vxlan", None, None, []),
    ("calico-operator-1400.yaml", "calico", "operator", "vxlan (CrossSubnet)", 1400, 1400, []),
    (
        "canal-text-mtu.yaml",
        "canal",
        "era B (inline integer)",
        "vxlan",
        None,
        None,
        ["MTU112"],
    ),
    (
        "canal-lost-key.yaml",
        "canal",
        "era B (inline integer)",
        "vxlan",
        1450,
        1450,
        ["MTU108"],
    ),
    ("rke2-canal.yaml", "canal", "RKE2, era C (veth_mtu)", "vxlan", 8950, None, []),
    (
        "rke2-canal-wireguard.yaml",
        "canal",
        "RKE2, era C (veth_mtu)",
        "wireguard",
        1450,
        None,
        ["MTU119"],
    ),
    ("antrea.yaml", "antrea", "encap", "geneve", None, None, []),
    ("antrea-ipsec.yaml", "antrea", "encap", "gre in ipsec", None, None, []),
    ("antrea-0.13.yaml", "antrea", "encap", "geneve", None, None, []),
    ("kube-router.yaml", "kube-router", "auto-mtu", "none (ipip between networks)", None, None, []),
    ("kube-ovn-0.9.yaml", "kube-ovn", "geneve", "geneve", None, None, []),
    ("kube-ovn-1.8.yaml", "kube-ovn", "geneve", "geneve", None, None, []),
    ("cilium.yaml", "cilium", "version not known", "vxlan + wireguard", None, None, ["MTU117"]),
    ("cilium-1.6.yaml", "cilium", "version not known", "vxlan", None, None, []),
    ("cilium-1.9.yaml", "cilium", "version not known", "geneve + ipsec", 1323, None, []),
    ("cilium-1.13.yaml", "cilium", "version not known", "vxlan", None, None, []),
    ("cilium-1.13-wireguard.yaml", "cilium", "version not known", "wireguard", None, None, []),
    ("cilium-1.17.yaml", "cilium", "version not known", "geneve + wireguard", None, None, ["MTU117"]),
    ("cilium-kops.yaml", "cilium", "v1.18.12", "vxlan", None, None, []),
    ("cilium-kops-eni.yaml", "cilium", "v1.18.12", "none", None, None, []),
    ("cilium-kops-ipv6.yaml", "cilium", "v1.18.12", "none", None, None, []),
    ("kindnet.yaml", "kindnet", "", "none", None, None, []),
    ("azure-cns.yaml", "azure-cni", "CNS", "none", None, None, []),
    ("aws.yaml", "aws-vpc-cni", "v1.23.1", "none", 9001, 9001, []),
    ("aws-gov.yaml", "aws-vpc-cni", "v1.23.1", "none", 9001, 9001, []),
    ("aws-kops.yaml", "aws-vpc-cni", "v1.23.0", "none", 9001, 9001, []),
    ("openshift.yaml", "openshift", "OVNKubernetes", "geneve", 1400, None, ["MTU140"]),
]
ONE_LINE = (
    '{"name":"k8s-pod-network","cniVersion":"0.3.1","plugins":[{"type":"calico","nodename":"__KUBERNETES_NODE_NAME__",'
)
# name, target: the lines that the edited text loses and gains, of every text that is edited
EDITED: list[tuple[str, int, list[str]]] = [
    ("canal-a.yaml", 1450, ['+      "mtu": 1450,']),
    ("canal-b.yaml", 1450, ['+      "mtu": 1450,']),
    ("canal-b-1400.yaml", 1450, ['-      "mtu": 1400,', '+      "mtu": 1450,']),
    ("canal-c-1400.yaml", 1450, ["-1400", "+1450"]),
    ("calico-manifest.yaml", 1480, ["-0", "+1480"]),
    (
        "flannel.yaml",
        1450,
        ['-    "Type": "vxlan"', '+    "Type": "vxlan",', '+    "MTU": 1500'],
    ),
    (
        "canal-text-mtu.yaml",
        1450,
        [
            f'-{ONE_LINE}"mtu":"1450"}}]}}',
            f'+{ONE_LINE}"mtu":1450}}]}}',
        ],
    ),
    ("canal-lost-key.yaml", 1400, ['-      "mtu": 1450,', '+      "mtu": 1400,']),
    (
        "rke2-canal.yaml",
        1450,
        ["-  mtu: 9000", "+  mtu: 1500", "-  vethuMTU: 8950", "+  vethuMTU: 1450"],
    ),
    ("rke2-canal-wireguard.yaml", 1420, ["+calico:", "+  vethuMTU: 1420"]),
    ("antrea.yaml", 1450, ["-defaultMTU: 0", "+defaultMTU: 1450"]),
    ("antrea-0.13.yaml", 1450, ["+defaultMTU: 1450"]),
    ("cilium-1.9.yaml", 1273, ["-1450", "+1400"]),
    ("cilium-1.17.yaml", 1275, ["-1500", "+1420"]),
]


@pytest.mark.parametrize(("name", "cni", "variant", "encapsulation", "pods", "literal", "codes"), READ)
def test_each_is_read_for_what_it_is(
    deployed: Reading,
    name: str,
    cni: str,
    variant: str,
    encapsulation: str,
    pods: int | None,
    literal: int | None,
    codes: list[str],
) -> None:
    state = registry.recognise(deployed(name))
    assert (state.name, state.variant, state.encapsulation_name) == (cni, variant, encapsulation)
    assert (state.pod_mtu, state.conflist_mtu) == (pods, literal)
    assert [finding.code for finding in state.findings] == codes


@pytest.mark.parametrize(("name", "target", "lines"), EDITED)
def test_an_edit_changes_exactly_what_it_must(deployed: Reading, name: str, target: int, lines: list[str]) -> None:
    snapshot = deployed(name)
    state = registry.recognise(snapshot)
    steps = registry.CNIS[state.name].steps(state, target)
    changed: list[str] = []
    for edit in steps[:-1]:
        assert isinstance(edit, EditValue)
        if edit.before is not None:
            found = difflib.ndiff(str(edit.before).split("\n"), str(edit.after).split("\n"))
            changed += [line[0] + line[2:] for line in found if line[0] in "+-"]
    assert changed == lines
    assert isinstance(steps[-1], Rollout)


@pytest.mark.parametrize("era", ["b", "c"])
def test_the_edit_makes_of_ranchers_default_what_rancher_itself_renders_for_1400(deployed: Reading, era: str) -> None:
    ours = deployed(f"canal-{era}.yaml")
    theirs = deployed(f"canal-{era}-1400.yaml").find("ConfigMap", "canal-config")
    state = registry.recognise(ours)
    (edit, _) = registry.CNIS["canal"].steps(state, 1400)
    assert isinstance(edit, EditValue)
    assert theirs is not None
    assert edit.after == theirs.text(*edit.path)


def test_a_felix_configuration_that_the_upstream_manifest_hides(deployed: Reading) -> None:
    state = registry.recognise(deployed("calico-manifest.yaml", "felix.yaml"))
    (finding,) = state.findings
    assert finding.code == "MTU111"
    assert finding.place.startswith("FelixConfiguration default")
    assert "FELIX_IPINIPMTU to '0' (automatic)" in finding.message


@pytest.mark.parametrize(
    "name",
    [
        "cilium-chained.yaml",
        "macvlan.yaml",
        "felix.yaml",
    ],
)
def test_other_networks_are_not_guessed(deployed: Reading, name: str) -> None:
    with pytest.raises(NotRecognised, match="no sign of canal"):
        registry.recognise(deployed(name))


def test_what_is_read_is_left_as_it_was(deployed: Reading) -> None:
    snapshot = deployed("canal-c.yaml")
    before = yaml.safe_dump([found.body for found in snapshot.objects])
    state = registry.recognise(snapshot)
    registry.CNIS[state.name].steps(state, 1400)
    assert yaml.safe_dump([found.body for found in snapshot.objects]) == before

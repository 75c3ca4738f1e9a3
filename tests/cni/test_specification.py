"""What kops, k0s and Rancher make clusters from: the key of each, what goes around a packet, and what has no effect."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from kubemtu.cli import main
from kubemtu.cni import registry, specification
from kubemtu.core.change.plan import EditValue
from kubemtu.core.errors import UsageError
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide

Reading = Callable[..., Snapshot]


def kops(**networking: object) -> str:
    metadata = {"name": "minimal.example.com"}
    body = {"apiVersion": "kops.k8s.io/v1alpha2", "kind": "Cluster", "metadata": metadata}
    return yaml.safe_dump({**body, "spec": {"networking": networking}})


def k0s(**network: object) -> str:
    body = {"apiVersion": "k0s.k0sproject.io/v1beta1", "kind": "ClusterConfig", "metadata": {"name": "k0s"}}
    return yaml.safe_dump({**body, "spec": {"network": network}})


def rancher(**network: object) -> str:
    body = {"apiVersion": "management.cattle.io/v3", "kind": "Cluster", "metadata": {"name": "c-abcde"}}
    return yaml.safe_dump({**body, "spec": {"rancherKubernetesEngineConfig": {"network": network}}})


def provisioned(cni: str, **values: object) -> str:
    body = {"apiVersion": "provisioning.cattle.io/v1", "kind": "Cluster", "metadata": {"name": "c"}}
    config = {"machineGlobalConfig": {"cni": cni}, "chartValues": {f"rke2-{cni}": values}}
    return yaml.safe_dump({**body, "spec": {"rkeConfig": config}})


# 20 bytes for IPIP (RFC 2003), 50 for VXLAN (RFC 7348), 60 for WireGuard; RKE's own 1450 and 1440 without the key.
@pytest.mark.parametrize(
    ("text", "variant", "mtu", "nic", "findings"),
    [
        (kops(calico={"mtu": 8981}), "kops, Calico", 8981, 9001, []),
        (kops(calico={"mtu": 8912}), "kops, Calico", 8912, 9001, []),  # 0.01 % of a full link less
        (kops(calico={"mtu": 1480, "encapsulationMode": "vxlan"}), "kops, Calico", 1480, 1500, [("MTU119", "error")]),
        (kops(calico={}), "kops, Calico", None, 1500, []),
        (kops(weave={"mtu": 8951}), "kops, Weave Net", 8951, 9001, []),
        (kops(weave={}), "kops, Weave Net", 1376, 1400, [("MTU119", "error")]),
        (kops(canal={"mtu": 1450}), "kops, canal", 1450, 1500, []),
        (
            k0s(provider="calico", calico={"mode": "vxlan", "mtu": 1234}),
            "k0s, Calico",
            1234,
            1284,
            [("MTU114", "warning")],
        ),
        (
            k0s(provider="calico", calico={"mtu": 1450, "wireguard": True}),
            "k0s, Calico",
            1450,
            1500,
            [("MTU119", "error")],
        ),
        (k0s(provider="calico"), "k0s, Calico", None, 1500, []),
        (k0s(provider="calico", calico={"mode": "bird"}), "k0s, Calico", 1450, 1470, []),
        (k0s(provider="calico", calico={"mode": "bird", "overlay": "Never"}), "k0s, Calico", 1450, 1450, []),
        (k0s(provider="calico", calico={"mtu": 0}), "k0s, Calico", None, 1500, []),
        (kops(calico={"mtu": 1500, "ipipMode": "Never"}), "kops, Calico", 1500, 1500, []),
        (k0s(kuberouter={"autoMTU": False, "mtu": 1400}), "k0s, kube-router", 1400, 1400, []),
        (k0s(kuberouter={"mtu": 1400}), "k0s, kube-router", None, 1500, [("MTU111", "warning")]),
        (rancher(plugin="canal", mtu=1400), "RKE, canal", 1400, 1450, []),
        (rancher(plugin="canal"), "RKE, canal", 1450, 1450, [("MTU119", "error")]),
        (rancher(plugin="calico"), "RKE, calico", 1440, 1460, []),
        (rancher(plugin="canal", mtu="1400"), "RKE, canal", 1450, 1500, [("MTU112", "error")]),
        (
            rancher(plugin="canal", mtu=1500, options={"canal_flannel_backend_type": "host-gw"}),
            "RKE, canal",
            1500,
            1500,
            [],
        ),
        (provisioned("canal"), "Rancher, canal", 1450, 1500, []),
        (provisioned("canal", calico={"vethuMTU": 1400}), "Rancher, canal", 1400, 1450, []),
        (provisioned("canal", calico={"vethuMTU": 1500}), "Rancher, canal", 1500, 1500, [("MTU119", "error")]),
        (provisioned("flannel", flannel={"mtu": 1450}), "Rancher, flannel", 1400, 1450, []),
        (rancher(plugin="flannel", mtu=1400), "RKE, flannel", None, 1500, [("MTU111", "warning")]),
    ],
)
def test_each_tool_has_its_key(
    snapshot: Reading, text: str, variant: str, mtu: int | None, nic: int, findings: list[tuple[str, str]]
) -> None:
    files = snapshot(text)
    state = registry.recognise(files)
    assert (state.name, state.variant, state.pod_mtu) == ("cluster-specification", variant, mtu)
    assert [(one.code, one.severity) for one in decide.check(files, nic).findings] == findings


@pytest.mark.parametrize(
    "text",
    [
        kops(cilium={}),
        k0s(provider="custom"),
        rancher(plugin="none"),
        provisioned("cilium", MTU=1450),
        "apiVersion: cluster.x-k8s.io/v1beta1\nkind: Cluster\nmetadata: {name: c}\n",
        "",
    ],
)
def test_others_are_not_guessed(snapshot: Reading, text: str) -> None:
    assert specification.read(snapshot(text)) is None


def test_the_key_is_edited_where_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "cluster.yaml"
    head = "apiVersion: kops.k8s.io/v1alpha2\nkind: Cluster\nmetadata:\n  name: minimal.example.com\nspec:\n"
    mine.write_text(f"{head}  networking:\n    calico:\n      mtu: 8912   # jumbo\n")
    words = ["plan", "--from", str(mine), "--nic-mtu", "1500", "--in-place", str(mine)]
    assert main.run(words) == 0
    assert mine.read_text() == f"{head}  networking:\n    calico:\n      mtu: 1480   # jumbo\n"
    assert "+      mtu: 1480   # jumbo" in capsys.readouterr().err


def test_what_is_so_already_has_no_step(snapshot: Reading) -> None:
    state = registry.recognise(snapshot(rancher(plugin="canal", mtu=1400)))
    assert specification.steps(state, 1400) == ()
    (edit,) = specification.steps(state, 1390)
    assert isinstance(edit, EditValue)
    assert (edit.path[-1], edit.before, edit.after) == ("mtu", 1400, 1390)


def test_a_key_that_is_not_read_is_not_edited(snapshot: Reading) -> None:
    with pytest.raises(UsageError, match="autoMTU is not false"):
        specification.steps(registry.recognise(snapshot(k0s())), 1400)

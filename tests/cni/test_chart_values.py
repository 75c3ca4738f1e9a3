"""The values of RKE2's charts: edited where a HelmChartConfig holds some, and made where none does.

The charts and their keys: rancher/rke2-charts, packages/rke2-{canal,calico,cilium,flannel}, values.yaml.
"""

from collections.abc import Callable

import pytest
import yaml

from kubemtu.cni import registry
from kubemtu.core.change.plan import EditValue
from kubemtu.core.snapshot import Snapshot, Unread
from kubemtu.flows import decide

Reading = Callable[..., Snapshot]
Body = dict[str, object]


def helm(release: str) -> dict[str, object]:
    return {"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": {"meta.helm.sh/release-name": release}}


def body(
    kind: str, name: str, version: str = "v1", namespace: str = "kube-system", **rest: object
) -> dict[str, object]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": version, "kind": kind, "metadata": metadata} | rest


def owned(resource: dict[str, object], release: str) -> str:
    metadata = resource["metadata"]
    assert isinstance(metadata, dict)
    return yaml.safe_dump(resource | {"metadata": metadata | helm(release)})


NET_CONF = '{"Network": "10.42.0.0/16", "Backend": {"Type": "vxlan"}}'
CANAL = body(
    "ConfigMap",
    "rke2-canal-config",
    data={
        "canal_iface": "",
        "masquerade": "true",
        "veth_mtu": "1450",
        "cni_network_config": '{"plugins": [{"type": "calico", "mtu": __CNI_MTU__}]}',
        "net-conf.json": NET_CONF,
    },
)
FLANNEL = body(
    "ConfigMap",
    "kube-flannel-cfg",
    data={"cni-conf.json": '{"plugins": [{"type": "flannel", "delegate": {}}]}', "net-conf.json": NET_CONF},
)
POOLS = [{"cidr": "10.42.0.0/16", "encapsulation": "VXLAN"}]
CALICO = body(
    "Installation",
    "default",
    "operator.tigera.io/v1",
    namespace="",
    spec={"calicoNetwork": {"mtu": 1450, "ipPools": POOLS}},
)
CILIUM = body(
    "ConfigMap", "cilium-config", data={"enable-ipv4": "true", "routing-mode": "tunnel", "tunnel-protocol": "vxlan"}
)
CHARTS = [
    pytest.param(CANAL, "rke2-canal", "calico:\n  vethuMTU: 1400\n", id="canal"),
    pytest.param(CALICO, "rke2-calico", "installation:\n  calicoNetwork:\n    mtu: 1400\n", id="calico"),
    pytest.param(CILIUM, "rke2-cilium", "MTU: 1450\n", id="cilium"),
    pytest.param(FLANNEL, "rke2-flannel", "flannel:\n  mtu: 1450\n", id="flannel"),
]


def values(snapshot: Snapshot, target: int = 1400) -> list[EditValue]:
    made, _ = decide.plan(snapshot, target, 1500)
    return [step for step in made.steps if isinstance(step, EditValue) and step.ref.kind == "HelmChartConfig"]


@pytest.mark.parametrize(("live", "chart", "text"), CHARTS)
def test_where_there_is_none_one_is_made_that_holds_the_number_alone(
    live: Body, chart: str, text: str, snapshot: Reading
) -> None:
    (edit,) = values(snapshot(owned(live, chart)))
    assert edit.creates
    assert edit.made() == {
        "apiVersion": "helm.cattle.io/v1",
        "kind": "HelmChartConfig",
        "metadata": {"name": chart, "namespace": "kube-system"},
        "spec": {"valuesContent": text},
    }
    assert edit.undo().made() == edit.made()


@pytest.mark.parametrize(("live", "chart", "text"), CHARTS)
def test_where_there_is_one_its_number_is_set_and_all_else_stays(
    live: Body, chart: str, text: str, snapshot: Reading
) -> None:
    held = "# ours\nother: true\n"
    there = body("HelmChartConfig", chart, "helm.cattle.io/v1", spec={"valuesContent": held})
    (edit,) = values(snapshot(owned(live, chart), yaml.safe_dump(there)))
    assert not edit.creates
    assert edit.before == held
    assert isinstance(edit.after, str)
    assert edit.after.startswith(held)
    assert yaml.safe_load(edit.after) == {"other": True} | yaml.safe_load(text)


@pytest.mark.parametrize(("live", "chart", "text"), CHARTS)
def test_none_is_made_where_it_may_not_be_read_nor_for_who_deploys_otherwise(
    live: Body, chart: str, text: str, snapshot: Reading
) -> None:
    whole = snapshot(owned(live, chart))
    hidden = Unread(what=f"HelmChartConfig kube-system/{chart}", why="forbidden", message="may not be read")
    assert values(Snapshot(source="test", objects=whole.objects, unread=(hidden,))) == []
    if live is not CANAL:  # RKE2's ConfigMap of canal has a name of its own
        assert values(snapshot(owned(live, "ours"))) == []


@pytest.mark.parametrize(("live", "chart", "text"), CHARTS[:2])
def test_what_is_right_already_makes_nothing(live: Body, chart: str, text: str, snapshot: Reading) -> None:
    assert values(snapshot(owned(live, chart)), 1450) == []


def test_values_that_say_another_number_than_the_live_object_are_named(snapshot: Reading) -> None:
    said = "installation: {calicoNetwork: {mtu: 1400}}"
    there = body("HelmChartConfig", "rke2-calico", "helm.cattle.io/v1", spec={"valuesContent": said})
    state = registry.recognise(snapshot(owned(CALICO, "rke2-calico"), yaml.safe_dump(there)))
    (found,) = [one for one in state.findings if one.code == "MTU113"]
    assert found.place == "Installation default, spec.calicoNetwork.mtu"
    assert found.message.startswith("mtu is 1450 and HelmChartConfig kube-system/rke2-calico")
    assert found.message.endswith("says 1400: the next upgrade of the chart makes it 1400.")

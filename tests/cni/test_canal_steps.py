"""What canal's change comes to: one key, and every other byte stays."""

import json
from collections.abc import Callable

import pytest
import yaml

from kubemtu.cni import canal
from kubemtu.core.change.plan import EditValue, Rollout
from kubemtu.core.errors import Malformed, UsageError
from kubemtu.core.net import NodeObservation
from kubemtu.core.snapshot import Snapshot

Reading = Callable[..., Snapshot]

TEMPLATE = """{
  "name": "k8s-pod-network",
  "plugins": [
    {
      "type": "calico",%s
      "nodename": "__KUBERNETES_NODE_NAME__",
      "policy": {"k8s_auth_token": "__SERVICEACCOUNT_TOKEN__"}
    },
    {"type": "portmap",   "snat": true}
  ]
}"""
NET_CONF = '{"Network": "10.42.0.0/16", "Backend": {"Type": "vxlan"%s}}'


def objects(template: str, name: str = "canal", backend: str = "", **keys: str | None) -> str:
    held = {
        "canal_iface": "",
        "masquerade": "true",
        "cni_network_config": template,
        "net-conf.json": NET_CONF % backend,
    } | keys
    kept = {key: value for key, value in held.items() if value is not None}
    metadata = {"name": f"{name}-config", "namespace": "kube-system"}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": kept})


def agent(name: str = "canal", conf: str = "10-canal.conflist", veth: bool = True) -> str:
    def key(variable: str, of: str) -> dict[str, object]:
        return {"name": variable, "valueFrom": {"configMapKeyRef": {"name": f"{name}-config", "key": of}}}

    install: list[object] = [{"name": "CNI_CONF_NAME", "value": conf}, key("CNI_NETWORK_CONFIG", "cni_network_config")]
    if veth:
        install.append(key("CNI_MTU", "veth_mtu"))
    flannel = [key("FLANNELD_IFACE", "canal_iface"), key("FLANNELD_IP_MASQ", "masquerade")]
    spec = {
        "initContainers": [{"name": "install-cni", "image": "calico/cni:v3.28.1", "env": install}],
        "containers": [{"name": "kube-flannel", "image": "flannel:v0.25.5", "env": flannel}],
    }
    body = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {"template": {"spec": spec}},
    }
    return yaml.safe_dump(body)


def chart(values: str) -> str:
    metadata = {"name": "rke2-canal", "namespace": "kube-system"}
    body = {"apiVersion": "helm.cattle.io/v1", "kind": "HelmChartConfig", "metadata": metadata}
    return yaml.safe_dump(body | {"spec": {"valuesContent": values}})


def steps(snapshot: Snapshot, target: int) -> tuple[list[EditValue], list[Rollout]]:
    state = canal.read(snapshot)
    assert state is not None
    found = canal.steps(state, target)
    edits = [step for step in found if isinstance(step, EditValue)]
    return edits, [step for step in found if isinstance(step, Rollout)]


def test_era_a_gets_one_line_more_and_keeps_every_other_byte(snapshot: Reading) -> None:
    before = TEMPLATE % ""
    (edit,), (restart,) = steps(snapshot(objects(before), agent(conf="10-calico.conflist", veth=False)), 1450)
    assert edit.path == ("data", "cni_network_config")
    assert edit.before == before
    assert edit.after == TEMPLATE % '\n      "mtu": 1450,'
    assert str(edit.ref) == "ConfigMap kube-system/canal-config"
    assert str(restart.ref) == "DaemonSet kube-system/canal"
    assert (restart.conflist, restart.mtu) == ("/etc/cni/net.d/10-calico.conflist", 1450)


def test_era_b_gets_four_digits_more(snapshot: Reading) -> None:
    before = TEMPLATE % '\n      "mtu": 1400,'
    (edit,), _ = steps(snapshot(objects(before), agent(veth=False)), 8950)
    assert edit.after == TEMPLATE % '\n      "mtu": 8950,'


def test_a_number_in_quotes_becomes_one_without(snapshot: Reading) -> None:
    (edit,), _ = steps(snapshot(objects(TEMPLATE % '\n      "mtu": "1450",'), agent(veth=False)), 1450)
    assert edit.after == TEMPLATE % '\n      "mtu": 1450,'


def test_era_c_changes_veth_mtu_only(snapshot: Reading) -> None:
    found = snapshot(objects(TEMPLATE % '\n      "mtu": __CNI_MTU__,', veth_mtu="1450"), agent())
    (edit,), (restart,) = steps(found, 1400)
    assert (edit.path, edit.before, edit.after) == (("data", "veth_mtu"), "1450", "1400")
    assert (restart.conflist, restart.mtu) == ("/etc/cni/net.d/10-canal.conflist", 1400)
    assert edit.undo().after == "1450"


def test_a_lost_canal_iface_comes_back_first(snapshot: Reading) -> None:
    found = snapshot(objects(TEMPLATE % '\n      "mtu": 1400,', canal_iface=None), agent(veth=False))
    (restored, changed), restarts = steps(found, 1450)
    assert (restored.path, restored.before, restored.after) == (("data", "canal_iface"), None, "")
    assert changed.path == ("data", "cni_network_config")
    assert len(restarts) == 1


@pytest.mark.parametrize("key", ["masquerade", "net-conf.json"])
def test_a_lost_key_whose_value_nobody_knows_stops_everything(snapshot: Reading, key: str) -> None:
    lost: dict[str, str | None] = {key: None}
    with pytest.raises(UsageError, match=rf"lacks {key}.*put the key back first"):
        steps(snapshot(objects(TEMPLATE % '\n      "mtu": 1400,', "canal", "", **lost), agent(veth=False)), 1450)


def test_a_lost_veth_mtu_is_written(snapshot: Reading) -> None:
    (edit,), _ = steps(snapshot(objects(TEMPLATE % '\n      "mtu": __CNI_MTU__,'), agent()), 1400)
    assert (edit.path, edit.before, edit.after) == (("data", "veth_mtu"), None, "1400")


def test_backend_mtu_follows(snapshot: Reading) -> None:
    found = snapshot(objects(TEMPLATE % '\n      "mtu": 1400,', backend=', "MTU": 1500'), agent(veth=False))
    (_, base), _ = steps(found, 8950)
    assert base.path == ("data", "net-conf.json")
    assert base.after == NET_CONF % ', "MTU": 9000'


def test_backend_mtu_that_fits_already_stays(snapshot: Reading) -> None:
    found = snapshot(objects(TEMPLATE % '\n      "mtu": 1400,', backend=', "MTU": 1500'), agent(veth=False))
    edits, _ = steps(found, 1450)
    assert [edit.path[1] for edit in edits] == ["cni_network_config"]


def test_backend_mtu_is_not_invented(snapshot: Reading) -> None:
    edits, _ = steps(snapshot(objects(TEMPLATE % '\n      "mtu": 1400,'), agent(veth=False)), 8950)
    assert [edit.path[1] for edit in edits] == ["cni_network_config"]


def test_nothing_to_change_is_nothing_to_do(snapshot: Reading, node: Callable[..., NodeObservation]) -> None:
    text = objects(TEMPLATE % '\n      "mtu": 1400,')
    assert steps(snapshot(text, agent(veth=False)), 1400) == ([], [])
    rendered = json.dumps({"plugins": [{"type": "calico", "mtu": 1400}]})
    assert steps(snapshot(text, agent(veth=False), nodes=(node(conflist=rendered),)), 1400) == ([], [])


@pytest.mark.parametrize("held", ['{"plugins": [{"type": "calico", "mtu": 1450}]}', "not JSON"])
def test_a_node_that_missed_the_last_rollout_gets_another(
    snapshot: Reading, node: Callable[..., NodeObservation], held: str
) -> None:
    text = objects(TEMPLATE % '\n      "mtu": 1400,')
    edits, restarts = steps(snapshot(text, agent(veth=False), nodes=(node(conflist=held),)), 1400)
    assert edits == []
    assert [restart.mtu for restart in restarts] == [1400]


def test_rke2_writes_the_live_object_and_then_its_source(snapshot: Reading) -> None:
    values = '# ours\nflannel:\n  iface: "eth1"\ncalico:\n  vethuMTU: 1450  # for vxlan\n'
    template = TEMPLATE % '\n      "mtu": __CNI_MTU__,'
    found = snapshot(objects(template, "rke2-canal", veth_mtu="1450"), agent("rke2-canal"), chart(values))
    (live, source), (restart,) = steps(found, 1400)
    assert (str(live.ref), live.after) == ("ConfigMap kube-system/rke2-canal-config", "1400")
    assert str(source.ref) == "HelmChartConfig kube-system/rke2-canal"
    assert source.path == ("spec", "valuesContent")
    assert source.before == values
    assert source.after == values.replace("vethuMTU: 1450", "vethuMTU: 1400")
    assert str(restart.ref) == "DaemonSet kube-system/rke2-canal"


def test_rke2_gets_both_numbers_where_it_has_both(snapshot: Reading) -> None:
    (edit,), _ = steps(snapshot(chart("flannel:\n  mtu: 1500\ncalico:\n  vethuMTU: 1450\n")), 8950)
    assert edit.after == "flannel:\n  mtu: 9000\ncalico:\n  vethuMTU: 8950\n"


def test_rke2_adds_a_value_and_keeps_the_comment(snapshot: Reading) -> None:
    values = '# keep this comment\nflannel:\n  backend: "wireguard"'
    (edit,), _ = steps(snapshot(chart(values)), 1420)
    assert isinstance(edit.after, str)
    assert edit.after.startswith(values)
    assert yaml.safe_load(edit.after) == {"flannel": {"backend": "wireguard"}, "calico": {"vethuMTU": 1420}}


def test_a_variable_of_another_source_is_not_ours_to_change(snapshot: Reading) -> None:
    found = snapshot(objects(TEMPLATE % '\n      "mtu": __CNI_MTU__,', veth_mtu="1450"), agent(veth=False))
    with pytest.raises(UsageError, match="CNI_MTU"):
        steps(found, 1400)


def test_a_backend_mtu_that_nothing_reads_stays(snapshot: Reading) -> None:
    old = agent(veth=False).replace("v0.25.5", "v0.21.2")
    edits, _ = steps(snapshot(objects(TEMPLATE % '\n      "mtu": 1400,', backend=', "MTU": 1500'), old), 8950)
    assert [edit.path[1] for edit in edits] == ["cni_network_config"]


def test_without_the_configmap_nothing_can_be_planned(snapshot: Reading) -> None:
    with pytest.raises(UsageError, match="was not read"):
        steps(snapshot(agent()), 1400)


def test_a_broken_template_is_not_edited(snapshot: Reading) -> None:
    with pytest.raises(Malformed, match="canal-config"):
        steps(snapshot(objects('{"plugins": [{"type": "calico",}]}'), agent(veth=False)), 1400)


@pytest.mark.parametrize("target", [-1, 70000])
def test_a_target_that_is_no_mtu(snapshot: Reading, target: int) -> None:
    with pytest.raises(UsageError):
        steps(snapshot(objects(TEMPLATE % ""), agent(veth=False)), target)
    with pytest.raises(UsageError):
        steps(snapshot(objects(TEMPLATE % '\n      "mtu": __CNI_MTU__,', veth_mtu="1450"), agent()), target)

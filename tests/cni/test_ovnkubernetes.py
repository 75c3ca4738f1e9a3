"""OVN-Kubernetes by its chart: one key of one ConfigMap, which every DaemonSet of ovnkube-node reads."""

from collections.abc import Callable

import pytest
import yaml
from tests.support.findings import judged

from kubemtu.cni import ovnkubernetes, registry
from kubemtu.core.change.plan import EditValue, Rollout
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.errors import UsageError
from kubemtu.core.snapshot import Snapshot

Reading = Callable[..., Snapshot]


def config(**data: object) -> str:
    metadata = {"name": "ovn-config", "namespace": "ovn-kubernetes"}
    held = {"net_cidr": "10.244.0.0/16/24", "svc_cidr": "10.96.0.0/16"} | data
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": held})


def agent(name: str = "ovnkube-node", value: str | None = None) -> str:
    source = {"configMapKeyRef": {"name": "ovn-config", "key": "mtu"}}
    variable = {"name": "OVN_MTU", "valueFrom": source} if value is None else {"name": "OVN_MTU", "value": value}
    container = {"name": "ovnkube-controller", "image": "ovn-kube:master", "env": [variable]}
    body = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name, "namespace": "ovn-kubernetes"}}
    return yaml.safe_dump({**body, "spec": {"template": {"spec": {"containers": [container]}}}})


def no_overlay(text: str = "[default]\ntransport = no-overlay\n") -> str:
    metadata = {"name": "ovnkube-config", "namespace": "ovn-kubernetes"}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ovnkube.conf": text}}
    return yaml.safe_dump(body)


MACHINE = """
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: "%s"}]}
"""


def read(snapshot: Snapshot) -> CniState:
    state = ovnkubernetes.read(snapshot)
    assert state is not None
    return state


# Geneve takes 58 with OVN's option, 78 over IPv6 (go-controller/pkg/types/const.go GeneveHeaderLengthIPv4 and IPv6): a
# NIC below the number plus that keeps ovnkube-node from starting. 1400 is the chart's own (helm/ovn-kubernetes:
# values-single-node-zone.yaml), and 1500 its template's where nothing is given (templates/ovn-setup.yaml).
@pytest.mark.parametrize(
    ("texts", "nic", "mtu", "findings"),
    [
        ((config(mtu="1400"), agent()), 1500, 1400, []),
        ((config(mtu="1400"), agent(), MACHINE % "2001:db8::1"), 1500, 1400, []),
        ((config(mtu="1442"), agent()), 1500, 1442, []),
        ((config(mtu="1443"), agent()), 1500, 1443, [("MTU119", "error")]),
        ((config(mtu="1442"), agent(), MACHINE % "2001:db8::1"), 1500, 1442, [("MTU119", "error")]),
        ((config(mtu="1500"), agent()), 1500, 1500, [("MTU119", "error")]),
        ((config(mtu="1400"), agent()), 1450, 1400, [("MTU119", "error")]),
        ((config(mtu="1400"), agent()), 9001, 1400, [("MTU119", "warning")]),
        ((config(mtu="8901"), agent()), 9001, 8901, []),
        ((config(mtu=""), agent()), 1500, 1400, []),
        ((config(), agent()), 1500, 1400, []),
        ((config(mtu="1400"), agent(), agent("ovn-ipsec")), 1500, 1400, []),
        ((config(mtu="1409"), agent(), agent("ovn-ipsec")), 1500, 1409, [("MTU119", "error")]),
        ((config(mtu="1500"), agent(), no_overlay()), 1500, 1500, []),
        ((config(mtu="1400"), agent(), no_overlay("[default]\n")), 1500, 1400, []),
    ],
)
def test_the_key_is_the_pods_own(
    snapshot: Reading, texts: tuple[str, ...], nic: int, mtu: int, findings: list[tuple[str, str]]
) -> None:
    files = snapshot(*texts)
    state = read(files)
    assert (registry.recognise(files).name, state.pod_mtu) == ("ovn-kubernetes", mtu)
    assert judged(files, nic) == findings


@pytest.mark.parametrize(
    ("held", "code", "words"),
    [
        ("jumbo", "MTU112", "not a number of bytes"),
        (1400, "MTU112", "is not quoted"),
        ("99999", "MTU112", "must be between 68 and 65535"),
    ],
)
def test_what_is_broken(snapshot: Reading, held: object, code: str, words: str) -> None:
    (finding,) = read(snapshot(config(mtu=held), agent())).findings
    assert (finding.code, finding.place) == (code, "ConfigMap ovn-kubernetes/ovn-config, data.mtu")
    assert words in finding.message


def test_a_key_that_nothing_reads(snapshot: Reading) -> None:
    (finding,) = read(snapshot(config(mtu="1400", pod_mtu="1300"), agent())).findings
    assert (finding.code, finding.place) == ("MTU111", "ConfigMap ovn-kubernetes/ovn-config, data.pod_mtu")


def test_every_daemonset_that_reads_it_is_restarted(snapshot: Reading) -> None:
    files = snapshot(config(mtu="1500"), agent(), agent("ovnkube-node-dpu-host"))
    edit, *restarts = ovnkubernetes.steps(read(files), 1442)
    assert isinstance(edit, EditValue)
    assert (edit.path, edit.before, edit.after) == (("data", "mtu"), "1500", "1442")
    assert [each.ref.name for each in restarts if isinstance(each, Rollout)] == [
        "ovnkube-node",
        "ovnkube-node-dpu-host",
    ]
    assert ovnkubernetes.steps(read(snapshot(config(mtu="1442"), agent())), 1442) == ()


def test_a_daemonset_with_a_number_of_its_own(snapshot: Reading) -> None:
    state = read(snapshot(config(mtu="1400"), agent(value="1500")))
    assert state.pod_mtu == 1500
    with pytest.raises(UsageError, match="DaemonSet ovn-kubernetes/ovnkube-node, variable OVN_MTU decides"):
        ovnkubernetes.steps(state, 1400)


def test_a_config_map_that_was_not_read(snapshot: Reading) -> None:
    state = read(snapshot(agent()))
    assert ([one.code for one in state.findings], state.pod_mtu) == (["MTU117"], None)
    with pytest.raises(UsageError, match="was not read"):
        ovnkubernetes.steps(state, 1400)


def test_nothing_of_it_is_there(snapshot: Reading) -> None:
    assert ovnkubernetes.read(snapshot("")) is None

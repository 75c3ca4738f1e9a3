"""OpenShift: what is in force, what the operator refuses, the migration that it makes, and OpenShift 3 without one."""

import json
from collections.abc import Callable

import pytest
import yaml
from tests.support.findings import judged

from kubemtu.cni import openshift, registry
from kubemtu.core.change.plan import EditValue, Rollout
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.errors import UsageError
from kubemtu.core.snapshot import Snapshot

Reading = Callable[..., Snapshot]
OVN, SDN = "ovnKubernetesConfig", "openshiftSDNConfig"


def operator(kind: object = "OVNKubernetes", migration: object = None, **held: object) -> str:
    own = OVN if kind == "OVNKubernetes" else SDN
    spec: dict[str, object] = {
        "clusterNetwork": [{"cidr": "10.128.0.0/14", "hostPrefix": 23}],
        "defaultNetwork": {"type": kind, own: held},
    }
    if migration is not None:
        spec["migration"] = {"mtu": migration}
    metadata = {"name": "cluster"}
    return yaml.safe_dump(
        {"apiVersion": "operator.openshift.io/v1", "kind": "Network", "metadata": metadata, "spec": spec}
    )


def config(mtu: object = 1400, kind: str = "OVNKubernetes", cidr: str = "10.128.0.0/14") -> str:
    body = {"apiVersion": "config.openshift.io/v1", "kind": "Network", "metadata": {"name": "cluster"}}
    spec = {"networkType": kind, "clusterNetwork": [{"cidr": cidr, "hostPrefix": 23}]}
    return yaml.safe_dump({**body, "spec": spec, "status": {"networkType": kind, "clusterNetworkMTU": mtu}})


def rendered(mtu: object) -> str:
    metadata = {"name": "ovnkube-config", "namespace": "openshift-ovn-kubernetes"}
    text = f'[default]\nmtu="{mtu}"\ncluster-subnets="10.128.0.0/14/23"\n'
    return yaml.safe_dump(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ovnkube.conf": text}}
    )


def migrating(before: object, to: object, machine: object) -> dict[str, object]:
    return {"network": {"from": before, "to": to}, "machine": {"to": machine}}


def read(snapshot: Snapshot) -> CniState:
    state = openshift.read(snapshot)
    assert state is not None
    return state


# The operator's constants (pkg/network/ovn_kubernetes.go getOVNEncapOverhead, openshift_sdn.go), and what fits 1500:
# 1442 for Geneve with 8 bytes of options, 1408 with it in ESP, 1400 in ESP in UDP, 1450 for VXLAN.
@pytest.mark.parametrize(
    ("kind", "held", "gives", "carries", "name"),
    [
        ("OVNKubernetes", {}, 1400, 1442, "geneve"),
        ("OVNKubernetes", {"ipsecConfig": {}}, 1354, 1408, "geneve in ipsec"),
        ("OVNKubernetes", {"ipsecConfig": {"mode": "Full"}}, 1354, 1408, "geneve in ipsec"),
        ("OVNKubernetes", {"ipsecConfig": {"mode": "External"}}, 1400, 1442, "geneve"),
        ("OVNKubernetes", {"ipsecConfig": {"mode": "Disabled"}}, 1400, 1442, "geneve"),
        (
            "OVNKubernetes",
            {"ipsecConfig": {"mode": "Full", "full": {"encapsulation": "Always"}}},
            1354,
            1400,
            "geneve in ipsec",
        ),
        ("OVNKubernetes", {"transport": "NoOverlay"}, 1500, 1500, "none"),
        ("OpenShiftSDN", {}, 1450, 1450, "vxlan"),
    ],
)
def test_what_the_operator_takes_off_is_no_fault(
    snapshot: Reading, kind: str, held: dict[str, object], gives: int, carries: int, name: str
) -> None:
    unset = snapshot(operator(kind, **held))
    state = read(unset)
    assert (state.pod_mtu, state.subtracts, state.encapsulation_name) == (None, 1500 - gives, name)
    assert min([one.inner(1500) for one in state.encapsulation], default=1500) == carries
    assert judged(unset, 1500) == []
    inforce = snapshot(operator(kind, mtu=gives, **held), config(gives, kind))
    assert read(inforce).pod_mtu == gives
    assert judged(inforce, 1500) == []


@pytest.mark.parametrize(
    ("kind", "mtu", "nic", "findings"),
    [
        ("OVNKubernetes", 1400, 1400, [("MTU119", "error")]),
        ("OVNKubernetes", 8901, 9001, []),
        ("OVNKubernetes", 1400, 9001, [("MTU119", "warning")]),
        ("OpenShiftSDN", 1450, 1400, [("MTU119", "error")]),
        ("OpenShiftSDN", 1450, 1500, []),
    ],
)
def test_what_is_in_force_against_the_nic(
    snapshot: Reading, kind: str, mtu: int, nic: int, findings: list[tuple[str, str]]
) -> None:
    assert judged(snapshot(operator(kind, mtu=mtu), config(mtu, kind)), nic) == findings


def test_another_operators_network_is_another_networks(snapshot: Reading) -> None:
    assert openshift.read(snapshot(operator("Calico"), config(kind="Calico"))) is None
    assert openshift.read(snapshot("apiVersion: example.org/v1\nkind: Network\nmetadata: {name: cluster}\n")) is None


def test_no_number_is_changed_behind_the_operator(snapshot: Reading) -> None:
    state = read(snapshot(operator(mtu=1400), config(1400)))
    assert state.owner == "the OpenShift network operator"
    assert openshift.steps(state, 1400) == ()
    with pytest.raises(UsageError) as caught:
        openshift.steps(state, 1342)
    first, second = (json.loads(part.split("'")[1]) for part in str(caught.value).split(" -p ")[1:])
    assert first == {"spec": {"migration": {"mtu": migrating(1400, 1342, 1442)}}}
    assert second == {"spec": {"migration": None, "defaultNetwork": {OVN: {"mtu": 1342}}}}


def test_a_migration_needs_the_number_that_is_in_force(snapshot: Reading) -> None:
    with pytest.raises(UsageError, match="must name it"):
        openshift.steps(read(snapshot(operator())), 1400)


def test_a_number_that_was_changed_without_a_migration(snapshot: Reading) -> None:
    (finding,) = read(snapshot(operator(mtu=1300), config(1400))).findings
    assert (finding.code, finding.severity) == ("MTU111", "error")
    assert finding.place == f"Network cluster, spec.defaultNetwork.{OVN}.mtu"
    assert "It asks for 1300 and 1400 is in force" in finding.message


@pytest.mark.parametrize(
    ("now", "severity", "count"), [(1400, "", 0), (1500, "error", 1), (1300, "warning", 1), ("", "", 0)]
)
def test_what_was_edited_behind_the_operator(snapshot: Reading, now: object, severity: str, count: int) -> None:
    findings = read(snapshot(operator(mtu=1400), config(1400), rendered(now))).findings
    assert len(findings) == count
    for finding in findings:
        assert (finding.code, finding.severity) == ("MTU113", severity)
        assert finding.place == "ConfigMap openshift-ovn-kubernetes/ovnkube-config, ovnkube.conf, mtu"


def test_a_migration_that_is_under_way(snapshot: Reading) -> None:
    files = snapshot(operator(migration=migrating(1400, 8900, 9000), mtu=1400), config(1400), rendered(8900))
    (finding,) = read(files).findings
    assert (finding.code, finding.severity) == ("MTU140", "note")
    assert finding.place == "Network cluster, spec.migration.mtu"
    assert "goes from 1400 to 8900, and the machines' to 9000" in finding.message
    with pytest.raises(UsageError, match="under way"):
        openshift.steps(read(files), 8942)


@pytest.mark.parametrize(
    ("asked", "held", "why"),
    [
        (migrating(1450, 8900, 9000), {}, "network.from is 1450, and 1400 is in force"),
        (migrating(1400, 8901, 9000), {}, "machine.to is 9000, and must be at least 9001 (8901 and 100)"),
        (migrating(1400, 8900, 9000), {"ipsecConfig": {}}, "must be at least 9046 (8900 and 146)"),
        (migrating(1400, 500, 1500), {}, "network.to is 500, and must be from 576 to 65536"),
        ({"network": {"from": 1400, "to": 8900}}, {}, "must all be given"),
        (migrating(1400, "8900", 9000), {}, "must all be given"),
    ],
)
def test_a_migration_that_the_operator_refuses(
    snapshot: Reading, asked: object, held: dict[str, object], why: str
) -> None:
    findings = read(snapshot(operator(migration=asked, mtu=1400, **held), config(1400))).findings
    finding = findings[-1]
    assert (finding.code, finding.severity) == ("MTU140", "error")
    assert why in finding.message
    assert '"migration": null' in finding.remedy


def test_ipv6_needs_1280(snapshot: Reading) -> None:
    files = snapshot(operator(migration=migrating(1400, 1200, 1500)), config(1400, cidr="fd01::/48"))
    assert "must be from 1280 to 65536" in read(files).findings[-1].message
    assert read(files).ipv6


@pytest.mark.parametrize("held", ["1400", True, 1400.5])
def test_a_number_of_the_wrong_type(snapshot: Reading, held: object) -> None:
    (finding,) = read(snapshot(operator(mtu=held))).findings
    assert finding.code == "MTU112"


@pytest.mark.parametrize(
    ("kind", "spec", "place"),
    [
        ("UserDefinedNetwork", {"layer3": {"mtu": 1500}}, "UserDefinedNetwork ns/blue, spec.layer3.mtu"),
        ("UserDefinedNetwork", {"layer2": {"mtu": 1500}}, "UserDefinedNetwork ns/blue, spec.layer2.mtu"),
        (
            "ClusterUserDefinedNetwork",
            {"network": {"layer2": {"mtu": 1500}}},
            "ClusterUserDefinedNetwork ns/blue, spec.network.layer2.mtu",
        ),
        ("UserDefinedNetwork", {"layer3": {"mtu": 1300}}, ""),
        ("ClusterUserDefinedNetwork", {"network": {"localnet": {"mtu": 9000}}}, ""),
    ],
)
def test_a_network_of_a_user(snapshot: Reading, kind: str, spec: dict[str, object], place: str) -> None:
    metadata = {"name": "blue", "namespace": "ns"}
    body = {"apiVersion": "k8s.ovn.org/v1", "kind": kind, "metadata": metadata, "spec": spec}
    findings = read(snapshot(operator(mtu=1400), config(1400), yaml.safe_dump(body))).findings
    assert [(one.code, one.place) for one in findings] == ([("MTU119", place)] if place else [])


def attached(config: dict[str, object], owner: str) -> str:
    references = [{"kind": owner, "name": "blue"}] if owner else []
    body = {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "blue", "namespace": "ns", "ownerReferences": references},
        "spec": {"config": json.dumps(config)},
    }
    return yaml.safe_dump(body)


@pytest.mark.parametrize(
    ("conf", "owner", "said"),
    [
        ({"type": "ovn-k8s-cni-overlay", "topology": "layer2", "mtu": 1500}, "", 1),
        ({"type": "ovn-k8s-cni-overlay", "topology": "layer3", "mtu": 1400}, "", 0),
        (
            {"type": "ovn-k8s-cni-overlay", "topology": "localnet", "mtu": 9000},
            "",
            0,
        ),  # the fabric's, not the overlay's
        ({"type": "ovn-k8s-cni-overlay", "topology": "layer2", "mtu": 1500}, "UserDefinedNetwork", 0),  # said of that
        ({"type": "macvlan", "topology": "layer2", "mtu": 1500}, "", 0),
    ],
)
def test_a_network_on_the_overlay_that_is_defined_by_itself(
    snapshot: Reading, conf: dict[str, object], owner: str, said: int
) -> None:
    findings = read(snapshot(operator(mtu=1400), config(1400), attached(conf, owner))).findings
    place = "NetworkAttachmentDefinition ns/blue, spec.config, mtu"
    assert [(one.code, one.place) for one in findings] == [("MTU119", place)] * said


def node_config(mtu: object, group: str = "compute") -> str:
    text = f"apiVersion: v1\nkind: NodeConfig\nnetworkConfig:\n  mtu: {mtu}  # of ours\n  networkPluginName: x\n"
    metadata = {"name": f"node-config-{group}", "namespace": "openshift-node"}
    return yaml.safe_dump(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"node-config.yaml": text}}
    )


SDN_3 = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: sdn, namespace: openshift-sdn}
spec: {template: {spec: {containers: [{name: sdn, image: "openshift/origin-node:v3.11"}]}}}
"""


@pytest.mark.parametrize(
    ("mtu", "nic", "findings"),
    [(1450, 1500, []), (1450, 1400, [("MTU119", "error")]), (1350, 1400, []), (8951, 9001, [])],
)
def test_openshift_3(snapshot: Reading, mtu: int, nic: int, findings: list[tuple[str, str]]) -> None:
    files = snapshot(SDN_3, node_config(mtu))
    state = registry.recognise(files)
    assert (state.name, state.variant, state.pod_mtu) == ("openshift", "OpenShift 3, SDN", mtu)
    assert judged(files, nic) == findings


def test_openshift_3_has_edits(snapshot: Reading) -> None:
    files = snapshot(SDN_3, node_config(1450), node_config(1400, "infra"))
    state = read(files)
    (finding,) = state.findings
    assert (finding.code, finding.severity) == ("MTU119", "error")
    assert finding.place.startswith("ConfigMap openshift-node/node-config-infra")
    assert "packets of 1401-1450 bytes" in finding.message
    *steps, restart = openshift.steps(state, 1350)
    assert isinstance(restart, Rollout)
    assert str(restart.ref) == "DaemonSet openshift-sdn/sdn"
    edits = [one for one in steps if isinstance(one, EditValue)]
    was = [str(edit.before) for edit in edits]
    assert [edit.after for edit in edits] == [was[0].replace("1450", "1350"), was[1].replace("1400", "1350")]
    assert openshift.steps(read(snapshot(SDN_3, node_config(1350))), 1350) == ()


def test_openshift_3_that_was_not_read(snapshot: Reading) -> None:
    state = read(snapshot(SDN_3))
    assert [one.code for one in state.findings] == ["MTU117"]
    with pytest.raises(UsageError, match="was read: allow `get`"):
        openshift.steps(state, 1400)

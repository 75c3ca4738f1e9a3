"""Antrea: what each version takes off the NIC against what its headers cost, and the key that all of them have."""

from collections.abc import Callable

import msgspec
import pytest
import yaml
from tests.support.findings import judged

from kubemtu.cni import antrea
from kubemtu.core.change.plan import EditValue, Live, Rollout
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.errors import Malformed, UsageError
from kubemtu.core.net import Link, NodeObservation, PodPort
from kubemtu.core.rules import report
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide

Reading = Callable[..., Snapshot]
Observing = Callable[..., NodeObservation]
CONFLIST = '{"name": "antrea", "plugins": [{"type": "antrea"%s}, {"type": "portmap"}]}'


def config(conf: str, name: str = "antrea-config", conflist: str = "", labels: str = "antrea") -> str:
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kube-system", "labels": {"app": labels}},
        "data": {"antrea-agent.conf": conf, "antrea-cni.conflist": CONFLIST % conflist},
    }
    return yaml.safe_dump(body)


def agent(version: str = "v2.4.0", config_map: str = "antrea-config", **annotations: str) -> str:
    body = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "antrea-agent", "namespace": "kube-system", "annotations": annotations},
        "spec": {
            "template": {
                "spec": {
                    "containers": [{"name": "antrea-agent", "image": f"antrea/antrea-agent-ubuntu:{version}"}],
                    "volumes": [{"name": "antrea-config", "configMap": {"name": config_map}}],
                }
            }
        },
    }
    return yaml.safe_dump(body)


def machine(*addresses: str, name: str = "n1", cidr: str = "10.10.0.0/24") -> str:
    listed = [{"type": "InternalIP", "address": address} for address in addresses]
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"podCIDRs": [cidr]}}
    return yaml.safe_dump({**node, "status": {"addresses": listed}})


def read(snapshot: Snapshot) -> CniState:
    state = antrea.read(snapshot)
    assert state is not None
    return state


def codes(state: CniState) -> list[tuple[str, str]]:
    return [(finding.code, finding.severity) for finding in state.findings]


GRE, IPSEC, WIREGUARD = (
    "tunnelType: gre",
    "tunnelType: gre\nenableIPSecTunnel: true",
    "trafficEncryptionMode: wireguard",
)
NEW_IPSEC = "tunnelType: gre\ntrafficEncryptionMode: ipsec"
# Version, configuration, families: what antrea-agent takes off a NIC of 1500 (pkg/agent/config/node_config.go,
# pkg/agent/agent.go and cmd/antrea-agent/options.go of that tag), and the largest packet that fits a NIC of 1500:
# 1450 for Geneve and VXLAN (20+8+8+14), 1430 over IPv6, 1458 for GRE with a key (20+8+14), 1440 and 1420 for WireGuard,
# 1428 for GRE in ESP (RFC 4303: 8+8+16 and 2, then 20+4+14).
DERIVED: list[tuple[str, str, tuple[str, ...], int, int]] = [
    ("v2.4.0", "", ("192.0.2.1",), 1450, 1450),
    ("latest", "", ("192.0.2.1",), 1450, 1450),
    ("v2.4.0", "", ("192.0.2.1", "2001:db8::1"), 1430, 1430),
    ("v2.4.0", "tunnelType: vxlan", ("2001:db8::1",), 1430, 1430),
    ("v2.4.0", "trafficEncapMode: NOENCAP", ("192.0.2.1",), 1500, 1500),
    ("v2.4.0", "trafficEncapMode: hybrid", ("192.0.2.1",), 1450, 1450),
    ("v2.4.0", GRE, ("192.0.2.1",), 1458, 1458),
    ("v1.14.0", GRE, ("192.0.2.1",), 1462, 1458),  # antrea-io/antrea#5880: 38 where a key makes it 42
    ("v1.14.2", GRE, ("192.0.2.1",), 1458, 1458),
    ("v1.13.3", GRE, ("192.0.2.1",), 1462, 1458),
    ("v1.13.4", GRE, ("192.0.2.1",), 1458, 1458),
    ("v1.12.3", GRE, ("192.0.2.1",), 1462, 1458),
    ("v2.4.0", WIREGUARD, ("192.0.2.1",), 1440, 1440),
    ("v2.4.0", WIREGUARD, ("192.0.2.1", "2001:db8::1"), 1420, 1420),
    ("v1.15.0", WIREGUARD, ("192.0.2.1",), 1440, 1440),
    ("v1.13.3", WIREGUARD, ("192.0.2.1",), 1450, 1420),  # #5880: takes off the tunnel's, antrea-wg0 has 80 less
    ("v1.3.0", WIREGUARD, ("192.0.2.1",), 1450, 1420),
    ("v2.4.0", NEW_IPSEC, ("192.0.2.1",), 1420, 1428),
    ("v1.12.0", NEW_IPSEC, ("192.0.2.1",), 1424, 1428),
    ("v1.2.0", IPSEC, ("192.0.2.1",), 1424, 1428),
    ("v0.13.0", IPSEC, ("192.0.2.1",), 1424, 1428),
    ("v0.9.0", "", ("192.0.2.1",), 1450, 1450),
]


@pytest.mark.parametrize(("version", "conf", "addresses", "gives", "carries"), DERIVED)
def test_each_version_takes_off_its_own_number(
    snapshot: Reading, version: str, conf: str, addresses: tuple[str, ...], gives: int, carries: int
) -> None:
    files = snapshot(config(conf), agent(version), machine(*addresses))
    state = read(files)
    assert (state.pod_mtu, state.subtracts) == (None, 1500 - gives)
    assert min([one.inner(1500) for one in state.encapsulation], default=1500) == carries
    assert judged(files, 1500) == ([("MTU119", "error")] if gives > carries else [])
    assert codes(state) == []


# cmd/antrea-agent/options.go of v0.1.0, v0.4.0 and v0.8.0: the NIC was not looked at.
@pytest.mark.parametrize(
    ("version", "conf", "gives", "nic", "findings"),
    [
        ("v0.1.0", "", 1450, 1500, []),
        ("v0.1.0", "", 1450, 1450, [("MTU119", "error")]),
        ("v0.4.0", "trafficEncapMode: noEncap", 1500, 1500, []),
        ("v0.4.0", "trafficEncapMode: noEncap", 1500, 1460, [("MTU119", "error")]),
        ("v0.8.0", GRE, 1462, 1500, [("MTU119", "error")]),
        ("v0.8.0", IPSEC, 1424, 1500, []),
        ("v0.4.0", IPSEC, 1462, 1500, [("MTU119", "error")]),
        ("v0.8.0", "tunnelType: stt", 1500, 1500, [("MTU119", "error")]),
        ("v0.8.0", "", 1450, 9001, [("MTU119", "warning")]),
    ],
)
def test_before_v0_9_the_number_was_a_constant(
    snapshot: Reading, version: str, conf: str, gives: int, nic: int, findings: list[tuple[str, str]]
) -> None:
    files = snapshot(config(conf), agent(version), machine("192.0.2.1"))
    state = read(files)
    assert (state.pod_mtu, state.subtracts) == (gives, None)
    assert judged(files, nic) == findings


@pytest.mark.parametrize(
    ("conf", "nic", "findings"),
    [
        ("defaultMTU: 1450", 1500, []),
        ("defaultMTU: 1500", 1500, [("MTU119", "error")]),
        ("defaultMTU: 1400", 1500, [("MTU119", "note")]),
        ("defaultMTU: 1450", 1460, [("MTU119", "error")]),
        ("defaultMTU: 8951", 9001, []),
        ("defaultMTU: 1450\n" + WIREGUARD, 1500, [("MTU119", "error")]),
        ("defaultMTU: 0", 1500, []),
        ("defaultMTU:", 1500, []),
    ],
)
def test_default_mtu_is_the_pods_own(snapshot: Reading, conf: str, nic: int, findings: list[tuple[str, str]]) -> None:
    assert judged(snapshot(config(conf), agent(), machine("192.0.2.1")), nic) == findings


@pytest.mark.parametrize(
    ("conf", "code", "place", "words"),
    [
        ('defaultMTU: "1450"', "MTU112", "defaultMTU", "only an integer"),
        ("defaultMTU: 1450.0", "MTU112", "defaultMTU", "only an integer"),
        ("defaultMTU: 70000", "MTU112", "defaultMTU", "must be between 68 and 65535"),
        ("defaultMtu: 1400", "MTU111", "defaultMtu", "the key is defaultMTU"),
        ("mtu: 1400", "MTU111", "mtu", "the key is defaultMTU"),
        ("wireGuard:\n  mtu: 1400", "MTU111", "wireGuard.mtu", "the key is defaultMTU"),
        ("tunnelType: ipip", "MTU117", "tunnelType", "'ipip' is none that antrea-agent knows"),
        ("trafficEncapMode: tunnel", "MTU117", "trafficEncapMode", "'tunnel' is none"),
        ("trafficEncryptionMode: tls", "MTU117", "trafficEncryptionMode", "'tls' is none"),
        ("a: [", "MTU117", "", "is no YAML"),
        ("- a", "MTU117", "", "is a list where a mapping"),
    ],
)
def test_what_is_broken(snapshot: Reading, conf: str, code: str, place: str, words: str) -> None:
    (finding,) = read(snapshot(config(conf), agent())).findings
    where = 'ConfigMap kube-system/antrea-config, data["antrea-agent.conf"]'
    assert (finding.code, finding.place) == (code, f"{where}, {place}" if place else where)
    assert words in finding.message


def test_an_unknown_tunnel_is_not_taken_for_none(snapshot: Reading) -> None:
    state = read(snapshot(config("tunnelType: ipip"), agent()))
    assert (state.encapsulation_known, state.encapsulation_name) == (False, "unknown")


def test_multicluster_needs_the_tunnel_in_every_mode(snapshot: Reading) -> None:
    gateway = "featureGates: {Multicluster: true}\nmulticluster: {enableGateway: true, trafficEncryptionMode: %s}\n"
    plain = read(snapshot(config(gateway % "none" + "trafficEncapMode: noEncap"), agent()))
    assert (plain.encapsulation_name, plain.subtracts) == ("geneve between clusters", 50)
    encrypted = read(snapshot(config(gateway % "wireGuard"), agent()))
    assert encrypted.subtracts == 110
    assert min(one.inner(1500) for one in encrypted.encapsulation) == 1390
    off = read(snapshot(config("multicluster: {enableGateway: true}\ntrafficEncapMode: noEncap"), agent()))
    assert off.subtracts == 0


def test_policies_only_are_another_networks(snapshot: Reading) -> None:
    assert antrea.read(snapshot(config("trafficEncapMode: networkPolicyOnly"), agent())) is None
    assert antrea.read(snapshot("")) is None


def test_the_config_map_that_is_mounted_counts(snapshot: Reading) -> None:
    """Kustomize makes a new one for each change, and the old ones stay."""
    old = config("defaultMTU: 1300", "antrea-config-0000000000")
    new = config("defaultMTU: 1400", "antrea-config-1111111111")
    state = read(snapshot(old, new, agent("v1.5.0", "antrea-config-1111111111")))
    assert state.pod_mtu == 1400
    assert state.mtu_keys[0].ref.name == "antrea-config-1111111111"


def test_a_config_map_that_was_not_read(snapshot: Reading) -> None:
    state = read(snapshot(agent()))
    assert codes(state) == [("MTU117", "warning")]
    assert not state.encapsulation_known
    with pytest.raises(UsageError, match="allow `get` on it"):
        antrea.steps(state, 1400)


def test_a_number_in_the_cni_configuration_counts_for_pods_alone(snapshot: Reading) -> None:
    files = snapshot(config("defaultMTU: 1450", conflist=', "mtu": 1500'), agent())
    state = read(files)
    assert (state.pod_mtu, state.conflist_mtu) == (1500, 1500)
    (finding,) = state.findings
    assert (finding.code, finding.place) == (
        "MTU119",
        "ConfigMap kube-system/antrea-config, data.antrea-cni.conflist",
    )
    assert "gives antrea-gw0 1450" in finding.message
    assert "1451-1500 bytes" in finding.message
    *edits, restart = antrea.steps(state, 1440)
    assert [edit.path[-1] for edit in edits if isinstance(edit, EditValue)] == [
        "antrea-agent.conf",
        "antrea-cni.conflist",
    ]
    assert isinstance(restart, Rollout)
    assert (restart.conflist, restart.mtu) == ("/etc/cni/net.d/10-antrea.conflist", 1440)


def test_an_edit_keeps_every_other_byte(snapshot: Reading) -> None:
    conf = '# ours\nfeatureGates:\r\n#  A: true\ntunnelType: "geneve"   # why not\ndefaultMTU: 0 # auto\n'
    edit, restart = antrea.steps(read(snapshot(config(conf), agent())), 1400)
    assert isinstance(edit, EditValue)
    assert isinstance(restart, Rollout)
    assert (edit.before, edit.after) == (conf, conf.replace("defaultMTU: 0 #", "defaultMTU: 1400 #"))
    assert (restart.ref.name, restart.conflist) == ("antrea-agent", None)


def test_a_key_that_is_shown_in_a_comment_goes_below_it(snapshot: Reading) -> None:
    conf = "featureGates:\n#  Traceflow: true\n\n#defaultMTU: 1450\n\n#tunnelType: geneve\n"
    edit, _ = antrea.steps(read(snapshot(config(conf), agent())), 1400)
    assert isinstance(edit, EditValue)
    assert (
        edit.after
        == "featureGates:\n#  Traceflow: true\n\n#defaultMTU: 1450\ndefaultMTU: 1400\n\n#tunnelType: geneve\n"
    )


def test_what_is_so_already_has_no_step(snapshot: Reading) -> None:
    assert antrea.steps(read(snapshot(config("defaultMTU: 1400"), agent())), 1400) == ()


def test_text_that_cannot_be_edited_is_left(snapshot: Reading) -> None:
    with pytest.raises(Malformed, match="no YAML"):
        antrea.steps(read(snapshot(config("a: ["), agent())), 1400)


def told(name: str, pod_mtu: object) -> str:
    body = {"apiVersion": "crd.antrea.io/v1beta1", "kind": "AntreaAgentInfo", "metadata": {"name": name}}
    return yaml.safe_dump({**body, "networkInfo": {"podMTU": pod_mtu, "transportInterfaceMTU": 1500}})


def test_an_agent_that_was_not_restarted_says_so_itself(snapshot: Reading) -> None:
    """AntreaAgentInfo has podMTU from v2.6.0 on (pkg/apis/crd/v1beta1/types.go)."""
    texts = (config("defaultMTU: 1400"), agent("v2.6.0"), told("n1", 1450), told("n2", 1400), told("n3", None))
    state = read(snapshot(*texts))
    (finding,) = state.findings
    assert (finding.code, finding.place) == ("MTU103", "node n1, AntreaAgentInfo")
    assert "gives pods 1450 here, and the configuration says 1400" in finding.message
    assert finding.remedy == "kubectl -n kube-system rollout restart daemonset/antrea-agent"
    (restart,) = antrea.steps(state, 1400)
    assert isinstance(restart, Rollout)


def seen(node: NodeObservation, *sizes: int) -> NodeObservation:
    links = (*node.links, Link(index=9, name="ovs-system", mtu=1500), Link(index=10, name="genev_sys_6081", mtu=65000))
    ports = tuple(
        PodPort(
            netns=f"cni-{number}",
            inode=number,
            host_link=f"web-{number}-3fa9c1",
            host_index=20 + number,
            host_mtu=size,
            pod_link="eth0",
            pod_index=2,
            pod_mtu=size,
            bridge="ovs-system",
            addresses=(f"10.10.0.{number}",),
        )
        for number, size in enumerate(sizes, 1)
    )
    return NodeObservation(node=node.node, links=links, uplinks=node.uplinks, ports=ports)


@pytest.mark.parametrize(
    ("conf", "sizes", "nic", "found"),
    [
        ("", (1450, 1450), 1500, []),
        ("", (1450, 1500), 1500, ["MTU104", "MTU101"]),
        ("defaultMTU: 1450", (1450,), 1450, ["MTU119", "MTU101"]),
        ("", (8951,), 9001, []),
        ("", (1450,), 9001, ["MTU104", "MTU102"]),
    ],
)
def test_nodes_are_judged_by_what_the_agent_takes_off_their_nics(
    snapshot: Reading, node: Observing, conf: str, sizes: tuple[int, ...], nic: int, found: list[str]
) -> None:
    nodes = tuple(seen(node(name, mtu=nic), *sizes) for name in ("n1", "n2"))
    texts = (config(conf), agent(), machine("192.0.2.1", name="n1"), machine("192.0.2.2", name="n2"))
    checked: report.Report = decide.check(snapshot(*texts, nodes=nodes))
    assert list(dict.fromkeys(one.code for one in checked.findings)) == found
    assert [layer.size for layer in checked.layers][-1] == nic - 50


def test_a_healthy_cluster_has_an_empty_plan(snapshot: Reading, node: Observing) -> None:
    nodes = tuple(seen(node(name), 1450) for name in ("n1", "n2"))
    texts = (config(""), agent(), machine("192.0.2.1", name="n1"), machine("192.0.2.2", name="n2"))
    made, _ = decide.plan(snapshot(*texts, nodes=nodes))
    assert made.steps == ()


def test_who_will_put_the_old_value_back(snapshot: Reading) -> None:
    owned = config("").replace("labels:\n", "labels:\n    app.kubernetes.io/managed-by: Helm\n")
    assert read(snapshot(owned, agent())).owner == "Helm (release unknown)"


def test_the_port_of_the_node_goes_along(snapshot: Reading, node: Observing) -> None:
    gateway = Link(index=11, name="antrea-gw0", mtu=1500, kind="openvswitch")
    nodes = tuple(seen(node(name), 1500) for name in ("n1", "n2"))
    nodes = tuple(msgspec.structs.replace(one, links=(*one.links, gateway)) for one in nodes)
    texts = (config("defaultMTU: 1500"), agent(), machine("192.0.2.1", name="n1"), machine("192.0.2.2", name="n2"))
    made, _ = decide.plan(snapshot(*texts, nodes=nodes))
    assert [step.__class__.__name__ for step in made.steps] == ["Live", "EditValue", "Rollout", "Live"]
    live = made.steps[-1]
    assert isinstance(live, Live)
    assert [(to.bridge, to.pod_mtu, to.tunnel) for to in live.nodes] == [("antrea-gw0", 1450, None)] * 2

"""Cilium, version by version: the base MTU, what is taken off it, what goes around a packet, and every way to be wrong.

Numbers are those of cilium/cilium: pkg/mtu/mtu.go at the versions that the rows name (TunnelOverhead 50, over IPv6 70,
EncryptionIPsecOverhead 77, WireguardOverhead 80, and 95 from v1.19.5 on).
"""

import types
from collections.abc import Callable, Mapping

import msgspec
import pytest
import yaml
from tests.support.driver import run_cni

from kubemtu.cni import cilium, registry
from kubemtu.core.change.plan import EditValue, Live, Rollout
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.errors import NotRecognised, UsageError
from kubemtu.core.net import Link, NodeFile, NodeObservation, PodPort, Route, Uplink
from kubemtu.core.objects import Object
from kubemtu.core.planning import apart
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide

Reading = Callable[..., Snapshot]
CONFIG = "ConfigMap kube-system/cilium-config"
VXLAN = {"routing-mode": "tunnel", "tunnel-protocol": "vxlan"}
NATIVE = {"routing-mode": "native"}
WIREGUARD = {"enable-wireguard": "true"}
IPSEC = {"enable-ipsec": "true"}


def config(namespace: str = "kube-system", **data: str) -> str:
    whole = {"enable-ipv4": "true", "identity-allocation-mode": "crd", **data}
    metadata = {"name": "cilium-config", "namespace": namespace}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": whole})


def agent(
    version: str = "v1.18.12", more: Mapping[str, object] = types.MappingProxyType({}), namespace: str = "kube-system"
) -> str:
    container = {"name": "cilium-agent", "image": f"quay.io/cilium/cilium:{version}", **more}
    body = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "cilium", "namespace": namespace},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    return yaml.safe_dump(body)


def chart(values: str) -> str:
    metadata = {"name": "rke2-cilium", "namespace": "kube-system"}
    body = {"apiVersion": "helm.cattle.io/v1", "kind": "HelmChartConfig", "metadata": metadata}
    return yaml.safe_dump({**body, "spec": {"valuesContent": values}})


def pod(name: str, device: int, route: int) -> PodPort:
    return PodPort(
        netns=name,
        inode=1,
        host_link=f"lxc{name}",
        host_index=9,
        host_mtu=device,
        pod_link="eth0",
        pod_index=2,
        pod_mtu=device,
        addresses=(f"10.0.1.{name}",),
        routes=(
            Route(family=4, destination="10.0.1.1", device="eth0"),
            Route(family=4, destination="default", device="eth0", gateway="10.0.1.1", mtu=route),
        ),
    )


def node(
    name: str = "n1",
    nic: int = 1500,
    host: int | None = 1500,
    wireguard: int | None = None,
    pods: tuple[PodPort, ...] = (),
    others: Mapping[str, int] = types.MappingProxyType({}),
) -> NodeObservation:
    devices = {"eth0": nic, "cilium_host": host, "cilium_vxlan": host, "cilium_wg0": wireguard, **others}
    links = [
        Link(index=index, name=name, mtu=mtu, up=True) for index, (name, mtu) in enumerate(devices.items(), 2) if mtu
    ]
    uplink = Uplink(peer="192.0.2.2", device="eth0", mtu=nic)
    return NodeObservation(node=name, links=tuple(links), uplinks=(uplink,), ports=pods)


def read(snapshot: Snapshot) -> CniState:
    state = registry.recognise(snapshot)
    assert state.name == "cilium"
    return state


# what: keys, version; the encapsulation by name, its headers in bytes, and what Cilium takes off
MODES: list[tuple[str, dict[str, str], str, str, int, int]] = [
    ("1.6, nothing said", {}, "v1.6.12", "vxlan", 50, 50),
    ("1.6, vxlan", {"tunnel": "vxlan"}, "v1.6.12", "vxlan", 50, 50),
    ("1.7, geneve", {"tunnel": "geneve"}, "v1.7.16", "geneve", 50, 50),
    ("1.8, direct routing", {"tunnel": "disabled"}, "v1.8.13", "none", 0, 0),
    ("1.9, geneve and IPsec", {"tunnel": "geneve", **IPSEC}, "v1.9.18", "geneve + ipsec", 104, 127),
    ("1.9, IPsec without a tunnel", {"tunnel": "disabled", **IPSEC}, "v1.9.18", "ipsec", 54, 77),
    ("1.10, WireGuard (#16020)", {"tunnel": "disabled", **WIREGUARD}, "v1.10.20", "wireguard", 75, 80),
    ("1.11, WireGuard passes the tunnel by", {"tunnel": "vxlan", **WIREGUARD}, "v1.11.20", "vxlan + wireguard", 75, 80),
    ("1.12", {"tunnel": "vxlan"}, "v1.12.19", "vxlan", 50, 50),
    ("1.13, egress gateway", {"tunnel": "disabled", "enable-ipv4-egress-gateway": "true"}, "v1.13.18",
     "vxlan (egress gateway)", 50, 50),
    ("1.14, the new keys", VXLAN, "v1.14.19", "vxlan", 50, 50),
    ("1.14, the old key is still read", {"tunnel": "disabled"}, "v1.14.19", "none", 0, 0),
    ("1.14, WireGuard", {**VXLAN, **WIREGUARD}, "v1.14.19", "vxlan + wireguard", 75, 80),
    ("1.14.7, wireguard-encapsulate (#30329)", {**VXLAN, **WIREGUARD, "wireguard-encapsulate": "true"}, "v1.14.7",
     "vxlan + wireguard", 125, 130),
    ("1.15.0, WireGuard around the tunnel (#29000)", {**VXLAN, **WIREGUARD}, "v1.15.0", "vxlan + wireguard", 125, 130),
    ("1.16", NATIVE, "v1.16.19", "none", 0, 0),
    ("1.17, geneve and WireGuard", {"routing-mode": "tunnel", "tunnel-protocol": "geneve", **WIREGUARD}, "v1.17.18",
     "geneve + wireguard", 125, 130),
    ("1.18, an underlay of IPv6", {**VXLAN, "underlay-protocol": "ipv6"}, "v1.18.12", "vxlan", 70, 70),
    ("1.19.4", {**VXLAN, **WIREGUARD}, "v1.19.4", "vxlan + wireguard", 125, 130),
    ("1.19.5, WireGuard's padding (#45940)", {**VXLAN, **WIREGUARD}, "v1.19.5", "vxlan + wireguard", 125, 145),
    ("1.20, native, nodes of IPv6", {**NATIVE, **WIREGUARD, "enable-ipv4": "false"}, "v1.20.1", "wireguard", 95, 95),
    ("ENI", {**NATIVE, "ipam": "eni"}, "v1.18.12", "none", 0, 0),
    ("Azure IPAM", {**NATIVE, "ipam": "azure"}, "v1.15.6", "none", 0, 0),
    ("portmap is its own plugin", {**VXLAN, "cni-chaining-mode": "portmap"}, "v1.16.1", "vxlan", 50, 50),
    ("chained, and limits the routes", {**NATIVE, **WIREGUARD, "cni-chaining-mode": "aws-cni",
     "enable-route-mtu-for-cni-chaining": "true"}, "v1.16.1", "wireguard", 75, 80),
    ("a digest behind the tag", VXLAN, "v1.17.3@sha256:1782", "vxlan", 50, 50),
]  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "version", "name", "cost", "off"), [row[1:] for row in MODES], ids=[r[0] for r in MODES]
)
def test_what_each_version_takes_off(
    snapshot: Reading, keys: dict[str, str], version: str, name: str, cost: int, off: int
) -> None:
    state = read(snapshot(config(**keys), agent(version)))
    assert state.findings == ()
    assert (state.encapsulation_name, state.by_route, state.pod_mtu) == (name, True, None)
    assert sum(one.cost for one in state.encapsulation) == cost
    assert (state.subtracts, state.mtu_keys[0].subtracts) == (off, off)
    assert decide.check(snapshot(config(**keys), agent(version)), 1500).findings == ()


@pytest.mark.parametrize(
    ("keys", "version", "name", "cost", "off"), [row[1:] for row in MODES], ids=[r[0] for r in MODES]
)
def test_pods_get_the_base_less_that(
    snapshot: Reading, keys: dict[str, str], version: str, name: str, cost: int, off: int
) -> None:
    whole = snapshot(config(**keys, mtu="9000"), agent(version))
    state = read(whole)
    assert (state.pod_mtu, state.subtracts) == (9000 - off, None)
    (key,) = state.mtu_keys
    assert (str(key.ref), key.path, key.means, key.value, key.effective) == (
        CONFIG,
        ("data", "mtu"),
        "base",
        9000,
        True,
    )
    assert decide.check(whole, 9000).findings == ()
    edit, restart = run_cni(whole, 1300, 1500).plan.steps
    assert isinstance(edit, EditValue)
    assert (str(edit.ref), edit.path, edit.before, edit.after) == (CONFIG, ("data", "mtu"), "9000", str(1300 + off))
    assert isinstance(restart, Rollout)


# what: keys, version, more of the agent's container; code, severity, place and words of the one finding
WRONG: list[tuple[str, dict[str, str], str, dict[str, object], str, str, str, str]] = [
    ("no number", {**VXLAN, "mtu": "auto"}, "v1.18.1", {}, "MTU112", "error", "data.mtu", "'auto' is not a number"),
    ("out of range", {**VXLAN, "mtu": "99999"}, "v1.18.1", {}, "MTU112", "error", "data.mtu", "An MTU of 99999"),
    ("helm's spelling", {**VXLAN, "MTU": "1400"}, "v1.18.1", {}, "MTU111", "warning", "data.MTU", "the key is mtu"),
    ("another key", {**VXLAN, "device-mtu": "1400"}, "v1.18.1", {}, "MTU111", "warning", "data.device-mtu", "nothing"),
    ("tunnel since 1.15", {"tunnel": "disabled"}, "v1.15.0", {}, "MTU111", "warning", "data.tunnel", "uses vxlan"),
    ("routing-mode in 1.13", NATIVE, "v1.13.18", {}, "MTU111", "warning", "data.routing-mode", "tunnel it uses vxlan"),
    ("tunnel-protocol in 1.12", {"tunnel-protocol": "geneve"}, "v1.12.1", {}, "MTU111", "warning",
     "data.tunnel-protocol", "does not read tunnel-protocol yet"),
    ("a protocol that is none", {**VXLAN, "tunnel-protocol": "gre"}, "v1.18.1", {}, "MTU117", "warning", "data",
     "The tunnel protocol 'gre' is none"),
    ("a flag comes first", {**VXLAN, "mtu": "1500"}, "v1.18.1", {"args": ["--mtu=1400"]}, "MTU111", "warning",
     "data.mtu", "--mtu of DaemonSet kube-system/cilium sets it to 1400"),
    ("a variable comes first", {**VXLAN, "mtu": "1500"}, "v1.18.1", {"env": [{"name": "CILIUM_MTU", "value": "1400"}]},
     "MTU111", "warning", "data.mtu", "the variable CILIUM_MTU of DaemonSet kube-system/cilium sets it to 1400"),
    ("a flag that is no number", VXLAN, "v1.18.1", {"args": ["--mtu", "big"]}, "MTU112", "error", "--mtu", "'big'"),
]  # fmt: skip


@pytest.mark.parametrize("row", WRONG, ids=[row[0] for row in WRONG])
def test_what_is_wrong_in_the_configuration(
    snapshot: Reading, row: tuple[str, dict[str, str], str, dict[str, object], str, str, str, str]
) -> None:
    _, keys, version, more, code, severity, place, words = row
    (finding,) = read(snapshot(config(**keys), agent(version, more))).findings
    assert (finding.code, finding.severity) == (code, severity)
    assert finding.place.endswith(f"cilium, {place}" if place.startswith("--") else f"{CONFIG}, {place}")
    assert words in finding.message


def test_wireguard_over_ipv6_before_the_padding_was_counted(snapshot: Reading) -> None:
    """cilium/cilium#23917: 1420 and 4 bytes of padding make 1504 on a NIC of 1500."""
    keys = {**NATIVE, **WIREGUARD, "enable-ipv4": "false", "enable-ipv6": "true"}
    (finding,) = decide.check(snapshot(config(**keys), agent("v1.19.3")), 1500).findings
    assert (finding.code, finding.severity, finding.place) == ("MTU119", "error", f"{CONFIG}, data.mtu")
    assert "new pods get 1420, but the path between nodes carries 1405" in finding.message
    plan, _ = decide.plan(snapshot(config(**keys), agent("v1.19.3")), None, 1500)
    (edit, restart) = plan.steps
    assert isinstance(edit, EditValue)
    assert (edit.before, edit.after, plan.target) == (None, "1485", 1405)
    assert isinstance(restart, Rollout)


def test_wireguard_around_the_tunnel_before_both_were_counted(snapshot: Reading) -> None:
    """cilium/cilium#30329: v1.14.6 takes 80 off where 125 go around a packet."""
    keys = {**VXLAN, **WIREGUARD, "wireguard-encapsulate": "true"}
    (finding,) = decide.check(snapshot(config(**keys), agent("v1.14.6")), 1500).findings
    assert (finding.code, finding.severity) == ("MTU119", "error")
    assert "new pods get 1420, but the path between nodes carries 1375" in finding.message


@pytest.mark.parametrize(("host", "device", "pods"), [(1500, 1405, 1355), (1500, 1420, 1370), (9001, 8906, 8856)])
def test_a_node_shows_what_an_unknown_version_takes_off(snapshot: Reading, host: int, device: int, pods: int) -> None:
    seen = node(nic=host, host=host, wireguard=device)
    state = read(snapshot(config(**VXLAN, **WIREGUARD), agent("latest"), nodes=(seen,)))
    assert (state.pod_mtu, state.findings) == (pods, ())


def test_wireguard_of_an_unknown_version(snapshot: Reading) -> None:
    state = read(snapshot(config(**VXLAN, **WIREGUARD, mtu="1500")))
    (finding,) = state.findings
    assert (finding.code, state.pod_mtu, state.variant) == ("MTU117", None, "version not known")
    assert "it takes 145 bytes off from v1.19.5 on, and 130 or less before" in finding.message


def test_the_old_key_alone_tells_an_unknown_version(snapshot: Reading) -> None:
    state = read(snapshot(config(tunnel="disabled", **WIREGUARD, mtu="1500")))
    assert (state.pod_mtu, state.findings) == (1420, ())


def test_the_headers_were_taken_off_by_hand_already(snapshot: Reading) -> None:
    (finding,) = decide.check(snapshot(config(**VXLAN, mtu="1450"), agent()), 1500).findings
    assert (finding.code, finding.place) == ("MTU119", f"{CONFIG}, data.mtu")
    assert "New pods get 1400, but the path between nodes carries 1450" in finding.message
    assert "The number there is the underlay's, and cilium takes 50 off it: it was taken off twice." in finding.message
    assert "Set it to 1500" in finding.remedy


def test_a_base_above_the_nic(snapshot: Reading) -> None:
    (finding,) = decide.check(snapshot(config(**VXLAN, mtu="9000"), agent()), 1500).findings
    assert (finding.code, finding.severity) == ("MTU119", "error")
    assert "New pods get 8950, but the path between nodes carries 1450" in finding.message


def test_devices_of_1500_are_no_fault(snapshot: Reading) -> None:
    seen = node(pods=(pod("1", 1500, 1450), pod("2", 1500, 1450)))
    whole = snapshot(config(**VXLAN), agent("v1.16.1"), nodes=(seen,))
    assert decide.check(whole).findings == ()
    assert decide.plan(whole)[0].steps == ()


def test_a_tunnel_device_of_1500_is_no_fault(snapshot: Reading) -> None:
    assert decide.check(snapshot(config(**VXLAN, mtu="1500"), agent(), nodes=(node(),))).findings == ()


def test_an_agent_that_was_not_restarted(snapshot: Reading) -> None:
    nodes = (node("n1", host=1400, nic=1400), node("n2", nic=1400, host=1500), node("n3", nic=1400, host=1300))
    found = read(snapshot(config(**VXLAN, mtu="1400"), agent(), nodes=nodes)).findings
    assert [(one.code, one.severity, one.place) for one in found] == [
        ("MTU103", "error", "node n2, cilium_host"),
        ("MTU103", "warning", "node n3, cilium_host"),
    ]
    assert "works with a base MTU of 1500, and 1400 is configured" in found[0].message
    assert "kubectl -n kube-system rollout restart daemonset/cilium" in found[0].remedy


@pytest.mark.parametrize(
    ("nic", "host", "other", "severity", "words"),
    [
        (1450, 1500, {"eth1": 1500}, "error", "the agent has found 1500 (as eth1 has)"),  # cilium/cilium#14339
        (9000, 1280, {"tailscale0": 1280}, "warning", "the agent has found 1280 (as tailscale0 has)"),
    ],
)
def test_an_agent_that_has_found_another_nic(
    snapshot: Reading, nic: int, host: int, other: dict[str, int], severity: str, words: str
) -> None:
    (finding,) = read(snapshot(config(**VXLAN), agent(), nodes=(node(nic=nic, host=host, others=other),))).findings
    assert (finding.code, finding.severity, finding.place) == ("MTU120", severity, "node n1, eth0")
    assert words in finding.message
    assert f"Set mtu to {nic} in {CONFIG}" in finding.remedy


def test_agents_that_have_found_different_nics(snapshot: Reading) -> None:
    nodes = (node("n1", 1500, 1500), node("n2", 9000, 9000))
    state = read(snapshot(config(**VXLAN), agent(), nodes=nodes))
    assert (state.pod_mtu, state.subtracts, state.findings) == (None, 50, ())
    (edit, restart) = cilium.steps(state, 1450)
    assert isinstance(edit, EditValue)
    assert (edit.before, edit.after) == (None, "1500")
    assert isinstance(restart, Rollout)


def test_some_nodes_are_given_another_base(snapshot: Reading) -> None:
    override = {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNodeConfig",
        "metadata": {"name": "jumbo", "namespace": "kube-system"},
        "spec": {"nodeSelector": {}, "defaults": {"mtu": "9000"}},
    }
    nodes = (node("n1", 9000, 1500), node("n2", 9000, 9000))  # each as it is told
    (finding,) = read(snapshot(config(**VXLAN, mtu="1500"), agent(), yaml.safe_dump(override), nodes=nodes)).findings
    assert (finding.code, finding.severity) == ("MTU111", "warning")
    assert finding.place == "CiliumNodeConfig kube-system/jumbo, spec.defaults.mtu"
    assert "Some nodes take 9000 as base MTU, so pods there send 8950, and all others 1500" in finding.message
    whole = snapshot(config(**VXLAN, mtu="1500"), agent(), yaml.safe_dump(override))
    with pytest.raises(UsageError, match="gives some nodes the base MTU 9000, which stands above the ConfigMap"):
        decide.plan(whole, 1400, 1500)


@pytest.mark.parametrize(("version", "device"), [("v1.16.19", 1500), ("v1.17.0", 1400), ("v1.18.12", 1400)])
def test_running_pods(snapshot: Reading, version: str, device: int) -> None:
    """From v1.17 agents give running pods' devices the new base as well (cilium/cilium#34314); before, they stay."""
    seen = node(nic=1400, host=1500, pods=(pod("1", 1500, 1450), pod("2", 1500, 1450)))
    whole = snapshot(config(**VXLAN, mtu="1500"), agent(version), nodes=(seen,))
    plan, _ = decide.plan(whole)
    pins, edit, restart, devices = plan.steps
    assert isinstance(pins, Live)
    assert isinstance(devices, Live)
    assert isinstance(edit, EditValue)
    assert isinstance(restart, Rollout)
    assert (plan.target, edit.before, edit.after) == (1350, "1500", "1400")
    assert [(to.pod_mtu, to.device_mtu, to.tunnel_mtu) for to in devices.nodes] == [(1350, device, None)]
    codes = [(one.code, one.place) for one in decide.check(whole).findings]
    assert ("MTU101", "node n1, 2 pods: netns 1 and netns 2") in codes
    assert ("MTU119", f"{CONFIG}, data.mtu") in codes


def test_pods_that_are_older_than_the_configuration(snapshot: Reading) -> None:
    seen = node(pods=(pod("1", 1500, 1400), pod("2", 1500, 1450)))
    (older, smaller) = decide.check(
        snapshot(config(**VXLAN, mtu="1500"), agent("v1.16.1"), nodes=(conflist(seen),))
    ).findings
    assert {older.code, smaller.code} == {"MTU104", "MTU102"}


def conflist(seen: NodeObservation) -> NodeObservation:
    text = '{"cniVersion": "0.3.1", "name": "cilium", "plugins": [{"type": "cilium-cni", "enable-debug": false}]}'
    file = NodeFile(path="/etc/cni/net.d/05-cilium.conflist", text=text)
    return msgspec.structs.replace(seen, files=(file,))


def test_rke2_with_a_chart(snapshot: Reading) -> None:
    values = "# ours\nMTU: 1450   # the private network\nhubble:\n  enabled: true\n"
    whole = snapshot(config(**VXLAN, mtu="1450"), agent(), chart(values))
    state = read(whole)
    assert (state.variant, state.findings) == ("RKE2, v1.18.12", ())
    assert [(str(key.ref), key.inside, key.value) for key in state.mtu_keys] == [
        ("HelmChartConfig kube-system/rke2-cilium", "MTU", 1450),
        (CONFIG, "", 1450),
    ]
    ran = run_cni(whole, 1350, 1400)
    assert ran.edits == (
        f"{CONFIG}, mtu: '5' -> '0'",
        "HelmChartConfig kube-system/rke2-cilium, valuesContent: '5' -> '0'",
    )


def test_rke2_with_a_chart_alone(snapshot: Reading) -> None:
    state = read(snapshot(chart("MTU: 9000\n")))
    assert [one.code for one in state.findings] == ["MTU117"]
    assert (state.pod_mtu, state.encapsulation_known) == (None, False)


def test_rke2_that_will_write_the_old_value_back(snapshot: Reading) -> None:
    (finding,) = read(snapshot(config(**VXLAN, mtu="1400"), agent(), chart("MTU: 1500"))).findings
    assert (finding.code, finding.place) == ("MTU113", f"{CONFIG}, data.mtu")
    assert "the next upgrade of the chart makes it 1500" in finding.message


def test_rke2_without_a_chart(snapshot: Reading) -> None:
    body = yaml.safe_load(config(**VXLAN))
    body["metadata"]["annotations"] = {"meta.helm.sh/release-name": "rke2-cilium"}
    state = read(snapshot(yaml.safe_dump(body), agent()))
    (finding,) = state.findings
    assert (finding.code, finding.severity) == ("MTU113", "note")
    assert state.owner == "Helm (release rke2-cilium, through a HelmChartConfig that does not exist yet)"


@pytest.mark.parametrize("values", ["mtu: 1400", "cilium:\n  MTU: 1400", "MTU: 1500\nglobal:\n  mtu: 1400"])
def test_a_value_of_the_chart_that_nothing_reads(snapshot: Reading, values: str) -> None:
    (finding,) = read(snapshot(config(**VXLAN), agent(), chart(values))).findings
    assert (finding.code, finding.severity) == ("MTU111", "warning")
    assert "the key is MTU, at the top" in finding.message


@pytest.mark.parametrize(
    ("labels", "annotations", "owner"),
    [
        ({"app.kubernetes.io/managed-by": "Helm"}, {"meta.helm.sh/release-name": "cilium"}, "Helm (release cilium)"),
        ({}, {"argocd.argoproj.io/tracking-id": "infra:/ConfigMap"}, "Argo CD (application infra)"),
        ({"helm.toolkit.fluxcd.io/name": "cilium"}, {}, "Flux (HelmRelease cilium)"),
        ({"addon.kops.k8s.io/name": "networking.cilium.io", "app.kubernetes.io/managed-by": "kops"}, {},
         "kops (addon networking.cilium.io)"),
    ],
)  # fmt: skip
def test_who_writes_it_back(snapshot: Reading, labels: dict[str, str], annotations: dict[str, str], owner: str) -> None:
    body = yaml.safe_load(config(**VXLAN))
    body["metadata"] |= {"labels": labels, "annotations": annotations}
    assert read(snapshot(yaml.safe_dump(body), agent())).owner == owner


@pytest.mark.parametrize("mode", ["aws-cni", "generic-veth", "flannel"])
def test_chained_behind_another_cni(snapshot: Reading, mode: str) -> None:
    with pytest.raises(NotRecognised, match="chained behind another CNI"):
        registry.recognise(snapshot(config(**NATIVE, **{"cni-chaining-mode": mode}), agent()))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"args": ["--mtu=1400"]}, "--mtu of DaemonSet kube-system/cilium sets the MTU"),
        ({"env": [{"name": "CILIUM_MTU", "value": "1400"}]}, "the variable CILIUM_MTU of DaemonSet kube-system/cilium"),
    ],
)
def test_nothing_is_edited_that_does_not_count(snapshot: Reading, more: dict[str, object], words: str) -> None:
    state = read(snapshot(config(**VXLAN), agent(more=more)))
    assert state.pod_mtu == 1350
    with pytest.raises(UsageError, match=words):
        cilium.steps(state, 1450)


def test_a_namespace_of_its_own(snapshot: Reading) -> None:
    state = read(snapshot(config("cilium", **VXLAN), agent(namespace="cilium")))
    assert str(state.daemonset) == "DaemonSet cilium/cilium"


def test_pod_networks_and_families(snapshot: Reading) -> None:
    keys = {
        "ipam": "cluster-pool",
        "cluster-pool-ipv4-cidr": "10.0.0.0/9 10.128.0.0/9",
        "cluster-pool-ipv6-cidr": "fd00::/104",
    }
    state = read(snapshot(config(**VXLAN, **keys, **{"enable-ipv6": "true"}), agent()))
    assert state.pod_networks == ("10.0.0.0/9", "10.128.0.0/9", "fd00::/104")
    assert state.ipv6


def test_another_agent_with_a_config_map_of_the_same_name(snapshot: Reading) -> None:
    fork = yaml.safe_load(agent())
    fork["metadata"]["name"] = "anetd"
    assert registry.recognise(snapshot(config(**NATIVE), yaml.safe_dump(fork))).name == "gke"


def test_a_lone_patch(snapshot: Reading) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cilium-config", "namespace": "kube-system"}}
    (finding,) = read(snapshot(yaml.safe_dump({**body, "data": {"mtu": "1400"}}))).findings
    assert (finding.code, "this is a patch" in finding.message) == ("MTU117", True)


def test_the_value_of_the_chart_counts_as_the_key_does(snapshot: Reading) -> None:
    body = yaml.safe_load(config(**VXLAN, **WIREGUARD, mtu="1500"))
    body["metadata"]["annotations"] = {"meta.helm.sh/release-name": "cilium"}
    whole = snapshot(yaml.safe_dump(body), agent("v1.17.3"))
    (value,) = [key for key in cilium.KNOWLEDGE.values_keys if key.suits(read(whole))]
    assert (value.path, value.number(decide.plan(whole, 1300, 1450)[0], read(whole))) == (("MTU",), 1430)


@pytest.mark.parametrize(
    ("version", "warned"),  # release notes of v1.18.11 (#46085) and v1.19.5 (#46028)
    [
        *(("v1.16.19", 0), ("v1.17.0", 1), ("v1.17.18", 1), ("v1.18.10", 1), ("v1.18.11", 0), ("v1.18.12", 0)),
        *(("v1.19.0", 1), ("v1.19.4", 1), ("v1.19.5", 0), ("v1.20.0", 0)),
    ],
)
def test_secondary_networks_that_a_restart_resizes(snapshot: Reading, version: str, warned: int) -> None:
    beside = msgspec.structs.replace(pod("1", 1500, 1450), others=("net1",))
    for port, expected in ((beside, warned), (pod("1", 1500, 1450), 0)):
        seen = node(nic=1400, host=1500, pods=(port,))
        plan, _ = decide.plan(snapshot(config(**VXLAN, mtu="1500"), agent(version), nodes=(seen,)))
        assert sum("cilium/cilium#37824" in warning for warning in plan.warnings) == expected


def test_the_pods_that_a_restart_resizes_are_named_by_their_annotation(snapshot: Reading) -> None:
    definition = """
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: second, namespace: default}
spec: {config: '{"type": "bridge", "bridge": "br1"}'}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default, annotations: {k8s.v1.cni.cncf.io/networks: second}}
spec: {nodeName: n1}
status: {phase: Running}
"""
    seen = node(nic=1400, host=1500, pods=(pod("1", 1500, 1450),))
    plan, _ = decide.plan(snapshot(config(**VXLAN, mtu="1500"), agent("v1.17.18"), definition, nodes=(seen,)))
    (said,) = [warning for warning in plan.warnings if "cilium/cilium#37824" in warning]
    assert said == (
        "Agents of Cilium 1.17.18 give every veth inside a pod the new MTU when they restart, those of secondary"
        " networks as well (cilium/cilium#37824, mended in v1.18.11 and v1.19.5): look at default/web afterwards, and"
        " start anew what has changed, or upgrade Cilium first."
    )


def test_the_remedy_where_a_flag_decides(snapshot: Reading) -> None:
    found = decide.check(snapshot(config(**VXLAN), agent(more={"args": ["--mtu=9000"]})), 1500).findings
    (wrong,) = [one for one in found if one.code == "MTU119"]
    assert wrong.place == "--mtu of DaemonSet kube-system/cilium"
    assert wrong.remedy == "Give pods 1450: `kubemtu plan --nic-mtu 1500` says what that takes."


@pytest.mark.parametrize(
    ("data", "more"),
    [({}, ()), ({"mtu": "1500"}, ({"nodeSelector": {"matchLabels": {"pool": "jumbo"}}, "defaults": {"mtu": "9001"}},))],
    ids=["each finds its own", "CiliumNodeConfig"],
)
def test_sizes_by_node_that_agents_give_by_themselves_need_no_configuration(
    snapshot: Reading, data: dict[str, str], more: tuple[dict[str, object], ...]
) -> None:
    """NICs of 9001 and 1500 under VXLAN: 9001 - 50 and 1500 - 50, which each agent has found or is told."""
    big = (node("n1", 9001, 9001, pods=(pod("10", 9001, 8951),)), node("n2", 9001, 9001))
    own = {"apiVersion": "cilium.io/v2", "kind": "CiliumNodeConfig"}
    metadata = {"name": "jumbo", "namespace": "kube-system"}
    apart_by = [yaml.safe_dump({**own, "metadata": metadata, "spec": spec}) for spec in more]
    found = snapshot(config(**VXLAN, **data), agent(), *apart_by, nodes=(*big, node("n3")))
    names = {"n1": "10.0.1.0/24", "n2": "10.0.2.0/24", "n3": "10.0.3.0/24"}
    listed = [
        Object.of(
            {
                "kind": "Node",
                "metadata": {"name": name, "labels": {"pool": "db" if name == "n3" else "jumbo"}},
                "spec": {"podCIDR": network},
            }
        )
        for name, network in names.items()
    ]
    there = msgspec.structs.replace(found, objects=(*(one for one in found.objects if one.kind != "Node"), *listed))
    made, modelled = decide.plan(there, asked=apart.Asked(per_node=True))
    assert {one.name: one.rendered and one.rendered.gives for one in modelled.nodes} == {
        "n1": 8951,
        "n2": 8951,
        "n3": 1450,
    }
    (live,) = made.steps
    assert isinstance(live, Live)
    assert [(to.pod_mtu, to.device_mtu, {one.network: one.mtu for one in to.network_mtus}) for to in live.nodes] == [
        (8951, 9001, {"10.0.3.0/24": 1450}),
        (8951, 9001, {"10.0.3.0/24": 1450}),
        (1450, 1500, {}),
    ]


def test_a_plan_by_node_says_which_object_gives_pools_their_own_size_from_birth(snapshot: Reading) -> None:
    big = (node("n1", 9001, 1500, pods=(pod("10", 1500, 1450),)), node("n2", 9001, 1500))
    found = snapshot(config(mtu="1500", **VXLAN), agent(), nodes=(*big, node("n3")))
    listed = [
        Object.of({"kind": "Node", "metadata": {"name": name}, "spec": {"podCIDR": f"10.0.{name[1:]}.0/24"}})
        for name in ("n1", "n2", "n3")
    ]
    there = msgspec.structs.replace(found, objects=(*(one for one in found.objects if one.kind != "Node"), *listed))
    made, _ = decide.plan(there, asked=apart.Asked(per_node=True))
    assert [type(step) for step in made.steps] == [Live]
    assert (
        "New pods can have their own size from birth: a CiliumNodeConfig with spec.nodeSelector and spec.defaults.mtu"
        " gives the nodes that it selects a number of their own, here 9001 for node n1, 9001 for node n2 and 1500 for"
        " node n3."
    ) in made.warnings

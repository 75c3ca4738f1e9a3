"""Clusters of IPv6 alone and of both families, network by network: what check says and plan leads to.

An outer header of IPv6 has 40 bytes where that of IPv4 has 20 (RFC 8200, section 3; RFC 791, section 3.1), and no link
of IPv6 may have less than 1280 (RFC 8200, section 5).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support import reported

from kubemtu.cni import registry
from kubemtu.core import errors, net
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide
from kubemtu.flows.saved import manifests

Loader = Callable[..., Snapshot]
SIX, FOUR = "fd00:10:244::/56", "10.244.0.0/16"
ADDRESSES = {"6": ("2001:db8::%d",), "46": ("192.0.2.%d", "2001:db8::%d"), "4": ("192.0.2.%d",)}
RANGES = {"6": ("fd00:10:244:%d::/64",), "46": ("10.244.%d.0/24", "fd00:10:244:%d::/64"), "4": ("10.244.%d.0/24",)}


def node(number: int, families: str) -> dict[str, object]:
    cidrs = [each % number for each in RANGES[families]]
    addresses = [{"type": "InternalIP", "address": each % number} for each in ADDRESSES[families]]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"n{number}"},
        "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs},
        "status": {"addresses": addresses},
    }


def flannel(backend: str, families: str, **more: object) -> str:
    conf = {"Network": FOUR, "EnableIPv6": True, "IPv6Network": SIX, "Backend": {"Type": backend, **more}}
    if families == "6":
        conf = {**conf, "EnableIPv4": False}
        del conf["Network"]
    return reported.flannel(json.dumps(conf))


def calico(*pools: tuple[str, str], veth: str = "0", felix: dict[str, object] | None = None) -> str:
    objects: list[dict[str, object]] = [
        {
            "apiVersion": "crd.projectcalico.org/v1",
            "kind": "IPPool",
            "metadata": {"name": f"pool-{number}"},
            "spec": {"cidr": cidr, "ipipMode": "Never", "vxlanMode": "Never"} | ({mode: "Always"} if mode else {}),
        }
        for number, (cidr, mode) in enumerate(pools)
    ]
    if felix is not None:
        about = {"apiVersion": "crd.projectcalico.org/v1", "kind": "FelixConfiguration"}
        objects.append({**about, "metadata": {"name": "default"}, "spec": felix})
    return reported.calico(veth) + "---\n" + yaml.safe_dump_all(objects)


def shape(name: str, **data: str) -> str:
    """Return one of the manifests in tests/shapes, with more in the data of its ConfigMap."""
    made = list(yaml.safe_load_all((Path(__file__).parent.parent / "shapes" / name).read_text()))
    for each in made:
        if data and each["kind"] == "ConfigMap":
            each["data"].update(data)
    return yaml.safe_dump_all(made)


@pytest.fixture
def load(tmp_path: Path) -> Loader:
    """Read a manifest with two Nodes of those families."""

    def loaded(text: str, families: str) -> Snapshot:
        nodes = yaml.safe_dump_all([node(1, families), node(2, families)])
        (tmp_path / "all.yaml").write_text(f"{text}---\n{nodes}")
        return manifests.load(tmp_path)

    return loaded


WIREGUARD6: dict[str, object] = {"wireguardEnabledV6": True}
CILIUM6 = {"enable-ipv6": "true", "enable-ipv4": "false", "underlay-protocol": "ipv6"}
# manifest, families of the nodes, NIC, what new pods get, what fits, the codes
CASES = {
    # flannel takes 50 off for VXLAN over IPv6, whose headers take 70 (flannel-io/flannel: pkg/backend/vxlan)
    "flannel vxlan, 6": (flannel("vxlan", "6"), "6", 1500, 1450, 1430, ["MTU119"]),
    "flannel vxlan, 4 and 6": (flannel("vxlan", "46"), "46", 1500, 1450, 1430, ["MTU119"]),
    "flannel vxlan 1480, 6": (flannel("vxlan", "6", MTU=1480), "6", 1500, 1430, 1430, []),
    "flannel wireguard, 6": (flannel("wireguard", "6"), "6", 1500, 1420, 1420, []),  # it takes 80 off
    "flannel wireguard, 4 and 6": (flannel("wireguard", "46"), "46", 1500, 1420, 1420, []),
    "flannel host-gw, 6": (flannel("host-gw", "6"), "6", 1500, 1500, 1500, []),
    # felix/dataplane/linux/int_dataplane.go: 70 for VXLAN over IPv6, 80 for WireGuard over it
    "calico vxlan, 6": (calico((SIX, "vxlanMode")), "6", 1500, 1430, 1430, []),
    "calico vxlan, 4 and 6": (calico((FOUR, "vxlanMode"), (SIX, "vxlanMode")), "46", 1500, 1430, 1430, []),
    "calico ipip and nothing, 4 and 6": (calico((FOUR, "ipipMode"), (SIX, "")), "46", 1500, 1480, 1480, []),
    "calico nothing, 6": (calico((SIX, "")), "6", 1500, 1500, 1500, []),
    "calico wireguard, 6": (calico((SIX, ""), felix=WIREGUARD6), "6", 1500, 1420, 1420, []),
    "calico 1450 of IPv4, 4 and 6": (
        calico((FOUR, "vxlanMode"), (SIX, "vxlanMode"), veth="1450"), "46", 1500, 1450, 1430, ["MTU119"],
    ),
    # cilium/cilium: pkg/mtu/mtu.go, 50 over IPv4 and 70 over IPv6
    "cilium vxlan, 6": (shape("cilium-1.13.yaml", **CILIUM6), "6", 1500, 1430, 1430, []),
    "cilium vxlan over 4, 4 and 6": (shape("cilium-1.13.yaml", **{"enable-ipv6": "true"}), "46", 1500, 1450, 1450, []),
    "cilium of kops, 6": (shape("cilium-kops-ipv6.yaml"), "6", 1500, 1500, 1500, []),
    # antrea-io/antrea: pkg/agent/config/node_config.go, 20 more where nodes have IPv6
    "antrea geneve, 6": (shape("antrea.yaml"), "6", 1500, 1430, 1430, []),
    "antrea geneve, 4 and 6": (shape("antrea.yaml"), "46", 1500, 1430, 1430, []),
    "antrea geneve, 4": (shape("antrea.yaml"), "4", 1500, 1450, 1450, []),
    # ovn-org/ovn-kubernetes asks for 78 around a packet where pods have IPv6; its chart leaves 100
    "ovn-kubernetes, 6": (shape("ovn-kubernetes.yaml", net_cidr=SIX), "6", 1500, 1400, 1400, []),
    "ovn-kubernetes 1442, 6": (
        shape("ovn-kubernetes.yaml", net_cidr=SIX, mtu="1442"), "6", 1500, 1442, 1400, ["MTU119"],
    ),
    "kindnet, 6": (shape("kindnet.yaml"), "6", 1500, 1500, 1500, []),
    "azure, 4 and 6": (shape("azure-cns.yaml"), "46", 1500, 1500, 1500, []),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_new_pods_get_and_what_fits(load: Loader, case: str) -> None:
    text, families, nic, gets, fits, expected = CASES[case]
    snapshot = load(text, families)
    report = decide.check(snapshot, nic)
    assert (report.recommended_mtu, [one.code for one in report.findings]) == (fits, expected)
    assert f"get {gets}" in report.summary + "".join(one.message for one in report.findings)
    if expected:
        assert decide.plan(snapshot, nic_mtu=nic)[0].target == fits


# manifest; the device, and the one beside it with what goes around its packets (RFC 7348, 4301; wireguard.com/papers)
TUNNELS: dict[str, tuple[str, str | None, tuple[str, int, int] | None]] = {
    "flannel vxlan, 4": (
        reported.flannel(json.dumps({"Network": FOUR, "Backend": {"Type": "vxlan"}})), "flannel.1", None,
    ),
    "flannel vxlan, 6": (flannel("vxlan", "6"), "flannel-v6.1", None),
    "flannel vxlan, 4 and 6": (flannel("vxlan", "46"), "flannel.1", ("flannel-v6.1", 70, 6)),
    "flannel vxlan 7": (flannel("vxlan", "46", VNI=7), "flannel.7", ("flannel-v6.7", 70, 6)),
    "flannel wireguard, 4 and 6": (flannel("wireguard", "46"), "flannel-wg", None),
    "flannel host-gw, 4 and 6": (flannel("host-gw", "46"), None, None),
    "calico vxlan, 4 and 6": (
        calico((FOUR, "vxlanMode"), (SIX, "vxlanMode")), "vxlan-v6.calico", ("vxlan.calico", 50, 4),
    ),
    "calico ipip and vxlan": (calico((FOUR, "ipipMode"), (SIX, "vxlanMode")), "vxlan-v6.calico", ("tunl0", 20, 4)),
    "calico vxlan, 4": (calico((FOUR, "vxlanMode")), "vxlan.calico", None),
    "calico wireguard, 4 and 6": (
        calico((FOUR, ""), (SIX, ""), felix={**WIREGUARD6, "wireguardEnabled": True}), "wg-v6.cali",
        ("wireguard.cali", 60, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TUNNELS)
def test_dual_stack_has_a_tunnel_for_each_family_where_the_cni_makes_two(load: Loader, case: str) -> None:
    text, device, beside = TUNNELS[case]
    state = registry.recognise(load(text, "46"))
    other = state.other_tunnel
    assert state.tunnel == device
    assert beside == (None if other is None else (other.device, other.encapsulation.cost, other.family))


def test_which_tunnels_nodes_of_one_subnet_pass_by_and_which_subnets_are_known(tmp_path: Path) -> None:
    """projectcalico/calico: felix/calc/l3_route_resolver.go, nodeInOurSubnet; flannel: pkg/backend/vxlan/vxlan.go."""
    address = "projectcalico.org/IPv4Address"
    nodes: list[Any] = [node(1, "46"), node(2, "46"), node(3, "46")]
    for each, said in zip(nodes, ("192.168.77.1/24", "192.168.77.2", "none"), strict=True):
        each["metadata"]["annotations"] = {address: said}
    pools = calico((FOUR, "vxlanMode"), (SIX, "vxlanMode")).replace("vxlanMode: Always", "vxlanMode: CrossSubnet", 1)
    cases: tuple[tuple[str, set[str], dict[str, str]], ...] = (
        (pools, {"vxlan.calico"}, {"n1": "192.168.77.0/24"}),
        (flannel("vxlan", "46", DirectRouting=True), {"flannel.1", "flannel-v6.1"}, {}),
        (flannel("vxlan", "46"), set(), {}),
    )
    for text, passed, subnets in cases:
        (tmp_path / "all.yaml").write_text(f"{text}---\n{yaml.safe_dump_all(nodes)}")
        state = registry.recognise(manifests.load(tmp_path))
        assert (set(state.passed_by), state.subnets) == (passed, subnets)


REFUSED = {
    "flannel vxlan": (flannel("vxlan", "6"), "6", 1349),  # 1349 less 70 are 1279
    "calico vxlan": (calico((SIX, "vxlanMode")), "6", 1349),
    "calico wireguard": (calico((SIX, ""), felix=WIREGUARD6), "6", 1359),
    "calico, 4 and 6": (calico((FOUR, "vxlanMode"), (SIX, "vxlanMode")), "46", 1349),
    "cilium vxlan": (shape("cilium-1.13.yaml", **CILIUM6), "6", 1349),
    "cilium of kops": (shape("cilium-kops-ipv6.yaml"), "6", 1279),
    "antrea geneve": (shape("antrea.yaml"), "6", 1349),
    "kube-router": (shape("kube-router.yaml"), "6", 1279),
    "ovn-kubernetes": (shape("ovn-kubernetes.yaml", net_cidr=SIX), "6", 1357),
    "kindnet": (shape("kindnet.yaml"), "6", 1279),
    "azure": (shape("azure-cns.yaml"), "46", 1279),
}


@pytest.mark.parametrize("case", REFUSED)
def test_where_ipv6_cannot_live_nothing_is_recommended_or_planned(load: Loader, case: str) -> None:
    text, families, nic = REFUSED[case]
    snapshot = load(text, families)
    report = decide.check(snapshot, nic)
    assert (report.recommended_mtu, report.verdict) == (None, "broken")
    assert "MTU114" in {one.code for one in report.findings}
    with pytest.raises(errors.UsageError, match="IPv6 needs 1280 on every link"):
        decide.plan(snapshot, nic_mtu=nic)


def observed(tunnel: int, device: str, *, nic: int = 1500, pod: int, route: int | None = None) -> net.NodeObservation:
    """Return a node of IPv6 alone, as its agent sees it: routes, peers, the tunnel and its only pod."""
    vxlan = net.Vxlan(vni=1, port=8472, lower="eth0", ipv6_outer=True)
    gateway = net.Route(family=6, destination="default", device="eth0", gateway="fd00:10:244:1::1", mtu=route)
    near = net.Route(family=6, destination="fe80::/64", device="eth0")
    port = net.PodPort(
        netns="cni-1", inode=7, host_link="veth1", host_index=9, host_mtu=pod, pod_link="eth0", pod_index=3,
        pod_mtu=pod, bridge="cni0", addresses=("fd00:10:244:1::7",), ipv6_mtu=pod, routes=(near, gateway),
    )  # fmt: skip
    return net.NodeObservation(
        node="n1",
        links=(
            net.Link(index=2, name="eth0", mtu=nic),
            net.Link(index=3, name=device, mtu=tunnel, kind="vxlan", vxlan=vxlan),
            net.Link(index=4, name="cni0", mtu=pod, kind="bridge"),
        ),
        routes=(net.Route(family=6, destination="default", device="eth0", gateway="fe80::1"),),
        uplinks=(net.Uplink(peer="2001:db8::2", device="eth0", mtu=nic),),
        ports=(port,),
        files=(net.NodeFile(path="/run/flannel/subnet.env", text=f"FLANNEL_MTU={pod}\n"),),
    )


def seen(load: Loader, node_1: net.NodeObservation) -> Snapshot:
    made = load(flannel("vxlan", "6", MTU=1480), "6")
    return Snapshot(source="a cluster", objects=made.objects, nodes=(node_1,))


def test_flannels_only_device_for_ipv6_is_judged(load: Loader) -> None:
    """Without IPv4 there is no flannel.1 (flannel-io/flannel: pkg/backend/vxlan/vxlan.go)."""
    right = decide.check(seen(load, observed(1430, "flannel-v6.1", pod=1430)))
    assert [one.code for one in right.findings if one.code != "MTU118"] == []
    assert (right.nodes[0].tunnel, right.nodes[0].tunnel_mtu) == ("flannel-v6.1", 1430)
    wrong = decide.check(seen(load, observed(1450, "flannel-v6.1", pod=1450)))
    said = {one.code: one.message for one in wrong.findings}
    assert "flannel-v6.1 has 1450, but eth0 (1500) leaves 1430" in said["MTU107"]
    assert "1 pod may send 1450 bytes, but the path between nodes carries 1430" in said["MTU101"]


def test_what_a_pod_of_ipv6_alone_sends_is_what_its_routes_let_out(load: Loader) -> None:
    held = decide.check(seen(load, observed(1430, "flannel-v6.1", pod=1450, route=1430)))
    assert "MTU101" not in {one.code for one in held.findings}

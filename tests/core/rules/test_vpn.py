"""MTU136, and what is judged of pods whose nodes reach each other by a VPN."""

import msgspec
import pytest
from tests.support import example

from kubemtu.core import codes, encap, net
from kubemtu.core.cluster import layout, topology
from kubemtu.core.rules import report, vpn


def over(
    device: str,
    mtu: int,
    *,
    kind: str,
    nic: int = 1500,
    marked: bool = False,
    bound: bool = False,
    pod: int | None = None,
) -> net.NodeObservation:
    """Return a node that reaches others by a VPN, and has a VXLAN device bound to it, or to the NIC."""
    made = example.node("n1", nic=nic, tunnel=mtu - 50, pod=pod or mtu - 50, conflist=pod or mtu - 50)
    lower = "eth0" if bound else device
    tunnel = net.Vxlan(vni=1, port=8472, lower=lower)
    links = tuple(msgspec.structs.replace(one, vxlan=tunnel) if one.name == "flannel.1" else one for one in made.links)
    way = net.Uplink(peer="10.99.0.2", device=device, mtu=mtu, marked=marked)
    ways = (net.Uplink(peer="10.99.0.2", device="eth0", mtu=nic), way) if marked else (way,)
    vpns = (net.Link(index=20, name=device, mtu=mtu, kind=kind),)
    return msgspec.structs.replace(made, links=(*links, *vpns), uplinks=ways)


def modelled(*seen: net.NodeObservation, **state: object) -> topology.Topology:
    return layout.model(example.cluster(seen), example.state(**state))  # type: ignore[arg-type]  # fields


def judge(*seen: net.NodeObservation) -> tuple[codes.Finding, ...]:
    return vpn.find(modelled(*seen))


@pytest.mark.parametrize(
    ("device", "kind", "mtu", "nic"),
    [
        ("tailscale0", "tun", 1280, 1500),  # tailscale/tailscale: net/tstun/mtu.go
        ("kubespan", "wireguard", 1420, 1500),  # siderolabs/talos: constants.KubeSpanLinkMTU
        ("nebula1", "tun", 1300, 1500),  # slackhq/nebula: examples/config.yml, tun.mtu
        ("wt0", "wireguard", 1280, 1500),  # netbirdio/netbird: iface.DefaultMTU
        ("wg0", "wireguard", 1420, 1500),  # the kernel's own: 1500 less 80
        ("wg0", "wireguard", 1440, 1500),  # fits where peers are reached over IPv4
        ("zt7nnig26k", "tun", 2800, 1500),  # ZeroTier cuts and joins packets itself
        ("tun0", "tun", 1500, 1500),  # nobody knows what that program puts around a packet
    ],
)
def test_each_vpn_as_it_comes_is_the_underlay_and_silent(device: str, kind: str, mtu: int, nic: int) -> None:
    made = modelled(over(device, mtu, kind=kind, nic=nic))
    assert (made.nodes[0].nic, made.carries) == (device, mtu - 50)
    assert vpn.find(made) == ()


def test_wireguard_larger_than_the_nic_below_leaves() -> None:
    """A vSwitch of 1400 under a device of 1420: 1420 + 60 (mysticaltech/terraform-hcloud-kube-hetzner#2027)."""
    (one,) = judge(over("wg0", 1420, kind="wireguard", nic=1400))
    assert (one.code, one.severity, one.place) == ("MTU136", "warning", "node n1, wg0")
    assert "WireGuard puts 60 bytes around each packet (80 over IPv6), and eth0 below it carries 1400" in one.message
    assert "packets of 1341-1420 bytes leave the node in two pieces" in one.message
    assert one.remedy.startswith("Give wg0 1320 (1340 where its peers are reached over IPv4 alone)")


def test_without_a_default_route_nothing_is_said_of_what_is_below() -> None:
    seen = over("wg0", 1420, kind="wireguard", nic=1400)
    assert judge(msgspec.structs.replace(seen, routes=())) == ()


def test_a_vpn_that_no_route_leads_over_is_not_judged() -> None:
    seen = example.node("n1", nic=1400, pod=1350, conflist=1350)
    idle = net.Link(index=20, name="wg0", mtu=1420, kind="wireguard")
    assert judge(msgspec.structs.replace(seen, links=(*seen.links, idle))) == ()


def test_kubespan_takes_what_a_tunnel_bound_to_the_nic_sends() -> None:
    """flannel took 1450 of 1500, and KubeSpan carries 1420 less 50: 1370 (siderolabs/talos#13457)."""
    seen = over("kubespan", 1420, kind="wireguard", marked=True, bound=True, pod=1450)
    wide = tuple(msgspec.structs.replace(one, mtu=1450) if one.name == "flannel.1" else one for one in seen.links)
    made = modelled(msgspec.structs.replace(seen, links=wide))
    assert (made.nodes[0].nic, made.nodes[0].nic_mtu, made.carries) == ("kubespan", 1420, 1370)
    found = {one.code: one for one in report.judge(made)}
    assert "kubespan (1420) leaves 1370" in found["MTU107"].message
    assert "the path between nodes carries 1370" in found["MTU101"].message


def test_a_tunnel_bound_to_the_nic_stays_there_without_a_mark() -> None:
    seen = over("wg0", 1420, kind="wireguard", bound=True)
    assert modelled(seen).nodes[0].nic == "eth0"


def test_wireguard_within_a_vpn_counts_both() -> None:
    """1280 of Tailscale less the 60 of a pod network's own WireGuard are 1220, below what IPv6 needs (RFC 8200)."""
    made = modelled(over("tailscale0", 1280, kind="tun"), encapsulation=(encap.wireguard(),), tunnel=None, ipv6=True)
    assert (made.carries, made.recommended) == (1220, None)
    assert "MTU114" in {one.code for one in report.judge(made)}

"""A VPN under the nodes, as it was printed: where routing leads over it, it is the way to others, and else not."""

import pytest

from kubemtu.core import net
from kubemtu.core.printed import outputs, talos, uplinks

# Tailscale's own routes are in table 52, which a rule asks before the main one (wgengine/router/router_linux.go).
LINKS = """\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc fq_codel state UP
    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff promiscuity 0
    inet 192.168.1.4/24 scope global eth0
3: tailscale0: <POINTOPOINT,MULTICAST,NOARP,UP,LOWER_UP> mtu 1280 qdisc fq_codel state UNKNOWN
    link/none promiscuity 0
    tun type tun pi off vnet_hdr on
    inet 100.64.0.1/32 scope global tailscale0
"""
MAIN = """\
default via 192.168.1.1 dev eth0
192.168.1.0/24 dev eth0 proto kernel scope link src 192.168.1.4
"""
PEERS = """\
100.64.0.2 dev tailscale0 table 52
100.100.100.100 dev tailscale0 table 52
"""


def ways(text: str, *peers: str, own: tuple[str, ...] = ()) -> list[tuple[str, int, bool]]:
    seen = outputs.parse(text)
    assert seen.remarks == ()
    found = uplinks.uplinks(seen.links, seen.routes, seen.addresses, peers, own, seen.vpn_routes)
    return [(way.device, way.mtu, way.marked) for way in found]


def test_tailscale_s_table_is_asked_before_the_main_one() -> None:
    assert ways(LINKS + PEERS + MAIN, "100.64.0.2") == [("tailscale0", 1280, False)]


def test_a_device_that_no_route_leads_over_does_not_count() -> None:
    """Counted for being there, it gave pods 1280 over NICs of 9000 (sini/nix-config#123)."""
    assert ways(LINKS + PEERS + MAIN, "192.168.1.5") == [("eth0", 1500, False)]


def test_an_exit_node_and_the_network_that_it_leaves_out() -> None:
    exits = "default dev tailscale0 table 52\nthrow 192.168.1.0/24 table 52\n"
    assert ways(LINKS + exits + MAIN, "192.168.1.5") == [("eth0", 1500, False)]
    assert ways(LINKS + exits + MAIN, "192.168.2.5") == [("tailscale0", 1280, False)]


@pytest.mark.parametrize(
    ("own", "peer", "device"),
    [
        ("100.64.0.1", "100.64.0.2", "tailscale0"),
        ("192.168.1.4", "100.64.0.2", "eth0"),  # it is known by another address: nothing says that it is joined
        ("100.64.0.1", "203.0.113.7", "eth0"),
    ],
)
def test_where_that_table_was_not_printed_the_node_s_own_address_tells(own: str, peer: str, device: str) -> None:
    assert [name for name, _, _ in ways(LINKS + MAIN, peer, own=(own,))] == [device]


def test_the_routes_of_that_table_are_no_routes_of_the_node() -> None:
    seen = outputs.parse(LINKS + PEERS + MAIN)
    assert [route.destination for route in seen.routes] == ["default", "192.168.1.0/24"]
    assert [table for table, _ in seen.vpn_routes] == ["52", "52"]


def test_json_has_the_same() -> None:
    text = (
        '[{"dst":"default","gateway":"192.168.1.1","dev":"eth0","flags":[]},'
        '{"dst":"100.64.0.2","dev":"tailscale0","table":"52","flags":[]},'
        '{"type":"throw","dst":"192.168.1.0/24","table":"52","flags":[]}]'
    )
    seen = outputs.parse(text)
    assert [route.device for route in seen.routes] == ["eth0"]
    assert [(table, route.destination, route.device) for table, route in seen.vpn_routes] == [
        ("52", "100.64.0.2/32", "tailscale0"),
        ("52", "192.168.1.0/24", ""),
    ]


@pytest.mark.parametrize(
    ("device", "head", "route", "mtu"),
    [
        ("wg0", "wireguard", "10.99.0.0/24 dev wg0 proto kernel scope link src 10.99.0.1", 1420),
        ("nebula1", "tun type tun pi off", "10.99.0.0/24 dev nebula1 proto kernel scope link src 10.99.0.1", 1300),
        ("wt0", "wireguard", "10.99.0.0/16 dev wt0 proto kernel scope link src 10.99.0.1", 1280),
        ("zt7nnig26k", "tun type tap pi off", "10.99.0.0/24 dev zt7nnig26k proto kernel scope link", 2800),
    ],
)
def test_vpns_that_route_by_the_main_table(device: str, head: str, route: str, mtu: int) -> None:
    link = (
        f"9: {device}: <UP,LOWER_UP> mtu {mtu} qdisc noqueue state UNKNOWN\n    link/none promiscuity 0\n    {head}\n"
    )
    assert ways(LINKS + link + route + "\n" + MAIN, "10.99.0.2") == [(device, mtu, False)]
    assert ways(LINKS + link + route + "\n" + MAIN, "192.168.1.5") == [("eth0", 1500, False)]


SPAN = """\
9: kubespan: <POINTOPOINT,NOARP,UP,LOWER_UP> mtu 1420 qdisc noqueue state UNKNOWN
    link/none promiscuity 0
    wireguard
"""


def test_kubespan_s_table_is_a_further_way_for_all_nodes() -> None:
    """A firewall marks what goes to other nodes, and rules lead marked packets there (siderolabs/talos#13457)."""
    routes = "default dev kubespan table 180 mtu 1420\n"
    assert ways(LINKS + SPAN + routes + MAIN, "192.168.1.5") == [("eth0", 1500, False), ("kubespan", 1420, True)]
    assert ways(LINKS + SPAN + MAIN, "192.168.1.5") == [("eth0", 1500, False)]
    assert ways(LINKS + SPAN.replace("NOARP,UP,", "NOARP,") + routes + MAIN, "192.168.1.5") == [("eth0", 1500, False)]


def test_talosctl_prints_that_table_too() -> None:
    def route(table: str, device: str) -> tuple[int, object]:
        spec = {"family": "inet4", "dst": "", "outLinkName": device, "table": table, "type": "unicast", "mtu": 1420}
        return 1, {"metadata": {"type": "RouteStatuses.net.talos.dev", "id": device}, "spec": spec, "node": "n1"}

    def link(name: str, kind: str, mtu: int, index: int) -> tuple[int, object]:
        spec = {"index": index, "mtu": mtu, "kind": kind, "type": "ether", "flags": "UP,RUNNING"}
        return 1, {"metadata": {"type": "LinkStatuses.net.talos.dev", "id": name}, "spec": spec, "node": "n1"}

    told = [link("eth0", "", 1500, 2), link("kubespan", "wireguard", 1420, 3), route("main", "eth0")]
    seen = talos.parse([*told, route("180", "kubespan")])["n1"]
    found = uplinks.uplinks(seen.links, seen.routes, seen.addresses, ["172.20.0.3"], (), seen.vpn_routes)
    assert [(way.device, way.marked) for way in found] == [("eth0", False), ("kubespan", True)]
    assert seen.routes == (net.Route(family=4, destination="default", device="eth0", mtu=1420),)

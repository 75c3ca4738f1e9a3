"""A node out of what was printed there: NICs to the others, pod ports, and what is not told."""

import pytest

from kubemtu.cni import registry
from kubemtu.core import errors, net
from kubemtu.core.printed import node_show, observation, outputs
from kubemtu.core.printed.values import Output, joined

RULES = net.PortRules(rules=(net.PortRule(prefixes=("cali",)), net.PortRule(bridge="cni0")))
LINKS = """\
2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 9001 qdisc mq state UP group default qlen 1000
    link/ether 0a:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff
    inet 10.20.0.11/24 brd 10.20.0.255 scope global eth0
3: eth1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc mq state UP group default qlen 1000
    link/ether 0a:00:00:00:00:02 brd ff:ff:ff:ff:ff:ff
    inet 192.168.9.11/16 scope global eth1
5: cali1@if3: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 8951 qdisc noqueue state UP group default
    link/ether ee:ee:ee:ee:ee:ee brd ff:ff:ff:ff:ff:ff link-netns cni-1
6: veth2@if3: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue master docker0 state UP group default
    link/ether ee:ee:ee:ee:ee:ee brd ff:ff:ff:ff:ff:ff link-netnsid 2
"""
BY_NAME = (
    "pod ports were told by their names alone (cali1), because busybox ip, iproute2 before 3.12, ifconfig and "
    "node_exporter show no other ends: `ip -d link` of iproute2 does"
)
ROUTES = """\
default via 10.20.0.1 dev eth0 proto dhcp src 10.20.0.11 metric 100
10.20.0.0/24 dev eth0 proto kernel scope link src 10.20.0.11
192.168.0.0/16 dev eth1 proto kernel scope link src 192.168.9.11
192.168.77.0/24 via 10.20.0.1 dev eth0 mtu 1400
10.42.1.7 dev cali1 scope link
"""


def seen(*texts: str, peers: tuple[str, ...] = (), own: tuple[str, ...] = ()) -> net.NodeObservation:
    output = joined((f"{number}.txt", outputs.parse(text)) for number, text in enumerate(texts))
    return observation.observed("node-1", output, peers=peers, rules=RULES, own=own)


def test_pod_ports_are_seen_from_the_hosts_side_alone() -> None:
    node = seen(LINKS, ROUTES)
    assert node.ports == (
        net.PodPort(
            netns="cni-1",
            inode=0,
            host_link="cali1",
            host_index=5,
            host_mtu=8951,
            pod_link="",
            pod_index=3,
            pod_mtu=None,
            addresses=("10.42.1.7",),
        ),
    )
    assert (node.node, node.seen_by, node.errors) == ("node-1", "files", ())


def test_nics_are_those_of_the_longest_prefix() -> None:
    peers = ("10.20.0.12", "10.20.0.13", "192.168.9.12", "192.168.77.3", "8.8.8.8", "nonsense", "fd00::1")
    assert seen(LINKS, ROUTES, peers=peers).uplinks == (
        net.Uplink(peer="10.20.0.12", device="eth0", mtu=9001),
        net.Uplink(peer="192.168.9.12", device="eth1", mtu=1500),
        net.Uplink(peer="192.168.77.3", device="eth0", mtu=9001, route_mtu=1400),
    )


def test_without_routes_networks_of_addresses_tell_and_else_the_nodes_own() -> None:
    assert seen(LINKS, peers=("192.168.200.1",)).uplinks == (net.Uplink(peer="192.168.200.1", device="eth1", mtu=1500),)
    assert seen(LINKS, peers=("172.16.0.9",), own=("192.168.9.11",)).uplinks == (
        net.Uplink(peer="", device="eth1", mtu=1500),
    )
    node = seen(LINKS, peers=("172.16.0.9",))
    assert node.uplinks == ()
    assert node.errors == ("which NIC leads to the other nodes is not told: `ip route` tells it",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (ROUTES, "no link and no MTU is told: `ip -d link` tells them"),
        (
            "eth0: flags=4163<UP>  mtu 9001\n        inet 10.20.0.11\n\ncali1: flags=4163<UP>  mtu 8951\n",
            BY_NAME,
        ),
        (
            f"{LINKS}\ndefault via 10.20.0.1 dev eth0\n10.20.0.0/24 dev eth0 scope link  src 10.20.0.11\n",
            "busybox ip, `route`, `ip -j` before 5.3 and talosctl show no MTUs of routes: `ip route` of iproute2 does",
        ),
        (
            f'{LINKS}\n[{{"dst":"default","gateway":"10.20.0.1","dev":"eth0","metrics":[{{"mtu":1400}}]}}]\n',
            "JSON of ip does not say whether the MTU of a route is locked, as a pin is: `ip route` without -j does",
        ),
        (f"{LINKS}\nwhat is this\n", "0.txt: line 12: is not understood: 'what is this'"),
    ],
)
def test_what_is_not_told_is_said_with_the_command_that_tells_it(text: str, sentence: str) -> None:
    assert sentence in seen(text, peers=("10.20.0.12",)).errors


def test_a_pod_port_that_only_its_name_tells_has_its_mtu() -> None:
    busybox = (
        "2: eth0: <UP> mtu 1460 qdisc mq qlen 1000\n"
        "9: cali9@eth0: <UP> mtu 1410 qdisc noqueue\n"
        "10: vetha@eth0: <UP> mtu 1420 qdisc noqueue master cni0\n"
        "11: other@eth0: <UP> mtu 1400 qdisc noqueue\n"
    )
    assert [(port.host_link, port.host_mtu, port.pod_mtu) for port in seen(busybox).ports] == [
        ("cali9", 1410, None),
        ("vetha", 1420, None),
    ]


SHOWN = {
    "nic": "eth0",
    "nic_mtu": 9001,
    "tunnels": [
        {
            "index": 7,
            "name": "flannel.1",
            "mtu": 8951,
            "kind": "vxlan",
            "vxlan": {"vni": 1, "port": 8472, "lower": "eth0", "ipv6Outer": False},
            "peerIndex": None,
        }
    ],
    "bridge": None,
    "ports": [
        {
            "host_link": "cali1",
            "host_mtu": 8951,
            "netns": "cni-1",
            "pod_link": "eth0",
            "pod_mtu": 8900,
            "addresses": ["10.42.1.7"],
            "lost": None,
            "lost_direction": "",
            "pins": [],
            "others": ["docker0"],
        }
    ],
    "pins": ["10.42.2.0/24 dev eth0 mtu lock 1400"],
    "journals": [],
    "troubles": ["cali9: its pod could not be read"],
}


def test_node_show_tells_both_ends_of_a_port_and_joins_with_other_outputs() -> None:
    assert node_show.looks_like(SHOWN)
    shown = node_show.parse(SHOWN)
    both = joined([("show.json", shown), ("ip.txt", outputs.parse(LINKS))])
    node = observation.observed("node-1", both, peers=("10.20.0.12",), rules=RULES)
    (port,) = node.ports
    assert (port.host_link, port.host_index, port.host_mtu) == ("cali1", 5, 8951)
    assert (port.netns, port.pod_link, port.pod_mtu, port.others) == ("cni-1", "eth0", 8900, ("docker0",))
    tunnel = node.link("flannel.1")
    assert tunnel is not None
    assert tunnel.vxlan == net.Vxlan(vni=1, port=8472, lower="eth0")
    assert net.Route(family=4, destination="10.42.2.0/24", device="eth0", mtu=1400, locked=True) in node.routes
    assert [(way.device, way.mtu) for way in node.uplinks] == [("eth0", 9001)]
    assert node.errors == (
        "show.json: cali9: its pod could not be read",
        "show.json: a pin is left on the node: 10.42.2.0/24 dev eth0 mtu lock 1400",
    )


@pytest.mark.parametrize(
    "change",
    [{"nic_mtu": "9001"}, {"ports": [{}]}, {"tunnels": [{"name": "x"}]}, {"ports": {}}, {"troubles": [1]}],
)
def test_what_is_no_node_show_is_one_sentence(change: dict[str, object]) -> None:
    with pytest.raises(errors.Malformed, match="is no output of `kubemtu node show`: "):
        node_show.parse(SHOWN | change)


def test_names_and_mtus_that_no_link_can_have_are_left_out() -> None:
    shown = node_show.parse(SHOWN | {"nic": "a b", "ports": [SHOWN["ports"][0] | {"host_mtu": -1}]})  # type: ignore[index]
    assert [link.name for link in shown.links] == ["flannel.1"]
    assert shown.ports == ()
    assert len(shown.remarks) == 4
    assert not Output().says


ALL_NAMESPACES = f"""\
root@node-1:~# ip -d a
{LINKS}
root@node-1:~# ip -all netns exec ip -d a

netns: cni-1
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00 promiscuity 0
3: eth0@if5: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UP group default qlen 1000
    link/ether 0e:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff link-netnsid 0 promiscuity 0
    veth
    inet 10.42.1.7/32 scope global eth0
4: docker0: <BROADCAST,MULTICAST,UP> mtu 1500 qdisc noqueue state DOWN group default
    link/ether 0e:00:00:00:00:02 brd ff:ff:ff:ff:ff:ff promiscuity 0
    bridge forward_delay 1500

netns: cni-2
3: eth0@if99: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1400 qdisc noqueue state UP group default qlen 1000
    link/ether 0e:00:00:00:00:03 brd ff:ff:ff:ff:ff:ff link-netnsid 0 promiscuity 0
    veth
"""


def test_pods_ends_are_known_where_their_namespaces_were_printed() -> None:
    node = seen(ALL_NAMESPACES, ROUTES)
    (port,) = node.ports
    assert (port.netns, port.host_link, port.host_mtu) == ("cni-1", "cali1", 8951)
    assert (port.pod_link, port.pod_index, port.pod_mtu, port.addresses) == ("eth0", 3, 1450, ("10.42.1.7",))
    assert port.others == ("docker0",)
    assert [(device.name, device.mtu) for device in port.inner] == [("docker0", 1500)]
    assert {link.name: link.mtu for link in node.links} == {"eth0": 9001, "eth1": 1500, "cali1": 8951, "veth2": 1500}
    assert node.errors == ()


@pytest.mark.parametrize(
    ("command", "known"),
    [
        ("root@node-1:~# ip netns exec cni-1 ip a", True),
        ("root@node-1:~# ip -n cni-1 addr", True),
        ("# nsenter -t 4711 -n ip a", True),
        ("+ nsenter --target 4711 --net ip a", True),
        ("root@node-1:~# nsenter -t 1 -n ip a", False),
        ("root@node-1:~# ip a", False),
    ],
)
def test_a_command_in_the_prompt_tells_whose_namespace_it_is(command: str, known: bool) -> None:
    inside = (
        "3: eth0@if5: <BROADCAST,UP> mtu 1450 qdisc noqueue state UP group default\n    link/ether x link-netnsid 0\n"
    )
    node = seen(f"{LINKS}\n{command}\n{inside}")
    assert [port.pod_mtu for port in node.ports] == [1450 if known else None]
    link = node.link("eth0")
    assert link is not None
    assert link.mtu == 9001
    twice = [each for each in node.errors if each.startswith("0.txt: eth0 has MTU 1450 here and 9001 further above")]
    assert len(twice) == (0 if known else 1)


# The veth of Calico's eBPF data plane: both its ends are on the node (felix/dataplane/linux/dataplanedefs).
BPF = {
    "ip -d link": (
        "8: bpfout.cali@bpfin.cali: <BROADCAST,NOARP,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP\n"
        "    link/ether 02:00:00:00:00:08 brd ff:ff:ff:ff:ff:ff promiscuity 0\n    veth\n"
        "9: bpfin.cali@bpfout.cali: <BROADCAST,NOARP,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP\n"
        "    link/ether 02:00:00:00:00:09 brd ff:ff:ff:ff:ff:ff promiscuity 0\n    veth\n"
    ),
    "ip link": (
        "8: bpfout.cali@bpfin.cali: <BROADCAST,NOARP,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP\n"
        "9: bpfin.cali@bpfout.cali: <BROADCAST,NOARP,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP\n"
    ),
    "ip -j -d link": (
        '[{"ifindex":8,"link":"bpfin.cali","ifname":"bpfout.cali","flags":["UP"],"mtu":1500,'
        '"linkinfo":{"info_kind":"veth"}},'
        '{"ifindex":9,"link":"bpfout.cali","ifname":"bpfin.cali","flags":["UP"],"mtu":1500,'
        '"linkinfo":{"info_kind":"veth"}}]'
    ),
    "/sys": "".join(
        f"/sys/class/net/{name}/mtu:1500\n/sys/class/net/{name}/ifindex:{index}\n/sys/class/net/{name}/type:1\n"
        f"/sys/class/net/{name}/iflink:{other}\n/sys/class/net/{name}/flags:0x1083\n"
        for name, index, other in (("bpfout.cali", 8, 9), ("bpfin.cali", 9, 8))
    ),
    "node_exporter": (
        '# HELP node_network_mtu_bytes x\nnode_network_mtu_bytes{device="bpfin.cali"} 1500\n'
        'node_network_mtu_bytes{device="bpfout.cali"} 1500\n'
    ),
    "ifconfig": (
        "bpfin.cali: flags=4291<UP,BROADCAST,RUNNING,NOARP,MULTICAST>  mtu 1500\n\n"
        "bpfout.cali: flags=4291<UP,BROADCAST,RUNNING,NOARP,MULTICAST>  mtu 1500\n"
    ),
}


@pytest.mark.parametrize("tool", BPF)
def test_the_ends_of_calicos_ebpf_veth_are_seen_and_are_no_pods(tool: str) -> None:
    node = observation.observed("node-1", outputs.parse(BPF[tool]), peers=(), rules=registry.ports())
    assert {link.name: (link.mtu, link.up) for link in node.links} == {
        "bpfin.cali": (1500, True),
        "bpfout.cali": (1500, True),
    }
    assert node.ports == ()

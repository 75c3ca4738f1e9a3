"""JSON of `ip -j`, in the shapes that its versions print (ip/ipaddress.c, ip/iproute.c)."""

import json

import pytest

from kubemtu.core import net
from kubemtu.core.printed import ip_json, outputs
from kubemtu.core.printed.values import Address

ETH0 = {
    "ifindex": 2,
    "ifname": "eth0",
    "flags": ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"],
    "mtu": 1450,
    "qdisc": "mq",
    "operstate": "UP",
    "group": "default",
    "link_type": "ether",
    "address": "fa:16:3e:00:00:01",
}
POD = {
    "ifindex": 7,
    "link_index": 3,
    "ifname": "cali0a1b2c3d4e5",
    "flags": ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"],
    "mtu": 1400,
    "link_type": "ether",
    "link_netnsid": 2,
    "promiscuity": 0,
    "linkinfo": {"info_kind": "veth"},
}
VXLAN = {
    "ifindex": 5,
    "ifname": "flannel-v6.1",
    "flags": ["BROADCAST", "MULTICAST", "UP"],
    "mtu": 1380,
    "link_type": "ether",
    "promiscuity": 0,
    "linkinfo": {
        "info_kind": "vxlan",
        "info_data": {"id": 1, "local6": "fd00::11", "link": "eth0", "port_range": {"low": 0, "high": 0}, "port": 8472},
    },
}


def test_links_of_every_version() -> None:
    seen = ip_json.parse(json.dumps([ETH0, POD, VXLAN]))
    assert seen.links == (
        net.Link(index=2, name="eth0", mtu=1450),
        net.Link(index=7, name="cali0a1b2c3d4e5", mtu=1400, kind="veth", peer_index=3, peer_netnsid=2),
        net.Link(
            index=5,
            name="flannel-v6.1",
            mtu=1380,
            kind="vxlan",
            vxlan=net.Vxlan(vni=1, port=8472, lower="eth0", ipv6_outer=True),
        ),
    )
    assert seen.undetailed == {"eth0"}
    assert seen.remarks == ()


def test_ends_by_name_and_by_no_name() -> None:
    pair = [
        {
            "ifindex": 4,
            "ifname": "v1",
            "link": "v0",
            "mtu": 1500,
            "flags": [],
            "promiscuity": 0,
            "linkinfo": {"info_kind": "veth"},
        },
        {
            "ifindex": 5,
            "ifname": "v0",
            "link": "v1",
            "mtu": 1400,
            "flags": ["UP"],
            "master": "cni0",
            "promiscuity": 0,
            "linkinfo": {"info_kind": "veth", "info_slave_kind": "bridge"},
        },
        {"ifindex": 6, "ifname": "tunl0", "link": None, "mtu": 1480, "flags": ["NOARP"], "link_type": "ipip"},
    ]
    one, two, tunnel = ip_json.parse(json.dumps(pair)).links
    assert (one.peer_index, one.peer_netnsid, one.up) == (5, None, False)
    assert (two.peer_index, two.master, two.up) == (4, "cni0", True)
    assert (tunnel.kind, tunnel.peer_index) == ("ipip", None)


def test_addresses_and_the_empty_objects_of_4_x() -> None:
    listed = [
        {},
        ETH0
        | {
            "addr_info": [
                {},
                {"family": "inet", "local": "10.20.0.11", "prefixlen": 24, "scope": "global", "label": "eth0"},
                {"family": "inet", "local": "10.8.0.1", "address": "10.8.0.2", "prefixlen": 32, "scope": "global"},
                {"family": "inet6", "local": "fe80::1", "prefixlen": 64, "scope": "link"},
            ]
        },
        {"ifindex": 9, "ifname": None, "addr_info": [{}]},
    ]
    seen = ip_json.parse(json.dumps(listed))
    assert seen.addresses == (
        Address(device="eth0", text="10.20.0.11", length=24),
        Address(device="eth0", text="10.8.0.1", length=32),
        Address(device="eth0", text="fe80::1", length=64),
    )
    assert [each.mtu for each in seen.links] == [1450]
    assert seen.remarks == ("line 1: None has no MTU in it: `ip -j -d link` shows it",)


def test_routes() -> None:
    listed = [
        {
            "dst": "default",
            "gateway": "10.20.0.1",
            "dev": "eth0",
            "protocol": "dhcp",
            "metric": 100,
            "flags": [],
            "metrics": [{"mtu": 1400}],
        },
        {"dst": "10.42.2.0/24", "gateway": "10.42.2.0", "dev": "flannel.1", "flags": ["onlink"]},
        {
            "dst": "10.42.1.9",
            "dev": "cali0a1b2c3d4e5",
            "scope": "link",
            "flags": [],
            "metrics": [{"mtu": 1300, "advmss": 1200}],
        },
        {
            "dst": "10.9.0.0/16",
            "flags": [],
            "nexthops": [
                {"gateway": "10.20.0.1", "dev": "eth0", "weight": 1},
                {"gateway": "10.21.0.1", "dev": "eth1", "weight": 1},
            ],
        },
        {"type": "blackhole", "dst": "10.42.1.0/24", "flags": []},
        {"type": "local", "dst": "10.20.0.11", "dev": "eth0", "table": "local", "flags": []},
        {"dst": "10.66.0.0/16", "dev": "eth0", "table": "100", "flags": []},
        {
            "type": "unicast",
            "dst": "10.43.0.0/24",
            "via": {"family": "inet6", "host": "fe80::5"},
            "dev": "eth0",
            "metrics": {"mtu": 1350},
        },
    ]
    seen = ip_json.parse(json.dumps(listed))
    assert seen.routes == (
        net.Route(family=4, destination="default", device="eth0", gateway="10.20.0.1", mtu=1400),
        net.Route(family=4, destination="10.42.2.0/24", device="flannel.1", gateway="10.42.2.0"),
        net.Route(family=4, destination="10.42.1.9/32", device="cali0a1b2c3d4e5", mtu=1300, advmss=1200),
        net.Route(family=4, destination="10.9.0.0/16", device="eth0"),
        net.Route(family=4, destination="10.9.0.0/16", device="eth1"),
        net.Route(family=4, destination="10.43.0.0/24", device="eth0", gateway="fe80::5", mtu=1350),
    )
    assert seen.remarks == ()
    assert seen.lacks == {"route locks"}


def test_default_routes_of_ipv6_are_told_from_those_of_ipv4() -> None:
    listed = [
        {"dst": "default", "dev": "ppp0", "metric": 1024, "flags": [], "pref": "medium"},
        {"dst": "default", "gateway": "fe80::1", "dev": "eth0", "flags": []},
        {"dst": "default", "dev": "tun0", "scope": "link", "flags": [], "prefsrc": "10.8.0.1"},
    ]
    assert [route.family for route in ip_json.parse(json.dumps(listed)).routes] == [6, 6, 4]


def test_metrics_without_names_of_4_17_to_5_2_are_unknown_and_hide_nothing() -> None:
    text = (
        '[{"dst":"default","gateway":"10.20.0.1","dev":"eth0","flags":[],"metrics":[1400 ]},'
        '{"dst":"10.1.0.0/16","dev":"eth0","flags":[],"metrics":[1300 1200 ]}]'
    )
    seen = ip_json.parse(text)
    assert [(route.destination, route.mtu) for route in seen.routes] == [("default", None), ("10.1.0.0/16", None)]
    assert "route MTUs" in seen.lacks


def test_next_hops_of_4_17_are_no_json_and_said() -> None:
    text = '[{"dst":"10.9.0.0/16","flags":[]\n\tnexthop "gateway":"10.20.0.1"dev eth0 weight 1 }]'
    seen = ip_json.parse(text)
    assert seen.routes == ()
    (remark,) = seen.remarks
    assert remark.startswith(("line 1: is no JSON:", "line 2: is no JSON:"))
    assert "several next hops" in remark


def test_several_lists_below_each_other_and_pretty_ones() -> None:
    text = (
        f"{json.dumps([ETH0])}\n{json.dumps([{'dst': 'default', 'gateway': '10.20.0.1', 'dev': 'eth0'}], indent=4)}\n"
    )
    for seen in (ip_json.parse(text), outputs.parse(f"$ ip -j link; ip -j -p route\n{text}")):
        assert [each.name for each in seen.links] == ["eth0"]
        assert [each.destination for each in seen.routes] == ["default"]
        assert seen.remarks == ()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('[{"ifindex":2,"ifname":"eth0","mtu":"1500"}]', "eth0 has the mtu '1500', which no link can have"),
        ('[{"ifindex":2,"ifname":"eth0","mtu":true}]', "eth0 has the mtu True"),
        ('[{"ifindex":2,"ifname":"eth0","mtu":-1}]', "eth0 has the mtu -1"),
        ('[{"ifindex":"2","ifname":"eth0","mtu":1500}]', "eth0 has the index '2'"),
        ('[{"ifindex":2,"ifname":"e/0","mtu":1500}]', "a link with the name 'e/0'"),
        ('[{"ifindex":2,"ifname":["eth0"],"mtu":1500}]', "a link with the name"),
        ('[{"operstate":"UP","ifname":"eth0"}]', "'eth0' has no MTU in it"),
        ("[[1]]", "has [1] in it, which ip does not print"),
        ('[{"foo":1}]', "is no link, address or route of ip: it begins with 'foo'"),
        ("[" * 100_000, "nests too deep"),
        ('[{"ifindex":2,"ifname":"eth0","mtu":' + "9" * 5000 + "}]", "a number of too many digits"),
        ('[{"ifindex":2,', "is no JSON"),
        ('[{"dst":"nowhere","dev":"eth0"}]', "the route to 'nowhere' is none that ip prints"),
        ('[{"dst":"10.0.0.0/33","dev":"eth0"}]', "the route to '10.0.0.0/33' is none that ip prints"),
    ],
)
def test_what_no_ip_prints_is_a_sentence(text: str, part: str) -> None:
    seen = ip_json.parse(text)
    assert not seen.says
    assert part in seen.remarks[0]
    assert seen.remarks[0].startswith("line 1: ") or "the route" in seen.remarks[0]

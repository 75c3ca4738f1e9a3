"""Outputs as people paste them: with prompts, several in one file, routes, ifconfig old and new."""

import pytest

from kubemtu.core import net
from kubemtu.core.printed import outputs
from kubemtu.core.printed.values import Address, Output, joined

PASTE = """\
core@worker-3:~$ ip -4 a show eth0
2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc mq state UP group default qlen 1000
    inet 10.20.0.13/24 brd 10.20.0.255 scope global eth0
       valid_lft forever preferred_lft forever
core@worker-3:~$ sudo ip route
default via 10.20.0.1 dev eth0 proto dhcp src 10.20.0.13 metric 100 mtu 1400 
10.42.1.0/24 via 10.42.1.0 dev flannel.1 onlink 
10.42.3.5 dev cali0a1b2c3d4e5 scope link 
blackhole 10.42.3.0/26 proto bird 
10.42.4.0/26 via 10.20.0.14 dev tunl0 proto bird onlink 
unreachable default metric 4278198272 
10.99.0.0/16 proto static metric 10 
	nexthop via 10.20.0.1 dev eth0 weight 1 
	nexthop via 10.21.0.1 dev eth1 weight 1 
core@worker-3:~$ ip -6 r
fd00:20::/64 dev eth0 proto ra metric 100 expires 86391sec mtu 1440 pref medium
default dev wg0 metric 1024 pref medium
core@worker-3:~$ ip route get 10.20.0.14
10.20.0.14 dev eth0 src 10.20.0.13 uid 1000 
    cache expires 402sec mtu 1380 
core@worker-3:~$ 
"""  # noqa: W291  # as ip prints it

OLD_IFCONFIG = """\
cali0a1b2c3d4e5 Link encap:Ethernet  HWaddr EE:EE:EE:EE:EE:EE  
          inet6 addr: fe80::ecee:eeff:feee:eeee/64 Scope:Link
          UP BROADCAST RUNNING MULTICAST  MTU:1440  Metric:1
          RX packets:5 errors:0 dropped:0 overruns:0 frame:0
          collisions:0 txqueuelen:0 

eth0      Link encap:Ethernet  HWaddr 52:54:00:AA:BB:CC  
          inet addr:192.168.121.10  Bcast:192.168.121.255  Mask:255.255.255.0
          UP BROADCAST RUNNING MULTICAST  MTU:1500  Metric:1
          RX bytes:10 (10.0 b)  TX bytes:0 (0.0 b)
          Interrupt:11 Base address:0xc000 

eth0:1    Link encap:Ethernet  HWaddr 52:54:00:AA:BB:CC  
          inet addr:192.168.121.11  Bcast:192.168.121.255  Mask:255.255.255.0
          UP BROADCAST RUNNING MULTICAST  MTU:1500  Metric:1

tunl0     Link encap:IPIP Tunnel  HWaddr   
          inet addr:10.233.64.0  Mask:255.255.255.255
          UP RUNNING NOARP  MTU:1420  Metric:1
"""  # noqa: W291

NEW_IFCONFIG = """\
eth0: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 9001
        inet 172.31.5.20  netmask 255.255.240.0  broadcast 172.31.15.255
        inet6 fe80::8ff:feff:fe00:1  prefixlen 64  scopeid 0x20<link>
        ether 0a:00:00:00:00:01  txqueuelen 1000  (Ethernet)
        RX packets 1  bytes 1 (1.0 B)

eth0:0: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 9001
        inet 172.31.5.21  netmask 255.255.240.0  broadcast 172.31.15.255
        ether 0a:00:00:00:00:01  txqueuelen 1000  (Ethernet)

tunl0: flags=193<UP,RUNNING,NOARP>  mtu 8981
        inet 10.233.64.0  netmask 255.255.255.255
        tunnel   txqueuelen 1000  (IPIP Tunnel)

vethdown: flags=4098<BROADCAST,MULTICAST>  mtu 1500
        ether 0a:00:00:00:00:02  txqueuelen 0  (Ethernet)
"""

ROUTE_N = """\
$ route -n
Kernel IP routing table
Destination     Gateway         Genmask         Flags Metric Ref    Use Iface
0.0.0.0         10.20.0.1       0.0.0.0         UG    100    0        0 eth0
10.20.0.0       0.0.0.0         255.255.255.0   U     100    0        0 eth0
10.42.1.0       10.42.1.0       255.255.255.0   UG    0      0        0 flannel.1
10.42.3.0       0.0.0.0         255.255.255.192 U     0      0        0 *
10.66.0.0       -               255.255.0.0     !     0      -        0 -
$ ip route
10.20.0.0/24 dev eth0 proto kernel scope link src 10.20.0.13
"""


def names(output: Output) -> dict[str, int]:
    return {link.name: link.mtu for link in output.links}


def test_a_paste_of_several_commands_is_told_apart() -> None:
    seen = outputs.parse(PASTE)
    assert names(seen) == {"eth0": 1450}
    assert seen.addresses == (Address(device="eth0", text="10.20.0.13", length=24),)
    assert seen.routes == (
        net.Route(family=4, destination="default", device="eth0", gateway="10.20.0.1", mtu=1400),
        net.Route(family=4, destination="10.42.1.0/24", device="flannel.1", gateway="10.42.1.0"),
        net.Route(family=4, destination="10.42.3.5/32", device="cali0a1b2c3d4e5"),
        net.Route(family=4, destination="10.42.4.0/26", device="tunl0", gateway="10.20.0.14"),
        net.Route(family=4, destination="10.99.0.0/16", device="eth0"),
        net.Route(family=4, destination="10.99.0.0/16", device="eth1"),
        net.Route(family=6, destination="fd00:20::/64", device="eth0", mtu=1440),
        net.Route(family=6, destination="default", device="wg0"),
    )
    assert seen.remarks == ("line 19: is an answer of `ip route get`, which is no route: it was not used",)


def test_the_prompt_names_the_host() -> None:
    assert outputs.host(PASTE) == "worker-3"
    assert outputs.host("[root@NODE-7.example.com ~]# ip a\n") == "node-7.example.com"
    assert outputs.host("user@host wrote # a comment\n") == ""
    assert outputs.host(ROUTE_N) == ""


def test_ifconfig_of_net_tools_1_60_and_busybox() -> None:
    seen = outputs.parse(OLD_IFCONFIG)
    assert names(seen) == {"cali0a1b2c3d4e5": 1440, "eth0": 1500, "tunl0": 1420}
    assert {link.name: link.kind for link in seen.links} == {"cali0a1b2c3d4e5": "", "eth0": "", "tunl0": "ipip"}
    assert [(each.device, each.text, each.length) for each in seen.addresses] == [
        ("cali0a1b2c3d4e5", "fe80::ecee:eeff:feee:eeee", 64),
        ("eth0", "192.168.121.10", 24),
        ("eth0", "192.168.121.11", 24),
        ("tunl0", "10.233.64.0", 32),
    ]
    assert seen.remarks == ()


def test_ifconfig_of_net_tools_2() -> None:
    seen = outputs.parse(NEW_IFCONFIG)
    assert {link.name: (link.mtu, link.up, link.kind) for link in seen.links} == {
        "eth0": (9001, True, ""),
        "tunl0": (8981, True, "ipip"),
        "vethdown": (1500, False, ""),
    }
    assert [(each.device, each.text, each.length) for each in seen.addresses] == [
        ("eth0", "172.31.5.20", 20),
        ("eth0", "fe80::8ff:feff:fe00:1", 64),
        ("eth0", "172.31.5.21", 20),
        ("tunl0", "10.233.64.0", 32),
    ]
    assert seen.remarks == ()


def test_routes_of_pods_have_no_protocol_and_make_no_busybox() -> None:
    text = "10.20.0.0/24 dev eth0 proto kernel scope link src 10.20.0.13\n10.42.3.5 dev cali0a1b2c3d4e5 scope link\n"
    assert outputs.parse(text).lacks == frozenset()
    assert outputs.parse(text.replace(" proto kernel", "")).lacks == {"route MTUs"}


def test_a_routing_table_of_net_tools() -> None:
    seen = outputs.parse(ROUTE_N)
    assert [(route.destination, route.device, route.gateway) for route in seen.routes] == [
        ("default", "eth0", "10.20.0.1"),
        ("10.20.0.0/24", "eth0", None),
        ("10.42.1.0/24", "flannel.1", "10.42.1.0"),
    ]
    assert "route MTUs" in seen.lacks


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (PASTE, "ip"),
        (OLD_IFCONFIG, "ip"),
        (NEW_IFCONFIG, "ip"),
        (ROUTE_N, "ip"),
        ("\ufeff1: lo: <LOOPBACK> mtu 65536\r\n", "ip"),
        ("lo   UNKNOWN   127.0.0.1/8\n", "ip"),
        ('[{"ifindex":1,"ifname":"lo","mtu":65536}]', "ip -j"),
        ('$ ip -j r\n[ {\n  "dst": "default",\n  "dev": "eth0" } ]', "ip -j"),
        ('[{"apiVersion":"v1","kind":"Pod"}]', ""),
        ("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n", ""),
        ("", ""),
        ("FLANNEL_MTU=1450\n", ""),
        ('{"Network":"10.42.0.0/16","Backend":{"Type":"vxlan"}}', ""),
        ("I1128 13:28:26 main.go:1] default interface eth0\n", ""),
    ],
)
def test_an_output_is_recognised_by_what_stands_in_it(text: str, kind: str) -> None:
    assert outputs.recognise(text) == kind


def test_of_two_outputs_of_one_node_the_details_count() -> None:
    head = "5: flannel.1: <UP> mtu 1450 qdisc noqueue state UNKNOWN group default\n"
    plain = outputs.parse(f"{head}    link/ether 0a:00:00:00:00:01\n")
    details = outputs.parse(
        f"{head}    link/ether 0a:00:00:00:00:01 promiscuity 0\n    vxlan id 1 local 10.0.0.1 dev eth0 dstport 8472\n"
    )
    for order in ([("a", plain), ("b", details)], [("b", details), ("a", plain)]):
        both = joined(order)
        assert both.links == details.links
        assert (both.undetailed, both.remarks) == (frozenset(), ())
    other = outputs.parse("5: flannel.1: <UP> mtu 1400 qdisc noqueue group default\n")
    both = joined([("a.txt", plain), ("c.txt", other)])
    assert [link.mtu for link in both.links] == [1450]
    (remark,) = both.remarks
    assert remark.startswith("flannel.1 has MTU 1450 in a.txt and 1400 in c.txt: the first was taken")


def test_a_route_with_its_mtu_or_its_lock_replaces_the_same_without() -> None:
    plain = outputs.parse("$ route -n\nKernel IP routing table\n0.0.0.0 10.0.0.1 0.0.0.0 UG 0 0 0 eth0\n")
    unlocked = outputs.parse('[{"dst":"default","gateway":"10.0.0.1","dev":"eth0","metrics":[{"mtu":1400}]}]')
    locked = outputs.parse("default via 10.0.0.1 dev eth0 mtu lock 1400\n")
    assert [each.mtu for each in joined([("a", plain), ("b", unlocked)]).routes] == [1400]
    assert joined([("a", plain), ("b", unlocked)]).lacks == {"route locks"}
    assert joined([("a", plain)]).lacks == {"route MTUs"}
    both = joined([("a", plain), ("b", unlocked), ("c", locked)])
    assert [(each.mtu, each.locked) for each in both.routes] == [(1400, True)]
    assert both.lacks == frozenset()

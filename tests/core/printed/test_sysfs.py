"""Links out of /sys/class/net, and routes and addresses out of /proc/net, as grep prints their lines."""

from hypothesis import given
from hypothesis import strategies as st

from kubemtu.core import net
from kubemtu.core.printed import procnet, sysfs

NODE = """\
/sys/class/net/lo/uevent:INTERFACE=lo
/sys/class/net/lo/uevent:IFINDEX=1
/sys/class/net/lo/mtu:65536
/sys/class/net/lo/ifindex:1
/sys/class/net/lo/type:772
/sys/class/net/lo/iflink:1
/sys/class/net/lo/flags:0x9
/sys/class/net/eth0/mtu:1500
/sys/class/net/eth0/ifindex:2
/sys/class/net/eth0/type:1
/sys/class/net/eth0/iflink:2
/sys/class/net/eth0/flags:0x1003
/sys/class/net/flannel.1/uevent:DEVTYPE=vxlan
/sys/class/net/flannel.1/uevent:INTERFACE=flannel.1
/sys/class/net/flannel.1/uevent:IFINDEX=4
/sys/class/net/flannel.1/mtu:1450
/sys/class/net/flannel.1/ifindex:4
/sys/class/net/flannel.1/type:1
/sys/class/net/flannel.1/iflink:2
/sys/class/net/flannel.1/flags:0x1003
/sys/class/net/cni0/uevent:DEVTYPE=bridge
/sys/class/net/cni0/mtu:1450
/sys/class/net/cni0/ifindex:5
/sys/class/net/cni0/type:1
/sys/class/net/cni0/iflink:5
/sys/class/net/cni0/flags:0x1003
/sys/class/net/veth1/mtu:1400
/sys/class/net/veth1/ifindex:6
/sys/class/net/veth1/type:1
/sys/class/net/veth1/iflink:2
/sys/class/net/veth1/flags:0x1003
/sys/class/net/veth1/master/ifindex:5
/sys/class/net/veth1/master/mtu:1450
/sys/class/net/tunl0/mtu:1480
/sys/class/net/tunl0/ifindex:7
/sys/class/net/tunl0/type:768
/sys/class/net/tunl0/iflink:0
/sys/class/net/tunl0/flags:0x80
"""


def test_a_node_as_its_files_say() -> None:
    seen = sysfs.parse(NODE)
    assert seen.remarks == ()
    assert {link.name: link for link in seen.links} == {
        "lo": net.Link(index=1, name="lo", mtu=65536),
        "eth0": net.Link(index=2, name="eth0", mtu=1500),
        "flannel.1": net.Link(index=4, name="flannel.1", mtu=1450, kind="vxlan", vxlan=net.Vxlan(vni=0, lower="eth0")),
        "cni0": net.Link(index=5, name="cni0", mtu=1450, kind="bridge"),
        # its other end has index 2 where it is, as eth0 has here: they are not each other's
        "veth1": net.Link(index=6, name="veth1", mtu=1400, kind="veth", master="cni0", peer_index=2, peer_netnsid=-1),
        "tunl0": net.Link(index=7, name="tunl0", mtu=1480, kind="ipip", up=False),
    }


def test_two_veths_that_have_each_others_index_lead_away_all_the_same() -> None:
    """On a node that is a container, eth0 is a veth as well: nothing here tells that its other end is elsewhere."""
    text = "".join(
        f"/sys/class/net/{name}/{file}:{value}\n"
        for name, index, other in (("va", 8, 9), ("vb", 9, 8))
        for file, value in (("mtu", 1500), ("ifindex", index), ("iflink", other), ("type", 1), ("flags", "0x1003"))
    )
    assert [(link.name, link.kind, link.peer_index, link.peer_netnsid) for link in sysfs.parse(text).links] == [
        ("va", "veth", 9, -1),
        ("vb", "veth", 8, -1),
    ]


def test_a_device_that_went_while_it_was_read_is_left_out_and_one_that_lies_is_said() -> None:
    seen = sysfs.parse("/sys/class/net/gone/type:1\n/sys/class/net/odd/mtu:-5\n/sys/class/net/odd/ifindex:3\nhello\n")
    assert seen.links == ()
    assert seen.remarks == (
        "line 4: is no file of a network device: 'hello'",
        "'odd': mtu is '-5': it was left out",
    )


PROC = (
    "/proc/net/route:Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT  \n"
    "/proc/net/route:eth0\t00000000\t014DA8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0  \n"
    "/proc/net/route:eth0\t004DA8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0  \n"
    "/proc/net/route:cali1\t05012A0A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t1440\t0\t0  \n"
    "/proc/net/route:*\t0000FF0A\t00000000\t0200\t0\t0\t0\t0000FFFF\t0\t0\t0  \n"
    "/proc/net/ipv6_route:20010db8000000000000000000000000 40 00000000000000000000000000000000 00"
    " 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n"
    "/proc/net/ipv6_route:00000000000000000000000000000000 00 00000000000000000000000000000000 00"
    " 20010db8000000000000000000000001 00000400 00000003 00000000 00000003     eth0\n"
    "/proc/net/ipv6_route:20010db8000000000000000000000002 80 00000000000000000000000000000000 00"
    " 00000000000000000000000000000000 00000000 00000004 00000000 80200001     eth0\n"
    "/proc/net/ipv6_route:ff000000000000000000000000000000 08 00000000000000000000000000000000 00"
    " 00000000000000000000000000000000 00000100 00000004 00000000 00000001     eth0\n"
    "/proc/net/if_inet6:20010db8000000000000000000000002 02 40 00 80     eth0\n"
)


def test_routes_and_addresses_as_proc_says() -> None:
    seen = procnet.parse(PROC)
    assert seen.remarks == ()
    assert seen.routes == (
        net.Route(family=4, destination="default", device="eth0", gateway="192.168.77.1"),
        net.Route(family=4, destination="192.168.77.0/24", device="eth0"),
        net.Route(family=4, destination="10.42.1.5/32", device="cali1", advmss=1400),
        net.Route(family=6, destination="2001:db8::/64", device="eth0"),
        net.Route(family=6, destination="default", device="eth0", gateway="2001:db8::1"),
    )
    assert [(each.device, each.text, each.length) for each in seen.addresses] == [("eth0", "2001:db8::2", 64)]
    assert seen.lacks == {"route MTUs", "route locks"}


def test_the_other_byte_order() -> None:
    line = "/proc/net/route:eth0\tC0A84D00\t00000000\t0001\t0\t0\t100\tFFFFFF00\t0\t0\t0\n"
    assert procnet.parse(line, big_endian=True).routes[0].destination == "192.168.77.0/24"


def test_what_is_no_such_line_is_said() -> None:
    seen = procnet.parse("/proc/net/route:eth0\tzz\n/proc/net/ipv6_route:1\nwhat\n")
    assert [sentence.partition(": ")[0] for sentence in seen.remarks] == ["line 1", "line 2", "line 3"]
    assert seen.routes == ()


@given(st.lists(st.one_of(st.sampled_from((NODE + PROC).splitlines()), st.text(max_size=80)), max_size=40))
def test_anything_becomes_values_and_sentences(lines: list[str]) -> None:
    text = "\n".join(lines)
    for seen in (sysfs.parse(text), procnet.parse(text)):
        assert all("\n" not in sentence and "\x1b" not in sentence for sentence in seen.remarks)


@given(st.text(alphabet="/sysclanetmufoxlikd:=0123456789abc\n\t ", max_size=200))
def test_noise(text: str) -> None:
    sysfs.parse("/sys/class/net/eth0/" + text)
    procnet.parse("/proc/net/route:" + text)

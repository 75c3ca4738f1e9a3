"""Messages as bytes, and the kernel's refusals as sentences."""

from __future__ import annotations

import errno
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.nameless import anonymous

from kubemtu.core import net
from kubemtu.core.errors import Forbidden, NodeFailure
from kubemtu.node import errors
from kubemtu.node.kernel import links, netlink, netns, routes

if TYPE_CHECKING:
    from tests.support.rigs import RigMaker

needs_namespaces = pytest.mark.netns
GONE = links.Device(99, "x0", 1, "", True, None, None, None, None, None, links.Drops())


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=64)))
def test_attributes_survive_packing(wanted: dict[int, bytes]) -> None:
    packed = b"".join(netlink.attribute(kind, payload) for kind, payload in wanted.items())
    assert len(packed) % 4 == 0
    assert netlink.attributes(packed) == wanted


@given(st.binary(max_size=200))
def test_attributes_never_fail_on_garbage(garbage: bytes) -> None:
    assert isinstance(netlink.attributes(garbage), dict)


def test_an_attribute_is_laid_out_as_rtnetlink_says() -> None:
    assert netlink.u32(4, 1450) == struct.pack("=HHI", 8, 4, 1450)
    assert netlink.attribute(3, b"eth0\0") == struct.pack("=HH", 9, 3) + b"eth0\0\0\0\0"


def test_refusals_say_what_whom_and_what_to_do() -> None:
    refused = errors.refusal("setting eth0 to 70000", errno.EINVAL, "mtu greater than device maximum", "choose less")
    assert str(refused) == (
        "setting eth0 to 70000: the kernel said EINVAL (mtu greater than device maximum); choose less"
    )
    assert isinstance(refused, NodeFailure)
    assert isinstance(errors.refusal("x", errno.ENODEV), errors.Gone)
    denied = errors.refusal("setting eth0", errno.EPERM)
    assert isinstance(denied, Forbidden)
    assert "CAP_NET_ADMIN" in str(denied)


@needs_namespaces
def test_the_kernels_own_words_reach_the_sentence(namespaces: None) -> None:
    with anonymous() as space:

        def refused() -> str:
            with netlink.Socket() as sock:
                (lo,) = links.devices(sock)
                with pytest.raises(errors.Refused, match="setting lo from MTU 65536 to 4294967295") as caught:
                    links.set_mtu(sock, lo, 4294967295)
                with pytest.raises(errors.Gone):
                    links.set_mtu(sock, GONE, 1500)
            return str(caught.value)

        assert "EINVAL" in netns.inside(space, refused)


@needs_namespaces
def test_many_requests_go_in_few_sends_and_answer_in_order(namespaces: None) -> None:
    with anonymous() as space:

        def answers() -> list[int]:
            with netlink.Socket() as sock:
                indexes = [1 if place % 3 else 77 for place in range(200)]
                found = sock.exchange([links.move(index, 60000) for index in indexes])
                return [answer.code for answer in found]

        assert netns.inside(space, answers) == [0 if place % 3 else errno.ENODEV for place in range(200)]


@needs_namespaces
def test_links_routes_and_addresses_are_those_that_ip_shows(rigs: RigMaker) -> None:
    rig = rigs(1, bridged=True)
    subprocess.run(("ip", "-n", rig.node, "link", "set", "cni0", "mtu", "1442"), check=True)

    def read() -> tuple[tuple[net.Link, ...], dict[int, tuple[str, ...]], list[routes.Raw]]:
        with netlink.Socket() as sock:
            return links.links(links.devices(sock)), links.addresses(sock), routes.dump(sock)

    seen, addresses, table = rig.inside(read)
    by_name = {link.name: link for link in seen}
    assert by_name["cni0"].kind == "bridge"
    assert by_name["cni0"].mtu == 1442
    assert by_name["vethrig1"].master == "cni0"
    assert by_name["vethrig1"].peer_index == 2
    assert by_name["vethrig1"].peer_netnsid is not None
    assert by_name["flannel.1"].vxlan == net.Vxlan(vni=1, port=8472, lower="eth0")
    assert addresses[by_name["cni0"].index] == ("10.42.1.1", "fd42:0:0:1::1")
    assert {route.destination for route in table if route.steers} == {
        "default",
        "10.42.1.0/24",
        "10.42.2.0/24",
        "10.42.3.0/24",
        "192.168.77.0/24",
        "fd42:0:0:1::/64",
        "fd42:0:0:2::/64",
    }


@needs_namespaces
def test_ipv6_underlays_are_told_from_ipv4_ones(rigs: RigMaker) -> None:
    rig = rigs(0)
    add = "link add vx6 type vxlan id 7 dev eth0 remote fd00::1 dstport 4789"
    subprocess.run(("ip", "-n", rig.node, *add.split()), check=True)

    def read() -> tuple[net.Link, ...]:
        with netlink.Socket() as sock:
            return links.links(links.devices(sock))

    (found,) = [link for link in rig.inside(read) if link.name == "vx6"]
    assert found.vxlan == net.Vxlan(vni=7, port=4789, lower="eth0", ipv6_outer=True)
    assert found.mtu == 1430


LOCK, MTU, ADVMSS = 1, 2, 8


def u32(number: int) -> bytes:
    return struct.pack("=I", number)


def test_a_pin_keeps_what_else_a_route_has() -> None:
    before = ((MTU, u32(1480)), (ADVMSS, u32(1200)), (11, u32(20)))
    pinned = routes.with_mtu(before, 1450, lock=True, advmss=1460)
    assert pinned == ((LOCK, u32(4)), (MTU, u32(1450)), (ADVMSS, u32(1200)), (11, u32(20)))
    assert routes.with_mtu(pinned, 1480, lock=False) == before


def test_other_lock_bits_stay() -> None:
    before = ((LOCK, u32(1 << 8)), (ADVMSS, u32(1200)))
    pinned = routes.with_mtu(before, 1450, lock=True)
    assert pinned[0] == (LOCK, u32(1 << 8 | 4))
    assert routes.with_mtu(pinned, None, lock=False) == before


@given(
    st.dictionaries(st.sampled_from([2, 3, 8, 10, 11, 14]), st.integers(1, 2**32 - 1).map(u32)),
    st.integers(68, 65535),
)
def test_pinning_and_unpinning_is_the_identity(metrics: dict[int, bytes], low: int) -> None:
    before = tuple(sorted(metrics.items()))
    pinned = routes.with_mtu(before, low, lock=True)
    assert routes.metric(pinned, MTU) == low
    assert routes.with_mtu(pinned, routes.metric(before, MTU), lock=False) == before


@needs_namespaces
def test_what_the_kernel_tells_of_veths(namespaces: None) -> None:
    """Ends with and without a bridge, IPv6, a peer elsewhere, and MTUs that differ."""
    with anonymous() as space:

        def read() -> list[links.Device]:
            lines = ["link add br0 type bridge", "link add w0 type veth peer name w1", "link set w0 up"]
            lines += [f"link add v{each} mtu {1400 + each} type veth peer name p{each}" for each in range(6)]
            lines += ["link set v0 master br0", "link set v1 master br0", "link set v2 up", "link set p3 up"]
            subprocess.run(("ip", "-batch", "-"), input="\n".join(lines), text=True, check=True)
            Path("/proc/sys/net/ipv6/conf/v4/disable_ipv6").write_text("1")
            with netlink.Socket() as sock:
                ask = (netlink.RTM_GETLINK, netlink.DUMP, struct.pack("=BxHiII", 0, 0, 0, 0, 0))
                bodies = sock.exchange([ask])[0].bodies
            return [links.unpack(body) for body in bodies]

        found = netns.inside(space, read)
    walked = {device.name: device for device in found}
    assert [walked[f"v{number}"].mtu for number in range(6)] == [1400, 1401, 1402, 1403, 1404, 1405]
    assert walked["v0"].master == walked["v1"].master == walked["br0"].index
    assert walked["v2"].master is None
    assert walked["v2"].peer_index == walked["p2"].index
    assert (walked["v2"].up, walked["v3"].up) == (True, False)
    assert (walked["v4"].ipv6_mtu, walked["v5"].ipv6_mtu) == (None, 1405)

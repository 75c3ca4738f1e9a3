"""Text of `ip link` and `ip addr`: the shapes of distributions, each with the MTUs that its kernel had."""

from pathlib import Path

import pytest

from kubemtu.core import net
from kubemtu.core.printed import outputs
from kubemtu.core.printed.values import Address, Output

SHAPES = Path(__file__).parents[2] / "shapes/printed"
UBUNTU = (SHAPES / "ubuntu-ip-a.txt").read_text("utf-8")
DETAILS = (SHAPES / "details-ip-d-link.txt").read_text("utf-8")
CENTOS_7 = (SHAPES / "centos-7-ip-a.txt").read_text("utf-8")
ALPINE = (SHAPES / "alpine-ip-a.txt").read_text("utf-8")


def mtus(output: Output) -> dict[str, int]:
    return {link.name: link.mtu for link in output.links}


def link(output: Output, name: str) -> net.Link:
    return next(each for each in output.links if each.name == name)


def test_addresses_mtus_and_other_ends_of_a_node_of_today() -> None:
    seen = outputs.parse(UBUNTU)
    assert mtus(seen) == {
        "lo": 65536,
        "ens3": 1450,
        "cali0a1b2c3d4e5": 1430,
        "cali00000000002": 1500,
        "vethwe-bridge": 1376,
        "vethwe-datapath": 1376,
    }
    assert seen.remarks == ()
    assert Address(device="ens3", text="10.20.0.11", length=24) in seen.addresses
    assert [each.text for each in seen.addresses if not each.routed] == [
        "::1",
        "fe80::f816:3eff:fe12:3456",
        "fe80::ecee:eeff:feee:eeee",
    ]
    pod = link(seen, "cali0a1b2c3d4e5")
    assert (pod.index, pod.kind, pod.peer_index, pod.peer_netnsid) == (5, "veth", 3, -1)
    assert dict(seen.namespaces) == {"cali0a1b2c3d4e5": "cni-5f0c3b1e-6c0e-4a38-9b8e-000000000001"}
    assert link(seen, "cali00000000002").peer_netnsid == 4
    assert link(seen, "cali00000000002").up
    weave = link(seen, "vethwe-bridge")
    assert (weave.kind, weave.peer_index, weave.peer_netnsid, weave.master) == ("veth", 10, None, "weave")
    assert "ens3" in seen.undetailed


def test_details_say_the_kind_of_every_device() -> None:
    seen = outputs.parse(DETAILS)
    assert {each.name: (each.mtu, each.kind) for each in seen.links} == {
        "eth0": (9001, "veth"),
        "vxlan.calico": (8951, "vxlan"),
        "flannel-v6.1": (8931, "vxlan"),
        "cilium_vxlan": (9001, "vxlan"),
        "bond0": (9000, "bond"),
        "eno1": (9000, ""),
        "tunl0": (8981, "ipip"),
        "wg0": (8921, "wireguard"),
        "bond0.42": (1500, "vlan"),
        "cni0": (8951, "bridge"),
        "veth0a1b2c3d": (8951, "veth"),
    }
    assert link(seen, "vxlan.calico").vxlan == net.Vxlan(vni=4096, port=4789, lower="eth0")
    assert link(seen, "flannel-v6.1").vxlan == net.Vxlan(vni=1, port=8472, lower="eth0", ipv6_outer=True)
    assert link(seen, "cilium_vxlan").vxlan == net.Vxlan(vni=0, port=4789)
    assert link(seen, "bond0.42").peer_index is None
    assert link(seen, "veth0a1b2c3d").master == "cni0"
    assert (seen.undetailed, seen.remarks) == (frozenset(), ())


@pytest.mark.parametrize(
    ("text", "pod", "master"), [(CENTOS_7, "cali3ab00000001", None), (ALPINE, "veth77777777", "cni0")]
)
def test_an_ip_that_looks_ends_up_in_the_wrong_namespace_is_not_believed(
    text: str, pod: str, master: str | None
) -> None:
    seen = outputs.parse(text)
    assert link(seen, pod).peer_index is None
    assert link(seen, pod).kind == ""
    assert link(seen, pod).master == master
    assert seen.endless == {link.name for link in seen.links}


def test_mtus_of_an_old_and_of_a_small_ip() -> None:
    assert mtus(outputs.parse(CENTOS_7)) == {"lo": 65536, "eth0": 1500, "tunl0": 1440, "cali3ab00000001": 1440}
    assert mtus(outputs.parse(ALPINE)) == {
        "lo": 65536,
        "eth0": 1460,
        "flannel.1": 1410,
        "cni0": 1410,
        "veth77777777": 1410,
        "tun0": 1400,
    }
    assert link(outputs.parse(CENTOS_7), "tunl0").kind == "ipip"
    assert not link(outputs.parse(ALPINE), "tun0").up


def test_one_line_a_link_carriage_returns_and_colours_say_the_same() -> None:
    plain = outputs.parse(DETAILS)
    single = DETAILS.replace("\n    ", "\\    ")
    coloured = DETAILS.replace(": eth0@if91:", ": \x1b[36meth0@if91: \x1b[0m").replace(
        "state UP", "state \x1b[32mUP \x1b[0m"
    )
    for text in (single, DETAILS.replace("\n", "\r\n"), coloured.replace("\x1b[0m <", "\x1b[0m<"), f"\ufeff{DETAILS}"):
        assert outputs.parse(text) == plain
    addresses = "2: ens3    inet 10.20.0.11/24 brd 10.20.0.255 scope global ens3\\       valid_lft forever\n"
    assert outputs.parse(addresses).addresses == (Address(device="ens3", text="10.20.0.11", length=24),)
    assert outputs.parse(addresses).remarks == ()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("2: eth0: <UP> mtu 15OO qdisc noop", "line 1: 'eth0' has the MTU '15OO'"),
        ("2: eth0: <UP> qdisc noop", "line 1: 'eth0' has the MTU None"),
        ("2: eth0: <UP> mtu 99999999999 qdisc noop", "line 1: 'eth0' has the MTU '99999999999'"),
        ("2: eth0: <UP> mtu 0 qdisc noop", "line 1: 'eth0' has the MTU '0'"),
        ("2: a-name-of-sixteen: <UP> mtu 1500", "line 1: 'a-name-of-sixteen' has a name that no link can have"),
        ("2: eth0: <UP> mtu 1500\n    inet 10.0.0.300/24 scope global", "line 2: '10.0.0.300' is no address of inet"),
        ("2: eth0: <UP> mtu 1500\nwhat is this", "line 2: is not understood: 'what is this'"),
        ("eth0@if2   UP   10.0.0.1/24", "`ip -br` shows no MTUs: `ip -d link` does"),
    ],
)
def test_what_is_not_understood_is_a_sentence_with_its_line(line: str, sentence: str) -> None:
    assert sentence in outputs.parse(line).remarks


def test_a_link_that_is_printed_twice_with_two_mtus_is_said() -> None:
    text = "2: eth0: <UP> mtu 1500 qdisc noop\n2: eth0: <UP> mtu 1450 qdisc noop\n"
    assert mtus(outputs.parse(text)) == {"eth0": 1500}
    assert outputs.parse(text).remarks == ("eth0 has MTU 1450 here and 1500 further above: the first was taken",)

"""One look at a node, against what `ip` built."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.support.rigs import run

from kubemtu.agent import kernel
from kubemtu.cni import registry
from kubemtu.core import net
from kubemtu.core.printed import outputs, uplinks
from kubemtu.node import observe
from kubemtu.node.kernel import netns

FILES = (*kernel.CNI_FILES, *registry.node_paths())

if TYPE_CHECKING:
    from tests.support.rigs import RigMaker

pytestmark = pytest.mark.netns


def test_a_routed_pod_is_seen_at_both_ends(rigs: RigMaker) -> None:
    rig = rigs(2)
    subprocess.run(("ip", "-n", rig.node, "link", "set", "cali2", "mtu", "1450"), check=True)
    rig.sysctl(rig.pods[1], "net/ipv6/conf/eth0/mtu", "1400")
    subprocess.run(("ip", "-n", rig.pods[1], "link", "add", "docker0", "type", "bridge"), check=True)
    seen = rig.inside(lambda: observe.observe("n1", ports=net.PortRule(prefixes=("cali",), bridge="cni0")))
    assert seen.errors == ()
    one, two = seen.ports
    assert (one.netns, one.host_link, one.host_mtu, one.pod_link, one.pod_mtu) == (
        rig.pods[0],
        "cali1",
        1500,
        "eth0",
        1500,
    )
    assert (two.host_mtu, two.pod_mtu, two.ipv6_mtu, two.others) == (1450, 1500, 1400, ("docker0",))
    assert one.addresses == ("10.42.1.10", "fd42:0:0:1::a")
    assert one.bridge is None
    assert net.Route(family=4, destination="default", device="eth0", gateway="169.254.1.1") in one.routes
    assert net.Route(family=4, destination="10.42.1.10/32", device="cali1") in seen.routes


def test_a_bridged_pod_is_found_by_its_bridge_and_others_are_not(rigs: RigMaker) -> None:
    rig = rigs(1, bridged=True)
    stranger = "link add vethx type veth peer name vethy"
    subprocess.run(("ip", "-n", rig.node, *stranger.split()), check=True)
    seen = rig.inside(lambda: observe.observe("n1", ports=net.PortRule(prefixes=("cali",), bridge="cni0")))
    assert [(port.host_link, port.bridge) for port in seen.ports] == [("vethrig1", "cni0")]


def test_pins_and_counters_are_seen(rigs: RigMaker) -> None:
    rig = rigs(1)
    pin = "route replace default via 169.254.1.1 dev eth0 mtu lock 1450 advmss 1460"
    subprocess.run(("ip", "-n", rig.pods[0], *pin.split()), check=True)
    seen = rig.inside(lambda: observe.observe("n1", ports=rig.rule))
    pinned = net.Route(
        family=4, destination="default", device="eth0", gateway="169.254.1.1", mtu=1450, locked=True, advmss=1460
    )
    assert pinned in seen.ports[0].routes


def test_the_uplink_is_the_kernels_choice(rigs: RigMaker) -> None:
    rig = rigs(0)
    route = "route add 192.168.99.0/24 via 192.168.77.9 mtu 1400"
    subprocess.run(("ip", "-n", rig.node, *route.split()), check=True)
    peers = ("192.168.77.2", "192.168.99.1", "192.168.77.1", "2001:db8::1")
    seen = rig.inside(lambda: observe.observe("n1", ports=rig.rule, peers=peers))
    assert seen.uplinks == (
        net.Uplink(peer="192.168.77.2", device="eth0", mtu=1500, source="192.168.77.1"),
        net.Uplink(peer="192.168.99.1", device="eth0", mtu=1500, route_mtu=1400, source="192.168.77.1"),
    )  # the node's own address has no uplink
    (trouble,) = seen.errors
    assert "2001:db8::1" in trouble
    wrong = rig.inside(lambda: observe.observe("n1", ports=rig.rule, peers=("node-2",)))
    assert "node-2" in wrong.errors[0]


def test_the_veth_of_calicos_ebpf_has_both_ends_on_the_node_and_is_no_pod_s(rigs: RigMaker) -> None:
    """felix/dataplane/linux/bpf_ep_mgr.go makes it so."""
    rig = rigs(1)
    rig.ip_batch(rig.node, ["link add bpfin.cali type veth peer name bpfout.cali", "link set bpfin.cali mtu 1450 up"])
    seen = rig.inside(lambda: observe.observe("n1", ports=registry.ports()))
    assert [port.host_link for port in seen.ports] == ["cali1"]
    pair = {link.name: link.mtu for link in seen.links if link.name.endswith(".cali")}
    assert pair == {"bpfin.cali": 1450, "bpfout.cali": 1500}


VPNS = (
    "tuntap add tailscale0 mode tun",
    "link set tailscale0 mtu 1280 up",
    "addr add 100.64.0.1/32 dev tailscale0",
    "rule add pref 5270 lookup 52",
    "route add 100.64.0.2/32 dev tailscale0 table 52",
    "tuntap add kubespan mode tun",
    "link set kubespan mtu 1420 up",
    "rule add pref 32500 fwmark 0x40/0x60 lookup 180",
    "route add default dev kubespan table 180 mtu 1400",
)


def test_a_vpn_is_the_way_where_routing_leads_over_it(rigs: RigMaker) -> None:
    """Tailscale's table is asked first, KubeSpan's for what its firewall marks; netlink and printed text agree."""
    rig = rigs(0)
    rig.ip_batch(rig.node, list(VPNS))
    peers = ("100.64.0.2", "192.168.77.2")
    seen = rig.inside(lambda: observe.observe("n1", ports=rig.rule, peers=peers))
    assert seen.errors == ()
    assert seen.uplinks == (
        net.Uplink(peer="100.64.0.2", device="tailscale0", mtu=1280, source="100.64.0.1"),
        net.Uplink(peer="192.168.77.2", device="eth0", mtu=1500, source="192.168.77.1"),
        net.Uplink(
            peer="192.168.77.2", device="kubespan", mtu=1420, route_mtu=1400, source="192.168.77.1", marked=True
        ),
    )
    alone = rig.inside(lambda: observe.observe("n1", ports=rig.rule, peers=("192.168.77.2",)))
    assert {way.device for way in alone.uplinks} == {"eth0", "kubespan"}
    text = "".join(
        run("ip", "-n", rig.node, *words.split()) for words in ("-d link", "route show table all", "-d addr")
    )
    told = outputs.parse(text)
    ways = uplinks.uplinks(told.links, told.routes, told.addresses, peers, (), told.vpn_routes)
    plain = tuple(msgspec.structs.replace(way, source=None) for way in seen.uplinks)
    assert sorted(ways, key=lambda way: way.device) == sorted(plain, key=lambda way: way.device)


def test_ipv6_of_a_nic_may_be_less_than_its_own(rigs: RigMaker) -> None:
    """A router advertised 1400 on a link of 1500 (systemd/systemd#13914): IPv6 to other nodes gets no more."""
    rig = rigs(0)
    rig.ip_batch(rig.node, ["addr add 2001:db8::1/64 dev eth0 nodad"])
    rig.sysctl(rig.node, "net/ipv6/conf/eth0/mtu", "1400")
    seen = rig.inside(lambda: observe.observe("n1", ports=rig.rule, peers=("192.168.77.2", "2001:db8::2")))
    assert [(way.peer, way.mtu, way.route_mtu) for way in seen.uplinks] == [
        ("192.168.77.2", 1500, None),
        ("2001:db8::2", 1500, 1400),
    ]


def test_files_are_read_under_the_root_and_absent_ones_left_out(rigs: RigMaker, tmp_path: Path) -> None:
    rig = rigs(0)
    conflist = tmp_path / "etc/cni/net.d/10-canal.conflist"
    conflist.parent.mkdir(parents=True)
    conflist.write_text('{"mtu": 1450}')
    (conflist.parent / "big.conf").write_bytes(b"x" * (observe.LARGEST_FILE + 1))
    roots = netns.Roots(files=tmp_path)
    files = ("/etc/cni/net.d/*.conf*", "/run/flannel/subnet.env", "/etc/cni")
    seen = rig.inside(lambda: observe.observe("n1", ports=rig.rule, files=files, roots=roots))
    assert [(file.path, file.text) for file in seen.files] == [("/etc/cni/net.d/10-canal.conflist", '{"mtu": 1450}')]
    assert abs(seen.files[0].modified - time.time()) < 60
    assert any("big.conf: longer than" in trouble for trouble in seen.errors)
    assert any("/etc/cni: Is a directory" in trouble for trouble in seen.errors)


def test_a_pod_that_cannot_be_reached_is_a_trouble(rigs: RigMaker, tmp_path: Path) -> None:
    rig = rigs(1)
    roots = netns.Roots(netns=(tmp_path,), proc=tmp_path)
    seen = rig.inside(lambda: observe.observe("n1", ports=rig.rule, roots=roots))
    assert seen.ports == ()
    assert seen.errors[0].startswith("cali1: the network namespace of its pod was found neither")


def test_without_ipv6_there_is_no_ipv6_mtu(rigs: RigMaker) -> None:
    rig = rigs(1, ipv6=False)
    seen = rig.inside(lambda: observe.observe("n1", ports=rig.rule))
    assert seen.ports[0].ipv6_mtu is None
    assert seen.ports[0].addresses == ("10.42.1.10",)


def test_credentials_beside_a_configuration_stay_on_the_node(tmp_path: Path, rigs: RigMaker) -> None:
    rig = rigs(1)
    folder = tmp_path / "etc/cni/net.d"
    folder.mkdir(parents=True)
    (folder / "10-calico.conflist").write_text(
        '{"plugins": [{"type": "calico", "mtu": 1450, "k8s_auth_token": "eyJhbGci"}]}'
    )
    (folder / "calico-kubeconfig").write_text("token: eyJhbGci")
    (folder / "99-link.conf").symlink_to(folder / "calico-kubeconfig")
    seen = rig.inside(lambda: observe.observe("n1", ports=rig.rule, files=FILES, roots=netns.Roots(files=tmp_path)))
    assert "eyJhbGci" not in msgspec.json.encode(seen).decode()
    assert [file.path for file in seen.files] == ["/etc/cni/net.d/10-calico.conflist", "/etc/cni/net.d/99-link.conf"]
    assert '"mtu": 1450' in seen.files[0].text


def test_what_is_no_regular_file_is_not_opened_to_be_read(tmp_path: Path, rigs: RigMaker) -> None:
    rig = rigs(1)
    folder = tmp_path / "etc/cni/net.d"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "10-pipe.conflist")
    (folder / "20-zero.conflist").symlink_to("/dev/zero")
    (folder / "30-folder.conflist").mkdir()
    (folder / "40-huge.conflist").write_bytes(b"x" * 65537)
    (folder / "50-fine.conflist").write_text("{}")
    seen = rig.inside(lambda: observe.observe("n1", ports=rig.rule, files=FILES, roots=netns.Roots(files=tmp_path)))
    assert [file.path for file in seen.files] == ["/etc/cni/net.d/50-fine.conflist"]
    assert [trouble.partition(":")[0] for trouble in seen.errors] == [
        f"/etc/cni/net.d/{name}.conflist" for name in ("10-pipe", "20-zero", "30-folder", "40-huge")
    ]


def test_a_folder_of_many_files_is_read_in_part(tmp_path: Path, rigs: RigMaker) -> None:
    rig = rigs(1)
    folder = tmp_path / "etc/cni/net.d"
    folder.mkdir(parents=True)
    for number in range(40):
        (folder / f"{number:02}.conf").write_text("{}")
    seen = rig.inside(lambda: observe.observe("n1", ports=rig.rule, files=FILES, roots=netns.Roots(files=tmp_path)))
    assert len(seen.files) == 32
    assert len(seen.errors) == 1

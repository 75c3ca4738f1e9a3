"""Scenes where something is wrong below or beside the configuration: what vanishes, and what tells of it."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from tests.support.labs import Body, Kube, Probes, until, waiting

from kubemtu.core.errors import UsageError
from kubemtu_lab import scenes
from kubemtu_lab.cluster import FABRIC, Lab
from kubemtu_lab.errors import StartFailed
from kubemtu_lab.scene import Canal, Nic, PolicyDropped, Scene, nodes

pytestmark = pytest.mark.lab
Start = Callable[..., Lab]


@pytest.fixture
def two() -> Scene:
    """Two nodes, a pod each, Canal of era B at 1450."""
    return Scene(name="two", summary="", nodes=nodes(2, 1), cni=Canal(era="B", mtu=1450))


@pytest.fixture
def start(can_make_labs: None) -> Iterator[Start]:
    """Start labs by scene, and end each with its test: so many at once would take their share of the machine."""
    with contextlib.ExitStack() as ending:

        def make(scene: str | Scene) -> Lab:
            found = scenes.named(scene) if isinstance(scene, str) else scene
            lab = ending.enter_context(Lab.up(found, f"test-{os.getpid()}-{found.name}"))
            if isinstance(scene, str):
                assert lab.unready == ()
            return lab

        yield make


@pytest.fixture
def probing() -> Iterator[Callable[[Lab], Probes]]:
    made: list[Probes] = []

    def make(lab: Lab) -> Probes:
        made.append(Probes(lab).__enter__())
        return made[-1]

    yield make
    for probes in made:
        probes.__exit__()


def test_a_switch_port_of_1400_swallows_in_silence_what_does_not_fit(
    start: Start, two: Scene, probing: Callable[[Lab], Probes]
) -> None:
    lab = start(scenes.black_hole(two.replace(name="hole"), "node-2", 1400))
    probe = probing(lab)
    # 1400 - 50 = 1350, and veths take four bytes more (room for a VLAN tag: is_skb_forwardable).
    expected = {1350: "arrived", 1354: "arrived", 1355: "lost", 1450: "lost"}
    assert probe("pod-1a", "pod-2a", *expected) == expected
    assert probe("pod-2a", "pod-1a", *expected) == expected
    assert lab.mtu("node-2") == 1500
    lab.set_mtu(FABRIC, "port-2", 1500)
    assert probe("pod-1a", "pod-2a", 1450) == {1450: "arrived"}


@pytest.mark.parametrize("way", ["to-node", "from-node"])
def test_a_switch_port_may_swallow_in_one_direction_only(
    has_nft: None, start: Start, two: Scene, probing: Callable[[Lab], Probes], way: Literal["to-node", "from-node"]
) -> None:
    lab = start(scenes.black_hole(two.replace(name=f"hole-{way}"), "node-2", 1400, way))
    probe = probing(lab)
    # 1400 - 50 = 1350, to the byte; answers are small and pass.
    narrow, wide = {1350: "arrived", 1351: "lost", 1450: "lost"}, {1350: "arrived", 1351: "arrived", 1450: "arrived"}
    assert probe("pod-1a", "pod-2a", *narrow) == (narrow if way == "to-node" else wide)
    assert probe("pod-2a", "pod-1a", *narrow) == (wide if way == "to-node" else narrow)
    assert lab.mtu(FABRIC, "port-2") == 1500


def test_a_policy_drops_what_others_begin_whatever_its_size(
    has_nft: None, start: Start, two: Scene, probing: Callable[[Lab], Probes]
) -> None:
    story = two.replace(name="policy", nodes=nodes(2, 2)).with_fault(
        PolicyDropped(node="node-2", pod="pod-2a", protocol="udp", port=7007),
        PolicyDropped(node="node-1", protocol="icmp"),
    )
    lab = start(story)
    probe = probing(lab)
    assert probe("pod-1a", "pod-2a", 100, 1450) == {100: "lost", 1450: "lost"}
    assert probe("pod-2b", "pod-2a", 100) == {100: "lost"}  # behind calico's veths the node forwards these as well
    assert probe("node-2", "pod-2a", 100) == {100: "arrived"}
    assert probe("pod-1a", "pod-2b", 1450) == {1450: "arrived"}
    assert probe("pod-2a", "pod-1a", 1450) == {1450: "arrived"}  # its own question is answered
    assert ping(lab, "pod-1a", "pod-2a") == 0
    assert ping(lab, "pod-2a", "pod-1a") == 1


def ping(lab: Lab, sender: str, receiver: str) -> int:
    """0: an answer came to an ICMP echo; 1: none did."""
    return lab.exec(sender, [sys.executable, "-I", "-S", "-c", PING, lab.address(receiver)], check=False).returncode


PING = """
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
s.settimeout(3)
s.sendto(struct.pack("!BBHHH", 8, 0, 0xf7fe, 0, 1), (sys.argv[1], 0))
try:
    while s.recv(100)[20] != 0:
        pass
except TimeoutError:
    sys.exit(1)
"""


def test_a_filter_by_port_names_a_protocol_that_has_ports() -> None:
    with pytest.raises(UsageError, match="a filter of icmp has no port; name udp or tcp"):
        PolicyDropped(node="node-1", protocol="icmp", port=7843)


def test_a_filter_of_a_pod_that_is_not_there_is_told(start: Start, two: Scene) -> None:
    with pytest.raises(StartFailed, match="there is no pod-9 with an address to filter"):
        start(two.replace(name="nobody").with_fault(PolicyDropped(node="node-1", pod="pod-9")))


def test_host_ends_alone_at_1450_lose_full_packets_even_on_the_same_node(
    start: Start, probing: Callable[[Lab], Probes]
) -> None:
    story = scenes.named("canal-1500").replace(name="host-ends", nodes=nodes(2, 2))
    lab = start(scenes.only_host_ends(story, 1450))
    assert lab.mtu("pod-1a") == 1500
    assert lab.mtu("node-1", lab.pod("pod-1a").host_link) == 1450
    # A socket that asks for errors (IP_RECVERR) is told so by ENOBUFS; others, and TCP, are told nothing.
    told = {1450: "arrived", 1454: "icmp 1450 from 192.168.77.1", 1455: "ENOBUFS", 1500: "ENOBUFS"}
    assert probing(lab)("pod-1a", "pod-1b", *told) == told


def test_filtered_icmp_leaves_the_sender_without_a_word(start: Start, probing: Callable[[Lab], Probes]) -> None:
    story = scenes.named("canal-1500").replace(name="icmp", nodes=nodes(2, 1))
    lab = start(scenes.icmp_filtered(story))
    assert probing(lab)("pod-1a", "pod-2a", 1450, 1451) == {1450: "arrived", 1451: "lost"}


def test_a_jumbo_nic_does_not_help_against_a_small_one(start: Start, probing: Callable[[Lab], Probes]) -> None:
    lab = start("canal-mixed-nics")
    assert [lab.mtu(f"node-{each}", "flannel.1") for each in (1, 2, 3)] == [1450, 8950, 1350]
    probe = probing(lab)
    assert probe("pod-1a", "pod-2a", 1450) == {1450: "arrived"}
    assert probe("pod-2a", "pod-3a", 1354, 1355) == {1354: "arrived", 1355: "lost"}
    assert probe("pod-3a", "pod-1a", 1350, 1450) == {1350: "arrived", 1450: "icmp 1350 from 192.168.77.3"}


def test_canal_iface_chooses_the_second_nic(start: Start) -> None:
    lab = start("canal-iface")
    assert lab.mtu("node-1", "flannel.1") == 8950
    assert lab.mtu("node-1", "eno1") == 1500
    with Kube(lab.kubeconfig) as kube:
        metadata = kube.get("/api/v1/nodes/node-1")["metadata"]
        assert isinstance(metadata, dict)
        assert metadata["annotations"]["flannel.alpha.coreos.com/public-ip"] == "192.168.78.1"
        status = kube.get("/api/v1/nodes/node-1")["status"]
        assert isinstance(status, dict)
        assert {"type": "InternalIP", "address": "192.168.77.1"} in status["addresses"]


def test_a_node_without_the_named_nic_is_told_and_the_others_come_up(start: Start, two: Scene) -> None:
    named = two.replace(name="no-nic", cni=Canal(era="A", iface="ens5")).with_nics("node-1", Nic(), Nic(name="ens5"))
    lab = start(named)
    assert "default/pod-1a" not in lab.unready
    # In era A install-cni is a container beside flannel: the pod gets its network, and the overlay is missing.
    assert [each for each in lab.unready if each.startswith("kube-system/canal-")]


def test_veth_mtu_reaches_pods_by_its_key_and_an_edit_waits_for_a_restart(start: Start) -> None:
    lab = start(scenes.veth_mtu_edited(scenes.named("canal-veth-mtu"), 1400))
    config = "etc/cni/net.d/10-canal.conflist"
    with Kube(lab.kubeconfig) as kube:
        assert lab.mtu("pod-1a") == 1450
        assert '"mtu": 1450' in (lab.node_root("node-1") / config).read_text()
        kube.restart_daemon("node-1")
        assert '"mtu": 1400' in (lab.node_root("node-1") / config).read_text()
        assert '"mtu": 1450' in (lab.node_root("node-2") / config).read_text()
        # felix of v3.17 and later publishes the host's MTU; install-cni of canal asks for its own number.
        assert (lab.node_root("node-1") / "var/lib/calico/mtu").read_text() == "1500"

        kube.merge("/api/v1/namespaces/kube-system/configmaps/canal-config", {"data": {"veth_mtu": "0"}})
        kube.restart_daemon("node-1")
        kube.run_pod("auto", "node-1")
        assert lab.mtu("auto") == 1500  # canal's trap: flannel's 50 bytes are nobody's business

        kube.merge("/api/v1/namespaces/kube-system/configmaps/canal-config", {"data": {"veth_mtu": None}})
        name = kube.restart_daemon("node-2", ready=False)
        told = "Couldn't find key veth_mtu in ConfigMap kube-system/canal-config"
        until(lambda: waiting(kube.pods("kube-system")[name], "install-cni") == ("CreateContainerConfigError", told))


def test_flannel_gives_its_bridge_and_pods_what_subnet_env_says(start: Start, probing: Callable[[Lab], Probes]) -> None:
    lab = start("flannel-drift")
    config: Body = {}
    with Kube(lab.kubeconfig) as kube:
        config = kube.get("/api/v1/namespaces/kube-flannel/configmaps/kube-flannel-cfg")
        data = config["data"]
        assert isinstance(data, dict)
        assert '"MTU": 1400' in data["net-conf.json"]
        assert [lab.mtu("node-1", each) for each in ("flannel.1", "cni0")] == [1450, 1450]
        assert lab.mtu("pod-1a") == 1450
        assert probing(lab)("pod-1a", "pod-2a", 1450, 1451) == {1450: "arrived", 1451: "EMSGSIZE"}
        assert probing(lab)("pod-1a", "pod-1b", 1450) == {1450: "arrived"}

        kube.restart_daemon("node-1", "kube-flannel")
        assert "FLANNEL_MTU=1350\n" in (lab.node_root("node-1") / "run/flannel/subnet.env").read_text()
        kube.run_pod("late", "node-1")
        # The device keeps its MTU; the new pod takes 1350; a bridge whose MTU was never set follows its smallest port.
        assert lab.mtu("node-1", "flannel.1") == 1450
        assert lab.mtu("late") == 1350
        assert lab.mtu("node-1", "cni0") == 1350
        assert lab.mtu("pod-1a") == 1450


def test_dual_stack_pods_reach_each_other_over_both_families(start: Start, probing: Callable[[Lab], Probes]) -> None:
    lab = start("flannel-dual")
    # RFC 7348 over IPv6: 40 + 8 + 8 + 14 = 70 bytes.
    assert [lab.mtu("node-1", each) for each in ("flannel.1", "flannel-v6.1")] == [1430, 1430]
    assert lab.mtu("pod-1a") == 1430
    target = lab.pod("pod-2a").addresses[1]
    assert target.startswith("fd00:10:244:2:")
    probe = probing(lab)
    assert probe("pod-1a", "pod-2a", 1430) == {1430: "arrived"}
    assert probe("pod-1a", "pod-2a", 1280, 1430, 1431, target=target) == {
        1280: "arrived",
        1430: "arrived",
        1431: "EMSGSIZE",
    }


def test_flannel_gives_dual_stack_pods_20_bytes_more_than_ipv6_carries(
    start: Start, probing: Callable[[Lab], Probes]
) -> None:
    lab = start("flannel-dual-1450")
    assert [lab.mtu("node-1", each) for each in ("flannel.1", "flannel-v6.1", "cni0")] == [1450, 1430, 1450]
    assert lab.mtu("pod-1a") == 1450
    probe = probing(lab)
    assert probe("pod-1a", "pod-2a", 1450) == {1450: "arrived"}
    assert probe("pod-1a", "pod-2a", 1430, 1431, target=lab.pod("pod-2a").addresses[1]) == {
        1430: "arrived",
        1431: "icmp 1430",
    }


def test_a_half_done_change_gives_new_pods_1450_and_leaves_the_others(start: Start) -> None:
    lab = start("canal-half-done")
    assert [lab.mtu(f"pod-{each}a") for each in (1, 2, 3)] == [1500, 1500, 1500]
    with Kube(lab.kubeconfig) as kube:
        for node in ("node-1", "node-2", "node-3"):
            assert '"mtu": 1450' in (lab.node_root(node) / "etc/cni/net.d/10-calico.conflist").read_text()
        kube.run_pod("new", "node-2")
    assert lab.mtu("new") == 1450


def test_jumbo_pods_reach_each_other_with_8950(start: Start, probing: Callable[[Lab], Probes]) -> None:
    jumbo = scenes.named("canal-jumbo")
    lab = start(jumbo.replace(cni=Canal(era="C", mtu=8950)))
    assert probing(lab)("pod-1a", "pod-3b", 8950, 8951) == {8950: "arrived", 8951: "EMSGSIZE"}

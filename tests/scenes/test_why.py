"""`kubemtu why` in a cluster, for everything that can be wrong on a path: the sentence, the code, what to do."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.labs import Body, is_ready, until
from tests.support.scenes import cluster as scenes
from tests.support.scenes import situations
from tests.support.scenes.cluster import NODE_MTUS, Cluster, Ended
from tests.support.scenes.situations import everywhere, hole, veth

from kubemtu.core.objects import Object
from kubemtu.flows.agents import deadlines
from kubemtu.flows.measure import ends
from kubemtu_lab import addressing
from kubemtu_lab.scene import Flannel, Scene, nodes

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("has_nft")]

SCENE = Scene(name="why", summary="", nodes=nodes(3, 2), cni=Flannel(), version="v1.30.4", probes=True)
DUAL = Scene(name="why-dual", summary="", nodes=nodes(2, 1), cni=Flannel(), families=addressing.DUAL)
PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"
PROBES = "/apis/kubemtu.io/v1alpha1/mtuprobes"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
OUTSIDE = "192.168.77.254"

on_lab = pytest.mark.parametrize("cluster", [SCENE], indirect=True)


@pytest.fixture
def lab(cluster: Cluster) -> Cluster:
    """The lab, in which each test leaves everything as it was."""
    return cluster


def why(cluster: Cluster, *words: str, code: int = 1) -> list[str]:
    """What `kubemtu why` prints; the sentence first, without its sign."""
    ended = cluster.run("why", *words)
    assert ended.code == code, f"{ended.out}{ended.err}"
    lines = ended.out.splitlines()
    assert lines[0][:2] == {0: "✓ ", 1: "✗ "}.get(code, "? ") or lines[0][:2] == "? "
    return [lines[0][2:], *lines[1:]]


def refused(ended: Ended, code: int) -> str:
    """The one sentence of a command that could not answer."""
    assert (ended.code, ended.out) == (code, ""), ended
    assert ended.err.count("\n") == 1
    return ended.err.removeprefix("error: ").rstrip("\n")


def advice(lines: list[str]) -> str:
    assert lines[-1].startswith("  → ")
    return lines[-1].removeprefix("  → ")


def pod(cluster: Cluster, name: str, node: str, *, host: bool = False, wait: bool = True, app: str = "") -> None:
    spec = {"nodeName": node, "containers": [{"name": "main", "image": "registry.example/app:1"}]}
    metadata = {"name": name, "labels": {"app": app} if app else {}}
    cluster.kube.create(PODS, {"metadata": metadata, "spec": spec | ({"hostNetwork": True} if host else {})})
    if wait:
        until(lambda: is_ready(cluster.kube.pods()[name]))


def bridge_shown(cluster: Cluster, node: str, link: str) -> str | None:
    """Return the bridge that a pod's end is a port of, as the node's agent tells; None: of none."""
    ports = Object.of(cluster.kube.get(f"{NODE_MTUS}/{node}")).each("status", "observation", "ports")
    return next((each.text("bridge") for each in ports if each.text("hostLink") == link), None)


# In order


@on_lab
@pytest.mark.parametrize(
    ("here", "there", "size"),
    [
        ("default/pod-1a", "default/pod-2a", 1450),
        ("default/pod-1a", "default/pod-1b", 1450),
        ("node-1", "node-2", 1500),
        ("default/pod-1a", "node-2", 1450),
        ("node-1", "default/pod-2a", 1450),
    ],
)
def test_nothing_is_wrong(lab: Cluster, here: str, there: str, size: int) -> None:
    said = f"This is not MTU: from {here} to {there} packets of {size} bytes arrive whole both ways."
    assert why(lab, here, there, code=0)[0] == said


@on_lab
def test_an_address_is_whose_it_is_and_its_port_does_not_matter(lab: Cluster) -> None:
    there = lab.lab.address("pod-2a")
    for address, name in (("192.168.77.2:22", "node-2"), (f"{there}:8080", "default/pod-2a")):
        assert f"from default/pod-1a to {name} packets of 1450 bytes" in why(lab, "pod-1a", address, code=0)[0]


@on_lab
def test_one_end_alone_is_tried_to_every_other_node(lab: Cluster) -> None:
    lines = why(lab, "pod-1a", code=0)
    probe = r"kubemtu/kubemtu-probe-\w+"
    assert re.fullmatch(
        rf"This is not MTU: from default/pod-1a to {probe} packets of 1450 bytes arrive whole both ways\.", lines[0]
    )
    assert any(re.fullmatch(rf"  · no MTU stands in the way from default/pod-1a to {probe}", line) for line in lines)


@on_lab
def test_the_probes_service_is_gone_through(lab: Cluster) -> None:
    lines = why(lab, "pod-1a", "svc/kubemtu/kubemtu-probe", code=0)
    assert any("svc kubemtu/kubemtu-probe" in line for line in lines)


# What is lost by what it is


SPOILT = "udp dport 8472 @th,312,8"  # of VXLAN: UDP 8, VXLAN 8, Ethernet 14 and 9 bytes of IPv4 before its protocol


@on_lab
@pytest.mark.parametrize(
    ("protocols", "dead"), [((6, 17), "UDP and TCP"), ((6,), "TCP")], ids=["all but echo", "TCP alone"]
)
def test_protocols_that_die_in_the_tunnel_point_to_checksum_offload(
    lab: Cluster, protocols: tuple[int, ...], dead: str
) -> None:
    drops = [f"{SPOILT} {protocol} drop" for protocol in protocols]
    with situations.rules(lab, "node-2", "prerouting", *drops):
        lines = why(lab, "pod-1a", "pod-2a", code=0)
        measured = lab.run("check", "--prove") if len(protocols) > 1 else None
    assert lines[0].startswith("This is not MTU: from default/pod-1a to default/pod-2a ")
    assert f"{dead} of any size" in lines[0]
    assert "inside the tunnel between node-1 and node-2" in lines[0]
    assert "`ethtool -K flannel.1 tx-checksum-ip-generic off`" in advice(lines)
    assert "UDP port 8472" in advice(lines)
    if measured is not None:
        assert measured.code == 1
        assert "could not be read: ." not in measured.out
        assert "not everything could be measured: node node-2" in measured.out
        assert "ethtool -K" in measured.out


@on_lab
def test_fragments_that_are_dropped(lab: Cluster) -> None:
    drop = 'iifname "flannel.1" ip frag-off & 0x3fff != 0 drop'
    with situations.rules(lab, "node-2", "prerouting", drop, priority=-450):
        lines = why(lab, "pod-1a", "pod-2a")
    assert lines[0] == (
        "This is MTU: from default/pod-1a to default/pod-2a fragments are dropped at node-2: datagrams above 1450 are "
        "lost, while packets up to that size arrive whole."
    )
    assert lines[1] == "  likely about where"


@on_lab
def test_pods_whose_interfaces_are_called_otherwise_are_not_called_right(lab: Cluster) -> None:
    end = lab.lab.pod("pod-1a").host_link
    lab.ip("node-1", "link", "set", end, "nomaster")
    try:
        until(lambda: lab.run("check").code == 1)
        found = lab.run("check")
        assert found.out.startswith("? ")
        assert "1 pod of node-1" in found.out
        assert "node node-1, 1 pod: default/pod-1a" in found.out
    finally:
        lab.ip("node-1", "link", "set", end, "master", "cni0")
    until(lambda: lab.run("check").code == 0)


@on_lab
def test_a_pod_that_has_just_begun_and_that_nobody_sees_is_a_question_too(lab: Cluster) -> None:
    """What its agent saw last, it saw seconds after the pod began, and what that shows is no pod of the network."""
    pod(lab, "young", "node-1")
    try:
        end = lab.lab.pod("young").host_link
        until(lambda: bridge_shown(lab, "node-1", end) == "cni0")
        lab.ip("node-1", "link", "set", end, "nomaster")
        until(lambda: bridge_shown(lab, "node-1", end) is None)
        found = lab.run("check")
        assert (found.code, found.out[:2]) == (1, "? ")
        assert "node node-1, 1 pod: default/young" in found.out
        assert lab.run("why-not", "node-1").out.startswith("? On node-1 nothing differs, and not all of it was seen")
        assert lab.run("plan").out.startswith("? Nothing to do: ")
    finally:
        lab.kube.delete(f"{PODS}/young")
    until(lambda: lab.run("check").code == 0)


# The network


@on_lab
@pytest.mark.parametrize("words", [("pod-1a", "pod-2a"), ("pod-2a", "pod-1a")], ids=" ".join)
@pytest.mark.parametrize(
    ("way", "here", "there"), [("to", "1", "2"), ("from", "2", "1")], ids=["to the node", "from the node"]
)
def test_a_switch_port_that_takes_less_one_way(
    lab: Cluster, words: tuple[str, ...], way: str, here: str, there: str
) -> None:
    with hole(lab, "node-2", 1400, way=way):
        lines = why(lab, *words)
    assert lines[0] == (
        f"This is MTU: from default/pod-{here}a to default/pod-{there}a packets above 1350 vanish between node-{here} "
        f"and node-{there}, whose network carries 1400; both ends believe 1450; no ICMP comes back; the other way 1450 "
        "arrive."
    )
    assert lines[1] == "  certain about where"
    assert advice(lines) == (
        f"correct the link, switch port or NIC on the way from node-{here} to node-{there}; until then "
        "`kubemtu plan --nic-mtu 1400` shows the pod MTU that fits"
    )


@on_lab
def test_a_switch_port_that_takes_less_both_ways(lab: Cluster) -> None:
    with hole(lab, "node-2", 1400, way="both"):
        whole = why(lab, "pod-1a", "pod-2a")
        assert whole[0] == (
            "This is MTU: from default/pod-1a to default/pod-2a packets above 1350 vanish between node-1 and node-2, "
            "whose network carries 1400; both ends believe 1450; no ICMP comes back."
        )
        assert why(lab, "node-1", "node-2")[0] == (
            "This is MTU: from node-1 to node-2 packets above 1400 vanish between node-1 and node-2; both ends believe "
            "1500; no ICMP comes back."
        )
        assert why(lab, "pod-1a", "node-2")[0] == (
            "This is MTU: from node-2 to default/pod-1a packets above 1350 vanish between node-2 and node-1, whose "
            "network carries 1400; both ends believe 1450; no ICMP comes back; the other way those above 1400 vanish."
        )
        assert why(lab, "pod-1a", "pod-3a", code=0)[0].startswith("This is not MTU: ")
        lab.ip("node-2", "link", "show", "flannel.1")
    (part,) = [line.split() for line in whole if line.startswith("  between the nodes")]
    assert part[-6:] == ["node-2", "1400", "of", "1500", "black", "hole"]
    planned = json.loads(lab.run("plan", "--nic-mtu", "1400", "-o", "json").out)
    assert planned["target"] == 1350


@on_lab
def test_an_mss_clamp_masks_it(lab: Cluster) -> None:
    clamp = "tcp flags syn tcp option maxseg size set 1200"
    with hole(lab, "node-2", 1400), situations.rules(lab, "node-1", "forward", clamp):
        lines = why(lab, "pod-1a", "pod-2a")
    assert "; TCP is kept at 1240 by an MSS clamp, and UDP and QUIC are lost; " in lines[0]
    assert "  · the other end announced an MSS of 1410, and 1200 arrived: something clamps it" in lines


@on_lab
def test_the_kernels_own_search_masks_it(lab: Cluster) -> None:
    with situations.sysctl(lab, "pod-1a", "net.ipv4.tcp_mtu_probing", 1):
        assert not any("masked" in line for line in why(lab, "pod-1a", "pod-2a", code=0))
        with hole(lab, "node-2", 1400):
            lines = why(lab, "pod-1a", "pod-2a")
    assert "; TCP finds its way after seconds of silence (tcp_mtu_probing=1), and UDP and QUIC do not; " in lines[0]


# Pods and their tunnel


@on_lab
def test_only_the_nodes_end_of_a_veth_was_set(lab: Cluster) -> None:
    with veth(lab, "pod-1a", inside=1450, outside=1400):
        lines = why(lab, "pod-1a", "pod-2a")
        near = why(lab, "pod-1b", "pod-1a")
    assert lines[0] == (
        "This is MTU: from default/pod-1a to default/pod-2a packets above 1404 vanish at the veth of default/pod-1a, "
        "which has 1450 in the pod and 1400 on node-1; both ends believe 1450; no ICMP comes back; the other way those "
        "above 1400 are refused."
    )
    assert lines[1] == "  certain about where"
    assert advice(lines) == "`kubemtu check` shows what differs, and `kubemtu apply` makes both ends equal, live"
    assert "vanish at the veth of default/pod-1a, which has 1450 in the pod and 1400 on node-1" in near[0]


@on_lab
def test_the_popular_half_of_a_cure(lab: Cluster) -> None:
    """Pods have 1500 and a tunnel of 1450 that says so, and somebody has set the nodes' ends of their veths to 1450."""
    with everywhere(lab, *(veth(lab, name, inside=1500, outside=1450) for name in ("pod-1a", "pod-2a"))):
        lines = why(lab, "pod-1a", "pod-2a")
    assert lines[0] == (
        "This is MTU: from default/pod-1a to default/pod-2a packets above 1450 vanish at the veth of default/pod-1a, "
        "which has 1500 in the pod and 1450 on node-1; both ends believe 1500; no ICMP comes back."
    )


@on_lab
def test_only_the_pods_end_of_a_veth_was_set(lab: Cluster) -> None:
    with veth(lab, "pod-1a", inside=1400, outside=1450):
        for words in (("pod-1a", "pod-2a"), ("pod-2a", "pod-1a")):
            assert why(lab, *words)[0] == (
                "This is MTU: from default/pod-2a to default/pod-1a packets above 1404 are dropped at the interface of "
                "default/pod-1a, which has 1400; default/pod-2a believes 1450, default/pod-1a 1400; no ICMP comes "
                "back; the other way 1400 arrive."
            )


@on_lab
def test_a_tunnel_that_cuts_what_its_nic_does_not_take(lab: Cluster) -> None:
    with situations.nics(lab, 1450, ("node-1", "node-2", "node-3")):
        lines = why(lab, "pod-1a", "pod-2a")
    assert lines[0] == (
        "This is MTU: from default/pod-1a to default/pod-2a packets above 1400 are cut in pieces inside the tunnel "
        "between node-1 and node-2; both ends believe 1450."
    )
    assert advice(lines).startswith("`kubemtu plan` shows the change of pods to 1400")
    assert any(
        "4 packets of the tunnel left in 8 pieces; up to 1400 bytes inside, none was cut" in line for line in lines
    )


@on_lab
def test_pods_larger_than_the_tunnel_with_icmp_and_without(lab: Cluster) -> None:
    """After those of the veths: a bridge whose MTU was set does not follow its ports any more (net/bridge/br_if.c)."""
    sizes = [veth(lab, name, inside=1500, outside=1500) for name in ("pod-1a", "pod-2a")]
    bridges = [situations.bridge(lab, node, 1500) for node in ("node-1", "node-2")]
    start = "This is MTU: from default/pod-1a to default/pod-2a packets above 1450"
    with everywhere(lab, *sizes, *bridges):
        lines = why(lab, "pod-1a", "pod-2a")
        assert lines[0] == (
            f"{start} are refused at the tunnel of node-1, which takes 1450; both ends believe 1500; ICMP says so, and "
            "TCP adapts when it hears it."
        )
        again = why(lab, "pod-1a", "pod-2a")
        assert _shape(again) == _shape(lines)  # what the first look has taught the kernels is nobody's news
        situations.forget(lab, "node-1", "node-2")
        with situations.silent_icmp(lab, "node-1", "node-2"):
            lines = why(lab, "pod-1a", "pod-2a")
    assert lines[:2] == [
        f"{start} vanish at the tunnel of node-1, which takes 1450; both ends believe 1500; no ICMP comes back.",
        "  certain about where",
    ]
    assert advice(lines) == "`kubemtu plan` shows the change of pods to 1450, and `kubemtu apply` makes it, live"


def _shape(lines: list[str]) -> list[str]:
    return [re.sub(r"\d+ of \d+ packets", "N packets", line) for line in lines]


# What a kernel believes


def taught(lab: Cluster, size: int) -> None:
    """Have pod-1a's kernel learn a path MTU from its own node, which does not hold it any more afterwards."""
    there = lab.lab.address("pod-2a")
    lab.ip("node-1", "route", "add", there, "via", "10.244.2.0", "dev", "flannel.1", "onlink", "mtu", "lock", str(size))
    try:
        send = (
            "import socket; s = socket.socket(2, 2); s.setsockopt(0, 10, 2); "
            f"s.connect(({there!r}, 9)); s.send(bytes({size}))"
        )
        lab.lab.exec("pod-1a", [sys.executable, "-c", send])
        until(lambda: f"mtu {size}" in lab.ip("pod-1a", "route", "get", there))
    finally:
        lab.ip("node-1", "route", "del", there)


@on_lab
def test_a_path_mtu_that_is_old_is_forgotten_when_asked(lab: Cluster) -> None:
    taught(lab, 600)
    lines = why(lab, "pod-1a", "pod-2a")
    assert lines[0] == (
        "This is MTU: from default/pod-1a to default/pod-2a packets above 600 are not sent whole, although 1450 "
        "arrive; the kernel of default/pod-1a holds 600 for this path, learned or set by a route."
    )
    assert advice(lines).startswith("`kubemtu why default/pod-1a default/pod-2a --flush` has both ends forget ")
    lines = why(lab, "pod-1a", "pod-2a", "--flush", code=0)
    assert lines[0].endswith("packets of 1450 bytes arrive whole both ways.")
    assert "  · default/pod-1a has forgotten all learned path MTUs before this was measured" in lines
    assert why(lab, "pod-1a", "pod-2a", code=0)[0].startswith("This is not MTU")


@on_lab
def test_what_a_route_holds_is_not_forgotten(lab: Cluster) -> None:
    there = lab.lab.address("pod-2a")
    lab.ip("pod-1a", "route", "add", there, "via", "10.244.1.1", "mtu", "600")
    try:
        lines = why(lab, "pod-1a", "pod-2a", "--flush")
    finally:
        lab.ip("pod-1a", "route", "del", there)
    assert advice(lines) == (
        f"a route of default/pod-1a holds it, for what was learned has just been forgotten: `ip route get {there}` "
        "there shows the route, whose mtu must go"
    )


# Not an MTU


@on_lab
def test_a_policy_that_drops_everything_is_no_mtu(lab: Cluster) -> None:
    with situations.policy(lab, "node-2", lab.lab.address("pod-2a")):
        lines = why(lab, "pod-1a", "pod-2a", code=0)
    assert lines[0] == (
        "This is not MTU: from default/pod-1a to default/pod-2a nothing that default/pod-1a begins is answered, while "
        "what it answers arrives whole, 1450 bytes of it: it looks like a NetworkPolicy or a firewall."
    )
    assert advice(lines) == "look at `kubectl get networkpolicies -A`"


@on_lab
def test_a_policy_that_drops_udp_is_measured_past(lab: Cluster) -> None:
    with situations.policy(lab, "node-2", lab.lab.address("pod-2a"), "meta l4proto udp"):
        lines = why(lab, "pod-1a", "pod-2a", code=0)
    assert lines[0].endswith("packets of 1450 bytes arrive whole both ways.")
    assert "  · measured in what default/pod-1a answers to default/pod-2a, which a policy lets pass" in lines


@on_lab
def test_lost_packets_are_no_mtu(lab: Cluster) -> None:
    with situations.rules(lab, "node-1", "forward", "numgen random mod 100 < 25 drop"):
        assert why(lab, "pod-1a", "pod-2a", code=0)[0].startswith("This is not MTU: ")


# Who does not answer


@on_lab
def test_a_dead_node(lab: Cluster, as_shipped: None) -> None:
    with situations.cut_off(lab, "node-2"):
        lines = why(lab, "pod-1a", "pod-2a", code=1)
    assert lines[0] == (
        "This is not MTU: from default/pod-1a to default/pod-2a nothing is answered, of whatever size, and node node-2 "
        "does not answer node-1 either: it looks like a dead node, a missing route, or a firewall between the nodes."
    )
    assert (
        "  ! the agent of node node-2 does not answer: the node is down, cut off or too busy, or its kubemtu-agent "
        "does not run there or is older" in lines
    )


@on_lab
def test_an_agent_that_is_missing_at_one_end(lab: Cluster, as_shipped: None) -> None:
    with situations.stopped(lab, "node-2"):
        situations.forgotten(lab, "node-2")
        lines = why(lab, "pod-2a", "pod-1a", code=1)
        assert refused(lab.run("why", "pod-2a", "pod-2b"), 3) == (
            "no kubemtu-agent can measure from default/pod-2a or default/pod-2b: node node-2 has no agent that tells "
            "of that pod; install the agents with `kubemtu install`; `kubemtu check --exec` shows without them what "
            "interfaces have"
        )
    assert lines[0].startswith(
        "This is not MTU: from default/pod-1a to default/pod-2a packets of 1450 bytes arrive whole"
    )
    assert "  ! no agent stands at default/pod-2a, so it was measured from default/pod-1a" in lines
    until(lambda: "node-2" in json.dumps(lab.kube.get(NODE_MTUS)) and bool(situations.seen_ends(lab, "node-2")))


STATES = """
import socket, threading
listening = socket.socket(); listening.setsockopt(1, 2, 1); listening.bind(("192.168.77.254", 5000)); listening.listen()
print("ready", flush=True)
def serve(one):
    while one.recv(65536): pass
while True:
    one, _ = listening.accept(); threading.Thread(target=serve, args=(one,), daemon=True).start()
"""
"""A server that reads and answers nothing."""
SEND = """
import socket, time
small, big = (socket.create_connection(("192.168.77.254", 5000)) for _ in range(2))
small.setsockopt(6, 1, 1)
big.send(bytes(100)); time.sleep(0.1)
big.send(bytes(3 * 1398 + 500))
print("ready", flush=True)
while True:
    small.send(b"."); time.sleep(0.02)
"""
"""One connection that sends full segments and a short one after them, and one that sends little and is heard."""


@on_lab
def test_connections_tell_where_nobody_answers_probes(lab: Cluster) -> None:
    lab.ip("fabric", "route", "add", "10.244.1.0/24", "via", "192.168.77.1")
    drops = ("ip saddr 10.244.1.0/24 meta length > 1400 drop", "ip saddr 10.244.1.0/24 meta l4proto { udp, icmp } drop")
    running: list[subprocess.Popen[bytes]] = []
    try:
        with situations.rules(lab, "fabric", "input", *drops):
            for place, program in (("fabric", STATES), ("pod-1a", SEND)):
                running.append(lab.lab.spawn(place, [sys.executable, "-c", program], stdout=subprocess.PIPE))
                out = running[-1].stdout
                assert out is not None
                assert out.readline() == b"ready\n"
            until(lambda: "backoff:2" in lab.lab.exec("pod-1a", ["ss", "-tinH"]).stdout)
            lines = why(lab, "pod-1a", OUTSIDE)
            running[-1].kill()
            named = why(lab, "pod-1a", f"{OUTSIDE}:5000")
            nobody = why(lab, "pod-1b", f"{OUTSIDE}:5001")
    finally:
        for process in reversed(running):
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        lab.ip("fabric", "route", "del", "10.244.1.0/24")
    assert lines[0] == (
        f"This is MTU: from default/pod-1a to {OUTSIDE} packets above 1400 vanish between node-1 and {OUTSIDE}; "
        "default/pod-1a believes 1450; no ICMP comes back."
    )
    told = "\n".join(lines)
    assert "measured with TCP segments to port 5000 that its application never sees" in told
    assert re.search(
        rf"default/pod-1a: [\d.]+:\d+ ▸ {OUTSIDE}:5000 hangs: a packet of 1450 bytes was lost all \d+ times "
        "that it was sent",
        told,
    ), told
    assert named[0] == lines[0]
    assert nobody[0].startswith("It cannot be told whether this is MTU")
    assert f"name a TCP port that is open there, as in {OUTSIDE}:443" in advice(nobody)


# Names


@on_lab
def test_pods_of_the_nodes_own_network_and_pods_just_born(lab: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "SEEN", 60.0)  # that a busy agent takes to see one
    pod(lab, "on-host", "node-2", host=True)
    pod(lab, "newborn", "node-2", wait=False)
    try:
        until(lambda: "podIP" in json.dumps(lab.kube.pods()["newborn"]))
        assert why(lab, "pod-1a", "newborn", code=0)[0].endswith("1450 bytes arrive whole both ways.")
        assert why(lab, "pod-1a", "on-host", code=0)[0] == (
            "This is not MTU: from default/pod-1a to default/on-host packets of 1450 bytes arrive whole both ways."
        )
        assert refused(lab.run("why", "on-host", "node-2"), 2) == (
            "on-host and node-2 are the same: what a host sends to itself meets no network"
        )
    finally:
        for name in ("on-host", "newborn"):
            lab.kube.remove_pod(name)


@on_lab
def test_a_service_by_its_name_its_address_and_a_node_port(lab: Cluster) -> None:
    pod(lab, "shop-1", "node-2", app="shop")
    ports = [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]
    lab.kube.create(
        SERVICES,
        {"metadata": {"name": "shop"}, "spec": {"type": "NodePort", "selector": {"app": "shop"}, "ports": ports}},
    )
    try:
        slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        until(lambda: lab.lab.address("shop-1") in json.dumps(lab.kube.get(slices)))
        spec: Any = lab.kube.get(f"{SERVICES}/shop")["spec"]
        by_name, by_address = (
            why(lab, "pod-1a", "svc/shop", code=0),
            why(lab, "pod-1a", f"{spec['clusterIP']}:80", code=0),
        )
        assert (
            by_name[0]
            == by_address[0]
            == ("This is not MTU: from default/pod-1a to default/shop-1 packets of 1450 bytes arrive whole both ways.")
        )
        assert any(
            line.startswith(f"  ! nobody behind {spec['clusterIP']} answers probes, so its ") for line in by_name
        )
        node_port = spec["ports"][0]["nodePort"]
        lines = why(lab, "pod-1a", f"192.168.77.3:{node_port}", code=0)
        assert "  · no MTU stands in the way from node-3 to default/shop-1" in lines
        assert (
            f"  ! nobody behind svc default/shop by port {node_port} of node-3 answers probes, so what the translation "
            "does was not measured: the ways from default/pod-1a to node-3 and from there to the endpoints were"
            in lines
        )
    finally:
        lab.kube.delete(f"{SERVICES}/shop")
        lab.kube.remove_pod("shop-1")


@on_lab
def test_what_means_two_things_or_none(lab: Cluster) -> None:
    pod(lab, "node-2", "node-1")
    try:
        assert refused(lab.run("why", "pod-1a", "node-2"), 2) == (
            "node-2 is more than one thing here; write node/node-2 or pod/default/node-2"
        )
    finally:
        lab.kube.remove_pod("node-2")
    assert refused(lab.run("why", "pod-1a", "kubemtu-probe"), 2).endswith("; did you mean svc/kubemtu/kubemtu-probe?")
    assert refused(lab.run("probe", "pod-1a", "nobody"), 2).startswith("nobody is neither a node, nor a pod or Service")


@on_lab
def test_a_pod_that_goes_while_it_is_measured(lab: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    pod(lab, "brief", "node-2")
    until(lambda: lab.lab.pod("brief").host_link in situations.seen_ends(lab, "node-2"))
    begin = deadlines.asking_all

    def late(*arguments: Any, **more: Any) -> Any:
        lab.kube.remove_pod("brief")
        return begin(*arguments, **more)

    monkeypatch.setattr(deadlines, "asking_all", late)
    assert refused(lab.run("why", "pod-1a", "brief"), 7) == (
        "pod default/brief has gone while it was measured; ask again for one that runs"
    )


# Rights, and what is not installed


@on_lab
def test_without_the_right_to_ask(lab: Cluster, tmp_path: Path) -> None:
    account = {"kind": "ServiceAccount", "name": "reader", "namespace": "default"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"}
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]
    lab.kube.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "reader"}})
    lab.kube.create(f"{RBAC}/clusterroles", {"metadata": {"name": "reader"}, "rules": rules})
    binding: Body = {"metadata": {"name": "reader"}, "roleRef": role, "subjects": [account]}
    lab.kube.create(f"{RBAC}/clusterrolebindings", binding)
    path = "/api/v1/namespaces/default/serviceaccounts/reader/token"
    answer = lab.kube.http.post(path, json={"spec": {}}).raise_for_status().json()
    document = yaml.safe_load(lab.lab.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": answer["status"]["token"]}
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(document))
    for words in (("why", "pod-1a", "pod-2a"), ("probe",), ("check", "--prove")):
        said = refused(scenes.run(*words, "--kubeconfig", file), 4)
        assert "mtuprobes" in said
    nothing = [{"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["get", "list", "watch"]}]
    lab.kube.merge(f"{RBAC}/clusterroles/reader", {"rules": nothing})
    said = refused(scenes.run("why", "pod-1a", "pod-2a", "--kubeconfig", file), 4)
    assert "may not list nodemtus.kubemtu.io" in said


@on_lab
def test_programs_read_where_it_is(lab: Cluster) -> None:
    with hole(lab, "node-2", 1400):
        found = json.loads(lab.run("why", "pod-1a", "pod-2a", "-o", "json").out)
        pair = lab.run("probe", "pod-1a", "pod-2a", "-o", "json")
        text = lab.run("probe", "pod-1a", "pod-2a")
    told = found["diagnosis"]
    assert found["schema"] == "kubemtu.io/why/v1"
    assert (told["isMtu"], told["kind"], told["mtu"], told["expected"]) == ("yes", "black hole", 1350, 1450)
    assert (told["location"], told["confidence"]) == (
        "between node-1 and node-2, whose network carries 1400",
        "certain",
    )
    # Where an answer was late the other end was asked as well: the way back is no part of the way there.
    assert {one["role"]: one["forward"]["mtu"] for one in told["legs"] if one["role"] != "return"} == {
        "whole": 1350,
        "near": 1450,
        "nodes": 1400,
        "overlay": 1350,
        "far": 1450,
    }
    assert (pair.code, json.loads(pair.out)["schema"], text.code) == (1, "kubemtu.io/why/v1", 1)
    heads = [line for line in text.out.splitlines() if line[0] in "✓✗"]
    assert [head.partition(";")[0] for head in heads] == [
        "✗ default/pod-1a ▸ default/pod-2a: black hole",
        "✓ default/pod-2a ▸ default/pod-1a: ok",
    ]


@on_lab
def test_agents_that_know_no_questions(lab: Cluster) -> None:
    """The last of this lab: its agents are left without what they follow."""
    lab.kube.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/mtuprobes.kubemtu.io")
    until(lambda: lab.kube.http.get(PROBES).status_code == 404)
    for words in (("why", "pod-1a", "pod-2a"), ("probe",), ("check", "--prove")):
        assert re.fullmatch(
            r"https://[\d.:]+ does not know MTUProbe: the agents that measure are not installed, or are older; install "
            r"the agents with `kubemtu install`",
            refused(lab.run(*words), 3),
        )
    lab.kube.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/nodemtus.kubemtu.io")
    until(lambda: lab.kube.http.get(NODE_MTUS).status_code == 404)
    assert "install the agents with `kubemtu install`" in refused(lab.run("why", "pod-1a", "pod-2a"), 3)


# Two families


@pytest.mark.parametrize("cluster", [DUAL], indirect=True)
def test_the_family_that_is_at_fault_is_named(cluster: Cluster) -> None:
    until(lambda: all(situations.seen_ends(cluster, node) for node in ("node-1", "node-2")))
    lines = why(cluster, "pod-1a", "pod-2a")
    assert lines[0] == (
        "This is MTU: from default/pod-1a to default/pod-2a over IPv6 packets above 1430 are refused at the tunnel of "
        "node-1, which takes 1430; both ends believe 1450; ICMP says so, and TCP adapts when it hears it."
    )
    assert "  · no MTU stands in the way from default/pod-1a to default/pod-2a over IPv4" in lines
    assert advice(lines).startswith("`kubemtu plan` shows the change of pods to 1430")
    assert why(cluster, "node-1", "node-2", code=0)[0] == (
        "This is not MTU: from node-1 to node-2 over IPv4 and IPv6 packets of 1500 bytes arrive whole both ways."
    )

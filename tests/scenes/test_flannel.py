"""kube-flannel, fault by fault: two numbers that can be set, a bridge with a will of its own, a tunnel that stays."""

import pytest
from tests.support.scenes import faults
from tests.support.scenes.cases import Case, each_on, judge
from tests.support.scenes.cluster import FLANNEL_CONFIG, Cluster
from tests.support.scenes.datagrams import send
from tests.support.scenes.places import BOTH_OF, on_nodes

from kubemtu_lab import scenes
from kubemtu_lab.scene import Scene, nodes

pytestmark = pytest.mark.lab

CONFIG = "ConfigMap kube-flannel/kube-flannel-cfg"
BASE = f'{CONFIG}, data["net-conf.json"], Backend.MTU'
DELEGATE = f'{CONFIG}, data["cni-conf.json"], plugins[0].delegate.mtu'
SUBNET = "/run/flannel/subnet.env"
CONFLIST = "/etc/cni/net.d/10-flannel.conflist"


def small(name: str, pods: int) -> Scene:
    """A ready-made scene with two nodes."""
    return scenes.named(name).replace(nodes=nodes(2, pods))


ALONE = (
    Case("healthy-flannel", faults.none, "healthy", (), steps=()),
    Case("strangers-on-the-node", faults.strangers, "healthy", (), steps=()),
    Case(
        "bridge-above-its-ports",
        faults.links({"node-1 cni0": 1500}),
        "broken",
        ("MTU121 error: node node-1, cni0",),
        says=("packets of 1455-1500 bytes vanishes at the port, without an ICMP error",),
        steps=("live",),
        heals=True,
    ),
    Case(
        "bridge-below-its-ports",
        faults.links({"node-2 cni0": 1400}),
        "suboptimal",
        ("MTU121 warning: node node-2, cni0",),
        says=("packets of 1401-1450 bytes is refused with an ICMP error",),
        steps=("live",),
        heals=True,
    ),
    Case(
        "ports-differ",
        faults.pod_ends("pod-1a", 1400),
        "broken",
        (
            "MTU104 warning: node node-1, 1 pod: default/pod-1a",
            "MTU121 error: node node-1, cni0",
            "MTU102 note: node node-1, 1 pod: default/pod-1a",
        ),
        says=("packets of 1405-1450 bytes to the smaller ones vanish without an ICMP error",),
        steps=("live",),
        heals=True,
    ),
    Case(
        "base-edited-and-not-rolled-out",
        faults.net_conf(FLANNEL_CONFIG, MTU=1400),
        "suboptimal",
        (
            f"MTU119 note: {BASE}",
            *on_nodes("MTU103 warning", SUBNET, 1, 2),
            *on_nodes("MTU107 warning", "flannel.1", 1, 2),
        ),
        says=("flannel.1 has 1450, the configuration gives it 1350", "Set it to 1500"),
        steps=("net-conf.json: 1400 -> 1500", "rollout"),
    ),
    Case(
        "flannel-1-keeps-its-mtu-when-flanneld-restarts",
        faults.net_conf(FLANNEL_CONFIG, MTU=1400, restarted=True),
        "suboptimal",
        (
            f"MTU119 note: {BASE}",
            *on_nodes("MTU107 warning", "flannel.1", 1, 2),
            *(f"MTU104 warning: node node-{n}, 2 pods: {BOTH_OF.format(n)}" for n in (1, 2)),
        ),
        says=("Flannel takes over a device that exists and never changes its MTU, so a restart does not help",),
        steps=("net-conf.json: 1400 -> 1500", "rollout"),
        heals=True,
    ),
    Case(
        "another-backend-and-not-rolled-out",
        faults.net_conf(FLANNEL_CONFIG, Type="host-gw"),
        "suboptimal",
        ("MTU103 warning: nodes node-1 and node-2, annotation flannel.alpha.coreos.com/backend-type",),
        says=("flanneld runs vxlan here, and the configuration says host-gw", "What vxlan takes is counted"),
        steps=(),
    ),
    Case(
        "another-backend-on-one-node",
        faults.net_conf(FLANNEL_CONFIG, Type="host-gw", restarted="node-1"),
        "broken",
        (
            "MTU103 error: node node-2, annotation flannel.alpha.coreos.com/backend-type",
            f"MTU119 error: node node-1, {SUBNET}",
        ),
        says=("Flannel ignores nodes of another backend, so new ones do not reach these",),
    ),
    Case(
        "base-as-a-string",
        faults.configured(FLANNEL_CONFIG, net_conf_json='{"Backend": {"Type": "vxlan", "MTU": "1500"}}'),
        "broken",
        (f"MTU112 error: {BASE}",),
        says=("flannel accepts only an integer and exits on anything else",),
        steps=('net-conf.json: "1500" -> 1500', "rollout"),
        heals=True,
    ),
    Case(
        "delegate-above-the-tunnel",
        faults.delegate(1500),
        "broken",
        (f"MTU119 error: {DELEGATE}", *on_nodes("MTU103 warning", CONFLIST, 1, 2)),
        steps=("cni-conf.json: 1500 -> 1450", "rollout"),
    ),
    Case(
        "delegate-above-the-tunnel-rolled-out",
        faults.delegate(1500, restarted=True),
        "broken",
        (f"MTU119 error: {DELEGATE}",),
        steps=("cni-conf.json: 1500 -> 1450", "rollout"),
        heals=True,
    ),
    Case(
        "key-lost",
        faults.configured(FLANNEL_CONFIG, cni_conf_json=None),
        "broken",
        (f"MTU108 error: {CONFIG}, key cni-conf.json",),
        says=("flannel exits without it",),
    ),
)

# flannel subtracts 50 for IPv6 too, where the headers take 40 + 8 + 8 + 14 = 70 (RFC 8200, 768, 7348; IEEE 802.3).
DUAL = (
    Case(
        "flannel-forgets-the-20-bytes-of-ipv6",
        faults.none,
        "broken",
        (
            f"MTU119 error: nodes node-1 and node-2, {SUBNET}",
            "MTU101 error: nodes node-1 and node-2, 2 pods: default/pod-1a and default/pod-2a",
        ),
        recommended=1430,
        says=("Those of 1431-1450 bytes that are IPv6 are refused by flannel-v6.1 (1430)", f"Set {BASE} to 1480"),
        steps=('net-conf.json:  -> ,"MTU":1480', "rollout", "live"),
        heals=True,
    ),
)


# Without a header around it a pod's packet may be what the NIC takes.
ROUTED = (
    Case("healthy-host-gw", faults.none, "healthy", (), recommended=1500, steps=()),
    Case(
        "a-delegate-above-the-nic",
        faults.delegate(1600, restarted=True),
        "broken",
        (f"MTU119 error: {DELEGATE}",),
        recommended=1500,
        says=("NIC 1500 ▸ pod 1500",),
        steps=("cni-conf.json: 1600 -> 1500", "rollout"),
        heals=True,
    ),
    Case(
        "pods-smaller-than-the-nic",
        # The bridge first: it follows its ports until somebody sets it, and would be taken back to what it followed to.
        faults.together(
            faults.links({"node-1 cni0": 1400}), *(faults.pod_ends(pod, 1400) for pod in ("pod-1a", "pod-2a"))
        ),
        "suboptimal",
        (
            *(f"MTU104 warning: node node-{n}, 1 pod: default/pod-{n}a" for n in (1, 2)),
            "MTU102 note: nodes node-1 and node-2, 2 pods: default/pod-1a and default/pod-2a",
        ),
        recommended=1500,
        steps=("live",),
        heals=True,
    ),
)


@each_on((small("flannel", 2), ALONE))
def test_flannel(faulty: Cluster, case: Case) -> None:
    judge(faulty, case)


@each_on((small("flannel-host-gw", 1), ROUTED))
def test_host_gw(faulty: Cluster, case: Case) -> None:
    judge(faulty, case)


@pytest.mark.parametrize("cluster", [small("flannel-host-gw", 1)], indirect=True)
def test_a_decrease_ends_where_the_nodes_route_without_a_tunnel(cluster: Cluster) -> None:
    cluster.healthy()
    for mtu in (1400, 1500):
        ended = cluster.apply("--mtu", str(mtu))
        assert ended.code == 0, ended.err
        assert cluster.until(lambda now, mtu=mtu: now.current == [mtu], str(mtu)).verdict == "healthy"  # type: ignore[misc]  # bound at once
    assert send(cluster, "pod-1a", "pod-2a", 1491, 1500) == {"sent": 10, "refused": 0, "answered": 10}


@each_on((small("flannel-dual-1450", 1), DUAL))
def test_dual_stack(cluster: Cluster, case: Case) -> None:
    judge(cluster, case)


@pytest.mark.parametrize("cluster", [small("flannel-dual-1450", 1)], indirect=True)
def test_below_1280_ipv6_is_gone_for_good(cluster: Cluster) -> None:
    """The lab is healthy by now, with Backend.MTU 1480; RFC 8200, section 5 sets the 1280."""
    cluster.healthy()
    refused = cluster.run("plan", "--mtu", "1270")
    assert refused.code == 2
    assert "needs 1280 on every link (RFC 8200, section 5)" in refused.err

    place = cluster.lab.pod("pod-1a")
    cluster.ip("node-1", "link", "set", place.host_link, "mtu", "1279")
    cluster.ip("pod-1a", "link", "set", "eth0", "mtu", "1279")
    now = cluster.until(lambda now: any(mark.startswith("MTU114") for mark in now.marks), "MTU114")
    assert (now.verdict, now.one("MTU114").severity) == ("broken", "error")
    assert now.one("MTU114").place == "node node-1, 1 pod: default/pod-1a"
    assert "raising it again does not bring them back" in now.one("MTU114").message
    assert cluster.ip("pod-1a", "-6", "addr", "show", "dev", "eth0", "scope", "global") == ""

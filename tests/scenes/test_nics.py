"""NICs: unequal ones, large ones, and a switch that carries less than they say."""

import pytest
from tests.support.labs import until
from tests.support.scenes import faults, situations
from tests.support.scenes.agreement import agree
from tests.support.scenes.cases import Case, each_on, judge
from tests.support.scenes.cluster import Cluster
from tests.support.scenes.places import VETH, on_nodes

from kubemtu_lab.scene import Canal, Nic, Scene, nodes

pytestmark = pytest.mark.lab

# Of a packet, TCP payload is what IPv4 (20), TCP (20) and timestamps (12) leave; on the wire it also takes VXLAN (50)
# and Ethernet: header 14, FCS 4, preamble 8, gap 12 (RFC 791, 9293, 7323, 7348; IEEE 802.3).
#   1450: 1398 / (1450 + 50 + 38) = 90.9 %      8950: 8898 / (8950 + 50 + 38) = 98.5 %
#   lost: 1 - (1398 / 1538) / (8898 / 9038) = 7.7 %      packets: 8898 / 1398 = 6.36
JUMBO_COST = "of a full link TCP gets 90.9% instead of 98.5%, which is 7.7% less, in 6.36 times as many packets"

JUMBO = Scene(name="jumbo", summary="", nodes=nodes(2, 1, Nic(mtu=9000)), cni=Canal(era="C", mtu=1450))
WASTED = (
    Case(
        "jumbo-nics-and-small-pods",
        faults.none,
        "suboptimal",
        (
            f"MTU119 warning: {VETH}",
            "MTU102 warning: nodes node-1 and node-2, 2 pods: default/pod-1a and default/pod-2a",
        ),
        recommended=8950,
        says=(JUMBO_COST, "Set it to 8950, if the network between the nodes carries what the NICs say"),
        steps=("live", "veth_mtu: 1450 -> 8950", "rollout"),
        heals=True,
    ),
)

MIXED = Scene(name="mixed", summary="", nodes=nodes(3, 1), cni=Canal(era="C", mtu=1350)).with_nics(
    "node-2", Nic(mtu=9000)
).with_nics("node-3", Nic(mtu=1400))  # fmt: skip
TUNNELS = {"node-1 flannel.1": 1350, "node-2 flannel.1": 1350}  # as flanneld makes them nodes' own datagrams are lost
UNEQUAL = (
    Case(
        "tunnels-as-flanneld-makes-them",
        faults.links({"node-1 flannel.1": 1450, "node-2 flannel.1": 8950}),
        "suboptimal",
        ("MTU145 warning: node node-1, flannel.1", "MTU145 warning: node node-2, flannel.1"),
        recommended=1350,
        says=(
            "send by flannel.1 (1450) does not fit eth0 (1400) of node-3: datagrams of 1351-1450 bytes",
            "send by flannel.1 (8950) does not fit the NICs of node-3 and node-1, the least of which is eth0 (1400)",
        ),
        steps=(),
    ),
    Case("configured-for-the-smallest", faults.none, "healthy", (), recommended=1350, steps=()),
    Case(
        "a-pod-for-the-middle-one",
        faults.together(faults.pod_ends("pod-1a", 1450), faults.links({"node-1 flannel.1": 1450})),
        "broken",
        (
            "MTU106 warning: node node-3, eth0",
            "MTU104 error: node node-1, 1 pod: default/pod-1a",
            "MTU101 error: node node-1, 1 pod: default/pod-1a",
        ),
        recommended=1350,
        says=(
            "(1400: node-3 (eth0); 1500: node-1 (eth0); 9000: node-2 (eth0)). The smallest decides: pods can have 1350",
            "Nodes with a larger one (node-1) still send more than that: it vanishes in front of the smaller NIC",
            "Those of 1351-1450 bytes fit this node's own devices and vanish on the way to a node with a smaller NIC",
        ),
        steps=("live",),
        heals=True,
    ),
    Case(
        "configured-for-the-middle-one",
        faults.configured(veth_mtu="1450"),
        "broken",
        (f"MTU119 error: {VETH}", *on_nodes("MTU103 warning", "/etc/cni/net.d/10-canal.conflist", 1, 2, 3)),
        recommended=1350,
        says=("NIC 1400 ▸ IPv4 20 ▸ UDP 8 ▸ VXLAN 8 ▸ Ethernet 14 ▸ pod 1350",),
        steps=("veth_mtu: 1450 -> 1350", "rollout"),
        heals=True,
    ),
)


@each_on((JUMBO, WASTED))
def test_jumbo(cluster: Cluster, case: Case) -> None:
    judge(cluster, case)


@pytest.mark.parametrize("cluster", [JUMBO], indirect=True)
def test_jumbo_configured_right_is_healthy(cluster: Cluster) -> None:
    """The same lab, after `kubemtu apply`."""
    now = cluster.healthy()
    assert (now.verdict, now.code, now.recommended_mtu, now.current) == ("healthy", 0, 8950, [8950])


@pytest.mark.parametrize("cluster", [JUMBO], indirect=True)
def test_a_raised_nic_leaves_the_tunnel_behind(cluster: Cluster) -> None:
    """flanneld looks at the NIC when it makes flannel.1, and never again (live-measured: kernel raises nothing)."""
    cluster.healthy()
    with faults.links({"node-1 flannel.1": 1450})(cluster):
        cluster.kube.restart_daemon("node-1")
        now = cluster.settle(["MTU107 error: node node-1, flannel.1"])
        assert now.verdict == "broken"
        assert "The node refuses packets of 1451-8950 bytes with an ICMP error" in now.findings[0].message
        assert cluster.plan().lines == ["live"]


@each_on((MIXED, UNEQUAL))
def test_mixed(cluster: Cluster, case: Case) -> None:
    with faults.links(TUNNELS)(cluster):
        cluster.healthy()
        with case.fault(cluster):
            judge(cluster, case)


HOLE = Scene(name="hole", summary="", nodes=nodes(2, 1), cni=Canal(era="B", mtu=1450), grace_seconds=8.0).with_nics(
    "node-2", Nic(port_mtu=1400)
)


@pytest.mark.parametrize("cluster", [HOLE], indirect=True)
def test_a_switch_that_carries_less_is_seen_by_apply_and_not_by_check(cluster: Cluster) -> None:
    """`check` sends nothing, and says what it rests on. `apply` asks the network first, and changes nothing then."""
    now = cluster.healthy()
    assert (now.verdict, now.recommended_mtu) == ("healthy", 1450)
    assert now.summary.endswith("the path between nodes, which carries 1450 by what the NICs say.")
    assert cluster.plan().lines == []
    measured = agree(cluster).remedies  # check, which has not measured, alone says that all is well
    assert {name: one and (one.cause, one.mtu, one.path_mtu) for name, one in measured.items()} == {
        "check": ("none", 1450, 0),
        "check --prove": ("network", 1354, 1404),
        "probe": ("network", 1354, 1404),
        "why": ("network", 1354, 1404),
    }

    stopped = cluster.apply()
    assert (stopped.code, stopped.out) == (8, "")  # nothing is called right before it was looked at
    assert "the network between the nodes does not carry what pods may send" in stopped.err
    # A port of 1400 forwards what is larger by a VLAN tag (__is_skb_forwardable): 1404 - 20 - 8 - 8 - 14
    assert "1404 bytes arrive, and everything larger, up to 1500, vanishes without a word" in stopped.err
    assert "1404 bytes leave 1354 for pods. Nothing was changed; apply --mtu 1354 or less" in stopped.err

    refused = cluster.apply("--mtu", "1355")
    assert refused.code == 8
    assert "the network between the nodes does not carry this plan" in refused.err
    assert "Nothing was changed but the pins" in refused.err
    assert cluster.lab.mtu("pod-1a") == 1450
    assert "mtu lock 1355" in cluster.ip("pod-1a", "route")

    with situations.pinned(cluster.lab, "node-2", 1404):  # its kubelet is behind that port: no rollout would end
        assert cluster.apply("--mtu", "1354").code == 0
    assert cluster.until(lambda now: now.current == [1354], "1354").verdict == "healthy"
    until(lambda: bool(cluster.plan().warnings))
    (warning, *_) = cluster.plan().warnings  # the NICs say 1500 as before
    assert warning.startswith("The configuration says 1354, and this raises it")

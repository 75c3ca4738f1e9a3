"""The story by hand, step by step, on the cluster it happened on: Canal of 2018, NICs of 1500, no MTU anywhere.

1. Which number: what the encapsulation leaves of the NIC.     4. The console drops canal_iface from the ConfigMap.
2. Which encapsulation: the pool's ipipMode, Backend.Type.     5. Nothing reads the change until canal restarts.
3. Where to write it: not the kubelet, not the node's file.    6. Running pods keep the old one; the popular fix kills.
"""

from typing import Any

import pytest
from tests.support.labs import until, waiting
from tests.support.scenes import faults
from tests.support.scenes.agreement import agree
from tests.support.scenes.cluster import Cluster
from tests.support.scenes.datagrams import send
from tests.support.scenes.places import ALL_PODS, BOTH_OF, CONFIG, CONFLIST, INLINE, on_nodes

from kubemtu_lab.scene import Canal, Scene, nodes

pytestmark = pytest.mark.lab

STORY = Scene(name="story", summary="Canal as RKE deployed it in 2018", nodes=nodes(2, 2), cni=Canal())
on_story = pytest.mark.parametrize("cluster", [STORY], indirect=True)

TOO_LARGE = f"MTU101 error: nodes node-1 and node-2, 4 pods: {ALL_PODS}"
AS_DEPLOYED = [f"MTU119 error: {INLINE}", TOO_LARGE]
WRITTEN = faults.inline('"type": "calico",', '"type": "calico",\n      "mtu": 1450,')


@on_story
def test_steps_1_and_2_the_number_and_where_it_comes_from(cluster: Cluster) -> None:
    now = cluster.settle(AS_DEPLOYED)
    assert (now.verdict, now.code, now.recommended_mtu, now.current) == ("broken", 1, 1450, [1500])
    assert now.summary == (
        "The MTU breaks traffic: 4 pods of 4 may send 1500 bytes, but the path between nodes carries 1450."
    )
    assert (now.cni, now.variant, now.encapsulation) == ("canal", "era A (no MTU)", "vxlan")
    # RFC 791, 768, 7348 and IEEE 802.3: 1500 - 20 - 8 - 8 - 14.
    assert [(each.name, each.size) for each in now.layers] == [
        ("NIC", 1500),
        ("IPv4", 20),
        ("UDP", 8),
        ("VXLAN", 8),
        ("Ethernet", 14),
        ("pod", 1450),
    ]
    assert send(cluster, "pod-1a", "pod-2a", 1400, 1450) == {"sent": 51, "refused": 0, "answered": 51}


@on_story
def test_step_3_the_place_is_the_config_map_and_neither_the_kubelet_nor_the_node(cluster: Cluster) -> None:
    cluster.settle(AS_DEPLOYED)
    assert cluster.plan().lines == ["live", 'cni_network_config:  -> "mtu":1450,', "rollout", "live"]
    kubelet = faults.annotated("node-1", "rke2.io/node-args", '["--kubelet-arg=network-plugin-mtu=1450"]')
    by_hand = faults.hand_edited("node-1", CONFLIST, '"type": "calico",', '"type": "calico", "mtu": 1450,')
    with kubelet(cluster), by_hand(cluster):
        now = cluster.settle(
            [
                *AS_DEPLOYED,
                "MTU111 warning: Node node-1, annotation rke2.io/node-args",
                f"MTU110 warning: node node-1, {CONFLIST}",
            ]
        )
        assert "until the CNI's pod restarts and writes it anew" in now.one("MTU110").message
        cluster.kube.restart_daemon("node-1")  # and so it does
        cluster.settle([*AS_DEPLOYED, "MTU111 warning: Node node-1, annotation rke2.io/node-args"])
        assert '"mtu"' not in (cluster.lab.node_root("node-1") / CONFLIST.lstrip("/")).read_text()


@on_story
def test_step_4_the_console_drops_canal_iface_and_the_next_canal_pod_fails(cluster: Cluster) -> None:
    cluster.settle(AS_DEPLOYED)
    with WRITTEN(cluster), faults.configured(canal_iface=None)(cluster):
        lost = f"MTU108 error: {CONFIG}, key canal_iface"
        now = cluster.settle([lost, *on_nodes("MTU103 error", CONFLIST, 1, 2), TOO_LARGE])
        assert now.findings[0].mark == lost  # before anything restarts, it comes first
        assert now.one("MTU103").remedy.startswith("First put the missing key back (MTU108), else no pod")
        name = cluster.kube.restart_daemon("node-2", ready=False)
        why = "CreateContainerConfigError", "Couldn't find key canal_iface in ConfigMap kube-system/canal-config"
        until(lambda: waiting(cluster.kube.pods("kube-system")[name], "kube-flannel") == why)
        cluster.until(lambda now: f"MTU108 error: node node-2, pod kube-system/{name}" in now.marks, name)
        # Nobody has to know a NIC's name: the value was empty, and is so again, before anything restarts.
        assert cluster.plan().lines == ["live", "canal_iface: None -> ''", "rollout", "live"]
    cluster.kube.restart_daemon("node-2")


@on_story
def test_step_5_a_change_is_not_read_until_canal_restarts(cluster: Cluster) -> None:
    cluster.settle(AS_DEPLOYED)
    with WRITTEN(cluster):
        now = cluster.settle([*on_nodes("MTU103 error", CONFLIST, 1, 2), TOO_LARGE])
        assert "The file says no MTU, the configuration 1450. New pods on this node get 1500" in now.findings[0].message
        assert "kubectl -n kube-system rollout restart daemonset/canal" in now.findings[0].remedy
        assert cluster.plan().lines == ["live", "rollout", "live"]


@on_story
def test_step_6_the_popular_fix_makes_1455_to_1500_vanish_and_apply_mends_it_without_a_restart(
    cluster: Cluster,
) -> None:
    cluster.settle(AS_DEPLOYED)
    older = [f"MTU104 error: node node-{n}, 2 pods: {BOTH_OF.format(n)}" for n in (1, 2)]
    with faults.together(WRITTEN)(cluster):
        for node in ("node-1", "node-2"):
            cluster.kube.restart_daemon(node)
        now = cluster.settle([*older, TOO_LARGE])
        assert "2 of 2 pods have 1500, but a pod created now gets 1450" in now.findings[0].message
        assert send(cluster, "pod-1a", "pod-1b", 1451, 1500)["answered"] == 50

        # ifconfig | grep cali | ... ifconfig {} mtu 1450, on every node:
        with faults.links({"node-1 cali*": 1450, "node-2 cali*": 1450})(cluster):
            apart = [f"MTU105 error: node node-{n}, 2 pods: {BOTH_OF.format(n)}" for n in (1, 2)]
            now = cluster.settle([*apart, *older])
            assert now.summary == (
                "The MTU breaks traffic: 4 pods of 4 lose large packets without an ICMP error, because the two ends of "
                "their interfaces differ."
            )
            assert "Every packet of 1455-1500 bytes that they send, to anywhere, vanishes" in now.one("MTU105").message
            for df in (True, False):
                assert send(cluster, "pod-1a", "pod-1b", 1455, 1500, df=df) == {"sent": 46, "refused": 0, "answered": 0}
            assert send(cluster, "pod-1a", "pod-1b", 1401, 1450)["answered"] == 50
            # The counters of both ends are the evidence; they alone are told only every ten seconds.
            cluster.ip("node-1", "link", "add", "poke", "type", "bridge")
            counted = "(92 so far: rx_dropped of the host end = tx_dropped in the pod)"
            cluster.until(lambda now: counted in now.one("MTU105").message, counted)
            cluster.ip("node-1", "link", "delete", "poke")

            pods = births(cluster)
            assert cluster.plan().lines == ["live", "live"]
            assert (said := agree(cluster).remedies["check"]) is not None
            assert (said.cause, said.mtu) == ("veth", 1450)
            assert cluster.apply().code == 0
            assert cluster.healthy().current == [1450]
            assert births(cluster) == pods  # none restarted
            assert send(cluster, "pod-1a", "pod-2a", 1401, 1500) == {"sent": 50, "refused": 50, "answered": 50}


@on_story
def test_a_tunnel_that_is_too_large_cuts_what_must_not_be_cut(cluster: Cluster) -> None:
    """After the story the pods have 1450. The NICs lose 100 bytes: the outer packet has no DF, and is sent in two."""
    with faults.links({"node-1 eth0": 1400, "node-2 eth0": 1400})(cluster):
        tunnels = {f"MTU107 error: node node-{n}, flannel.1" for n in (1, 2)}
        now = cluster.until(lambda now: now.recommended_mtu == 1350 and tunnels <= {*now.marks}, "1350")
        assert "the node cuts the outer packet in two, although the inner one has DF" in now.one("MTU107").message
        before = _cut(cluster)
        assert send(cluster, "pod-1a", "pod-2a", 1441, 1450)["answered"] == 10
        assert _cut(cluster) - before == 20  # two fragments each

        assert cluster.apply().code == 0
        assert cluster.healthy().current == [1350]
        before = _cut(cluster)
        assert send(cluster, "pod-1a", "pod-2a", 1341, 1350)["answered"] == 10
        assert _cut(cluster) == before


def births(cluster: Cluster) -> dict[str, tuple[object, int]]:
    """Which pods there are, each with its uid and how often its containers were restarted."""
    pods: dict[str, Any] = dict(cluster.kube.pods())
    return {
        name: (pod["metadata"]["uid"], sum(one["restartCount"] for one in pod["status"]["containerStatuses"]))
        for name, pod in pods.items()
    }


def _cut(cluster: Cluster) -> int:
    """Fragments that node-1 has made."""
    names, values = (
        line.split() for line in cluster.lab.exec("node-1", ["cat", "/proc/net/snmp"]).stdout.splitlines()[:2]
    )
    return int(values[names.index("FragCreates")])

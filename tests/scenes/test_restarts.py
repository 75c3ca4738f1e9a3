"""What shows only when something restarts: a key that is gone, a NIC that is not there, a number in quotes."""

import json

import pytest
from tests.support.labs import is_ready, until, waiting
from tests.support.scenes import faults
from tests.support.scenes.agreement import agree
from tests.support.scenes.cluster import Cluster

from kubemtu_lab.scene import Canal, Nic, Scene, nodes

pytestmark = pytest.mark.lab

CONFIG = "ConfigMap kube-system/canal-config"
# canal_iface is set, and the NICs of that name are equal; node-2 has one less.
NAMED = Scene(
    name="named", summary="", nodes=nodes(2, 1), cni=Canal(mtu=1450, iface="eth0"), version="v1.12.10"
).with_nics("node-1", Nic(), Nic(name="ens5"))
on_named = pytest.mark.parametrize("cluster", [NAMED], indirect=True)


def restarted(cluster: Cluster, node: str, container: str, reason: str) -> tuple[str, str]:
    """Restart the CNI's pod of a node, which does not come back: its name, and what its container waits for."""
    name = cluster.kube.restart_daemon(node, ready=False)
    until(lambda: waiting(cluster.kube.pods("kube-system")[name], container)[0] == reason)
    return name, waiting(cluster.kube.pods("kube-system")[name], container)[1]


@on_named
def test_canal_iface_on_equal_nics_is_healthy(cluster: Cluster) -> None:
    now = cluster.healthy()
    assert (now.verdict, now.code, now.recommended_mtu) == ("healthy", 0, 1450)
    assert (now.cni, now.variant, now.encapsulation) == ("canal", "era A (inline integer)", "vxlan")
    agree(cluster)


@on_named
def test_a_lost_canal_iface_keeps_the_next_canal_pod_down_until_apply_puts_it_back(cluster: Cluster) -> None:
    cluster.healthy()
    with faults.configured(canal_iface=None)(cluster):
        pod, why = restarted(cluster, "node-1", "kube-flannel", "CreateContainerConfigError")
        assert why == "Couldn't find key canal_iface in ConfigMap kube-system/canal-config"
        now = cluster.settle(
            [f"MTU108 error: {CONFIG}, key canal_iface", f"MTU108 error: node node-1, pod kube-system/{pod}"]
        )
        assert now.verdict == "broken"
        assert now.summary.startswith(f"What starts from now on fails. {CONFIG}, key canal_iface:")
        assert f"It is down already: container kube-flannel: {why}" in now.findings[1].message
        assert cluster.plan().lines == ["canal_iface: None -> ''", "rollout"]

        assert cluster.apply().code == 0
        assert cluster.settle([]).verdict == "healthy"
        assert cluster.config("canal_iface") == ""
        assert all(map(is_ready, cluster.kube.pods("kube-system").values()))


@on_named
def test_a_nic_that_one_node_lacks_is_found_there_and_nothing_is_restarted_into_it(cluster: Cluster) -> None:
    cluster.healthy()
    with faults.configured(canal_iface="ens5")(cluster):
        now = cluster.settle([f"MTU109 error: node node-2, {CONFIG}, key canal_iface"])
        assert (now.verdict, now.code) == ("broken", 1)
        assert "names ens5, and this node has only eth0" in now.findings[0].message
        idle = cluster.run("plan").out  # the pods' number is right; that is not all there is
        assert idle.startswith("! Nothing to do: every pod has 1450, and new ones get it.")
        assert f"MTU109 error  node node-2, {CONFIG}, key canal_iface" in idle
        for command in ("plan", "apply"):
            refused = cluster.run(command, "--mtu", "1400", *(["--yes"] if command == "apply" else []))
            assert refused.code == 2
            assert refused.err.startswith(
                f"error: {CONFIG}, key canal_iface names ens5, which node node-2 lacks: flanneld would exit"
            )

        pod, _ = restarted(cluster, "node-2", "kube-flannel", "CrashLoopBackOff")
        cluster.settle([f"MTU109 error: node node-2, {CONFIG}, key canal_iface"])
    until(lambda: is_ready(cluster.kube.pods("kube-system")[pod]))


@on_named
def test_a_number_in_quotes_keeps_new_pods_down_with_gos_words_until_apply_takes_the_quotes_away(
    cluster: Cluster,
) -> None:
    cluster.healthy()
    with faults.inline('"mtu": 1450', '"mtu": "1450"', restarted="node-1")(cluster):
        cluster.kube.run_pod("quoted", "node-1", wait=False)
        until(lambda: waiting(cluster.kube.pods()["quoted"], "main")[1] != "")
        assert waiting(cluster.kube.pods()["quoted"], "main") == (
            "ContainerCreating",
            "json: cannot unmarshal string into Go struct field NetConf.mtu of type int",
        )
        now = cluster.settle(
            [
                f"MTU112 error: {CONFIG}, data.cni_network_config, plugins[0].mtu",
                "MTU112 error: node node-1, /etc/cni/net.d/10-calico.conflist",
            ]
        )
        assert now.verdict == "broken"
        assert cluster.plan().lines == ['cni_network_config: "1450" -> 1450', "rollout"]

        assert cluster.apply().code == 0
        until(lambda: is_ready(cluster.kube.pods()["quoted"]))
        assert cluster.settle([]).verdict == "healthy"
        assert cluster.lab.mtu("quoted") == 1450
    cluster.kube.remove_pod("quoted")


@on_named
def test_the_plan_warns_that_helm_will_take_it_back(cluster: Cluster) -> None:
    cluster.healthy()
    by_helm = faults.owned({"app.kubernetes.io/managed-by": "Helm"}, {"meta.helm.sh/release-name": "canal"})
    with by_helm(cluster):
        assert cluster.healthy().verdict == "healthy"  # whoever owns the object, its value is right
        (warning,) = cluster.plan("--mtu", "1400").warnings
        assert warning.startswith("Helm (release canal) writes the configuration: it will put the old value back")


@on_named
def test_the_plan_warns_that_rke_will_take_it_back(cluster: Cluster) -> None:
    cluster.healthy()
    before = cluster.config("cni_network_config").replace('"mtu": 1450', '"mtu": 1500')
    with faults.rendered_by_rke(cni_network_config=before)(cluster):
        now = cluster.settle([f"MTU113 warning: {CONFIG}, data.cni_network_config"])
        assert (now.verdict, now.code) == ("suboptimal", 1)
        assert "The next Kubernetes upgrade takes it back." in now.findings[0].message
        assert "before v1.1.0" in now.findings[0].remedy
        (warning,) = cluster.plan("--mtu", "1400").warnings
        assert warning.startswith("RKE (cluster.yml: network.mtu) writes the configuration")


@on_named
def test_ip_in_ip_is_counted_where_nothing_else_is(cluster: Cluster) -> None:
    """The story's second step, without flannel's VXLAN: what the pool's ipipMode makes of the NIC."""
    cluster.healthy()
    with faults.net_conf(Type="host-gw", restarted=True)(cluster):
        plain = cluster.until(lambda now: now.encapsulation == "none", "no encapsulation")
        assert [(each.name, each.size) for each in plain.layers] == [("NIC", 1500), ("pod", 1500)]
        assert plain.recommended_mtu == 1500
        with faults.pool_mode("Always")(cluster):
            tunnelled = cluster.until(lambda now: now.encapsulation == "ipip", "IP in IP")
            assert [(each.name, each.size) for each in tunnelled.layers] == [("NIC", 1500), ("IPv4", 20), ("pod", 1480)]
            assert tunnelled.recommended_mtu == 1480
    with faults.pool_mode("Always")(cluster):
        both = cluster.until(lambda now: now.encapsulation == "vxlan, ipip", "both")
        assert [each.size for each in both.layers] == [1500, 20, 8, 8, 14, 1450]  # the costlier one decides


@on_named
def test_the_program_itself_prints_it(cluster: Cluster) -> None:
    cluster.healthy()
    ended = cluster.shell("check", "-o", "json")
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out)["verdict"] == "healthy"
    assert cluster.shell("check").out.startswith("✓ The pod network's MTU is right: 2 pods on 2 nodes")

"""Canal, fault by fault, on labs that are healthy without it: the code, its severity, the place, the way out."""

import pytest
from tests.support.scenes import faults
from tests.support.scenes.cases import Case, each_on, judge
from tests.support.scenes.cluster import Cluster
from tests.support.scenes.places import ALL_PODS, BOTH_OF, CONFIG, CONFLIST, INLINE, VETH, on_nodes

from kubemtu_lab.scene import Canal, Scene, nodes

pytestmark = pytest.mark.lab

RENDERED = "/etc/cni/net.d/10-canal.conflist"
NO_KEY = "Couldn't find key canal_iface in ConfigMap kube-system/canal-config"

A = Scene(name="a", summary="As RKE made it in 2018, and the right integer", nodes=nodes(2, 2), cni=Canal(mtu=1450))
B = A.replace(name="b", nodes=nodes(2, 1), cni=Canal(era="B", mtu=1450), version="v1.17.2")
C = A.replace(name="c", cni=Canal(era="C", mtu=1450), version="v1.28.12")


OF_2018 = (
    Case("healthy-a", faults.none, "healthy", (), steps=()),
    Case("strangers-on-the-node", faults.strangers, "healthy", (), steps=()),
    Case(
        "canal-iface-lost",
        faults.configured(canal_iface=None),
        "broken",
        (f"MTU108 error: {CONFIG}, key canal_iface",),
        says=("container kube-flannel does not start without it", '{"data":{"canal_iface":""}}'),
        steps=("canal_iface: None -> ''", "rollout"),
        heals=True,
    ),
    Case(
        "canal-iface-lost-and-mtu-wrong",
        faults.together(faults.inline("1450", "1500"), faults.configured(canal_iface=None)),
        "broken",
        (
            f"MTU108 error: {CONFIG}, key canal_iface",
            f"MTU119 error: {INLINE}",
            *on_nodes("MTU103 warning", CONFLIST, 1, 2),
        ),
        steps=("canal_iface: None -> ''", "cni_network_config: 1500 -> 1450", "rollout"),
        heals=True,
    ),
    Case(
        "canal-iface-names-a-nic-that-no-node-has",
        faults.configured(canal_iface="ens5"),
        "broken",
        on_nodes("MTU109 error", f"{CONFIG}, key canal_iface", 1, 2),
        says=("names ens5, and this node has only eth0", "flanneld exits"),
        steps=(),
    ),
    Case(
        "veth-mtu-without-placeholder",
        faults.configured(veth_mtu="1400"),
        "suboptimal",
        (f"MTU111 warning: {VETH}",),
        says=("has no __CNI_MTU__, and 1450 stands there",),
        steps=(),
    ),
    Case(
        "integer-in-quotes",
        faults.inline('"mtu": 1450', '"mtu": "1450"'),
        "broken",
        (f"MTU112 error: {INLINE}",),
        says=('The MTU is "1450"; the calico plugin takes only an integer: no new pod can start.',),
        steps=('cni_network_config: "1450" -> 1450', "rollout"),
        heals=True,
    ),
    Case(
        "integer-in-quotes-rolled-out",
        faults.inline('"mtu": 1450', '"mtu": "1450"', restarted=True),
        "broken",
        (f"MTU112 error: {INLINE}", *on_nodes("MTU112 error", CONFLIST, 1, 2)),
        steps=('cni_network_config: "1450" -> 1450', "rollout"),
        heals=True,
    ),
    Case(
        "no-json",
        faults.inline('"portmap",', '"portmap"'),
        "broken",
        (f"MTU122 error: {CONFIG}, data.cni_network_config",),
        says=("line",),
    ),
    Case(
        "conflist-edited-by-hand",
        faults.hand_edited("node-1", CONFLIST, "1450", "1400"),
        "suboptimal",
        (f"MTU110 warning: node node-1, {CONFLIST}",),
        says=(f"Change the configuration instead ({INLINE})", "until the CNI's pod restarts and writes it anew"),
        steps=("rollout",),
    ),
    Case(
        "conflist-edited-by-hand-above-the-path",
        faults.hand_edited("node-2", CONFLIST, "1450", "1500"),
        "broken",
        (f"MTU110 error: node node-2, {CONFLIST}",),
        says=("new pods get 1500",),
        steps=("rollout",),
        heals=True,
    ),
    Case(
        "network-plugin-mtu",
        faults.together(
            faults.annotated("node-1", "rke2.io/node-args", '["--kubelet-arg","network-plugin-mtu=1450"]'),
            faults.config_map("kubelet-config", "kubelet", "kind: KubeletConfiguration\nnetworkPluginMTU: 1400\n"),
        ),
        "suboptimal",
        (
            "MTU111 warning: Node node-1, annotation rke2.io/node-args",
            "MTU111 warning: ConfigMap kube-system/kubelet-config, data.kubelet",
        ),
        says=("reaches no pod: only kubenet ever read it",),
        steps=(),
    ),
    Case(
        "a-pod-older-than-the-config",
        faults.pod_ends("pod-1a", 1500),
        "broken",
        ("MTU104 error: node node-1, 1 pod: default/pod-1a", "MTU101 error: node node-1, 1 pod: default/pod-1a"),
        says=(
            f"1 of 2 pods has 1500, but a pod created now gets 1450 ({CONFLIST})",
            "Those of 1451-1500 bytes are refused by flannel.1 (1450) of the sender's own node",
        ),
        steps=("live",),
        heals=True,
    ),
    Case(
        "host-ends-only",
        faults.links({"node-1 cali*": 1400, "node-2 cali*": 1400}),
        "broken",
        tuple(f"MTU105 error: node node-{n}, 2 pods: {BOTH_OF.format(n)}" for n in (1, 2)),
        says=("Every packet of 1405-1450 bytes that they send, to anywhere, vanishes at the host end",),
        steps=("live",),
        heals=True,
    ),
    Case(
        "pod-end-only",
        faults.links({"pod-1a eth0": 1400}),
        "broken",
        ("MTU105 error: node node-1, 1 pod: default/pod-1a", "MTU104 warning: node node-1, 1 pod: default/pod-1a"),
        says=("Every packet of 1405-1450 bytes that is sent to them vanishes at their own end",),
        steps=("live",),
        heals=True,
    ),
    Case(
        "pin-left-behind",
        faults.route("pod-1a", "mtu", "lock", "1400"),
        "suboptimal",
        ("MTU116 warning: node node-1, 1 pod: default/pod-1a",),
        says=("A route of this pod holds it at 1400", "ip route change default via 169.254.1.1 dev eth0;"),
        steps=(),
    ),
    Case(
        "route-above-its-device",
        faults.route("pod-2b", "mtu", "1500"),
        "broken",
        ("MTU115 error: node node-2, 1 pod: default/pod-2b, route default",),
        says=("packets of 1451-1500 bytes are sent, and from 1455 on they vanish",),
        steps=(),
    ),
    Case(
        "tunnel-too-small",
        faults.links({"node-1 flannel.1": 1400}),
        "broken",
        ("MTU107 error: node node-1, flannel.1",),
        says=("The node refuses packets of 1401-1450 bytes with an ICMP error",),
        steps=("live",),
        heals=True,
    ),
    Case(
        "tunnel-too-large-after-the-nics-shrank",
        faults.links({"node-1 eth0": 1400, "node-2 eth0": 1400}),
        "broken",
        (
            f"MTU119 error: {INLINE}",
            *on_nodes("MTU107 error", "flannel.1", 1, 2),
            f"MTU101 error: nodes node-1 and node-2, 4 pods: {ALL_PODS}",
        ),
        recommended=1350,
        says=("the node cuts the outer packet in two, although the inner one has DF",),
        steps=("cni_network_config: 1450 -> 1350", "rollout", "live"),
    ),
    Case(
        "rke-will-take-it-back",
        faults.rendered_by_rke(cni_network_config="{}"),
        "suboptimal",
        (f"MTU113 warning: {CONFIG}, data.cni_network_config",),
        says=("The next Kubernetes upgrade takes it back", "network.mtu"),
        steps=(),
    ),
    Case("ip-in-ip-besides-vxlan", faults.pool_mode("Always"), "healthy", (), steps=()),
)

OF_2020 = (Case("healthy-b", faults.none, "healthy", (), steps=()),)

WITH_VETH_MTU = (
    Case("healthy-c", faults.none, "healthy", (), steps=()),
    Case(
        "edited-and-not-rolled-out",
        faults.configured(veth_mtu="1400"),
        "suboptimal",
        (f"MTU119 note: {VETH}", *on_nodes("MTU103 warning", RENDERED, 1, 2)),
        says=(
            "The file says 1450, the configuration 1400. New pods on this node get 1450",
            "kubectl -n kube-system rollout restart daemonset/canal",
        ),
        steps=("veth_mtu: 1400 -> 1450", "rollout"),
    ),
    Case(
        "edited-and-rolled-out-on-one-node",
        faults.configured(veth_mtu="1400", restarted="node-1"),
        "suboptimal",
        (
            f"MTU119 note: {VETH}",
            f"MTU103 warning: node node-2, {RENDERED}",
            f"MTU104 warning: node node-1, 2 pods: {BOTH_OF.format(1)}",
        ),
        steps=("veth_mtu: 1400 -> 1450", "rollout"),
        heals=True,
    ),
    Case(
        "above-the-path-and-not-rolled-out",
        faults.configured(veth_mtu="1500"),
        "broken",
        (f"MTU119 error: {VETH}", *on_nodes("MTU103 warning", RENDERED, 1, 2)),
        says=("Each of them will send packets of 1451-1500 bytes that do not fit",),
        steps=("veth_mtu: 1500 -> 1450", "rollout"),
        heals=True,
    ),
    Case(
        "placeholder-without-veth-mtu",
        faults.configured(veth_mtu=None),
        "broken",
        (f"MTU108 error: {CONFIG}, key veth_mtu",),
        says=("container install-cni does not start without it",),
        steps=("veth_mtu: None -> '1450'", "rollout"),
        heals=True,
    ),
    Case(
        "veth-mtu-empty",
        faults.configured(veth_mtu=""),
        "broken",
        (f"MTU122 error: {VETH}",),
        says=('becomes `"mtu": ,`, which is no JSON: install-cni aborts',),
        steps=("veth_mtu: '' -> '1450'", "rollout"),
        heals=True,
    ),
    Case(
        "veth-mtu-no-number",
        faults.configured(veth_mtu="auto"),
        "broken",
        (f"MTU112 error: {VETH}",),
        steps=("veth_mtu: auto -> 1450", "rollout"),
        heals=True,
    ),
    Case(
        "veth-mtu-0-and-calico-does-not-know-of-flannel",
        faults.configured(veth_mtu="0", restarted=True),
        "broken",
        (f"MTU119 error: {VETH}",),
        says=("New pods get 1500",),
        steps=("veth_mtu: 0 -> 1450", "rollout"),
        heals=True,
    ),
    Case(
        "helm-will-take-it-back",
        faults.together(
            faults.owned({"app.kubernetes.io/managed-by": "Helm"}, {"meta.helm.sh/release-name": "canal"}),
            faults.configured(veth_mtu="1500"),
        ),
        "broken",
        (f"MTU119 error: {VETH}", *on_nodes("MTU103 warning", RENDERED, 1, 2)),
    ),
)


@each_on((A, OF_2018), (B, OF_2020), (C, WITH_VETH_MTU))
def test_canal(faulty: Cluster, case: Case) -> None:
    judge(faulty, case)

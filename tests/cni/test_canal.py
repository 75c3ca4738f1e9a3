"""Canal: every era is told from its objects, and what is wrong in them is a finding, not an end."""

from collections.abc import Callable

import pytest

from kubemtu.cni import canal
from kubemtu.core.cluster.cni_state import CniState
from kubemtu.core.codes import Finding
from kubemtu.core.errors import UsageError
from kubemtu.core.net import NodeObservation
from kubemtu.core.snapshot import Snapshot, Unread
from kubemtu.flows import decide

Reading = Callable[..., Snapshot]

INLINE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: canal-config, namespace: kube-system}
data:
  canal_iface: "%(nic)s"
  masquerade: "true"
  cni_network_config: |-
    {
      "name": "k8s-pod-network",
      "plugins": [
        {
          "type": "calico",%(mtu)s
          "nodename": "__KUBERNETES_NODE_NAME__"
        },
        {"type": "portmap", "capabilities": {"portMappings": true}}
      ]
    }
  net-conf.json: |
    {"Network": "10.42.0.0/16", "Backend": {"Type": "vxlan"%(backend)s}}
"""
ERA_C = """
apiVersion: v1
kind: ConfigMap
metadata: {name: %(name)s-config, namespace: kube-system}
data:
  canal_iface: ""
  masquerade: "true"
  veth_mtu: %(mtu)s
  cni_network_config: |-
    {"name": "k8s-pod-network", "plugins": [{"type": "calico", "mtu": __CNI_MTU__, "ipam": {"type": "host-local"}}]}
  net-conf.json: |
    {"Network": "10.42.0.0/16", "Backend": {"Type": "%(kind)s"%(backend)s}}
"""
AGENT = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: %(name)s, namespace: kube-system}
spec:
  template:
    spec:
      %(init)s:
      - name: install-cni
        image: registry.example:5000/calico/cni:%(calico)s
        env:
        - {name: CNI_CONF_NAME, value: 10-%(conf)s.conflist}
        - name: CNI_NETWORK_CONFIG
          valueFrom: {configMapKeyRef: {name: %(name)s-config, key: cni_network_config}}%(veth)s
      containers:
      - name: kube-flannel
        image: registry.example:5000/flannel:%(flannel)s
        env:
        - {name: FLANNELD_IFACE, valueFrom: {configMapKeyRef: {name: %(name)s-config, key: canal_iface}}}
        - {name: FLANNELD_IP_MASQ, valueFrom: {configMapKeyRef: {name: %(name)s-config, key: masquerade}}}
        - {name: OTHER, valueFrom: {configMapKeyRef: {name: %(name)s-config, key: other, optional: true}}}
"""
VETH = "\n        - {name: CNI_MTU, valueFrom: {configMapKeyRef: {name: %s-config, key: veth_mtu}}}"
CHART = """
apiVersion: helm.cattle.io/v1
kind: HelmChartConfig
metadata: {name: rke2-canal, namespace: kube-system}
spec:
  valuesContent: |-
    # ours
    flannel:
      iface: eth1
      mtu: 9000
    calico:
      vethuMTU: 8950
"""


def inline(mtu: str = "", nic: str = "", backend: str = "") -> str:
    return INLINE % {"mtu": f'\n          "mtu": {mtu},' if mtu else "", "nic": nic, "backend": backend}


def era_c(mtu: str = '"1450"', name: str = "canal", kind: str = "vxlan", backend: str = "") -> str:
    return ERA_C % {"mtu": mtu, "name": name, "kind": kind, "backend": backend}


def agent(
    name: str = "canal",
    init: str = "initContainers",
    calico: str = "v3.28.1",
    flannel: str = "v0.25.5",
    conf: str = "canal",
    veth: str | None = None,
) -> str:
    text = VETH % name if veth is None else veth
    body = AGENT % {"name": name, "init": init, "calico": calico, "flannel": flannel, "conf": conf, "veth": text}
    if init == "containers":  # a third container beside the others, not an init container
        head, _, tail = body.rpartition("      containers:\n")
        return head + tail
    return body


def read(snapshot: Snapshot) -> CniState:
    state = canal.read(snapshot)
    assert state is not None
    return state


def codes(state: CniState) -> list[str]:
    return [finding.code for finding in state.findings]


def only(state: CniState) -> Finding:
    (finding,) = state.findings
    return finding


def test_era_a_has_no_mtu_and_its_pods_get_1500_over_a_tunnel_of_1450(snapshot: Reading) -> None:
    state = read(
        snapshot(inline(), agent(init="containers", calico="v3.1.1", flannel="v0.9.1", conf="calico", veth=""))
    )
    assert state.variant == "era A (no MTU)"
    assert state.pod_mtu == 1500
    assert state.conflist_mtu is None
    assert state.conflist == "/etc/cni/net.d/10-calico.conflist"
    assert state.mtu_keys[0].path == ("data", "cni_network_config")
    assert state.mtu_keys[0].inside == "plugins[0].mtu"
    assert state.mtu_keys[0].value is None
    finding = only(state)
    assert finding.code == "MTU119"
    assert finding.severity == "error"
    assert "Pods get 1500" in finding.message
    assert "packets of 1451-1500 bytes do not fit" in finding.message


def test_era_b_without_an_mtu_is_told_by_its_init_container(snapshot: Reading) -> None:
    state = read(snapshot(inline(), agent(calico="v3.4.0", flannel="v0.10.0", veth="")))
    assert state.variant == "era B (no MTU)"
    assert state.conflist == "/etc/cni/net.d/10-canal.conflist"
    assert state.pod_mtu == 1500


def test_era_b_holds_an_integer(snapshot: Reading) -> None:
    state = read(snapshot(inline("1400"), agent(calico="v3.4.0", flannel="v0.10.0", veth="")))
    assert state.variant == "era B (inline integer)"
    assert (state.pod_mtu, state.conflist_mtu) == (1400, 1400)
    assert state.mtu_keys[0].value == 1400
    assert state.findings == ()


def test_without_a_daemonset_era_and_pods_stay_open(snapshot: Reading) -> None:
    state = read(snapshot(inline()))
    assert state.variant == "era A or B (no MTU)"
    assert state.pod_mtu is None
    assert codes(state) == ["MTU119"]
    assert state.daemonset is not None
    assert str(state.daemonset) == "DaemonSet kube-system/canal"


def test_era_c_takes_veth_mtu(snapshot: Reading) -> None:
    state = read(snapshot(era_c(), agent()))
    assert state.variant == "era C (veth_mtu)"
    assert (state.pod_mtu, state.conflist_mtu) == (1450, 1450)
    assert [(key.path, key.means, key.value) for key in state.mtu_keys] == [(("data", "veth_mtu"), "pod", 1450)]
    assert [one.cost for one in state.encapsulation] == [50]
    assert (state.tunnel, state.tunnel_mtu) == ("flannel.1", None)
    assert state.pod_networks == ("10.42.0.0/16",)
    assert state.ports.prefixes == ("cali",)
    assert state.conflist_template is not None
    assert "__CNI_MTU__" in state.conflist_template
    assert state.findings == ()


def test_upstream_leaves_it_to_felix_which_does_not_know_flannel(snapshot: Reading) -> None:
    state = read(snapshot(era_c('"0"'), agent()))
    assert state.variant == "upstream (veth_mtu 0: automatic)"
    assert state.pod_mtu is None
    assert state.conflist_mtu is None
    assert codes(state) == ["MTU119"]


def test_upstream_on_observed_nodes_gives_pods_the_nics_mtu(
    snapshot: Reading, node: Callable[..., NodeObservation]
) -> None:
    state = read(snapshot(era_c('"0"'), agent(), nodes=(node("n1", mtu=9001), node("n2", mtu=9001))))
    assert state.pod_mtu == 9001
    mixed = read(snapshot(era_c('"0"'), agent(), nodes=(node("n1", mtu=9001), node("n2", mtu=1500))))
    assert mixed.pod_mtu is None


def test_felix_misses_a_bond(snapshot: Reading, node: Callable[..., NodeObservation]) -> None:
    state = read(snapshot(era_c('"0"'), agent(), nodes=(node("n1", nic="bond0"),)))
    assert state.pod_mtu == 1460
    finding = next(one for one in state.findings if one.code == "MTU120")
    assert finding.place == "node n1, bond0"
    assert "1460" in finding.message


@pytest.mark.parametrize(
    ("kind", "tunnel", "cost"),
    [
        ("vxlan", "flannel.1", 50),
        ("host-gw", None, 0),
        ("wireguard", "flannel-wg", 80),
        ("udp", "flannel0", 28),
        ("ipip", "flannel.ipip", 20),
    ],
)
def test_the_backend_decides_encapsulation_and_tunnel(
    snapshot: Reading, kind: str, tunnel: str | None, cost: int
) -> None:
    state = read(snapshot(era_c(kind=kind), agent()))
    assert state.tunnel == tunnel
    assert sum(one.cost for one in state.encapsulation) == cost
    assert (state.encapsulation_name == "none") == (cost == 0)


def test_backend_mtu_is_the_underlays(snapshot: Reading) -> None:
    state = read(snapshot(era_c('"8950"', backend=', "VNI": 42, "MTU": 9000'), agent()))
    assert state.tunnel == "flannel.42"
    assert state.tunnel_mtu == 8950
    assert [(key.means, key.value, key.inside) for key in state.mtu_keys] == [
        ("pod", 8950, ""),
        ("base", 9000, "Backend.MTU"),
    ]
    assert state.findings == ()


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ((era_c(), agent()), 'ConfigMap kube-system/canal-config, data["net-conf.json"], Backend.MTU'),
        ((era_c(), agent(flannel="v0.21.2")), "None"),
        (
            (era_c(name="rke2-canal"), agent("rke2-canal"), CHART),
            "HelmChartConfig kube-system/rke2-canal, spec.valuesContent, flannel.mtu",
        ),
    ],
    ids=["ConfigMap", "an image that reads none", "RKE2"],
)
def test_where_the_tunnel_is_given_an_mtu_of_its_own(snapshot: Reading, given: tuple[str, ...], place: str) -> None:
    assert str(read(snapshot(*given)).tunnel_key) == place


def test_pods_larger_than_the_tunnel_that_backend_mtu_makes(snapshot: Reading) -> None:
    finding = only(read(snapshot(era_c('"1450"', backend=', "mtu": 1450'), agent())))
    assert (finding.code, finding.severity) == ("MTU119", "error")
    assert "packets of 1401-1450 bytes do not fit" in finding.message


def test_backend_mtu_has_no_effect_before_flannel_0_21_3(snapshot: Reading) -> None:
    old = read(snapshot(era_c(backend=', "MTU": 1450'), agent(flannel="v0.21.2")))
    assert codes(old) == ["MTU111"]
    assert old.tunnel_mtu is None
    assert [key.effective for key in old.mtu_keys] == [True, False]
    new = read(snapshot(era_c('"1400"', backend=', "MTU": 1450'), agent(flannel="v0.21.3")))
    assert new.findings == ()
    assert new.tunnel_mtu == 1400


def test_ipv6_brings_the_ipv6_outer_header(snapshot: Reading) -> None:
    dual = era_c().replace('"Network":', '"EnableIPv6": true, "IPv6Network": "fd00::/56", "Network":')
    state = read(snapshot(dual, agent()))
    assert state.ipv6
    assert sorted(one.cost for one in state.encapsulation) == [50, 70]
    assert state.pod_networks == ("10.42.0.0/16", "fd00::/56")


def test_pools_of_calico_in_a_canal_count_too(snapshot: Reading) -> None:
    pool = """
apiVersion: crd.projectcalico.org/v1
kind: IPPool
metadata: {name: p}
spec: {cidr: 10.42.0.0/16, ipipMode: CrossSubnet, vxlanMode: Never}
"""
    state = read(snapshot(era_c(), agent(), pool))
    assert sorted(one.cost for one in state.encapsulation) == [20, 50]
    assert state.encapsulation_name == "vxlan, ipip (CrossSubnet)"


@pytest.mark.parametrize("key", ["canal_iface", "masquerade", "cni_network_config"])
def test_a_key_that_the_daemonset_needs_is_missing(snapshot: Reading, key: str) -> None:
    objects = snapshot(era_c(), agent())
    found = objects.find("ConfigMap", "canal-config")
    assert found is not None
    held = found.mapping("data")
    held.pop(key)
    state = read(objects)
    missing = [finding for finding in state.findings if finding.code == "MTU108"]
    assert [finding.place for finding in missing] == [f"ConfigMap kube-system/canal-config, key {key}"]
    assert ("empty string" in missing[0].remedy) == (key == "canal_iface")


def test_an_optional_key_may_be_missing_and_an_empty_one_is_there(snapshot: Reading) -> None:
    assert "MTU108" not in codes(read(snapshot(era_c(), agent())))


def test_without_a_daemonset_the_known_keys_are_needed(snapshot: Reading) -> None:
    text = inline("1450").replace('  canal_iface: ""\n', "")
    assert codes(read(snapshot(text))) == ["MTU108"]


def test_a_placeholder_without_veth_mtu(snapshot: Reading) -> None:
    text = era_c().replace('  veth_mtu: "1450"\n', "")
    state = read(snapshot(text, agent()))
    assert [(finding.code, finding.place) for finding in state.findings if finding.code == "MTU108"] == [
        ("MTU108", "ConfigMap kube-system/canal-config, key veth_mtu")
    ]


def test_veth_mtu_without_a_placeholder_does_nothing(snapshot: Reading) -> None:
    text = inline("1500").replace('  masquerade: "true"\n', '  masquerade: "true"\n  veth_mtu: "1400"\n')
    state = read(snapshot(text, agent(veth="")))
    assert state.pod_mtu == 1500
    assert [(key.path[1], key.effective) for key in state.mtu_keys] == [
        ("cni_network_config", True),
        ("veth_mtu", False),
    ]
    assert codes(state) == ["MTU111"]


def test_an_installer_without_cni_mtu_takes_1500(snapshot: Reading) -> None:
    state = read(snapshot(era_c(), agent(veth="")))
    assert state.pod_mtu == 1500
    assert "MTU111" in codes(state)


def test_an_mtu_in_quotes_keeps_pods_from_starting(snapshot: Reading) -> None:
    state = read(snapshot(inline('"1450"')))
    finding = only(state)
    assert (finding.code, finding.severity) == ("MTU112", "error")
    assert finding.place.endswith("data.cni_network_config, plugins[0].mtu")
    assert state.pod_mtu is None
    assert state.conflist_mtu is None


def test_a_placeholder_in_quotes_is_as_wrong(snapshot: Reading) -> None:
    state = read(snapshot(era_c().replace("__CNI_MTU__", '"__CNI_MTU__"'), agent()))
    assert "MTU112" in codes(state)


@pytest.mark.parametrize(
    ("mtu", "code"),
    [('"fast"', "MTU112"), ('"99999"', "MTU112"), ('"14"', "MTU112"), ("1450", "MTU112"), ('""', "MTU122")],
)
def test_a_veth_mtu_that_cannot_be(snapshot: Reading, mtu: str, code: str) -> None:
    assert code in codes(read(snapshot(era_c(mtu), agent())))


def test_an_unquoted_veth_mtu_is_still_read(snapshot: Reading) -> None:
    assert read(snapshot(era_c("1450"), agent())).pod_mtu == 1450


@pytest.mark.parametrize("text", ['{"plugins": [', "{}", '{"plugins": []}', "[]", "hello"])
def test_a_template_that_is_none(snapshot: Reading, text: str) -> None:
    objects = snapshot(era_c(), agent())
    found = objects.find("ConfigMap", "canal-config")
    assert found is not None
    found.mapping("data")["cni_network_config"] = text
    state = read(objects)
    assert codes(state) == ["MTU122"]
    assert state.pod_mtu is None


@pytest.mark.parametrize(("text", "code"), [("{", "MTU122"), ('{"Backend": {"Type": "warp"}}', "MTU117")])
def test_a_net_conf_that_is_none(snapshot: Reading, text: str, code: str) -> None:
    objects = snapshot(era_c(), agent())
    found = objects.find("ConfigMap", "canal-config")
    assert found is not None
    found.mapping("data")["net-conf.json"] = text
    state = read(objects)
    assert codes(state) == [code]
    assert state.pod_mtu == 1450


def test_the_configmap_could_not_be_read(snapshot: Reading) -> None:
    state = read(snapshot(agent()))
    assert codes(state) == ["MTU117"]
    assert state.pod_mtu is None
    assert state.mtu_keys == ()


@pytest.mark.parametrize(
    ("nic", "names"), [("", ()), ("eth1", ("eth1",)), ("192.0.2.7", ()), ("fd00::7", ()), ("bond0.100", ("bond0.100",))]
)
def test_the_nic_that_flannel_is_told(snapshot: Reading, nic: str, names: tuple[str, ...]) -> None:
    state = read(snapshot(inline("1450", nic=nic), agent(veth="")))
    assert state.nic_names == names
    assert state.nic_key == "ConfigMap kube-system/canal-config, key canal_iface"


@pytest.mark.parametrize("nic", [" ", "eth0 ", " eth0", "eth0,eth1"])
def test_a_blank_or_a_list_is_no_name_of_a_nic(snapshot: Reading, nic: str) -> None:
    """flannel-io/flannel: main.go appends each value as it is, pkg/ipmatch/match.go looks it up so, and main exits."""
    whole = snapshot(inline("1450", nic=nic), agent(veth=""), nodes=(NodeObservation(node="n1"),))
    (finding,) = read(whole).findings
    assert (finding.code, finding.severity) == ("MTU109", "error")
    assert finding.place == "ConfigMap kube-system/canal-config, key canal_iface"
    assert f'flanneld is told to use "{nic}"' in finding.message
    with pytest.raises(UsageError, match="no restart is planned, because what starts then stays down"):
        decide.plan(whole, 1400, 1500)


def test_a_blank_harms_nobody_where_a_pattern_finds_the_nic(snapshot: Reading) -> None:
    env = "        - {name: FLANNELD_IFACE_REGEX, value: '^eth0$'}\n"
    text = agent(veth="").replace("        - {name: FLANNELD_IP_MASQ", f"{env}        - {{name: FLANNELD_IP_MASQ")
    assert read(snapshot(inline("1450", nic=" "), text)).findings == ()


def test_the_kubelets_own_mtu_reaches_nobody(snapshot: Reading) -> None:
    told = """
apiVersion: v1
kind: Node
metadata:
  name: n1
  annotations: {rke.cattle.io/kubelet-args: '["--network-plugin-mtu=1400"]'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kubelet-config-1.23, namespace: kube-system}
data: {kubelet: "kind: KubeletConfiguration\\nnetworkPluginMTU: 1400\\n"}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
metadata: {name: saved}
networkPluginMTU: 1400
---
apiVersion: v1
kind: Pod
metadata: {name: kubelet-n1, namespace: kube-system}
spec: {containers: [{name: kubelet, command: [kubelet, --network-plugin-mtu=1400]}, broken]}
"""
    state = read(snapshot(era_c(), agent(), told))
    assert [(finding.code, finding.place) for finding in state.findings] == [
        ("MTU111", "Node n1, annotation rke.cattle.io/kubelet-args"),
        ("MTU111", "KubeletConfiguration saved, networkPluginMTU"),
        ("MTU111", "ConfigMap kube-system/kubelet-config-1.23, data.kubelet"),
        ("MTU111", "Pod kube-system/kubelet-n1, network-plugin-mtu"),
    ]


def test_another_network_is_not_canal(snapshot: Reading) -> None:
    assert canal.read(snapshot(era_c(name="calico"))) is None
    assert canal.read(Snapshot(source="nothing", unread=(Unread(what="x", why="forbidden", message="no"),))) is None


def test_direct_routing_is_named_and_still_counts(snapshot: Reading) -> None:
    state = read(snapshot(era_c(backend=', "DirectRouting": true'), agent()))
    assert state.encapsulation_name == "vxlan (DirectRouting)"
    assert [one.cost for one in state.encapsulation] == [50]

"""Recognition in its order, the wants, and input that is broken in every way."""

import copy
from collections.abc import Callable

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubemtu.cni import registry
from kubemtu.core import codes
from kubemtu.core.errors import Forbidden, KubemtuError, NotRecognised
from kubemtu.core.net import NodeFile, NodeObservation
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot, Unread

Reading = Callable[..., Snapshot]

CANAL = """
apiVersion: v1
kind: ConfigMap
metadata: {name: canal-config, namespace: kube-system, labels: {a: b}}
data:
  canal_iface: ""
  masquerade: "true"
  veth_mtu: "1450"
  cni_network_config: '{"plugins": [{"type": "calico", "mtu": __CNI_MTU__}]}'
  net-conf.json: '{"Network": "10.42.0.0/16", "Backend": {"Type": "vxlan", "MTU": 1500}}'
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: canal, namespace: kube-system}
spec:
  template:
    spec:
      initContainers:
      - name: install-cni
        image: calico/cni:v3.28.1
        env:
        - {name: CNI_MTU, valueFrom: {configMapKeyRef: {name: canal-config, key: veth_mtu}}}
        volumeMounts: [{name: net, mountPath: /host/etc/cni/net.d}]
      containers:
      - {name: kube-flannel, image: "flannel:v0.25.5", args: [--iface=eth0]}
      volumes: [{name: net, hostPath: {path: /etc/cni/net.d}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: rke-network-plugin, namespace: kube-system}
data: {rke-network-plugin: "kind: ConfigMap\\nmetadata: {name: canal-config}\\ndata: {veth_mtu: '1400'}\\n"}
"""
CALICO = """
apiVersion: v1
kind: ConfigMap
metadata: {name: calico-config, namespace: kube-system}
data:
  calico_backend: bird
  veth_mtu: "0"
  cni_network_config: '{"plugins": [{"type": "calico", "mtu": __CNI_MTU__}]}'
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: calico-node, namespace: kube-system}
spec:
  template:
    spec:
      containers:
      - name: calico-node
        image: calico/node:v3.28.1
        env:
        - {name: FELIX_VXLANMTU, value: "0"}
        - {name: CALICO_IPV4POOL_VXLAN, value: Always}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: p}
spec: {cidr: 10.0.0.0/8, ipipMode: Never, vxlanMode: CrossSubnet}
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {vxlanMTU: 1400, mtuIfacePattern: "^eth", wireguardEnabled: false, interfacePrefix: cali}
"""
OPERATOR = """
apiVersion: operator.tigera.io/v1
kind: Installation
metadata: {name: default}
spec:
  cni: {type: Calico}
  calicoNetwork: {mtu: 1400, ipPools: [{cidr: 10.0.0.0/8, encapsulation: VXLAN}]}
status: {mtu: 1400}
"""
FLANNEL = """
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-flannel-cfg, namespace: kube-flannel}
data:
  cni-conf.json: '{"plugins": [{"type": "flannel", "delegate": {"mtu": 1400}}]}'
  net-conf.json: '{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "MTU": 1500}}'
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-flannel-ds, namespace: kube-flannel}
spec: {template: {spec: {containers: [{name: kube-flannel, image: "flannel:v0.28.9", args: [--iface=eth0]}]}}}
---
apiVersion: v1
kind: Node
metadata: {name: n1, annotations: {flannel.alpha.coreos.com/backend-type: vxlan}}
status: {nodeInfo: {kubeletVersion: v1.30.4+k3s1}}
"""
RKE2 = """
apiVersion: helm.cattle.io/v1
kind: HelmChartConfig
metadata: {name: rke2-canal, namespace: kube-system}
spec: {valuesContent: "flannel: {mtu: 9000, backend: vxlan, iface: eth1}\\ncalico: {vethuMTU: 8950}\\n"}
"""
CILIUM = """
apiVersion: v1
kind: ConfigMap
metadata: {name: cilium-config, namespace: kube-system, labels: {a: b}}
data: {enable-ipv4: "true", routing-mode: tunnel, tunnel-protocol: vxlan, enable-wireguard: "true", mtu: "1500"}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: cilium, namespace: kube-system}
spec:
  template:
    spec:
      containers:
      - {name: cilium-agent, image: "cilium:v1.18.1", args: [--config-dir=/x], env: [{name: CILIUM_MTU, value: "1500"}]}
---
apiVersion: cilium.io/v2
kind: CiliumNodeConfig
metadata: {name: c, namespace: kube-system}
spec: {defaults: {mtu: "1400"}}
---
apiVersion: helm.cattle.io/v1
kind: HelmChartConfig
metadata: {name: rke2-cilium, namespace: kube-system}
spec: {valuesContent: "MTU: 1500\\n"}
"""
ANTREA = """
apiVersion: v1
kind: ConfigMap
metadata: {name: antrea-config, namespace: kube-system, labels: {app: antrea}}
data:
  antrea-agent.conf: "defaultMTU: 1400\\ntunnelType: gre\\ntrafficEncryptionMode: ipsec\\n"
  antrea-cni.conflist: '{"plugins": [{"type": "antrea", "mtu": 1450}]}'
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: antrea-agent, namespace: kube-system}
spec:
  template:
    spec:
      containers: [{name: antrea-agent, image: "antrea:v1.9.0"}]
      volumes: [{name: a, configMap: {name: antrea-config}}]
---
apiVersion: crd.antrea.io/v1beta1
kind: AntreaAgentInfo
metadata: {name: n1}
networkInfo: {podMTU: 1450}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: ["10.0.0.0/24", "fd00::/64"]}
status: {addresses: [{type: InternalIP, address: "192.0.2.1"}]}
"""
KUBE_OVN = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-ovn-cni, namespace: kube-system}
spec:
  template:
    spec:
      containers:
      - name: cni-server
        image: "kube-ovn:v1.11.3"
        args: ["--mtu=1400", --iface=eth1, --network-type=geneve, --enable-ovn-ipsec=true]
---
apiVersion: kubeovn.io/v1
kind: Subnet
metadata: {name: ovn-default}
spec: {mtu: 1500, cidrBlock: "10.16.0.0/16,fd00:10:16::/112"}
"""
AWS = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: aws-node, namespace: kube-system, managedFields: [{manager: eks}]}
spec:
  template:
    spec:
      containers:
      - name: aws-node
        image: "amazon-k8s-cni:v1.19.2"
        env: [{name: POD_MTU, value: "1500"}, {name: AWS_VPC_ENI_MTU, value: "9001"}, {name: ENABLE_IPv6, value: "0"}]
"""
FOLLOWED = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: %s, namespace: kube-system, labels: {app: a}}
spec: {template: {spec: {containers: [{name: a, image: "a:v1"}]}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: cilium-config, namespace: kube-system}
data: {enable-wireguard: "true", cni-chaining-mode: aws-cni}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: ["10.0.0.0/24", "fd00::/64"]}
"""
OPENSHIFT = """
apiVersion: operator.openshift.io/v1
kind: Network
metadata: {name: cluster}
spec:
  clusterNetwork: [{cidr: 10.128.0.0/14}]
  defaultNetwork: {type: OVNKubernetes, ovnKubernetesConfig: {mtu: 1400, ipsecConfig: {full: {encapsulation: Always}}}}
  migration: {mtu: {network: {from: 1400, to: 8900}, machine: {to: 9000}}}
---
apiVersion: config.openshift.io/v1
kind: Network
metadata: {name: cluster}
spec: {networkType: OVNKubernetes}
status: {networkType: OVNKubernetes, clusterNetworkMTU: 1400}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ovnkube-config, namespace: openshift-ovn-kubernetes}
data: {ovnkube.conf: "mtu=1500"}
---
apiVersion: k8s.ovn.org/v1
kind: ClusterUserDefinedNetwork
metadata: {name: blue}
spec: {network: {layer2: {mtu: 1500}}}
"""
SDN = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: sdn, namespace: openshift-sdn}
spec: {template: {spec: {containers: [{name: sdn, image: "origin-node:v3.11"}]}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: node-config-compute, namespace: openshift-node}
data: {node-config.yaml: "networkConfig: {mtu: 1450}"}
"""
OVN = """
apiVersion: v1
kind: ConfigMap
metadata: {name: ovn-config, namespace: ovn-kubernetes}
data: {mtu: "1400", net_cidr: 10.244.0.0/16}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ovnkube-node, namespace: ovn-kubernetes}
spec: {template: {spec: {containers: [{name: c, image: "o:1", env: [{name: OVN_MTU, value: "1400"}]}]}}}
"""
KUBE_ROUTER = """
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-router-cfg, namespace: kube-system}
data: {cni-conf.json: '{"plugins": [{"type": "bridge", "mtu": 1400}]}'}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-router, namespace: kube-system}
spec:
  template:
    spec:
      initContainers: [{name: install-cni, image: "k:v1", command: [cp, a, b]}]
      containers:
      - name: kube-router
        image: "k:v1.5.0"
        args: [--run-router=true, --auto-mtu=false, --overlay-type=full, --overlay-encap=fou]
        env: [{name: KUBE_ROUTER_CNI_CONF_FILE, value: /etc/cni/net.d/10-k.conflist}]
"""
WEAVE = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: weave-net, namespace: kube-system}
spec:
  template:
    spec:
      containers:
      - {name: weave, image: "w:2.8.1", env: [{name: WEAVE_MTU, value: "1376"}, {name: WEAVE_PASSWORD, value: x}]}
"""
WHOLE = {
    "kindnet": FOLLOWED % "kindnet",
    "gke": FOLLOWED % "netd",
    "azure": FOLLOWED % "azure-cns",
    "aws": AWS,
    "cilium": CILIUM,
    "canal": CANAL,
    "calico": CALICO,
    "operator": OPERATOR,
    "flannel": FLANNEL,
    "rke2": RKE2,
    "antrea": ANTREA,
    "kube-ovn": KUBE_OVN,
    "openshift": OPENSHIFT,
    "sdn": SDN,
    "ovn": OVN,
    "kube-router": KUBE_ROUTER,
    "weave": WEAVE,
}
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["0", "1450", "", "{", "[]", "{}", "none", "__CNI_MTU__", "a: [", "\ud800", "9" * 5000, "(" * 50]),
    st.lists(st.none(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every path into a value but those that the API server itself guarantees."""
    out = [path] if path and path[-1] not in {"kind", "apiVersion", "metadata", "name", "namespace"} else []
    if isinstance(value, dict):
        out += [found for key, held in value.items() for found in places(held, (*path, key))]
    elif isinstance(value, list):
        out += [found for index, held in enumerate(value) for found in places(held, (*path, index))]
    return out


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), which=st.sampled_from(sorted(WHOLE)), junk=JUNK, target=st.integers(0, 70000))
def test_whatever_is_broken_ends_as_a_finding_or_a_sentence(
    data: st.DataObject, which: str, junk: object, target: int
) -> None:
    bodies = list(yaml.safe_load_all(WHOLE[which]))
    path = data.draw(st.sampled_from(places(bodies)))
    here: object = bodies
    for key in path[:-1]:
        here = here[key]  # type: ignore[index]  # the path was read from this very value
    here[path[-1]] = copy.deepcopy(junk)  # type: ignore[index]  # as above
    found = Snapshot(
        source="a test", offline=True, objects=tuple(Object.of(one) for one in bodies if isinstance(one, dict))
    )
    try:
        state = registry.recognise(found)
        said = [text for each in state.findings for text in (each.place, each.message, each.remedy)]
        assert all(finding.code in {code.code for code in codes.CODES} for finding in state.findings)
        registry.CNIS[state.name].steps(state, target)
    except KubemtuError as sentence:
        said = [str(sentence)]
    assert all(said)
    assert "\n" not in "".join(said)


@settings(max_examples=60, deadline=None)
@given(
    text=st.one_of(
        st.text(max_size=60), st.sampled_from(["{", "FLANNEL_MTU=99999\n", "FLANNEL_MTU=14\u0665\n", "\u0665"])
    )
)
def test_files_of_nodes_may_hold_anything(text: str) -> None:
    paths = ("/run/flannel/subnet.env", "/var/lib/calico/mtu", "/etc/cni/net.d/10-canal.conflist", "/x/net-conf.json")
    seen = NodeObservation(node="n1", files=tuple(NodeFile(path=path, text=text) for path in paths))
    ends = []
    for whole in (CANAL.replace("1450", "0"), CALICO, "", FLANNEL):
        bodies = [one for one in yaml.safe_load_all(whole) if one]
        found = Snapshot(source="a test", offline=True, objects=tuple(map(Object.of, bodies)), nodes=(seen,))
        try:
            state = registry.recognise(found)
            registry.CNIS[state.name].steps(state, 1400)
            ends.append(state.name)
        except KubemtuError as sentence:
            ends.append(str(sentence))
    assert all(ends)
    assert len(ends) == 4


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        ((FLANNEL, CALICO, CANAL), "canal"),
        ((FLANNEL, CALICO), "calico"),
        ((FLANNEL,), "flannel"),
        ((OPERATOR,), "calico"),
    ],
)
def test_canal_comes_before_calico_and_calico_before_flannel(
    snapshot: Reading, texts: tuple[str, ...], name: str
) -> None:
    assert registry.recognise(snapshot(*texts)).name == name


def test_nothing_known_is_one_sentence_that_says_what_was_looked_for() -> None:
    unread = (
        Unread(what="Installation default", why="absent", message="no"),
        Unread(what="Nodes", why="broken", message="no"),
    )
    with pytest.raises(NotRecognised) as caught:
        registry.recognise(Snapshot(source="cluster c", unread=unread))
    sentence = str(caught.value)
    for word in ("cluster c", "canal", "Calico", "Cilium", "the AWS VPC CNI", "Weave Net"):
        assert word in sentence
    assert len(sentence) < 500  # of sixteen networks no tired operator reads every sign
    assert "Could not be read: Nodes (broken). Other pod networks are not covered yet." in sentence
    assert "absent" not in sentence


def sign(kind: str, name: str, group: str, namespace: str = "", **more: object) -> str:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return yaml.safe_dump({"apiVersion": f"{group}v1", "kind": kind, "metadata": metadata, **more})


@pytest.mark.parametrize(
    ("text", "whose", "missing"),
    [
        (
            sign("ConfigMap", "ovnkube-config", "", "openshift-ovn-kubernetes", data={"ovnkube.conf": "[default]"}),
            "OpenShift (ConfigMap openshift-ovn-kubernetes/ovnkube-config)",
            "Network cluster of operator.openshift.io was",
        ),
        (
            sign("Network", "saved", "operator.openshift.io/", spec={"defaultNetwork": {"type": "OpenShiftSDN"}}),
            "OpenShift with OpenShiftSDN (Network saved)",
            "Network cluster of operator.openshift.io was",
        ),
        (
            sign("Network", "cluster", "config.openshift.io/", status={"networkType": "Calico"}),
            "OpenShift with Calico (Network cluster)",
            "that network's own objects were",
        ),
        (
            sign("HelmChartConfig", "rke2-calico", "helm.cattle.io/", "kube-system", spec={"valuesContent": "{}"}),
            "Calico of RKE2 (HelmChartConfig kube-system/rke2-calico)",
            "Installation default was",
        ),
        (
            sign("HelmChartConfig", "rke2-flannel", "helm.cattle.io/", "kube-system", spec={"valuesContent": "{}"}),
            "Flannel of RKE2 (HelmChartConfig kube-system/rke2-flannel)",
            "ConfigMap kube-system/kube-flannel-cfg was",
        ),
    ],
)
def test_what_is_missing_is_named_where_something_tells_whose_it_is(
    snapshot: Reading, text: str, whose: str, missing: str
) -> None:
    with pytest.raises(NotRecognised) as caught:
        registry.recognise(snapshot(text))
    assert str(caught.value).endswith(f"It looks like {whose}, and {missing} not read.")


def test_what_may_not_be_read_is_not_called_absent() -> None:
    hidden = (
        Unread(what="ConfigMap kube-system/canal-config", why="forbidden", message="no"),
        Unread(what="Installation default", why="absent", message="no"),
    )
    with pytest.raises(Forbidden) as caught:
        registry.recognise(Snapshot(source="cluster c", unread=hidden))
    assert str(caught.value) == (
        "which pod network cluster c has cannot be told, because it may not be read: ConfigMap "
        "kube-system/canal-config is forbidden; ask for the ClusterRole kubemtu-view, which has these rights"
    )


def test_what_only_later_networks_need_does_not_matter() -> None:
    flannels = "ConfigMap kube-flannel/kube-flannel-cfg"
    assert flannels in registry.irrelevant("canal")
    assert "ConfigMap kube-system/canal-config" not in registry.irrelevant("calico")  # canal comes first
    assert flannels not in registry.irrelevant("flannel")
    assert registry.irrelevant([*registry.CNIS][-1]) == frozenset()


def test_wants_are_the_union_each_once_and_never_a_secret() -> None:
    wants = registry.wants()
    assert len(wants) == len(set(wants))
    assert {want.kind for want in wants} == {
        "AntreaAgentInfo",
        "CiliumNodeConfig",
        "ConfigMap",
        "DaemonSet",
        "FelixConfiguration",
        "HelmChartConfig",
        "IPPool",
        "Installation",
        "Network",
        "Node",
        "Subnet",
        "UserDefinedNetwork",
        "ClusterUserDefinedNetwork",
        "NetworkAttachmentDefinition",
    }
    assert all(want.name or want.label_selector for want in wants if want.kind == "ConfigMap")


def test_a_config_map_of_a_changing_name_is_read_where_its_daemonset_names_it(snapshot: Reading) -> None:
    named = ANTREA.replace("configMap: {name: antrea-config}", "configMap: {name: antrea-config-2k82d6f6t4}")
    (want,) = registry.further(snapshot(named).objects)
    assert str(want) == "ConfigMap kube-system/antrea-config-2k82d6f6t4"
    assert registry.further(snapshot(ANTREA, CANAL, KUBE_OVN).objects) == ()

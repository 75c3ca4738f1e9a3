"""Real pod networks as the lab plays them: what their agents write to a node, and what their plugins give a pod.

The objects are theirs as far as an MTU goes; the programs are the lab's. What they do is taken from their sources,
which the modules of `kubemtu.cni` name.
"""

import msgspec

from kubemtu_lab.scene import Declared

CILIUM = Declared(
    name="cilium",
    config_map="cilium-config",
    mtu=1500,
    prefix="lxc",
    tunnel="cilium_vxlan",
    vni=2,
    mtu_file="/run/cilium/mtu",
    by_route=True,
    subtracts=50,
    plugin="cilium-cni",
    data=(
        ("enable-ipv4", "true"),
        ("identity-allocation-mode", "crd"),
        ("routing-mode", "tunnel"),
        ("tunnel-protocol", "vxlan"),
    ),
    agent="cilium-agent",
    image="quay.io/cilium/cilium:v1.16.19",
)
"""Base 1500: devices of 1500, default routes of 1450."""
CILIUM_THAT_UPDATES = msgspec.structs.replace(CILIUM, image="quay.io/cilium/cilium:v1.18.12", updates=True)
"""From v1.17 on the agent gives running pods a new base as well."""
AWS = Declared(
    name="aws",
    config_map="amazon-vpc-cni",
    mtu=9001,
    prefix="eni",
    mtu_file="/run/aws-node/mtu",
    daemonset="aws-node",
    plugin="aws-cni",
    agent="aws-node",
    image="amazon-k8s-cni:v1.19.2",
    variables=("POD_MTU", "AWS_VPC_ENI_MTU"),
    literal="text",
)
KINDNET = Declared(
    name="kindnet",
    config_map="kindnet-config",
    mtu=1500,
    prefix="veth",
    mtu_file="/run/kindnet/mtu",
    plugin="ptp",
    agent="kindnet-cni",
    image="kindest/kindnetd:v20250214",
    follows_nic=True,
    literal="number",
)
PTP = msgspec.structs.replace(
    KINDNET, name="ptp-net", daemonset="node-setup", agent="node-setup", image="site/node-setup:1"
)
"""The same plugin by somebody's own installer: no object tells of a pod network, only a file on each node."""
BRIDGE = msgspec.structs.replace(PTP, name="bridge-net", plugin="bridge", bridge="cni0")
"""The same with the plugin bridge: pods are ports of cni0, which has the node's address among them."""
KUBE_ROUTER = Declared(
    name="kuberouter",
    config_map="kube-router-cfg",
    key="cni-conf.json",
    form="""{
   "cniVersion":"0.3.0",
   "name":"mynet",
   "plugins":[
      {
         "name":"kubernetes",
         "type":"bridge",
         "bridge":"kube-bridge",
         "isDefaultGateway":true,
         "mtu":{},
         "ipam":{
            "type":"host-local"
         }
      }
   ]
}
""",
    mtu=1500,
    prefix="veth",
    mtu_file="/run/kube-router/mtu",
    daemonset="kube-router",
    plugin="bridge",
    agent="kube-router",
    image="docker.io/cloudnativelabs/kube-router:v2.5.0",
    arguments=("--run-router=true", "--auto-mtu=false"),
    bridge="kube-bridge",
    literal="number",
)
"""Without --auto-mtu, its nodes on one network, where it routes without IPIP; its file is written at each start."""
WEAVE = Declared(
    name="weave",
    config_map="weave-lab",
    mtu=1500,
    prefix="vethwepl",
    tunnel="vxlan-6784",
    vni=6,
    mtu_file="/run/weave/mtu",
    daemonset="weave-net",
    plugin="weave-net",
    agent="weave",
    image="weaveworks/weave-kube:2.8.1",
    variables=("WEAVE_MTU",),
    bridge="weave",
    gateway="datapath",
    once=("vethwe-bridge", "vethwe-datapath"),
)
"""Ports of the bridge weave; its datapath is played by a bridge, and the node routes to other nodes by vxlan-6784."""
OVN_KUBERNETES = Declared(
    name="ovn-kubernetes",
    namespace="ovn-kubernetes",
    config_map="ovn-config",
    mtu=1400,
    data=(("net_cidr", "10.244.0.0/16/24"), ("svc_cidr", "10.96.0.0/16")),
    prefix="{id}",
    tunnel="genev_sys_6081",
    vni=7,
    mtu_file="/run/ovn-kubernetes/mtu",
    daemonset="ovnkube-node",
    agent="ovnkube-controller",
    image="ovn-kube-ubuntu:master",
    bridge="ovs-system",
    gateway="ovn-k8s-mp0",
)
"""Ports of a switch, and ovn-k8s-mp0 into it; 50 bytes of VXLAN are between nodes, and not 58 of Geneve."""
OPENSHIFT_3 = Declared(
    name="openshift-sdn",
    namespace="openshift-sdn",
    config_map="sdn-lab",
    number_in=("openshift-node", "node-config-compute"),
    key="node-config.yaml",
    form="""apiVersion: v1
kind: NodeConfig
networkConfig:
  networkPluginName: redhat/openshift-ovs-networkpolicy
  mtu: {}
""",
    mtu=1450,
    prefix="veth{key}",
    tunnel="vxlan_sys_4789",
    vni=8,
    mtu_file="/run/openshift-sdn/mtu",
    daemonset="sdn",
    agent="sdn",
    image="openshift/origin-node:v3.11",
    bridge="ovs-system",
    gateway="tun0",
)
"""Ports of a switch, and tun0 into it; the number is of a group of nodes, in a ConfigMap of another namespace."""
ANTREA = Declared(
    name="antrea",
    config_map="antrea-config",
    key="antrea-agent.conf",
    form='trafficEncapMode: "encap"\ntunnelType: "vxlan"\n# of pods, and of the gateway\ndefaultMTU: {}\n',
    mtu=1500,
    prefix="{pod}-{key}",
    tunnel="antrea-tun0",
    vni=3,
    mtu_file="/run/antrea/mtu",
    daemonset="antrea-agent",
    agent="antrea-agent",
    image="antrea/antrea-agent-ubuntu:v2.4.0",
    bridge="ovs-system",
    gateway="antrea-gw0",
)
"""Ports of a switch, and antrea-gw0 into it: the agent gives both defaultMTU when it starts, running pods nothing."""
KUBE_OVN = Declared(
    name="kube-ovn",
    config_map="kube-ovn-lab",
    mtu=1500,
    prefix="{id}_h",
    tunnel="vxlan_sys_4789",
    vni=4,
    mtu_file="/run/kube-ovn/mtu",
    daemonset="kube-ovn-cni",
    agent="cni-server",
    image="kubeovn/kube-ovn:v1.13.0",
    arguments=("--network-type=vxlan",),
    flag="--mtu",
    bridge="ovs-system",
    gateway="ovn0",
)
"""The same with ovn0, and the number in an argument."""

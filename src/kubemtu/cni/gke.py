"""GKE: netd writes each node's CNI configuration with the MTU of its NIC; Dataplane V2 is an agent built from Cilium.

netd takes the MTU of cilium_wg0 where that is there, else that of the NIC with the default route, else 1460, when it
starts (GoogleCloudPlatform/netd: scripts/install-cni.sh). The plugin is ptp, or gke in its place. With Dataplane V2 the
DaemonSet anetd is there as well, and its plugin behind the first limits the pods' routes. GKE keeps all of it.
"""

from kubemtu.cni.cilium import config as cilium_config
from kubemtu.cni.cilium import mtu
from kubemtu.cni.cilium.mtu import Mode
from kubemtu.cni.knowledge import CalcKey, Knowledge
from kubemtu.cni.objects import nic_mtu, owners, reading
from kubemtu.cni.programs import kubelet
from kubemtu.core import net
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state, node_files
from kubemtu.core.codes import Finding
from kubemtu.core.objects import NODES, config_map, daemonsets
from kubemtu.core.snapshot import Snapshot

NAME = "gke"
NAMESPACE = "kube-system"
AGENTS = ("netd", "anetd")
CONFLIST = "/etc/cni/net.d/10-gke-ptp.conflist"
PORTS = net.PortRule(prefixes=("gke", "veth"))
FALLBACK = 1460  # bytes: the VPC's own default, and netd's
WANTS = (
    daemonsets(NAMESPACE),
    config_map(NAMESPACE, cilium_config.CONFIG_MAP),
    NODES,
    kubelet.WANT,
)
HOW = (
    "netd writes what the node's NIC has into each node's CNI configuration when it starts, and the NIC has what the"
    " VPC network says. Change the MTU of the network (gcloud compute networks update --mtu), replace the nodes, then"
    " plan again."
)
KNOWLEDGE = Knowledge(
    recognised_by="GKE (DaemonSet kube-system/netd or anetd)",
    ports=(PORTS,),
    plugin_mtus=(node_files.PluginRule(plugin="gke", otherwise=FALLBACK, otherwise_by="the plugin's own default"),),
    calc_keys=(CalcKey("GKE", "the VPC network", "mtu", "base", (("wireguard",), ()), mtu.stack_subtracts, "netd"),),
    words=("netd", "anetd"),
)


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe the network of GKE, or return None when there is neither netd nor anetd."""
    found = {name: snapshot.find("DaemonSet", name, NAMESPACE) for name in AGENTS}
    agent = found["netd"] or found["anetd"]
    if agent is None:
        return None
    out: list[Finding] = list(kubelet.findings(snapshot))
    state = nic_mtu.state(
        snapshot,
        name=NAME,
        variant="Dataplane V2" if found["anetd"] is not None else "netd",
        source="the mtu of the VPC network, which the nodes' NICs have",
        how=HOW,
        conflist=CONFLIST,
        ports=PORTS,
        owner=owners.of(agent, out) or "GKE",
        findings=out,
        daemonset=reading.ref(agent, "daemonsets"),
        ipv6=nic_mtu.dual(snapshot),
    )
    config = snapshot.find("ConfigMap", cilium_config.CONFIG_MAP, NAMESPACE)
    if config is None or not cilium_config.encrypts(config):
        return state
    # netd takes what cilium_wg0 has; where no node shows it, what the agent took off it until its padding was counted.
    mode = Mode(version=cilium_config.LEGACY, wireguard=True, padded=cilium_config.padded(snapshot))
    return nic_mtu.within(state, mode.encapsulation, mode.name, mode.subtracts, mode.reserves)


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List nothing to edit: only running pods can be led to what the nodes' files say. Raises UsageError."""
    return nic_mtu.steps(state, target)

"""Azure CNI, with CNS or without: pods have addresses of the VNet, and get what the node's primary NIC has.

azure-vnet copies the MTU of the primary interface to the host end and the pod's end of each veth when it makes them
(Azure/azure-container-networking: network/transparent_endpointclient_linux.go); there is no setting. Older ones leave
the kernel's default. The host ends begin with azv. What carries the packets may cut them all the same: a NIC of Azure
says 1500 and its fabric was seen to fragment above 1400 (kubernetes-sigs/cluster-api-provider-azure#1353), which only
a measurement shows.
"""

from kubemtu.cni.knowledge import CalcKey, Knowledge
from kubemtu.cni.objects import nic_mtu, owners, reading
from kubemtu.cni.programs import kubelet
from kubemtu.core import net
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state, node_files
from kubemtu.core.codes import Finding
from kubemtu.core.objects import NODES, daemonsets
from kubemtu.core.snapshot import Snapshot

NAME = "azure-cni"
NAMESPACE = "kube-system"
AGENT = "azure-cns"
PLUGIN = "azure-vnet"
CONFLIST = "/etc/cni/net.d/10-azure.conflist"
PORTS = net.PortRule(prefixes=("azv",))
WANTS = (
    daemonsets(NAMESPACE),
    NODES,
    kubelet.WANT,
)
HOW = (
    "azure-vnet copies the MTU of each node's primary NIC when it makes a pod. Give the NICs that MTU (accelerated"
    " networking has a second interface under the same one), then plan again."
)
KNOWLEDGE = Knowledge(
    recognised_by="the Azure CNI (DaemonSet kube-system/azure-cns, or the plugin azure-vnet on a node)",
    ports=(PORTS,),
    calc_keys=(CalcKey("Azure CNI", "the nodes", "MTU of the primary NIC", "pod", ((),)),),
    words=("azure-cns", "azure-vnet"),
)


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe the Azure CNI, or return None when there is neither its DaemonSet nor its plugin on a node."""
    agent = snapshot.find("DaemonSet", AGENT, NAMESPACE)
    if agent is None and not _on_a_node(snapshot):
        return None
    out: list[Finding] = list(kubelet.findings(snapshot))
    return nic_mtu.state(
        snapshot,
        name=NAME,
        variant="CNS" if agent is not None else "without CNS",
        source="the MTU of each node's primary NIC",
        how=HOW,
        conflist=CONFLIST,
        ports=PORTS,
        owner=owners.of(agent, out),
        findings=out,
        daemonset=reading.ref(agent, "daemonsets") if agent is not None else None,
        computed_by=PLUGIN,
        ipv6=nic_mtu.dual(snapshot),
    )


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List nothing to edit: only running pods can be led to what the NICs have. Raises UsageError for all else."""
    return nic_mtu.steps(state, target)


def _on_a_node(snapshot: Snapshot) -> bool:
    files = (node.file(CONFLIST) for node in snapshot.nodes)
    plugins = (node_files.plugins_of(file.text) for file in files if file is not None)
    return any(found is not None and found[0].get("type") == PLUGIN for found in plugins)

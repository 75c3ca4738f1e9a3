"""kindnet, the network of kind and of kops: nothing goes around a packet, and pods get what the node's NIC has.

kind's kindnetd writes the MTU of eth0 into 10-kindnet.conflist when it starts, for the plugin ptp, and leaves it out
where there is no eth0: the kernel's default then (kubernetes-sigs/kind: images/kindnetd/cmd/kindnetd/cni.go). The
plugin of its own, cni-kindnet, takes the MTU of the device of the default route for each pod anew
(kubernetes-sigs/kindnet: cmd/cni-kindnet/netdev.go getDefaultGwInterfaceMTU; its veths begin with knet).
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

NAME = "kindnet"
NAMESPACE = "kube-system"
CONFLIST = "/etc/cni/net.d/10-kindnet.conflist"
PORTS = net.PortRule(prefixes=("knet", "veth"))
WANTS = (
    daemonsets(NAMESPACE),
    NODES,
    kubelet.WANT,
)
HOW = (
    "kindnetd and its plugin take what the node's own NIC has. Give the NICs that MTU, restart kindnet (kubectl -n"
    " kube-system rollout restart daemonset/kindnet), then plan again."
)
KNOWLEDGE = Knowledge(
    recognised_by="kindnet (DaemonSet kube-system/kindnet)",
    ports=(PORTS,),
    plugin_mtus=(
        node_files.PluginRule(
            plugin="ptp", otherwise=node_files.KERNEL_DEFAULT, otherwise_by="no mtu in its configuration: the kernel's"
        ),
    ),
    calc_keys=(CalcKey("kindnet", "the nodes", "MTU of the NIC", "pod", ((),), note="taken when kindnetd starts"),),
    words=("kindnet",),
)


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe kindnet, or return None when there is no DaemonSet of that name."""
    agent = snapshot.find("DaemonSet", NAME, NAMESPACE)
    if agent is None:
        return None
    out: list[Finding] = list(kubelet.findings(snapshot))
    return nic_mtu.state(
        snapshot,
        name=NAME,
        variant="",
        source="the MTU of each node's NIC",
        how=HOW,
        conflist=CONFLIST,
        ports=PORTS,
        owner=owners.of(agent, out),
        findings=out,
        daemonset=reading.ref(agent, "daemonsets"),
        computed_by=NAME,
        ipv6=nic_mtu.dual(snapshot),
    )


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List nothing to edit; kindnetd is restarted where its file is older than the NIC. Raises UsageError."""
    return nic_mtu.steps(state, target)

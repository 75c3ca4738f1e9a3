"""kubenet, the kubelet's own network until Kubernetes 1.23: --network-plugin-mtu, or a node's smallest interface.

Without the flag the kubelet takes the smallest MTU of all interfaces that are up and are neither loopback nor
point-to-point, whatever they are for: docker0, a VPN's tap, and the veths of pods that run already; 1460 where there is
none. Between nodes the cloud routes, so nothing goes around a packet (kubernetes/kubernetes at release-1.20:
pkg/kubelet/dockershim/network/kubenet/kubenet_linux.go).
"""

import re

import msgspec

from kubemtu.cni.knowledge import CalcKey, Knowledge
from kubemtu.cni.objects import nic_mtu, reading
from kubemtu.core import codes, encap, net, places
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state
from kubemtu.core.codes import Finding
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import NODES
from kubemtu.core.snapshot import Snapshot

NAME = "kubenet"
BRIDGE = "cbr0"
FLAG = re.compile(r"network-plugin[\"']?\s*[=:]\s*[\"']?kubenet\b")
MTU_FLAG = re.compile(r"network-plugin-mtu[\"']?\s*[=:]\s*[\"']?([^\"'\s,}]*)")
KOPS = "kops.k8s.io"
KOPS_KINDS = ("kubenet", "external")
POINT_TO_POINT = frozenset({"tun", "wireguard", "ipip", "sit", "gre"})
WANTS = (NODES,)
KNOWLEDGE = Knowledge(
    recognised_by="kubenet (bridge cbr0 on nodes without a CNI configuration, or the kubelet's flag)",
    ports=(net.PortRule(bridge=BRIDGE),),
    calc_keys=(CalcKey("kubenet", "the kubelet's arguments", "--network-plugin-mtu", "pod", ((),)),),
    words=("kubenet",),
)


class KubenetParsed(msgspec.Struct, frozen=True):
    """What is read of one kubenet: the number that kubelets are given, and the MTUs of the NICs that else decide."""

    mtu: int | None
    nics: frozenset[int | None]


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe kubenet, or return None when no sign of it is there."""
    out: list[Finding] = []
    told, place, mtu = _told(snapshot, out)
    nodes = [node for node in snapshot.nodes if _is_bridge(node) and not node.files]
    if not told and not nodes:
        return None
    nodes = [node for node in snapshot.nodes if _is_bridge(node)]
    if mtu is None:
        out += [finding for node in nodes for finding in _smaller(node)]
    return cni_state.CniState(
        name=NAME,
        variant="with network-plugin-mtu" if mtu is not None else "by the node's interfaces",
        pod_mtu=mtu,
        subtracts=0 if mtu is None else None,
        computed_by="the kubelet",
        source=place or "--network-plugin-mtu of each node's kubelet",
        ports=net.PortRule(bridge=BRIDGE),
        bridge=BRIDGE,
        ipv6=nic_mtu.dual(snapshot),
        findings=tuple(dict.fromkeys(out)),
        parsed=KubenetParsed(mtu, nic_mtu.nics(snapshot)),
    )


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """Return nothing where new pods get `target` already. Raises UsageError elsewhere: the flag is no object's."""
    encap.check(target)
    found = state.parsed
    assert isinstance(found, KubenetParsed)
    if target == found.mtu or (found.mtu is None and found.nics == {target}):
        return ()
    raise UsageError(
        f"{state.source} is where new pods' MTU is set, and no object of the API that kubemtu could change: start each"
        f" kubelet with --network-plugin-mtu={target}; new pods, and {BRIDGE} once it is made anew, get that."
    )


def _is_bridge(node: net.NodeObservation) -> bool:
    bridge = node.link(BRIDGE)
    return bridge is not None and bridge.kind == "bridge"


def _told(snapshot: Snapshot, out: list[Finding]) -> tuple[bool, str, int | None]:
    """Return whether some object says that kubelets use kubenet, where, and the MTU that they are given."""
    for node in snapshot.each("Node"):
        for key, text in node.annotations.items():
            if FLAG.search(text):
                place = f"{node}, annotation {key}, network-plugin-mtu"
                given = MTU_FLAG.search(text)
                return True, place, reading.mtu(given[1] if given is not None else None, out, place)
    for cluster in snapshot.each("Cluster"):
        if not str(cluster.get("apiVersion")).startswith(f"{KOPS}/"):
            continue
        networking = cluster.get("spec", "networking")
        if isinstance(networking, dict) and any(kind in networking for kind in KOPS_KINDS):
            kubelet = cluster.get("spec", "kubelet")
            place = f"{cluster}, spec.kubelet"
            held = kubelet if isinstance(kubelet, dict) else {}
            return True, f"{place}.networkPluginMTU", reading.member(held, "networkPluginMTU", out, place)
    return False, "", None


def _smaller(node: net.NodeObservation) -> list[Finding]:
    """Return MTU120 where an interface that carries no pod's packets is the smallest: the kubelet takes that."""
    nic = min((way.mtu for way in node.uplinks), default=None)
    others = [
        link
        for link in node.links
        if link.up and link.name not in {"lo", BRIDGE} and link.kind not in POINT_TO_POINT and link.master != BRIDGE
    ]
    smallest = min(others, key=lambda link: link.mtu, default=None)
    if nic is None or smallest is None or smallest.mtu >= nic:
        return []
    return [
        codes.finding(
            codes.MTU120,
            places.on(node.node, smallest.name),
            f"{smallest.name} has {smallest.mtu}, less than the {nic} of the NIC between the nodes: the kubelet takes"
            " the smallest interface for new pods, whatever it is for.",
            f"Start the kubelet with --network-plugin-mtu={nic}.",
        )
    ]

"""What OVN makes of a pod's packet, wherever it runs: Geneve with one option, in IPsec or not, and networks of users.

The option holds the logical ports and has 8 bytes (ovn-org/ovn: Documentation/ref/ovn-sb.5, "Tunnel Encapsulations").
"""

import re
from collections.abc import Iterable

from kubemtu.cni.objects import reading
from kubemtu.cni.programs import chain, ovs
from kubemtu.core import codes, encap
from kubemtu.core.cluster import attachments
from kubemtu.core.codes import Finding
from kubemtu.core.encap import Encapsulation
from kubemtu.core.objects import Object, Want
from kubemtu.core.snapshot import Snapshot

GENEVE = "geneve:8"
GATEWAY = "ovn-k8s-mp0"  # go-controller/pkg/types/const.go K8sMgmtIntfNamePrefix
RESERVE = 100  # bytes: what installers take off for Geneve (openshift/cluster-network-operator: getOVNEncapOverhead)
STACKS: tuple[tuple[str, ...], ...] = ((GENEVE,), ("esp-transport", GENEVE), ())
MTU_LINE = re.compile(r"""^\s*mtu\s*=\s*["']?([^"'\s]*)["']?\s*$""", re.MULTILINE)
GROUP = "k8s.ovn.org/v1"
PLUGIN = "ovn-k8s-cni-overlay"
USERS = ("UserDefinedNetwork", "ClusterUserDefinedNetwork")
WANTS = (
    Want(kind="UserDefinedNetwork", plural="userdefinednetworks", api_versions=(GROUP,)),
    Want(kind="ClusterUserDefinedNetwork", plural="clusteruserdefinednetworks", api_versions=(GROUP,)),
)


def around(families: Iterable[str], *, ipsec: bool, natt: bool = False) -> tuple[Encapsulation, ...]:
    """Return what may be around a pod's packet on the overlay; `natt` when IPsec runs in UDP whether it must or not."""
    tunnels = ovs.over(GENEVE, families)
    return tuple(encap.within(encap.esp_transport(natt=natt), one) for one in tunnels) if ipsec else tunnels


def rendered(text: str) -> str | None:
    """Return the MTU that stands in an ovnkube.conf, as text; None where there is none."""
    found = MTU_LINE.search(text)
    return found[1] if found is not None else None


def networks(snapshot: Snapshot, pod_mtu: int | None, out: list[Finding]) -> None:
    """Add MTU119 for each network of a user on the overlay that is larger than the cluster's own."""
    kinds = (*USERS, attachments.KIND)
    for network in (each for kind in kinds for each in snapshot.each(kind)):
        path, mtu = _defined(network) if network.get("kind") == attachments.KIND else _own(network, out)
        if mtu is None or pod_mtu is None or mtu <= pod_mtu:
            continue
        out.append(
            codes.finding(
                codes.MTU119,
                f"{network}, {path}",
                f"Pods get {mtu} on this network, and the cluster's own has {pod_mtu}, which is what the overlay is"
                f" made for: packets of {pod_mtu + 1}-{mtu} bytes may not fit it, and vanish.",
                "The field cannot be changed: make the network anew with a smaller mtu, or without one.",
                "warning",
            )
        )


def _defined(network: Object) -> tuple[str, int | None]:
    """Return the MTU of a network on the overlay that is defined by itself; one written from a user's is told there.

    go-controller/pkg/cni/types/types.go NetConf: topology and mtu; localnet has the fabric's.
    """
    owners = network.get("metadata", "ownerReferences")
    held = network.get("spec", "config")
    listed = chain.plugins(held) if isinstance(held, str) and held else ""
    written = any(
        isinstance(each, dict) and each.get("kind") in USERS for each in (owners if isinstance(owners, list) else ())
    )
    if written or isinstance(listed, str) or listed[0]["type"] != PLUGIN:
        return "", None
    overlay = listed[0].get("topology") in ("layer2", "layer3")
    return "spec.config, mtu", chain.read(listed).mtu if overlay else None


def _own(network: Object, out: list[Finding]) -> tuple[str, int | None]:
    """Return where a network of the topologies layer2 and layer3 keeps its MTU, and that; localnet has the fabric's."""
    within = ("spec", "network") if network.get("kind") == "ClusterUserDefinedNetwork" else ("spec",)
    for topology in ("layer3", "layer2"):
        held = network.get(*within, topology)
        if isinstance(held, dict) and held.get("mtu") is not None:
            place = ".".join((*within, topology))
            return f"{place}.mtu", reading.member(held, "mtu", out, f"{network}, {place}")
    return "", None

"""What OVN makes of a pod's packet, wherever it runs: Geneve with one option, in IPsec or not, and networks of users.

The option holds the logical ports and has 8 bytes (ovn-org/ovn: Documentation/ref/ovn-sb.5, "Tunnel Encapsulations").
"""

import re
from collections.abc import Iterable

from kubemtu.cni.objects import reading
from kubemtu.cni.programs import ovs
from kubemtu.core import codes, encap
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
    kinds = ("UserDefinedNetwork", "ClusterUserDefinedNetwork")
    for network in (each for kind in kinds for each in snapshot.each(kind)):
        path, mtu = _own(network, out)
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


def _own(network: Object, out: list[Finding]) -> tuple[str, int | None]:
    """Return where a network of the topologies layer2 and layer3 keeps its MTU, and that; localnet has the fabric's."""
    within = ("spec", "network") if network.get("kind") == "ClusterUserDefinedNetwork" else ("spec",)
    for topology in ("layer3", "layer2"):
        held = network.get(*within, topology)
        if isinstance(held, dict) and held.get("mtu") is not None:
            place = ".".join((*within, topology))
            return f"{place}.mtu", reading.member(held, "mtu", out, f"{network}, {place}")
    return "", None

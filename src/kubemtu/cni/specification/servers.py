"""k3s and RKE2: what a server's config.yaml says of the pod network. It holds no MTU, so where one is kept is said.

k3s runs flannel itself, which takes the NIC's MTU, or Backend.MTU of the file that flannel-conf names (k3s-io/k3s:
pkg/agent/flannel/setup.go). RKE2 installs charts, and their numbers stand in HelmChartConfigs
(docs.rke2.io/networking/basic_network_options).
"""

from typing import Final

from kubemtu.cni.objects import reading
from kubemtu.cni.programs import netconf
from kubemtu.cni.specification import clusters
from kubemtu.cni.specification.forms import SERVER
from kubemtu.cni.specification.parsed import SpecificationParsed
from kubemtu.core import encap
from kubemtu.core.cluster import cni_state
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot

BACKENDS: Final = {"vxlan": "vxlan", "host-gw": "host-gw", "wireguard-native": "wireguard", "wireguard": "wireguard"}


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe the network that a server's config.yaml asks for; None where there is none, or it asks for none."""
    for source in snapshot.each(SERVER):
        if not source.of_file:
            continue
        return _charts(source) if source.get("cni") is not None else _embedded(source)
    return None


def hint(snapshot: Snapshot) -> str:
    """Say of a config.yaml that leaves the network to others what else is needed; empty where there is none."""
    for source in snapshot.each(SERVER):
        return f"{reading.ref(source, 'files')} leaves the pod network to others: add its manifests."
    return ""


def _embedded(source: Object) -> cni_state.CniState | None:
    said = source.get(
        "flannel-backend",
    )
    name = said if isinstance(said, str) else "vxlan"
    if name == "none":
        return None
    backend = netconf.BACKENDS.get(BACKENDS.get(name, ""))
    file = source.get("flannel-conf")
    named = f"{file}, on each node" if isinstance(file, str) else "a file that flannel-conf names"
    where = f"Backend.MTU of {named}"
    around = (encap.parse(backend.encapsulation),) if backend is not None and backend.encapsulation != "none" else ()
    by_file = isinstance(file, str)  # it may have any backend, and any number
    return _state(
        source,
        "k3s, flannel",
        around,
        "it is kept there, and config.yaml of k3s holds none; without such a file flannel takes the NIC's",
        where,
        known=backend is not None and not by_file,
        subtracts=backend.subtracts if backend is not None and not by_file else None,
    )


def _charts(source: Object) -> cni_state.CniState | None:
    listed = source.get("cni")
    named = next((each for each in (listed if isinstance(listed, list) else ()) if each in clusters.CHARTS), None)
    if not isinstance(named, str):
        return None
    around = (encap.parse("vxlan"),)
    where = f"{'.'.join(clusters.CHARTS[named])} of the HelmChartConfig rke2-{named}"
    known = named in {"canal", "flannel"}  # what the other two do goes by values that stand elsewhere
    return _state(
        source,
        f"RKE2, {named}",
        around if known else (),
        "it is kept there, and config.yaml of RKE2 holds none (`kubemtu plan -o helmchartconfig`, in the cluster)",
        where,
        known=known,
        pod_mtu=clusters.CANAL_DEFAULT if named == "canal" else None,
        subtracts=around[0].cost if named == "flannel" else None,
    )


def _state(
    source: Object,
    variant: str,
    around: tuple[encap.Encapsulation, ...],
    refused: str,
    where: str,
    *,
    known: bool,
    pod_mtu: int | None = None,
    subtracts: int | None = None,
) -> cni_state.CniState:
    networks = source.get("cluster-cidr")
    return cni_state.CniState(
        name="",  # the caller's
        variant=variant,
        encapsulation=around,
        encapsulation_known=known,
        encapsulation_name=(around[0].name if around else "none") if known else "unknown",
        pod_mtu=pod_mtu,
        subtracts=subtracts,
        source=where,
        ipv6=isinstance(networks, str) and ":" in networks,
        parsed=SpecificationParsed(tool="the server", network=variant, mtu=pod_mtu, refused=refused),
    )

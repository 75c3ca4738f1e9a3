"""Kinds of Cluster that tools make clusters from: kops', Rancher's and k0s', and RKE's cluster.yml.

Each names a network and, in one key, the pods' MTU (kubernetes/kops: pkg/apis/kops/networking.go; k0sproject/k0s:
pkg/apis/k0s/v1beta1/calico.go and kuberouter.go; rancher/rke: types/rke_types.go NetworkConfig).
"""

from collections.abc import Iterator

import msgspec

from kubemtu.cni.objects import reading
from kubemtu.cni.specification import forms
from kubemtu.cni.specification.parsed import NumberKey, SpecificationParsed
from kubemtu.core import codes, encap
from kubemtu.core.cluster import cni_state
from kubemtu.core.codes import Finding
from kubemtu.core.objects import Object, Ref
from kubemtu.core.snapshot import Snapshot

RKE = ("spec", "rancherKubernetesEngineConfig", "network")
KDM_DEFAULTS = {"canal": 1450, "calico": 1440}  # bytes: rancher/kontainer-driver-metadata, the templates of each
RANCHER = ("spec", "rkeConfig")
CANAL_DEFAULT = 1450  # bytes: rancher/rke2-charts packages/rke2-canal/charts/values.yaml, calico.vethuMTU
CHARTS = {
    "canal": ("calico", "vethuMTU"),
    "calico": ("installation", "calicoNetwork", "mtu"),
    "cilium": ("MTU",),
    "flannel": ("flannel", "mtu"),
}
"""By network, where the values of RKE2's charts hold the number (docs.rke2.io/networking/basic_network_options)."""
CALICO_MODES = {"ipip": "ipip", "bird": "ipip", "none": "", "vxlan": "vxlan"}
K0S_DEFAULT = (
    1450  # bytes: where spec.network.calico is given without mtu (calico.go UnmarshalJSON); else Felix decides
)


class Specified(msgspec.Struct, frozen=True, kw_only=True):
    """One specification: which tool's, which network, where its MTU stands, and what goes around a packet."""

    tool: str
    network: str
    path: tuple[str, ...]
    around: str = ""  # as `encap.parse` reads it; empty: nothing
    known: bool = True
    default: int | None = None  # bytes that new pods get without the key; None: the NIC less the headers
    refused: str = ""  # why the key has no effect here
    base: int = 0  # bytes that the network takes off the number, which is then the underlay's


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe the network that a Cluster asks for; None where there is none, or it is another network."""
    for kind in ("Cluster", "ClusterConfig", forms.RKE):
        for source in snapshot.each(kind):
            said = _specified(source)
            if said is not None:
                return _state(source, said)
    return None


def _specified(source: Object) -> Specified | None:
    group = str(source.get("apiVersion")).partition("/")[0]
    match group, source.get("kind"):
        case "kops.k8s.io", "Cluster":
            return _kops(source)
        case "k0s.k0sproject.io", "ClusterConfig":
            return _k0s(source)
        case "management.cattle.io", "Cluster":
            return _rke(source, RKE)
        case "provisioning.cattle.io", "Cluster":
            return _rancher(source)
        case "file", forms.RKE:
            return _rke(source, RKE[-1:])
    return None


def _kops(source: Object) -> Specified | None:
    path = ("spec", "networking")
    held = source.get(*path, "calico")
    if isinstance(held, dict):
        mode = str(held.get("encapsulationMode") or "ipip").lower()
        mode = "none" if mode == "ipip" and held.get("ipipMode") == "Never" else mode
        return Specified(
            tool="kops",
            network="Calico",
            path=(*path, "calico", "mtu"),
            around=CALICO_MODES.get(mode, ""),
            known=mode in CALICO_MODES,
        )
    for network, default in (("canal", None), ("weave", 1376)):
        if isinstance(source.get(*path, network), dict):
            name = "Weave Net" if network == "weave" else network
            key = (*path, network, "mtu")
            return Specified(tool="kops", network=name, path=key, around="vxlan", default=default)
    return None


def _k0s(source: Object) -> Specified | None:
    path = ("spec", "network")
    provider = source.get(*path, "provider") or "kuberouter"
    if provider == "kuberouter":
        auto = source.get(*path, "kuberouter", "autoMTU") is not False
        refused = (
            "kube-router takes the NIC's MTU as long as spec.network.kuberouter.autoMTU is not false: set that, too"
        )
        return Specified(
            tool="k0s", network="kube-router", path=(*path, "kuberouter", "mtu"), refused=refused if auto else ""
        )
    if provider != "calico":
        return None
    own = source.get(*path, "calico")
    wireguard = source.get(*path, "calico", "wireguard") is True
    mode = str(source.get(*path, "calico", "mode") or "vxlan").lower()
    mode = "none" if mode in {"bird", "ipip"} and source.get(*path, "calico", "overlay") == "Never" else mode
    return Specified(
        tool="k0s",
        network="Calico",
        path=(*path, "calico", "mtu"),
        around="wireguard" if wireguard else CALICO_MODES.get(mode, ""),
        known=wireguard or mode in CALICO_MODES,
        default=K0S_DEFAULT if isinstance(own, dict) and "mtu" not in own else None,
    )


def _rke(source: Object, path: tuple[str, ...]) -> Specified | None:
    held = source.get(*path)
    plugin = str(held.get("plugin") or "canal") if isinstance(held, dict) else ""
    if plugin not in {"canal", "calico", "weave", "flannel"}:
        return None
    refused = "RKE has no MTU setting for flannel (cluster/validation.go)" if plugin == "flannel" else ""
    backends = {each for each in _backends(source, path) if each not in {None, "", "vxlan"}}
    around = "ipip" if plugin == "calico" else "" if backends == {"host-gw"} else "vxlan"
    return Specified(
        tool="RKE",
        network=plugin,
        path=(*path, "mtu"),
        around=around,
        known=plugin in {"calico", "weave"} or backends <= {"host-gw"},
        default=KDM_DEFAULTS.get(plugin),
        refused=refused,
    )


def _rancher(source: Object) -> Specified | None:
    """Read the values that Rancher hands to RKE2's charts (rancher/rancher: pkg/apis/rke.cattle.io/v1/types.go)."""
    named = source.get(*RANCHER, "machineGlobalConfig", "cni")
    network = next((each for each in str(named or "canal").split(",") if each in CHARTS), None)
    if not isinstance(source.get(*RANCHER), dict) or network in {None, "cilium"}:
        return None  # what Cilium takes off goes by its version and its mode, of which nothing stands here
    assert network is not None
    values = (*RANCHER, "chartValues", f"rke2-{network}")
    backend = source.get(*values, "flannel", "backend") or "vxlan"
    charted = {"canal": backend, "flannel": backend}.get(network)
    return Specified(
        tool="Rancher",
        network=network,
        path=(*values, *CHARTS[network]),
        around="" if charted in {"none", "host-gw"} else "vxlan",
        known=charted in {"vxlan", "host-gw"},
        default=CANAL_DEFAULT if network == "canal" else None,
        base=(50 if charted == "vxlan" else 0) if network == "flannel" else 0,
    )


def _backends(source: Object, path: tuple[str, ...]) -> Iterator[object]:
    """Yield what options say of flannel's backend: canal's has a name of its own (rancher/rke: cluster/network.go)."""
    for key in ("flannel_backend_type", "canal_flannel_backend_type"):
        held = source.get(*path, "options", key)
        yield held if isinstance(held, str) else None


def _state(source: Object, specified: Specified) -> cni_state.CniState:
    out: list[Finding] = []
    ref = _ref(source)
    place = f"{ref if ref.of_file else source}, {'.'.join(specified.path[:-1])}"
    held = source.get(*specified.path[:-1])
    values = held if isinstance(held, dict) else {}
    mtu = reading.member(values, specified.path[-1], out, place)
    if mtu is not None and specified.refused:
        out.append(_refused(f"{place}.{specified.path[-1]}", mtu, specified.refused))
    around = (encap.parse(specified.around),) if specified.around and specified.known else ()
    counts = mtu if not specified.refused else None
    pod_mtu = counts - specified.base if counts is not None else specified.default
    key = cni_state.MtuKey(ref=ref, path=specified.path, means="pod", value=mtu, effective=not specified.refused)
    if specified.base:
        key = msgspec.structs.replace(key, means="base", subtracts=specified.base)
    return cni_state.CniState(
        name="",  # the caller's
        variant=f"{specified.tool}, {specified.network}",
        encapsulation=around,
        encapsulation_known=specified.known,
        encapsulation_name=(specified.around or "none") if specified.known else "unknown",
        pod_mtu=pod_mtu,
        subtracts=max((one.cost for one in around), default=0) if pod_mtu is None and specified.known else None,
        mtu_keys=(key,),
        findings=tuple(out),
        parsed=SpecificationParsed(
            tool=specified.tool,
            network=specified.network,
            keys=(NumberKey(ref=ref, path=specified.path, before=_held(source, specified.path), adds=specified.base),),
            mtu=pod_mtu if counts is not None else None,
            refused=specified.refused,
        ),
    )


def _held(source: Object, path: tuple[str, ...]) -> int | str | None:
    before = source.get(*path)
    return before if isinstance(before, int | str) and not isinstance(before, bool) else None


def _refused(place: str, mtu: int, why: str) -> Finding:
    return codes.finding(codes.MTU111, place, f"It says {mtu} and has no effect: {why}.", "Remove it, or mend that.")


def _ref(source: Object) -> Ref:
    return reading.ref(source, f"{source.kind.lower()}s")

"""Talos: what machine configurations say of flannel, of the NICs and of KubeSpan, which lies between the two.

Flannel is part of Talos. From v1.14 on it is given backendMTU of a KubeFlannelCNIConfig, else KubeSpan's MTU where that
is on, and before v1.14 nothing: flanneld then takes the NIC's (siderolabs/talos:
internal/app/machined/pkg/controllers/k8s/control_plane.go, pkg/machinery/config/types/k8s/flannel.go; #13457, #13547).
What Talos has applied once it does not write again: `talosctl upgrade-k8s` does
(internal/app/machined/pkg/controllers/k8s/manifest_apply.go).
"""

import re
from collections.abc import Sequence
from typing import Final

from kubemtu.cni.objects import reading
from kubemtu.cni.programs import netconf
from kubemtu.cni.specification import machines
from kubemtu.cni.specification.forms import MACHINE
from kubemtu.cni.specification.parsed import NumberKey, SpecificationParsed
from kubemtu.core import codes, encap
from kubemtu.core.cluster import cni_state
from kubemtu.core.codes import Finding
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot

FLANNEL = "KubeFlannelCNIConfig"
GIVES_MTU_SINCE = (1, 14)
DEFAULT_BACKEND = "vxlan"  # the same file: FlannelDefaultBackend
_VERSION: Final = re.compile(r"v(\d{1,2})\.(\d{1,3})", re.ASCII)
UPGRADE = "`talosctl upgrade-k8s` brings it into the cluster: Talos does not write anew what it has applied once"


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe Talos' own flannel; None where these files ask for none, or do not tell."""
    planes = tuple(machines.of_file(snapshot, FLANNEL))
    machine = next((each for each in machines.of_file(snapshot, MACHINE) if _has_flannel(each)), None)
    kubespan = machines.kubespan(snapshot, [])
    if planes:
        return _by_documents(planes, kubespan)
    return _by_machine(machine, kubespan) if machine is not None else None


def hint(snapshot: Snapshot) -> str:
    """Say of machine configurations without Talos' flannel what else is needed; empty where there are none."""
    for machine in machines.of_file(snapshot, MACHINE):
        named = machine.get("cluster", "network", "cni", "name")
        place = f"{machines.ref(machine)}, cluster.network.cni.name"
        if isinstance(named, str) and named in {"none", "custom"}:
            return f"{place} is {named}: the pod network is another one's, so add its manifests, or the cluster's own."
        return f"{machines.ref(machine)} names no pod network: a control plane's may, or the cluster's objects do."
    if any(True for kind in (machines.KUBESPAN, *machines.LINKS) for _ in machines.of_file(snapshot, kind)):
        return "These documents of Talos are about NICs alone: add the cluster's objects, or a machine configuration."
    return ""


def _version(machine: Object) -> tuple[int, int] | None:
    found = _VERSION.match(str(machine.get("talosVersion") or ""))
    return (int(found[1]), int(found[2])) if found is not None else None


def _has_flannel(machine: Object) -> bool:
    network = machine.get("cluster", "network")
    if not isinstance(network, dict):  # before v1.14 flannel then, from it on none
        version = _version(machine)
        return isinstance(machine.get("cluster"), dict) and version is not None and version < GIVES_MTU_SINCE
    return "cni" not in network or machine.get("cluster", "network", "cni", "name") == "flannel"


def _by_documents(planes: Sequence[Object], kubespan: machines.KubeSpan | None) -> cni_state.CniState:
    """Describe flannel as a KubeFlannelCNIConfig asks for it; each control plane has one, and all are edited."""
    document = planes[0]
    out: list[Finding] = []
    ref = reading.ref(document, "documents")
    kind = document.get("backendExtraConfig", "Type") or document.get("backendType") or DEFAULT_BACKEND
    path = _path(document)
    base = reading.member(document.body, "backendMTU", out, str(ref))
    extra = document.get("backendExtraConfig")
    if len(path) > 1 and isinstance(extra, dict):
        if base is not None:
            right = "backendExtraConfig.MTU, which is put over it"
            out.append(reading.stray(f"{ref}, backendMTU", "backendMTU", right))
        base = reading.member(extra, "MTU", out, f"{ref}, backendExtraConfig")
    subtracts, key = _subtracts(kind), ".".join(path)
    effective = base or (kubespan.mtu if kubespan is not None else None)
    numbers = tuple(_number(each, subtracts) for each in planes)
    return _flannel(
        kind,
        kubespan,
        findings=out,
        pod_mtu=effective - subtracts if effective is not None else None,
        keys=(cni_state.MtuKey(ref=ref, path=path, means="base", value=base, subtracts=subtracts),),
        source=f"{ref}, {key}",
        parsed=SpecificationParsed(
            tool="Talos",
            network="flannel, which takes the headers off",
            keys=numbers,
            mtu=effective - subtracts if effective is not None else None,
        ),
    )


def _number(document: Object, subtracts: int) -> NumberKey:
    path = _path(document)
    held = document.get(*path)
    before = held if isinstance(held, int | str) and not isinstance(held, bool) else None
    return NumberKey(ref=reading.ref(document, "documents"), path=path, before=before, adds=subtracts)


def _path(document: Object) -> tuple[str, ...]:
    """Return where a document has its number: what stands in backendExtraConfig is merged over all the rest."""
    extra = document.get("backendExtraConfig")
    return ("backendExtraConfig", "MTU") if isinstance(extra, dict) and "MTU" in extra else ("backendMTU",)


def _by_machine(machine: Object, kubespan: machines.KubeSpan | None) -> cni_state.CniState:
    """Describe flannel as `cluster.network` of a machine configuration asks for it, which has no key for an MTU."""
    out: list[Finding] = []
    ref = reading.ref(machine, "files")
    version = _version(machine)
    place = f"{ref}, cluster.network.cni"
    right = f"backendMTU of a {FLANNEL} (Talos v1.14), which stands in the place of cluster.network"
    for key in ("backendMTU", "mtu"):
        if machine.get("cluster", "network", "cni", "flannel", key) is not None:
            said = f"{place}.flannel.{key}"
            out.append(
                codes.finding(
                    codes.MTU111,
                    said,
                    "No version of Talos has this key here, and it refuses a configuration with keys that it does not"
                    f" know; the key is {right}.",
                    f"Move the number to {right}.",
                )
            )
    given = version is None or version >= GIVES_MTU_SINCE
    subtracts = _subtracts(DEFAULT_BACKEND)
    pod_mtu = kubespan.mtu - subtracts if kubespan is not None and given and version is not None else None
    if kubespan is not None and pod_mtu is None:
        out.append(_over_kubespan(place, kubespan, subtracts, version))
    refused = f"flannel has no MTU key in cluster.network: it is {right}"
    if version is not None and version < GIVES_MTU_SINCE:
        refused = (
            f"Talos v{version[0]}.{version[1]} gives its flannel no MTU, which takes the NIC's: set `mtu` of the NICs,"
            " or upgrade to v1.14, or have cni.name none and flannel's own manifest with Backend.MTU"
        )
    return _flannel(
        DEFAULT_BACKEND,
        kubespan,
        findings=out,
        pod_mtu=pod_mtu,
        keys=(),
        source=place,
        parsed=SpecificationParsed(tool="Talos", network="flannel", keys=(), refused=refused, mtu=pod_mtu),
    )


def _over_kubespan(place: str, kubespan: machines.KubeSpan, taken: int, version: tuple[int, int] | None) -> Finding:
    carries = kubespan.mtu - (0 if kubespan.takes_pods else taken)
    known = version is not None
    return codes.finding(
        codes.MTU119,
        place,
        f"KubeSpan is on ({kubespan.place}, {kubespan.mtu}), so a pod's packet may have {carries}, but"
        f" {'this' if known else 'before v1.14'} Talos lets flannel take {taken} off the NIC's MTU instead: on NICs of"
        f" 1500 new pods get {1500 - taken}, and what is above {carries} is cut into fragments or lost"
        " (siderolabs/talos#13457).",
        f"Upgrade to Talos v1.14, which gives flannel KubeSpan's MTU, then {UPGRADE}."
        + ("" if known else " No version stands in machine.install.image here; with v1.14 nothing is wrong."),
        "error" if known else "warning",
    )


def _subtracts(kind: object) -> int:
    backend = netconf.backend(kind)
    return backend.subtracts if backend is not None else 0


def _flannel(
    kind: object,
    kubespan: machines.KubeSpan | None,
    *,
    findings: Sequence[Finding],
    pod_mtu: int | None,
    keys: tuple[cni_state.MtuKey, ...],
    source: str,
    parsed: SpecificationParsed,
) -> cni_state.CniState:
    backend = netconf.backend(kind)
    known = backend is not None and backend.encapsulation != ""
    name = backend.encapsulation if backend is not None and known else "unknown"
    around = (encap.parse(name),) if known and name != "none" else ()
    direct = kubespan is not None and kubespan.takes_pods
    subtracts = _subtracts(kind)
    return cni_state.CniState(
        name="",  # the caller's
        variant="Talos, flannel" + (" over KubeSpan" if kubespan is not None else ""),
        encapsulation=() if direct else around,
        encapsulation_known=known,
        encapsulation_name="none (KubeSpan carries the pods)" if direct else name,
        reserves=subtracts if direct else 0,
        pod_mtu=pod_mtu,
        subtracts=subtracts if pod_mtu is None and known else None,
        mtu_keys=keys,
        source=source,
        findings=tuple(findings),
        parsed=parsed,
    )

"""The Tigera operator's Installation: the only place where an MTU lasts, because the operator reverts all others.

`spec.calicoNetwork.mtu` is an integer, absent or 0 for automatic; `status.mtu` is what the operator sees in force
(tigera/operator: api/v1/installation_types.go).
"""

import msgspec

from kubemtu.cni.objects import daemonset, reading, strays
from kubemtu.cni.programs import installer
from kubemtu.cni.programs.felix import Pool
from kubemtu.core import codes
from kubemtu.core.change import plan
from kubemtu.core.change.plan import EditValue
from kubemtu.core.cluster import writers
from kubemtu.core.codes import Finding
from kubemtu.core.errors import Malformed
from kubemtu.core.objects import Object, Ref, Want, config_map, daemonsets
from kubemtu.core.snapshot import Snapshot
from kubemtu.core.text import json_edit

GROUP = "operator.tigera.io"
NAMESPACE = "calico-system"
CONFIG_MAP = "cni-config"
AGENT = "calico-node"
PATH = ("spec", "calicoNetwork", "mtu")
CHART_KEY = ("installation", "calicoNetwork", "mtu")  # projectcalico/calico: charts/tigera-operator/values.yaml
WANTS = (
    Want(kind="Installation", plural="installations", api_versions=(f"{GROUP}/v1",), name="default"),
    config_map(NAMESPACE, CONFIG_MAP),
    daemonsets(NAMESPACE),
)
RENDERING = plan.Rendering(  # tigera/operator: pkg/render/node.go, nodeCNIConfigMap
    ref=Ref(api_version="v1", kind="ConfigMap", plural="configmaps", name=CONFIG_MAP, namespace=NAMESPACE),
    path=("data", "config"),
    plugin="calico",
    by="The tigera operator (kubectl -n tigera-operator logs deployment/tigera-operator)",
)
KEEPS = (
    f"The tigera operator writes ConfigMap {NAMESPACE}/{CONFIG_MAP} and DaemonSet {NAMESPACE}/{AGENT} from the"
    " Installation, restarts the latter where they change, and takes back what is changed in them by hand."
)
POOL = Pool(cidr="192.168.0.0/16", ipip="Always")  # what the operator makes where no pool is named
MODES: dict[str, tuple[str, str]] = {  # Installation's word: ipipMode, vxlanMode
    "": ("Always", "Never"),
    "ipip": ("Always", "Never"),
    "ipipcrosssubnet": ("CrossSubnet", "Never"),
    "vxlan": ("Never", "Always"),
    "vxlancrosssubnet": ("Never", "CrossSubnet"),
    "none": ("Never", "Never"),
}


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """What the Installation says: the MTU it sets and the one it reports, in bytes, and its pools."""

    mtu: int | None
    observed: int | None
    pools: tuple[Pool, ...]


def installation(snapshot: Snapshot) -> Object | None:
    """Return the Installation when it makes the pods' network, None when it is absent or only adds policy."""
    found = snapshot.find("Installation", "default")
    if found is None or not str(found.get("apiVersion")).startswith(f"{GROUP}/"):
        return None
    return found if found.get("spec", "cni", "type") in (None, "Calico") else None


def daemonset_ref(snapshot: Snapshot) -> Ref:
    """Return the address of calico-node, also where it was not read."""
    return daemonset.ref(snapshot.find("DaemonSet", AGENT, NAMESPACE), NAMESPACE, AGENT)


def read(resource: Object, out: list[Finding]) -> Installed:
    """Read an Installation; what is broken goes to `out`."""
    out += strays.misplaced(resource, "spec")
    for path in strays.in_tree(resource.get("spec"), {"calicoNetwork.mtu"}, ("mtu",)):
        out.append(reading.stray(f"{resource}, spec.{path}", f"spec.{path}", "spec.calicoNetwork.mtu"))
    return Installed(
        mtu=_mtu(resource, PATH, out), observed=_mtu(resource, ("status", "mtu"), out), pools=_pools(resource, out)
    )


def drift(template: Object | None, text: str | None, mtu: int | None, place: str) -> Finding | None:
    """Return MTU113 where what the operator has rendered holds another MTU than its Installation sets."""
    if template is None or text is None:
        return None
    try:
        held = json_edit.read_plugin_mtu(text, "calico").value
    except Malformed:
        return None
    if held is None or held == (mtu or 0):
        return None
    writer = writers.last(template, RENDERING.path)
    return codes.finding(
        codes.MTU113,
        f"{template}, data.config",
        f"It says {held or 'no MTU'}{f', written by {writer},' if writer is not None else ''} and the Installation"
        f" {mtu or 'none'}: the tigera operator writes it anew from that, within five minutes, where it runs.",
        f"Change {place} instead; where the number there is the wanted one, look at the operator's log:"
        " kubectl -n tigera-operator logs deployment/tigera-operator.",
    )


def edits(resource: Object, target: int) -> list[EditValue]:
    """Return the edit of the Installation, as an integer; none when it says so already."""
    held = resource.get(*PATH)
    before = held if isinstance(held, str | int) else None
    return installer.edit(
        reading.ref(resource, "installations"),
        PATH,
        before,
        target,
        f"new pods get {target}; the operator does the rest",
    )


def _mtu(resource: Object, path: tuple[str, ...], out: list[Finding]) -> int | None:
    held = resource.get(*path)
    place = f"{resource}, {'.'.join(path)}"
    if held is None:
        return None
    if not isinstance(held, int) or isinstance(held, bool):
        out.append(
            codes.finding(
                codes.MTU112,
                place,
                f"The MTU is {held!r:.40}; it must be an integer, and the API server refuses anything else.",
                "Write the number without quotes.",
            )
        )
        return None
    return reading.bounded(held, out, place)


def _pools(resource: Object, out: list[Finding]) -> tuple[Pool, ...]:
    nothing: tuple[Object, ...] = ()
    place = f"{resource}, spec.calicoNetwork.ipPools"
    if resource.get("spec", "calicoNetwork", "ipPools") is None:
        return (POOL,)
    listed = reading.attempt(lambda: tuple(resource.each("spec", "calicoNetwork", "ipPools")), nothing, out, place)
    return tuple(_pool(each, place, out) for each in listed)


def _pool(each: Object, place: str, out: list[Finding]) -> Pool:
    said = reading.text(each, out, "encapsulation") or ""
    cidr = reading.text(each, out, "cidr") or ""
    modes = MODES.get(said.lower())
    if modes is None:
        out.append(
            codes.finding(
                codes.MTU117,
                place,
                f"{said!r:.40} is no encapsulation.",
                "Use IPIP, IPIPCrossSubnet, VXLAN, VXLANCrossSubnet or None.",
            )
        )
        modes = MODES["none"]
    return Pool(cidr=cidr, ipip=modes[0], vxlan=modes[1])

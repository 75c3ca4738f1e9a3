"""RKE2's canal: its source of truth is a HelmChartConfig whose values are YAML in a string.

`calico.vethuMTU` (spelled so) is the pods' MTU, `flannel.mtu` the underlay's, from which flannel subtracts. The chart
writes both into the ConfigMap rke2-canal-config and restarts nothing (rancher/rke2-charts: packages/rke2-canal).
"""

import msgspec

from kubemtu.cni.objects import chart as charts
from kubemtu.cni.objects import reading, strays
from kubemtu.cni.programs import netconf
from kubemtu.core.codes import Finding
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot

AGENT = "rke2-canal"
CONFIG_MAP = "rke2-canal-config"
PATH = charts.PATH
POD = ("calico", "vethuMTU")
BASE = ("flannel", "mtu")
BACKEND = "flannel.backend"
FOREIGN = (  # packages/rke2-canal/charts/values.yaml: "Backend should not be changed at runtime"
    f"Take it away: {BACKEND} takes flannel's words and not Calico's, vxlan, host-gw (nothing around a packet) or"
    " wireguard, and is not to be changed while the cluster runs."
)
POD_DEFAULT = 1450  # bytes: packages/rke2-canal/charts/values.yaml
SUITS = 1500 - POD_DEFAULT  # bytes that it leaves on a NIC of 1500: enough for VXLAN, not for WireGuard
WANT = charts.want(AGENT)


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """The chart's values that bear on the MTU, in bytes; None where they are not given."""

    pod: int | None = None
    base: int | None = None
    backend: str = "vxlan"
    nic: str = ""

    def net_conf(self) -> netconf.NetConf:
        """Return the net-conf.json that the chart renders."""
        return netconf.NetConf(kind=self.backend, backend=netconf.BACKENDS.get(self.backend), base=self.base)


def chart(snapshot: Snapshot) -> Object | None:
    """Return the HelmChartConfig of canal, or None."""
    return snapshot.find("HelmChartConfig", AGENT, "kube-system")


def read(resource: Object | None, out: list[Finding]) -> Values:
    """Read the values; what is broken goes to `out`, and reads as absent."""
    if resource is None:
        return Values()
    values = charts.values(resource, out)
    place = charts.place(resource)
    known = {".".join(path) for path in (POD, BASE)}
    for path in strays.in_tree(values, known, ("mtu", "encapsulation")):
        if "encapsulation" in path.lower():
            held = str(charts.at(values, tuple(path.split(".")))).lower()
            out.append(reading.stray(f"{place}, {path}", path, BACKEND, "" if held in netconf.BACKENDS else FOREIGN))
        else:
            out.append(reading.stray(f"{place}, {path}", path, ".".join(BASE if "flannel" in path else POD)))
    backend = charts.at(values, ("flannel", "backend"))
    nic = charts.at(values, ("flannel", "iface"))
    return Values(
        pod=charts.mtu(values, POD, resource, out, pasted=True),
        base=charts.mtu(values, BASE, resource, out, pasted=True),
        backend=backend if isinstance(backend, str) and backend else "vxlan",
        nic=nic if isinstance(nic, str) else "",
    )

"""The address pools that calico-node makes by itself: only when it starts on a cluster that has none.

projectcalico/calico: node/pkg/lifecycle/startup/startup.go, configureIPPools: NO_DEFAULT_POOLS ends it at once, an
existing pool of the datastore as well; only then the variables CALICO_IPV4POOL_* and CALICO_IPV6POOL_* are looked at.
"""

from kubemtu.cni.objects import daemonset, reading
from kubemtu.cni.programs import felix
from kubemtu.cni.programs.felix import Pool
from kubemtu.core import codes
from kubemtu.core.codes import Finding
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot


def pools(
    config: Object | None, agent: Object | None, snapshot: Snapshot, out: list[Finding]
) -> tuple[Pool, ...] | None:
    """Return the pools of a new cluster; None, and MTU117 in `out`, where others must exist that were not read."""
    if agent is None:
        return ()

    def held(name: str) -> str:
        return reading.attempt(lambda: daemonset.resolve(agent, name, snapshot), None, out, str(agent)) or ""

    found = []
    for family, usual in (("IPV4", "192.168.0.0/16"), ("IPV6", "")):
        cidr = held(f"CALICO_{family}POOL_CIDR") or usual
        if cidr:
            ipip = felix.mode(held(f"CALICO_{family}POOL_IPIP"))
            vxlan = felix.mode(held(f"CALICO_{family}POOL_VXLAN"))
            found.append(Pool(cidr=cidr, ipip=ipip or "Never", vxlan=vxlan or "Never"))
    backend = held("CALICO_NETWORKING_BACKEND")
    if not backend and config is not None:
        backend = reading.text(config, out, "data", "calico_backend") or ""
    why = _elsewhere(held, backend, tuple(found), snapshot)
    if not why:
        return tuple(found)
    remedy = "Allow `list` on ippools." if not snapshot.offline else "Add the IPPools (kubectl get ippools -o yaml)."
    out.append(
        codes.finding(
            codes.MTU117,
            "IPPool",
            f"No IPPool was read, and {why}: the encapsulation between nodes is unknown.",
            remedy,
        )
    )
    return None


def _elsewhere(held: "felix.Held", backend: str, found: tuple[Pool, ...], snapshot: Snapshot) -> str:
    """Say why the pools in force are others than calico-node would make; empty when they are not."""
    if held("NO_DEFAULT_POOLS").lower() in felix.YES:
        return "calico-node makes none (NO_DEFAULT_POOLS), so somebody else did"
    if backend == "vxlan" and not any(pool.vxlan != "Never" for pool in found):
        return "calico_backend is vxlan while no CALICO_IPV4POOL_VXLAN asks for it, so they come from elsewhere"
    if not snapshot.offline and any(entry.what == "ippools" and entry.why != "absent" for entry in snapshot.unread):
        return "this cluster's could not be listed"
    return ""

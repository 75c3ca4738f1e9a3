"""A CNI that does not exist, in this one file: kilt, which keeps the pods' MTU in one key of one ConfigMap.

Written as whoever teaches kubemtu a CNI would: what it is recognised by, what its objects mean, what a change edits,
and what everything else must know of it. It comes in two kinds: its veths have the MTU, or they have 1500 and the pods'
default route has it (as Cilium, Antrea and GKE do).
"""

import msgspec

from kubemtu.cni.knowledge import CalcKey, Knowledge
from kubemtu.cni.objects import reading
from kubemtu.core import encap, net, rights
from kubemtu.core.change import plan
from kubemtu.core.cluster import cni_state, node_files
from kubemtu.core.errors import UsageError
from kubemtu.core.objects import Object, Ref, Want, config_map, daemonsets
from kubemtu.core.snapshot import Snapshot
from kubemtu_lab import scene

NAME = "kilt"
CONFIG_MAP = "kilt-config"
CONFLIST = "/etc/cni/net.d/10-kilt.conflist"
MTU_FILE = "/run/kilt/mtu"
DEVICE_MTU = 1500
WANTS = (
    config_map("kube-system", CONFIG_MAP),
    daemonsets("kube-system"),
    Want(kind="Node", plural="nodes", api_versions=("v1",)),
)
KNOWLEDGE = Knowledge(
    recognised_by="Kilt (ConfigMap kube-system/kilt-config)",
    ports=(net.PortRule(prefixes=("kilt",)),),
    node_paths=(MTU_FILE,),
    plugin_mtus=(node_files.PluginRule(plugin="kilt", file=MTU_FILE, written_by="kilt"),),
    address_annotations=("kilt.example/public-ip",),
    calc_keys=(CalcKey("Kilt", f"ConfigMap kube-system/{CONFIG_MAP}", "mtu", "pod", (("vxlan",),)),),
    words=("kilt",),
    edited=(rights.patch("configmaps", CONFIG_MAP), rights.patch("daemonsets", NAME, group="apps")),
)
DEVICES = scene.Declared(
    name=NAME, config_map=CONFIG_MAP, mtu=1500, prefix="kilt", tunnel="kilt0", vni=77, mtu_file=MTU_FILE
)
"""What the lab plays: pods have what they were given, 1500, and the overlay carries 1450."""
ROUTES = msgspec.structs.replace(DEVICES, by_route=True)


class Parsed(msgspec.Struct, frozen=True):
    """What `read` has found."""

    config: Object
    born: tuple[int, ...]  # what the nodes' files give


def read(snapshot: Snapshot) -> cni_state.CniState | None:
    """Describe kilt, or return None when its ConfigMap is not there."""
    config = snapshot.find("ConfigMap", CONFIG_MAP, "kube-system")
    if config is None:
        return None
    mtu = reading.mtu(config.text("data", "mtu"), [], f"{config}, data.mtu")
    by_route = '"limit": "route"' in (config.text("data", "conflist") or "")
    (rule,) = KNOWLEDGE.plugin_mtus
    return cni_state.CniState(
        name=NAME,
        variant="limits by route" if by_route else "sets devices",
        encapsulation=(encap.vxlan(),),
        encapsulation_name="vxlan",
        pod_mtu=mtu,
        by_route=by_route,
        device_mtu=DEVICE_MTU if by_route else None,
        mtu_keys=(
            cni_state.MtuKey(ref=reading.ref(config, "configmaps"), path=("data", "mtu"), means="pod", value=mtu),
        ),
        daemonset=Ref(api_version="apps/v1", kind="DaemonSet", plural="daemonsets", name=NAME, namespace="kube-system"),
        conflist=CONFLIST,
        ports=KNOWLEDGE.ports[0],
        tunnel="kilt0",
        tunnel_stays="Kilt makes the device once.",
        pod_networks=("10.244.0.0/16",),
        parsed=Parsed(config, tuple(filter(None, map(rule.written, snapshot.nodes)))),
    )


def steps(state: cni_state.CniState, target: int) -> tuple[plan.EditValue | plan.Rollout, ...]:
    """List the edit of the one key, and the restart. Raises UsageError when the key holds no text."""
    found = state.parsed
    assert isinstance(found, Parsed)
    assert state.daemonset is not None
    before = found.config.get("data", "mtu")
    if not isinstance(before, str):
        raise UsageError(f"{found.config} has no data.mtu to change.")
    ref = reading.ref(found.config, "configmaps")
    edit = plan.EditValue(ref=ref, path=("data", "mtu"), before=before, after=str(target), why="new pods get it")
    if before == str(target) and all(held == target for held in found.born):
        return ()
    restart = plan.Rollout(ref=state.daemonset, why="kilt writes its file when it starts")
    return (edit, restart) if before != str(target) else (restart,)

"""What makes the pods' network on nodes of Windows, beside the CNI of all the others: read, never changed.

The number that is configured for Linux reaches none of them, but for Antrea's own:

    Calico for Windows  calico-windows-config CALICO_NETWORKING_BACKEND: vxlan (its default), windows-bgp, none
                        (node/windows-packaging/CalicoWindows/config-hpc.ps1, node/node-service.ps1). Nothing in
                        cni-plugin/pkg/dataplane/windows reads an MTU, whatever the Installation renders into it
    flanneld            vxlan with 50 off the NIC, and no Backend.MTU (pkg/backend/vxlan/vxlan_windows.go,
                        vxlan_network_windows.go); its plugin hands on to win-overlay, which knows no mtu either
    Antrea              defaultMTU of antrea-windows-config, else its own deduction (pkg/agent/agent_windows.go)
    AWS                 an l2bridge of HNS on the ENI (amazon-vpc-cni-plugins: plugins/vpc-bridge)
    OVN-Kubernetes      hybridOverlayConfig of the operator's Network: VXLAN between Linux and Windows

What HNS itself gives is said in core/cluster/windows.py.
"""

import re
from collections.abc import Iterator

from kubemtu.cni.knowledge import Knowledge, Mounted
from kubemtu.cni.objects import daemonset, reading
from kubemtu.core import encap
from kubemtu.core.cluster import windows
from kubemtu.core.cluster.cni_state import WindowsPart
from kubemtu.core.objects import Object, config_map
from kubemtu.core.snapshot import Snapshot

_CALICO, _CALICO_CONFIG = "calico-node-windows", "calico-windows-config"
_FLANNEL = "kube-flannel-ds-windows"
_ANTREA, _ANTREA_CONFIG = "antrea-agent-windows", "antrea-windows-config"
_AWS_CONFIG, _AWS_KEY = "amazon-vpc-cni", "enable-windows-ipam"
_AZURE = "kubernetes.azure.com/cluster"
_SYSTEM, _CALICO_SYSTEM = "kube-system", "calico-system"
_VXLAN = encap.vxlan().cost
_OVERLAY, _BRIDGE = "an overlay of VXLAN", "an l2bridge on the NIC"
_BACKENDS = {
    "vxlan": (_OVERLAY, _VXLAN),
    "windows-bgp": (f"BGP and {_BRIDGE}", 0),
    "none": ("another plugin, as it only adds policy", None),
}
_TUNNELS = {"geneve": encap.geneve().cost, "vxlan": _VXLAN}
_LINE = r"^\s*{key}\s*:\s*\"?([\w]+)\"?\s*(?:#.*)?$"

WANTS = (
    config_map(_CALICO_SYSTEM, _CALICO_CONFIG),
    config_map(_SYSTEM, _CALICO_CONFIG),
    config_map(_SYSTEM, _ANTREA_CONFIG),
    config_map(_SYSTEM, _AWS_CONFIG),
)  # their DaemonSets are wanted with those of Linux
KNOWLEDGE = Knowledge(mounted=(Mounted(namespace=_SYSTEM, daemonset=_ANTREA, prefix=_ANTREA_CONFIG),))


def read(snapshot: Snapshot) -> tuple[WindowsPart, ...]:
    """Return what makes pods' network on the nodes of Windows; empty where there are none, or nothing tells."""
    if not windows.names(snapshot):
        return ()
    return (*_of_daemonsets(snapshot), *_of_operators(snapshot), *_of_clouds(snapshot))


def _of_daemonsets(snapshot: Snapshot) -> Iterator[WindowsPart]:
    for found in snapshot.each("DaemonSet"):
        name = str(found.get("metadata", "name"))
        if name == _CALICO:
            yield _calico(found, snapshot)
        elif name.startswith(_FLANNEL):
            yield _flannel(found, snapshot)
        elif name == _ANTREA:
            yield _antrea(found, snapshot)


def _calico(agent: Object, snapshot: Snapshot) -> WindowsPart:
    config = snapshot.find("ConfigMap", _CALICO_CONFIG, agent.namespace)
    none: tuple[daemonset.Variable, ...] = ()
    written = reading.attempt(lambda: daemonset.variables(agent), none, [], str(agent))
    said = {each.name: each.value for each in written if each.value is not None}

    def setting(name: str) -> str:
        held = said.get(name) or (config.get("data", name) if config is not None else None)
        return held.strip() if isinstance(held, str) else ""

    backend = setting("CALICO_NETWORKING_BACKEND") or "vxlan"
    network, takes = _BACKENDS.get(backend.lower(), ("", None))
    return WindowsPart(
        name="Calico for Windows",
        place=str(agent),
        network=network,
        takes=takes,
        nic=setting("VXLAN_ADAPTER"),
        ignores="It reads no MTU, not that of the Installation either.",
    )


def _flannel(agent: Object, snapshot: Snapshot) -> WindowsPart:
    configs = (found.get("data", "net-conf.json") for found in snapshot.each("ConfigMap"))
    conf = next((held for held in configs if isinstance(held, str)), "")
    host_gw = re.search(r'"Type"\s*:\s*"host-gw"', conf, re.IGNORECASE) is not None
    own = re.search(r'"MTU"\s*:\s*([0-9]+)', conf, re.IGNORECASE)
    return WindowsPart(
        name="flanneld",
        place=str(agent),
        network=_BRIDGE if host_gw else _OVERLAY,
        takes=0 if host_gw else _VXLAN,
        ignores=f"It does not read Backend.MTU ({own[1]}) there." if own is not None else "",
    )


def _antrea(agent: Object, snapshot: Snapshot) -> WindowsPart:
    config = next((one for one in snapshot.each("ConfigMap", _SYSTEM) if one.name.startswith(_ANTREA_CONFIG)), None)
    held = config.get("data", "antrea-agent.conf") if config is not None else None
    conf = held if isinstance(held, str) else ""
    given = _line(conf, "defaultMTU")
    tunnel = (_line(conf, "tunnelType") or "geneve").lower() if conf else ""
    return WindowsPart(
        name="Antrea's agent",
        place=str(agent),
        network=f"Open vSwitch and {tunnel}" if tunnel else "Open vSwitch",
        takes=_TUNNELS.get(tunnel),
        mtu=int(given) if given.isascii() and given.isdecimal() and 0 < int(given) <= encap.LARGEST_MTU else None,
        key=f"{config}, defaultMTU" if config is not None else "",
    )


def _line(conf: str, key: str) -> str:
    found = re.search(_LINE.format(key=key), conf, re.MULTILINE)
    return found[1] if found is not None else ""


def _of_operators(snapshot: Snapshot) -> Iterator[WindowsPart]:
    """Yield what an operator is told to do on Windows, where its DaemonSet was not read or is not one."""
    there = any(found.get("metadata", "name") == _CALICO for found in snapshot.each("DaemonSet"))
    for found in snapshot.each("Installation"):
        nic = found.get("spec", "windowsNodes", "vxlanAdapter")
        if not there and found.get("spec", "calicoNetwork", "windowsDataplane") == "HNS":
            yield WindowsPart(
                name="Calico for Windows", place=f"{found}, windowsDataplane", nic=nic if isinstance(nic, str) else ""
            )
    for found in snapshot.each("Network"):
        hybrid = found.get("spec", "defaultNetwork", "ovnKubernetesConfig", "hybridOverlayConfig")
        if isinstance(hybrid, dict):
            yield WindowsPart(
                name="OVN-Kubernetes' hybrid overlay",
                place=f"{found}, hybridOverlayConfig",
                network=_OVERLAY,
                takes=_VXLAN,
            )


def _of_clouds(snapshot: Snapshot) -> Iterator[WindowsPart]:
    config = snapshot.find("ConfigMap", _AWS_CONFIG, _SYSTEM)
    if config is not None and str(config.get("data", _AWS_KEY)).lower() == "true":
        yield WindowsPart(name="AWS' plugin vpc-bridge", place=f"{config}, {_AWS_KEY}", network=_BRIDGE, takes=0)
    for node in snapshot.each("Node"):
        if windows.runs(node) and isinstance(node.get("metadata", "labels", _AZURE), str):
            yield WindowsPart(name="Azure's CNI", place=f"label {_AZURE} of its nodes", network=_BRIDGE, takes=0)
            return

"""What calico-node does to its node where a pool of VXLAN is on: the file for the plugin, vxlan.calico, and its routes.

Felix makes the device with the size that the kernel gives it, sets its own every ten seconds where it has another, and
goes on where the kernel refuses that; routes through it have the same number, refused or not. Pods' networks are the
nodes' podCIDRs here, where Calico's own IPAM hands out blocks. Sources, projectcalico/calico: `felix/dataplane/linux/`
`vxlan_mgr.go` (device, route), `route_manager.go` (KeepDeviceInSync, configureTunnelDevice) and `int_dataplane.go`
(determinePodMTU, writeMTUFile).
"""

import hashlib
import logging
from collections.abc import Mapping

import msgspec

from kubemtu.core.objects import Object
from kubemtu.node.errors import Refused
from kubemtu.node.kernel import links
from kubemtu_lab import daemons
from kubemtu_lab.rtnl import Rtnl

log = logging.getLogger(__name__)
DEVICE, VNI, PORT = "vxlan.calico", 4096, 4789
SYNC_SECONDS = 10.0
ADDRESS = "projectcalico.org/IPv4Address"
TUNNEL_ADDRESS = "projectcalico.org/IPv4VXLANTunnelAddr"


class Felix(msgspec.Struct, kw_only=True):
    """Calico's agent on one node, once it has started; `mtu` is what it gives the device and the routes through it."""

    mtu: int
    annotations: dict[str, str]
    peers: dict[str, tuple[str, str, str, int]]  # of the other nodes: pods' network, VTEP, underlay address, MTU

    def learn(self, rtnl: Rtnl, node: Object) -> bool:
        """Program the way to another node's pods. False: nothing new."""
        notes = node.mapping("metadata", "annotations")
        way, remote, network = notes.get(TUNNEL_ADDRESS), notes.get(ADDRESS), node.text("spec", "podCIDR")
        if not (isinstance(way, str) and isinstance(remote, str) and network):
            return False
        outer = remote.partition("/")[0]
        if self.peers.get(node.name) == (network, way, outer, self.mtu):
            return False
        rtnl.add_neighbour(DEVICE, way, _mac(node.name))
        rtnl.add_forwarding(DEVICE, _mac(node.name), outer)
        rtnl.add_route(network, DEVICE, via=way, onlink=True, mtu=self.mtu)
        self.peers[node.name] = (network, way, outer, self.mtu)
        return True

    def forget(self, rtnl: Rtnl, node: str) -> None:
        """Take the route to a removed node's pods away."""
        if peer := self.peers.pop(node, None):
            rtnl.delete_route(peer[0])

    def keep(self, rtnl: Rtnl) -> None:
        """Give the device its MTU where it has another; what the kernel refuses is logged, as Felix does."""
        device = rtnl.find(DEVICE)
        if device is None or device.mtu == self.mtu:
            return
        try:
            rtnl.set_mtu(DEVICE, self.mtu)
        except Refused as refusal:
            log.warning("Failed to set vxlan tunnel device MTU: %s", refusal)


def start(rtnl: Rtnl, node: Object, env: Mapping[str, str], addresses: Mapping[str, list[str]]) -> Felix:
    """Write the file for the plugin, make sure of vxlan.calico and of its size. Raises ContainerFailed."""
    host = daemons.detected_mtu(links.devices(rtnl))
    mtu = int(env.get("FELIX_VXLANMTU") or 0) or host - daemons.VXLAN_HEADERS
    daemons.write_mtu_file(mtu)
    index = rtnl.default_device()
    nic = next((each for each in links.devices(rtnl) if each.index == index), None)
    outer = next((each for each in addresses.get(nic.name, []) if ":" not in each), None) if nic is not None else None
    if nic is None or outer is None:
        raise daemons.ContainerFailed("Unable to auto-detect an IPv4 address: no valid IPv4 addresses found")
    present = rtnl.find(DEVICE)
    if present is not None and (present.vxlan is None or present.vxlan[:3] != (VNI, PORT, nic.index)):
        rtnl.delete_link(DEVICE)
        present = None
    if present is None:
        rtnl.add_vxlan(DEVICE, vni=VNI, port=PORT, lower=nic.index, local=outer, mtu=None, mac=_mac(node.name))
    way = (node.text("spec", "podCIDR") or "").partition("/")[0]
    rtnl.add_address(DEVICE, f"{way}/32")
    felix = Felix(mtu=mtu, annotations={ADDRESS: f"{outer}/24", TUNNEL_ADDRESS: way}, peers={})
    felix.keep(rtnl)
    return felix


def _mac(node: str) -> str:
    """Return the address of a node's end of the tunnel, which all nodes make of its name."""
    return f"66:{hashlib.sha1(node.encode(), usedforsecurity=False).digest()[:5].hex(':')}"

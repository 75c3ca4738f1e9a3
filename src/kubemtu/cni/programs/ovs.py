"""What the pod networks on Open vSwitch have in common: how their ports look on a node, and which families they use.

The host end of each pod is a port of the switch, so that its master is the datapath's own device, whatever it is
called (net/openvswitch/vport-netdev.c: netdev_master_upper_dev_link). The switch's tunnel devices (genev_sys_6081,
vxlan_sys_4789) have 65000 and limit nothing (openvswitch/ovs: lib/dpif-netlink-rtnl.c).
"""

from collections.abc import Iterable

from kubemtu.core import encap, net, networks
from kubemtu.core.cluster import pools
from kubemtu.core.encap import Encapsulation
from kubemtu.core.snapshot import Snapshot

DATAPATH = "ovs-system"  # openvswitch/ovs: lib/dpif.c, the datapath that ovs-vswitchd makes for the type "system"
PORTS = net.PortRule(bridge=DATAPATH)
NIC = 1500  # bytes; what ESP aligns differs by 3 at most with the NIC


def families(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the families by which nodes reach each other, as their addresses say; IPv4 where none is known."""
    addresses = (address for node in snapshot.each("Node") for address in pools.addresses(node))
    found = {f"ipv{networks.family(address)}" for address in addresses}
    return tuple(sorted(found)) or ("ipv4",)


def has_ipv6(snapshot: Snapshot) -> bool:
    """Return True when nodes have a range of IPv6 addresses for pods."""
    return any(":" in str(node.get("spec", key) or "") for node in snapshot.each("Node") for key in _CIDRS)


_CIDRS = ("podCIDRs", "podCIDR")


def taken(encapsulations: Iterable[Encapsulation]) -> int:
    """Return the bytes that the costliest of the encapsulations takes off a NIC, alignment included."""
    return max((NIC - one.inner(NIC) for one in encapsulations), default=0)


def over(name: str, families: Iterable[str]) -> tuple[Encapsulation, ...]:
    """Return an encapsulation over each of the families."""
    return tuple(encap.parse(name, outer=family) for family in families)

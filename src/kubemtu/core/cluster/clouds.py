"""What clouds document of the paths between their machines, and of the way out: a table, and which cloud a node is in.

A documented number is no measurement: it says what was promised, or what will be cut, and an operator of a network may
have said otherwise. Who uses it says whose word it is. Each source is the title of a page of the provider's own
documentation and its path there; where a provider documents nothing, no number stands here.
"""

import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from kubemtu.core import errors, net
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """The largest packet that a cloud documents for one way, in bytes of the IP packet."""

    cloud: str
    mtu: int
    where: str  # which way, as "through an internet gateway"
    source: str  # title of the page, and its path

    def __str__(self) -> str:
        return f"{self.cloud} documents {self.mtu} {self.where} ({self.source})"


class Cloud(msgspec.Struct, frozen=True, kw_only=True):
    """One provider: `usual` is what its NICs have unless somebody changed it, in bytes; None: no single number."""

    name: str
    usual: int | None = None
    inside: Limit | None = None  # from NIC to NIC
    private: Limit | None = None  # the same between private addresses, where that is another network
    tagged: Limit | None = None  # the same on a VLAN of the provider's
    cuts: Limit | None = None  # what is larger goes in fragments, although the NICs take it whole
    outside: Limit | None = None  # towards the internet
    others: tuple[Limit, ...] = ()  # further ways out of a network

    def carries(self, uplink: net.Uplink, link: net.Link | None) -> Limit | None:
        """Return what is documented for the way that an uplink leads, None for none; a tunnel's is not the cloud's."""
        kind = link.kind if link is not None else ""
        if kind in net.TUNNEL_KINDS:
            return None
        if kind == "vlan" and self.tagged is not None:
            return self.tagged
        if self.private is not None and _private(uplink.source or uplink.peer):
            return self.private
        return self.inside


def _aws() -> Cloud:
    page = "Network MTU for your EC2 instance, AWSEC2/latest/UserGuide/network_mtu"
    transit = "What is AWS Transit Gateway for Amazon VPC, vpc/latest/tgw/what-is-transit-gateway"
    nat = "NAT gateway basics, vpc/latest/userguide/nat-gateway-basics"
    return Cloud(
        name="AWS",
        usual=9001,
        inside=Limit(cloud="AWS", mtu=9001, where="inside a VPC", source=page),
        outside=Limit(cloud="AWS", mtu=1500, where="through an internet gateway", source=page),
        others=(
            Limit(cloud="AWS", mtu=1500, where="through a VPN", source=page),
            Limit(cloud="AWS", mtu=8500, where="through a VPC peering of two Regions", source=page),
            Limit(cloud="AWS", mtu=8500, where="through a transit gateway", source=transit),
            Limit(cloud="AWS", mtu=8500, where="through a NAT gateway", source=nat),
        ),
    )


def _google() -> Cloud:
    page = "Maximum transmission unit, vpc/docs/mtu"
    api = "Network.mtu of the Compute Engine API, compute/docs/reference/rest/v1/networks"
    return Cloud(
        name="Google Cloud",
        usual=1460,
        inside=Limit(cloud="Google Cloud", mtu=8896, where="inside a VPC network at most", source=page),
        outside=Limit(cloud="Google Cloud", mtu=1500, where="towards the internet at most", source=api),
    )


def _azure() -> Cloud:
    sizes = "Configure MTU for virtual machines in Azure, virtual-network/how-to-virtual-machine-mtu"
    tuning = "TCP/IP performance tuning for Azure VMs, virtual-network/virtual-network-tcpip-performance-tuning"
    return Cloud(
        name="Azure",
        usual=1500,
        inside=Limit(cloud="Azure", mtu=9000, where="inside a virtual network at most", source=sizes),
        cuts=Limit(cloud="Azure", mtu=1400, where="before its network cuts packets", source=tuning),
        outside=Limit(cloud="Azure", mtu=1500, where="through gateways, peerings and to the internet", source=sizes),
    )


def _hetzner() -> Cloud:
    page = "Architecture, cloud/networks/technical-concepts/architecture"
    return Cloud(
        name="Hetzner Cloud",
        private=Limit(cloud="Hetzner Cloud", mtu=1450, where="in a private network", source=page),
        inside=Limit(cloud="Hetzner Cloud", mtu=1500, where="between public addresses", source=page),
        outside=Limit(cloud="Hetzner Cloud", mtu=1500, where="towards the internet", source=page),
    )


def _hetzner_dedicated() -> Cloud:
    page = "vSwitch, robot/dedicated-server/network/vswitch"
    return Cloud(
        name="Hetzner",
        tagged=Limit(cloud="Hetzner", mtu=1400, where="on the VLAN of a vSwitch", source=page),
    )


def _oracle() -> Cloud:
    page = "Hanging Connection, iaas/Content/Network/Troubleshoot/connectionhang"
    return Cloud(
        name="Oracle Cloud",
        usual=9000,
        inside=Limit(cloud="Oracle Cloud", mtu=9000, where="inside a VCN", source=page),
        outside=Limit(cloud="Oracle Cloud", mtu=1500, where="towards the internet", source=page),
    )


def _alibaba() -> Cloud:
    page = "Jumbo Frames, ecs/user-guide/jumbo-frame"
    return Cloud(
        name="Alibaba Cloud",
        inside=Limit(cloud="Alibaba Cloud", mtu=8500, where="inside a VPC at most", source=page),
    )


AWS, GOOGLE, AZURE, HETZNER, HETZNER_DEDICATED = _aws(), _google(), _azure(), _hetzner(), _hetzner_dedicated()
ORACLE, ALIBABA = _oracle(), _alibaba()
# Networks of OpenStack have what Neutron leaves of global_physnet_mtu after its encapsulation, which is the operator's
# to say (MTU considerations, neutron/latest/admin/config-mtu); of DigitalOcean no number is documented.
OPENSTACK, DIGITALOCEAN = Cloud(name="OpenStack"), Cloud(name="DigitalOcean")

SCHEMES: Mapping[str, Cloud] = {
    "aws": AWS,
    "gce": GOOGLE,
    "azure": AZURE,
    "hcloud": HETZNER,
    "hrobot": HETZNER_DEDICATED,
    "openstack": OPENSTACK,
    "digitalocean": DIGITALOCEAN,
    "oci": ORACLE,
    "alicloud": ALIBABA,
}
"""Clouds by the scheme that their cloud controllers begin Node.spec.providerID with."""
PREFIXES: Mapping[str, Cloud] = {
    "hcloud://bm-": HETZNER_DEDICATED,  # an older form (hetznercloud/hcloud-cloud-controller-manager: providerid.go)
    "ocid1.": ORACLE,  # without a scheme (oracle/oci-cloud-controller-manager: pkg/cloudprovider/providers/oci)
}
LABELS: Mapping[str, Cloud] = {
    "eks.amazonaws.com/": AWS,
    "cloud.google.com/gke-": GOOGLE,
    "kubernetes.azure.com/": AZURE,
}
"""Clouds by how labels begin that their managed clusters give a Node: where providerID was not read."""


def cloud(node: Object) -> Cloud | None:
    """Return the cloud that a Node is in, None where neither its providerID nor a label says one."""
    try:
        provider = node.text("spec", "providerID") or ""
        labels = node.mapping("metadata", "labels")
    except errors.Malformed:
        return None
    for prefix, found in PREFIXES.items():
        if provider.startswith(prefix):
            return found
    scheme, colon, _ = provider.partition("://")
    if colon:
        return SCHEMES.get(scheme)
    return next((found for prefix, found in LABELS.items() if any(key.startswith(prefix) for key in labels)), None)


def of(snapshot: Snapshot) -> dict[str, Cloud]:
    """Return the clouds of the nodes of a snapshot by the nodes' names; nodes of which none is known are left out."""
    placed = ((node.name, cloud(node)) for node in snapshot.each("Node"))
    return {name: found for name, found in placed if found is not None}


def outside(clouds: Iterable[Cloud | None]) -> Limit | None:
    """Return the least that is documented for the way out of these clouds; None where none of them documents any.

    It is what their gateways carry: a NIC that has less still decides. `str` of it is a sentence with its source.
    """
    known = [found.outside for found in clouds if found is not None and found.outside is not None]
    return min(known, key=lambda limit: limit.mtu, default=None)


def _private(address: str) -> bool:
    try:
        return bool(address) and ipaddress.ip_address(address).is_private
    except ValueError:
        return False

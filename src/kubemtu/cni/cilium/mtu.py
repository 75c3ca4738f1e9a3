"""What Cilium takes off its base MTU, which differs by version, and what goes around a packet.

The base MTU is the underlay's: Cilium gives it to the devices of pods, and base less this to their default route
(cilium/cilium: pkg/mtu/mtu.go, pkg/mtu/endpoint_updater.go). Read in v1.6 to v1.19; pull requests name what changed.
"""

import msgspec

from kubemtu.core import encap
from kubemtu.core.encap import Encapsulation
from kubemtu.core.headers import IPV4, IPV6, Header

# pkg/mtu/mtu.go: TunnelOverheadIPv4, TunnelOverheadIPv6, EncryptionIPsecOverhead, WireguardOverhead, IPIPv6Overhead.
TUNNEL, TUNNEL_OVER_IPV6, IPSEC, WIREGUARD, PADDED, IPIP_OVER_IPV6 = 50, 70, 77, 80, 95, 48
PADDED_SINCE = (1, 19, 5)  # cilium/cilium#45940: 15 bytes more, for WireGuard's padding
TUNNELLED_SINCE = (1, 15, 0)  # cilium/cilium#29000: WireGuard carries the tunnel's packets, no longer the pods' own
OPTIONAL_SINCE = (1, 14, 0)  # in 1.14 by the key wireguard-encapsulate
BOTH_COUNTED_SINCE = (1, 14, 7)  # cilium/cilium#30329
MODES_SINCE = (1, 14, 0)  # routing-mode and tunnel-protocol; before it the key tunnel (cilium/cilium#24561)
TUNNEL_KEY_UNTIL = (1, 15, 0)
FOLLOWS_SINCE = (1, 17, 0)  # cilium/cilium#34314: the agent gives running pods a new MTU by itself
# cilium/cilium#45799: no longer the veths of other networks, too; in v1.18 by #46085, in v1.19 by #46028 (their release
# notes), and never in v1.17.
OWN_ONLY_SINCE = ((1, 18, 11), (1, 19, 5))

# Nothing bounds the padding: packets come to cilium_wg0 past its routes (cilium/cilium#23917).
PADDING = Header("WireGuard padding", 15, "drivers/net/wireguard/send.c calculate_skb_padding")

Version = tuple[int, int, int]


def resizes_others(version: Version) -> bool:
    """Say whether agents of a version give every veth of a running pod their MTU, those of other networks as well."""
    mended = any(each <= version and each[:2] == version[:2] for each in OWN_ONLY_SINCE)
    return version >= FOLLOWS_SINCE and not mended and version[:2] <= OWN_ONLY_SINCE[-1][:2]


class Mode(msgspec.Struct, frozen=True, kw_only=True):
    """How pods' packets go from node to node. `version` None: not known, and read as the newest."""

    version: Version | None = None
    tunnel: str = ""  # "vxlan" or "geneve"; empty: none
    egress: bool = False  # only what goes to an egress gateway takes the tunnel
    over_ipv6: bool = False  # the tunnel's own packets are IPv6
    ipv6_nodes: bool = False  # nodes reach each other by IPv6 alone
    wireguard: bool = False
    encapsulate: bool = False  # wireguard-encapsulate of 1.14
    ipsec: bool = False
    padded: bool | None = None  # whether 95 is what nodes show for WireGuard; None: none was seen

    @property
    def subtracts(self) -> int:
        """The bytes that Cilium takes off its base MTU, right or not."""
        tunnel = (TUNNEL_OVER_IPV6 if self.over_ipv6 else TUNNEL) if self.tunnel else 0
        if not self.wireguard:
            return tunnel + (IPSEC if self.ipsec else 0)
        counted = self._since(BOTH_COUNTED_SINCE) and self.tunnelled
        return (PADDED if self.counts_padding else WIREGUARD) + (tunnel if counted else 0)

    @property
    def tunnelled(self) -> bool:
        """True when WireGuard carries what the tunnel has made, and not the pods' packets themselves."""
        return self._since(TUNNELLED_SINCE) or (self._since(OPTIONAL_SINCE) and self.encapsulate)

    @property
    def counts_padding(self) -> bool:
        """True when WireGuard's padding is taken off as well."""
        return self.padded if self.padded is not None else self._since(PADDED_SINCE)

    @property
    def uncertain(self) -> bool:
        """True when it depends on a version that is not known what is taken off."""
        return self.version is None and self.wireguard and self.padded is None

    @property
    def encapsulation(self) -> tuple[Encapsulation, ...]:
        """What goes around a pod's packet; empty when nothing does."""
        tunnel = encap.parse(self.tunnel, outer="ipv6" if self.over_ipv6 else "ipv4") if self.tunnel else None
        outer = IPV6 if self.over_ipv6 or self.ipv6_nodes else IPV4
        if self.wireguard:
            plain = encap.wireguard(outer)
            padded = msgspec.structs.replace(plain, headers=(*plain.headers, PADDING), pad=1)
            return (encap.within(padded, tunnel) if tunnel is not None and self.tunnelled else padded,)
        if self.ipsec:  # before v1.18 the tunnel is around ESP, which costs the same
            encrypted = encap.esp_tunnel(outer)
            return (encap.within(encrypted, tunnel) if tunnel is not None else encrypted,)
        return (tunnel,) if tunnel is not None else ()

    @property
    def reserves(self) -> int:
        """The bytes that Cilium takes off beyond what the headers take."""
        return max(self.subtracts - max((one.cost for one in self.encapsulation), default=0), 0)

    @property
    def name(self) -> str:
        """The encapsulation as users say it."""
        tunnel = f"{self.tunnel} (egress gateway)" if self.tunnel and self.egress else self.tunnel
        parts = (tunnel, "wireguard" if self.wireguard else "", "ipsec" if self.ipsec and not self.wireguard else "")
        return " + ".join(filter(None, parts)) or "none"

    def _since(self, version: Version) -> bool:
        return self.version is None or self.version >= version


def stack_subtracts(layers: encap.Stack) -> int:
    """Return the bytes that the newest Cilium takes off for a stack of encapsulations."""
    taken = 0
    for layer in layers.layers:
        if layer.kind == "wireguard":
            taken += PADDED
        elif layer.kind == "ipip" and layer.over_ipv6:
            taken += IPIP_OVER_IPV6
        else:
            taken += layer.cost
    return taken

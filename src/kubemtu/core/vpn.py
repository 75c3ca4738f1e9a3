"""VPNs that run under the nodes: how a packet comes to their devices, and what they put around it.

A device counts as a node's way to others where routing says so, and not for being there. Two VPNs route by tables of
their own, which are not the main one:

- Tailscale's has the number 52, and is asked before the main one (tailscale/tailscale: util/linuxfw, wgengine/router:
  router_linux.go, rules 5210 to 5270); a `throw` in it leads back to the main one.
- KubeSpan's has the number 180 and is asked for packets that its firewall has marked: all to addresses of its peers,
  which are the other nodes (siderolabs/talos: pkg/machinery/constants, controllers/kubespan). A marked packet is
  routed anew, also where a tunnel bound it to another NIC, as siderolabs/talos#13457 shows of VXLAN.
"""

import ipaddress

from kubemtu.core import net

TAILSCALE_TABLE = "52"
KUBESPAN = "kubespan"  # siderolabs/talos: constants.KubeSpanLinkName
KUBESPAN_TABLE = "180"
KUBESPAN_MARKS = (0x40, 0x51821)  # constants.KubeSpanDefaultForceFirewallMark; the latter before Talos 1.3
TABLES = frozenset({TAILSCALE_TABLE, KUBESPAN_TABLE})
_ASSIGNED = (ipaddress.ip_network("100.64.0.0/10"), ipaddress.ip_network("fd7a:115c:a1e0::/48"))
"""Networks that Tailscale gives addresses from (tailscale/tailscale: net/tsaddr)."""

COST = 60
"""Bytes that WireGuard puts around a packet over IPv4: 20 + 8 + 16 + 16 (core.headers). Nebula's are as many: its
header has 16 and its tag 16 (slackhq/nebula: header/header.go)."""
IPV6_MORE = 20
_NAMED = {"tailscale": "Tailscale", "nebula": "Nebula", "wt": "NetBird"}  # their devices are tun, or WireGuard's own


def table(named: object) -> str | None:
    """Return "" for the name or number of the main table, the number of a VPN's own; None for any other table.

    `named` is what a tool printed.
    """
    if named in ("main", "254", 254):  # no sets: what is asked for in them may be a list
        return ""
    return str(named) if isinstance(named, str | int) and str(named) in TABLES else None


def called(link: net.Link) -> str:
    """Return the VPN that a device belongs to and whose headers are known; empty for any other device."""
    if link.name == KUBESPAN:
        return "KubeSpan"
    if link.kind == "wireguard":
        return "WireGuard"
    return _NAMED.get(link.name.rstrip("0123456789"), "") if link.kind == "tun" else ""


def is_kubespan(link: net.Link) -> bool:
    """Say whether a device is KubeSpan's, and up."""
    return link.name == KUBESPAN and link.kind in {"wireguard", "tun", ""} and link.up


def of_tailscale(address: str) -> bool:
    """Say whether an address is one that Tailscale gives its machines."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in _ASSIGNED)

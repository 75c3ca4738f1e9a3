"""Which addresses things have in a lab, by IP family: nodes on the underlay, pods, the Service of the API.

A scene has one family or both, the first of them first everywhere, as the ranges of a cluster are listed.
"""

import socket
from collections.abc import Sequence
from typing import Final, Literal

Family = Literal[4, 6]
Families = tuple[Family, ...]
IPV4: Final[Families] = (4,)
IPV6: Final[Families] = (6,)
DUAL: Final[Families] = (4, 6)
NAMES: Final[dict[Family, str]] = {4: "IPv4", 6: "IPv6"}  # as the API writes them
POD_NETWORKS: Final[dict[Family, str]] = {4: "10.244.0.0/16", 6: "fd00:10:244::/48"}
SERVICE: Final[dict[Family, str]] = {4: "10.43.0.1", 6: "fd00:10:43::1"}
"""Of the Service default/kubernetes: the first of the service network."""
ANYWHERE: Final[dict[Family, str]] = {4: "0.0.0.0/0", 6: "::/0"}
_PREFIXES: Final[dict[Family, int]] = {4: 24, 6: 64}


def node(place: int, families: Sequence[Family], nic: int = 0) -> list[str]:
    """Return the underlay addresses of a node, by its place in the scene (from 1) and its NIC (from 0)."""
    return [_host(place, family, nic) for family in families]


def gateway(family: Family, nic: int = 0) -> str:
    """Return the way to the rest of the world: the last address of the NICs' network."""
    return f"192.168.{77 + nic}.254" if family == 4 else f"fd00:{77 + nic}::ffff"


def on_link(address: str) -> str:
    """Return an address of the underlay with the length of its network's prefix."""
    return f"{address}/{_PREFIXES[family(address)]}"


def pod_networks(place: int, families: Sequence[Family]) -> tuple[str, ...]:
    """Return the pods' networks of a node, one for each family."""
    return tuple(f"10.244.{place}.0/24" if each == 4 else f"fd00:10:244:{place:x}::/64" for each in families)


def family(address: str) -> Family:
    """Return the family of an address or a network, by its looks."""
    return 6 if ":" in address else 4


def of_family(found: Sequence[str], wanted: Family) -> str | None:
    """Return the first address or network of a family, None where there is none."""
    return next((each for each in found if family(each) == wanted), None)


def host_port(address: str, port: int) -> str:
    """Return address and port as URLs have them: IPv6 in brackets (RFC 3986, section 3.2.2)."""
    return f"[{address}]:{port}" if family(address) == 6 else f"{address}:{port}"


def kind(address: str) -> socket.AddressFamily:
    """Return what a socket needs to reach an address."""
    return socket.AF_INET6 if family(address) == 6 else socket.AF_INET


def listen(port: int, families: Sequence[Family]) -> socket.socket:
    """Return a socket that listens on all addresses of these families, in this thread's network namespace.

    Raises OSError.
    """
    if 6 in families:
        return socket.create_server(("::", port), family=socket.AF_INET6, backlog=256, dualstack_ipv6=4 in families)
    return socket.create_server(("0.0.0.0", port), backlog=256)  # noqa: S104  # all there is of that namespace


def _host(place: int, family: Family, nic: int) -> str:
    return f"192.168.{77 + nic}.{place}" if family == 4 else f"fd00:{77 + nic}::{place:x}"

"""Addresses and networks as texts: of which family they are, how far they lead, and how all spell them."""

import ipaddress
from collections.abc import Iterable
from typing import Literal, TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
EVERYTHING: dict[int, Network] = {4: ipaddress.ip_network("0.0.0.0/0"), 6: ipaddress.ip_network("::/0")}
"""What a default route leads to, by family."""
ANYWHERE = frozenset({"default", *map(str, EVERYTHING.values())})
"""How the destination of a default route is written."""
_LINK_ONLY = ("fe8", "fe9", "fea", "feb", "ff")  # fe80::/10 and ff00::/8: RFC 4291, sections 2.5.6 and 2.7


def family(text: str) -> Literal[4, 6]:
    """Return the family of a numeric address, or of a network."""
    return 6 if ":" in text else 4


def beyond_link(text: str) -> bool:
    """Say whether an address, or the destination of a route, is of more than one link: of IPv6 some are not."""
    head, colon, _ = text.lower().partition(":")
    return not colon or len(head) != 4 or not head.startswith(_LINK_ONLY)


def has_ipv6(addresses: Iterable[str]) -> bool:
    """Say whether one of the addresses is an IPv6 address of more than its link."""
    return any(family(address) == 6 and beyond_link(address) for address in addresses)


def is_somebody(text: str) -> bool:
    """Say whether a text is the address of somebody: 0.0.0.0 and :: are nobody's (RFC 1122 3.2.1.3, RFC 4291 2.5.2)."""
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False


def canonical(text: str) -> str:
    """Return a network, or one address with its length, as the kernel writes it; empty for what is neither."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        return ""


def within(network: Network, around: Iterable[Network]) -> bool:
    """Say whether a network is one of these, or a part of one; none is of the other family's."""
    return any(network.version == one.version and network.subnet_of(one) for one in around)  # type: ignore[arg-type]  # alike


def parsed(destination: str, of_family: int) -> Network | None:
    """Return the destination of a route as a network, a default route's by its family; None for what is none."""
    if destination == "default":
        return EVERYTHING[of_family]
    try:
        return ipaddress.ip_network(destination, strict=False)
    except ValueError:
        return None

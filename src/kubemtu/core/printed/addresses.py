"""Addresses and routes out of what was printed: families and prefix lengths that tools leave out are put in."""

import ipaddress
from collections.abc import Iterable, Sequence

import msgspec

from kubemtu.core import net, networks
from kubemtu.core.printed import values
from kubemtu.core.printed.values import Address, Remarks

UNSPECIFIED = "0.0.0.0"  # noqa: S104  # the destination of a default route, nothing is bound to it
ANYWHERE = networks.ANYWHERE | {"0/0"}


class PrintedRoute(msgspec.Struct, frozen=True, kw_only=True):
    """One route as it was printed; `destination` is "default", or an address with or without a prefix length."""

    destination: str
    devices: tuple[str, ...]
    gateway: str | None = None
    of_ipv6: bool = False  # it holds what only routes of IPv6 hold
    hints: tuple[str, ...] = ()  # addresses in it that are of its own family: `via inet6` may stand in one of IPv4
    mtu: int | None = None
    locked: bool = False
    advmss: int | None = None
    table: str = ""  # of a VPN (core.vpn.TABLES), where it is not the main one; a `throw` in it has the device ""
    line: int | None = None


class PrintedRoutes:
    """Routes by their tables: of the main one, and of those of VPNs."""

    def __init__(self) -> None:
        self.main: list[net.Route] = []
        self.vpn: dict[str, list[net.Route]] = {}

    def of(self, table: str) -> list[net.Route]:
        """Return those of a table; empty is the main one."""
        return self.vpn.setdefault(table, []) if table else self.main


def address(device: object, text: object, length: int | None) -> Address | None:
    """Return an address of a link, None for what is none. Without a length it is the address alone."""
    if not isinstance(device, str) or not values.is_name(device) or not isinstance(text, str):
        return None
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    whole = found.max_prefixlen
    return Address(
        device=device, text=str(found), length=length if length is not None and 0 <= length <= whole else whole
    )


def routes(printed: Iterable[PrintedRoute], remarks: Remarks) -> PrintedRoutes:
    """Return the routes, one for each device of each; the family of `default` is told by its gateway or neighbours."""
    listed = list(printed)
    families = _families(listed)
    tables = PrintedRoutes()
    for each, family in zip(listed, families, strict=True):
        to = _destination(each.destination, family)
        if to is None or not each.devices:
            what = "has no device" if to is not None else "is none that ip prints"
            remarks.add(f"the route to {values.quoted(each.destination)} {what}", each.line)
            continue
        tables.of(each.table).extend(
            net.Route(
                family=family,
                destination=to,
                device=device,
                gateway=each.gateway,
                mtu=each.mtu,
                locked=each.locked,
                advmss=each.advmss,
            )
            for device in each.devices
        )
    return tables


def _families(listed: Sequence[PrintedRoute]) -> list[int]:
    """Return 4 or 6 for each; where a route does not tell, the one before it does, or else the first that does."""
    own = [_family(each) for each in listed]
    last = next((family for family in own if family is not None), 4)
    filled = []
    for family in own:
        last = family or last
        filled.append(last)
    return filled


def _family(route: PrintedRoute) -> int | None:
    if route.destination not in ANYWHERE:
        return networks.family(route.destination)
    if route.of_ipv6 or route.destination == "::/0":
        return 6
    hint = next(filter(None, route.hints), None)
    return None if hint is None else networks.family(hint)


def _destination(text: str, family: int) -> str | None:
    """Return a destination as the kernel's own would be written: "default", or a prefix with its length."""
    if text in ANYWHERE:
        return "default"
    prefix, slash, length = text.partition("/")
    try:
        found = ipaddress.ip_address(UNSPECIFIED if prefix == "0" and family == 4 else prefix)
    except ValueError:
        return None
    bits = length if slash else str(found.max_prefixlen)
    if not (bits.isascii() and bits.isdecimal() and len(bits) < 4 and int(bits) <= found.max_prefixlen):
        return None
    return f"{found}/{int(bits)}"

"""Routes and addresses out of /proc/net: each line is the path of a file and a line that it holds, as `grep -H` prints.

    /proc/net/route:eth0\t00000000\t014DA8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0

Sources: net/ipv4/fib_trie.c (fib_route_seq_show: the main table, numbers in the byte order of the machine),
net/ipv6/route.c (ipv6_route_native_seq_show), net/ipv6/addrconf.c (if6_seq_show). None shows the MTU of a route, or
whether it is locked.
"""

import ipaddress
import re
from collections.abc import Callable

from kubemtu.core.printed import addresses, values
from kubemtu.core.printed.addresses import PrintedRoute
from kubemtu.core.printed.values import Address, Output, Remarks
from kubemtu.core.text import digits

FILES = ("/proc/net/route", "/proc/net/ipv6_route", "/proc/net/if_inet6")
LINE = re.compile(r"/proc/net/(route|ipv6_route|if_inet6):(.*)")
LINES_MOST = 1_000_000
UP, GATEWAY, REJECT = 0x1, 0x2, 0x200  # include/uapi/linux/route.h
ANYCAST, CACHE, LOCAL = 0x00100000, 0x01000000, 0x80000000  # include/uapi/linux/ipv6_route.h
MSS_BELOW = 40  # bytes: the column MTU of /proc/net/route is the route's advmss and 40


def parse(text: str, *, big_endian: bool = False) -> Output:
    """Read the lines of the three files, in any order. What is no such line is a remark; nothing is raised.

    `big_endian`: the byte order of the node's processor (s390x; all others that run Kubernetes are little-endian).
    """
    remarks = Remarks()
    routes: list[PrintedRoute] = []
    held: list[Address] = []
    for number, line in enumerate(text.split("\n"), 1):
        if number > LINES_MOST:
            remarks.add(f"more than {LINES_MOST} lines: the rest was left out", number)
            break
        found = LINE.fullmatch(line)
        if found is None:
            if line.strip():
                remarks.add(f"is no line of /proc/net: {values.quoted(line)}", number)
            continue
        cells = found[2].split()
        if not cells or cells[0] == "Iface":
            continue
        taken = _READERS[found[1]](cells, big_endian)
        if isinstance(taken, PrintedRoute):
            routes.append(taken)
        elif isinstance(taken, Address):
            held.append(taken)
        elif taken is None:
            remarks.add(f"is no line of /proc/net/{found[1]}: {values.quoted(found[2])}", number)
    if routes:
        remarks.lacks |= {"route MTUs", "route locks"}
    return values.output((), routes=addresses.routes(routes, remarks).main, addresses=held, remarks=remarks)


Taken = PrintedRoute | Address | bool | None  # False: a line that is not wanted, None: one that is none


def _ipv4(cells: list[str], big_endian: bool) -> Taken:
    if len(cells) < 11 or not values.is_name(cells[0]):
        return None
    to, gateway, flags, mask = (_hexadecimal(cells[place], 8) for place in (1, 2, 3, 7))
    if to is None or gateway is None or flags is None or mask is None:
        return None
    if not flags & UP or flags & REJECT:
        return False
    network, bits = _address4(to, big_endian), _address4(mask, big_endian)
    try:
        destination = ipaddress.ip_network(f"{network}/{bits}", strict=False)
    except ValueError:
        return None
    size = digits.number(cells[8])
    return PrintedRoute(
        destination=str(destination) if destination.prefixlen or int(destination.network_address) else "default",
        devices=(cells[0],),
        gateway=str(_address4(gateway, big_endian)) if flags & GATEWAY else None,
        hints=("0.0.0.0",),  # noqa: S104  # of IPv4, whatever it says
        advmss=size - MSS_BELOW if size is not None and size > MSS_BELOW else None,
    )


def _ipv6(cells: list[str], _big_endian: bool) -> Taken:
    if len(cells) < 10 or not values.is_name(cells[9]):
        return None
    to, length = _hexadecimal(cells[0], 32), _hexadecimal(cells[1], 2)
    gateway, flags = _hexadecimal(cells[4], 32), _hexadecimal(cells[8], 8)
    if to is None or length is None or gateway is None or flags is None or length > 128:
        return None
    if not flags & UP or flags & (REJECT | ANYCAST | CACHE | LOCAL) or cells[9] == "lo" or to >> 120 == 0xFF:
        return False
    address = ipaddress.IPv6Address(to)
    return PrintedRoute(
        destination=f"{address}/{length}" if length else "default",
        devices=(cells[9],),
        gateway=str(ipaddress.IPv6Address(gateway)) if flags & GATEWAY else None,
        of_ipv6=True,
    )


def _of_link(cells: list[str], _big_endian: bool) -> Taken:
    if len(cells) < 6:
        return None
    number, length = _hexadecimal(cells[0], 32), _hexadecimal(cells[2], 2)
    if number is None or length is None:
        return None
    return addresses.address(cells[5], str(ipaddress.IPv6Address(number)), length)


_READERS: dict[str, Callable[[list[str], bool], Taken]] = {"route": _ipv4, "ipv6_route": _ipv6, "if_inet6": _of_link}


def _address4(number: int, big_endian: bool) -> ipaddress.IPv4Address:
    """Return the address whose bytes stand in memory as that number is printed."""
    return ipaddress.IPv4Address(number.to_bytes(4, "big" if big_endian else "little"))


def _hexadecimal(text: str, longest: int) -> int | None:
    return int(text, 16) if re.fullmatch(rf"[0-9a-fA-F]{{1,{longest}}}", text) else None

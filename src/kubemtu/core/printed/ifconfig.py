"""Text of `ifconfig` as values: net-tools 1.60 and busybox (`MTU:1500  Metric:1`), net-tools 2.x (`mtu 1500`).

It shows neither index, kind, master nor other end of a device, and without -a none that is down (lib/interface.c).
"""

import ipaddress
import re
from collections.abc import Iterable

from kubemtu.core.printed import addresses, values
from kubemtu.core.printed.values import Address, PrintedLink, Remarks
from kubemtu.core.text import digits

NEW = re.compile(r"(\S+): flags=[0-9]+(?:<([^>]*)>)?\s+mtu (\S+)")
OLD = re.compile(r"(\S+)\s+Link encap:(.*)")
OLD_MTU = re.compile(r"\sMTU:(\S+)")
INET = re.compile(r"\s+inet6?\s(?:[Aa]d+r\w*\s?:\s?)?([0-9a-fA-F.:]+)(?:/([0-9]{1,3}))?(.*)")
MASK = re.compile(r"(?:netmask |Mask:)(\S+)|prefixlen ([0-9]{1,3})")
TITLE = re.compile(r"\(([^()]*)\)\s*$")  # of the type, behind txqueuelen
TYPES = {"Ethernet": "ether", "IPIP Tunnel": "ipip", "IPv6-in-IPv4": "sit", "Local Loopback": "loopback"}


def links(lines: Iterable[tuple[int, str]], remarks: Remarks) -> tuple[list[PrintedLink], list[Address]]:
    """Read lines (number, text) of `ifconfig`; an alias (eth0:1) gives its addresses to its link."""
    found: list[PrintedLink] = []
    held: list[Address] = []
    name, link_type = "", ""
    for number, line in lines:
        new, old = NEW.match(line), OLD.match(line)
        if new is not None:
            name = new[1].partition(":")[0]
            if ":" not in new[1]:
                _take(name, new[3], "UP" in (new[2] or "").split(","), number, found, remarks)
        elif old is not None:
            name = old[1].partition(":")[0]
            link_type = "" if ":" in old[1] else old[2].partition("  ")[0].strip() or "Ethernet"
        elif (size := OLD_MTU.search(line)) is not None:
            if link_type:
                _take(
                    name,
                    size[1],
                    "UP" in line[: size.start()].split(),
                    number,
                    found,
                    remarks,
                    TYPES.get(link_type, "none"),
                )
            link_type = ""
        elif (inet := INET.match(line)) is not None:
            length = digits.number(inet[2]) if inet[2] else _length(inet[3])
            if (address := addresses.address(name, inet[1], length)) is not None:
                held.append(address)
        elif (title := TITLE.search(line)) is not None and "txqueuelen" in line and found:
            found[-1] = _typed(found[-1], title[1])
        elif line.strip() and not line[:1].isspace():
            remarks.add(f"is not understood: {values.quoted(line)}", number)
    return found, held


def _take(
    name: str, size: str, up: bool, line: int, found: list[PrintedLink], remarks: Remarks, link_type: str = ""
) -> None:
    mtu = values.mtu(digits.number(size))
    if mtu is None or not values.is_name(name):
        what = "is no name of a link" if mtu is not None else f"has the MTU {values.quoted(size)}"
        remarks.add(f"{values.quoted(name)} {what}", line)
    elif len(found) < values.LINKS_MOST:
        found.append(PrintedLink(index=0, name=name, mtu=mtu, up=up, ends=False, link_type=link_type))


def _typed(link: PrintedLink, title: str) -> PrintedLink:
    return PrintedLink(
        index=0, name=link.name, mtu=link.mtu, up=link.up, ends=False, link_type=TYPES.get(title, "none")
    )


def _length(rest: str) -> int | None:
    """Return the prefix length that a mask says, as 255.255.255.0 or, on other systems, 0xffffff00."""
    said = MASK.search(rest)
    if said is None:
        return None
    if said[2]:
        return digits.number(said[2])
    mask = said[1]
    if re.fullmatch(r"0x[0-9a-fA-F]{8}", mask):
        mask = str(ipaddress.IPv4Address(int(mask, 16)))
    try:
        return ipaddress.ip_network(f"0.0.0.0/{mask}").prefixlen
    except ValueError:
        return None

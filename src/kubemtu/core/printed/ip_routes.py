"""Text of `ip route`, `ip -6 route` and `route -n` as values: iproute2 (ip/iproute.c), busybox, net-tools (inet_gr.c).

Only iproute2 shows MTUs of routes. Routes of other tables, and all that are not unicast, are left out, as by an agent.
"""

import ipaddress
import re
from collections.abc import Iterable

from kubemtu.core import vpn
from kubemtu.core.printed import addresses, values
from kubemtu.core.printed.addresses import PrintedRoute
from kubemtu.core.printed.values import Remarks
from kubemtu.core.text import digits

TYPES = frozenset(
    {"unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw", "nat"}
)
_TYPE = "|".join(sorted(TYPES))
TO = r"default|0/[0-9]{1,2}|(?=[0-9a-fA-F]*+[.:])[0-9a-fA-F.:]{2,45}+(?:/[0-9]{1,3})?"
HEAD = re.compile(rf"(?:Deleted )?(?:({_TYPE}) )?({TO})(?= |\s*$)(.*)")
NEXT_HOP = re.compile(r"\s+nexthop\s(.*)")
BEGINS = re.compile(rf"(?:(?:{_TYPE}) )?(?:{TO}) +(?:via|dev|proto|scope|metric|src|nhid|table|encap|tos|onlink)\b")
NEIGHBOUR = re.compile(r" lladdr | (?:REACHABLE|STALE|DELAY|PROBE|FAILED|INCOMPLETE|PERMANENT|NOARP)\s*$")
LOOKUP = re.compile(r"\s+cache\b")  # what `ip route get` prints below its answer
TABLE = re.compile(r"Kernel IP(v6)? routing table")


def routes(lines: Iterable[tuple[int, str]], remarks: Remarks) -> list[PrintedRoute]:
    """Read lines (number, text) of `ip route`; what is no such line becomes a remark."""
    found: list[PrintedRoute] = []
    pending: tuple[int, str, list[list[str]]] | None = None
    scoped = whole = False  # busybox prints scopes and neither protocols nor metrics
    for number, line in lines:
        head, hop = HEAD.match(line), NEXT_HOP.match(line)
        if head is not None:
            _close(pending, found)
            words = head[3].split()
            whole |= "mtu" in words or "proto" in words
            scoped |= "scope" in words
            if NEIGHBOUR.search(line):
                remarks.add("is a neighbour, no route: it was not used", number)
                pending = None
                continue
            table = vpn.table(_first(words, "table") or "main")
            thrown = head[1] == "throw" and bool(table)
            other = table is None or not (head[1] in {None, "unicast"} or thrown)
            pending = None if other else (number, head[2], [[*words, *(["dev", ""] if thrown else [])]])
        elif hop is not None:
            if pending is not None:
                pending[2].append(hop[1].split())
        elif LOOKUP.match(line):
            if pending is not None:
                remarks.add("is an answer of `ip route get`, which is no route: it was not used", pending[0])
            pending = None
        elif line.strip():
            remarks.add(f"is no route: {values.quoted(line)}", number)
    _close(pending, found)
    if scoped and not whole:
        remarks.lacks.add("route MTUs")
    return found


def _close(pending: tuple[int, str, list[list[str]]] | None, found: list[PrintedRoute]) -> None:
    if pending is None:
        return
    line, to, (words, *hops) = pending
    several = [device for hop in hops if values.is_name(device := _first(hop, "dev"))]
    gateway = _first(words, "via")
    other_family = gateway in {"inet", "inet6"}
    if other_family and gateway is not None:
        gateway = _first(words, gateway)
    locked, mtu = _number(words, "mtu")
    hints = (None if other_family else gateway, _first(words, "src"), *(_first(hop, "via") for hop in hops))
    devices = several or [_first(words, "dev")]
    table = vpn.table(_first(words, "table") or "main")
    found.append(
        PrintedRoute(
            destination=to,
            devices=tuple(each for each in devices if each is not None and (values.is_name(each) or not each)),
            gateway=gateway,
            of_ipv6="pref" in words,
            hints=tuple(hint for hint in hints if hint and (":" in hint or "." in hint)),
            mtu=values.mtu(mtu),
            locked=locked,
            advmss=_number(words, "advmss")[1],
            table=table or "",
            line=line,
        )
    )


def _first(words: list[str], key: str) -> str | None:
    """Return the word after the first one that is `key`."""
    place = words.index(key) + 1 if key in words else len(words)
    return words[place] if place < len(words) else None


def _number(words: list[str], key: str) -> tuple[bool, int | None]:
    """Return whether a metric is locked, and its number."""
    text = _first(words, key)
    locked = text == "lock"
    if locked:
        place = words.index(key) + 2
        text = words[place] if place < len(words) else None
    return locked, digits.number(text, 10) if text is not None else None


def table(lines: Iterable[tuple[int, str]], remarks: Remarks) -> list[PrintedRoute]:
    """Read lines (number, text) of `route -n` or `netstat -rn`, whose last column is the device."""
    found: list[PrintedRoute] = []
    of_ipv6 = False
    for number, line in lines:
        if (title := TABLE.match(line)) is not None:
            of_ipv6 = title[1] is not None
            continue
        cells = line.split()
        if len(cells) < 7 or cells[0] == "Destination" or "!" in cells[3 - of_ipv6]:  # ! is a route that rejects
            continue
        to, gateway = cells[0], cells[1]
        if not of_ipv6 and to != "default":
            to = f"{to}/{_length(cells[2])}"
        if cells[-1] == "*" or not values.is_name(cells[-1]) or (cells[-1] == "lo" and of_ipv6) or to.startswith("ff"):
            continue
        if to != "default" and addresses.address("lo", to.partition("/")[0], None) is None:
            remarks.add(f"{values.quoted(to)} is a name, not an address: `route -n` shows addresses", number)
            continue
        found.append(
            PrintedRoute(
                destination=to,
                devices=(cells[-1],),
                gateway=None if gateway in {addresses.UNSPECIFIED, "*", "::", "[::]"} else gateway,
                of_ipv6=of_ipv6,
                hints=() if of_ipv6 else (addresses.UNSPECIFIED,),
                line=number,
            )
        )
    if found:
        remarks.lacks.add("route MTUs")
    return found


def _length(mask: str) -> int:
    try:
        return ipaddress.ip_network(f"0.0.0.0/{mask}").prefixlen
    except ValueError:
        return 32

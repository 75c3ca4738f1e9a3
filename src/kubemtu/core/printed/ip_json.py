"""JSON of `ip -j [-d] link|addr|route` as values: iproute2 4.13 to 6.x (ip/ipaddress.c, iproute.c, iplink_vxlan.c).

What differs: `{}` between entries and in `addr_info` (4.x, what a filter left out), `ifname` null (4.14), routes whose
metrics have no names (4.17 to 5.2: `"metrics":[1400 ]`, no JSON where there are two), next hops as text in the middle
of JSON (4.17 to 5.0). No version prints that a route's MTU is locked.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from kubemtu.core import net, vpn
from kubemtu.core.printed import addresses, values
from kubemtu.core.printed.addresses import PrintedRoute
from kubemtu.core.printed.values import Address, Output, PrintedLink, Remarks

VALUES_MOST = 1_500_000  # commas, lists and, twice, mappings
BEGIN = re.compile(r"^[^\S\n]*(?=[\[{])", re.MULTILINE)
UNNAMED = re.compile(r'"metrics":\s*\[\s*\d[^\]{"]*\]')  # numbers alone
LINK_KEYS = frozenset({"ifindex", "ifname"})
ROUTE_KEYS = frozenset({"dst"})
FAMILIES = ("inet", "inet6")
OUTER_IPV6 = ("group6", "remote6", "local6")


def parse(text: str, *, line: int = 1) -> Output:
    """Read one output of `ip -j`, or several below each other; links, addresses and routes are told apart.

    `line` is the number of the first line. What is no such JSON becomes a remark with its line. Nothing is raised: an
    output may be empty.
    """
    remarks = Remarks()
    if "metrics" in text:
        text, changed = UNNAMED.subn('"metrics":null', text)
        if changed:
            remarks.lacks.add("route MTUs")
    links: list[PrintedLink] = []
    found: list[Address] = []
    routes: list[Mapping[str, object]] = []
    for number, entry in _entries(text, remarks, line):
        if "ifname" in entry or "ifindex" in entry:
            if "mtu" in entry and len(links) < values.LINKS_MOST:
                _take_link(entry, number, links, remarks)
            elif "mtu" not in entry:
                remarks.add(f"{values.quoted(entry.get('ifname'))} has no MTU in it: `ip -j -d link` shows it", number)
            found += _addresses(entry, number, remarks)
        elif "dst" in entry:
            routes.append(entry)
        elif entry:
            remarks.add(
                f"is no link, address or route of ip: it begins with {values.quoted(next(iter(entry)))}", number
            )
    led = _routes(routes, remarks)
    return values.output(links, routes=led.main, vpn_routes=led.vpn, addresses=found, remarks=remarks)


def looks_like(value: object) -> bool:
    """Say whether a JSON value is a list that `ip -j` prints."""
    if not isinstance(value, list):
        return False
    entries = [each for each in value if each]
    return bool(entries) and all(
        isinstance(each, dict) and "kind" not in each and (each.keys() >= LINK_KEYS or each.keys() >= ROUTE_KEYS)
        for each in entries
    )


def _entries(text: str, remarks: Remarks, first: int) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Yield each object of each list, with the line where its list begins. After what is no JSON nothing is tried."""
    if text.count(",") + text.count("[") + 2 * text.count("{") > VALUES_MOST:
        remarks.add(f"holds more than {VALUES_MOST} values")
        return
    decoder, place, line, counted = json.JSONDecoder(), 0, first, 0
    while (begin := BEGIN.search(text, place)) is not None:
        line, counted = line + text.count("\n", counted, begin.end()), begin.end()
        try:
            value, place = decoder.raw_decode(text, begin.end())
        except json.JSONDecodeError as why:
            hint = "; ip before 5.1 prints routes with several next hops so" if "nexthop" in text else ""
            remarks.add(f"is no JSON: {why.msg.lower()}{hint}: the rest was left out", first - 1 + why.lineno)
            return
        except (RecursionError, ValueError):
            remarks.add("nests too deep, or holds a number of too many digits: the rest was left out", line)
            return
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, dict):
                yield line, entry
            else:
                remarks.add(f"has {values.quoted(entry)} in it, which ip does not print", line)


def _take_link(entry: Mapping[str, object], line: int, links: list[PrintedLink], remarks: Remarks) -> None:
    name, index, mtu = entry.get("ifname"), _number(entry.get("ifindex")), values.mtu(entry.get("mtu"))
    if not isinstance(name, str) or not values.is_name(name):
        remarks.add(f"has a link with the name {values.quoted(name)}, which no link can have", line)
        return
    if index is None or mtu is None:
        what = "index" if index is None else "mtu"
        said = entry.get("ifindex" if index is None else "mtu")
        remarks.add(f"{name} has the {what} {values.quoted(said)}, which no link can have", line)
        return
    about = _mapping(entry.get("linkinfo"))
    kind = about.get("info_kind")
    detailed = "promiscuity" in entry or isinstance(kind, str)
    flags = entry.get("flags")
    master, parent = entry.get("master"), entry.get("link", entry.get("link_index"))
    links.append(
        PrintedLink(
            index=index,
            name=name,
            mtu=mtu,
            up="UP" in flags if isinstance(flags, list) else True,
            master=master if isinstance(master, str) else None,
            parent=parent if isinstance(parent, str) else _number(parent),
            netnsid=_number(entry.get("link_netnsid")),
            kind=(kind if isinstance(kind, str) else "") if detailed else None,
            link_type=_text(entry.get("link_type")),
            vxlan=_vxlan(_mapping(about.get("info_data"))) if kind == "vxlan" else None,
        )
    )


def _vxlan(data: Mapping[str, object]) -> net.Vxlan:
    lower, local = data.get("link"), _text(data.get("local"))
    return net.Vxlan(
        vni=_number(data.get("id")) or 0,
        port=_number(data.get("port")) or 4789,
        lower=lower if isinstance(lower, str) and values.is_name(lower) else None,
        ipv6_outer=any(key in data for key in OUTER_IPV6) or ":" in local,
    )


def _addresses(entry: Mapping[str, object], line: int, remarks: Remarks) -> Iterator[Address]:
    name, listed = entry.get("ifname"), entry.get("addr_info")
    for each in listed if isinstance(listed, list) else ():
        if not isinstance(each, dict) or not each:  # 4.x prints {} for what a filter left out
            continue
        device = each.get("dev", name)
        found = addresses.address(device, each.get("local", each.get("address")), _number(each.get("prefixlen")))
        if found is not None:
            yield found
        elif each.get("family") in FAMILIES:
            said = values.quoted(each.get("local"))
            remarks.add(f"{values.quoted(name)} has {said}, which is no address", line)


def _routes(entries: Sequence[Mapping[str, object]], remarks: Remarks) -> addresses.PrintedRoutes:
    """Return the unicast routes of the main table and of VPNs' own, one for each device of a route."""
    found: list[PrintedRoute] = []
    for entry in entries:
        if "cache" in entry or "lladdr" in entry or "state" in entry:
            remarks.add("an answer of `ip route get`, and what `ip neigh` prints, is no route: it was not used")
            continue
        table, thrown = vpn.table(entry.get("table", "main")), entry.get("type") == "throw"
        if table is None or not (entry.get("type", "unicast") == "unicast" or (thrown and table)):
            continue
        via = _mapping(entry.get("via"))
        hops = entry.get("nexthops")
        devices = [hop.get("dev") for hop in _mappings(hops)] or [entry.get("dev")]
        metrics = _metrics(entry.get("metrics"))
        mtu = values.mtu(metrics.get("mtu"))
        if mtu is not None:
            remarks.lacks.add("route locks")
        seen = PrintedRoute(
            destination=_text(entry.get("dst")),
            devices=("",)
            if thrown
            else tuple(each for each in devices if isinstance(each, str) and values.is_name(each)),
            gateway=_text(entry.get("gateway")) or _text(via.get("host")) or None,
            of_ipv6="pref" in entry,
            hints=(_text(entry.get("gateway")), _text(entry.get("prefsrc")), *_gateways(hops)),
            mtu=mtu,
            advmss=_number(metrics.get("advmss")),
            table=table,
        )
        found.append(seen)
    return addresses.routes(found, remarks)


def _gateways(hops: object) -> tuple[str, ...]:
    return tuple(_text(hop.get("gateway")) for hop in _mappings(hops))


def _mappings(value: object) -> list[Mapping[str, object]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _metrics(value: object) -> Mapping[str, object]:
    """Return metrics, which are an object in a list; several are one."""
    if isinstance(value, list):
        return {key: held for each in value if isinstance(each, dict) for key, held in each.items()}
    return _mapping(value)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**32 else None
